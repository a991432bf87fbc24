//! What followed from each command that the script sent, and from one that others follow.

use super::couplings::coupling;
use super::pair::{Ask, Pair};
use super::resources::{agent, server};
use super::{NOBODY, OTHER, SHARED};
use serde_json::json;

pub fn all(pair: &mut Pair) {
    for (sent, tenant) in pair.sent.clone() {
        let ask = Ask::get(format!("/v1/trace/{sent}")).tenant(Some(&tenant));
        // Compared below; a command that could not be read has none, and one with a correlation is not told by its id.
        let status = pair.each(&ask)[0].status;
        pair.ask_tree(status, &ask);
        pair.ask(404, &Ask::get(format!("/v1/trace/{sent}?source=elsewhere")).tenant(Some(&tenant)));
    }
    let body =
        json!({"name": "a leaver", "category": "research", "skills": ["search papers"], "domains": ["research"]});
    pair.create("agents", &agent(80), &body);
    for number in [70, 71] {
        let wish = json!({"agent_id": agent(80), "mcp_server_id": server(2)});
        pair.create("couplings", &coupling(number), &wish);
    }
    let retire = Ask::post(format!("/v1/agents/{}/decommission", agent(80)), &json!({"reason": "left"}));
    pair.command("applied", retire.with("ce-correlationid", "offboard/42"));
    for number in [70, 71] {
        pair.until_version(&format!("/v1/couplings/{}", coupling(number)), 2);
    }
    for path in ["/v1/trace/offboard/42", "/v1/trace/offboard%2F42"] {
        let trace = pair.ask_tree(200, &Ask::get(path));
        assert_eq!((&trace["command_count"], &trace["roots"][0]["correlation"]), (&json!(3), &json!("offboard/42")));
        assert_eq!(trace["roots"][0]["events"][0]["commands"].as_array().map(Vec::len), Some(2), "{trace:#}");
    }
    pair.ask(404, &Ask::get("/v1/trace/offboard/42").tenant(Some(OTHER)));
    pair.ask(404, &Ask::get("/v1/trace/offboard/42").tenant(Some(SHARED)));
    pair.ask(404, &Ask::get(format!("/v1/trace/{NOBODY}")));
    pair.ask(400, &Ask::get("/v1/trace/offboard/42").tenant(None));
    pair.ask(400, &Ask::get("/v1/trace/offboard/42?colour=red"));
    pair.ask(400, &Ask::get("/v1/trace/x%ff"));
}
