//! Feed: the published records of every log, for any number of readers, each at its own place.
//!
//! `Topics::follow` is made for one follower of a log. A node that serves readers has one feed: what is published comes in
//! once, is kept for a while in a ring that is bounded in bytes, and is read from there by all who keep up. Who is further
//! back reads the journal, never beyond what is published. Both are gapless, and so is the change from one to the other,
//! because a reader names the position after which it goes on.
//!
//! **What it costs while nobody reads.** In a node that also publishes ([`Source::Told`]) the feed is told of what is
//! published and notes the position. In the cluster ([`Source::Followed`]) it has followers of its own, apart from a
//! projector's in the same process: they are opened with the first reader of a log and closed [`LINGER`] after the last,
//! so that a node without readers has neither consumer nor task.

mod following;
mod merge;
mod page;
mod ring;
mod since;
#[cfg(test)]
mod tests;

pub use merge::{Behind, Subscribe, Subscription, Wanted};

use crate::domain::{LogId, Micros, Partitions};
use crate::ports::journal::Recorded;
use crate::ports::topic::{Error, Topics};
use crate::ports::{Clock, Journal};
use following::Following;
use page::Room;
use parking_lot::Mutex;
use ring::{Chunk, Ring};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// How long a log is followed, and its records are kept, after its last reader went: one that reconnects finds them.
pub const LINGER: Duration = Duration::from_secs(60);
/// Makes the topics of which the feed's own followers are.
pub type Open = Box<dyn Fn() -> Result<Arc<dyn Topics>, Error> + Send + Sync>;

/// How a feed hears of what is published.
pub enum Source {
    /// Whoever publishes tells it ([`Feed::publish`]): every record from the start of the process on.
    Told,
    /// It follows the logs that have readers.
    Followed(Open),
}

pub struct Feed {
    shared: Arc<Shared>,
}

/// What the feed, its readers and its followers share.
struct Shared {
    partitions: Partitions,
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    /// By the place of the log.
    cells: Vec<Cell>,
    ring: Mutex<Ring>,
    /// Changes with every publication of any log.
    news: watch::Sender<()>,
    following: Option<Following>,
    began: Instant,
}

/// One log.
struct Cell {
    /// Up to here it is known to be published.
    published: watch::Sender<u64>,
    /// Whether what was published before this process started is in `published`.
    is_known: AtomicBool,
    readers: AtomicUsize,
    /// When the last reader went, in milliseconds since the feed began, plus one. 0: there was none.
    left: AtomicU64,
}

/// A reader of some logs; they are followed while it lives.
struct Hold {
    shared: Arc<Shared>,
    places: Vec<usize>,
}

impl Feed {
    /// `ring_bytes_max` bounds what is kept of all logs together.
    pub fn new(
        source: Source,
        journal: Arc<dyn Journal>,
        clock: Arc<dyn Clock>,
        partitions: Partitions,
        ring_bytes_max: usize,
    ) -> Self {
        let logs = partitions.logs().count();
        let following = match source {
            Source::Told => None,
            Source::Followed(open) => Some(Following::new(open)),
        };
        let cells = (0..logs).map(|_| Cell {
            published: watch::Sender::new(0),
            is_known: AtomicBool::new(false),
            readers: AtomicUsize::new(0),
            left: AtomicU64::new(0),
        });
        let shared = Shared {
            partitions,
            journal,
            clock,
            cells: cells.collect(),
            ring: Mutex::new(Ring::new(logs, ring_bytes_max)),
            news: watch::Sender::new(()),
            following,
            began: Instant::now(),
        };
        Self { shared: Arc::new(shared) }
    }

    pub fn partitions(&self) -> Partitions {
        self.shared.partitions
    }

    pub fn now(&self) -> Micros {
        self.shared.clock.now()
    }

    /// Takes in what was published of a log: records that follow one another. What it was told before it drops.
    pub fn publish(&self, log: LogId, records: &Arc<[Recorded]>) {
        if let (Some(first), Ok(place)) = (records.first(), self.shared.place(log)) {
            self.shared.take(place, first.record.position - 1, records.clone());
        }
    }

    /// The published records of a log after a position, gapless, waiting until there is one: the contract of
    /// [`Topics::follow`], for any number of callers at once. Records have what their processor knew
    /// ([`Recorded::decided`]) where they come from memory in the process that made them. Cancel-safe.
    ///
    /// # Errors
    /// When the fleet has no such log, or the journal cannot be read; the same call can be made again.
    pub async fn follow(&self, log: LogId, after: u64, records_max: usize) -> Result<Vec<Recorded>, Error> {
        let place = self.shared.place(log)?;
        let _hold = self.shared.hold(vec![(log, place)]).await?;
        let mut published = self.shared.cells[place].published.subscribe();
        let room = Room { records_max: records_max.max(1), bytes_max: usize::MAX };
        let mut at = after;
        loop {
            let to = *published.borrow_and_update();
            while at < to {
                let page = self.shared.page((log, place), at, to, room, &|_| true).await?;
                if !page.records.is_empty() {
                    return Ok(page.records);
                }
                // Only what nobody publishes stands up to there.
                at = page.through;
            }
            if published.changed().await.is_err() {
                return Err(Error::Unavailable("the feed has ended".into()));
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // Each holds what holds it.
        if let Some(following) = &self.shared.following {
            following.tasks.lock().clear();
        }
    }
}

impl Shared {
    fn place(&self, log: LogId) -> Result<usize, Error> {
        let count = self.partitions.of(log.aggregate);
        if log.partition < count {
            return Ok(self.partitions.place(log));
        }
        Err(Error::Unavailable(format!("there is no log {log}: the fleet has {count} of this aggregate")))
    }

    fn published(&self, place: usize) -> u64 {
        *self.cells[place].published.borrow()
    }

    /// Up to here the log is published.
    fn reach(&self, place: usize, through: u64) {
        let has_moved = self.cells[place].published.send_if_modified(|to| {
            let has_moved = through > *to;
            *to = through.max(*to);
            has_moved
        });
        if has_moved {
            self.news.send_replace(());
        }
    }

    /// Takes in all that was published of a log from `after` on up to the last of these records.
    fn take(&self, place: usize, after: u64, records: Arc<[Recorded]>) {
        let Some(last) = records.last() else { return };
        let (through, to) = (last.record.position, self.published(place));
        if through <= to {
            return;
        }
        if self.is_wanted(place) {
            self.ring.lock().push(place, Chunk::new(records, after.max(to), through));
        } else {
            self.ring.lock().forget(place);
        }
        // Only now: who is woken finds them.
        self.reach(place, through);
    }

    fn is_wanted(&self, place: usize) -> bool {
        let cell = &self.cells[place];
        if cell.readers.load(Ordering::Acquire) > 0 {
            return true;
        }
        match cell.left.load(Ordering::Acquire) {
            0 => false,
            left => self.age_ms() < left + LINGER.as_millis() as u64,
        }
    }

    fn age_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Has these logs followed. Where the feed is told, learns once what was published before the process started.
    async fn hold(self: &Arc<Self>, logs: Vec<(LogId, usize)>) -> Result<Hold, Error> {
        let places: Vec<usize> = logs.iter().map(|(_, place)| *place).collect();
        for place in &places {
            self.cells[*place].readers.fetch_add(1, Ordering::AcqRel);
        }
        let hold = Hold { shared: self.clone(), places };
        for (log, place) in logs {
            match &self.following {
                Some(following) => {
                    let mut tasks = following.tasks.lock();
                    let task = || AbortOnDropHandle::new(tokio::spawn(following::run(self.clone(), log, place)));
                    tasks.entry(place).or_insert_with(task);
                }
                None if self.cells[place].is_known.load(Ordering::Acquire) => {}
                None => {
                    self.learn(log, place).await?;
                    self.cells[place].is_known.store(true, Ordering::Release);
                }
            }
        }
        Ok(hold)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let now = self.shared.age_ms() + 1;
        for cell in self.places.iter().map(|place| &self.shared.cells[*place]) {
            cell.left.store(now, Ordering::Release);
            cell.readers.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
