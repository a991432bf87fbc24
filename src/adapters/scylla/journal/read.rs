//! Reading a log, segment by segment.

use super::statements::PAGE_ROWS;
use super::{ScyllaJournal, damaged, hash_of, unavailable};
use crate::domain::LogId;
use crate::domain::record::Record;
use crate::ports::journal::{Error, Recorded};
use scylla::response::{PagingState, PagingStateResponse};

/// Most bytes that one read gives, beyond its first page.
const READ_BYTES_MAX: usize = 8 << 20;

/// A read under way.
pub struct Reading {
    pub records: Vec<Recorded>,
    /// The position that comes next.
    pub next: u64,
    pub records_max: usize,
    pub bytes: usize,
}

impl Reading {
    pub fn full(&self) -> bool {
        self.records.len() >= self.records_max || self.bytes >= READ_BYTES_MAX
    }
}

impl ScyllaJournal {
    /// Reads on within one segment. `false` where it does not hold the next record.
    pub(super) async fn read_segment(&self, log: LogId, segment: i32, reading: &mut Reading) -> Result<bool, Error> {
        let before = reading.records.len();
        let mut statement = self.statements.read.clone();
        let wanted = reading.records_max.saturating_sub(before);
        statement.set_page_size(PAGE_ROWS.min(i32::try_from(wanted).unwrap_or(PAGE_ROWS)).max(1));
        let mut place = PagingState::start();
        loop {
            let values = (log.to_string(), segment, reading.next as i64);
            // The bound moves with every page, so each page is a question of its own.
            let (result, next) =
                self.store.session.execute_single_page(&statement, values, place).await.map_err(unavailable)?;
            let rows = result.into_rows_result().map_err(|error| damaged(log, &error))?;
            for row in
                rows.rows::<(Option<i64>, Option<&[u8]>, Option<&[u8]>)>().map_err(|error| damaged(log, &error))?
            {
                let (position, record, hash) = row.map_err(|error| damaged(log, &error))?;
                // A segment that was opened and has no record yet shows its static columns alone.
                let (Some(position), Some(record), Some(hash)) = (position, record, hash) else { continue };
                if position as u64 != reading.next {
                    return Ok(reading.records.len() > before);
                }
                let fault = |cause: String| Error::Damaged { log, position: position as u64, cause };
                let hash = hash_of(log, position as u64, hash)?;
                reading.bytes += record.len();
                let record = Record::decode(record).map_err(|error| fault(error.to_string()))?;
                reading.records.push(Recorded { record, hash, decided: None });
                reading.next += 1;
                if reading.full() {
                    return Ok(true);
                }
            }
            match next {
                PagingStateResponse::NoMorePages => return Ok(reading.records.len() > before),
                PagingStateResponse::HasMorePages { .. } => place = PagingState::start(),
            }
        }
    }
}
