//! Numbers that stand in texts and follow from what the program and its topics are: a text that is behind is named, with
//! what it should say.

use super::tree::{documents, read, text};
use super::{ALERTS, list, one};
use agentverse::domain::Aggregate;
use agentverse::runtime::settings::Settings;
use serde_json::Value;
use std::collections::BTreeMap;

/// With a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let parts: Vec<_> = digits.as_bytes().rchunks(3).rev().map(|part| str::from_utf8(part).unwrap()).collect();
    parts.join(",")
}

/// The partitions of the manifests, by topic.
fn partitions() -> BTreeMap<String, u64> {
    let topics = documents("topics").into_iter().filter(|document| document.is("KafkaTopic"));
    topics
        .map(|it| {
            (it.text("/spec/topicName").to_owned(), it.value.pointer("/spec/partitions").unwrap().as_u64().unwrap())
        })
        .collect()
}

fn logs() -> u64 {
    Aggregate::ALL.len() as u64 * u64::from(Settings::default().partitions)
}

#[test]
fn the_sizing_page_counts_what_there_is() {
    let page = read("deploy/README.md").split_whitespace().collect::<Vec<_>>().join(" ");
    let mut topics = partitions();
    let count = topics.len();
    let each = u64::from(Settings::default().partitions);
    assert!(topics.values().all(|partitions| *partitions == each), "write the sum in another way: {topics:?}");
    let all = count as u64 * each;
    let planned = one("topics/profiles/planned.yaml");
    for (name, change) in super::tree::entries(&planned, "/topics") {
        if let Some(partitions) = change["partitions"].as_u64() {
            topics.insert(name.to_owned(), partitions);
        }
    }
    let planned: u64 = topics.values().sum();
    for expected in [
        format!("{} aggregates × {each} = {} logs", Aggregate::ALL.len(), logs()),
        format!("The default topics are {count} × {each} = {}, with three replicas {}", grouped(all), grouped(3 * all)),
        format!("`--profile planned` makes {}, with three replicas {}", grouped(planned), grouped(3 * planned)),
    ] {
        assert!(page.contains(&expected), "deploy/README.md does not say: {expected}");
    }
}

#[test]
fn a_full_rebalance_sets_no_alarm_off() {
    let alerts = one(ALERTS);
    let rules = list(&alerts, "/groups").iter().flat_map(|group| list(group, "/rules"));
    let rule: Vec<&Value> = rules.filter(|rule| text(rule, "/alert") == "AgentverseLogsChangeHands").collect();
    let threshold: u64 = text(rule[0], "/expr").rsplit(' ').next().unwrap().parse().unwrap();
    assert!(threshold > 2 * logs(), "each of {} logs may be claimed twice in a rebalance", logs());
}

#[test]
fn numbers_are_written_with_commas() {
    assert_eq!([0, 32, 608, 1_824, 1_000_000].map(grouped), ["0", "32", "608", "1,824", "1,000,000"]);
}
