//! Bad input: each case is answered with an error that says why, harms nothing, and delays nothing behind it.

use super::http::{Answer, Client, exchange};
use super::server::{Folder, Server};
use super::{NOBODY, OTHER, TENANT};
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;

const JSON: (&str, &str) = ("content-type", "application/json");

/// A good command, sent right behind a bad one: it must be applied within its request.
fn assert_next_is_applied(client: &Client, name: &str) {
    let event = json!({"type": "agent.RegisterAgent", "data": {"name": name, "category": "research"}});
    let answer = client.post("/v1/commands?wait=applied", &event);
    assert_eq!((answer.status, &answer.json()["outcome"]), (200, &json!("applied")), "{name}: {}", answer.text());
}

/// An error by the rules: problem+json, its status, a stable type, and a sentence.
fn assert_problem(name: &str, answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.header("content-type")), (status, "application/problem+json"), "{name}");
    let problem = answer.json();
    assert_eq!((&problem["type"], &problem["status"]), (&json!(format!("/problems/{code}")), &json!(status)), "{name}");
    assert!(problem["detail"].as_str().unwrap().len() > 20, "{name}: {problem}");
}

fn agent(data: &Value) -> Vec<u8> {
    json!({"type": "agent.RegisterAgent", "data": data}).to_string().into_bytes()
}

fn nested(depth: usize) -> Vec<u8> {
    let tools = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    format!(r#"{{"type":"mcp_server.DiscoverTools","data":{{"tools":[{{"name":"x","input_schema":{tools}}}]}}}}"#)
        .into_bytes()
}

type Case = (&'static str, (&'static str, &'static str), Vec<u8>, u16, &'static str);

/// What cannot be taken: name, content type, body, status, code.
fn cases() -> Vec<Case> {
    let event = |value: Value| value.to_string().into_bytes();
    let good = agent(&json!({"name": "Ada", "category": "research"}));
    let many = event(json!(vec![json!({"type": "agent.IdleAgent"}); 1_001]));
    let idle = |mut event: Value| {
        event["type"] = json!("agent.IdleAgent");
        event["data"] = json!({});
        event.to_string().into_bytes()
    };
    vec![
        ("empty", JSON, Vec::new(), 400, "malformed"),
        ("truncated", JSON, good[..good.len() - 9].to_vec(), 400, "malformed"),
        ("truncated batch", JSON, [b"[", &good[..], b","].concat(), 400, "malformed"),
        ("no object", JSON, b"42".to_vec(), 400, "malformed"),
        ("oversized", JSON, vec![b' '; 8 * 1024 * 1024 + 1], 413, "body_too_large"),
        ("too many", JSON, many, 413, "batch_too_large"),
        ("a field that is missing", JSON, agent(&json!({"category": "research"})), 400, "invalid_data"),
        (
            "a field that is unknown",
            JSON,
            agent(&json!({"name": "Ada", "category": "x", "nam": 1})),
            400,
            "invalid_data",
        ),
        ("a field of another type", JSON, agent(&json!({"name": 7, "category": "x"})), 400, "invalid_data"),
        ("unknown command", JSON, event(json!({"type": "agent.PromoteAgent", "data": {}})), 400, "unknown_type"),
        ("unknown kind", JSON, event(json!({"type": "robot.RegisterRobot", "data": {}})), 400, "unknown_type"),
        ("no data", JSON, event(json!({"type": "agent.RegisterAgent", "subject": NOBODY})), 400, "invalid_data"),
        ("no type", JSON, event(json!({"data": {}})), 400, "unknown_type"),
        ("two tenants", JSON, idle(json!({"subject": NOBODY, "tenantid": OTHER})), 403, "tenant_mismatch"),
        ("a subject that is no id", JSON, idle(json!({"subject": "Ada"})), 400, "invalid_attribute"),
        ("a version that is none", JSON, idle(json!({"subject": NOBODY, "expectedversion": "new"})), 400, "malformed"),
        ("the system's source", JSON, idle(json!({"subject": NOBODY, "source": "agentverse"})), 403, "reserved_source"),
        (
            "not UTF-8",
            JSON,
            b"{\"type\":\"agent.RegisterAgent\",\"data\":{\"name\":\"\xff\xfe\"}}".to_vec(),
            400,
            "not_utf8",
        ),
        ("deep nesting", JSON, nested(100_000), 400, "invalid_data"),
        ("a form", ("content-type", "application/x-www-form-urlencoded"), good.clone(), 415, "unsupported_media_type"),
        ("no content type", ("accept", "*/*"), good, 415, "unsupported_media_type"),
        ("Avro without ce- headers", ("content-type", "application/avro"), vec![0xc3, 1], 400, "invalid_attribute"),
    ]
}

#[test]
fn what_cannot_be_read_is_answered_with_what_to_do_and_delays_nothing() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let mut failures = Vec::new();
    for (name, content_type, body, status, code) in cases() {
        let answer = client.request("POST", "/v1/commands", &[content_type], &body);
        assert!(answer.is_some(), "{name}: no answer");
        let answer = answer.unwrap();
        let told = answer.json();
        if (answer.status, &told["code"]) == (status, &json!(code)) {
            assert_problem(name, &answer, status, code);
        } else {
            failures.push(format!("{name}: {status} {code} was expected, not {told}"));
        }
        assert_next_is_applied(&client, name);
    }
    assert!(failures.is_empty(), "{failures:#?}");
    let nobody = Client { tenant: None, ..client.clone() };
    let answer =
        nobody.post("/v1/commands", &json!({"type": "agent.RegisterAgent", "data": {"name": "a", "category": "b"}}));
    assert_problem("no tenant", &answer, 400, "tenant_required");

    // Cut off on the wire: the connection is gone, and nothing else.
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.write_all(format!("POST /v1/commands HTTP/1.1\r\nhost: x\r\nAgentVerse-Tenant: {TENANT}\r\ncontent-length: 900\r\ncontent-type: application/json\r\n\r\n{{").as_bytes()).unwrap();
    drop(stream);
    assert_next_is_applied(&client, "cut off");
    let garbage = exchange(&server.address, "\0\u{1}garbage\r\n", b"\r\n");
    assert!(garbage.is_none_or(|answer| answer.status == 400));
    assert_next_is_applied(&client, "garbage");

    let agents = client.walk("/v1/agents", 1000).len();
    assert_eq!(agents, cases().len() + 2, "of the bad ones nothing was taken");
    server.stop();
    let report = folder.check();
    assert_eq!(report["dead_letters"], 0);
}

#[test]
fn what_breaks_a_rule_is_refused_with_its_reason() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let agent = client.make("agents", &json!({"name": "Ada", "category": "research"}));
    let send = |mut event: Value| {
        event["subject"] = json!(agent);
        event["data"] = json!({});
        client.command(&event)
    };
    let illegal = send(json!({"type": "agent.IdleAgent"}));
    assert_eq!((&illegal["outcome"], &illegal["version"]), (&json!("refused"), &json!(1)), "{illegal}");
    assert_eq!(illegal["reason"]["code"], "illegal_transition", "{illegal}");
    assert!(illegal["reason"]["message"].as_str().unwrap().contains("provisioning"), "{illegal}");
    let stale = send(json!({"type": "agent.ActivateAgent", "expectedversion": 7}));
    assert_eq!(
        (&stale["outcome"], &stale["reason"]["code"]),
        (&json!("refused"), &json!("version_mismatch")),
        "{stale}"
    );
    assert_next_is_applied(&client, "after a stale version");

    let first = send(json!({"id": "once", "type": "agent.ActivateAgent"}));
    assert_eq!((&first["outcome"], &first["version"]), (&json!("applied"), &json!(2)), "{first}");
    let reused = send(json!({"id": "once", "type": "agent.IdleAgent"}));
    assert_eq!((&reused["outcome"], &reused["reason"]["code"]), (&json!("refused"), &json!("id_reused")), "{reused}");
    let letters = client.walk("/v1/dead-letters", 10);
    assert_eq!((letters.len(), &letters[0]["code"]), (1, &json!("id_reused")), "{letters:#?}");
    assert_eq!(letters[0]["headers"]["ce_type"], "agent.IdleAgent", "the headers stand as they came: {letters:#?}");
    assert!(letters[0]["bytes_base64"].is_string() && !letters[0]["cause"].as_str().unwrap().is_empty());
    assert_eq!(client.read("/v1/outcomes/once")["outcome"], "applied", "the first outcome stands");
    assert_eq!(client.read(&format!("/v1/agents/{agent}"))["status"], "active");

    send(json!({"type": "agent.DecommissionAgent"}));
    let ended = send(json!({"type": "agent.ActivateAgent"}));
    assert_eq!(ended["outcome"], "refused", "{ended}");
    let story = client.walk(&format!("/v1/agents/{agent}/history?kind=refused"), 100);
    let codes: Vec<_> = story.iter().map(|entry| entry["data"]["code"].as_str().unwrap_or("?")).collect();
    assert_eq!(codes[..2], ["illegal_transition", "version_mismatch"], "{story:#?}");
    server.stop();
    folder.check();
}

#[test]
fn another_tenants_id_answers_like_an_unknown_one() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let agent = server.provisioned().make("agents", &json!({"name": "Ada", "category": "research"}));
    let stranger = server.client_of(OTHER);
    stranger.make("tenants", &json!({"name": "Other", "region": "eu", "tier": "opal"}));
    let both = |ask: &dyn Fn(&str) -> Answer| {
        let [theirs, nobodys] = [agent.as_str(), NOBODY].map(|id| (ask(id), id));
        let told = |(answer, id): &(Answer, &str)| (answer.status, answer.text().replace(id, "<ID>"));
        assert_eq!(told(&theirs), told(&nobodys));
        told(&theirs)
    };
    for path in ["", "/history"] {
        assert_eq!(both(&|id| stranger.get(&format!("/v1/agents/{id}{path}"))).0, 404);
    }
    assert_eq!(both(&|id| stranger.post(&format!("/v1/agents/{id}/heartbeat"), &Value::Null)).0, 404);
    let send = |command: &str, id: &str, data: Value| {
        let event = json!({"id": format!("{command}-{id}"), "type": command, "subject": id, "data": data});
        let answer = stranger.post("/v1/commands?wait=applied", &event).json();
        assert_eq!(answer["outcome"], "refused", "{answer}");
        answer["reason"].to_string().replace(id, "<ID>")
    };
    for command in ["agent.IdleAgent", "agent.DecommissionAgent"] {
        assert_eq!(send(command, &agent, json!({})), send(command, NOBODY, json!({})));
    }
    assert!(stranger.walk("/v1/agents", 10).is_empty());
    let wish = |id: &str| {
        let data = json!({"agent_id": id, "mcp_server_id": NOBODY});
        let answer = stranger.post("/v1/couplings", &data).json();
        assert_eq!(answer["outcome"], "refused", "{answer}");
        answer["reason"].to_string().replace(id, "<ID>")
    };
    assert_eq!(wish(&agent), wish(NOBODY));
    assert_eq!(server.client().read(&format!("/v1/agents/{agent}"))["version"], 1);
    assert_next_is_applied(&stranger, "their own");
    server.stop();
}
