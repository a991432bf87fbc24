//! How each model does lately: latency, errors, speed, over a sliding window of a minute.
//!
//! A window is six slots of ten seconds, each with a histogram of fixed logarithmic buckets: 9 % wide, so that a
//! percentile is within 5 % of the truth, at some hundred bytes a slot whatever the load.

use crate::domain::llm_request::ModelChoice;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

const SLOT: Duration = Duration::from_secs(10);
const SLOTS: usize = 6;
/// Buckets of a factor of two.
const PER_OCTAVE: f64 = 8.0;
/// Up to 2^23 ms, above the longest lease.
const BUCKETS: usize = 23 * 8;
/// From so many models on, those that were not called lately are forgotten.
const MODELS_MAX: usize = 4096;

/// One call, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub latency: Duration,
    /// Whether it failed by its provider's fault.
    pub has_failed: bool,
    pub output_tokens: u64,
}

/// A model over the last minute.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelStats {
    pub model: ModelChoice,
    pub calls: u64,
    /// Of calls that succeeded; absent where none did.
    pub latency_p50: Option<Duration>,
    pub latency_p95: Option<Duration>,
    /// 0..1.
    pub error_rate: f64,
    /// Tokens of answers per second of call.
    pub tokens_per_second: f64,
}

#[derive(Debug)]
struct Slot {
    began: Instant,
    calls: u64,
    failed: u64,
    output_tokens: u64,
    busy: Duration,
    latencies: Vec<u32>,
}

/// Of all models that this process calls.
#[derive(Debug, Default)]
pub struct Stats {
    models: Mutex<HashMap<ModelChoice, VecDeque<Slot>>>,
}

impl Stats {
    pub fn count(&self, model: &ModelChoice, sample: Sample, now: Instant) {
        let mut models = self.models.lock();
        if models.len() >= MODELS_MAX {
            models.retain(|_, slots| slots.back().is_some_and(|slot| now.duration_since(slot.began) < window()));
        }
        let slots = models.entry_ref(model).or_default();
        forget(slots, now);
        if slots.back().is_none_or(|slot| now.saturating_duration_since(slot.began) >= SLOT) {
            let latencies = vec![0; BUCKETS];
            slots.push_back(Slot {
                began: now,
                calls: 0,
                failed: 0,
                output_tokens: 0,
                busy: Duration::ZERO,
                latencies,
            });
        }
        let Some(slot) = slots.back_mut() else { return };
        slot.calls += 1;
        if sample.has_failed {
            slot.failed += 1;
            return;
        }
        slot.output_tokens += sample.output_tokens;
        slot.busy += sample.latency;
        slot.latencies[bucket(sample.latency)] += 1;
    }

    /// Every model that was called within the window, sorted by provider and name.
    pub fn snapshot(&self, now: Instant) -> Vec<ModelStats> {
        let mut models = self.models.lock();
        let each = models.iter_mut().filter_map(|(model, slots)| {
            forget(slots, now);
            summary(model, slots)
        });
        let mut all: Vec<_> = each.collect();
        all.sort_by(|one, other| {
            let key = |it: &ModelStats| (it.model.provider_tenant_id, it.model.provider_id);
            key(one).cmp(&key(other)).then_with(|| one.model.model_id.cmp(&other.model.model_id))
        });
        all
    }
}

/// For maps that make an entry of a borrowed model.
impl From<&ModelChoice> for ModelChoice {
    fn from(model: &ModelChoice) -> Self {
        model.clone()
    }
}

fn window() -> Duration {
    SLOT * SLOTS as u32
}

fn forget(slots: &mut VecDeque<Slot>, now: Instant) {
    while slots.front().is_some_and(|slot| now.saturating_duration_since(slot.began) >= window()) {
        slots.pop_front();
    }
}

fn summary(model: &ModelChoice, slots: &VecDeque<Slot>) -> Option<ModelStats> {
    let sum = |of: fn(&Slot) -> u64| slots.iter().map(of).sum::<u64>();
    let (calls, failed) = (sum(|slot| slot.calls), sum(|slot| slot.failed));
    if calls == 0 {
        return None;
    }
    let busy: Duration = slots.iter().map(|slot| slot.busy).sum();
    let speed = sum(|slot| slot.output_tokens) as f64 / busy.as_secs_f64();
    Some(ModelStats {
        model: model.clone(),
        calls,
        latency_p50: percentile(slots, calls - failed, 0.5),
        latency_p95: percentile(slots, calls - failed, 0.95),
        error_rate: failed as f64 / calls as f64,
        tokens_per_second: if speed.is_finite() { speed } else { 0.0 },
    })
}

fn bucket(latency: Duration) -> usize {
    let millis = (latency.as_secs_f64() * 1e3).max(1.0);
    ((millis.log2() * PER_OCTAVE) as usize).min(BUCKETS - 1)
}

/// The middle of the bucket that the percentile falls into.
fn percentile(slots: &VecDeque<Slot>, count: u64, share: f64) -> Option<Duration> {
    let rank = (count as f64 * share).ceil().max(1.0) as u64;
    let mut below = 0;
    let at = (0..BUCKETS).find(|bucket| {
        below += slots.iter().map(|slot| u64::from(slot.latencies[*bucket])).sum::<u64>();
        below >= rank
    })?;
    Some(Duration::from_secs_f64(((at as f64 + 0.5) / PER_OCTAVE).exp2() / 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> ModelChoice {
        ModelChoice { model_id: "a".into(), ..ModelChoice::default() }
    }

    fn took(millis: u64) -> Sample {
        Sample { latency: Duration::from_millis(millis), has_failed: false, output_tokens: 100 }
    }

    #[tokio::test(start_paused = true)]
    async fn percentiles_are_within_five_percent_of_the_truth() {
        let (stats, now) = (Stats::default(), Instant::now());
        (1..=10_000).for_each(|millis| stats.count(&model(), took(millis), now));
        let seen = stats.snapshot(now).pop().expect("the model");
        for (found, truth) in [(seen.latency_p50, 5.0), (seen.latency_p95, 9.5)] {
            let found = found.expect("a percentile").as_secs_f64();
            assert!((found / truth - 1.0).abs() < 0.05, "{found} for {truth}");
        }
        assert!((seen.tokens_per_second - 20.0).abs() < 0.1, "{}", seen.tokens_per_second);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_count_as_errors_and_not_for_latency_and_all_is_forgotten_after_the_window() {
        let (stats, now) = (Stats::default(), Instant::now());
        stats.count(&model(), took(100), now);
        let failed = Sample { has_failed: true, ..took(60_000) };
        (0..3).for_each(|_| stats.count(&model(), failed, now));
        let seen = stats.snapshot(now).pop().expect("the model");
        assert_eq!((seen.calls, seen.error_rate), (4, 0.75));
        assert!(seen.latency_p95.is_some_and(|latency| latency < Duration::from_millis(110)));
        assert_eq!(stats.snapshot(now + Duration::from_secs(60)), vec![]);
    }

    #[test]
    fn the_longest_call_has_a_bucket() {
        assert!(bucket(Duration::from_secs(3600)) < BUCKETS - 1);
        assert_eq!(bucket(Duration::from_secs(1_000_000)), BUCKETS - 1);
        assert_eq!(bucket(Duration::ZERO), 0);
    }
}
