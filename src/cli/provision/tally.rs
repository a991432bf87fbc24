//! What becomes of tenants and agents, counted and named: the JSON output.

use super::Verb;
use serde::Serialize;
use uuid::Uuid;

/// Refusals that are told of one tenant.
pub const REFUSALS_MAX: usize = 20;
/// Agents that are told one by one, where that was asked for.
pub const DETAILS_MAX: usize = 10_000;

/// What becomes, or would become, of a number of tenants or agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub wanted: u64,
    pub created: u64,
    pub changed: u64,
    pub unchanged: u64,
    /// By a rule of the node, or because no command can do it.
    pub refused: u64,
    /// Wanted, and ended for good by somebody: they stay so.
    pub decommissioned: u64,
    /// There, of a group of the manifest, above its count.
    pub surplus: u64,
    /// Of the surplus, ended by this run.
    pub retired: u64,
    /// Sent, and not decided while it was waited for.
    pub undecided: u64,
    /// By an earlier run of the same manifest, which did not come to its end.
    pub done_before: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.wanted += other.wanted;
        self.created += other.created;
        self.changed += other.changed;
        self.unchanged += other.unchanged;
        self.refused += other.refused;
        self.decommissioned += other.decommissioned;
        self.surplus += other.surplus;
        self.retired += other.retired;
        self.undecided += other.undecided;
        self.done_before += other.done_before;
    }

    /// Those that are there, as they are wanted or not, before the run.
    pub fn there(&self) -> u64 {
        self.wanted.saturating_sub(self.created + self.decommissioned + self.refused)
    }

    /// Whether all that is wanted is there now.
    pub fn is_settled(&self) -> bool {
        self.refused == 0 && self.undecided == 0
    }
}

/// What becomes of a tenant itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    Created,
    Changed,
    Unchanged,
    Refused,
    Undecided,
    /// An earlier run of the same manifest, which did not come to its end, had done it.
    DoneBefore,
}

/// What becomes of an agent that is not as it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentFate {
    Created,
    Changed,
    Decommissioned,
    Refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Of the tenant or the agent.
    pub name: String,
    pub id: Uuid,
    pub code: String,
    pub message: String,
}

/// An agent that is not as it is wanted, where agents are told one by one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Detail {
    pub name: String,
    pub id: Uuid,
    pub outcome: AgentFate,
    pub fields: Vec<&'static str>,
}

/// A tenant with its agents; a line of the JSON output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    pub tenant: Uuid,
    pub name: String,
    pub outcome: Fate,
    /// What of the tenant changed.
    pub fields: Vec<&'static str>,
    pub agents: Tally,
    /// At most [`REFUSALS_MAX`].
    pub refusals: Vec<Refusal>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Detail>,
}

impl Told {
    pub fn new(tenant: Uuid, name: &str, outcome: Fate) -> Self {
        let (name, agents) = (name.to_owned(), Tally::default());
        Self { tenant, name, outcome, fields: Vec::new(), agents, refusals: Vec::new(), details: Vec::new() }
    }

    pub fn refuse(&mut self, name: &str, id: Uuid, code: &str, message: &str) {
        if self.refusals.len() < REFUSALS_MAX {
            let (name, code, message) = (name.to_owned(), code.to_owned(), message.to_owned());
            self.refusals.push(Refusal { name, id, code, message });
        }
    }

    /// Whether nothing of it has to be looked at again.
    pub fn is_settled(&self) -> bool {
        !matches!(self.outcome, Fate::Refused | Fate::Undecided) && self.agents.is_settled()
    }

    /// Whether there is more to say of it than that it is as it should be.
    pub fn is_notable(&self, verb: Verb) -> bool {
        let differs = self.outcome != Fate::Unchanged || self.agents.unchanged < self.agents.wanted;
        let is_bad = !self.is_settled() || self.agents.surplus > 0 || self.agents.decommissioned > 0;
        is_bad || (verb != Verb::Apply && differs) || (self.outcome == Fate::Changed)
    }
}
