//! Errors as OpenAI's API gives them: `{"error": {"message", "type", "param", "code"}}`.

use crate::api::problem::{self, Problem};
use crate::domain::Rejection;
use crate::flow::request::engine::{Failure, NotSubmitted};
use crate::flow::request::resolve::Refused;
use crate::ports::llm::Complaint;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue, RETRY_AFTER};
use std::time::Duration;

/// Tells a client of OpenAI whether to send the request again by itself.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const REQUEST: &str = "invalid_request_error";

/// An error on its way to the caller.
#[derive(Debug)]
pub struct Fault {
    pub status: StatusCode,
    pub complaint: Complaint,
    pub retry_after: Option<Duration>,
    /// Whether sending it again can help. What was tried as often as it may be is not sent again.
    pub is_final: bool,
}

impl Fault {
    pub fn new(status: StatusCode, kind: &str, code: &str, message: impl Into<String>) -> Self {
        let complaint =
            Complaint { message: message.into(), kind: kind.to_owned(), param: None, code: Some(code.to_owned()) };
        Self { status, complaint, retry_after: None, is_final: status.as_u16() < 500 }
    }

    pub fn invalid(param: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, REQUEST, "invalid_value", message).of(param)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        let fault = Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", "unavailable", message);
        Self { retry_after: Some(Duration::from_secs(1)), ..fault }
    }

    pub fn conflict(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, REQUEST, code, message)
    }

    fn of(mut self, param: &str) -> Self {
        self.complaint.param = Some(param.to_owned());
        self
    }

    /// The body alone, for the middle of a stream.
    pub fn body(&self) -> Bytes {
        self.complaint.to_json().into()
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        let status = problem.kind.status;
        let kind = if status.is_server_error() { "server_error" } else { REQUEST };
        Self { retry_after: problem.retry_after, ..Self::new(status, kind, problem.kind.code, problem.detail) }
    }
}

impl From<crate::flow::query::Error> for Fault {
    fn from(error: crate::flow::query::Error) -> Self {
        Problem::from(error).into()
    }
}

impl From<Rejection> for Fault {
    fn from(rejection: Rejection) -> Self {
        let status = match rejection.code.as_str() {
            "invalid" => StatusCode::BAD_REQUEST,
            "not_found" => StatusCode::NOT_FOUND,
            "already_exists" => StatusCode::CONFLICT,
            "deadline_passed" => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::FORBIDDEN,
        };
        // What commands call the payload is the body here.
        let message = match rejection.message.strip_prefix("payload: ") {
            Some(why) => format!("the body {why}"),
            None => rejection.message.trim_start_matches("payload.").to_owned(),
        };
        let fault = Self::new(status, REQUEST, &rejection.code, message);
        let fault = match rejection.details.get("field").map(String::as_str) {
            Some("payload") => fault.of("body"),
            Some(field) => fault.of(field.strip_prefix("payload.").unwrap_or(field)),
            None => fault,
        };
        Self { is_final: true, ..fault }
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::UnknownModel(message) => {
                Self::new(StatusCode::NOT_FOUND, REQUEST, "model_not_found", message).of("model")
            }
            Refused::Rejected(rejection) => rejection.into(),
            Refused::Index(error) => Problem::from(crate::flow::query::Error::from(error)).into(),
        }
    }
}

impl From<NotSubmitted> for Fault {
    fn from(error: NotSubmitted) -> Self {
        let message = error.to_string();
        match error {
            NotSubmitted::Full { retry_after } => {
                let message = format!("too many requests are waiting; try again in {} s", seconds(retry_after));
                let fault = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "queue_full", message);
                Self { retry_after: Some(retry_after), is_final: false, ..fault }
            }
            NotSubmitted::NoRequest => Self::invalid("model", message),
            NotSubmitted::Repeated => Self::conflict("under_way", message),
            NotSubmitted::NotOwned | NotSubmitted::Stopping => Self::unavailable(message),
        }
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        let status = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let kind = match status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            _ if status.is_server_error() => "server_error",
            _ => REQUEST,
        };
        let own = Self::new(status, kind, &failure.code, failure.message);
        let complaint = failure.complaint.unwrap_or(own.complaint);
        // It was tried as often as its deadline and its models allow.
        Self { complaint, retry_after: failure.retry_after, is_final: true, ..own }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = super::super::answer::json(self.status, self.body());
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds(wait)));
            headers.insert(RETRY_AFTER_MS, HeaderValue::from(wait.as_millis() as u64));
        }
        headers.insert(SHOULD_RETRY, HeaderValue::from_static(if self.is_final { "false" } else { "true" }));
        response
    }
}

/// Whole seconds, rounded up: coming back too early is refused again.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// A node without the role.
pub fn elsewhere() -> Fault {
    let message = "this node carries no requests out; send them to a node that runs `agentverse work`";
    Fault::new(problem::NO_SUCH_ROUTE.status, REQUEST, problem::NO_SUCH_ROUTE.code, message)
}
