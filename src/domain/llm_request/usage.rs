//! Tokens, prices, and what they come to: exact, in pico-dollars.

use serde::{Deserialize, Serialize};

/// Most tokens of one call, in and out each: ten times the largest context window there is.
pub const TOKENS_MAX: i64 = 100_000_000;
/// Highest price, micro-dollars per million tokens ($2,000): above what any model costs, and within what keeps the sum of
/// all calls of a request in an `i64`. A worker takes a higher one for unknown.
pub const PRICE_MICRO_USD_PER_MILLION_MAX: i64 = 2_000_000_000;

/// What one call may cost at most, in pico-dollars.
pub const COST_PICO_USD_MAX: i64 = 2 * TOKENS_MAX * PRICE_MICRO_USD_PER_MILLION_MAX;

/// The tokens of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Usage {
    /// All of the prompt, with what was read from or written to a cache.
    pub input_tokens: i64,
    /// All of the answer, with the reasoning.
    pub output_tokens: i64,
    /// Of the input: read from the provider's cache.
    pub cached_input_tokens: i64,
    /// Of the input: written to the provider's cache.
    pub cache_write_tokens: i64,
    /// Of the output.
    pub reasoning_tokens: i64,
}

/// The prices that a call was made at, micro-dollars per million tokens; absent is unknown, which is not free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Price {
    pub input_micro_usd_per_million: Option<i64>,
    pub output_micro_usd_per_million: Option<i64>,
    /// Absent: as the rest of the input.
    pub cached_input_micro_usd_per_million: Option<i64>,
    /// Absent: as the rest of the input.
    pub cache_write_micro_usd_per_million: Option<i64>,
    /// The version of the provider's stream that the prices were read from.
    pub llm_provider_version: Option<i64>,
    /// Whether these are the provider's prices of batches.
    pub batch: bool,
}

impl Price {
    /// The prices of a call that its provider charged as a batch; the same ones where it has none for batches.
    ///
    /// Caches have no batch prices of their own: what is read from one costs no more than other input of the batch, what
    /// is written to one costs as in any other call.
    pub fn of_batch(self, input: Option<i64>, output: Option<i64>) -> Self {
        if input.is_none() && output.is_none() {
            return self;
        }
        let input = input.or(self.input_micro_usd_per_million);
        let cached = self.cached_input_micro_usd_per_million;
        Self {
            input_micro_usd_per_million: input,
            output_micro_usd_per_million: output.or(self.output_micro_usd_per_million),
            cached_input_micro_usd_per_million: cached.map(|cached| input.map_or(cached, |input| cached.min(input))),
            batch: true,
            ..self
        }
    }
}

impl Usage {
    /// The nearest usage that a command may carry, for what a provider reports against all sense.
    pub fn clamped(self) -> Self {
        let input_tokens = self.input_tokens.clamp(0, TOKENS_MAX);
        let output_tokens = self.output_tokens.clamp(0, TOKENS_MAX);
        let cached_input_tokens = self.cached_input_tokens.clamp(0, input_tokens);
        Self {
            input_tokens,
            output_tokens,
            cached_input_tokens,
            cache_write_tokens: self.cache_write_tokens.clamp(0, input_tokens - cached_input_tokens),
            reasoning_tokens: self.reasoning_tokens.clamp(0, output_tokens),
        }
    }

    /// What the call cost, in pico-dollars (micro-dollars per million, times tokens): exact. `None` when a price that is
    /// needed is not known. Usage and price must be within their bounds; outside them it saturates.
    pub fn cost_pico_usd(&self, price: &Price) -> Option<i64> {
        let input = price.input_micro_usd_per_million;
        let plain = self.input_tokens.saturating_sub(self.cached_input_tokens).saturating_sub(self.cache_write_tokens);
        let parts = [
            (plain, input),
            (self.cached_input_tokens, price.cached_input_micro_usd_per_million.or(input)),
            (self.cache_write_tokens, price.cache_write_micro_usd_per_million.or(input)),
            (self.output_tokens, price.output_micro_usd_per_million),
        ];
        parts
            .into_iter()
            .filter(|(tokens, _)| *tokens > 0)
            .try_fold(0_i64, |sum, (tokens, price)| Some(sum.saturating_add(tokens.saturating_mul(price?))))
    }

    pub(super) fn add(&mut self, other: &Self) {
        let sums = [
            (&mut self.input_tokens, other.input_tokens),
            (&mut self.output_tokens, other.output_tokens),
            (&mut self.cached_input_tokens, other.cached_input_tokens),
            (&mut self.cache_write_tokens, other.cache_write_tokens),
            (&mut self.reasoning_tokens, other.reasoning_tokens),
        ];
        for (sum, more) in sums {
            *sum = sum.saturating_add(more);
        }
    }
}

/// Pico-dollars as dollars, to the last of their twelve decimals.
pub fn usd(pico_usd: i64) -> String {
    usd_of_many(pico_usd.into())
}

/// The same of a sum over many requests, which no 64 bits hold.
pub fn usd_of_many(pico_usd: i128) -> String {
    let sign = if pico_usd < 0 { "-" } else { "" };
    let pico = pico_usd.unsigned_abs();
    format!("{sign}{}.{:012}", pico / 1_000_000_000_000, pico % 1_000_000_000_000)
}
