//! Checking a fleet while it rests: every log from its beginning, and what is derived against a fold of it.
//!
//! Meant for when nothing is under way: a head or row that is late reads as one that is wrong.

use super::Links;
use crate::domain::audit::{Folded, LogAudit, Problems};
use crate::domain::record::RecordKind;
use crate::domain::{LogId, Partitions, StreamId};
use crate::ports::journal::Recorded;
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// Records or heads read at once.
const PAGE: usize = 1_000;
/// Streams whose rows and edges are read at a time.
const UNDER_WAY: usize = 32;

/// What a check found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub logs: usize,
    pub records: u64,
    pub events: u64,
    pub streams: u64,
    /// Heads, view rows and edges that were compared; 0 unless the check was deep.
    pub rows_compared: u64,
    /// Events of the topics that were found in their logs; 0 unless the check was deep.
    pub events_compared: u64,
    /// Claims of all logs together.
    pub claims: u64,
    #[serde(flatten)]
    pub problems: Problems,
}

/// Checks every log; where it is `deep`, heads, edges, view rows and the events topics too.
///
/// # Errors
/// When something cannot be read at all.
pub async fn check(fleet: &Links, partitions: Partitions, deep: bool) -> Result<Report, String> {
    let mut report = Report::default();
    let mut published = HashMap::new();
    for log in partitions.logs() {
        if deep && log.partition == 0 {
            published = fleet.topics.published(log.aggregate).await.map_err(|error| error.to_string())?;
        }
        let state = fleet.journal.state(log).await.map_err(|error| error.to_string())?;
        report.logs += 1;
        report.claims += state.epoch;
        let mut audit = LogAudit::new(log, partitions);
        let events = read(fleet, log, state.head, &mut audit, &mut report).await?;
        if (state.head, state.head_hash) != (audit.position, audit.hash) {
            report
                .problems
                .add(format!("log {log}: its head is {}, its records end at {}", state.head, audit.position));
        }
        report.streams += audit.streams.len() as u64;
        if deep {
            compare_streams(fleet, log, &audit, &mut report).await?;
            compare_events(log, &events, &published.remove(&log).unwrap_or_default(), &mut report);
        }
    }
    Ok(report)
}

/// Reads a log from its beginning. Gives the positions of its events.
async fn read(
    fleet: &Links,
    log: LogId,
    head: u64,
    audit: &mut LogAudit,
    report: &mut Report,
) -> Result<Vec<u64>, String> {
    let mut events = Vec::new();
    while audit.position < head {
        let page = fleet.journal.read(log, audit.position + 1, PAGE).await.map_err(|error| error.to_string())?;
        if page.is_empty() {
            break;
        }
        for Recorded { record, hash, .. } in &page {
            audit.record(record, hash, &mut report.problems);
            audit.fold(record)?;
            report.records += 1;
            if record.kind == RecordKind::Event {
                report.events += 1;
                events.push(record.position);
            }
        }
    }
    Ok(events)
}

async fn compare_streams(fleet: &Links, log: LogId, audit: &LogAudit, report: &mut Report) -> Result<(), String> {
    let streams: Vec<StreamId> = audit.streams.keys().copied().collect();
    for page in streams.chunks(PAGE) {
        let heads = fleet.index.heads(log, page).await.map_err(|error| error.to_string())?;
        for (stream, head) in page.iter().zip(heads) {
            let Some(folded) = audit.streams.get(stream) else { continue };
            let (blob, place) = (folded.blob()?, (folded.version, folded.position));
            report.rows_compared += 1;
            match head {
                Some(head) if (head.version, head.position) == place && *head.state == *blob => {}
                Some(head) => report.problems.add(format!(
                    "head of {stream}: is at version {} position {}, the log makes {place:?}",
                    head.version, head.position
                )),
                None => report.problems.add(format!("head of {stream}: missing")),
            }
        }
        let folded = page.iter().filter_map(|stream| Some((*stream, audit.streams.get(stream)?)));
        let compared = futures::stream::iter(folded).map(|(stream, folded)| compare_rows(fleet, log, stream, folded));
        let mut compared = compared.buffer_unordered(UNDER_WAY);
        while let Some((rows, problems)) = compared.try_next().await? {
            report.rows_compared += rows;
            problems.into_iter().for_each(|problem| report.problems.add(problem));
        }
    }
    Ok(())
}

/// Compares one stream's view row and edges. Gives how many these are, and what is wrong with them.
async fn compare_rows(
    fleet: &Links,
    log: LogId,
    stream: StreamId,
    folded: &Folded,
) -> Result<(u64, Vec<String>), String> {
    let mut problems = Vec::new();
    let row = fleet.views.get(stream).await.map_err(|error| error.to_string())?;
    match row {
        Some(row) if row.data.version == folded.version && *row.data.state == *folded.blob()? => {}
        None if folded.version == 0 => {}
        Some(row) => problems.push(format!(
            "view row of {stream}: is at version {}, the log makes {}",
            row.data.version, folded.version
        )),
        None => problems.push(format!("view row of {stream}: missing")),
    }
    let now = folded.state.sources(log, &stream);
    for from in &folded.ever_depended_on {
        let (present, due) = (has_edge(fleet, *from, stream).await?, now.contains(from));
        if present != due {
            problems.push(format!("edge {from} -> {stream}: {present}, the log says {due}"));
        }
    }
    Ok((1 + folded.ever_depended_on.len() as u64, problems))
}

/// Edges are sorted by their target: this one, if it is there, is the first after all that could stand before it.
async fn has_edge(fleet: &Links, from: StreamId, to: StreamId) -> Result<bool, String> {
    let before = to.id.as_u128().checked_sub(1).map(|id| StreamId { id: Uuid::from_u128(id), ..to });
    let mut after = before;
    loop {
        let page = fleet.index.edges(from, after, 1).await.map_err(|error| error.to_string())?;
        match page.first() {
            // Only the nil id has nothing to begin after but the beginning.
            Some(found) if before.is_none() && *found < to => after = Some(*found),
            found => return Ok(found == Some(&to)),
        }
    }
}

/// Every event of the log is on its topic: read from the broker, not from the log.
fn compare_events(log: LogId, events: &[u64], found: &HashSet<u64>, report: &mut Report) {
    // What the topic's retention took is not missing, nor what was before a folder became this fleet: it may be all.
    let first = found.iter().min().copied().unwrap_or(u64::MAX);
    let wanted: HashSet<u64> = events.iter().copied().filter(|position| *position >= first).collect();
    report.events_compared += found.len() as u64;
    let (missed, strange) = (wanted.difference(found).count(), found.difference(&wanted).count());
    if missed + strange > 0 {
        report
            .problems
            .add(format!("log {log}: its events topic misses {missed} events and shows {strange} strange ones"));
    }
}
