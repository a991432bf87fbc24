//! Errors as Confluent's registry gives them: `{"error_code", "message"}`, the code being a status, or one with two more
//! digits that says which of its kind it is.

use super::written;
use crate::api::problem::Problem;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use serde_json::json;

/// An error on its way to the caller.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub status: StatusCode,
    /// Programs match on it.
    pub code: u32,
    /// A sentence that says what to do.
    pub message: String,
}

impl Fault {
    /// An error with no code but its status.
    pub fn plain(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, code: u32::from(status.as_u16()), message: message.into() }
    }

    pub fn no_subject(subject: &str) -> Self {
        let message = format!(
            "there is no subject {subject:?}; a subject is a record's full name (RecordNameStrategy), as in \
             agentverse.agent.RegisterAgent"
        );
        Self { status: StatusCode::NOT_FOUND, code: 40_401, message }
    }

    pub fn no_version(subject: &str, number: &str) -> Self {
        let message = format!("{subject} has no version {number}");
        Self { status: StatusCode::NOT_FOUND, code: 40_402, message }
    }

    pub fn no_schema(message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, code: 40_403, message: message.into() }
    }

    pub fn incompatible(message: impl Into<String>) -> Self {
        Self::plain(StatusCode::CONFLICT, message)
    }

    pub fn invalid_schema(message: impl Into<String>) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, code: 42_201, message: message.into() }
    }

    pub fn invalid_version(number: &str) -> Self {
        let message = format!("{number:?} is no version; it must be a number from 1 on, or latest");
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, code: 42_202, message }
    }

    /// Of what would change something.
    pub fn not_permitted(why: impl Into<String>) -> Self {
        let message =
            format!("the schemas of this registry come with the program and cannot be changed; {}", why.into());
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, code: 42_205, message }
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self::plain(problem.kind.status, problem.detail)
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        written(self.status, json!({ "error_code": self.code, "message": self.message }).to_string())
    }
}
