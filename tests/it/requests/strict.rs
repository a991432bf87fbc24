//! Workers over a provider with strict limits, joining, leaving and killed: the limits hold, are used, and nothing is lost.
//!
//! The provider counts every window of 60 s, wherever it begins, by the arrival of requests, and answers 429 to what is too
//! much: not one may come. The short forms run always; the long ones, with the figures, by their names:
//! `cargo test --test it -- --ignored --nocapture requests::strict`.

use super::{chat, fleet, node, provider, stats};
use crate::e2e::http::Client;
use crate::e2e::server::{Folder, Server, eventually};
use crate::fake::server::Fake;
use serde_json::{Value, json};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const REQUESTS_PER_MINUTE: u64 = 600;
const TOKENS_PER_MINUTE: u64 = 100_000;
/// The stretch over which the use of the limits is told, in seconds.
const STRETCH: u64 = 300;
/// Requests that wait, at least, while there is load.
const WAITING: u64 = 300;
/// So that a killed worker's requests go on soon: the lease that it leaves, and a margin of five seconds.
const CALLS: [&str; 2] = ["llm_call_ms_max=2000", "llm_first_byte_ms_max=1900"];

fn strict() -> Fake {
    // 20 tokens of prompt and 40 to 120 of an answer: the requests bind, at six tenths of the tokens.
    let limits = [REQUESTS_PER_MINUTE.to_string(), TOKENS_PER_MINUTE.to_string()];
    Fake::start(&[
        "--requests-per-minute",
        &limits[0],
        "--tokens-per-minute",
        &limits[1],
        "--output-tokens",
        "uniform:40-120",
        "--latency-ms",
        "uniform:100-900",
    ])
}

/// The tenant and the provider, whose limits are those of the stand-in.
fn prepare(client: &Client, fake: &Fake) -> String {
    client.make("tenants", &json!({"name": "Acme", "tier": "diamond"}));
    let limits = json!({"requests_per_minute": REQUESTS_PER_MINUTE, "tokens_per_minute": TOKENS_PER_MINUTE});
    provider(client, "fake", &fake.address, &limits)
}

/// Submits requests as long as there is load to make, whatever becomes of the node; gives their number.
fn submit(client: &Mutex<Client>, fake: &Fake, provider: &str, ends: &AtomicBool) -> u64 {
    let mut submitted = 0;
    while !ends.load(Ordering::Relaxed) {
        if submitted >= stats(fake)["requests"].as_u64().unwrap() + WAITING {
            thread::sleep(Duration::from_millis(100));
            continue;
        }
        let tenant = client.lock().unwrap().tenant.clone().unwrap();
        let mut payload = chat("m", &format!("number {submitted}"));
        payload["max_tokens"] = json!(120);
        let model = json!({"provider_tenant_id": tenant, "provider_id": provider, "model_id": "m"});
        let body = json!({"models": [model], "payload": payload.to_string(), "priority": "normal"}).to_string();
        let key = format!("strict-{submitted}");
        let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
        let node = client.lock().unwrap().clone();
        match node.request("POST", "/v1/llm-requests?wait=accepted", &headers, body.as_bytes()) {
            Some(answer) if answer.status < 300 => submitted += 1,
            Some(answer) => assert!([429, 503].contains(&answer.status), "{}: {}", answer.status, answer.text()),
            None => thread::sleep(Duration::from_millis(100)),
        }
    }
    submitted
}

/// The second that runs at the stand-in.
fn second(fake: &Fake) -> u64 {
    stats(fake)["now"].as_u64().unwrap()
}

/// The least share of the binding limit that was used in any five minutes between two seconds; `None` where there were
/// fewer.
fn least_used(fake: &Fake, from: u64, to: u64) -> Option<f64> {
    let series = fake.get("/fake/series");
    let first = series["first"].as_u64().unwrap();
    let seconds: Vec<_> = series["seconds"].as_array().unwrap().iter().collect();
    let sum = |at: u64, what: &str| -> u64 {
        let within =
            (at..at + STRETCH).filter_map(|second| seconds.get(usize::try_from(second.checked_sub(first)?).ok()?));
        within.map(|second| second[what].as_u64().unwrap()).sum()
    };
    let share = |at: u64| {
        let minutes = STRETCH as f64 / 60.0;
        let requests = sum(at, "requests") as f64 / (REQUESTS_PER_MINUTE as f64 * minutes);
        let tokens = sum(at, "tokens") as f64 / (TOKENS_PER_MINUTE as f64 * minutes);
        requests.max(tokens)
    };
    (from..to.saturating_sub(STRETCH)).map(share).min_by(f64::total_cmp)
}

/// Every request completed, within the limits, and none twice but those whose worker was killed in between.
fn holds(client: &Client, fake: &Fake, submitted: u64) {
    let ended = |status: &str| client.walk(&format!("/v1/llm-requests?status={status}"), 1_000);
    for _ in 0..30 {
        if ended("submitted").is_empty() && ended("started").is_empty() {
            break;
        }
        thread::sleep(Duration::from_secs(4));
    }
    let completed = ended("completed");
    assert_eq!(completed.len() as u64, submitted, "all of them completed");
    let lost: u64 = completed.iter().map(|request| request["lost_attempts"].as_u64().unwrap()).sum();
    let found = stats(fake);
    let (calls, limited) = (found["requests"].as_u64().unwrap(), found["limited"].clone());
    eprintln!(
        "{submitted} requests, {calls} calls, {lost} attempts lost with their workers; most in 60 s: {} requests, {} tokens",
        found["window"]["arrived"]["requests_max"], found["window"]["arrived"]["tokens_max"],
    );
    assert_eq!(found["answers"]["by_status"]["429"], Value::Null, "{limited}");
    assert!((submitted..=submitted + lost).contains(&calls), "{calls} calls of {submitted} requests, {lost} lost");
}

fn told(what: &str, used: Option<f64>, at_least: f64) {
    if let Some(used) = used {
        eprintln!("{what}: at least {:.2} % of the binding limit in any five minutes", used * 100.0);
        assert!(used >= at_least, "{what}: {used}");
    }
}

/// One node on a folder: left alone, then killed and started again every so often.
fn on_a_folder(stable: Duration, kills: usize, between: Duration) {
    let fake = strict();
    let folder = Folder::new();
    let mut server = Some(node(&folder, &CALLS));
    let client = server.as_ref().map(Server::client).unwrap();
    let provider = prepare(&client, &fake);
    let (client, ends) = (Mutex::new(client), AtomicBool::new(false));
    let (mut marks, mut submitted) = (Vec::new(), 0);
    thread::scope(|scope| {
        let load = scope.spawn(|| submit(&client, &fake, &provider, &ends));
        eventually("the load has begun", || {
            (stats(&fake)["requests"].as_u64() > Some(REQUESTS_PER_MINUTE / 3)).then_some(())
        });
        marks.push(second(&fake));
        thread::sleep(stable);
        marks.push(second(&fake));
        for _ in 0..kills {
            thread::sleep(between);
            server.take().unwrap().kill();
            server = Some(node(&folder, &CALLS));
            *client.lock().unwrap() = server.as_ref().map(Server::client).unwrap();
        }
        marks.push(second(&fake));
        ends.store(true, Ordering::Relaxed);
        submitted = load.join().unwrap();
    });
    told("one node, left alone", least_used(&fake, marks[0], marks[1]), 0.98);
    told("one node, killed again and again", least_used(&fake, marks[1], marks[2]), 0.90);
    let server = server.unwrap();
    holds(&server.client(), &fake, submitted);
    server.stop();
    assert_eq!(folder.check()["problem_count"], 0);
}

/// So many workers on real servers: left alone, then joined, left and killed by turns.
fn in_a_fleet(workers: usize, stable: Duration, turns: usize, between: Duration) {
    let calls = CALLS.map(|setting| setting.split_once('=').unwrap());
    let Some((mut fleet, first)) = fleet("strict limits", &[&calls[..], &[("partitions", "8")]].concat()) else {
        return;
    };
    let fake = strict();
    let mut working: Vec<String> = vec!["work-1".into()];
    working.extend((1..workers).map(|_| fleet.start_role("work")));
    working.iter().for_each(|name| fleet.wait_until_ready(name));
    let client = fleet.client("serve-1", first.tenant.as_deref().unwrap());
    let provider = prepare(&client, &fake);
    let (shared, ends) = (Mutex::new(client.clone()), AtomicBool::new(false));
    let (mut marks, mut submitted) = (Vec::new(), 0);
    thread::scope(|scope| {
        let load = scope.spawn(|| submit(&shared, &fake, &provider, &ends));
        eventually("the load has begun", || {
            (stats(&fake)["requests"].as_u64() > Some(REQUESTS_PER_MINUTE / 3)).then_some(())
        });
        marks.push(second(&fake));
        thread::sleep(stable);
        marks.push(second(&fake));
        for turn in 0..turns {
            thread::sleep(between);
            let oldest = working.remove(0);
            if turn % 2 == 0 {
                fleet.kill(&oldest)
            } else {
                fleet.terminate(&oldest)
            }
            thread::sleep(between);
            working.push(fleet.start_role("work"));
        }
        marks.push(second(&fake));
        ends.store(true, Ordering::Relaxed);
        submitted = load.join().unwrap();
    });
    told("workers left alone", least_used(&fake, marks[0], marks[1]), 0.98);
    told("workers that join, leave and are killed", least_used(&fake, marks[1], marks[2]), 0.90);
    holds(&client, &fake, submitted);
    working.iter().for_each(|name| fleet.terminate(name));
}

#[test]
fn a_node_that_is_killed_and_started_again_keeps_to_its_limits() {
    on_a_folder(Duration::ZERO, 4, Duration::from_secs(15));
}

#[test]
fn workers_that_come_and_go_keep_to_their_limits() {
    in_a_fleet(3, Duration::ZERO, 4, Duration::from_secs(8));
}

#[test]
#[ignore = "takes 13 minutes: run it by name after a change to the limits"]
fn one_node_uses_its_limits_left_alone_and_killed_again_and_again() {
    on_a_folder(Duration::from_secs(330), 14, Duration::from_secs(24));
}

#[test]
#[ignore = "takes 13 minutes: run it by name after a change to the limits"]
fn eight_workers_use_their_limits_left_alone_and_while_they_come_and_go() {
    in_a_fleet(8, Duration::from_secs(330), 14, Duration::from_secs(12));
}
