//! Port: the index, what the flow derives from the logs to decide by: heads, known command ids, edges, outcomes, traces.

use crate::domain::record::Record;
use crate::domain::{AnyState, CorrelationKey, LogId, Micros, StreamId, TenantId};
use crate::ports::journal::{EdgeChange, Recorded};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use uuid::Uuid;

/// The head of a stream: its state after its last record, and the ids that say what was done already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    pub version: u64,
    /// Position of the stream's last record, refusals included.
    pub position: u64,
    pub created_at: Micros,
    /// `recorded_at` of the last event.
    pub updated_at: Micros,
    /// The commands that the stream took, oldest first; at most [`KNOWN_IDS_MAX`].
    pub known: Vec<Known>,
    /// Whether older ids were moved out to rows of their own.
    pub displaced: bool,
    /// [`AnyState::to_blob`].
    #[serde(with = "super::blob")]
    pub state: Arc<[u8]>,
}

/// Command ids that a head carries before the oldest move out to rows of their own.
pub const KNOWN_IDS_MAX: usize = 16;

/// One command that a stream took, and where its outcome stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    pub command_id: Uuid,
    /// See [`crate::domain::record::command_digest`].
    pub digest: u64,
    /// Position of the command's last record.
    pub position: u64,
}

impl Head {
    /// The head of a stream of which nothing is recorded.
    pub fn empty() -> Self {
        Self {
            version: 0,
            position: 0,
            created_at: 0,
            updated_at: 0,
            known: Vec::new(),
            displaced: false,
            state: Arc::from([]),
        }
    }

    /// The head after `record`, where `state` is the state after it (the same one for a record that is no event), and
    /// the id that had to move out to make room.
    pub fn after(&self, record: &Record, state: Arc<[u8]>) -> (Head, Option<Known>) {
        let event = record.kind == crate::domain::record::RecordKind::Event;
        let mut known = self.known.clone();
        let mut displaced = None;
        if record.last {
            if known.len() >= KNOWN_IDS_MAX {
                displaced = Some(known.remove(0));
            }
            known.push(Known {
                command_id: record.envelope.command_id,
                digest: record.command_digest,
                position: record.position,
            });
        }
        let head = Head {
            version: record.version,
            position: record.position,
            created_at: if self.version == 0 && event { record.recorded_at } else { self.created_at },
            updated_at: if event { record.recorded_at } else { self.updated_at },
            known,
            displaced: self.displaced || displaced.is_some(),
            state,
        };
        (head, displaced)
    }

    /// The state, or the initial one where nothing is recorded.
    pub fn state_of(&self, aggregate: crate::domain::Aggregate) -> Result<AnyState, Error> {
        if self.state.is_empty() {
            return Ok(AnyState::initial(aggregate));
        }
        AnyState::from_blob(aggregate, &self.state).map_err(|error| Error::Damaged(error.to_string()))
    }
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeRef {
    pub log: LogId,
    /// Position of the command's last record.
    pub position: u64,
}

/// A command of a trace. They sort by time, and at one time by log and position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Traced {
    /// Of the command's last record.
    pub recorded_at: Micros,
    pub log: LogId,
    /// Position of the command's last record.
    pub position: u64,
}

/// Most commands of one correlation that can be asked for.
pub const TRACED_MAX: usize = 100_000;

/// Everything that the index step writes for a run of records of one log.
#[derive(Clone, Debug, Default)]
pub struct IndexRows {
    /// The last head of each stream that the records touched.
    pub heads: Vec<(StreamId, Arc<Head>)>,
    /// Edges with the position of the record that made them, in position order.
    pub edges: Vec<(EdgeChange, u64)>,
    /// Ids that had to leave their heads.
    pub displaced: Vec<(StreamId, Known)>,
    /// (tenant, command id, position of its last record).
    pub outcomes: Vec<(TenantId, Uuid, u64)>,
    /// Of each command that has a correlation: time and position of its last record.
    pub traces: Vec<(CorrelationKey, Micros, u64)>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("an index row cannot be read: {0}; the index can be rebuilt from the log")]
    Damaged(String),
    #[error("the index is not available: {0}")]
    Unavailable(String),
}

/// The index.
///
/// Contract:
/// - Rows are absolute and guarded by position: applying rows twice, late or out of order across streams leaves the same
///   index.
/// - Once `apply` returns, every reader sees the rows. They may be lost in a crash, but then `applied_to` is below them
///   and they are written again, in all logs, before any log decides or reacts; edges are never lost while the heads of the
///   same records stay.
/// - `heads` answers in the order asked, `None` for a stream of which nothing is recorded.
/// - `edges` pages in the order of the dependent's stream id and shows only present edges.
/// - `history` gives a stream's records, refusals and all, newest first, below position `before`.
/// - `outcome` may forget commands that are older than the retention it was given.
/// - `trace` gives the earliest commands of a correlation, earliest first, each once, and of those of one instant any. It is
///   asked for at most one more than [`TRACED_MAX`]: who asks for one more than it wants learns whether there are more. It
///   may forget what `outcome` may.
#[async_trait]
pub trait Index: Send + Sync + 'static {
    async fn heads(&self, log: LogId, streams: &[StreamId]) -> Result<Vec<Option<Arc<Head>>>, Error>;

    async fn apply(&self, log: LogId, rows: IndexRows, through: u64) -> Result<(), Error>;

    /// The position of a log up to which all rows are durable: what a crash took stands beyond it.
    async fn applied_to(&self, log: LogId) -> Result<u64, Error>;

    /// A command id that left its head.
    async fn known(&self, stream: StreamId, command_id: Uuid) -> Result<Option<Known>, Error>;

    async fn edges(&self, from: StreamId, after: Option<StreamId>, edges_max: usize) -> Result<Vec<StreamId>, Error>;

    async fn history(&self, stream: StreamId, before: u64, records_max: usize) -> Result<Vec<Recorded>, Error>;

    async fn outcome(&self, tenant: TenantId, command_id: Uuid) -> Result<Option<OutcomeRef>, Error>;

    async fn trace(&self, correlation: CorrelationKey, commands_max: usize) -> Result<Vec<Traced>, Error>;
}
