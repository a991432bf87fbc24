//! `GET /v1/usage`: what requests to LLMs came to and cost, by tenant, project, agent, coupling or model, in windows.
//!
//! A page names its range: one that ends now is fixed by the first page and rides in the cursor, so that the pages that
//! follow show the same windows.

use super::access::{Access, Loopback};
use super::params::Params;
use super::problem::{INVALID_CURSOR, INVALID_QUERY, Problem};
use super::resources::time;
use super::{Services, answer, cursor};
use crate::domain::llm_request::usd_of_many;
use crate::domain::usage::{Dimension, Window};
use crate::domain::{Micros, TenantId};
use crate::flow::query::{USAGE_WINDOWS_MAX, UsageItem, UsagePlace, UsageQuery};
use axum::extract::Request;
use axum::response::Response;
use hyper::{StatusCode, Uri};
use serde_json::{Value, json};
use std::ops::Range;
use std::sync::Arc;
use uuid::Uuid;

/// Windows of a question that names no beginning.
pub const WINDOWS_DEFAULT: i64 = 60;

pub async fn list(services: &Services, loopback: Loopback, request: Request) -> Result<Response, Problem> {
    let tenant = Access::of(request.headers(), loopback)?.tenant()?;
    let (ask, parts) = usage_query(tenant, request.uri(), services.query.now())?;
    let page = services.query.usage(&ask).await?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let next = page.next.map(|place| cursor::encode(&parts, &place_bytes(&ask.starts, &place)));
    let items: Vec<Value> = page.items.iter().map(|item| render(&ask, item)).collect();
    Ok(answer::json(StatusCode::OK, json!({ "items": items, "next_cursor": next }).to_string()))
}

/// What is asked for, and what spells out the question for the cursor.
fn usage_query(tenant: TenantId, uri: &Uri, now: Micros) -> Result<(UsageQuery, Vec<String>), Problem> {
    let mut params = Params::of(uri)?;
    let dimensions = Dimension::ALL.map(|dimension| (dimension.name(), dimension));
    let dimension = params.choice("by", &dimensions)?;
    let key = params.one("key")?;
    let window = params.choice("window", &Window::ALL.map(|window| (window.name(), window)))?.unwrap_or(Window::Hour);
    let (from, to) = (params.one("from")?, params.one("to")?);
    let limit = params.limit()?;
    let after = params.one("cursor")?;
    params.finish()?;
    let dimension = dimension.ok_or_else(|| {
        let names = dimensions.map(|(name, _)| name).join(", ");
        invalid(format!("by is missing: say by which of {names} to add up"))
    })?;
    let key = key.map(|key| key_of(dimension, &key)).transpose()?;
    let spelled = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let parts = vec![
        "usage".to_owned(),
        tenant.to_string(),
        dimension.name().to_owned(),
        spelled(key.as_deref()),
        window.name().to_owned(),
        spelled(from.as_deref()),
        spelled(to.as_deref()),
    ];
    let (starts, after) = match after {
        Some(text) => place_of(&parts, &text).map(|(starts, place)| (starts, Some(place)))?,
        None => (range(window, from.as_deref(), to.as_deref(), now)?, None),
    };
    Ok((UsageQuery { tenant, dimension, key, window, starts, after, limit }, parts))
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(&INVALID_QUERY, detail)
}

/// A key as it is counted by: ids in their one form.
fn key_of(dimension: Dimension, text: &str) -> Result<Arc<str>, Problem> {
    match dimension {
        Dimension::Tenant | Dimension::Agent | Dimension::Coupling => match Uuid::parse_str(text) {
            Ok(id) => Ok(id.to_string().into()),
            Err(_) => Err(invalid(format!("key must be a UUID, the id of the {}", dimension.name()))),
        },
        Dimension::Project | Dimension::Model | Dimension::Offer if text.is_empty() => {
            Err(invalid("key is empty; leave it out for all of them"))
        }
        Dimension::Project | Dimension::Model | Dimension::Offer => Ok(text.into()),
    }
}

/// The windows that have any part between two moments, of which either may be left out.
fn range(window: Window, from: Option<&str>, to: Option<&str>, now: Micros) -> Result<Range<Micros>, Problem> {
    let to = to.map_or(Ok(now.saturating_add(1)), |text| moment("to", text))?;
    let from = match from {
        Some(text) => moment("from", text)?,
        None => to.saturating_sub(1).saturating_sub((WINDOWS_DEFAULT - 1) * window.size()),
    };
    if from >= to {
        return Err(invalid("from must be before to"));
    }
    let start = window.start_of(from);
    if (to - start) / window.size() >= USAGE_WINDOWS_MAX {
        return Err(invalid(format!(
            "{} windows are the most that a question may range over; ask for less, or take a larger window",
            USAGE_WINDOWS_MAX
        )));
    }
    Ok(start..to)
}

fn moment(name: &str, text: &str) -> Result<Micros, Problem> {
    let time: Result<jiff::Timestamp, _> = text.parse();
    let micros = time.ok().map(jiff::Timestamp::as_microsecond).filter(|micros| *micros >= 0);
    micros.ok_or_else(|| invalid(format!("{name} must be a time since 1970 as in 2026-01-31T12:00:00Z (RFC 3339)")))
}

fn place_bytes(starts: &Range<Micros>, place: &UsagePlace) -> Vec<u8> {
    let times = [starts.start, starts.end, place.start].map(i64::to_be_bytes).concat();
    [times.as_slice(), place.key.as_bytes()].concat()
}

fn place_of(parts: &[String], text: &str) -> Result<(Range<Micros>, UsagePlace), Problem> {
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let bytes = cursor::decode_bytes(&parts, text)?;
    let read = || {
        let (times, key) = bytes.split_first_chunk::<24>()?;
        let time = |at: usize| Some(i64::from_be_bytes(times.get(at..at + 8)?.try_into().ok()?));
        let key = std::str::from_utf8(key).ok()?.into();
        Some((time(0)?..time(8)?, UsagePlace { key, start: time(16)? }))
    };
    // Its checksum was right, so only another program can have made it.
    read().ok_or_else(|| Problem::new(&INVALID_CURSOR, "start again without a cursor"))
}

fn render(ask: &UsageQuery, item: &UsageItem) -> Value {
    let totals = &item.totals;
    let latencies = &totals.latencies;
    json!({
        "by": ask.dimension.name(),
        "key": &*item.key,
        "window": ask.window.name(),
        "start": time(item.start),
        "requests_completed": totals.requests_completed,
        "requests_failed": totals.requests_failed,
        "requests_expired": totals.requests_expired,
        "requests_cancelled": totals.requests_cancelled,
        "attempts_failed": totals.attempts_failed,
        "extra_calls": totals.extra_calls,
        "input_tokens": totals.input_tokens,
        "output_tokens": totals.output_tokens,
        "cached_input_tokens": totals.cached_input_tokens,
        "cache_write_tokens": totals.cache_write_tokens,
        "reasoning_tokens": totals.reasoning_tokens,
        "cost_usd": usd_of_many(totals.cost_pico_usd),
        "calls_of_unknown_cost": totals.calls_of_unknown_cost,
        "unknown_cost_usd_estimated": usd_of_many(totals.unknown_cost_pico_usd),
        "latency_ms_mean": latencies.sum_ms().checked_div(latencies.count()),
        "latency_ms_p50": latencies.percentile(50),
        "latency_ms_p95": latencies.percentile(95),
        "provider_failures": totals.provider_failures,
        "ratings": totals.ratings.count(),
        "rating_mean": totals.ratings.mean(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::usage::{Latencies, Totals};

    const TENANT: TenantId = TenantId(Uuid::from_u128(0xa));
    /// 2026-01-01T00:00:00Z
    const NOW: Micros = 1_767_225_600_000_000;

    fn ask(query: &str) -> Result<UsageQuery, String> {
        let uri = format!("/v1/usage?{query}").parse().unwrap();
        usage_query(TENANT, &uri, NOW).map(|(ask, _)| ask).map_err(|problem| problem.detail)
    }

    #[test]
    fn the_last_sixty_windows_are_shown_unless_asked() {
        let found = ask("by=agent").unwrap();
        assert_eq!((found.window, found.dimension, found.key), (Window::Hour, Dimension::Agent, None));
        assert_eq!((found.starts.end - NOW, NOW - found.starts.start), (1, 59 * Window::Hour.size()));
        let found = ask("by=model&key=5/large&window=1d&from=2025-12-30T13:00:00Z&to=2026-01-01T00:00:00Z").unwrap();
        assert_eq!(found.key.as_deref(), Some("5/large"));
        assert_eq!(found.starts, NOW - 2 * Window::Day.size()..NOW, "from the beginning of its day");
    }

    #[test]
    fn what_cannot_be_asked_says_why() {
        for (query, part) in [
            ("", "by is missing"),
            ("by=colour", "by must be one of"),
            ("by=agent&window=2h", "window must be one of: 1m, 5m, 1h, 1d"),
            ("by=agent&key=ada", "key must be a UUID"),
            ("by=project&key=", "key is empty"),
            ("by=agent&from=yesterday", "from must be a time"),
            ("by=agent&from=1969-12-31T00:00:00Z", "from must be a time since 1970"),
            ("by=agent&from=2026-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", "from must be before to"),
            ("by=agent&window=1m&from=2025-12-01T00:00:00Z", "3000 windows"),
            ("by=agent&cursor=x", "use next_cursor as it was given"),
            ("by=agent&colour=red", "there is no parameter"),
        ] {
            let detail = ask(query).unwrap_err();
            assert!(detail.contains(part), "{query}: {detail}");
        }
        let upper = ask("by=agent&key=0B9F7C1E-4D55-5B7A-8C55-0F6A3F9E2D11").unwrap();
        assert_eq!(upper.key.as_deref(), Some("0b9f7c1e-4d55-5b7a-8c55-0f6a3f9e2d11"));
    }

    #[test]
    fn a_cursor_keeps_the_range_and_belongs_to_its_question() {
        let uri = "/v1/usage?by=model&window=5m".parse().unwrap();
        let (first, parts) = usage_query(TENANT, &uri, NOW).unwrap();
        let place = UsagePlace { key: "ä/large".into(), start: NOW - 7 };
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let text = cursor::encode(&parts, &place_bytes(&first.starts, &place));
        let later =
            |query: &str| usage_query(TENANT, &format!("/v1/usage?{query}&cursor={text}").parse().unwrap(), NOW + 9);
        let (next, _) = later("by=model&window=5m").unwrap();
        assert_eq!(next, UsageQuery { after: Some(place), ..first });
        for other in ["by=model&window=1m", "by=agent&window=5m", "by=model&window=5m&key=x"] {
            assert_eq!(later(other).unwrap_err().kind, &INVALID_CURSOR, "{other}");
        }
    }

    #[test]
    fn an_item_shows_exact_money_and_percentiles() {
        let mut latencies = Latencies::default();
        [10, 10, 400].map(Latencies::of).iter().for_each(|it| latencies.add(it));
        let totals = Totals { requests_completed: 3, cost_pico_usd: 1, latencies, ..Totals::default() };
        let item = UsageItem { key: "atlas".into(), start: NOW, totals };
        let shown = render(&ask("by=project&window=1m").unwrap(), &item);
        assert_eq!((&shown["key"], &shown["start"]), (&json!("atlas"), &json!("2026-01-01T00:00:00.000000Z")));
        assert_eq!((&shown["cost_usd"], &shown["requests_completed"]), (&json!("0.000000000001"), &json!(3)));
        assert_eq!((&shown["latency_ms_mean"], &shown["latency_ms_p50"]), (&json!(140), &json!(10)));
        let empty = UsageItem { totals: Totals::default(), ..item };
        assert_eq!(render(&ask("by=project").unwrap(), &empty)["latency_ms_p95"], Value::Null);
    }
}
