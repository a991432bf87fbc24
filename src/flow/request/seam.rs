//! What the engine needs of the processors of its logs: a way in for commands, and word of what became of the logs.

use crate::domain::{LogId, Rejection, StreamId};
use crate::ports::index::{Error, Head};
use crate::ports::journal::Recorded;
use crate::ports::topic::Accepted;
use async_trait::async_trait;
use hashbrown::HashMap;
use std::sync::Arc;

/// What a log made of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    Applied,
    /// It was right and changed nothing.
    Unchanged,
    Refused(Rejection),
    /// The log had it already; what became of it then is not told.
    Repeated,
}

impl Answered {
    /// Why it was refused.
    pub fn refusal(&self) -> Option<&Rejection> {
        match self {
            Self::Refused(rejection) => Some(rejection),
            _ => None,
        }
    }
}

/// The claim ended before the log confirmed the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotTaken {
    /// Whether it may be in the log all the same, or come into it.
    pub unknown: bool,
}

/// The way into one log under one claim.
///
/// Contract: what is sent while earlier commands of the same caller are still under way is decided after them, and in one
/// batch with them where there is room. An answer means that the append is confirmed; the [`Watcher`] heard of it before.
#[async_trait]
pub trait Lane: Send + Sync + 'static {
    async fn send(&self, command: Arc<Accepted>) -> Result<Answered, NotTaken>;
}

/// Who hears what happens to the logs that this process owns, in order for each log. Calls must not block.
pub trait Watcher: Send + Sync + 'static {
    /// The log is claimed and caught up; `lane` takes commands for it until `released`.
    fn owned(&self, log: LogId, lane: Arc<dyn Lane>);

    /// These records are in the log, and leave these heads.
    fn appended(&self, log: LogId, records: &[Recorded], heads: &HashMap<StreamId, Arc<Head>>);

    /// The claim ended: nothing more is decided here.
    fn released(&self, log: LogId);
}

/// Who finds the requests of a log that have not ended.
#[async_trait]
pub trait OpenRequests: Send + Sync + 'static {
    /// Hands all of them to `found`, page by page, each with its head. What was submitted since the claim may be missing.
    ///
    /// # Errors
    /// When the index cannot be read; some may have been handed over.
    async fn open(&self, log: LogId, found: &(dyn Fn(Vec<(StreamId, Arc<Head>)>) + Send + Sync)) -> Result<(), Error>;
}
