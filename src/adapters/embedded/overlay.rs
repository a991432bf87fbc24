//! A table that is written behind: the newest rows in memory, all others in the ordered store beneath.
//!
//! `put` touches memory only. A checkpoint freezes what was put, writes it as one sorted run, and lets go of it; readers
//! see the frozen rows all the while. Nothing here is durable by itself: what a crash takes is derived again.

use super::folder::FolderError;
use fjall::Keyspace;
use parking_lot::RwLock;
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

type Rows<K, V> = BTreeMap<K, V>;

/// Bytes that sort as they are: an array, where all keys of a table have one length, or a vector.
pub trait Key: Ord + Clone + AsRef<[u8]> + for<'a> TryFrom<&'a [u8]> {}

impl<K: Ord + Clone + AsRef<[u8]> + for<'a> TryFrom<&'a [u8]>> Key for K {}

/// A table with such keys.
pub struct Overlay<K, V> {
    keyspace: Keyspace,
    memory: RwLock<Memory<K, V>>,
}

struct Memory<K, V> {
    active: Rows<K, V>,
    frozen: Arc<Rows<K, V>>,
}

impl<K: Key, V: Clone + Serialize + DeserializeOwned> Overlay<K, V> {
    pub fn new(keyspace: Keyspace) -> Self {
        Self { keyspace, memory: RwLock::new(Memory { active: BTreeMap::new(), frozen: Arc::default() }) }
    }

    pub fn put(&self, key: K, value: V) {
        self.memory.write().active.insert(key, value);
    }

    pub fn put_all(&self, rows: impl IntoIterator<Item = (K, V)>) {
        self.memory.write().active.extend(rows);
    }

    pub fn get(&self, key: &K) -> Result<Option<V>, FolderError> {
        {
            let memory = self.memory.read();
            if let Some(value) = memory.active.get(key).or_else(|| memory.frozen.get(key)) {
                return Ok(Some(value.clone()));
            }
        }
        let bytes = self.keyspace.get(key.as_ref()).map_err(FolderError::derived)?;
        bytes.map(|bytes| decode(&bytes)).transpose()
    }

    /// The first `rows_max` rows with keys from `from` on and, where given, below `to`, in key order.
    pub fn scan(&self, from: &K, to: Option<&K>, rows_max: usize) -> Result<Vec<(K, V)>, FolderError> {
        let bounds = (Bound::Included(from.clone()), to.cloned().map_or(Bound::Unbounded, Bound::Excluded));
        let mut merged: Rows<K, V> = BTreeMap::new();
        // The memory is read first: a row that a checkpoint moves meanwhile is then seen twice, not missed.
        {
            let memory = self.memory.read();
            let frozen = memory.frozen.range(bounds.clone()).take(rows_max);
            let active = memory.active.range(bounds.clone()).take(rows_max);
            merged.extend(frozen.chain(active).map(|(key, value)| (key.clone(), value.clone())));
        }
        for row in self.keyspace.range::<K, _>(bounds).take(rows_max) {
            let (key, value) = row.into_inner().map_err(FolderError::derived)?;
            let key = K::try_from(&key[..]).map_err(|_| FolderError::derived("a key of another length"))?;
            if let std::collections::btree_map::Entry::Vacant(vacant) = merged.entry(key) {
                vacant.insert(decode(&value)?);
            }
        }
        Ok(merged.into_iter().take(rows_max).collect())
    }

    /// Sets the rows put so far aside for [`Self::flush`].
    pub fn freeze(&self) {
        let mut memory = self.memory.write();
        if memory.frozen.is_empty() {
            memory.frozen = Arc::new(std::mem::take(&mut memory.active));
            return;
        }
        // A flush failed: what it left goes with the next.
        let mut rows = Arc::unwrap_or_clone(std::mem::take(&mut memory.frozen));
        rows.append(&mut memory.active);
        memory.frozen = Arc::new(rows);
    }

    /// Writes what was frozen as one sorted run, and lets go of it.
    ///
    /// # Errors
    /// When the store refuses; the rows stay in memory.
    pub fn flush(&self) -> Result<(), FolderError> {
        let frozen = self.memory.read().frozen.clone();
        write_sorted(&self.keyspace, frozen.iter())?;
        self.memory.write().frozen = Arc::default();
        Ok(())
    }
}

/// Keys that one run removes.
const REMOVED_MAX: usize = 10_000;

impl<K: Key, V> Overlay<K, V> {
    /// Removes the written rows with keys from `from` on and below `to`. What is in memory stays.
    ///
    /// # Errors
    /// When the store refuses; some may be gone.
    pub fn remove(&self, from: &K, to: &K) -> Result<(), FolderError> {
        let mut from = Bound::Included(from.clone());
        loop {
            let mut keys = Vec::new();
            for row in self.keyspace.range::<K, _>((from.clone(), Bound::Excluded(to.clone()))).take(REMOVED_MAX) {
                keys.push(row.key().map_err(FolderError::derived)?);
            }
            let Some(last) = keys.last() else { return Ok(()) };
            from = Bound::Excluded(K::try_from(last).map_err(|_| FolderError::derived("a key of another length"))?);
            let mut run = self.keyspace.start_ingestion().map_err(FolderError::derived)?;
            for key in &keys {
                run.write_tombstone(&key[..]).map_err(FolderError::derived)?;
            }
            run.finish().map_err(FolderError::derived)?;
            std::thread::sleep(PAUSE);
        }
    }
}

/// Bytes of rows after which a run pauses, and for how long: a disk that takes a whole run at once makes the next sync of
/// the segments wait for it.
const STRIDE_BYTES: usize = 4 << 20;
const PAUSE: Duration = Duration::from_millis(10);

/// Writes rows in ascending key order as one sorted run: neither the store's journal nor its memtable is touched.
pub fn write_sorted<'a, K: AsRef<[u8]> + 'a, V: Serialize + 'a>(
    keyspace: &Keyspace,
    rows: impl Iterator<Item = (&'a K, &'a V)>,
) -> Result<(), FolderError> {
    let mut run = keyspace.start_ingestion().map_err(FolderError::derived)?;
    let mut buffer = Vec::new();
    let mut stride = 0;
    for (key, value) in rows {
        if stride >= STRIDE_BYTES {
            stride = 0;
            std::thread::sleep(PAUSE);
        }
        buffer.clear();
        buffer = postcard::to_extend(value, buffer).map_err(FolderError::derived)?;
        stride += key.as_ref().len() + buffer.len();
        run.write(key.as_ref(), &buffer[..]).map_err(FolderError::derived)?;
    }
    run.finish().map_err(FolderError::derived)
}

pub fn decode<V: DeserializeOwned>(bytes: &[u8]) -> Result<V, FolderError> {
    postcard::from_bytes(bytes).map_err(FolderError::derived)
}
