//! An example of what is answered, by the name of its schema.

use super::{PROVIDER, SERVER, resources};
use crate::api::convenience::type_name;
use crate::api::openapi::components::{EXAMPLE_AGENT, EXAMPLE_COMMAND, EXAMPLE_TENANT, EXAMPLE_TIME, answer_example};
use crate::api::openapi::{BATCH, FILE, completion};
use crate::domain::Aggregate;
use serde_json::{Value, json};

/// An example of a schema that answers have.
pub fn of(schema: &str) -> Option<Value> {
    for aggregate in Aggregate::ALL.iter().copied() {
        match schema.strip_prefix(&type_name(aggregate)) {
            Some("") => return Some(resources::of(aggregate)),
            Some("Page") => return Some(page(resources::of(aggregate))),
            _ => {}
        }
    }
    let example = match schema {
        "Answer" => answer_example(),
        "BatchAnswer" => json!({ "items": [answer_example()] }),
        "DeadLetter" => letter(),
        "DeadLetterPage" => page(letter()),
        "Redriven" => json!({ "number": 7, "partition": 3, "attempts": 1 }),
        "UsagePage" => page(usage()),
        "RequestsStatus" => requests(),
        "ReplicaStatus" => json!({
            "state": "following", "is_complete": true, "rows": 4_200, "lag_ms": 73, "waiting_rows": 0,
            "disk_bytes": 5_316_360,
        }),
        "Heartbeat" => json!({ "id": EXAMPLE_AGENT, "health": "active", "lease_ms": 30_000 }),
        "Status" => json!({ "status": "ok" }),
        "Explanation" => explanation(),
        "ChatCompletion" => completion::chat(),
        "Embeddings" => completion::embeddings(),
        "OfferedModel" => json!({ "id": "local/small", "object": "model", "created": 0, "owned_by": "local" }),
        "Feedback" => json!({ "object": "feedback", "request_id": EXAMPLE_COMMAND, "score": 0.9 }),
        "OpenAiError" => json!({ "error": {
            "message": "A sentence that says what to do.", "type": "invalid_request_error", "param": null,
            "code": "invalid_value",
        } }),
        "BatchFileObject" => json!({
            "id": FILE, "object": "file", "bytes": 152, "created_at": 1_767_225_600, "filename": "questions.jsonl",
            "purpose": "batch",
        }),
        "BatchObject" => batch(),
        "RegistryError" => json!({ "error_code": 42205, "message": "A sentence that says what to do." }),
        "RegistrySchema" => json!({
            "subject": "agentverse.agent.IdleAgent", "version": 1, "id": 1_538_130_204, "schema": IDLE_AGENT,
        }),
        _ => return None,
    };
    Some(example)
}

/// The schema of a record without fields.
pub const IDLE_AGENT: &str =
    r#"{"type":"record","name":"IdleAgent","namespace":"agentverse.agent","doc":"Lets an agent rest.","fields":[]}"#;

/// A page of one item, the last.
pub fn page(item: Value) -> Value {
    json!({ "items": [item], "next_cursor": null })
}

/// How many resources there are of each status.
pub fn count(aggregate: Aggregate) -> Value {
    let status = aggregate.choices("status");
    json!({
        "count": 125, "group_by": "status", "groups": [{ "value": status[0], "count": 125 }], "without_value": 0,
        "further_values": 0,
    })
}

pub fn discoveries(aggregate: Aggregate) -> Value {
    let reason = json!({ "field": "skill", "value": "search", "because": "words", "words": ["search"] });
    json!({ "items": [{ "score": 4.2, "reasons": [reason], "resource": resources::of(aggregate) }] })
}

/// An event of each kind, with its fields.
fn event(aggregate: Aggregate) -> (&'static str, Value) {
    let reason = || json!({ "reason": "no longer needed" });
    match aggregate {
        Aggregate::Tenant => ("TenantSuspended", reason()),
        Aggregate::AgentTemplate => ("AgentTemplateRetired", reason()),
        Aggregate::Agent => ("AgentActivated", json!({})),
        Aggregate::McpServer => ("McpServerDeregistered", reason()),
        Aggregate::LlmProvider => ("LlmProviderDeregistered", reason()),
        Aggregate::Coupling => ("CouplingEnded", reason()),
        Aggregate::LlmRequest => ("RequestExpired", json!({ "attempts": 0, "open_attempt": false })),
        Aggregate::LlmBatch => ("BatchCancelling", json!({})),
        Aggregate::Skill => ("SkillRetired", reason()),
    }
}

/// A page of one event of a resource of this kind.
pub fn history(aggregate: Aggregate) -> Value {
    let (name, data) = event(aggregate);
    page(json!({
        "subject": resources::id(aggregate), "tenant": EXAMPLE_TENANT, "version": 2,
        "type": format!("{}.{name}", aggregate.name()), "kind": "event", "command_id": EXAMPLE_COMMAND,
        "event_id": "3b2e9a70-5c1d-5f48-8a6b-7c9d0e1f2a3b", "recorded_at": EXAMPLE_TIME, "source": "hr-feed",
        "actor": "ada", "correlation": null, "causation": null, "position": 4_711, "hash": "ab".repeat(32), "data": data,
    }))
}

fn letter() -> Value {
    json!({
        "number": 7, "topic": "agentverse.agent.commands", "partition": 3, "offset": 4_711, "command_id": EXAMPLE_COMMAND,
        "subject": EXAMPLE_AGENT, "code": "malformed", "cause": "the value is no record of this schema",
        "buried_at": EXAMPLE_TIME, "attempts": 0, "redriven": 0, "headers": { "ce_type": "agent.RegisterAgent" },
        "bytes_base64": "eyJuYW1lIjo=",
    })
}

fn usage() -> Value {
    json!({
        "by": "model", "key": format!("{PROVIDER}/small"), "window": "1h", "start": "2026-01-01T00:00:00.000000Z",
        "requests_completed": 4, "requests_failed": 0, "requests_expired": 0, "requests_cancelled": 0,
        "attempts_failed": 0, "extra_calls": 0, "input_tokens": 56, "output_tokens": 180, "cached_input_tokens": 9,
        "cache_write_tokens": 0, "reasoning_tokens": 0, "cost_usd": "0.000115725000", "calls_of_unknown_cost": 0,
        "unknown_cost_usd_estimated": "0.000000000000", "latency_ms_mean": 562, "latency_ms_p50": 496,
        "latency_ms_p95": 736, "provider_failures": 0, "ratings": 0, "rating_mean": null,
    })
}

fn requests() -> Value {
    let class = json!({
        "priority": "interactive", "waiting": 0, "oldest_wait_ms": 0, "begun": 36, "wait_ms_p50": 8, "wait_ms_p95": 267,
    });
    let model = json!({
        "provider_tenant_id": EXAMPLE_TENANT, "provider_id": PROVIDER, "model_id": "small", "open_calls": 1,
        "window_ms": 48_953, "calls": 4, "input_tokens": 56, "output_tokens": 180, "error_rate": 0.0,
        "latency_ms_p50": 490, "latency_ms_p95": 756, "answer_tokens_per_second": 79.9, "breaker": "closed",
        "breaker_opens_in_ms": null, "requests_per_minute": null, "tokens_per_minute": null,
    });
    let provider = json!({
        "tenant_id": EXAMPLE_TENANT, "id": PROVIDER, "name": "local", "requests_per_minute": 600,
        "tokens_per_minute": null,
    });
    json!({
        "owned_logs": 32, "running": 1, "open_calls": 1, "spilled": 0, "queue": [class], "models": [model],
        "providers": [provider],
    })
}

fn batch() -> Value {
    json!({
        "id": BATCH, "object": "batch", "endpoint": "/v1/chat/completions", "input_file_id": FILE,
        "completion_window": "24h", "status": "completed", "created_at": 1_767_225_600, "expires_at": 1_767_312_000,
        "completed_at": 1_767_225_660, "output_file_id": format!("{FILE}-output"), "error_file_id": null,
        "request_counts": { "total": 2, "completed": 2, "failed": 0 }, "metadata": {},
    })
}

/// Of a coupling that was refused: what is missing is told like what is there.
fn explanation() -> Value {
    let requirements = json!({
        "cost_per_1k_tokens_micro_usd_max": null, "latency_ms_max": null, "quality_min": null, "context_tokens_min": null,
        "modalities": ["text"],
    });
    let why = "no provider that this tenant may use offers this model; check provider_id and model_id";
    let model = || json!({ "provider_id": PROVIDER, "model_id": "enormous" });
    json!({
        "status": "refused", "summary": format!("Refused: {why} (model_not_found)."), "agent_id": EXAMPLE_AGENT,
        "mcp_server_id": SERVER, "model": null, "pinned": false, "fallbacks": [], "holds": [], "reason": "",
        "reasons": [{ "code": "model_not_found", "message": why, "details": model() }],
        "request": {
            "agent_id": EXAMPLE_AGENT, "mcp_server_id": SERVER, "model": model(), "objective": "balanced",
            "cost_per_1k_tokens_micro_usd_max": null, "required_capabilities": [],
        },
        "score": score(),
        "choice": {
            "objective": "balanced", "ranking": "best fit first, then lowest price", "requirements": requirements,
            "required_capabilities": [], "models_seen": 0, "candidate_count": 0, "candidates": [], "rejected": [],
        },
        "seen": {
            "tenant_version": 3, "agent_version": 2, "mcp_server_tenant_id": EXAMPLE_TENANT, "mcp_server_version": 3,
            "llm_provider_tenant_id": null, "llm_provider_id": null, "llm_provider_version": null,
        },
        "failed_search": null,
    })
}

fn score() -> Value {
    let domains = json!({
        "part": "domains", "question": "Is the server's category among the agent's domains?",
        "rule": "words in common / words in either, for the best domain; 1 when they are the same", "value": 1.0,
        "weight": 0.25, "weight_used": 1.0, "contribution": 1.0, "unknown": null, "left_out": false,
    });
    json!({
        "value": null, "threshold": 0.5, "formula": "sum of weight x part / sum of weights, over the parts that are known",
        "calculation": "no model met the rules, so there is no score", "parts": [domains], "reliability": null,
        "skill_matches": [{ "skill": "search", "tool": "search_papers", "share": 0.5 }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::openapi::convert::json_schema;

    #[test]
    fn every_event_of_an_example_is_one_with_these_fields() {
        for aggregate in Aggregate::ALL.iter().copied() {
            let (name, data) = event(aggregate);
            assert!(aggregate.events().contains(&name), "{name}");
            let schema = json_schema(aggregate.codec(name).unwrap().text);
            let fields: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
            assert_eq!(data.as_object().unwrap().keys().collect::<Vec<_>>(), fields, "{name}");
        }
    }
}
