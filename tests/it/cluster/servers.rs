//! The servers that a fleet lives on, and what of it they hold.

use crate::e2e::server::eventually;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use scylla::client::session_builder::SessionBuilder;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// Where a fleet lives: the servers, and the names that are its own on them.
#[derive(Clone)]
pub struct Ground {
    kafka: String,
    cql: String,
    registry: Option<String>,
    keyspace: String,
    topic_prefix: String,
}

impl Ground {
    /// Names that nobody else uses; `None` where the servers are not named.
    pub fn claim() -> Option<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let variable = |name: &str| std::env::var(name).ok();
        let name = variable("AGENTVERSE_TEST_NAME").unwrap_or_else(|| "test".into());
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Some(Self {
            kafka: variable("AGENTVERSE_TEST_KAFKA")?,
            cql: variable("AGENTVERSE_TEST_CQL")?,
            registry: variable("AGENTVERSE_TEST_REGISTRY"),
            keyspace: format!("{name}_fleet_{process}_{count}"),
            topic_prefix: format!("{name}.fleet.{process}.{count}."),
        })
    }

    /// The settings that lead here.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("kafka_brokers", self.kafka.clone()),
            ("scylla_nodes", self.cql.clone()),
            ("scylla_keyspace", self.keyspace.clone()),
            ("scylla_replication", "1".into()),
            ("topic_prefix", self.topic_prefix.clone()),
        ];
        settings.extend(self.registry.clone().map(|url| ("registry_url", url)));
        settings
    }

    /// Has the broker forget the commands of an aggregate's first log.
    pub fn forget_commands(&self, aggregate: &str) {
        let mut list = TopicPartitionList::new();
        let topic = format!("{}agentverse.{aggregate}.commands.v1", self.topic_prefix);
        list.add_partition_offset(&topic, 0, Offset::End).unwrap();
        let client: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.kafka).create().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(client.delete_records(&list, &AdminOptions::new())).unwrap();
    }

    /// Deletes the command topic of an aggregate.
    pub fn delete_commands(&self, aggregate: &str) {
        let topic = format!("{}agentverse.{aggregate}.commands.v1", self.topic_prefix);
        let client: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.kafka).create().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(client.delete_topics(&[&topic], &AdminOptions::new())).unwrap();
        // The broker may show it a moment longer, and whoever made it anew would find it there.
        eventually("the topic is gone", || {
            let known = client.inner().fetch_metadata(None, PATIENCE).unwrap();
            known.topics().iter().all(|known| known.name() != topic).then_some(())
        });
    }

    /// Drops the keyspace and deletes the topics; says what could not be.
    pub fn clear(&self) {
        let ground = self.clone();
        // On a thread of its own: the test may be within a runtime.
        let clearing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (keyspace, topics) = (ground.drop_keyspace().await, ground.delete_topics().await);
                for problem in [keyspace.err(), topics.err()].into_iter().flatten() {
                    eprintln!("of {} and {}* something stays: {problem}", ground.keyspace, ground.topic_prefix);
                }
            });
        });
        let _ = clearing.join();
    }

    async fn drop_keyspace(&self) -> Result<(), String> {
        let session = SessionBuilder::new().known_node(&self.cql).build().await.map_err(|error| error.to_string())?;
        let cql = format!("DROP KEYSPACE IF EXISTS {}", self.keyspace);
        session.query_unpaged(cql, ()).await.map(|_| ()).map_err(|error| error.to_string())
    }

    async fn delete_topics(&self) -> Result<(), String> {
        let client: Result<AdminClient<DefaultClientContext>, _> =
            ClientConfig::new().set("bootstrap.servers", &self.kafka).create();
        let client = client.map_err(|error| error.to_string())?;
        let metadata = client.inner().fetch_metadata(None, PATIENCE).map_err(|error| error.to_string())?;
        let names = metadata.topics().iter().map(|topic| topic.name());
        let own: Vec<&str> = names.filter(|name| name.starts_with(&self.topic_prefix)).collect();
        if own.is_empty() {
            return Ok(());
        }
        let deleted = client.delete_topics(&own, &AdminOptions::new()).await.map_err(|error| error.to_string())?;
        let failed = deleted.into_iter().find_map(Result::err);
        failed.map_or(Ok(()), |(name, code)| Err(format!("{name}: {code}")))
    }
}
