//! Every route, asked in every wrong way; and everything that the script made, read once more.

use super::pair::{ALLOWED, Ask, Pair};
use super::resources::agent;
use super::{NOBODY, OTHER, TENANT};
use crate::e2e::server::eventually;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The routes of the interface's own description.
fn routes(pair: &Pair) -> Vec<(String, String)> {
    let document = pair.embedded.read("/openapi.json");
    let mut routes = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let methods = operations.as_object().unwrap().keys().map(|key| key.to_uppercase());
        routes.extend(methods.filter(|method| method != "PARAMETERS").map(|method| (method, path.clone())));
    }
    assert!(routes.len() > 60, "the routes were not found");
    routes
}

fn is_allowed(method: &str, route: &str) -> bool {
    ALLOWED.contains(&(method, route))
}

/// Compares whatever both answer; what they should answer is tested where each rule is.
fn compare(pair: &mut Pair, ask: Ask) {
    let status = pair.each(&ask)[0].status;
    pair.ask(status, &ask);
}

pub fn every_route(pair: &mut Pair) {
    let routes = routes(pair);
    for (number, (method, route)) in routes.iter().enumerate() {
        if is_allowed(method, route) {
            continue;
        }
        let unknown = route.replace("{id}", NOBODY);
        let with_id = |ask: Ask, turn: u32| ask.with("ce-id", format!("sweep-{number}-{turn}"));
        compare(pair, with_id(Ask::new(method, &unknown), 0));
        compare(pair, with_id(Ask::new(method, &unknown).tenant(None), 1));
        compare(pair, with_id(Ask::new(method, &unknown).tenant(Some("acme")), 2));
        compare(pair, with_id(Ask::new(method, format!("{unknown}?colour=red")), 3));
        if route.contains("{id}") {
            compare(pair, with_id(Ask::new(method, route.replace("{id}", "not-an-id")), 4));
            compare(pair, with_id(Ask::new(method, route.replace("{id}", "%ff")), 5));
        }
        if method != "GET" {
            let post = |body: &str, turn| {
                with_id(Ask::new(method, &unknown), turn).with("content-type", "application/json").bytes(body)
            };
            compare(pair, post("{\"nonsense\":1}", 6));
            compare(pair, post("{\"name\":", 7));
            compare(pair, with_id(Ask::new(method, &unknown), 8).bytes("{}"));
            compare(pair, with_id(Ask::new(method, &unknown), 9).with("content-type", "text/plain").bytes("{}"));
            compare(pair, post("{}", 10).with("if-match", "soon"));
            compare(pair, post("{}", 11).with("if-match", "\"7\""));
            compare(pair, post("{}", 12).with("ce-source", "agentverse"));
            compare(pair, post("{}", 13).tenant(Some(OTHER)));
            compare(pair, post("{}", 14).with("ce-subject", "Ada"));
        }
    }
    let paths: BTreeSet<&String> = routes.iter().map(|(_, route)| route).collect();
    for route in paths {
        for method in ["DELETE", "PUT", "PATCH", "OPTIONS"] {
            if !routes.contains(&(method.to_owned(), route.clone())) {
                pair.ask(405, &Ask::new(method, route.replace("{id}", NOBODY)));
            }
        }
    }
    for path in
        ["/", "/v1", "/v2/agents", "/v1/robots", "/v1/agents/", "/v1/agents/x/y/z", "/V1/agents", "/openapi.yaml"]
    {
        pair.ask(404, &Ask::get(path));
    }
}

/// The last word: every stream that the script made, as a resource and as a history.
pub fn all_that_was_made(pair: &mut Pair) {
    let mut histories = 0;
    for (plural, id, tenant) in pair.made.clone() {
        let path = format!("/v1/{plural}/{id}");
        compare(pair, Ask::get(&path).tenant(Some(&tenant)));
        let answer = pair.ask(200, &Ask::get(format!("{path}/history?limit=1000")).tenant(Some(&tenant)));
        histories += answer["items"].as_array().map_or(0, Vec::len);
        pair.ask(200, &Ask::get(format!("{path}/history?limit=1000&order=desc")).tenant(Some(&tenant)));
    }
    assert!(histories > pair.made.len(), "{histories} records of {} streams", pair.made.len());
}

/// Last of all, for a heartbeat makes a record under an id that nobody else knows.
pub fn heartbeats(pair: &mut Pair) {
    let path = |id: &str| format!("/v1/agents/{id}/heartbeat");
    for (id, status) in [(agent(8), 200), (agent(8), 200), (agent(12), 409), (NOBODY.to_owned(), 404)] {
        pair.ask(status, &Ask::new("POST", path(&id)));
    }
    pair.ask(400, &Ask::new("POST", path(&agent(8))).tenant(None));
    pair.ask(400, &Ask::new("POST", path("not-an-id")));
    pair.ask(400, &Ask::new("POST", format!("{}?colour=red", path(&agent(8)))));
    eventually("both say that it is active", || {
        let told = pair.each(&Ask::get(format!("/v1/agents/{}", agent(8))));
        told.iter().all(|answer| answer.json()["health"] == "active").then_some(())
    });
    let report = json!({"health": "offline", "reason": "by command"});
    pair.perform("applied", &format!("/v1/agents/{}/report-health", agent(9)), &report);
}

/// The feed, as far as it goes now: both tell of the same events.
pub fn events(pair: &mut Pair) {
    for query in ["type=agent.Nothing", "aggregate=robots", "from=soon", "id=42", "until=then", "colour=red"] {
        pair.ask(400, &Ask::get(format!("/v1/events?{query}")));
    }
    pair.ask(403, &Ask::get(format!("/v1/events?tenant={OTHER}")));
    pair.ask(400, &Ask::get("/v1/events").with("last-event-id", "7"));
    let told = pair.each(&Ask::get("/v1/events?from=beginning&until=now"));
    let [embedded, cluster] = told.each_ref().map(|answer| {
        let text = answer.text();
        assert!(text.contains("event: end"), "{text}");
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let events = data.map(|data| serde_json::from_str::<Value>(data).unwrap());
        let events = events.filter(|event| !event["type"].is_null());
        events.map(|event| format!("{} {} {}", event["log"], event["position"], event["type"])).collect::<BTreeSet<_>>()
    });
    assert!(embedded.len() > 100, "{embedded:?}");
    assert_eq!(embedded, cluster, "events by log and position");
}

pub fn operators_routes(pair: &mut Pair) {
    for path in ["/healthz", "/readyz", "/openapi.json"] {
        pair.read(path);
    }
    let names = |text: String| -> BTreeSet<String> {
        text.lines().filter(|line| line.starts_with("# ")).map(str::to_owned).collect()
    };
    let [embedded, cluster] = pair.each(&Ask::get("/metrics"));
    assert_eq!(embedded.header("content-type"), cluster.header("content-type"));
    assert_eq!(names(embedded.text()), names(cluster.text()), "the metrics' names, types and meanings");
    let tenant: Value = pair.read(&format!("/v1/tenants/{TENANT}"));
    assert_eq!(tenant["name"], "Acme");
}
