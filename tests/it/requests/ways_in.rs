//! The ways in: chat completions and embeddings, whole and in streams, on one node and in a fleet.

use super::{chat, events, fleet, node, provider, stats};
use crate::e2e::http::Client;
use crate::e2e::server::{Folder, eventually};
use crate::fake::server::Fake;
use serde_json::{Value, json};

const COMPLETIONS: &str = "/v1/chat/completions";

fn ask(client: &Client, headers: &[(&str, &str)], body: &str) -> (u16, String, String) {
    let headers = [&[("content-type", "application/json")], headers].concat();
    let answer = client.request("POST", COMPLETIONS, &headers, body.as_bytes()).expect("an answer");
    (answer.status, answer.header("agentverse-request-id").to_owned(), answer.text())
}

/// What every node that carries requests out does.
fn walk(client: &Client, fake: &Fake) {
    client.make("tenants", &json!({"name": "Acme", "tier": "diamond"}));
    provider(client, "fake", &fake.address, &json!({}));
    let listed = eventually("the models are known", || {
        let listed = client.read("/v1/models");
        (listed["data"].as_array().unwrap().len() == 2).then_some(listed)
    });
    assert_eq!(listed["data"][0]["id"], "fake/m");
    assert_eq!(client.read("/v1/models/fake/m")["owned_by"], "fake");

    let (status, id, text) = ask(client, &[], &chat("fake/m", "hello").to_string());
    assert_eq!(status, 200, "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["object"], "chat.completion");
    let expected = ["RequestSubmitted", "AttemptStarted", "RequestCompleted"];
    eventually("the index shows the request", || (events(client, &id) == expected).then_some(()));

    let body = json!({"model": "FAKE/m", "stream": true, "messages": [{"role": "user", "content": "hello"}]});
    let (status, _, text) = ask(client, &[], &body.to_string());
    assert_eq!(status, 200);
    let chunks: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
    assert!(chunks.len() > 2 && chunks.iter().all(|line| line.starts_with("data: ")), "{text}");
    assert_eq!(chunks.last(), Some(&"data: [DONE]"));

    let body = json!({"model": "fake/text-embedding-3-small", "input": ["a", "b"]});
    let embedded = client.post("/v1/embeddings", &body);
    assert_eq!((embedded.status, embedded.json()["data"].as_array().unwrap().len()), (200, 2));
}

/// The same key is the same request: told again, not made again.
fn keys(client: &Client, fake: &Fake) {
    let before = stats(fake)["requests"].as_u64().unwrap();
    let key = [("idempotency-key", "night-1")];
    let body = chat("fake/m", "once").to_string();
    let answers: Vec<_> = (0..3).map(|_| ask(client, &key, &body)).collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(answers[0].0, 200, "{answers:?}");
    assert_eq!(stats(fake)["requests"].as_u64().unwrap(), before + 1);
    let (status, _, text) = ask(client, &key, &chat("fake/m", "another").to_string());
    assert_eq!(status, 409);
    assert!(text.contains("idempotency_key_reused"), "{text}");
}

fn bad_input(client: &Client) {
    let long = "x".repeat(2 << 20);
    for (status, code, body) in [
        (400, "invalid_value", "{".to_owned()),
        (400, "invalid_value", "[1]".to_owned()),
        (400, "invalid", json!({"model": "fake/m", "messages": []}).to_string()),
        (400, "invalid", json!({"model": "fake/m", "messages": [1], "max_tokens": 1_000_000_000}).to_string()),
        (413, "body_too_large", chat("fake/m", &long).to_string()),
        (404, "model_not_found", chat("m", "hello").to_string()),
        (404, "model_not_found", chat("coupling:7", "hello").to_string()),
        (404, "not_found", chat("coupling:6f1c2a52-0d5e-4c3b-9a77-1f0f6f1f9b09", "hello").to_string()),
        (403, "no_active_coupling", chat("agent:6f1c2a52-0d5e-4c3b-9a77-1f0f6f1f9b09", "hello").to_string()),
    ] {
        let (found, _, text) = ask(client, &[], &body);
        let shown = &body[..body.len().min(80)];
        let error: Value = serde_json::from_str(&text).unwrap_or_default();
        assert_eq!((found, &error["error"]["code"]), (status, &json!(code)), "{shown}: {text}");
        assert!(error["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{shown}");
    }
    let twice = r#"{"model":"fake/m","messages":[],"messages":[{"role":"user","content":"hello"}]}"#;
    for (param, part, body) in [
        ("stream", "true or false", json!({"model": "fake/m", "stream": "yes", "messages": [1]}).to_string()),
        ("messages", "messages twice", twice.to_owned()),
        ("body", "the body has no messages", json!({"model": "fake/m"}).to_string()),
    ] {
        let (_, _, text) = ask(client, &[], &body);
        let error = serde_json::from_str::<Value>(&text).unwrap()["error"].clone();
        assert_eq!(error["param"], param, "{text}");
        assert!(error["message"].as_str().unwrap().contains(part), "{text}");
    }
    // Whoever mistyped the tenant is not sent to look for the model.
    let nobody = Client { tenant: Some("6f1c2a52-0d5e-4c3b-9a77-1f0f6f1f9bff".into()), ..client.clone() };
    let (status, _, text) = ask(&nobody, &[], &chat("fake/m", "hello").to_string());
    assert!(status == 404 && text.contains("\"tenant_not_found\"") && text.contains("9bff"), "{status}: {text}");
    let found = nobody.get("/v1/models/fake/m");
    assert_eq!((found.status, &found.json()["error"]["code"]), (404, &json!("tenant_not_found")));
    let form = client.request("POST", COMPLETIONS, &[("content-type", "text/plain")], b"{}").unwrap();
    assert_eq!(form.status, 415);
    let (status, ..) = ask(client, &[], &chat("fake/m", "still there").to_string());
    assert_eq!(status, 200);
}

#[test]
fn one_node_answers_as_openai_does_and_records_what_it_did() {
    let fake = Fake::start(&[]);
    let folder = Folder::new();
    let server = node(&folder, &[]);
    let client = server.client();
    walk(&client, &fake);
    keys(&client, &fake);
    bad_input(&client);
    server.stop();
    assert_eq!(folder.check()["problem_count"], 0);
}

#[test]
fn a_fleet_answers_as_one_node_does() {
    let Some((mut fleet, client)) = fleet("requests in a fleet", &[]) else { return };
    let fake = Fake::start(&[]);
    walk(&client, &fake);
    keys(&client, &fake);
    bad_input(&client);
    // Whose log the key belongs to is chance: a second node takes the way by the topic, or the record.
    let second = fleet.start_role("work");
    fleet.wait_until_ready(&second);
    let other = fleet.client(&second, "6f1c2a52-0d5e-4c3b-9a77-1f0f6f1f9b01");
    for number in 0..8 {
        let (key, body) = (format!("either-{number}"), chat("fake/m", &format!("either {number}")).to_string());
        let answers = [&client, &other, &client].map(|node| ask(node, &[("idempotency-key", &key)], &body));
        assert!(answers.iter().all(|answer| answer.0 == 200 && *answer == answers[0]), "{answers:?}");
    }
    assert_eq!(stats(&fake)["bodies"]["repeated"], 0, "no request was made twice: {}", stats(&fake));
    fleet.terminate("work-1");
    fleet.terminate(&second);
}
