//! The sum over a sliding window, by slots: the part that no burst and no refund can outwit.
//!
//! A unit stands in the slot of the latest time at which it can still be released, and leaves once nothing that is
//! granted from then on can arrive within a window of it.

use super::{LEASE_LIFE, SLACK, SLOT, WINDOW};
use crate::domain::Micros;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Window, slack and a lease's life, in slots.
const SLOTS_MAX: usize = ((WINDOW + SLACK + LEASE_LIFE) / SLOT) as usize + 2;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Number of the first slot that is kept.
    first: i64,
    /// Units by slot, from the first on. Times are at most a lease ahead, so there are hardly more than [`SLOTS_MAX`].
    slots: VecDeque<u64>,
    /// Of all slots.
    total: u64,
}

fn slot(time: Micros) -> i64 {
    time.div_euclid(SLOT)
}

/// When the units of a slot are out of every window to come.
fn leaves_at(slot: i64) -> Micros {
    (slot + 1) * SLOT + WINDOW + SLACK
}

impl Ledger {
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Lets go what can meet nothing new any more.
    pub fn advance(&mut self, now: Micros) {
        while let Some(units) = self.slots.front().copied() {
            if units > 0 && leaves_at(self.first) > now {
                return;
            }
            self.total -= units;
            self.slots.pop_front();
            self.first += 1;
        }
    }

    /// Books units that are released by `late`.
    pub fn add(&mut self, late: Micros, units: u64) {
        if units == 0 {
            return;
        }
        let at = slot(late);
        if self.slots.is_empty() {
            self.first = at;
        }
        while at < self.first && self.slots.len() < SLOTS_MAX {
            self.slots.push_front(0);
            self.first -= 1;
        }
        // What should stand before all that is kept counts a little longer instead.
        let place = usize::try_from(at - self.first).unwrap_or(0);
        if place >= self.slots.len() {
            self.slots.resize(place + 1, 0);
        }
        let units = units.min(u64::MAX - self.total);
        self.slots[place] += units;
        self.total += units;
    }

    /// Takes units out of the slot of `late` alone; gives how many there were.
    pub fn remove(&mut self, late: Micros, units: u64) -> u64 {
        let place = usize::try_from(slot(late) - self.first).ok();
        let Some(found) = place.and_then(|place| self.slots.get_mut(place)) else { return 0 };
        let removed = units.min(*found);
        *found -= removed;
        self.total -= removed;
        removed
    }

    /// Takes units out that will never arrive, released by `late` at the latest. They may stand in any slot up to that
    /// one: taking them from an earlier slot only counts the rest for longer. Gives how many there were.
    pub fn refund(&mut self, late: Micros, units: u64) -> u64 {
        let Ok(last) = usize::try_from(slot(late) - self.first) else { return 0 };
        let mut left = units;
        for found in self.slots.iter_mut().take(last + 1).rev() {
            let removed = left.min(*found);
            *found -= removed;
            left -= removed;
            if left == 0 {
                break;
            }
        }
        self.total -= units - left;
        units - left
    }

    /// The earliest time at which so many more fit under the limit, should nothing be given back before.
    pub fn ready_at(&self, now: Micros, limit: u64, units: u64) -> Micros {
        let mut excess = i128::from(self.total) + i128::from(units) - i128::from(limit);
        let mut ready = now;
        for (place, found) in self.slots.iter().enumerate() {
            if excess <= 0 {
                break;
            }
            excess -= i128::from(*found);
            ready = leaves_at(self.first + place as i64);
        }
        ready.max(now)
    }
}
