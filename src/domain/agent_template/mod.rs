//! An agent template: a role, instructions with named parameters, default skills and requirements.
//!
//! State machine: `(nothing) --DefineAgentTemplate--> active --RetireAgentTemplate--> retired --DefineAgentTemplate--> active`.
//! Defining again replaces the definition (a new version); defining the same again changes nothing.
//!
//! Invariants: every `{parameter}` in the instructions is declared, and every declared name is unique. `{{` and `}}`
//! stand for literal braces.
//!
//! A template is found by its name when its subject is [`stream_for`] that name; under any other subject it is found by
//! its UUID only. One that is found by its name keeps it.

mod decide;
mod evolve;
pub mod render;
#[cfg(test)]
mod tests;
mod view;

pub use decide::stream_for;

use super::common::Requirements;
use crate::domain::{Aggregate, Context, Decider, Decision, Envelope, EventMeta, Lookup, Rejection, Text};
use crate::records;
use serde::{Deserialize, Serialize};

/// The aggregate.
pub struct AgentTemplate;

records! {
    pub enum Command in "agent_template" { DefineAgentTemplate, RetireAgentTemplate }
}
records! {
    pub enum Event in "agent_template" { AgentTemplateDefined, AgentTemplateRetired }
}

/// A named parameter of the instructions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    pub name: String,
    #[serde(default)]
    pub description: String,
    /// Used when a registration leaves the parameter out; absent makes the parameter required.
    #[serde(default)]
    pub default_value: Option<String>,
}

/// Everything that a template says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    pub name: String,
    pub category: String,
    #[serde(default)]
    pub role: String,
    #[serde(default)]
    pub purpose: String,
    #[serde(default)]
    pub instructions: String,
    #[serde(default)]
    pub parameters: Vec<Parameter>,
    #[serde(default)]
    pub skills: Vec<String>,
    #[serde(default)]
    pub domains: Vec<String>,
    #[serde(default)]
    pub requirements: Requirements,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefineAgentTemplate {
    pub definition: Definition,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetireAgentTemplate {
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentTemplateDefined {
    pub definition: Definition,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentTemplateRetired {
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
    pub definition: Definition,
    pub reason: String,
}

impl Decider for AgentTemplate {
    const AGGREGATE: Aggregate = Aggregate::AgentTemplate;
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
