//! Flush: derived rows, written by partition.
//!
//! A write costs by the partitions that it touches, hardly by its rows: rows of one partition go in one unlogged batch, and
//! partitions side by side. Only so many writes are under way at a time; what comes meanwhile, of whatever log, goes with
//! the next write of its partition. So an idle writer adds no wait, and a busy one makes fewer, larger writes.

use super::session::Store;
use crate::adapters::words::words;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use parking_lot::Mutex;
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::ExecutionError;
use scylla::response::query_result::QueryResult;
use scylla::serialize::row::SerializeRow;
use scylla::statement::batch::{Batch, BatchStatement, BatchType};
use scylla::statement::prepared::PreparedStatement;
use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Semaphore, oneshot};

/// Most bytes of one batch: Cassandra refuses above 50 KiB, ScyllaDB warns at 128. A larger row goes alone.
const BATCH_BYTES_MAX: usize = 40 << 10;
/// Most rows of one batch: what one coordinator has to hold and merge for it.
const BATCH_ROWS_MAX: usize = 200;
/// What a row costs beside its values: names, times and lengths.
const ROW_BYTES: usize = 64;

/// A row that knows where it goes.
pub trait Row: SerializeRow + Send + Sync + 'static {
    type Partition: Clone + Eq + Hash + Send + Sync;

    fn partition(&self) -> Self::Partition;

    /// Which of the writer's statements takes it.
    fn statement(&self) -> usize;

    /// About how many bytes its values have.
    fn bytes(&self) -> usize;
}

pub struct Writer<R: Row> {
    shared: Arc<Shared<R>>,
}

struct Shared<R: Row> {
    store: Arc<Store>,
    statements: Vec<PreparedStatement>,
    permits: Semaphore,
    /// What waits, of each partition that has a task of its own at work.
    waiting: Mutex<HashMap<R::Partition, VecDeque<Waiting<R>>>>,
}

struct Waiting<R> {
    row: R,
    call: Arc<Call>,
}

/// What the rows of one call have in common.
struct Call {
    left: AtomicUsize,
    /// Taken when the call ends, by its last row or its first failure.
    done: Mutex<Option<oneshot::Sender<Result<(), ExecutionError>>>>,
}

impl Call {
    fn settle(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.end(Ok(()));
        }
    }

    fn end(&self, result: Result<(), ExecutionError>) {
        if let Some(done) = self.done.lock().take() {
            // A caller that gave up has dropped its end.
            let _ = done.send(result);
        }
    }

    fn has_ended(&self) -> bool {
        self.done.lock().is_none()
    }
}

impl<R: Row> Writer<R> {
    /// Rows name a statement by its place among these. `writes_max` are under way at a time, of all calls together.
    pub fn new(store: Arc<Store>, statements: Vec<PreparedStatement>, writes_max: usize) -> Self {
        let permits = Semaphore::new(writes_max);
        Self { shared: Arc::new(Shared { store, statements, permits, waiting: Mutex::default() }) }
    }

    /// Writes rows. Within a partition a row of this call is never there without those before it; partitions have no
    /// order. A caller that gives up may find any of them written.
    ///
    /// # Errors
    /// When one is not acknowledged; others may be written.
    pub async fn write(&self, rows: Vec<R>) -> Result<(), ExecutionError> {
        if rows.is_empty() {
            return Ok(());
        }
        let (sender, done) = oneshot::channel();
        let call = Arc::new(Call { left: AtomicUsize::new(rows.len()), done: Mutex::new(Some(sender)) });
        let mut woken = Vec::new();
        {
            let mut waiting = self.shared.waiting.lock();
            for row in rows {
                let one = Waiting { call: call.clone(), row };
                match waiting.entry(one.row.partition()) {
                    Entry::Occupied(mut queue) => queue.get_mut().push_back(one),
                    Entry::Vacant(vacant) => {
                        woken.push(vacant.key().clone());
                        vacant.insert(VecDeque::from([one]));
                    }
                }
            }
        }
        for partition in woken {
            tokio::spawn(self.shared.clone().write_partition(partition));
        }
        // The sender is dropped unsent only with the runtime.
        done.await.unwrap_or(Ok(()))
    }
}

impl<R: Row> Shared<R> {
    /// Writes what waits for a partition until nothing does.
    async fn write_partition(self: Arc<Self>, partition: R::Partition) {
        loop {
            // Taken only once its turn has come, for more may come until then. Never closed.
            let _permit = self.permits.acquire().await.ok();
            let Some(now) = self.take(&partition) else { return };
            let written = self.write_batch(&now).await;
            match written {
                Ok(()) => now.iter().for_each(|waiting| waiting.call.settle()),
                Err(error) => now.iter().for_each(|waiting| waiting.call.end(Err(error.clone()))),
            }
        }
    }

    /// What goes in the next batch of a partition; `None` where nothing waits any more.
    fn take(&self, partition: &R::Partition) -> Option<Vec<Waiting<R>>> {
        let mut waiting = self.waiting.lock();
        let Entry::Occupied(mut queue) = waiting.entry(partition.clone()) else { return None };
        // Those behind a row that failed must not be there without it.
        queue.get_mut().retain(|waiting| !waiting.call.has_ended());
        if queue.get().is_empty() {
            queue.remove();
            return None;
        }
        let length = batch_length(queue.get().iter().map(|waiting| waiting.row.bytes()));
        Some(queue.get_mut().drain(..length).collect())
    }

    async fn write_batch(&self, rows: &[Waiting<R>]) -> Result<(), ExecutionError> {
        let session = &self.store.session;
        if let [one] = rows {
            return session.execute_unpaged(&self.statements[one.row.statement()], &one.row).await.map(drop);
        }
        let statement = |one: &Waiting<R>| BatchStatement::from(self.statements[one.row.statement()].clone());
        let statements = rows.iter().map(statement).collect();
        let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
        batch.set_is_idempotent(true);
        let values: Vec<&R> = rows.iter().map(|one| &one.row).collect();
        session.batch(&batch, values).await.map(drop)
    }
}

/// How many rows of a partition go in the next batch, by their bytes: at least one.
fn batch_length(rows: impl Iterator<Item = usize>) -> usize {
    let mut bytes = 0;
    let fitting = rows.take(BATCH_ROWS_MAX).take_while(|row| {
        bytes += ROW_BYTES + row;
        bytes <= BATCH_BYTES_MAX
    });
    fitting.count().max(1)
}

/// The rows of an answer.
///
/// # Errors
/// In words, when its columns are not the ones that are read here.
pub fn rows<R>(result: QueryResult) -> Result<Vec<R>, String>
where
    R: for<'f> DeserializeRow<'f, 'f>,
{
    let rows = result.into_rows_result().map_err(|error| words(&error))?;
    let rows = rows.rows::<R>().map_err(|error| words(&error))?;
    rows.collect::<Result<_, _>>().map_err(|error| words(&error))
}
