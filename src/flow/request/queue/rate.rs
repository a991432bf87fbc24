//! How often something happens, lately.

use std::time::Duration;
use tokio::time::Instant;

/// What happened so long ago counts a third of what happens now.
const FADES: Duration = Duration::from_secs(10);

/// A count that fades. It begins at nothing, so what it says in its first seconds is too low.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    faded: f64,
    at: Option<Instant>,
}

impl Rate {
    pub fn count(&mut self, now: Instant) {
        self.faded = self.left(now) + 1.0;
        self.at = Some(now);
    }

    /// Per second.
    pub fn per_second(&self, now: Instant) -> f64 {
        self.left(now) / FADES.as_secs_f64()
    }

    fn left(&self, now: Instant) -> f64 {
        let Some(at) = self.at else { return 0.0 };
        let passed = now.saturating_duration_since(at).as_secs_f64();
        self.faded * (-passed / FADES.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_steady_rate_is_told_and_fades_when_it_ends() {
        let begun = Instant::now();
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(begun), 0.0);
        let last = begun + Duration::from_secs(60);
        (1..=600).for_each(|tenth| rate.count(begun + Duration::from_millis(100) * tenth));
        assert!((rate.per_second(last) - 10.0).abs() < 0.5, "{}", rate.per_second(last));
        assert!(rate.per_second(last + Duration::from_secs(60)) < 0.1);
    }
}
