//! Couplings: established and refused, and what becomes of them when what they depend on changes.

use super::pair::Pair;
use super::resources::{agent, provider, server};
use super::{NOBODY, TENANT, id};
use serde_json::{Value, json};

/// Couplings that stay for the lists.
pub fn coupling(number: u64) -> String {
    id(0xc, number)
}

fn path(number: u64) -> String {
    format!("/v1/couplings/{}", coupling(number))
}

fn wish(agent_number: u64, server_number: u64) -> Value {
    json!({"agent_id": agent(agent_number), "mcp_server_id": server(server_number)})
}

fn pinned(agent_number: u64, provider_number: u64, model_id: &str) -> Value {
    let mut wish = wish(agent_number, 1);
    wish["model"] = json!({"provider_id": provider(provider_number), "model_id": model_id});
    wish
}

pub fn established_and_refused(pair: &mut Pair) {
    pair.create("couplings", &coupling(1), &wish(1, 1));
    pair.create("couplings", &coupling(2), &pinned(2, 1, "house-small"));
    let mut cheap = wish(5, 2);
    cheap["objective"] = json!("cost");
    cheap["required_capabilities"] = json!(["tool_calling"]);
    pair.create("couplings", &coupling(3), &cheap);
    for (number, expected, body) in [
        (10, "agent_not_found", json!({"agent_id": NOBODY, "mcp_server_id": server(1)})),
        (11, "server_not_found", json!({"agent_id": agent(1), "mcp_server_id": NOBODY})),
        (12, "agent_decommissioned", wish(12, 1)),
        (13, "server_deregistered", wish(1, 4)),
        (14, "model_not_found", pinned(1, 1, "no-such-model")),
        (
            15,
            "no_model",
            json!({"agent_id": agent(1), "mcp_server_id": server(1), "cost_per_1k_tokens_micro_usd_max": 0}),
        ),
        // Another tenant's agent is as unknown as nobody's.
        (16, "agent_not_found", wish(60, 1)),
    ] {
        pair.create_for(TENANT, expected, "couplings", &coupling(number), &body);
        pair.read(&format!("{}/explain", path(number)));
    }
    for number in 1..=3 {
        pair.read(&path(number));
        pair.read(&format!("{}/explain", path(number)));
    }
    pair.perform("already_exists", &format!("{}/request", path(1)), &wish(2, 2));
    for (expected, verb, body) in [
        ("applied", "suspend", json!({"reason": "a look at it"})),
        ("applied", "suspend", json!({"reason": "again"})),
        ("applied", "resume", json!({})),
        (
            "applied",
            "rebind",
            json!({"model": {"provider_id": provider(2), "model_id": "guest-large"}, "reason": "trial"}),
        ),
    ] {
        pair.perform(expected, &format!("{}/{verb}", path(1)), &body);
    }
    pair.perform("applied", &format!("{}/end", path(3)), &json!({"reason": "enough"}));
    pair.perform("illegal_transition", &format!("{}/resume", path(3)), &json!({}));
    pair.perform("applied", &format!("{}/request", path(10)), &wish(1, 1));
}

fn version(pair: &mut Pair, number: u64) -> u64 {
    pair.read(&path(number))["version"].as_u64().unwrap_or_default()
}

/// Does something to what these couplings depend on and waits until each came this many versions further.
fn moves(pair: &mut Pair, what: (&str, Value), further: &[(u64, u64)]) {
    let before: Vec<_> = further.iter().map(|(number, _)| version(pair, *number)).collect();
    pair.perform("applied", what.0, &what.1);
    for ((number, steps), before) in further.iter().zip(before) {
        pair.until_version(&path(*number), before + steps);
        pair.read(&format!("{}/explain", path(*number)));
        pair.read(&format!("{}/history", path(*number)));
    }
}

pub fn moved_by_what_they_depend_on(pair: &mut Pair) {
    let tenant = format!("/v1/tenants/{TENANT}");
    moves(pair, (&format!("{tenant}/suspend"), json!({"reason": "unpaid"})), &[(1, 1), (2, 1), (10, 1)]);
    pair.perform("tenant_suspended", &format!("/v1/agents/{}/activate", agent(3)), &json!({}));
    moves(pair, (&format!("{tenant}/resume"), json!({})), &[(1, 1), (2, 1), (10, 1)]);
    // A pinned model goes: the coupling waits for it. One that is free moves on, and on, until there is nothing left.
    let house = format!("/v1/llm-providers/{}", provider(1));
    moves(pair, (&format!("{house}/retire-models"), json!({"model_ids": ["house-small"]})), &[(2, 1)]);
    moves(pair, (&format!("{house}/report-health"), json!({"health": "offline"})), &[(10, 1)]);
    let guest = format!("/v1/llm-providers/{}", provider(2));
    moves(pair, (&format!("{guest}/report-health"), json!({"health": "offline"})), &[(1, 1), (10, 1)]);
    moves(pair, (&format!("{guest}/report-health"), json!({"health": "active"})), &[(1, 1), (10, 1)]);
}

pub fn ended_by_what_they_depend_on(pair: &mut Pair) {
    let retire = (format!("/v1/agents/{}/decommission", agent(2)), json!({"reason": "project over"}));
    moves(pair, (&retire.0, retire.1), &[(2, 1)]);
    let ended = pair.read(&path(2));
    let story = pair.read(&format!("/v1/agents/{}/history?order=desc&limit=1", agent(2)));
    let last = pair.read(&format!("{}/history?order=desc&limit=1", path(2)));
    assert_eq!((&ended["status"], &last["items"][0]["type"]), (&json!("ended"), &json!("coupling.CouplingEnded")));
    assert_eq!(last["items"][0]["causation"], story["items"][0]["event_id"], "the end names its cause");
    let leave = (format!("/v1/mcp-servers/{}/deregister", server(1)), json!({"reason": "moved"}));
    moves(pair, (&leave.0, leave.1), &[(1, 1), (10, 1)]);
    pair.create("couplings", &coupling(4), &wish(5, 2));
    pair.create("couplings", &coupling(5), &wish(1, 3));
}
