//! A cluster of real processes on real servers, for every test that wants one.
//!
//! The servers are named by `AGENTVERSE_TEST_KAFKA` (`host:port` of a broker), `AGENTVERSE_TEST_CQL` (of a node) and, if
//! at all, `AGENTVERSE_TEST_REGISTRY` (a URL). They are shared: each [`fleet::Fleet`] has a keyspace and topics of its own
//! and takes them away when it ends. `AGENTVERSE_TEST_NAME` goes before their names.

pub mod fleet;
mod role;
mod servers;

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
