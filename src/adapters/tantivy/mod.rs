//! Search by tantivy: an index on the node's own disk with one document for each row of the views.
//!
//! One thread writes ([`writer`]); commits are small and not synced ([`directory`]), so that a row is searchable a moment
//! after it is taken. What is taken and not searchable yet is kept beside the index, for whoever folds the next event onto
//! it. Searches run on the runtime's threads for blocking work, no more at a time than there are cores.

mod best;
mod dense;
mod directory;
mod fields;
mod folder;
mod groups;
mod longer;
mod page;
mod queries;
#[cfg(test)]
mod tests;
mod writer;

use crate::domain::{LogId, StreamId};
use crate::metrics::{Stopwatch, handles};
use crate::ports::Clock;
use crate::ports::search::{
    Among, Counted, Error, Found, Hit, Mark, Order, PAGE_BYTES_MAX, Place, Search, Standing, Wanted,
};
use crate::ports::views::{RowData, ViewRow};
use async_trait::async_trait;
use best::Best;
use directory::Unsynced;
use fields::{FORMAT, Fields, WORDS, Words};
use folder::Folder;
use groups::Groups;
use page::{Page, Placed};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tantivy::schema::Value;
use tantivy::tokenizer::TextAnalyzer;
use tantivy::{DocAddress, DocId, Index, IndexReader, ReloadPolicy, Searcher, SegmentReader, TantivyDocument};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use writer::{Write, Writer};

/// Calls of [`Search::apply`] that wait for the writer; further ones wait outside.
const WRITES_WAITING_MAX: usize = 16;
/// Blocks of stored rows that a segment keeps unpacked.
const BLOCKS_CACHED: usize = 64;

/// How an index is kept.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Memory for rows that are being indexed; at least 15 MB.
    pub memory_bytes_max: usize,
    /// Shortest time between two commits.
    pub commit_interval: Duration,
}

/// The replica of a node.
pub struct Replica {
    shared: Arc<Shared>,
    writes: mpsc::Sender<Write>,
    /// Gives the folder back, once nothing is written to it any more.
    thread: Mutex<Option<std::thread::JoinHandle<Folder>>>,
}

struct Shared {
    fields: Fields,
    index: Index,
    reader: IndexReader,
    clock: Arc<dyn Clock>,
    fresh: Mutex<Fresh>,
    /// What the last commit holds.
    committed: Mutex<Committed>,
    commits: watch::Sender<u64>,
    is_complete: AtomicBool,
    lag_ms: AtomicU64,
    disk_bytes: AtomicU64,
    searches: Semaphore,
    /// Whether it can be used no more.
    broken: watch::Sender<bool>,
}

/// Rows that were taken and are not searchable yet.
#[derive(Default)]
struct Fresh {
    calls: u64,
    /// With the number of their call.
    rows: HashMap<StreamId, (RowData, u64)>,
}

/// What a commit says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Committed {
    is_complete: bool,
    marks: Vec<(LogId, u64, [u8; 32])>,
}

impl Committed {
    fn set(&mut self, log: LogId, mark: Mark) {
        match self.marks.iter_mut().find(|(known, _, _)| *known == log) {
            Some(known) => *known = (log, mark.position, mark.hash),
            None => self.marks.push((log, mark.position, mark.hash)),
        }
    }
}

impl Replica {
    /// Opens the replica in a folder, or in one that ends with the process. What cannot be read is built again.
    ///
    /// # Errors
    /// When the folder cannot be written, or another process has it open.
    pub fn open(path: Option<&Path>, config: Config, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let named = |error: std::io::Error| {
            let name = path.map_or_else(|| "a temporary folder".to_owned(), |path| path.display().to_string());
            Error::Unavailable(format!("{name}: {error}"))
        };
        let folder = path.map_or_else(Folder::temporary, Folder::open).map_err(named)?;
        let (fields, schema) = Fields::new();
        let opened = open_index(&folder, &schema);
        let (index, committed) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                tracing::info!(%error, "the replica is built again");
                folder.empty().map_err(named)?;
                open_index(&folder, &schema).map_err(unavailable)?
            }
        };
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual);
        let reader = reader.doc_store_cache_num_blocks(BLOCKS_CACHED).try_into().map_err(unavailable)?;
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let shared = Arc::new(Shared {
            fields,
            index,
            reader,
            clock,
            fresh: Mutex::default(),
            is_complete: AtomicBool::new(committed.is_complete),
            committed: Mutex::new(committed),
            commits: watch::Sender::new(0),
            lag_ms: AtomicU64::new(0),
            disk_bytes: AtomicU64::new(folder.bytes()),
            searches: Semaphore::new(cores),
            broken: watch::Sender::new(false),
        });
        let (writes, inbox) = mpsc::channel(WRITES_WAITING_MAX);
        let writer = Writer::new(shared.clone(), inbox, folder, config);
        let thread = std::thread::Builder::new().name("replica".into()).spawn(move || writer.run());
        let thread = thread.map_err(|error| Error::Unavailable(error.to_string()))?;
        Ok(Self { shared, writes, thread: Mutex::new(Some(thread)) })
    }

    /// Comes back once it can be written or read no more: it is to be closed, and opened anew.
    pub async fn broken(&self) {
        // The sender is this replica's own.
        let _ = self.shared.broken.subscribe().wait_for(|broken| *broken).await;
    }

    /// Makes everything that was taken searchable and durable, or, where it is broken, removes it; takes nothing any more.
    /// Searches go on.
    ///
    /// # Errors
    /// When that cannot be written: the replica is built again when it is opened.
    pub async fn close(&self) -> Result<(), Error> {
        let Some(thread) = self.thread.lock().take() else { return Ok(()) };
        // It ends by itself where it could not write.
        let _ = self.writes.send(Write::Close).await;
        let shared = self.shared.clone();
        let closed = tokio::task::spawn_blocking(move || {
            let folder = thread.join().map_err(|_| Error::Unavailable("its thread panicked".into()))?;
            let emptied = if *shared.broken.borrow() { folder.empty() } else { Ok(()) };
            emptied.and_then(|()| folder.close()).map_err(|error| Error::Unavailable(error.to_string()))
        });
        closed.await.map_err(|error| Error::Unavailable(error.to_string()))?
    }

    async fn write(&self, write: Write) -> Result<(), Error> {
        self.writes.send(write).await.map_err(|_| stopped())
    }

    /// Runs a search on a thread where it may take its time.
    async fn search<T: Send + 'static>(
        &self,
        search: impl FnOnce(&Shared, &Searcher) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        if self.writes.is_closed() {
            return Err(stopped());
        }
        if !self.shared.is_complete.load(Ordering::Acquire) {
            return Err(Error::Building { rows: self.shared.reader.searcher().num_docs() });
        }
        let watch = Stopwatch::start();
        let _turn = self.shared.searches.acquire().await.map_err(|_| stopped())?;
        let shared = self.shared.clone();
        let searched = tokio::task::spawn_blocking(move || search(&shared, &shared.reader.searcher()));
        let searched = searched.await.map_err(|error| Error::Unavailable(error.to_string()))?;
        watch.record(&handles().replica_search);
        searched.inspect_err(|error| self.shared.break_off("read", error))
    }
}

fn open_index(folder: &Folder, schema: &tantivy::schema::Schema) -> tantivy::Result<(Index, Committed)> {
    let index = Index::open_or_create(Unsynced::open(&folder.index())?, schema.clone())?;
    index.tokenizers().register(WORDS, TextAnalyzer::from(Words));
    let committed = match index.load_metas()?.payload {
        None => Committed::default(),
        Some(payload) => read(&payload)
            .ok_or_else(|| tantivy::TantivyError::InternalError("its last commit is of another format".to_owned()))?,
    };
    if !committed.is_complete && index.load_metas()?.segments.iter().any(|segment| segment.num_docs() > 0) {
        return Err(tantivy::TantivyError::InternalError("it was not finished".to_owned()));
    }
    Ok((index, committed))
}

/// What goes with a commit.
fn payload(committed: &Committed) -> Result<String, Error> {
    serde_json::to_string(&(FORMAT, committed)).map_err(|error| Error::Damaged(error.to_string()))
}

fn read(payload: &str) -> Option<Committed> {
    let (format, committed): (u32, Committed) = serde_json::from_str(payload).ok()?;
    (format == FORMAT).then_some(committed)
}

fn unavailable(error: tantivy::TantivyError) -> Error {
    Error::Unavailable(error.to_string())
}

fn stopped() -> Error {
    Error::Unavailable("it is closed, or about to be built again; the log of the process says why".into())
}

impl Shared {
    /// Says once that it can be used no more.
    fn break_off(&self, done: &str, error: &Error) {
        if !self.broken.send_replace(true) {
            tracing::error!(%error, "the replica cannot be {done}; it is built again");
        }
    }

    /// The row of a document.
    fn row(&self, searcher: &Searcher, address: DocAddress) -> Result<ViewRow, Error> {
        let document: TantivyDocument = searcher.doc(address).map_err(unavailable)?;
        let bytes = document.get_first(self.fields.row).and_then(|value| value.as_bytes());
        let bytes = bytes.ok_or_else(|| Error::Damaged("a document has no row".into()))?;
        let (stream, data) = postcard::from_bytes(bytes).map_err(|error| Error::Damaged(error.to_string()))?;
        Ok(ViewRow { stream, data })
    }

    /// The rows of a page, as far as it may be large; at least one.
    fn rows(&self, searcher: &Searcher, placed: &[Placed]) -> Result<Vec<ViewRow>, Error> {
        let (mut rows, mut bytes) = (Vec::with_capacity(placed.len()), 0);
        for placed in placed {
            if bytes >= PAGE_BYTES_MAX {
                break;
            }
            let row = self.row(searcher, placed.address)?;
            bytes += row.data.state.len();
            rows.push(row);
        }
        Ok(rows)
    }

    /// The searchable row of a stream.
    fn indexed(&self, stream: &StreamId) -> Result<Option<RowData>, Error> {
        let searcher = self.reader.searcher();
        let term = self.fields.key_of(stream);
        // The newest segments are last.
        for (segment, reader) in searcher.segment_readers().iter().enumerate().rev() {
            if let Some(doc) = alive(reader, &term).map_err(unavailable)? {
                return Ok(Some(self.row(&searcher, DocAddress::new(segment as u32, doc))?.data));
            }
        }
        Ok(None)
    }

    fn waiting_rows(&self) -> u64 {
        self.fresh.lock().rows.len() as u64
    }
}

/// The document of a segment that has this key and was not replaced.
fn alive(reader: &SegmentReader, key: &tantivy::Term) -> tantivy::Result<Option<DocId>> {
    use tantivy::DocSet;
    let index = reader.inverted_index(key.field())?;
    let Some(mut docs) = index.read_postings(key, tantivy::schema::IndexRecordOption::Basic)? else { return Ok(None) };
    while docs.doc() != tantivy::TERMINATED {
        if !reader.is_deleted(docs.doc()) {
            return Ok(Some(docs.doc()));
        }
        docs.advance();
    }
    Ok(None)
}

#[async_trait]
impl Search for Replica {
    fn marks(&self) -> BTreeMap<LogId, Mark> {
        let committed = self.shared.committed.lock();
        committed.marks.iter().map(|(log, position, hash)| (*log, Mark { position: *position, hash: *hash })).collect()
    }

    async fn apply(&self, rows: Vec<ViewRow>, through: Option<(LogId, Mark)>) -> Result<(), Error> {
        // Its place first: what waits outside is not held here too.
        let place = self.writes.reserve().await.map_err(|_| stopped())?;
        let mut fresh = self.shared.fresh.lock();
        // Under the lock: calls are numbered as they are sent.
        fresh.calls += 1;
        let call = fresh.calls;
        fresh.rows.extend(rows.iter().map(|row| (row.stream, (row.data.clone(), call))));
        place.send(Write::Rows { rows, through, call });
        Ok(())
    }

    async fn complete(&self) -> Result<(), Error> {
        let (done, answer) = oneshot::channel();
        self.write(Write::Complete { done }).await?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    async fn clear(&self) -> Result<(), Error> {
        let (done, answer) = oneshot::channel();
        self.write(Write::Clear { done }).await?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    async fn row(&self, stream: StreamId) -> Result<Option<RowData>, Error> {
        if let Some((data, _)) = self.shared.fresh.lock().rows.get(&stream) {
            return Ok(Some(data.clone()));
        }
        self.shared.indexed(&stream).inspect_err(|error| self.shared.break_off("read", error))
    }

    async fn shown(&self, stream: StreamId, version: u64) {
        let mut commits = self.shared.commits.subscribe();
        loop {
            commits.borrow_and_update();
            let is_shown = |row: &RowData| row.version >= version;
            if self.shared.indexed(&stream).is_ok_and(|row| row.as_ref().is_some_and(is_shown)) {
                return;
            }
            if commits.changed().await.is_err() {
                return;
            }
        }
    }

    async fn page(&self, among: &Among, order: &Order, after: Option<&Place>, limit: usize) -> Result<Found, Error> {
        let (among, order, after) = (among.clone(), order.clone(), after.cloned());
        self.search(move |shared, searcher| {
            let query = queries::among(&shared.fields, searcher.schema(), &among);
            // One more tells whether there is a next page.
            let page = Page { order: &order, after: after.as_ref(), limit: limit + 1 };
            let mut placed = searcher.search(&query, &page).map_err(unavailable)?;
            let found = placed.len();
            placed.truncate(limit);
            let rows = shared.rows(searcher, &placed)?;
            placed.truncate(rows.len());
            let last = placed.pop().zip(rows.last()).filter(|_| rows.len() < found);
            let next = last.map(|(last, row)| Place { key: last.key, tenant: row.stream.tenant, id: row.stream.id });
            Ok(Found { rows, next })
        })
        .await
    }

    async fn count(&self, among: &Among, group_by: Option<&str>, groups_max: usize) -> Result<Counted, Error> {
        let (among, by) = (among.clone(), group_by.map(str::to_owned));
        self.search(move |shared, searcher| {
            let query = queries::among(&shared.fields, searcher.schema(), &among);
            searcher.search(&query, &Groups { by: by.as_deref(), groups_max }).map_err(unavailable)
        })
        .await
    }

    async fn discover(&self, wanted: &Wanted) -> Result<Vec<Hit>, Error> {
        let wanted = wanted.clone();
        self.search(move |shared, searcher| {
            let query = queries::wanted(&shared.fields, searcher, &wanted).map_err(unavailable)?;
            let found = searcher.search(&query, &Best { limit: wanted.limit }).map_err(unavailable)?;
            let hits = found.into_iter().map(|(score, address)| Ok(Hit { row: shared.row(searcher, address)?, score }));
            hits.collect()
        })
        .await
    }

    fn standing(&self) -> Standing {
        Standing {
            is_complete: self.shared.is_complete.load(Ordering::Acquire),
            rows: self.shared.reader.searcher().num_docs(),
            lag_ms: self.shared.lag_ms.load(Ordering::Relaxed),
            waiting_rows: self.shared.waiting_rows(),
            disk_bytes: self.shared.disk_bytes.load(Ordering::Relaxed),
        }
    }
}
