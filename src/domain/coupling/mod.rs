//! A coupling: one agent, one MCP server, one LLM model, bound at run time.
//!
//! State machine:
//!
//! ```text
//! (nothing) --RequestCoupling--> active | refused
//! refused --RequestCoupling--> active | refused          (a new command may try again)
//! active --SuspendCoupling--> suspended --ResumeCoupling--> active   (suspended while any hold is left)
//! active | suspended --RebindCoupling--> active | suspended (another model; a hold `provider` when none is left)
//! active | suspended --EndCoupling--> ended (final)
//! active --RequestCompletion--> active                   (a request to its model, a stream of its own)
//! ```
//!
//! Invariants: what the decision saw (versions, parts of the score, candidates, rejected candidates with reasons) is in
//! the event; a refusal is an event too, the stream's history, and can be explained; the model in use is never also
//! among the fallbacks; a coupling is active exactly when it holds nothing.
//!
//! A *pinned* coupling uses the model that a command named and no other: when that one is retired, or it or its provider
//! is down, the coupling is suspended (hold `provider`) and not moved. One that was moved is not moved back when the model
//! that it left works again: its next choice may be that one. `RebindCoupling` with a model pins it; with neither
//! a model nor `away_from_*` it releases the pin and chooses by the objective.
//!
//! The rooms: [`score`] is the formula, `candidates` the choice of a model, `rules` what a model must meet, `sight` what
//! a decision sees of other streams, `completion` a request to the model, [`mod@explain`] the answer to "why?".

mod candidates;
mod completion;
mod decide;
mod evolve;
mod explain;
mod react;
mod records;
mod rules;
pub mod score;
mod sight;
#[cfg(test)]
mod tests;
mod view;
mod words;

pub use completion::{CompletionRequested, RequestCompletion, submission};
pub use explain::explain;
pub use records::*;

use crate::domain::{Aggregate, Context, Decider, Decision, Envelope, EventMeta, Lookup, Reaction, Rejection, StreamId, Text, World};
use crate::records;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The aggregate.
pub struct Coupling;

records! { pub enum Command in "coupling" {
    RequestCoupling, RebindCoupling, SuspendCoupling, ResumeCoupling, EndCoupling, RequestCompletion,
} }

/// A model of a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRef {
    pub provider_id: Uuid,
    pub model_id: String,
}

/// What the choice of a model optimises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    Cost,
    Latency,
    Quality,
    #[default]
    Balanced,
}

names! { Objective: Cost "cost", Latency "latency", Quality "quality", Balanced "balanced" }

/// Something that the model must be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    ToolCalling,
    StructuredOutput,
    ImageInput,
    AudioInput,
    VideoInput,
    FileInput,
}

impl Capability {
    pub fn name(self) -> &'static str {
        match self {
            Self::ToolCalling => "tool_calling",
            Self::StructuredOutput => "structured_output",
            Self::ImageInput => "image_input",
            Self::AudioInput => "audio_input",
            Self::VideoInput => "video_input",
            Self::FileInput => "file_input",
        }
    }
}

/// Why a coupling is suspended. It has a set of these, so that two causes do not lift each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// Somebody asked for it.
    #[default]
    Manual,
    /// The tenant is suspended.
    Tenant,
    /// No usable model is left.
    Provider,
}

names! { Hold: Manual "manual", Tenant "tenant", Provider "provider" }

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestCoupling {
    pub agent_id: Uuid,
    pub mcp_server_id: Uuid,
    /// Pins the model; absent leaves the choice to the policy below.
    #[serde(default)]
    pub model: Option<ModelRef>,
    #[serde(default)]
    pub objective: Objective,
    /// Budget: most that 1,000 tokens may cost, micro-dollars; the lower of this and the agent's own counts.
    #[serde(default)]
    pub cost_per_1k_tokens_micro_usd_max: Option<i64>,
    #[serde(default)]
    pub required_capabilities: Vec<Capability>,
}

/// Chooses another model: the named one, or the best that is left.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RebindCoupling {
    pub model: Option<ModelRef>,
    /// Only if the coupling uses a model of this provider …
    pub away_from_provider: Option<Uuid>,
    /// … and, where given, this model of it; else nothing changes.
    pub away_from_model: Option<String>,
    pub reason: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SuspendCoupling {
    pub hold: Hold,
    pub reason: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResumeCoupling {
    pub hold: Hold,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndCoupling {
    pub reason: String,
}

records! { pub enum Event in "coupling" {
    CouplingEstablished, CouplingRefused, CouplingRebound, CouplingSuspended, CouplingResumed, CouplingEnded,
    CompletionRequested,
} }

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    #[default]
    Absent,
    Active,
    Suspended,
    Refused,
    Ended,
}

names! { Status: Absent "absent", Active "active", Suspended "suspended", Refused "refused", Ended "ended" }

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub status: Status,
    /// As first asked for, or as last refused; a later rebind leaves it as it is.
    pub request: Request,
    /// Where the server was found: the coupling's own tenant, or the shared catalogue (nil).
    pub mcp_server_tenant_id: Uuid,
    /// The model in use and its fallbacks; absent when the coupling was never established.
    pub binding: Option<Binding>,
    /// Why it is suspended: sorted, each once.
    pub holds: Vec<Hold>,
    /// Why each of them is there.
    pub hold_reasons: BTreeMap<Hold, String>,
    /// Why it was refused.
    pub reasons: Vec<Reason>,
    /// What the last rebind, suspension or end gave as its reason.
    pub reason: String,
    /// Behind the model in use, or behind the refusal.
    pub assessment: Option<Assessment>,
    /// The search that found no other model, while the hold `provider` that it led to is there.
    pub failed_search: Option<Assessment>,
}

impl State {
    /// Established and not ended.
    pub fn is_live(&self) -> bool {
        matches!(self.status, Status::Active | Status::Suspended)
    }

    pub fn holds(&self, hold: Hold) -> bool {
        self.holds.binary_search(&hold).is_ok()
    }
}

impl Decider for Coupling {
    const AGGREGATE: Aggregate = Aggregate::Coupling;
    type Command = Command;
    type Event = Event;
    type State = State;

    fn lookups(state: &State, command: &Command, envelope: &Envelope) -> Vec<Lookup> {
        decide::lookups(state, command, envelope)
    }

    fn decide(state: &State, command: &Command, context: &Context<'_>) -> Result<Decision<Event>, Rejection> {
        decide::decide(state, command, context)
    }

    fn evolve(state: &mut State, event: &Event, _meta: &EventMeta) {
        evolve::evolve(state, event);
    }

    fn is_terminal(state: &State) -> bool {
        evolve::is_terminal(state)
    }

    fn status(state: &State) -> &'static str {
        view::status(state)
    }

    fn depends_on(state: &State, stream: &StreamId) -> Vec<StreamId> {
        react::depends_on(state, stream)
    }

    fn reaction_lookups(event: &Event, state: &State, meta: &EventMeta) -> Vec<Lookup> {
        react::lookups(event, state, meta)
    }

    fn react(event: &Event, state: &State, meta: &EventMeta, world: &World) -> Vec<Reaction> {
        react::react(event, state, meta, world)
    }

    fn view(state: &State) -> serde_json::Map<String, serde_json::Value> {
        view::view(state)
    }

    const FILTERS: &'static [&'static str] = view::FILTERS;
    const VERBATIM: &'static [&'static str] = view::VERBATIM;

    fn facet(state: &State, filter: &str) -> Vec<String> {
        view::facet(state, filter)
    }

    fn choices(filter: &str) -> Vec<&'static str> {
        view::choices(filter)
    }

    fn texts(state: &State) -> Vec<Text<'_>> {
        view::texts(state)
    }
}
