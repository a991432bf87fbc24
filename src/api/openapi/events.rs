//! The operation that tells what happens, live.

use super::components::{EXAMPLE_AGENT, EXAMPLE_TENANT};
use super::operations::Operation;
use crate::api::events::types_of;
use crate::domain::Aggregate;
use serde_json::{Value, json};

pub fn events() -> Operation {
    let query = |name: &str, schema: Value, description: &str| json!({ "name": name, "in": "query", "required": false, "schema": schema, "description": description });
    let many = |name: &str, items: Value, description: &str| {
        let mut parameter = query(name, json!({ "type": "array", "items": items }), description);
        parameter["style"] = json!("form");
        parameter["explode"] = json!(true);
        parameter
    };
    let types: Vec<_> = Aggregate::ALL.iter().copied().flat_map(types_of).collect();
    let names: Vec<_> = Aggregate::ALL.iter().map(|aggregate| aggregate.name()).collect();
    let uuid = || json!({ "type": "string", "format": "uuid" });
    let from = "Where to begin: now; at the beginning; with what was recorded from a time on (RFC 3339); or after a \
                message, by its id. Last-Event-ID goes before it.";
    let last = "Go on after the message with this id: nothing is missed and nothing comes twice, on any node and after any \
                restart. Empty: as if it were not there.";
    let places = json!([{ "enum": ["now", "beginning"] }, { "type": "string", "format": "date-time" }, id()]);
    let taken = json!({
        "description": "A stream of server-sent events without an end. A message's `event` is the event's type, its `data` \
            the entry as histories show it with `tenant`, `aggregate`, the resource's `id` and its `log`; its `id` says \
            where the reader stands in every log. Messages that are no events: `behind` (with the `records` and `seconds` \
            that the reader is back, once each time that it is too slow to be served from memory), `mark` (an id alone: \
            events were passed over that were not asked for) and, with until=now, `end`.",
        "content": { "text/event-stream": { "schema": { "type": "string" }, "example": example() } },
    });
    let mut operation = Operation::reading(
        "read-events",
        "events",
        "What happens, live: every event once, in the order of its log, from any place on.",
        "Status",
    );
    operation.shared_parameters = vec!["TenantOnLoopback"];
    operation.own_parameters = vec![
        query("tenant", uuid(), "The tenant, for clients that send no headers."),
        many("aggregate", json!({ "enum": names }), "Only events of these kinds of resources."),
        many("type", json!({ "enum": types }), "Only events of these types."),
        query("id", uuid(), "Only events of the resource with this id."),
        query("from", json!({ "anyOf": places, "default": "now" }), from),
        query("until", json!({ "enum": ["now"] }), "End with what there is, instead of waiting for more."),
        json!({ "name": "Last-Event-ID", "in": "header", "required": false, "schema": { "anyOf": [id(), { "const": "" }] }, "description": last }),
    ];
    operation.answers =
        vec![(200, taken), (204, json!({ "description": "With until=now: nothing came after Last-Event-ID." }))];
    operation.problems = vec![400, 403, 405, 503];
    operation
}

/// A message's id: opaque.
fn id() -> Value {
    json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]+$" })
}

fn example() -> String {
    let data = json!({
        "version": 1, "type": "agent.AgentRegistered", "kind": "event",
        "command_id": "0197f0c2-6f3d-7a54-9a3e-0d6b1f2c3d4e", "event_id": "3b2e9a70-5c1d-5f48-8a6b-7c9d0e1f2a3b",
        "recorded_at": "2026-01-31T12:00:00.000000Z", "source": "hr-feed", "actor": "ada", "correlation": null,
        "causation": null, "position": 4711, "hash": "ab".repeat(32), "data": { "profile": { "name": "ada", "category": "research" } },
        "tenant": EXAMPLE_TENANT, "aggregate": "agent", "subject": EXAMPLE_AGENT, "log": "agent/7",
    });
    format!("retry: 1000\n\nid: xQpbN2qGgTEBAQEBIAA\nevent: agent.AgentRegistered\ndata: {data}\n\n")
}
