//! What an operator asks: is it alive, is it ready, how is it doing.

use super::problem::{Problem, UNAVAILABLE};
use super::{Operator, answer};
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};

/// The process answers: nothing more is said.
pub fn alive() -> Response {
    answer::json(StatusCode::OK, r#"{"status":"ok"}"#)
}

/// # Errors
/// When something is missing that requests need.
pub fn ready(operator: &Operator) -> Result<Response, Problem> {
    match (operator.readiness)() {
        Ok(()) => Ok(answer::json(StatusCode::OK, r#"{"status":"ready"}"#)),
        Err(missing) => Err(Problem::new(&UNAVAILABLE, format!("not ready: {missing}"))),
    }
}

pub fn metrics(operator: &Operator) -> Response {
    let mut response = (operator.metrics)().into_response();
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response
}
