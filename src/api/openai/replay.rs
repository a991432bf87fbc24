//! A request that is on record already: its answer is told again, and not paid again.

use super::answer::{expired, in_events};
use super::fault::Fault;
use crate::api::{Services, answer};
use crate::domain::llm_request::{State, Status, payload};
use crate::domain::{AnyState, StreamId};
use crate::flow::request::engine::Failure;
use crate::flow::request::resolve::Asked;
use axum::response::Response;
use hyper::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// Between two looks at a request under way: at first, and at most.
const LOOK: Duration = Duration::from_millis(20);
const LOOK_MAX: Duration = Duration::from_millis(500);
/// How long a request that others carry out is waited for beyond its deadline.
const BEYOND: Duration = Duration::from_secs(10);

/// What the record says of the request; `None` where there is none. Waits for one that is under way.
///
/// # Errors
/// When the key stands for another request, or nothing of the answer is kept.
pub async fn told(services: &Services, stream: StreamId, asked: &Asked) -> Result<Option<Response>, Fault> {
    match found(services, stream).await? {
        None => Ok(None),
        Some(state) => {
            check(&state, asked)?;
            wait(services, stream, asked).await.map(Some)
        }
    }
}

/// Waits for a request that this caller does not carry out, and tells what it came to.
///
/// # Errors
/// As [`told`], and when it takes longer than its deadline allows.
pub async fn wait(services: &Services, stream: StreamId, asked: &Asked) -> Result<Response, Fault> {
    let deadline_ms = asked.deadline_ms.unwrap_or_else(|| asked.priority.deadline_ms_default());
    let until = Instant::now() + Duration::from_millis(deadline_ms.unsigned_abs()) + BEYOND;
    let mut pause = LOOK;
    loop {
        if let Some(state) = found(services, stream).await?.filter(|state| !state.is_running()) {
            check(&state, asked)?;
            return ended(services, stream, &state, asked.stream).await;
        }
        if Instant::now() >= until {
            return Err(Fault::unavailable("the request was not carried out in time; ask again with the same key"));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_MAX);
    }
}

async fn found(services: &Services, stream: StreamId) -> Result<Option<State>, Fault> {
    let resource = services.query.get(stream).await?;
    Ok(resource.and_then(|resource| match resource.state {
        AnyState::LlmRequest(state) => Some(*state),
        _ => None,
    }))
}

/// The same key is the same request.
fn check(state: &State, asked: &Asked) -> Result<(), Fault> {
    let (request, sha256) = (&state.request, payload::sha256(&asked.payload));
    let is_same = request.operation == asked.operation
        && request.payload_bytes == asked.payload.len() as i64
        && request.payload_sha256.as_ref().is_none_or(|own| *own == sha256);
    if is_same {
        return Ok(());
    }
    Err(Fault::conflict("idempotency_key_reused", "this Idempotency-Key was used for another request; use a new one"))
}

async fn ended(services: &Services, stream: StreamId, state: &State, is_stream: bool) -> Result<Response, Fault> {
    match state.status {
        Status::Completed => {}
        Status::Expired => {
            let last = state.attempts.last().map(|attempt| attempt.error.as_str());
            return Err(expired(last.filter(|error| !error.is_empty())));
        }
        Status::Cancelled => return Err(Fault::conflict("cancelled", "the request was cancelled")),
        _ => {
            let message = if state.reason.is_empty() { "the request failed" } else { state.reason.as_str() };
            let (code, status) = (state.error.clone(), status_of(&state.error));
            return Err(Failure { code, message: message.into(), status, complaint: None, retry_after: None }.into());
        }
    }
    let Some(text) = services.query.answer(stream).await? else {
        let message = "the request was carried out, and its answer is not kept: the tenant keeps none, or it was larger \
                       than is kept; it is not carried out again";
        return Err(Fault::conflict("answer_not_stored", message));
    };
    Ok(if is_stream { in_events(chunk_of(&text).as_bytes()) } else { answer::json(StatusCode::OK, text) })
}

/// The HTTP status that the code of a failure stands for, as the node that carried the request out told it; but for an
/// error's own status at its provider, which is not on record.
fn status_of(code: &str) -> u16 {
    match code {
        "over_budget" | "rate_limited" | "quota" => 429,
        "too_large" | "price_unknown" | "bad_request" | "context_length" | "content_filter" => 400,
        "tenant_suspended" | "tenant_closed" => 403,
        "not_found" | "unknown_provider" | "unknown_model" | "provider_deregistered" => 404,
        "overloaded" | "prompt_gone" => 503,
        "not_started" => 500,
        _ if code.starts_with("timeout_") || code == "out_of_time" => 504,
        _ => 502,
    }
}

/// A whole answer as the only chunk of a stream.
fn chunk_of(text: &str) -> String {
    let Ok(mut answer) = serde_json::from_str::<Value>(text) else { return text.to_owned() };
    answer["object"] = json!("chat.completion.chunk");
    for choice in answer.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(choice) = choice.as_object_mut() else { continue };
        if let Some(message) = choice.remove("message") {
            choice.insert("delta".to_owned(), message);
        }
    }
    answer.to_string()
}
