//! The demo: a fleet worth looking at, and a second start that changes nothing.

use super::http::Client;
use super::server::{Folder, Server, eventually, run};
use serde_json::{Value, json};

/// The fleet alone, at rest.
const QUIET: &[&str] = &["--demo", "--set", "demo_requests_per_minute=0"];
/// One that makes a request every hundred milliseconds.
const BUSY: &[&str] = &["--demo", "--set", "demo_requests_per_minute=600"];

const RECORDED: [&str; 4] = ["records", "events", "streams", "dead_letters"];

fn counts(report: &Value) -> [Value; 4] {
    RECORDED.map(|name| report[name].clone())
}

#[test]
fn the_demo_loads_once_and_a_second_start_changes_nothing() {
    let folder = Folder::new();
    let server = Server::start_with(&folder, QUIET);
    let everyone = Client { address: server.address.clone(), tenant: None };
    let tenants = everyone.walk("/v1/tenants", 3);
    // The shared catalogue is no company.
    assert_eq!(tenants.len(), 10, "{tenants:#?}");
    let regions: std::collections::BTreeSet<_> =
        tenants.iter().map(|tenant| tenant["region"].as_str().unwrap()).collect();
    assert_eq!(regions.len(), 3, "{regions:?}");
    let (mut agents, mut couplings, mut refused) = (0, 0, Vec::new());
    for tenant in &tenants {
        let client = server.client_of(tenant["id"].as_str().unwrap());
        agents += client.walk("/v1/agents", 1000).len();
        couplings += client.walk("/v1/couplings", 1000).len();
        let some = client.walk("/v1/couplings?status=refused", 1000);
        refused.extend(some.into_iter().map(|item| (client.clone(), item)));
    }
    assert_eq!((agents, couplings), (1_000, 3_000));
    assert!((1..1_500).contains(&refused.len()), "{} refused", refused.len());
    for (client, item) in refused.iter().step_by(50) {
        let id = item["id"].as_str().unwrap();
        let explained = client.read(&format!("/v1/couplings/{id}/explain"));
        let reason = &explained["reasons"][0];
        assert!(reason["code"].is_string() && reason["message"].is_string(), "{explained:#}");
        assert_eq!(item["version"], 1, "a refusal is a stream's first version: {item}");
    }
    let client = server.client_of(tenants[0]["id"].as_str().unwrap());
    let shared = |plural: &str| client.walk(&format!("/v1/{plural}?shared=only"), 100).len();
    assert!(shared("llm-providers") >= 20 && shared("mcp-servers") >= 40 && shared("agent-templates") >= 12);
    server.stop();
    let first = folder.check();

    Server::start_with(&folder, QUIET).stop();
    assert_eq!(counts(&folder.check()), counts(&first), "a second start wrote something");
}

/// What `top` sees once.
fn top(server: &Server, more: &[&str]) -> Value {
    let url = format!("http://{}", server.address);
    let output = run(&[&["top", "--once", "--output", "json", "--url", &url], more].concat(), None);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn sum(items: &Value, field: &str) -> f64 {
    items.as_array().unwrap().iter().filter_map(|item| item[field].as_f64()).sum()
}

#[test]
fn requests_go_to_the_stand_in_and_are_seen_by_top_and_in_the_usage() {
    let folder = Folder::new();
    let server = Server::start_with(&folder, BUSY);
    let seen = eventually("requests that cost", || {
        let seen = top(&server, &[]);
        let is_alive = sum(&seen["models"], "calls") >= 20.0 && sum(&seen["tenants"], "requests_today") >= 20.0;
        is_alive.then_some(seen)
    });
    assert_eq!((&seen["nodes"][0]["up"], &seen["no_tenants"]), (&json!(true), &Value::Null), "{seen:#}");
    let models = seen["models"].as_array().unwrap();
    assert!(models.iter().all(|model| model["provider"] == "Stand-in"), "{seen:#}");
    let used = |model: &Value| model["requests_used"].as_f64().is_some_and(|used| used > 0.0 && used <= 1.0);
    assert!(models.iter().any(used) && sum(&seen["models"], "tokens_per_second") > 0.0, "{seen:#}");
    assert!(sum(&seen["queue"], "begun") >= 20.0, "{seen:#}");
    let tenants = seen["tenants"].as_array().unwrap();
    let dearest = tenants.iter().max_by(|one, other| {
        let cost = |tenant: &Value| tenant["cost_usd_today"].as_str().unwrap().to_owned();
        cost(one).cmp(&cost(other))
    });
    let dearest = dearest.unwrap();
    assert!(dearest["cost_usd_today"] != "0.000000000000" && dearest["budget_used"].as_f64() > Some(0.0), "{seen:#}");

    let client = server.client_of(dearest["id"].as_str().unwrap());
    let completed = client.walk("/v1/llm-requests?status=completed", 100);
    assert!(!completed.is_empty());
    for request in completed.iter().take(3) {
        assert!(request["cost_usd"] != "0.000000000000" && request["coupling_id"].is_string(), "{request}");
    }

    // A node that is away is said to be, and the other is shown.
    let both = top(&server, &["--url", "http://127.0.0.1:1"]);
    assert_eq!((&both["nodes"][0]["up"], &both["nodes"][1]["up"]), (&json!(true), &json!(false)), "{both:#}");
    assert!(sum(&both["models"], "calls") > 0.0);
    // A tenant sees its own providers alone.
    let own = top(&server, &["--tenant", dearest["id"].as_str().unwrap()]);
    assert_eq!(own["tenants"].as_array().unwrap().len(), 1);
    assert!(own["models"].as_array().unwrap().len() <= 2, "{own:#}");
    let endpoint = |server: &Server| {
        let client = server.client_of(dearest["id"].as_str().unwrap());
        let found = client.walk("/v1/llm-providers?shared=false&name=Stand-in", 10);
        found[0]["endpoint"].as_str().unwrap().to_owned()
    };
    let before = endpoint(&server);
    server.stop();

    let server = Server::start_with(&folder, BUSY);
    let after = endpoint(&server);
    assert!(after.starts_with("http://127.0.0.1:") && !after.contains(":9/"), "{before} {after}");
    eventually("calls after a second start", || (sum(&top(&server, &[])["models"], "calls") > 0.0).then_some(()));
    server.stop();
}
