//! The limiter: a process's side of the limits. It holds leases, sized to demand, and lets callers through on them.
//!
//! A caller names every limit that its call falls under and gets a [`Permit`] for all of them or for none. Leases are
//! local, so nobody holds one limit while waiting for another: what was leased for a caller that then has to wait serves
//! the next, or is returned within a moment. Order among waiting callers is the order in which they came; a caller is
//! passed only while another of its limits holds it back. Whoever has an order of its own to keep (priorities) keeps the
//! callers, and is told when to try again. What a key has to say concerns a bounded number of those who wait for it: a
//! caller that comes or goes costs the same behind ten others as behind ten thousand.
//!
//! Each key has one operation under way at a time. Closed leases and what calls really came to ride with the next one, or
//! go alone a moment later. A refund of which nobody knows whether it happened is never told twice: it stays counted as
//! used. Nor is one let out again before the account has it: a process that died then would have let out what nobody counts.

mod desk;
mod line;
mod permit;
#[cfg(test)]
mod tests;

pub use permit::Permit;

use crate::domain::limit::{Amounts, Ask, Dimension, LimitKey, Mark, News, Returned, Why};
use crate::ports::Limits;
use crate::ports::limits::Error;
use line::{Pass, State, Ticket, duration, each_once};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Between two looks for what can be returned.
const TICK: Duration = Duration::from_millis(100);
/// Longest that a key is not asked for, however long it told to wait: a limit may be raised, a budget refunded.
const ASKED_AGAIN: Duration = Duration::from_secs(2);
/// Holders that wait for the same moment spread over so much for each of them, and at most over the second.
const SPREAD: Duration = Duration::from_millis(10);
const SPREAD_MAX: Duration = Duration::from_millis(300);
/// Wait after the first failure of the store, doubled with each, up to the second.
const FAILED: Duration = Duration::from_millis(50);
const FAILED_DOUBLED_MAX: u32 = 6;
/// When a caller that got nothing by its deadline should come back, where nothing better is known.
const SOON: Duration = Duration::from_millis(50);

/// Why there is no permit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nothing was taken. It may be there at `at`, and hardly before.
    #[error("{key} gives nothing before a later time ({why:?})")]
    Later { key: LimitKey, at: Instant, why: Option<Why> },
    #[error("{key} allows {limit} at most ({name}), and the call needs more", name = dimension.name())]
    TooLarge { key: LimitKey, dimension: Dimension, limit: u64 },
    #[error("no limit is set for {key}; set one first, without bounds where it has none")]
    Unset { key: LimitKey },
}

/// See the module. Clones are the same limiter.
#[derive(Clone)]
pub struct Limiter(Arc<Shared>);

struct Shared {
    limits: Arc<dyn Limits>,
    holder: u64,
    state: Mutex<State>,
}

type Answer = Result<Permit, Refused>;

impl Limiter {
    /// `holder` names this start of this process among all: draw it at random. [`Self::run`] must be running.
    pub fn new(limits: Arc<dyn Limits>, holder: u64) -> Self {
        Self(Arc::new(Shared { limits, holder, state: Mutex::new(State::new(holder)) }))
    }

    /// Waits until all of these limits let a call through. It may be dropped at any time and leaves nothing behind.
    ///
    /// # Errors
    /// `Later` at the deadline, or before where it is known that nothing comes by then.
    pub async fn acquire(&self, wants: &[(LimitKey, Amounts)], deadline: Instant) -> Answer {
        let (answer, mut answered) = oneshot::channel();
        let (number, pass) = {
            let ticket = Ticket { wants: each_once(wants), deadline, answer };
            self.0.state.lock().arrive(ticket, self.0.holder, Instant::now())
        };
        let _place = Place { limiter: &self.0, number };
        self.0.carry_out(pass);
        let received = tokio::select! {
            biased;
            received = &mut answered => received.ok(),
            () = tokio::time::sleep_until(deadline) => match self.0.leave(number) {
                Some(refused) => return Err(refused),
                // It was answered at this very moment.
                None => answered.await.ok(),
            },
        };
        match received {
            Some(Ok(permit)) => Ok(permit.delivered()),
            Some(Err(refused)) => Err(refused),
            None => Err(self.0.later(wants, Instant::now())),
        }
    }

    /// Passes on what a provider told. Leases of the key that this process holds end at once where it says to wait.
    ///
    /// # Errors
    /// When the store cannot be asked: other processes do not know of it then.
    pub async fn throttle(&self, key: &LimitKey, news: &News) -> Result<(), Error> {
        if let Some(pause) = news.pause {
            let now = Instant::now();
            let mut state = self.0.state.lock();
            let desk = state.desk(key, now);
            desk.leases.iter_mut().for_each(|lease| lease.retired = true);
            desk.close(now);
            desk.wait(now, duration(pause), Duration::ZERO, Some(Why::Paused));
        }
        self.0.limits.throttle(key, news).await
    }

    /// How far the budget of a key was used when it was last asked for.
    pub fn mark(&self, key: &LimitKey) -> Option<Mark> {
        self.0.state.lock().desks.get(key).and_then(|desk| desk.mark)
    }

    /// Returns what is not used, until told to stop; then everything.
    pub async fn run(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => {}
            }
            let ends = stop.is_cancelled();
            let returns = self.0.state.lock().returns(Instant::now(), ends);
            let sent = returns.into_iter().map(|(key, op, returned)| self.0.clone().give_back(key, op, returned));
            if ends {
                futures::future::join_all(sent).await;
                return;
            }
            sent.for_each(|one| drop(tokio::spawn(one)));
            // What was cancelled or given up since may serve somebody.
            let wanted = self.0.state.lock().wanted();
            self.0.serve(&wanted);
        }
    }
}

/// A caller's place in the line, which it leaves when it goes.
struct Place<'a> {
    limiter: &'a Shared,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.limiter.leave(self.number);
    }
}

impl Shared {
    /// Lets through who waits for these keys and can go, and asks for what is missing.
    fn serve(self: &Arc<Self>, keys: &[LimitKey]) {
        let pass = self.state.lock().pass(keys, self.holder, Instant::now());
        self.carry_out(pass);
    }

    fn carry_out(self: &Arc<Self>, pass: Pass) {
        for (parts, send_by, answer) in pass.served {
            // A caller that went drops the permit, which then is as if it had never been.
            drop(answer.send(Ok(Permit::new(self.clone(), parts, send_by))));
        }
        for (refused, answer) in pass.refused {
            drop(answer.send(Err(refused)));
        }
        for (key, ask) in pass.asks {
            tokio::spawn(self.clone().reserve(key, ask));
        }
        for (key, at) in pass.again {
            let shared = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep_until(at).await;
                shared.serve(&[key]);
            });
        }
    }

    /// Takes a caller out of the line; `None` where it is not in it any more.
    fn leave(&self, number: u64) -> Option<Refused> {
        let mut state = self.state.lock();
        let ticket = state.remove(number)?;
        Some(state.later(&ticket.wants, Instant::now()))
    }

    fn later(&self, wants: &[(LimitKey, Amounts)], now: Instant) -> Refused {
        self.state.lock().later(wants, now)
    }

    async fn reserve(self: Arc<Self>, key: LimitKey, ask: Ask) {
        // Before anything is sent: the lease's life counts from here.
        let began = Instant::now();
        let answer = self.limits.reserve(&key, &ask).await;
        self.state.lock().answered(&key, ask, began, answer);
        self.serve(&[key]);
    }

    async fn give_back(self: Arc<Self>, key: LimitKey, op: u64, returned: Returned) {
        let answer = self.limits.give_back(&key, self.holder, op, &returned).await;
        let now = Instant::now();
        let mut state = self.state.lock();
        let desk = state.desk(&key, now);
        desk.busy = false;
        match answer {
            Ok(()) => {
                desk.failures = 0;
                // Of a budget, what is returned is what callers wait for: its own time to come is next month's.
                if desk.why == Some(Why::Limit(Dimension::MicroUsd)) {
                    (desk.until, desk.ask_at) = (None, desk.ask_at.min(now));
                }
            }
            Err(error) => desk.failed(now, &key, &error, returned, None),
        }
        drop(state);
        self.serve(&[key]);
    }
}
