//! A log and an index that keep nothing: what is left when they cost nothing. And a log whose appends are counted.

use agentverse::domain::record::CHAIN_START;
use agentverse::domain::{CorrelationKey, LogId, StreamId, TenantId};
use agentverse::ports::index::{self, Head, IndexRows, Known, OutcomeRef, Traced};
use agentverse::ports::journal::{self, Batch, LogState, Recorded};
use agentverse::ports::{Index, Journal};
use async_trait::async_trait;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// Takes everything and remembers how much it was.
pub struct NoJournal {
    consumed: HashMap<LogId, u64>,
    appended: AtomicU64,
}

impl NoJournal {
    /// With the offsets at which each log's commands begin.
    pub fn starting_at(consumed: Vec<(LogId, u64)>) -> Self {
        Self { consumed: consumed.into_iter().collect(), appended: AtomicU64::new(0) }
    }

    pub fn appended(&self) -> u64 {
        self.appended.load(Ordering::Acquire)
    }
}

#[async_trait]
impl Journal for NoJournal {
    async fn claim(&self, log: LogId) -> Result<LogState, journal::Error> {
        self.state(log).await
    }

    async fn append(&self, batch: Batch) -> Result<(), journal::Error> {
        self.appended.fetch_add(batch.records.len() as u64, Ordering::AcqRel);
        Ok(())
    }

    async fn read(&self, _: LogId, _: u64, _: usize) -> Result<Vec<Recorded>, journal::Error> {
        Ok(Vec::new())
    }

    async fn state(&self, log: LogId) -> Result<LogState, journal::Error> {
        let consumed = self.consumed.get(&log).copied().unwrap_or(0);
        Ok(LogState { epoch: 1, head: 0, head_hash: CHAIN_START, recorded_at: 0, consumed, derived_to: 0 })
    }
}

/// Knows nothing.
pub struct NoIndex;

#[async_trait]
impl Index for NoIndex {
    async fn heads(&self, _: LogId, streams: &[StreamId]) -> Result<Vec<Option<Arc<Head>>>, index::Error> {
        Ok(vec![None; streams.len()])
    }
    async fn apply(&self, _: LogId, _: IndexRows, _: u64) -> Result<(), index::Error> {
        Ok(())
    }
    async fn applied_to(&self, _: LogId) -> Result<u64, index::Error> {
        Ok(0)
    }
    async fn known(&self, _: StreamId, _: Uuid) -> Result<Option<Known>, index::Error> {
        Ok(None)
    }
    async fn edges(&self, _: StreamId, _: Option<StreamId>, _: usize) -> Result<Vec<StreamId>, index::Error> {
        Ok(Vec::new())
    }
    async fn history(&self, _: StreamId, _: u64, _: usize) -> Result<Vec<Recorded>, index::Error> {
        Ok(Vec::new())
    }
    async fn outcome(&self, _: TenantId, _: Uuid) -> Result<Option<OutcomeRef>, index::Error> {
        Ok(None)
    }
    async fn trace(&self, _: CorrelationKey, _: usize) -> Result<Vec<Traced>, index::Error> {
        Ok(Vec::new())
    }
}

/// A journal, with its appends counted.
pub struct Counted {
    inner: Arc<dyn Journal>,
    appends: AtomicU64,
    records: AtomicU64,
}

impl Counted {
    pub fn over(inner: Arc<dyn Journal>) -> Self {
        Self { inner, appends: AtomicU64::new(0), records: AtomicU64::new(0) }
    }

    pub fn records_per_append(&self) -> f64 {
        self.records.load(Ordering::Acquire) as f64 / self.appends.load(Ordering::Acquire).max(1) as f64
    }
}

#[async_trait]
impl Journal for Counted {
    async fn claim(&self, log: LogId) -> Result<LogState, journal::Error> {
        self.inner.claim(log).await
    }

    async fn append(&self, batch: Batch) -> Result<(), journal::Error> {
        self.appends.fetch_add(1, Ordering::AcqRel);
        self.records.fetch_add(batch.records.len() as u64, Ordering::AcqRel);
        self.inner.append(batch).await
    }

    async fn read(&self, log: LogId, from: u64, records_max: usize) -> Result<Vec<Recorded>, journal::Error> {
        self.inner.read(log, from, records_max).await
    }

    async fn state(&self, log: LogId) -> Result<LogState, journal::Error> {
        self.inner.state(log).await
    }
}
