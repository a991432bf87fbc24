//! The operation that shows what followed from one request.

use super::components::{EXAMPLE_AGENT, EXAMPLE_TENANT, reference};
use super::operations::{Operation, described};
use serde_json::{Value, json};

pub fn trace() -> Operation {
    let summary = "Everything that followed from one request, as a tree: each command under the event that caused it.";
    let mut operation = Operation::reading("get-trace", "commands", summary, "Trace");
    operation.own_parameters = vec![json!({
        "name": "source", "in": "query", "required": false, "schema": { "type": "string", "default": "unnamed" },
        "description": "The source that a command was sent with, where the id in the path is a command's and not its UUID.",
    })];
    operation.answers = vec![(200, described("Found.", reference("Trace"), Some(example())))];
    operation
}

/// What its path takes.
pub const PATH_PARAMETER: &str = "The correlation id that commands were sent with; slashes may stand in it as they are. \
    Where none was sent, the command's own id serves: the UUID of its answer, or the text that it was sent with.";

/// Schemas by their names.
pub fn schemas() -> [(&'static str, Value); 3] {
    let count = |words: &str| json!({ "type": "integer", "minimum": 0, "description": words });
    let uuid = || json!({ "type": "string", "format": "uuid" });
    let time = || json!({ "type": "string", "format": "date-time" });
    let maybe = |words: &str| json!({ "type": ["string", "null"], "description": words });
    let commands = |words: &str| json!({ "type": "array", "items": reference("TraceCommand"), "description": words });
    let trace = json!({
        "type": "object",
        "required": ["correlation", "command_count", "event_count", "refused_count", "truncated", "roots"],
        "properties": {
            "correlation": { "type": "string", "description": "As it was asked for." },
            "command_count": count("Commands that are shown."),
            "event_count": count("Events that they made."),
            "refused_count": count("Of the commands: that were refused."),
            "truncated": { "type": "boolean", "description": "Whether there are more than are shown: at most trace_commands_max, the earliest, and no more than 16 MiB." },
            "roots": commands("The commands that followed from no other that is shown, by time."),
        },
        "description": "Of one tenant: where its commands follow from a change of the shared catalogue, or of what an outside system did, its part begins with a root that names its cause in causation. Commands that were dead-lettered left no record, and are not in it.",
    });
    let command = json!({
        "type": "object",
        "required": ["command_id", "tenant", "aggregate", "subject", "outcome", "version", "reason", "recorded_at", "source", "actor", "correlation", "causation", "log", "position", "events", "commands"],
        "properties": {
            "command_id": uuid(),
            "tenant": uuid(),
            "aggregate": { "type": "string", "examples": ["agent"] },
            "subject": { "type": "string", "format": "uuid", "description": "The resource." },
            "outcome": { "enum": ["applied", "refused"] },
            "version": { "type": "integer", "description": "The stream's version after it." },
            "reason": { "anyOf": [reference("Reason"), { "type": "null" }] },
            "recorded_at": time(),
            "source": { "type": "string" },
            "actor": maybe("Who is answerable for the command, where its sender said so."),
            "correlation": maybe("Null of one that was sent without; what followed from it has its id. What carries a request to an LLM out, or a batch, has that one's id."),
            "causation": maybe("What it follows from, as its sender said; the system names an event_id."),
            "log": { "type": "string", "examples": ["agent/7"] },
            "position": { "type": "integer", "description": "Of its last record in the log." },
            "events": { "type": "array", "items": reference("TraceEvent"), "description": "Empty where it was refused or changed nothing." },
            "commands": commands("Those that name this command, and no event of it, as their cause."),
        },
        "description": "A command and what it came to. One below 24 others is a root instead, and its causation tells where it belongs.",
    });
    let event = json!({
        "type": "object",
        "required": ["type", "event_id", "version", "position", "recorded_at", "commands"],
        "properties": {
            "type": { "type": "string", "examples": ["agent.AgentDecommissioned"] },
            "event_id": uuid(),
            "version": { "type": "integer", "minimum": 1, "description": "Of the resource, that it made." },
            "position": { "type": "integer" },
            "recorded_at": time(),
            "commands": commands("Those that it caused, by time."),
        },
    });
    [("Trace", trace), ("TraceCommand", command), ("TraceEvent", event)]
}

fn example() -> Value {
    let (retired, ended) = ("3b2e9a70-5c1d-5f48-8a6b-7c9d0e1f2a3b", "d1a6f4c2-8e37-5b90-a4c5-0f1e2d3c4b5a");
    let command = "0197f0c2-6f3d-7a54-9a3e-0d6b1f2c3d4e";
    let end = json!({
        "command_id": "5f7a3c1e-9b2d-8c46-b8e0-1a2b3c4d5e6f", "tenant": EXAMPLE_TENANT, "aggregate": "coupling",
        "subject": "8c1f6b2a-4d3e-4f70-9a8b-6c5d4e3f2a1b", "outcome": "applied", "version": 2, "reason": null,
        "recorded_at": "2026-01-31T12:00:00.004000Z", "source": "agentverse", "actor": null, "correlation": command,
        "causation": retired, "log": "coupling/3", "position": 812, "commands": [],
        "events": [{
            "type": "coupling.CouplingEnded", "event_id": ended, "version": 2, "position": 812,
            "recorded_at": "2026-01-31T12:00:00.004000Z", "commands": [],
        }],
    });
    let root = json!({
        "command_id": command, "tenant": EXAMPLE_TENANT, "aggregate": "agent", "subject": EXAMPLE_AGENT,
        "outcome": "applied", "version": 4, "reason": null, "recorded_at": "2026-01-31T12:00:00.000000Z",
        "source": "hr-feed", "actor": "ada", "correlation": null, "causation": null, "log": "agent/7", "position": 4711,
        "commands": [],
        "events": [{
            "type": "agent.AgentDecommissioned", "event_id": retired, "version": 4, "position": 4711,
            "recorded_at": "2026-01-31T12:00:00.000000Z", "commands": [end],
        }],
    });
    json!({
        "correlation": command, "command_count": 2, "event_count": 2, "refused_count": 0, "truncated": false,
        "roots": [root],
    })
}
