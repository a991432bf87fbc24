//! Port: search, a replica of the views that a node keeps for itself and can look into in ways that the views cannot:
//! by words, by any filter, in any order, and in groups.

use crate::domain::record::Hash;
use crate::domain::{Aggregate, LogId, Micros, StreamId, TenantId};
use crate::ports::views::{RowData, ViewRow};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Most bytes of state in one page; it ends short after the row that reaches it.
pub const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A filter: a row passes when one of its values is among these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// `status`, or one of [`Aggregate::filters`].
    pub name: String,
    pub values: Vec<String>,
}

/// Which rows a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Among {
    pub aggregate: Aggregate,
    /// `None`: every tenant's.
    pub tenants: Option<Vec<TenantId>>,
    /// All of them must be passed.
    pub filters: Vec<Filter>,
    /// Only rows that changed at or after this time.
    pub updated_since: Option<Micros>,
    /// Every one of these must begin a word of the row's [texts](crate::domain::Decider::texts).
    pub words: Vec<String>,
}

/// The order of a page. Rows that are equal by it, and those that have no value, which come last, are in the order of
/// their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    Id,
    CreatedAt {
        descending: bool,
    },
    UpdatedAt {
        descending: bool,
    },
    /// By the first value of `status` or of one of [`Aggregate::filters`], as bytes.
    Value {
        name: String,
        descending: bool,
    },
    /// How well the words were found: names before keywords before prose, whole words before beginnings. It depends on the
    /// row alone, so that pages stay as they are whatever else comes or goes.
    Relevance,
}

/// What a row is ordered by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Key {
    None,
    Time(Micros),
    Value(Option<String>),
    Relevance(f32),
}

/// Where a page ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    pub key: Key,
    pub tenant: TenantId,
    pub id: Uuid,
}

/// One page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    pub rows: Vec<ViewRow>,
    /// Where the next page starts; `None` after the last.
    pub next: Option<Place>,
}

/// How many rows there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub count: u64,
    /// How many there are of each value, the most frequent first, then by value. A row with several values counts in each.
    pub groups: Vec<(String, u64)>,
    /// Rows that have no value.
    pub without: u64,
    /// Values beyond those that are listed.
    pub further_values: u64,
}

/// What a discovery looks for: rows that have at least one of it, the best first.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub among: Among,
    /// Words, each of which adds to a row's score by how rare it is, and by where it stands; half of it where it is the
    /// beginning of a longer one, and few words begin so.
    pub words: Vec<String>,
    /// Values of filters, each of which adds its weight to the score.
    pub values: Vec<(Filter, f32)>,
    pub limit: usize,
}

/// A row that a discovery found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    pub row: ViewRow,
    pub score: f32,
}

/// A record that the replica has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub position: u64,
    /// Its link of the log's chain: tells whether the replica is one of this fleet.
    pub hash: Hash,
}

/// How the replica stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Whether it holds what the views held when it was begun. Until then it answers nothing.
    pub is_complete: bool,
    pub rows: u64,
    /// Time from recording to searchability, of the newest record that became searchable last.
    pub lag_ms: u64,
    /// Rows that were taken and are not searchable yet.
    pub waiting_rows: u64,
    pub disk_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the replica is being built: {rows} rows so far")]
    Building { rows: u64 },
    #[error("the replica cannot be read: {0}; remove its folder and start again, it is built from the views")]
    Damaged(String),
    #[error("the replica is not available: {0}")]
    Unavailable(String),
}

/// The replica.
///
/// Contract:
/// - Rows are absolute, and those of one stream are applied in the order of their versions, by one caller at a time.
///   Applying them again from any earlier position on leaves the same rows.
/// - `apply` returns once the rows are taken. `row` gives them from then on; they become searchable, all of a call at
///   once, soon after, and `shown` waits for that.
/// - A crash may lose what was taken; `marks` are below it then, and it is applied again. It may lose everything.
/// - `page`, `count` and `discover` see one state of the replica each, never half of a row, and fail with
///   [`Error::Building`] until `complete` was called.
/// - A page goes on after any place, whether that row is still there or not.
#[async_trait]
pub trait Search: Send + Sync + 'static {
    /// How far each log is taken, durably as far as the process goes; empty where nothing was.
    fn marks(&self) -> BTreeMap<LogId, Mark>;

    /// `through` says that no row of this log is missing up to there.
    async fn apply(&self, rows: Vec<ViewRow>, through: Option<(LogId, Mark)>) -> Result<(), Error>;

    /// Says that the replica holds every row of the views.
    async fn complete(&self) -> Result<(), Error>;

    /// Forgets everything, so that it can be built again.
    async fn clear(&self) -> Result<(), Error>;

    /// The newest row of a stream that was taken.
    async fn row(&self, stream: StreamId) -> Result<Option<RowData>, Error>;

    /// Waits until this version of a stream is searchable, or a later one. It may wait for ever; the caller has a deadline.
    async fn shown(&self, stream: StreamId, version: u64);

    async fn page(&self, among: &Among, order: &Order, after: Option<&Place>, limit: usize) -> Result<Found, Error>;

    /// `groups_max` most frequent values of `group_by`, which is `status` or one of [`Aggregate::filters`].
    async fn count(&self, among: &Among, group_by: Option<&str>, groups_max: usize) -> Result<Counted, Error>;

    async fn discover(&self, wanted: &Wanted) -> Result<Vec<Hit>, Error>;

    fn standing(&self) -> Standing;
}
