//! A tenant: a company, its tier, its budget, its projects and their rules.
//!
//! State machine:
//!
//! ```text
//! (nothing) --ProvisionTenant--> active <--ResumeTenant-- suspended
//!                                active --SuspendTenant--> suspended
//!                                active | suspended --CloseTenant--> closed (final)
//! ```
//!
//! Invariants: a tenant's stream id is the tenant's own id; a project's name is unique in its tenant; the shared
//! catalogue (nil) is never provisioned, suspended or closed.
//!
//! A *project* lists the MCP servers and LLM providers that its agents may be coupled to (the project–MCP matrix);
//! an absent list allows all, an empty one none.
//!
//! A suspended tenant can still be put in order (budget, threshold, projects, what is kept of prompts); a closed one takes
//! nothing more. Who makes the calls reports how far the budget is used ([`budget`]); the hard stop is the limit's, not
//! this.

mod budget;
mod decide;
mod evolve;
mod react;
pub mod standing;
#[cfg(test)]
mod tests;
mod view;

pub use budget::{BudgetAlertRaised, BudgetLevel, ReportBudgetUse};

use crate::domain::common::PromptStorage;
use crate::domain::{Aggregate, Context, Decider, Decision, Envelope, EventMeta, Lookup, Reaction, Rejection, Text, World};
use crate::records;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The aggregate.
pub struct Tenant;

/// Threshold below which a coupling is refused, unless the tenant set its own.
pub const COUPLING_THRESHOLD_DEFAULT: f64 = 0.4;

/// Security tier, best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    Diamond,
    Emerald,
    Sapphire,
    Opal,
    #[default]
    Onyx,
}

names! { Tier: Diamond "diamond", Emerald "emerald", Sapphire "sapphire", Opal "opal", Onyx "onyx" }

records! { pub enum Command in "tenant" {
    ProvisionTenant, ReviseTenant, SetTenantBudget, SetCouplingThreshold, SuspendTenant, ResumeTenant, CloseTenant,
    AddProject, ReviseProject, RemoveProject, SetPromptStorage, ReportBudgetUse,
} }

records! { pub enum Event in "tenant" {
    TenantProvisioned, TenantRevised, TenantBudgetSet, CouplingThresholdSet, TenantSuspended, TenantResumed, TenantClosed,
    ProjectAdded, ProjectRevised, ProjectRemoved, PromptStorageSet, BudgetAlertRaised,
} }

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvisionTenant {
    pub name: String,
    #[serde(default)]
    pub region: String,
    #[serde(default)]
    pub tier: Tier,
    #[serde(default)]
    pub monthly_budget_micro_usd: Option<i64>,
    #[serde(default)]
    pub coupling_threshold: Option<f64>,
}

/// Absent fields stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReviseTenant {
    pub name: Option<String>,
    pub region: Option<String>,
    pub tier: Option<Tier>,
}

/// Absent removes the budget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SetTenantBudget {
    pub monthly_budget_micro_usd: Option<i64>,
}

/// Absent goes back to [`COUPLING_THRESHOLD_DEFAULT`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SetCouplingThreshold {
    pub coupling_threshold: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SuspendTenant {
    pub reason: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResumeTenant {}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CloseTenant {
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddProject {
    pub project: String,
    #[serde(default)]
    pub allowed_mcp_servers: Option<Vec<Uuid>>,
    #[serde(default)]
    pub allowed_llm_providers: Option<Vec<Uuid>>,
}

/// Replaces both lists, which are sets: order and repeats do not matter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviseProject {
    pub project: String,
    #[serde(default)]
    pub allowed_mcp_servers: Option<Vec<Uuid>>,
    #[serde(default)]
    pub allowed_llm_providers: Option<Vec<Uuid>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveProject {
    pub project: String,
}

/// What is kept of the prompts and answers of requests that begin from then on; absent goes back to all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SetPromptStorage {
    pub prompt_storage: PromptStorage,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantProvisioned {
    pub name: String,
    pub region: String,
    pub tier: Tier,
    pub monthly_budget_micro_usd: Option<i64>,
    pub coupling_threshold: Option<f64>,
}

/// The values after the revision, whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantRevised {
    pub name: String,
    pub region: String,
    pub tier: Tier,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantBudgetSet {
    pub monthly_budget_micro_usd: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CouplingThresholdSet {
    pub coupling_threshold: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantSuspended {
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantResumed {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantClosed {
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProjectAdded {
    pub project: String,
    pub allowed_mcp_servers: Option<Vec<Uuid>>,
    pub allowed_llm_providers: Option<Vec<Uuid>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProjectRevised {
    pub project: String,
    pub allowed_mcp_servers: Option<Vec<Uuid>>,
    pub allowed_llm_providers: Option<Vec<Uuid>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProjectRemoved {
    pub project: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromptStorageSet {
    pub prompt_storage: PromptStorage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    #[default]
    Absent,
    Active,
    Suspended,
    Closed,
}

names! { Status: Absent "absent", Active "active", Suspended "suspended", Closed "closed" }

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub status: Status,
    pub name: String,
    pub region: String,
    pub tier: Tier,
    pub monthly_budget_micro_usd: Option<i64>,
    pub coupling_threshold: Option<f64>,
    /// Why it is suspended or closed.
    pub reason: String,
    pub projects: BTreeMap<String, Project>,
    pub prompt_storage: PromptStorage,
    /// What was told last of the budget as it is; a budget that is set anew begins without.
    pub budget_alert: Option<BudgetAlertRaised>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Project {
    pub allowed_mcp_servers: Option<Vec<Uuid>>,
    pub allowed_llm_providers: Option<Vec<Uuid>>,
}

impl Decider for Tenant {
    const AGGREGATE: Aggregate = Aggregate::Tenant;
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
