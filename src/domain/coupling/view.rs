use super::*;
use serde_json::{Map, Value, json};

pub fn status(state: &State) -> &'static str {
    state.status.name()
}

pub fn view(state: &State) -> Map<String, Value> {
    let binding = state.binding.as_ref();
    let parts = state.assessment.as_ref().map(|it| &it.parts);
    let score = binding.map(|it| it.score).or_else(|| state.assessment.as_ref()?.score);
    let row = [
        ("agent_id", json!(state.request.agent_id)),
        ("mcp_server_id", json!(state.request.mcp_server_id)),
        ("mcp_server_shared", json!(binding.is_some() && state.mcp_server_tenant_id.is_nil())),
        ("model", binding.map_or(Value::Null, model)),
        ("fallbacks", json!(binding.map(|it| it.fallbacks.as_slice()).unwrap_or_default())),
        ("pinned", json!(binding.map_or(state.request.model.is_some(), |it| it.pinned))),
        ("objective", json!(state.request.objective)),
        ("cost_per_1k_tokens_micro_usd_max", json!(state.request.cost_per_1k_tokens_micro_usd_max)),
        ("required_capabilities", json!(state.request.required_capabilities)),
        ("score", json!(score)),
        ("parts", parts.map_or(Value::Null, values)),
        ("holds", json!(state.holds)),
        ("reason", json!(state.reason)),
        ("reasons", json!(state.reasons)),
    ];
    row.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The model in use, with its provider's name.
pub fn model(binding: &Binding) -> Value {
    json!({
        "provider_id": binding.model.provider_id,
        "model_id": binding.model.model_id,
        "provider": binding.provider_name,
    })
}

fn values(parts: &Parts) -> Value {
    json!({
        "skills": parts.skills.value,
        "domains": parts.domains.value,
        "model": parts.model.value,
        "cost": parts.cost.value,
    })
}

pub const FILTERS: &[&str] = &["agent_id", "mcp_server_id", "provider_id", "model_id", "objective", "hold"];
pub const VERBATIM: &[&str] = &["agent_id", "mcp_server_id", "provider_id", "model_id"];

pub fn facet(state: &State, filter: &str) -> Vec<String> {
    let used = state.binding.as_ref().map(|binding| &binding.model);
    match filter {
        "agent_id" => vec![state.request.agent_id.to_string()],
        "mcp_server_id" => vec![state.request.mcp_server_id.to_string()],
        "provider_id" => used.map(|model| model.provider_id.to_string()).into_iter().collect(),
        "model_id" => used.map(|model| model.model_id.clone()).into_iter().collect(),
        "objective" => vec![state.request.objective.name().into()],
        "hold" => state.holds.iter().map(|hold| hold.name().into()).collect(),
        _ => Vec::new(),
    }
}

pub fn choices(filter: &str) -> Vec<&'static str> {
    match filter {
        "status" => Status::NAMES.to_vec(),
        "objective" => Objective::NAMES.to_vec(),
        "hold" => Hold::NAMES.to_vec(),
        _ => Vec::new(),
    }
}

pub fn texts(state: &State) -> Vec<Text<'_>> {
    let model = state.binding.as_ref().map(|binding| Text::name("model_id", &binding.model.model_id));
    let mut texts: Vec<_> = model.into_iter().collect();
    texts.push(Text::prose("reason", &state.reason));
    texts
}
