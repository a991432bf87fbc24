//! The template as the read side shows it.

use super::*;
use serde_json::{Map, Value};

pub fn status(state: &State) -> &'static str {
    state.status.name()
}

/// All fields of the definition, and `reason`.
pub fn view(state: &State) -> Map<String, Value> {
    let mut view = match serde_json::to_value(&state.definition) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    view.insert("reason".to_owned(), Value::from(state.reason.as_str()));
    view
}

pub const FILTERS: &[&str] = &["name", "category", "role", "skill", "domain"];
pub const VERBATIM: &[&str] = FILTERS;

pub fn facet(state: &State, filter: &str) -> Vec<String> {
    let definition = &state.definition;
    match filter {
        "name" => vec![definition.name.clone()],
        "category" => vec![definition.category.clone()],
        "role" => vec![definition.role.clone()],
        "skill" => definition.skills.clone(),
        "domain" => definition.domains.clone(),
        _ => Vec::new(),
    }
}

pub fn choices(filter: &str) -> Vec<&'static str> {
    match filter {
        "status" => Status::NAMES.to_vec(),
        _ => Vec::new(),
    }
}

pub fn texts(state: &State) -> Vec<Text<'_>> {
    let definition = &state.definition;
    let mut texts = vec![
        Text::name("name", &definition.name),
        Text::keyword("category", &definition.category),
        Text::keyword("role", &definition.role),
        Text::prose("purpose", &definition.purpose),
    ];
    texts.extend(Text::keywords("skill", &definition.skills));
    texts.extend(Text::keywords("domain", &definition.domains));
    texts
}
