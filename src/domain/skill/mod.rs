//! A skill: a name that agents and servers give what they can do, and its place in a taxonomy.
//!
//! State machine: `(nothing) --DefineSkill--> active --RetireSkill--> retired --DefineSkill--> active`.
//! Defining again replaces the definition (a new version); defining the same again changes nothing.
//!
//! A skill holds the names of *all* skills above it, nearest first, and not its parent alone: who looks for agents by a
//! broad skill reads one row and walks no graph. A taxonomy is published whole, so that whoever publishes one knows them;
//! the names above need not be defined here.
//!
//! Invariants: a skill is found by its name, whose stream is [`stream_for`] it, and keeps it; it does not stand above itself.

mod decide;
mod evolve;
#[cfg(test)]
mod tests;
mod view;

pub use decide::stream_for;

use crate::domain::{Aggregate, Context, Decider, Decision, Envelope, EventMeta, Lookup, Rejection, Text};
use crate::records;
use serde::{Deserialize, Serialize};

/// Most skills above one.
pub const ANCESTORS_MAX: usize = 32;

/// The aggregate.
pub struct Skill;

records! {
    pub enum Command in "skill" { DefineSkill, RetireSkill }
}
records! {
    pub enum Event in "skill" { SkillDefined, SkillRetired }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefineSkill {
    /// As agents and servers name it.
    pub name: String,
    /// What it is called for people.
    #[serde(default)]
    pub caption: String,
    #[serde(default)]
    pub description: String,
    /// Names of all skills above it: its parent, the parent's parent, up to its category. Empty of a category.
    #[serde(default)]
    pub ancestors: Vec<String>,
    /// Its number in the taxonomy that it comes from.
    #[serde(default)]
    pub uid: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetireSkill {
    pub reason: String,
}

/// All of it, as it is from now on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SkillDefined {
    pub name: String,
    pub caption: String,
    pub description: String,
    /// Nearest first.
    pub ancestors: Vec<String>,
    pub uid: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SkillRetired {
    pub reason: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    #[default]
    Absent,
    Active,
    Retired,
}

names! { Status: Absent "absent", Active "active", Retired "retired" }

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub status: Status,
    pub definition: SkillDefined,
    /// Of the retirement.
    pub reason: String,
}

impl Decider for Skill {
    const AGGREGATE: Aggregate = Aggregate::Skill;
    type Command = Command;
    type Event = Event;
    type State = State;

    fn lookups(_state: &State, _command: &Command, envelope: &Envelope) -> Vec<Lookup> {
        decide::lookups(envelope)
    }

    fn decide(state: &State, command: &Command, context: &Context<'_>) -> Result<Decision<Event>, Rejection> {
        decide::decide(state, command, context)
    }

    fn evolve(state: &mut State, event: &Event, _meta: &EventMeta) {
        evolve::evolve(state, event);
    }

    fn is_terminal(_state: &State) -> bool {
        // A retired skill can be defined again.
        false
    }

    fn status(state: &State) -> &'static str {
        view::status(state)
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
