//! Heartbeats: a lease in memory, and an event only where an agent's health turns.

use super::http::Client;
use super::server::{Folder, Server, eventually};
use super::{NOBODY, OTHER};
use serde_json::{Value, json};

/// Times that let a test see a lease run out.
pub const LEASE_TIMES: &[(&str, &str)] = &[("heartbeat_lease_ms", "1000"), ("heartbeat_offline_ms", "2500")];

#[test]
fn heartbeats_hold_an_agents_health_and_only_turns_are_logged() {
    let folder = Folder::new();
    let times: Vec<_> = LEASE_TIMES.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let times: Vec<&str> = times.iter().flat_map(|setting| ["--set", setting]).collect();
    let server = Server::start_with(&folder, &times);
    server.provisioned();
    an_agents_life(&server.client(), &server.client_of(OTHER));
    server.stop();
    folder.check();
}

/// What heartbeats do, wherever the leases are kept. The client's tenant is provisioned.
pub fn an_agents_life(client: &Client, stranger: &Client) {
    let agent = client.make("agents", &json!({"name": "Ada", "category": "research"}));
    let path = format!("/v1/agents/{agent}");
    let beat = || client.post(&format!("{path}/heartbeat"), &Value::Null);
    for _ in 0..50 {
        let answer = beat();
        assert_eq!((answer.status, &answer.json()["lease_ms"]), (200, &json!(1000)), "{}", answer.text());
    }
    comes_up(client, &path);
    // That it was degraded in between is in the story: a busy machine may look too late.
    becomes(client, &path, "offline");
    comes_up(client, &path);
    let story = client.walk(&format!("{path}/history"), 100);
    assert_eq!(story.len(), 5, "registered, and four turns: {story:#?}");

    // Whoever says otherwise, the next heartbeat is a turn again, not a renewal.
    client.post(&format!("{path}/report-health"), &json!({"health": "offline", "reason": "unplugged"}));
    becomes(client, &path, "offline");
    comes_up(client, &path);

    assert_eq!(client.post(&format!("/v1/agents/{NOBODY}/heartbeat"), &Value::Null).status, 404);
    assert_eq!(stranger.post(&format!("{path}/heartbeat"), &Value::Null).status, 404);
    beat();
    client.post(&format!("{path}/decommission"), &json!({}));
    let answer = beat();
    assert_eq!((answer.status, &answer.json()["code"]), (409, &json!("decommissioned")), "{}", answer.text());
}

/// Waits until an agent has this health.
/// Beats until the views show it: on a busy machine one beat's lease may be over before they do.
pub fn comes_up(client: &Client, path: &str) {
    eventually("active", || {
        assert_eq!(client.post(&format!("{path}/heartbeat"), &Value::Null).status, 200);
        (client.read(path)["health"] == "active").then_some(())
    });
}

pub fn becomes(client: &Client, path: &str, health: &str) {
    eventually(health, || (client.read(path)["health"] == health).then_some(()));
}
