//! Checking a folder: what the log must satisfy, and every derived row against a fold of the log.
//!
//! The records are folded by [`crate::domain::audit`], and the derived store must say the same. It may lag behind the
//! log (it is written behind), never contradict it: a row must be the fold at the row's own version, and whatever the
//! checkpoint claims to hold must be there.

mod usage;

use super::folder::FolderError;
use super::store::{edge_key, head_key};
use super::{Config, Embedded, segment};
use crate::domain::audit::{LogAudit, Problems};
use crate::domain::record::{Record, RecordKind};
use crate::domain::{LogId, StreamId};
use crate::ports::journal::Recorded;
use crate::ports::{Index, Views};
use serde::Serialize;
use std::collections::HashMap;
use std::path::Path;
use usage::UsageCheck;

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
    /// Heads, view rows, usage rows and edges that were compared; 0 unless the check was deep.
    pub rows_compared: u64,
    /// Commands accepted and not decided yet.
    pub waiting: u64,
    pub dead_letters: u64,
    #[serde(flatten)]
    pub problems: Problems,
}

/// Checks a folder that no process has open. Opening recovers it as a start does.
///
/// # Errors
/// When it cannot be opened at all: in use, of another format, or damaged before its last sync.
pub async fn check(path: &Path, config: &Config, deep: bool) -> Result<Report, FolderError> {
    let embedded = Embedded::open_to_check(path, config)?;
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
        let mut check = LogCheck::new(log, embedded.partitions);
        if let Err(cause) = check.read(&embedded, deep, &mut report) {
            report.problems.add(format!("log {log}: {cause}"));
            continue;
        }
        report.streams += check.audit.streams.len() as u64;
        if deep {
            check.compare_marks(&embedded, &mut report).await;
        }
    }
    Ok(report)
}

/// One log as it is read, and what the store holds of its streams.
struct LogCheck {
    log: LogId,
    audit: LogAudit,
    /// Position of the head, and version of the row, that the store holds, once the fold has reached them.
    stored: HashMap<StreamId, (Option<u64>, Option<u64>)>,
    usage: UsageCheck,
}

impl LogCheck {
    fn new(log: LogId, partitions: u16) -> Self {
        Self { log, audit: LogAudit::new(log, partitions.into()), stored: HashMap::new(), usage: UsageCheck::default() }
    }

    fn read(&mut self, embedded: &Embedded, deep: bool, report: &mut Report) -> Result<(), String> {
        loop {
            let records = embedded
                .journal
                .read_now(self.log, self.audit.position + 1, RECORDS_MAX)
                .map_err(|error| error.to_string())?;
            if records.is_empty() {
                break;
            }
            for Recorded { record, hash, .. } in &records {
                self.audit.record(record, hash, &mut report.problems);
                report.records += 1;
                report.events += u64::from(record.kind == RecordKind::Event);
                if deep {
                    self.compare(embedded, record, report)?;
                }
            }
        }
        let state = embedded.logs.cell(self.log).inner.lock().state.clone();
        if (state.head, state.head_hash) != (self.audit.position, self.audit.hash) {
            let (head, end) = (state.head, self.audit.position);
            report.problems.add(format!("log {}: its head is {head}, its records end at {end}", self.log));
        }
        Ok(())
    }

    /// Folds the record and compares whatever the store holds at exactly this point.
    fn compare(&mut self, embedded: &Embedded, record: &Record, report: &mut Report) -> Result<(), String> {
        let stream = record.stream();
        let Some(folded) = self.audit.fold(record)? else { return Ok(()) };
        self.usage.compare(embedded, self.log, record, &folded.state, report)?;
        if !record.last {
            return Ok(());
        }
        let (head_at, row_at) = self.stored.entry(stream).or_default();
        let head = embedded.store.head(&head_key(self.log, &stream)).map_err(|error| error.to_string())?;
        if let Some(head) = head.filter(|head| head.position == record.position) {
            report.rows_compared += 1;
            *head_at = Some(head.position);
            if head.version != folded.version || *head.state != *folded.blob()? {
                report.problems.add(format!("head of {stream}: differs from the log at position {}", record.position));
            }
        }
        let row = embedded.store.rows.get(&stream.to_key()).map_err(|error| error.to_string())?;
        if let Some(row) = row.filter(|row| row.version == record.version && record.version > 0) {
            report.rows_compared += 1;
            *row_at = Some(row.version);
            if *row.state != *folded.blob()? {
                report.problems.add(format!("view row of {stream}: differs from the log at version {}", row.version));
            }
        }
        Ok(())
    }

    /// What the checkpoint claims to hold must be there, at the newest version that it covers.
    async fn compare_marks(&self, embedded: &Embedded, report: &mut Report) {
        let indexed_to = embedded.index.applied_to(self.log).await.unwrap_or(0);
        let projected_to = embedded.views.applied_to(self.log).await.unwrap_or(0);
        self.usage.compare_mark(embedded, self.log, projected_to, report);
        for (stream, folded) in &self.audit.streams {
            let (head_at, row_at) = self.stored.get(stream).copied().unwrap_or_default();
            if folded.position <= indexed_to && head_at != Some(folded.position) {
                report.problems.add(format!("head of {stream}: missing or old, position {} is due", folded.position));
            }
            if folded.position <= projected_to && folded.version > 0 && row_at != Some(folded.version) {
                report.problems.add(format!("view row of {stream}: missing or old, version {} is due", folded.version));
            }
            if folded.position > indexed_to {
                continue;
            }
            // Every stream that it ever depended on has an edge row; those that it depends on now are present.
            let now = folded.state.sources(self.log, stream);
            for from in &folded.ever_depended_on {
                report.rows_compared += 1;
                let present = embedded.store.edges.get(&edge_key(from, stream)).ok().flatten().map(|edge| edge.present);
                if present != Some(now.contains(from)) {
                    report
                        .problems
                        .add(format!("edge {from} -> {stream}: {present:?}, the log says {}", now.contains(from)));
                }
            }
        }
    }
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
