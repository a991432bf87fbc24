//! The worker: requests that come as commands, providers that fail, workers that die.

use super::{chat, events, node, provider, stats};
use crate::e2e::http::Client;
use crate::e2e::server::{Folder, eventually};
use crate::fake::server::Fake;
use serde_json::{Value, json};

/// Submits a request as a command, to be carried out some time; gives its id.
fn submit(client: &Client, providers: &[&str], text: &str) -> String {
    let models: Vec<_> = providers
        .iter()
        .map(|id| json!({"provider_tenant_id": tenant(client), "provider_id": id, "model_id": "m"}))
        .collect();
    client.make("llm-requests", &json!({"models": models, "payload": chat("m", text).to_string()}))
}

fn tenant(client: &Client) -> &str {
    client.tenant.as_deref().unwrap()
}

fn ended(client: &Client, request: &str) -> Value {
    eventually("the request ended", || {
        let found = client.read(&format!("/v1/llm-requests/{request}"));
        (!["submitted", "started"].contains(&found["status"].as_str().unwrap())).then_some(found)
    })
}

#[test]
fn what_was_submitted_is_carried_out_once_whatever_becomes_of_the_process() {
    let fake = Fake::start(&["--latency-ms", "300"]);
    let folder = Folder::new();
    let server = node(&folder, &[]);
    let client = server.client();
    client.make("tenants", &json!({"name": "Acme", "tier": "diamond"}));
    let id = provider(&client, "fake", &fake.address, &json!({}));
    let before: Vec<_> = (0..20).map(|number| submit(&client, &[&id], &format!("before {number}"))).collect();
    server.kill();
    let server = node(&folder, &[]);
    let client = server.client();
    let after: Vec<_> = (0..20).map(|number| submit(&client, &[&id], &format!("after {number}"))).collect();
    let mut lost = 0;
    for request in before.iter().chain(&after) {
        let found = ended(&client, request);
        assert_eq!(found["status"], "completed", "{found}");
        lost += found["lost_attempts"].as_u64().unwrap();
        let completions = events(&client, request).iter().filter(|name| *name == "RequestCompleted").count();
        assert_eq!(completions, 1);
    }
    let calls = stats(&fake)["requests"].as_u64().unwrap();
    assert!((40..=40 + lost).contains(&calls), "{calls} calls were made, {lost} attempts were lost");
    server.stop();
    assert_eq!(folder.check()["problem_count"], 0);
}

#[test]
fn who_asks_again_after_the_process_was_killed_need_not_wait_for_its_lease() {
    let fake = Fake::start(&["--latency-ms", "fixed:1500"]);
    let folder = Folder::new();
    let server = node(&folder, &[]);
    let client = server.client();
    client.make("tenants", &json!({"name": "Acme", "tier": "diamond"}));
    provider(&client, "fake", &fake.address, &json!({}));
    let headers = [("content-type", "application/json"), ("idempotency-key", "night-1")];
    let body = chat("fake/m", "hello").to_string();
    let ask = |client: &Client| client.request("POST", "/v1/chat/completions", &headers, body.as_bytes());
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(ask(&client).is_none(), "its connection is cut"));
        // Without a key nobody can ask again: it is not paid again.
        let alone = chat("fake/m", "nobody waits").to_string();
        let json = [("content-type", "application/json")];
        let nobody = client.clone();
        scope.spawn(move || assert!(nobody.request("POST", "/v1/chat/completions", &json, alone.as_bytes()).is_none()));
        eventually("both calls are under way", || (stats(&fake)["in_flight"] == 2).then_some(()));
        server.kill();
    });
    let server = node(&folder, &[]);
    let client = server.client();
    let answer = ask(&client).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let request = answer.header("agentverse-request-id");
    let found = ended(&client, request);
    let attempts = found["attempts"].as_array().unwrap();
    assert_eq!((&attempts[0]["end"], &attempts[1]["end"]), (&json!("lost"), &json!("completed")), "{found}");
    assert_eq!((&found["lost_attempts"], attempts.len()), (&json!(1), 2));
    assert!(attempts[1]["started_at"].as_i64() < attempts[0]["lease_until"].as_i64(), "{found}");
    let given_up = eventually("what nobody waits for is over", || {
        let listed = client.read("/v1/llm-requests?status=cancelled");
        listed["items"].as_array()?.first().filter(|found| found["lost_attempts"] == 1).cloned()
    });
    assert_eq!(
        (&given_up["calls_of_unknown_cost"], &given_up["status"]),
        (&json!(1), &json!("cancelled")),
        "{given_up}"
    );
    assert_eq!(stats(&fake)["requests"], 3, "the first calls may be paid, too");
    let unknown = eventually("usage tells of both", || {
        let usage = client.read("/v1/usage?by=tenant&window=1d");
        let item = usage["items"].as_array()?.first()?.clone();
        (item["calls_of_unknown_cost"] == 2).then_some(item)
    });
    assert_ne!(unknown["unknown_cost_usd_estimated"], "0.000000000000", "{unknown}");
    server.stop();
    assert_eq!(folder.check()["problem_count"], 0);
}

/// The events of a stream of them, as (id, name, data).
fn heard(text: &str) -> Vec<(String, String, Value)> {
    let field = |event: &str, name: &str| {
        let lines = event.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        lines.collect::<String>()
    };
    let events = text.split("\n\n").filter(|event| event.contains("event: "));
    events.map(|event| (field(event, "id"), field(event, "event"), field(event, "data").parse().unwrap())).collect()
}

#[test]
fn who_submits_a_request_hears_of_its_answer_over_server_sent_events() {
    let fake = Fake::start(&["--latency-ms", "fixed:300"]);
    let folder = Folder::new();
    let server = node(&folder, &[]);
    let client = server.client();
    client.make("tenants", &json!({"name": "Acme", "tier": "diamond"}));
    let id = provider(&client, "fake", &fake.address, &json!({}));
    let request = submit(&client, &[&id], "hello");
    let path = format!("/v1/llm-requests/{request}/history?kind=event");
    let follow = |last: Option<&str>| {
        let accept = ("accept", "text/event-stream");
        let headers: Vec<_> = [accept].into_iter().chain(last.map(|last| ("last-event-id", last))).collect();
        client.request("GET", &path, &headers, b"").unwrap()
    };
    let answer = follow(None);
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/event-stream"));
    let all = heard(&answer.text());
    let names: Vec<_> = all.iter().map(|event| event.1.rsplit('.').next().unwrap()).collect();
    assert_eq!(names, ["RequestSubmitted", "AttemptStarted", "RequestCompleted", "end"], "{}", answer.text());
    let told: Value = serde_json::from_str(all[2].2["data"]["answer"].as_str().unwrap()).unwrap();
    assert_eq!(told["object"], "chat.completion");
    // Who comes back goes on where it was, and who heard all of it is told to stop.
    assert_eq!(heard(&follow(Some(&all[0].0)).text()), all[1..]);
    assert_eq!(follow(Some(&all[2].0)).status, 204);
    assert_eq!(follow(Some("x")).status, 400);
    server.stop();
}

#[test]
fn a_provider_that_fails_is_passed_over_and_what_nobody_answers_fails_with_a_reason() {
    let fake = Fake::start(&[]);
    let folder = Folder::new();
    let server = node(&folder, &["request_attempts_max=3"]);
    let client = server.client();
    client.make("tenants", &json!({"name": "Acme", "tier": "diamond"}));
    // A port that nobody listens on.
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let dead = provider(&client, "dead", &dead, &json!({}));
    let alive = provider(&client, "alive", &fake.address, &json!({}));
    let found = ended(&client, &submit(&client, &[&dead, &alive], "hello"));
    assert_eq!((&found["status"], found["attempts"].as_array().unwrap().len()), (&json!("completed"), 2), "{found}");
    let found = ended(&client, &submit(&client, &[&dead], "hello"));
    assert_eq!(found["status"], "failed", "{found}");
    let nobody = "6f1c2a52-0d5e-4c3b-9a77-1f0f6f1f9b09";
    let found = ended(&client, &submit(&client, &[nobody], "hello"));
    assert_eq!((&found["status"], &found["error"]), (&json!("failed"), &json!("unknown_provider")), "{found}");
    server.stop();
}

#[test]
fn a_node_that_is_told_to_stop_ends_the_calls_under_way_and_records_them() {
    let fake = Fake::start(&["--latency-ms", "2500"]);
    let folder = Folder::new();
    // Callers get no time of their own: what is left to their calls is of the shutdown.
    let settings = ["http_drain_ms_max=100", "shutdown_ms_max=60000"];
    let server = node(&folder, &settings);
    let client = server.client();
    client.make("tenants", &json!({"name": "Acme", "tier": "diamond"}));
    let id = provider(&client, "fake", &fake.address, &json!({}));
    let submitted = submit(&client, &[&id], "as a command");
    eventually("its call is under way", || (stats(&fake)["in_flight"] == 1).then_some(()));
    server.stop();
    assert_eq!(stats(&fake)["answers"]["by_status"], json!({"200": 1}), "the call was let end");
    let server = node(&folder, &settings);
    let found = ended(&server.client(), &submitted);
    assert_eq!((&found["status"], &found["lost_attempts"]), (&json!("completed"), &json!(0)), "{found}");
    assert_eq!(stats(&fake)["requests"], 1, "and is not made again");
    server.stop();
}
