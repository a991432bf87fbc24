//! Checkpoints: what is derived goes to disk behind the flow, and the next start reads the segments from here on.
//!
//! Order matters. Heads are taken first and written last: edges, ids, outcomes and traces that belong to them are then already
//! there. The file CHECKPOINT is replaced only when every table is written; what a crash leaves half-written above the
//! old checkpoint is absolute and is written again.

use super::Config;
use super::folder::{FolderError, Layout, sync_directory, write_atomically};
use super::index::EmbeddedIndex;
use super::logs::{Logs, slot};
use super::segment::{HEADER_BYTES, Location};
use super::store::Store;
use super::usage::EmbeddedUsage;
use super::views::EmbeddedViews;
use crate::domain::LogId;
use crate::metrics::{Stopwatch, handles};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How often the checkpoint thread looks whether one is due.
const LOOK: Duration = Duration::from_millis(100);

/// Of the shape of everything derived. Raise it when a `State`, a head or a row changes: what an older program derived
/// is then built again from the log at the next start. 2: dead letters count how often they were sent again. 3: a tenant
/// says what is kept of its prompts. 4: open requests hang on their anchors; usage; a request names its project. 5: answers
/// are rated; models are measured, and can be down; a model has more prices, and says when and where they are from. 6: answers in parts.
const GENERATION: u32 = 6;

/// What the file CHECKPOINT holds, behind a checksum and the generation.
#[derive(Clone, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Nothing before this place is needed at a start.
    pub scan_from: Location,
    /// Everything before this place was synced.
    pub end: Location,
    pub dead_letters: u64,
    /// Per slot.
    pub logs: Vec<LogCheckpoint>,
}

/// One log in a checkpoint.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct LogCheckpoint {
    pub epoch: u64,
    /// The head, and up to where locations are in the store.
    pub located: u64,
    pub head_hash: Option<[u8; 32]>,
    pub recorded_at: i64,
    pub consumed: u64,
    pub derived_to: u64,
    pub next_offset: u64,
    pub indexed_to: u64,
    pub projected_to: u64,
}

impl Checkpoint {
    /// The checkpoint of a folder; of one without any, the beginning.
    pub fn read(layout: &Layout) -> Result<Self, FolderError> {
        let path = layout.checkpoint();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let scan_from = Location { segment: 1, offset: HEADER_BYTES as u32 };
                let end = Location { segment: 0, offset: 0 };
                return Ok(Self { scan_from, end, dead_letters: 0, logs: Vec::new() });
            }
            Err(cause) => return Err(FolderError::io(&path, cause)),
        };
        let damaged = |cause: &str| FolderError::derived(format!("{}: {cause}", path.display()));
        let (crc, body) = bytes.split_at_checked(4).ok_or_else(|| damaged("too short"))?;
        if crc != crc32fast::hash(body).to_le_bytes() {
            return Err(damaged("the checksum does not match"));
        }
        let (_, body) = body.split_at_checked(4).ok_or_else(|| damaged("too short"))?;
        postcard::from_bytes(body).map_err(|error| damaged(&error.to_string()))
    }

    /// Whether the file is whole and of another generation than this program's.
    fn is_outdated(layout: &Layout) -> bool {
        let Ok(bytes) = std::fs::read(layout.checkpoint()) else { return false };
        let Some((crc, body)) = bytes.split_at_checked(4) else { return false };
        crc == crc32fast::hash(body).to_le_bytes() && !body.starts_with(&GENERATION.to_le_bytes())
    }

    /// Removes the derived store where its checkpoint is missing, and a checkpoint whose store is: each means nothing
    /// without the other, and everything is built again from the log. Both go where another generation wrote them.
    pub fn discard_unpaired(layout: &Layout) -> Result<(), FolderError> {
        let (checkpoint, derived) = (layout.checkpoint(), layout.derived());
        if Self::is_outdated(layout) {
            std::fs::remove_file(&checkpoint).map_err(|cause| FolderError::io(&checkpoint, cause))?;
        }
        let (left, removed) = match (checkpoint.exists(), derived.exists()) {
            (true, false) => (&checkpoint, std::fs::remove_file(&checkpoint)),
            (false, true) => (&derived, std::fs::remove_dir_all(&derived)),
            _ => return Ok(()),
        };
        removed.map_err(|cause| FolderError::io(left, cause))?;
        tracing::warn!(path = %left.display(), "what is derived was not whole; building it again from the log");
        sync_directory(layout.root())
    }

    fn write(&self, layout: &Layout) -> Result<(), FolderError> {
        let body = postcard::to_extend(self, GENERATION.to_le_bytes().to_vec()).map_err(FolderError::derived)?;
        let mut bytes = crc32fast::hash(&body).to_le_bytes().to_vec();
        bytes.extend_from_slice(&body);
        write_atomically(&layout.checkpoint(), &bytes)
    }
}

/// Writes checkpoints.
pub struct Checkpointer {
    layout: Layout,
    store: Arc<Store>,
    logs: Arc<Logs>,
    index: Arc<EmbeddedIndex>,
    views: Arc<EmbeddedViews>,
    usage: Arc<EmbeddedUsage>,
    records_max: u64,
    interval: Duration,
    appended_at_last: AtomicU64,
    running: parking_lot::Mutex<()>,
    due: AtomicBool,
    stop: AtomicBool,
}

impl Checkpointer {
    pub(super) fn new(
        layout: Layout,
        store: Arc<Store>,
        logs: Arc<Logs>,
        index: Arc<EmbeddedIndex>,
        views: Arc<EmbeddedViews>,
        usage: Arc<EmbeddedUsage>,
        config: &Config,
    ) -> Self {
        Self {
            layout,
            store,
            logs,
            index,
            views,
            usage,
            records_max: config.checkpoint_records_max,
            interval: config.checkpoint_interval,
            appended_at_last: AtomicU64::new(0),
            running: parking_lot::Mutex::new(()),
            due: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        }
    }

    /// Looks for a due checkpoint until [`Self::stop`]. Blocks: give it a thread.
    pub fn run(&self) {
        crate::adapters::thread::give_way();
        let mut waited = Duration::ZERO;
        while !self.stop.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK);
            waited += LOOK;
            let news = self.logs.appended.load(Ordering::Relaxed) - self.appended_at_last.load(Ordering::Relaxed);
            let requested = self.due.swap(false, Ordering::Relaxed);
            if requested || news >= self.records_max || (news > 0 && waited >= self.interval) {
                waited = Duration::ZERO;
                if let Err(error) = self.run_once() {
                    tracing::error!(%error, "the checkpoint failed; the next one tries again, nothing is lost");
                }
            }
        }
    }

    /// Asks for a checkpoint now.
    pub fn request(&self) {
        self.due.store(true, Ordering::Relaxed);
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Writes one checkpoint.
    ///
    /// # Errors
    /// When the store or the file cannot be written: the old checkpoint stays.
    pub fn run_once(&self) -> Result<(), FolderError> {
        let _one_at_a_time = self.running.lock();
        let watch = Stopwatch::start();
        let appended = self.logs.appended.load(Ordering::Relaxed);
        // Taken before anything is frozen: what comes in meanwhile stands beyond it, and is read again at a start.
        let (end, dead_letters) = (self.logs.end(), self.logs.dead_letters.load(Ordering::Relaxed));
        let projected_to = self.views.applied();
        self.store.rows.freeze();
        self.store.usage.freeze();
        let heads = self.index.take_dirty();
        self.store.edges.freeze();
        self.store.known.freeze();
        self.store.outcomes.freeze();
        self.store.traces.freeze();
        self.store.dead_letters.freeze();
        let (checkpoint, locations) = self.snapshot(end, dead_letters, &heads.through, &projected_to);
        let written = self
            .store
            .edges
            .flush()
            .and_then(|()| self.store.known.flush())
            .and_then(|()| self.store.outcomes.flush())
            .and_then(|()| self.store.traces.flush())
            .and_then(|()| self.store.dead_letters.flush())
            .and_then(|()| self.store.rows.flush())
            .and_then(|()| self.store.usage.flush())
            .and_then(|()| self.store.write_locations(&locations))
            .and_then(|()| self.store.write_heads(heads.heads.iter().map(|(key, head)| (key, &**head))))
            .and_then(|()| checkpoint.write(&self.layout));
        if let Err(error) = written {
            self.index.put_back(heads);
            return Err(error);
        }
        self.forget(&checkpoint);
        self.index.written(&heads.through);
        self.views.written(projected_to);
        self.appended_at_last.store(appended, Ordering::Relaxed);
        if let Err(error) = self.usage.remove_old() {
            tracing::warn!(%error, "old usage could not be removed; the next checkpoint tries again");
        }
        watch.record(&handles().folder_checkpoint);
        Ok(())
    }

    /// The state of all logs now, and the locations that are not in the store yet.
    fn snapshot(
        &self,
        end: Location,
        dead_letters: u64,
        indexed_to: &[u64],
        projected_to: &[u64],
    ) -> (Checkpoint, Vec<(LogId, u64, Vec<u64>)>) {
        let mut scan_from: Option<Location> = None;
        let mut locations = Vec::new();
        let mut logs = Vec::with_capacity(indexed_to.len());
        for (log, cell) in self.logs.all() {
            let inner = cell.inner.lock();
            let slot = slot(log, self.logs.partitions());
            if let Some(pending) = inner.pending.front() {
                scan_from = Some(scan_from.map_or(pending.location, |from| from.min(pending.location)));
            }
            if !inner.locations.is_empty() {
                locations.push((log, inner.located + 1, inner.locations.clone()));
            }
            logs.push(LogCheckpoint {
                epoch: inner.state.epoch,
                located: inner.state.head,
                head_hash: Some(inner.state.head_hash),
                recorded_at: inner.state.recorded_at,
                consumed: inner.state.consumed,
                derived_to: inner.state.derived_to,
                next_offset: inner.next_offset,
                indexed_to: indexed_to[slot],
                projected_to: projected_to[slot],
            });
        }
        let scan_from = scan_from.map_or(end, |from| from.min(end));
        (Checkpoint { scan_from, end, dead_letters, logs }, locations)
    }

    /// Lets go of the locations that are in the store now.
    fn forget(&self, checkpoint: &Checkpoint) {
        for ((_, cell), log) in self.logs.all().zip(&checkpoint.logs) {
            let mut inner = cell.inner.lock();
            let written = (log.located - inner.located) as usize;
            inner.locations.drain(..written);
            inner.located = log.located;
        }
    }
}
