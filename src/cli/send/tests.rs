//! `send` against a server that misbehaves on purpose.

use super::*;
use crate::cli::stub;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

const TENANT: Uuid = Uuid::from_u128(7);

fn args(url: super::super::url::BaseUrl, batch: u16) -> Args {
    Args {
        file: "-".into(),
        batch,
        wait: Wait::Applied,
        retry_for: 10.0,
        remote: Remote { url, tenant: Some(TENANT), timeout: 5.0, output: Format::Json },
    }
}

/// Each command's outcome is what its `type` says.
fn outcomes(body: &[u8]) -> Response {
    let events: Vec<Value> = serde_json::from_slice(body).unwrap();
    let items: Vec<Value> = events
        .iter()
        .map(|event| json!({"id": event["id"], "outcome": event["type"], "reason": {"code": "because"}}))
        .collect();
    axum::Json(json!({"items": items})).into_response()
}

async fn sent(args: &Args, input: &str) -> (Result<(), Error>, Summary) {
    let mut summary = Summary::default();
    let result = send(args, input.as_bytes(), &mut summary).await;
    (result, summary)
}

#[tokio::test]
async fn a_batch_met_with_back_pressure_goes_again_with_the_same_ids() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let url = stub::serve(move |uri, headers: HeaderMap, body| {
        assert_eq!(uri.to_string(), "/v1/commands?wait=applied");
        assert_eq!(headers["content-type"], "application/cloudevents-batch+json");
        assert_eq!(headers["agentverse-tenant"], TENANT.to_string().as_str());
        let mut seen = record.lock();
        seen.push(body.clone());
        match seen.len() {
            1 => (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")], "").into_response(),
            _ => outcomes(&body),
        }
    })
    .await;
    #[expect(clippy::disallowed_methods, reason = "the wait is the server's, in real time")]
    let started = std::time::Instant::now();
    let (result, summary) = sent(&args(url, 500), "{\"type\":\"applied\"}\n{\"type\":\"applied\"}\n").await;
    result.unwrap();
    assert_eq!((summary.applied, summary.retries), (2, 1));
    assert_eq!(summary.exit(Wait::Applied), Exit::Done);
    assert!(started.elapsed() >= Duration::from_secs(1), "Retry-After was not kept");
    let seen = seen.lock();
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn every_line_gets_its_verdict_and_its_number() {
    let requests = Arc::new(Mutex::new(0));
    let count = Arc::clone(&requests);
    let url = stub::serve(move |_, _, body| {
        *count.lock() += 1;
        outcomes(&body)
    })
    .await;
    let input = "{\"type\":\"applied\"}\nnot json\n\n{\"type\":\"refused\",\"id\":\"r\"}\n{\"type\":\"dead_lettered\"}\n{\"type\":\"?\"}";
    let (result, summary) = sent(&args(url, 2), input).await;
    result.unwrap();
    assert_eq!(*requests.lock(), 2);
    let told: Vec<_> = summary.failures.iter().map(|failure| (failure.line, failure.outcome)).collect();
    assert_eq!(told, [(2, "rejected"), (4, "refused"), (5, "dead_lettered"), (6, "rejected")]);
    assert_eq!(summary.failures[1].id.as_deref(), Some("r"));
    assert_eq!(summary.exit(Wait::Applied), Exit::Rejected);
}

#[tokio::test]
async fn failures_are_told_in_the_order_of_the_lines() {
    let url = stub::serve(|_, _, body| outcomes(&body)).await;
    let input = "bad\n{\"type\":\"refused\"}\nbad\n{\"type\":\"dead_lettered\"}\nbad\n{\"type\":\"refused\"}\nbad";
    for batch in [1, 2, 500] {
        let (result, summary) = sent(&args(url.clone(), batch), input).await;
        result.unwrap();
        let told: Vec<_> = summary.failures.iter().map(|failure| failure.line).collect();
        assert_eq!(told, [1, 2, 3, 4, 5, 6, 7], "in batches of {batch}");
    }
}

#[tokio::test]
async fn a_file_without_a_readable_line_is_told_without_a_request() {
    let url = stub::serve(|uri, _, _| -> Response { panic!("{uri} was asked for") }).await;
    let (result, summary) = sent(&args(url, 500), &"bad\n".repeat(FAILURES_MAX * 2 + 1)).await;
    result.unwrap();
    assert_eq!((summary.rejected, summary.failures.len()), (2_001, FAILURES_MAX));
}

#[tokio::test]
async fn a_batch_that_is_too_large_goes_in_halves_and_in_order() {
    let ids = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&ids);
    let url = stub::serve(move |_, _, body| {
        let events: Vec<Value> = serde_json::from_slice(&body).unwrap();
        if events.len() > 2 || events.iter().any(|event| event["id"] == "huge") {
            return (StatusCode::PAYLOAD_TOO_LARGE, "{\"title\":\"Too large\"}").into_response();
        }
        record.lock().extend(events.iter().map(|event| event["id"].as_str().unwrap().to_owned()));
        outcomes(&body)
    })
    .await;
    let line = |id: &str| format!("{{\"id\":\"{id}\",\"type\":\"applied\"}}\n");
    let input: String = ["a", "b", "c", "d", "huge"].iter().map(|id| line(id)).collect();
    let (result, summary) = sent(&args(url, 500), &input).await;
    result.unwrap();
    assert_eq!(*ids.lock(), ["a", "b", "c", "d"]);
    assert_eq!((summary.applied, summary.rejected, summary.failures[0].line), (4, 1, 5));
}

#[tokio::test]
async fn a_server_that_stays_busy_ends_the_run_and_says_where() {
    let url = stub::serve(|_, _, body| match body.windows(4).any(|part| part == b"stop") {
        true => (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "60")], "").into_response(),
        false => outcomes(&body),
    })
    .await;
    let (result, summary) = sent(&args(url, 1), "{\"type\":\"applied\"}\n{\"type\":\"stop\"}\n{}").await;
    let error = result.unwrap_err();
    assert_eq!(error.exit(), Exit::Unreachable);
    assert!(error.to_string().contains("Send again from line 2 on"), "{error}");
    assert_eq!((summary.lines, summary.applied), (1, 1));
}

#[tokio::test]
async fn what_was_not_decided_in_time_has_its_own_exit_code() {
    let url = stub::serve(|_, _, body| outcomes(&body)).await;
    let (_, summary) = sent(&args(url, 500), "{\"type\":\"accepted\"}").await;
    assert_eq!(summary.exit(Wait::Applied), Exit::Undecided);
    assert_eq!(summary.exit(Wait::Accepted), Exit::Done);
}

#[test]
fn a_refusal_weighs_less_than_a_rejection_and_more_than_a_wait() {
    let summary = |refused, rejected| Summary { accepted: 1, refused, rejected, ..Summary::default() };
    assert_eq!(summary(1, 0).exit(Wait::Applied), Exit::Refused);
    assert_eq!(summary(1, 1).exit(Wait::Applied), Exit::Rejected);
}

#[test]
fn a_failure_is_one_line_with_or_without_a_code() {
    let failure =
        |code: &str| Failure { line: 3, id: None, outcome: "refused", code: code.into(), message: "m".into() };
    assert_eq!(failure("illegal").line(), "line 3: refused illegal: m");
    assert_eq!(failure("").line(), "line 3: refused: m");
}
