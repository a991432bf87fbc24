//! Files and batches as OpenAI's API names and shows them.
//!
//! A batch and its files are one stream: `file-<UUID>` is the input, `batch_<UUID>` the batch, `file-<UUID>-output` and
//! `file-<UUID>-errors` what it made. Times are seconds since 1970.

use crate::domain::Micros;
use crate::domain::llm_batch::{BatchFile, LineProblem, Run, State, Status, line};
use serde_json::{Value, json};
use uuid::Uuid;

const FILE: &str = "file-";
const BATCH: &str = "batch_";

pub fn file_id(id: Uuid, file: BatchFile) -> String {
    match file {
        BatchFile::Input => format!("{FILE}{id}"),
        made => format!("{FILE}{id}-{}", made.name()),
    }
}

/// The stream and the file that an id names; `None` where it names none.
pub fn read_file_id(text: &str) -> Option<(Uuid, BatchFile)> {
    let name = text.strip_prefix(FILE)?;
    let (id, rest) = name.split_at_checked(uuid::fmt::Hyphenated::LENGTH)?;
    let file = match rest {
        "" => BatchFile::Input,
        "-output" => BatchFile::Output,
        "-errors" => BatchFile::Errors,
        _ => return None,
    };
    Some((Uuid::parse_str(id).ok()?, file))
}

pub fn batch_id(id: Uuid) -> String {
    format!("{BATCH}{id}")
}

/// The stream that an id names; `None` where it names none.
pub fn read_batch_id(text: &str) -> Option<Uuid> {
    Uuid::parse_str(text.strip_prefix(BATCH)?).ok()
}

/// `purpose` of a file.
pub fn purpose(file: BatchFile) -> &'static str {
    if file == BatchFile::Input { "batch" } else { "batch_output" }
}

/// A file. How large one is that is made when it is read is not known before: its `bytes` are 0, for clients with types
/// cannot read a list of files of which one has none.
pub fn file(id: Uuid, state: &State, file: BatchFile) -> Value {
    let is_input = file == BatchFile::Input;
    let ended_at = state.run.as_ref().and_then(|run| run.ended_at);
    let name = |kind: &str| format!("{}_{kind}.jsonl", batch_id(id));
    json!({
        "id": file_id(id, file),
        "object": "file",
        "bytes": if is_input { state.file.bytes } else { 0 },
        "created_at": if is_input { Some(seconds(state.file.closed_at)) } else { ended_at.map(seconds) },
        "expires_at": null,
        "filename": if is_input { state.file.filename.clone() } else { name(file.name()) },
        "purpose": purpose(file),
        "status": "processed",
        "status_details": null,
    })
}

/// A batch; `None` where none was started of the file.
pub fn batch(id: Uuid, state: &State) -> Option<Value> {
    let run = state.run.as_ref()?;
    let ended = |status: Status| (state.status == status).then_some(run.ended_at).flatten().map(seconds);
    let made = |file: BatchFile| state.has(file).then(|| file_id(id, file));
    let is_failed = state.status == Status::Failed;
    let errors: Vec<Value> = run.problems.iter().map(problem).collect();
    Some(json!({
        "id": batch_id(id),
        "object": "batch",
        "endpoint": line::url(run.operation),
        "errors": is_failed.then(|| json!({ "object": "list", "data": errors })),
        "input_file_id": file_id(id, BatchFile::Input),
        "completion_window": "24h",
        "status": status(state.status),
        "output_file_id": made(BatchFile::Output),
        "error_file_id": made(BatchFile::Errors),
        "created_at": seconds(run.started_at),
        "in_progress_at": (!is_failed).then(|| seconds(run.started_at)),
        "expires_at": seconds(run.expires_at),
        // What a batch made is made when it is read: it is done at once.
        "finalizing_at": ended(Status::Completed),
        "completed_at": ended(Status::Completed),
        "failed_at": ended(Status::Failed),
        "expired_at": ended(Status::Expired),
        "cancelling_at": run.cancelling_at.map(seconds),
        "cancelled_at": ended(Status::Cancelled),
        "request_counts": counts(state, run),
        "metadata": run.metadata,
    }))
}

fn counts(state: &State, run: &Run) -> Value {
    json!({ "total": state.file.requests, "completed": run.completed, "failed": run.failed })
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Absent | Status::Uploading | Status::Uploaded => "validating",
        Status::InProgress => "in_progress",
        Status::Cancelling => "cancelling",
        Status::Completed => "completed",
        Status::Failed => "failed",
        Status::Expired => "expired",
        Status::Cancelled => "cancelled",
    }
}

fn problem(problem: &LineProblem) -> Value {
    json!({ "code": problem.code, "message": problem.message, "param": problem.param, "line": problem.line })
}

fn seconds(time: Micros) -> i64 {
    time.div_euclid(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::llm_batch::InputFile;

    const ID: Uuid = Uuid::from_u128(7);

    #[test]
    fn ids_are_read_as_they_are_shown_and_no_others_are() {
        for file in BatchFile::ALL {
            assert_eq!(read_file_id(&file_id(ID, file)), Some((ID, file)));
        }
        assert_eq!(read_batch_id(&batch_id(ID)), Some(ID));
        let id = ID.to_string();
        for other in ["", "file-", "file-x", &id, &format!("file-{id}-input"), &format!("file-{id}x"), "file-é"] {
            assert_eq!(read_file_id(other), None, "{other}");
        }
        assert_eq!(read_batch_id(&id), None);
    }

    #[test]
    fn every_file_shows_a_number_of_bytes() {
        let input = InputFile { bytes: 70, ..InputFile::default() };
        let state = State { file: input, ..State::default() };
        let bytes = BatchFile::ALL.map(|of| file(ID, &state, of)["bytes"].as_u64());
        assert_eq!(bytes, [Some(70), Some(0), Some(0)]);
    }

    #[test]
    fn a_batch_shows_its_times_its_counts_and_only_the_files_that_are_there() {
        let run = Run {
            started_at: 5_000_000,
            expires_at: 9_900_000,
            completed: 2,
            ended_at: Some(8_000_000),
            ..Run::default()
        };
        let file = InputFile { requests: 2, ..InputFile::default() };
        let state = State { status: Status::Completed, file, run: Some(run), ..State::default() };
        let shown = batch(ID, &state).unwrap();
        assert_eq!(
            (&shown["created_at"], &shown["expires_at"], &shown["completed_at"]),
            (&5.into(), &9.into(), &8.into())
        );
        assert_eq!(shown["output_file_id"], file_id(ID, BatchFile::Output));
        assert_eq!(
            (&shown["error_file_id"], &shown["failed_at"], &shown["errors"]),
            (&Value::Null, &Value::Null, &Value::Null)
        );
        assert_eq!(shown["request_counts"], json!({ "total": 2, "completed": 2, "failed": 0 }));
        assert_eq!(batch(ID, &State::default()), None);
    }
}
