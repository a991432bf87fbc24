//! A new user's first walk, by HTTP and by the command line: from a tenant to a coupling that ended with its cause.

use super::http::Client;
use super::server::{Folder, Server, eventually, run};
use super::{NOBODY, TENANT};
use serde_json::{Value, json};

pub fn server_data() -> Value {
    json!({
        "name": "Library", "category": "research", "transport": "streamable-http",
        "endpoint": "https://library.example/mcp",
        "tools": [{"name": "search_papers", "description": "Search papers by topic", "input_schema": {"type": "object"}}],
    })
}

pub fn provider_data() -> Value {
    json!({
        "name": "House models", "wire_protocol": "openai", "endpoint": "https://models.example/v1",
        "api_key_env": "HOUSE_KEY",
        "models": [{
            "model_id": "house-large", "context_tokens": 200_000, "quality": 0.9, "latency_ms_p50": 1200,
            "input_micro_usd_per_million": 1_000_000, "output_micro_usd_per_million": 4_000_000,
            "input_modalities": ["text"], "output_modalities": ["text"], "tool_calling": true,
        }],
    })
}

pub fn agent_data() -> Value {
    json!({
        "name": "Ada", "template": "Research Analyst",
        "template_parameters": {"company": "Acme", "field": "materials"},
    })
}

/// Waits for the end of a coupling and holds its history against the agent's: the one is the other's cause.
fn assert_ended_by_its_agent(client: &Client, coupling: &str, agent: &str) {
    let ended = eventually("the coupling's end", || {
        let coupling = client.read(&format!("/v1/couplings/{coupling}"));
        (coupling["status"] == "ended").then_some(coupling)
    });
    assert_eq!(ended["version"], 2);
    let agent_story = client.walk(&format!("/v1/agents/{agent}/history"), 100);
    let last = agent_story.last().unwrap();
    assert_eq!(last["type"], "agent.AgentDecommissioned");
    assert_eq!(last["data"]["reason"], "project over");
    let story = client.walk(&format!("/v1/couplings/{coupling}/history"), 100);
    let types: Vec<_> = story.iter().map(|entry| entry["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["coupling.CouplingEstablished", "coupling.CouplingEnded"]);
    assert_eq!(story[1]["causation"], last["event_id"], "the end names the event that caused it");
    assert!(!ended["reason"].as_str().unwrap().is_empty(), "{ended}");
    for (at, entry) in story.iter().enumerate() {
        assert_eq!(entry["version"], at + 1);
        for field in ["command_id", "recorded_at", "data"] {
            assert!(!entry[field].is_null(), "{field} of {entry}");
        }
        assert!(entry.get("actor").is_some(), "{entry}");
    }
}

fn assert_explained(explained: &Value) {
    let score = explained["score"]["value"].as_f64().unwrap();
    assert!((0.4..=1.0).contains(&score), "{explained}");
    let text = explained.to_string();
    for part in ["house-large", "skills", "domains", "cost", "model"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn the_first_walk_by_http() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let agent = client.make("agents", &agent_data());
    let shown = client.read(&format!("/v1/agents/{agent}"));
    assert!(shown["instructions"].as_str().unwrap().contains("Acme"), "{shown}");
    assert!(!shown["skills"].as_array().unwrap().is_empty(), "{shown}");
    let mcp_server = client.make("mcp-servers", &server_data());
    let provider = client.make("llm-providers", &provider_data());
    let wish = json!({"agent_id": agent, "mcp_server_id": mcp_server, "objective": "cost"});
    let coupling = client.make("couplings", &wish);
    let shown = client.read(&format!("/v1/couplings/{coupling}"));
    assert_eq!((&shown["version"], &shown["tenant"]), (&json!(1), &json!(TENANT)), "{shown}");
    assert_explained(&client.read(&format!("/v1/couplings/{coupling}/explain")));

    let pinned = json!({
        "agent_id": agent, "mcp_server_id": mcp_server,
        "model": {"provider_id": provider, "model_id": "house-large"},
    });
    let pinned = client.make("couplings", &pinned);
    let retired = client.post(&format!("/v1/agents/{agent}/decommission"), &json!({"reason": "project over"}));
    assert_eq!(retired.json()["outcome"], "applied", "{}", retired.text());
    assert_ended_by_its_agent(&client, &coupling, &agent);
    assert_ended_by_its_agent(&client, &pinned, &agent);
    assert_eq!(client.read(&format!("/v1/agents/{agent}"))["status"], "decommissioned");
    server.stop();
    folder.check();
}

#[test]
fn the_first_walk_by_the_command_line() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let [agent, mcp_server, provider, coupling, refused] =
        [0xa1, 0xa2, 0xa3, 0xa4, 0xa5].map(|number| uuid::Uuid::from_u128(number).to_string());
    let lines = [
        json!({"id": "1", "type": "tenant.ProvisionTenant", "data": {"name": "Acme", "region": "eu", "tier": "opal"}}),
        json!({"id": "2", "type": "agent.RegisterAgent", "subject": agent, "data": agent_data()}),
        json!({"id": "3", "type": "mcp_server.RegisterMcpServer", "subject": mcp_server, "data": server_data()}),
        json!({"id": "4", "type": "llm_provider.RegisterLlmProvider", "subject": provider, "data": provider_data()}),
    ];
    let wishes = [
        json!({"id": "5", "type": "coupling.RequestCoupling", "subject": coupling,
            "data": {"agent_id": agent, "mcp_server_id": mcp_server}}),
        json!({"id": "6", "type": "coupling.RequestCoupling", "subject": refused,
            "data": {"agent_id": NOBODY, "mcp_server_id": mcp_server}}),
    ];
    let file = |events: &[Value]| events.iter().map(|event| format!("{event}\n")).collect::<String>();
    // Twice: what is sent again changes nothing and is told alike.
    for _ in 0..2 {
        let (code, summary, told) = server.cli(&["send", "--wait", "projected"], Some(&file(&lines)));
        assert_eq!((code, &summary["applied"]), (Some(0), &json!(4)), "{summary} {told}");
    }
    let (code, summary, told) = server.cli(&["send", "-", "--wait", "projected"], Some(&file(&wishes)));
    assert_eq!((code, &summary["refused"]), (Some(3), &json!(1)), "{summary} {told}");
    assert_eq!(summary["failures"][0]["line"], 2, "{summary}");

    let (code, shown, told) = server.cli(&["explain", &coupling], None);
    assert_eq!(code, Some(0), "{told}");
    assert_explained(&shown);
    let (code, shown, told) = server.cli(&["get", "agent", &agent], None);
    assert_eq!((code, &shown["version"]), (Some(0), &json!(1)), "{told}");
    let (code, _, told) = server.cli(&["get", "agent", NOBODY], None);
    assert_eq!(code, Some(5), "{told}");
    assert!(told.contains(NOBODY), "{told}");
    let (code, listed, told) = server.cli(&["list", "couplings", "--filter", "status=refused"], None);
    assert_eq!((code, &listed["items"][0]["id"]), (Some(0), &json!(refused)), "{listed} {told}");

    let retire =
        json!({"id": "7", "type": "agent.DecommissionAgent", "subject": agent, "data": {"reason": "project over"}});
    assert_eq!(server.cli(&["send"], Some(&file(&[retire]))).0, Some(0));
    assert_ended_by_its_agent(&server.client(), &coupling, &agent);
    let (code, story, told) = server.cli(&["history", "coupling", &coupling], None);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(story["items"][1]["type"], "coupling.CouplingEnded", "{story}");
    server.stop();
}

#[test]
fn an_explanation_is_shown_for_people() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let agent = client.make("agents", &agent_data());
    let mcp_server = client.make("mcp-servers", &server_data());
    client.make("llm-providers", &provider_data());
    let coupling = client.make("couplings", &json!({"agent_id": agent, "mcp_server_id": mcp_server}));
    let url = format!("http://{}", server.address);
    let output = run(&["explain", &coupling, "--url", &url, "--tenant", TENANT], None);
    let shown = String::from_utf8_lossy(&output.stdout);
    for title in ["The score is", "Candidates: 1 of 1 models", "house-large", "skills"] {
        assert!(shown.contains(title), "{title} is not in\n{shown}");
    }
    assert!(!shown.contains("{\""), "raw JSON is no explanation:\n{shown}");
    server.stop();
}
