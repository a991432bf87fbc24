//! `/v1/batches`: a file's requests, carried out within a day.

use super::fault::Fault;
use super::files::{apply, completions, found, not_found, page, page_of, respond};
use super::form::{check_media, tenant};
use super::{Completions, shown};
use crate::api::access::Loopback;
use crate::api::params::{self, Params};
use crate::api::{Services, body};
use crate::domain::llm_batch::{BatchFile, CancelBatch, Command, StartBatch, WINDOW_MS_MAX, line};
use crate::domain::llm_request::Operation;
use crate::domain::{Aggregate, StreamId};
use crate::flow::gateway::Wait;
use crate::flow::query::Filter;
use axum::extract::Request;
use axum::response::Response;
use hyper::StatusCode;
use hyper::http::request::Parts;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Most batches of a page, as OpenAI's, and how many where the caller does not say.
const LIMIT_MAX: u64 = 100;
const LIMIT_DEFAULT: u64 = 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    input_file_id: String,
    endpoint: String,
    completion_window: String,
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
}

pub async fn create(services: &Services, loopback: Loopback, request: Request) -> Response {
    let created = async {
        let completions = completions(services)?;
        let (head, body) = request.into_parts();
        let tenant = tenant(&head.headers, loopback)?;
        check_media(&head.headers)?;
        let body = body::read(&head.headers, body, &services.settings).await?;
        let form: Form = serde_json::from_slice(&body).map_err(|error| {
            let shape = "input_file_id, endpoint, completion_window and, if you like, metadata (texts)";
            Fault::invalid("body", format!("the body must be a JSON object with {shape}: {error}"))
        })?;
        let operation = line::operation(&form.endpoint).ok_or_else(|| {
            let all = [Operation::ChatCompletion, Operation::Embeddings].map(line::url).join(", ");
            Fault::invalid("endpoint", format!("must be one of: {all}"))
        })?;
        if form.completion_window != "24h" {
            return Err(Fault::invalid("completion_window", "must be 24h"));
        }
        let named = shown::read_file_id(&form.input_file_id).filter(|(_, file)| *file == BatchFile::Input);
        let no_file = || not_found(format!("No such File object: {}", form.input_file_id));
        let (id, _) = named.ok_or_else(no_file)?;
        let stream = StreamId::new(tenant, Aggregate::LlmBatch, id);
        let start = StartBatch { operation, window_ms: WINDOW_MS_MAX, metadata: form.metadata.unwrap_or_default() };
        let applied = apply(services, stream, Command::StartBatch(start), Wait::Projected).await;
        applied.map_err(|fault| if fault.status == StatusCode::NOT_FOUND { no_file() } else { fault })?;
        shown_batch(completions, stream).await
    };
    respond(created.await)
}

pub async fn retrieve(services: &Services, loopback: Loopback, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let found = async { shown_batch(completions(services)?, named(loopback, &head)?).await };
    respond(found.await)
}

pub async fn cancel(services: &Services, loopback: Loopback, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let cancelled = async {
        let (completions, stream) = (completions(services)?, named(loopback, &head)?);
        shown_batch(completions, stream).await?;
        apply(services, stream, Command::CancelBatch(CancelBatch {}), Wait::Projected).await?;
        shown_batch(completions, stream).await
    };
    respond(cancelled.await)
}

pub async fn list(services: &Services, loopback: Loopback, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let listed = async {
        completions(services)?;
        let tenant = tenant(&head.headers, loopback)?;
        let mut params = Params::of(&head.uri)?;
        let limit = params.number("limit", 1, LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT) as usize;
        let after = params.one("after")?;
        params.finish()?;
        let after = after.map(|id| shown::read_batch_id(&id).ok_or_else(|| no_batch(&id))).transpose()?;
        let filters = vec![Filter { name: "batch".to_owned(), values: vec!["yes".to_owned()] }];
        let (streams, has_more) = page(services, tenant, filters, after, limit).await?;
        let batches = streams.iter().filter_map(|(id, state)| shown::batch(*id, state));
        Ok(page_of(batches.collect(), has_more))
    };
    respond(listed.await)
}

async fn shown_batch(completions: &Completions, stream: StreamId) -> Result<Value, Fault> {
    let missing = || no_batch(&shown::batch_id(stream.id));
    let state = found(completions, stream).await.map_err(|fault| match fault.status {
        StatusCode::NOT_FOUND => missing(),
        _ => fault,
    })?;
    shown::batch(stream.id, &state).ok_or_else(missing)
}

fn named(loopback: Loopback, head: &Parts) -> Result<StreamId, Fault> {
    let tenant = tenant(&head.headers, loopback)?;
    let name = params::segment(&head.uri, 2)?;
    let id = shown::read_batch_id(&name).ok_or_else(|| no_batch(&name))?;
    Ok(StreamId::new(tenant, Aggregate::LlmBatch, id))
}

fn no_batch(id: &str) -> Fault {
    not_found(format!("No batch found with id '{id}'."))
}
