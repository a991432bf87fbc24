//! Auditing a log: what its records must satisfy whatever they hold, and the states that they make.
//!
//! Shares nothing with the deriver and the projector but the aggregates: it folds events onto states by itself, so that
//! derived rows can be held against something that was not made by the same hands.

use super::record::{CHAIN_START, Hash, Record, RecordKind, chain};
use super::{AnyEvent, AnyState, LogId, Partitions, StreamId};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// Problems that are named; the rest is counted.
const PROBLEMS_MAX: usize = 100;

/// What audits found wrong.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Problems {
    #[serde(rename = "problem_count")]
    pub count: u64,
    /// The first of them, each with its place.
    #[serde(rename = "problems")]
    pub named: Vec<String>,
}

impl Problems {
    pub fn add(&mut self, problem: String) {
        self.count += 1;
        if self.named.len() < PROBLEMS_MAX {
            self.named.push(problem);
        }
    }
}

/// One log as it is read.
pub struct LogAudit {
    log: LogId,
    partitions: Partitions,
    /// Of the last record read.
    pub position: u64,
    pub hash: Hash,
    recorded_at: i64,
    pub streams: HashMap<StreamId, Folded>,
}

/// One stream as its records make it.
pub struct Folded {
    pub state: AnyState,
    pub version: u64,
    /// Of its last record.
    pub position: u64,
    commands: HashSet<Uuid>,
    /// Every stream that it ever had an edge from.
    pub ever_depended_on: HashSet<StreamId>,
}

impl Folded {
    /// The bytes of its state, none where nothing was ever recorded but refusals.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn blob(&self) -> Result<Vec<u8>, String> {
        if self.version == 0 {
            return Ok(Vec::new());
        }
        self.state.to_blob().map_err(|error| error.to_string())
    }
}

impl LogAudit {
    pub fn new(log: LogId, partitions: Partitions) -> Self {
        let (position, hash) = (0, CHAIN_START);
        Self { log, partitions, position, hash, recorded_at: i64::MIN, streams: HashMap::new() }
    }

    /// Takes the next record: chain, numbering, time, one effect per command.
    pub fn record(&mut self, record: &Record, hash: &Hash, problems: &mut Problems) {
        for fault in self.faults(record, hash) {
            problems.add(format!("log {} position {}: {fault}", self.log, record.position));
        }
    }

    fn faults(&mut self, record: &Record, hash: &Hash) -> Vec<String> {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        let mut faults = Vec::new();
        if chain(&self.hash, &bytes) != *hash {
            faults.push("its hash does not follow from the record before it".to_owned());
        }
        if record.position != self.position + 1 {
            faults.push(format!("follows {}", self.position));
        }
        if record.recorded_at < self.recorded_at {
            faults.push("is recorded before the record before it".to_owned());
        }
        let stream = record.stream();
        if stream.log(self.partitions) != self.log {
            faults.push(format!("stream {stream} belongs to another log"));
        }
        let folded = self.streams.entry(stream).or_insert_with(|| Folded {
            state: AnyState::initial(self.log.aggregate),
            version: 0,
            position: 0,
            commands: HashSet::new(),
            ever_depended_on: HashSet::new(),
        });
        let version = folded.version + u64::from(record.kind == RecordKind::Event);
        if record.version != version {
            faults.push(format!("stream {stream} is at version {version}, the record says {}", record.version));
        }
        if record.previous != folded.position {
            let (named, due) = (record.previous, folded.position);
            faults.push(format!("names {named} as the stream's record before it, which is {due}"));
        }
        if record.last && !folded.commands.insert(record.envelope.command_id) {
            faults.push(format!("command {} took effect before", record.envelope.command_id));
        }
        folded.version = record.version;
        folded.position = record.position;
        self.position = record.position;
        self.hash = *hash;
        self.recorded_at = record.recorded_at;
        faults
    }

    /// Folds that record onto its stream's state, and gives the stream as it then stands.
    ///
    /// # Errors
    /// When its event cannot be read.
    pub fn fold(&mut self, record: &Record) -> Result<Option<&mut Folded>, String> {
        let stream = record.stream();
        let Some(folded) = self.streams.get_mut(&stream) else { return Ok(None) };
        if record.kind == RecordKind::Event {
            let event = AnyEvent::decode(self.log.aggregate, &record.schema, record.fingerprint, &record.payload)
                .map_err(|error| format!("position {}: {error}", record.position))?;
            folded.state.evolve(&event, &record.meta());
        }
        if record.last {
            folded.ever_depended_on.extend(folded.state.sources(self.log, &stream));
        }
        Ok(Some(folded))
    }
}
