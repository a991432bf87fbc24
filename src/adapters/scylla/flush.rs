//! Flush: derived rows, written by partition.
//!
//! A write costs by the partitions that it touches, hardly by its rows: rows of one partition go in one unlogged batch, and
//! partitions side by side.

use super::session::{Store, words};
use futures::stream::{self, StreamExt, TryStreamExt};
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::ExecutionError;
use scylla::response::query_result::QueryResult;
use scylla::serialize::row::SerializeRow;
use scylla::statement::batch::{Batch, BatchStatement, BatchType};
use scylla::statement::prepared::PreparedStatement;
use std::cmp::Ordering;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Most bytes of one batch: Cassandra refuses above 50 KiB, ScyllaDB warns at 128. A larger row goes alone.
const BATCH_BYTES_MAX: usize = 40 << 10;
/// Most rows of one batch: what one coordinator has to hold and merge for it.
const BATCH_ROWS_MAX: usize = 200;
/// What a row costs beside its values: names, times and lengths.
const ROW_BYTES: usize = 64;
/// Partitions that one call writes at a time.
const PARTITIONS_IN_FLIGHT: usize = 64;
/// Writes that all calls of one adapter have under way together, whatever number of logs is derived.
const WRITES_IN_FLIGHT: usize = 256;

/// A row that knows where it goes.
pub trait Row: SerializeRow + Sync {
    /// The order of partitions: equal where two rows share one.
    fn partition(&self, other: &Self) -> Ordering;

    /// Which of the writer's statements takes it.
    fn statement(&self) -> usize;

    /// About how many bytes its values have.
    fn bytes(&self) -> usize;
}

pub struct Writer {
    store: Arc<Store>,
    statements: Vec<PreparedStatement>,
    permits: Semaphore,
}

impl Writer {
    /// Rows name a statement by its place among these.
    pub fn new(store: Arc<Store>, statements: Vec<PreparedStatement>) -> Self {
        Self { store, statements, permits: Semaphore::new(WRITES_IN_FLIGHT) }
    }

    /// Writes rows. Within a partition a row is never there without those before it; partitions have no order.
    ///
    /// # Errors
    /// When one is not acknowledged; others may be written.
    pub async fn write<R: Row>(&self, mut rows: Vec<R>) -> Result<(), ExecutionError> {
        rows.sort_by(R::partition);
        let partitions = rows.chunk_by(|one, other| one.partition(other).is_eq());
        let writes: Vec<_> = partitions.map(|rows| self.write_partition(rows)).collect();
        stream::iter(writes).buffer_unordered(PARTITIONS_IN_FLIGHT).try_collect().await
    }

    async fn write_partition<R: Row>(&self, mut rows: &[R]) -> Result<(), ExecutionError> {
        while !rows.is_empty() {
            let (now, later) = rows.split_at(batch_length(rows));
            // Never closed.
            let _permit = self.permits.acquire().await.ok();
            match now {
                [row] => self.store.session.execute_unpaged(&self.statements[row.statement()], row).await?,
                _ => {
                    let statement = |row: &R| BatchStatement::from(self.statements[row.statement()].clone());
                    let statements = now.iter().map(statement).collect();
                    let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
                    batch.set_is_idempotent(true);
                    self.store.session.batch(&batch, now).await?
                }
            };
            rows = later;
        }
        Ok(())
    }
}

/// How many rows of a partition go in the next batch: at least one.
fn batch_length<R: Row>(rows: &[R]) -> usize {
    let mut bytes = 0;
    let fitting = rows.iter().take(BATCH_ROWS_MAX).take_while(|row| {
        bytes += ROW_BYTES + row.bytes();
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
