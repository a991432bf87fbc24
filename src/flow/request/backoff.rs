//! How long to wait before a request is tried again: exponentially longer, drawn anew from the whole span each time ("full
//! jitter"), so that many that failed together do not come back together. Pure: chance is an argument.
//!
//! The crate that waits elsewhere draws around its interval, not from the whole of it, and reads a clock of its own.

use std::time::Duration;
use tokio::time::Instant;

/// The spans that waits are drawn from.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The first; each further one is twice as long.
    pub first: Duration,
    pub longest: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { first: Duration::from_millis(500), longest: Duration::from_secs(30) }
    }
}

impl Config {
    /// When to try again after the `failures`th failure (from 1), `random` being any number: not before what the other
    /// side `asked` for, and `None` where that is not before the deadline.
    pub fn next(
        &self,
        failures: u32,
        asked: Option<Duration>,
        random: u64,
        now: Instant,
        deadline: Instant,
    ) -> Option<Instant> {
        let doubled = 2u32.saturating_pow(failures.saturating_sub(1).min(31));
        let span = self.first.saturating_mul(doubled).min(self.longest);
        let share = (random >> 11) as f64 / (1u64 << 53) as f64;
        // On top of what was asked for: all that were turned away were told the same moment.
        let wait = asked.unwrap_or_default().saturating_add(span.mul_f64(share));
        now.checked_add(wait).filter(|at| *at < deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONFIG: Config = Config { first: Duration::from_millis(500), longest: Duration::from_secs(30) };

    #[tokio::test(start_paused = true)]
    async fn the_span_doubles_up_to_the_longest_and_is_used_from_end_to_end() {
        let now = Instant::now();
        let far = now + Duration::from_secs(3600);
        let most = |failures| CONFIG.next(failures, None, u64::MAX, now, far).expect("in time") - now;
        for (failures, millis) in [(1, 500), (2, 1000), (3, 2000), (6, 16_000), (7, 30_000), (400, 30_000)] {
            assert!(most(failures).abs_diff(Duration::from_millis(millis)) < Duration::from_millis(1), "{failures}");
            assert_eq!(CONFIG.next(failures, None, 0, now, far), Some(now));
        }
    }

    proptest! {
        #[test]
        fn it_is_never_before_what_was_asked_for_and_never_after_the_deadline(
            failures in 0u32..100, asked in prop::option::of(0u64..100_000), random: u64, left in 0u64..100_000
        ) {
            let now = Instant::now();
            let asked = asked.map(Duration::from_millis);
            let deadline = now + Duration::from_millis(left);
            match CONFIG.next(failures, asked, random, now, deadline) {
                Some(at) => prop_assert!(at >= now + asked.unwrap_or_default() && at < deadline),
                None => prop_assert!(now + asked.unwrap_or_default() + CONFIG.longest >= deadline),
            }
        }
    }
}
