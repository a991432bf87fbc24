//! Where readers begin: now, at a time, or where a record is that they have seen.

use super::Feed;
use crate::domain::record::Hash;
use crate::domain::{LogId, Micros};
use crate::ports::topic::Error;
use crate::ports::{Journal, journal};
use futures::stream::{self, StreamExt, TryStreamExt};

/// Logs looked at at a time.
const READS_MAX: usize = 16;

impl Feed {
    /// The last position of each of these logs as it is now.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn heads(&self, logs: &[LogId]) -> Result<Vec<u64>, Error> {
        let journal = &*self.shared.journal;
        let heads = stream::iter(logs.iter().copied()).map(async |log| Ok(journal.state(log).await?.head));
        heads.buffered(READS_MAX).try_collect().await.map_err(unavailable)
    }

    /// The position in each of these logs after which come the records from a time on, and only those: `recorded_at`
    /// never runs backwards in a log.
    ///
    /// # Errors
    /// As [`Self::heads`].
    pub async fn since(&self, logs: &[LogId], time: Micros) -> Result<Vec<u64>, Error> {
        let journal = &*self.shared.journal;
        let found = stream::iter(logs.iter().copied()).map(async |log| before(journal, log, time).await);
        found.buffered(READS_MAX).try_collect().await.map_err(unavailable)
    }

    /// The chained hash of a record; `None` where the log does not go so far.
    ///
    /// # Errors
    /// As [`Self::heads`].
    pub async fn hash_at(&self, log: LogId, position: u64) -> Result<Option<Hash>, Error> {
        let read = self.shared.journal.read(log, position, 1).await.map_err(unavailable)?;
        Ok(read.first().filter(|recorded| recorded.record.position == position).map(|recorded| recorded.hash))
    }
}

/// The last position of a log that was recorded before a time, by halving.
async fn before(journal: &dyn Journal, log: LogId, time: Micros) -> Result<u64, journal::Error> {
    let (mut low, mut high) = (0, journal.state(log).await?.head);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let read = journal.read(log, middle, 1).await?;
        let Some(recorded) = read.first() else {
            return Err(journal::Error::Unavailable(format!("log {log} does not have its record {middle}")));
        };
        if recorded.record.recorded_at < time {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Ok(low)
}

fn unavailable(error: journal::Error) -> Error {
    Error::Unavailable(error.to_string())
}
