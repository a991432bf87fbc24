//! The tenant as the read side shows it.

use super::*;
use serde_json::{Map, Value, json};

pub fn status(state: &State) -> &'static str {
    state.status.name()
}

/// `coupling_threshold` is the effective one; `projects` is keyed by name.
pub fn view(state: &State) -> Map<String, Value> {
    let threshold = state.coupling_threshold.unwrap_or(COUPLING_THRESHOLD_DEFAULT);
    Map::from_iter([
        ("name".to_owned(), json!(state.name)),
        ("region".to_owned(), json!(state.region)),
        ("tier".to_owned(), json!(state.tier)),
        ("monthly_budget_micro_usd".to_owned(), json!(state.monthly_budget_micro_usd)),
        ("coupling_threshold".to_owned(), json!(threshold)),
        ("reason".to_owned(), json!(state.reason)),
        ("projects".to_owned(), json!(state.projects)),
        ("prompt_storage".to_owned(), json!(state.prompt_storage)),
        ("budget_alert".to_owned(), json!(state.budget_alert)),
    ])
}

pub const FILTERS: &[&str] = &["region", "tier", "name"];
pub const VERBATIM: &[&str] = &["region", "name"];

pub fn facet(state: &State, filter: &str) -> Vec<String> {
    match filter {
        "region" => vec![state.region.clone()],
        "tier" => vec![state.tier.name().to_owned()],
        "name" => vec![state.name.clone()],
        _ => Vec::new(),
    }
}

pub fn choices(filter: &str) -> Vec<&'static str> {
    match filter {
        "status" => Status::NAMES.to_vec(),
        "tier" => Tier::NAMES.to_vec(),
        _ => Vec::new(),
    }
}

pub fn texts(state: &State) -> Vec<Text<'_>> {
    let mut texts = vec![
        Text::name("name", &state.name),
        Text::keyword("region", &state.region),
        Text::keyword("tier", state.tier.name()),
    ];
    texts.extend(state.projects.keys().map(|name| Text::keyword("project", name)));
    texts
}
