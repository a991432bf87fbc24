//! Port: the topics. Commands come in by them, events go out by them, and what could not be read is buried in one.

use crate::domain::record::command_digest;
use crate::domain::wire::WireError;
use crate::domain::{AnyCommand, Envelope, LogId};
use crate::ports::journal::Recorded;
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

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
    pub command: Result<Arc<Accepted>, Box<Unreadable>>,
    /// How often it was sent again after it had died.
    pub redriven: u32,
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

/// The topics of a fleet.
///
/// Contract:
/// - `produce` returns once every command is durable in its partition (the one of its stream), in the order given per
///   partition, or fails with none of them promised. Offsets of a partition only grow; some may be missing.
/// - `poll` gives the records of a partition from offset `from` on, waiting until there is at least one; `from` is never
///   below the log's `consumed`. It is cancel-safe.
/// - `publish` makes records visible to `follow`, in position order per log, at least once.
/// - `follow` gives the published records of a log after position `after`, gapless, waiting until there is one.
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

    async fn publish(&self, log: LogId, records: Arc<[Recorded]>) -> Result<(), Error>;

    async fn follow(&self, log: LogId, after: u64, records_max: usize) -> Result<Vec<Recorded>, Error>;

    async fn bury(&self, letter: DeadLetter) -> Result<(), Error>;

    /// Dead letters from number `from` on, in the order of their numbers.
    async fn dead_letters(&self, from: u64, letters_max: usize) -> Result<Vec<(u64, Buried)>, Error>;

    /// The dead letter with this number.
    async fn dead_letter(&self, number: u64) -> Result<Option<Buried>, Error>;

    async fn redrive(&self, number: u64, forced: bool) -> Result<Redriven, RedriveError>;
}
