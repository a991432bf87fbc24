//! One dimension that is limited per minute: the sum that bounds it, and the pace that evens it out.

use super::ledger::Ledger;
use super::pace::Pace;
use crate::domain::Micros;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meter {
    ledger: Ledger,
    pace: Pace,
}

impl Meter {
    pub fn advance(&mut self, now: Micros, limit: u64) {
        self.ledger.advance(now);
        self.pace.advance(now, limit);
    }

    /// Units that count in the windows to come.
    pub fn used(&self) -> u64 {
        self.ledger.total()
    }

    /// How many may be granted now, if `needed` may; else none.
    pub fn room(&self, limit: u64, needed: u64) -> u64 {
        let room = limit.saturating_sub(self.ledger.total()).min(self.pace.room(limit, needed));
        if room < needed { 0 } else { room }
    }

    /// The earliest time at which so many may be granted, should nothing be given back before.
    pub fn ready_at(&self, now: Micros, limit: u64, units: u64) -> Micros {
        self.ledger.ready_at(now, limit, units).max(self.pace.ready_at(now, limit, units))
    }

    pub fn grant(&mut self, late: Micros, units: u64) {
        self.ledger.add(late, units);
        self.pace.take(units);
    }

    /// Units granted up to `late` were released by `released`, but for some that never will be.
    pub fn close(&mut self, limit: u64, late: Micros, released: Micros, used: u64, unused: u64) {
        let unused = self.ledger.remove(late, unused);
        let used = self.ledger.remove(late, used);
        self.ledger.add(released, used);
        self.pace.put(limit, unused);
    }

    /// Released by `late` were fewer than were granted.
    pub fn refund(&mut self, limit: u64, late: Micros, units: u64) {
        let units = self.ledger.refund(late, units);
        self.pace.put(limit, units);
    }

    /// More were used than were granted: a debt, which is booked whether it fits or not.
    pub fn charge(&mut self, now: Micros, units: u64) {
        self.ledger.add(now, units);
        self.pace.take(units);
    }
}
