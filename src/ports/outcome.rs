//! Port: outcomes, the word of what became of each command.

use crate::domain::record::{Record, RecordKind};
use crate::domain::{LogId, Rejection, StreamId};
use crate::ports::topic::Error;
use async_trait::async_trait;
use serde::Serialize;
use uuid::Uuid;

/// How a command ended, or how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// Durable, not decided yet.
    Accepted,
    Applied,
    Refused,
    DeadLettered,
}

impl OutcomeKind {
    /// As on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Applied => "applied",
            Self::Refused => "refused",
            Self::DeadLettered => "dead_lettered",
        }
    }
}

/// The answer for one command.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub kind: OutcomeKind,
    /// The stream's version after it; absent while only accepted, and for a dead letter.
    pub version: Option<u64>,
    pub reason: Option<Rejection>,
    /// The log and position that the answer rests on; 0 where it rests on none.
    pub log: LogId,
    pub position: u64,
}

impl Outcome {
    /// The outcome that a command's last record tells.
    pub fn of(log: LogId, record: &Record) -> Self {
        let refused = record.kind == RecordKind::Refusal;
        Self {
            kind: if refused { OutcomeKind::Refused } else { OutcomeKind::Applied },
            version: Some(record.version),
            reason: if refused { serde_json::from_slice(&record.payload).ok() } else { None },
            log,
            position: record.position,
        }
    }
}

/// What is told of one command.
#[derive(Clone, Debug)]
pub struct Word<'a> {
    pub stream: StreamId,
    pub command_id: Uuid,
    /// Of the content that this word is about: another content under the same id has its own.
    pub digest: u64,
    pub says: Says<'a>,
}

/// Where an outcome is taken from, once somebody wants it.
#[derive(Clone, Debug)]
pub enum Says<'a> {
    /// The command's last record.
    Record(&'a Record),
    /// It made no record.
    Outcome(Outcome),
}

impl Says<'_> {
    pub fn outcome(&self, log: LogId) -> Outcome {
        match self {
            Self::Record(record) => Outcome::of(log, record),
            Self::Outcome(outcome) => outcome.clone(),
        }
    }
}

/// Where outcomes are told.
///
/// Contract: `tell` returns once every caller that waits for one of these commands, in whatever process, will hear of
/// it. A word may be told more than once.
#[async_trait]
pub trait Outcomes: Send + Sync + 'static {
    async fn tell(&self, log: LogId, words: Vec<Word<'_>>) -> Result<(), Error>;
}
