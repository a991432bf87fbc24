//! The agent as the read side shows it.

use super::*;
use serde_json::{Map, Value, json};

pub fn status(state: &State) -> &'static str {
    state.lifecycle.name()
}

/// All fields of the profile, and `lifecycle`, `health`, `revision`, `template` and `reason`.
pub fn view(state: &State) -> Map<String, Value> {
    let mut view = match serde_json::to_value(&state.profile) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    view.insert("lifecycle".to_owned(), Value::from(state.lifecycle.name()));
    view.insert("health".to_owned(), Value::from(state.health.name()));
    view.insert("revision".to_owned(), Value::from(state.revision));
    view.insert("template".to_owned(), json!(state.template));
    view.insert("reason".to_owned(), Value::from(state.reason.as_str()));
    view
}

pub const FILTERS: &[&str] =
    &["name", "category", "role", "skill", "domain", "project", "owner", "risk_tier", "health", "template"];
pub const VERBATIM: &[&str] = &["name", "category", "role", "skill", "domain", "project", "owner", "template"];

/// A template is found by its name and by its UUID; a sealed owner by nothing.
pub fn facet(state: &State, filter: &str) -> Vec<String> {
    let profile = &state.profile;
    match filter {
        "name" => vec![profile.name.clone()],
        "category" => vec![profile.category.clone()],
        "role" => vec![profile.role.clone()],
        "skill" => profile.skills.clone(),
        "domain" => profile.domains.clone(),
        "project" => profile.project.iter().cloned().collect(),
        "owner" => profile.owner.text().map(str::to_owned).into_iter().collect(),
        "risk_tier" => vec![profile.risk_tier.name().to_owned()],
        "health" => vec![state.health.name().to_owned()],
        "template" => match &state.template {
            Some(template) => vec![template.name.clone(), template.template_id.to_string()],
            None => Vec::new(),
        },
        _ => Vec::new(),
    }
}

pub fn choices(filter: &str) -> Vec<&'static str> {
    match filter {
        "status" => Lifecycle::NAMES.to_vec(),
        "risk_tier" => RiskTier::NAMES.to_vec(),
        "health" => Health::NAMES.to_vec(),
        _ => Vec::new(),
    }
}

pub fn texts(state: &State) -> Vec<Text<'_>> {
    let profile = &state.profile;
    let mut texts = vec![
        Text::name("name", &profile.name),
        Text::keyword("category", &profile.category),
        Text::keyword("role", &profile.role),
        Text::prose("purpose", &profile.purpose),
    ];
    texts.extend(Text::keywords("skill", &profile.skills));
    texts.extend(Text::keywords("domain", &profile.domains));
    texts
}
