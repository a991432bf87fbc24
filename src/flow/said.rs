//! What is said of failures that many logs meet at once.
//!
//! While a store is away, each of hundreds of logs fails every few seconds for the same reason: one line each ten seconds
//! says as much, and leaves the output readable for whoever looks for the cause.

use std::time::Duration;
use tokio::time::Instant;

/// Between two lines of a kind.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// What was said of one kind of failure.
pub struct Said {
    at: Option<Instant>,
    /// Failures since.
    unsaid: u64,
}

impl Said {
    pub const fn nothing() -> Self {
        Self { at: None, unsaid: 0 }
    }

    /// How many failures there were since the last line, where it is time for another.
    pub fn count(&mut self, now: Instant) -> Option<u64> {
        self.unsaid += 1;
        if self.at.is_some_and(|at| now.duration_since(at) < AGAIN_AFTER) {
            return None;
        }
        self.at = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_meet_is_said_once_in_ten_seconds_with_the_count_since() {
        let (mut said, start) = (Said::nothing(), Instant::now());
        let counts = [0, 1, 9_999, 10_000, 10_001, 25_000].map(|ms| said.count(start + Duration::from_millis(ms)));
        assert_eq!(counts, [Some(1), None, None, Some(3), None, Some(2)]);
    }
}
