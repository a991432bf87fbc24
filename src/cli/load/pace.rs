//! When each request is meant to go.
//!
//! With a rate the load is open: the schedule does not wait for answers, and a request that goes late because its
//! connection was still busy is timed from when it was meant to go. So a server that stalls is charged with every
//! request that should have gone meanwhile (no coordinated omission).

use std::time::Duration;
use tokio::time::Instant;

/// The timer ticks in milliseconds and rounds up: lateness up to this is its own, and charged to nobody.
const TIMER_LATENESS: Duration = Duration::from_millis(2);

#[derive(Clone, Copy, Debug)]
pub struct Pace {
    start: Instant,
    /// Between one request of the run and the next; `None`: as fast as the answers come.
    interval: Option<Duration>,
}

impl Pace {
    /// `rate` is in commands per second, over all connections.
    pub fn new(start: Instant, rate: Option<f64>, batch: u64) -> Self {
        Self { start, interval: rate.map(|rate| Duration::from_secs_f64(batch as f64 / rate)) }
    }

    fn intended(&self, request: u64) -> Option<Instant> {
        let nanos = self.interval?.as_nanos().saturating_mul(u128::from(request));
        self.start.checked_add(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// Waits until the `request`-th request of the run is due, and returns when its latency begins.
    pub async fn due(&self, request: u64) -> Instant {
        let Some(intended) = self.intended(request) else { return Instant::now() };
        if Instant::now() >= intended {
            return intended;
        }
        tokio::time::sleep_until(intended).await;
        counted_from(intended, Instant::now())
    }
}

/// For a request whose connection was idle when it was due: the moment it woke, unless that is later than a timer can be.
fn counted_from(intended: Instant, woken: Instant) -> Instant {
    if woken.saturating_duration_since(intended) <= TIMER_LATENESS { woken } else { intended }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_are_due_at_the_rate() {
        let start = Instant::now();
        let pace = Pace::new(start, Some(20_000.0), 500);
        assert_eq!(pace.intended(40), Some(start + Duration::from_secs(1)));
        let counted = pace.due(2).await;
        assert!(start.elapsed() >= Duration::from_millis(50) && counted >= start + Duration::from_millis(50));
    }

    #[tokio::test]
    async fn a_late_request_goes_at_once_and_is_timed_from_when_it_was_meant_to_go() {
        let now = Instant::now();
        let start = now.checked_sub(Duration::from_secs(3)).unwrap();
        let pace = Pace::new(start, Some(1_000.0), 1);
        assert_eq!(pace.due(500).await, start + Duration::from_millis(500));
        assert!(now.elapsed() < Duration::from_millis(500), "it must not wait");
    }

    #[test]
    fn only_what_a_timer_may_be_late_is_forgiven() {
        let intended = Instant::now();
        let near = intended + Duration::from_millis(1);
        assert_eq!(counted_from(intended, near), near);
        assert_eq!(counted_from(intended, intended + Duration::from_millis(50)), intended);
    }

    #[tokio::test]
    async fn without_a_rate_a_request_is_due_when_its_connection_is_free() {
        let before = Instant::now();
        let due = Pace::new(before, None, 500).due(1_000_000).await;
        assert!(due >= before && due.elapsed() < Duration::from_millis(500));
    }
}
