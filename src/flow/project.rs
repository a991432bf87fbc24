//! Project: published events become view rows.
//!
//! A row is the state after the stream's last event. Where the event comes with the head that its processor made, the
//! row is that head's state; where it comes from the log, the row before it is read and the event is folded onto it. Both
//! give the same bytes. What request logs cost is counted on the way, see [`usage`].

mod usage;
#[cfg(test)]
mod usage_tests;

use crate::domain::record::RecordKind;
use crate::domain::{AnyState, LogId, StreamId};
use crate::flow::derive::event_of;
use crate::flow::said::Said;
use crate::flow::trace;
use crate::metrics::{Stopwatch, handles};
use crate::ports::journal::Recorded;
use crate::ports::views::{RowData, ViewRow};
use crate::ports::{Clock, Topics, Usage, Views};
use futures::stream::{self, StreamExt, TryStreamExt};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use usage::Meter;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Views(#[from] crate::ports::views::Error),
    #[error(transparent)]
    Usage(#[from] crate::ports::usage::Error),
    #[error(transparent)]
    Topic(#[from] crate::ports::topic::Error),
    #[error(transparent)]
    Payload(#[from] crate::flow::derive::Error),
    #[error("the state of {stream} cannot be read: {cause}")]
    State { stream: StreamId, cause: String },
}

/// Records projected in one go.
const RECORDS_MAX: usize = 1000;
/// Rows read at a time.
const READS_MAX: usize = 64;
/// Between a failure and the next try: the first time, and at most, when nothing comes of it again and again.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

static SAID: Mutex<Said> = Mutex::new(Said::nothing());

/// What a projector reads and writes.
#[derive(Clone)]
pub struct Parts {
    pub topics: Arc<dyn Topics>,
    pub views: Arc<dyn Views>,
    pub usage: Arc<dyn Usage>,
    pub clock: Arc<dyn Clock>,
}

/// Projects a log until told to stop. `projected` shows how far.
pub async fn run(log: LogId, parts: Parts, projected: watch::Sender<u64>, stop: CancellationToken) {
    let mut pause = PAUSE;
    loop {
        let before = *projected.borrow();
        let result = tokio::select! {
            () = stop.cancelled() => return,
            result = follow(log, &parts, &projected) => result,
        };
        let Err(error) = result else { continue };
        if let Some(failures) = SAID.lock().count(Instant::now()) {
            tracing::warn!(%log, %error, failures, "projecting failed; it is tried again");
        } else {
            tracing::debug!(%log, %error, "projecting failed");
        }
        if *projected.borrow() != before {
            pause = PAUSE;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
        }
    }
}

async fn follow(log: LogId, parts: &Parts, projected: &watch::Sender<u64>) -> Result<(), Error> {
    let views = &*parts.views;
    let mut meter = Meter::new(log, parts.usage.clone(), parts.clock.clone());
    let mut after = views.applied_to(log).await?;
    projected.send_replace(after);
    loop {
        let records = parts.topics.follow(log, after, RECORDS_MAX).await?;
        let watch = Stopwatch::start();
        let Some(last) = records.last() else { continue };
        let through = last.record.position;
        let rows = rows(log, views, &records).await?;
        handles().project_rows.increment(rows.len() as u64);
        // Before the mark of the views, at which the next projector begins.
        meter.count(&records, &rows).await?;
        views.apply(log, rows, through).await?;
        after = through;
        for recorded in records.iter().filter(|recorded| recorded.record.last) {
            trace::passed("project", &recorded.record.envelope, Some(recorded.record.position));
        }
        projected.send_replace(after);
        handles().project_records.increment(records.len() as u64);
        watch.record(&handles().project_batch);
    }
}

/// The last row of each stream that the records touch.
async fn rows(log: LogId, views: &dyn Views, records: &[Recorded]) -> Result<Vec<ViewRow>, Error> {
    let mut before = rows_before(views, records).await?;
    let mut rows: HashMap<StreamId, RowData> = HashMap::with_capacity(records.len());
    for recorded in records.iter().filter(|recorded| recorded.record.kind == RecordKind::Event) {
        let stream = recorded.record.stream();
        if let Some(decided) = &recorded.decided {
            let head = &decided.head;
            let data = RowData {
                version: head.version,
                created_at: head.created_at,
                updated_at: head.updated_at,
                state: head.state.clone(),
            };
            rows.insert(stream, data);
            continue;
        }
        let row = rows.remove(&stream).or_else(|| before.remove(&stream));
        rows.insert(stream, fold(log, recorded, row)?);
    }
    Ok(rows.into_iter().map(|(stream, data)| ViewRow { stream, data }).collect())
}

/// The rows onto which these records must be folded. A stream's first event needs none: where it is folded again, its
/// row is older than the one that stands, and loses.
async fn rows_before(views: &dyn Views, records: &[Recorded]) -> Result<HashMap<StreamId, RowData>, Error> {
    let folded = records.iter().filter(|recorded| recorded.decided.is_none());
    let folded = folded.filter(|recorded| recorded.record.kind == RecordKind::Event);
    let mut first: HashMap<StreamId, u64> = HashMap::new();
    for recorded in folded {
        first.entry(recorded.record.stream()).or_insert(recorded.record.version);
    }
    let wanted = first.into_iter().filter(|(_, version)| *version > 1).map(|(stream, _)| views.get(stream));
    let found: Vec<_> = stream::iter(wanted).buffer_unordered(READS_MAX).try_collect().await?;
    Ok(found.into_iter().flatten().map(|row| (row.stream, row.data)).collect())
}

/// The row after an event.
fn fold(log: LogId, recorded: &Recorded, before: Option<RowData>) -> Result<RowData, Error> {
    let record = &recorded.record;
    let stream = record.stream();
    if let Some(row) = before.as_ref().filter(|row| row.version >= record.version) {
        return Ok(row.clone());
    }
    let cause = |error: postcard::Error| Error::State { stream, cause: error.to_string() };
    let mut state = match &before {
        Some(row) => AnyState::from_blob(log.aggregate, &row.state).map_err(cause)?,
        None => AnyState::initial(log.aggregate),
    };
    if let Some(event) = event_of(log, record)? {
        state.evolve(&event, &record.meta());
    }
    Ok(RowData {
        version: record.version,
        created_at: before.map_or(record.recorded_at, |row| row.created_at),
        updated_at: record.recorded_at,
        state: state.to_blob().map_err(cause)?.into(),
    })
}
