//! Fold: records become rows.
//!
//! A row is the state after the stream's last event. Where the event comes with the head that its processor made, the
//! row is that head's state; where it comes from the log, the row before it is read and the event is folded onto it. Both
//! give the same bytes.

use crate::domain::record::RecordKind;
use crate::domain::{AnyState, LogId, StreamId};
use crate::flow::derive::event_of;
use crate::ports::journal::Recorded;
use crate::ports::search;
use crate::ports::views::{self, RowData, ViewRow};
use crate::ports::{Search, Views};
use async_trait::async_trait;
use futures::stream::{self, StreamExt, TryStreamExt};
use hashbrown::HashMap;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Views(#[from] views::Error),
    #[error(transparent)]
    Search(#[from] search::Error),
    #[error(transparent)]
    Payload(#[from] crate::flow::derive::Error),
    #[error("the state of {stream} cannot be read: {cause}")]
    State { stream: StreamId, cause: String },
}

/// Rows read at a time.
const READS_MAX: usize = 64;

/// Where the rows are that events are folded onto.
#[async_trait]
pub trait RowsBefore: Send + Sync {
    async fn row(&self, stream: StreamId) -> Result<Option<RowData>, Error>;
}

#[async_trait]
impl RowsBefore for dyn Views {
    async fn row(&self, stream: StreamId) -> Result<Option<RowData>, Error> {
        Ok(self.get(stream).await?.map(|row| row.data))
    }
}

#[async_trait]
impl RowsBefore for dyn Search {
    async fn row(&self, stream: StreamId) -> Result<Option<RowData>, Error> {
        Ok(Search::row(self, stream).await?)
    }
}

/// The last row of each stream that the records touch.
pub async fn rows<R: RowsBefore + ?Sized>(log: LogId, before: &R, records: &[Recorded]) -> Result<Vec<ViewRow>, Error> {
    let mut before = rows_before(before, records).await?;
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
async fn rows_before<R: RowsBefore + ?Sized>(
    before: &R,
    records: &[Recorded],
) -> Result<HashMap<StreamId, RowData>, Error> {
    let folded = records.iter().filter(|recorded| recorded.decided.is_none());
    let folded = folded.filter(|recorded| recorded.record.kind == RecordKind::Event);
    let mut first: HashMap<StreamId, u64> = HashMap::new();
    for recorded in folded {
        first.entry(recorded.record.stream()).or_insert(recorded.record.version);
    }
    let wanted = first.into_iter().filter(|(_, version)| *version > 1).map(|(stream, _)| async move {
        let row = before.row(stream).await?;
        Ok::<_, Error>(row.map(|row| (stream, row)))
    });
    let found: Vec<_> = stream::iter(wanted).buffer_unordered(READS_MAX).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
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
