//! The ways in which providers write a span of time or a moment in a header. What cannot be read is no news, not an error.

use crate::domain::Micros;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use std::time::Duration;

/// Longer waits are cut to this: a header must not park a provider for ever.
const WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Numbers from here on are moments since the epoch: in seconds, and from the second bound on in milliseconds.
const EPOCH_SECONDS_MIN: f64 = 1e9;
const EPOCH_MILLIS_MIN: f64 = 1e12;

/// A span as `Retry-After` tells it: seconds, or an HTTP date.
pub fn retry_after(text: &str, now: Micros) -> Option<Duration> {
    seconds(text).or_else(|| http_date(text).map(|at| until(at, now)))
}

/// A span as `retry-after-ms` tells it.
pub fn millis(text: &str) -> Option<Duration> {
    number(text).and_then(|millis| span(millis / 1e3))
}

/// The time until a limit is whole again: `6m0s`, `20ms`, `1.5` seconds, seconds or milliseconds since the epoch, or
/// an RFC 3339 time.
pub fn reset(text: &str, now: Micros) -> Option<Duration> {
    match number(text) {
        Some(millis) if millis >= EPOCH_MILLIS_MIN => Some(until((millis * 1e3) as Micros, now)),
        Some(seconds) if seconds >= EPOCH_SECONDS_MIN => Some(until((seconds * 1e6) as Micros, now)),
        Some(seconds) => span(seconds),
        None => duration(text).or_else(|| rfc3339(text).map(|at| until(at, now))),
    }
}

/// `1h2m3.5s`, `6m0s`, `20ms`: numbers, each with its unit.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let (count, tail) = rest.split_at(digits);
        let unit = tail.find(|char: char| char.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let scale = match unit {
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number(count)? * scale;
        rest = tail;
    }
    span(seconds)
}

fn seconds(text: &str) -> Option<Duration> {
    number(text).and_then(span)
}

/// A plain decimal number that is not negative.
fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    plain.then(|| text.parse().ok()).flatten()
}

fn span(seconds: f64) -> Option<Duration> {
    let seconds = seconds.min(WAIT_MAX.as_secs_f64());
    Duration::try_from_secs_f64(seconds).ok()
}

fn rfc3339(text: &str) -> Option<Micros> {
    text.trim().parse::<Timestamp>().ok().map(Timestamp::as_microsecond)
}

fn http_date(text: &str) -> Option<Micros> {
    DateTimeParser::new().parse_timestamp(text.trim()).ok().map(Timestamp::as_microsecond)
}

/// From now until then; nothing where that has passed.
fn until(at: Micros, now: Micros) -> Duration {
    let micros = at.saturating_sub(now).max(0);
    Duration::from_micros(micros.unsigned_abs()).min(WAIT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-01-02T03:04:05Z.
    const NOW: Micros = 1_767_323_045_000_000;

    #[test]
    fn each_way_of_writing_a_span_is_read() {
        for (text, millis) in [
            ("6m0s", 360_000),
            ("1s", 1_000),
            ("20ms", 20),
            ("1h2m3.5s", 3_723_500),
            ("2m59.56s", 179_560),
            ("0s", 0),
            ("7.66s", 7_660),
            ("1d", 86_400_000),
            ("59", 59_000),
            ("0.25", 250),
            ("1767323050", 5_000),
            ("1767323050500", 5_500),
            ("2026-01-02T03:04:06Z", 1_000),
            ("2026-01-02T04:04:06.250+01:00", 1_250),
            ("2026-01-02T03:00:00Z", 0),
        ] {
            assert_eq!(reset(text, NOW), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", " ", "soon", "-1", "1x", "m", "1.2.3s", "NaN", "1e5", "12:30", "٣s"] {
            assert_eq!(reset(text, NOW), None, "{text}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after("7", NOW), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("0.5", NOW), Some(Duration::from_millis(500)));
        assert_eq!(retry_after("Fri, 02 Jan 2026 03:04:15 GMT", NOW), Some(Duration::from_secs(10)));
        assert_eq!(retry_after("Fri, 02 Jan 2026 03:04:00 GMT", NOW), Some(Duration::ZERO));
        assert_eq!(retry_after("later", NOW), None);
        assert_eq!(millis("1500"), Some(Duration::from_millis(1_500)));
    }

    #[test]
    fn no_wait_is_endless() {
        for text in ["99999999999999999999999999", "9999-12-30T00:00:00Z", "99999999999d"] {
            assert_eq!(reset(text, NOW), Some(WAIT_MAX), "{text}");
        }
        assert_eq!(retry_after("99999999999999999999", NOW), Some(WAIT_MAX));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*", now in any::<i64>()) {
            let _ = (retry_after(&text, now), reset(&text, now), millis(&text), duration(&text));
        }

        #[test]
        fn nothing_that_looks_like_a_time_panics(text in "[0-9.:dhmsnuµTZGMT+ -]{0,40}", now in any::<i64>()) {
            let _ = (retry_after(&text, now), reset(&text, now), millis(&text), duration(&text));
        }

        #[test]
        fn what_is_written_is_read(hours in 0u64..48, minutes in 0u64..60, millis in 0u64..60_000) {
            let text = format!("{hours}h{minutes}m{}.{:03}s", millis / 1_000, millis % 1_000);
            let meant = Duration::from_millis((hours * 60 + minutes) * 60_000 + millis);
            let read = duration(&text).unwrap();
            prop_assert!(read.abs_diff(meant) < Duration::from_micros(1), "{} {:?}", text, read);
        }
    }
}
