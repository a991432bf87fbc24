//! What a batch's commands lead to.

use super::check::{check_filename, check_metadata, check_part, check_problems, check_progress, check_tenant};
use super::*;
use crate::domain::checks::tenant_lookup;

/// Only what brings prompts or begins something asks the tenant: what was begun is recorded to its end.
pub fn lookups(command: &Command, envelope: &Envelope) -> Vec<Lookup> {
    match command {
        Command::OpenBatchFile(_) | Command::AddBatchPart(_) | Command::StartBatch(_) => {
            tenant_lookup(envelope.tenant())
        }
        _ => Vec::new(),
    }
}

pub fn decide(state: &State, command: &Command, context: &Context<'_>) -> Result<Decision<Event>, Rejection> {
    match command {
        Command::OpenBatchFile(command) => open(state, command, context),
        _ if state.status == Status::Absent => Err(Rejection::not_found("batch file")),
        Command::AddBatchPart(command) => add(state, command, context),
        Command::CloseBatchFile(command) => close(state, command),
        Command::StartBatch(command) => start(state, command, context),
        Command::RecordBatchProgress(command) => progress(state, &command.progress),
        Command::EndBatch(command) => end(state, &command.progress, context.now),
        Command::CancelBatch(_) => cancel(state),
        Command::DeleteBatchFile(command) => delete(state, command.file),
    }
}

fn open(state: &State, command: &OpenBatchFile, context: &Context<'_>) -> Result<Decision<Event>, Rejection> {
    check_filename(&command.filename)?;
    if state.status != Status::Absent {
        let is_same = state.status == Status::Uploading && state.file.filename == command.filename;
        return if is_same { Ok(Decision::unchanged()) } else { Err(Rejection::already_exists("batch file")) };
    }
    check_tenant(context)?;
    Ok(Decision::event(Event::BatchFileOpened(BatchFileOpened { filename: command.filename.clone() })))
}

fn check_uploading(state: &State) -> Result<(), Rejection> {
    if state.deleted.input {
        return Err(deleted());
    }
    if state.status == Status::Uploading {
        return Ok(());
    }
    Err(Rejection::new("file_closed", "the file is whole, and takes nothing more; upload another one"))
}

fn deleted() -> Rejection {
    Rejection::new("file_deleted", "the file was deleted; upload it again")
}

fn add(state: &State, command: &AddBatchPart, context: &Context<'_>) -> Result<Decision<Event>, Rejection> {
    check_uploading(state)?;
    check_tenant(context)?;
    let file = &state.file;
    if command.part != file.parts + 1 {
        let why = "parts are added in their order, each once; send the one that follows";
        return Err(Rejection::new("part_out_of_order", why).with("next", file.parts + 1));
    }
    let (text, requests) = check_part(&command.text)?;
    if file.requests + requests > REQUESTS_MAX {
        let why = format!("has more than {REQUESTS_MAX} requests with this part; make several files of it");
        return Err(Rejection::invalid("file", why));
    }
    if file.bytes + text.len() as i64 > FILE_BYTES_MAX {
        let why = format!("has more than {FILE_BYTES_MAX} bytes with this part; make several files of it");
        return Err(Rejection::invalid("file", why));
    }
    Ok(Decision::event(Event::BatchPartAdded(BatchPartAdded {
        part: command.part,
        first_request: file.requests + 1,
        requests,
        text: command.text.clone(),
    })))
}

fn close(state: &State, command: &CloseBatchFile) -> Result<Decision<Event>, Rejection> {
    let file = &state.file;
    check_problems(&command.problems)?;
    if state.status != Status::Uploading && file.sha256 == command.sha256 && file.problems == command.problems {
        return Ok(Decision::unchanged());
    }
    check_uploading(state)?;
    if (command.parts, command.bytes, command.requests) != (file.parts, file.bytes, file.requests) {
        let why = "the parts that are there do not come to this file; add what is missing, or upload it again";
        return Err(Rejection::new("file_incomplete", why)
            .with("parts", file.parts)
            .with("bytes", file.bytes)
            .with("requests", file.requests));
    }
    if command.sha256.len() != 64 {
        return Err(Rejection::invalid("sha256", "must be 64 lower-case hexadecimal digits"));
    }
    Ok(Decision::event(Event::BatchFileClosed(BatchFileClosed {
        parts: file.parts,
        bytes: file.bytes,
        sha256: command.sha256.clone(),
        requests: file.requests,
        operation: command.operation,
        problems: command.problems.clone(),
    })))
}

fn start(state: &State, command: &StartBatch, context: &Context<'_>) -> Result<Decision<Event>, Rejection> {
    check_metadata(&command.metadata)?;
    if !(1..=WINDOW_MS_MAX).contains(&command.window_ms) {
        return Err(Rejection::invalid("window_ms", format!("must be between 1 and {WINDOW_MS_MAX}")));
    }
    if let Some(run) = &state.run {
        let is_same = run.operation == command.operation && run.metadata == command.metadata;
        let why = "this file's batch exists already, with another endpoint or other metadata; a file is one batch: \
                   upload it again for another one";
        return if is_same { Ok(Decision::unchanged()) } else { Err(Rejection::new("already_exists", why)) };
    }
    if state.deleted.input {
        return Err(deleted());
    }
    if state.status != Status::Uploaded {
        return Err(Rejection::new("file_incomplete", "the file is not whole yet; wait for the end of its upload"));
    }
    check_tenant(context)?;
    let (operation, metadata) = (command.operation, command.metadata.clone());
    let expires_at = context.now.saturating_add(command.window_ms * 1_000);
    let problems = problems(&state.file, operation);
    if problems.is_empty() {
        return Ok(Decision::event(Event::BatchStarted(BatchStarted { operation, metadata, expires_at })));
    }
    Ok(Decision::event(Event::BatchFailed(BatchFailed { operation, metadata, expires_at, problems })))
}

/// Why a file is no batch of this endpoint.
fn problems(file: &InputFile, operation: Operation) -> Vec<LineProblem> {
    let own = |code: &str, message: String, param: Option<&str>| {
        vec![LineProblem { line: None, code: code.into(), message, param: param.map(str::to_owned) }]
    };
    if !file.problems.is_empty() {
        return file.problems.clone();
    }
    if file.requests == 0 {
        return own("empty_file", "The file has no requests.".into(), None);
    }
    if file.operation != Some(operation) {
        let wanted = line::url(operation);
        return own("mismatched_endpoint", format!("The url of every line must be the batch's endpoint, {wanted}."), Some("url"));
    }
    Vec::new()
}

/// The batch as it runs.
///
/// # Errors
/// `batch_ended`, `batch_not_started`.
fn running(state: &State) -> Result<&Run, Rejection> {
    match &state.run {
        Some(run) if state.is_running() => Ok(run),
        Some(_) => {
            let status = view::status(state);
            let why = format!("the batch is {status}, which is final");
            Err(Rejection::new("batch_ended", why).with("status", status))
        }
        None => Err(Rejection::new("batch_not_started", "no batch was started of this file; send StartBatch first")),
    }
}

fn progress(state: &State, progress: &Progress) -> Result<Decision<Event>, Rejection> {
    let run = running(state)?;
    check_progress(progress, run, state.file.requests)?;
    if progress.line == run.line {
        return Ok(Decision::unchanged());
    }
    Ok(Decision::event(Event::BatchProgressed(BatchProgressed { progress: progress.clone() })))
}

fn end(state: &State, progress: &Progress, now: Micros) -> Result<Decision<Event>, Rejection> {
    let run = running(state)?;
    check_progress(progress, run, state.file.requests)?;
    if progress.line < state.file.requests {
        let why = "requests of the batch have not ended; end or cancel them first";
        return Err(Rejection::new("batch_not_done", why).with("requests", state.file.requests));
    }
    let progress = progress.clone();
    Ok(Decision::event(match state.status {
        Status::Cancelling => Event::BatchCancelled(BatchCancelled { progress }),
        // Requests expire with the batch's window: one that did by another's clock is told as it is.
        _ if progress.expired > 0 && now >= run.expires_at => Event::BatchExpired(BatchExpired { progress }),
        _ => Event::BatchCompleted(BatchCompleted { progress }),
    }))
}

fn cancel(state: &State) -> Result<Decision<Event>, Rejection> {
    if matches!(state.status, Status::Cancelling | Status::Cancelled) {
        return Ok(Decision::unchanged());
    }
    running(state)?;
    Ok(Decision::event(Event::BatchCancelling(BatchCancelling {})))
}

fn delete(state: &State, file: BatchFile) -> Result<Decision<Event>, Rejection> {
    if state.is_running() {
        let why = "the batch of this file is under way; cancel it first";
        return Err(Rejection::new("batch_running", why));
    }
    let (is_deleted, is_there) = match file {
        // What was never whole can be thrown away too.
        BatchFile::Input => (state.deleted.input, true),
        BatchFile::Output => (state.deleted.output, state.has(file)),
        BatchFile::Errors => (state.deleted.errors, state.has(file)),
    };
    match (is_deleted, is_there) {
        (true, _) => Ok(Decision::unchanged()),
        (false, true) => Ok(Decision::event(Event::BatchFileDeleted(BatchFileDeleted { file }))),
        (false, false) => Err(Rejection::not_found("batch file")),
    }
}
