//! Where the parts of a batch's file are in its log, and where the errors of its requests.
//!
//! A stream's history is walked backwards, and a file's parts are read forwards: the walk notes the places alone, so that
//! no more than a few parts are in memory at once.

use crate::domain::llm_batch::{Event, Progress, RequestError};
use crate::domain::record::RecordKind;
use crate::domain::{AnyEvent, StreamId};
use crate::ports::Index;
use crate::ports::index::Error;
use crate::ports::journal::Recorded;

/// Records that are looked at together: each can be as large as a line.
const RECORDS: usize = 8;

/// A part's place, and what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartAt {
    pub position: u64,
    /// The number of its first request.
    pub first_request: i64,
    pub requests: i64,
}

/// The places of what a batch's stream holds.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// In the file's order.
    pub parts: Vec<PartAt>,
    /// Of the records that tell errors, in their order.
    pub errors: Vec<u64>,
}

/// Walks through a batch's history as the index shows it.
///
/// # Errors
/// When the index does not answer, or holds what cannot be read.
pub async fn survey(index: &dyn Index, batch: StreamId) -> Result<Survey, Error> {
    let mut found = Survey::default();
    let mut before = u64::MAX;
    loop {
        let records = index.history(batch, before, RECORDS).await?;
        for recorded in &records {
            before = recorded.record.position;
            match event(recorded)? {
                Some(Event::BatchPartAdded(part)) => found.parts.push(PartAt {
                    position: before,
                    first_request: part.first_request,
                    requests: part.requests,
                }),
                other => {
                    let errors = other.and_then(errors).unwrap_or_default();
                    found.errors.extend((!errors.is_empty()).then_some(before));
                }
            }
        }
        if records.len() < RECORDS {
            found.parts.reverse();
            found.errors.reverse();
            return Ok(found);
        }
    }
}

/// The text of a part.
///
/// # Errors
/// As [`survey`].
pub async fn part(index: &dyn Index, batch: StreamId, position: u64) -> Result<String, Error> {
    match at(index, batch, position).await? {
        Some(Event::BatchPartAdded(part)) => match part.text.text() {
            Some(text) => Ok(text.to_owned()),
            None => Err(Error::Damaged(format!("part {} of batch {batch} is not in plain text", part.part))),
        },
        _ => Err(gone(batch, position)),
    }
}

/// The errors that a record tells.
///
/// # Errors
/// As [`survey`].
pub async fn errors_at(index: &dyn Index, batch: StreamId, position: u64) -> Result<Vec<RequestError>, Error> {
    let event = at(index, batch, position).await?.ok_or_else(|| gone(batch, position))?;
    Ok(errors(event).unwrap_or_default())
}

async fn at(index: &dyn Index, batch: StreamId, position: u64) -> Result<Option<Event>, Error> {
    let records = index.history(batch, position.saturating_add(1), 1).await?;
    match records.first().filter(|recorded| recorded.record.position == position) {
        Some(recorded) => event(recorded),
        None => Ok(None),
    }
}

fn gone(batch: StreamId, position: u64) -> Error {
    Error::Damaged(format!("the record of batch {batch} at position {position} is not the one that was there"))
}

fn errors(event: Event) -> Option<Vec<RequestError>> {
    let progress: Progress = match event {
        Event::BatchProgressed(it) => it.progress,
        Event::BatchCompleted(it) => it.progress,
        Event::BatchExpired(it) => it.progress,
        Event::BatchCancelled(it) => it.progress,
        _ => return None,
    };
    Some(progress.errors)
}

/// The event of a record; `None` where it is a refusal or no change.
fn event(recorded: &Recorded) -> Result<Option<Event>, Error> {
    let record = &recorded.record;
    if record.kind != RecordKind::Event {
        return Ok(None);
    }
    let aggregate = record.stream().aggregate;
    let decoded = AnyEvent::decode(aggregate, &record.schema, record.fingerprint, &record.payload);
    match decoded.map_err(|error| Error::Damaged(error.to_string()))? {
        AnyEvent::LlmBatch(event) => Ok(Some(*event)),
        _ => Err(Error::Damaged(format!("the record at {} is no batch's", record.position))),
    }
}
