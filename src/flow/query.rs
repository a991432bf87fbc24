//! Query: what readers ask, answered from stored rows.
//!
//! A resource is one row of the views, a history is a walk over the index, an outcome one record of the journal, a trace the
//! records of many commands; a resource as of a moment is folded from its history. Every question names its tenant; who may name which is decided by
//! the caller.

mod as_of;
mod discover;
mod history;
mod letters;
mod list;
mod search;
#[cfg(test)]
pub(crate) mod stores;
#[cfg(test)]
mod tests;
mod trace;
mod usage;

pub use crate::ports::search::Filter;
pub use as_of::{AsOf, At, FOLDED_MAX};
pub use discover::{Because, DiscoverQuery, Discovered, Reason};
pub use history::{Change, Entry, HistoryPage, HistoryQuery, Order, Standing};
pub use letters::LettersPage;
pub use list::{ListQuery, Page, Place, Reach};
pub use search::{SearchPage, SearchQuery};
pub use trace::{Trace, TraceCommand, TraceEvent, TraceFound, TraceQuery};
pub use usage::{USAGE_WINDOWS_MAX, UsageItem, UsagePage, UsagePlace, UsageQuery};

use crate::domain::record::{Record, RecordKind};
use crate::domain::{AnyState, Micros, Rejection, StreamId, TenantId};
use crate::flow::outcome::{Outcome, OutcomeKind};
use crate::flow::request::answer;
use crate::ports::views::ViewRow;
use crate::ports::{Clock, Index, Journal, Search, Topics, Usage, Views, index, journal, topic, views};
use std::sync::Arc;
use trace::TRACED_DEFAULT;
use uuid::Uuid;

/// Most rows, records or letters that one page looks at; a page that meets it ends short, with a place to go on from.
pub const LOOKED_AT_MAX: usize = 20_000;
/// Most bytes of stored state or payload that one page shows; it ends short after the item that reaches it.
pub use crate::ports::search::PAGE_BYTES_MAX;
/// Rows read from a store at once.
const CHUNK: usize = 1_000;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Views(#[from] views::Error),
    #[error(transparent)]
    Usage(#[from] crate::ports::usage::Error),
    #[error(transparent)]
    Index(#[from] index::Error),
    #[error(transparent)]
    Journal(#[from] journal::Error),
    #[error(transparent)]
    Search(#[from] crate::ports::search::Error),
    #[error(transparent)]
    Topics(#[from] topic::Error),
    /// A stored payload or state cannot be read.
    #[error("{what} of {stream} cannot be read: {cause}")]
    Damaged { stream: StreamId, what: &'static str, cause: String },
    /// A history whose beginning is further back than one page may look.
    #[error("more than {LOOKED_AT_MAX} records are newer than the page that was asked for")]
    TooLong,
    /// A moment that lies further back than a fold may go.
    #[error("{stream} has more than {records_max} records to fold")]
    TooFar { stream: StreamId, records_max: usize },
}

/// A resource as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    pub stream: StreamId,
    pub version: u64,
    pub created_at: Micros,
    pub updated_at: Micros,
    pub state: AnyState,
}

impl Resource {
    fn place(&self) -> Place {
        Place { tenant: self.stream.tenant, id: self.stream.id }
    }

    fn from_row(row: &ViewRow) -> Result<Self, Error> {
        let state = AnyState::from_blob(row.stream.aggregate, &row.data.state).map_err(|error| Error::Damaged {
            stream: row.stream,
            what: "the view row",
            cause: error.to_string(),
        })?;
        Ok(Self {
            stream: row.stream,
            version: row.data.version,
            created_at: row.data.created_at,
            updated_at: row.data.updated_at,
            state,
        })
    }
}

/// The read side.
pub struct Query {
    views: Arc<dyn Views>,
    index: Arc<dyn Index>,
    topics: Arc<dyn Topics>,
    journal: Arc<dyn Journal>,
    usage: Arc<dyn Usage>,
    clock: Arc<dyn Clock>,
    search: Option<Arc<dyn Search>>,
    folded_max: usize,
    traced_max: usize,
}

impl Query {
    pub fn new(
        views: Arc<dyn Views>,
        index: Arc<dyn Index>,
        topics: Arc<dyn Topics>,
        journal: Arc<dyn Journal>,
        usage: Arc<dyn Usage>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            views,
            index,
            topics,
            journal,
            usage,
            clock,
            search: None,
            folded_max: FOLDED_MAX,
            traced_max: TRACED_DEFAULT,
        }
    }

    /// One resource; `None` when the views show nothing of it.
    pub async fn get(&self, stream: StreamId) -> Result<Option<Resource>, Error> {
        self.views.get(stream).await?.map(|row| Resource::from_row(&row)).transpose()
    }

    /// The answer of an LLM request that was completed; `None` where it is not kept.
    pub async fn answer(&self, request: StreamId) -> Result<Option<String>, Error> {
        Ok(answer::stored(&*self.index, request).await?)
    }

    /// The stream and the outcome of a command of this tenant; `None` when it is not decided, not known, forgotten, or
    /// another tenant's.
    pub async fn outcome(&self, tenant: TenantId, command_id: Uuid) -> Result<Option<(StreamId, Outcome)>, Error> {
        let Some(at) = self.index.outcome(tenant, command_id).await? else {
            return self.buried(tenant, command_id).await;
        };
        let read = self.journal.read(at.log, at.position, 1).await?;
        let Some(recorded) = read.into_iter().next() else {
            let cause = format!("the index names position {}, which the log does not have", at.position);
            return Err(index::Error::Damaged(cause).into());
        };
        let record = recorded.record;
        if record.envelope.command_id != command_id || record.stream().tenant != tenant {
            return Ok(None);
        }
        let (kind, reason) = match record.kind {
            RecordKind::Event | RecordKind::Unchanged => (OutcomeKind::Applied, None),
            RecordKind::Refusal => (OutcomeKind::Refused, Some(refusal(&record)?)),
        };
        Ok(Some((
            record.stream(),
            Outcome { kind, version: Some(record.version), reason, log: at.log, position: at.position },
        )))
    }
}

/// What a refusal's record says: a [`Rejection`] in JSON.
fn refusal(record: &Record) -> Result<Rejection, Error> {
    serde_json::from_slice(&record.payload).map_err(|error| Error::Damaged {
        stream: record.stream(),
        what: "a refusal",
        cause: error.to_string(),
    })
}
