//! Port `journal`, embedded: compare-and-set by the committer, reads by location.

use super::committer::Write;
use super::logs::Logs;
use super::segment::{Location, Readers};
use super::{Config, store::Store};
use crate::domain::LogId;
use crate::domain::record::{Hash, Record};
use crate::ports::journal::{Batch, Error, Journal, LogState, Recorded};
use async_trait::async_trait;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use tokio::sync::oneshot;

/// Bytes read at once: several records of a batch, most of the time.
const READ_BYTES: usize = 32 << 10;
/// Longest record that a location may lead to.
const RECORD_BYTES_MAX: usize = 1 << 30;
/// Bytes around a record: its length, its checksum, its hash.
const RECORD_OVERHEAD: usize = 4 + 4 + 32;

pub struct EmbeddedJournal {
    logs: Arc<Logs>,
    inbox: Sender<Write>,
    readers: Readers,
    store: OnceLock<Arc<Store>>,
    batch_bytes_max: usize,
}

impl EmbeddedJournal {
    pub(super) fn new(logs: Arc<Logs>, inbox: Sender<Write>, wal: PathBuf, config: &Config) -> Self {
        Self {
            logs,
            inbox,
            readers: Readers::new(wal),
            store: OnceLock::new(),
            batch_bytes_max: config.batch_bytes_max,
        }
    }

    pub(super) fn set_store(&self, store: Arc<Store>) {
        let _ = self.store.set(store);
    }

    /// Reads records whether they are published or not; never beyond the head.
    pub(super) fn read_now(&self, log: LogId, from: u64, records_max: usize) -> Result<Vec<Recorded>, Error> {
        let from = from.max(1);
        let locations = self.locations(log, from, records_max)?;
        let mut chunk = Chunk::default();
        let mut records = Vec::with_capacity(locations.len());
        for (step, location) in locations.into_iter().enumerate() {
            let position = from + step as u64;
            let damaged = |cause: String| Error::Damaged { log, position, cause };
            let recorded = self.read_at(Location::unpack(location), &mut chunk).map_err(damaged)?;
            if recorded.record.position != position || recorded.record.stream().aggregate != log.aggregate {
                return Err(damaged("another record stands in its place".into()));
            }
            records.push(recorded);
        }
        Ok(records)
    }

    /// Packed locations of the positions from `from` on.
    fn locations(&self, log: LogId, from: u64, records_max: usize) -> Result<Vec<u64>, Error> {
        let (located, head, recent) = {
            let inner = self.logs.cell(log).inner.lock();
            let skip = from.saturating_sub(inner.located + 1) as usize;
            let recent: Vec<u64> = inner.locations.iter().skip(skip).take(records_max).copied().collect();
            (inner.located, inner.state.head, recent)
        };
        if from > head {
            return Ok(Vec::new());
        }
        if from > located {
            return Ok(recent);
        }
        let store = self.store.get().ok_or_else(|| Error::Unavailable("the derived store is not open".into()))?;
        let mut locations = store.locations(log, from, located, records_max).map_err(|error| {
            Error::Unavailable(format!("the location of record {from} of log {log} cannot be read: {error}"))
        })?;
        let room = records_max - locations.len();
        if locations.len() as u64 == located + 1 - from {
            locations.extend(recent.into_iter().take(room));
        }
        Ok(locations)
    }

    fn read_at(&self, location: Location, chunk: &mut Chunk) -> Result<Recorded, String> {
        let length = u32::from_le_bytes(chunk.get(self, location, 4)?.try_into().unwrap_or_default()) as usize;
        if length > RECORD_BYTES_MAX {
            return Err("its length is absurd".into());
        }
        let whole = chunk.get(self, location, RECORD_OVERHEAD + length)?;
        let crc = u32::from_le_bytes(whole[4..8].try_into().unwrap_or_default());
        let bytes = &whole[8..8 + length];
        if crc32fast::hash(bytes) != crc {
            return Err("its checksum does not match".into());
        }
        let mut hash: Hash = [0; 32];
        hash.copy_from_slice(&whole[8 + length..]);
        let record = Record::decode(bytes).map_err(|error| error.to_string())?;
        Ok(Recorded { record, hash, decided: None })
    }
}

/// What was read last: the next record is most often in it.
#[derive(Default)]
struct Chunk {
    segment: u32,
    start: usize,
    bytes: Vec<u8>,
}

impl Chunk {
    fn get(&mut self, journal: &EmbeddedJournal, at: Location, length: usize) -> Result<&[u8], String> {
        let offset = at.offset as usize;
        let inside =
            self.segment == at.segment && offset >= self.start && offset + length <= self.start + self.bytes.len();
        if !inside {
            let file = journal.readers.file(at.segment).map_err(|error| error.to_string())?;
            self.bytes.resize(length.max(READ_BYTES), 0);
            let mut filled = 0;
            while filled < self.bytes.len() {
                match file.read_at(&mut self.bytes[filled..], (offset + filled) as u64) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(error) => return Err(error.to_string()),
                }
            }
            self.bytes.truncate(filled);
            (self.segment, self.start) = (at.segment, offset);
            if filled < length {
                return Err("the segment ends before it".into());
            }
        }
        let start = offset - self.start;
        Ok(&self.bytes[start..start + length])
    }
}

#[async_trait]
impl Journal for EmbeddedJournal {
    async fn claim(&self, log: LogId) -> Result<LogState, Error> {
        let (done, answer) = oneshot::channel();
        self.inbox.send(Write::Claim { log, done }).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    async fn append(&self, batch: Batch) -> Result<(), Error> {
        let log = batch.log;
        let bytes: usize = batch.records.iter().map(|(bytes, _)| bytes.len() + RECORD_OVERHEAD).sum();
        if bytes > self.batch_bytes_max {
            return Err(Error::TooLarge { log, bytes, bytes_max: self.batch_bytes_max });
        }
        let (done, answer) = oneshot::channel();
        self.inbox.send(Write::Append { batch: Box::new(batch), done }).map_err(|_| stopped())?;
        answer.await.map_err(|_| Error::Unknown { log, cause: "the committer ended".into() })?
    }

    async fn read(&self, log: LogId, from: u64, records_max: usize) -> Result<Vec<Recorded>, Error> {
        self.read_now(log, from, records_max)
    }

    async fn state(&self, log: LogId) -> Result<LogState, Error> {
        Ok(self.logs.cell(log).inner.lock().state.clone())
    }
}

fn stopped() -> Error {
    Error::Unavailable("the committer has ended".into())
}
