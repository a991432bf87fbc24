//! The read side's stores, held in memory, for tests.

use crate::domain::usage::{Retention, Row, Series, Slot, Totals};
use crate::domain::{Aggregate, CorrelationKey, LogId, Micros, StreamId, TenantId};
use crate::ports::index::{Head, IndexRows, Known, OutcomeRef, Traced};
use crate::ports::journal::{Batch, LogState, Recorded};
use crate::ports::topic::{Accepted, Buried, DeadLetter, Delivery, Lane, RedriveError, Redriven};
use crate::ports::views::ViewRow;
use crate::ports::{Clock, Index, Journal, Topics, Usage, Views, index, journal, topic, usage, views};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// What the read side reads: rows, records (in position order, one log), letters.
#[derive(Default)]
pub struct Stores {
    pub rows: BTreeMap<(TenantId, Uuid), ViewRow>,
    pub records: Vec<Recorded>,
    pub letters: Vec<Buried>,
    /// The projector's mark.
    pub applied_to: AtomicU64,
    /// Usage, of which source log does not matter here.
    pub usage: BTreeMap<Slot, Totals>,
    pub retention: Retention,
    pub now: Micros,
}

/// A clock that stands.
pub struct At(pub Micros);

impl Clock for At {
    fn now(&self) -> Micros {
        self.0
    }
}

#[async_trait]
impl Views for Stores {
    async fn apply(&self, _: LogId, _: Vec<ViewRow>, _: u64) -> Result<(), views::Error> {
        unreachable!()
    }
    async fn applied_to(&self, _: LogId) -> Result<u64, views::Error> {
        Ok(self.applied_to.load(Ordering::Relaxed))
    }
    async fn get(&self, stream: StreamId) -> Result<Option<ViewRow>, views::Error> {
        Ok(self.rows.get(&(stream.tenant, stream.id)).filter(|row| row.stream == stream).cloned())
    }
    async fn list(
        &self,
        tenant: TenantId,
        aggregate: Aggregate,
        after: Option<Uuid>,
        rows_max: usize,
    ) -> Result<Vec<ViewRow>, views::Error> {
        let all = self.list_all(aggregate, after.map(|id| (tenant, id)), usize::MAX).await?;
        Ok(all.into_iter().filter(|row| row.stream.tenant == tenant).take(rows_max).collect())
    }
    async fn list_all(
        &self,
        aggregate: Aggregate,
        after: Option<(TenantId, Uuid)>,
        rows_max: usize,
    ) -> Result<Vec<ViewRow>, views::Error> {
        let rows = self
            .rows
            .iter()
            .filter(|(place, row)| row.stream.aggregate == aggregate && after.is_none_or(|after| **place > after));
        Ok(rows.take(rows_max).map(|(_, row)| row.clone()).collect())
    }
}

#[async_trait]
impl Usage for Stores {
    fn retention(&self) -> &Retention {
        &self.retention
    }
    async fn rows(&self, _: LogId, _: &[Slot]) -> Result<Vec<Option<Row>>, usage::Error> {
        unreachable!()
    }
    async fn put(&self, _: LogId, _: Vec<(Slot, Row)>, _: Micros) -> Result<(), usage::Error> {
        unreachable!()
    }
    async fn windows(&self, series: &Series, starts: Range<Micros>) -> Result<Vec<(Micros, Totals)>, usage::Error> {
        let rows = self.usage.iter().filter(|(slot, _)| slot.series == *series && starts.contains(&slot.start));
        Ok(rows.map(|(slot, totals)| (slot.start, totals.clone())).collect())
    }
    async fn keys(&self, ask: &usage::Keys<'_>) -> Result<Vec<Arc<str>>, usage::Error> {
        let group = |it: &Series| (it.tenant, it.dimension, it.window) == (ask.tenant, ask.dimension, ask.window);
        let mut keys: Vec<_> =
            self.usage.keys().filter(|slot| group(&slot.series)).map(|it| it.series.key.clone()).collect();
        keys.dedup();
        keys.retain(|key| ask.after.is_none_or(|after| **key > *after));
        keys.truncate(ask.keys_max);
        Ok(keys)
    }
}

#[async_trait]
impl Index for Stores {
    async fn heads(&self, _: LogId, _: &[StreamId]) -> Result<Vec<Option<Arc<Head>>>, index::Error> {
        unreachable!()
    }
    async fn apply(&self, _: LogId, _: IndexRows, _: u64) -> Result<(), index::Error> {
        unreachable!()
    }
    async fn applied_to(&self, _: LogId) -> Result<u64, index::Error> {
        unreachable!()
    }
    async fn known(&self, _: StreamId, _: Uuid) -> Result<Option<Known>, index::Error> {
        unreachable!()
    }
    async fn edges(&self, _: StreamId, _: Option<StreamId>, _: usize) -> Result<Vec<StreamId>, index::Error> {
        unreachable!()
    }
    async fn history(&self, stream: StreamId, before: u64, max: usize) -> Result<Vec<Recorded>, index::Error> {
        let newest_first = self.records.iter().rev();
        let of_stream = newest_first.filter(|one| one.record.stream() == stream && one.record.position < before);
        Ok(of_stream.take(max).cloned().collect())
    }
    async fn outcome(&self, _tenant: TenantId, command_id: Uuid) -> Result<Option<OutcomeRef>, index::Error> {
        let found = self.records.iter().find(|one| one.record.last && one.record.envelope.command_id == command_id);
        Ok(found.map(|one| OutcomeRef { log: one.record.stream().log(1), position: one.record.position }))
    }
    async fn trace(&self, key: CorrelationKey, commands_max: usize) -> Result<Vec<Traced>, index::Error> {
        let last = self.records.iter().map(|one| &one.record).filter(|record| record.last);
        let of_key = last.filter(|record| {
            let correlation = record.envelope.correlation.as_deref();
            correlation.is_some_and(|correlation| CorrelationKey::of(record.envelope.tenant(), correlation) == key)
        });
        let mut found: Vec<_> = of_key
            .map(|record| Traced {
                recorded_at: record.recorded_at,
                log: record.stream().log(1),
                position: record.position,
            })
            .collect();
        found.sort_unstable();
        found.truncate(commands_max);
        Ok(found)
    }
}

#[async_trait]
impl Journal for Stores {
    async fn claim(&self, _: LogId) -> Result<LogState, journal::Error> {
        unreachable!()
    }
    async fn append(&self, _: Batch) -> Result<(), journal::Error> {
        unreachable!()
    }
    async fn read(&self, _: LogId, from: u64, max: usize) -> Result<Vec<Recorded>, journal::Error> {
        Ok(self.records.iter().filter(|one| one.record.position >= from).take(max).cloned().collect())
    }
    async fn state(&self, _: LogId) -> Result<LogState, journal::Error> {
        unreachable!()
    }
}

#[async_trait]
impl Topics for Stores {
    async fn produce(&self, _: Vec<Arc<Accepted>>, _: Lane) -> Result<(), topic::Error> {
        unreachable!()
    }
    async fn poll(&self, _: LogId, _: u64, _: usize) -> Result<Vec<Delivery>, topic::Error> {
        unreachable!()
    }
    async fn publish(&self, _: LogId, _: Arc<[Recorded]>) -> Result<(), topic::Error> {
        unreachable!()
    }
    async fn follow(&self, _: LogId, _: u64, _: usize) -> Result<Vec<Recorded>, topic::Error> {
        unreachable!()
    }
    async fn bury(&self, _: DeadLetter) -> Result<(), topic::Error> {
        unreachable!()
    }
    async fn dead_letters(&self, from: u64, max: usize) -> Result<Vec<(u64, Buried)>, topic::Error> {
        Ok((0..).zip(self.letters.iter().cloned()).skip(from as usize).take(max).collect())
    }
    async fn dead_letter(&self, number: u64) -> Result<Option<Buried>, topic::Error> {
        Ok(self.letters.get(number as usize).cloned())
    }
    async fn redrive(&self, number: u64, forced: bool) -> Result<Redriven, RedriveError> {
        self.letters.get(number as usize).ok_or(RedriveError::Unknown(number))?.redrive(number, forced)
    }
}

/// A query over these stores.
pub fn query(stores: Stores) -> super::Query {
    let stores = Arc::new(stores);
    let clock = Arc::new(At(stores.now));
    super::Query::new(stores.clone(), stores.clone(), stores.clone(), stores.clone(), stores, clock)
}
