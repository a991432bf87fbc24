//! A provider that dies under load: its requests go to the coupling's next model, and come back when it does.

use super::{chat, complete, coupling, node, provider, stats};
use crate::e2e::server::{Folder, Server, eventually};
use crate::fake::server::Fake;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const CALLERS: usize = 16;

/// Waits until another so many calls were made by all callers together.
fn calls_go_by(made: &AtomicU64, count: u64) {
    let before = made.load(Ordering::Relaxed);
    eventually("calls are made", || (made.load(Ordering::Relaxed) >= before + count).then_some(()));
}

fn requests(fake: &Fake) -> u64 {
    stats(fake)["requests"].as_u64().unwrap()
}

fn change(fake: &Fake, path: &str, body: &Value) {
    let answer = fake.post(path, &[], body);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
}

/// The cheaper model first, the dearer as its fallback.
fn start<'a>(folder: &'a Folder, first: &str, second: &str, more: &[&str]) -> (Server<'a>, String) {
    let settings = ["request_breaker_open_ms=500", "llm_first_byte_ms_max=2000"];
    let server = node(folder, &[&settings[..], more].concat());
    let client = server.client();
    client.make("tenants", &json!({"name": "Acme", "tier": "diamond"}));
    let priced = |price: i64| json!([{"model_id": "m", "input_micro_usd_per_million": price, "output_micro_usd_per_million": price}]);
    provider(&client, "first", first, &json!({"models": priced(1_000)}));
    provider(&client, "second", second, &json!({"models": priced(1_000_000)}));
    let coupling = coupling(&client, &json!({"objective": "cost"}));
    (server, coupling)
}

#[test]
fn while_a_provider_is_dead_another_answers_and_when_it_returns_its_requests_do() {
    let latency = ["--latency-ms", "uniform:5-25"];
    let (first, second) = (Fake::start(&latency), Fake::start(&latency));
    let folder = Folder::new();
    let (server, coupling) = start(&folder, &first.address, &second.address, &[]);
    let client = server.client();
    let (made, failed, ends) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (client, model, made, failed, ends) = (&client, format!("coupling:{coupling}"), &made, &failed, &ends);
            scope.spawn(move || {
                for number in 0.. {
                    if ends.load(Ordering::Relaxed) {
                        return;
                    }
                    let (status, answer) = complete(client, &chat(&model, &format!("{caller}/{number}")));
                    if status != 200 {
                        eprintln!("{status}: {answer}");
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    made.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        calls_go_by(&made, 500);
        assert_eq!(requests(&second), 0, "the cheaper model is asked while it answers");
        // Answers without a word, then refusals, then silence: whatever a death looks like.
        for death in [json!({"mode": "drop"}), json!({"mode": "refuse"})] {
            change(&first, "/fake/down", &death);
            calls_go_by(&made, 1_000);
            change(&first, "/fake/up", &json!({}));
            let before = stats(&first)["answers"]["by_status"]["200"].clone();
            eventually("its requests return", || {
                (stats(&first)["answers"]["by_status"]["200"] != before).then_some(())
            });
            calls_go_by(&made, 500);
        }
        change(&first, "/fake/settings", &json!({"hang_rate": 1.0}));
        calls_go_by(&made, 500);
        change(&first, "/fake/settings", &json!({"hang_rate": 0.0}));
        let before = requests(&second);
        eventually("nothing goes to the second any more", || {
            let before = requests(&second);
            calls_go_by(&made, 200);
            (requests(&second) == before).then_some(())
        });
        assert!(before > 0);
        ends.store(true, Ordering::Relaxed);
    });
    let (made, failed) = (made.into_inner(), failed.into_inner());
    eprintln!("{failed} of {made} failed");
    assert!(failed * 1_000 < made, "{failed} of {made} failed");
    server.stop();
    assert_eq!(folder.check()["problem_count"], 0);
}

#[test]
fn a_provider_that_is_gone_for_good_costs_nobody_an_answer() {
    let (first, second) = (Fake::start(&[]), Fake::start(&[]));
    let folder = Folder::new();
    let (server, coupling) = start(&folder, &first.address, &second.address, &[]);
    let client = server.client();
    let body = |number: usize| chat(&format!("coupling:{coupling}"), &format!("{number}"));
    assert_eq!(complete(&client, &body(0)).0, 200);
    // Its port is closed: nobody is there at all.
    first.stop();
    for number in 1..50 {
        let (status, answer) = complete(&client, &body(number));
        assert_eq!(status, 200, "{answer}");
    }
    assert_eq!(requests(&second), 49);
    // A stream that has not begun falls back as well.
    let mut body = body(50);
    body["stream"] = json!(true);
    let answer = client.post("/v1/chat/completions", &body);
    assert!(answer.status == 200 && answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
    server.stop();
}
