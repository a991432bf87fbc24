//! What a test learns from `/fake/`, and what it can change there.

use super::server::{Fake, chat};
use crate::e2e::server::run;
use serde_json::json;

#[test]
fn a_call_that_came_twice_is_proven() {
    let fake = Fake::start(&[]);
    fake.chat(&["x-agentverse-request-id: a"], "one");
    fake.chat(&["x-agentverse-request-id: b", "x-fake-fault: 429"], "two");
    fake.chat(&["x-agentverse-request-id: b"], "two");
    assert_eq!(fake.get("/fake/ids/a"), json!({"arrived": 1, "passed": 1, "answered": 1}));
    assert_eq!(fake.get("/fake/ids/b"), json!({"arrived": 2, "passed": 1, "answered": 1}));
    let ids = &fake.stats()["ids"];
    assert_eq!((&ids["arrived_repeatedly"], &ids["passed_repeatedly"]), (&json!(1), &json!(0)));
    fake.post("/v1/chat/completions", &["x-agentverse-request-id: a", "x-fake-fault: cut"], &chat("one", false));
    let stats = fake.stats();
    assert_eq!(stats["ids"]["most_passed"], json!({"a": {"arrived": 2, "passed": 2, "answered": 1}}));
    assert_eq!(stats["bodies"], json!({"distinct": 2, "repeated": 2}));
    assert_eq!(stats["answers"]["by_kind"]["openai/chat"], json!({"200": 3, "429": 1}));
    assert_eq!((&stats["requests"], &stats["in_flight"]), (&json!(4), &json!(0)));
}

#[test]
fn settings_change_while_it_runs_and_nonsense_changes_nothing() {
    let fake = Fake::start(&[]);
    let before = fake.get("/fake/settings");
    let refused = fake.post("/fake/settings", &[], &json!({"requests_per_minute": 1, "cut_rate": 7}));
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("cut_rate"), "{}", refused.body);
    assert_eq!(fake.get("/fake/settings"), before);
    fake.post("/fake/settings", &[], &json!({"requests_per_minute": 1}));
    assert_eq!([200, 429], [fake.chat(&[], "x").status, fake.chat(&[], "x").status]);
    fake.post("/fake/settings", &[], &json!({"requests_per_minute": null}));
    assert_eq!(fake.chat(&[], "x").status, 200);
}

#[test]
fn an_outage_refuses_or_drops_until_it_ends() {
    let fake = Fake::start(&[]);
    fake.post("/fake/down", &[], &json!({"mode": "refuse"}));
    assert_eq!(fake.chat(&[], "x").status, 503);
    fake.post("/fake/down", &[], &json!({"mode": "drop"}));
    let dropped = fake.chat(&[], "x");
    assert!(dropped.status == 0 && dropped.body.is_empty(), "{dropped:?}");
    assert_eq!(fake.stats()["requests"], 2, "the control answers meanwhile");
    assert_eq!(fake.post("/fake/down", &[], &json!({"mode": "explode"})).status, 400);
    fake.request("POST", "/fake/up", &[], "");
    assert_eq!(fake.chat(&[], "x").status, 200);
}

#[test]
fn a_reset_forgets_the_windows() {
    let fake = Fake::start(&["--requests-per-minute", "1"]);
    assert_eq!([200, 429], [fake.chat(&[], "x").status, fake.chat(&[], "x").status]);
    fake.request("POST", "/fake/reset", &[], "");
    assert_eq!(fake.stats()["requests"], 0);
    assert_eq!(fake.chat(&[], "x").status, 200);
    assert_eq!(fake.request("GET", "/fake/nothing", &[], "").status, 404);
}

#[test]
fn the_address_comes_as_json_where_it_is_asked_for() {
    let fake = Fake::start(&["--output", "json"]);
    assert_eq!(fake.stats()["requests"], 0);
    fake.stop();
}

#[test]
fn wrong_usage_is_said_and_the_help_tells_the_rules() {
    let output = run(&["fake-provider", "--http", "127.0.0.1:0", "--error-rate", "2"], None);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("error_rate"), "{output:?}");
    let output = run(&["fake-provider", "--latency-ms", "gauss:1"], None);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("lognormal"), "{output:?}");
    let help = run(&["fake-provider", "--help"], None);
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.contains("One token is 4 bytes") && help.contains("Exit codes:"), "{help}");
}
