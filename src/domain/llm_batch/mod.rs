//! A batch of requests to LLMs, as OpenAI's API has them: a file of requests, one a line, and what became of them.
//!
//! **A batch is its input file.** The stream begins as a file that is uploaded part by part; starting the batch moves the
//! same stream on. So one file is one batch: starting it twice is starting it once. What the requests came to is in their
//! own streams (`llm_request`), whose ids follow from the batch's and the request's number: output and error file are made
//! from those when they are read, and stored nowhere.
//!
//! State machine:
//!
//! ```text
//! (nothing) --OpenBatchFile--> uploading --AddBatchPart--> uploading --CloseBatchFile--> uploaded
//! uploaded --StartBatch--> in_progress | failed        (failed: the file's lines are no requests of this endpoint)
//! in_progress --RecordBatchProgress--> in_progress --EndBatch--> completed | expired
//! in_progress --CancelBatch--> cancelling --EndBatch--> cancelled
//! any but in_progress, cancelling --DeleteBatchFile--> the same, with a file less to show
//! ```
//!
//! Invariants: parts are numbered 1, 2, 3 …, and requests through all parts; progress never goes back, and counts every
//! request up to its place exactly once; a batch ends once, with every request of it counted; until then it is open until
//! `expires_at`, which does not move.
//!
//! **What is kept.** The parts hold prompts in plain text, and so do the requests that are made from them: a tenant whose
//! prompts are not stored in full has no batches. The state holds no part: heads are read whole, and the history has them.
//! What is deleted is not shown any more; the history keeps it.

mod check;
mod decide;
mod evolve;
pub mod line;
mod records;
#[cfg(test)]
mod tests;
mod view;

pub use records::*;

use crate::domain::llm_request::{Operation, payload::PAYLOAD_BYTES_MAX};
use crate::domain::{
    Aggregate, Context, Decider, Decision, Envelope, EventMeta, Lookup, Micros, Reaction, Rejection, StreamId, World,
};
use crate::records;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Most requests of a batch, as OpenAI's.
pub const REQUESTS_MAX: i64 = 50_000;
/// Largest input file, in bytes.
pub const FILE_BYTES_MAX: i64 = 100 * 1024 * 1024;
/// Longest line of a file, in bytes: a request's payload and what is around it.
pub const LINE_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 4 * 1024;
/// Largest part of a file, in bytes, unless it is one line.
pub const PART_BYTES_MAX: usize = 256 * 1024;
/// Most problems of a file that are recorded.
pub const PROBLEMS_MAX: usize = 20;
/// Most errors of requests in one record of progress.
pub const ERRORS_MAX: usize = 500;
/// Most entries of a batch's metadata, as OpenAI's, and the longest names and values, in characters.
pub const METADATA_MAX: usize = 16;
pub const METADATA_NAME_MAX: usize = 64;
pub const METADATA_VALUE_MAX: usize = 512;
/// Longest completion window, in milliseconds: what a request's deadline may be away.
pub const WINDOW_MS_MAX: i64 = 24 * 3_600_000;

/// The aggregate.
pub struct LlmBatch;

records! { pub enum Command in "llm_batch" {
    OpenBatchFile, AddBatchPart, CloseBatchFile, StartBatch, RecordBatchProgress, EndBatch, CancelBatch, DeleteBatchFile,
} }

records! { pub enum Event in "llm_batch" {
    BatchFileOpened, BatchPartAdded, BatchFileClosed, BatchStarted, BatchFailed, BatchProgressed, BatchCompleted,
    BatchExpired, BatchCancelling, BatchCancelled, BatchFileDeleted,
} }

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    #[default]
    Absent,
    Uploading,
    Uploaded,
    InProgress,
    Cancelling,
    Completed,
    Failed,
    Expired,
    Cancelled,
}

names! { Status:
    Absent "absent",
    Uploading "uploading",
    Uploaded "uploaded",
    InProgress "in_progress",
    Cancelling "cancelling",
    Completed "completed",
    Failed "failed",
    Expired "expired",
    Cancelled "cancelled",
}

/// The input file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InputFile {
    pub filename: String,
    /// When it was whole.
    pub closed_at: Micros,
    pub parts: i64,
    pub bytes: i64,
    /// Lower-case hex; empty until it is whole.
    pub sha256: String,
    /// Lines that are not blank.
    pub requests: i64,
    /// What all of its requests ask, where they ask one thing.
    pub operation: Option<Operation>,
    pub problems: Vec<LineProblem>,
}

/// What a file was started as.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub operation: Operation,
    pub metadata: BTreeMap<String, String>,
    pub started_at: Micros,
    pub expires_at: Micros,
    /// The number of the request up to which all have ended.
    pub line: i64,
    /// Of those, how many have an answer, and how many have none.
    pub completed: i64,
    pub failed: i64,
    /// Of those that have none, how many the window's end took.
    pub expired: i64,
    pub cancelling_at: Option<Micros>,
    pub ended_at: Option<Micros>,
    pub problems: Vec<LineProblem>,
}

/// Which files are not shown any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    pub input: bool,
    pub output: bool,
    pub errors: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub status: Status,
    pub file: InputFile,
    pub run: Option<Run>,
    pub deleted: Deleted,
}

impl State {
    /// Started, and not ended.
    pub fn is_running(&self) -> bool {
        matches!(self.status, Status::InProgress | Status::Cancelling)
    }

    /// Ended with requests that were made.
    pub fn is_ended(&self) -> bool {
        matches!(self.status, Status::Completed | Status::Expired | Status::Cancelled)
    }

    /// Whether a file is there to be read.
    pub fn has(&self, file: BatchFile) -> bool {
        let ended = |count: fn(&Run) -> i64| self.is_ended() && self.run.as_ref().is_some_and(|run| count(run) > 0);
        match file {
            BatchFile::Input => {
                !matches!(self.status, Status::Absent | Status::Uploading) && !self.deleted.input
            }
            BatchFile::Output => ended(|run| run.completed) && !self.deleted.output,
            BatchFile::Errors => ended(|run| run.failed) && !self.deleted.errors,
        }
    }
}

/// The stream of a batch's request, by its number in the file, from 1.
pub fn request_stream(batch: &StreamId, number: i64) -> StreamId {
    let id = Uuid::new_v5(&batch.id, format!("request/{number}").as_bytes());
    StreamId::new(batch.tenant, Aggregate::LlmRequest, id)
}

impl Decider for LlmBatch {
    const AGGREGATE: Aggregate = Aggregate::LlmBatch;
    type Command = Command;
    type Event = Event;
    type State = State;

    fn lookups(_state: &State, command: &Command, envelope: &Envelope) -> Vec<Lookup> {
        decide::lookups(command, envelope)
    }

    fn decide(state: &State, command: &Command, context: &Context<'_>) -> Result<Decision<Event>, Rejection> {
        decide::decide(state, command, context)
    }

    fn evolve(state: &mut State, event: &Event, meta: &EventMeta) {
        evolve::evolve(state, event, meta);
    }

    fn is_terminal(state: &State) -> bool {
        view::is_terminal(state)
    }

    fn status(state: &State) -> &'static str {
        view::status(state)
    }

    /// A batch that runs is open until its window's end: whoever claims its log carries it on, or ends it.
    fn open_until(state: &State) -> Option<Micros> {
        state.run.as_ref().filter(|_| state.is_running()).map(|run| run.expires_at)
    }

    /// Whoever runs batches watches the events; nothing else follows from them.
    fn may_react(_event: &Event) -> bool {
        false
    }

    fn react(_event: &Event, _state: &State, _meta: &EventMeta, _world: &World) -> Vec<Reaction> {
        Vec::new()
    }

    fn view(state: &State) -> serde_json::Map<String, serde_json::Value> {
        view::view(state)
    }

    const SEARCHED: bool = false;
    const FILTERS: &'static [&'static str] = view::FILTERS;
    const VERBATIM: &'static [&'static str] = view::VERBATIM;

    fn facet(state: &State, filter: &str) -> Vec<String> {
        view::facet(state, filter)
    }

    fn choices(filter: &str) -> Vec<&'static str> {
        view::choices(filter)
    }
}
