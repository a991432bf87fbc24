//! An MCP server: how it is reached, which tools it offers, how it is.
//!
//! State machine: `(nothing) --RegisterMcpServer--> registered --DeregisterMcpServer--> deregistered (final)`;
//! health moves beside it (`unknown`, `active`, `degraded`, `offline`).
//!
//! Invariants: a tool's digest is SHA-256 over its name, description and canonical input schema, each length-prefixed
//! ([`digest`]); a tool's name is unique in its server; a list of tools replaces the one before it, whatever its order;
//! a tool that comes back different is a `ToolChanged` event of its own with both digests, never a silent update
//! (a changed description is how tool poisoning reaches an agent).

mod decide;
pub mod digest;
mod evolve;
mod react;
#[cfg(test)]
mod tests;
mod transport;
mod view;

use super::common::Health;
use crate::domain::{Aggregate, Context, Decider, Decision, Envelope, EventMeta, Lookup, Reaction, Rejection, Text, World};
use crate::records;
use serde::{Deserialize, Serialize};

pub use transport::Transport;

/// Most tools of one server.
pub const TOOLS_MAX: usize = 2_000;
/// Longest input schema of a tool, in bytes, as given and in its canonical form.
pub const SCHEMA_BYTES_MAX: usize = 256 * 1024;
/// Longest description of a tool, in bytes.
pub const TOOL_DESCRIPTION_BYTES_MAX: usize = 64 * 1024;

/// The aggregate.
pub struct McpServer;

records! { pub enum Command in "mcp_server" {
    RegisterMcpServer, ReviseMcpServer, DiscoverTools, ReportMcpServerHealth, DeregisterMcpServer,
} }

records! { pub enum Event in "mcp_server" {
    McpServerRegistered, McpServerRevised, ToolsDiscovered, ToolChanged, ToolsRemoved, McpServerHealthChanged,
    McpServerDeregistered,
} }

/// How a server is reached and described.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterMcpServer {
    pub name: String,
    #[serde(default)]
    pub category: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub transport: Transport,
    /// URL of a remote server.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Package that starts a local one, as `registry:identifier`.
    #[serde(default)]
    pub package: Option<String>,
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// The tools, where they are known at registration. An empty list says nothing about them.
    #[serde(default)]
    pub tools: Vec<Tool>,
}

/// Absent fields stay as they are; an empty `endpoint` or `package` removes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReviseMcpServer {
    pub name: Option<String>,
    pub category: Option<String>,
    pub description: Option<String>,
    pub transport: Option<Transport>,
    pub endpoint: Option<String>,
    pub package: Option<String>,
    pub capabilities: Option<Vec<String>>,
}

/// One tool as the server lists it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    pub name: String,
    #[serde(default)]
    pub description: String,
    /// JSON Schema as JSON text; JSON input may give the object itself. Empty when unknown.
    #[serde(default, deserialize_with = "digest::schema_text")]
    pub input_schema: String,
}

/// The whole list of tools that the server offers now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscoverTools {
    pub tools: Vec<Tool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportMcpServerHealth {
    pub health: Health,
    #[serde(default)]
    pub reason: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeregisterMcpServer {
    pub reason: String,
}

/// What registration and revision leave a server with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    pub name: String,
    pub category: String,
    pub description: String,
    pub transport: Transport,
    pub endpoint: Option<String>,
    pub package: Option<String>,
    pub capabilities: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct McpServerRegistered {
    pub listing: Listing,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct McpServerRevised {
    pub listing: Listing,
}

/// A tool with its digest: lower-case hexadecimal SHA-256.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DigestedTool {
    pub name: String,
    pub description: String,
    /// Canonical JSON text (RFC 8785); text that is not JSON as it came.
    pub input_schema: String,
    pub digest: String,
}

/// Tools that were not there before, sorted by name. Empty when a server is first asked and has none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolsDiscovered {
    pub tools: Vec<DigestedTool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolChanged {
    pub tool: DigestedTool,
    pub digest_before: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolsRemoved {
    pub names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct McpServerHealthChanged {
    pub before: Health,
    pub after: Health,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct McpServerDeregistered {
    pub reason: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    #[default]
    Absent,
    Registered,
    Deregistered,
}

names! { Status: Absent "absent", Registered "registered", Deregistered "deregistered" }

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub status: Status,
    pub health: Health,
    pub listing: Listing,
    /// Sorted by name. Empty also when the server's tools were never listed.
    pub tools: Vec<DigestedTool>,
    /// Whether the tools were ever listed: an empty list that was listed is knowledge, one that was not is none.
    pub tools_known: bool,
    /// Of the last transition of health, or of the deregistration.
    pub reason: String,
}

impl Decider for McpServer {
    const AGGREGATE: Aggregate = Aggregate::McpServer;
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
