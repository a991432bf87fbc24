//! The schema of a coupling's explanation: how its score came about, and what was weighed.

use super::resource::{coupling_field, object, or_null, part, text};
use crate::domain::Aggregate;
use serde_json::{Value, json};

pub fn schema() -> Value {
    let established = |field: &str| part(Aggregate::Coupling, "CouplingEstablished", field);
    let mut schema = object([
        ("status", coupling_field("status")),
        ("summary", text("All of it in a few sentences.")),
        ("agent_id", coupling_field("agent_id")),
        ("mcp_server_id", coupling_field("mcp_server_id")),
        ("model", coupling_field("model")),
        ("pinned", coupling_field("pinned")),
        ("fallbacks", coupling_field("fallbacks")),
        ("holds", coupling_field("holds")),
        ("reason", coupling_field("reason")),
        ("reasons", coupling_field("reasons")),
        ("request", established("request")),
        ("score", or_null(score())),
        ("choice", or_null(choice())),
        ("seen", or_null(established("assessment/seen"))),
        ("failed_search", or_null(choice())),
    ]);
    schema["description"] = json!("How a coupling's score came about, and what was weighed.");
    schema
}

fn assessed(field: &str) -> Value {
    part(Aggregate::Coupling, "CouplingEstablished", &format!("assessment/{field}"))
}

fn score() -> Value {
    let share = || json!({ "type": ["number", "null"] });
    let unknown = object([("code", text("")), ("meaning", text(""))]);
    let row = object([
        ("part", json!({ "enum": ["skills", "domains", "model", "cost"] })),
        ("question", text("")),
        ("rule", text("")),
        ("value", share()),
        ("weight", json!({ "type": "number", "description": "When all four are known." })),
        ("weight_used", json!({ "type": "number" })),
        ("contribution", share()),
        ("unknown", or_null(unknown)),
        ("left_out", json!({ "type": "boolean" })),
    ]);
    object([
        ("value", share()),
        ("threshold", json!({ "type": "number" })),
        ("formula", text("")),
        ("calculation", text("The sum written out.")),
        ("parts", json!({ "type": "array", "items": row })),
        ("reliability", assessed("reliability")),
        ("skill_matches", assessed("skill_matches")),
    ])
}

fn choice() -> Value {
    let candidate = |field: &str| assessed(&format!("candidates/items/{field}"));
    let number = || json!({ "type": ["number", "null"] });
    let mut row = object([
        ("rank", json!({ "type": "integer", "minimum": 1 })),
        ("role", or_null(text("in use, or fallback and its number."))),
        ("provider_id", candidate("model/provider_id")),
        ("provider", text("")),
        ("model_id", candidate("model/model_id")),
        ("micro_usd_per_1k_tokens", number()),
        ("latency_ms_p50", number()),
        ("quality", number()),
        ("error_rate", number()),
        ("calls", number()),
        ("model_part", number()),
        ("cost_part", number()),
        ("score", json!({ "type": "number" })),
        ("reaches_threshold", json!({ "type": "boolean" })),
    ]);
    for name in ["latency_is_measured", "quality_is_measured"] {
        row["properties"][name] = json!({ "type": "boolean" });
    }
    let example = object([
        ("provider_id", candidate("model/provider_id")),
        ("model_id", candidate("model/model_id")),
        ("detail", text("")),
    ]);
    let rejected = object([
        ("reason", assessed("rejected/items/reason")),
        ("meaning", text("")),
        ("count", json!({ "type": "integer", "minimum": 1 })),
        ("examples", json!({ "type": "array", "items": example })),
    ]);
    object([
        ("objective", assessed("objective")),
        ("ranking", text("How candidates are ordered.")),
        ("requirements", assessed("requirements")),
        ("required_capabilities", assessed("required_capabilities")),
        ("models_seen", assessed("models_seen")),
        ("candidate_count", assessed("candidate_count")),
        ("candidates", json!({ "type": "array", "items": row })),
        ("rejected", json!({ "type": "array", "items": rejected })),
    ])
}
