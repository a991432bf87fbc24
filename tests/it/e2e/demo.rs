//! The demo: a fleet worth looking at, and a second start that changes nothing.

use super::http::Client;
use super::server::{Folder, Server};
use serde_json::Value;

const RECORDED: [&str; 4] = ["records", "events", "streams", "dead_letters"];

fn counts(report: &Value) -> [Value; 4] {
    RECORDED.map(|name| report[name].clone())
}

#[test]
fn the_demo_loads_once_and_a_second_start_changes_nothing() {
    let folder = Folder::new();
    let server = Server::start_with(&folder, &["--demo"]);
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

    Server::start_with(&folder, &["--demo"]).stop();
    assert_eq!(counts(&folder.check()), counts(&first), "a second start wrote something");
}
