//! What a batch's commands ask for and what its events record.
//!
//! The field order of every struct is the order of its Avro record: change both or neither. Codes are texts, not enums:
//! what can be wrong with a line grows, and a schema's symbols cannot.

use crate::domain::Micros;
use crate::domain::llm_request::Operation;
use crate::domain::personal::Personal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The files of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchFile {
    #[default]
    Input,
    /// The answers.
    Output,
    /// What has no answer, and why.
    Errors,
}

impl BatchFile {
    pub const ALL: [Self; 3] = [Self::Input, Self::Output, Self::Errors];
}

names! { BatchFile: Input "input", Output "output", Errors "errors" }

/// Why a line is no request of a batch: the batch does not start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineProblem {
    /// Of the file, from 1; absent where it is the file's, not a line's.
    #[serde(default)]
    pub line: Option<i64>,
    /// As OpenAI's: `invalid_json_line`, `duplicate_custom_id`, …
    pub code: String,
    /// For people; never the prompt.
    pub message: String,
    #[serde(default)]
    pub param: Option<String>,
}

/// Why a request of a batch was never made; the others go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestError {
    /// The request's number in the file, from 1.
    pub request: i64,
    pub code: String,
    /// For people; never the prompt.
    pub message: String,
}

/// How far a batch is: what holds of its requests up to one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// The number of the request up to which all have ended.
    pub line: i64,
    /// Of those, how many have an answer.
    pub completed: i64,
    /// How many have none; with those that have one, all of them.
    pub failed: i64,
    /// How many of those without one the window's end took.
    pub expired: i64,
    /// Why requests beyond the progress before were never made, in the order of their numbers.
    pub errors: Vec<RequestError>,
}

/// Begins the upload of a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenBatchFile {
    pub filename: String,
}

/// The next part of a file: whole lines, at most [`super::PART_BYTES_MAX`], or one line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddBatchPart {
    /// One more than the last.
    pub part: i64,
    pub text: Personal,
}

/// The file is whole: what it must come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseBatchFile {
    pub parts: i64,
    pub bytes: i64,
    /// Lower-case hex.
    pub sha256: String,
    pub requests: i64,
    #[serde(default)]
    pub operation: Option<Operation>,
    #[serde(default)]
    pub problems: Vec<LineProblem>,
}

/// Starts the batch that a file is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StartBatch {
    pub operation: Operation,
    /// Time to carry it out in, in milliseconds.
    pub window_ms: i64,
    pub metadata: BTreeMap<String, String>,
}

/// Says how far a batch is, so that a successor goes on from there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordBatchProgress {
    pub progress: Progress,
}

/// Every request has ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndBatch {
    pub progress: Progress,
}

/// Nobody wants the rest any more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CancelBatch {}

/// A file is not to be shown any more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeleteBatchFile {
    pub file: BatchFile,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchFileOpened {
    pub filename: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchPartAdded {
    pub part: i64,
    /// The number of the first request in it, and how many there are.
    pub first_request: i64,
    pub requests: i64,
    pub text: Personal,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchFileClosed {
    pub parts: i64,
    pub bytes: i64,
    pub sha256: String,
    pub requests: i64,
    pub operation: Option<Operation>,
    pub problems: Vec<LineProblem>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchStarted {
    pub operation: Operation,
    pub metadata: BTreeMap<String, String>,
    pub expires_at: Micros,
}

/// The file's lines are no requests of the endpoint: none was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchFailed {
    pub operation: Operation,
    pub metadata: BTreeMap<String, String>,
    pub expires_at: Micros,
    pub problems: Vec<LineProblem>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchProgressed {
    pub progress: Progress,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchCompleted {
    pub progress: Progress,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchExpired {
    pub progress: Progress,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchCancelling {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchCancelled {
    pub progress: Progress,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchFileDeleted {
    pub file: BatchFile,
}
