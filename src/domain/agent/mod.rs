//! An agent: what it is, what it can do, what it needs of a model, where it is in its life.
//!
//! State machine (lifecycle):
//!
//! ```text
//! (nothing) --RegisterAgent--> provisioning
//! provisioning | idle | maintenance --ActivateAgent--> active
//! active | maintenance --IdleAgent--> idle
//! active | idle --MaintainAgent--> maintenance
//! any --DecommissionAgent--> decommissioned (final)
//! ```
//!
//! Health (`unknown`, `active`, `degraded`, `offline`) is beside it: a heartbeat renews a lease that is kept in memory,
//! and only a transition, `ReportAgentHealth`, is a command.
//!
//! Invariants: `revision` counts registrations and revisions from 1; an agent made from a template records the
//! template's version and the instructions as they were rendered, so that a later template changes no agent.

mod decide;
mod evolve;
mod profile;
mod react;
#[cfg(test)]
mod tests;
mod view;

use super::common::{Health, Requirements};
use super::personal::Personal;
use crate::domain::{Aggregate, Context, Decider, Decision, Envelope, EventMeta, Lookup, Reaction, Rejection, Text, World};
use crate::records;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The aggregate.
pub struct Agent;

records! { pub enum Command in "agent" {
    RegisterAgent, ReviseAgent, ActivateAgent, IdleAgent, MaintainAgent, DecommissionAgent, ReportAgentHealth,
} }

records! { pub enum Event in "agent" {
    AgentRegistered, AgentRevised, AgentActivated, AgentIdled, AgentMaintained, AgentDecommissioned, AgentHealthChanged,
} }

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RiskTier {
    Low,
    #[default]
    Medium,
    High,
}

names! { RiskTier: Low "low", Medium "medium", High "high" }

/// What a registration or a revision leaves an agent with; the payload of both events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    pub name: String,
    pub category: String,
    pub purpose: String,
    pub role: String,
    pub instructions: Personal,
    pub skills: Vec<String>,
    pub domains: Vec<String>,
    pub owner: Personal,
    pub project: Option<String>,
    pub risk_tier: RiskTier,
    /// 0..1: below it the agent asks a human.
    pub confidence_threshold: Option<f64>,
    pub requirements: Requirements,
}

/// Which template an agent was made from, and at which version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TemplateUse {
    pub template_id: Uuid,
    /// Of the shared catalogue; else of the agent's own tenant.
    pub shared: bool,
    /// The template's name at that version.
    pub name: String,
    /// The template stream's version that was rendered.
    pub version: i64,
    /// The values as given, without the template's defaults.
    pub parameters: BTreeMap<String, String>,
}

/// Fields left out come from the template where one is named (skills and domains: the union of both, the template's
/// first; requirements: field by field), else are empty. An empty text counts as left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterAgent {
    pub name: String,
    /// May be left empty only with a template.
    #[serde(default)]
    pub category: String,
    #[serde(default)]
    pub purpose: String,
    #[serde(default)]
    pub role: String,
    #[serde(default)]
    pub instructions: Personal,
    #[serde(default)]
    pub skills: Vec<String>,
    #[serde(default)]
    pub domains: Vec<String>,
    #[serde(default)]
    pub owner: Personal,
    #[serde(default)]
    pub project: Option<String>,
    #[serde(default)]
    pub risk_tier: RiskTier,
    #[serde(default)]
    pub confidence_threshold: Option<f64>,
    #[serde(default)]
    pub requirements: Option<Requirements>,
    /// A template of the tenant or of the shared catalogue: its name, or its UUID.
    #[serde(default)]
    pub template: Option<String>,
    #[serde(default)]
    pub template_parameters: BTreeMap<String, String>,
}

/// Absent fields stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReviseAgent {
    pub name: Option<String>,
    pub category: Option<String>,
    pub purpose: Option<String>,
    pub role: Option<String>,
    /// `null` leaves them; an empty text clears them.
    pub instructions: Personal,
    pub skills: Option<Vec<String>>,
    pub domains: Option<Vec<String>>,
    /// `null` leaves it; an empty text clears it.
    pub owner: Personal,
    /// An empty text clears it.
    pub project: Option<String>,
    pub risk_tier: Option<RiskTier>,
    pub confidence_threshold: Option<f64>,
    /// Replaces them, whole.
    pub requirements: Option<Requirements>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ActivateAgent {}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdleAgent {}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaintainAgent {
    pub reason: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecommissionAgent {
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportAgentHealth {
    pub health: Health,
    #[serde(default)]
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentRegistered {
    pub profile: Profile,
    pub template: Option<TemplateUse>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentRevised {
    pub profile: Profile,
    /// 2 for the first revision.
    pub revision: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentActivated {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentIdled {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentMaintained {
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentDecommissioned {
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentHealthChanged {
    pub before: Health,
    pub after: Health,
    pub reason: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lifecycle {
    #[default]
    Absent,
    Provisioning,
    Active,
    Idle,
    Maintenance,
    Decommissioned,
}

names! { Lifecycle:
    Absent "absent",
    Provisioning "provisioning",
    Active "active",
    Idle "idle",
    Maintenance "maintenance",
    Decommissioned "decommissioned",
}

impl Lifecycle {
    /// Where an agent may go from here: the state machine at the head of this module.
    pub fn targets(self) -> &'static [Lifecycle] {
        match self {
            Self::Absent => &[Self::Provisioning],
            Self::Provisioning => &[Self::Active, Self::Decommissioned],
            Self::Active => &[Self::Idle, Self::Maintenance, Self::Decommissioned],
            Self::Idle => &[Self::Active, Self::Maintenance, Self::Decommissioned],
            Self::Maintenance => &[Self::Active, Self::Idle, Self::Decommissioned],
            Self::Decommissioned => &[],
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub lifecycle: Lifecycle,
    pub health: Health,
    pub profile: Profile,
    pub revision: i64,
    pub template: Option<TemplateUse>,
    /// Why it is in maintenance or decommissioned.
    pub reason: String,
}

impl Decider for Agent {
    const AGGREGATE: Aggregate = Aggregate::Agent;
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

    fn may_react(event: &Event) -> bool {
        matches!(event, Event::AgentDecommissioned(_))
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
