//! What follows from a provider's events elsewhere: couplings leave what is gone, and come back to what works again.

use super::*;
use crate::domain::checks::{because, tenant_stream};
use crate::domain::coupling::{self, Hold, RebindCoupling, ResumeCoupling};

pub fn react(event: &Event, _state: &State, meta: &EventMeta, _world: &World) -> Vec<Reaction> {
    match event {
        Event::ModelRetired(event) => {
            let reason = because(&format!("the model {} was retired", event.model_id), &event.reason);
            vec![rebind("rebind_from_model", meta, Some(event.model_id.clone()), reason)]
        }
        Event::LlmProviderHealthChanged(event) if event.after == Health::Offline => {
            vec![rebind("rebind_from_provider", meta, None, because("the LLM provider went offline", &event.reason))]
        }
        Event::LlmProviderHealthChanged(event) if event.before == Health::Offline => {
            vec![resume("resume_with_provider", meta)]
        }
        Event::ModelHealthChanged(ModelHealthChanged { model_id, after: ModelHealth::Down, reason, .. }) => {
            let reason = because(&format!("the model {model_id} is down"), reason);
            vec![rebind("rebind_from_model", meta, Some(model_id.clone()), reason)]
        }
        Event::ModelHealthChanged(_) => vec![resume("resume_with_model", meta)],
        Event::LlmProviderDeregistered(event) => {
            vec![rebind(
                "rebind_from_provider",
                meta,
                None,
                because("the LLM provider was deregistered", &event.reason),
            )]
        }
        Event::LlmProviderRegistered(_)
        | Event::LlmProviderRevised(_)
        | Event::ModelsAdded(_)
        | Event::ModelChanged(_)
        | Event::LlmProviderLimitsSet(_)
        | Event::LlmProviderHealthChanged(_)
        | Event::ModelStatisticsChanged(_) => Vec::new(),
    }
}

/// Each coupling that waits for a usable model looks again. Those that were moved away stay where they are: what works is
/// left alone, and a model that comes and goes does not take its couplings along each time.
fn resume(name: &'static str, meta: &EventMeta) -> Reaction {
    Reaction::FanOut {
        name,
        from: meta.stream,
        to: Aggregate::Coupling,
        command: coupling::Command::ResumeCoupling(ResumeCoupling { hold: Hold::Provider }).into(),
    }
}

/// Each coupling that uses this provider (and, where given, this model of it) chooses the best that is left.
fn rebind(name: &'static str, meta: &EventMeta, away_from_model: Option<String>, reason: String) -> Reaction {
    let command = RebindCoupling { model: None, away_from_provider: Some(meta.stream.id), away_from_model, reason };
    Reaction::FanOut {
        name,
        from: meta.stream,
        to: Aggregate::Coupling,
        command: coupling::Command::RebindCoupling(command).into(),
    }
}

/// A registered provider hangs on its tenant's stream, also in the shared catalogue: that is how a tenant's providers
/// are listed.
pub fn depends_on(state: &State, stream: &StreamId) -> Vec<StreamId> {
    match state.status {
        Status::Registered => vec![tenant_stream(stream.tenant)],
        Status::Absent | Status::Deregistered => Vec::new(),
    }
}
