//! The adapter against a real broker: the port's suite, and what Kafka alone can do to it. `AGENTVERSE_TEST_KAFKA` names
//! the broker (`host:port`); where it is not set these tests say that they did not run.

mod attempts;
mod beats;
mod commands;
mod events;
mod records;

use super::{Config, KafkaBeats, KafkaTopics, Link};
use crate::adapters::embedded::Embedded;
use crate::adapters::embedded::tests::{config as folder, ports};
use crate::adapters::registry::Framing;
use crate::domain::{Aggregate, LogId};
use crate::ports::conformance::{self, Ports, Rig};
use crate::ports::topic::{Delivery, Topics};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// Long enough for anything that comes at all.
pub const SOON: Duration = Duration::from_secs(15);
/// Short enough to wait for what must not come.
pub const NOT_SO_SOON: Duration = Duration::from_millis(300);
const PARTITIONS: u16 = 4;
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Topics of their own on the broker, deleted at the end, and a folder for everything that is no topic.
pub struct Ground {
    pub config: Config,
    topics: Vec<String>,
    folder: TempDir,
    open: Option<(Embedded, Arc<KafkaTopics>)>,
}

impl Ground {
    /// `None`, and a word about it, where there is no broker to test against.
    pub async fn new() -> Option<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let Ok(brokers) = std::env::var("AGENTVERSE_TEST_KAFKA") else {
            eprintln!("not run: set AGENTVERSE_TEST_KAFKA to a broker's host:port");
            return None;
        };
        let prefix = format!("test.{}.{}.", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let config = Config {
            link: Link::new(brokers),
            prefix: prefix.clone(),
            partitions: PARTITIONS.into(),
            shared_partitions: PARTITIONS,
            message_bytes_max: MESSAGE_BYTES_MAX,
            queue_bytes_max: 8 << 20,
            linger: Duration::from_millis(1),
            lag_commands_max: 200,
        };
        let mut topics: Vec<String> = ["commands", "events"]
            .iter()
            .map(|kind| format!("{prefix}agentverse.{}.{kind}.v1", Aggregate::Tenant.name()))
            .collect();
        topics.push(format!("{prefix}agentverse.agent.heartbeats.v1"));
        topics.extend(["dead-letters", "command-outcomes"].map(|name| format!("{prefix}agentverse.{name}.v1")));
        let new: Vec<_> = topics
            .iter()
            .map(|topic| {
                let new = NewTopic::new(topic, i32::from(PARTITIONS), TopicReplication::Fixed(1));
                if topic.contains(".commands.") { new.set("message.timestamp.type", "LogAppendTime") } else { new }
            })
            .collect();
        for created in admin(&config).create_topics(&new, &AdminOptions::new()).await.expect("asked") {
            created.expect("created");
        }
        let mut ground = Self { config, topics, folder: tempfile::tempdir().expect("a folder"), open: None };
        ground.reopen();
        Some(ground)
    }

    pub fn topics(&self) -> Arc<KafkaTopics> {
        self.open.as_ref().expect("open").1.clone()
    }

    /// The topic of the tenants' commands.
    pub fn commands(&self) -> &str {
        &self.topics[0]
    }

    fn reopen(&mut self) {
        self.open = None;
        let embedded = Embedded::open(self.folder.path(), &folder()).expect("it opens");
        let framing = Arc::new(Framing::single_object());
        let topics = KafkaTopics::open(self.config.clone(), framing, embedded.journal.clone()).expect("clients");
        self.open = Some((embedded, Arc::new(topics)));
    }

    pub fn beats(&self) -> KafkaBeats {
        KafkaBeats::new(&self.topics()).expect("a client")
    }

    /// The topic of the agents' heartbeats.
    pub fn heartbeats(&self) -> &str {
        &self.topics[2]
    }

    /// Writes a command's record as somebody else's producer would.
    pub async fn foreign(&self, partition: u16, key: Option<&str>, value: &[u8], headers: &[(&str, &str)]) {
        self.foreign_to(self.commands(), partition, key, value, headers).await;
    }

    pub async fn foreign_to(
        &self,
        topic: &str,
        partition: u16,
        key: Option<&str>,
        value: &[u8],
        headers: &[(&str, &str)],
    ) {
        let producer: FutureProducer = self.config.link.config().create().expect("a producer");
        let mut own = OwnedHeaders::new();
        for (key, value) in headers {
            own = own.insert(Header { key, value: Some(*value) });
        }
        let mut record = FutureRecord::to(topic).partition(i32::from(partition)).payload(value).headers(own);
        if let Some(key) = key {
            record = record.key(key);
        }
        producer.send(record, SOON).await.expect("sent");
    }
}

impl Rig for Ground {
    fn ports(&self) -> Ports {
        let (embedded, topics) = self.open.as_ref().expect("open");
        Ports { topics: topics.clone(), ..ports(embedded) }
    }

    fn crash(&mut self) {
        self.reopen();
    }

    fn waiting_max(&self) -> usize {
        self.config.lag_commands_max as usize
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.open = None;
        let (config, topics) = (self.config.clone(), std::mem::take(&mut self.topics));
        // A test that failed leaves no topics behind either; its own runtime cannot be waited on here.
        let deleting = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let names: Vec<&str> = topics.iter().map(String::as_str).collect();
            runtime.block_on(admin(&config).delete_topics(&names, &AdminOptions::new())).expect("deleted");
        });
        let _ = deleting.join();
    }
}

pub fn admin(config: &Config) -> AdminClient<DefaultClientContext> {
    config.link.config().create().expect("an admin client")
}

/// What is polled within reason.
pub async fn poll(topics: &KafkaTopics, log: LogId, from: u64, records_max: usize) -> Vec<Delivery> {
    tokio::time::timeout(SOON, topics.poll(log, from, records_max)).await.expect("in time").expect("polled")
}

pub fn offsets(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.offset).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let Some(mut ground) = Ground::new().await else { return };
    conformance::topic::suite(&mut ground).await;
}
