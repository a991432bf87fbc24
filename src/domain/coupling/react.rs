//! A coupling's side of the races between aggregates: *write yours, then read theirs, on both sides*.
//!
//! When this coupling's edges are written, its agent, server, provider and tenant are read again. Whatever ended or was
//! suspended after the decision had looked, and before the edges were there for its fan-out to find, is answered here
//! by a command to the coupling's own stream. Both sides may answer the same thing; the second answer changes nothing.

use super::sight::tenant_stream;
use super::*;
use crate::domain::agent::{Agent, Lifecycle};
use crate::domain::common::Health;
use crate::domain::llm_provider::{self, LlmProvider};
use crate::domain::mcp_server::{self, McpServer};
use crate::domain::tenant::{self, Tenant};
use crate::domain::{AnyCommand, TenantId};

/// The streams that one coupling depends on.
struct Streams {
    agent: StreamId,
    server: StreamId,
    provider: StreamId,
    /// Absent for the shared catalogue.
    tenant: Option<StreamId>,
}

fn streams(state: &State, tenant: TenantId) -> Option<Streams> {
    let binding = state.binding.as_ref().filter(|_| state.is_live())?;
    let server_home = TenantId(state.mcp_server_tenant_id);
    let provider_home = TenantId(binding.provider_tenant_id);
    Some(Streams {
        agent: StreamId::new(tenant, Aggregate::Agent, state.request.agent_id),
        server: StreamId::new(server_home, Aggregate::McpServer, state.request.mcp_server_id),
        provider: StreamId::new(provider_home, Aggregate::LlmProvider, binding.model.provider_id),
        tenant: tenant_stream(tenant),
    })
}

pub fn depends_on(state: &State, stream: &StreamId) -> Vec<StreamId> {
    let Some(streams) = streams(state, stream.tenant) else { return Vec::new() };
    [streams.agent, streams.server, streams.provider].into_iter().chain(streams.tenant).collect()
}

pub fn lookups(event: &Event, state: &State, meta: &EventMeta) -> Vec<Lookup> {
    let Some(streams) = streams(state, meta.stream.tenant) else { return Vec::new() };
    let wanted: Vec<StreamId> = match event {
        Event::CouplingEstablished(_) | Event::CouplingRebound(_) | Event::CouplingResumed(_) => {
            return depends_on(state, &meta.stream).into_iter().map(Lookup::Stream).collect();
        }
        Event::CouplingSuspended(event) => match event.hold {
            Hold::Manual => Vec::new(),
            Hold::Tenant => streams.tenant.into_iter().collect(),
            Hold::Provider => vec![streams.provider],
        },
        Event::CouplingRefused(_) | Event::CouplingEnded(_) | Event::CompletionRequested(_) => Vec::new(),
    };
    wanted.into_iter().map(Lookup::Stream).collect()
}

pub fn react(event: &Event, state: &State, meta: &EventMeta, world: &World) -> Vec<Reaction> {
    if let Event::CompletionRequested(event) = event {
        return vec![completion::submit(event, meta)];
    }
    let Some(streams) = streams(state, meta.stream.tenant) else { return Vec::new() };
    let answers = match event {
        Event::CouplingEstablished(_) | Event::CouplingRebound(_) | Event::CouplingResumed(_) => {
            match ended(&streams, world) {
                Some(end) => vec![end],
                None => recheck_tenant(state, &streams, world)
                    .into_iter()
                    .chain(recheck_model(state, &streams, world))
                    .collect(),
            }
        }
        Event::CouplingSuspended(event) => lifted(event.hold, state, &streams, world).into_iter().collect(),
        Event::CouplingRefused(_) | Event::CouplingEnded(_) | Event::CompletionRequested(_) => Vec::new(),
    };
    answers.into_iter().map(|(name, command)| Reaction::Send { name, to: meta.stream, command }).collect()
}

type Answer = (&'static str, AnyCommand);

fn command(name: &'static str, command: Command) -> Answer {
    (name, AnyCommand::from(command))
}

fn end(name: &'static str, reason: &str) -> Answer {
    command(name, Command::EndCoupling(EndCoupling { reason: reason.into() }))
}

/// What ends the coupling: its agent, its server or its tenant is gone for good.
fn ended(streams: &Streams, world: &World) -> Option<Answer> {
    let agent = world.get::<Agent>(&streams.agent).map(|(_, state)| state.lifecycle);
    if matches!(agent, None | Some(Lifecycle::Absent | Lifecycle::Decommissioned)) {
        return Some(end("recheck_agent", "its agent was decommissioned"));
    }
    let server = world.get::<McpServer>(&streams.server).map(|(_, state)| state.status);
    if server != Some(mcp_server::Status::Registered) {
        return Some(end("recheck_server", "its MCP server was deregistered"));
    }
    let closed = tenant_status(streams, world) == Some(tenant::Status::Closed);
    closed.then(|| end("recheck_tenant", "its tenant was closed"))
}

fn tenant_status(streams: &Streams, world: &World) -> Option<tenant::Status> {
    Some(world.get::<Tenant>(&streams.tenant?)?.1.status)
}

fn recheck_tenant(state: &State, streams: &Streams, world: &World) -> Option<Answer> {
    let suspended = tenant_status(streams, world) == Some(tenant::Status::Suspended);
    let reason = "its tenant was suspended".to_owned();
    let suspend = SuspendCoupling { hold: Hold::Tenant, reason };
    (suspended && !state.holds(Hold::Tenant)).then(|| command("recheck_tenant", Command::SuspendCoupling(suspend)))
}

/// How the model in use stands with its provider.
enum Standing {
    Usable,
    ProviderDown(&'static str),
    /// Retired, or down.
    ModelGone(&'static str),
}

fn standing(state: &State, streams: &Streams, world: &World) -> Option<Standing> {
    let used = &state.binding.as_ref()?.model;
    Some(match world.get::<LlmProvider>(&streams.provider).map(|(_, provider)| provider) {
        Some(provider) if provider.status == llm_provider::Status::Registered => {
            if provider.health == Health::Offline {
                Standing::ProviderDown("its LLM provider is offline")
            } else if !provider.models.iter().any(|model| model.model_id == used.model_id) {
                Standing::ModelGone("its model was retired")
            } else if provider.is_down(&used.model_id) {
                Standing::ModelGone("its model is down")
            } else {
                Standing::Usable
            }
        }
        _ => Standing::ProviderDown("its LLM provider was deregistered"),
    })
}

/// Moves the coupling off a model that went away. One that holds `provider` already waits for a model as it is.
fn recheck_model(state: &State, streams: &Streams, world: &World) -> Option<Answer> {
    if state.holds(Hold::Provider) {
        return None;
    }
    let used = &state.binding.as_ref()?.model;
    let (away_from_model, reason) = match standing(state, streams, world)? {
        Standing::Usable => return None,
        Standing::ProviderDown(reason) => (None, reason),
        Standing::ModelGone(reason) => (Some(used.model_id.clone()), reason),
    };
    let rebind = RebindCoupling {
        model: None,
        away_from_provider: Some(used.provider_id),
        away_from_model,
        reason: reason.into(),
    };
    Some(command("recheck_model", Command::RebindCoupling(rebind)))
}

/// Lifts a hold of which the cause is gone by the time that the hold is there.
fn lifted(hold: Hold, state: &State, streams: &Streams, world: &World) -> Option<Answer> {
    let resume = |name| Some(command(name, Command::ResumeCoupling(ResumeCoupling { hold })));
    match hold {
        Hold::Manual => None,
        Hold::Tenant => match tenant_status(streams, world)? {
            tenant::Status::Active => resume("recheck_tenant"),
            tenant::Status::Closed => Some(end("recheck_tenant", "its tenant was closed")),
            tenant::Status::Absent | tenant::Status::Suspended => None,
        },
        Hold::Provider => match standing(state, streams, world)? {
            Standing::Usable => resume("recheck_model"),
            Standing::ProviderDown(_) | Standing::ModelGone(_) => None,
        },
    }
}
