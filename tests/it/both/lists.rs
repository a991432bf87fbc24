//! Lists with filters and pages, histories in both orders, outcomes, dead letters.

use super::couplings::coupling;
use super::pair::{Ask, Pair};
use super::resources::{agent, provider, server};
use super::{NOBODY, OTHER, SHARED, TENANT};
use serde_json::Value;
use std::collections::BTreeSet;

const PLURALS: [&str; 6] = ["tenants", "agent-templates", "agents", "mcp-servers", "llm-providers", "couplings"];

fn ids(items: &[Value]) -> BTreeSet<String> {
    items.iter().filter_map(|item| item["id"].as_str().map(str::to_owned)).collect()
}

/// Every list in pages of several sizes: each item once, and the cursors lead both the same way.
pub fn pages(pair: &mut Pair) {
    for plural in PLURALS {
        let path = format!("/v1/{plural}");
        let whole = pair.walk(&path, 1000);
        assert!(!whole.is_empty(), "{plural}: an empty list shows nothing");
        for limit in [1, 2, 7, whole.len()] {
            let items = pair.walk(&path, limit);
            assert_eq!((items.len(), ids(&items)), (whole.len(), ids(&whole)), "{plural} in pages of {limit}");
        }
    }
    for (path, tenant) in [
        ("/v1/tenants", None),
        ("/v1/tenants?limit=2", None),
        ("/v1/agents", Some(OTHER)),
        ("/v1/agents?limit=3", Some(SHARED)),
        ("/v1/agent-templates?shared=only", None),
        ("/v1/mcp-servers?shared=only", Some(OTHER)),
    ] {
        let status = if path.contains("only") && tenant.is_none() { 400 } else { 200 };
        pair.ask(status, &Ask::get(path).tenant(tenant));
    }
    let cursor = pair.read("/v1/agents?limit=3")["next_cursor"].as_str().unwrap_or_default().to_owned();
    assert!(!cursor.is_empty(), "there is a second page");
    pair.read(&format!("/v1/agents?limit=1000&cursor={cursor}"));
    for path in [
        format!("/v1/agents?status=active&cursor={cursor}"),
        format!("/v1/couplings?cursor={cursor}"),
        format!("/v1/agents?cursor={cursor}x"),
        "/v1/agents?cursor=".to_owned(),
        "/v1/agents?limit=0".to_owned(),
        "/v1/agents?limit=1001".to_owned(),
        "/v1/agents?limit=1&limit=2".to_owned(),
        "/v1/agents?colour=red".to_owned(),
        "/v1/agents?name=%ff".to_owned(),
        "/v1/agents?id=Ada".to_owned(),
        format!("/v1/agents?id={NOBODY}&id={}&limit=1", agent(1)),
        "/v1/mcp-servers?shared=maybe".to_owned(),
        "/v1/agents?shared=only".to_owned(),
    ] {
        pair.ask(400, &Ask::get(path));
    }
    pair.ask(400, &Ask::get(format!("/v1/agents?cursor={cursor}")).tenant(Some(OTHER)));
}

pub fn filters(pair: &mut Pair) {
    let by = |plural: &str, filters: &[String]| filters.iter().map(|f| format!("/v1/{plural}?{f}")).collect::<Vec<_>>();
    let text = |filters: &[&str]| filters.iter().map(|filter| (*filter).to_owned()).collect::<Vec<_>>();
    let mut paths = by(
        "agents",
        &text(&[
            "status=active",
            "status=active&status=idle",
            "category=finance&status=provisioning",
            "skill=skill%201",
            "name=agent%203",
            "role=",
            "domain=research",
            "owner=ada%40example.com",
            "risk_tier=high",
            "health=degraded",
            "template=Auditor",
            "template=research%20analyst",
            "project=none",
        ]),
    );
    paths.extend(by("agents", &[format!("id={}&id={NOBODY}&id={}", agent(1), agent(2)), format!("id={}", agent(60))]));
    paths.extend(by("tenants", &text(&["region=eu-north", "tier=diamond", "name=Acme", "status=closed"])));
    paths.extend(by(
        "agent-templates",
        &text(&[
            "shared=false",
            "shared=only&category=governance",
            "status=retired",
            "name=auditor",
            "skill=read%20ledgers",
        ]),
    ));
    paths.extend(by(
        "mcp-servers",
        &text(&[
            "status=registered",
            "transport=streamable-http",
            "health=offline",
            "capability=tools",
            "tool=cite",
            "name=Library%202",
            "shared=false&category=research",
        ]),
    ));
    paths.extend(by(
        "llm-providers",
        &text(&["wire_protocol=openai", "model=house-large", "health=offline", "name=House"]),
    ));
    paths.extend(by(
        "couplings",
        &text(&[
            "status=ended",
            "status=refused",
            "objective=cost",
            "model_id=guest-large",
            "hold=provider",
            "status=active",
        ]),
    ));
    let named = [("agent_id", agent(1)), ("mcp_server_id", server(2)), ("provider_id", provider(2))];
    paths.extend(by("couplings", &named.map(|(name, id)| format!("{name}={id}"))));
    impossible_values(pair);
    let mut shown = 0;
    for path in &paths {
        shown += pair.walk(path, 1000).len();
        pair.walk(path, 3);
    }
    assert!(shown > 2 * paths.len(), "{} filters show {shown} items", paths.len());
}

fn impossible_values(pair: &mut Pair) {
    for wrong in [
        "agents?status=nonsense",
        "agents?risk_tier=HIGH",
        "agents/count?health=",
        "discover/agents?skill=x&status=done",
        "mcp-servers?health=bogus",
        "couplings?status=active&status=gone",
    ] {
        pair.ask(400, &Ask::get(format!("/v1/{wrong}")));
    }
}

pub fn histories(pair: &mut Pair) {
    let long = format!("/v1/agents/{}/history", agent(7));
    for path in [&long, &format!("/v1/couplings/{}/history", coupling(1)), &format!("/v1/tenants/{TENANT}/history")] {
        let whole = pair.walk(path, 1000);
        for limit in [1, 3, whole.len()] {
            assert_eq!(pair.walk(path, limit).len(), whole.len(), "{path} in pages of {limit}");
            let mut newest_first = pair.walk(&format!("{path}?order=desc"), limit);
            newest_first.reverse();
            assert_eq!(newest_first, whole, "{path} read backwards");
        }
        let kinds = ["event", "refused", "unchanged"].map(|kind| pair.walk(&format!("{path}?kind={kind}"), 4).len());
        assert_eq!(kinds.iter().sum::<usize>(), whole.len(), "{path} by kind");
    }
    assert!(pair.walk(&long, 1000).len() > 40);
    let cursor = pair.read(&format!("{long}?limit=3"))["next_cursor"].as_str().unwrap_or_default().to_owned();
    for path in [
        format!("{long}?order=desc&cursor={cursor}"),
        format!("/v1/agents/{}/history?cursor={cursor}", agent(1)),
        format!("{long}?order=sideways"),
        format!("{long}?kind=event&kind=refused"),
        format!("{long}?kind=nonsense"),
        format!("{long}?limit=5000"),
    ] {
        pair.ask(400, &Ask::get(path));
    }
    // All that is known of it is that it was refused.
    pair.read(&format!("/v1/agents/{NOBODY}/history?limit=3"));
    pair.ask(404, &Ask::get(format!("/v1/agents/{NOBODY}")));
    pair.read(&format!("/v1/agents/{NOBODY}/history?kind=event"));
    let template = &pair.walk("/v1/agent-templates?shared=only", 1)[0];
    // Its history tells the ids of the commands that loaded it, which are each side's own; that it has one is the same.
    let path = format!("/v1/agent-templates/{}/history?kind=refused", template["id"].as_str().unwrap_or_default());
    pair.read(&path);
}

pub fn outcomes_and_dead_letters(pair: &mut Pair) {
    for (sent, tenant) in pair.sent.clone() {
        let answers = pair.each(&Ask::get(format!("/v1/outcomes/{sent}")).tenant(Some(&tenant)));
        // Compared below; a command that could not be read has none.
        let status = answers[0].status;
        assert!(status == 200 || sent == "bad-type", "{sent}: {status}");
        pair.ask(status, &Ask::get(format!("/v1/outcomes/{sent}")).tenant(Some(&tenant)));
        pair.ask(404, &Ask::get(format!("/v1/outcomes/{sent}?source=elsewhere")).tenant(Some(&tenant)));
    }
    let answer = pair.read("/v1/outcomes/once");
    let by_uuid = pair.read(&format!("/v1/outcomes/{}", answer["id"].as_str().unwrap_or_default()));
    assert_eq!(answer, by_uuid);
    pair.read("/v1/outcomes/night?source=tests%2Fboth");
    // What the system itself sent is asked for by its id.
    let end = pair.read(&format!("/v1/couplings/{}/history?order=desc&limit=1", coupling(2)));
    let own = end["items"][0]["command_id"].as_str().unwrap_or_default().to_owned();
    pair.read(&format!("/v1/outcomes/{own}"));
    pair.ask(404, &Ask::get(format!("/v1/outcomes/{own}")).tenant(Some(OTHER)));
    pair.ask(404, &Ask::get("/v1/outcomes/never-sent"));
    pair.ask(400, &Ask::get("/v1/outcomes/x%ff"));
    pair.ask(400, &Ask::get("/v1/outcomes/once").tenant(None));

    let letters = pair.walk("/v1/dead-letters", 1);
    assert_eq!(letters.len(), 2, "both ids that were used again: {letters:#?}");
    assert_eq!(pair.walk("/v1/dead-letters", 10), letters);
    pair.ask(200, &Ask::get("/v1/dead-letters").tenant(Some(OTHER)));
    pair.ask(200, &Ask::get("/v1/dead-letters").tenant(Some(SHARED)));
    pair.ask(400, &Ask::get("/v1/dead-letters?cursor=x"));
    pair.ask(400, &Ask::get("/v1/dead-letters").tenant(None));
    pair.ask(200, &Ask::get("/v1/dead-letters/0"));
    pair.ask(404, &Ask::get("/v1/dead-letters/0").tenant(Some(OTHER)));
    pair.ask(404, &Ask::get("/v1/dead-letters/999999"));
    // It needs an id of its own: sent as it stands, it would be refused again.
    pair.ask(409, &Ask::new("POST", "/v1/dead-letters/0/redrive"));
    pair.ask(404, &Ask::new("POST", "/v1/dead-letters/999999/redrive"));
}
