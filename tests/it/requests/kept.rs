//! Answers that are too large for one record: kept in parts, and told whole.

use super::batches::{content, file, start};
use super::{events, fleet, node, provider, stats};
use crate::e2e::http::Client;
use crate::e2e::server::{Folder, eventually};
use crate::fake::server::Fake;
use serde_json::{Value, json};

/// Of 1,536 numbers each: together more than a record takes.
const INPUTS: usize = 100;

fn embeddings(name: &str) -> Value {
    let input: Vec<_> = (0..INPUTS).map(|number| format!("{name} {number}")).collect();
    json!({"model": "fake/text-embedding-3-small", "input": input})
}

fn vectors(answer: &Value) -> usize {
    answer["data"].as_array().map_or(0, Vec::len)
}

/// A large answer is told again under its key, and is in the file of its batch.
fn walk(client: &Client, fake: &Fake) {
    client.make("tenants", &json!({"name": "Acme", "tier": "diamond"}));
    provider(client, "fake", &fake.address, &json!({}));
    eventually("the models are known", || {
        (client.read("/v1/models")["data"].as_array().unwrap().len() == 2).then_some(())
    });
    let (headers, body) = ([("content-type", "application/json"), ("idempotency-key", "large")], embeddings("alone"));
    let ask = || client.request("POST", "/v1/embeddings", &headers, body.to_string().as_bytes()).expect("an answer");
    let first = ask();
    assert_eq!((first.status, vectors(&first.json())), (200, INPUTS));
    assert!(first.text().len() > 1024 * 1024, "{} bytes", first.text().len());
    let again = ask();
    assert_eq!(again.status, 200, "{}", again.text());
    assert!(again.text() == first.text(), "to the byte");
    assert_eq!(stats(fake)["requests"], 1);
    let request = first.header("agentverse-request-id");
    let found = client.read(&format!("/v1/llm-requests/{request}"));
    assert_eq!((&found["has_answer"], &found["answer_bytes"]), (&json!(true), &json!(first.text().len())), "{found}");
    let told = client.get(&format!("/v1/llm-requests/{request}/answer"));
    assert!(told.status == 200 && told.text() == first.text(), "{}", told.status);
    let parts = events(client, request).iter().filter(|name| *name == "AnswerPartAdded").count();
    assert!(parts > 1, "{parts}");

    let line = |number: usize| {
        let body = embeddings(&number.to_string());
        json!({"custom_id": format!("c-{number}"), "method": "POST", "url": "/v1/embeddings", "body": body})
    };
    let text: String = (1..=8).map(|number| format!("{}\n", line(number))).collect();
    let batch = start(client, &file(client, &text), "/v1/embeddings");
    let path = format!("/v1/batches/{}", batch["id"].as_str().unwrap());
    let done = eventually("the batch has ended", || {
        let batch = client.read(&path);
        (batch["status"] == "completed").then_some(batch)
    });
    assert_eq!(done["request_counts"], json!({"total": 8, "completed": 8, "failed": 0}));
    let output = content(client, &done["output_file_id"]);
    assert_eq!(output.len(), 8);
    assert!(output.values().all(|line| line["error"].is_null() && vectors(&line["response"]["body"]) == INPUTS));
}

#[test]
fn a_node_keeps_large_answers_in_parts() {
    let fake = Fake::start(&[]);
    let folder = Folder::new();
    let server = node(&folder, &[]);
    walk(&server.client(), &fake);
    server.stop();
    assert_eq!(folder.check()["problem_count"], 0);
}

#[test]
fn a_fleet_keeps_large_answers_in_parts() {
    let fake = Fake::start(&[]);
    let Some((_fleet, client)) = fleet("kept", &[]) else { return };
    walk(&client, &fake);
}
