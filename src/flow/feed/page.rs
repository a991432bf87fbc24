//! Some of a log's published records at a time: from the ring where it goes back so far, else from the journal.

use super::Shared;
use super::ring::bytes_of;
use crate::domain::LogId;
use crate::domain::record::Record;
use crate::ports::journal::Recorded;
use crate::ports::topic::Error;

/// Some of a log's published records.
pub(super) struct Page {
    pub records: Vec<Recorded>,
    /// Up to here was looked: what stands there and is not in `records` was not wanted.
    pub through: u64,
    pub is_from_log: bool,
}

/// How much of a log to read at once: records looked at, and bytes of those that are wanted (one more may go over).
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub records_max: usize,
    pub bytes_max: usize,
}

impl Shared {
    /// Reads some records between two positions, `through` included: from the ring, or the journal. There is at least
    /// one to look at, for it was published.
    pub(super) async fn page(
        &self,
        (log, place): (LogId, usize),
        after: u64,
        through: u64,
        room: Room,
        wanted: &(dyn Fn(&Record) -> bool + Send + Sync),
    ) -> Result<Page, Error> {
        let chunks = self.ring.lock().after(place, after, room.records_max);
        let mut page = Page { records: Vec::new(), through: after, is_from_log: chunks.is_empty() };
        if page.is_from_log {
            let count = room.records_max.min((through - after) as usize);
            let read = self.journal.read(log, after + 1, count).await;
            let read = read.map_err(|error| Error::Unavailable(error.to_string()))?;
            if read.is_empty() {
                return Err(Error::Unavailable(format!("log {log} does not have its published record {}", after + 1)));
            }
            let mut bytes = 0;
            for recorded in read {
                page.through = recorded.record.position;
                if wanted(&recorded.record) {
                    bytes += bytes_of(&recorded);
                    page.records.push(recorded);
                    if bytes >= room.bytes_max {
                        break;
                    }
                }
            }
            // An engine that answers at once would otherwise keep its thread for as long as there is something to read.
            tokio::task::yield_now().await;
            return Ok(page);
        }
        let (mut looked, mut bytes) = (0, 0);
        for chunk in &chunks {
            let begin = chunk.records.partition_point(|recorded| recorded.record.position <= page.through);
            for recorded in &chunk.records[begin..] {
                let is_full = looked == room.records_max || bytes >= room.bytes_max;
                if is_full {
                    return Ok(page);
                }
                if recorded.record.position > through {
                    break;
                }
                looked += 1;
                page.through = recorded.record.position;
                if wanted(&recorded.record) {
                    bytes += bytes_of(recorded);
                    page.records.push(recorded.clone());
                }
            }
            page.through = chunk.through.min(through);
        }
        Ok(page)
    }
}
