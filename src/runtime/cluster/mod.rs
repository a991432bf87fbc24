//! The cluster: the links to its servers, and the roles that work over them.
//!
//! What can heal by itself is waited for at start, with a line in the log each time: a server that does not answer yet.
//! What cannot is an error at once: a wrong password, a missing topic or table, settings that contradict the fleet.

mod check;
mod loss;
mod roles;
mod start;
mod turns;
mod watch;

pub use check::Report;
pub use roles::{Member, Server, process, project, serve, work};
pub use start::Error;

use crate::adapters::kafka::{self, KafkaBeats, KafkaOutcomes, KafkaTopics, Link, OutcomeReader};
use crate::adapters::registry::Framing;
use crate::adapters::scylla::{
    IndexConfig, ScyllaIndex, ScyllaJournal, ScyllaLimits, ScyllaUsage, ScyllaViews, Store, UsageConfig, ViewsConfig,
};
use crate::domain::LogId;
use crate::flow::feed::{Feed, Source};
use crate::ports::clock::SystemClock;
use crate::ports::outcome::Word;
use crate::ports::{Beats, Index, Journal, Limits, Outcomes, Usage, Views, topic};
use crate::runtime::settings::Settings;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// The servers of a cluster, as this process reaches them.
pub struct Links {
    pub journal: Arc<dyn Journal>,
    pub index: Arc<dyn Index>,
    pub views: Arc<dyn Views>,
    pub usage: Arc<dyn Usage>,
    pub limits: Arc<dyn Limits>,
    pub topics: Arc<KafkaTopics>,
    pub outcomes: Arc<dyn Outcomes>,
    pub beats: Arc<dyn Beats>,
    link: Link,
    kafka: kafka::Config,
    framing: Arc<Framing>,
    _watch: AbortOnDropHandle<()>,
}

impl Links {
    /// Opens every link, waiting up to `start_ms_max` for servers that do not answer yet.
    ///
    /// # Errors
    /// When waiting cannot heal it, or did not.
    pub async fn open(settings: &Settings) -> Result<Self, Error> {
        start::patiently(settings, async || Self::try_open(settings).await).await
    }

    async fn try_open(settings: &Settings) -> Result<Self, Error> {
        let store = Arc::new(start::store(settings).await?);
        let framing = Arc::new(start::framing(settings).await?);
        let link = start::link(settings).await?;
        let Stores { journal, index, views, usage, limits } = open_store(store.clone(), settings).await?;
        let kafka = kafka::Config {
            link: link.clone(),
            prefix: settings.topic_prefix.clone(),
            partitions: settings.fleet_partitions(),
            shared_partitions: settings.partitions,
            message_bytes_max: settings.kafka_message_bytes_max,
            queue_bytes_max: settings.kafka_queue_bytes_max,
            linger: Duration::from_millis(settings.kafka_linger_ms),
            lag_commands_max: settings.lag_commands_max,
        };
        let topics = KafkaTopics::open(kafka.clone(), framing.clone(), journal.clone())?;
        let outcomes = Arc::new(KafkaOutcomes::new(&topics));
        let beats = Arc::new(KafkaBeats::new(&topics)?);
        let (topics, _watch) = (Arc::new(topics), watch::watch(store));
        Ok(Self { journal, index, views, usage, limits, topics, outcomes, beats, link, kafka, framing, _watch })
    }

    /// Holds every log, and what is derived from it, against a fold of it. Meant for a fleet at rest.
    ///
    /// # Errors
    /// When something cannot be read at all.
    pub async fn check(&self, settings: &Settings, deep: bool) -> Result<Report, String> {
        check::check(self, settings.fleet_partitions(), deep).await
    }

    /// What is published, for any number of readers. Its followers are its own, apart from a projector's in this process,
    /// and reach Kafka only while somebody reads.
    pub fn feed(&self, settings: &Settings) -> Feed {
        let (kafka, framing, journal) = (self.kafka.clone(), self.framing.clone(), self.journal.clone());
        let open = move || {
            let topics = KafkaTopics::open(kafka.clone(), framing.clone(), journal.clone())?;
            Ok(Arc::new(topics) as Arc<dyn topic::Topics>)
        };
        let source = Source::Followed(Box::new(open));
        let (partitions, ring) = (settings.fleet_partitions(), settings.event_ring_bytes_max);
        Feed::new(source, self.journal.clone(), Arc::new(SystemClock), partitions, ring)
    }

    /// Hears every outcome of the fleet from now on.
    ///
    /// # Errors
    /// When the brokers do not answer.
    pub async fn outcome_reader(
        &self,
        hear: impl Fn(LogId, Word<'static>) + Send + Sync + 'static,
    ) -> Result<OutcomeReader, topic::Error> {
        OutcomeReader::start(&self.kafka, self.framing.clone(), hear).await
    }
}

/// What is kept in the database.
struct Stores {
    journal: Arc<dyn Journal>,
    index: Arc<dyn Index>,
    views: Arc<dyn Views>,
    usage: Arc<dyn Usage>,
    limits: Arc<dyn Limits>,
}

async fn open_store(store: Arc<Store>, settings: &Settings) -> Result<Stores, Error> {
    // A batch takes commands until it is full; the last one may go over by its own size.
    let batch_bytes_max = settings.scylla_batch_bytes_max + settings.scylla_command_bytes_max;
    let journal: Arc<dyn Journal> = Arc::new(ScyllaJournal::open(store.clone(), batch_bytes_max).await?);
    let index = IndexConfig {
        partitions: settings.fleet_partitions(),
        index_buckets: settings.index_buckets,
        outcome_buckets: settings.outcome_buckets,
        outcomes_retained: Duration::from_secs(settings.outcomes_retained_s),
        writes_max: settings.scylla_writes_max,
    };
    let views = ViewsConfig { view_buckets: settings.view_buckets, writes_max: settings.scylla_writes_max };
    let index = ScyllaIndex::open(store.clone(), journal.clone(), index).await?;
    let views = ScyllaViews::open(store.clone(), views).await?;
    let usage = UsageConfig { retention: settings.usage_retention(), writes_max: settings.scylla_writes_max };
    let usage = ScyllaUsage::open(store.clone(), usage).await?;
    let limits = Arc::new(ScyllaLimits::open(store).await?);
    Ok(Stores { journal, index: Arc::new(index), views: Arc::new(views), usage: Arc::new(usage), limits })
}
