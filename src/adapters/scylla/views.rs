//! Port `views` on the database: rows by (tenant, aggregate, bucket), each with its version as its timestamp.
//!
//! A list merges the buckets of a tenant. The mark of a log is written after all rows up to it were acknowledged.

use super::flush::{Row, Writer, rows};
use super::merge::merge;
use super::places::{BEFORE_ALL, bucket_of, timestamp};
use super::session::{self, Store};
use crate::adapters::words::words;
use crate::domain::{Aggregate, LogId, StreamId, TenantId};
use crate::ports::views::{Error, RowData, ViewRow, Views};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use hashbrown::HashSet;
use parking_lot::Mutex;
use scylla::errors::ExecutionError;
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;
use scylla::statement::prepared::PreparedStatement;
use std::sync::Arc;
use uuid::Uuid;

/// Tenants that a list over all of them reads at a time, at most.
const TENANTS_IN_FLIGHT_MAX: usize = 8;
/// Tenants whose being there this process remembers to have written.
const TENANTS_REMEMBERED_MAX: usize = 100_000;

/// What the views are laid out by; `view_buckets` is fixed when the fleet is created.
#[derive(Clone, Copy, Debug)]
pub struct ViewsConfig {
    /// Partitions that the rows of one tenant and aggregate are spread over. A list reads as many.
    pub view_buckets: u16,
    /// Writes under way at a time.
    pub writes_max: usize,
}

pub struct ScyllaViews {
    store: Arc<Store>,
    config: ViewsConfig,
    writer: Writer<TableRow>,
    mark: PreparedStatement,
    select: Select,
    /// Tenants that the table `view_tenants` is known to hold.
    tenants: Mutex<HashSet<(Aggregate, TenantId)>>,
}

struct Select {
    mark: PreparedStatement,
    row: PreparedStatement,
    list: PreparedStatement,
    tenants: PreparedStatement,
}

/// In the order of [`TableRow::statement`].
const INSERT: [&str; 2] = [
    "INSERT INTO {ks}.view_rows (tenant, aggregate, bucket, id, row) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?",
    "INSERT INTO {ks}.view_tenants (aggregate, tenant) VALUES (?, ?)",
];

impl ScyllaViews {
    /// # Errors
    /// When the tables are not there, or the database does not answer.
    pub async fn open(store: Arc<Store>, config: ViewsConfig) -> Result<Self, session::Error> {
        let mut insert = Vec::with_capacity(INSERT.len());
        for cql in INSERT {
            insert.push(store.prepare(cql).await?);
        }
        let select = Select {
            mark: store.prepare("SELECT applied_to FROM {ks}.view_progress WHERE log = ?").await?,
            row: store
                .prepare("SELECT row FROM {ks}.view_rows WHERE tenant = ? AND aggregate = ? AND bucket = ? AND id = ?")
                .await?,
            list: store
                .prepare(
                    "SELECT id, row FROM {ks}.view_rows \
                     WHERE tenant = ? AND aggregate = ? AND bucket = ? AND id > ? LIMIT ?",
                )
                .await?,
            tenants: store
                .prepare("SELECT tenant FROM {ks}.view_tenants WHERE aggregate = ? AND tenant > ? LIMIT ?")
                .await?,
        };
        let mark =
            store.prepare("INSERT INTO {ks}.view_progress (log, applied_to) VALUES (?, ?) USING TIMESTAMP ?").await?;
        let writer = Writer::new(store.clone(), insert, config.writes_max);
        Ok(Self { store, config, writer, mark, select, tenants: Mutex::default() })
    }

    /// A tenant is one row of itself.
    fn buckets(&self, aggregate: Aggregate) -> u16 {
        if aggregate == Aggregate::Tenant { 1 } else { self.config.view_buckets.max(1) }
    }

    fn bucket(&self, stream: &StreamId) -> i32 {
        bucket_of(stream.id, self.buckets(stream.aggregate))
    }

    /// Tenants of these rows that may not be known to have any.
    fn new_tenants(&self, view_rows: &[ViewRow]) -> Vec<(Aggregate, TenantId)> {
        let known = self.tenants.lock();
        let mut new: Vec<_> = view_rows.iter().map(|row| (row.stream.aggregate, row.stream.tenant)).collect();
        new.sort_unstable();
        new.dedup();
        new.retain(|tenant| !known.contains(tenant));
        new
    }

    async fn read_bucket(
        &self,
        (tenant, aggregate): (TenantId, Aggregate),
        bucket: i32,
        after: Option<Uuid>,
        rows_max: usize,
    ) -> Result<Vec<(Uuid, ViewRow)>, Error> {
        let after = after.as_ref().map_or(BEFORE_ALL, |after| after.as_bytes().as_slice());
        let values = (tenant.0, aggregate.name(), bucket, after, rows_max as i32);
        let result = self.store.session.execute_unpaged(&self.select.list, values).await.map_err(unavailable)?;
        let found = rows::<(Bytes, Bytes)>(result).map_err(Error::Damaged)?;
        let row = |(id, data): (Bytes, Bytes)| {
            let id = Uuid::from_slice(&id).map_err(|error| Error::Damaged(error.to_string()))?;
            Ok((id, ViewRow { stream: StreamId::new(tenant, aggregate, id), data: decode(&data)? }))
        };
        found.into_iter().map(row).collect()
    }

    /// The first tenants after this one that have rows of an aggregate.
    async fn tenants_after(
        &self,
        aggregate: Aggregate,
        after: Option<TenantId>,
        tenants_max: usize,
    ) -> Result<Vec<TenantId>, Error> {
        let after = after.as_ref().map_or(BEFORE_ALL, |after| after.0.as_bytes().as_slice());
        let values = (aggregate.name(), after, tenants_max as i32);
        let result = self.store.session.execute_unpaged(&self.select.tenants, values).await.map_err(unavailable)?;
        let tenant = |(id,): (Bytes,)| Uuid::from_slice(&id).map(TenantId);
        let tenants = rows(result).map_err(Error::Damaged)?.into_iter().map(tenant).collect::<Result<_, _>>();
        tenants.map_err(|error| Error::Damaged(error.to_string()))
    }
}

/// A row of the tables that rows are applied to.
enum TableRow {
    View { stream: StreamId, bucket: i32, data: Vec<u8>, version: u64 },
    Tenant { aggregate: Aggregate, tenant: TenantId },
}

impl Row for TableRow {
    /// The tenants of an aggregate have no tenant and bucket.
    type Partition = (Aggregate, Option<(TenantId, i32)>);

    fn partition(&self) -> Self::Partition {
        match self {
            Self::View { stream, bucket, .. } => (stream.aggregate, Some((stream.tenant, *bucket))),
            Self::Tenant { aggregate, .. } => (*aggregate, None),
        }
    }

    fn statement(&self) -> usize {
        match self {
            Self::View { .. } => 0,
            Self::Tenant { .. } => 1,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::View { data, .. } => 48 + data.len(),
            Self::Tenant { .. } => 32,
        }
    }
}

impl SerializeRow for TableRow {
    fn serialize(
        &self,
        context: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        match self {
            Self::View { stream, bucket, data, version } => {
                let id = stream.id.as_bytes().as_slice();
                (stream.tenant.0, stream.aggregate.name(), bucket, id, data, timestamp(*version))
                    .serialize(context, writer)
            }
            Self::Tenant { aggregate, tenant } => {
                (aggregate.name(), tenant.0.as_bytes().as_slice()).serialize(context, writer)
            }
        }
    }

    fn is_empty(&self) -> bool {
        false
    }
}

fn decode(data: &[u8]) -> Result<RowData, Error> {
    postcard::from_bytes(data).map_err(|error| Error::Damaged(error.to_string()))
}

fn unavailable(error: ExecutionError) -> Error {
    Error::Unavailable(words(&error))
}

#[async_trait]
impl Views for ScyllaViews {
    async fn apply(&self, log: LogId, view_rows: Vec<ViewRow>, through: u64) -> Result<(), Error> {
        let new = self.new_tenants(&view_rows);
        let mut writes = Vec::with_capacity(view_rows.len() + new.len());
        writes
            .extend(new.iter().map(|(aggregate, tenant)| TableRow::Tenant { aggregate: *aggregate, tenant: *tenant }));
        for ViewRow { stream, data } in view_rows {
            let (bucket, version) = (self.bucket(&stream), data.version);
            let data = postcard::to_stdvec(&data).map_err(|error| Error::Damaged(error.to_string()))?;
            writes.push(TableRow::View { stream, bucket, data, version });
        }
        self.writer.write(writes).await.map_err(unavailable)?;
        if !new.is_empty() {
            let mut known = self.tenants.lock();
            if known.len() + new.len() > TENANTS_REMEMBERED_MAX {
                known.clear();
            }
            known.extend(new);
        }
        let mark = (log.to_string(), through as i64, timestamp(through));
        self.store.session.execute_unpaged(&self.mark, mark).await.map(|_| ()).map_err(unavailable)
    }

    async fn applied_to(&self, log: LogId) -> Result<u64, Error> {
        let result = self.store.session.execute_unpaged(&self.select.mark, (log.to_string(),)).await;
        let mark = rows::<(i64,)>(result.map_err(unavailable)?).map_err(Error::Damaged)?.pop();
        Ok(mark.map_or(0, |(position,)| position as u64))
    }

    async fn get(&self, stream: StreamId) -> Result<Option<ViewRow>, Error> {
        let id = stream.id.as_bytes().as_slice();
        let values = (stream.tenant.0, stream.aggregate.name(), self.bucket(&stream), id);
        let result = self.store.session.execute_unpaged(&self.select.row, values).await.map_err(unavailable)?;
        let Some((data,)) = rows::<(Bytes,)>(result).map_err(Error::Damaged)?.pop() else { return Ok(None) };
        Ok(Some(ViewRow { stream, data: decode(&data)? }))
    }

    async fn list(
        &self,
        tenant: TenantId,
        aggregate: Aggregate,
        after: Option<Uuid>,
        rows_max: usize,
    ) -> Result<Vec<ViewRow>, Error> {
        merge(0..i32::from(self.buckets(aggregate)), after, rows_max, |bucket, after, rows_max| {
            self.read_bucket((tenant, aggregate), bucket, after, rows_max)
        })
        .await
    }

    async fn list_all(
        &self,
        aggregate: Aggregate,
        after: Option<(TenantId, Uuid)>,
        rows_max: usize,
    ) -> Result<Vec<ViewRow>, Error> {
        let mut found = match after {
            Some((tenant, id)) => self.list(tenant, aggregate, Some(id), rows_max).await?,
            None => Vec::new(),
        };
        let mut last = after.map(|(tenant, _)| tenant);
        // One, then two, then more: the first is often enough, and what is read beyond the page is thrown away.
        let mut width = 1;
        while found.len() < rows_max {
            let tenants = self.tenants_after(aggregate, last, width).await?;
            let Some(newest) = tenants.last() else { break };
            last = Some(*newest);
            let left = rows_max - found.len();
            let lists: Vec<_> = tenants.iter().map(|tenant| self.list(*tenant, aggregate, None, left)).collect();
            let lists: Vec<_> = stream::iter(lists).buffered(TENANTS_IN_FLIGHT_MAX).try_collect().await?;
            found.extend(lists.into_iter().flatten());
            width = (width * 2).min(TENANTS_IN_FLIGHT_MAX);
        }
        found.truncate(rows_max);
        Ok(found)
    }
}
