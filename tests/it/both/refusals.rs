//! Batches, conditions, repeats, and what cannot be taken at all.

use super::pair::{Ask, Pair};
use super::resources::agent;
use super::{NOBODY, OTHER, TENANT};
use crate::e2e::http::Client;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

const COMMANDS: &str = "/v1/commands?wait=projected";

fn register(id: &str) -> Value {
    json!({"id": id, "type": "agent.RegisterAgent", "data": {"name": id, "category": "batch"}})
}

/// A command to an agent.
fn to_agent(id: &str, number: u64, command: &str) -> Value {
    json!({"id": id, "type": format!("agent.{command}"), "subject": agent(number), "data": {}})
}

pub fn batches(pair: &mut Pair) {
    let mut events: Vec<Value> = (0..40).map(|number| register(&format!("batch-{number}"))).collect();
    events.push(to_agent("batch-refused", 3, "IdleAgent"));
    events.push(json!({"id": "bad-type", "type": "agent.Nonsense"}));
    events.push(json!(7));
    events.push(json!({"id": "bad-data", "type": "agent.RegisterAgent", "data": {"name": []}}));
    events.extend(
        ["ActivateAgent", "IdleAgent", "MaintainAgent", "ActivateAgent"]
            .map(|command| to_agent(&format!("batch-{command}"), 6, command)),
    );
    for _ in 0..2 {
        pair.ask(200, &Ask::post(COMMANDS, &json!(events)));
    }
    pair.sent.extend(["batch-0", "batch-refused", "batch-39", "bad-type"].map(|id| (id.to_owned(), TENANT.to_owned())));
    pair.ask(200, &Ask::post(COMMANDS, &json!([])));
    pair.ask(400, &Ask::post(COMMANDS, &json!([{"id": "x", "type": "agent.Nonsense"}, 7])));
    let many = json!(vec![json!({"type": "agent.IdleAgent"}); 1_001]);
    pair.ask(413, &Ask::post(COMMANDS, &many));
}

pub fn conditions_and_repeats(pair: &mut Pair) {
    let path = format!("/v1/agents/{}", agent(7));
    let tag = pair.each(&Ask::get(&path))[0].header("etag").to_owned();
    let revise = |purpose: &str, tag: &str| Ask::patch(&path, &json!({ "purpose": purpose })).with("if-match", tag);
    pair.command("applied", revise("first", &tag));
    pair.command("version_mismatch", revise("second", &tag));
    pair.ask(400, &revise("third", "soon"));
    pair.ask(304, &Ask::get(&path).with("if-none-match", "\"2\""));
    pair.ask(200, &Ask::get(&path).with("if-none-match", "\"1\""));

    let once = |command: &str| Ask::post(COMMANDS, &to_agent("once", 7, command));
    for _ in 0..2 {
        pair.ask(200, &once("ActivateAgent"));
    }
    let reused = pair.ask(200, &once("IdleAgent"));
    assert_eq!(reused["reason"]["code"], "id_reused", "{reused}");
    // Forty commands to one stream: more than its head remembers; the first is still known.
    for number in 0..40 {
        let command = if number % 2 == 0 { "IdleAgent" } else { "ActivateAgent" };
        pair.ask(200, &Ask::post(COMMANDS, &to_agent(&format!("turn-{number}"), 7, command)));
    }
    pair.ask(200, &once("ActivateAgent"));
    pair.ask(200, &once("MaintainAgent"));
    pair.sent.extend(["once", "turn-0", "turn-39"].map(|id| (id.to_owned(), TENANT.to_owned())));

    let binary = Ask::new("POST", COMMANDS)
        .with("content-type", "application/json")
        .with("ce-type", "agent.MaintainAgent")
        .with("ce-subject", agent(7))
        .with("ce-correlationid", "corr-1")
        .with("ce-causationid", "cause-1")
        .with("ce-source", "tests/both")
        .with("ce-expectedversion", "43")
        .with("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .with("idempotency-key", "night")
        .bytes(r#"{"reason":"Zoë's turn"}"#);
    for _ in 0..2 {
        pair.ask(200, &binary);
    }
    pair.ask(202, &Ask::post("/v1/commands", &register("later")));
    pair.ask(200, &Ask::post(COMMANDS, &register("later")));
    pair.sent.push(("later".into(), TENANT.into()));
    // To an agent that there is not, so that an id of each side's own is in no history that is compared.
    let without_id = json!({"type": "agent.IdleAgent", "subject": agent(91), "data": {}});
    pair.ask_without_id(200, &Ask::post(COMMANDS, &without_id));
}

/// What cannot be taken: content type, body, status.
fn cases() -> Vec<(&'static str, Vec<u8>, u16)> {
    let event = |value: Value| value.to_string().into_bytes();
    let good = event(register("good"));
    let idle = |mut event: Value| {
        event["type"] = json!("agent.IdleAgent");
        event["data"] = json!({});
        event.to_string().into_bytes()
    };
    let json = "application/json";
    let deep = format!(
        r#"{{"type":"mcp_server.DiscoverTools","data":{{"tools":[{{"name":"x","input_schema":{}{}}}]}}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    vec![
        (json, Vec::new(), 400),
        (json, good[..good.len() - 9].to_vec(), 400),
        (json, [b"[", &good[..], b","].concat(), 400),
        (json, b"42".to_vec(), 400),
        (json, event(json!({"type": "agent.RegisterAgent", "data": {"category": "research"}})), 400),
        (json, event(json!({"type": "agent.RegisterAgent", "data": {"name": "Ada", "nam": 1}})), 400),
        (json, event(json!({"type": "agent.PromoteAgent", "data": {}})), 400),
        (json, event(json!({"type": "robot.RegisterRobot", "data": {}})), 400),
        (json, event(json!({"data": {}})), 400),
        (json, idle(json!({"subject": NOBODY, "tenantid": OTHER})), 403),
        (json, idle(json!({"subject": "Ada"})), 400),
        (json, idle(json!({"subject": NOBODY, "expectedversion": "new"})), 400),
        (json, idle(json!({"subject": NOBODY, "source": "agentverse"})), 403),
        (json, b"{\"type\":\"agent.RegisterAgent\",\"data\":{\"name\":\"\xff\xfe\"}}".to_vec(), 400),
        (json, deep.into_bytes(), 400),
        ("application/x-www-form-urlencoded", good.clone(), 415),
        ("application/avro", vec![0xc3, 1], 400),
        ("application/cloudevents+json", good[..9].to_vec(), 400),
    ]
}

pub fn bad_input(pair: &mut Pair) {
    for (content_type, body, status) in cases() {
        pair.ask(status, &Ask::new("POST", COMMANDS).with("content-type", content_type).bytes(body));
    }
    let good = Ask::post(COMMANDS, &register("nobody's"));
    pair.ask(400, &good.clone().tenant(None));
    pair.ask(400, &good.clone().tenant(Some("acme")));
    pair.ask(415, &Ask::new("POST", COMMANDS).bytes("{}"));
    for query in
        ["wait=forever", "wait=applied&timeout_ms=99999999", "wait=applied&wait=applied", "colour=red", "wait=%ff"]
    {
        pair.ask(400, &Ask::post(format!("/v1/commands?{query}"), &register("never")));
    }
    // Another tenant's agent answers like nobody's.
    for subject in [agent(1), NOBODY.to_owned()] {
        let event =
            json!({"id": format!("foreign-{subject}"), "type": "agent.IdleAgent", "subject": subject, "data": {}});
        pair.ask(200, &Ask::post(COMMANDS, &event).tenant(Some(OTHER)));
        pair.ask(404, &Ask::get(format!("/v1/agents/{subject}")).tenant(Some(OTHER)));
        // What it shows is the other tenant's own: that it was refused.
        let story = pair.ask(200, &Ask::get(format!("/v1/agents/{subject}/history")).tenant(Some(OTHER)));
        assert_eq!(story["items"].as_array().map(Vec::len), Some(1), "{story}");
    }
}

fn tools(count: usize, letter: &str, bytes: usize) -> Value {
    let schema = json!({"type": "object", "description": letter.repeat(bytes)});
    let tools: Vec<_> =
        (0..count).map(|number| json!({"name": format!("big-{number}"), "input_schema": schema})).collect();
    json!({ "tools": tools })
}

/// Bodies, commands and records near their bounds.
pub fn sizes(pair: &mut Pair) {
    pair.ask(
        413,
        &Ask::new("POST", COMMANDS).with("content-type", "application/json").bytes(vec![b' '; (8 << 20) + 1]),
    );
    let path = format!("/v1/mcp-servers/{}/discover-tools", super::resources::server(2));
    // Larger than a batch is meant to be: alone in one of its own.
    pair.perform("applied", &path, &tools(1, "a", 60_000));
    pair.perform("applied", &path, &tools(2, "b", 200_000));
    pair.perform("invalid", &path, &tools(1, "c", 300_000));
    pair.perform("too_large", &path, &tools(4, "d", 200_000));
    pair.read(&format!("/v1/mcp-servers/{}", super::resources::server(2)));
    pair.perform("applied", &path, &tools(1, "e", 10));
}

/// Allowed to differ: what no topic takes is refused before it is decided, and so not in the words of a decision. After
/// everything that is compared, for only one side records it.
pub fn larger_than_a_topic_takes(pair: &mut Pair) {
    let path = format!("/v1/mcp-servers/{}/discover-tools", super::resources::server(2));
    let ask = Ask::post(&path, &tools(8, "f", 200_000)).with("ce-id", "no-topic-takes-it");
    let [ours, theirs] = pair.each(&ask).map(|answer| (answer.status, answer.json()));
    assert_eq!((ours.0, &ours.1["reason"]["code"]), (200, &json!("too_large")), "{}", ours.1);
    assert_eq!((theirs.0, &theirs.1["code"]), (413, &json!("command_too_large")), "{}", theirs.1);
}

/// Hundreds of refusals, of which the views show nothing, and one more that is waited for.
/// Commands that come again after more others of their stream than its head remembers: in the same batch, and in later
/// ones that come before what was decided is in the index.
pub fn repeats_after_many(pair: &mut Pair) {
    let path = format!("/v1/agents/{}", agent(8));
    let before = pair.read(&path)["version"].as_u64().expect("a version");
    let revise = |number: u64| {
        let data = json!({"purpose": format!("purpose {number}")});
        json!({"id": format!("hot-{number}"), "type": "agent.ReviseAgent", "subject": agent(8), "data": data})
    };
    let batch = |numbers: Vec<u64>| {
        let events: Vec<Value> = numbers.iter().copied().map(revise).collect();
        (numbers, Ask::post("/v1/commands?wait=applied", &json!(events)))
    };
    let again = [(0..60).chain(0..5).collect(), (0..60).rev().collect(), (60..120).chain(30..90).collect()];
    for (numbers, ask) in again.map(batch) {
        let answer = pair.ask(200, &ask);
        let versions: Vec<_> = answer["items"].as_array().expect("items").iter().map(|item| &item["version"]).collect();
        let expected: Vec<_> = numbers.iter().map(|number| json!(before + 1 + number)).collect();
        assert_eq!(versions, expected.iter().collect::<Vec<_>>(), "each has its first effect, and no other");
    }
    pair.until_version(&path, before + 120);
}

pub fn many_in_a_row(pair: &mut Pair) {
    let refused =
        |number: u64| json!({"id": format!("row-{number}"), "type": "agent.IdleAgent", "subject": NOBODY, "data": {}});
    let events: Vec<Value> = (0..500).map(refused).collect();
    pair.ask(200, &Ask::post("/v1/commands?wait=applied", &json!(events)));
    let ask = json!(refused(500)).to_string();
    let quick = |client: &Client| {
        let (client, began) = (Client { tenant: Some(TENANT.into()), ..client.clone() }, Instant::now());
        let headers = [("content-type", "application/json")];
        let answer = client.request("POST", COMMANDS, &headers, ask.as_bytes()).map(|answer| answer.status);
        assert_eq!(answer, Some(200));
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "a refusal took {:?} at {}",
            began.elapsed(),
            client.address
        );
    };
    quick(&pair.embedded);
    quick(&pair.cluster);
}
