//! An example of each kind of resource as it is shown: what a new one shows, and over that what makes it one of its kind.
//! What a kind shows anew is in its example without a word here.

use super::{PROVIDER, REQUEST, SERVER, TIME};
use crate::api::openapi::components::{EXAMPLE_AGENT, EXAMPLE_COMMAND, EXAMPLE_TENANT, EXAMPLE_TIME};
use crate::domain::{Aggregate, AnyState};
use serde_json::{Map, Value, json};

pub const TEMPLATE: &str = "2c6b8f10-9d4e-5a37-b1c8-3e7f5a9d0b62";
pub const COUPLING: &str = "8c1f6b2a-4d3e-4f70-9a8b-6c5d4e3f2a1b";
const SKILL: &str = "c4a1e7d9-0b3f-5826-9e5d-7a8b6c4f2e10";

/// The resource's id in its example.
pub fn id(aggregate: Aggregate) -> &'static str {
    match aggregate {
        Aggregate::Tenant => EXAMPLE_TENANT,
        Aggregate::AgentTemplate => TEMPLATE,
        Aggregate::Agent => EXAMPLE_AGENT,
        Aggregate::McpServer => SERVER,
        Aggregate::LlmProvider => PROVIDER,
        Aggregate::Coupling => COUPLING,
        Aggregate::LlmRequest => EXAMPLE_COMMAND,
        Aggregate::LlmBatch => REQUEST,
        Aggregate::Skill => SKILL,
    }
}

pub fn of(aggregate: Aggregate) -> Value {
    let mut shown = AnyState::initial(aggregate).view();
    shown.extend(named([
        ("id", json!(id(aggregate))),
        ("tenant", json!(EXAMPLE_TENANT)),
        ("version", json!(1)),
        ("status", json!(aggregate.choices("status").first())),
        ("created_at", json!(EXAMPLE_TIME)),
        ("updated_at", json!(EXAMPLE_TIME)),
    ]));
    shown.extend(own(aggregate));
    Value::Object(shown)
}

fn named<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
}

/// What makes it one of its kind.
fn own(aggregate: Aggregate) -> Map<String, Value> {
    match aggregate {
        Aggregate::Tenant => named([
            ("name", json!("Acme")),
            ("region", json!("eu-north")),
            ("tier", json!("emerald")),
            ("monthly_budget_micro_usd", json!(5_000_000)),
            ("projects", json!({ "apollo": { "allowed_mcp_servers": [SERVER], "allowed_llm_providers": null } })),
        ]),
        Aggregate::AgentTemplate => named([
            ("name", json!("researcher")),
            ("category", json!("research")),
            ("instructions", json!("Look into {topic}.")),
            ("skills", json!(["search"])),
            ("parameters", json!([{ "name": "topic", "description": "What to look into.", "default_value": null }])),
        ]),
        Aggregate::Agent => named([
            ("name", json!("ada")),
            ("category", json!("research")),
            ("purpose", json!("finds papers")),
            ("role", json!("analyst")),
            ("skills", json!(["search"])),
            ("lifecycle", json!("provisioning")),
        ]),
        Aggregate::McpServer => named([
            ("name", json!("search")),
            ("category", json!("research")),
            ("description", json!("Finds papers.")),
            ("endpoint", json!("https://mcp.example.com/")),
            ("capabilities", json!(["tools"])),
            ("health", json!("active")),
            ("tools", json!([tool()])),
            ("tools_known", json!(true)),
        ]),
        Aggregate::LlmProvider => named([
            ("name", json!("local")),
            ("endpoint", json!("https://llm.example.com/v1")),
            ("requests_per_minute", json!(600)),
            ("models", json!([model()])),
            ("model_count", json!(1)),
        ]),
        Aggregate::Skill => named([
            ("name", json!("route_planning")),
            ("caption", json!("Route planning")),
            ("ancestors", json!(["planning"])),
            ("parent", json!("planning")),
            ("category", json!("planning")),
        ]),
        Aggregate::Coupling => coupling(),
        Aggregate::LlmRequest => llm_request(),
        Aggregate::LlmBatch => llm_batch(),
    }
}

fn tool() -> Value {
    json!({
        "name": "search_papers", "description": "Search papers by topic", "input_schema": { "type": "object" },
        "digest": "ab".repeat(32),
    })
}

fn model() -> Value {
    json!({
        "model_id": "small", "name": "Small", "context_tokens": 128_000, "output_tokens_max": 8_192,
        "input_micro_usd_per_million": 150_000, "output_micro_usd_per_million": 600_000,
        "cached_input_micro_usd_per_million": 75_000, "cache_write_micro_usd_per_million": null,
        "batch_input_micro_usd_per_million": null, "batch_output_micro_usd_per_million": null, "price_source": null,
        "priced_at": null, "input_modalities": ["text"], "output_modalities": ["text"], "tool_calling": true,
        "structured_output": true, "latency_ms_p50": 800, "quality": 0.9, "measured": null, "model_health": "up",
        "model_health_reason": "",
    })
}

fn coupling() -> Map<String, Value> {
    named([
        ("agent_id", json!(EXAMPLE_AGENT)),
        ("mcp_server_id", json!(SERVER)),
        ("model", json!({ "provider_id": PROVIDER, "model_id": "small", "provider": "local" })),
        ("score", json!(0.819_231)),
        ("parts", json!({ "skills": 0.609_375, "domains": 1.0, "model": 0.6, "cost": 0.8125 })),
    ])
}

fn llm_request() -> Map<String, Value> {
    let model = || json!({ "provider_id": PROVIDER, "provider_tenant_id": EXAMPLE_TENANT, "model_id": "small" });
    let attempt = json!({
        "attempt": 1, "worker": "worker-1", "model": model(), "started_at": TIME, "lease_until": TIME + 600_000_000,
        "tokens_reserved": 210, "cost_usd_estimated": "0.000113000000", "end": "completed", "error": "",
    });
    let usage = json!({
        "input_tokens": 15, "output_tokens": 50, "cached_input_tokens": 3, "cache_write_tokens": 0, "reasoning_tokens": 0,
    });
    named([
        ("version", json!(3)),
        ("status", json!("completed")),
        ("coupling_id", json!(COUPLING)),
        ("agent_id", json!(EXAMPLE_AGENT)),
        ("coupling_version", json!(1)),
        ("models", json!([model()])),
        ("model", model()),
        ("deadline_at", json!(TIME + 3_600_000_000)),
        ("prompt_tokens_estimated", json!(30)),
        ("output_tokens_max", json!(180)),
        ("has_payload", json!(true)),
        ("payload_sha256", json!("cd".repeat(32))),
        ("payload_bytes", json!(118)),
        ("has_answer", json!(true)),
        ("answer_sha256", json!("ef".repeat(32))),
        ("answer_bytes", json!(767)),
        ("finish_reason", json!("stop")),
        ("latency_ms", json!(751)),
        ("attempts", json!([attempt])),
        ("usage", usage),
        ("cost_usd", json!("0.000032025000")),
    ])
}

fn llm_batch() -> Map<String, Value> {
    named([
        ("version", json!(5)),
        ("status", json!("completed")),
        ("filename", json!("questions.jsonl")),
        ("closed_at", json!(TIME)),
        ("parts", json!(1)),
        ("bytes", json!(152)),
        ("sha256", json!("ab".repeat(32))),
        ("requests", json!(2)),
        ("operation", json!("chat_completion")),
        ("files", json!(["input", "output"])),
        ("metadata", json!({})),
        ("started_at", json!(TIME)),
        ("expires_at", json!(TIME + 86_400_000_000)),
        ("ended_at", json!(TIME + 60_000_000)),
        ("line", json!(2)),
        ("completed", json!(2)),
        ("failed", json!(0)),
        ("expired", json!(0)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_of_its_kind_and_has_no_field_that_it_does_not_show() {
        for aggregate in Aggregate::ALL.iter().copied() {
            let view = AnyState::initial(aggregate).view();
            let common = ["version", "status"];
            for name in own(aggregate).keys() {
                assert!(view.contains_key(name) || common.contains(&name.as_str()), "{aggregate:?}.{name}");
            }
            let shown = of(aggregate);
            assert!(aggregate.choices("status").contains(&shown["status"].as_str().unwrap()), "{aggregate:?}");
            assert_ne!(shown["name"], "", "{aggregate:?}");
        }
    }
}
