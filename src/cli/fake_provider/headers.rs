//! Headers that tell of limits: what is left, and when to come again.

use super::limiter::Standing;
use super::settings::RetryAfter;
use super::wire::Wire;
use crate::domain::Micros;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use std::time::Duration;

/// Tells a client when to come again, never too early.
pub fn retry_after(headers: &mut HeaderMap, form: RetryAfter, wait: Duration, now: Micros) {
    let (name, value) = match form {
        RetryAfter::Seconds => (header::RETRY_AFTER, ceiling_seconds(wait).to_string()),
        RetryAfter::Ms => (HeaderName::from_static("retry-after-ms"), wait.as_micros().div_ceil(1_000).to_string()),
        RetryAfter::Date => {
            let micros = now.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX));
            let second = Timestamp::from_second(micros.div_euclid(1_000_000) + i64::from(micros % 1_000_000 != 0));
            let date = second.ok().and_then(|at| rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).ok());
            (header::RETRY_AFTER, date.unwrap_or_else(|| ceiling_seconds(wait).to_string()))
        }
    };
    insert(headers, name, value);
}

fn ceiling_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// Tells what is left of each limit, in the form of the wire; Gemini has none.
pub fn rate(headers: &mut HeaderMap, wire: Wire, standing: &Standing, now: Micros) {
    let drained = Duration::from_nanos(standing.drained_in);
    let names = match wire {
        Wire::OpenAi => OPENAI,
        Wire::Anthropic => ANTHROPIC,
        Wire::Gemini => return,
    };
    let limits = [(standing.limits.requests, standing.used.requests), (standing.limits.tokens, standing.used.tokens)];
    for (names, (limit, used)) in names.into_iter().zip(limits) {
        let Some(limit) = limit else { continue };
        let reset = if wire == Wire::OpenAi {
            go_duration(drained)
        } else {
            let at = Timestamp::from_microsecond(now.saturating_add(drained.as_micros() as i64));
            at.unwrap_or_default().to_string()
        };
        let [limit_name, left_name, reset_name] = names.map(HeaderName::from_static);
        headers.insert(limit_name, limit.into());
        headers.insert(left_name, limit.saturating_sub(used).into());
        insert(headers, reset_name, reset);
    }
}

/// The headers of requests and of tokens: the limit, what is left of it, and when all of it is back.
const OPENAI: [[&str; 3]; 2] = [
    ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"],
    ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"],
];
const ANTHROPIC: [[&str; 3]; 2] = [
    [
        "anthropic-ratelimit-requests-limit",
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-reset",
    ],
    ["anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"],
];

/// As `1m0s` or `850ms`.
fn go_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match (millis / 60_000, millis % 60_000) {
        (0, rest) if rest < 1_000 => format!("{rest}ms"),
        (0, rest) => format!("{}s", rest as f64 / 1_000.0),
        (minutes, rest) => format!("{minutes}m{}s", rest as f64 / 1_000.0),
    }
}

/// Values of our own making have no forbidden character.
pub fn insert(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::window::{Limits, Totals};
    use super::*;

    fn told(form: RetryAfter, wait: Duration) -> (String, String) {
        let mut headers = HeaderMap::new();
        // 2025-01-01T00:00:00.5Z
        retry_after(&mut headers, form, wait, 1_735_689_600_500_000);
        let (name, value) = headers.iter().next().unwrap();
        (name.to_string(), value.to_str().unwrap().to_owned())
    }

    #[test]
    fn no_form_of_retry_after_is_too_early() {
        let wait = Duration::from_micros(1_700_001);
        assert_eq!(told(RetryAfter::Seconds, wait), ("retry-after".into(), "2".into()));
        assert_eq!(told(RetryAfter::Ms, wait), ("retry-after-ms".into(), "1701".into()));
        assert_eq!(told(RetryAfter::Date, wait), ("retry-after".into(), "Wed, 01 Jan 2025 00:00:03 GMT".into()));
        let whole = Duration::from_millis(1_500);
        assert_eq!(told(RetryAfter::Date, whole).1, "Wed, 01 Jan 2025 00:00:02 GMT");
    }

    #[test]
    fn each_wire_tells_what_is_left_in_its_own_words() {
        let standing = Standing {
            limits: Limits { requests: Some(10), tokens: Some(100) },
            used: Totals { requests: 4, tokens: 120 },
            drained_in: 60_000_000_000,
        };
        let told = |wire| {
            let mut headers = HeaderMap::new();
            rate(&mut headers, wire, &standing, 1_735_689_600_000_000);
            move |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        let openai = told(Wire::OpenAi);
        assert_eq!(openai("x-ratelimit-remaining-requests"), "6");
        assert_eq!(openai("x-ratelimit-remaining-tokens"), "0");
        assert_eq!(openai("x-ratelimit-reset-requests"), "1m0s");
        let anthropic = told(Wire::Anthropic);
        assert_eq!(anthropic("anthropic-ratelimit-requests-limit"), "10");
        assert_eq!(anthropic("anthropic-ratelimit-tokens-reset"), "2025-01-01T00:01:00Z");
    }

    #[test]
    fn durations_are_written_as_the_provider_does() {
        let written = [850, 1_500, 61_000].map(|millis| go_duration(Duration::from_millis(millis)));
        assert_eq!(written, ["850ms", "1.5s", "1m1s"]);
    }
}
