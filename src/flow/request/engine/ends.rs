//! How a request ends that has no answer: failed, expired, given up; recorded where its log has it, then told.

use super::conclude::lost;
use super::record::Told;
use super::reply::{Ended, Failure, How, Piece};
use super::work::{Why, Work};
use super::{Shared, say};
use crate::flow::request::queue::spill::Left;
use crate::metrics::handles;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

/// When an end that came too early is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Expiries of what stayed on its log, at a time.
const EXPIRED_MAX: usize = 256;

impl Shared {
    /// Ends a request that nothing more is tried for.
    pub(super) async fn fail(&self, mut work: Box<Work>, failure: Failure) {
        if work.is_in_log() {
            let told = match say::fail(work.stream(), &failure, self.clock.now()) {
                Ok(command) => self.record(work.log, command).await,
                Err(error) => lost(&error),
            };
            if self.comes_again(&mut work, &told, false) {
                return self.again(work);
            }
        }
        handles().request_failed.increment(1);
        self.finish(&work, How::Failed(failure), true);
    }

    /// Ends a request whose deadline has passed.
    pub(super) async fn expire_one(&self, mut work: Box<Work>) {
        if work.is_in_log() {
            let told = match say::expire(work.stream(), self.clock.now()) {
                Ok(command) => self.record(work.log, command).await,
                Err(error) => lost(&error),
            };
            if self.comes_again(&mut work, &told, true) {
                return self.again(work);
            }
        }
        handles().request_expired.increment(1);
        let last = work.last.clone().map(Box::new);
        self.finish(&work, How::Expired(last), true);
    }

    /// Whether an end was refused that is right later: an attempt may still be under way, or the clocks differ a little.
    fn comes_again(&self, work: &mut Work, told: &Told, is_expiry: bool) -> bool {
        let Some(rejection) = told.refusal() else { return false };
        let again = Instant::now() + AGAIN;
        let field = match rejection.code.as_str() {
            "attempt_open" => "until",
            "deadline_not_reached" => "deadline_at",
            _ => return false,
        };
        let at = self.named(rejection, field).map_or(again, |at| at.max(again));
        // It comes back as one whose deadline passes then.
        if is_expiry {
            work.item.deadline = at;
        }
        work.comes_at = Some(at);
        true
    }

    fn again(&self, mut work: Box<Work>) {
        let at = work.comes_at.take();
        let back = self.board.lock().requeue(work, at, &self.config);
        back.iter().for_each(|work| self.finish(work, How::Ended, false));
        self.wake.notify_one();
    }

    /// Drops a request that somebody does not want any more, or that this process must leave.
    pub(super) async fn give_up(&self, work: Box<Work>, why: Why) {
        match why {
            Why::Ended => self.finish(&work, How::Ended, true),
            Why::Stopping => self.finish(&work, How::NotTaken { is_unknown: false }, false),
            Why::CallerGone | Why::ReaderStalled => {
                if work.is_in_log()
                    && let Ok(command) = say::cancel(work.stream(), why)
                {
                    drop(self.record(work.log, command).await);
                }
                handles().request_cancelled.increment(1);
                self.finish(&work, How::Ended, true);
            }
        }
    }

    /// Nothing more is done here for a request: its caller is told.
    pub(super) fn finish(&self, work: &Work, how: How, is_recorded: bool) {
        self.board.lock().done(work);
        self.end(work, how, is_recorded);
    }

    pub(super) fn end(&self, work: &Work, how: How, is_recorded: bool) {
        let Some(caller) = work.caller() else { return };
        let ended = Ended {
            how,
            attempts: work.attempts,
            body: None,
            usage: None,
            is_usage_estimated: false,
            cost_pico_usd: None,
            is_recorded: is_recorded && caller.is_submitted,
        };
        let Err(TrySendError::Full(piece)) = caller.pieces.try_send(Piece::End(Box::new(ended))) else {
            return;
        };
        let (pieces, stalls) = (caller.pieces.clone(), self.config.reader_stall_max);
        self.tasks.spawn(async move { drop(tokio::time::timeout(stalls, pieces.send(piece)).await) });
    }

    /// Ends what waits beyond its deadline.
    pub(super) fn expire(self: &Arc<Self>) {
        let (late, left) = {
            let mut board = self.board.lock();
            let late = board.expired(&self.config, Instant::now());
            let left = board.spill.expired(self.clock.now(), EXPIRED_MAX);
            (late, left)
        };
        for work in late {
            let shared = self.clone();
            self.tasks.spawn(async move {
                shared.expire_one(work).await;
                shared.pump();
            });
        }
        if !left.is_empty() {
            self.tasks.spawn(self.clone().expire_left(left));
        }
    }

    async fn expire_left(self: Arc<Self>, lefts: Vec<Left>) {
        for left in lefts {
            let log = left.log;
            let Ok(command) = say::expire(left.stream, self.clock.now()) else { continue };
            let told = self.record(log, command).await;
            handles().request_expired.increment(1);
            let until = told.refusal().and_then(|refusal| refusal.details.get("until")?.parse().ok());
            if let Some(until) = until
                && self.board.lock().owned(log).is_some()
            {
                self.board.lock().spill.insert(Left { deadline_at: until, ..left });
            }
        }
    }
}
