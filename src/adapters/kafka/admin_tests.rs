//! The difference between topics as they are and should be, as tables; and the same against a broker.

use super::admin::Admin;
use super::client::Link;
use super::client_tests::broker;
use super::diff::{Change, Cluster, Existing, Step, diff, set_replicas};
use super::manifest::{Topic, built_in};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn wanted(partitions: u32, replicas: u16, config: &[(&str, &str)], is_fixed: bool) -> Topic {
    Topic { name: "t".to_owned(), partitions, replicas, config: settings(config), is_fixed }
}

fn existing(partitions: u32, replicas: u16, config: &[(&str, &str)]) -> Existing {
    Existing { partitions, replicas, config: settings(config), ..Existing::default() }
}

/// The steps from one to the other, each as a line.
fn steps(wanted: &Topic, existing: Option<Existing>, brokers: usize) -> Vec<String> {
    let topics = existing.into_iter().map(|existing| ("t".to_owned(), existing)).collect();
    let changes = diff(std::slice::from_ref(wanted), &Cluster { brokers, topics });
    let [Change { steps, .. }] = &changes[..] else { panic!("one change for one topic: {changes:?}") };
    let line = |step: &Step| match step {
        Step::Create(topic) => format!("create {}x{}", topic.partitions, topic.replicas),
        Step::Widen { from, to } => format!("widen {from} {to}"),
        Step::Set { name, from, to } => format!("set {name} {} {to}", from.as_deref().unwrap_or("-")),
        Step::Leave { name, from, to, .. } => format!("leave {name} {from} {to}"),
        Step::Refuse { name, from, to, .. } => format!("refuse {name} {from} {to}"),
    };
    steps.iter().map(line).collect()
}

#[test]
fn what_is_missing_is_made_where_there_are_brokers_enough() {
    let topic = wanted(4, 3, &[], true);
    assert_eq!(steps(&topic, None, 3), ["create 4x3"]);
    assert_eq!(steps(&topic, None, 2), ["refuse replicas  3"]);
}

#[test]
fn counts_that_answer_to_logs_stay_and_others_only_grow() {
    for (is_fixed, from, to, step) in [
        (true, 4, 4, None),
        (true, 4, 5, Some("refuse partitions 4 5")),
        (true, 5, 4, Some("refuse partitions 5 4")),
        (false, 4, 5, Some("widen 4 5")),
        (false, 5, 4, Some("refuse partitions 5 4")),
    ] {
        let found = steps(&wanted(to, 1, &[], is_fixed), Some(existing(from, 1, &[])), 1);
        assert_eq!(found, step.into_iter().collect::<Vec<_>>(), "{is_fixed} {from} {to}");
    }
}

#[test]
fn replicas_are_left_to_the_operator_also_below_the_brokers() {
    let topic = wanted(4, 3, &[], true);
    assert_eq!(steps(&topic, Some(existing(4, 1, &[])), 1), ["leave replicas 1 3"]);
    assert_eq!(steps(&topic, Some(existing(4, 5, &[])), 5), ["leave replicas 5 3"]);
}

#[test]
fn settings_that_differ_are_set_and_foreign_ones_are_not_mentioned() {
    let topic = wanted(4, 3, &[("retention.ms", "10"), ("cleanup.policy", "delete"), ("new.one", "x")], true);
    let there = existing(4, 3, &[("retention.ms", "20"), ("cleanup.policy", "delete"), ("segment.ms", "7")]);
    assert_eq!(steps(&topic, Some(there), 3), ["set new.one - x", "set retention.ms 20 10"]);
}

#[test]
fn more_replicas_in_step_than_there_are_would_stop_every_write() {
    let topic = wanted(4, 3, &[("min.insync.replicas", "2")], true);
    let found = steps(&topic, Some(existing(4, 1, &[("min.insync.replicas", "1")])), 3);
    assert_eq!(found, ["leave replicas 1 3", "leave min.insync.replicas 1 2"]);
    let found = steps(&topic, Some(existing(4, 2, &[("min.insync.replicas", "1")])), 3);
    assert_eq!(found, ["leave replicas 2 3", "set min.insync.replicas 1 2"]);
}

/// The topics of one test on a broker, deleted at its end whatever becomes of it.
struct Fleet {
    link: Link,
    topics: Vec<Topic>,
}

impl Fleet {
    fn new(test: &str) -> Option<Self> {
        let link = Link::new(broker()?);
        let random = RandomState::new().build_hasher().finish();
        let mut topics = built_in().unwrap();
        let used = ["agent.commands", "agent.events", "llm-requests"];
        topics.retain(|topic| used.iter().any(|name| topic.name.contains(&format!(".{name}."))));
        set_replicas(&mut topics, 1);
        for topic in &mut topics {
            topic.name = format!("h2.{test}{random:x}.{}", topic.name);
            topic.partitions = 2;
        }
        Some(Self { link, topics })
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.topics.iter().map(|topic| topic.name.as_str())
    }

    async fn changes(&self, admin: &Admin) -> Vec<Change> {
        diff(&self.topics, &admin.read(self.names()).await.unwrap())
    }

    /// Applies, and says how many topics were made or changed.
    async fn apply(&self, admin: &Admin) -> usize {
        let results = admin.apply(&self.changes(admin).await).await;
        for (topic, result) in &results {
            assert!(result.is_ok(), "{topic}: {result:?}");
        }
        results.len()
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.link.config().create().unwrap()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let names: Vec<_> = self.names().collect();
        let _ = futures::executor::block_on(self.admin().delete_topics(&names, &AdminOptions::new()));
    }
}

/// Brokers learn of a change a little after the controller has made it.
async fn eventually(mut holds: impl AsyncFnMut() -> bool) -> bool {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while tokio::time::Instant::now() < deadline {
        if holds().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_made_once_and_altered_without_losing_what_others_set() {
    let Some(mut fleet) = Fleet::new("alter") else { return };
    let admin = Admin::connect(&fleet.link).await.unwrap();
    assert_eq!(fleet.apply(&admin).await, 3);
    assert!(eventually(async || fleet.changes(&admin).await.iter().all(|change| change.steps.is_empty())).await);
    assert_eq!(fleet.apply(&admin).await, 0, "a second time changes nothing");

    let name = fleet.topics[0].name.clone();
    let own = fleet.topics[0].config.iter();
    let alter =
        own.fold(AlterConfig::new(ResourceSpecifier::Topic(&name)), |alter, (name, value)| alter.set(name, value));
    let alter = alter.set("segment.ms", "3600000");
    fleet.admin().alter_configs([&alter], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    fleet.topics[0].config.insert("retention.ms".to_owned(), "86400000".to_owned());
    // The setting of somebody else must be seen before ours is made.
    let shows = async |name: &str, value: &str| {
        let cluster = admin.read(fleet.names()).await.unwrap();
        cluster.topics[&fleet.topics[0].name].config.get(name).is_some_and(|found| found == value)
    };
    assert!(eventually(async || shows("segment.ms", "3600000").await).await);
    let changes = fleet.changes(&admin).await;
    let set =
        Step::Set { name: "retention.ms".to_owned(), from: Some("604800000".to_owned()), to: "86400000".to_owned() };
    assert_eq!(changes[0].steps, [set]);
    assert_eq!(fleet.apply(&admin).await, 1);
    assert!(eventually(async || shows("retention.ms", "86400000").await).await);
    assert!(shows("segment.ms", "3600000").await, "what somebody else set stays");
    assert!(shows("max.message.bytes", "1048588").await, "and what we set before");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_grow_and_logs_do_not() {
    let Some(mut fleet) = Fleet::new("widen") else { return };
    let admin = Admin::connect(&fleet.link).await.unwrap();
    fleet.apply(&admin).await;
    assert_eq!(admin.read(fleet.names()).await.unwrap().topics.len(), 3, "made is there for all to see");
    for topic in &mut fleet.topics {
        topic.partitions = 3;
    }
    let refused: Vec<_> = fleet.changes(&admin).await.iter().map(Change::is_refused).collect();
    assert_eq!(refused, [true, true, false]);
    assert_eq!(fleet.apply(&admin).await, 1);
    let partitions = async || {
        let cluster = admin.read(fleet.names()).await.unwrap();
        cluster.topics.values().map(|topic| topic.partitions).collect::<Vec<_>>()
    };
    assert!(eventually(async || partitions().await == [2, 2, 3]).await, "{:?}", partitions().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_tells_shape_and_messages() {
    let Some(fleet) = Fleet::new("read") else { return };
    let admin = Admin::connect(&fleet.link).await.unwrap();
    assert_eq!(admin.read(fleet.names()).await.unwrap().topics, BTreeMap::new(), "asking makes no topic");
    fleet.apply(&admin).await;
    let producer: BaseProducer = fleet.link.config().create().unwrap();
    for partition in [0, 0, 1] {
        let record = BaseRecord::<(), str>::to(&fleet.topics[1].name).partition(partition).payload("x");
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(20)).unwrap();
    let cluster = admin.read(fleet.names()).await.unwrap();
    let topic = &cluster.topics[&fleet.topics[1].name];
    assert_eq!((topic.partitions, topic.replicas, topic.under_replicated), (2, 1, 0));
    assert_eq!(topic.config["retention.ms"], "2592000000");
    let messages = admin.messages(&cluster).await.unwrap();
    assert_eq!(fleet.names().map(|name| messages[name]).collect::<Vec<_>>(), [0, 3, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_does_not_take_is_told_by_topic() {
    let Some(mut fleet) = Fleet::new("fail") else { return };
    let admin = Admin::connect(&fleet.link).await.unwrap();
    fleet.topics[0].config.insert("no.such.setting".to_owned(), "1".to_owned());
    let results = admin.apply(&fleet.changes(&admin).await).await;
    let failed = results[&fleet.topics[0].name].as_ref().unwrap_err().to_string();
    assert!(failed.contains("check its manifest"), "{failed}");
    assert_eq!(results.values().filter(|result| result.is_ok()).count(), 2, "the others are made");
    let again = admin.apply(&diff(&fleet.topics[1..], &Cluster { brokers: 1, ..Cluster::default() })).await;
    let told = again[&fleet.topics[1].name].as_ref().unwrap_err().to_string();
    assert!(told.contains("run the command again"), "{told}");
}
