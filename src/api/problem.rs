//! Errors of the HTTP surface: problem+json (RFC 9457) with a stable `type` and a sentence that says what to do.

use crate::flow::said::Said;
use crate::flow::{query, receive};
use crate::ports::{index, journal, search, topic, usage, views};
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// What was said of stores that are away: every request meets them.
static SAID: Mutex<Said> = Mutex::new(Said::nothing());

/// A kind of problem. `code` is stable: programs match on it, and on `type`, `/problems/<code>`.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    pub code: &'static str,
    pub status: StatusCode,
    pub title: &'static str,
}

macro_rules! kinds {
    ($($name:ident: $code:literal, $status:ident, $title:literal;)+) => {
        $(pub static $name: Kind = Kind { code: $code, status: StatusCode::$status, title: $title };)+

        /// Every kind there is.
        pub static KINDS: &[&Kind] = &[$(&$name),+];
    };
}

kinds! {
    MALFORMED: "malformed", BAD_REQUEST, "The request cannot be read";
    NOT_UTF8: "not_utf8", BAD_REQUEST, "The text is not UTF-8";
    INVALID_ATTRIBUTE: "invalid_attribute", BAD_REQUEST, "An attribute cannot have this value";
    UNKNOWN_TYPE: "unknown_type", BAD_REQUEST, "There is no such command";
    INVALID_DATA: "invalid_data", BAD_REQUEST, "The data does not fit the command's schema";
    UNKNOWN_SCHEMA: "unknown_schema", BAD_REQUEST, "The data was written by an unknown schema";
    UNSUPPORTED_MEDIA_TYPE: "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "The content type is not supported";
    BATCH_TOO_LARGE: "batch_too_large", PAYLOAD_TOO_LARGE, "The batch has too many commands";
    BODY_TOO_LARGE: "body_too_large", PAYLOAD_TOO_LARGE, "The body is too large";
    COMMAND_TOO_LARGE: "command_too_large", PAYLOAD_TOO_LARGE, "A command is too large";
    BODY_TIMEOUT: "body_timeout", REQUEST_TIMEOUT, "The body came too slowly";
    TENANT_REQUIRED: "tenant_required", BAD_REQUEST, "The request names no tenant";
    TENANT_MISMATCH: "tenant_mismatch", FORBIDDEN, "The request names two tenants";
    RESERVED_SOURCE: "reserved_source", FORBIDDEN, "The source is kept for the system";
    INVALID_QUERY: "invalid_query", BAD_REQUEST, "A query parameter is wrong";
    INVALID_CURSOR: "invalid_cursor", BAD_REQUEST, "The cursor does not belong to this query";
    INVALID_ID: "invalid_id", BAD_REQUEST, "The id is no UUID";
    INVALID_PRECONDITION: "invalid_precondition", BAD_REQUEST, "The If-Match header cannot be read";
    HISTORY_TOO_LONG: "history_too_long", BAD_REQUEST, "The history is too long to read from its beginning";
    NOT_FOUND: "not_found", NOT_FOUND, "There is no such resource";
    TENANT_NOT_FOUND: "tenant_not_found", NOT_FOUND, "There is no such tenant";
    NOT_YET_THERE: "not_yet_there", NOT_FOUND, "The resource was not there yet";
    NO_SUCH_VERSION: "no_such_version", NOT_FOUND, "The resource has no such version";
    NO_ANSWER: "no_answer", NOT_FOUND, "The request has no answer to show";
    NO_SUCH_ROUTE: "no_such_route", NOT_FOUND, "There is no such route";
    METHOD_NOT_ALLOWED: "method_not_allowed", METHOD_NOT_ALLOWED, "The route does not take this method";
    DECOMMISSIONED: "decommissioned", CONFLICT, "The agent is decommissioned";
    UNFIT_TO_REDRIVE: "unfit_to_redrive", CONFLICT, "The dead letter cannot be sent again";
    REDRIVEN_ALREADY: "redriven_already", CONFLICT, "The dead letter was sent again already";
    OVERLOADED: "overloaded", SERVICE_UNAVAILABLE, "Too many commands are waiting";
    UNAVAILABLE: "unavailable", SERVICE_UNAVAILABLE, "The service is not available";
    DAMAGED: "damaged", INTERNAL_SERVER_ERROR, "Stored data cannot be read";
}

/// An error on its way to the caller.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    pub kind: &'static Kind,
    /// A sentence that says what to do.
    pub detail: String,
    pub retry_after: Option<Duration>,
}

pub const CONTENT_TYPE_PROBLEM: &str = "application/problem+json";

impl Problem {
    pub fn new(kind: &'static Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), retry_after: None }
    }

    pub fn body(&self) -> serde_json::Value {
        serde_json::json!({
            "type": format!("/problems/{}", self.kind.code),
            "title": self.kind.title,
            "status": self.kind.status.as_u16(),
            "detail": self.detail,
            "code": self.kind.code,
        })
    }

    /// A store that failed: logged here, where it ends, for the caller is not told its innards.
    fn store(error: &dyn std::error::Error, damaged: bool) -> Self {
        if damaged {
            tracing::error!(%error, "stored data cannot be read");
            return Self::new(&DAMAGED, "what is stored here cannot be read; run `agentverse check`, and see the log");
        }
        if let Some(failures) = SAID.lock().count(Instant::now()) {
            tracing::warn!(%error, failures, "a store is not available");
        }
        let problem = Self::new(&UNAVAILABLE, "a store does not answer; try again shortly, and see the log");
        Self { retry_after: Some(Duration::from_secs(1)), ..problem }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.kind.status, self.body().to_string()).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE_PROBLEM));
        if let Some(after) = self.retry_after {
            // Whole seconds, rounded up: coming back too early is refused again.
            let seconds = after.as_millis().div_ceil(1000).max(1) as u64;
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The kind that tells of what was wrong with a command.
pub fn kind_of(code: receive::Code) -> &'static Kind {
    use receive::Code;
    match code {
        Code::Malformed => &MALFORMED,
        Code::NotUtf8 => &NOT_UTF8,
        Code::InvalidAttribute => &INVALID_ATTRIBUTE,
        Code::UnknownType => &UNKNOWN_TYPE,
        Code::InvalidData => &INVALID_DATA,
        Code::UnknownSchema => &UNKNOWN_SCHEMA,
        Code::UnsupportedMediaType => &UNSUPPORTED_MEDIA_TYPE,
        Code::BatchTooLarge => &BATCH_TOO_LARGE,
        Code::TenantRequired => &TENANT_REQUIRED,
        Code::TenantMismatch => &TENANT_MISMATCH,
        Code::ReservedSource => &RESERVED_SOURCE,
    }
}

impl From<receive::Problem> for Problem {
    fn from(problem: receive::Problem) -> Self {
        Self::new(kind_of(problem.code), problem.message)
    }
}

impl From<topic::Error> for Problem {
    fn from(error: topic::Error) -> Self {
        match error {
            topic::Error::Overloaded { retry_after } => {
                let problem =
                    Self::new(&OVERLOADED, "nothing of this request was taken; send it again after Retry-After");
                Self { retry_after: Some(retry_after), ..problem }
            }
            topic::Error::TooLarge(words) => {
                tracing::warn!(error = words, "a command is too large for its topic");
                Self::new(&COMMAND_TOO_LARGE, words)
            }
            topic::Error::Unavailable(_) => Self {
                detail: "the commands were not acknowledged as stored, and may or may not have been taken; send them \
                         again under the same ids after Retry-After"
                    .into(),
                ..Self::store(&error, false)
            },
        }
    }
}

impl From<query::Error> for Problem {
    fn from(error: query::Error) -> Self {
        use query::Error;
        let damaged = match &error {
            Error::TooLong => {
                let detail = format!("{error}; read it from its end with order=desc");
                return Self::new(&HISTORY_TOO_LONG, detail);
            }
            Error::TooFar { .. } => {
                let detail = format!(
                    "{error}, so it is told as it stands, without its past and without what its events changed; raise \
                     the setting folded_records_max"
                );
                return Self::new(&HISTORY_TOO_LONG, detail);
            }
            Error::Damaged { .. } => true,
            Error::Views(error) => matches!(error, views::Error::Damaged(_)),
            Error::Usage(error) => matches!(error, usage::Error::Damaged(_)),
            Error::Index(error) => matches!(error, index::Error::Damaged(_)),
            Error::Journal(error) => matches!(error, journal::Error::Damaged { .. }),
            Error::Topics(_) => false,
            Error::Search(search::Error::Building { .. }) => {
                let detail = format!("{error}; searches, sorts and counts answer once it is built, all else does now");
                return Self { retry_after: Some(Duration::from_secs(1)), ..Self::new(&UNAVAILABLE, detail) };
            }
            Error::Search(search::Error::Unavailable(_)) => {
                return Self::new(&UNAVAILABLE, format!("{error}; all else answers"));
            }
            Error::Search(error) => matches!(error, search::Error::Damaged(_)),
        };
        Self::store(&error, damaged)
    }
}
