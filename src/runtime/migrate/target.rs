//! One log of the fleet as it is filled: records in, read back, counted, indexed.
//!
//! What is read back is what was really written, so it is what the report counts and what the index is made of. The log's
//! own `derived_to` remembers how far the index is, never beyond what the folder says is owed to nobody: a second run goes
//! on from there, and once the move is done a processor finds in it exactly what the folder's would have found.

use super::source::{Part, Tally, Written};
use super::{Error, fleet};
use crate::domain::LogId;
use crate::flow::derive::{Pages, index_page};
use crate::ports::journal::{self, Batch, LogState};
use crate::ports::{Index, Journal};
use crate::runtime::retry::Policy;
use std::sync::Arc;
use std::time::Duration;

/// While the database does not answer.
const PATIENCE: Policy =
    Policy { first: Duration::from_millis(100), longest: Duration::from_secs(5), budget: Duration::from_secs(120) };

/// The ports that a log is written by, and the bounds of a batch.
#[derive(Clone)]
pub struct Stores {
    pub journal: Arc<dyn Journal>,
    pub index: Arc<dyn Index>,
    pub batch_bytes_max: usize,
    pub batch_records_max: usize,
}

/// One log of the fleet, claimed.
pub struct Target {
    pub log: LogId,
    state: LogState,
    /// What was read back.
    pub tally: Tally,
    indexed_to: u64,
}

impl Target {
    /// Takes the log.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn claim(log: LogId, stores: &Stores) -> Result<Self, Error> {
        let mut waits = PATIENCE.waits();
        loop {
            match stores.journal.claim(log).await {
                Ok(state) => {
                    return Ok(Self { log, indexed_to: state.derived_to, state, tally: Tally::default() });
                }
                Err(error) => pause(&mut waits, error).await?,
            }
        }
    }

    /// Whether there is anything to read back.
    pub fn is_behind(&self) -> bool {
        self.tally.head < self.state.head
    }

    /// Records that the log has.
    pub fn head(&self) -> u64 {
        self.state.head
    }

    /// Appends what the log does not have of these records, in batches, then reads it back and indexes it.
    ///
    /// # Errors
    /// When somebody else claims the log, when it holds other records, or when the database does not answer.
    pub async fn fill(&mut self, part: &Part, derived_to: u64, stores: &Stores) -> Result<(), Error> {
        let mut waits = PATIENCE.waits();
        while let Some(rest) = self.rest(part)? {
            let batch = self.batch(rest, derived_to, stores);
            let after = (batch.records.len() as u64, batch.head_hash, batch.recorded_at, batch.derived_to);
            match stores.journal.append(batch).await {
                Ok(()) => {
                    let (count, head_hash, recorded_at, derived_to) = after;
                    let head = self.state.head + count;
                    self.state = LogState { head, head_hash, recorded_at, derived_to, ..self.state };
                    waits = PATIENCE.waits();
                }
                Err(error) => {
                    pause(&mut waits, error).await?;
                    self.claim_again(stores).await?;
                }
            }
        }
        self.read_back(stores).await
    }

    /// What of a part the log does not have; `None` where it has it all.
    fn rest<'a>(&self, part: &'a Part) -> Result<Option<&'a [Written]>, Error> {
        let other = || Error::Other { log: self.log, position: self.state.head };
        let there = (self.state.head + 1).checked_sub(part.first_position).ok_or_else(other)? as usize;
        if let Some((_, hash, _)) = there.checked_sub(1).and_then(|last| part.records.get(last))
            && *hash != self.state.head_hash
        {
            return Err(other());
        }
        Ok(part.records.get(there..).filter(|rest| !rest.is_empty()))
    }

    /// As many records as go in one batch: at least one.
    fn batch(&self, rest: &[Written], derived_to: u64, stores: &Stores) -> Batch {
        let mut bytes = 0;
        let fitting = rest.iter().take(stores.batch_records_max).take_while(|(record, ..)| {
            bytes += record.len();
            bytes <= stores.batch_bytes_max
        });
        let records = &rest[..fitting.count().max(1).min(rest.len())];
        let (head_hash, recorded_at) =
            records.last().map_or((self.state.head_hash, self.state.recorded_at), |(_, hash, at)| (*hash, *at));
        Batch {
            log: self.log,
            epoch: self.state.epoch,
            previous_hash: self.state.head_hash,
            head_hash,
            first_position: self.state.head + 1,
            records: records.iter().map(|(record, hash, _)| (record.clone(), *hash)).collect(),
            recorded_at,
            // The folder's offsets mean nothing on the fleet's topics.
            consumed: 0,
            derived_to: self.indexed_to.min(derived_to).max(self.state.derived_to),
        }
    }

    /// After a write of which nothing is known: what is in the log now stays, and the rest never comes.
    async fn claim_again(&mut self, stores: &Stores) -> Result<(), Error> {
        let mut waits = PATIENCE.waits();
        let before = self.state.epoch;
        loop {
            match stores.journal.claim(self.log).await {
                // A claim of one's own of which nothing was known may have gone in as well.
                Ok(state) if state.consumed > 0 => return Err(Error::Role { log: self.log }),
                Ok(state) => {
                    tracing::warn!(log = %self.log, before, now = state.epoch, "claimed again after a write that is in doubt");
                    self.state = state;
                    return Ok(());
                }
                Err(error) => pause(&mut waits, error).await?,
            }
        }
    }

    /// Reads what was written since the last time, checks its chain, counts it, and writes its index rows.
    ///
    /// # Errors
    /// When the log cannot be read, its chain does not hold, or the index cannot be written.
    pub async fn read_back(&mut self, stores: &Stores) -> Result<(), Error> {
        let mut waits = PATIENCE.waits();
        while self.is_behind() {
            match self.read_on(stores).await {
                Ok(()) => return Ok(()),
                Err(Error::Derive(error)) if fleet::may_heal(&error) => {
                    let Some(wait) = waits.after(None) else { return Err(error.into()) };
                    tracing::warn!(log = %self.log, %error, "reading back again");
                    tokio::time::sleep(wait).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn read_on(&mut self, stores: &Stores) -> Result<(), Error> {
        let mut pages = Pages::new(self.log, self.tally.head, self.state.head);
        let mut canonical = Vec::new();
        while let Some(mut records) = pages.next(&*stores.journal).await? {
            let mut tally = self.tally;
            for recorded in &records {
                canonical.clear();
                recorded.record.encode(&mut canonical);
                let taken = tally.take(&recorded.record, &canonical, &recorded.hash);
                taken.map_err(|cause| Error::Fleet { log: self.log, cause })?;
            }
            if tally.head > self.indexed_to {
                index_page(self.log, &*stores.index, &mut records).await?;
                self.indexed_to = tally.head;
            }
            self.tally = tally;
        }
        Ok(())
    }

    /// Says in the log what of it is derived: what the folder derived, and the index of it here.
    ///
    /// # Errors
    /// As [`Self::fill`].
    pub async fn settle(&mut self, derived_to: u64, stores: &Stores) -> Result<(), Error> {
        let mut waits = PATIENCE.waits();
        while self.state.derived_to < derived_to.min(self.indexed_to) {
            let batch = self.batch(&[], derived_to, stores);
            let settled = batch.derived_to;
            match stores.journal.append(batch).await {
                Ok(()) => self.state.derived_to = settled,
                Err(error) => {
                    pause(&mut waits, error).await?;
                    self.claim_again(stores).await?;
                }
            }
        }
        Ok(())
    }

    /// Where the fleet's log stands, asked of the database once more; a role that took it meanwhile shows here.
    ///
    /// # Errors
    /// When it is not this run's any more.
    pub async fn confirm(&self, stores: &Stores) -> Result<(), Error> {
        let now = stores.journal.state(self.log).await?;
        if now.epoch != self.state.epoch || now.consumed > 0 {
            return Err(Error::Role { log: self.log });
        }
        let holds = (now.head, now.head_hash) == (self.tally.head, self.tally.hash);
        let cause = || format!("its head is {}, its records end at {}", now.head, self.tally.head);
        if holds { Ok(()) } else { Err(Error::Fleet { log: self.log, cause: cause() }) }
    }
}

/// Waits before the next try, or gives up.
async fn pause(waits: &mut crate::runtime::retry::Waits, error: journal::Error) -> Result<(), Error> {
    match error {
        journal::Error::Fenced { log, .. } => return Err(Error::Role { log }),
        journal::Error::TooLarge { log, bytes, bytes_max } => return Err(Error::TooLarge { log, bytes, bytes_max }),
        _ => {}
    }
    match waits.after(None).filter(|_| error.retryable()) {
        Some(wait) => {
            tracing::warn!(%error, again_in_ms = wait.as_millis() as u64, "the database did not take it");
            tokio::time::sleep(wait).await;
            Ok(())
        }
        None => Err(error.into()),
    }
}
