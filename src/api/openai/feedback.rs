//! `POST /v1/feedback`: what users say of answers.
//!
//! The request is named as its answer named it: by the header `AgentVerse-Request-Id`, or by the answer's own `id` on the
//! node that gave it. A rating is a command to the request, so it counts once and is in its history. Who rates may say so
//! in the header `ce-actor`: each actor has one rating of an answer, and may change it.

use super::fault::Fault;
use super::form::{check_media, tenant};
use crate::api::access::Loopback;
use crate::api::{Services, answer, body, commands};
use crate::domain::common::PromptStorage;
use crate::domain::llm_request::{Command, RateAnswer};
use crate::domain::personal::Personal;
use crate::domain::{Aggregate, AnyState, Envelope, StreamId, TenantId};
use crate::flow::gateway::{Submission, Wait};
use crate::flow::outcome::OutcomeKind;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

/// What a body says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Feedback {
    request_id: String,
    score: f64,
    #[serde(default)]
    comment: Option<String>,
}

pub async fn post(services: &Services, loopback: Loopback, request: Request) -> Response {
    match take(services, loopback, request).await {
        Ok(response) => response,
        Err(fault) => fault.into_response(),
    }
}

async fn take(services: &Services, loopback: Loopback, request: Request) -> Result<Response, Fault> {
    let (head, body) = request.into_parts();
    let tenant = tenant(&head.headers, loopback)?;
    check_media(&head.headers)?;
    let actor = commands::attributes(&head.headers)?.actor.map(std::borrow::Cow::into_owned);
    let body = body::read(&head.headers, body, &services.settings).await?;
    let Feedback { request_id, score, comment } = read(&body)?;
    let request_id = request_of(services, tenant, &request_id)?;
    let stream = StreamId::new(tenant, Aggregate::LlmRequest, request_id);
    let envelope = Envelope { source: "openai-api".into(), actor, ..Envelope::new((services.ids)(), stream) };
    let comment = match comment {
        // A command is durable as it is sent: what is not to be kept does not become part of one.
        Some(comment) if keeps_prompts(services, stream).await? => Personal::Plain(comment),
        _ => Personal::Absent,
    };
    let rating = RateAnswer { score, comment };
    let submission = Submission { envelope, command: Command::RateAnswer(rating).into() };
    let timeout = services.settings.wait_timeout;
    let outcomes = services.gateway.submit(vec![submission], Wait::Applied, timeout).await;
    let outcomes = outcomes.map_err(|error| Fault::from(crate::api::Problem::from(error)))?;
    let outcome = outcomes.into_iter().next();
    if let Some(rejection) = outcome.as_ref().and_then(|outcome| outcome.reason.clone()) {
        let is_too_early = rejection.code == "not_completed";
        return Err(if is_too_early { Fault::conflict("not_completed", rejection.message) } else { rejection.into() });
    }
    let is_done = outcome.is_some_and(|outcome| outcome.kind != OutcomeKind::Accepted);
    let status = if is_done { StatusCode::OK } else { StatusCode::ACCEPTED };
    let told = json!({ "object": "feedback", "request_id": request_id, "score": score });
    Ok(answer::json(status, told.to_string()))
}

/// Whether the request's prompt is kept, and so what is said of its answer; not where nothing is known of it yet.
async fn keeps_prompts(services: &Services, stream: StreamId) -> Result<bool, Fault> {
    let found = services.query.get(stream).await?;
    Ok(found.is_some_and(|resource| match resource.state {
        AnyState::LlmRequest(state) => state.request.storage == PromptStorage::Full,
        _ => false,
    }))
}

fn read(body: &[u8]) -> Result<Feedback, Fault> {
    serde_json::from_slice(body).map_err(|error| {
        // The parser's words may repeat the comment.
        let at = format!("line {}, column {}", error.line(), error.column());
        let message =
            format!(r#"send {{"request_id": TEXT, "score": 0 to 1, "comment": TEXT, where you like}}; see {at}"#);
        Fault::invalid("body", message)
    })
}

/// The request that is meant.
fn request_of(services: &Services, tenant: TenantId, text: &str) -> Result<Uuid, Fault> {
    let by_answer = || services.completions.as_ref()?.answers.request_of(tenant, text);
    by_answer().or_else(|| Uuid::parse_str(text).ok()).ok_or_else(|| {
        let message = "this node knows no answer of that id: give the request's own, which the answer has in its header \
                       AgentVerse-Request-Id";
        Fault::new(StatusCode::NOT_FOUND, "invalid_request_error", "not_found", message)
    })
}
