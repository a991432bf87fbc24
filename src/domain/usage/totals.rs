//! Totals: sums that add up to sums.
//!
//! Counts and tokens are 64 bits wide: at the most that one call can have (1e8 tokens each way) they hold 9e10 calls of
//! one window. The cost is 128 bits of pico-dollars: at $400,000 a call, more calls than there are atoms to count them.

use super::{Latencies, Ratings};
use crate::domain::llm_request::Usage;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub requests_completed: u64,
    pub requests_failed: u64,
    pub requests_expired: u64,
    pub requests_cancelled: u64,
    pub attempts_failed: u64,
    /// Calls that cost and did not count as their request's.
    pub extra_calls: u64,
    /// With what was read from and written to caches.
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Of the input: read from the provider's cache.
    pub cached_input_tokens: u64,
    /// Of the input: written to it.
    pub cache_write_tokens: u64,
    /// Of the output.
    pub reasoning_tokens: u64,
    /// Exact, of the calls whose cost is known.
    pub cost_pico_usd: i128,
    /// Calls that were or may have been paid and of which the cost is not known.
    pub calls_of_unknown_cost: u64,
    /// Of the calls that completed their requests.
    pub latencies: Latencies,
    /// Calls that failed by the provider's fault; those that fail by the caller's say nothing of a model.
    pub provider_failures: u64,
    /// Of answers, in the window in which they were given.
    pub ratings: Ratings,
    /// What the calls of unknown cost were estimated to cost.
    pub unknown_cost_pico_usd: i128,
}

impl Totals {
    /// Fields at the end that rows of the first form lack: failures by the provider's fault, ratings, and what calls of
    /// unknown cost were estimated to cost, which those of the second form lack.
    pub const FIELDS_ADDED: usize = 3;

    pub fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.requests_completed, other.requests_completed),
            (&mut self.requests_failed, other.requests_failed),
            (&mut self.requests_expired, other.requests_expired),
            (&mut self.requests_cancelled, other.requests_cancelled),
            (&mut self.attempts_failed, other.attempts_failed),
            (&mut self.extra_calls, other.extra_calls),
            (&mut self.input_tokens, other.input_tokens),
            (&mut self.output_tokens, other.output_tokens),
            (&mut self.cached_input_tokens, other.cached_input_tokens),
            (&mut self.cache_write_tokens, other.cache_write_tokens),
            (&mut self.reasoning_tokens, other.reasoning_tokens),
            (&mut self.calls_of_unknown_cost, other.calls_of_unknown_cost),
            (&mut self.provider_failures, other.provider_failures),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.cost_pico_usd = self.cost_pico_usd.saturating_add(other.cost_pico_usd);
        self.unknown_cost_pico_usd = self.unknown_cost_pico_usd.saturating_add(other.unknown_cost_pico_usd);
        self.latencies.add(&other.latencies);
        self.ratings.add(&other.ratings);
    }

    /// The totals of one call; a cost that is not known counts as it was estimated, where there may be one.
    pub(super) fn of_call(usage: Option<&Usage>, cost_pico_usd: Option<i64>, estimate: Option<i64>) -> Self {
        let usage = usage.copied().unwrap_or_default();
        let unknown = estimate.filter(|_| cost_pico_usd.is_none());
        // Every command that carries a usage was refused if any of it was negative.
        let tokens = |tokens: i64| u64::try_from(tokens).unwrap_or(0);
        Self {
            input_tokens: tokens(usage.input_tokens),
            output_tokens: tokens(usage.output_tokens),
            cached_input_tokens: tokens(usage.cached_input_tokens),
            cache_write_tokens: tokens(usage.cache_write_tokens),
            reasoning_tokens: tokens(usage.reasoning_tokens),
            cost_pico_usd: cost_pico_usd.unwrap_or(0).into(),
            calls_of_unknown_cost: u64::from(unknown.is_some()),
            unknown_cost_pico_usd: unknown.unwrap_or(0).into(),
            ..Self::default()
        }
    }
}
