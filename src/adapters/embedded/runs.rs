//! Tables of outcomes and of traces, kept for a bounded number of bytes.
//!
//! Their keys are random and a row is read once, if ever: sorting them into one tree would rewrite them again and again.
//! Each checkpoint writes a run of its own instead, under a growing number, and the oldest runs are dropped whole. A
//! look-up asks the runs from the newest on; each has a filter that answers "not here" from memory.

use super::folder::FolderError;
use super::overlay::{decode, write_sorted};
use crate::ports::index::{OutcomeRef, TRACED_MAX, Traced};
use fjall::Keyspace;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::ops::Range;
use std::sync::Arc;

/// What a row is found by: a hash, or an id that is as random.
pub type RowKey = [u8; 16];
/// run ‖ row.
type Key = [u8; 20];

/// What a run holds under a key.
pub trait Held: Clone + Serialize + DeserializeOwned {
    /// What is put.
    type Row;

    fn of(row: Self::Row) -> Self;

    /// Takes in what came later, or came again.
    fn take(&mut self, row: Self::Row);

    /// As [`Self::take`], of all that another holds.
    fn join(&mut self, later: Self);
}

/// Where a command's outcome stands: the later one, where two streams used one id.
impl Held for OutcomeRef {
    type Row = Self;

    fn of(row: Self) -> Self {
        row
    }

    fn take(&mut self, row: Self) {
        *self = row;
    }

    fn join(&mut self, later: Self) {
        *self = later;
    }
}

/// The commands of one correlation: all, or, where they are many, at least the earliest of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trace(Vec<Traced>);

impl Trace {
    /// One more than can be asked for tells that there are more.
    const KEPT_MAX: usize = TRACED_MAX + 1;

    /// The earliest commands, each once.
    pub fn earliest(mut self, commands_max: usize) -> Vec<Traced> {
        self.settle(commands_max);
        self.0
    }

    fn settle(&mut self, commands_max: usize) {
        self.0.sort_unstable();
        self.0.dedup();
        self.0.truncate(commands_max);
    }
}

impl Held for Trace {
    type Row = Traced;

    fn of(row: Traced) -> Self {
        // Most have few, and most of those that wait for a checkpoint one: no room in advance.
        Self(vec![row])
    }

    fn take(&mut self, row: Traced) {
        self.0.push(row);
        // Now and then, for sorting costs.
        if self.0.len() >= 2 * Self::KEPT_MAX {
            self.settle(Self::KEPT_MAX);
        }
    }

    fn join(&mut self, later: Self) {
        self.0.extend(later.0);
        self.settle(Self::KEPT_MAX);
    }
}

pub struct Runs<V> {
    keyspace: Keyspace,
    memory: RwLock<Memory<V>>,
}

struct Memory<V> {
    active: HashMap<RowKey, V>,
    frozen: Arc<HashMap<RowKey, V>>,
    /// Number of the run that the next flush writes.
    next_run: u32,
}

impl<V: Held> Runs<V> {
    pub fn new(keyspace: Keyspace) -> Result<Self, FolderError> {
        let newest = match keyspace.last_key_value() {
            Some(row) => Some(run_of(&row.key().map_err(FolderError::derived)?)),
            None => None,
        };
        let next_run = newest.map_or(0, |run| run + 1);
        let memory = Memory { active: HashMap::new(), frozen: Arc::default(), next_run };
        Ok(Self { keyspace, memory: RwLock::new(memory) })
    }

    pub fn put_all(&self, rows: impl ExactSizeIterator<Item = (RowKey, V::Row)>) {
        if rows.len() == 0 {
            return;
        }
        let mut memory = self.memory.write();
        memory.active.reserve(rows.len());
        for (key, row) in rows {
            match memory.active.entry(key) {
                Entry::Occupied(mut entry) => entry.get_mut().take(row),
                Entry::Vacant(entry) => {
                    entry.insert(V::of(row));
                }
            }
        }
    }

    /// What waits for a checkpoint under this key; the later is the better.
    pub fn in_memory(&self, key: &RowKey) -> Option<V> {
        let memory = self.memory.read();
        match (memory.frozen.get(key).cloned(), memory.active.get(key)) {
            (Some(mut frozen), Some(active)) => {
                frozen.join(active.clone());
                Some(frozen)
            }
            (frozen, active) => active.cloned().or(frozen),
        }
    }

    /// The runs there are. Asked for after [`Self::in_memory`]: what a checkpoint moves meanwhile is then seen twice, not
    /// missed.
    pub fn written(&self) -> Result<Range<u32>, FolderError> {
        let next_run = self.memory.read().next_run;
        Ok(match self.keyspace.first_key_value() {
            Some(row) => run_of(&row.key().map_err(FolderError::derived)?)..next_run,
            None => 0..0,
        })
    }

    pub fn of_run(&self, run: u32, key: &RowKey) -> Result<Option<V>, FolderError> {
        let bytes = self.keyspace.get(place(run, key)).map_err(FolderError::derived)?;
        bytes.map(|bytes| decode(&bytes)).transpose()
    }

    /// The latest of what is held under this key.
    pub fn latest(&self, key: &RowKey) -> Result<Option<V>, FolderError> {
        if let Some(found) = self.in_memory(key) {
            return Ok(Some(found));
        }
        for run in self.written()?.rev() {
            if let Some(found) = self.of_run(run, key)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    pub fn freeze(&self) {
        let mut memory = self.memory.write();
        let active = std::mem::take(&mut memory.active);
        if memory.frozen.is_empty() {
            memory.frozen = Arc::new(active);
            return;
        }
        // A flush failed: what it left goes with the next.
        let mut rows = Arc::unwrap_or_clone(std::mem::take(&mut memory.frozen));
        for (key, later) in active {
            match rows.entry(key) {
                Entry::Occupied(mut entry) => entry.get_mut().join(later),
                Entry::Vacant(entry) => {
                    entry.insert(later);
                }
            }
        }
        memory.frozen = Arc::new(rows);
    }

    /// Writes what was frozen as the next run.
    ///
    /// # Errors
    /// When the store refuses; the rows stay in memory.
    pub fn flush(&self) -> Result<(), FolderError> {
        let (frozen, run) = {
            let memory = self.memory.read();
            (memory.frozen.clone(), memory.next_run)
        };
        if frozen.is_empty() {
            return Ok(());
        }
        let mut rows: Vec<(Key, &V)> = frozen.iter().map(|(key, value)| (place(run, key), value)).collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        write_sorted(&self.keyspace, rows.iter().map(|(key, value)| (key, *value)))?;
        let mut memory = self.memory.write();
        memory.frozen = Arc::default();
        memory.next_run = run + 1;
        Ok(())
    }
}

fn place(run: u32, row: &RowKey) -> Key {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&run.to_be_bytes());
    key[4..].copy_from_slice(row);
    key
}

fn run_of(key: &[u8]) -> u32 {
    key.get(..4).and_then(|run| run.try_into().ok()).map_or(0, u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Aggregate, LogId};

    fn row(number: u64) -> Traced {
        let log = LogId { aggregate: Aggregate::Agent, partition: 1 };
        Traced { recorded_at: number as i64, log, position: number }
    }

    #[test]
    fn of_very_many_commands_a_trace_keeps_the_earliest_and_that_there_are_more() {
        let kept_max = Trace::KEPT_MAX as u64;
        // The latest first, and each twice.
        let mut rows = (0..kept_max + 20_000).rev().flat_map(|number| [row(number), row(number)]);
        let mut trace = Trace::of(rows.next().unwrap());
        for row in rows {
            trace.take(row);
            assert!(trace.0.len() < 2 * Trace::KEPT_MAX);
        }
        let mut joined = Trace::of(row(7));
        joined.join(trace.clone());
        for trace in [trace, joined] {
            let earliest = trace.earliest(TRACED_MAX + 1);
            assert!(earliest.into_iter().eq((0..kept_max).map(row)));
        }
    }
}
