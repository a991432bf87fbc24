//! What can be set at the start and changed while it runs: one struct for the command line and for `/fake/settings`.

use super::draw::Distribution;
use super::window::Limits;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most tokens that an answer may have: it bounds an answer's memory.
pub const OUTPUT_TOKENS_MAX: f64 = 65_536.0;
/// Longest latency, in milliseconds.
const LATENCY_MS_MAX: f64 = 600_000.0;
/// The largest vector of an embedding.
pub const DIMENSIONS_MAX: u32 = 8_192;

/// Limits, latencies and faults.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Answers, faults and latencies follow from it: answers with the request, faults and latencies with the order of arrival
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub seed: u64,
    /// Requests that pass in any 60 s [default: no limit]
    #[arg(long, value_name = "N")]
    pub requests_per_minute: Option<u64>,
    /// Tokens that pass in any 60 s [default: no limit]
    #[arg(long, value_name = "N")]
    pub tokens_per_minute: Option<u64>,
    /// Whether the limits hold over all callers, for each key, or for each model
    #[arg(long, value_enum, default_value = "global", value_name = "WHAT")]
    pub limit_by: LimitBy,
    /// Which tokens count against the limit
    #[arg(long, value_enum, default_value = "actual", value_name = "RULE")]
    pub count_tokens: CountTokens,
    /// The form of Retry-After: whole seconds (rounded up), an HTTP date (rounded up), or milliseconds in `retry-after-ms`
    #[arg(long, value_enum, default_value = "seconds", value_name = "FORM")]
    pub retry_after: RetryAfter,
    /// Whether answers carry x-ratelimit-* (OpenAI) or anthropic-ratelimit-* headers where there is a limit
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub rate_headers: bool,
    /// Milliseconds until the first token
    #[arg(long, default_value = "fixed:0", value_name = "DISTRIBUTION")]
    pub latency_ms: Distribution,
    /// Milliseconds for each token after the first
    #[arg(long, default_value = "fixed:0", value_name = "DISTRIBUTION")]
    pub token_latency_ms: Distribution,
    /// Milliseconds until the first token of an answer that is forced to be slow, beside its latency
    #[arg(long, default_value_t = 5_000, value_name = "MS")]
    pub slow_ms: u32,
    /// Tokens of an answer
    #[arg(long, default_value = "uniform:16-64", value_name = "DISTRIBUTION")]
    pub output_tokens: Distribution,
    /// Share of the prompt's tokens that usage tells to be cached, from 0 to 1
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub cached_share: f64,
    /// Numbers in an embedding whose request does not say how many
    #[arg(long, default_value_t = 1_536, value_name = "N")]
    pub embedding_dimensions: u32,
    /// Share of requests that fail with one of --error-statuses
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub error_rate: f64,
    /// The statuses of such failures, each as likely as the others
    #[arg(long, value_delimiter = ',', default_value = "500,503,529", value_name = "STATUSES")]
    pub error_statuses: Vec<u16>,
    /// Share of requests whose connection is cut in the middle of the answer
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub cut_rate: f64,
    /// Share of requests that are answered with malformed JSON or events
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub garbage_rate: f64,
    /// Share of requests that are never answered
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub hang_rate: f64,
}

/// Over whom the limits are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitBy {
    Global,
    Key,
    Model,
}

/// Which tokens a request counts for, always at the time when it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CountTokens {
    /// On arrival prompt + max_tokens (where it asks for none: + the most that --output-tokens can draw), corrected to the
    /// prompt and what was really sent when the answer ends
    Estimate,
    /// On arrival prompt + the tokens that the answer will have, which are known then; never corrected
    Actual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RetryAfter {
    Seconds,
    Date,
    Ms,
}

impl Settings {
    pub fn limits(&self) -> Limits {
        Limits { requests: self.requests_per_minute, tokens: self.tokens_per_minute }
    }

    /// # Errors
    /// A sentence that names the first setting out of its bounds.
    pub fn validate(&self) -> Result<(), String> {
        let rates = [
            ("error_rate", self.error_rate),
            ("cut_rate", self.cut_rate),
            ("garbage_rate", self.garbage_rate),
            ("hang_rate", self.hang_rate),
        ];
        for (name, share) in rates.into_iter().chain([("cached_share", self.cached_share)]) {
            if !(0.0..=1.0).contains(&share) {
                return Err(format!("{name} is a share from 0 to 1, not {share}"));
            }
        }
        let together: f64 = rates.iter().map(|(_, share)| share).sum();
        if together > 1.0 + 1e-9 {
            return Err(format!("the rates of errors, cuts, garbage and hangs add up to {together}, over 1"));
        }
        if self.error_statuses.is_empty() || self.error_statuses.iter().any(|status| !(400..=599).contains(status)) {
            return Err("error_statuses are one or more of 400 to 599".into());
        }
        if self.limits().requests == Some(0) || self.limits().tokens == Some(0) {
            return Err("a limit is at least 1; to let nothing through, POST /fake/down".into());
        }
        for (name, latency) in [("latency_ms", self.latency_ms), ("token_latency_ms", self.token_latency_ms)] {
            if latency.ceiling() > LATENCY_MS_MAX {
                return Err(format!("{name} may reach {}, over {LATENCY_MS_MAX}", latency.ceiling()));
            }
        }
        if f64::from(self.slow_ms) > LATENCY_MS_MAX {
            return Err(format!("slow_ms is at most {LATENCY_MS_MAX}"));
        }
        if !(1.0..=OUTPUT_TOKENS_MAX).contains(&self.output_tokens.ceiling()) {
            return Err(format!(
                "output_tokens must reach 1 and never exceed {OUTPUT_TOKENS_MAX}; a lognormal may reach 4 × p99"
            ));
        }
        if !(1..=DIMENSIONS_MAX).contains(&self.embedding_dimensions) {
            return Err(format!("embedding_dimensions is from 1 to {DIMENSIONS_MAX}"));
        }
        Ok(())
    }

    /// These settings with some replaced: a JSON object of names as in `GET /fake/settings`; `null` takes a limit away.
    ///
    /// # Errors
    /// A sentence that says what is wrong; then nothing is replaced.
    pub fn with(&self, change: &[u8]) -> Result<Self, String> {
        let change: serde_json::Map<String, Value> = serde_json::from_slice(change)
            .map_err(|cause| format!("the body is a JSON object of settings: {cause}"))?;
        let mut merged = serde_json::to_value(self).map_err(|cause| cause.to_string())?;
        if let Some(all) = merged.as_object_mut() {
            all.extend(change);
        }
        let settings: Self = serde_json::from_value(merged).map_err(|cause| cause.to_string())?;
        settings.validate()?;
        Ok(settings)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        settings: Settings,
    }

    /// The settings of a command line.
    pub fn settings(args: &[&str]) -> Settings {
        Line::parse_from([&["test"], args].concat()).settings
    }

    #[test]
    fn what_is_changed_is_changed_and_the_rest_stays() {
        let before = settings(&["--requests-per-minute", "10", "--latency-ms", "fixed:50"]);
        let after = before.with(br#"{"latency_ms": "uniform:1-2", "requests_per_minute": null}"#).unwrap();
        assert_eq!(after.latency_ms, Distribution::Uniform(1.0, 2.0));
        assert_eq!(after.requests_per_minute, None);
        assert_eq!(after.output_tokens, before.output_tokens);
    }

    #[test]
    fn nonsense_is_refused_with_the_name_of_what_is_wrong() {
        for (change, named) in [
            (r#"{"error_rate": 1.5}"#, "error_rate"),
            (r#"{"error_rate": 0.6, "cut_rate": 0.6}"#, "over 1"),
            (r#"{"erorr_rate": 1}"#, "erorr_rate"),
            (r#"{"error_statuses": [200]}"#, "error_statuses"),
            (r#"{"requests_per_minute": 0}"#, "at least 1"),
            (r#"{"latency_ms": "soon"}"#, "soon"),
            (r#"{"latency_ms": "fixed:1000000"}"#, "latency_ms"),
            (r#"{"output_tokens": "fixed:0"}"#, "output_tokens"),
            (r#"{"output_tokens": "lognormal:1000,20000"}"#, "output_tokens"),
            (r#"{"embedding_dimensions": 0}"#, "embedding_dimensions"),
            (r#"{"limit_by": "moon"}"#, "moon"),
            (r#"[1]"#, "object"),
        ] {
            let error = settings(&[]).with(change.as_bytes()).unwrap_err();
            assert!(error.contains(named), "{change}: {error}");
        }
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(settings(&[]).validate(), Ok(()));
    }
}
