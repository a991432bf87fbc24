//! Going on where commands were lost.
//!
//! A log whose topic does not hold what it is to consume next stands still, rather than pass over what it was promised.
//! Only an operator knows that nothing will bring it back.

use super::Links;
use crate::domain::Partitions;
use crate::flow::append::consume_from;
use crate::flow::process::missing::missing;
use crate::ports::topic::Loss;
use futures::{StreamExt as _, TryStreamExt as _};

/// Logs that are looked at at a time.
const UNDER_WAY: usize = 32;

impl Links {
    /// The logs that stand still because their topics lost commands.
    ///
    /// # Errors
    /// When the database or the brokers do not answer.
    pub async fn losses(&self, partitions: Partitions) -> Result<Vec<Loss>, String> {
        let looks = futures::stream::iter(partitions.logs()).map(async |log| {
            let state = self.journal.state(log).await.map_err(|error| error.to_string())?;
            if state.epoch == 0 {
                return Ok(None);
            }
            let loss = missing(log, &state, &*self.topics, &*self.journal, &*self.index).await;
            loss.map_err(|error| error.to_string())
        });
        looks.buffered(UNDER_WAY).try_filter_map(async |loss| Ok(loss)).try_collect().await
    }

    /// Has a log go on with the first command that its topic holds. Processors may run: whoever owns the log claims it
    /// again.
    ///
    /// # Errors
    /// When the log moved since it was looked at, or cannot be written.
    pub async fn accept_loss(&self, loss: &Loss) -> Result<(), String> {
        let log = loss.log;
        let mut state = self.journal.claim(log).await.map_err(|error| error.to_string())?;
        if state.consumed != loss.consumed {
            return Err(format!("log {log} moved to offset {} meanwhile; look again", state.consumed));
        }
        let moved = consume_from(&*self.journal, log, &mut state, loss.low).await;
        moved.map_err(|error| format!("{error}; run it again"))
    }
}
