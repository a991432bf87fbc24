//! What is granted, and what must wait.

use super::{Account, Claim, Lease, METERED};
use crate::domain::Micros;
use crate::domain::limit::{
    Amounts, Ask, CHUNK_SPAN, CHUNK_SPAN_MIN, CLAIM_LIFE, Dimension, LEASE_SPAN, LEASES_MAX, Outcome, WINDOW, Why,
};

impl Account {
    pub(super) fn wait(&self, until: Micros, why: Why) -> Outcome {
        Outcome::Wait { until: until.max(self.time + 1), why }
    }

    pub(super) fn decide(&mut self, ask: &Ask) -> Outcome {
        let wanted = ask.wanted.max(ask.needed);
        let limited = |dimension: &Dimension| wanted.of(*dimension) > 0;
        let mut latest = (self.paused_until > self.time).then_some((self.paused_until, Why::Paused));
        let mut ceilings = wanted;
        for dimension in Dimension::ALL.into_iter().filter(limited) {
            let Some(limit) = self.limit_of(dimension) else { continue };
            let needed = ask.needed.of(dimension);
            if needed > limit {
                return Outcome::TooLarge { dimension, limit };
            }
            match self.room(ask.holder, dimension, limit, needed, wanted.of(dimension)) {
                Ok(room) => *ceilings.of_mut(dimension) = room,
                Err(until) if latest.is_none_or(|(latest, _)| until > latest) => {
                    latest = Some((until, Why::Limit(dimension)));
                }
                Err(_) => {}
            }
        }
        if let Some((until, why)) = latest {
            self.claim(ask, why);
            return self.wait(until, why);
        }
        let amounts = proportionate(ask.needed, wanted, ceilings);
        let mut booked = Amounts::ZERO;
        for dimension in Dimension::ALL.into_iter().filter(|dimension| self.limit_of(*dimension).is_some()) {
            *booked.of_mut(dimension) = amounts.of(dimension);
        }
        let lease = Lease { op: ask.op, granted_at: self.time, booked, amounts };
        if booked.is_zero() {
            return Outcome::Granted(lease.grant());
        }
        self.book(ask, lease)
    }

    /// How much of one dimension the holder may get, or when that is.
    fn room(&self, holder: u64, dimension: Dimension, limit: u64, needed: u64, wanted: u64) -> Result<u64, Micros> {
        let active = self.active(Some(holder)) as Micros;
        let Some(meter) = self.meter(dimension) else {
            let room = limit.saturating_sub(self.spent_or_leased());
            let share = needed.max(room / (4 * active as u64));
            return if room >= needed { Ok(wanted.min(share)) } else { Err(self.money_until(limit, needed)) };
        };
        let ceiling = wanted.min(needed.max(allowance(limit, LEASE_SPAN / active)));
        let chunk = allowance(limit, (CHUNK_SPAN / active).max(CHUNK_SPAN_MIN));
        let claimed = self.claimed_by_others(holder).of(dimension);
        let least = needed.max(ceiling.min(chunk)).max(1);
        let with_claim = least.saturating_add(claimed);
        match meter.room(limit, with_claim) {
            0 => Err(meter.ready_at(self.time, limit, with_claim)),
            room => Ok((room - claimed).min(ceiling.max(least))),
        }
    }

    fn claimed_by_others(&self, holder: u64) -> Amounts {
        let claim = self.claim.filter(|claim| claim.holder != holder && claim.until > self.time);
        claim.map_or(Amounts::ZERO, |claim| claim.needed)
    }

    /// Claims what is needed, where it is more than others take at a time and nobody else claims anything.
    fn claim(&mut self, ask: &Ask, why: Why) {
        let Why::Limit(dimension @ (Dimension::Requests | Dimension::Tokens)) = why else { return };
        let chunk = self.limit_of(dimension).map_or(0, |limit| allowance(limit, CHUNK_SPAN));
        let small = ask.needed.of(dimension) <= chunk.max(1);
        let held = self.claim.filter(|claim| claim.until > self.time);
        let taken = held.is_some_and(|claim| claim.holder != ask.holder);
        // One of its own is renewed once half of it is over.
        let fresh = held.is_some_and(|claim| claim.until - CLAIM_LIFE / 2 > self.time);
        if !(small || taken || fresh) {
            self.changed = true;
            self.claim = Some(Claim { holder: ask.holder, needed: ask.needed, until: self.time + CLAIM_LIFE });
        }
    }

    /// When there may be money again: once leases end, if that is enough, else in the next period.
    fn money_until(&self, limit: u64, needed: u64) -> Micros {
        let leases = self.holders.iter().flat_map(|holder| &holder.leases);
        let first = leases.filter(|lease| lease.booked.micro_usd > 0).map(Lease::expires_at).min();
        match first {
            Some(end) if limit.saturating_sub(self.purse.spent) >= needed => end.max(self.time + CHUNK_SPAN),
            _ => self.limit.budget.map_or(self.time, |budget| budget.period.end_of(self.time)),
        }
    }

    fn book(&mut self, ask: &Ask, lease: Lease) -> Outcome {
        let open = self.holder(ask.holder).map_or(0, |holder| holder.leases.len());
        if open >= LEASES_MAX || !self.enter(ask.holder, ask.op) {
            return self.wait(self.time + CHUNK_SPAN, Why::Crowded);
        }
        self.changed = true;
        self.claim = self.claim.filter(|claim| claim.holder != ask.holder);
        for metered in METERED {
            if let Some(meter) = self.meter_mut(metered) {
                meter.grant(lease.expires_at(), lease.booked.of(metered));
            }
        }
        let holders = self.holders.iter_mut().filter(|holder| holder.id == ask.holder);
        holders.for_each(|holder| holder.leases.push(lease));
        Outcome::Granted(lease.grant())
    }
}

/// What a limit allows in such a time.
fn allowance(limit: u64, span: Micros) -> u64 {
    let units = u128::from(limit) * u128::from(span.unsigned_abs()) / u128::from(WINDOW.unsigned_abs());
    u64::try_from(units).unwrap_or(u64::MAX)
}

/// As much of each as goes together: tokens without requests, or the other way round, are of no use to the holder and
/// would only be kept from others. Never less than is needed.
fn proportionate(needed: Amounts, wanted: Amounts, ceilings: Amounts) -> Amounts {
    let mut amounts = wanted;
    for dimension in Dimension::ALL.into_iter().filter(|dimension| wanted.of(*dimension) > 0) {
        let part = wanted.scaled(ceilings.of(dimension), wanted.of(dimension));
        amounts = amounts.min(part);
    }
    amounts.min(ceilings).max(needed)
}
