//! The provider as the read side shows it.

use super::*;
use serde_json::{Map, Value, json};

pub const FILTERS: &[&str] = &["name", "wire_protocol", "health", "model"];

pub fn status(state: &State) -> &'static str {
    match state.status {
        Status::Absent => "absent",
        Status::Registered => "registered",
        Status::Deregistered => "deregistered",
    }
}

pub fn view(state: &State) -> Map<String, Value> {
    let access = &state.access;
    let mut view = Map::new();
    view.insert("name".into(), json!(access.name));
    view.insert("wire_protocol".into(), json!(access.wire_protocol.name()));
    view.insert("endpoint".into(), json!(access.endpoint));
    view.insert("api_key_env".into(), json!(access.api_key_env));
    view.insert("health".into(), json!(state.health.name()));
    view.insert("models".into(), json!(state.models));
    view.insert("model_count".into(), json!(state.models.len()));
    view.insert("requests_per_minute".into(), json!(state.requests_per_minute));
    view.insert("tokens_per_minute".into(), json!(state.tokens_per_minute));
    view.insert("reason".into(), json!(state.reason));
    view
}

pub fn facet(state: &State, filter: &str) -> Vec<String> {
    match filter {
        "name" => vec![state.access.name.clone()],
        "wire_protocol" => vec![state.access.wire_protocol.name().into()],
        "health" => vec![state.health.name().into()],
        "model" => state.models.iter().map(|model| model.model_id.clone()).collect(),
        _ => Vec::new(),
    }
}
