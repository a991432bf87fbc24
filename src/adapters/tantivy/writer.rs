//! The thread that writes the index.

use super::folder::Folder;
use super::{Committed, Config, Shared, payload, unavailable};
use crate::adapters::thread::give_way;
use crate::domain::LogId;
use crate::metrics::handles;
use crate::ports::search::{Error, Mark};
use crate::ports::views::ViewRow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy};
use tantivy::{IndexWriter, TantivyDocument};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Rows after which a commit does not wait any longer for company.
const COMMIT_ROWS_MAX: usize = 20_000;
/// A commit takes a while, and no more than a third of the thread's time goes into them.
const COMMIT_SHARE: u32 = 3;
/// Between two commits while nothing is searched yet.
const BUILDING_INTERVAL: Duration = Duration::from_secs(5);
/// Between two tries where the disk takes nothing.
const PAUSE: Duration = Duration::from_secs(1);
/// A segment is merged anew where so much of it was replaced.
const REPLACED_SHARE_MAX: f32 = 0.3;

pub enum Write {
    Rows {
        rows: Vec<ViewRow>,
        through: Option<(LogId, Mark)>,
        call: u64,
    },
    Complete {
        done: oneshot::Sender<Result<(), Error>>,
    },
    Clear {
        done: oneshot::Sender<Result<(), Error>>,
    },
    /// The last one.
    Close,
}

pub struct Writer {
    shared: Arc<Shared>,
    inbox: mpsc::Receiver<Write>,
    folder: Folder,
    config: Config,
    /// Said by the next commit.
    next: Committed,
    rows: usize,
    is_changed: bool,
    /// The last call whose rows are in.
    call: u64,
    /// `recorded_at` of the newest row that is in.
    newest: Option<i64>,
    commit_at: Instant,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, inbox: mpsc::Receiver<Write>, folder: Folder, config: Config) -> Self {
        let next = shared.committed.lock().clone();
        let commit_at = Instant::now();
        Self { shared, inbox, folder, config, next, rows: 0, is_changed: false, call: 0, newest: None, commit_at }
    }

    /// Runs until nobody is left who could send anything; gives the folder back.
    pub fn run(mut self) -> Folder {
        // Before the index's own threads are made, which inherit it.
        give_way();
        let timers = match Builder::new_current_thread().enable_time().build() {
            Ok(timers) => timers,
            Err(error) => {
                tracing::error!(%error, "the replica cannot run");
                return self.folder;
            }
        };
        if let Err(error) = self.proven() {
            self.shared.break_off("read", &error);
            return self.folder;
        }
        let Some(mut index) = self.open(&timers) else { return self.folder };
        match self.work(&timers, &mut index) {
            Ok(()) => {
                if let Err(error) = index.wait_merging_threads() {
                    tracing::warn!(%error, "the replica's last merge failed");
                }
            }
            // What was taken since the last commit is in memory only, and cannot be made again from here.
            Err(error) => {
                self.shared.is_complete.store(false, Ordering::Release);
                self.shared.break_off("written", &error);
            }
        }
        self.folder
    }

    /// Holds the files that were found against their checksums. Before anything is written, which replaces files; searches
    /// go on meanwhile.
    fn proven(&self) -> Result<(), Error> {
        let damaged = self.shared.index.validate_checksum().map_err(unavailable)?;
        match damaged.iter().next() {
            Some(file) => Err(Error::Damaged(format!("{} does not match its checksum", file.display()))),
            None => Ok(()),
        }
    }

    /// `None` where nobody needs the index any more.
    fn open(&mut self, timers: &Runtime) -> Option<IndexWriter> {
        loop {
            let options = IndexWriterOptions::builder()
                .num_worker_threads(1)
                .num_merge_threads(1)
                .memory_budget_per_thread(self.config.memory_bytes_max)
                .build();
            match self.shared.index.writer_with_options(options) {
                Ok(writer) => {
                    let mut policy = LogMergePolicy::default();
                    policy.set_del_docs_ratio_before_merge(REPLACED_SHARE_MAX);
                    writer.set_merge_policy(Box::new(policy));
                    return Some(writer);
                }
                Err(error) => tracing::error!(%error, "the replica cannot be written; it is tried again"),
            }
            if self.inbox.is_closed() {
                return None;
            }
            timers.block_on(tokio::time::sleep(PAUSE));
        }
    }

    fn work(&mut self, timers: &Runtime, index: &mut IndexWriter) -> Result<(), Error> {
        loop {
            let is_due = self.is_changed && (self.rows >= COMMIT_ROWS_MAX || Instant::now() >= self.commit_at);
            let received = match self.inbox.try_recv() {
                Ok(write) if !is_due || self.rows < COMMIT_ROWS_MAX => Some(write),
                Ok(write) => {
                    self.commit(index)?;
                    Some(write)
                }
                Err(mpsc::error::TryRecvError::Disconnected) => None,
                Err(mpsc::error::TryRecvError::Empty) if is_due => {
                    self.commit(index)?;
                    continue;
                }
                Err(mpsc::error::TryRecvError::Empty) if self.is_changed => {
                    let received = async { tokio::time::timeout_at(self.commit_at, self.inbox.recv()).await };
                    match timers.block_on(received) {
                        Ok(received) => received,
                        Err(_) => continue,
                    }
                }
                Err(mpsc::error::TryRecvError::Empty) => self.inbox.blocking_recv(),
            };
            match received {
                Some(Write::Close) | None => {
                    self.inbox.close();
                    return self.commit(index);
                }
                Some(write) => self.take(index, write)?,
            }
        }
    }

    fn take(&mut self, index: &mut IndexWriter, write: Write) -> Result<(), Error> {
        match write {
            Write::Rows { rows, through, call } => {
                for row in &rows {
                    self.put(index, row)?;
                }
                if let Some((log, mark)) = through {
                    self.next.set(log, mark);
                }
                self.rows += rows.len();
                self.is_changed = true;
                self.call = call;
            }
            Write::Complete { done } => {
                self.next.is_complete = true;
                let committed = self.commit(index);
                self.shared.is_complete.store(committed.is_ok(), Ordering::Release);
                let _ = done.send(committed);
            }
            Write::Clear { done } => {
                self.shared.is_complete.store(false, Ordering::Release);
                self.next = Committed::default();
                self.shared.fresh.lock().rows.clear();
                let cleared = index.delete_all_documents().map_err(unavailable).and_then(|_| self.commit(index));
                let _ = done.send(cleared);
            }
            Write::Close => {}
        }
        Ok(())
    }

    /// In place of the row of before.
    fn put(&mut self, index: &IndexWriter, row: &ViewRow) -> Result<(), Error> {
        let document: TantivyDocument = self.shared.fields.document(row)?;
        index.delete_term(self.shared.fields.key_of(&row.stream));
        index.add_document(document).map_err(unavailable)?;
        self.newest = self.newest.max(Some(row.data.updated_at));
        Ok(())
    }

    fn commit(&mut self, index: &mut IndexWriter) -> Result<(), Error> {
        let begun = Instant::now();
        let mut commit = index.prepare_commit().map_err(unavailable)?;
        commit.set_payload(&payload(&self.next)?);
        commit.commit().map_err(unavailable)?;
        self.shared.reader.reload().map_err(unavailable)?;
        *self.shared.committed.lock() = self.next.clone();
        let through = self.call;
        self.shared.fresh.lock().rows.retain(|_, (_, call)| *call > through);
        if let Some(newest) = self.newest.take() {
            // What it is built from was there before: nobody has waited for that.
            let is_late = self.shared.is_complete.load(Ordering::Acquire);
            let lag_ms = if is_late { (self.shared.clock.now() - newest).max(0) as u64 / 1_000 } else { 0 };
            self.shared.lag_ms.store(lag_ms, Ordering::Relaxed);
            handles().replica_lag.set(lag_ms as f64 / 1_000.0);
        }
        self.shared.disk_bytes.store(self.folder.bytes(), Ordering::Relaxed);
        self.shared.commits.send_modify(|commits| *commits += 1);
        (self.rows, self.is_changed) = (0, false);
        let pause = if self.next.is_complete { self.config.commit_interval } else { BUILDING_INTERVAL };
        handles().replica_commit.record(begun.elapsed().as_secs_f64());
        self.commit_at = Instant::now() + pause.max(begun.elapsed() * (COMMIT_SHARE - 1));
        Ok(())
    }
}
