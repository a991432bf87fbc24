//! What was published lately, of all logs together, bounded by its bytes: who keeps up never reads the journal.
//!
//! A chunk is what its source gave at once, shared and not copied. The chunks of a log follow on one another without a
//! gap; the oldest of all logs leave first.

use crate::ports::journal::Recorded;
use std::collections::VecDeque;
use std::sync::Arc;

/// What a record takes beside its payload and its head: envelope, texts, allocations. An estimate for the bound.
const RECORD_BYTES: usize = 512;

/// Published records of one log: all those between `after` and `through`.
#[derive(Clone)]
pub struct Chunk {
    pub records: Arc<[Recorded]>,
    /// Nothing up to here is in it; records that stand below were there before.
    pub after: u64,
    pub through: u64,
    bytes: usize,
}

impl Chunk {
    pub fn new(records: Arc<[Recorded]>, after: u64, through: u64) -> Self {
        let bytes = records.iter().map(bytes_of).sum();
        Self { records, after, through, bytes }
    }
}

/// The memory that a record holds, roughly.
pub fn bytes_of(recorded: &Recorded) -> usize {
    let head = recorded.decided.as_ref().map_or(0, |decided| decided.head.state.len());
    recorded.record.payload.len() + head + RECORD_BYTES
}

pub struct Ring {
    /// By the place of the log.
    logs: Vec<VecDeque<Chunk>>,
    /// Place and `through` of every chunk, oldest first; those of chunks that were forgotten stay until they come up.
    order: VecDeque<(usize, u64)>,
    bytes: usize,
    bytes_max: usize,
}

impl Ring {
    pub fn new(logs: usize, bytes_max: usize) -> Self {
        let logs = (0..logs).map(|_| VecDeque::new()).collect();
        Self { logs, order: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Adds the newest chunk of a log. Where it does not follow on what is there, that is forgotten.
    pub fn push(&mut self, place: usize, chunk: Chunk) {
        if self.logs[place].back().is_some_and(|last| last.through != chunk.after) {
            self.forget(place);
        }
        self.bytes += chunk.bytes;
        self.order.push_back((place, chunk.through));
        self.logs[place].push_back(chunk);
        while self.bytes > self.bytes_max
            && let Some((place, through)) = self.order.pop_front()
        {
            let log = &mut self.logs[place];
            if log.front().is_some_and(|first| first.through == through)
                && let Some(gone) = log.pop_front()
            {
                self.bytes -= gone.bytes;
            }
        }
    }

    /// Drops all that is kept of a log.
    pub fn forget(&mut self, place: usize) {
        let gone = std::mem::take(&mut self.logs[place]);
        if gone.is_empty() {
            return;
        }
        self.bytes -= gone.iter().map(|chunk| chunk.bytes).sum::<usize>();
        self.order.retain(|(of, _)| *of != place);
    }

    /// The chunks that hold what comes right after a position, `records_max` records or a little more. Empty where the
    /// ring does not go back so far.
    pub fn after(&self, place: usize, position: u64, records_max: usize) -> Vec<Chunk> {
        let log = &self.logs[place];
        let first = log.partition_point(|chunk| chunk.through <= position);
        if log.get(first).is_none_or(|chunk| chunk.after > position) {
            return Vec::new();
        }
        let mut chunks = Vec::new();
        let mut count = 0;
        for chunk in log.range(first..) {
            chunks.push(chunk.clone());
            count += chunk.records.len();
            if count >= records_max {
                break;
            }
        }
        chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::record::CHAIN_START;
    use crate::ports::conformance::{event, stream};

    fn chunk(positions: std::ops::RangeInclusive<u64>) -> Chunk {
        let (after, through) = (positions.start() - 1, *positions.end());
        let records = positions.map(|position| {
            let record = event(stream(1), position, position, 0);
            Recorded { record, hash: CHAIN_START, decided: None }
        });
        Chunk::new(records.collect(), after, through)
    }

    fn throughs(ring: &Ring, place: usize, position: u64) -> Vec<u64> {
        ring.after(place, position, usize::MAX).iter().map(|chunk| chunk.through).collect()
    }

    #[test]
    fn the_oldest_chunks_of_all_logs_leave_first_and_a_reader_behind_them_finds_nothing() {
        let mut ring = Ring::new(2, 10 * RECORD_BYTES);
        ring.push(0, chunk(1..=4));
        ring.push(1, chunk(1..=3));
        ring.push(0, chunk(5..=7));
        assert_eq!(throughs(&ring, 0, 0), [4, 7]);
        assert_eq!(throughs(&ring, 0, 6), [7], "from the middle of a chunk");
        ring.push(1, chunk(4..=4));
        assert_eq!(throughs(&ring, 0, 0), [] as [u64; 0], "its beginning is gone");
        assert_eq!(throughs(&ring, 0, 4), [7]);
        assert_eq!(throughs(&ring, 1, 0), [3, 4]);
        assert_eq!(throughs(&ring, 1, 4), [] as [u64; 0]);
        assert_eq!(ring.bytes, 7 * RECORD_BYTES);
    }

    #[test]
    fn what_does_not_follow_on_it_takes_the_place_of_what_was_there() {
        let mut ring = Ring::new(1, usize::MAX);
        ring.push(0, chunk(1..=4));
        ring.push(0, chunk(6..=7));
        assert_eq!(throughs(&ring, 0, 3), [] as [u64; 0], "there would be a gap");
        assert_eq!(throughs(&ring, 0, 5), [7]);
        assert_eq!(ring.bytes, 2 * RECORD_BYTES);
        ring.forget(0);
        assert_eq!((ring.bytes, ring.order.len()), (0, 0));
    }
}
