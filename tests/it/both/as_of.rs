//! Resources at a version, lists as of a time, histories with what each event changed.

use super::NOBODY;
use super::couplings::coupling;
use super::pair::{Ask, Pair};
use super::resources::{agent, provider, server};
use serde_json::json;

/// Every version of resources of every kind, and each history with its changes, both ways and in pages.
pub fn versions(pair: &mut Pair) {
    let resources = [
        ("agents", agent(0)),
        ("agents", agent(7)),
        ("agents", agent(8)),
        ("mcp-servers", server(1)),
        ("llm-providers", provider(1)),
        ("couplings", coupling(1)),
        ("couplings", coupling(2)),
    ];
    for (plural, id) in resources {
        let path = format!("/v1/{plural}/{id}");
        let newest = pair.read(&path)["version"].as_u64().unwrap_or_default();
        for version in 1..=newest.min(20) {
            pair.read(&format!("{path}?as_of={version}"));
        }
        pair.read(&format!("{path}?as_of={newest}"));
        pair.ask(404, &Ask::get(format!("{path}?as_of={}", newest + 1)));
        pair.ask(200, &Ask::get(format!("{path}?as_of=1")).with("if-none-match", "\"7\""));
        pair.ask(304, &Ask::get(format!("{path}?as_of=1")).with("if-none-match", "\"1\""));
        let whole = pair.walk(&format!("{path}/history?diff=true"), 1000);
        for limit in [2, 7] {
            assert_eq!(pair.walk(&format!("{path}/history?diff=true"), limit), whole, "{path} in pages of {limit}");
            let mut newest_first = pair.walk(&format!("{path}/history?diff=true&order=desc"), limit);
            newest_first.reverse();
            assert_eq!(newest_first, whole, "{path} read backwards");
        }
    }
    pair.read(&format!("/v1/couplings/{}/explain?as_of=1", coupling(1)));
    for query in ["as_of=0", "as_of=soon", "as_of=1&as_of=2", "as_of="] {
        pair.ask(400, &Ask::get(format!("/v1/agents/{}?{query}", agent(0))));
    }
    for query in ["as_of=1", "as_of=2026-01-01T00:00:00Z"] {
        pair.ask(404, &Ask::get(format!("/v1/agents/{NOBODY}?{query}")));
    }
    pair.ask(400, &Ask::get("/v1/agents?as_of=1"));
}

/// A list as it was before agents changed shows them as they were.
pub fn lists(pair: &mut Pair) {
    let before = pair.walk("/v1/agents", 1000);
    let stamps = pair.each(&Ask::get("/v1/agents?limit=1000")).map(|answer| {
        let items = answer.json()["items"].as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|item| item["updated_at"].as_str().map(str::to_owned)).max().unwrap_or_default()
    });
    // Nothing happened to an agent between the one side's last change and the other's.
    let then = stamps.iter().max().cloned().unwrap_or_default();
    for number in [3, 4, 10, 11] {
        pair.perform("applied", &format!("/v1/agents/{}/activate", agent(number)), &json!({}));
    }
    for limit in [3, 1000] {
        assert_eq!(pair.walk(&format!("/v1/agents?as_of={then}"), limit).len(), before.len(), "pages of {limit}");
    }
    let ids = |number| format!("id={}&id={NOBODY}", agent(number));
    for filter in ["status=active", "status=provisioning", "category=research&status=idle", &ids(4)] {
        pair.walk(&format!("/v1/agents?as_of={then}&{filter}"), 4);
    }
    let was = pair.read(&format!("/v1/agents?as_of={then}&{}", ids(4)));
    assert_eq!(was["items"][0]["status"], "provisioning", "before it was activated");
    for plural in ["tenants", "agent-templates", "mcp-servers", "llm-providers", "couplings", "llm-requests"] {
        pair.walk(&format!("/v1/{plural}?as_of={then}"), 10);
        assert!(pair.walk(&format!("/v1/{plural}?as_of=1970-01-01T00:00:00Z"), 10).is_empty());
    }
}
