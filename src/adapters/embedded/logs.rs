//! What is known in memory of every log: its state, where its records stand, the commands that wait for it, and what was
//! published and not followed yet. Written by the committer once a sync is done; read by the ports.

use super::segment::Location;
use crate::domain::{Aggregate, LogId};
use crate::ports::journal::{LogState, Recorded};
use crate::ports::topic::{Accepted, Aside, Delivery};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Records that a log keeps in memory for its follower; one that lags further reads the log.
const PUBLISHED_MAX: usize = 4096;

/// A command that waits to be consumed.
pub struct Pending {
    pub offset: u64,
    pub command: Result<Arc<Accepted>, Box<crate::ports::topic::Unreadable>>,
    /// How often it was sent again after it had died.
    pub redriven: u32,
    /// Where its frame stands: the segments cannot be skipped beyond it at the next start.
    pub location: Location,
    pub bytes: usize,
}

impl Pending {
    pub fn delivery(&self) -> Delivery {
        Delivery {
            offset: self.offset,
            command: self.command.clone().map_err(Aside::Unreadable),
            redriven: self.redriven,
        }
    }
}

/// One log in memory.
pub struct LogCell {
    pub inner: Mutex<LogInner>,
    /// A command came in.
    pub arrived: Notify,
    /// Records were published.
    pub published: Notify,
}

pub struct LogInner {
    pub state: LogState,
    /// Offset of the next command.
    pub next_offset: u64,
    pub pending: VecDeque<Pending>,
    /// Locations of the records after `located`.
    pub locations: Vec<u64>,
    /// Up to here locations are in the derived store.
    pub located: u64,
    /// Up to here records are published.
    pub published_to: u64,
    pub recent: VecDeque<Recorded>,
}

impl LogInner {
    /// Drops what a follower is done with.
    pub fn forget_recent(&mut self, through: u64) {
        while self.recent.front().is_some_and(|recorded| recorded.record.position <= through) {
            self.recent.pop_front();
        }
    }

    pub fn publish(&mut self, records: &[Recorded]) {
        for recorded in records {
            if recorded.record.position <= self.published_to {
                continue;
            }
            self.published_to = recorded.record.position;
            self.recent.push_back(recorded.clone());
        }
        while self.recent.len() > PUBLISHED_MAX {
            self.recent.pop_front();
        }
    }
}

/// Every log of a folder.
pub struct Logs {
    partitions: u16,
    cells: Vec<LogCell>,
    /// Commands accepted and not consumed, and their bytes.
    pub waiting: AtomicUsize,
    pub waiting_bytes: AtomicUsize,
    /// Records appended since the process started: what the checkpoint trigger counts.
    pub appended: AtomicU64,
    /// Number of the next dead letter.
    pub dead_letters: AtomicU64,
    /// Where the synced part of the segments ends, packed.
    end: AtomicU64,
}

impl Logs {
    pub fn new(partitions: u16, inners: Vec<LogInner>, end: Location, dead_letters: u64) -> Self {
        let waiting = inners.iter().map(|inner| inner.pending.len()).sum();
        let bytes = inners.iter().flat_map(|inner| inner.pending.iter()).map(|pending| pending.bytes).sum();
        let cells = inners
            .into_iter()
            .map(|inner| LogCell { inner: Mutex::new(inner), arrived: Notify::new(), published: Notify::new() })
            .collect();
        Self {
            partitions,
            cells,
            waiting: AtomicUsize::new(waiting),
            waiting_bytes: AtomicUsize::new(bytes),
            appended: AtomicU64::new(0),
            dead_letters: AtomicU64::new(dead_letters),
            end: AtomicU64::new(end.pack()),
        }
    }

    pub fn partitions(&self) -> u16 {
        self.partitions
    }

    /// Where the synced part of the segments ends.
    pub fn end(&self) -> Location {
        Location::unpack(self.end.load(Ordering::Acquire))
    }

    pub fn set_end(&self, end: Location) {
        self.end.store(end.pack(), Ordering::Release);
    }

    pub fn cell(&self, log: LogId) -> &LogCell {
        &self.cells[slot(log, self.partitions)]
    }

    pub fn all(&self) -> impl Iterator<Item = (LogId, &LogCell)> {
        super::log_ids(self.partitions).into_iter().zip(&self.cells)
    }

    /// Takes consumed commands off the waiting list.
    pub fn consumed(&self, log: LogId, consumed: u64) {
        let (mut count, mut bytes) = (0, 0);
        let mut inner = self.cell(log).inner.lock();
        while let Some(pending) = inner.pending.front().filter(|pending| pending.offset < consumed) {
            count += 1;
            bytes += pending.bytes;
            inner.pending.pop_front();
        }
        drop(inner);
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The place of a log in a list of all logs.
pub fn slot(log: LogId, partitions: u16) -> usize {
    log.aggregate as usize * usize::from(partitions) + usize::from(log.partition)
}

/// How many logs a folder has.
pub fn count(partitions: u16) -> usize {
    Aggregate::ALL.len() * usize::from(partitions)
}
