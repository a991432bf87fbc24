//! What is said of claims that ended.

use super::Error;
use crate::domain::LogId;
use crate::flow::derive;
use crate::flow::said::Said;
use crate::ports::{index, journal, topic};
use parking_lot::Mutex;
use tokio::time::Instant;

static SAID: Mutex<Said> = Mutex::new(Said::nothing());

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
    fn an_owner_that_was_replaced_is_always_said() {
        let log = LogId { aggregate: Aggregate::Agent, partition: 1 };
        assert!(!is_away(&Error::Journal(journal::Error::Fenced { log, epoch: 2 })));
        assert!(!is_away(&Error::Index(index::Error::Damaged("x".into()))));
        assert!(is_away(&Error::Derive(derive::Error::Index(index::Error::Unavailable("x".into())))));
    }
}
