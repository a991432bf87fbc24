//! Kafka: the ports `topic`, `outcome` and `beats` on a cluster's brokers.
//!
//! One producer and one fetching consumer serve the whole process. Neither is a member of a group: who owns which log is
//! decided elsewhere, and where to read on is in the log itself (`consumed`); only heartbeats, which no log holds, have a
//! place that is committed. What a
//! record looks like on the wire is in `schemas/README.md`, "Kafka records".
//!
//! **Trust.** Kafka decides by topic who may write, not by tenant or source. A record that names another source than
//! [`SYSTEM_SOURCE`](crate::domain::envelope::SYSTEM_SOURCE) gets its command id exactly as over HTTP, so it cannot have
//! the id of a follow-up command, and its hop count is 0 whatever it says. A record that names the system's source is
//! believed: a broker cannot tell us who wrote it. Whoever may write to a command topic can therefore act for every
//! tenant, and can take the id of a follow-up command before it is sent; give that right to services that are trusted as
//! this one is, and let everybody else come in over HTTP.

pub mod admin;
#[cfg(test)]
mod admin_tests;
mod beats;
pub mod client;
#[cfg(test)]
mod client_tests;
mod command;
pub mod diff;
mod event;
mod follow;
mod headers;
mod intake;
mod lag;
mod letters;
pub mod manifest;
pub mod membership;
mod offsets;
mod outcome;
mod partition;
mod produce;
mod scan;
#[cfg(test)]
pub(super) mod tests;
mod together;
mod trouble;
mod watch;

pub use beats::KafkaBeats;
pub use client::Link;
use client::words;
pub use membership::{Membership, Turns};
pub use outcome::{KafkaOutcomes, OutcomeReader};

use crate::adapters::registry::Framing;
use crate::domain::{Aggregate, LogId, Partitions};
use crate::ports::Journal;
use crate::ports::journal::Recorded;
use crate::ports::topic::{Accepted, Buried, DeadLetter, Delivery, Error, Held, Lane, RedriveError, Redriven, Topics};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

/// What the adapter is given; see `agentverse config --explain`.
#[derive(Clone)]
pub struct Config {
    pub link: Link,
    /// Goes before every topic's name; empty but in tests and on shared brokers.
    pub prefix: String,
    /// How many logs each aggregate has: as many partitions have its topics.
    pub partitions: Partitions,
    /// Partitions of the topics that all logs share.
    pub shared_partitions: u16,
    /// Largest command or event with its key and headers; the topics' `max.message.bytes` must not be smaller.
    pub message_bytes_max: usize,
    /// Most bytes that wait to be sent. Outsiders are refused from three quarters on.
    pub queue_bytes_max: usize,
    /// How long a message waits for others that go with it.
    pub linger: Duration,
    /// Most commands of one partition that may wait for its processor before outsiders are refused.
    pub lag_commands_max: u64,
}

/// The names of the topics.
#[derive(Clone, Debug)]
struct Names {
    prefix: String,
    /// By the code of the aggregate.
    commands: Vec<String>,
    events: Vec<String>,
}

impl Names {
    fn new(prefix: &str) -> Self {
        let all = |kind: &str| {
            Aggregate::ALL
                .iter()
                .map(|aggregate| format!("{prefix}agentverse.{}.{kind}.v1", aggregate.name()))
                .collect()
        };
        Self { prefix: prefix.to_owned(), commands: all("commands"), events: all("events") }
    }

    fn commands(&self, log: LogId) -> &str {
        &self.commands[log.aggregate as usize]
    }

    fn events(&self, log: LogId) -> &str {
        &self.events[log.aggregate as usize]
    }

    fn dead_letters(&self) -> String {
        format!("{}agentverse.dead-letters.v1", self.prefix)
    }

    fn heartbeats(&self) -> String {
        format!("{}agentverse.agent.heartbeats.v1", self.prefix)
    }

    fn outcomes(&self) -> String {
        format!("{}agentverse.command-outcomes.v1", self.prefix)
    }
}

/// What the parts of the adapter share.
struct Shared {
    config: Config,
    names: Names,
    framing: Arc<Framing>,
    journal: Arc<dyn Journal>,
    producer: produce::Producer,
    fetcher: partition::Fetcher,
    lags: lag::Lags,
}

impl Shared {
    /// Where a log's things are kept that there is one of per log.
    fn place(&self, log: LogId) -> usize {
        self.config.partitions.place(log)
    }

    fn logs(config: &Config) -> usize {
        config.partitions.logs().count()
    }

    /// The log's place, or an error for one that this fleet does not have.
    fn checked(&self, log: LogId) -> Result<usize, Error> {
        let count = self.config.partitions.of(log.aggregate);
        if log.partition < count {
            return Ok(self.place(log));
        }
        Err(Error::Unavailable(format!("there is no log {log}: the fleet has {count} of this aggregate")))
    }
}

fn unacknowledged(timeout: Duration) -> Error {
    Error::Unavailable(format!("Kafka did not acknowledge within kafka_request_ms_max = {}", timeout.as_millis()))
}

/// The topics of a fleet on Kafka.
pub struct KafkaTopics {
    shared: Arc<Shared>,
    /// By [`Shared::place`].
    intakes: Vec<tokio::sync::Mutex<intake::Intake>>,
    trails: Vec<tokio::sync::Mutex<follow::Trail>>,
    published: event::Published,
}

impl KafkaTopics {
    /// Makes the clients. Nothing is asked of the brokers yet: they may come up later than this process.
    ///
    /// # Errors
    /// When the client library refuses the configuration.
    pub fn open(config: Config, framing: Arc<Framing>, journal: Arc<dyn Journal>) -> Result<Self, Error> {
        let logs = Shared::logs(&config);
        let lags = lag::Lags::new(&config);
        let names = Names::new(&config.prefix);
        let producer = produce::Producer::new(&config, lags.heights())?;
        let fetcher = partition::Fetcher::new(&config)?;
        let shared = Arc::new(Shared { config, names, framing, journal, producer, fetcher, lags });
        Ok(Self {
            intakes: (0..logs).map(|_| tokio::sync::Mutex::default()).collect(),
            trails: (0..logs).map(|_| tokio::sync::Mutex::default()).collect(),
            published: event::Published::default(),
            shared,
        })
    }
}

#[async_trait]
impl Topics for KafkaTopics {
    async fn produce(&self, commands: Vec<Arc<Accepted>>, lane: Lane) -> Result<(), Error> {
        let shared = &*self.shared;
        let mut outgoing = Vec::with_capacity(commands.len());
        for accepted in &commands {
            outgoing.push(command::encode(accepted, shared)?);
        }
        if lane == Lane::System {
            return shared.producer.send(outgoing).await;
        }
        // Whoever waits for an answer gets one; what is in the producer's queue then may still be written.
        let taken = async {
            lag::admit(shared, &commands).await?;
            shared.producer.send(outgoing).await
        };
        let timeout = shared.config.link.request_timeout;
        tokio::time::timeout(timeout, taken).await.unwrap_or_else(|_| Err(unacknowledged(timeout)))
    }

    async fn poll(&self, log: LogId, from: u64, records_max: usize) -> Result<Vec<Delivery>, Error> {
        let place = self.shared.checked(log)?;
        self.intakes[place].lock().await.poll(&self.shared, log, from, records_max).await
    }

    async fn held(&self, log: LogId, from: u64, records_max: usize) -> Result<Held, Error> {
        let place = self.shared.checked(log)?;
        let (low, end) = self.shared.fetcher.bounds(self.shared.names.commands(log), log.partition).await?;
        let start = from.saturating_sub(records_max as u64).max(low);
        let before = start..from.min(end);
        let before = self.intakes[place].lock().await.look_back(&self.shared, log, before).await?;
        Ok(Held { low, end, before })
    }

    async fn publish(&self, log: LogId, records: Arc<[Recorded]>) -> Result<(), Error> {
        event::publish(&self.shared, &self.published, log, &records).await
    }

    async fn follow(&self, log: LogId, after: u64, records_max: usize) -> Result<Vec<Recorded>, Error> {
        let place = self.shared.checked(log)?;
        self.trails[place].lock().await.follow(&self.shared, log, after, records_max).await
    }

    async fn bury(&self, letter: DeadLetter) -> Result<(), Error> {
        letters::bury(&self.shared, &letter).await
    }

    async fn dead_letters(&self, from: u64, letters_max: usize) -> Result<Vec<(u64, Buried)>, Error> {
        letters::read(&self.shared, from, letters_max).await
    }

    async fn dead_letter(&self, number: u64) -> Result<Option<Buried>, Error> {
        letters::one(&self.shared, number).await
    }

    async fn redrive(&self, number: u64, forced: bool) -> Result<Redriven, RedriveError> {
        letters::redrive(&self.shared, number, forced).await
    }
}
