//! What a batch's events leave. Whatever their order, nothing here fails.

use super::*;

pub fn evolve(state: &mut State, event: &Event, meta: &EventMeta) {
    match event {
        Event::BatchFileOpened(event) => {
            state.status = Status::Uploading;
            state.file.filename.clone_from(&event.filename);
        }
        Event::BatchPartAdded(event) => {
            state.file.parts = event.part;
            state.file.requests += event.requests;
            state.file.bytes += event.text.text().map_or(0, |text| text.len() as i64);
        }
        Event::BatchFileClosed(event) => {
            state.status = Status::Uploaded;
            state.file.closed_at = meta.recorded_at;
            state.file.sha256.clone_from(&event.sha256);
            state.file.operation = event.operation;
            state.file.problems.clone_from(&event.problems);
        }
        Event::BatchStarted(event) => {
            state.status = Status::InProgress;
            state.run = Some(Run {
                operation: event.operation,
                metadata: event.metadata.clone(),
                started_at: meta.recorded_at,
                expires_at: event.expires_at,
                ..Run::default()
            });
        }
        Event::BatchFailed(event) => {
            state.status = Status::Failed;
            state.run = Some(Run {
                operation: event.operation,
                metadata: event.metadata.clone(),
                started_at: meta.recorded_at,
                expires_at: event.expires_at,
                ended_at: Some(meta.recorded_at),
                problems: event.problems.clone(),
                ..Run::default()
            });
        }
        Event::BatchProgressed(event) => go_on(state, &event.progress),
        Event::BatchCompleted(event) => end(state, Status::Completed, &event.progress, meta),
        Event::BatchExpired(event) => end(state, Status::Expired, &event.progress, meta),
        Event::BatchCancelling(_) => {
            state.status = Status::Cancelling;
            if let Some(run) = &mut state.run {
                run.cancelling_at = Some(meta.recorded_at);
            }
        }
        Event::BatchCancelled(event) => end(state, Status::Cancelled, &event.progress, meta),
        Event::BatchFileDeleted(event) => match event.file {
            BatchFile::Input => state.deleted.input = true,
            BatchFile::Output => state.deleted.output = true,
            BatchFile::Errors => state.deleted.errors = true,
        },
    }
}

fn go_on(state: &mut State, progress: &Progress) {
    if let Some(run) = &mut state.run {
        run.line = progress.line;
        run.completed = progress.completed;
        run.failed = progress.failed;
        run.expired = progress.expired;
    }
}

fn end(state: &mut State, status: Status, progress: &Progress, meta: &EventMeta) {
    state.status = status;
    go_on(state, progress);
    if let Some(run) = &mut state.run {
        run.ended_at = Some(meta.recorded_at);
    }
}
