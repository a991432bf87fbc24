//! The whole pipeline, from the command topic to queryable views, and the same without its log: the roles run in this
//! process, over the servers' real topics and tables.

use super::servers::fail;
use super::stub::{Counted, NoIndex, NoJournal};
use crate::support::commands::{self, Kind};
use agentverse::adapters::kafka::manifest;
use agentverse::adapters::scylla::Store;
use agentverse::domain::{Aggregate, LogId};
use agentverse::flow::process::{self, Parts};
use agentverse::ports::clock::SystemClock;
use agentverse::ports::topic::{Accepted, Lane};
use agentverse::ports::{Assignment, Topics, Views};
use agentverse::runtime::cluster::{self, Links};
use agentverse::runtime::links;
use agentverse::runtime::settings::{Loaded, Settings};
use async_trait::async_trait;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Commands of one produce.
const BATCH: usize = 500;
/// Commands that are under way at most while the whole is measured.
const UNDER_WAY: u64 = 30_000;
/// Commands of a run that is measured from beginning to end.
const COMMANDS: u64 = 300_000;
/// What the whole is given before its rate counts.
const WARM_UP: Duration = Duration::from_secs(5);

/// A fleet of its own: topics and tables.
pub struct Fleet {
    pub settings: Settings,
    brokers: String,
    /// Number of the next agent that is registered.
    next: AtomicU64,
}

impl Fleet {
    /// `None` where no broker is named. `set` is further settings, `profile` one of the topics.
    pub fn new(name: &str, profile: &str, set: &[&str]) -> Option<Self> {
        let brokers = std::env::var("AGENTVERSE_TEST_KAFKA").ok()?;
        let nodes = std::env::var("AGENTVERSE_TEST_CQL").ok()?;
        let id = std::process::id();
        let mut overrides = vec![
            format!("kafka_brokers={brokers}"),
            format!("scylla_nodes={nodes}"),
            format!("scylla_keyspace=bench_{name}_{id}"),
            "scylla_replication=1".to_owned(),
            format!("topic_prefix=bench.{name}.{id}."),
            "lag_commands_max=100000000".to_owned(),
        ];
        overrides.extend(set.iter().map(|text| (*text).to_owned()));
        let topics = ["topics", "apply", "--replicas", "1", "--profile", profile];
        for args in [&["schemas", "apply"][..], &topics] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_agentverse"));
            command.args(args).args(overrides.iter().flat_map(|text| ["--set", text]));
            let output = command.output().unwrap_or_else(fail("the program"));
            if !output.status.success() {
                eprintln!("{args:?}: {}", String::from_utf8_lossy(&output.stderr));
                std::process::exit(1);
            }
        }
        let loaded = Loaded::load(None, |_| None, &overrides).unwrap_or_else(fail("the settings"));
        Some(Self { settings: loaded.settings, brokers, next: AtomicU64::new(0) })
    }

    pub async fn links(&self) -> Links {
        Links::open(&self.settings).await.unwrap_or_else(fail("the links"))
    }

    /// Takes its topics and tables away.
    pub async fn clean(self) {
        let config = links::scylla_config(&self.settings).unwrap_or_else(fail("the database's settings"));
        let store = Store::connect(&config).await.unwrap_or_else(fail("the database"));
        let drop = format!("DROP KEYSPACE {}", store.keyspace);
        store.session.query_unpaged(drop, ()).await.map(|_| ()).unwrap_or_else(fail("the keyspace"));
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.brokers);
        let admin: AdminClient<DefaultClientContext> = client.create().unwrap_or_else(fail("an admin client"));
        let topics = manifest::built_in().unwrap_or_else(fail("the manifests"));
        let names: Vec<_> =
            topics.iter().map(|topic| format!("{}{}", self.settings.topic_prefix, topic.name)).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        admin.delete_topics(&names, &AdminOptions::new()).await.map(|_| ()).unwrap_or_else(fail("the topics"));
    }

    /// So many registrations of agents that are not there yet, in batches.
    fn commands(&self, count: u64) -> Vec<Vec<Arc<Accepted>>> {
        let first = self.next.fetch_add(count, Ordering::Relaxed);
        (first..first + count).step_by(BATCH).map(|first| commands::accepted(Kind::Register, first, BATCH)).collect()
    }

    fn agent_logs(&self) -> impl Iterator<Item = LogId> {
        let count = self.settings.fleet_partitions().of(Aggregate::Agent);
        (0..count).map(|partition| LogId { aggregate: Aggregate::Agent, partition })
    }

    fn topic(&self, kind: &str) -> String {
        format!("{}agentverse.agent.{kind}.v1", self.settings.topic_prefix)
    }
}

/// What the whole did.
pub struct Whole {
    /// Commands a second from the command topic to the views, sustained.
    pub rate: f64,
    pub records_per_append: f64,
}

/// Runs the whole with so many commands under way.
pub async fn whole(fleet: &Fleet, turn: Duration) -> Whole {
    let mut links = fleet.links().await;
    let counted = Arc::new(Counted::over(links.journal.clone()));
    links.journal = counted.clone();
    let processing = cluster::process(&links, &fleet.settings).unwrap_or_else(fail("process"));
    let projecting = cluster::project(&links, &fleet.settings).unwrap_or_else(fail("project"));
    while processing.ready().is_err() || projecting.ready().is_err() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let before = shown(fleet, &*links.views).await;
    let (started, mut produced) = (Instant::now(), 0);
    let (mut from, mut base) = (None, 0);
    let mut stock = Vec::new();
    let (rate, _) = loop {
        let done = shown(fleet, &*links.views).await - before;
        if from.is_none() && done > 0 && started.elapsed() > WARM_UP {
            (from, base) = (Some(Instant::now()), done);
        }
        if let Some(from) = from.filter(|from| from.elapsed() > turn) {
            break ((done - base) as f64 / from.elapsed().as_secs_f64(), from);
        }
        while produced < done + UNDER_WAY {
            let batch = match stock.pop() {
                Some(batch) => batch,
                None => {
                    stock = fleet.commands(5_000);
                    continue;
                }
            };
            produced += batch.len() as u64;
            links.topics.produce(batch, Lane::System).await.unwrap_or_else(fail("produce"));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    // What is under way is finished, so that the next run begins at rest.
    while shown(fleet, &*links.views).await - before < produced {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    processing.stop().await;
    projecting.stop().await;
    Whole { rate, records_per_append: counted.records_per_append() }
}

/// Events that the views show: each command makes one.
async fn shown(fleet: &Fleet, views: &dyn Views) -> u64 {
    let marks = futures::future::join_all(fleet.agent_logs().map(|log| views.applied_to(log))).await;
    marks.into_iter().map(|mark| mark.unwrap_or_else(fail("the views"))).sum()
}

/// Commands a second through the processors with nothing kept: read, decided, published and told.
pub async fn log_stubbed(fleet: &Fleet) -> f64 {
    let links = fleet.links().await;
    for batch in fleet.commands(COMMANDS) {
        links.topics.produce(batch, Lane::System).await.unwrap_or_else(fail("produce"));
    }
    let journal = Arc::new(NoJournal::starting_at(ends(fleet, &links).await));
    let parts = Parts {
        journal: journal.clone(),
        topics: links.topics.clone(),
        index: Arc::new(NoIndex),
        clock: Arc::new(SystemClock),
        outcomes: links.outcomes.clone(),
        assignment: Arc::new(Mine),
        notice: Arc::new(|_, _| {}),
        watcher: None,
        owned: Arc::new(AtomicUsize::new(0)),
        partitions: fleet.settings.fleet_partitions(),
        limits: fleet.settings.cluster_limits(),
    };
    let (stop, started) = (CancellationToken::new(), Instant::now());
    let owners: Vec<_> =
        fleet.agent_logs().map(|log| tokio::spawn(process::run(log, parts.clone(), stop.clone()))).collect();
    while journal.appended() < COMMANDS {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.cancel();
    for owner in owners {
        // Ends once all that follows is acknowledged.
        owner.await.unwrap_or_else(fail("an owner"));
    }
    COMMANDS as f64 / started.elapsed().as_secs_f64()
}

/// Where each agent log's commands begin that this run is about.
async fn ends(fleet: &Fleet, links: &Links) -> Vec<(LogId, u64)> {
    let mut ends = Vec::new();
    for log in fleet.agent_logs() {
        let state = links.journal.state(log).await.unwrap_or_else(fail("a log"));
        ends.push((log, state.consumed));
    }
    ends
}

/// The first record of a topic's first partition.
fn first(client: &ClientConfig, topic: &str) -> OwnedMessage {
    let consumer: BaseConsumer = client.create().unwrap_or_else(fail("a consumer"));
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).unwrap_or_else(fail("a partition"));
    consumer.assign(&list).unwrap_or_else(fail("a partition"));
    loop {
        if let Some(message) = consumer.poll(Duration::from_secs(1)) {
            return message.unwrap_or_else(fail("a record that the processors wrote")).detach();
        }
    }
}

struct Mine;

#[async_trait]
impl Assignment for Mine {
    async fn confirm(&self, _log: LogId) -> bool {
        true
    }
    async fn tried(&self, _log: LogId, _offset: u64) -> u32 {
        0
    }
    async fn note(&self, _log: LogId, _offset: u64, _tries: u32) {}
    fn consumed(&self, _log: LogId, _offset: u64) {}
}

/// What a plain loop writes for each command that it reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Copies {
    /// The command itself, without its headers.
    Bare,
    /// An event and an outcome as the processors write them, with their headers.
    AsProcessors,
}

/// Commands a second through a plain loop on the same broker: read from the command topic, written to others. The fleet's
/// topics hold what its processors wrote before.
pub async fn plain_loop(fleet: &Fleet, copies: Copies) -> f64 {
    let links = fleet.links().await;
    let (commands, events) = (fleet.topic("commands"), fleet.topic("events"));
    let outcomes = events.replace("agent.events", "command-outcomes");
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &fleet.brokers).set("group.id", "bench").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = client.create().unwrap_or_else(fail("a consumer"));
    let [event, outcome] = [&events, &outcomes].map(|topic| first(&client, topic));
    let mut list = TopicPartitionList::new();
    for log in fleet.agent_logs() {
        let mut ends = (0..100).map(|_| {
            let ends = consumer.fetch_watermarks(&commands, i32::from(log.partition), Duration::from_secs(10));
            // A topic that was just made has no leader for a moment.
            ends.inspect_err(|_| std::thread::sleep(Duration::from_millis(100)))
        });
        let Some((_, end)) = ends.find_map(Result::ok) else { fail("the end of a partition")("no leader") };
        list.add_partition_offset(&commands, i32::from(log.partition), Offset::Offset(end))
            .unwrap_or_else(fail("a partition"));
    }
    for batch in fleet.commands(COMMANDS) {
        links.topics.produce(batch, Lane::System).await.unwrap_or_else(fail("produce"));
    }
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", &fleet.brokers)
        .set("enable.idempotence", "true")
        .set("linger.ms", "2")
        .set("compression.type", "lz4")
        .set("queue.buffering.max.messages", "1000000")
        .create()
        .unwrap_or_else(fail("a producer"));
    let started = Instant::now();
    consumer.assign(&list).unwrap_or_else(fail("the partitions"));
    let mut copied = 0;
    while copied < COMMANDS {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap_or_else(fail("a message"));
        let to = |topic| {
            BaseRecord::<[u8], [u8]>::to(topic).partition(message.partition()).key(message.key().unwrap_or_default())
        };
        let records = match copies {
            Copies::Bare => vec![to(&events).payload(message.payload().unwrap_or_default())],
            Copies::AsProcessors => {
                let made = [(&events, &event), (&outcomes, &outcome)].map(|(topic, made)| {
                    let headers = made.headers().cloned().unwrap_or_default();
                    to(topic).headers(headers).payload(made.payload().unwrap_or_default())
                });
                made.into()
            }
        };
        for record in records {
            producer.send(record).map_err(|(error, _)| error).unwrap_or_else(fail("a record"));
        }
        copied += 1;
    }
    producer.flush(Duration::from_secs(60)).unwrap_or_else(fail("the last records"));
    COMMANDS as f64 / started.elapsed().as_secs_f64()
}
