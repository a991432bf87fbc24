//! Usage in the cluster: what the embedded node shows of the same requests, over projectors that come and go.

use super::fleet::Fleet;
use crate::e2e::usage::Expected;
use serde_json::json;

const TENANT: &str = "6f1c2a52-0d5e-4c3b-9a77-1f0f6f1f9b01";

#[test]
fn every_event_is_in_every_total_once_whatever_projector_is_killed() {
    // A process that was killed is given up after this; the broker allows no less.
    let settings = [("kafka_session_ms_max", "6000"), ("http_wait_ms_default", "30000")];
    let Some(mut fleet) = Fleet::start("usage", &settings) else { return };
    let client = fleet.client("serve-1", TENANT);
    client.make("tenants", &json!({"name": "Acme"}));
    let mut expected = Expected::default();
    expected.work(&client, TENANT, 1);
    expected.check(&client);
    let second = fleet.start_role("project");
    fleet.wait_until_ready(&second);
    fleet.kill("project-1");
    expected.work(&client, TENANT, 2);
    expected.check(&client);
}
