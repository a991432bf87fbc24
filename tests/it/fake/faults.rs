//! Trouble on purpose, exact where the request asks for it.

use super::server::{Fake, chat};
use crate::e2e::server::eventually;
use serde_json::{Value, json};
use std::time::Instant;

#[test]
fn a_request_gets_the_error_that_it_asks_for() {
    let fake = Fake::start(&[]);
    for (status, kind) in [(429, "requests"), (500, "server_error"), (503, "server_error"), (529, "server_error")] {
        let answer = fake.chat(&[&format!("x-fake-fault: {status}")], "x");
        assert_eq!((answer.status, answer.json()["error"]["type"].as_str()), (status, Some(kind)));
    }
    assert_eq!(fake.chat(&["x-fake-fault: 429"], "x").header("retry-after"), "1");
    assert_eq!(fake.chat(&["x-fake-fault: boom"], "x").status, 400);
    assert_eq!(fake.stats()["faults"]["error"], 5);
}

#[test]
fn a_cut_answer_lacks_its_end_and_has_its_beginning() {
    let fake = Fake::start(&[]);
    let whole = fake.chat(&["x-fake-fault: cut"], "hello");
    assert!(whole.status == 200 && !whole.is_whole, "{whole:?}");
    assert!(whole.body.starts_with("{\"") && serde_json::from_str::<Value>(&whole.body).is_err(), "{whole:?}");
    let stream = fake.post("/v1/chat/completions", &["x-fake-fault: cut"], &chat("hello", true));
    assert!(stream.status == 200 && !stream.is_whole && !stream.body.contains("[DONE]"), "{stream:?}");
    assert!(stream.events().len() > 2, "{stream:?}");
    assert_eq!(fake.stats()["faults"]["cut"], 2);
}

#[test]
fn garbage_arrives_whole_and_cannot_be_read() {
    let fake = Fake::start(&[]);
    let whole = fake.chat(&["x-fake-fault: garbage"], "hello");
    assert!(whole.status == 200 && whole.is_whole, "{whole:?}");
    assert!(serde_json::from_str::<Value>(&whole.body).is_err(), "{whole:?}");
    let stream = fake.post("/v1/chat/completions", &["x-fake-fault: garbage"], &chat("hello", true));
    assert!(stream.is_whole && !stream.body.contains("[DONE]"), "{stream:?}");
    assert!(stream.events().last().is_some_and(Value::is_string), "the last event is no JSON: {stream:?}");
}

#[test]
fn a_request_that_hangs_is_let_go_when_its_caller_goes() {
    let fake = Fake::start(&[]);
    let hanging = fake.send("POST", "/v1/chat/completions", &["x-fake-fault: hang"], &chat("x", false).to_string());
    eventually("the request", || (fake.stats()["faults"]["hang"] == 1).then_some(()));
    assert_eq!(fake.stats()["in_flight"], 1);
    drop(hanging);
    eventually("its end", || (fake.stats()["in_flight"] == 0).then_some(()));
    let stats = fake.stats();
    assert_eq!(stats["answers"]["by_status"], json!({}), "it was never answered");
    let _hanging = fake.send("POST", "/v1/chat/completions", &["x-fake-fault: hang"], &chat("x", false).to_string());
    eventually("the second one", || (fake.stats()["in_flight"] == 1).then_some(()));
    fake.stop();
}

#[test]
fn latencies_are_at_least_what_they_were_set_to() {
    let fake = Fake::start(&["--latency-ms", "fixed:100", "--token-latency-ms", "10", "--output-tokens", "fixed:11"]);
    for stream in [false, true] {
        let begin = Instant::now();
        let answer = fake.post("/v1/chat/completions", &[], &chat("hello", stream));
        assert!(answer.is_whole && begin.elapsed().as_millis() >= 200, "{:?}", begin.elapsed());
    }
    fake.post("/fake/settings", &[], &json!({"latency_ms": "0", "token_latency_ms": "0", "slow_ms": 150}));
    let begin = Instant::now();
    assert_eq!(fake.chat(&["x-fake-fault: slow"], "hello").status, 200);
    assert!(begin.elapsed().as_millis() >= 150, "{:?}", begin.elapsed());
}

#[test]
fn drawn_faults_follow_from_the_seed() {
    let run = |seed: &str| {
        let fake = Fake::start(&["--seed", seed, "--error-rate", "0.3", "--cut-rate", "0.2"]);
        let once =
            || (0..30).map(|_| fake.chat(&[], "x")).map(|answer| (answer.status, answer.is_whole)).collect::<Vec<_>>();
        let first = once();
        fake.post("/fake/reset", &[], &json!({}));
        assert_eq!(once(), first, "after a reset");
        first
    };
    let first = run("1");
    assert_eq!(run("1"), first);
    assert_ne!(run("2"), first);
    let failed = first.iter().filter(|(status, _)| *status != 200).count();
    let cut = first.iter().filter(|(status, is_whole)| *status == 200 && !is_whole).count();
    assert!((2..20).contains(&failed) && (1..15).contains(&cut), "{first:?}");
}
