//! Back-pressure: how many commands wait in a partition, and when outsiders are refused.
//!
//! The height of a partition is known from this process's own delivery reports at once, and from the broker once a
//! second; how far its log has come is asked of the journal, no more often. An estimate can only be too high by what was
//! consumed since: it refuses a little too early, never too late by more than what others send within a second.

use super::{Config, Names, Shared};
use crate::domain::{Aggregate, LogId};
use crate::metrics::handles;
use crate::ports::topic::{Accepted, Error};
use hashbrown::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How long an estimate is good for.
const FRESH: Duration = Duration::from_secs(1);
/// While a partition is over its bound its log is asked this often, so that outsiders are let in again soon.
const FRESH_WHILE_FULL: Duration = Duration::from_millis(100);
/// How long a question about the lag may take: it is an estimate, and commands wait for it.
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// What a refused producer is told to wait.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// The next offset of each command partition, as far as this process knows.
pub struct Heights {
    /// Place of a topic's first log, and how many it has.
    topics: HashMap<String, (usize, usize)>,
    next: Vec<AtomicU64>,
}

impl Heights {
    /// A record of a partition is written: its next offset is at least this one. Other topics are ignored.
    pub fn raise(&self, topic: &str, partition: i32, next: i64) {
        let (Some((first, count)), Ok(partition), Ok(next)) =
            (self.topics.get(topic), usize::try_from(partition), u64::try_from(next))
        else {
            return;
        };
        if partition < *count {
            self.next[first + partition].fetch_max(next, Ordering::AcqRel);
        }
    }
}

/// What is known of each log's lag.
pub struct Lags {
    next: Arc<Heights>,
    logs: Vec<tokio::sync::Mutex<Estimate>>,
}

#[derive(Default)]
struct Estimate {
    consumed: u64,
    refreshed: Option<Instant>,
    height_refreshed: Option<Instant>,
}

impl Lags {
    pub fn new(config: &Config) -> Self {
        let logs = Shared::logs(config);
        let names = Names::new(&config.prefix);
        let topics = Aggregate::ALL.iter().map(|aggregate| {
            let first = config.partitions.place(LogId { aggregate: *aggregate, partition: 0 });
            let count = usize::from(config.partitions.of(*aggregate));
            (names.commands[*aggregate as usize].clone(), (first, count))
        });
        let topics = topics.collect();
        let next = Arc::new(Heights { topics, next: (0..logs).map(|_| AtomicU64::new(0)).collect() });
        Self { next, logs: (0..logs).map(|_| tokio::sync::Mutex::default()).collect() }
    }

    pub fn heights(&self) -> Arc<Heights> {
        self.next.clone()
    }
}

/// Lets commands from outside in, or refuses them all.
///
/// # Errors
/// When too much waits to be sent, or too many commands of one of their partitions wait for its processor.
pub async fn admit(shared: &Shared, commands: &[Arc<Accepted>]) -> Result<(), Error> {
    let over = || {
        handles().receive_overloaded.increment(commands.len() as u64);
        Error::Overloaded { retry_after: RETRY_AFTER }
    };
    if shared.producer.queued_bytes() > shared.config.queue_bytes_max / 4 * 3 {
        return Err(over());
    }
    let mut counts: HashMap<LogId, u64> = HashMap::new();
    for accepted in commands {
        *counts.entry(accepted.envelope.stream.log(shared.config.partitions)).or_default() += 1;
    }
    // Together: each may have to be asked for.
    let lags = counts.into_iter().map(async |(log, count)| (lag(shared, log, count).await, count));
    for (lag, count) in futures::future::join_all(lags).await {
        // An empty partition takes any one call, however large its bound says it is.
        if lag > 0 && lag + count > shared.config.lag_commands_max {
            return Err(over());
        }
    }
    Ok(())
}

/// How many commands of this log wait.
async fn lag(shared: &Shared, log: LogId, more: u64) -> u64 {
    let place = shared.place(log);
    let next = &shared.lags.next.next[place];
    let mut estimate = shared.lags.logs[place].lock().await;
    let now = Instant::now();
    let older = |at: Option<Instant>, than: Duration| at.is_none_or(|at| now - at >= than);
    if older(estimate.height_refreshed, FRESH) {
        refresh_height(shared, log).await;
        // Those who waited for this answer need not ask again, least of all where none comes.
        estimate.height_refreshed = Some(Instant::now());
    }
    let over = next.load(Ordering::Acquire).saturating_sub(estimate.consumed) + more > shared.config.lag_commands_max;
    if older(estimate.refreshed, if over { FRESH_WHILE_FULL } else { FRESH }) {
        match tokio::time::timeout(ANSWER_MAX, shared.journal.state(log)).await {
            Ok(Ok(state)) => estimate.consumed = state.consumed,
            // The estimate before it is too high, if anything.
            Ok(Err(error)) => tracing::debug!(%log, %error, "how far the log has come is not known"),
            Err(_) => tracing::debug!(%log, "how far the log has come is not known in time"),
        }
        estimate.refreshed = Some(Instant::now());
    }
    next.load(Ordering::Acquire).saturating_sub(estimate.consumed)
}

/// Asks the broker how high a partition is. What others sent is seen this way alone.
async fn refresh_height(shared: &Shared, log: LogId) {
    let topic = shared.names.commands(log).to_owned();
    let timeout = ANSWER_MAX.min(shared.config.link.request_timeout);
    match tokio::time::timeout(timeout, shared.fetcher.bounds(&topic, log.partition)).await {
        Ok(Ok((_, high))) => shared.lags.next.raise(&topic, i32::from(log.partition), high as i64),
        Ok(Err(error)) => tracing::debug!(%log, %error, "how high the partition is is not known"),
        Err(_) => tracing::debug!(%log, "how high the partition is is not known in time"),
    }
}
