//! What one event counts for, and for whom.

use super::{Dimension, Latencies, Totals};
use crate::domain::StreamId;
use crate::domain::llm_request::{Event, ModelChoice, State};
use std::sync::Arc;

/// The part of one event in every total that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    pub totals: Totals,
    pub keys: Vec<(Dimension, Arc<str>)>,
}

/// Whether an event of this name counts for anything: spares the others their payload.
pub fn is_counted(name: &str) -> bool {
    !matches!(name, "RequestSubmitted" | "AttemptStarted")
}

/// What an event counts for. `state` is the request's at the event or at any later one. A request that ended without an
/// attempt counts for the model that was its first choice.
pub fn count(stream: &StreamId, event: &Event, state: &State) -> Option<Counted> {
    let attempted = |number: i64| state.attempt(number).map(|attempt| &attempt.model);
    let (totals, model) = match event {
        Event::RequestSubmitted(_) | Event::AttemptStarted(_) => return None,
        Event::AttemptFailed(it) => {
            let call = Totals::of_call(it.usage.as_ref(), it.cost_pico_usd, it.sent || it.usage.is_some());
            (Totals { attempts_failed: 1, ..call }, attempted(it.attempt))
        }
        Event::RequestCompleted(it) => {
            let call = Totals::of_call(Some(&it.usage), it.cost_pico_usd, true);
            let latencies = Latencies::of(u64::try_from(it.latency_ms).unwrap_or(0));
            (Totals { requests_completed: 1, latencies, ..call }, Some(&it.model))
        }
        Event::ExtraCallRecorded(it) => {
            let call = Totals::of_call(it.usage.as_ref(), it.cost_pico_usd, true);
            (Totals { extra_calls: 1, ..call }, Some(&it.model))
        }
        Event::RequestFailed(_) => (Totals { requests_failed: 1, ..Totals::default() }, state.model()),
        Event::RequestExpired(_) => (Totals { requests_expired: 1, ..Totals::default() }, state.model()),
        Event::RequestCancelled(_) => (Totals { requests_cancelled: 1, ..Totals::default() }, state.model()),
    };
    Some(Counted { totals, keys: keys(stream, state, model) })
}

fn keys(stream: &StreamId, state: &State, model: Option<&ModelChoice>) -> Vec<(Dimension, Arc<str>)> {
    let request = &state.request;
    let id = |id: uuid::Uuid| Arc::from(id.to_string());
    let keys = [
        (Dimension::Tenant, Some(id(stream.tenant.0))),
        (Dimension::Project, request.project.as_deref().map(Arc::from)),
        (Dimension::Agent, request.agent_id.map(id)),
        (Dimension::Coupling, request.coupling_id.map(id)),
        (Dimension::Model, model.map(|it| Arc::from(format!("{}/{}", it.provider_id, it.model_id)))),
    ];
    keys.into_iter().filter_map(|(dimension, key)| Some((dimension, key?))).collect()
}
