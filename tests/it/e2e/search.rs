//! Searches: what is written is found, also after a kill, after the replica's folder is gone or spoilt, and while others
//! write; and what a filter finds among more resources than a list looks through.

use super::http::Client;
use super::server::{Folder, Server, eventually};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;

fn register(number: usize) -> Value {
    let category = if number.is_multiple_of(500) { "rare" } else { "common" };
    json!({"id": format!("a-{number}"), "type": "agent.RegisterAgent",
        "data": {"name": format!("agent {number:05}"), "category": category, "purpose": "Reads contracts"}})
}

/// Registers agents, and waits until searches find the last of each batch.
fn fill(client: &Client, numbers: std::ops::Range<usize>) {
    for batch in numbers.collect::<Vec<_>>().chunks(500) {
        let events: Vec<Value> = batch.iter().map(|number| register(*number)).collect();
        assert_eq!(client.post("/v1/commands?wait=searchable&timeout_ms=30000", &json!(events)).status, 200);
    }
}

fn count(client: &Client, query: &str) -> Option<u64> {
    let answer = client.get(&format!("/v1/agents/count{query}"));
    (answer.status == 200).then(|| answer.json()["count"].as_u64().unwrap())
}

#[test]
fn a_replica_goes_on_after_a_kill_and_is_built_again_where_it_is_gone_or_spoilt() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    fill(&server.provisioned(), 0..20);
    server.kill();

    let server = Server::start(&folder);
    let client = server.client();
    let all = || {
        eventually("the replica answers", || count(&client, "?q=contr&category=common").filter(|found| *found == 19))
    };
    all();
    client.post("/v1/commands?wait=searchable", &register(20));
    assert_eq!(count(&client, ""), Some(21), "what waited for searchable is counted at once");
    server.stop();

    let replica = folder.data().join("replica");
    fs::remove_dir_all(&replica).unwrap();
    let server = Server::start(&folder);
    let client = server.client();
    eventually("the replica is built", || count(&client, "").filter(|found| *found == 21));
    server.stop();

    for file in fs::read_dir(replica.join("index")).unwrap() {
        fs::write(file.unwrap().path(), "spoilt").unwrap();
    }
    let server = Server::start(&folder);
    let client = server.client();
    eventually("the replica is built", || count(&client, "").filter(|found| *found == 21));
    assert_eq!(client.read("/v1/status/replica")["state"], "following");
    server.stop();
    folder.check();
}

#[test]
fn a_replica_that_breaks_is_built_again_while_the_node_goes_on() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    fill(&client, 0..20);
    let replica = folder.data().join("replica");
    fs::remove_dir_all(&replica).unwrap();
    // The next that is to be written finds that nothing can be.
    assert_eq!(client.command(&register(20))["outcome"], "applied");
    eventually("the replica is built", || count(&client, "?q=contr").filter(|found| *found == 21));
    fill(&client, 21..30);
    assert_eq!(count(&client, "?q=contr"), Some(30));
    assert_eq!(client.read("/v1/status/replica")["state"], "following");
    server.stop();

    // One bit of each file's middle, which nothing but a checksum tells.
    let mut files = 0;
    for file in fs::read_dir(replica.join("index")).unwrap().map(|file| file.unwrap().path()) {
        let mut bytes = fs::read(&file).unwrap();
        if file.extension().is_some_and(|extension| extension != "json") && bytes.len() > 200 {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&file, bytes).unwrap();
            files += 1;
        }
    }
    assert!(files > 3, "{files} files");
    let server = Server::start(&folder);
    let client = server.client();
    eventually("the damage is found", || server.said().contains("does not match its checksum").then_some(()));
    eventually("the replica is built", || count(&client, "?q=contr").filter(|found| *found == 30));
    server.stop();
    folder.check();
}

#[test]
fn a_filter_finds_the_few_among_more_than_a_list_looks_through() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    fill(&client, 0..3_000);
    eventually("all are there", || count(&client, "").filter(|found| *found == 3_000));
    for limit in [1, 2, 6, 100] {
        let rare = client.walk("/v1/agents?category=rare", limit);
        let ids: BTreeSet<_> = rare.iter().map(|agent| agent["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!((rare.len(), ids.len()), (6, 6), "in pages of {limit}");
    }
    let page = client.read("/v1/agents?category=rare&limit=6");
    assert_eq!(page["items"].as_array().unwrap().len(), 6, "one page has them all");
    server.stop();
}

#[test]
fn pages_of_a_sorted_list_stay_as_they_are_while_others_write() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    fill(&client, 0..200);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    for round in 0.. {
        let page = client.read(&format!("/v1/agents?sort=-name&category=common&limit=20{cursor}"));
        seen.extend(page["items"].as_array().unwrap().iter().map(|agent| agent["name"].as_str().unwrap().to_owned()));
        // Before, between and behind: none of it moves what was there.
        fill(&client, 1_000 + round * 10..1_010 + round * 10);
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let expected: Vec<String> = (1..200).rev().map(|number| format!("agent {number:05}")).collect();
    let early: Vec<_> = seen.iter().filter(|name| name.as_str() < "agent 01000").cloned().collect();
    assert_eq!(early, expected);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len(), "none twice");
    server.stop();
}

#[test]
fn the_command_line_searches_counts_and_discovers() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    fill(&server.provisioned(), 0..10);
    let (code, found, said) =
        server.cli(&["list", "agents", "-q", "contracts", "--sort", "-name", "--limit", "2"], None);
    assert_eq!((code, found["items"][0]["name"].as_str()), (Some(0), Some("agent 00009")), "{said}");
    let (code, counted, said) = server.cli(&["count", "agents", "--by", "category"], None);
    let groups = json!([{"value": "common", "count": 9}, {"value": "rare", "count": 1}]);
    assert_eq!((code, &counted["groups"]), (Some(0), &groups), "{said}");
    let (code, found, said) = server.cli(&["discover", "agents", "who", "reads", "contracts", "--limit", "3"], None);
    assert_eq!((code, found["items"].as_array().map(Vec::len)), (Some(0), Some(3)), "{said}");
    assert_eq!(found["items"][0]["reasons"][0]["words"], json!(["reads", "contracts"]));
    let (code, _, said) = server.cli(&["discover", "agents"], None);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("say what to look for"), "{said}");
    server.stop();
}
