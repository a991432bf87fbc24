//! Port: the topics. Commands come in by them, events go out by them, and what could not be read is buried in one.

use crate::domain::record::command_digest;
use crate::domain::wire::WireError;
use crate::domain::{AnyCommand, Envelope, LogId, StreamId};
use crate::ports::journal::Recorded;
use async_trait::async_trait;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

pub use crate::ports::letter::{Buried, DeadLetter, Place, RedriveError, Redriven};

/// A command that was parsed and checked against its schema.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub envelope: Arc<Envelope>,
    pub command: Arc<AnyCommand>,
    /// The command's Avro bytes, by its current schema.
    pub payload: Vec<u8>,
    /// Tells a retry from a reused id.
    pub digest: u64,
}

impl Accepted {
    /// Encodes a command for its topic.
    ///
    /// # Errors
    /// When the command does not fit its schema: struct and schema have come apart.
    pub fn new(envelope: Envelope, command: AnyCommand) -> Result<Self, WireError> {
        let mut payload = Vec::with_capacity(256);
        command.encode(&mut payload)?;
        let digest = command_digest(command.name(), &payload);
        Ok(Self { envelope: Arc::new(envelope), command: Arc::new(command), payload, digest })
    }
}

/// One record of a command partition.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub offset: u64,
    pub command: Result<Arc<Accepted>, Aside>,
    /// How often it was sent again after it had died.
    pub redriven: u32,
}

/// Why a record of a command partition is nothing for its log to decide.
#[derive(Clone, Debug)]
pub enum Aside {
    Unreadable(Box<Unreadable>),
    /// It belongs to another log, and was sent there.
    SentOn,
}

impl Aside {
    /// What could not be read.
    pub fn unreadable(&self) -> Option<&Unreadable> {
        match self {
            Self::Unreadable(unreadable) => Some(unreadable),
            Self::SentOn => None,
        }
    }
}

/// A record of a command partition that is no command that this program can read.
#[derive(Clone, Debug)]
pub struct Unreadable {
    pub bytes: Vec<u8>,
    pub headers: Vec<(String, String)>,
    pub cause: String,
}

/// Who sends: only what comes from outside is ever refused for back-pressure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    Outside,
    /// Follow-up commands and health transitions: they draw on reserved room.
    System,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too much waits already. Nothing of this call was taken.
    #[error("too many commands are waiting; try again in {} ms", retry_after.as_millis())]
    Overloaded { retry_after: Duration },
    /// A message is larger than the topics take: it is not taken, and will not be. Others of its call may be.
    #[error("{0}")]
    TooLarge(String),
    #[error("the topics are not available: {0}")]
    Unavailable(String),
}

/// What a command partition holds, seen from the offset that its log consumes next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The lowest offset that it holds, and the one that its next record gets.
    pub low: u64,
    pub end: u64,
    /// Stream and id of the log's commands that lie right before.
    pub before: Vec<(StreamId, Uuid)>,
}

/// A log whose command partition does not hold any more what it was to consume next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    #[serde(serialize_with = "as_text")]
    pub log: LogId,
    /// The next offset that the log would consume.
    pub consumed: u64,
    /// The lowest offset that the partition holds, and where the log goes on once the loss is accepted. What of it the
    /// log has decided before is known by its ids, and has no second effect.
    pub low: u64,
    /// The offset that the partition's next record gets.
    pub end: u64,
}

fn as_text<S: serde::Serializer>(log: &LogId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(log)
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { log, consumed, low, end } = self;
        write!(f, "the command partition of log {log} ")?;
        if consumed < low {
            let lost = low - consumed;
            write!(
                f,
                "begins at offset {low}, and the log has consumed up to {consumed} only: {lost} between were deleted"
            )?;
        } else if consumed > end {
            write!(
                f,
                "ends at offset {end}, and the log has consumed up to {consumed}: acknowledged commands are lost"
            )?;
        } else {
            write!(
                f,
                "holds other commands below offset {consumed} than the log has consumed: the topic was made anew"
            )?;
        }
        f.write_str("; restore it, or go on without what is lost by `agentverse topics accept-loss`")
    }
}

/// The topics of a fleet.
///
/// Contract:
/// - `produce` returns once every command is durable in its partition (the one of its stream), in the order given per
///   partition, or fails with none of them promised. Offsets of a partition only grow; some may be missing.
/// - `poll` gives the records of a partition from offset `from` on, waiting until there is at least one; `from` is never
///   below the log's `consumed`. It is cancel-safe.
/// - `held` says what a partition holds, with the log's own commands of the last `records_max` records before `from`, as
///   far as they are there and can be read.
/// - `publish` makes records visible to `follow`, in position order per log, at least once.
/// - `follow` gives the published records of a log after position `after`, gapless, waiting until there is one. It may
///   give what stands in the log for a while though nothing tells that it was published.
/// - `bury` returns once the dead letter is durable.
/// - A dead letter has a number: a name that it keeps for as long as it is kept. Numbers are distinct, not without
///   gaps, and later letters of a partition have larger ones.
/// - `redrive` produces the bytes and headers of a letter again, for the partition where it came by, in the lane
///   [`Lane::System`], with [`REDRIVEN`](crate::ports::letter::REDRIVEN) = `attempts` + 1. It returns once that, and the
///   fact that it was done, are durable; a crash in between may lose the fact. A letter that was sent again is refused
///   unless forced. A command that is decided already is recognised by its id: sending it twice does nothing twice.
#[async_trait]
pub trait Topics: Send + Sync + 'static {
    async fn produce(&self, commands: Vec<Arc<Accepted>>, lane: Lane) -> Result<(), Error>;

    async fn poll(&self, log: LogId, from: u64, records_max: usize) -> Result<Vec<Delivery>, Error>;

    /// Where the commands lie beside the log itself, and are checked with it, nothing of them can be lost alone.
    async fn held(&self, _log: LogId, from: u64, _records_max: usize) -> Result<Held, Error> {
        Ok(Held { low: 0, end: from, before: Vec::new() })
    }

    async fn publish(&self, log: LogId, records: Arc<[Recorded]>) -> Result<(), Error>;

    async fn follow(&self, log: LogId, after: u64, records_max: usize) -> Result<Vec<Recorded>, Error>;

    async fn bury(&self, letter: DeadLetter) -> Result<(), Error>;

    /// Dead letters from number `from` on, in the order of their numbers.
    async fn dead_letters(&self, from: u64, letters_max: usize) -> Result<Vec<(u64, Buried)>, Error>;

    /// The dead letter with this number.
    async fn dead_letter(&self, number: u64) -> Result<Option<Buried>, Error>;

    async fn redrive(&self, number: u64, forced: bool) -> Result<Redriven, RedriveError>;
}
