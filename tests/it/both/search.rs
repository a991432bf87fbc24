//! Words, orders, fields, counts and discoveries: what comes from the replica of a node.

use super::pair::{Ask, Pair};
use super::resources::{agent, server};
use super::{OTHER, SHARED, TENANT};
use crate::e2e::server::eventually;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const PLURALS: [&str; 6] = ["tenants", "agent-templates", "agents", "mcp-servers", "llm-providers", "couplings"];

/// Waits until both replicas show every resource of the tenant at the version at which it is.
fn settle(pair: &mut Pair) {
    let versions = |items: &Value| -> BTreeSet<String> {
        let items = items["items"].as_array().unwrap();
        items.iter().map(|item| format!("{} {}", item["id"], item["version"])).collect()
    };
    for plural in PLURALS {
        eventually(&format!("both replicas hold all {plural}"), || {
            let plain = pair.each(&Ask::get(format!("/v1/{plural}?limit=1000"))).map(|answer| versions(&answer.json()));
            let sorted = pair.each(&Ask::get(format!("/v1/{plural}?sort=updated_at&limit=1000")));
            let sorted =
                sorted.map(|answer| if answer.status == 200 { versions(&answer.json()) } else { BTreeSet::new() });
            (plain == sorted).then_some(())
        });
    }
}

/// Each side's own numbers, under the same names.
fn standings(pair: &mut Pair) {
    let told = pair.each(&Ask::get("/v1/status/replica")).map(|answer| answer.json());
    let names = told.each_ref().map(|told| told.as_object().unwrap().keys().cloned().collect::<Vec<_>>());
    assert_eq!(names[0], names[1]);
    assert!(told.iter().all(|told| told["state"] == "following" && told["rows"].as_u64() > Some(100)), "{told:?}");
}

fn names(items: &[Value]) -> Vec<&str> {
    items.iter().filter_map(|item| item["name"].as_str()).collect()
}

pub fn all(pair: &mut Pair) {
    taxonomy(pair);
    settle(pair);
    words(pair);
    orders(pair);
    counts(pair);
    discoveries(pair);
    refused(pair);
    standings(pair);
}

/// A skill below a skill, of the shared catalogue, and an agent that has the narrower one.
fn taxonomy(pair: &mut Pair) {
    let define = |name: &str, ancestors: &[&str]| json!({ "name": name, "caption": name.replace('_', " "), "ancestors": ancestors });
    for (number, body) in [(1, define("law", &[])), (2, define("contract_review", &["law"]))] {
        let ask = Ask::post("/v1/skills?wait=searchable", &body)
            .tenant(Some(SHARED))
            .with("ce-id", format!("skill-{number}"));
        pair.ask(200, &ask);
    }
    let body = json!({ "name": "Portia", "category": "legal", "purpose": "Reads what others sign", "skills": ["contract_review"] });
    pair.create("agents", &agent(70), &body);
    pair.create("mcp-servers", &server(70), &json!({ "name": "Clerk", "endpoint": "https://clerk.example.com/" }));
    let wait = format!("/v1/agents/{}/activate?wait=searchable", agent(70));
    pair.ask(200, &Ask::post(&wait, &json!({})).with("ce-id", "portia-works"));
}

fn words(pair: &mut Pair) {
    assert_eq!(names(&pair.walk("/v1/agents?q=portia", 1000)), ["Portia"]);
    assert_eq!(
        names(&pair.walk("/v1/agents?q=READS%20sign", 1000)),
        ["Portia"],
        "every word, by its beginning, in any case"
    );
    assert_eq!(pair.walk("/v1/agents?q=portia%20nobody", 1000).len(), 0);
    let found = pair.walk("/v1/agents?q=agent", 1000);
    assert!(found.len() > 5, "all that are called so");
    for path in
        ["/v1/agents?q=agent", "/v1/agents?q=agent%203", "/v1/mcp-servers?q=search%20papers", "/v1/mcp-servers?q=lib"]
    {
        let whole = pair.walk(path, 1000);
        for limit in [1, 3] {
            assert_eq!(pair.walk(path, limit), whole, "{path} in pages of {limit}");
        }
    }
    for path in ["/v1/llm-providers?q=house", "/v1/tenants?q=acme", "/v1/agent-templates?q=audit", "/v1/skills?q=law"] {
        assert!(!pair.walk(path, 1000).is_empty(), "{path}");
    }
    let theirs = pair.ask(200, &Ask::get("/v1/agents?q=portia").tenant(Some(OTHER)));
    assert_eq!(theirs["items"], json!([]), "another tenant's agent is not found");
}

fn orders(pair: &mut Pair) {
    // A cursor of an order by time holds a time, which is each side's own: one page shows the order, of those that were
    // made one after the other.
    for sort in ["created_at", "-updated_at"] {
        let shown = pair.each(&Ask::get(format!("/v1/agents?q=agent&sort={sort}&limit=1000&fields=name")));
        assert_eq!(shown[0].json()["items"], shown[1].json()["items"], "{sort}");
    }
    for sort in ["name", "-name", "status", "-category", "skill", "project", "id"] {
        for filter in ["", "&category=finance", "&q=agent"] {
            let path = format!("/v1/agents?sort={sort}{filter}");
            let whole = pair.walk(&path, 1000);
            assert_eq!(pair.walk(&path, 4), whole, "{path} in pages");
        }
    }
    let mut sorted = pair.walk("/v1/agents?sort=name", 1000);
    let backwards: Vec<Value> = pair.walk("/v1/agents?sort=-name", 1000);
    assert_eq!(names(&sorted).first(), names(&backwards).last());
    sorted.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
    let again = pair.walk("/v1/agents?sort=name", 7);
    assert_eq!(names(&again), names(&sorted));
    let few = pair.read("/v1/agents?sort=name&limit=2&fields=name,status");
    let keys: Vec<_> = few["items"][0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["id", "name", "status"]);
    // Each side by its own clock: what changed last changed since then.
    let newest = pair.each(&Ask::get("/v1/agents?sort=-updated_at&limit=1"));
    let since = newest[0].json()["items"][0]["updated_at"].as_str().unwrap_or_default().to_owned();
    for answer in pair.each(&Ask::get(format!("/v1/agents?updated_since={since}&fields=name"))) {
        assert_eq!(answer.status, 200);
        assert!(answer.json()["items"].as_array().unwrap().len() <= 1);
    }
}

fn counts(pair: &mut Pair) {
    for plural in PLURALS {
        let whole = pair.walk(&format!("/v1/{plural}"), 1000);
        let counted = pair.read(&format!("/v1/{plural}/count?group_by=status"));
        assert_eq!(counted["count"], json!(whole.len()), "{plural}");
        let groups = counted["groups"].as_array().unwrap().iter().map(|group| group["count"].as_u64().unwrap());
        assert_eq!(groups.sum::<u64>(), whole.len() as u64, "each of {plural} has one status");
    }
    let by_skill = pair.read("/v1/agents/count?group_by=skill&groups=2&category=finance");
    assert_eq!(by_skill["groups"].as_array().unwrap().len(), 2);
    pair.read("/v1/agents/count?q=agent&group_by=category");
    pair.read("/v1/mcp-servers/count?shared=only");
    pair.ask(200, &Ask::get("/v1/tenants/count").tenant(None));
}

fn discoveries(pair: &mut Pair) {
    let found = pair.read("/v1/discover/agents?skill=law&limit=1");
    let hit = &found["items"][0];
    assert_eq!(hit["resource"]["name"], "Portia", "{hit}");
    let below = json!({ "field": "skill", "value": "contract_review", "because": "below", "skill": "law" });
    assert_eq!(hit["reasons"][0], below, "the broader skill is met by the narrower");
    let found = pair.read("/v1/discover/agents?text=someone%20who%20can%20do%20contract%20review&limit=1");
    assert_eq!(found["items"][0]["resource"]["name"], "Portia");
    assert_eq!(found["items"][0]["reasons"][0]["because"], "meant");
    let found = pair.read("/v1/discover/agents?text=reads&category=legal");
    assert_eq!(found["items"][0]["reasons"][0]["words"], json!(["reads"]));
    let found = pair.read("/v1/discover/mcp-servers?text=a%20clerk&limit=1");
    assert_eq!(found["items"][0]["resource"]["name"], "Clerk");
    assert_eq!(
        found["items"][0]["reasons"][0],
        json!({ "field": "name", "value": "Clerk", "because": "words", "words": ["clerk"] })
    );
    // The server that offers it has ended.
    assert_eq!(pair.read("/v1/discover/mcp-servers?tool=cite")["items"], json!([]));
    pair.read("/v1/discover/agent-templates?text=nothing%20of%20that%20kind%20zzz");
    let theirs = pair.ask(200, &Ask::get("/v1/discover/agents?skill=law").tenant(Some(OTHER)));
    assert_eq!(theirs["items"], json!([]));
}

fn refused(pair: &mut Pair) {
    let cursor = pair.read("/v1/agents?sort=name&limit=3")["next_cursor"].as_str().unwrap_or_default().to_owned();
    pair.read(&format!("/v1/agents?sort=name&limit=1000&cursor={cursor}"));
    for path in [
        format!("/v1/agents?sort=-name&cursor={cursor}"),
        format!("/v1/agents?cursor={cursor}"),
        format!("/v1/agents?sort=name&q=a&cursor={cursor}"),
        "/v1/agents?sort=colour".into(),
        "/v1/agents?sort=relevance".into(),
        "/v1/agents?q=--".into(),
        "/v1/agents?fields=colour".into(),
        "/v1/agents?updated_since=yesterday".into(),
        "/v1/agents?q=a&as_of=2026-01-01T00:00:00Z".into(),
        format!("/v1/agents?sort=name&id={}", agent(1)),
        "/v1/llm-requests?q=hello".into(),
        "/v1/llm-requests?sort=created_at".into(),
        "/v1/agents/count?group_by=colour".into(),
        "/v1/agents/count?groups=0".into(),
        "/v1/agents/count?limit=3".into(),
        "/v1/discover/agents".into(),
        "/v1/discover/agents?text=--".into(),
        "/v1/discover/agents?text=a&limit=101".into(),
        "/v1/discover/agents?text=a&colour=red".into(),
    ] {
        pair.ask(400, &Ask::get(path));
    }
    pair.ask(404, &Ask::get("/v1/discover/tenants"));
    assert_eq!(pair.walk(&format!("/v1/agents?id={}", agent(70)), 10)[0]["tenant"], TENANT);
}
