//! `POST /v1/chat/completions` and `/v1/embeddings`.

use super::fault::{Fault, elsewhere};
use super::form::{Form, tenant};
use super::{Completions, answer, form, nobody, replay, wrong};
use crate::api::access::Loopback;
use crate::api::{Services, body};
use crate::domain::common::PromptStorage;
use crate::domain::llm_request::{self, Operation, Submission, SubmitRequest};
use crate::domain::personal::Personal;
use crate::domain::{Aggregate, AnyCommand, Envelope, Rejection, StreamId, TenantId};
use crate::flow::gateway::{self, Wait};
use crate::flow::request::engine::{NotSubmitted, Submit};
use crate::flow::request::resolve::{Asked, Refused};
use crate::ports::topic::Accepted;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use std::sync::Arc;
use uuid::Uuid;

/// Ids that are tried for one that falls into a certain log. Of 1,024 logs, 20,000 tries miss one once in 300 million.
const TRIES_MAX: u128 = 20_000;

pub async fn post(services: &Services, loopback: Loopback, operation: Operation, request: Request) -> Response {
    match carry_out(services, loopback, operation, request).await {
        Ok(response) => response,
        Err(fault) => fault.into_response(),
    }
}

async fn carry_out(
    services: &Services,
    loopback: Loopback,
    operation: Operation,
    request: Request,
) -> Result<Response, Fault> {
    let completions = services.completions.as_ref().ok_or_else(elsewhere)?;
    let (head, body) = request.into_parts();
    let tenant = tenant(&head.headers, loopback)?;
    form::check_media(&head.headers)?;
    let body = body::read(&head.headers, body, &services.settings).await?;
    let Form { mut asked, idempotency_key } = Form::read(&head.headers, tenant, operation, &body)?;
    let is_stream = asked.stream;
    let Some(key) = idempotency_key else {
        asked.request_id = drawn(services, completions, tenant);
        asked.awaited = true;
        let stream = request_stream(&asked);
        let submit = submit(services, completions, asked.clone(), body).await?;
        return match completions.engine.submit(submit.clone()).await {
            Ok(reply) => Ok(answer::of(reply, stream, is_stream, &completions.answers).await?),
            // No log of requests is this node's yet, or all are others': they carry it out.
            Err(NotSubmitted::NotOwned) => {
                let message = "this node owns no log of requests; send the request again, or to another node";
                by_topic(services, submit, || Fault::unavailable(message)).await?;
                Ok(answer::named(replay::wait(services, stream, &asked).await?, stream.id))
            }
            Err(error) => Err(error.into()),
        };
    };
    asked.request_id = of_key(tenant, &key);
    let stream = request_stream(&asked);
    // What the key was used for before is told again, and not done again.
    if let Some(told) = replay::told(services, stream, &asked).await? {
        return Ok(answer::named(told, stream.id));
    }
    let submit = submit(services, completions, asked.clone(), body).await?;
    let response = match completions.engine.submit(submit.clone()).await {
        Ok(reply) => match answer::of(reply, stream, is_stream, &completions.answers).await {
            Ok(response) => response,
            Err(rejection) if is_there(&rejection) => replay::wait(services, stream, &asked).await?,
            Err(rejection) => return Err(rejection.into()),
        },
        Err(NotSubmitted::Repeated) => replay::wait(services, stream, &asked).await?,
        Err(NotSubmitted::NotOwned) => {
            by_topic(services, submit, key_of_another).await?;
            replay::wait(services, stream, &asked).await?
        }
        Err(error) => return Err(error.into()),
    };
    Ok(answer::named(response, stream.id))
}

/// Whether a refusal says that the request is on record already, as the views may not show yet.
fn is_there(rejection: &Rejection) -> bool {
    ["already_exists", "request_ended", "stale_attempt", "attempt_open"].contains(&rejection.code.as_str())
}

/// The request that a key stands for.
fn of_key(tenant: TenantId, key: &str) -> Uuid {
    Uuid::new_v5(&tenant.0, format!("completion/{key}").as_bytes())
}

fn request_stream(asked: &Asked) -> StreamId {
    StreamId::new(asked.tenant, Aggregate::LlmRequest, asked.request_id)
}

/// An id of a request that this node carries out itself, or any where it owns no log. Of one that was drawn, the last bits
/// are varied until it falls into the log: all of them are random, and they stay so.
fn drawn(services: &Services, completions: &Completions, tenant: TenantId) -> Uuid {
    let drawn = (services.ids)();
    let Some(log) = completions.engine.next_log() else { return drawn };
    let is_there = |id: &Uuid| StreamId::new(tenant, Aggregate::LlmRequest, *id).log(completions.partitions) == log;
    let mut varied = (0..TRIES_MAX).map(|bits| Uuid::from_u128(drawn.as_u128() ^ bits));
    varied.find(is_there).unwrap_or(drawn)
}

async fn submit(services: &Services, completions: &Completions, asked: Asked, payload: Bytes) -> Result<Submit, Fault> {
    let stream = request_stream(&asked);
    let tenant = asked.tenant;
    let submission = match completions.resolver.submission(asked).await {
        Ok(submission) => submission,
        Err(error) => return Err(nobody::or_else(completions, tenant, refused(error, &payload)).await),
    };
    let command = llm_request::Command::SubmitRequest(kept(submission));
    // An id of its own: the same request again has another deadline, and is no other request for that.
    let envelope = Envelope { source: "openai-api".to_owned(), ..Envelope::new((services.ids)(), stream) };
    let accepted = Accepted::new(envelope, AnyCommand::from(command));
    let command = Arc::new(accepted.map_err(|error| Fault::unavailable(error.to_string()))?);
    Ok(Submit { command, payload })
}

/// What of a payload is refused is said of the field that it is, where that can be seen.
fn refused(refused: Refused, payload: &[u8]) -> Fault {
    let is_payload = |rejection: &Rejection| rejection.details.get("field").is_some_and(|field| field == "payload");
    let wrong = match &refused {
        Refused::Rejected(rejection) if is_payload(rejection) => std::str::from_utf8(payload).ok().and_then(wrong::of),
        _ => None,
    };
    wrong.unwrap_or_else(|| refused.into())
}

/// The command, with no more of the payload than the tenant lets be stored.
fn kept(submission: Submission) -> SubmitRequest {
    let storage = submission.storage;
    let mut command = SubmitRequest::from(submission);
    if storage != PromptStorage::Full {
        command.payload = Personal::Absent;
    }
    if storage == PromptStorage::None {
        command.payload_sha256 = None;
    }
    command
}

fn key_of_another() -> Fault {
    Fault::conflict(
        "key_of_another_node",
        "this Idempotency-Key belongs to another node's log, and a prompt that is not stored cannot be sent there; \
         send the request without a key, or let the tenant store prompts with SetPromptStorage",
    )
}

/// Sends a request of another node's log to it, payload and all: the topic is the only way there. `unsendable` says what
/// is wrong where the payload is not to be stored.
async fn by_topic(services: &Services, submit: Submit, unsendable: impl FnOnce() -> Fault) -> Result<(), Fault> {
    let AnyCommand::LlmRequest(command) = &*submit.command.command else { return Err(elsewhere()) };
    if let llm_request::Command::SubmitRequest(command) = &**command
        && command.payload.is_absent()
    {
        return Err(unsendable());
    }
    let submission = gateway::Submission {
        envelope: (*submit.command.envelope).clone(),
        command: (*submit.command.command).clone(),
    };
    let timeout = services.settings.wait_timeout;
    let outcomes = services.gateway.submit(vec![submission], Wait::Applied, timeout).await;
    let outcomes = outcomes.map_err(|error| Fault::from(crate::api::Problem::from(error)))?;
    match outcomes.into_iter().next().and_then(|outcome| outcome.reason) {
        Some(rejection) if !is_there(&rejection) => Err(rejection.into()),
        _ => Ok(()),
    }
}
