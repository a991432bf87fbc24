//! A small world for the tests: one file of three requests, its batch, and one sample of every record.

use super::*;
use crate::domain::common::PromptStorage;
use crate::domain::personal::Personal;
use crate::domain::spec::{NOW, Spec, TENANT, stream};
use crate::domain::{AnyState, golden, tenant};

mod life;
mod property;

type Batch = Spec<LlmBatch>;

const MINUTE_MS: i64 = 60_000;

fn text(count: usize) -> String {
    let line = r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{}}"#;
    format!("{line}\n").repeat(count)
}

fn open() -> Command {
    Command::OpenBatchFile(OpenBatchFile { filename: "night.jsonl".into() })
}

fn add(part: i64, text: &str) -> Command {
    Command::AddBatchPart(AddBatchPart { part, text: text.into() })
}

fn closing() -> CloseBatchFile {
    CloseBatchFile {
        parts: 2,
        bytes: text(3).len() as i64,
        sha256: "ab".repeat(32),
        requests: 3,
        operation: Some(Operation::ChatCompletion),
        problems: Vec::new(),
    }
}

fn metadata() -> BTreeMap<String, String> {
    [("night".to_owned(), "7".to_owned())].into()
}

fn start() -> StartBatch {
    StartBatch { operation: Operation::ChatCompletion, window_ms: MINUTE_MS, metadata: metadata() }
}

fn counts(line: i64, failed: i64, expired: i64) -> Progress {
    Progress { line, completed: line - failed, failed, expired, errors: Vec::new() }
}

fn problem() -> LineProblem {
    LineProblem { line: Some(2), code: "invalid_json_line".into(), message: "no JSON".into(), param: Some("body".into()) }
}

fn error(request: i64) -> RequestError {
    RequestError { request, code: "model_not_found".into(), message: "there is none".into() }
}

fn opened() -> Event {
    Event::BatchFileOpened(BatchFileOpened { filename: "night.jsonl".into() })
}

fn added(part: i64, first_request: i64, requests: i64) -> Event {
    let text = text(requests as usize).as_str().into();
    Event::BatchPartAdded(BatchPartAdded { part, first_request, requests, text })
}

fn closed(change: impl FnOnce(&mut CloseBatchFile)) -> Event {
    let mut it = closing();
    change(&mut it);
    let CloseBatchFile { parts, bytes, sha256, requests, operation, problems } = it;
    Event::BatchFileClosed(BatchFileClosed { parts, bytes, sha256, requests, operation, problems })
}

fn started() -> Event {
    let expires_at = NOW + MINUTE_MS * 1_000;
    Event::BatchStarted(BatchStarted { operation: Operation::ChatCompletion, metadata: metadata(), expires_at })
}

fn progressed(progress: Progress) -> Event {
    Event::BatchProgressed(BatchProgressed { progress })
}

fn deleted(file: BatchFile) -> Event {
    Event::BatchFileDeleted(BatchFileDeleted { file })
}

fn cancelling() -> Event {
    Event::BatchCancelling(BatchCancelling {})
}

/// A file of three requests that is whole.
fn uploaded() -> Vec<Event> {
    vec![opened(), added(1, 1, 2), added(2, 3, 1), closed(|_| {})]
}

fn running() -> Vec<Event> {
    [uploaded(), vec![started()]].concat()
}

fn tenant(change: impl FnOnce(&mut tenant::State)) -> AnyState {
    let mut state = tenant::State { status: tenant::Status::Active, ..tenant::State::default() };
    change(&mut state);
    AnyState::Tenant(Box::new(state))
}

fn tenant_stream() -> StreamId {
    crate::domain::checks::tenant_stream(TENANT)
}

/// One of each, with a value in every field.
fn commands() -> Vec<Command> {
    let progress = Progress { line: 3, completed: 1, failed: 2, expired: 1, errors: vec![error(2)] };
    vec![
        open(),
        add(1, &text(2)),
        Command::CloseBatchFile(CloseBatchFile { problems: vec![problem()], ..closing() }),
        Command::StartBatch(start()),
        Command::RecordBatchProgress(RecordBatchProgress { progress: progress.clone() }),
        Command::EndBatch(EndBatch { progress }),
        Command::CancelBatch(CancelBatch {}),
        Command::DeleteBatchFile(DeleteBatchFile { file: BatchFile::Output }),
    ]
}

fn events() -> Vec<Event> {
    let progress = || Progress { line: 3, completed: 1, failed: 2, expired: 1, errors: vec![error(2)] };
    let expires_at = NOW + MINUTE_MS * 1_000;
    vec![
        opened(),
        added(1, 1, 2),
        closed(|it| it.problems = vec![problem()]),
        started(),
        Event::BatchFailed(BatchFailed {
            operation: Operation::Embeddings,
            metadata: metadata(),
            expires_at,
            problems: vec![problem()],
        }),
        progressed(progress()),
        Event::BatchCompleted(BatchCompleted { progress: progress() }),
        Event::BatchExpired(BatchExpired { progress: progress() }),
        cancelling(),
        Event::BatchCancelled(BatchCancelled { progress: progress() }),
        deleted(BatchFile::Errors),
    ]
}

#[test]
fn golden_files() {
    golden::check("llm_batch", commands());
    golden::check("llm_batch", events());
    golden::assert_full(&events());
}
