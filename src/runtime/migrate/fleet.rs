//! What the fleet holds before anything is written: nothing, or the beginning of this same folder.
//!
//! Asked and compared before any log is claimed: a claim shuts out whoever works on the log, and the fleet named may be
//! the wrong one.

use super::Error;
use super::source::Source;
use crate::domain::{LogId, Partitions};
use crate::flow::derive;
use crate::ports::Journal;
use crate::ports::journal::LogState;
use futures::stream::{self, StreamExt, TryStreamExt};
use std::collections::BTreeMap;

/// Logs that are worked on at a time.
pub const LOGS_IN_FLIGHT: usize = 32;

/// Where every log of the fleet stands.
///
/// # Errors
/// When the database does not answer, or commands were decided on this fleet.
pub async fn states(journal: &dyn Journal, partitions: Partitions) -> Result<BTreeMap<LogId, LogState>, Error> {
    let asked = stream::iter(partitions.logs().map(|log| async move { Ok((log, journal.state(log).await?)) }));
    let states: BTreeMap<_, _> = asked.buffer_unordered(LOGS_IN_FLIGHT).try_collect().await.map_err(Error::Journal)?;
    match states.iter().find(|(_, state)| state.consumed > 0) {
        Some((log, _)) => Err(Error::Worked { log: *log }),
        None => Ok(states),
    }
}

/// Reads the folder until every log of the fleet is found to be the beginning of the folder's. Blocks on the disk.
///
/// # Errors
/// When one is not, or the folder cannot be read.
pub fn compare(folder: &mut Source, states: &BTreeMap<LogId, LogState>) -> Result<(), Error> {
    let mut open: BTreeMap<LogId, &LogState> =
        states.iter().filter(|(_, state)| state.head > 0).map(|(log, state)| (*log, state)).collect();
    while !open.is_empty() {
        let round = folder.round()?;
        for (log, part) in &round.parts {
            let Some(state) = open.get(log) else { continue };
            let place = state.head.checked_sub(part.first_position).and_then(|place| usize::try_from(place).ok());
            let Some((_, hash, _)) = place.and_then(|place| part.records.get(place)) else { continue };
            if *hash != state.head_hash {
                return Err(Error::Other { log: *log, position: state.head });
            }
            open.remove(log);
        }
        if let Some((log, state)) = open.first_key_value().filter(|_| round.last) {
            return Err(Error::Other { log: *log, position: state.head });
        }
    }
    Ok(())
}

/// Whether the database may only be away for a while.
pub fn may_heal(error: &derive::Error) -> bool {
    match error {
        derive::Error::Journal(error) => error.retryable(),
        derive::Error::Index(error) => matches!(error, crate::ports::index::Error::Unavailable(_)),
        _ => false,
    }
}
