//! Going on where commands were lost.
//!
//! A log whose topic does not hold what it is to consume next stands still, rather than pass over what it was promised.
//! Only an operator knows that nothing will bring it back.

use super::Links;
use crate::adapters::kafka::Loss;
use crate::domain::{LogId, Partitions};
use crate::ports::journal::Batch;
use futures::{StreamExt as _, TryStreamExt as _};

/// Logs that are looked at at a time.
const UNDER_WAY: usize = 32;

impl Links {
    /// The logs that stand still because their topics lost commands.
    ///
    /// # Errors
    /// When the database or the brokers do not answer.
    pub async fn losses(&self, partitions: Partitions) -> Result<Vec<(LogId, Loss)>, String> {
        let looks = futures::stream::iter(partitions.logs()).map(async |log| {
            let state = self.journal.state(log).await.map_err(|error| error.to_string())?;
            let loss = self.topics.loss(log, state.consumed).await.map_err(|error| error.to_string())?;
            Ok(loss.map(|loss| (log, loss)))
        });
        looks.buffered(UNDER_WAY).try_filter_map(async |loss| Ok(loss)).try_collect().await
    }

    /// Has a log go on with the first command that its topic holds. Processors may run: whoever owns the log claims it
    /// again.
    ///
    /// # Errors
    /// When the log moved since it was looked at, or cannot be written.
    pub async fn accept_loss(&self, log: LogId, loss: &Loss) -> Result<(), String> {
        let state = self.journal.claim(log).await.map_err(|error| error.to_string())?;
        if state.consumed != loss.consumed {
            return Err(format!("log {log} moved to offset {} meanwhile; look again", state.consumed));
        }
        let moved = Batch {
            log,
            epoch: state.epoch,
            previous_hash: state.head_hash,
            head_hash: state.head_hash,
            first_position: state.head + 1,
            records: Vec::new(),
            recorded_at: state.recorded_at,
            consumed: loss.low,
            derived_to: state.derived_to,
        };
        self.journal.append(moved).await.map_err(|error| format!("{error}; run it again"))
    }
}
