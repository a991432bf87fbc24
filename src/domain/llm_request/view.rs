//! The request as the read side shows it: all but what was asked and answered, which the history has.

use super::*;
use serde_json::{Map, Value, json};

pub fn status(state: &State) -> &'static str {
    state.status.name()
}

/// Times are microseconds since 1970; `cost_usd` is exact, as text.
pub fn view(state: &State) -> Map<String, Value> {
    let request = &state.request;
    let answer = state.answer.as_ref();
    let attempts: Vec<Value> = state.attempts.iter().map(attempt).collect();
    let row = [
        ("coupling_id", json!(request.coupling_id)),
        ("agent_id", json!(request.agent_id)),
        ("coupling_version", json!(request.coupling_version)),
        ("project", json!(request.project)),
        ("operation", json!(request.operation)),
        ("models", json!(request.models)),
        ("model", json!(state.model())),
        ("priority", json!(request.priority)),
        ("deadline_at", json!(request.deadline_at)),
        ("storage", json!(request.storage)),
        ("stream", json!(request.stream)),
        ("prompt_tokens_estimated", json!(request.prompt_tokens_estimated)),
        ("output_tokens_max", json!(request.output_tokens_max)),
        ("has_payload", json!(state.has_payload)),
        ("payload_sha256", json!(request.payload_sha256)),
        ("payload_bytes", json!(request.payload_bytes)),
        ("has_answer", json!(answer.is_some_and(|it| it.is_stored))),
        ("answer_sha256", json!(answer.and_then(|it| it.sha256.as_deref()))),
        ("answer_bytes", json!(answer.map(|it| it.bytes))),
        ("finish_reason", json!(answer.and_then(|it| it.finish_reason.as_deref()))),
        ("latency_ms", json!(answer.map(|it| it.latency_ms))),
        ("first_byte_ms", json!(answer.and_then(|it| it.first_byte_ms))),
        ("attempts", Value::Array(attempts)),
        ("lost_attempts", json!(state.lost_attempts)),
        ("extra_calls", json!(state.extra_calls)),
        ("usage", json!(state.totals.usage)),
        ("usage_estimated", json!(state.totals.is_usage_estimated)),
        ("cost_usd", json!(usd(state.totals.cost_pico_usd))),
        ("calls_of_unknown_cost", json!(state.totals.calls_of_unknown_cost)),
        ("unknown_cost_usd_estimated", json!(usd(state.totals.unknown_cost_pico_usd))),
        ("ratings", json!(state.ratings.len())),
        ("rating", json!(rating::mean(&state.ratings))),
        ("error", json!(state.error)),
        ("reason", json!(state.reason)),
    ];
    row.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn attempt(attempt: &Attempt) -> Value {
    let end = match attempt.end {
        AttemptEnd::Open => "open",
        AttemptEnd::Failed => "failed",
        AttemptEnd::Completed => "completed",
        AttemptEnd::Lost => "lost",
        AttemptEnd::Extra => "extra",
    };
    json!({
        "attempt": attempt.attempt,
        "worker": attempt.worker,
        "model": attempt.model,
        "started_at": attempt.started_at,
        "lease_until": attempt.lease_until,
        "tokens_reserved": attempt.tokens_reserved,
        "cost_usd_estimated": usd(attempt.cost_estimated_pico_usd),
        "end": end,
        "error": attempt.error,
    })
}

/// What a running request hangs on: its coupling and its agent.
pub fn depends_on(state: &State, stream: &StreamId) -> Vec<StreamId> {
    if !state.is_running() {
        return Vec::new();
    }
    let coupling = state.request.coupling_id.map(|id| StreamId::new(stream.tenant, Aggregate::Coupling, id));
    let agent = state.request.agent_id.map(|id| StreamId::new(stream.tenant, Aggregate::Agent, id));
    coupling.into_iter().chain(agent).collect()
}

pub const FILTERS: &[&str] = &["coupling_id", "agent_id", "project", "provider_id", "model_id", "priority"];
pub const VERBATIM: &[&str] = &["coupling_id", "agent_id", "project", "provider_id", "model_id"];

/// `provider_id` and `model_id` are of the last attempt; before the first one, of the first choice.
pub fn facet(state: &State, filter: &str) -> Vec<String> {
    let request = &state.request;
    match filter {
        "coupling_id" => request.coupling_id.map(|id| id.to_string()).into_iter().collect(),
        "agent_id" => request.agent_id.map(|id| id.to_string()).into_iter().collect(),
        "project" => request.project.iter().cloned().collect(),
        "provider_id" => state.model().map(|model| model.provider_id.to_string()).into_iter().collect(),
        "model_id" => state.model().map(|model| model.model_id.clone()).into_iter().collect(),
        "priority" => vec![request.priority.name().into()],
        _ => Vec::new(),
    }
}

pub fn choices(filter: &str) -> Vec<&'static str> {
    match filter {
        "status" => Status::NAMES.to_vec(),
        "priority" => Priority::NAMES.to_vec(),
        _ => Vec::new(),
    }
}
