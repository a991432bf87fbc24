//! What each wire answers over a real connection.

use super::server::{Fake, chat};
use serde_json::{Value, json};

#[test]
fn openai_streams_the_same_answer_that_it_gives_whole() {
    let fake = Fake::start(&[]);
    let whole = fake.chat(&[], "the same question").json();
    let streamed = fake.post("/v1/chat/completions", &[], &chat("the same question", true));
    assert!(streamed.is_whole && streamed.header("content-type").starts_with("text/event-stream"), "{streamed:?}");
    let events = streamed.events();
    assert_eq!(events.last(), Some(&json!("[DONE]")));
    let text: String = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(whole["choices"][0]["message"]["content"], json!(text));
    let usage = &events[events.len() - 2];
    assert_eq!((&usage["choices"], &usage["usage"]), (&json!([]), &whole["usage"]));
    assert_eq!(whole["usage"]["completion_tokens"], json!(text.len().div_ceil(4)));
    assert_eq!(fake.chat(&[], "the same question").json(), whole, "a third time");
}

#[test]
fn anthropic_sends_its_sequence_of_events() {
    let fake = Fake::start(&[]);
    let ask = json!({"model": "m", "max_tokens": 50, "stream": true, "messages": [{"role": "user", "content": "hi"}]});
    let answer = fake.post("/v1/messages", &["anthropic-version: 2023-06-01"], &ask);
    assert!(answer.is_whole && answer.header("request-id").starts_with("req_"));
    let names: Vec<_> = answer.body.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    let kinds: Vec<_> =
        answer.events().iter().map(|event| event["type"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(names, kinds);
    assert_eq!(kinds[..3], ["message_start", "content_block_start", "ping"]);
    assert_eq!(kinds[kinds.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    assert!(kinds[3..kinds.len() - 3].iter().all(|kind| kind == "content_block_delta") && kinds.len() > 6);
}

#[test]
fn gemini_streams_events_and_embeds() {
    let fake = Fake::start(&[]);
    let ask = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
    let answer = fake.post("/v1beta/models/g:streamGenerateContent?alt=sse", &[], &ask);
    let events = answer.events();
    assert!(answer.is_whole && events.len() > 2);
    assert_eq!(events[events.len() - 1]["candidates"][0]["finishReason"], "STOP");
    assert_eq!(fake.post("/v1beta/models/g:streamGenerateContent", &[], &ask).status, 400);
    let whole = fake.post("/v1/models/g:generateContent", &[], &ask).json();
    assert_eq!(whole["usageMetadata"], events[events.len() - 1]["usageMetadata"], "{whole}");
    let embed = json!({"content": {"parts": [{"text": "hi"}]}, "outputDimensionality": 8});
    let one = fake.post("/v1beta/models/g:embedContent", &[], &embed).json();
    let all = fake.post("/v1beta/models/g:batchEmbedContents", &[], &json!({"requests": [embed, embed]})).json();
    assert_eq!(one["embedding"]["values"].as_array().map(Vec::len), Some(8));
    assert_eq!(all["embeddings"], json!([one["embedding"], one["embedding"]]));
}

#[test]
fn models_are_listed_for_each_wire() {
    let fake = Fake::start(&["--models", "a,b"]);
    assert_eq!(fake.get("/v1/models")["data"][1]["id"], "b");
    let anthropic = fake.request("GET", "/v1/models/a", &["anthropic-version: 2023-06-01"], "").json();
    assert_eq!((&anthropic["type"], &anthropic["id"]), (&json!("model"), &json!("a")));
    assert_eq!(fake.get("/v1beta/models")["models"][0]["name"], "models/a");
}

#[test]
fn what_cannot_be_answered_is_an_error_of_the_wire() {
    let fake = Fake::start(&["--body-bytes-max", "1000"]);
    let kind = |path: &str, body: &str| {
        let answer = fake.request("POST", path, &[], body);
        (answer.status, answer.json()["error"]["type"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(kind("/v1/chat/completions", "{"), (400, "invalid_request_error".into()));
    assert_eq!(kind("/v1/nothing", "{}"), (404, "invalid_request_error".into()));
    assert_eq!(kind("/v1/messages", "{}"), (400, "invalid_request_error".into()));
    assert_eq!(kind("/v1/messages", &"x".repeat(1_001)), (413, "request_too_large".into()));
    let gemini: Value = fake.request("GET", "/v1beta/models/g:generateContent", &[], "").json();
    assert_eq!((&gemini["error"]["code"], &gemini["error"]["status"]), (&json!(405), &json!("INVALID_ARGUMENT")));
    assert_eq!(fake.stats()["window"]["arrived"]["requests"], 0, "none of them reached the limits");
}
