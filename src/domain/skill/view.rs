//! The skill as the read side shows it.

use super::*;
use serde_json::{Map, Value};

pub fn status(state: &State) -> &'static str {
    state.status.name()
}

/// All fields of the definition, its `parent` (the nearest skill above it, or null), its `category` (the broadest, or its
/// own name), and `reason`.
pub fn view(state: &State) -> Map<String, Value> {
    let mut view = match serde_json::to_value(&state.definition) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    view.insert("parent".to_owned(), state.definition.ancestors.first().map_or(Value::Null, |it| it.as_str().into()));
    view.insert("category".to_owned(), category(state).into());
    view.insert("reason".to_owned(), state.reason.as_str().into());
    view
}

fn category(state: &State) -> &str {
    state.definition.ancestors.last().unwrap_or(&state.definition.name)
}

/// `ancestor` has any skill above, so that it lists all that is below one.
pub const FILTERS: &[&str] = &["name", "parent", "ancestor", "category"];
pub const VERBATIM: &[&str] = FILTERS;

pub fn facet(state: &State, filter: &str) -> Vec<String> {
    let definition = &state.definition;
    match filter {
        "name" => vec![definition.name.clone()],
        "parent" => definition.ancestors.first().cloned().into_iter().collect(),
        "ancestor" => definition.ancestors.clone(),
        "category" => vec![category(state).to_owned()],
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
        Text::name("caption", &definition.caption),
        Text::prose("description", &definition.description),
    ];
    texts.extend(Text::keywords("ancestor", &definition.ancestors));
    texts
}
