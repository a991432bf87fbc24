//! Port `topic`, embedded: commands wait in memory once they are synced; the events topic of a log is the log.

use super::command;
use super::committer::{Entry, Write};
use super::journal::EmbeddedJournal;
use super::letters::Redriving;
use super::logs::{Logs, Pending};
use super::{Config, store::Store};
use crate::domain::LogId;
use crate::ports::journal::Recorded;
use crate::ports::topic::{Accepted, Buried, DeadLetter, Delivery, Error, Lane, RedriveError, Redriven, Topics};
use async_trait::async_trait;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::oneshot;

/// What a refused producer is told to wait: a few group commits.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Is told of what is published.
pub type Listener = Box<dyn Fn(LogId, &Arc<[Recorded]>) + Send + Sync>;

pub struct EmbeddedTopics {
    logs: Arc<Logs>,
    inbox: Sender<Write>,
    journal: Arc<EmbeddedJournal>,
    store: Arc<Store>,
    waiting_max: usize,
    waiting_bytes_max: usize,
    /// Held while a letter is sent again, so that nobody sees it as it was before.
    redriving: tokio::sync::Mutex<()>,
    listener: OnceLock<Listener>,
}

impl EmbeddedTopics {
    pub(super) fn new(
        logs: Arc<Logs>,
        inbox: Sender<Write>,
        journal: Arc<EmbeddedJournal>,
        store: Arc<Store>,
        config: &Config,
    ) -> Self {
        journal.set_store(store.clone());
        Self {
            logs,
            inbox,
            journal,
            store,
            waiting_max: config.accepted_waiting_max,
            waiting_bytes_max: config.accepted_waiting_bytes_max,
            redriving: tokio::sync::Mutex::default(),
            listener: OnceLock::new(),
        }
    }

    /// Has somebody beside the follower told of what is published from now on, in each log's order. The first one stays.
    pub fn tell(&self, listener: Listener) {
        self.listener.get_or_init(|| listener);
    }

    /// Counts the commands in, or refuses them. The system's own are bounded by the pages that they come in and are
    /// never refused: a deriver that waits for a processor which waits for the deriver would stand for ever.
    fn admit(&self, count: usize, bytes: usize, lane: Lane) -> Result<(), Error> {
        let waiting = self.logs.waiting.fetch_add(count, Ordering::Relaxed);
        let waiting_bytes = self.logs.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let over = waiting + count > self.waiting_max || waiting_bytes + bytes > self.waiting_bytes_max;
        // An empty house takes any one call, however large its bound says it is.
        if lane == Lane::Outside && over && waiting > 0 {
            self.release(count, bytes);
            crate::metrics::handles().receive_overloaded.increment(count as u64);
            return Err(Error::Overloaded { retry_after: RETRY_AFTER });
        }
        Ok(())
    }

    fn release(&self, count: usize, bytes: usize) {
        self.logs.waiting.fetch_sub(count, Ordering::Relaxed);
        self.logs.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[async_trait]
impl Topics for EmbeddedTopics {
    async fn produce(&self, commands: Vec<Arc<Accepted>>, lane: Lane) -> Result<(), Error> {
        if commands.is_empty() {
            return Ok(());
        }
        let partitions = self.logs.partitions();
        let entries: Vec<Entry> = commands
            .into_iter()
            .map(|accepted| {
                let mut bytes = Vec::with_capacity(192 + accepted.payload.len());
                command::encode(&accepted, &mut bytes);
                Entry { log: accepted.envelope.stream.log(partitions), command: accepted, bytes }
            })
            .collect();
        let count = entries.len();
        let bytes = entries.iter().map(|entry| entry.bytes.len()).sum();
        self.admit(count, bytes, lane)?;
        let (done, answer) = oneshot::channel();
        let sent = self.inbox.send(Write::Commands { commands: entries, done });
        let result = match sent {
            Err(_) => Err(stopped()),
            Ok(()) => answer.await.unwrap_or_else(|_| Err(stopped())),
        };
        if result.is_err() {
            self.release(count, bytes);
        }
        result
    }

    async fn poll(&self, log: LogId, from: u64, records_max: usize) -> Result<Vec<Delivery>, Error> {
        let cell = self.logs.cell(log);
        loop {
            {
                let inner = cell.inner.lock();
                let first = inner.pending.front().map_or(from, |pending| pending.offset);
                let skip = from.saturating_sub(first) as usize;
                if skip < inner.pending.len() {
                    return Ok(inner.pending.iter().skip(skip).take(records_max).map(Pending::delivery).collect());
                }
            }
            // A permit that was left while nobody waited is taken at once: nothing is missed.
            cell.arrived.notified().await;
        }
    }

    async fn publish(&self, log: LogId, records: Arc<[Recorded]>) -> Result<(), Error> {
        let cell = self.logs.cell(log);
        cell.inner.lock().publish(&records);
        cell.published.notify_one();
        if let Some(listener) = self.listener.get() {
            listener(log, &records);
        }
        Ok(())
    }

    async fn follow(&self, log: LogId, after: u64, records_max: usize) -> Result<Vec<Recorded>, Error> {
        let cell = self.logs.cell(log);
        loop {
            let published_to = {
                let mut inner = cell.inner.lock();
                inner.forget_recent(after);
                if inner.recent.front().is_some_and(|recorded| recorded.record.position == after + 1) {
                    return Ok(inner.recent.iter().take(records_max).cloned().collect());
                }
                inner.published_to
            };
            if published_to > after {
                let wanted = records_max.min((published_to - after) as usize);
                return self
                    .journal
                    .read_now(log, after + 1, wanted)
                    .map_err(|error| Error::Unavailable(error.to_string()));
            }
            cell.published.notified().await;
        }
    }

    async fn bury(&self, letter: DeadLetter) -> Result<(), Error> {
        let (done, answer) = oneshot::channel();
        self.inbox.send(Write::DeadLetter { letter: Box::new(letter), done }).map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    async fn dead_letters(&self, from: u64, letters_max: usize) -> Result<Vec<(u64, Buried)>, Error> {
        let letters = self.store.dead_letters.scan(&from.to_be_bytes(), None, letters_max);
        let letters = letters.map_err(|error| Error::Unavailable(error.to_string()))?;
        Ok(letters.into_iter().map(|(key, letter)| (u64::from_be_bytes(key), letter)).collect())
    }

    async fn dead_letter(&self, number: u64) -> Result<Option<Buried>, Error> {
        self.store.dead_letters.get(&number.to_be_bytes()).map_err(|error| Error::Unavailable(error.to_string()))
    }

    async fn redrive(&self, number: u64, forced: bool) -> Result<Redriven, RedriveError> {
        let _one_at_a_time = self.redriving.lock().await;
        let buried = self.dead_letter(number).await?.ok_or(RedriveError::Unknown(number))?;
        let redriven = buried.redrive(number, forced)?;
        if redriven.log.partition >= self.logs.partitions() {
            let why = "it came by a partition that this folder does not have; send the command anew";
            return Err(RedriveError::Refused { number, why });
        }
        let redriving = Box::new(Redriving::new(&redriven, buried));
        let bytes = redriving.bytes.len();
        self.admit(1, bytes, Lane::System)?;
        let (done, answer) = oneshot::channel();
        let result = match self.inbox.send(Write::Redrive { redriving, done }) {
            Err(_) => Err(stopped()),
            Ok(()) => answer.await.unwrap_or_else(|_| Err(stopped())),
        };
        if result.is_err() {
            self.release(1, bytes);
        }
        Ok(result.map(|()| redriven)?)
    }
}

fn stopped() -> Error {
    Error::Unavailable("the committer has ended".into())
}
