//! The folder as it is moved: its logs in rounds of bounded size, checked link by link as they are read, and the commands
//! that wait in it.

use super::Error;
use crate::adapters::embedded::{Entry, Lock, Run, Tail, Waiting};
use crate::domain::record::{CHAIN_START, Hash, Record, RecordKind, chain};
use crate::domain::{LogId, Micros};
use crate::ports::topic::DeadLetter;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Bytes of records after which a round is full.
const ROUND_BYTES: usize = 16 << 20;

/// What a log holds up to a position, and where its chain stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub head: u64,
    #[serde(serialize_with = "as_hex")]
    pub hash: Hash,
    pub events: u64,
    pub streams: u64,
    pub recorded_at: Micros,
}

fn as_hex<S: serde::Serializer>(hash: &Hash, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&blake3::Hash::from_bytes(*hash).to_hex())
}

impl Default for Tally {
    fn default() -> Self {
        Self { head: 0, hash: CHAIN_START, events: 0, streams: 0, recorded_at: 0 }
    }
}

impl Tally {
    /// Counts the next record.
    ///
    /// # Errors
    /// In words, when it is not the next one.
    pub fn take(&mut self, record: &Record, canonical: &[u8], hash: &Hash) -> Result<(), String> {
        let due = self.head + 1;
        if record.position != due || chain(&self.hash, canonical) != *hash {
            return Err(format!(
                "record {} does not follow on record {}: the chain is broken",
                record.position, self.head
            ));
        }
        (self.head, self.hash, self.recorded_at) = (due, *hash, record.recorded_at);
        self.events += u64::from(record.kind == RecordKind::Event);
        self.streams += u64::from(record.previous == 0);
        Ok(())
    }
}

/// A record's canonical bytes, its hash, and when it was recorded.
pub type Written = (Vec<u8>, Hash, Micros);

/// Records of one log that follow on each other.
#[derive(Debug, Default)]
pub struct Part {
    pub first_position: u64,
    pub records: Vec<Written>,
}

/// What was read in one go.
#[derive(Debug, Default)]
pub struct Round {
    pub parts: BTreeMap<LogId, Part>,
    pub letters: Vec<DeadLetter>,
    pub bytes: usize,
    /// Whether there is nothing more to read now.
    pub last: bool,
}

/// One log of the folder, as far as it was read.
#[derive(Debug, Default)]
pub struct SourceLog {
    pub tally: Tally,
    pub consumed: u64,
    /// Up to here nothing is owed.
    pub derived_to: u64,
    /// Accepted and not decided, as far as is known here. The folder's own bound on what may wait bounds it.
    waiting: VecDeque<Waiting>,
}

/// The folder, read from its beginning on.
pub struct Source {
    tail: Tail,
    pub logs: BTreeMap<LogId, SourceLog>,
}

impl Source {
    pub fn new(tail: Tail, logs: impl IntoIterator<Item = LogId>) -> Self {
        Self { tail, logs: logs.into_iter().map(|log| (log, SourceLog::default())).collect() }
    }

    /// Nobody else writes from here on.
    ///
    /// # Errors
    /// When the folder's end cannot be synced.
    pub fn hold(&mut self, lock: Arc<Lock>) -> Result<(), Error> {
        Ok(self.tail.hold(lock)?)
    }

    pub fn is_held(&self) -> bool {
        self.tail.is_held()
    }

    /// Bytes that were not read, and bytes of the whole.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn distance(&self) -> Result<(u64, u64), Error> {
        Ok((self.tail.distance()?, self.tail.size()?))
    }

    /// Reads on until a round is full or there is nothing more. Blocks on the disk.
    ///
    /// # Errors
    /// When the folder is damaged, or a log in it is.
    pub fn round(&mut self) -> Result<Round, Error> {
        let mut round = Round::default();
        while round.bytes < ROUND_BYTES {
            let entries = self.tail.read()?;
            if entries.is_empty() {
                round.last = true;
                break;
            }
            for entry in entries {
                match entry {
                    Entry::Records(run) => self.records(run, &mut round)?,
                    Entry::Command(waiting) => {
                        let log = self.logs.entry(waiting.log).or_default();
                        if waiting.offset >= log.consumed {
                            log.waiting.push_back(waiting);
                        }
                    }
                    Entry::DeadLetter(letter) => {
                        round.bytes += letter.bytes.len();
                        round.letters.push(*letter);
                    }
                }
            }
        }
        Ok(round)
    }

    fn records(&mut self, run: Run, round: &mut Round) -> Result<(), Error> {
        let log = self.logs.entry(run.log).or_default();
        let part = round.parts.entry(run.log).or_default();
        if part.records.is_empty() {
            part.first_position = log.tally.head + 1;
        }
        for (bytes, hash) in run.records {
            let broken = |cause: String| Error::Folder { log: run.log, cause };
            let record = Record::decode(&bytes).map_err(|error| broken(error.to_string()))?;
            log.tally.take(&record, &bytes, &hash).map_err(broken)?;
            round.bytes += bytes.len();
            part.records.push((bytes, hash, record.recorded_at));
        }
        log.consumed = log.consumed.max(run.consumed);
        log.derived_to = log.derived_to.max(run.derived_to);
        while log.waiting.front().is_some_and(|waiting| waiting.offset < log.consumed) {
            log.waiting.pop_front();
        }
        Ok(())
    }

    /// Every command that waits, per log in the order in which they were accepted.
    pub fn waiting(&self) -> impl Iterator<Item = &Waiting> {
        self.logs.values().flat_map(|log| &log.waiting)
    }
}
