//! The built-in schema registry through the binary: Confluent's own client serializes with it, and what it frames is
//! taken over HTTP; the program itself finds its schemas there as in any registry; and what curl sees.

use super::{PROGRAMS, python, succeeded};
use crate::e2e::http::Client;
use crate::e2e::server::{Folder, Server, run};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

const MEDIA: &str = "application/vnd.schemaregistry.v1+json";
const IDLE: &str = "/schema-registry/subjects/agentverse.agent.IdleAgent";

#[test]
fn confluents_client_serializes_with_it_and_its_frames_are_taken() {
    let Some(python) = python() else { return };
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let mut command = Command::new(&python);
    command.arg(Path::new(PROGRAMS).join("avro_over_http.py")).env("PYTHONDONTWRITEBYTECODE", "1");
    command.args([&format!("http://{}", client.address), client.tenant.as_deref().unwrap()]);
    let said = succeeded("avro_over_http.py", &command.output().unwrap());
    assert!(said.contains("4 serializers"), "{said}");
    assert_eq!(client.walk("/v1/agents", 10).len(), 4);
    server.stop();
    assert_eq!(folder.check()["problem_count"], 0);
}

#[test]
fn a_frame_is_made_with_curl_alone() {
    if !["bash", "curl"].iter().all(|name| Command::new(name).arg("--version").output().is_ok()) {
        eprintln!("clients: not run, bash or curl is missing");
        return;
    }
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let mut command = Command::new("bash");
    command.arg(Path::new(PROGRAMS).join("avro_over_http.sh"));
    command.args([&format!("http://{}", client.address), client.tenant.as_deref().unwrap()]);
    succeeded("avro_over_http.sh", &command.output().unwrap());
    let agents = client.walk("/v1/agents", 10);
    assert_eq!(agents.len(), 1);
    assert_eq!((&agents[0]["name"], &agents[0]["skills"]), (&json!("Lin by curl"), &json!(["search"])));
    server.stop();
}

/// Asks without a tenant, as registries are asked.
fn ask(client: &Client, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = client.request(method, path, headers, body.as_bytes()).unwrap();
    assert_eq!(answer.header("content-type"), MEDIA, "{method} {path}");
    (answer.status, answer.json())
}

#[test]
fn a_frame_is_made_by_hand_and_every_refusal_is_confluents() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let nobody = Client { tenant: None, ..client.clone() };
    let get = |path: &str| ask(&nobody, "GET", path, &[], &Value::Null);

    let (status, latest) = get(&format!("{IDLE}/versions/latest"));
    assert_eq!((status, &latest["version"]), (200, &json!(1)), "{latest}");
    let id = latest["id"].as_u64().unwrap();
    assert_eq!(get(&format!("/schema-registry/schemas/ids/{id}")), (200, json!({ "schema": latest["schema"] })));
    for media in [&[("content-type", MEDIA)][..], &[("content-type", "application/json")], &[]] {
        let found = ask(&nobody, "POST", IDLE, media, &json!({ "schema": latest["schema"] }));
        assert_eq!(found, (200, latest.clone()), "{media:?}");
    }
    for (method, path, body, expected) in [
        ("GET", "/schema-registry/subjects/x/versions", Value::Null, (404, 40_401)),
        ("GET", &format!("{IDLE}/versions/2"), Value::Null, (404, 40_402)),
        ("GET", &format!("{IDLE}/versions/zero"), Value::Null, (422, 42_202)),
        ("GET", "/schema-registry/schemas/ids/1", Value::Null, (404, 40_403)),
        ("POST", &format!("{IDLE}/versions"), json!({ "schema": "{" }), (422, 42_201)),
        ("DELETE", IDLE, Value::Null, (422, 42_205)),
        ("PUT", "/schema-registry/mode", json!({ "mode": "READWRITE" }), (422, 42_205)),
        ("PUT", "/schema-registry/config", json!({ "compatibility": "NONE" }), (422, 42_205)),
        ("GET", "/schema-registry/exporters", Value::Null, (404, 404)),
        ("PATCH", "/schema-registry/config", Value::Null, (405, 405)),
    ] {
        let (status, told) = ask(&nobody, method, path, &[], &body);
        assert_eq!((status, told["error_code"].as_u64()), (expected.0, Some(expected.1)), "{method} {path}: {told}");
        assert!(told["message"].as_str().is_some_and(|message| message.len() > 10), "{told}");
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(ask(&nobody, "POST", IDLE, &form, &json!({})).1["error_code"], 415);

    // An empty record has no bytes: the frame is all there is.
    let agent = client.make("agents", &json!({"name": "ada", "category": "research", "purpose": "p", "role": "r"}));
    let send = |name: &str, id: u64| {
        let kind = format!("agent.{name}");
        let headers = [("content-type", "application/avro"), ("ce-type", &kind), ("ce-subject", &agent)];
        let frame = [&[0][..], &u32::try_from(id).unwrap().to_be_bytes()].concat();
        client.request("POST", "/v1/commands?wait=applied", &headers, &frame).unwrap().json()
    };
    assert_eq!(send("ActivateAgent", id)["code"], "invalid_data");
    assert_eq!(send("IdleAgent", 7)["code"], "unknown_schema");
    let (_, activate) = get("/schema-registry/subjects/agentverse.agent.ActivateAgent/versions/1");
    assert_eq!(send("ActivateAgent", activate["id"].as_u64().unwrap())["outcome"], "applied");
    assert_eq!(send("IdleAgent", id)["outcome"], "applied");
    server.stop();
}

#[test]
fn the_program_itself_finds_every_schema_there() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let url = format!("registry_url=http://{}/schema-registry", server.address);
    let output = run(&["schemas", "list", "--output", "json", "--set", &url], None);
    let listed: Value = serde_json::from_str(&succeeded("schemas list", &output)).unwrap();
    let items = listed["items"].as_array().unwrap();
    assert!(items.len() > 100);
    for item in items {
        let fingerprint = u64::from_str_radix(item["fingerprint"].as_str().unwrap(), 16).unwrap();
        assert_eq!(item["id"], 0x4000_0000 | (fingerprint & 0x3fff_ffff), "{item}");
        assert_eq!(item["version"], 1, "{item}");
    }
    for (action, status) in [("check", "compatible"), ("diff", "same")] {
        let output = run(&["schemas", action, "--output", "json", "--set", &url], None);
        let compared: Value = serde_json::from_str(&succeeded(action, &output)).unwrap();
        let found = compared["items"].as_array().unwrap();
        assert_eq!(found.len(), items.len());
        assert!(found.iter().all(|item| item["status"] == status && item["messages"] == json!([])), "{compared}");
        let output = run(&["schemas", action, "--set", &url], None);
        assert!(succeeded(action, &output).starts_with("Registry http://"));
        assert_eq!(run(&["schemas", action, "--set", "registry_url="], None).status.code(), Some(2));
    }
    server.stop();
}
