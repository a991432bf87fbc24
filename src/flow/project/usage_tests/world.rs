//! The stores behind a projector, and what goes wrong with them: reads and writes that fail, in the middle of a batch too,
//! and crashes that take whatever the contracts let them take.

use crate::domain::usage::{Retention, Row, Series, Slot, Totals};
use crate::domain::{Aggregate, LogId, Micros, StreamId, TenantId};
use crate::ports::journal::Recorded;
use crate::ports::topic::{Accepted, Buried, DeadLetter, Delivery, Lane, RedriveError, Redriven};
use crate::ports::views::{RowData, ViewRow};
use crate::ports::{Clock, Topics, Usage, Views, topic, usage as port, views};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use uuid::Uuid;

/// What survives of a thing that was written several times: each version with the number of the write.
pub type Versions<T> = Vec<(u64, T)>;

/// A log, the stores behind its projector, and what goes wrong.
#[derive(Default)]
pub struct World {
    pub records: Vec<Recorded>,
    pub retention: Retention,
    pub now: Micros,
    pub state: Mutex<Stores>,
}

#[derive(Default)]
pub struct Stores {
    /// Counts every write, of whatever store.
    pub writes: u64,
    pub usage: BTreeMap<Slot, Versions<Row>>,
    pub rows: BTreeMap<StreamId, Versions<RowData>>,
    pub marks: Versions<u64>,
    /// What is decided by chance.
    pub dice: Vec<u32>,
    pub rolled: usize,
}

impl Stores {
    fn roll(&mut self, below: usize) -> usize {
        self.rolled += 1;
        // A script that is over lets everything succeed.
        let rolled = self.dice.get(self.rolled).map_or(below - 1, |dice| *dice as usize % below);
        rolled.min(below - 1)
    }

    fn write(&mut self) -> u64 {
        self.writes += 1;
        self.writes
    }

    /// Loses what was written after some mark, or not; nothing that was written before it.
    pub fn crash(&mut self) {
        let keep = self.roll(self.marks.len() + 1);
        self.marks.truncate(keep);
        let durable = self.marks.last().map_or(0, |(write, _)| *write);
        let mut usage = std::mem::take(&mut self.usage);
        usage.values_mut().for_each(|versions| self.lose(versions, durable));
        let mut rows = std::mem::take(&mut self.rows);
        rows.values_mut().for_each(|versions| self.lose(versions, durable));
        (self.usage, self.rows) = (usage, rows);
    }

    fn lose<T>(&mut self, versions: &mut Versions<T>, durable: u64) {
        let least = versions.iter().filter(|(write, _)| *write <= durable).count();
        let keep = least + self.roll(versions.len() - least + 1);
        versions.truncate(keep);
    }
}

#[async_trait]
impl Topics for World {
    async fn follow(&self, _: LogId, after: u64, records_max: usize) -> Result<Vec<Recorded>, topic::Error> {
        let mut stores = self.state.lock();
        let left = &self.records[after as usize..];
        // The last face is that nothing goes wrong.
        if left.is_empty() || stores.roll(8) == 0 {
            return Err(topic::Error::Unavailable("away".into()));
        }
        let batch = 1 + stores.roll(records_max.min(left.len()).min(6));
        let from_memory = stores.roll(2) == 0;
        let decided = |it: &Recorded| it.decided.clone().filter(|_| from_memory);
        Ok(left[..batch].iter().map(|it| Recorded { decided: decided(it), ..it.clone() }).collect())
    }
    async fn produce(&self, _: Vec<Arc<Accepted>>, _: Lane) -> Result<(), topic::Error> {
        unreachable!()
    }
    async fn poll(&self, _: LogId, _: u64, _: usize) -> Result<Vec<Delivery>, topic::Error> {
        unreachable!()
    }
    async fn publish(&self, _: LogId, _: Arc<[Recorded]>) -> Result<(), topic::Error> {
        unreachable!()
    }
    async fn bury(&self, _: DeadLetter) -> Result<(), topic::Error> {
        unreachable!()
    }
    async fn dead_letters(&self, _: u64, _: usize) -> Result<Vec<(u64, Buried)>, topic::Error> {
        unreachable!()
    }
    async fn dead_letter(&self, _: u64) -> Result<Option<Buried>, topic::Error> {
        unreachable!()
    }
    async fn redrive(&self, number: u64, _: bool) -> Result<Redriven, RedriveError> {
        Err(RedriveError::Unknown(number))
    }
}

#[async_trait]
impl Views for World {
    async fn apply(&self, _: LogId, rows: Vec<ViewRow>, through: u64) -> Result<(), views::Error> {
        let mut stores = self.state.lock();
        for row in rows {
            if stores.roll(20) == 0 {
                return Err(views::Error::Unavailable("down".into()));
            }
            let write = stores.write();
            let versions = stores.rows.entry(row.stream).or_default();
            if versions.last().is_none_or(|(_, newest)| newest.version <= row.data.version) {
                versions.push((write, row.data));
            }
        }
        let write = stores.write();
        stores.marks.push((write, through));
        Ok(())
    }
    async fn applied_to(&self, _: LogId) -> Result<u64, views::Error> {
        Ok(self.state.lock().marks.last().map_or(0, |(_, mark)| *mark))
    }
    async fn get(&self, stream: StreamId) -> Result<Option<ViewRow>, views::Error> {
        let stores = self.state.lock();
        let newest = stores.rows.get(&stream).and_then(|versions| versions.last());
        Ok(newest.map(|(_, data)| ViewRow { stream, data: data.clone() }))
    }
    async fn list(&self, _: TenantId, _: Aggregate, _: Option<Uuid>, _: usize) -> Result<Vec<ViewRow>, views::Error> {
        unreachable!()
    }
    async fn list_all(
        &self,
        _: Aggregate,
        _: Option<(TenantId, Uuid)>,
        _: usize,
    ) -> Result<Vec<ViewRow>, views::Error> {
        unreachable!()
    }
}

#[async_trait]
impl Usage for World {
    fn retention(&self) -> &Retention {
        &self.retention
    }
    async fn rows(&self, _: LogId, slots: &[Slot]) -> Result<Vec<Option<Row>>, port::Error> {
        let mut stores = self.state.lock();
        if stores.roll(20) == 0 {
            return Err(port::Error::Unavailable("down".into()));
        }
        Ok(slots.iter().map(|slot| Some(stores.usage.get(slot)?.last()?.1.clone())).collect())
    }
    async fn put(&self, _: LogId, rows: Vec<(Slot, Row)>, _: Micros) -> Result<(), port::Error> {
        let mut stores = self.state.lock();
        for (slot, row) in rows {
            if stores.roll(60) == 0 {
                return Err(port::Error::Unavailable("down".into()));
            }
            let write = stores.write();
            let versions = stores.usage.entry(slot).or_default();
            if versions.last().is_none_or(|(_, newest)| newest.position <= row.position) {
                versions.push((write, row));
            }
        }
        Ok(())
    }
    async fn windows(&self, _: &Series, _: Range<Micros>) -> Result<Vec<(Micros, Totals)>, port::Error> {
        unreachable!()
    }
    async fn keys(&self, _: &port::Keys<'_>) -> Result<Vec<Arc<str>>, port::Error> {
        unreachable!()
    }
}

impl Clock for World {
    fn now(&self) -> Micros {
        self.now
    }
}
