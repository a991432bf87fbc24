//! The batch as the read side shows it: all but the requests and the answers, which the histories have.

use super::*;
use serde_json::{Map, Value, json};

/// The status of a file that was deleted.
const DELETED: &str = "deleted";
/// The values of the filter `batch`.
const STARTED: [&str; 2] = ["no", "yes"];

/// A file that was deleted before it became a batch is gone; a batch stays, whatever became of its files.
pub fn status(state: &State) -> &'static str {
    match state.status {
        Status::Uploading | Status::Uploaded if state.deleted.input => DELETED,
        status => status.name(),
    }
}

/// Nothing is left to be done or to be deleted.
pub fn is_terminal(state: &State) -> bool {
    let is_over = !state.is_running() && state.status != Status::Absent;
    is_over && state.deleted.input && !state.has(BatchFile::Output) && !state.has(BatchFile::Errors)
}

/// Times are microseconds since 1970.
pub fn view(state: &State) -> Map<String, Value> {
    let (file, run) = (&state.file, state.run.as_ref());
    let row = [
        ("filename", json!(file.filename)),
        ("closed_at", json!((file.closed_at != 0).then_some(file.closed_at))),
        ("parts", json!(file.parts)),
        ("bytes", json!(file.bytes)),
        ("sha256", json!(file.sha256)),
        ("requests", json!(file.requests)),
        ("operation", json!(run.map(|run| run.operation).or(file.operation))),
        ("files", json!(files(state))),
        ("metadata", json!(run.map(|run| &run.metadata))),
        ("started_at", json!(run.map(|run| run.started_at))),
        ("expires_at", json!(run.map(|run| run.expires_at))),
        ("cancelling_at", json!(run.and_then(|run| run.cancelling_at))),
        ("ended_at", json!(run.and_then(|run| run.ended_at))),
        ("line", json!(run.map(|run| run.line))),
        ("completed", json!(run.map(|run| run.completed))),
        ("failed", json!(run.map(|run| run.failed))),
        ("expired", json!(run.map(|run| run.expired))),
        ("problems", json!(run.map_or(&file.problems, |run| &run.problems))),
    ];
    row.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn files(state: &State) -> Vec<&'static str> {
    BatchFile::ALL.into_iter().filter(|file| state.has(*file)).map(BatchFile::name).collect()
}

/// `file`: which files there are to be read. `batch`: `yes` where one was started. `operation`.
pub const FILTERS: &[&str] = &["file", "batch", "operation"];
pub const VERBATIM: &[&str] = &[];

pub fn facet(state: &State, filter: &str) -> Vec<String> {
    match filter {
        "file" => files(state).into_iter().map(str::to_owned).collect(),
        "batch" => vec![STARTED[usize::from(state.run.is_some())].to_owned()],
        "operation" => state.run.iter().map(|run| run.operation.name().to_owned()).collect(),
        _ => Vec::new(),
    }
}

pub fn choices(filter: &str) -> Vec<&'static str> {
    match filter {
        "status" => [Status::NAMES, &[DELETED]].concat(),
        "file" => BatchFile::NAMES.to_vec(),
        "batch" => STARTED.to_vec(),
        "operation" => Operation::NAMES.to_vec(),
        _ => Vec::new(),
    }
}
