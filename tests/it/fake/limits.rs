//! Over a limit nothing passes, under it everything does, whatever comes at once.

use super::server::{Answer, Fake, chat};
use crate::e2e::server::eventually;
use serde_json::{Value, json};
use std::thread;

/// So many requests at once.
fn burst(fake: &Fake, count: usize, header: &str) -> Vec<Answer> {
    thread::scope(|scope| {
        let handles: Vec<_> = (0..count).map(|_| scope.spawn(|| fake.chat(&[header], "hello there"))).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    })
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

#[test]
fn of_a_burst_exactly_as_many_pass_as_the_limit_says() {
    let fake = Fake::start(&["--requests-per-minute", "25"]);
    let answers = burst(&fake, 40, "x-a: b");
    assert_eq!((count(&answers, 200), count(&answers, 429)), (25, 15));
    for refused in answers.iter().filter(|answer| answer.status == 429) {
        let seconds: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
        assert_eq!(refused.json()["error"]["code"], "rate_limit_exceeded");
        assert_eq!(refused.header("x-ratelimit-remaining-requests"), "0");
    }
    let mut left: Vec<u64> = answers
        .iter()
        .filter(|answer| answer.status == 200)
        .map(|answer| answer.header("x-ratelimit-remaining-requests").parse().unwrap())
        .collect();
    left.sort_unstable();
    assert_eq!(left, (0..25).collect::<Vec<_>>(), "each arrival sees the ones before it");
    let stats = fake.stats();
    let window = &stats["window"];
    assert_eq!((&window["passed"]["requests_max"], &window["arrived"]["requests_max"]), (&json!(25), &json!(40)));
    assert_eq!(stats["limited"], json!({"requests": 15, "tokens": 0}));
    assert!(stats["five_minutes"].is_null(), "there were none yet: {stats}");
    fake.stop();
}

#[test]
fn each_second_tells_what_passed_and_what_did_not() {
    let fake = Fake::start(&["--requests-per-minute", "3", "--output-tokens", "fixed:7"]);
    burst(&fake, 5, "x-a: b");
    let sum = eventually("the end of the second", || {
        let series = fake.get("/fake/series");
        let seconds: Vec<Value> = series["seconds"].as_array().unwrap().clone();
        let sum = ["requests", "tokens", "limited"]
            .map(|name| seconds.iter().filter_map(|second| second[name].as_u64()).sum::<u64>());
        assert_eq!(series["now"], json!(series["first"].as_u64().unwrap() + seconds.len() as u64));
        (sum[0] == 3 && sum[2] == 2).then_some(sum)
    });
    assert_eq!(sum[1], 30, "three questions of 3 tokens with answers of 7");
}

#[test]
fn tokens_are_counted_as_usage_tells_them() {
    // A question of 3 tokens and an answer of 7: ten of them fill a hundred.
    let fake = Fake::start(&["--tokens-per-minute", "104", "--output-tokens", "fixed:7"]);
    let answers = burst(&fake, 14, "x-a: b");
    assert_eq!((count(&answers, 200), count(&answers, 429)), (10, 4));
    for answer in &answers {
        match answer.status {
            200 => assert_eq!(answer.json()["usage"]["total_tokens"], 10),
            _ => assert_eq!(answer.json()["error"]["type"], "tokens"),
        }
    }
    assert_eq!(fake.stats()["window"]["passed"]["tokens_max"], 100);
}

#[test]
fn an_estimate_is_corrected_when_the_answer_ends() {
    let fake = Fake::start(&["--tokens-per-minute", "60", "--output-tokens", "fixed:7", "--count-tokens", "estimate"]);
    let mut body = chat("hello there", false);
    body["max_tokens"] = json!(40);
    // One by one: each ends with 10 tokens before the next one asks for 43.
    let statuses: Vec<u16> = (0..3).map(|_| fake.post("/v1/chat/completions", &[], &body).status).collect();
    assert_eq!(statuses, [200, 200, 429]);
    body["max_tokens"] = json!(37);
    assert_eq!(fake.post("/v1/chat/completions", &[], &body).status, 200, "20 and 40 are 60");
    body["max_tokens"] = json!(58);
    let refused = fake.post("/v1/chat/completions", &[], &body);
    assert_eq!(refused.status, 429);
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("too large"), "{}", refused.body);
}

#[test]
fn each_key_and_each_model_may_have_its_own_limit() {
    let fake = Fake::start(&["--requests-per-minute", "2", "--limit-by", "key", "--api-key", "k1", "--api-key", "k2"]);
    for key in ["authorization: Bearer k1", "x-api-key: k2"] {
        let answers = burst(&fake, 3, key);
        assert_eq!((count(&answers, 200), count(&answers, 429)), (2, 1), "{key}");
    }
    assert_eq!(fake.chat(&["authorization: Bearer k3"], "x").status, 401);
    let changed = fake.post("/fake/settings", &[], &json!({"limit_by": "model"}));
    assert_eq!(changed.status, 200, "{}", changed.body);
    let answers = burst(&fake, 3, "authorization: Bearer k1");
    assert_eq!((count(&answers, 200), count(&answers, 429)), (2, 1));
}

#[test]
fn every_wire_tells_its_limits_in_its_own_form() {
    let fake = Fake::start(&["--requests-per-minute", "1", "--retry-after", "ms"]);
    let message = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
    let passed = fake.post("/v1/messages", &[], &message);
    assert_eq!((passed.status, passed.header("anthropic-ratelimit-requests-remaining")), (200, "0"));
    let refused = fake.post("/v1/messages", &[], &message);
    assert_eq!((refused.status, refused.json()["error"]["type"].as_str()), (429, Some("rate_limit_error")));
    assert!((1..=60_000).contains(&refused.header("retry-after-ms").parse::<u64>().unwrap()));
    assert!(refused.header("anthropic-ratelimit-requests-reset").ends_with('Z'));
    let content = json!({"contents": [{"parts": [{"text": "hi"}]}]});
    let refused = fake.post("/v1beta/models/m:generateContent", &[], &content);
    assert_eq!((refused.status, refused.json()["error"]["status"].as_str()), (429, Some("RESOURCE_EXHAUSTED")));
    fake.post("/fake/settings", &[], &json!({"rate_headers": false, "retry_after": "date"}));
    let refused = fake.post("/v1/messages", &[], &message);
    assert_eq!(refused.header("anthropic-ratelimit-requests-limit"), "");
    assert!(refused.header("retry-after").ends_with("GMT"), "{refused:?}");
}

#[test]
fn a_window_that_cannot_be_remembered_is_an_error() {
    let fake = Fake::start(&["--window-requests-max", "3"]);
    let answers: Vec<_> = (0..4).map(|_| fake.chat(&[], "x")).collect();
    assert_eq!((count(&answers, 200), count(&answers, 503)), (3, 1));
    assert!(answers[3].body.contains("--window-requests-max"), "{}", answers[3].body);
}
