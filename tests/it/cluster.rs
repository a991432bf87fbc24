//! A cluster of real processes on real servers, for every test that wants one.
//!
//! The servers are named by `AGENTVERSE_TEST_KAFKA` (`host:port` of a broker), `AGENTVERSE_TEST_CQL` (of a node) and, if
//! at all, `AGENTVERSE_TEST_REGISTRY` (a URL). They are shared: each [`fleet::Fleet`] has a keyspace and topics of its own
//! and takes them away when it ends. `AGENTVERSE_TEST_NAME` goes before their names.

pub mod fleet;
mod lane;
mod role;
mod servers;
mod usage;

use crate::e2e::health::{LEASE_TIMES, an_agents_life, becomes, comes_up};
use crate::e2e::server::eventually;
use fleet::Fleet;
use serde_json::json;

#[test]
fn a_fleet_goes_on_while_its_processes_come_and_go() {
    // A paused process is given up after this; the broker allows no less.
    let settings = [("kafka_session_ms_max", "6000"), ("http_wait_ms_default", "30000")];
    let Some(mut fleet) = Fleet::start("cluster", &settings) else { return };
    let client = fleet.client("serve-1", "6f1c2a52-0d5e-4c3b-9a77-1f0f6f1f9b01");
    let register = |name: &str| client.make("agents", &json!({"name": name, "category": "research"}));
    client.make("tenants", &json!({"name": "Acme"}));
    register("first");
    let second = fleet.start_role("process");
    fleet.wait_until_ready(&second);
    fleet.pause("process-1");
    (0..8).for_each(|number| drop(register(&format!("while one is paused {number}"))));
    fleet.resume("process-1");
    fleet.kill(&second);
    (0..8).for_each(|number| drop(register(&format!("after one was killed {number}"))));
    let third = fleet.start_role("process");
    fleet.wait_until_ready(&third);
    fleet.terminate("process-1");
    (0..8).for_each(|number| drop(register(&format!("after one left {number}"))));
    assert_eq!(client.walk("/v1/agents", 100).len(), 25);
    assert!(!fleet.said(&third).contains("panicked"), "{}", fleet.said(&third));
}

#[test]
fn leases_are_kept_by_whoever_owns_the_log_and_survive_it() {
    let settings = [LEASE_TIMES, &[("kafka_session_ms_max", "6000"), ("http_wait_ms_default", "30000")]].concat();
    let Some(mut fleet) = Fleet::start("leases", &settings) else { return };
    let [client, stranger] = ["6f1c2a52-0d5e-4c3b-9a77-1f0f6f1f9b01", "7a2d3b63-1e6f-4d4c-8b88-2a1a7a2a8c02"]
        .map(|tenant| fleet.client("serve-1", tenant));
    client.make("tenants", &json!({"name": "Acme"}));
    an_agents_life(&client, &stranger);

    // Those that were up when their keeper was killed, and never beat again.
    let agents: Vec<_> = (0..8)
        .map(|number| {
            format!(
                "/v1/agents/{}",
                client.make("agents", &json!({"name": format!("agent {number}"), "category": "research"}))
            )
        })
        .collect();
    agents.iter().for_each(|path| comes_up(&client, path));
    fleet.kill("process-1");
    fleet.start_role("process");
    agents.iter().for_each(|path| becomes(&client, path, "offline"));
}

#[test]
fn commands_that_the_broker_lost_stop_their_log_until_somebody_accepts_it() {
    let settings = [("partitions", "1"), ("http_wait_ms_default", "30000")];
    let Some(mut fleet) = Fleet::start("loss", &settings) else { return };
    let client = fleet.client("serve-1", "6f1c2a52-0d5e-4c3b-9a77-1f0f6f1f9b01");
    client.make("tenants", &json!({"name": "Acme"}));
    client.make("agents", &json!({"name": "kept", "category": "research"}));
    fleet.terminate("process-1");
    for name in ["lost", "lost too"] {
        let answer = client.post("/v1/agents?wait=accepted", &json!({"name": name, "category": "research"}));
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    fleet.forget_commands("agent");
    let process = fleet.start_role("process");
    eventually("the alarm", || fleet.said(&process).contains("2 between were deleted").then_some(()));
    let shown = fleet.refused(&["topics", "accept-loss"], 1);
    assert!(shown.contains("agent/0") && shown.contains("--yes"), "{shown}");
    assert!(fleet.command(&["topics", "accept-loss", "--yes"]).contains("agent/0"));
    client.make("agents", &json!({"name": "after", "category": "research"}));
    eventually("both that were decided", || (client.walk("/v1/agents", 100).len() == 2).then_some(()));
    assert!(fleet.command(&["topics", "accept-loss"]).contains("No log has lost commands."));
}

#[test]
fn a_command_topic_that_was_made_anew_is_not_taken_for_the_old_one() {
    let settings = [("partitions", "1"), ("http_wait_ms_default", "30000")];
    let Some(mut fleet) = Fleet::start("anew", &settings) else { return };
    let tenant = "6f1c2a52-0d5e-4c3b-9a77-1f0f6f1f9b01";
    let client = fleet.client("serve-1", tenant);
    client.make("tenants", &json!({"name": "Acme"}));
    (0..3).for_each(|_| drop(client.make("agents", &json!({"name": "kept", "category": "research"}))));
    fleet.terminate("process-1");
    fleet.terminate("serve-1");
    fleet.remake_commands("agent");
    let serve = fleet.start_role("serve");
    fleet.wait_until_ready(&serve);
    let client = fleet.client(&serve, tenant);
    // More than were consumed of the old one, so that offsets say nothing.
    for _ in 0..6 {
        let answer = client.post("/v1/agents?wait=accepted", &json!({"name": "after", "category": "research"}));
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    let process = fleet.start_role("process");
    eventually("the alarm", || fleet.said(&process).contains("the topic was made anew").then_some(()));
    assert!(fleet.refused(&["topics", "accept-loss"], 1).contains("agent/0"));
    fleet.command(&["topics", "accept-loss", "--yes"]);
    eventually("all that were sent", || (client.walk("/v1/agents", 100).len() == 9).then_some(()));
}
