//! Metrics that come of what was before: a share of all decisions, and costs whose parts are smaller than a counter's unit.

use super::handles;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Couplings decided since the process started.
#[derive(Default)]
struct Couplings {
    established: AtomicU64,
    refused: AtomicU64,
}

impl Couplings {
    /// Adds decisions and gives the share of established ones, or `None` where nothing was ever decided.
    fn add(&self, established: u64, refused: u64) -> Option<f64> {
        let established = self.established.fetch_add(established, Ordering::Relaxed) + established;
        let refused = self.refused.fetch_add(refused, Ordering::Relaxed) + refused;
        let decided = established + refused;
        (decided > 0).then(|| established as f64 / decided as f64)
    }
}

static COUPLINGS: LazyLock<Couplings> = LazyLock::new(Couplings::default);

/// Counts decided couplings: how many `CouplingEstablished` and how many `CouplingRefused` an append confirmed.
pub fn couplings_decided(established: u64, refused: u64) {
    if let Some(rate) = COUPLINGS.add(established, refused) {
        handles().coupling_success_rate.set(rate);
    }
}

/// What calls cost beyond the micro-dollars that are counted already, in pico-dollars.
#[derive(Default)]
struct Change(AtomicU64);

const PICO_IN_MICRO: u64 = 1_000_000;

impl Change {
    /// Adds a cost in pico-dollars and gives the whole micro-dollars that came together: none is lost to rounding.
    fn add(&self, pico_usd: u64) -> u64 {
        let mut whole = 0;
        let add = |left: u64| {
            let sum = left.saturating_add(pico_usd);
            whole = sum / PICO_IN_MICRO;
            Some(sum % PICO_IN_MICRO)
        };
        // It always gives a new value, so this cannot fail.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        whole
    }
}

static CHANGE: LazyLock<Change> = LazyLock::new(Change::default);

/// Counts what a call cost, in pico-dollars (1e-12); `None` where a price is missing. Precision: a micro-dollar over the
/// life of the process.
pub fn call_costed(pico_usd: Option<i64>) {
    match pico_usd {
        Some(pico_usd) => handles().request_cost.increment(CHANGE.add(pico_usd.max(0).unsigned_abs())),
        None => handles().request_unpriced.increment(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_success_rate_is_unknown_before_the_first_coupling() {
        let couplings = Couplings::default();
        assert_eq!(couplings.add(0, 0), None);
        assert_eq!(couplings.add(0, 1), Some(0.0));
        assert_eq!(couplings.add(3, 0), Some(0.75));
    }

    #[test]
    fn small_costs_come_together_and_none_is_lost() {
        let change = Change::default();
        let counted: Vec<u64> = [400_000, 400_000, 400_000, 3_800_000, 0].map(|cost| change.add(cost)).into();
        assert_eq!(counted, [0, 0, 1, 4, 0]);
        assert_eq!(change.add(u64::MAX), u64::MAX / PICO_IN_MICRO);
    }
}
