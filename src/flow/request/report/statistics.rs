//! How models do, from what was counted of them for everybody: calls of the last five minutes, ratings of the last day.
//!
//! Every process that called a model lately reads the same totals, so all come to the same figures up to what the
//! projectors add in between. Only models that were called lately are looked at: of others there is nothing new to tell.

use super::{Error, Reporter, offering, provider_of};
use crate::domain::Micros;
use crate::domain::llm_provider::{Command, ModelStatistics, ReportModelStatistics};
use crate::domain::llm_request::ModelChoice;
use crate::domain::usage::{Dimension, Series, Totals, Window, model_key};
use crate::domain::{TenantId, coupling::score::round6};
use crate::flow::request::breaker::Heard;
use crate::ports::{Usage, usage};
use std::time::Duration;
use tokio::time::Instant;

/// What calls are counted over.
const CALLS_OVER: Micros = 5 * 60_000_000;
/// What ratings are counted over.
const RATINGS_OVER: Micros = 24 * 3_600_000_000;
/// Pico-dollars in a micro-dollar.
const PICO: f64 = 1e6;

impl Reporter {
    pub(super) async fn look_at_statistics(
        &mut self,
        heard: &[(ModelChoice, Heard)],
        measured_to: Micros,
    ) -> Result<(), Error> {
        let since = Duration::from_micros(CALLS_OVER.unsigned_abs()) + self.parts.config.statistics_every;
        let now = Instant::now();
        let is_late = |heard: &Heard| {
            let last = heard.alive_at.max(heard.failed_at);
            last.is_some_and(|at| now.saturating_duration_since(at) <= since)
        };
        let called: Vec<_> = heard.iter().filter(|(_, heard)| is_late(heard)).map(|(choice, _)| choice).collect();
        if called.is_empty() {
            return Ok(());
        }
        let world = self.providers(called.iter().map(|choice| provider_of(choice))).await?;
        for choice in called {
            let Some((_, provider)) = offering(&world, choice) else { continue };
            let measured = measure(&*self.parts.usage, choice, measured_to).await?;
            let Some(statistics) = measured.filter(|it| it.calls.unsigned_abs() >= self.parts.config.calls_min) else {
                continue;
            };
            let before = provider.measured.get(&choice.model_id);
            if before.is_some_and(|it| it.measured_to >= measured_to) || !statistics.moved_from(before) {
                continue;
            }
            let model_id = choice.model_id.clone();
            let kind = format!("statistics/{}", serde_json::json!([model_id, statistics]));
            let report = ReportModelStatistics { model_id, statistics };
            self.send(provider_of(choice), &kind, Command::ReportModelStatistics(report)).await?;
        }
        Ok(())
    }
}

/// How a model did up to a moment, for everybody; absent where nobody called it.
///
/// # Errors
/// When the totals cannot be read.
pub async fn measure(
    usage: &dyn Usage,
    choice: &ModelChoice,
    measured_to: Micros,
) -> Result<Option<ModelStatistics>, usage::Error> {
    let calls = sum(usage, choice, Window::Minute, measured_to - CALLS_OVER, measured_to).await?;
    if calls.requests_completed + calls.provider_failures == 0 {
        return Ok(None);
    }
    let ratings = sum(usage, choice, Window::Hour, measured_to - RATINGS_OVER, measured_to).await?;
    Ok(Some(statistics(&calls, &ratings, measured_to)))
}

async fn sum(
    usage: &dyn Usage,
    choice: &ModelChoice,
    window: Window,
    from: Micros,
    to: Micros,
) -> Result<Totals, usage::Error> {
    let tenant = TenantId(choice.provider_tenant_id);
    let series = Series { tenant, dimension: Dimension::Offer, key: model_key(choice), window };
    let mut sum = Totals::default();
    for (_, totals) in usage.windows(&series, window.start_of(from)..to).await? {
        sum.add(&totals);
    }
    Ok(sum)
}

fn statistics(calls: &Totals, ratings: &Totals, measured_to: Micros) -> ModelStatistics {
    let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let told = calls.requests_completed.saturating_add(calls.provider_failures);
    let tokens = calls.input_tokens.saturating_add(calls.output_tokens);
    let busy_ms = calls.latencies.sum_ms();
    let share = |of: f64, by: u64| (by > 0).then(|| round6(of / by as f64));
    let is_cost_known = calls.calls_of_unknown_cost == 0;
    ModelStatistics {
        measured_to,
        calls: whole(told),
        error_rate: share(calls.provider_failures as f64, told).unwrap_or_default(),
        latency_ms_p50: calls.latencies.percentile(50).map(whole),
        latency_ms_p95: calls.latencies.percentile(95).map(whole),
        tokens_per_second: share(calls.output_tokens as f64 * 1_000.0, busy_ms),
        cost_per_1k_tokens_micro_usd: share(calls.cost_pico_usd as f64 / PICO * 1_000.0, tokens)
            .filter(|_| is_cost_known),
        ratings: whole(ratings.ratings.count()),
        rating_mean: ratings.ratings.mean().map(round6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::usage::{Latencies, Ratings, Slot};
    use crate::flow::query::stores::Stores;
    use uuid::Uuid;

    const MINUTE: Micros = 60_000_000;
    const NOW: Micros = 1_767_225_600_000_000;

    fn choice() -> ModelChoice {
        let provider_tenant_id = Uuid::from_u128(3);
        ModelChoice { provider_tenant_id, provider_id: Uuid::from_u128(5), model_id: "a/b".into() }
    }

    fn slot(tenant: u128, dimension: Dimension, window: Window, at: Micros) -> Slot {
        let key = model_key(&choice());
        let series = Series { tenant: TenantId(Uuid::from_u128(tenant)), dimension, key, window };
        Slot { series, start: window.start_of(at) }
    }

    fn answered(calls: u64) -> Totals {
        let mut latencies = Latencies::default();
        (0..calls).for_each(|_| latencies.add(&Latencies::of(1_000)));
        Totals {
            requests_completed: calls,
            input_tokens: 300 * calls,
            output_tokens: 100 * calls,
            cost_pico_usd: 800_000_000 * i128::from(calls),
            latencies,
            ..Totals::default()
        }
    }

    #[tokio::test]
    async fn figures_are_of_the_last_five_minutes_for_everybody_and_ratings_of_a_day() {
        let offer = |window, at| slot(3, Dimension::Offer, window, at);
        let failed = Totals { attempts_failed: 9, provider_failures: 5, ..Totals::default() };
        let rated = |scores: &[i64]| {
            let mut ratings = Ratings::default();
            scores.iter().for_each(|score| ratings.add(&Ratings::of(TenantId(Uuid::from_u128(4)), *score)));
            Totals { ratings, ..answered(1_000) }
        };
        let rows = [
            (offer(Window::Minute, NOW - 5 * MINUTE), answered(10)),
            (offer(Window::Minute, NOW - MINUTE), answered(5)),
            (offer(Window::Minute, NOW - 2 * MINUTE), failed),
            // Before, after, of the caller alone, of another provider's tenant.
            (offer(Window::Minute, NOW - 6 * MINUTE), answered(1_000)),
            (offer(Window::Minute, NOW), answered(1_000)),
            (slot(3, Dimension::Model, Window::Minute, NOW - MINUTE), answered(1_000)),
            (slot(4, Dimension::Offer, Window::Minute, NOW - MINUTE), answered(1_000)),
            (offer(Window::Hour, NOW - 24 * 60 * MINUTE), rated(&[1_000_000, 0])),
            (offer(Window::Hour, NOW - 60 * MINUTE), rated(&[1_000_000; 4])),
            (offer(Window::Hour, NOW - 25 * 60 * MINUTE), rated(&[0; 90])),
        ];
        let stores = Stores { usage: rows.into_iter().collect(), ..Stores::default() };
        let found = measure(&stores, &choice(), NOW).await.unwrap().unwrap();
        assert_eq!((found.calls, found.error_rate, found.measured_to), (20, 0.25, NOW));
        let p50 = found.latency_ms_p50.unwrap();
        assert!((960..=1_040).contains(&p50) && found.latency_ms_p95 == Some(p50), "{found:?}");
        assert_eq!((found.tokens_per_second, found.cost_per_1k_tokens_micro_usd), (Some(100.0), Some(2_000.0)));
        assert_eq!((found.ratings, found.rating_mean), (6, Some(0.833333)));
        let other = ModelChoice { model_id: "x".into(), ..choice() };
        assert_eq!(measure(&stores, &other, NOW).await.unwrap(), None, "nobody called it");
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let unknown = Totals { calls_of_unknown_cost: 1, ..answered(30) };
        assert_eq!(statistics(&unknown, &Totals::default(), NOW).cost_per_1k_tokens_micro_usd, None);
        let dead = Totals { provider_failures: 30, ..Totals::default() };
        let found = statistics(&dead, &Totals::default(), NOW);
        assert_eq!((found.error_rate, found.calls), (1.0, 30));
        assert_eq!((found.latency_ms_p50, found.tokens_per_second, found.rating_mean), (None, None, None));
    }
}
