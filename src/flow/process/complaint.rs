//! What is said of claims that ended.
//!
//! While a store is away, each of hundreds of logs fails every few seconds for the same reason: one line each ten seconds
//! says as much, and leaves the output readable for whoever looks for the cause.

use super::Error;
use crate::domain::LogId;
use crate::flow::derive;
use crate::ports::{index, journal, topic};
use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// Between two lines about stores that are away.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

static SAID: Mutex<Said> = Mutex::new(Said { at: None, unsaid: 0 });

/// What was said of stores that are away.
struct Said {
    at: Option<Instant>,
    /// Claims that ended since.
    unsaid: u64,
}

impl Said {
    /// How many claims ended since the last line, where it is time for another.
    fn count(&mut self, now: Instant) -> Option<u64> {
        self.unsaid += 1;
        if self.at.is_some_and(|at| now.duration_since(at) < AGAIN_AFTER) {
            return None;
        }
        self.at = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// Says that the claim of a log ended.
pub fn claim_ended(log: LogId, error: &Error) {
    if let Error::Lost(loss) = error {
        tracing::error!(alarm = "commands_lost", "{loss}");
    } else if !is_away(error) {
        tracing::warn!(%log, %error, "the claim ended; the log is claimed again when it is this process's turn");
    } else if let Some(claims) = SAID.lock().count(Instant::now()) {
        tracing::warn!(%log, %error, claims, "claims ended because a store is away; they are tried again");
    } else {
        tracing::debug!(%log, %error, "the claim ended");
    }
}

/// Whether an error says no more than that a store does not answer.
fn is_away(error: &Error) -> bool {
    match error {
        Error::Journal(error) | Error::Derive(derive::Error::Journal(error)) => {
            matches!(error, journal::Error::Unavailable(_) | journal::Error::Unknown { .. })
        }
        Error::Index(error) | Error::Derive(derive::Error::Index(error)) => {
            matches!(error, index::Error::Unavailable(_))
        }
        Error::Topic(error) | Error::Derive(derive::Error::Topic(error)) => {
            matches!(error, topic::Error::Unavailable(_))
        }
        Error::Derive(_) | Error::DeriverEnded(_) | Error::Lost(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Aggregate;

    #[test]
    fn stores_that_are_away_are_said_once_in_ten_seconds_with_the_count_since() {
        let (mut said, start) = (Said { at: None, unsaid: 0 }, Instant::now());
        let counts = [0, 1, 9_999, 10_000, 10_001, 25_000].map(|ms| said.count(start + Duration::from_millis(ms)));
        assert_eq!(counts, [Some(1), None, None, Some(3), None, Some(2)]);
    }

    #[test]
    fn an_owner_that_was_replaced_is_always_said() {
        let log = LogId { aggregate: Aggregate::Agent, partition: 1 };
        assert!(!is_away(&Error::Journal(journal::Error::Fenced { log, epoch: 2 })));
        assert!(!is_away(&Error::Index(index::Error::Damaged("x".into()))));
        assert!(is_away(&Error::Derive(derive::Error::Index(index::Error::Unavailable("x".into())))));
    }
}
