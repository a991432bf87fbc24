//! The books of one key: what comes in and goes back. What is granted is decided in [`grant`].

mod grant;

use super::budget::Purse;
use super::meter::Meter;
use super::{
    ACTIVE, Amounts, Ask, CHUNK_SPAN_MIN, Correction, Dimension, Grant, HOLDER_KEPT, HOLDERS_MAX, LEASE_GRACE,
    LEASE_LIFE, Limit, News, Outcome, PAUSE_MAX, PER_MINUTE_MAX, Reserved, Returned, Setting, Why,
};
use crate::domain::Micros;
use serde::{Deserialize, Serialize};

/// See the module. Every method takes the time of whoever keeps the account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    pub(super) version: u64,
    pub(super) limit: Limit,
    /// What the provider said it applies, since the limit was last set.
    learned_requests: Option<u64>,
    learned_tokens: Option<u64>,
    /// Never runs backwards.
    pub(super) time: Micros,
    pub(super) paused_until: Micros,
    requests: Meter,
    tokens: Meter,
    pub(super) purse: Purse,
    holders: Vec<Holder>,
    claim: Option<Claim>,
    /// Whether there is anything to write.
    #[serde(skip)]
    changed: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Holder {
    id: u64,
    /// Its last operation that changed anything.
    op: u64,
    seen: Micros,
    leases: Vec<Lease>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Lease {
    /// The operation that it was granted to.
    op: u64,
    granted_at: Micros,
    /// What was booked: nothing where there was no limit.
    booked: Amounts,
    /// What was granted.
    amounts: Amounts,
}

/// A holder waits for so much that others, who need less, would take it from under its hands for ever. What it needs is
/// kept free of them for a while.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Claim {
    holder: u64,
    needed: Amounts,
    until: Micros,
}

impl Lease {
    fn expires_at(&self) -> Micros {
        self.granted_at + LEASE_LIFE
    }
}

/// The dimensions that a meter measures.
const METERED: [Dimension; 2] = [Dimension::Requests, Dimension::Tokens];

impl Account {
    pub fn new(setting: &Setting) -> Self {
        let mut new = Self { version: setting.version, limit: setting.limit, ..Self::default() };
        new.set(setting);
        new
    }

    /// Whether the last operation changed anything; asked once.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Sets the limit, unless a newer one is there, or this one. A lower one is obeyed from the next grant on.
    pub fn set(&mut self, setting: &Setting) -> bool {
        let is_other = setting.limit != self.limit;
        let newer = setting.version > self.version || (setting.version == self.version && is_other);
        if newer {
            self.changed = true;
            self.version = setting.version;
        }
        // A version alone says that its owner changed in something else: what was learned of the limit still holds.
        if newer && is_other {
            self.limit = setting.limit;
            (self.learned_requests, self.learned_tokens) = (None, None);
            for metered in METERED {
                if self.limit_of(metered).is_none() {
                    self.forget(metered);
                }
            }
        }
        if let (Some(budget), Some(spent)) = (self.limit.budget, setting.spent) {
            let before = self.purse;
            self.purse.raise(spent.at, spent.micro_usd, budget.period);
            self.changed |= before != self.purse;
        }
        newer
    }

    /// What a key without a limit used was never booked, so nothing that was may be mistaken for it later.
    fn forget(&mut self, free: Dimension) {
        if let Some(meter) = self.meter_mut(free) {
            *meter = Meter::default();
        }
        self.holders.iter_mut().flat_map(|holder| &mut holder.leases).for_each(|lease| *lease.booked.of_mut(free) = 0);
    }

    /// Grants a lease, or tells why not. Takes in what is returned in any case.
    pub fn reserve(&mut self, now: Micros, ask: &Ask) -> Reserved {
        self.advance(now);
        let outcome = match self.holder(ask.holder).map(|holder| (holder.op, holder.lease(ask.op))) {
            // Repeated: it was granted, and whether the first answer arrived does not matter.
            Some((_, Some(lease))) => Outcome::Granted(lease.grant()),
            Some((op, None)) if op >= ask.op => self.wait(self.time + CHUNK_SPAN_MIN, Why::Crowded),
            _ => {
                self.take_back(ask.holder, ask.op, &ask.returned);
                self.decide(ask)
            }
        };
        let mark = self.limit.budget.map(|budget| budget.mark(self.spent_or_leased()));
        Reserved { at: self.time, outcome, mark, active: self.active(Some(ask.holder)) }
    }

    /// Takes in what is returned, once for each operation.
    pub fn give_back(&mut self, now: Micros, holder: u64, op: u64, returned: &Returned) {
        self.advance(now);
        if self.holder(holder).is_none_or(|known| known.op < op) {
            self.take_back(holder, op, returned);
        }
    }

    /// Takes in what the provider told.
    pub fn throttle(&mut self, now: Micros, news: &News) {
        self.advance(now);
        let before = (self.paused_until, self.learned_requests, self.learned_tokens);
        if let Some(pause) = news.pause {
            self.paused_until = self.paused_until.max(self.time + pause.clamp(0, PAUSE_MAX));
        }
        self.learned_requests = news.requests_per_minute.filter(|limit| *limit > 0).or(self.learned_requests);
        self.learned_tokens = news.tokens_per_minute.filter(|limit| *limit > 0).or(self.learned_tokens);
        self.changed |= before != (self.paused_until, self.learned_requests, self.learned_tokens);
    }

    /// The limit in force: the lower of what is set and what the provider says.
    pub(super) fn limit_of(&self, dimension: Dimension) -> Option<u64> {
        let (set, learned) = match dimension {
            Dimension::Requests => (self.limit.requests_per_minute, self.learned_requests),
            Dimension::Tokens => (self.limit.tokens_per_minute, self.learned_tokens),
            Dimension::MicroUsd => return self.limit.budget.map(|budget| budget.micro_usd),
        };
        let lower = set.into_iter().chain(learned).min();
        lower.map(|limit| limit.min(PER_MINUTE_MAX))
    }

    pub(super) fn meter(&self, dimension: Dimension) -> Option<&Meter> {
        match dimension {
            Dimension::Requests => Some(&self.requests),
            Dimension::Tokens => Some(&self.tokens),
            Dimension::MicroUsd => None,
        }
    }

    fn meter_mut(&mut self, dimension: Dimension) -> Option<&mut Meter> {
        match dimension {
            Dimension::Requests => Some(&mut self.requests),
            Dimension::Tokens => Some(&mut self.tokens),
            Dimension::MicroUsd => None,
        }
    }

    /// Whether nothing of it counts any more by `now`, so that one that begins anew is as good.
    pub fn is_blank(&self, now: Micros) -> bool {
        let mut there = self.clone();
        there.advance(now);
        let is_unused = |metered| there.meter(metered).is_none_or(|meter| meter.used() == 0);
        METERED.into_iter().all(is_unused)
            && there.leased() == Amounts::ZERO
            && there.purse.spent == 0
            && there.paused_until <= there.time
    }

    pub(super) fn leased(&self) -> Amounts {
        let leases = self.holders.iter().flat_map(|holder| &holder.leases);
        leases.fold(Amounts::ZERO, |sum, lease| sum.plus(lease.booked))
    }

    fn spent_or_leased(&self) -> u64 {
        self.purse.spent.saturating_add(self.leased().micro_usd)
    }

    fn holder(&self, id: u64) -> Option<&Holder> {
        self.holders.iter().find(|holder| holder.id == id)
    }

    /// Holders that took part lately, and this one.
    pub(super) fn active(&self, asking: Option<u64>) -> usize {
        let others = self.holders.iter().filter(|holder| Some(holder.id) != asking);
        others.filter(|holder| holder.seen + ACTIVE > self.time).count() + usize::from(asking.is_some())
    }

    pub(super) fn advance(&mut self, now: Micros) {
        self.time = self.time.max(now);
        for metered in METERED {
            let (time, limit) = (self.time, self.limit_of(metered));
            if let (Some(meter), Some(limit)) = (self.meter_mut(metered), limit) {
                meter.advance(time, limit);
            }
        }
        let Self { holders, purse, time, limit, .. } = self;
        for holder in holders.iter_mut() {
            holder.leases.retain(|lease| {
                let kept = lease.expires_at() + LEASE_GRACE > *time;
                if !kept {
                    // It belongs to the period in which it could be spent last.
                    limit.budget.iter().for_each(|budget| purse.advance(lease.expires_at(), budget.period));
                    purse.lose(lease.booked.micro_usd);
                }
                kept
            });
        }
        holders.retain(|holder| !holder.leases.is_empty() || holder.seen + HOLDER_KEPT > *time);
        if let Some(budget) = self.limit.budget {
            self.purse.advance(self.time, budget.period);
        }
    }

    fn take_back(&mut self, id: u64, op: u64, returned: &Returned) {
        if !self.concerns(id, returned) {
            return;
        }
        self.changed = true;
        let entered = self.enter(id, op);
        for closed in &returned.closed {
            let Some(holder) = self.holders.iter_mut().find(|holder| holder.id == id) else { break };
            // One that ran out before is counted as used, and stays so.
            let Some(place) = holder.leases.iter().position(|lease| lease.op == closed.lease) else { continue };
            let lease = holder.leases.swap_remove(place);
            self.close(&lease, closed.unused.min(lease.booked), closed.released_by);
        }
        for correction in &returned.corrections {
            // Of an operation that cannot be noted, and so might come twice, only what errs to the safe side.
            let refund = if entered { correction.refund } else { Amounts::ZERO };
            self.correct(&Correction { refund, ..*correction });
        }
    }

    /// Whether anything of it is in the books: of what is not limited nothing is, and nothing need be written.
    fn concerns(&self, id: u64, returned: &Returned) -> bool {
        let known = |lease| self.holder(id).is_some_and(|holder| holder.lease(lease).is_some());
        let limited = Dimension::ALL.into_iter().filter(|dimension| self.limit_of(*dimension).is_some());
        let mut corrected = limited.flat_map(|dimension| {
            returned
                .corrections
                .iter()
                .map(move |correction| (correction.refund.of(dimension), correction.debt.of(dimension)))
        });
        returned.closed.iter().any(|closed| known(closed.lease)) || corrected.any(|amounts| amounts != (0, 0))
    }

    fn close(&mut self, lease: &Lease, unused: Amounts, released_by: Micros) {
        let used = lease.booked.minus(unused);
        let released_by = released_by.clamp(lease.granted_at, lease.expires_at());
        for metered in METERED {
            let limit = self.limit_of(metered);
            if let (Some(meter), Some(limit)) = (self.meter_mut(metered), limit) {
                meter.close(limit, lease.expires_at(), released_by, used.of(metered), unused.of(metered));
            }
        }
        self.purse.charge(used.micro_usd);
    }

    fn correct(&mut self, correction: &Correction) {
        let time = self.time;
        for metered in METERED {
            let limit = self.limit_of(metered);
            if let (Some(meter), Some(limit)) = (self.meter_mut(metered), limit) {
                meter.refund(limit, correction.released_by, correction.refund.of(metered));
                meter.charge(time, correction.debt.of(metered));
            }
        }
        if self.limit.budget.is_some() {
            self.purse.refund(correction.released_by, correction.refund.micro_usd);
            self.purse.charge(correction.debt.micro_usd);
        }
    }

    /// Notes that a holder was here. `false` where there are too many.
    fn enter(&mut self, id: u64, op: u64) -> bool {
        let seen = self.time;
        if let Some(holder) = self.holders.iter_mut().find(|holder| holder.id == id) {
            (holder.op, holder.seen) = (op, seen);
            return true;
        }
        if self.holders.len() >= HOLDERS_MAX {
            // One that was gone for a lease and its grace repeats nothing.
            let gone = |holder: &Holder| holder.leases.is_empty() && holder.seen + LEASE_LIFE + LEASE_GRACE < seen;
            let Some(place) = self.holders.iter().position(gone) else { return false };
            self.holders.swap_remove(place);
        }
        self.holders.push(Holder { id, op, seen, leases: Vec::new() });
        true
    }
}

impl Holder {
    fn lease(&self, op: u64) -> Option<Lease> {
        self.leases.iter().find(|lease| lease.op == op).copied()
    }
}

impl Lease {
    fn grant(&self) -> Grant {
        Grant { lease: self.op, amounts: self.amounts, booked: self.booked, expires_at: self.expires_at() }
    }
}

#[cfg(test)]
impl Account {
    /// Units that count now.
    pub fn used(&self, dimension: Dimension) -> u64 {
        self.meter(dimension).map_or(0, Meter::used)
    }
}
