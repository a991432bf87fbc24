//! How long calls took: their sum, and a histogram that is the same everywhere, so that any two can be added.
//!
//! A bucket holds an eighth of a power of two: a percentile is off by a sixteenth of itself at most. Below 16 ms each
//! millisecond has a bucket of its own. Only buckets that hold anything are kept.

use serde::{Deserialize, Serialize};

/// Buckets of one power of two.
const STEPS: u64 = 8;
/// Up to here a bucket is one millisecond.
const EXACT: u64 = 2 * STEPS;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latencies {
    /// Milliseconds.
    sum_ms: u64,
    /// Bucket and count, in the order of the buckets.
    buckets: Vec<(u8, u64)>,
}

impl Latencies {
    pub fn of(ms: u64) -> Self {
        Self { sum_ms: ms, buckets: vec![(bucket_of(ms), 1)] }
    }

    pub fn add(&mut self, other: &Self) {
        self.sum_ms = self.sum_ms.saturating_add(other.sum_ms);
        for (bucket, count) in &other.buckets {
            match self.buckets.binary_search_by_key(bucket, |(it, _)| *it) {
                Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(*count),
                Err(at) => self.buckets.insert(at, (*bucket, *count)),
            }
        }
    }

    pub fn sum_ms(&self) -> u64 {
        self.sum_ms
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The latency that this share of the calls (of 100) stayed within, in milliseconds, within a sixteenth; `None`
    /// without calls.
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let wanted = u128::from(self.count()) * u128::from(percent);
        let mut seen = 0;
        let reached = |(_, count): &&(u8, u64)| {
            seen += u128::from(*count) * 100;
            seen >= wanted
        };
        self.buckets.iter().find(reached).or(self.buckets.last()).map(|(bucket, _)| middle_of(*bucket))
    }
}

fn bucket_of(ms: u64) -> u8 {
    if ms < EXACT {
        return ms as u8;
    }
    let power = u64::from(ms.ilog2());
    let step = (ms >> (power - STEPS.ilog2() as u64)) - STEPS;
    (EXACT + (power - u64::from(EXACT.ilog2())) * STEPS + step).min(u64::from(u8::MAX)) as u8
}

/// The middle of what a bucket holds.
fn middle_of(bucket: u8) -> u64 {
    let bucket = u64::from(bucket);
    if bucket < EXACT {
        return bucket;
    }
    let (octave, step) = ((bucket - EXACT) / STEPS, (bucket - EXACT) % STEPS);
    let width = 2 << octave;
    (STEPS + step) * width + width / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percentiles_are_within_a_sixteenth() {
        let mut all = Latencies::default();
        assert_eq!(all.percentile(50), None);
        (1..=1_000).for_each(|ms| all.add(&Latencies::of(ms)));
        assert_eq!((all.count(), all.sum_ms()), (1_000, 500_500));
        for (percent, exact) in [(50, 500), (95, 950), (100, 1_000)] {
            let found = all.percentile(percent).unwrap();
            assert!(found.abs_diff(exact) * 16 <= exact, "p{percent}: {found}");
        }
    }

    #[test]
    fn buckets_follow_one_another_without_a_gap_and_the_last_takes_all_the_rest() {
        let mut last = 0;
        for ms in 0..100_000 {
            let bucket = bucket_of(ms);
            assert!(bucket == last || bucket == last + 1, "{ms}");
            last = bucket;
        }
        assert_eq!(bucket_of(u64::MAX), u8::MAX);
        assert!(middle_of(u8::MAX) > 10 * 3_600_000, "longer than any call");
    }

    proptest! {
        #[test]
        fn a_latency_is_near_the_middle_of_its_bucket(ms in 0..1_000_000_000_u64) {
            prop_assert!(middle_of(bucket_of(ms)).abs_diff(ms) * 16 <= ms);
        }

        #[test]
        fn adding_is_the_same_in_any_order_and_grouping(all in prop::collection::vec(0..10_000_000_u64, 0..40), cut in 0..40usize) {
            let sum = |part: &[u64]| part.iter().fold(Latencies::default(), |mut sum, ms| { sum.add(&Latencies::of(*ms)); sum });
            let (left, right) = all.split_at(cut.min(all.len()));
            let mut joined = sum(right);
            joined.add(&sum(left));
            prop_assert_eq!(joined, sum(&all));
        }
    }
}
