//! Following a log's published events, gapless.
//!
//! The log itself is the first source: all up to `derived_to` was published, so it can be shown. From there on a cursor on
//! the events partition goes along. It drops what it has shown (publishing again is normal), takes the event that follows
//! on it, and where an event says that another lies between, reads those from the log. Where nothing comes for a while,
//! it looks at the log again: what stands there at two looks is shown, for a topic that was made anew tells nothing of
//! what the one before it held.

use super::Shared;
use super::event;
use super::partition::{Fault, Partition, Raw};
use crate::domain::LogId;
use crate::ports::journal::{self, Recorded};
use crate::ports::topic::Error;
use std::collections::VecDeque;
use std::time::Duration;

/// Nothing came for so long: time for a look at the log.
const QUIET: Duration = if cfg!(test) { Duration::from_secs(1) } else { Duration::from_secs(60) };

/// Where the follower of one log stands.
#[derive(Default)]
pub struct Trail {
    partition: Option<Partition>,
    fetched: VecDeque<Raw>,
    /// The position that was shown last.
    at: u64,
    /// Up to here the log is read, because all of it was published.
    published_to: u64,
    /// The log's head at the last look at it.
    head: u64,
}

impl Trail {
    pub async fn follow(
        &mut self,
        shared: &Shared,
        log: LogId,
        after: u64,
        records_max: usize,
    ) -> Result<Vec<Recorded>, Error> {
        // Also what a caller that gave up half way leaves: it has not seen up to `at`.
        if self.partition.is_none() || self.at != after {
            self.start(shared, log, after).await?;
        }
        loop {
            if self.at < self.published_to {
                return self.read_log(shared, log, records_max).await;
            }
            let events = self.take(shared, log, records_max).await?;
            if !events.is_empty() {
                return Ok(events);
            }
            if self.at < self.published_to {
                continue;
            }
            match tokio::time::timeout(QUIET, self.fetch(records_max)).await {
                Ok(fetched) => fetched?,
                Err(_) => self.look(shared, log).await?,
            }
        }
    }

    /// Begins after a position: notes what was published, then puts a cursor where the rest must lie.
    async fn start(&mut self, shared: &Shared, log: LogId, after: u64) -> Result<(), Error> {
        *self = Self::default();
        let published_to = shared.journal.state(log).await.map_err(unavailable)?.derived_to;
        // No event after the last known record is older than it.
        let known = after.max(published_to);
        let known = match known {
            0 => None,
            position => shared.journal.read(log, position, 1).await.map_err(unavailable)?.pop(),
        };
        let topic = shared.names.events(log);
        let from = match known {
            Some(known) => {
                let millis = known.record.recorded_at.div_euclid(1000);
                shared.fetcher.offset_at(topic, log.partition, millis).await?
            }
            None => 0,
        };
        let partition = shared.fetcher.open(topic, log.partition, from)?;
        *self = Self { partition: Some(partition), fetched: VecDeque::new(), at: after, published_to, head: 0 };
        Ok(())
    }

    /// Nothing came. What stood in the log at the last look already should have come.
    async fn look(&mut self, shared: &Shared, log: LogId) -> Result<(), Error> {
        let state = shared.journal.state(log).await.map_err(unavailable)?;
        self.published_to = self.published_to.max(state.derived_to).max(self.head);
        self.head = state.head;
        Ok(())
    }

    async fn read_log(&mut self, shared: &Shared, log: LogId, records_max: usize) -> Result<Vec<Recorded>, Error> {
        let room = records_max.min((self.published_to - self.at) as usize);
        let records = shared.journal.read(log, self.at + 1, room).await.map_err(unavailable)?;
        match records.last() {
            Some(last) => self.at = last.record.position,
            None => {
                let position = self.at + 1;
                return Err(Error::Unavailable(format!("log {log} does not have its published record {position}")));
            }
        }
        Ok(records)
    }

    /// The fetched events that follow on one another.
    async fn take(&mut self, shared: &Shared, log: LogId, records_max: usize) -> Result<Vec<Recorded>, Error> {
        let mut events = Vec::new();
        while events.len() < records_max
            && let Some(raw) = self.fetched.front()
        {
            if let Some(event) = event::decode(raw, &shared.framing).await? {
                let position = event.recorded.record.position;
                if position > self.at && event.follows > self.at {
                    // Something lies between; it was published before this one.
                    self.published_to = position - 1;
                    return Ok(events);
                }
                if position > self.at {
                    self.at = position;
                    events.push(event.recorded);
                }
            } else if let Some(position) = event::stated_position(raw).filter(|position| *position > self.at) {
                // An event in a form that this program does not read, as a newer one may publish: the log has it too.
                let head = shared.journal.state(log).await.map_err(unavailable)?.head;
                self.published_to = self.published_to.max(position.min(head));
                self.fetched.pop_front();
                return Ok(events);
            }
            self.fetched.pop_front();
        }
        Ok(events)
    }

    async fn fetch(&mut self, records_max: usize) -> Result<(), Error> {
        let Some(partition) = &mut self.partition else {
            return Err(Error::Unavailable("the events partition is not open".into()));
        };
        match partition.next(records_max).await {
            Ok(records) => {
                self.fetched.extend(records);
                Ok(())
            }
            Err(fault) => {
                // The next call begins anew, from the log: what retention took of the topic is still there.
                self.partition = None;
                Err(Error::Unavailable(match fault {
                    Fault::OutOfRange => {
                        "the events topic does not hold the next event any more; reading the log".into()
                    }
                    Fault::Other(cause) => cause,
                }))
            }
        }
    }
}

fn unavailable(error: journal::Error) -> Error {
    Error::Unavailable(error.to_string())
}
