//! What a machine reads: metrics, the description of the interface, health; and routes that are not there.

use super::server::{Folder, Server, run};
use agentverse::metrics::DECLARED;
use serde_json::json;
use std::collections::BTreeSet;

/// The routes that the interface promises by name.
const PROMISED: &[(&str, &str)] = &[
    ("post", "/v1/commands"),
    ("get", "/v1/outcomes/{id}"),
    ("get", "/v1/trace/{id}"),
    ("get", "/v1/usage"),
    ("get", "/v1/dead-letters"),
    ("get", "/v1/dead-letters/{id}"),
    ("post", "/v1/dead-letters/{id}/redrive"),
    ("post", "/v1/tenants"),
    ("get", "/v1/tenants"),
    ("get", "/v1/tenants/{id}"),
    ("get", "/v1/tenants/{id}/history"),
    ("post", "/v1/agents"),
    ("get", "/v1/agents"),
    ("get", "/v1/agents/{id}"),
    ("get", "/v1/agents/{id}/history"),
    ("post", "/v1/agents/{id}/heartbeat"),
    ("post", "/v1/mcp-servers"),
    ("get", "/v1/mcp-servers"),
    ("get", "/v1/mcp-servers/{id}"),
    ("get", "/v1/mcp-servers/{id}/history"),
    ("post", "/v1/llm-providers"),
    ("get", "/v1/llm-providers"),
    ("get", "/v1/llm-providers/{id}"),
    ("get", "/v1/llm-providers/{id}/history"),
    ("post", "/v1/couplings"),
    ("get", "/v1/couplings"),
    ("get", "/v1/couplings/{id}"),
    ("get", "/v1/couplings/{id}/history"),
    ("get", "/v1/couplings/{id}/explain"),
    ("get", "/v1/events"),
    ("get", "/schema-registry/subjects"),
    ("post", "/schema-registry/subjects/{subject}/versions"),
    ("get", "/schema-registry/schemas/ids/{id}"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
    ("get", "/openapi.json"),
];

#[test]
fn metrics_show_what_is_declared_and_move_with_the_work() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    client.get("/v1/agents");
    let answer = client.get("/metrics");
    assert!(answer.header("content-type").starts_with("text/plain"), "{}", answer.header("content-type"));
    let text = answer.text();
    let typed = |line: &str| line.strip_prefix("# TYPE ").and_then(|rest| rest.split(' ').next()).map(str::to_owned);
    let shown: BTreeSet<String> = text.lines().filter_map(typed).collect();
    let declared: BTreeSet<String> = DECLARED.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(shown, declared);
    let value = |series: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse::<f64>().ok());
        line.unwrap_or(f64::NAN)
    };
    let moved = [
        "agentverse_receive_commands_total",
        "agentverse_receive_bytes_total",
        "agentverse_append_records_total",
        "agentverse_append_bytes_total",
        "agentverse_decide_commands_total{outcome=\"applied\"}",
        "agentverse_project_records_total",
        "agentverse_folder_syncs_total",
        "agentverse_folder_written_bytes_total",
        "agentverse_http_requests_total{method=\"POST\",route=\"/v1/tenants\",status=\"200\"}",
    ];
    let still: Vec<_> = moved.into_iter().filter(|series| value(series).is_nan() || value(series) <= 0.0).collect();
    assert!(still.is_empty(), "work was done, and these did not move: {still:#?}");
    server.stop();
}

#[test]
fn the_description_names_every_route_and_every_route_answers() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let document = client.read("/openapi.json");
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."), "{}", document["openapi"]);
    let mut described = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let methods =
            operations.as_object().unwrap().keys().filter(|key| ["get", "post", "patch"].contains(&key.as_str()));
        described.extend(methods.map(|method| (method.clone(), path.clone())));
    }
    let named: BTreeSet<_> = PROMISED.iter().map(|(method, path)| (method.to_string(), path.to_string())).collect();
    let missing: Vec<_> = named.difference(&described).collect();
    assert!(missing.is_empty(), "not described: {missing:#?}");
    for (method, path) in &described {
        let path = path.replace("{id}", super::NOBODY);
        // The feed has no end unless it is asked for.
        let path = if path == "/v1/events" { "/v1/events?until=now".to_owned() } else { path };
        let answer =
            client.request(&method.to_uppercase(), &path, &[("content-type", "application/json")], b"").unwrap();
        assert!(answer.status < 500, "{method} {path}: {}", answer.text());
        assert_ne!(answer.status, 405, "{method} {path}");
        let found = answer.status != 404
            || (path.starts_with("/schema-registry/") && answer.json()["error_code"].as_u64() > Some(40_400))
            || ["not_found", "model_not_found"].iter().any(|code| {
                let told = answer.json();
                told["code"] == *code || told["error"]["code"] == *code
            });
        assert!(found, "{method} {path}: {}", answer.text());
    }
    server.stop();
}

#[test]
fn ready_means_that_the_templates_are_there() {
    let folder = Folder::new();
    let server = Server::launch(&folder, &[]);
    let parameters = json!({"company": "Acme", "field": "materials"});
    let agent = json!({"name": "Ada", "template": "Research Analyst", "template_parameters": parameters});
    server.client().make("agents", &agent);
    server.stop();
}

#[test]
fn health_and_unknown_routes_answer_as_promised() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.client();
    assert_eq!(client.get("/healthz").status, 200);
    assert_eq!(client.get("/readyz").status, 200);
    assert_eq!(client.get("/v2/agents").json()["code"], "no_such_route");
    assert_eq!(client.post("/v1/outcomes/x", &json!({})).json()["code"], "method_not_allowed");
    server.stop();
}

#[test]
fn the_command_line_refuses_what_it_cannot_do_with_its_documented_codes() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let url = format!("http://{}", server.address);
    let code = |args: &[&str]| run(args, None).status.code();
    assert_eq!(code(&["dev", "--http", "0.0.0.0:7400"]), Some(2), "dev binds loopback only");
    assert_eq!(code(&["get", "agent", super::NOBODY, "--url", &url]), Some(2), "no tenant");
    assert_eq!(code(&["list", "agents", "--url", "http://127.0.0.1:1", "--tenant", "shared"]), Some(6));
    assert_eq!(code(&["list", "agents", "--url", &url, "--tenant", "shared", "--filter", "colour=red"]), Some(4));
    assert_eq!(server.cli(&["send", "/no/such/file"], None).0, Some(1));
    let (code, summary, told) = server.cli(&["send"], Some("{\"type\":\n{\"type\":\"agent.Nonsense\"}\n"));
    assert_eq!((code, &summary["rejected"]), (Some(4), &json!(2)), "{summary} {told}");
    server.stop();
}

#[test]
fn a_folder_that_is_in_use_or_not_there_is_not_called_damaged() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let data = folder.data();
    for path in [data.clone(), data.join("nowhere")] {
        let output = run(&["check", "--data", path.to_str().unwrap()], None);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains(path.to_str().unwrap()), "{told}");
        assert!(![Some(0), Some(8)].contains(&output.status.code()), "{:?}: {told}", output.status);
    }
    assert!(!data.join("nowhere").exists(), "a check makes no folder");
    let second = run(&["dev", "--http", "127.0.0.1:0", "--data", data.to_str().unwrap()], None);
    assert_eq!(second.status.code(), Some(1), "one process at a time");
    server.stop();
}
