//! The parameter `as_of`: a resource, or a list, as it stood at a moment.
//!
//! A moment is a time (RFC 3339, in any offset, to the microsecond) or, of one resource, a version. What counts is when
//! the log recorded an event, `recorded_at`. A time that this node's clock has not come to is refused: nobody knows yet
//! what it will hold.

use super::Services;
use super::params::{self, Params};
use super::problem::{INVALID_QUERY, NO_SUCH_VERSION, NOT_YET_THERE, Problem, UNAVAILABLE};
use super::resources::time;
use crate::domain::{Aggregate, Micros};
use crate::flow::query::{AsOf, At, Resource};
use std::time::Duration;

/// How far the clock of the node that recorded an event may be ahead of this node's: what one node tells as a resource's
/// `updated_at`, another must take.
const CLOCKS_APART_MAX: Micros = 1_000_000;
/// When a caller should come back that asked for more than the views show.
const COME_BACK: Duration = Duration::from_secs(1);

/// Reads the moment that one resource is asked for.
///
/// # Errors
/// When it is neither a time nor a version, or a time to come.
pub fn moment(params: &mut Params, now: Micros) -> Result<Option<At>, Problem> {
    let Some(text) = params.one("as_of")? else { return Ok(None) };
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let version = text.parse().ok().filter(|version| *version > 0);
        return match version {
            Some(version) => Ok(Some(At::Version(version))),
            None => Err(invalid("as_of is no version: versions are whole numbers from 1 on")),
        };
    }
    let Ok(timestamp) = params::instant(&text) else {
        return Err(invalid("as_of must be a time as in 2026-01-31T12:00:00Z (RFC 3339), or a version as in 7"));
    };
    let asked = timestamp.as_nanosecond().div_euclid(1_000);
    match Micros::try_from(asked) {
        Ok(asked) if asked <= now.saturating_add(CLOCKS_APART_MAX) => Ok(Some(At::Time(asked))),
        _ => {
            let now = time(now).unwrap_or_default();
            Err(invalid(format!("as_of is a time to come, of which nothing is recorded; here it is {now}")))
        }
    }
}

/// Reads the time that a list is asked for.
///
/// # Errors
/// As [`moment`], and when it is a version.
pub fn time_of_list(params: &mut Params, now: Micros) -> Result<Option<Micros>, Problem> {
    match moment(params, now)? {
        None => Ok(None),
        Some(At::Time(time)) => Ok(Some(time)),
        Some(At::Version(_)) => Err(invalid(
            "as_of of a list must be a time: each resource counts its own versions; ask for one resource by its id to see \
             a version",
        )),
    }
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(&INVALID_QUERY, detail)
}

/// The resource, or why there was none at that moment.
///
/// # Errors
/// When it came later, or has no such version.
pub fn stood(found: AsOf) -> Result<Resource, Problem> {
    match found {
        AsOf::Stood(resource) => Ok(*resource),
        AsOf::NotYet { began_at } => {
            let began_at = time(began_at).unwrap_or_default();
            Err(Problem::new(&NOT_YET_THERE, format!("it began at {began_at}; ask for then or later")))
        }
        AsOf::NoVersion { newest } => {
            let detail = format!("its newest version is {newest}; ask for one up to that, or for a time");
            Err(Problem::new(&NO_SUCH_VERSION, detail))
        }
    }
}

/// Waits until the views show all that the logs of an aggregate hold now: a list as of a time goes by them.
///
/// # Errors
/// When they do not in time.
pub async fn caught_up(services: &Services, aggregate: Aggregate) -> Result<(), Problem> {
    let tips = services.query.tips(&services.gateway.logs(aggregate)).await?;
    if services.gateway.shown(&tips, services.settings.wait_timeout).await {
        return Ok(());
    }
    let detail = "the read models do not show yet what is recorded, so a list as of a time would miss some; ask again \
                  shortly, or for one resource by its id, which is read from the log";
    Err(Problem { retry_after: Some(COME_BACK), ..Problem::new(&UNAVAILABLE, detail) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01T00:00:00Z
    const NOW: Micros = 1_767_225_600_000_000;

    fn asked(text: &str) -> Result<Option<At>, String> {
        let uri = format!("/v1/agents/x?as_of={text}").parse().unwrap();
        moment(&mut Params::of(&uri).unwrap(), NOW).map_err(|problem| problem.detail)
    }

    #[test]
    fn a_moment_is_a_time_in_any_offset_or_a_version() {
        for (text, at) in [
            ("7", At::Version(7)),
            ("2025", At::Version(2025)),
            ("2025-12-31T23:59:59.999999Z", At::Time(NOW - 1)),
            ("2025-12-31T23:59:59.999999999Z", At::Time(NOW - 1)),
            ("2026-01-01T01:00:00%2B01:00", At::Time(NOW)),
            ("2026-01-01T01:00:00+01:00", At::Time(NOW)),
            ("2025-12-31T19:00:00-05:00", At::Time(NOW)),
            ("2026-01-01T00:00:01Z", At::Time(NOW + CLOCKS_APART_MAX)),
            ("1969-12-31T23:59:59.9999999Z", At::Time(-1)),
        ] {
            assert_eq!(asked(text), Ok(Some(at)), "{text}");
        }
        assert_eq!(moment(&mut Params::of(&"/v1/agents/x".parse().unwrap()).unwrap(), NOW), Ok(None));
    }

    #[test]
    fn what_is_no_moment_says_what_one_is() {
        for (text, part) in [
            ("", "no version"),
            ("0", "whole numbers from 1 on"),
            ("99999999999999999999", "no version"),
            ("-1", "must be a time as in"),
            ("yesterday", "must be a time as in"),
            ("2026-01-01", "must be a time as in"),
            ("2026-01-01T00:00:00", "must be a time as in"),
            ("2026-01-01T00:00:01.000001Z", "here it is 2026-01-01T00:00:00.000000Z"),
            ("1&as_of=2", "there twice"),
        ] {
            let detail = asked(text).unwrap_err();
            assert!(detail.contains(part), "{text}: {detail}");
        }
        let uri = "/v1/agents?as_of=3".parse().unwrap();
        let problem = time_of_list(&mut Params::of(&uri).unwrap(), NOW).unwrap_err();
        assert!(problem.detail.contains("must be a time: each resource counts"), "{}", problem.detail);
    }

    #[test]
    fn what_was_not_there_says_when_it_came_and_how_far_it_is() {
        let not_yet = stood(AsOf::NotYet { began_at: NOW }).unwrap_err();
        assert!(not_yet.detail.contains("it began at 2026-01-01T00:00:00.000000Z"), "{}", not_yet.detail);
        let too_new = stood(AsOf::NoVersion { newest: 4 }).unwrap_err();
        assert_eq!((too_new.kind, too_new.kind.status.as_u16()), (&NO_SUCH_VERSION, 404));
        assert!(too_new.detail.contains("newest version is 4"), "{}", too_new.detail);
    }
}
