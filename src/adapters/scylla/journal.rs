//! The journal on conditional batches: one Paxos round for a batch of records, and a claim that shuts out every earlier
//! owner and every write of theirs still under way.
//!
//! A log is cut into segments, one table partition each. A batch goes whole into the segment where its first record
//! belongs, so a segment may run over its end by one batch; it is closed once its head has reached its end, and the next
//! begins where it ended. The next segment is opened by the owner's first batch beyond the end, or by a claim that finds
//! the last one closed (the model's variant SA). The protocol is model-checked: keep both in step.
//!
//! After a timeout nothing is known: the write may have happened or may still. The caller claims again; after that it is
//! in the log or never will be.

mod read;
pub(super) mod refusal;
mod statements;

use super::session::{Store, may_have_happened};
use crate::adapters::words::words;
use crate::domain::LogId;
use crate::domain::record::{CHAIN_START, Hash};
use crate::ports::Journal;
use crate::ports::journal::{Batch, Error, LogState, Recorded};
use async_trait::async_trait;
use hashbrown::HashMap;
use parking_lot::Mutex;
use read::Reading;
use refusal::{applied, refusal};
use scylla::errors::ExecutionError;
use scylla::response::query_result::QueryResult;
use scylla::statement::batch::{Batch as CqlBatch, BatchStatement, BatchType};
use statements::{Statements, Values};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Records after which a segment is closed.
pub const SEGMENT_RECORDS: u64 = 10_000;
/// Claims that may be lost to others in a row before the caller is told.
const CLAIMS_MAX: usize = 16;

pub struct ScyllaJournal {
    store: Arc<Store>,
    statements: Statements,
    segment_records: u64,
    batch_bytes_max: usize,
    /// Where the logs end that this process claimed.
    tails: Mutex<HashMap<LogId, Tail>>,
}

/// The last segment of a log, and how it stands.
#[derive(Clone, Debug)]
struct Tail {
    segment: i32,
    state: LogState,
}

type StateRow = (Option<i64>, Option<i64>, Option<Vec<u8>>, Option<i64>, Option<i64>, Option<i64>);

impl ScyllaJournal {
    /// `batch_bytes_max` bounds one append whole: the batch limit and one large command.
    ///
    /// # Errors
    /// When the table is not there.
    pub async fn open(store: Arc<Store>, batch_bytes_max: usize) -> Result<Self, super::session::Error> {
        Self::with_segments(store, batch_bytes_max, SEGMENT_RECORDS).await
    }

    pub(super) async fn with_segments(
        store: Arc<Store>,
        batch_bytes_max: usize,
        segment_records: u64,
    ) -> Result<Self, super::session::Error> {
        let statements = Statements::prepare(&store).await?;
        Ok(Self { store, statements, segment_records, batch_bytes_max, tails: Mutex::default() })
    }

    /// Position of the last record that belongs into a segment.
    fn end(&self, segment: i32) -> u64 {
        (segment as u64 + 1) * self.segment_records
    }

    /// The segment where a record belongs. It is there, or in the one before, whose last batch ran over.
    fn segment_of(&self, position: u64) -> i32 {
        ((position.max(1) - 1) / self.segment_records) as i32
    }

    /// What a segment says of the log; `None` where it was never opened.
    async fn segment_state(&self, log: LogId, segment: i32, serial: bool) -> Result<Option<LogState>, Error> {
        let statement = if serial { &self.statements.state_serial } else { &self.statements.state };
        let result = self.store.session.execute_unpaged(statement, (log.to_string(), segment)).await;
        let result = result.map_err(unavailable)?.into_rows_result().map_err(|error| damaged(log, &error))?;
        let row = result.maybe_first_row::<StateRow>().map_err(|error| damaged(log, &error))?;
        let Some((Some(epoch), head, head_hash, recorded_at, consumed, derived_to)) = row else { return Ok(None) };
        Ok(Some(LogState {
            epoch: epoch as u64,
            head: head.unwrap_or(0) as u64,
            head_hash: hash_of(log, head.unwrap_or(0) as u64, &head_hash.unwrap_or_default())?,
            recorded_at: recorded_at.unwrap_or(0),
            consumed: consumed.unwrap_or(0) as u64,
            derived_to: derived_to.unwrap_or(0) as u64,
        }))
    }

    /// The last segment that was opened. Segments follow on each other, so it is found by doubling and halving.
    async fn last_segment(&self, log: LogId) -> Result<Option<Tail>, Error> {
        let known = self.tails.lock().get(&log).map_or(0, |tail| tail.segment);
        let Some(mut state) = self.segment_state(log, known, false).await? else { return Ok(None) };
        let (mut there, mut step) = (known, 1);
        let mut missing = loop {
            match self.segment_state(log, there + step, false).await? {
                Some(next) => (there, state, step) = (there + step, next, step * 2),
                None => break there + step,
            }
        };
        while missing - there > 1 {
            let middle = there + (missing - there) / 2;
            match self.segment_state(log, middle, false).await? {
                Some(next) => (there, state) = (middle, next),
                None => missing = middle,
            }
        }
        Ok(Some(Tail { segment: there, state }))
    }

    /// Opens a segment that carries on from `state`. `false` where somebody else did.
    async fn open_segment(&self, log: LogId, segment: i32, state: &LogState) -> Result<bool, Error> {
        let values = (
            state.epoch as i64,
            state.head as i64,
            state.head_hash.as_slice(),
            state.recorded_at,
            state.consumed as i64,
            state.derived_to as i64,
            log.to_string(),
            segment,
        );
        let result = self.store.session.execute_unpaged(&self.statements.open, values).await;
        applied(result.map_err(|error| unknown(log, &error))?).map_err(|cause| Error::Unknown { log, cause })
    }

    /// One try at a claim: `Break` with the state that it left, or another tail to try.
    async fn try_claim(&self, log: LogId, tail: Option<Tail>) -> Result<ControlFlow<Tail, Option<Tail>>, Error> {
        let Some(Tail { segment, state }) = tail else {
            let state = LogState { epoch: 1, head_hash: CHAIN_START, ..empty() };
            return Ok(match self.open_segment(log, 0, &state).await? {
                true => ControlFlow::Break(Tail { segment: 0, state }),
                false => ControlFlow::Continue(self.last_segment(log).await?),
            });
        };
        let mine = state.epoch + 1;
        let values = (mine as i64, log.to_string(), segment, state.epoch as i64);
        let result = self.store.session.execute_unpaged(&self.statements.claim, values).await;
        let taken = applied(result.map_err(|error| unknown(log, &error))?);
        // Read after the claim, at the serial level: what an earlier owner had under way is in it or never will be.
        let now = self.segment_state(log, segment, true).await?;
        let now = now.ok_or_else(|| Error::Unavailable(format!("segment {segment} of log {log} is gone")))?;
        if !taken.map_err(|cause| Error::Unknown { log, cause })? || now.epoch != mine {
            return Ok(ControlFlow::Continue(Some(Tail { segment, state: now })));
        }
        if now.head < self.end(segment) {
            return Ok(ControlFlow::Break(Tail { segment, state: now }));
        }
        match self.open_segment(log, segment + 1, &now).await? {
            true => Ok(ControlFlow::Break(Tail { segment: segment + 1, state: now })),
            false => Ok(ControlFlow::Continue(
                self.segment_state(log, segment + 1, true).await?.map(|state| Tail { segment: segment + 1, state }),
            )),
        }
    }

    /// The segment that a batch goes into; opens it where the one before is closed.
    async fn segment_for(&self, batch: &Batch) -> Result<i32, Error> {
        let log = batch.log;
        let tail = self.tails.lock().get(&log).cloned();
        let tail = match tail.filter(|tail| tail.state.epoch == batch.epoch) {
            Some(tail) => tail,
            // Claimed by another instance, or not at all: the condition on the epoch decides.
            None => self.last_segment(log).await?.ok_or(Error::Fenced { log, epoch: 0 })?,
        };
        if tail.state.head < self.end(tail.segment) {
            return Ok(tail.segment);
        }
        if !self.open_segment(log, tail.segment + 1, &tail.state).await? {
            let found = self.segment_state(log, tail.segment + 1, true).await?;
            return Err(Error::Fenced { log, epoch: found.map_or(0, |state| state.epoch) });
        }
        let opened = Tail { segment: tail.segment + 1, state: tail.state };
        let segment = opened.segment;
        self.tails.lock().insert(log, opened);
        Ok(segment)
    }

    async fn send(&self, batch: &Batch, segment: i32) -> Result<QueryResult, ExecutionError> {
        let name = batch.log.to_string();
        let mut cql = CqlBatch::new(BatchType::Unlogged);
        cql.set_execution_profile_handle(Some(self.store.conditional()));
        cql.append_statement(self.statements.advance.clone());
        let mut values = Vec::with_capacity(batch.records.len() + 1);
        values.push(Values::Advance(&name, segment, batch));
        for (place, (record, hash)) in batch.records.iter().enumerate() {
            cql.append_statement(BatchStatement::PreparedStatement(self.statements.insert.clone()));
            let position = (batch.first_position + place as u64) as i64;
            values.push(Values::Insert(&name, segment, position, record, hash));
        }
        self.store.session.batch(&cql, values).await
    }
}

#[async_trait]
impl Journal for ScyllaJournal {
    async fn claim(&self, log: LogId) -> Result<LogState, Error> {
        let mut tail = self.last_segment(log).await?;
        for _ in 0..CLAIMS_MAX {
            match self.try_claim(log, tail).await? {
                ControlFlow::Break(mine) => {
                    self.tails.lock().insert(log, mine.clone());
                    return Ok(mine.state);
                }
                ControlFlow::Continue(found) => tail = found,
            }
        }
        Err(Error::Unavailable(format!("others claimed log {log} first, {CLAIMS_MAX} times in a row")))
    }

    async fn append(&self, batch: Batch) -> Result<(), Error> {
        let log = batch.log;
        let bytes = batch.records.iter().map(|(record, _)| record.len()).sum();
        if bytes > self.batch_bytes_max {
            return Err(Error::TooLarge { log, bytes, bytes_max: self.batch_bytes_max });
        }
        let segment = self.segment_for(&batch).await?;
        let result = self.send(&batch, segment).await.map_err(|error| unknown(log, &error))?;
        if let Some(epoch) = refusal(result).map_err(|cause| Error::Unknown { log, cause })? {
            if epoch != batch.epoch {
                return Err(Error::Fenced { log, epoch });
            }
            // A refusal tells the columns of the condition alone.
            let state = self.segment_state(log, segment, true).await?;
            return Err(Error::Conflict { log, head: state.map_or(0, |state| state.head) });
        }
        if let Some(tail) = self.tails.lock().get_mut(&log).filter(|tail| tail.state.epoch == batch.epoch) {
            tail.state = LogState {
                epoch: batch.epoch,
                head: batch.first_position + batch.records.len() as u64 - 1,
                head_hash: batch.head_hash,
                recorded_at: batch.recorded_at,
                consumed: batch.consumed,
                derived_to: batch.derived_to,
            };
        }
        Ok(())
    }

    async fn read(&self, log: LogId, from: u64, records_max: usize) -> Result<Vec<Recorded>, Error> {
        let mut reading = Reading { records: Vec::new(), next: from.max(1), records_max, bytes: 0 };
        let mut segment = self.segment_of(reading.next);
        // Only a batch that ran over puts a record before its own segment, so the one before is asked second.
        if !self.read_segment(log, segment, &mut reading).await? && segment > 0 {
            self.read_segment(log, segment - 1, &mut reading).await?;
            if !reading.records.is_empty() && !reading.full() {
                self.read_segment(log, segment, &mut reading).await?;
            }
        }
        while !reading.records.is_empty() && !reading.full() && reading.next > self.end(segment) {
            segment += 1;
            if !self.read_segment(log, segment, &mut reading).await? {
                break;
            }
        }
        Ok(reading.records)
    }

    async fn state(&self, log: LogId) -> Result<LogState, Error> {
        Ok(self.last_segment(log).await?.map_or(empty(), |tail| tail.state))
    }
}

fn empty() -> LogState {
    LogState { epoch: 0, head: 0, head_hash: CHAIN_START, recorded_at: 0, consumed: 0, derived_to: 0 }
}

fn hash_of(log: LogId, position: u64, bytes: &[u8]) -> Result<Hash, Error> {
    let cause = || format!("its hash has {} bytes", bytes.len());
    bytes.try_into().map_err(|_| Error::Damaged { log, position, cause: cause() })
}

fn unavailable(error: ExecutionError) -> Error {
    Error::Unavailable(words(&error))
}

fn damaged(log: LogId, error: &dyn std::error::Error) -> Error {
    Error::Damaged { log, position: 0, cause: words(error) }
}

/// What a conditional statement's failure says: nothing happened, or nothing is known.
fn unknown(log: LogId, error: &ExecutionError) -> Error {
    match may_have_happened(error) {
        true => Error::Unknown { log, cause: words(error) },
        false => Error::Unavailable(words(error)),
    }
}
