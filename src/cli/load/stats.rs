//! Latencies, kept exactly.

use super::plan::mix;
use serde::Serialize;

/// Most latencies kept, 16 MiB; beyond it every one has the same chance to be kept (reservoir sampling).
const KEPT_MAX: usize = 4_000_000;

/// Latencies in microseconds.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    kept: Vec<u32>,
    count: u64,
    max: u32,
}

/// In milliseconds; zeros when there was nothing to measure.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    pub count: u64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    #[serde(rename = "p99.9")]
    pub p99_9: f64,
    pub max: f64,
}

impl Samples {
    pub fn add(&mut self, latency: std::time::Duration) {
        self.add_within(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX), KEPT_MAX);
    }

    fn add_within(&mut self, micros: u32, kept_max: usize) {
        self.count += 1;
        self.max = self.max.max(micros);
        if self.kept.len() < kept_max {
            self.kept.push(micros);
        } else if let Some(slot) = self.kept.get_mut((mix(self.count) % self.count) as usize) {
            *slot = micros;
        }
    }

    pub fn merge(&mut self, other: Samples) {
        self.count += other.count;
        self.max = self.max.max(other.max);
        self.kept.extend(other.kept);
    }

    /// By nearest rank: the smallest latency that at least this share did not exceed.
    pub fn percentiles(mut self) -> Percentiles {
        self.kept.sort_unstable();
        let at = |share: f64| {
            let rank = (share * self.kept.len() as f64).ceil() as usize;
            self.kept.get(rank.max(1) - 1).map_or(0.0, |micros| f64::from(*micros) / 1e3)
        };
        Percentiles {
            count: self.count,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: f64::from(self.max) / 1e3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut samples = Samples::default();
        for millis in (1..=1_000).rev() {
            samples.add(Duration::from_millis(millis));
        }
        let got = samples.percentiles();
        let expected = Percentiles { count: 1_000, p50: 500.0, p90: 900.0, p99: 990.0, p99_9: 999.0, max: 1_000.0 };
        assert_eq!(got, expected);
    }

    #[test]
    fn one_sample_is_every_percentile_and_none_is_zero() {
        let mut samples = Samples::default();
        samples.add(Duration::from_micros(1_500));
        let got = samples.percentiles();
        assert_eq!((got.p50, got.p99_9, got.max), (1.5, 1.5, 1.5));
        assert_eq!(Samples::default().percentiles(), Percentiles::default());
    }

    #[test]
    fn a_full_reservoir_stays_a_fair_sample_and_keeps_the_maximum() {
        let mut samples = Samples::default();
        for micros in 0..100_000u32 {
            samples.add_within(micros, 1_000);
        }
        samples.add_within(5_000_000, 1_000);
        assert_eq!(samples.kept.len(), 1_000);
        let got = samples.percentiles();
        assert!((45.0..55.0).contains(&got.p50), "{got:?}");
        assert_eq!((got.count, got.max), (100_001, 5_000.0));
    }

    #[test]
    fn merged_samples_count_together() {
        let (mut a, mut b) = (Samples::default(), Samples::default());
        a.add(Duration::from_millis(1));
        b.add(Duration::from_millis(3));
        a.merge(b);
        let got = a.percentiles();
        assert_eq!((got.count, got.p50, got.max), (2, 1.0, 3.0));
    }

    #[test]
    fn the_names_in_json_are_those_documented() {
        let json = serde_json::to_value(Percentiles::default()).unwrap();
        for name in ["count", "p50", "p90", "p99", "p99.9", "max"] {
            assert!(json.get(name).is_some(), "{name}");
        }
    }
}
