//! The schemas, parameters, headers and error answers that operations refer to.

use super::convert::json_schema;
use super::event::command_event;
use super::{batches, completion, completions, explanation, imports, registry, resource, search, status, trace};
use crate::api::answer::outcome_name;
use crate::api::entry::KIND_CHOICES;
use crate::api::params::{LIMIT_DEFAULT, LIMIT_MAX};
use crate::api::problem::{CONTENT_TYPE_PROBLEM, KINDS, Problem};
use crate::domain::Aggregate;
use crate::domain::common::Health;
use crate::domain::usage::{Dimension, Window};
use crate::flow::gateway::Wait;
use crate::flow::outcome::OutcomeKind;
use hyper::StatusCode;
use serde_json::{Map, Value, json};

/// A tenant, an agent and a command as the examples name them.
pub const EXAMPLE_TENANT: &str = "6f1c2a34-0d0e-4c39-9a1b-5d6f7e8a9b0c";
pub const EXAMPLE_AGENT: &str = "0b9f7c1e-4d55-5b7a-8c55-0f6a3f9e2d11";
pub const EXAMPLE_COMMAND: &str = "01980f3e-7a52-7c3b-a1de-5b8d1f0c9e77";
pub const EXAMPLE_TIME: &str = "2026-01-01T00:00:00.000001Z";

pub fn components() -> Value {
    json!({ "schemas": schemas(), "parameters": parameters(), "responses": responses() })
}

fn schemas() -> Map<String, Value> {
    let mut schemas = Map::new();
    for aggregate in Aggregate::ALL {
        for command in aggregate.commands() {
            let avro = aggregate.codec(command).map_or("", |codec| codec.text);
            schemas.insert((*command).to_owned(), json_schema(avro));
        }
    }
    for (name, schema) in [
        ("CommandEvent", command_event()),
        ("CommandBatch", json!({ "type": "array", "items": reference("CommandEvent") })),
        ("Answer", answer()),
        ("BatchAnswer", batch_answer()),
        ("Reason", reason()),
        ("HistoryEntry", history_entry()),
        ("Change", change()),
        ("HistoryPage", page("HistoryEntry")),
        ("DeadLetter", dead_letter()),
        ("Redriven", redriven()),
        ("DeadLetterPage", page("DeadLetter")),
        ("Usage", usage()),
        ("UsagePage", page("Usage")),
        ("RequestsStatus", status::schema()),
        ("Heartbeat", heartbeat()),
        ("Explanation", explanation::schema()),
        (
            "Status",
            json!({ "type": "object", "properties": { "status": { "type": "string" } }, "required": ["status"] }),
        ),
        ("Problem", problem()),
    ] {
        schemas.insert(name.to_owned(), schema);
    }
    schemas.extend(resource::schemas());
    schemas.extend(imports::schemas().map(|(name, schema)| (name.to_owned(), schema)));
    schemas.extend(batches::schemas().map(|(name, schema)| (name.to_owned(), schema)));
    schemas.extend(search::schemas().map(|(name, schema)| (name.to_owned(), schema)));
    schemas.extend(registry::schemas().map(|(name, schema)| (name.to_owned(), schema)));
    schemas.extend(trace::schemas().map(|(name, schema)| (name.to_owned(), schema)));
    schemas.extend(completion::schemas().map(|(name, schema)| (name.to_owned(), schema)));
    schemas.extend(completions::schemas().map(|(name, schema)| (name.to_owned(), schema)));
    schemas
}

/// A reference to one of the schemas.
pub fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn answer() -> Value {
    let kinds = [OutcomeKind::Accepted, OutcomeKind::Applied, OutcomeKind::Refused, OutcomeKind::DeadLettered];
    let outcomes: Vec<&str> = kinds.into_iter().map(outcome_name).chain(["malformed"]).collect();
    json!({
        "type": "object",
        "required": ["id", "subject", "outcome", "version", "reason"],
        "properties": {
            "id": { "type": ["string", "null"], "description": "The command's UUID; of a malformed one the id as it was sent, or null." },
            "subject": { "type": ["string", "null"], "format": "uuid" },
            "outcome": { "enum": outcomes, "description": "malformed: could not be read, and was not recorded; only in batches." },
            "version": { "type": ["integer", "null"], "description": "The stream's version after it, once decided." },
            "reason": { "anyOf": [reference("Reason"), { "type": "null" }] },
            "reached": {
                "enum": Wait::ALL.map(Wait::name),
                "description": "How far it is, in the words of wait, where that is less than what was asked for: the wait ran out \
                    before (what is missing comes later, unasked), or this node does not search.",
            },
        },
        "examples": [answer_example()],
    })
}

pub fn answer_example() -> Value {
    json!({ "id": EXAMPLE_COMMAND, "subject": EXAMPLE_AGENT, "outcome": "applied", "version": 1, "reason": null })
}

fn batch_answer() -> Value {
    json!({
        "type": "object",
        "required": ["items"],
        "properties": { "items": { "type": "array", "items": reference("Answer") } },
    })
}

fn reason() -> Value {
    json!({
        "type": "object",
        "required": ["code", "message", "details"],
        "properties": {
            "code": { "type": "string", "description": "Stable: for programs." },
            "message": { "type": "string", "description": "A sentence that says what to do." },
            "details": { "type": "object", "additionalProperties": { "type": "string" } },
        },
    })
}

fn history_entry() -> Value {
    json!({
        "type": "object",
        "required": ["subject", "tenant", "version", "type", "kind", "command_id", "recorded_at", "actor", "data"],
        "properties": {
            "subject": { "type": "string", "format": "uuid", "description": "The resource." },
            "tenant": { "type": "string", "format": "uuid" },
            "version": { "type": "integer", "description": "The stream's version after it; only an event makes a new one." },
            "type": { "type": "string", "examples": ["agent.AgentRegistered"] },
            "kind": { "enum": KIND_CHOICES },
            "command_id": { "type": "string", "format": "uuid" },
            "event_id": { "type": ["string", "null"], "format": "uuid" },
            "recorded_at": { "type": "string", "format": "date-time" },
            "source": { "type": "string" },
            "actor": { "type": ["string", "null"], "description": "Who is answerable for the command, where its sender said so." },
            "correlation": { "type": ["string", "null"], "description": "What groups everything that followed from one request; where it is null the command's id does. /v1/trace shows it." },
            "causation": { "type": ["string", "null"], "description": "What the command follows from: of one that the system sent, the event_id of its cause." },
            "position": { "type": "integer", "description": "In the log that holds the stream." },
            "hash": { "type": "string", "description": "blake3 over the hash of the record before it in the log, and its own bytes." },
            "data": { "description": "An event's fields, a refusal's reason, else null." },
            "changes": { "type": "array", "items": reference("Change"), "description": "With diff=true: what it changed of the resource; empty where it is no event." },
        },
    })
}

fn change() -> Value {
    json!({
        "type": "object",
        "required": ["path"],
        "properties": {
            "path": { "type": "string", "description": "A JSON Pointer (RFC 6901) into the resource." },
            "before": { "description": "Left out where there was nothing: the operation add of JSON Patch (RFC 6902)." },
            "after": { "description": "Left out where nothing is left: the operation remove. Both: replace." },
        },
        "description": "One difference between the resource before an event and after it; done in their order from {}, all of them make the resource, without its id, tenant, version and times. Objects are compared field by field; lists of plain values whole; lists of objects element by element, after what is the same at their beginning and end.",
        "examples": [{ "path": "/name", "before": "ada", "after": "Ada Lovelace" }],
    })
}

fn dead_letter() -> Value {
    json!({
        "type": "object",
        "required": ["number", "code", "cause", "buried_at", "attempts", "redriven", "bytes_base64"],
        "properties": {
            "number": { "type": "integer", "minimum": 0, "description": "Names the letter for as long as it is kept." },
            "topic": { "type": "string" },
            "partition": { "type": "integer" },
            "offset": { "type": "integer" },
            "command_id": { "type": ["string", "null"], "format": "uuid" },
            "subject": { "type": ["string", "null"], "format": "uuid" },
            "code": { "type": "string" },
            "cause": { "type": "string" },
            "buried_at": { "type": "string", "format": "date-time" },
            "attempts": { "type": "integer", "minimum": 0, "description": "How often it had been sent again when it died this time." },
            "redriven": { "type": "integer", "minimum": 0, "description": "How often this letter was sent again since." },
            "headers": { "type": "object", "additionalProperties": { "type": "string" } },
            "bytes_base64": { "type": "string", "contentEncoding": "base64" },
        },
    })
}

fn redriven() -> Value {
    json!({
        "type": "object",
        "required": ["number", "partition", "attempts"],
        "properties": {
            "number": { "type": "integer", "minimum": 0 },
            "partition": { "type": "integer", "description": "Of the topic by which it came." },
            "attempts": { "type": "integer", "minimum": 1, "description": "How often the command was sent again, with this time." },
        },
    })
}

fn usage() -> Value {
    let count = |description: &str| json!({ "type": "integer", "minimum": 0, "description": description });
    let latency = |description: &str| json!({ "type": ["integer", "null"], "minimum": 0, "description": description });
    json!({
        "type": "object",
        "required": ["by", "key", "window", "start", "requests_completed", "cost_usd", "calls_of_unknown_cost"],
        "properties": {
            "by": { "enum": Dimension::ALL.map(Dimension::name) },
            "key": { "type": "string", "description": "An id, a project's name, or provider id/model id." },
            "window": { "enum": Window::ALL.map(Window::name) },
            "start": { "type": "string", "format": "date-time", "description": "Windows of a day begin at midnight UTC." },
            "requests_completed": count("Requests that ended in this window with an answer."),
            "requests_failed": count("That ended without one."),
            "requests_expired": count("Whose deadline passed."),
            "requests_cancelled": count("That nobody wanted any more."),
            "attempts_failed": count("Attempts that came to nothing, of requests that may have gone on."),
            "extra_calls": count("Calls that were reported too late to count as their request's. They cost all the same."),
            "input_tokens": count("Of all calls, failed and extra ones too; with what was read from and written to caches."),
            "output_tokens": count("With the reasoning."),
            "cached_input_tokens": count("Of the input: read from the provider's cache."),
            "cache_write_tokens": count("Of the input: written to it."),
            "reasoning_tokens": count("Of the output."),
            "cost_usd": { "type": "string", "pattern": "^[0-9]+\\.[0-9]{12}$", "description": "Exact, of the calls whose cost is known." },
            "calls_of_unknown_cost": count("Calls that were or may have been paid and of which the cost is not known."),
            "unknown_cost_usd_estimated": { "type": "string", "pattern": "^[0-9]+\\.[0-9]{12}$", "description": "What those were estimated to cost before; it counts against the tenant's budget." },
            "latency_ms_mean": latency("Of the calls that completed their requests; null where there is none."),
            "latency_ms_p50": latency("Within a sixteenth."),
            "latency_ms_p95": latency("Within a sixteenth."),
            "provider_failures": count("Calls that failed by the provider's fault, and not by the caller's."),
            "ratings": { "type": "integer", "description": "Ratings of answers that were given in this window; one that replaces another was given as well." },
            "rating_mean": { "type": ["number", "null"], "minimum": 0, "maximum": 1, "description": "Their mean; for models, the median over groups of tenants of each group's mean. Null where there is none." },
        },
    })
}

fn heartbeat() -> Value {
    json!({
        "type": "object",
        "required": ["id", "health", "lease_ms"],
        "properties": {
            "id": { "type": "string", "format": "uuid" },
            "health": { "enum": Health::NAMES },
            "lease_ms": { "type": "integer", "description": "How long the agent stays healthy without another heartbeat." },
        },
        "examples": [{ "id": EXAMPLE_AGENT, "health": "active", "lease_ms": 30000 }],
    })
}

fn problem() -> Value {
    let codes: Vec<&str> = KINDS.iter().map(|kind| kind.code).collect();
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": { "type": "string", "format": "uri-reference", "description": "/problems/ and the code." },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string", "description": "A sentence that says what to do." },
            "code": { "enum": codes },
        },
    })
}

pub fn page(item: &str) -> Value {
    json!({
        "type": "object",
        "required": ["items", "next_cursor"],
        "properties": {
            "items": { "type": "array", "items": reference(item) },
            "next_cursor": { "type": ["string", "null"], "description": "Give it as cursor for the next page; null after the last. A page can be short, even empty, and still have one." },
        },
    })
}

fn parameters() -> Value {
    let uuid = json!({ "type": "string", "format": "uuid" });
    let header = |name: &str, schema: Value, description: &str| json!({ "name": name, "in": "header", "required": false, "schema": schema, "description": description });
    let query = |name: &str, schema: Value, description: &str| json!({ "name": name, "in": "query", "required": false, "schema": schema, "description": description });
    let text = || json!({ "type": "string" });
    json!({
        "Tenant": {
            "name": "AgentVerse-Tenant", "in": "header", "required": true, "schema": uuid, "example": EXAMPLE_TENANT,
            "description": "The tenant that the request is for; the nil UUID is the shared catalogue.",
        },
        "TenantOfEvent": header("AgentVerse-Tenant", uuid.clone(), "Needed where the event has no tenantid."),
        "TenantOfNew": header("AgentVerse-Tenant", uuid.clone(), "The new tenant's id; made from the command's id when missing."),
        "TenantOnLoopback": header("AgentVerse-Tenant", uuid.clone(), "Shows this tenant alone. Without it, on loopback only, all are shown."),
        "TenantOrKey": header("AgentVerse-Tenant", uuid, "The tenant that the request is for. Without it the API key is: Authorization: Bearer <tenant>."),
        "IdempotencyKey": header("Idempotency-Key", json!({ "type": "string", "minLength": 1, "maxLength": 1024 }), "Stands for a missing id of the command."),
        "IfMatch": with_example("\"3\"", header("If-Match", json!({ "type": "string", "pattern": "^\"[0-9]{1,18}\"$" }), "The ETag of the resource: refuse unless it is still at this version.")),
        "IfNoneMatch": with_example("\"3\"", header("If-None-Match", text(), "The ETag of the resource: 304 while it is still at this version.")),
        "Wait": query("wait", json!({ "enum": Wait::ALL.map(Wait::name) }), "Answer once the command is durable, decided, shown by the routes that read, or found by this node's searches, sorts and counts too. /v1/commands waits for accepted unless asked, the others for projected."),
        "TimeoutMs": query("timeout_ms", json!({ "type": "integer", "minimum": 0, "maximum": 30000, "default": 5000 }), "How long to wait; an answer that comes before what was waited for says in reached how far the command is."),
        "Limit": query("limit", json!({ "type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT }), "Most items of the page."),
        "AsOf": as_of(),
        "AsOfTime": {
            "name": "as_of", "in": "query", "required": false, "schema": { "type": "string", "format": "date-time" },
            "description": "The list as it was at this time, by when the log recorded each event: the resources that there were, as they stood then, and the filters asked of that. Answered from read models that show all that was recorded when it was asked; 503 while they do not. A version is refused: each resource counts its own.",
        },
        "Cursor": query("cursor", json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]+$" }), "next_cursor of the page before, with the same path, tenant and filters."),
    })
}

fn with_example(example: &str, mut parameter: Value) -> Value {
    parameter["example"] = json!(example);
    parameter
}

fn as_of() -> Value {
    json!({
        "name": "as_of", "in": "query", "required": false,
        "schema": { "anyOf": [{ "type": "string", "format": "date-time" }, { "type": "integer", "minimum": 1 }] },
        "description": "The resource as it stood at a time (RFC 3339, any offset; by when the log recorded each event, to the microsecond), or at a version. It holds every command whose outcome was told as applied before it was asked; for a moment that has just passed, one that was decided by then can still come in. 404 says when the resource began, or its newest version; a time to come is 400.",
        "examples": { "time": { "value": EXAMPLE_TIME }, "version": { "value": 1 } },
    })
}

/// Status codes with an answer of their own under `#/components/responses`.
pub const PROBLEM_STATUSES: [u16; 10] = [400, 403, 404, 405, 408, 409, 413, 415, 500, 503];

fn responses() -> Map<String, Value> {
    PROBLEM_STATUSES
        .into_iter()
        .filter_map(|status| {
            let kinds = || KINDS.iter().filter(move |kind| kind.status.as_u16() == status);
            let codes: Vec<&str> = kinds().map(|kind| kind.code).collect();
            let example = Problem::new(kinds().next()?, "A sentence that says what to do.").body();
            let mut response = json!({
                "description": format!("{}: {}.", StatusCode::from_u16(status).ok()?, codes.join(", ")),
                "content": { CONTENT_TYPE_PROBLEM: { "schema": reference("Problem"), "example": example } },
            });
            if status == 503 {
                response["headers"] =
                    json!({ "Retry-After": { "schema": { "type": "integer" }, "description": "Seconds." } });
            }
            Some((format!("Problem{status}"), response))
        })
        .collect()
}
