//! Heartbeats: a lease in memory, and an event only where an agent's health turns.

use super::server::{Folder, Server, eventually};
use super::{NOBODY, OTHER};
use serde_json::{Value, json};

#[test]
fn heartbeats_hold_an_agents_health_and_only_turns_are_logged() {
    let folder = Folder::new();
    let times = ["--set", "heartbeat_lease_ms=1000", "--set", "heartbeat_offline_ms=2500"];
    let server = Server::start_with(&folder, &times);
    let client = server.provisioned();
    let agent = client.make("agents", &json!({"name": "Ada", "category": "research"}));
    let path = format!("/v1/agents/{agent}");
    let beat = || client.post(&format!("{path}/heartbeat"), &Value::Null);
    let health = |wanted: &str| {
        eventually(wanted, || (client.read(&path)["health"] == wanted).then_some(()));
    };
    for _ in 0..50 {
        let answer = beat();
        assert_eq!((answer.status, &answer.json()["lease_ms"]), (200, &json!(1000)), "{}", answer.text());
    }
    health("active");
    health("degraded");
    health("offline");
    beat();
    health("active");
    let story = client.walk(&format!("{path}/history"), 100);
    assert_eq!(story.len(), 5, "registered, and four turns: {story:#?}");

    // What somebody else reports ends the lease: the next heartbeat is a turn again, not a renewal.
    client.post(&format!("{path}/report-health"), &json!({"health": "offline", "reason": "unplugged"}));
    health("offline");
    beat();
    health("active");

    assert_eq!(client.post(&format!("/v1/agents/{NOBODY}/heartbeat"), &Value::Null).status, 404);
    assert_eq!(server.client_of(OTHER).post(&format!("{path}/heartbeat"), &Value::Null).status, 404);
    beat();
    client.post(&format!("{path}/decommission"), &json!({}));
    let answer = beat();
    assert_eq!((answer.status, &answer.json()["code"]), (409, &json!("decommissioned")), "{}", answer.text());
    server.stop();
    folder.check();
}
