//! Port: the journal, a set of fenced, hash-chained logs. Only a log is the truth.

use crate::domain::record::{Hash, Record};
use crate::domain::{AnyEvent, LogId, StreamId};
use crate::ports::index::{Head, Known};
use async_trait::async_trait;
use std::sync::Arc;

/// Where a log stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogState {
    /// The claim in force. 0 before the first.
    pub epoch: u64,
    /// Position of the last record, 0 when empty.
    pub head: u64,
    /// Its hash; [`CHAIN_START`](crate::domain::record::CHAIN_START) when empty.
    pub head_hash: Hash,
    /// `recorded_at` of the last record: the next is never earlier.
    pub recorded_at: i64,
    /// The next offset of the log's command partition that was not consumed.
    pub consumed: u64,
    /// Up to here everything derived is acknowledged.
    pub derived_to: u64,
}

/// A record with its canonical bytes and its link of the chain.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub record: Record,
    pub hash: Hash,
    /// The decoded payload and the head that the record left, where its writer had them at hand; a reader of the log
    /// makes them again. Only a saving: both ways give the same.
    pub decided: Option<Decided>,
}

/// What the processor knew when it made a record.
#[derive(Clone, Debug)]
pub struct Decided {
    pub event: Option<Arc<AnyEvent>>,
    /// The stream's head after this record's command.
    pub head: Arc<Head>,
    /// Edges that this record's command made or took away; on its last record.
    pub edges: Vec<EdgeChange>,
    /// The id that had to leave the head for this command's; on its last record.
    pub displaced: Option<Known>,
}

/// One dependency that came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeChange {
    /// The stream that is depended on.
    pub from: StreamId,
    /// The stream that depends on it.
    pub to: StreamId,
    pub present: bool,
}

/// One compare-and-set: records and what rides with them.
#[derive(Clone, Debug)]
pub struct Batch {
    pub log: LogId,
    /// The writer's claim.
    pub epoch: u64,
    /// Hash of the record that the first of these follows.
    pub previous_hash: Hash,
    /// Hash of the last record; `previous_hash` when the batch is empty.
    pub head_hash: Hash,
    pub first_position: u64,
    /// Canonical bytes and hash, in position order from `first_position`. May be empty, to move `consumed`.
    pub records: Vec<(Vec<u8>, Hash)>,
    pub recorded_at: i64,
    pub consumed: u64,
    pub derived_to: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else claimed the log: stop, and claim back only once the assignment is confirmed.
    #[error("log {log} was claimed by another owner (epoch {epoch})")]
    Fenced { log: LogId, epoch: u64 },
    /// One's own epoch, but another head: an earlier write of one's own went in after all. Claim again.
    #[error("log {log} has another head than expected (position {head}); claim it again")]
    Conflict { log: LogId, head: u64 },
    /// The write may have happened or may still happen. Claim again.
    #[error("whether log {log} took the batch is not known: {cause}")]
    Unknown { log: LogId, cause: String },
    #[error("batch of {bytes} bytes for log {log} is larger than {bytes_max}")]
    TooLarge { log: LogId, bytes: usize, bytes_max: usize },
    #[error("record {position} of log {log} is damaged: {cause}")]
    Damaged { log: LogId, position: u64, cause: String },
    /// The store cannot be used now.
    #[error("the journal is not available: {0}")]
    Unavailable(String),
}

impl Error {
    /// Whether claiming the log again can heal it.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::Unknown { .. } | Self::Unavailable(_))
    }
}

/// The journal.
///
/// Contract:
/// - `claim` raises the epoch by one with a compare-and-set and answers with the state *after* it: every batch sent
///   under an earlier epoch is in that state or will never be in the log.
/// - `append` takes a batch whole or not at all, exactly when the log's epoch is the batch's and its head hash is
///   `previous_hash`. Once it returns `Ok` the batch survives the loss of the process and the machine's power.
/// - Positions of a log run 1, 2, 3 …; `read` gives them in that order without gaps, never beyond the head, and only
///   what is durable.
/// - A log that was never written reads as empty, with epoch 0.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    async fn claim(&self, log: LogId) -> Result<LogState, Error>;

    async fn append(&self, batch: Batch) -> Result<(), Error>;

    /// The records from position `from` on, at most `records_max`.
    async fn read(&self, log: LogId, from: u64, records_max: usize) -> Result<Vec<Recorded>, Error>;

    async fn state(&self, log: LogId) -> Result<LogState, Error>;
}
