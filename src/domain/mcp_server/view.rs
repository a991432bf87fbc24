//! The server as the read side shows it.

use super::*;
use serde_json::{Map, Value, json};

pub const FILTERS: &[&str] = &["name", "category", "transport", "health", "capability", "tool"];
pub const VERBATIM: &[&str] = &["name", "category", "capability", "tool"];

pub fn status(state: &State) -> &'static str {
    state.status.name()
}

pub fn view(state: &State) -> Map<String, Value> {
    let listing = &state.listing;
    let mut view = Map::new();
    view.insert("name".into(), json!(listing.name));
    view.insert("category".into(), json!(listing.category));
    view.insert("description".into(), json!(listing.description));
    view.insert("transport".into(), json!(listing.transport.name()));
    view.insert("endpoint".into(), json!(listing.endpoint));
    view.insert("package".into(), json!(listing.package));
    view.insert("capabilities".into(), json!(listing.capabilities));
    view.insert("health".into(), json!(state.health.name()));
    view.insert("tools".into(), state.tools.iter().map(tool_view).collect());
    view.insert("tools_known".into(), json!(state.tools_known));
    view.insert("reason".into(), json!(state.reason));
    view
}

/// The schema as JSON where it is JSON, null where it is unknown, else its text.
fn tool_view(tool: &DigestedTool) -> Value {
    let input_schema = match serde_json::from_str(&tool.input_schema) {
        Ok(schema) => schema,
        Err(_) if tool.input_schema.is_empty() => Value::Null,
        Err(_) => Value::from(tool.input_schema.as_str()),
    };
    json!({
        "name": tool.name, "description": tool.description, "input_schema": input_schema, "digest": tool.digest,
    })
}

pub fn facet(state: &State, filter: &str) -> Vec<String> {
    match filter {
        "name" => vec![state.listing.name.clone()],
        "category" => vec![state.listing.category.clone()],
        "transport" => vec![state.listing.transport.name().into()],
        "health" => vec![state.health.name().into()],
        "capability" => state.listing.capabilities.clone(),
        "tool" => state.tools.iter().map(|tool| tool.name.clone()).collect(),
        _ => Vec::new(),
    }
}

pub fn choices(filter: &str) -> Vec<&'static str> {
    match filter {
        "status" => Status::NAMES.to_vec(),
        "transport" => Transport::NAMES.to_vec(),
        "health" => Health::NAMES.to_vec(),
        _ => Vec::new(),
    }
}

pub fn texts(state: &State) -> Vec<Text<'_>> {
    let listing = &state.listing;
    let mut texts = vec![
        Text::name("name", &listing.name),
        Text::keyword("category", &listing.category),
        Text::prose("description", &listing.description),
    ];
    texts.extend(Text::keywords("capability", &listing.capabilities));
    for tool in &state.tools {
        texts.push(Text::keyword("tool", &tool.name));
        texts.push(Text::prose("tool_description", &tool.description));
    }
    texts
}
