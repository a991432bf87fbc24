//! The query string and the path: read strictly, so that a mistyped parameter is an error and not another answer.

use super::problem::{INVALID_ID, INVALID_QUERY, Problem};
use super::{ApiSettings, Services};
use crate::flow::gateway::Wait;
use axum::extract::Query;
use hyper::Uri;
use std::time::Duration;
use uuid::Uuid;

/// Most items of a page.
pub const LIMIT_MAX: usize = 1_000;
/// Items of a page that does not say how many.
pub const LIMIT_DEFAULT: usize = 100;

/// The parameters of a query string, taken out one by one.
pub struct Params {
    given: Vec<(String, String)>,
    known: Vec<&'static str>,
}

impl Params {
    /// # Errors
    /// When the query string cannot be decoded.
    pub fn of(uri: &Uri) -> Result<Self, Problem> {
        let query = uri.query().unwrap_or_default();
        if query.is_empty() {
            return Ok(Self { given: Vec::new(), known: Vec::new() });
        }
        let unreadable = || Problem::new(&INVALID_QUERY, "the query string is not URL-encoded UTF-8");
        // Checked first, for the extractor replaces what is not UTF-8.
        percent_decoded(query).ok_or_else(unreadable)?;
        let Query(given) = Query::try_from_uri(uri).map_err(|_| unreadable())?;
        Ok(Self { given, known: Vec::new() })
    }

    /// All values of a parameter.
    pub fn all(&mut self, name: &'static str) -> Vec<String> {
        self.known.push(name);
        self.given.extract_if(.., |(given, _)| given == name).map(|(_, value)| value).collect()
    }

    /// The value of a parameter that may be there once.
    ///
    /// # Errors
    /// When it is there twice.
    pub fn one(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        let mut all = self.all(name);
        let value = all.pop();
        if all.is_empty() { Ok(value) } else { Err(Problem::new(&INVALID_QUERY, format!("{name} is there twice"))) }
    }

    /// The value of a parameter, one of `choices`.
    ///
    /// # Errors
    /// When it is another.
    pub fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&str, T)]) -> Result<Option<T>, Problem> {
        let Some(value) = self.one(name)? else { return Ok(None) };
        let found = choices.iter().find(|(choice, _)| *choice == value).map(|(_, choice)| *choice);
        found.map(Some).ok_or_else(|| {
            let names = choices.iter().map(|(choice, _)| *choice).collect::<Vec<_>>().join(", ");
            Problem::new(&INVALID_QUERY, format!("{name} must be one of: {names}"))
        })
    }

    /// All values of a parameter, each one of `choices`; where there are no choices, any.
    ///
    /// # Errors
    /// When one is another.
    pub fn any_of(&mut self, name: &'static str, choices: &[&str]) -> Result<Vec<String>, Problem> {
        let values = self.all(name);
        let is_known = |value: &String| choices.is_empty() || choices.contains(&value.as_str());
        match values.iter().find(|value| !is_known(value)) {
            None => Ok(values),
            Some(value) => {
                let detail = format!("{name} is {value:?}, and must be one of: {}", choices.join(", "));
                Err(Problem::new(&INVALID_QUERY, detail))
            }
        }
    }

    /// A whole number within a range.
    ///
    /// # Errors
    /// When it is none, or outside.
    pub fn number(&mut self, name: &'static str, from: u64, to: u64) -> Result<Option<u64>, Problem> {
        let Some(value) = self.one(name)? else { return Ok(None) };
        let number = value.parse().ok().filter(|number| (from..=to).contains(number));
        number
            .map(Some)
            .ok_or_else(|| Problem::new(&INVALID_QUERY, format!("{name} must be a whole number from {from} to {to}")))
    }

    /// `limit`, from 1 to [`LIMIT_MAX`].
    ///
    /// # Errors
    /// When it is outside.
    pub fn limit(&mut self) -> Result<usize, Problem> {
        Ok(self.number("limit", 1, LIMIT_MAX as u64)?.map_or(LIMIT_DEFAULT, |limit| limit as usize))
    }

    /// `wait` and `timeout_ms`.
    ///
    /// # Errors
    /// When either has no such value.
    pub fn wait(&mut self, default: Wait, settings: &ApiSettings) -> Result<(Wait, Duration), Problem> {
        let choices = Wait::ALL.map(|wait| (wait.name(), wait));
        let wait = self.choice("wait", &choices)?.unwrap_or(default);
        let timeout = self.number("timeout_ms", 0, settings.wait_timeout_max.as_millis() as u64)?;
        Ok((wait, timeout.map_or(settings.wait_timeout, Duration::from_millis)))
    }

    /// # Errors
    /// When a parameter is left that nobody asked for; it lists those there are.
    pub fn finish(self) -> Result<(), Problem> {
        let Some((unknown, _)) = self.given.first() else { return Ok(()) };
        let known = if self.known.is_empty() { "none".to_owned() } else { self.known.join(", ") };
        Err(Problem::new(&INVALID_QUERY, format!("there is no parameter {unknown:?} here; known: {known}")))
    }
}

/// A time in RFC 3339, in any offset. A plus sign that was not escaped comes as a blank, and is taken for one.
///
/// # Errors
/// When it is none.
pub fn instant(text: &str) -> Result<jiff::Timestamp, jiff::Error> {
    text.parse().or_else(|_| text.replace(' ', "+").parse())
}

/// A segment of the path, decoded; the first is 0.
///
/// # Errors
/// When it is not URL-encoded UTF-8.
pub fn segment(uri: &Uri, index: usize) -> Result<String, Problem> {
    let raw = uri.path().split('/').nth(index + 1).unwrap_or_default();
    percent_decoded(raw).ok_or_else(|| Problem::new(&INVALID_ID, "the path is not URL-encoded UTF-8"))
}

/// The id in the path `/v1/<plural>/<id>/…`.
///
/// # Errors
/// When it is no UUID.
pub fn id(uri: &Uri) -> Result<Uuid, Problem> {
    let text = segment(uri, 2)?;
    Uuid::parse_str(&text).map_err(|_| Problem::new(&INVALID_ID, "the id in the path must be a UUID"))
}

/// Undoes `%XX`; `None` when what comes out is not UTF-8.
pub fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = (*first == b'%').then(|| tail.get(..2)).flatten();
        let hex = hex.filter(|hex| hex.iter().all(u8::is_ascii_hexdigit)).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(out).ok()
}

impl Services {
    /// The wait of a request that takes nothing else in its query string.
    pub(super) fn wait_of(&self, uri: &Uri, default: Wait) -> Result<(Wait, Duration), Problem> {
        let mut params = Params::of(uri)?;
        let wait = params.wait(default, &self.settings)?;
        params.finish()?;
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        Params::of(&format!("/x?{query}").parse().unwrap()).unwrap()
    }

    #[test]
    fn a_parameter_that_nobody_asked_for_is_an_error_that_lists_the_known() {
        let mut params = params("limit=5&colour=red");
        assert_eq!(params.limit(), Ok(5));
        let problem = params.finish().unwrap_err();
        assert_eq!(problem.kind, &INVALID_QUERY);
        assert_eq!(problem.detail, "there is no parameter \"colour\" here; known: limit");
    }

    #[test]
    fn limits_and_waits_are_bounded() {
        for bad in ["limit=0", "limit=1001", "limit=-1", "limit=ten", "limit=", "limit=1&limit=2"] {
            assert!(params(bad).limit().is_err(), "{bad}");
        }
        let settings = ApiSettings::default();
        assert_eq!(
            params("wait=projected&timeout_ms=250").wait(Wait::Accepted, &settings),
            Ok((Wait::Projected, Duration::from_millis(250)))
        );
        assert_eq!(params("").wait(Wait::Applied, &settings), Ok((Wait::Applied, Duration::from_secs(5))));
        assert!(params("timeout_ms=30001").wait(Wait::Accepted, &settings).is_err());
        assert!(params("wait=forever").wait(Wait::Accepted, &settings).is_err());
    }

    #[test]
    fn path_segments_are_decoded() {
        let uri: Uri = "/v1/outcomes/a%20b%2Fc%zz%+f%".parse().unwrap();
        assert_eq!(segment(&uri, 2), Ok("a b/c%zz%+f%".to_owned()));
        assert!(segment(&"/v1/outcomes/%ff".parse().unwrap(), 2).is_err());
        assert!(id(&"/v1/agents/42".parse().unwrap()).is_err());
    }
}
