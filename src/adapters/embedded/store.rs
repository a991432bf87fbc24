//! The derived store: ordered tables on disk, each behind an overlay, all of them disposable.

use super::folder::FolderError;
use super::overlay::{Overlay, decode, write_sorted};
use super::runs::{Runs, Trace};
use super::{Config, logs};
use crate::domain::{LogId, StreamId, usage};
use crate::ports::index::{Head, Known, OutcomeRef};
use crate::ports::topic::Buried;
use crate::ports::views::RowData;
use fjall::compaction::Fifo;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

/// depended-on ‖ dependent.
pub type EdgeKey = [u8; 66];
/// stream ‖ command id.
pub type KnownKey = [u8; 49];
/// log ‖ tenant ‖ id: heads of one log stand together, as a checkpoint writes them.
pub type HeadKey = [u8; 35];
/// log ‖ first position.
type LocationKey = [u8; 11];

/// Locations in one row.
const LOCATIONS_PER_ROW: usize = 1024;

/// An edge as it is stored.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub struct EdgeRow {
    /// Position in the dependent's log of the record that made or took it.
    pub position: u64,
    pub present: bool,
}

pub struct Store {
    /// Kept open for as long as its tables.
    _database: Database,
    heads: Keyspace,
    locations: Keyspace,
    pub edges: Overlay<EdgeKey, EdgeRow>,
    pub known: Overlay<KnownKey, Known>,
    pub outcomes: Runs<OutcomeRef>,
    /// Empty at first in a folder of a program that kept none: what that one recorded is not in them.
    pub traces: Runs<Trace>,
    pub rows: Overlay<[u8; StreamId::KEY_LEN], RowData>,
    pub usage: Overlay<Vec<u8>, usage::Row>,
    pub dead_letters: Overlay<[u8; 8], Buried>,
}

impl Store {
    pub fn open(path: &Path, config: &Config) -> Result<Self, FolderError> {
        let database = open_in_background(path, config.row_cache_bytes_max)?;
        let table = |name: &str| database.keyspace(name, KeyspaceCreateOptions::default).map_err(FolderError::derived);
        // Runs are dropped whole, oldest first: no compaction, and a bound in bytes.
        let runs = |name: &str, bytes_max: u64| {
            let dropping =
                || KeyspaceCreateOptions::default().compaction_strategy(Arc::new(Fifo::new(bytes_max, None)));
            database.keyspace(name, dropping).map_err(FolderError::derived)
        };
        Ok(Self {
            heads: table("heads")?,
            locations: table("locations")?,
            edges: Overlay::new(table("edges")?),
            known: Overlay::new(table("known")?),
            outcomes: Runs::new(runs("outcomes", config.outcomes_bytes_max)?)?,
            traces: Runs::new(runs("traces", config.traces_bytes_max)?)?,
            rows: Overlay::new(table("rows")?),
            usage: Overlay::new(table("usage")?),
            dead_letters: Overlay::new(table("dead_letters")?),
            _database: database,
        })
    }

    pub fn head(&self, key: &HeadKey) -> Result<Option<Head>, FolderError> {
        let bytes = self.heads.get(key).map_err(FolderError::derived)?;
        bytes.map(|bytes| decode(&bytes)).transpose()
    }

    /// Writes heads in ascending key order.
    pub fn write_heads<'a>(&self, heads: impl Iterator<Item = (&'a HeadKey, &'a Head)>) -> Result<(), FolderError> {
        write_sorted(&self.heads, heads)
    }

    /// Writes the locations of consecutive positions of logs: (log, first position, locations), in the order of
    /// [`log_bytes`].
    pub fn write_locations(&self, runs: &[(LogId, u64, Vec<u64>)]) -> Result<(), FolderError> {
        let rows: Vec<(LocationKey, Vec<u64>)> = runs
            .iter()
            .flat_map(|(log, first, locations)| {
                locations.chunks(LOCATIONS_PER_ROW).enumerate().map(move |(step, chunk)| {
                    (location_key(*log, first + (step * LOCATIONS_PER_ROW) as u64), chunk.to_vec())
                })
            })
            .collect();
        write_sorted(&self.locations, rows.iter().map(|(key, value)| (key, value)))
    }

    /// Packed locations of the positions `from..=to` of a log, at most `locations_max`.
    pub fn locations(&self, log: LogId, from: u64, to: u64, locations_max: usize) -> Result<Vec<u64>, FolderError> {
        let mut found = Vec::new();
        let start = self.locations.range(location_key(log, 0)..=location_key(log, from)).next_back();
        let Some(start) = start else { return Ok(found) };
        let start = start.key().map_err(FolderError::derived)?;
        for row in self.locations.range(&start[..]..=&location_key(log, to)[..]) {
            let (key, value) = row.into_inner().map_err(FolderError::derived)?;
            let mut first = [0; 8];
            first.copy_from_slice(&key[3..11]);
            let first = u64::from_be_bytes(first);
            let chunk: Vec<u64> = decode(&value)?;
            for (step, location) in chunk.into_iter().enumerate() {
                let position = first + step as u64;
                if position >= from && position <= to && position == from + found.len() as u64 {
                    found.push(location);
                }
            }
            if found.len() >= locations_max {
                found.truncate(locations_max);
                break;
            }
        }
        Ok(found)
    }
}

/// Opens the database from a thread that gives way, so that the thread it compacts on, which inherits that, does too.
fn open_in_background(path: &Path, cache_bytes_max: u64) -> Result<Database, FolderError> {
    let path = path.to_owned();
    let opening = std::thread::spawn(move || {
        crate::adapters::thread::give_way();
        // One thread compacts: the flow needs the others.
        Database::builder(path).cache_size(cache_bytes_max).worker_threads(1).open()
    });
    match opening.join() {
        Ok(database) => database.map_err(FolderError::derived),
        Err(_) => Err(FolderError::derived("opening it panicked")),
    }
}

/// Big-endian so that keys sort as logs do.
pub fn log_bytes(log: LogId) -> [u8; 3] {
    let [high, low] = log.partition.to_be_bytes();
    [log.aggregate as u8, high, low]
}

fn location_key(log: LogId, position: u64) -> LocationKey {
    let mut key = [0; 11];
    key[..3].copy_from_slice(&log_bytes(log));
    key[3..].copy_from_slice(&position.to_be_bytes());
    key
}

pub fn edge_key(from: &StreamId, to: &StreamId) -> EdgeKey {
    let mut key = [0; 66];
    key[..33].copy_from_slice(&from.to_key());
    key[33..].copy_from_slice(&to.to_key());
    key
}

pub fn known_key(stream: &StreamId, command_id: Uuid) -> KnownKey {
    let mut key = [0; 49];
    key[..33].copy_from_slice(&stream.to_key());
    key[33..].copy_from_slice(command_id.as_bytes());
    key
}

pub fn head_key(log: LogId, stream: &StreamId) -> HeadKey {
    let mut key = [0; 35];
    key[..3].copy_from_slice(&log_bytes(log));
    key[3..19].copy_from_slice(stream.tenant.0.as_bytes());
    key[19..].copy_from_slice(stream.id.as_bytes());
    key
}

/// Every log of this many partitions, with its slot.
pub fn slots(partitions: u16) -> impl Iterator<Item = (usize, LogId)> {
    super::log_ids(partitions).into_iter().map(move |log| (logs::slot(log, partitions), log))
}

/// The key after this one.
pub fn increment<const N: usize>(key: &mut [u8; N]) {
    for byte in key.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return;
        }
    }
}
