//! How long requests waited lately until their first attempt began, by class, over a sliding window of a minute.

use super::queue::CLASSES;
use super::stats::{BUCKETS, SLOT, bucket, percentile, window};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// The waits of one class over the last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitStats {
    /// Requests that were begun.
    pub begun: u64,
    pub p50: Option<Duration>,
    pub p95: Option<Duration>,
}

#[derive(Debug)]
struct Slot {
    began: Instant,
    waits: Vec<u32>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Waits([Mutex<VecDeque<Slot>>; CLASSES]);

impl Waits {
    /// Counts a request of a class that begins after this wait.
    pub fn count(&self, class: usize, wait: Duration, now: Instant) {
        let Some(slots) = self.0.get(class) else { return };
        let mut slots = slots.lock();
        forget(&mut slots, now);
        if slots.back().is_none_or(|slot| now.saturating_duration_since(slot.began) >= SLOT) {
            slots.push_back(Slot { began: now, waits: vec![0; BUCKETS] });
        }
        if let Some(slot) = slots.back_mut() {
            slot.waits[bucket(wait)] += 1;
        }
    }

    pub fn snapshot(&self, now: Instant) -> [WaitStats; CLASSES] {
        self.0.each_ref().map(|slots| {
            let mut slots = slots.lock();
            forget(&mut slots, now);
            let histograms = || slots.iter().map(|slot| slot.waits.as_slice());
            let begun = histograms().flatten().map(|count| u64::from(*count)).sum();
            let of = |share| percentile(histograms(), begun, share);
            WaitStats { begun, p50: of(0.5), p95: of(0.95) }
        })
    }
}

fn forget(slots: &mut VecDeque<Slot>, now: Instant) {
    while slots.front().is_some_and(|slot| now.saturating_duration_since(slot.began) >= window()) {
        slots.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_are_counted_by_class_and_forgotten_after_the_window() {
        let (waits, now) = (Waits::default(), Instant::now());
        (1..=100).for_each(|ms| waits.count(0, Duration::from_millis(ms * 10), now));
        waits.count(2, Duration::ZERO, now);
        let [interactive, normal, batch] = waits.snapshot(now);
        assert_eq!((interactive.begun, normal, batch.begun), (100, WaitStats::default(), 1));
        for (found, truth) in [(interactive.p50, 0.5), (interactive.p95, 0.95)] {
            let found = found.expect("a percentile").as_secs_f64();
            assert!((found / truth - 1.0).abs() < 0.05, "{found} for {truth}");
        }
        let later = waits.snapshot(now + Duration::from_secs(60));
        assert_eq!(later, [WaitStats::default(); CLASSES]);
    }
}
