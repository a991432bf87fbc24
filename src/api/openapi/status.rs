//! The operation that shows how a node's requests do, and its schema.

use super::components::reference;
use super::operations::{Operation, described};
use crate::domain::llm_request::Priority;
use serde_json::{Value, json};

pub fn requests() -> Operation {
    let summary = "How the requests to LLMs of this node do: what waits, what is called, and the last minute by model.";
    Operation {
        id: "requests-status".into(),
        tag: "usage",
        summary: summary.into(),
        shared_parameters: vec!["TenantOnLoopback"],
        own_parameters: Vec::new(),
        body: None,
        answers: vec![(200, described("Found.", reference("RequestsStatus"), None))],
        problems: vec![400, 404, 405, 500, 503],
    }
}

pub fn schema() -> Value {
    let count = |description: &str| json!({ "type": "integer", "minimum": 0, "description": description });
    let maybe = |description: &str| json!({ "type": ["integer", "null"], "minimum": 0, "description": description });
    let uuid = || json!({ "type": "string", "format": "uuid" });
    let class = json!({
        "type": "object",
        "properties": {
            "priority": { "enum": Priority::NAMES },
            "waiting": count("Requests of all tenants that wait on this node."),
            "oldest_wait_ms": count("How long the oldest of them waits."),
            "begun": count("Requests whose first call began within the last minute."),
            "wait_ms_p50": maybe("How long these had waited."),
            "wait_ms_p95": maybe("How long these had waited."),
        },
    });
    let model = json!({
        "type": "object",
        "properties": {
            "provider_tenant_id": uuid(),
            "provider_id": uuid(),
            "model_id": { "type": "string" },
            "open_calls": count("Calls under way."),
            "window_ms": count("What calls and tokens are counted over: at most a minute."),
            "calls": count("Calls that ended in this window."),
            "input_tokens": count("Of these calls."),
            "output_tokens": count("Of these calls."),
            "error_rate": { "type": "number", "minimum": 0, "maximum": 1 },
            "latency_ms_p50": maybe("Of the calls that were answered."),
            "latency_ms_p95": maybe("Of the calls that were answered."),
            "answer_tokens_per_second": { "type": "number", "minimum": 0, "description": "Of one call, on average." },
            "breaker": { "enum": ["closed", "open", "half_open"] },
            "breaker_opens_in_ms": maybe("When a call is tried again, where it is open."),
            "requests_per_minute": maybe("The limit that the provider told of this model."),
            "tokens_per_minute": maybe("The same for tokens."),
        },
    });
    let provider = json!({
        "type": "object",
        "properties": {
            "tenant_id": uuid(),
            "id": uuid(),
            "name": { "type": "string" },
            "requests_per_minute": maybe("Its limit over all models and all nodes; null: none."),
            "tokens_per_minute": maybe("The same for tokens."),
        },
    });
    let list = |items: Value| json!({ "type": "array", "items": items });
    json!({
        "type": "object",
        "required": ["owned_logs", "running", "open_calls", "spilled", "queue", "models", "providers"],
        "properties": {
            "owned_logs": count("Logs of requests that this node owns."),
            "running": count("Requests that are carried out, those that wait for their limits included."),
            "open_calls": count("Calls under way."),
            "spilled": count("Requests that stay on their logs for want of room."),
            "queue": list(class),
            "models": list(model),
            "providers": list(provider),
        },
    })
}
