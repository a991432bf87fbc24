//! Checking a folder: what the log must satisfy, and every derived row against a fold of the log.
//!
//! Shares nothing with the deriver and the projector but the domain: it reads records, folds events onto states by
//! itself, and looks whether the derived store says the same. The derived store may lag behind the log (it is written
//! behind), never contradict it: a row must be the fold at the row's own version, and whatever the checkpoint claims to
//! hold must be there.

use super::folder::FolderError;
use super::store::{edge_key, head_key, stream_key};
use super::{Config, Embedded, segment};
use crate::domain::record::{CHAIN_START, Hash, Record, RecordKind, chain};
use crate::domain::{AnyEvent, AnyState, LogId, StreamId};
use crate::ports::{Index, Views};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use uuid::Uuid;

/// Problems that a report names; the rest is counted.
const PROBLEMS_MAX: usize = 100;
/// Records read at once.
const RECORDS_MAX: usize = 4096;

/// What a check found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub partitions: u16,
    pub logs: usize,
    pub segments: usize,
    pub segment_bytes: u64,
    pub derived_bytes: u64,
    pub records: u64,
    pub events: u64,
    pub streams: u64,
    /// Heads, view rows and edges that were compared; 0 unless the check was deep.
    pub rows_compared: u64,
    /// Commands accepted and not decided yet.
    pub waiting: u64,
    pub dead_letters: u64,
    /// How many problems there are.
    pub problem_count: u64,
    /// The first of them, each with its place.
    pub problems: Vec<String>,
}

impl Report {
    fn problem(&mut self, text: String) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(text);
        }
    }
}

/// Checks a folder that no process has open. Opening recovers it as a start does.
///
/// # Errors
/// When it cannot be opened at all: in use, of another format, or damaged before its last sync.
pub async fn check(path: &Path, config: &Config, deep: bool) -> Result<Report, FolderError> {
    let embedded = Embedded::open(path, config)?;
    let wal = path.join("wal");
    let segments = segment::list(&wal)?;
    let mut report = Report {
        partitions: embedded.partitions,
        segments: segments.len(),
        segment_bytes: segments.iter().map(|number| size_of_file(&segment::path_of(&wal, *number))).sum(),
        derived_bytes: size_of_folder(&path.join("derived")),
        dead_letters: embedded.logs.dead_letters.load(std::sync::atomic::Ordering::Relaxed),
        waiting: embedded.logs.waiting.load(std::sync::atomic::Ordering::Relaxed) as u64,
        ..Report::default()
    };
    for log in embedded.log_ids() {
        report.logs += 1;
        let mut fold = LogFold::new(log);
        if let Err(cause) = fold.read(&embedded, deep, &mut report) {
            report.problem(format!("log {log}: {cause}"));
            continue;
        }
        report.streams += fold.streams.len() as u64;
        if deep {
            fold.compare_marks(&embedded, &mut report).await;
        }
    }
    Ok(report)
}

/// One log as it is read.
struct LogFold {
    log: LogId,
    position: u64,
    hash: Hash,
    recorded_at: i64,
    streams: HashMap<StreamId, Folded>,
}

/// One stream as the records make it.
struct Folded {
    state: AnyState,
    version: u64,
    position: u64,
    commands: HashSet<Uuid>,
    ever_depended_on: HashSet<StreamId>,
    /// The head and the row that the store holds, until the fold reaches them.
    head_at: Option<u64>,
    row_at: Option<u64>,
}

impl LogFold {
    fn new(log: LogId) -> Self {
        Self { log, position: 0, hash: CHAIN_START, recorded_at: i64::MIN, streams: HashMap::new() }
    }

    fn read(&mut self, embedded: &Embedded, deep: bool, report: &mut Report) -> Result<(), String> {
        loop {
            let records = embedded
                .journal
                .read_now(self.log, self.position + 1, RECORDS_MAX)
                .map_err(|error| error.to_string())?;
            if records.is_empty() {
                break;
            }
            for recorded in &records {
                self.record(&recorded.record, &recorded.hash, report);
                if deep {
                    self.fold(embedded, &recorded.record, report)?;
                }
            }
        }
        let state = embedded.logs.cell(self.log).inner.lock().state.clone();
        if (state.head, state.head_hash) != (self.position, self.hash) {
            report
                .problem(format!("log {}: its head is {}, its records end at {}", self.log, state.head, self.position));
        }
        Ok(())
    }

    /// Chain, numbering, time: what a log must satisfy whatever it holds.
    fn record(&mut self, record: &Record, hash: &Hash, report: &mut Report) {
        let place = || format!("log {} position {}", record.stream().log(report.partitions), record.position);
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        let expected = chain(&self.hash, &bytes);
        let mut faults = Vec::new();
        if expected != *hash {
            faults.push("its hash does not follow from the record before it".to_owned());
        }
        if record.position != self.position + 1 {
            faults.push(format!("follows {}", self.position));
        }
        if record.recorded_at < self.recorded_at {
            faults.push("is recorded before the record before it".to_owned());
        }
        if record.stream().log(report.partitions) != self.log {
            faults.push(format!("stream {} belongs to another log", record.stream()));
        }
        let folded = self.streams.entry(record.stream()).or_insert_with(|| Folded {
            state: AnyState::initial(self.log.aggregate),
            version: 0,
            position: 0,
            commands: HashSet::new(),
            ever_depended_on: HashSet::new(),
            head_at: None,
            row_at: None,
        });
        let version = folded.version + u64::from(record.kind == RecordKind::Event);
        if record.version != version {
            faults.push(format!(
                "stream {} is at version {version}, the record says {}",
                record.stream(),
                record.version
            ));
        }
        if record.previous != folded.position {
            faults.push(format!(
                "names {} as the stream's record before it, which is {}",
                record.previous, folded.position
            ));
        }
        if record.last && !folded.commands.insert(record.envelope.command_id) {
            faults.push(format!("command {} took effect before", record.envelope.command_id));
        }
        folded.version = record.version;
        folded.position = record.position;
        let place = place();
        for fault in faults {
            report.problem(format!("{place}: {fault}"));
        }
        report.records += 1;
        report.events += u64::from(record.kind == RecordKind::Event);
        self.position = record.position;
        self.hash = *hash;
        self.recorded_at = record.recorded_at;
    }

    /// Folds the record and compares whatever the store holds at exactly this point.
    fn fold(&mut self, embedded: &Embedded, record: &Record, report: &mut Report) -> Result<(), String> {
        let stream = record.stream();
        let Some(folded) = self.streams.get_mut(&stream) else { return Ok(()) };
        if record.kind == RecordKind::Event {
            let event = AnyEvent::decode(self.log.aggregate, &record.schema, record.fingerprint, &record.payload)
                .map_err(|error| format!("position {}: {error}", record.position))?;
            folded.state.evolve(&event, &record.meta());
        }
        if !record.last {
            return Ok(());
        }
        folded.ever_depended_on.extend(folded.state.depends_on(&stream));
        let head = embedded.store.head(&head_key(self.log, &stream)).map_err(|error| error.to_string())?;
        if let Some(head) = head.filter(|head| head.position == record.position) {
            report.rows_compared += 1;
            folded.head_at = Some(head.position);
            let state = blob(&folded.state, folded.version)?;
            if head.version != folded.version || *head.state != *state {
                report.problem(format!("head of {stream}: differs from the log at position {}", record.position));
            }
        }
        let row = embedded.store.rows.get(&stream_key(&stream)).map_err(|error| error.to_string())?;
        if let Some(row) = row.filter(|row| row.version == record.version && record.version > 0) {
            report.rows_compared += 1;
            folded.row_at = Some(row.version);
            if *row.state != *blob(&folded.state, folded.version)? {
                report.problem(format!("view row of {stream}: differs from the log at version {}", row.version));
            }
        }
        Ok(())
    }

    /// What the checkpoint claims to hold must be there, at the newest version that it covers.
    async fn compare_marks(&self, embedded: &Embedded, report: &mut Report) {
        let indexed_to = embedded.index.applied_to(self.log).await.unwrap_or(0);
        let projected_to = embedded.views.applied_to(self.log).await.unwrap_or(0);
        for (stream, folded) in &self.streams {
            if folded.position <= indexed_to && folded.head_at != Some(folded.position) {
                report.problem(format!("head of {stream}: missing or old, position {} is due", folded.position));
            }
            if folded.position <= projected_to && folded.version > 0 && folded.row_at != Some(folded.version) {
                report.problem(format!("view row of {stream}: missing or old, version {} is due", folded.version));
            }
            if folded.position > indexed_to {
                continue;
            }
            // Every stream that it ever depended on has an edge row; those that it depends on now are present.
            let now = folded.state.depends_on(stream);
            for from in &folded.ever_depended_on {
                report.rows_compared += 1;
                let present = embedded.store.edges.get(&edge_key(from, stream)).ok().flatten().map(|edge| edge.present);
                if present != Some(now.contains(from)) {
                    report
                        .problem(format!("edge {from} -> {stream}: {present:?}, the log says {}", now.contains(from)));
                }
            }
        }
    }
}

/// The bytes of a state, none where nothing was ever recorded but refusals.
fn blob(state: &AnyState, version: u64) -> Result<Vec<u8>, String> {
    if version == 0 {
        return Ok(Vec::new());
    }
    state.to_blob().map_err(|error| error.to_string())
}

fn size_of_file(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn size_of_folder(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => size_of_folder(&entry.path()),
            _ => size_of_file(&entry.path()),
        })
        .sum()
}
