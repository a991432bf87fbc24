//! The provider as the read side shows it.

use super::*;
use serde_json::{Map, Value, json};

pub const FILTERS: &[&str] = &["name", "wire_protocol", "health", "model"];
pub const VERBATIM: &[&str] = &["name", "model"];

pub fn status(state: &State) -> &'static str {
    state.status.name()
}

pub fn view(state: &State) -> Map<String, Value> {
    let access = &state.access;
    let mut view = Map::new();
    view.insert("name".into(), json!(access.name));
    view.insert("wire_protocol".into(), json!(access.wire_protocol.name()));
    view.insert("endpoint".into(), json!(access.endpoint));
    view.insert("api_key_env".into(), json!(access.api_key_env));
    view.insert("health".into(), json!(state.health.name()));
    view.insert("models".into(), state.models.iter().map(|it| model(state, it)).collect());
    view.insert("model_count".into(), json!(state.models.len()));
    view.insert("requests_per_minute".into(), json!(state.requests_per_minute));
    view.insert("tokens_per_minute".into(), json!(state.tokens_per_minute));
    view.insert("reason".into(), json!(state.reason));
    view
}

/// A model as it is declared, with what calls show of it beside that.
fn model(state: &State, model: &Model) -> Value {
    let mut shown = json!(model);
    let condition = state.conditions.get(&model.model_id);
    shown["measured"] = json!(state.measured.get(&model.model_id));
    shown["model_health"] = json!(condition.map(|it| it.health).unwrap_or_default());
    shown["model_health_reason"] = json!(condition.map(|it| it.reason.as_str()).unwrap_or_default());
    shown
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

pub fn choices(filter: &str) -> Vec<&'static str> {
    match filter {
        "status" => Status::NAMES.to_vec(),
        "wire_protocol" => WireProtocol::NAMES.to_vec(),
        "health" => Health::NAMES.to_vec(),
        _ => Vec::new(),
    }
}

pub fn texts(state: &State) -> Vec<Text<'_>> {
    let mut texts = vec![Text::name("name", &state.access.name)];
    for model in &state.models {
        texts.push(Text::keyword("model", &model.model_id));
        texts.push(Text::keyword("model", &model.name));
    }
    texts
}
