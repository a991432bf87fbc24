use super::*;
use crate::cli::Cli;
use clap::Parser;
use std::hash::{BuildHasher, Hasher, RandomState};

fn topic(name: &str) -> Topic {
    let config = [("retention.ms", "604800000")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Topic { name: name.to_owned(), partitions: 32, replicas: 3, config, is_fixed: true }
}

fn there(partitions: u32, replicas: u16, retention_ms: &str) -> Existing {
    let config = [("retention.ms".to_owned(), retention_ms.to_owned())].into();
    Existing { partitions, replicas, under_replicated: 1, leaderless: 0, config }
}

fn cluster(brokers: usize, topics: &[(&str, Existing)]) -> Cluster {
    Cluster { brokers, topics: topics.iter().map(|(name, topic)| ((*name).to_owned(), topic.clone())).collect() }
}

#[test]
fn every_topic_has_its_line_and_what_differs() {
    let topics = ["a.new", "b.same", "c.kept", "d.left"].map(topic);
    let cluster = cluster(
        3,
        &[
            ("b.same", there(32, 3, "604800000")),
            ("c.kept", there(32, 3, "1000")),
            ("d.left", there(32, 1, "604800000")),
        ],
    );
    let changes = diff(&topics, &cluster);
    let text = Report::planned(&changes).to_text();
    for (name, parts) in [
        ("a.new", ["create", "32 partitions, 3 replicas, kept 7 days"]),
        ("b.same", ["unchanged", ""]),
        ("c.kept", ["change", "retention.ms: 1000 -> 604800000"]),
        ("d.left", ["differs", "replicas: 1, 3 wanted"]),
    ] {
        let line = text.lines().find(|line| line.contains(name)).unwrap();
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
    }
    assert!(text.contains("- d.left: moving replicas"), "{text}");
    assert!(text.ends_with("1 to create, 1 to change, 1 with differences that stay, 1 unchanged."), "{text}");
}

#[test]
fn a_reason_that_many_topics_share_is_said_once() {
    let topics = ["a", "b"].map(topic);
    let changes = diff(&topics, &cluster(1, &[]));
    let report = Report::planned(&changes);
    let text = report.to_text();
    assert_eq!(text.matches("the cluster has 1 broker: add brokers, or give --replicas 1").count(), 1, "{text}");
    assert!(text.contains("- 2 topics: ") && text.contains("nothing is changed."), "{text}");
    assert_eq!(report.count("refused"), 2);
}

#[test]
fn what_was_done_and_what_failed_is_told() {
    let topics = ["a", "b", "c"].map(topic);
    let changes = diff(&topics, &cluster(3, &[("b", there(32, 3, "1"))]));
    let failed = Err(client::Error::Kafka("a policy of the broker forbids it".to_owned()));
    let results = [("a".to_owned(), Ok(())), ("b".to_owned(), Ok(())), ("c".to_owned(), failed)].into();
    let report = Report::done(&changes, &results);
    let text = report.to_text();
    assert!(text.contains("- c: a policy of the broker forbids it."), "{text}");
    assert!(text.ends_with("1 created, 1 changed, 1 failed."), "{text}");
    let json = report.to_json();
    assert_eq!(json["items"][0]["action"], "created");
    assert_eq!(json["items"][1]["steps"][0]["name"], "retention.ms");
    assert_eq!(json["items"][2]["error"], "a policy of the broker forbids it");
}

#[test]
fn a_description_shows_what_is_there_and_what_is_missing() {
    let topic = there(4, 1, "86400000");
    let messages = [("a".to_owned(), 17)].into();
    let text = described_text([("a", Some(&topic)), ("b", None)].into_iter(), &messages);
    let line = text.lines().find(|line| line.trim_start().starts_with("a ")).unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(words, ["a", "4", "1", "1", "day", "17", "1", "0"], "{text}");
    assert!(text.contains("1 missing: `agentverse topics apply`"), "{text}");
    assert_eq!(described_json("b", None, &messages), json!({"topic": "b", "exists": false}));
    assert_eq!(described_json("a", Some(&topic), &messages)["messages"], 17);
}

#[test]
fn retention_is_told_in_words() {
    for (ms, words) in [
        ("604800000", "7 days"),
        ("86400000", "1 day"),
        ("3600000", "1 hour"),
        ("5400000", "90 minutes"),
        ("1500", "1500 milliseconds"),
        ("-1", "for ever"),
    ] {
        assert_eq!(kept(&[("retention.ms".to_owned(), ms.to_owned())].into()).as_deref(), Some(words));
    }
    assert_eq!(kept(&BTreeMap::new()), None);
    let compacted = [("cleanup.policy".to_owned(), "compact".to_owned()), ("retention.ms".to_owned(), "1".to_owned())];
    assert_eq!(kept(&compacted.into()).as_deref(), Some("the last of each key"));
}

fn exit(arguments: &[&str]) -> Exit {
    crate::cli::run(Cli::try_parse_from([&["agentverse", "topics"], arguments].concat()).unwrap())
}

#[test]
fn what_cannot_be_is_wrong_usage() {
    assert_eq!(exit(&["diff", "--dir", "/nowhere"]), Exit::Usage);
    assert_eq!(exit(&["describe", "--set", "kafka_security=sasl_tls"]), Exit::Usage);
    assert_eq!(exit(&["apply", "--set", "topic_prefix=a/"]), Exit::Usage);
    for arguments in [["--replicas", "0"], ["--profile", "huge"]] {
        assert!(Cli::try_parse_from([&["agentverse", "topics", "apply"][..], &arguments].concat()).is_err());
    }
}

#[test]
fn no_broker_has_its_own_exit_code() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let brokers = format!("kafka_brokers=127.0.0.1:{port}");
    assert_eq!(exit(&["diff", "--set", &brokers, "--set", "kafka_request_ms_max=1000"]), Exit::Unreachable);
}

/// Deletes the topics of one test, whatever becomes of it.
struct Fleet {
    loaded: Loaded,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        use rdkafka::admin::{AdminClient, AdminOptions};
        let topics = wanted(&self.loaded, &Choice::default()).unwrap();
        let names: Vec<_> = topics.iter().map(|topic| topic.name.as_str()).collect();
        let link = links::kafka_link(&self.loaded.settings).unwrap();
        let client: AdminClient<_> = link.config().create().unwrap();
        let _ = futures::executor::block_on(client.delete_topics(&names, &AdminOptions::new()));
    }
}

#[test]
fn the_exit_codes_of_a_fleet_s_first_day() {
    let Ok(broker) = std::env::var("AGENTVERSE_TEST_KAFKA") else {
        eprintln!("not run: AGENTVERSE_TEST_KAFKA names no broker");
        return;
    };
    let random = RandomState::new().build_hasher().finish();
    let sets =
        [format!("kafka_brokers={broker}"), format!("topic_prefix=h2.cli{random:x}."), "partitions=2".to_owned()];
    let _fleet = Fleet { loaded: Loaded::load(None, |_| None, &sets).unwrap() };
    let run = |arguments: &[&str]| {
        let sets = sets.iter().flat_map(|set| ["--set", set.as_str()]);
        exit(&arguments.iter().copied().chain(sets).collect::<Vec<_>>())
    };
    let replicas = ["--replicas", "1"];
    // The broker of the test is alone.
    assert_eq!(run(&["apply"]), Exit::Refused, "three replicas need three brokers");
    assert_eq!(run(&[&["apply", "--dry-run"][..], &replicas].concat()), Exit::Done);
    assert_eq!(run(&[&["diff"][..], &replicas].concat()), Exit::Failed, "a dry run makes nothing");
    assert_eq!(run(&[&["apply"][..], &replicas].concat()), Exit::Done);
    assert_eq!(run(&["describe", "--output", "json"]), Exit::Done);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while run(&[&["diff"][..], &replicas].concat()) != Exit::Done {
        assert!(tokio::time::Instant::now() < deadline, "the broker does not show what was made");
    }
    assert_eq!(run(&["apply"]), Exit::Done, "replicas that are fewer stay as they are");
    assert_eq!(run(&[&["apply", "--profile", "planned"][..], &replicas].concat()), Exit::Refused);
}
