//! What a run says at its end.

use super::source::Tally;
use crate::domain::LogId;
use serde::Serialize;
use std::collections::BTreeMap;

/// What is in the folder and what is in the fleet, and how far the move is.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether the fleet has everything and the folder is marked as moved.
    pub moved: bool,
    /// The fleet, in words.
    pub fleet: String,
    /// Logs per aggregate.
    pub partitions: u16,
    pub logs: Vec<LogReport>,
    /// Records that the fleet has of the folder's, and how many of them this run brought.
    pub records: u64,
    pub records_copied: u64,
    /// Bytes of the folder that are not copied: written since, or not yet known to be synced.
    pub bytes_left: u64,
    /// Commands that were accepted and not decided when the folder's process ended.
    pub commands_handed_over: u64,
    pub dead_letters_handed_over: u64,
}

/// One log on both sides, up to where it was copied.
#[derive(Debug, Serialize)]
pub struct LogReport {
    pub log: String,
    #[serde(skip)]
    pub id: LogId,
    pub folder: Tally,
    pub fleet: Tally,
    /// Whether head, hash and counts are the same.
    pub equal: bool,
}

/// One line of the table: an aggregate, its logs added up.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Line {
    pub logs: u64,
    pub unequal: u64,
    /// The folder's, then the fleet's.
    pub records: [u64; 2],
    pub events: [u64; 2],
    pub streams: [u64; 2],
}

impl Report {
    /// By the aggregate's name.
    pub fn lines(&self) -> BTreeMap<&'static str, Line> {
        let mut lines = BTreeMap::<_, Line>::new();
        for log in &self.logs {
            let line = lines.entry(log.id.aggregate.name()).or_default();
            line.logs += 1;
            line.unequal += u64::from(!log.equal);
            for (side, tally) in [&log.folder, &log.fleet].into_iter().enumerate() {
                line.records[side] += tally.head;
                line.events[side] += tally.events;
                line.streams[side] += tally.streams;
            }
        }
        lines
    }
}
