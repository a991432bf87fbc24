//! How long to wait before the next attempt: the one place that knows the `backoff` crate.
//!
//! The crate is unmaintained (RUSTSEC-2025-0012); whoever replaces it replaces this file. Only its intervals are used:
//! the budget is counted here, in time waited, so that it depends on no clock.

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;
use std::time::Duration;

/// When to try again, and when to stop trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The first wait; each further one is twice as long, give or take half.
    pub first: Duration,
    /// The longest wait, unless the other side asks for a longer one.
    pub longest: Duration,
    /// All waits together. The attempts themselves come on top.
    pub budget: Duration,
}

/// The waits of one operation, from its first failure on.
#[derive(Debug)]
pub struct Waits {
    intervals: ExponentialBackoff,
    left: Duration,
}

impl Policy {
    pub fn waits(&self) -> Waits {
        let mut intervals = ExponentialBackoff {
            initial_interval: self.first,
            max_interval: self.longest,
            multiplier: 2.0,
            randomization_factor: 0.5,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        intervals.reset();
        Waits { intervals, left: self.budget }
    }
}

impl Waits {
    /// The next wait, at least `asked` long (what a `Retry-After` said); `None` when it would exceed the budget.
    pub fn after(&mut self, asked: Option<Duration>) -> Option<Duration> {
        let wait = self.intervals.next_backoff()?.max(asked.unwrap_or_default());
        self.left = self.left.checked_sub(wait)?;
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        first: Duration::from_millis(100),
        longest: Duration::from_millis(800),
        budget: Duration::from_secs(10),
    };

    #[test]
    fn waits_grow_to_the_longest_and_stay_there() {
        let mut waits = POLICY.waits();
        let all: Vec<_> = std::iter::from_fn(|| waits.after(None)).collect();
        assert!(all[0] >= Duration::from_millis(50) && all[0] <= Duration::from_millis(151), "{all:?}");
        assert!(all[4..].iter().all(|wait| *wait >= Duration::from_millis(400)), "{all:?}");
        assert!(all.iter().all(|wait| *wait <= Duration::from_millis(1_201)), "{all:?}");
    }

    #[test]
    fn the_budget_ends_the_waits_and_is_not_exceeded() {
        let mut waits = POLICY.waits();
        let total: Duration = std::iter::from_fn(|| waits.after(None)).sum();
        assert!(total <= POLICY.budget && total > POLICY.budget / 2, "{total:?}");
    }

    #[test]
    fn what_the_other_side_asks_for_is_kept_unless_it_exceeds_the_budget() {
        let mut waits = POLICY.waits();
        assert_eq!(waits.after(Some(Duration::from_secs(3))), Some(Duration::from_secs(3)));
        assert_eq!(waits.after(Some(Duration::from_secs(30))), None);
    }
}
