//! How each model does lately: calls, latency, errors, tokens, over a sliding window of a minute.
//!
//! A window is six slots of ten seconds, each with a histogram of fixed logarithmic buckets: 9 % wide, so that a
//! percentile is within 5 % of the truth, at some hundred bytes a slot whatever the load.

use crate::domain::llm_request::ModelChoice;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

pub(super) const SLOT: Duration = Duration::from_secs(10);
const SLOTS: usize = 6;
/// Buckets of a factor of two.
const PER_OCTAVE: f64 = 8.0;
/// Up to 2^23 ms, above the longest lease.
pub(super) const BUCKETS: usize = 23 * 8;
/// From so many models on, those that were not called lately are forgotten.
const MODELS_MAX: usize = 4096;

/// One call, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub latency: Duration,
    /// Whether it failed by its provider's fault.
    pub has_failed: bool,
    pub input_tokens: u64,
    pub output_tokens: u64,
}

/// A model over the last minute.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelStats {
    pub model: ModelChoice,
    /// Calls that ended.
    pub calls: u64,
    /// Calls under way now.
    pub open_calls: u64,
    /// What the counts are of: a minute, or the time since the first call where that is less.
    pub window: Duration,
    /// Of all calls of the window, failed ones too.
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Of calls that succeeded; absent where none did.
    pub latency_p50: Option<Duration>,
    pub latency_p95: Option<Duration>,
    /// 0..1.
    pub error_rate: f64,
    /// Tokens of answers per second of call.
    pub tokens_per_second: f64,
}

impl ModelStats {
    /// Of a model that was not called.
    pub fn idle(model: ModelChoice) -> Self {
        Self {
            model,
            calls: 0,
            open_calls: 0,
            window: SLOT,
            input_tokens: 0,
            output_tokens: 0,
            latency_p50: None,
            latency_p95: None,
            error_rate: 0.0,
            tokens_per_second: 0.0,
        }
    }
}

#[derive(Debug)]
struct Slot {
    began: Instant,
    calls: u64,
    failed: u64,
    input_tokens: u64,
    output_tokens: u64,
    /// Of the calls that succeeded.
    answered_tokens: u64,
    busy: Duration,
    latencies: Vec<u32>,
}

#[derive(Debug, Default)]
struct Book {
    slots: VecDeque<Slot>,
    open_calls: u64,
}

/// Of all models that this process calls.
#[derive(Debug, Default)]
pub struct Stats {
    models: Mutex<HashMap<ModelChoice, Book>>,
}

/// A call under way, until it is dropped.
pub struct OpenCall<'a> {
    stats: &'a Stats,
    model: &'a ModelChoice,
}

impl Drop for OpenCall<'_> {
    fn drop(&mut self) {
        if let Some(book) = self.stats.models.lock().get_mut(self.model) {
            book.open_calls = book.open_calls.saturating_sub(1);
        }
    }
}

impl Stats {
    /// Counts a call as under way.
    pub fn open<'a>(&'a self, model: &'a ModelChoice, now: Instant) -> OpenCall<'a> {
        let mut models = self.models.lock();
        make_room(&mut models, now);
        models.entry_ref(model).or_default().open_calls += 1;
        OpenCall { stats: self, model }
    }

    pub fn count(&self, model: &ModelChoice, sample: Sample, now: Instant) {
        let mut models = self.models.lock();
        make_room(&mut models, now);
        let slots = &mut models.entry_ref(model).or_default().slots;
        forget(slots, now);
        if slots.back().is_none_or(|slot| now.saturating_duration_since(slot.began) >= SLOT) {
            let latencies = vec![0; BUCKETS];
            slots.push_back(Slot {
                began: now,
                calls: 0,
                failed: 0,
                input_tokens: 0,
                output_tokens: 0,
                answered_tokens: 0,
                busy: Duration::ZERO,
                latencies,
            });
        }
        let Some(slot) = slots.back_mut() else { return };
        slot.calls += 1;
        slot.input_tokens = slot.input_tokens.saturating_add(sample.input_tokens);
        slot.output_tokens = slot.output_tokens.saturating_add(sample.output_tokens);
        if sample.has_failed {
            slot.failed += 1;
            return;
        }
        slot.answered_tokens = slot.answered_tokens.saturating_add(sample.output_tokens);
        slot.busy += sample.latency;
        slot.latencies[bucket(sample.latency)] += 1;
    }

    /// Every model that is or was called within the window, sorted by provider and name.
    pub fn snapshot(&self, now: Instant) -> Vec<ModelStats> {
        let mut models = self.models.lock();
        let each = models.iter_mut().filter_map(|(model, book)| {
            forget(&mut book.slots, now);
            summary(model, book, now)
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

/// Forgets models of which nothing is known any more, where there are too many.
fn make_room(models: &mut HashMap<ModelChoice, Book>, now: Instant) {
    let is_known = |slot: &Slot| now.saturating_duration_since(slot.began) < window();
    if models.len() >= MODELS_MAX {
        models.retain(|_, book| book.open_calls > 0 || book.slots.back().is_some_and(is_known));
    }
}

pub(super) fn window() -> Duration {
    SLOT * SLOTS as u32
}

fn forget(slots: &mut VecDeque<Slot>, now: Instant) {
    while slots.front().is_some_and(|slot| now.saturating_duration_since(slot.began) >= window()) {
        slots.pop_front();
    }
}

fn summary(model: &ModelChoice, book: &Book, now: Instant) -> Option<ModelStats> {
    let Book { slots, open_calls } = book;
    let sum = |of: fn(&Slot) -> u64| slots.iter().map(of).fold(0, u64::saturating_add);
    let (calls, failed) = (sum(|slot| slot.calls), sum(|slot| slot.failed));
    if calls == 0 && *open_calls == 0 {
        return None;
    }
    let busy: Duration = slots.iter().map(|slot| slot.busy).sum();
    let speed = sum(|slot| slot.answered_tokens) as f64 / busy.as_secs_f64();
    let since_first = slots.front().map_or(Duration::ZERO, |slot| now.saturating_duration_since(slot.began));
    let histograms = || slots.iter().map(|slot| slot.latencies.as_slice());
    Some(ModelStats {
        model: model.clone(),
        calls,
        open_calls: *open_calls,
        // A few calls of a moment ago are no rate yet.
        window: since_first.clamp(SLOT, window()),
        input_tokens: sum(|slot| slot.input_tokens),
        output_tokens: sum(|slot| slot.output_tokens),
        latency_p50: percentile(histograms(), calls - failed, 0.5),
        latency_p95: percentile(histograms(), calls - failed, 0.95),
        error_rate: failed as f64 / calls.max(1) as f64,
        tokens_per_second: if speed.is_finite() { speed } else { 0.0 },
    })
}

pub(super) fn bucket(latency: Duration) -> usize {
    let millis = (latency.as_secs_f64() * 1e3).max(1.0);
    ((millis.log2() * PER_OCTAVE) as usize).min(BUCKETS - 1)
}

/// The middle of the bucket that the percentile falls into.
pub(super) fn percentile<'a>(
    histograms: impl Iterator<Item = &'a [u32]> + Clone,
    count: u64,
    share: f64,
) -> Option<Duration> {
    let rank = (count as f64 * share).ceil().max(1.0) as u64;
    let mut below = 0;
    let at = (0..BUCKETS).find(|bucket| {
        below += histograms.clone().map(|histogram| u64::from(histogram[*bucket])).sum::<u64>();
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
        Sample { latency: Duration::from_millis(millis), has_failed: false, input_tokens: 10, output_tokens: 100 }
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
        assert_eq!((seen.input_tokens, seen.output_tokens), (40, 400), "they are paid or limited all the same");
        assert_eq!(stats.snapshot(now + Duration::from_secs(30))[0].window, Duration::from_secs(30));
        assert!(seen.latency_p95.is_some_and(|latency| latency < Duration::from_millis(110)));
        assert_eq!(stats.snapshot(now + Duration::from_secs(60)), vec![]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_under_way_is_seen_until_it_ends() {
        let (stats, now, model) = (Stats::default(), Instant::now(), model());
        let open = stats.open(&model, now);
        let seen = stats.snapshot(now).pop().expect("the model");
        assert_eq!((seen.calls, seen.open_calls, seen.error_rate, seen.latency_p50), (0, 1, 0.0, None));
        drop(open);
        assert_eq!(stats.snapshot(now), vec![]);
    }

    #[test]
    fn the_longest_call_has_a_bucket() {
        assert!(bucket(Duration::from_secs(3600)) < BUCKETS - 1);
        assert_eq!(bucket(Duration::from_secs(1_000_000)), BUCKETS - 1);
        assert_eq!(bucket(Duration::ZERO), 0);
    }
}
