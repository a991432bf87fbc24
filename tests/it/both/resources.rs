//! What is made and changed by itself: tenants, templates, agents, servers, providers.

use super::pair::{Ask, Pair};
use super::{OTHER, SHARED, TENANT, id};
use crate::e2e::http::Client;
use serde_json::{Value, json};
use uuid::Uuid;

/// Agents of the lists; more are made beside them.
pub const AGENTS: u64 = 13;

pub fn agent(number: u64) -> String {
    id(0xa, number)
}

pub fn server(number: u64) -> String {
    id(0x5, number)
}

pub fn provider(number: u64) -> String {
    id(0x9, number)
}

/// An embedded node loads the built-in templates when it starts; a cluster is given them by its operator, as here: the
/// same definitions in the same order, so that the positions behind them are the same.
pub fn load_the_shared_templates(cluster: &Client) {
    let catalogue: Value = serde_json::from_str(include_str!("../../../deploy/catalog/templates.json")).unwrap();
    let define = |definition: &Value| {
        let name = format!("agent_template/{}", definition["name"].as_str().unwrap().to_lowercase());
        let subject = Uuid::new_v5(&Uuid::nil(), name.as_bytes());
        json!({
            "id": name, "source": "agentverse/catalog", "actor": "agentverse/catalog", "subject": subject,
            "type": "agent_template.DefineAgentTemplate", "data": { "definition": definition },
        })
    };
    let commands: Vec<Value> = catalogue["entries"].as_array().unwrap().iter().map(define).collect();
    let shared = Client { tenant: Some(SHARED.into()), ..cluster.clone() };
    let answer = shared.post("/v1/commands?wait=projected", &json!(commands));
    let items = answer.json();
    let applied = items["items"].as_array().is_some_and(|items| items.iter().all(|item| item["outcome"] == "applied"));
    assert!(answer.status == 200 && applied, "{}: {}", answer.status, answer.text());
}

pub fn tenants(pair: &mut Pair) {
    pair.create("tenants", TENANT, &json!({"name": "Acme", "region": "eu-west", "tier": "emerald"}));
    pair.create_for(OTHER, "applied", "tenants", OTHER, &json!({"name": "Other", "region": "us", "tier": "opal"}));
    pair.create_for(TENANT, "already_exists", "tenants", TENANT, &json!({"name": "Acme again"}));
    let closing = id(0x7, 1);
    pair.create_for(&closing, "applied", "tenants", &closing, &json!({"name": "Brief"}));
    let own = format!("/v1/tenants/{TENANT}");
    pair.command("applied", Ask::patch(&own, &json!({"region": "eu-north"})));
    pair.command("applied", Ask::patch(&own, &json!({"region": "eu-north"})));
    for (expected, verb, body) in [
        ("applied", "revise", json!({"tier": "diamond"})),
        ("applied", "set-budget", json!({"monthly_budget_micro_usd": 5_000_000})),
        ("invalid", "set-budget", json!({"monthly_budget_micro_usd": -1})),
        ("applied", "set-coupling-threshold", json!({"coupling_threshold": 0.1})),
        ("invalid", "set-coupling-threshold", json!({"coupling_threshold": 1.5})),
        ("applied", "add-project", json!({"project": "atlas", "allowed_mcp_servers": [server(1)]})),
        ("applied", "revise-project", json!({"project": "atlas", "allowed_llm_providers": [provider(1)]})),
        ("applied", "remove-project", json!({"project": "atlas"})),
        ("applied", "suspend", json!({"reason": "unpaid"})),
        ("applied", "resume", json!({})),
        ("already_exists", "provision", json!({"name": "Acme", "tier": "onyx"})),
    ] {
        pair.perform(expected, &format!("{own}/{verb}"), &body);
    }
    let as_it = |path: &str, body: Value| Ask::post(path, &body).tenant(Some(&closing));
    pair.command("applied", as_it(&format!("/v1/tenants/{closing}/close"), json!({"reason": "sold"})));
    pair.command("tenant_closed", as_it("/v1/agents", json!({"name": "late"})).with("ce-subject", agent(90)));
}

pub fn templates(pair: &mut Pair) {
    let own = id(0x3, 1);
    let definition = json!({
        "name": "Auditor", "category": "governance", "role": "Checks {scope}", "instructions": "Audit {scope} at {company}.",
        "parameters": [{"name": "company"}, {"name": "scope", "default_value": "everything"}],
        "skills": ["read ledgers"], "domains": ["finance"],
    });
    pair.create("agent-templates", &own, &definition);
    pair.perform("applied", &format!("/v1/agent-templates/{own}/define"), &json!({ "definition": definition }));
    let from = |template: &str| json!({"name": "Otto", "template": template, "template_parameters": {"company": "Acme", "field": "materials"}});
    pair.create("agents", &agent(50), &from("Research Analyst"));
    let by_id = json!({"name": "Otto", "template": own, "template_parameters": {"company": "Acme"}});
    pair.create("agents", &agent(51), &by_id);
    pair.create_for(TENANT, "template_not_found", "agents", &agent(52), &from("Nobody's"));
    pair.perform("applied", &format!("/v1/agent-templates/{own}/retire"), &json!({"reason": "replaced"}));
    pair.create_for(TENANT, "template_retired", "agents", &agent(53), &by_id);
}

pub fn agents(pair: &mut Pair) {
    for number in 0..AGENTS {
        let category = if number.is_multiple_of(3) { "research" } else { "finance" };
        let body = json!({
            "name": format!("agent {number}"), "category": category, "skills": [format!("skill {}", number % 2), "search papers"],
            "domains": ["research"], "risk_tier": if number == 4 { "high" } else { "low" }, "owner": "ada@example.com",
        });
        pair.create("agents", &agent(number), &body);
    }
    let first = format!("/v1/agents/{}", agent(0));
    pair.command(
        "applied",
        Ask::patch(&first, &json!({"purpose": "to be first", "instructions": "Be brief — and kind."})),
    );
    for (expected, verb, body) in [
        ("applied", "activate", json!({})),
        ("applied", "activate", json!({})),
        ("applied", "maintain", json!({"reason": "new skills"})),
        ("applied", "idle", json!({})),
        ("applied", "idle", json!({})),
        ("applied", "report-health", json!({"health": "degraded", "reason": "slow"})),
        ("applied", "revise", json!({"category": "science"})),
        ("invalid", "revise", json!({"name": ""})),
        ("already_exists", "register", json!({"name": "somebody else", "category": "research"})),
    ] {
        pair.perform(expected, &format!("{first}/{verb}"), &body);
    }
    for number in [1, 2, 5] {
        pair.perform("applied", &format!("/v1/agents/{}/activate", agent(number)), &json!({}));
    }
    pair.perform("applied", &format!("/v1/agents/{}/decommission", agent(12)), &json!({"reason": "done"}));
    pair.perform("illegal_transition", &format!("/v1/agents/{}/activate", agent(12)), &json!({}));
    pair.create_for(OTHER, "applied", "agents", &agent(60), &json!({"name": "theirs", "category": "research"}));
}

pub fn servers(pair: &mut Pair) {
    let tool =
        |name: &str| json!({"name": name, "description": "Search papers by topic", "input_schema": {"type": "object"}});
    for number in 1..=4 {
        let body = json!({
            "name": format!("Library {number}"), "category": "research", "transport": "streamable-http",
            "endpoint": "https://library.example/mcp", "capabilities": ["tools"], "tools": [tool("search_papers")],
        });
        pair.create("mcp-servers", &server(number), &body);
    }
    let path = format!("/v1/mcp-servers/{}", server(4));
    pair.command("applied", Ask::patch(&path, &json!({"description": "all of them"})));
    for (expected, verb, body) in [
        ("applied", "discover-tools", json!({"tools": [tool("search_papers"), tool("cite")]})),
        ("applied", "discover-tools", json!({"tools": [tool("cite")]})),
        ("applied", "report-health", json!({"health": "offline", "reason": "gone"})),
        ("applied", "revise", json!({"category": "archive"})),
        ("already_exists", "register", json!({"name": "Another"})),
        ("applied", "deregister", json!({"reason": "moved"})),
        ("illegal_transition", "revise", json!({"category": "late"})),
    ] {
        pair.perform(expected, &format!("{path}/{verb}"), &body);
    }
}

/// A model that tells by its numbers which is better.
fn model(name: &str, quality: f64) -> Value {
    json!({
        "model_id": name, "context_tokens": 200_000, "quality": quality, "latency_ms_p50": 1200,
        "input_micro_usd_per_million": 1_000_000, "output_micro_usd_per_million": 4_000_000,
        "input_modalities": ["text"], "output_modalities": ["text"], "tool_calling": true,
    })
}

pub fn providers(pair: &mut Pair) {
    for (number, name, models) in [
        (1, "House", json!([model("house-large", 0.9), model("house-small", 0.6)])),
        (2, "Guest", json!([model("guest-large", 0.8)])),
        (3, "Gone", json!([model("gone", 0.2)])),
    ] {
        let body = json!({
            "name": name, "wire_protocol": "openai", "endpoint": "https://models.example/v1", "api_key_env": "HOUSE_KEY",
            "models": models, "requests_per_minute": 60,
        });
        pair.create("llm-providers", &provider(number), &body);
    }
    let path = format!("/v1/llm-providers/{}", provider(3));
    pair.command("applied", Ask::patch(&path, &json!({"endpoint": "https://gone.example/v1"})));
    for (expected, verb, body) in [
        ("applied", "put-models", json!({"models": [model("gone", 0.3), model("new", 0.1)]})),
        ("applied", "set-limits", json!({"requests_per_minute": 10, "tokens_per_minute": 1000})),
        ("applied", "retire-models", json!({"model_ids": ["new"], "reason": "too new"})),
        ("model_unknown", "retire-models", json!({"model_ids": ["never"]})),
        ("applied", "report-health", json!({"health": "active"})),
        ("applied", "revise", json!({"name": "Gone for good"})),
        ("already_exists", "register", json!({"name": "Another"})),
        ("applied", "deregister", json!({"reason": "closed"})),
        ("illegal_transition", "set-limits", json!({})),
    ] {
        pair.perform(expected, &format!("{path}/{verb}"), &body);
    }
}
