//! Port: the views, what is shown to readers.

use crate::domain::{Aggregate, LogId, Micros, StreamId, TenantId};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use uuid::Uuid;

/// One resource as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewRow {
    pub stream: StreamId,
    pub data: RowData,
}

/// What a row says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowData {
    pub version: u64,
    pub created_at: Micros,
    pub updated_at: Micros,
    /// [`AnyState::to_blob`](crate::domain::AnyState::to_blob).
    #[serde(with = "super::blob")]
    pub state: Arc<[u8]>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a view row cannot be read: {0}; the views can be rebuilt from the log")]
    Damaged(String),
    #[error("the views are not available: {0}")]
    Unavailable(String),
}

/// The views.
///
/// Contract:
/// - Rows are absolute. Those of one log are applied in position order; applying them again from any earlier position on
///   leaves the same views.
/// - Once `apply` returns, every reader sees the rows. They may be lost in a crash, but then `applied_to` is below them
///   and the projector writes them again.
/// - `list` gives the rows of one tenant and aggregate in the order of their ids, those after `after`.
/// - `list_all` the same over every tenant, in the order of (tenant, id).
#[async_trait]
pub trait Views: Send + Sync + 'static {
    async fn apply(&self, log: LogId, rows: Vec<ViewRow>, through: u64) -> Result<(), Error>;

    /// The position of a log up to which all rows are durable.
    async fn applied_to(&self, log: LogId) -> Result<u64, Error>;

    async fn get(&self, stream: StreamId) -> Result<Option<ViewRow>, Error>;

    async fn list(
        &self,
        tenant: TenantId,
        aggregate: Aggregate,
        after: Option<Uuid>,
        rows_max: usize,
    ) -> Result<Vec<ViewRow>, Error>;

    async fn list_all(
        &self,
        aggregate: Aggregate,
        after: Option<(TenantId, Uuid)>,
        rows_max: usize,
    ) -> Result<Vec<ViewRow>, Error>;
}
