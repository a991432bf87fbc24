//! The keeper of one log's leases, where heartbeats reach other processes than the one that owns the log.
//!
//! It reads the heartbeats of the log's agents and takes silence for silence only where it has read all there was: time
//! stands still for leases until everything that was sent before a moment is read, and then it is that moment. So a
//! keeper that was paused, or that lags, takes nobody for silent whose heartbeat it has not read yet; and before it acts
//! it has its turn confirmed, so that one that was replaced meanwhile does not act at all.
//!
//! It keeps nothing itself. What stands before the place that it settled is neither renewed by it nor due any more; the
//! next keeper gives fresh leases to whoever was heard of since and is up.

use crate::domain::LogId;
use crate::flow::heartbeat;
use crate::flow::lease::Leases;
use crate::ports::beats::Beats;
use crate::ports::{Assignment, Views, topic, views};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// What a keeper is given.
#[derive(Clone)]
pub struct Keeper {
    pub leases: Arc<Leases>,
    pub beats: Arc<dyn Beats>,
    pub views: Arc<dyn Views>,
    pub assignment: Arc<dyn Assignment>,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Lease(#[from] heartbeat::Error),
    #[error(transparent)]
    Topic(#[from] topic::Error),
    #[error(transparent)]
    Views(#[from] views::Error),
}

/// Heartbeats read at once.
const BEATS_MAX: usize = 5_000;
/// Between a failure and the next try.
const PAUSE: Duration = Duration::from_secs(1);
/// Places are noted so many times in the time in which a lease ends for good.
const NOTES: u32 = 64;
/// Silence is looked for so many times in the time in which it counts, and no more and no less often than this. A look
/// asks the broker how far the heartbeats go, for each log.
const LOOKS: u32 = 10;
const LOOK_MIN: Duration = Duration::from_secs(1);
const LOOK_MAX: Duration = Duration::from_secs(10);

impl Keeper {
    /// Keeps the leases of a log of agents until told to stop.
    pub async fn run(self, log: LogId, stop: CancellationToken) {
        loop {
            let kept = tokio::select! {
                () = stop.cancelled() => break,
                kept = self.keep(log) => kept,
            };
            if let Err(error) = kept {
                tracing::warn!(%log, %error, "leases are not kept for the moment; trying again");
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        self.leases.forget(log);
    }

    async fn keep(&self, log: LogId) -> Result<(), Error> {
        let mut next = self.begin(log).await?;
        let times = self.leases.times;
        let mut notes = Notes::new(times.offline_after);
        let mut looks = tokio::time::interval((times.degraded_after / LOOKS).clamp(LOOK_MIN, LOOK_MAX));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // When it was asked how far the heartbeats go, and how far they went.
        let mut asked: Option<(Instant, u64)> = None;
        loop {
            tokio::select! {
                page = self.beats.read(log, next, BEATS_MAX) => {
                    let page = page?;
                    let refused = self.leases.renew(log, &page.agents).await?;
                    if let Some((agent, error)) = refused.first() {
                        tracing::debug!(%agent, %error, refused = refused.len(), "heartbeats that renewed nothing");
                    }
                    next = page.next;
                }
                _ = looks.tick(), if asked.is_none() => {
                    let now = Instant::now();
                    let bounds = self.beats.bounds(log).await?;
                    asked = Some((now, bounds.end));
                    // What is not kept any more is not waited for.
                    next = next.max(bounds.low);
                }
            }
            if let Some((now, end)) = asked
                && next >= end
            {
                asked = None;
                if self.sweep(log, now).await?
                    && let Some(place) = notes.settled(now, Instant::now(), end)
                {
                    self.beats.settle(log, place).await?;
                }
            }
        }
    }

    /// Makes the leases again that a predecessor kept. Gives the place to read on at.
    async fn begin(&self, log: LogId) -> Result<u64, Error> {
        let bounds = self.beats.bounds(log).await?;
        let Some(settled) = self.beats.settled(log).await? else {
            // Nobody ever kept these: agents that are up got so elsewhere, or by command.
            self.leases.remember(&*self.views, Some(log)).await?;
            self.beats.settle(log, bounds.end).await?;
            return Ok(bounds.end);
        };
        let mut next = settled.clamp(bounds.low, bounds.end);
        while next < bounds.end {
            let page = self.beats.read(log, next, BEATS_MAX).await?;
            self.leases.restore(log, &page.agents).await?;
            next = page.next;
        }
        Ok(next)
    }

    /// Turns those that were silent up to this moment; `false` where it is not this process's turn any more.
    async fn sweep(&self, log: LogId, now: Instant) -> Result<bool, Error> {
        let due = self.leases.due(log, now);
        if due.is_empty() {
            return Ok(true);
        }
        let mine = self.assignment.confirm(log).await;
        if mine {
            self.leases.turn(log, &due).await?;
        }
        Ok(mine)
    }
}

/// Which place of the heartbeats was read when.
struct Notes {
    /// After this long nothing rests on a heartbeat any more.
    ends_after: Duration,
    read: VecDeque<(Instant, u64)>,
}

impl Notes {
    fn new(ends_after: Duration) -> Self {
        Self { ends_after, read: VecDeque::new() }
    }

    /// Everything before `end` is read at `read_at`, and whoever was silent up to `swept_to` is turned. Gives the place
    /// before which nothing counts any more, where that moved.
    fn settled(&mut self, swept_to: Instant, read_at: Instant, end: u64) -> Option<u64> {
        let newest = self.read.back();
        if newest.is_none_or(|(at, _)| read_at.duration_since(*at) >= self.ends_after / NOTES) {
            self.read.push_back((read_at, end));
        }
        let mut settled = None;
        while let Some((_, place)) = self.read.pop_front_if(|(at, _)| *at + self.ends_after <= swept_to) {
            settled = Some(place);
        }
        settled
    }
}

#[cfg(test)]
mod tests;
