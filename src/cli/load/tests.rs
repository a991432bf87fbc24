//! The generator against a small server that keeps the versions it was told and can misbehave on purpose.

use super::*;
use crate::cli::stub;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};

/// What the server took: versions by tenant and agent, all command ids, and how many requests came.
#[derive(Default)]
struct Taken {
    versions: HashMap<(String, String), u64>,
    ids: HashSet<String>,
    repeated: u64,
    requests: u64,
}

fn take(taken: &mut Taken, tenant: &str, event: &Value) -> Value {
    let id = event["id"].as_str().unwrap().to_owned();
    let subject = event["subject"].as_str().unwrap().to_owned();
    if taken.ids.insert(id.clone()) {
        let version = taken.versions.entry((tenant.to_owned(), subject.clone())).or_default();
        assert_eq!(*version == 0, event["type"] != "agent.ReviseAgent", "revised before it was registered: {event}");
        *version += 1;
    } else {
        taken.repeated += 1;
    }
    json!({"id": id, "subject": subject, "outcome": "accepted", "version": null, "reason": null})
}

fn answer(taken: &mut Taken, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Response {
    let tenant = headers["agentverse-tenant"].to_str().unwrap();
    let shown = |id: &str| Some(json!({"id": id, "version": taken.versions.get(&(tenant.into(), id.into()))?}));
    if let Some(id) = uri.path().strip_prefix("/v1/agents/") {
        return shown(id).map_or(StatusCode::NOT_FOUND.into_response(), |shown| axum::Json(shown).into_response());
    }
    if let Some(id) = uri.query().and_then(|query| query.strip_prefix("id=")) {
        return axum::Json(json!({"items": shown(id).into_iter().collect::<Vec<_>>()})).into_response();
    }
    taken.requests += 1;
    let events: Value = serde_json::from_slice(body).unwrap();
    let answer = match &events {
        Value::Array(events) => {
            json!({"items": events.iter().map(|event| take(taken, tenant, event)).collect::<Vec<_>>()})
        }
        event => take(taken, tenant, event),
    };
    (StatusCode::ACCEPTED, axum::Json(answer)).into_response()
}

fn args(url: BaseUrl) -> Args {
    Args {
        url,
        commands: Some(2_500),
        streams: 400,
        batch: 50,
        connections: 3,
        rate: None,
        seconds: None,
        tenants: 2,
        payload_bytes: 300,
        sample_every: 100,
        seed: Some(11),
        timeout: 5.0,
        output: Format::Json,
    }
}

#[tokio::test]
async fn every_command_arrives_once_and_the_report_counts_them() {
    let taken = Arc::new(Mutex::new(Taken::default()));
    let server = Arc::clone(&taken);
    let url = stub::serve(move |uri, headers, body| answer(&mut server.lock(), &uri, &headers, &body)).await;
    let report = drive(&args(url)).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.commands, report.registered, report.revised), (2_500, 400, 2_100));
    assert!(report.queryable_ms.count == 25 && report.checked > report.queryable_ms.count, "{report:?}");
    assert!(report.commands_per_second > 0.0 && report.queryable_seconds >= report.accepted_seconds);
    let taken = taken.lock();
    // Two tenants, then 50 requests; 2,500 commands over 400 streams are six or seven for each.
    assert_eq!((taken.ids.len(), taken.requests), (2_502, 52));
    let agents = taken.versions.iter().filter(|((tenant, id), _)| tenant != id);
    assert!(agents.clone().all(|(_, version)| (6..=7).contains(version)), "{:?}", taken.versions);
    assert_eq!(agents.count(), 400);
}

#[tokio::test]
async fn back_pressure_is_waited_out_and_repeats_the_same_commands() {
    let taken = Arc::new(Mutex::new(Taken::default()));
    let server = Arc::clone(&taken);
    let url = stub::serve(move |uri, headers, body| {
        let mut taken = server.lock();
        let response = answer(&mut taken, &uri, &headers, &body);
        // Taken, but the answer says that it was not: the repetition must be the same commands.
        if taken.requests == 10 && uri.path() == "/v1/commands" {
            return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")], "busy").into_response();
        }
        response
    })
    .await;
    let report = drive(&args(url)).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.retries, std::collections::BTreeMap::from([("http_503".to_owned(), 1)]));
    assert!(report.accepted_ms.max >= 1_000.0, "the wait is part of the latency: {report:?}");
    let taken = taken.lock();
    assert_eq!((taken.ids.len(), taken.repeated), (2_502, 50));
}

#[tokio::test]
async fn single_commands_at_a_rate_keep_to_the_schedule() {
    let taken = Arc::new(Mutex::new(Taken::default()));
    let server = Arc::clone(&taken);
    let url = stub::serve(move |uri, headers, body| answer(&mut server.lock(), &uri, &headers, &body)).await;
    let args = Args { batch: 1, rate: Some(200.0), commands: Some(60), ..args(url) };
    let report = drive(&args).await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    // The last is due 59 / 200 s after the first: a busy machine is later, none is earlier.
    assert!(report.commands == 60 && report.accepted_seconds >= 0.29, "{report:?}");
    assert_eq!(report.commands, report.accepted_ms.count);
}

#[tokio::test]
async fn a_request_that_is_refused_as_a_whole_ends_the_run_and_is_told() {
    let taken = Arc::new(Mutex::new(Taken::default()));
    let server = Arc::clone(&taken);
    let url = stub::serve(move |uri, headers, body| {
        let mut taken = server.lock();
        match taken.requests {
            6.. if uri.path() == "/v1/commands" => (StatusCode::BAD_REQUEST, "no such thing").into_response(),
            _ => answer(&mut taken, &uri, &headers, &body),
        }
    })
    .await;
    let report = drive(&args(url)).await.unwrap();
    assert!(!report.is_clean());
    assert_eq!(report.commands, 200);
    assert!(report.errors.contains_key("http_400"), "{report:?}");
    assert_eq!(report.error_examples["http_400"], "no such thing");
    assert!(report.text().contains("error http_400"), "{}", report.text());
}

#[test]
fn more_tenants_than_streams_are_refused() {
    let args = Args { tenants: 5, streams: 4, ..args("http://localhost:1".parse().unwrap()) };
    assert_eq!(plan(&args).unwrap_err().exit(), Exit::Usage);
}

#[test]
fn a_connection_without_a_stream_is_not_opened() {
    let args = Args { connections: 64, streams: 4, ..args("http://localhost:1".parse().unwrap()) };
    assert_eq!(plan(&args).unwrap().connections, 4);
}
