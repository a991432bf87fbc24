//! A token bucket for evenness: refill of limit / 60 s, burst of 2 % of the limit and at least one unit.
//!
//! Kept in sixty-millionths of a unit, so that the refill of one microsecond is the limit itself and nothing is rounded.
//! The burst has two parts. More than the first part ([`LUMP_SPAN`] of refill) is let through at once when that part is
//! full, and leaves a debt that is worked off. The second part ([`LATE_SPAN`]) goes on to fill until somebody comes: it
//! always takes a moment, and without it each lump would cost what flows in that moment.

use super::WINDOW;
use crate::domain::Micros;
use serde::{Deserialize, Serialize};

/// A unit.
const UNIT: i64 = WINDOW;
const LUMP_SPAN: Micros = 700_000;
const LATE_SPAN: Micros = 500_000;

/// A fresh one is full: it was refilled since the beginning of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Sixty-millionths of a unit; below zero a debt.
    level: i64,
    at: Micros,
}

/// What flows in such a time.
fn refill(limit: u64, span: Micros) -> i64 {
    let parts = i128::from(limit) * i128::from(span.max(0));
    i64::try_from(parts).unwrap_or(i64::MAX)
}

/// More than this need not be waited for.
fn lump(limit: u64) -> i64 {
    refill(limit, LUMP_SPAN).max(UNIT)
}

fn full(limit: u64) -> i64 {
    lump(limit).saturating_add(refill(limit, LATE_SPAN))
}

fn parts(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX).saturating_mul(UNIT)
}

impl Pace {
    pub fn advance(&mut self, now: Micros, limit: u64) {
        // In this order: a level far below zero is not lifted by more than what flowed.
        self.level = self.level.saturating_add(refill(limit, now - self.at)).min(full(limit));
        self.at = self.at.max(now);
    }

    /// How many units may go now, if `needed` of them may; else none.
    pub fn room(&self, limit: u64, needed: u64) -> u64 {
        if self.level < parts(needed).min(lump(limit)) {
            return 0;
        }
        needed.max(u64::try_from(self.level / UNIT).unwrap_or(0))
    }

    /// When so many may go.
    pub fn ready_at(&self, now: Micros, limit: u64, units: u64) -> Micros {
        let missing = parts(units).min(lump(limit)).saturating_sub(self.level).max(0);
        let wait = u64::try_from(missing).unwrap_or(0).div_ceil(limit.max(1));
        now.saturating_add(i64::try_from(wait).unwrap_or(i64::MAX))
    }

    pub fn take(&mut self, units: u64) {
        self.level = self.level.saturating_sub(parts(units));
    }

    /// Gives back, never above the burst.
    pub fn put(&mut self, limit: u64, units: u64) {
        self.level = self.level.saturating_add(parts(units)).min(full(limit));
    }
}
