//! `/v1/files`: files of requests, and what their batches made of them.

use super::fault::{Fault, elsewhere};
use super::form::tenant;
use super::{Completions, shown, upload};
use crate::api::access::Loopback;
use crate::api::params::{self, Params};
use crate::api::{Problem, Services, answer};
use crate::domain::llm_batch::{BatchFile, Command, DeleteBatchFile, State};
use crate::domain::{Aggregate, AnyState, Envelope, Rejection, StreamId, TenantId};
use crate::flow::batch::output::Reader;
use crate::flow::gateway::{Submission, Wait};
use crate::flow::outcome::OutcomeKind;
use crate::flow::query::{self, Filter, ListQuery, Place, Reach};
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use serde_json::{Value, json};
use uuid::Uuid;

/// Most files of a page, as OpenAI's, and how many where the caller does not say.
const LIMIT_MAX: u64 = 10_000;
const LIMIT_DEFAULT: u64 = 1_000;
/// How often a command is waited for.
const WAITS: usize = 3;

pub async fn create(services: &Services, loopback: Loopback, request: Request) -> Response {
    let created = async {
        let completions = completions(services)?;
        let tenant = tenant(request.headers(), loopback)?;
        let stream = upload::take(services, tenant, request).await?;
        let state = found(completions, stream).await?;
        Ok(shown::file(stream.id, &state, BatchFile::Input))
    };
    respond(created.await)
}

pub async fn retrieve(services: &Services, loopback: Loopback, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let found = async {
        let (stream, file) = named(loopback, &head)?;
        let state = file_of(completions(services)?, stream, file).await?;
        Ok(shown::file(stream.id, &state, file))
    };
    respond(found.await)
}

pub async fn delete(services: &Services, loopback: Loopback, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let deleted = async {
        let (stream, file) = named(loopback, &head)?;
        file_of(completions(services)?, stream, file).await?;
        let command = Command::DeleteBatchFile(DeleteBatchFile { file });
        apply(services, stream, command, Wait::Projected).await?;
        Ok(json!({ "id": shown::file_id(stream.id, file), "object": "file", "deleted": true }))
    };
    respond(deleted.await)
}

/// The file itself. A failure in the middle cuts the connection: the status is told by then.
pub async fn content(services: &Services, loopback: Loopback, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let opened = async {
        let (stream, file) = named(loopback, &head)?;
        let completions = completions(services)?;
        let state = file_of(completions, stream, file).await?;
        let (index, partitions) = (completions.index.clone(), completions.partitions);
        let reader = Reader::new(index, partitions, stream, &state, file).await;
        let mut reader = reader.map_err(query::Error::from)?;
        let first = reader.next().await.map_err(query::Error::from)?.unwrap_or_default();
        Ok::<_, Fault>((first, reader))
    };
    let (first, reader) = match opened.await {
        Ok(opened) => opened,
        Err(fault) => return fault.into_response(),
    };
    let chunks = stream::unfold((Some(first), reader), async |(first, mut reader): (Option<Bytes>, Reader)| {
        let next = match first {
            Some(first) => Ok(Some(first)),
            None => reader.next().await,
        };
        Some((next.transpose()?, (None, reader)))
    });
    let mut response = Body::from_stream(chunks).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/jsonl"));
    response
}

pub async fn list(services: &Services, loopback: Loopback, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let listed = async {
        let tenant = tenant(&head.headers, loopback)?;
        let completions = completions(services)?;
        let mut params = Params::of(&head.uri)?;
        let limit = params.number("limit", 1, LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT) as usize;
        let purposes = [("batch", true), ("batch_output", false)];
        let purpose = params.choice("purpose", &purposes)?;
        params.choice("order", &[("asc", ())])?;
        let after = params.one("after")?;
        params.finish()?;
        let wanted: Vec<BatchFile> = BatchFile::ALL
            .into_iter()
            .filter(|file| purpose.is_none_or(|is_input| is_input == (*file == BatchFile::Input)))
            .collect();
        let after = after.map(|id| shown::read_file_id(&id).ok_or_else(|| no_file(&id))).transpose()?;
        let mut files = Vec::new();
        if let Some((id, last)) = after {
            let state = found(completions, StreamId::new(tenant, Aggregate::LlmBatch, id)).await?;
            let rest = wanted.iter().filter(|file| **file as u8 > last as u8 && state.has(**file));
            files.extend(rest.map(|file| shown::file(id, &state, *file)));
        }
        let names = wanted.iter().map(|file| file.name().to_owned()).collect();
        let filters = vec![Filter { name: "file".to_owned(), values: names }];
        let (streams, mut has_more) = page(services, tenant, filters, after.map(|(id, _)| id), limit).await?;
        for (id, state) in streams {
            files.extend(wanted.iter().filter(|file| state.has(**file)).map(|file| shown::file(id, &state, *file)));
        }
        has_more |= files.len() > limit;
        files.truncate(limit);
        Ok(page_of(files, has_more))
    };
    respond(listed.await)
}

/// A page of a tenant's streams, the oldest first.
///
/// # Errors
/// When the views do not answer.
pub async fn page(
    services: &Services,
    tenant: TenantId,
    filters: Vec<Filter>,
    after: Option<Uuid>,
    limit: usize,
) -> Result<(Vec<(Uuid, State)>, bool), Fault> {
    let ask = ListQuery {
        aggregate: Aggregate::LlmBatch,
        reach: Reach::Tenants(vec![tenant]),
        ids: None,
        filters,
        updated_since: None,
        after: after.map(|id| Place { tenant, id }),
        limit,
    };
    let page = services.query.list(&ask).await?;
    let states = page.items.into_iter().filter_map(|item| match item.state {
        AnyState::LlmBatch(state) => Some((item.stream.id, *state)),
        _ => None,
    });
    Ok((states.collect(), page.next.is_some()))
}

/// A list as OpenAI's.
pub fn page_of(data: Vec<Value>, has_more: bool) -> Value {
    let id = |item: Option<&Value>| item.map(|item| item["id"].clone());
    json!({ "object": "list", "first_id": id(data.first()), "last_id": id(data.last()), "has_more": has_more, "data": data })
}

/// What carries requests out.
///
/// # Errors
/// On a node that does not.
pub fn completions(services: &Services) -> Result<&Completions, Fault> {
    services.completions.as_ref().ok_or_else(elsewhere)
}

/// The state of a stream, as the index has it: what this caller has done is in it.
///
/// # Errors
/// When there is none.
pub async fn found(completions: &Completions, stream: StreamId) -> Result<State, Fault> {
    let log = stream.log(completions.partitions);
    let heads = completions.index.heads(log, &[stream]).await.map_err(query::Error::from)?;
    let state = heads.into_iter().flatten().next().map(|head| head.state_of(stream.aggregate)).transpose();
    match state.map_err(query::Error::from)? {
        Some(AnyState::LlmBatch(state)) => Ok(*state),
        _ => Err(not_found(format!("there is no batch and no file {} in this tenant", stream.id))),
    }
}

async fn file_of(completions: &Completions, stream: StreamId, file: BatchFile) -> Result<State, Fault> {
    let missing = || no_file(&shown::file_id(stream.id, file));
    let state = found(completions, stream).await.map_err(|fault| match fault.status {
        StatusCode::NOT_FOUND => missing(),
        _ => fault,
    })?;
    if state.has(file) { Ok(state) } else { Err(missing()) }
}

fn named(loopback: Loopback, head: &Parts) -> Result<(StreamId, BatchFile), Fault> {
    let tenant = tenant(&head.headers, loopback)?;
    let name = params::segment(&head.uri, 2)?;
    let (id, file) = shown::read_file_id(&name).ok_or_else(|| no_file(&name))?;
    Ok((StreamId::new(tenant, Aggregate::LlmBatch, id), file))
}

fn no_file(id: &str) -> Fault {
    not_found(format!("No such File object: {id}"))
}

pub fn not_found(message: String) -> Fault {
    Fault::new(StatusCode::NOT_FOUND, "invalid_request_error", "not_found", message)
}

pub fn submission(command_id: Uuid, stream: StreamId, command: Command) -> Submission {
    let envelope = Envelope { source: "openai-api".to_owned(), ..Envelope::new(command_id, stream) };
    Submission { envelope, command: command.into() }
}

/// Has a command decided.
///
/// # Errors
/// When it is refused, or not decided in time.
pub async fn apply(services: &Services, stream: StreamId, command: Command, wait: Wait) -> Result<(), Fault> {
    let command_id = (services.ids)();
    for _ in 0..WAITS {
        let submission = submission(command_id, stream, command.clone());
        let outcomes = services.gateway.submit(vec![submission], wait, services.settings.wait_timeout).await;
        let outcome = outcomes.map_err(Problem::from)?.into_iter().next();
        match outcome.map(|outcome| (outcome.kind, outcome.reason)) {
            Some((OutcomeKind::Applied, _)) => return Ok(()),
            Some((_, Some(rejection))) => return Err(fault(rejection)),
            // The same command again finds its first outcome.
            _ => {}
        }
    }
    Err(Fault::unavailable("the fleet did not decide this in time; send it again"))
}

/// Most of what a log refuses of a batch is, in OpenAI's words, a bad request.
fn fault(rejection: Rejection) -> Fault {
    match rejection.code.as_str() {
        "tenant_suspended" | "tenant_closed" | "invalid" | "not_found" | "already_exists" => rejection.into(),
        "batch_running" | "batch_ended" => Fault::conflict(&rejection.code, rejection.message),
        code => Fault::new(StatusCode::BAD_REQUEST, "invalid_request_error", code, rejection.message),
    }
}

pub fn respond(result: Result<Value, Fault>) -> Response {
    match result {
        Ok(value) => answer::json(StatusCode::OK, value.to_string()),
        Err(fault) => fault.into_response(),
    }
}
