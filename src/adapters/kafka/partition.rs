//! Reading partitions: one consumer for the process, and a queue of its own for each partition that is open.
//!
//! The consumer is no member of a group and commits nothing; the library wants a group's name all the same. Its bounds
//! on what is fetched ahead are the back-pressure: a partition that nobody reads on holds its bound and no more.
//!
//! An offset that the broker does not have is an error that names what was lost, never a skip. The library's own answer
//! to that is therefore switched off (`auto.offset.reset=error`); a partition that is read from 0 begins at the earliest.

use super::Config;
use super::client::words;
use super::headers::Received;
use super::offsets::{At, Offsets};
use super::trouble;
use crate::ports::topic::Error;
use hashbrown::HashMap;
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::Notify;

/// Messages of one partition fetched ahead, and their kilobytes.
const AHEAD_MESSAGES: &str = "2000";
const AHEAD_KILOBYTES: &str = "4096";
/// How long the thread waits for an event before it looks whether it is to stop.
const EVENT_WAIT: Duration = Duration::from_millis(100);
/// A reader looks at its queue this often even if nobody woke it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A record as it was read.
#[derive(Clone, Debug)]
pub struct Raw {
    pub offset: u64,
    /// Milliseconds since the Unix epoch; 0 where the record has none.
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    pub headers: Received,
}

impl Raw {
    pub fn of(message: &BorrowedMessage<'_>) -> Self {
        Self {
            offset: message.offset().max(0) as u64,
            timestamp: message.timestamp().to_millis().unwrap_or(0),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().unwrap_or_default().to_vec(),
            headers: Received::of(message.headers()),
        }
    }
}

/// Why reading a partition ended.
#[derive(Debug)]
pub enum Fault {
    /// The broker does not have the offset that was asked for.
    OutOfRange,
    Other(String),
}

/// The context of a client that reads.
pub(super) struct Events;

impl ClientContext for Events {
    fn error(&self, error: KafkaError, reason: &str) {
        trouble::report("a reader", &error, reason);
    }
}

impl ConsumerContext for Events {}

/// What the consumer's thread and a partition's reader share.
#[derive(Default)]
struct Bell {
    arrived: Notify,
    /// A record came past the partition's queue: the partition must be opened again.
    strayed: AtomicBool,
}

type Bells = Arc<Mutex<HashMap<(String, i32), Arc<Bell>>>>;

/// The consumer of this process.
pub struct Fetcher {
    consumer: Arc<BaseConsumer<Events>>,
    bells: Bells,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    offsets: Offsets,
}

/// What every consumer of this program that reads without a group is configured with.
pub fn reading(config: &Config) -> ClientConfig {
    let mut client = config.link.config();
    client
        .set("group.id", format!("{}agentverse.readers", config.prefix))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("queued.min.messages", AHEAD_MESSAGES)
        .set("queued.max.messages.kbytes", AHEAD_KILOBYTES)
        // A partition that is opened waits for the fetch under way to end, and one that was full for this pause.
        .set("fetch.wait.max.ms", "100")
        .set("fetch.queue.backoff.ms", "10");
    client
}

impl Fetcher {
    pub fn new(config: &Config) -> Result<Self, Error> {
        let consumer: BaseConsumer<Events> = reading(config).create_with_context(Events).map_err(refused)?;
        let consumer = Arc::new(consumer);
        let bells = Bells::default();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new()
            .name("kafka-fetch".into())
            .spawn({
                let (consumer, bells, stop) = (consumer.clone(), bells.clone(), stop.clone());
                move || serve(&consumer, &bells, &stop)
            })
            .map_err(|error| Error::Unavailable(format!("no thread for the consumer: {error}")))?;
        let offsets = Offsets::new(consumer.clone(), config.link.request_timeout);
        Ok(Self { consumer, bells, stop, thread: Some(thread), offsets })
    }

    /// Opens a partition at an offset. At most one reader may have it open.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn open(&self, topic: &str, partition: u16, from: u64) -> Result<Partition, Error> {
        let number = i32::from(partition);
        let bell = Arc::new(Bell::default());
        self.bells.lock().insert((topic.to_owned(), number), bell.clone());
        // Split before it is assigned, so that nothing comes by the consumer's own queue.
        let Some(mut queue) = self.consumer.split_partition_queue(topic, number) else {
            return Err(Error::Unavailable(format!("{topic} cannot be read: no such partition as {partition}")));
        };
        let ring = bell.clone();
        queue.set_nonempty_callback(move || ring.arrived.notify_one());
        let offset = if from == 0 { Offset::Beginning } else { Offset::Offset(from as i64) };
        let list = list(topic, number, offset).map_err(|error| unavailable(topic, &error))?;
        self.consumer.incremental_assign(&list).map_err(|error| unavailable(topic, &error))?;
        Ok(Partition {
            consumer: self.consumer.clone(),
            bells: self.bells.clone(),
            queue,
            bell,
            topic: topic.to_owned(),
            number,
            fault: None,
        })
    }

    /// The first offset of a partition whose record is not older than this many milliseconds since the Unix epoch; the
    /// partition's end, as it was before it was asked, where there is none.
    ///
    /// # Errors
    /// When no broker answers in time.
    pub async fn offset_at(&self, topic: &str, partition: u16, millis: i64) -> Result<u64, Error> {
        // The end first: what comes between the two answers is found by reading on from it.
        let end = self.offsets.find(topic, partition, At::End).await?;
        let found = self.offsets.find(topic, partition, At::Millis(millis.max(0))).await?;
        Ok(found.or(end).unwrap_or(0))
    }

    /// Lowest offset kept of a partition, and the one that its next record gets.
    ///
    /// # Errors
    /// When no broker answers in time, or none knows the partition.
    pub async fn bounds(&self, topic: &str, partition: u16) -> Result<(u64, u64), Error> {
        self.offsets.bounds(topic, partition).await
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Serves what is of no partition: errors of the link, and records that came past their queue.
fn serve(consumer: &BaseConsumer<Events>, bells: &Bells, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        match consumer.poll(EVENT_WAIT) {
            None => {}
            Some(Ok(message)) => {
                if let Some(bell) = bells.lock().get(&(message.topic().to_owned(), message.partition())) {
                    bell.strayed.store(true, Ordering::Release);
                    bell.arrived.notify_one();
                }
            }
            Some(Err(error)) => trouble::report("a reader", &error, ""),
        }
    }
}

/// An open partition.
pub struct Partition {
    consumer: Arc<BaseConsumer<Events>>,
    bells: Bells,
    queue: PartitionQueue<Events>,
    bell: Arc<Bell>,
    topic: String,
    number: i32,
    /// Met after records that had to be given first.
    fault: Option<Fault>,
}

impl Partition {
    /// The next records, waiting until there is one. Cancel-safe.
    ///
    /// # Errors
    /// When the broker does not have the offset, or the partition cannot be read; open it again then.
    pub async fn next(&mut self, records_max: usize) -> Result<Vec<Raw>, Fault> {
        loop {
            let ready = self.ready(records_max)?;
            if !ready.is_empty() {
                return Ok(ready);
            }
            // A record that came since has left a permit. The pause bounds what a lost wake-up could cost.
            let _ = tokio::time::timeout(LOOK_AGAIN, self.bell.arrived.notified()).await;
        }
    }

    /// What has arrived.
    fn ready(&mut self, records_max: usize) -> Result<Vec<Raw>, Fault> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let mut ready = Vec::new();
        while ready.len() < records_max {
            let fault = match self.queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    ready.push(Raw::of(&message));
                    continue;
                }
                Some(Err(KafkaError::PartitionEOF(_))) => continue,
                Some(Err(error)) if is_out_of_range(&error) => Fault::OutOfRange,
                Some(Err(error)) => Fault::Other(format!("{}/{}: {}", self.topic, self.number, words(&error))),
            };
            self.fault = Some(fault);
            break;
        }
        if self.bell.strayed.load(Ordering::Acquire) {
            // Which record it was is not known: none of these may be given.
            return Err(Fault::Other(format!("{}/{}: a record came past its queue", self.topic, self.number)));
        }
        match self.fault.take() {
            Some(fault) if ready.is_empty() => Err(fault),
            fault => {
                self.fault = fault;
                Ok(ready)
            }
        }
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        let mut bells = self.bells.lock();
        let key = (self.topic.clone(), self.number);
        if bells.get(&key).is_some_and(|bell| Arc::ptr_eq(bell, &self.bell)) {
            bells.remove(&key);
        }
        drop(bells);
        let unassigned =
            list(&self.topic, self.number, Offset::Invalid).and_then(|list| self.consumer.incremental_unassign(&list));
        if let Err(error) = unassigned {
            tracing::debug!(topic = self.topic, partition = self.number, error = %words(&error), "not unassigned");
        }
    }
}

fn is_out_of_range(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{AutoOffsetReset, LogTruncation, OffsetOutOfRange};
    matches!(error.rdkafka_error_code(), Some(AutoOffsetReset | LogTruncation | OffsetOutOfRange))
}

fn list(topic: &str, partition: i32, offset: Offset) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition_offset(topic, partition, offset)?;
    Ok(list)
}

pub fn refused(error: KafkaError) -> Error {
    Error::Unavailable(format!("a consumer's configuration is refused: {}; check kafka_*", words(&error)))
}

pub fn unavailable(topic: &str, error: &KafkaError) -> Error {
    Error::Unavailable(format!("{topic}: {}", words(error)))
}
