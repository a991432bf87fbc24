//! Lists: filters, pages that show every item once, limits, and parameters that are not there.

use super::NOBODY;
use super::server::{Folder, Server};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const AGENTS: usize = 57;

fn ids(items: &[Value]) -> BTreeSet<String> {
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn lists_filter_and_page_and_show_every_item_once() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let register = |number: usize| {
        let category = if number.is_multiple_of(3) { "research" } else { "finance" };
        json!({"id": number.to_string(), "type": "agent.RegisterAgent",
            "data": {"name": format!("agent {number}"), "category": category, "skills": [format!("skill {}", number % 2)]}})
    };
    let events: Vec<Value> = (0..AGENTS).map(register).collect();
    assert_eq!(client.post("/v1/commands?wait=projected", &json!(events)).status, 200);
    for limit in [1, 7, AGENTS - 1, AGENTS, AGENTS + 1, 1000] {
        let items = client.walk("/v1/agents", limit);
        assert_eq!((items.len(), ids(&items).len()), (AGENTS, AGENTS), "pages of {limit}");
    }
    for item in client.walk("/v1/agents", 1000) {
        for field in ["id", "version", "status"] {
            assert!(!item[field].is_null(), "{field} of {item}");
        }
        let alone = client.read(&format!("/v1/agents/{}", item["id"].as_str().unwrap()));
        assert_eq!(alone, item, "a list shows what a resource shows");
    }
    let research = client.walk("/v1/agents?category=research", 4);
    assert_eq!((research.len(), ids(&research).len()), (19, 19));
    assert!(research.iter().all(|agent| agent["category"] == "research"));
    assert_eq!(client.walk("/v1/agents?category=research&category=finance", 50).len(), AGENTS, "either of two");
    let both = client.walk("/v1/agents?category=research&skill=skill%201", 50);
    assert_eq!(both.len(), 9, "both of two: {both:#?}");
    assert_eq!(client.walk("/v1/agents?status=provisioning", 50).len(), AGENTS);
    assert!(client.walk("/v1/agents?status=active", 50).is_empty());
    let one = research[0]["id"].as_str().unwrap();
    assert_eq!(client.walk(&format!("/v1/agents?id={one}&id={NOBODY}"), 50).len(), 1);

    let cursor = client.read("/v1/agents?limit=5")["next_cursor"].as_str().unwrap().to_owned();
    let bad = [
        "limit=0",
        "limit=1001",
        "limit=ten",
        "limit=1&limit=2",
        "colour=red",
        "id=Ada",
        "cursor=x",
        "status=%ff",
        &format!("status=active&cursor={cursor}"),
    ];
    for query in bad {
        let answer = client.get(&format!("/v1/agents?{query}"));
        assert_eq!((answer.status, answer.header("content-type")), (400, "application/problem+json"), "{query}");
    }
    let told = client.get("/v1/agents?colour=red").text();
    assert!(told.contains("colour") && told.contains("category"), "names the wrong and the right ones: {told}");
    server.stop();
}

#[test]
fn a_tenant_lists_its_own_and_the_shared_and_loopback_lists_all_tenants() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let other = server.client_of(super::OTHER);
    other.make("tenants", &json!({"name": "Other", "region": "eu", "tier": "opal"}));
    let shared = server.client_of("00000000-0000-0000-0000-000000000000");
    let data = |name: &str| json!({"name": name, "category": "x", "transport": "stdio", "package": "npm:x"});
    let [mine, theirs, everyones] =
        [&client, &other, &shared].map(|client| client.make("mcp-servers", &data("Server")));
    let seen = |query: &str| ids(&client.walk(&format!("/v1/mcp-servers{query}"), 1));
    assert_eq!(seen(""), [mine.clone(), everyones.clone()].into());
    assert_eq!(seen("?shared=false"), [mine].into());
    assert_eq!(seen("?shared=only"), [everyones.clone()].into());
    assert_eq!(client.read(&format!("/v1/mcp-servers/{everyones}"))["version"], 1);
    assert_eq!(client.get(&format!("/v1/mcp-servers/{theirs}")).status, 404);

    assert_eq!(client.walk("/v1/tenants", 10).len(), 1);
    let nobody = super::http::Client { tenant: None, ..client };
    assert_eq!(nobody.walk("/v1/tenants", 1).len(), 2);
    assert_eq!(nobody.get("/v1/agents").json()["code"], "tenant_required");
    server.stop();
}
