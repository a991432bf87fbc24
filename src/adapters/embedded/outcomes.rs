//! Outcomes by command id, kept for a bounded number of bytes.
//!
//! Ids are random and a row is read once, if ever: sorting them into one tree would rewrite them again and again. Each
//! checkpoint writes a run of its own instead, under a growing number, and the oldest runs are dropped whole. A look-up
//! asks the runs from the newest on; each has a filter that answers "not here" from memory.

use super::folder::FolderError;
use super::overlay::{decode, write_sorted};
use crate::ports::index::OutcomeRef;
use fjall::Keyspace;
use hashbrown::HashMap;
use parking_lot::RwLock;
use std::sync::Arc;
use uuid::Uuid;

/// run ‖ command id.
type Key = [u8; 20];

pub struct Outcomes {
    keyspace: Keyspace,
    memory: RwLock<Memory>,
}

struct Memory {
    active: HashMap<Uuid, OutcomeRef>,
    frozen: Arc<HashMap<Uuid, OutcomeRef>>,
    /// Number of the run that the next flush writes.
    next_run: u32,
}

impl Outcomes {
    pub fn new(keyspace: Keyspace) -> Result<Self, FolderError> {
        let newest = match keyspace.last_key_value() {
            Some(row) => Some(run_of(&row.key().map_err(FolderError::derived)?)),
            None => None,
        };
        let next_run = newest.map_or(0, |run| run + 1);
        let memory = Memory { active: HashMap::new(), frozen: Arc::default(), next_run };
        Ok(Self { keyspace, memory: RwLock::new(memory) })
    }

    pub fn put_all(&self, rows: impl Iterator<Item = (Uuid, OutcomeRef)>) {
        self.memory.write().active.extend(rows);
    }

    pub fn get(&self, command_id: Uuid) -> Result<Option<OutcomeRef>, FolderError> {
        let next_run = {
            let memory = self.memory.read();
            if let Some(found) = memory.active.get(&command_id).or_else(|| memory.frozen.get(&command_id)) {
                return Ok(Some(*found));
            }
            memory.next_run
        };
        let oldest = match self.keyspace.first_key_value() {
            Some(row) => run_of(&row.key().map_err(FolderError::derived)?),
            None => return Ok(None),
        };
        for run in (oldest..next_run).rev() {
            if let Some(bytes) = self.keyspace.get(key(run, command_id)).map_err(FolderError::derived)? {
                return decode(&bytes).map(Some);
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
        rows.extend(active);
        memory.frozen = Arc::new(rows);
    }

    pub fn flush(&self) -> Result<(), FolderError> {
        let (frozen, run) = {
            let memory = self.memory.read();
            (memory.frozen.clone(), memory.next_run)
        };
        let mut rows: Vec<(Key, OutcomeRef)> = frozen.iter().map(|(id, outcome)| (key(run, *id), *outcome)).collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        write_sorted(&self.keyspace, rows.iter().map(|(key, outcome)| (key, outcome)))?;
        let mut memory = self.memory.write();
        memory.frozen = Arc::default();
        memory.next_run = run + 1;
        Ok(())
    }
}

fn key(run: u32, command_id: Uuid) -> Key {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&run.to_be_bytes());
    key[4..].copy_from_slice(command_id.as_bytes());
    key
}

fn run_of(key: &[u8]) -> u32 {
    key.get(..4).and_then(|run| run.try_into().ok()).map_or(0, u32::from_be_bytes)
}
