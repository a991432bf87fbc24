//! What a provider's headers tell: its limits, and what else a caller may want to see.

use super::times;
use crate::domain::Micros;
use crate::ports::llm::{Head, RateLimits, Window};
use reqwest::header::HeaderMap;
use std::time::Duration;

/// Headers that go on to the caller, beside those of limits.
const KEPT: &[&str] = &[
    "apim-request-id",
    "cf-ray",
    "openai-processing-ms",
    "openai-version",
    "request-id",
    "retry-after",
    "retry-after-ms",
    "x-amzn-bedrock-invocation-latency",
    "x-amzn-errortype",
    "x-amzn-requestid",
    "x-ms-region",
    "x-ms-retry-after-ms",
    "x-request-id",
    "x-should-retry",
];
/// What the names of limits begin with.
const LIMITS: &[&str] = &["x-ratelimit-", "anthropic-ratelimit-"];
/// By which names the figures of one limit go, the first that is there.
struct WindowNames {
    limit: &'static [&'static str],
    remaining: &'static [&'static str],
    reset: &'static [&'static str],
}

macro_rules! names {
    ($what:literal, $of:literal $(, $more:expr)?) => {
        &[
            concat!("x-ratelimit-", $what, "-", $of),
            concat!("x-ratelimit-", $what, "-", $of, "-minute"),
            concat!("anthropic-ratelimit-", $of, "-", $what),
            $($more,)?
        ]
    };
}

/// Of requests, where `x-ratelimit-limit` is what providers with one limit say; of tokens; of those in; of those out.
const NAMES: [WindowNames; 4] = [
    WindowNames {
        limit: names!("limit", "requests", "x-ratelimit-limit"),
        remaining: names!("remaining", "requests", "x-ratelimit-remaining"),
        reset: names!("reset", "requests", "x-ratelimit-reset"),
    },
    WindowNames {
        limit: names!("limit", "tokens"),
        remaining: names!("remaining", "tokens"),
        reset: names!("reset", "tokens"),
    },
    WindowNames {
        limit: names!("limit", "input-tokens"),
        remaining: names!("remaining", "input-tokens"),
        reset: names!("reset", "input-tokens"),
    },
    WindowNames {
        limit: names!("limit", "output-tokens"),
        remaining: names!("remaining", "output-tokens"),
        reset: names!("reset", "output-tokens"),
    },
];
/// Most headers that go on, and the longest value.
const HEADERS_MAX: usize = 48;
const VALUE_BYTES_MAX: usize = 256;

/// What came with an answer beside its body.
pub fn head(status: u16, headers: &HeaderMap, now: Micros) -> Head {
    Head { status, headers: kept(headers), rates: rates(headers, now) }
}

fn kept(headers: &HeaderMap) -> Vec<(String, String)> {
    let wanted = |name: &str| KEPT.contains(&name) || is_of_limits(name);
    headers
        .iter()
        .filter(|(name, _)| wanted(name.as_str()))
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .filter(|(_, value)| value.len() <= VALUE_BYTES_MAX)
        .take(HEADERS_MAX)
        .collect()
}

fn is_of_limits(name: &str) -> bool {
    LIMITS.iter().any(|limit| name.starts_with(limit))
}

fn rates(headers: &HeaderMap, now: Micros) -> RateLimits {
    let retry_after = retry_after(headers, now);
    // Most answers tell of no limit: theirs are not looked through name by name.
    if !headers.keys().any(|name| is_of_limits(name.as_str())) {
        return RateLimits { retry_after, ..RateLimits::default() };
    }
    RateLimits {
        requests: window(headers, &NAMES[0], now),
        tokens: window(headers, &NAMES[1], now),
        input_tokens: window(headers, &NAMES[2], now),
        output_tokens: window(headers, &NAMES[3], now),
        retry_after,
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The finer of the two where both are there: `Retry-After` is rounded up to seconds.
fn retry_after(headers: &HeaderMap, now: Micros) -> Option<Duration> {
    let fine = ["retry-after-ms", "x-ms-retry-after-ms"].iter().find_map(|name| times::millis(text(headers, name)?));
    fine.or_else(|| times::retry_after(text(headers, "retry-after")?, now))
}

fn window(headers: &HeaderMap, names: &WindowNames, now: Micros) -> Window {
    let find = |names: &[&str]| names.iter().find_map(|name| text(headers, name));
    Window {
        limit: find(names.limit).and_then(count),
        remaining: find(names.remaining).and_then(count),
        reset_after: find(names.reset).and_then(|text| times::reset(text, now)),
    }
}

/// A count; some providers write it as a decimal number. One that has gone below nothing is nothing.
fn count(text: &str) -> Option<u64> {
    let text = text.trim();
    text.parse().ok().or_else(|| text.parse().ok().filter(|count: &f64| count.is_finite()).map(|count| count as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use reqwest::header::{HeaderName, HeaderValue};

    /// 2026-01-02T03:04:05Z.
    const NOW: Micros = 1_767_323_045_000_000;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    fn window(limit: u64, remaining: u64, millis: u64) -> Window {
        Window { limit: Some(limit), remaining: Some(remaining), reset_after: Some(Duration::from_millis(millis)) }
    }

    #[test]
    fn openais_limits_are_read() {
        let rates = rates(
            &headers(&[
                ("x-ratelimit-limit-requests", "5000"),
                ("x-ratelimit-remaining-requests", "4999"),
                ("x-ratelimit-reset-requests", "12ms"),
                ("x-ratelimit-limit-tokens", "160000"),
                ("x-ratelimit-remaining-tokens", "159976"),
                ("x-ratelimit-reset-tokens", "6m0s"),
                ("retry-after", "2"),
                ("retry-after-ms", "1250"),
            ]),
            NOW,
        );
        assert_eq!(rates.requests, window(5_000, 4_999, 12));
        assert_eq!(rates.tokens, window(160_000, 159_976, 360_000));
        assert_eq!(rates.retry_after, Some(Duration::from_millis(1_250)));
        assert_eq!(rates.input_tokens, Window::default());
    }

    #[test]
    fn anthropics_limits_are_read() {
        let rates = rates(
            &headers(&[
                ("anthropic-ratelimit-requests-limit", "50"),
                ("anthropic-ratelimit-requests-remaining", "0"),
                ("anthropic-ratelimit-requests-reset", "2026-01-02T03:04:35Z"),
                ("anthropic-ratelimit-input-tokens-limit", "30000"),
                ("anthropic-ratelimit-input-tokens-remaining", "29000"),
                ("anthropic-ratelimit-input-tokens-reset", "2026-01-02T03:04:06Z"),
                ("retry-after", "30"),
            ]),
            NOW,
        );
        assert_eq!(rates.requests, window(50, 0, 30_000));
        assert_eq!(rates.input_tokens, window(30_000, 29_000, 1_000));
        assert_eq!(rates.retry_after, Some(Duration::from_secs(30)));
    }

    #[test]
    fn limits_under_other_names_are_read() {
        let rates = rates(
            &headers(&[
                ("x-ratelimit-limit", "20"),
                ("x-ratelimit-remaining", "-1"),
                ("x-ratelimit-reset", "1767323050000"),
                ("x-ratelimit-limit-tokens-minute", "60000.0"),
            ]),
            NOW,
        );
        assert_eq!(rates.requests, window(20, 0, 5_000));
        assert_eq!(rates.tokens.limit, Some(60_000));
    }

    #[test]
    fn a_caller_sees_what_matters_and_nothing_else() {
        let head = head(
            200,
            &headers(&[
                ("x-request-id", "req_1"),
                ("set-cookie", "session=1"),
                ("x-ratelimit-limit-requests", "9"),
                ("server", "cloud"),
                ("openai-processing-ms", "12"),
            ]),
            NOW,
        );
        let names: Vec<_> = head.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["x-request-id", "x-ratelimit-limit-requests", "openai-processing-ms"]);
    }

    proptest! {
        #[test]
        fn no_header_panics(value in "[ -~]{0,40}", now in any::<i64>()) {
            let names = ["retry-after", "retry-after-ms", "x-ratelimit-limit-requests", "x-ratelimit-reset-tokens",
                "x-ratelimit-remaining", "anthropic-ratelimit-tokens-reset"];
            let pairs: Vec<_> = names.into_iter().map(|name| (name, value.as_str())).collect();
            let _ = head(200, &headers(&pairs), now);
        }
    }
}
