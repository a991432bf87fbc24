//! The embedded engine: one folder, no servers, the default.
//!
//! # The folder
//!
//! ```text
//! FORMAT        format version and partition count, fixed when the folder is made
//! LOCK          held by the process that has the folder open, with its id
//! MOVED         only where the folder's fleet was moved to a cluster: it is not opened any more
//! wal/          segments: accepted commands, records, claims and dead letters, in the order in which they were synced
//! derived/      heads, edges, rows, usage, outcomes, traces, locations: an ordered store that can be thrown away and built again
//! CHECKPOINT    up to where `derived/` is complete, and from where the segments must be read at the next start
//! TRIES         while a node works: how often commands ended the process
//! LIMITS        what was used of the limits of LLM calls lately; it may be thrown away
//! ```
//!
//! One thread, the committer, writes everything that waits in arrival order and syncs once for all of it: an effect can
//! never outlive its cause, and a hundred callers share one sync. What is derived lives in memory and is written behind,
//! by checkpoints that hold synced positions only; after a crash the deriver catches up from the log.
//!
//! Two deviations from the cluster's shape, both invisible through the ports: the events topic of a log *is* the log
//! (publishing wakes followers, nothing is written twice), and a batch's place is found by its location in the segments.

mod assignment;
pub mod check;
mod checkpoint;
mod command;
mod committer;
#[cfg(test)]
mod fault_tests;
mod folder;
mod frame;
mod index;
mod journal;
mod letters;
mod limits;
mod logs;
mod moved;
mod overlay;
mod recover;
mod runs;
mod segment;
mod store;
mod tail;
#[cfg(test)]
mod tail_tests;
#[cfg(test)]
pub(super) mod tests;
mod topic;
mod usage;
mod views;

pub use assignment::Everything;
pub use folder::{FolderError, Layout, Lock};
pub use limits::FolderLimits;
pub use moved::Moved;
pub use tail::{Entry, Run, Tail, Waiting};

use crate::domain::usage::Retention;
use crate::domain::{Aggregate, LogId};
use crate::ports::Clock;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Settings of the engine; see `agentverse config --explain` for the defaults and bounds.
#[derive(Clone, Debug)]
pub struct Config {
    /// Logs per aggregate. Fixed when the folder is made.
    pub partitions: u16,
    pub segment_bytes_max: u64,
    pub batch_bytes_max: usize,
    pub accepted_waiting_max: usize,
    pub accepted_waiting_bytes_max: usize,
    pub checkpoint_records_max: u64,
    pub checkpoint_interval: Duration,
    pub head_cache_bytes_max: usize,
    pub row_cache_bytes_max: u64,
    pub outcomes_bytes_max: u64,
    pub traces_bytes_max: u64,
    pub usage_retention: Retention,
}

/// An open folder: every port of the embedded engine.
pub struct Embedded {
    pub journal: Arc<journal::EmbeddedJournal>,
    pub topics: Arc<topic::EmbeddedTopics>,
    pub index: Arc<index::EmbeddedIndex>,
    pub views: Arc<views::EmbeddedViews>,
    pub usage: Arc<usage::EmbeddedUsage>,
    /// Logs per aggregate, as the folder was made with.
    pub partitions: u16,
    logs: Arc<logs::Logs>,
    store: Arc<store::Store>,
    checkpointer: Arc<checkpoint::Checkpointer>,
    committer: Option<committer::Running>,
    layout: Layout,
    /// Where a node works on the folder.
    everything: OnceLock<Arc<Everything>>,
    _lock: folder::Lock,
}

impl Embedded {
    /// Opens a folder, making it where there is none, and recovers what a crash left.
    ///
    /// # Errors
    /// When another process has it, when it was moved, when it is of another format, or when it is damaged before the
    /// last sync.
    pub fn open(path: &Path, config: &Config) -> Result<Self, FolderError> {
        let layout = Layout::open(path, config.partitions)?;
        let lock = layout.lock()?;
        // Only under the lock: who moves the folder holds it when the file is written.
        Moved::refuse(&layout)?;
        Self::open_locked(layout, lock, config)
    }

    /// Opens a folder to look into it, moved or not.
    fn open_to_check(path: &Path, config: &Config) -> Result<Self, FolderError> {
        let layout = Layout::open(path, config.partitions)?;
        let lock = layout.lock()?;
        Self::open_locked(layout, lock, config)
    }

    fn open_locked(layout: Layout, lock: folder::Lock, config: &Config) -> Result<Self, FolderError> {
        checkpoint::Checkpoint::discard_unpaired(&layout)?;
        let store = Arc::new(store::Store::open(&layout.derived(), config)?);
        let recovered = recover::recover(&layout, &store)?;
        let partitions = layout.partitions;
        let logs = Arc::new(recovered.logs);
        let committer = committer::start(committer::Setup {
            logs: logs.clone(),
            store: store.clone(),
            writer: recovered.writer,
            segment_bytes_max: config.segment_bytes_max,
        })?;
        let index = Arc::new(index::EmbeddedIndex::new(store.clone(), logs.clone(), recovered.indexed_to, config));
        let views = Arc::new(views::EmbeddedViews::new(store.clone(), logs.clone(), recovered.projected_to));
        let usage = Arc::new(usage::EmbeddedUsage::new(store.clone(), config.usage_retention));
        let journal = Arc::new(journal::EmbeddedJournal::new(logs.clone(), committer.inbox(), layout.wal(), config));
        index.set_journal(journal.clone());
        let topics = Arc::new(topic::EmbeddedTopics::new(
            logs.clone(),
            committer.inbox(),
            journal.clone(),
            store.clone(),
            config,
        ));
        let checkpointer = Arc::new(checkpoint::Checkpointer::new(
            layout.clone(),
            store.clone(),
            logs.clone(),
            index.clone(),
            views.clone(),
            usage.clone(),
            config,
        ));
        Ok(Self {
            journal,
            topics,
            index,
            views,
            usage,
            partitions,
            logs,
            store,
            checkpointer,
            committer: Some(committer),
            layout,
            everything: OnceLock::new(),
            _lock: lock,
        })
    }

    /// The assignment of a node that works on the folder, until [`Self::close`].
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn assignment(&self) -> Result<Arc<Everything>, FolderError> {
        if let Some(everything) = self.everything.get() {
            return Ok(everything.clone());
        }
        let everything = Arc::new(Everything::begin(&self.layout)?);
        Ok(self.everything.get_or_init(|| everything).clone())
    }

    /// The limits that hold over whatever process has the folder.
    ///
    /// # Errors
    /// When their file cannot be read or written.
    pub fn limits(&self, clock: &dyn Clock) -> Result<FolderLimits, FolderError> {
        FolderLimits::open(&self.layout, clock)
    }

    /// Every log of the folder.
    pub fn log_ids(&self) -> Vec<LogId> {
        log_ids(self.partitions)
    }

    /// Writes checkpoints until the process stops; run it on a thread of its own.
    pub fn checkpointer(&self) -> Arc<checkpoint::Checkpointer> {
        self.checkpointer.clone()
    }

    /// Ends the committer once everything that waits is synced, and writes a last checkpoint.
    ///
    /// # Errors
    /// When the checkpoint cannot be written; the next start then reads more of the log.
    pub fn close(mut self) -> Result<(), FolderError> {
        if let Some(committer) = self.committer.take() {
            committer.stop();
        }
        self.checkpointer.run_once()?;
        self.everything.get().map_or(Ok(()), |everything| everything.end())
    }
}

impl Drop for Embedded {
    /// The committer's thread must be gone before anybody opens the folder again.
    fn drop(&mut self) {
        if let Some(committer) = self.committer.take() {
            committer.stop();
        }
    }
}

/// Every log of a fleet with this many partitions per aggregate.
pub fn log_ids(partitions: u16) -> Vec<LogId> {
    Aggregate::ALL
        .iter()
        .flat_map(|aggregate| (0..partitions).map(|partition| LogId { aggregate: *aggregate, partition }))
        .collect()
}
