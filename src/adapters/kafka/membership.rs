//! Membership of a consumer group: which logs this process is to own.
//!
//! The group only says whose turn it is. Records are read by position elsewhere, so the member's own partitions are
//! paused as soon as they are assigned and nothing is fetched through it. It hands out and takes back cooperatively:
//! what does not move goes on undisturbed. What it commits shows the lag and is what an assignment is confirmed by; a
//! successor starts at the log's own `consumed`. The metadata beside a committed offset says how many tries that began
//! there ended their process (`attempts=2`): it goes when the offset moves on.

use super::client::{Link, words};
use super::trouble;
use crate::domain::{Aggregate, LogId};
use crate::ports::Assignment;
use async_trait::async_trait;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// What happens when it becomes, or stops being, this process's turn.
///
/// Contract: both return soon. After `lost` returns, the group gives the logs to somebody else, so it waits until what
/// is under way on them has ended, as long as it can; the claim keeps apart what overlaps after all.
pub trait Turns: Send + Sync + 'static {
    fn gained(&self, logs: &[LogId]);
    fn lost(&self, logs: &[LogId]);
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the group {group} cannot be joined: {cause}")]
    Join { group: String, cause: String },
    #[error("the thread of group {group} cannot be started: {source}")]
    Thread { group: String, source: std::io::Error },
}

/// How long one look for news from the group takes.
const LOOK: Duration = Duration::from_millis(100);
/// Goes before the count of tries in the metadata of an offset.
const TRIES: &str = "attempts=";
/// Between two commits of what was consumed.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// A member of a group. It leaves when the last handle goes.
pub struct Membership {
    consumer: Arc<BaseConsumer<Member>>,
    stop: Arc<AtomicBool>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    /// How long the group's coordinator may take to say what is committed.
    timeout: Duration,
}

/// What the group's callbacks work with.
struct Member {
    topics: Vec<(String, Aggregate)>,
    turns: Arc<dyn Turns>,
    mine: Mutex<HashSet<LogId>>,
    /// Whether the group has handed anything out to this member yet.
    heard: AtomicBool,
    consumed: Mutex<HashMap<LogId, Consumed>>,
}

#[derive(Clone, Copy, Default)]
struct Consumed {
    offset: u64,
    committed: u64,
    /// Tries that began at `offset`.
    tries: u32,
}

impl Membership {
    /// Joins a group over these topics, each with the aggregate whose logs its partitions stand for.
    ///
    /// # Errors
    /// When the link's settings cannot be used. That the brokers cannot be reached shows later: the member keeps trying.
    pub fn join(
        link: &Link,
        group: &str,
        topics: Vec<(String, Aggregate)>,
        turns: Arc<dyn Turns>,
    ) -> Result<Arc<Self>, Error> {
        let failed = |error: KafkaError| Error::Join { group: group.to_owned(), cause: words(&error) };
        let mut config = link.config();
        let session_ms = link.session_timeout.as_millis();
        config
            .set("group.id", group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", session_ms.to_string())
            .set("heartbeat.interval.ms", (session_ms / 5).max(100).to_string())
            // A member that drains its logs polls late, and is alive all the same.
            .set("max.poll.interval.ms", (session_ms * 6).max(60_000).to_string())
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            // Nothing is read through this consumer: what slips in before the pause stays small.
            .set("queued.min.messages", "1")
            .set("queued.max.messages.kbytes", "64");
        let names: Vec<String> = topics.iter().map(|(name, _)| name.clone()).collect();
        let member =
            Member { topics, turns, mine: Mutex::default(), heard: AtomicBool::new(false), consumed: Mutex::default() };
        let consumer: BaseConsumer<Member> = config.create_with_context(member).map_err(failed)?;
        consumer.subscribe(&names.iter().map(String::as_str).collect::<Vec<_>>()).map_err(failed)?;
        let (consumer, stop) = (Arc::new(consumer), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::Builder::new()
            .name("group".into())
            .spawn({
                let (consumer, stop) = (consumer.clone(), stop.clone());
                move || attend(&consumer, &stop)
            })
            .map_err(|source| Error::Thread { group: group.to_owned(), source })?;
        Ok(Arc::new(Self { consumer, stop, thread: Mutex::new(Some(thread)), timeout: link.request_timeout }))
    }

    /// The logs that are this process's now.
    pub fn mine(&self) -> Vec<LogId> {
        self.consumer.context().mine.lock().iter().copied().collect()
    }

    /// Whether the group has handed out its logs. One member too many gets none and may never hear of it.
    pub fn heard(&self) -> bool {
        self.consumer.context().heard.load(Ordering::Acquire)
    }

    /// Leaves the group: the logs are drained, what was consumed is committed, and others take over at once.
    /// It blocks until that is done.
    pub fn leave(&self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of a consumer group panicked");
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Polls for assignments until told to stop, and commits now and then.
fn attend(consumer: &BaseConsumer<Member>, stop: &AtomicBool) {
    let mut committed_at = Instant::now();
    while !stop.load(Ordering::Acquire) {
        match consumer.poll(LOOK) {
            // What came before the partition was paused is read by the one who reads by position.
            None | Some(Ok(_)) => {}
            Some(Err(error)) => trouble::report("the consumer group", &error, ""),
        }
        if committed_at.elapsed() >= COMMIT_INTERVAL {
            committed_at = Instant::now();
            commit(consumer, None, CommitMode::Async);
        }
    }
    let all: Vec<LogId> = consumer.context().mine.lock().drain().collect();
    if !all.is_empty() {
        consumer.context().turns.lost(&all);
    }
    commit(consumer, None, CommitMode::Sync);
    consumer.unsubscribe();
    // Leaving is a conversation: a little of it happens in each look.
    consumer.poll(LOOK);
}

/// Commits what moved since the last commit; of these logs even what did not, where they are named.
fn commit(consumer: &BaseConsumer<Member>, logs: Option<&[LogId]>, mode: CommitMode) -> bool {
    let member = consumer.context();
    let mut list = TopicPartitionList::new();
    {
        let mut consumed = member.consumed.lock();
        for (log, at) in consumed.iter_mut() {
            let named = logs.is_some_and(|logs| logs.contains(log));
            if (logs.is_none() && at.offset > at.committed) || named {
                let Some((topic, _)) = member.topics.iter().find(|(_, aggregate)| *aggregate == log.aggregate) else {
                    continue;
                };
                let offset = Offset::Offset(i64::try_from(at.offset).unwrap_or(i64::MAX));
                let mut place = list.add_partition(topic, i32::from(log.partition));
                if place.set_offset(offset).is_ok() {
                    if at.tries > 0 {
                        place.set_metadata(format!("{TRIES}{}", at.tries));
                    }
                    at.committed = at.offset;
                }
            }
        }
    }
    if list.count() == 0 {
        return logs.is_none();
    }
    match consumer.commit(&list, mode) {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(error = words(&error), "offsets were not committed");
            false
        }
    }
}

/// What is committed of a log; asked of the group where nothing is known here yet.
fn look_up(consumer: &BaseConsumer<Member>, log: LogId, timeout: Duration) -> Consumed {
    let member = consumer.context();
    if let Some(at) = member.consumed.lock().get(&log) {
        return *at;
    }
    let committed = member.committed(consumer, log, timeout).unwrap_or_default();
    *member.consumed.lock().entry(log).or_insert(committed)
}

impl Member {
    fn committed(&self, consumer: &BaseConsumer<Self>, log: LogId, timeout: Duration) -> Option<Consumed> {
        let (topic, _) = self.topics.iter().find(|(_, aggregate)| *aggregate == log.aggregate)?;
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, i32::from(log.partition));
        let committed = match consumer.committed_offsets(list, timeout) {
            Ok(committed) => committed,
            Err(error) => {
                tracing::warn!(%log, error = words(&error), "the group does not say what is committed");
                return None;
            }
        };
        let place = committed.find_partition(topic, i32::from(log.partition))?;
        let Offset::Offset(offset) = place.offset() else { return None };
        let offset = u64::try_from(offset).ok()?;
        let tries = place.metadata().strip_prefix(TRIES).and_then(|tries| tries.parse().ok()).unwrap_or(0);
        Some(Consumed { offset, committed: offset, tries })
    }

    fn logs(&self, list: &TopicPartitionList) -> Vec<LogId> {
        let elements = list.elements();
        let logs = elements.iter().filter_map(|element| {
            let (_, aggregate) = self.topics.iter().find(|(name, _)| name == element.topic())?;
            Some(LogId { aggregate: *aggregate, partition: u16::try_from(element.partition()).ok()? })
        });
        logs.collect()
    }
}

impl ClientContext for Member {
    fn error(&self, error: KafkaError, reason: &str) {
        trouble::report("the consumer group", &error, reason);
    }
}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Revoke(list) = rebalance else { return };
        let gone: Vec<LogId> = {
            let mut mine = self.mine.lock();
            self.logs(list).into_iter().filter(|log| mine.remove(log)).collect()
        };
        if gone.is_empty() {
            return;
        }
        tracing::info!(logs = gone.len(), "logs are given up");
        self.turns.lost(&gone);
        commit(consumer, None, CommitMode::Sync);
        let mut consumed = self.consumed.lock();
        gone.iter().for_each(|log| {
            consumed.remove(log);
        });
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                self.heard.store(true, Ordering::Release);
                if let Err(error) = consumer.pause(list) {
                    tracing::warn!(error = words(&error), "partitions were not paused; what comes in is dropped");
                }
                let gained = self.logs(list);
                if gained.is_empty() {
                    return;
                }
                tracing::info!(logs = gained.len(), "logs come to this process");
                self.mine.lock().extend(gained.iter().copied());
                self.turns.gained(&gained);
            }
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => tracing::warn!(error = words(error), "the group could not hand out its logs"),
        }
    }
}

#[async_trait]
impl Assignment for Membership {
    /// A commit that the group's coordinator takes: it refuses one of a member that it has given up on.
    async fn confirm(&self, log: LogId) -> bool {
        if !self.consumer.context().mine.lock().contains(&log) {
            return false;
        }
        let (consumer, timeout) = (self.consumer.clone(), self.timeout);
        let committed = tokio::task::spawn_blocking(move || {
            look_up(&consumer, log, timeout);
            commit(&consumer, Some(&[log]), CommitMode::Sync)
        });
        // Asked again: the group may have spoken while the commit was under way.
        committed.await.unwrap_or(false) && self.consumer.context().mine.lock().contains(&log)
    }

    fn consumed(&self, log: LogId, offset: u64) {
        let mut consumed = self.consumer.context().consumed.lock();
        let at = consumed.entry(log).or_default();
        if offset > at.offset {
            *at = Consumed { offset, tries: 0, ..*at };
        }
    }

    async fn tried(&self, log: LogId, offset: u64) -> u32 {
        let (consumer, timeout) = (self.consumer.clone(), self.timeout);
        let looked_up = tokio::task::spawn_blocking(move || look_up(&consumer, log, timeout));
        looked_up.await.ok().filter(|at| at.offset == offset).map_or(0, |at| at.tries)
    }

    async fn note(&self, log: LogId, offset: u64, tries: u32) {
        {
            let mut consumed = self.consumer.context().consumed.lock();
            let at = consumed.entry(log).or_default();
            (at.offset, at.tries) = (offset, tries);
        }
        let consumer = self.consumer.clone();
        let noted = tokio::task::spawn_blocking(move || commit(&consumer, Some(&[log]), CommitMode::Sync));
        if !noted.await.unwrap_or(false) {
            tracing::warn!(%log, "the try of a batch could not be noted");
        }
    }
}
