//! What a process holds of one key: its leases, and what it has to return.

use super::line::duration;
use super::{ASKED_AGAIN, FAILED, FAILED_DOUBLED_MAX, Refused};
use crate::domain::Micros;
use crate::domain::limit::{
    Amounts, Ask, Closed, Correction, Dimension, Grant, LEASES_MAX, LimitKey, Mark, Returned, Why,
};
use crate::ports::limits::Error;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// A lease of which nothing was taken for so long goes back.
const IDLE: Duration = Duration::from_millis(300);
/// How long what can be returned waits for a request that it can ride with.
const RIDES: Duration = Duration::from_millis(250);
/// A lease with less life than this lets nobody through any more: a caller needs a moment to begin.
const MARGIN: Duration = Duration::from_millis(100);
/// Over which the demand of the near future is told from that of the near past.
const SPAN: Duration = Duration::from_millis(250);
/// So many calls in a span make a demand that leases are taken ahead for.
const STEADY: u32 = 4;
/// Most closed leases that wait, twice as many as can be open.
const CLOSED_MAX: usize = 2 * LEASES_MAX;
/// Most corrections that wait. More are joined with others, at the earliest time of them.
const CORRECTIONS_MAX: usize = 64;
/// A desk that was not used for so long is cleared.
const KEPT: Duration = Duration::from_secs(60);

/// One lease.
#[derive(Debug)]
pub struct Lease {
    op: u64,
    left: Amounts,
    /// What the account knows of: only of that is there a refund.
    booked: Amounts,
    /// Account's time of the grant, and when it was asked for.
    at: Micros,
    began: Instant,
    ends: Instant,
    last_sent: Instant,
    last_taken: Instant,
    /// Permits that were not sent yet, and that were not settled yet.
    unsent: u32,
    unsettled: u32,
    /// Nothing is taken from it any more.
    pub retired: bool,
    /// Of a lease that is closed.
    released_by: Option<Micros>,
    refund: Amounts,
    debt: Amounts,
}

impl Lease {
    /// `at` is the account's time, and `began` is when it was asked.
    pub fn new(grant: &Grant, at: Micros, began: Instant, now: Instant) -> Self {
        let (refund, debt) = (Amounts::ZERO, Amounts::ZERO);
        Self {
            op: grant.lease,
            left: grant.amounts,
            booked: grant.booked,
            at,
            began,
            ends: began + duration(grant.expires_at - at),
            last_sent: began,
            last_taken: now,
            unsent: 0,
            unsettled: 0,
            retired: false,
            released_by: None,
            refund,
            debt,
        }
    }

    fn covers(&self, amounts: Amounts, now: Instant) -> bool {
        !self.retired && self.ends > now + MARGIN && self.left.covers(&amounts)
    }

    fn close(&mut self, now: Instant) -> Option<Closed> {
        let over = now >= self.ends;
        let done = (self.retired || self.left.is_zero()) && self.unsent == 0;
        if self.released_by.is_some() || !(over || done) {
            return None;
        }
        // Of permits that were never said to be sent, nobody knows: the end is the latest.
        let last = if self.unsent > 0 { self.ends } else { self.last_sent.min(self.ends) };
        let since = Micros::try_from((last - self.began).as_micros()).unwrap_or(Micros::MAX / 2);
        let released_by = self.at.saturating_add(since);
        (self.retired, self.released_by) = (true, Some(released_by));
        Some(Closed { lease: self.op, unused: std::mem::take(&mut self.left), released_by })
    }

    fn correction(&mut self) -> Option<Correction> {
        let released_by = self.released_by?;
        let (refund, debt) = (std::mem::take(&mut self.refund), std::mem::take(&mut self.debt));
        (!refund.is_zero() || !debt.is_zero()).then_some(Correction { released_by, refund, debt })
    }
}

/// What became of a permit.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// It is sent now.
    Sent,
    /// It came to so much less, and so much more, than it was estimated at.
    Settled { sent: bool, refund: Amounts, debt: Amounts },
    /// It was never sent.
    Cancelled,
}

/// See the module.
#[derive(Debug)]
pub struct Desk {
    pub leases: Vec<Lease>,
    pub op: u64,
    /// An operation is under way.
    pub busy: bool,
    returned: Returned,
    returned_since: Option<Instant>,
    /// Not asked before.
    pub ask_at: Instant,
    /// When it said that there would be something.
    pub until: Option<Instant>,
    pub why: Option<Why>,
    pub mark: Option<Mark>,
    pub too_large: Option<(Dimension, u64)>,
    unset: bool,
    pub failures: u32,
    /// The first caller that waits for this key alone: those after it do not pass.
    pub held_by: Option<u64>,
    /// Who waits for it, by the order in which they came.
    pub queue: BTreeSet<u64>,
    waiting: Amounts,
    needed: Option<Amounts>,
    looks_again_at: Option<Instant>,
    span_began: Instant,
    taken: (Amounts, u32),
    taken_before: (Amounts, u32),
    used_at: Instant,
}

impl Desk {
    /// Its operations are numbered from after `op`.
    pub fn new(op: u64, now: Instant) -> Self {
        Self {
            leases: Vec::new(),
            op,
            busy: false,
            returned: Returned::default(),
            returned_since: None,
            ask_at: now,
            until: None,
            why: None,
            mark: None,
            too_large: None,
            unset: false,
            failures: 0,
            held_by: None,
            queue: BTreeSet::new(),
            waiting: Amounts::ZERO,
            needed: None,
            looks_again_at: None,
            span_began: now,
            taken: Default::default(),
            taken_before: Default::default(),
            used_at: now,
        }
    }

    /// Begins a look at the queue.
    pub fn look(&mut self) {
        (self.held_by, self.waiting, self.needed) = (None, Amounts::ZERO, None);
    }

    pub fn is_held(&self, from: u64) -> bool {
        self.held_by.is_some_and(|first| first < from)
    }

    pub fn hold(&mut self, number: u64) {
        if !self.is_held(number) {
            self.held_by = Some(number);
        }
    }

    pub fn demand(&mut self, amounts: Amounts) {
        self.waiting = self.waiting.plus(amounts);
        self.needed.get_or_insert(amounts);
    }

    pub fn has(&self, amounts: Amounts, now: Instant) -> bool {
        self.leases.iter().any(|lease| lease.covers(amounts, now))
    }

    /// The reason not to wait here at all.
    pub fn refuses(&self, key: &LimitKey, amounts: Amounts) -> Option<Refused> {
        if self.unset {
            return Some(Refused::Unset { key: key.clone() });
        }
        let (dimension, limit) = self.too_large?;
        (amounts.of(dimension) > limit).then(|| Refused::TooLarge { key: key.clone(), dimension, limit })
    }

    /// Takes from the oldest lease that has it: its number and end.
    pub fn take(&mut self, amounts: Amounts, now: Instant) -> Option<(u64, Instant)> {
        let lease = self.leases.iter_mut().find(|lease| lease.covers(amounts, now))?;
        lease.left = lease.left.minus(amounts);
        lease.unsent += 1;
        lease.unsettled += 1;
        lease.last_taken = now;
        let taken = (lease.op, lease.ends);
        self.turn_span(now);
        self.taken = (self.taken.0.plus(amounts), self.taken.1 + 1);
        self.used_at = now;
        Some(taken)
    }

    fn turn_span(&mut self, now: Instant) {
        let passed = now.duration_since(self.span_began);
        if passed >= SPAN {
            let before = std::mem::take(&mut self.taken);
            self.taken_before = if passed < 2 * SPAN { before } else { Default::default() };
            self.span_began = now;
        }
    }

    /// What the next span will want, by the last one; nothing where calls come one by one.
    fn forecast(&self) -> Amounts {
        let ((now, calls_now), (before, calls_before)) = (self.taken, self.taken_before);
        if calls_now.max(calls_before) >= STEADY { now.max(before) } else { Amounts::ZERO }
    }

    /// The next request, where one is due: somebody waits, or what there is runs low.
    pub fn ask(&mut self, holder: u64, now: Instant) -> Option<Ask> {
        if self.busy || self.ask_at > now {
            return None;
        }
        self.turn_span(now);
        let ahead = self.forecast();
        let needed = match self.needed {
            Some(needed) => {
                // What does not even let the first one through only keeps from others.
                let small = self.leases.iter_mut().filter(|lease| !lease.covers(needed, now));
                small.for_each(|lease| lease.retired = true);
                needed
            }
            None if ahead.is_zero() || self.has(ahead.scaled(1, 2), now) => return None,
            None => ahead.scaled(1, self.taken.1.max(self.taken_before.1).into()),
        };
        self.close(now);
        self.op += 1;
        self.busy = true;
        self.used_at = now;
        let wanted = self.waiting.plus(ahead).max(needed);
        (self.waiting, self.needed) = (Amounts::ZERO, None);
        Some(Ask { holder, op: self.op, needed, wanted, returned: self.pack() })
    }

    /// When somebody must look again, if nobody does yet.
    pub fn look_again(&mut self, now: Instant) -> Option<Instant> {
        let waits = self.needed.is_some() && !self.busy && self.ask_at > now;
        if !waits || self.looks_again_at.is_some_and(|at| at > now && at <= self.ask_at) {
            return None;
        }
        self.looks_again_at = Some(self.ask_at);
        self.looks_again_at
    }

    /// Was told to wait.
    pub fn wait(&mut self, now: Instant, wait: Duration, spread: Duration, why: Option<Why>) {
        self.until = Some(now + wait + spread);
        self.ask_at = now + wait.min(ASKED_AGAIN) + spread;
        self.why = why;
    }

    /// The store failed, and nobody knows what of it happened where it may have. A lease is closed once however often
    /// that is told, and a debt that counts twice errs to the safe side; a refund does not, and is lost.
    pub fn failed(&mut self, now: Instant, key: &LimitKey, error: &Error, returned: Returned, asked: Option<u64>) {
        if matches!(error, Error::Unset { .. }) {
            self.unset = true;
            return;
        }
        if self.failures == 0 {
            tracing::warn!(%key, %error, "the limits cannot be asked: calls wait");
        }
        let unknown = error.may_have_happened();
        self.returned.closed.extend(returned.closed);
        for correction in returned.corrections {
            let refund = if unknown { Amounts::ZERO } else { correction.refund };
            self.correct(Correction { refund, ..correction });
        }
        // Of a lease that nobody heard of nothing is released.
        let unheard = asked.filter(|_| unknown);
        self.returned.closed.extend(unheard.map(|lease| Closed { lease, unused: Amounts::MAX, released_by: 0 }));
        // The oldest ran out by themselves long ago.
        self.returned.closed.drain(..self.returned.closed.len().saturating_sub(CLOSED_MAX));
        if !self.returned.is_empty() {
            self.returned_since.get_or_insert(now);
        }
        let wait = FAILED * 2u32.pow(self.failures.min(FAILED_DOUBLED_MAX));
        self.failures = self.failures.saturating_add(1);
        self.wait(now, wait, Duration::ZERO, None);
    }

    /// What became of a permit of a lease.
    pub fn settle(&mut self, op: u64, amounts: Amounts, fate: Fate, now: Instant) {
        let Some(lease) = self.leases.iter_mut().find(|lease| lease.op == op) else { return };
        match fate {
            Fate::Sent => {
                lease.last_sent = lease.last_sent.max(now);
                lease.unsent = lease.unsent.saturating_sub(1);
            }
            Fate::Settled { sent, refund, debt } => {
                if !sent {
                    lease.last_sent = lease.last_sent.max(now);
                    lease.unsent = lease.unsent.saturating_sub(1);
                }
                lease.unsettled = lease.unsettled.saturating_sub(1);
                lease.refund = lease.refund.plus(refund.min(lease.booked));
                lease.debt = lease.debt.plus(debt);
            }
            Fate::Cancelled => {
                lease.unsent = lease.unsent.saturating_sub(1);
                lease.unsettled = lease.unsettled.saturating_sub(1);
                match lease.released_by {
                    None => lease.left = lease.left.plus(amounts),
                    // It was counted as used when the lease was closed.
                    Some(_) => lease.refund = lease.refund.plus(amounts.min(lease.booked)),
                }
            }
        }
        self.close(now);
    }

    /// Closes what can be closed, and gathers what is to be returned.
    pub fn close(&mut self, now: Instant) {
        let closed = self.leases.iter_mut().filter_map(|lease| lease.close(now));
        self.returned.closed.extend(closed);
        let corrections: Vec<_> = self.leases.iter_mut().filter_map(Lease::correction).collect();
        corrections.into_iter().for_each(|correction| self.correct(correction));
        self.leases.retain(|lease| lease.released_by.is_none() || lease.unsettled > 0);
        if !self.returned.is_empty() {
            self.returned_since.get_or_insert(now);
        }
    }

    fn correct(&mut self, correction: Correction) {
        if correction.refund.is_zero() && correction.debt.is_zero() {
            return;
        }
        let corrections = &mut self.returned.corrections;
        let full = corrections.len() >= CORRECTIONS_MAX;
        // The earliest time is the safe one: a refund never comes out of a later slot than its own.
        let joins = |other: &&mut Correction| full || other.released_by == correction.released_by;
        match corrections.iter_mut().find(joins) {
            Some(other) => {
                other.released_by = other.released_by.min(correction.released_by);
                other.refund = other.refund.plus(correction.refund);
                other.debt = other.debt.plus(correction.debt);
            }
            None => corrections.push(correction),
        }
    }

    fn pack(&mut self) -> Returned {
        self.returned_since = None;
        std::mem::take(&mut self.returned)
    }

    /// Retires what is not used; everything at the end.
    pub fn tick(&mut self, now: Instant, all: bool) {
        // Set anew, it can be asked again.
        (self.unset, self.too_large) = (false, None);
        for lease in &mut self.leases {
            let idle = self.needed.is_none() && now.duration_since(lease.last_taken) >= IDLE;
            lease.retired |= all || idle;
        }
        self.close(now);
    }

    /// What goes back alone, since no request came that it could ride with.
    pub fn give_back(&mut self, now: Instant, all: bool) -> Option<(u64, Returned)> {
        let due = self.returned_since.is_some_and(|since| all || now.duration_since(since) >= RIDES);
        if !due || self.busy || (self.failures > 0 && self.ask_at > now && !all) {
            return None;
        }
        self.op += 1;
        self.busy = true;
        self.used_at = now;
        Some((self.op, self.pack()))
    }

    pub fn is_idle(&self, now: Instant) -> bool {
        let nothing = self.leases.is_empty() && self.returned.is_empty() && !self.busy && self.queue.is_empty();
        nothing && self.ask_at <= now && now.duration_since(self.used_at) >= KEPT
    }
}
