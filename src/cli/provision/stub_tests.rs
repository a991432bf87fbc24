//! The engine before a node that is busy, slow to decide, and that refuses.

use super::blueprint::{Blueprint, agent_id, tenant_id};
use super::compile::compile;
use super::engine::Engine;
use super::node::Node;
use super::pace::{Gate, Pace};
use super::report::Shown;
use super::tally::{Fate, Tally, Told};
use super::{Options, Verb};
use crate::cli::exit::Exit;
use crate::cli::output::Format;
use crate::cli::stub;
use crate::cli::url::BaseUrl;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const MANIFEST: &str = "apiVersion: agentverse/v1
kind: Provisioning
tenants: [{name: A, agents: [{group: g, count: 7, category: c}]}]";

/// What the node was sent: ids of commands, in their order, request by request.
type Sent = Arc<Mutex<Vec<Vec<Value>>>>;

/// A node without resources that answers commands by a closure: the number of the request, and a command.
async fn node<F>(answer: F, agents: Value) -> (BaseUrl, Sent)
where
    F: Fn(usize, &Value) -> Option<Value> + Send + Sync + 'static,
{
    let sent = Sent::default();
    let seen = sent.clone();
    let url = stub::serve(move |uri, headers, body| match uri.path() {
        "/v1/commands" => {
            assert_eq!(headers["agentverse-tenant"].to_str().unwrap(), tenant_id("A").to_string());
            commands(&seen, &body, &answer)
        }
        "/v1/agents" => axum::Json(json!({"items": agents})).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    })
    .await;
    (url, sent)
}

fn commands(seen: &Sent, body: &Bytes, answer: &impl Fn(usize, &Value) -> Option<Value>) -> Response {
    let commands: Vec<Value> = serde_json::from_slice(body).unwrap();
    let request = seen.lock().len();
    seen.lock().push(commands.clone());
    let items: Option<Vec<_>> = commands.iter().map(|command| answer(request, command)).collect();
    match items {
        Some(items) => axum::Json(json!({"items": items})).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")], "{\"detail\":\"full\"}").into_response(),
    }
}

async fn applied(url: BaseUrl, blueprint: &Blueprint, is_known: bool) -> (Tally, Exit) {
    let second = Duration::from_secs(5);
    let node = Node::new(url, second, second, "test".into(), Gate::new(2), Pace::new(None));
    let options = Options { parallel: 2, parallel_within: 1, batch: 6, ..Options::default() };
    let shown = Mutex::new(Shown::new(Verb::Apply, "", Format::Table, (1, 7)));
    let (done, progress) = (HashMap::new(), Mutex::new(None));
    let engine = Engine { node, blueprint, verb: Verb::Apply, options, done, progress, shown };
    let tenant = blueprint.tenants().next().unwrap();
    let mut told = Told::new(tenant.id, &tenant.name, Fate::Unchanged);
    engine.agents(&tenant, is_known, &mut told).await.unwrap();
    engine.shown.lock().tenant(told.clone()).unwrap();
    let exit = engine.shown.lock().exit();
    (told.agents, exit)
}

fn of(command: &Value, outcome: &str, code: &str) -> Option<Value> {
    let reason = if code.is_empty() { Value::Null } else { json!({"code": code, "message": "m", "details": {}}) };
    Some(json!({"id": command["id"], "subject": command["subject"], "outcome": outcome, "reason": reason}))
}

#[tokio::test]
async fn a_busy_node_is_asked_again_with_the_same_commands() {
    let blueprint = compile("m", MANIFEST).unwrap();
    let busy = |request, command: &Value| if request < 2 { None } else { of(command, "applied", "") };
    let (url, sent) = node(busy, json!([])).await;
    let (tally, exit) = applied(url, &blueprint, false).await;
    assert_eq!((tally.created, exit), (7, Exit::Done));
    let sent = sent.lock();
    let sizes: Vec<_> = sent.iter().map(Vec::len).collect();
    assert_eq!(sizes, [6, 6, 6, 6, 2], "three agents at a time, each registered and activated");
    assert!(sent[0] == sent[1] && sent[1] == sent[2] && sent[2] != sent[3]);
    let types: Vec<_> = sent[4].iter().map(|command| command["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["agent.RegisterAgent", "agent.ActivateAgent"]);
}

#[tokio::test]
async fn what_is_not_decided_is_asked_for_again_and_told_where_it_stays_so() {
    let blueprint = compile("m", MANIFEST).unwrap();
    let slow = |request, command: &Value| of(command, if request == 0 { "accepted" } else { "applied" }, "");
    let (url, sent) = node(slow, json!([])).await;
    let (tally, exit) = applied(url, &blueprint, false).await;
    assert_eq!((tally.created, tally.undecided, exit, sent.lock().len()), (7, 0, Exit::Done, 4));
    let (url, _) = node(|_, command| of(command, "accepted", ""), json!([])).await;
    let (tally, exit) = applied(url, &blueprint, false).await;
    assert_eq!((tally.created, tally.undecided, exit), (0, 7, Exit::Undecided));
}

#[tokio::test]
async fn a_refusal_is_counted_once_and_one_that_was_there_is_looked_at_again() {
    let blueprint = compile("m", MANIFEST).unwrap();
    let tenant = tenant_id("A");
    let [second, third] = [2, 3].map(|number| agent_id(tenant, "g", number));
    let is = |command: &Value, id: Uuid| command["subject"] == json!(id);
    let answer = move |_, command: &Value| match command["type"].as_str().unwrap() {
        "agent.RegisterAgent" if is(command, second) => of(command, "refused", "already_exists"),
        _ if is(command, third) => of(command, "refused", "quota"),
        _ => of(command, "applied", ""),
    };
    let there = json!([{
        "id": second, "version": 2, "status": "active", "name": "g-2", "category": "c", "purpose": "", "role": "",
        "instructions": null, "skills": [], "domains": [], "owner": null, "project": null, "risk_tier": "medium",
        "confidence_threshold": null, "requirements": {}, "template": null,
    }]);
    let (url, _) = node(answer, there).await;
    let (tally, exit) = applied(url, &blueprint, false).await;
    assert_eq!((tally.created, tally.unchanged, tally.refused), (5, 1, 1), "{tally:?}");
    assert_eq!(exit, Exit::Refused);
}
