//! Port `views`, embedded: rows in an overlay, in the order of (tenant, aggregate, id).

use super::folder::FolderError;
use super::logs::{Logs, slot};
use super::store::{Store, increment};
use crate::domain::{Aggregate, LogId, StreamId, TenantId};
use crate::ports::views::{Error, RowData, ViewRow, Views};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::sync::Arc;
use uuid::Uuid;

pub struct EmbeddedViews {
    store: Arc<Store>,
    logs: Arc<Logs>,
    marks: Mutex<Marks>,
}

struct Marks {
    applied: Vec<u64>,
    durable: Vec<u64>,
}

impl EmbeddedViews {
    pub(super) fn new(store: Arc<Store>, logs: Arc<Logs>, projected_to: Vec<u64>) -> Self {
        let marks = Marks { applied: projected_to.clone(), durable: projected_to };
        Self { store, logs, marks: Mutex::new(marks) }
    }

    /// The positions that the rows put so far reach, per slot. Take them before the rows are frozen.
    pub(super) fn applied(&self) -> Vec<u64> {
        self.marks.lock().applied.clone()
    }

    /// Tells that the rows up to these positions are on disk.
    pub(super) fn written(&self, through: Vec<u64>) {
        self.marks.lock().durable = through;
    }

    fn scan(&self, from: [u8; 33], to: Option<[u8; 33]>, rows_max: usize) -> Result<Vec<ViewRow>, Error> {
        let rows = self.store.rows.scan(&from, to.as_ref(), rows_max).map_err(unavailable)?;
        rows.into_iter()
            .map(|(key, data)| {
                let stream = StreamId::from_key(&key).ok_or_else(|| Error::Damaged("a key names no stream".into()))?;
                Ok(ViewRow { stream, data })
            })
            .collect()
    }

    /// The first key of a tenant and aggregate after `after`, and the end of them.
    fn bounds(tenant: TenantId, aggregate: Aggregate, after: Option<Uuid>) -> ([u8; 33], [u8; 33]) {
        let mut from = StreamId::new(tenant, aggregate, after.unwrap_or(Uuid::nil())).to_key();
        if after.is_some() {
            increment(&mut from);
        }
        let mut to = [0; 33];
        to[..16].copy_from_slice(tenant.0.as_bytes());
        to[16] = aggregate as u8 + 1;
        (from, to)
    }

    /// The least tenant after this one that has any row.
    fn next_tenant(&self, after: TenantId) -> Result<Option<TenantId>, Error> {
        let mut from = StreamId::new(after, Aggregate::Tenant, Uuid::nil()).to_key();
        from[16..].fill(0xff);
        Ok(self.scan(from, None, 1)?.first().map(|row| row.stream.tenant))
    }
}

fn unavailable(error: FolderError) -> Error {
    Error::Unavailable(error.to_string())
}

#[async_trait]
impl Views for EmbeddedViews {
    async fn apply(&self, log: LogId, rows: Vec<ViewRow>, through: u64) -> Result<(), Error> {
        self.store.rows.put_all(rows.into_iter().map(|row| (row.stream.to_key(), row.data)));
        let mut marks = self.marks.lock();
        let applied = &mut marks.applied[slot(log, self.logs.partitions())];
        *applied = through.max(*applied);
        Ok(())
    }

    async fn applied_to(&self, log: LogId) -> Result<u64, Error> {
        Ok(self.marks.lock().durable[slot(log, self.logs.partitions())])
    }

    async fn get(&self, stream: StreamId) -> Result<Option<ViewRow>, Error> {
        let data: Option<RowData> = self.store.rows.get(&stream.to_key()).map_err(unavailable)?;
        Ok(data.map(|data| ViewRow { stream, data }))
    }

    async fn list(
        &self,
        tenant: TenantId,
        aggregate: Aggregate,
        after: Option<Uuid>,
        rows_max: usize,
    ) -> Result<Vec<ViewRow>, Error> {
        let (from, to) = Self::bounds(tenant, aggregate, after);
        self.scan(from, Some(to), rows_max)
    }

    async fn list_all(
        &self,
        aggregate: Aggregate,
        after: Option<(TenantId, Uuid)>,
        rows_max: usize,
    ) -> Result<Vec<ViewRow>, Error> {
        let mut found = Vec::new();
        let (mut tenant, mut after) = match after {
            Some((tenant, id)) => (tenant, Some(id)),
            None => (TenantId::SHARED, None),
        };
        loop {
            found.extend(self.list(tenant, aggregate, after, rows_max - found.len()).await?);
            if found.len() >= rows_max {
                return Ok(found);
            }
            match self.next_tenant(tenant)? {
                Some(next) => (tenant, after) = (next, None),
                None => return Ok(found),
            }
        }
    }
}
