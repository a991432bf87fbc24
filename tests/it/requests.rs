//! Requests to LLMs through the real binary: OpenAI's API in front, a stand-in provider behind, and every request a
//! stream of events between.

mod batches;
mod budget;
mod fallback;
mod hostile;
mod kept;
mod prices;
mod sdk;
mod selection;
mod strict;
mod ways_in;
mod worker;

use crate::cluster::fleet::Fleet;
use crate::e2e::http::Client;
use crate::e2e::server::{Folder, Server};
use crate::fake::server::Fake;
use serde_json::{Value, json};

/// Keys may go to the stand-in, which speaks without TLS.
const KEYS: &str = r#"{"FAKE_KEY": {"env": "PATH", "hosts": ["http://127.0.0.1"]}}"#;

/// Starts a node that carries requests out.
fn node<'a>(folder: &'a Folder, more: &[&str]) -> Server<'a> {
    let keys = folder.data().with_file_name("keys.json");
    std::fs::write(&keys, KEYS).unwrap();
    let keys = format!("llm_keys_file={}", keys.display());
    let settings = ["request_backoff_first_ms=10", &keys];
    let settings: Vec<&str> = settings.iter().chain(more).flat_map(|setting| ["--set", setting]).collect();
    Server::start_with(folder, &settings)
}

/// Registers a stand-in as a provider; gives the provider's id.
fn provider(client: &Client, name: &str, address: &str, more: &Value) -> String {
    let mut body = json!({
        "name": name, "wire_protocol": "openai", "endpoint": format!("http://{address}/v1"), "api_key_env": "FAKE_KEY",
        "models": [
            {"model_id": "m", "input_micro_usd_per_million": 1_000_000, "output_micro_usd_per_million": 2_000_000},
            {"model_id": "text-embedding-3-small", "input_micro_usd_per_million": 20_000},
        ],
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        body[field] = value.clone();
    }
    client.make("llm-providers", &body)
}

/// An agent that is coupled to a server and to the models of these objectives' choice; gives the coupling's id.
fn coupling(client: &Client, more: &Value) -> String {
    let agent = client.make("agents", &json!({"name": "Ada", "category": "support", "skills": ["search"]}));
    let server = client.make(
        "mcp-servers",
        &json!({"name": "Search", "category": "search", "transport": "streamable-http", "endpoint": "https://example.org/mcp"}),
    );
    client.post(&format!("/v1/agents/{agent}/activate?wait=projected"), &json!({}));
    let mut body = json!({"agent_id": agent, "mcp_server_id": server});
    for (field, value) in more.as_object().into_iter().flatten() {
        body[field] = value.clone();
    }
    let coupling = client.make("couplings", &body);
    let found = client.read(&format!("/v1/couplings/{coupling}"));
    assert_eq!(found["status"], "active", "{found}");
    coupling
}

/// Asks for a completion; gives the status and the body.
fn complete(client: &Client, body: &Value) -> (u16, Value) {
    let answer = client.post("/v1/chat/completions", body);
    (answer.status, answer.json())
}

fn chat(model: &str, text: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 40})
}

/// The names of the events of a request, in their order.
fn events(client: &Client, request: &str) -> Vec<String> {
    let page = client.read(&format!("/v1/llm-requests/{request}/history"));
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item["type"].as_str().unwrap().rsplit('.').next().unwrap().to_owned()).collect()
}

/// A fleet with the role `work` at work, and a client of that node.
fn fleet(suite: &str, more: &[(&str, &str)]) -> Option<(Fleet, Client)> {
    let keys = std::env::temp_dir().join(format!("agentverse-keys-{}.json", std::process::id()));
    std::fs::write(&keys, KEYS).unwrap();
    let keys = keys.display().to_string();
    let settings = [("request_calls", "on"), ("llm_keys_file", keys.as_str()), ("http_wait_ms_default", "30000")];
    let fleet = Fleet::start(suite, &[&settings[..], more].concat())?;
    let client = fleet.client("work-1", "6f1c2a52-0d5e-4c3b-9a77-1f0f6f1f9b01");
    Some((fleet, client))
}

fn stats(fake: &Fake) -> Value {
    fake.stats()
}
