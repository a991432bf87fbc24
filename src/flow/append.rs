//! Append: the records of a batch go into the log by one compare-and-set, with what rides on it.

use crate::domain::LogId;
use crate::flow::decide::Decisions;
use crate::metrics::handles;
use crate::ports::Journal;
use crate::ports::journal::{Batch, Error, LogState};

/// Has a log go on at another offset of its commands; appends no record.
///
/// # Errors
/// As the journal gives them.
pub async fn consume_from(journal: &dyn Journal, log: LogId, state: &mut LogState, consumed: u64) -> Result<(), Error> {
    let batch = Batch {
        log,
        epoch: state.epoch,
        previous_hash: state.head_hash,
        head_hash: state.head_hash,
        first_position: state.head + 1,
        records: Vec::new(),
        recorded_at: state.recorded_at,
        consumed,
        derived_to: state.derived_to,
    };
    journal.append(batch).await?;
    state.consumed = consumed;
    Ok(())
}

/// Appends a decided batch and moves `state` on to where the log then stands.
///
/// # Errors
/// As the journal gives them. `state` is then as it was, and must be claimed again before anything else is appended.
pub async fn append(
    journal: &dyn Journal,
    state: &mut LogState,
    decisions: &mut Decisions,
    consumed: u64,
    derived_to: u64,
) -> Result<(), Error> {
    let records = std::mem::take(&mut decisions.bytes);
    let count = records.len() as u64;
    handles().append_bytes.increment(records.iter().map(|(bytes, _)| bytes.len() as u64).sum());
    let batch = Batch {
        log: decisions.log,
        epoch: state.epoch,
        previous_hash: state.head_hash,
        head_hash: decisions.head_hash,
        first_position: decisions.first_position,
        records,
        recorded_at: decisions.recorded_at,
        consumed,
        derived_to,
    };
    journal.append(batch).await?;
    state.head += count;
    state.head_hash = decisions.head_hash;
    if count > 0 {
        state.recorded_at = decisions.recorded_at;
    }
    state.consumed = consumed;
    state.derived_to = derived_to;
    Ok(())
}
