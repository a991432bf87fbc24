//! What a client says beside its calls, each thing said now and then.
//!
//! While brokers are away, every client of the process reports so ten times a second: one line each ten seconds says as
//! much, and leaves the log readable for whoever looks for the cause.

use super::client::words;
use parking_lot::Mutex;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use std::time::Duration;
use tokio::time::Instant;

/// Between two lines about brokers that cannot be reached.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// When it was last said that brokers cannot be reached.
static SAID: Mutex<Option<Instant>> = Mutex::new(None);

/// Logs what is wrong with the brokers, seen by `who`; that they cannot be reached only now and then.
pub fn report(who: &'static str, error: &KafkaError, reason: &str) {
    // Where a partition ends is asked for, and answers a reader.
    if error.rdkafka_error_code() == Some(Code::PartitionEOF) {
        return;
    }
    if is_away(error) && !is_due(&mut SAID.lock(), Instant::now()) {
        tracing::debug!(who, error = %words(error), reason, "Kafka");
    } else {
        tracing::warn!(who, error = %words(error), reason, "Kafka has a problem; trying again");
    }
}

/// Whether an error says no more than that brokers are away.
fn is_away(error: &KafkaError) -> bool {
    use Code::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut, RequestTimedOut, Resolve};
    matches!(
        error.rdkafka_error_code(),
        Some(AllBrokersDown | BrokerTransportFailure | Resolve | OperationTimedOut | RequestTimedOut)
    )
}

fn is_due(said: &mut Option<Instant>, now: Instant) -> bool {
    let due = said.is_none_or(|at| now.duration_since(at) >= AGAIN_AFTER);
    if due {
        *said = Some(now);
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_that_are_away_are_said_once_in_ten_seconds_and_other_errors_always() {
        let (mut said, start) = (None, Instant::now());
        let due: Vec<_> =
            [0, 1, 9_999, 10_000, 10_001, 25_000].map(|ms| is_due(&mut said, start + Duration::from_millis(ms))).into();
        assert_eq!(due, [true, false, false, true, false, true]);
        assert!(is_away(&KafkaError::MessageConsumption(Code::AllBrokersDown)));
        assert!(!is_away(&KafkaError::Global(Code::Authentication)));
    }
}
