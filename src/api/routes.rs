//! The routes: one table, from which the router and the OpenAPI document are made.

use super::access::Loopback;
use super::problem::{NO_SUCH_ROUTE, Problem};
use super::{
    Operator, Services, astray, commands, convenience, discover, events, health, heartbeat, history, imports, letters,
    openai, openapi, outcomes, registry, resources, search, status, trace, usage,
};
use crate::domain::Aggregate;
use crate::domain::llm_request::Operation;
use crate::metrics::{Stopwatch, handles, http_request};
use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use std::sync::Arc;
use tracing::Instrument;

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Commands,
    Imports,
    /// A convenience route: makes this command, for a new stream or for the one in the path.
    Create(Aggregate, &'static str),
    Revise(Aggregate, &'static str),
    Perform(Aggregate, &'static str),
    List(Aggregate),
    /// How many, also by the values of a filter.
    Count(Aggregate),
    /// Who can do something.
    Discover(Aggregate),
    Get(Aggregate),
    History(Aggregate),
    /// The live feed.
    Events,
    Explain,
    /// Of a request to an LLM.
    Answer,
    Heartbeat,
    Outcome,
    /// What followed from one request.
    Trace,
    Usage,
    /// How this node's requests do.
    RequestsStatus,
    /// How this node's replica stands.
    ReplicaStatus,
    DeadLetters,
    DeadLetter,
    Redrive,
    /// OpenAI's API: chat completions, embeddings.
    Complete(Operation),
    /// What a user says of an answer.
    Rate,
    Models,
    Model,
    /// Files of requests, and the batches that they are.
    CreateFile,
    ListFiles,
    GetFile,
    FileContent,
    DeleteFile,
    CreateBatch,
    ListBatches,
    GetBatch,
    CancelBatch,
    /// A call of the built-in schema registry.
    Registry(registry::Call),
    Alive,
    Ready,
    Metrics,
    OpenApi,
}

impl Endpoint {
    /// Whether OpenAI's clients call it: its errors have OpenAI's form.
    pub fn is_openais(self) -> bool {
        let is_file =
            matches!(self, Self::CreateFile | Self::ListFiles | Self::GetFile | Self::FileContent | Self::DeleteFile);
        let is_batch = matches!(self, Self::CreateBatch | Self::ListBatches | Self::GetBatch | Self::CancelBatch);
        is_file || is_batch || matches!(self, Self::Complete(_) | Self::Rate | Self::Models | Self::Model)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    /// As OpenAPI writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }

    /// As requests write it, and metrics.
    fn verb(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
            Self::Patch => MethodFilter::PATCH,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub method: Method,
    /// With `{id}`, or `{*id}` or `{*model}` where it may hold slashes, for the only parameter that a path has; the registry's paths have more, of other names.
    pub path: String,
    pub endpoint: Endpoint,
}

/// A request under way, also when its caller goes away.
struct Open;

impl Open {
    fn new() -> Self {
        handles().http_open.increment(1.0);
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        handles().http_open.decrement(1.0);
    }
}

/// Every route there is.
pub fn table() -> Vec<Route> {
    let mut routes = Vec::new();
    let mut add = |method, path: String, endpoint| routes.push(Route { method, path, endpoint });
    add(Method::Post, "/v1/commands".into(), Endpoint::Commands);
    add(Method::Post, "/v1/imports".into(), Endpoint::Imports);
    add(Method::Get, "/v1/outcomes/{id}".into(), Endpoint::Outcome);
    add(Method::Get, format!("{}{{*id}}", trace::PREFIX), Endpoint::Trace);
    add(Method::Get, "/v1/events".into(), Endpoint::Events);
    add(Method::Get, "/v1/usage".into(), Endpoint::Usage);
    add(Method::Get, "/v1/status/requests".into(), Endpoint::RequestsStatus);
    add(Method::Get, "/v1/status/replica".into(), Endpoint::ReplicaStatus);
    for aggregate in discover::KINDS {
        add(Method::Get, format!("/v1/discover/{}", aggregate.plural()), Endpoint::Discover(aggregate));
    }
    add(Method::Get, "/v1/dead-letters".into(), Endpoint::DeadLetters);
    add(Method::Get, "/v1/dead-letters/{id}".into(), Endpoint::DeadLetter);
    add(Method::Post, "/v1/dead-letters/{id}/redrive".into(), Endpoint::Redrive);
    for aggregate in Aggregate::ALL.iter().copied() {
        let collection = format!("/v1/{}", aggregate.plural());
        let item = format!("{collection}/{{id}}");
        add(Method::Get, collection.clone(), Endpoint::List(aggregate));
        add(Method::Post, collection.clone(), Endpoint::Create(aggregate, convenience::creating(aggregate)));
        if aggregate.is_searched() {
            add(Method::Get, format!("{collection}/count"), Endpoint::Count(aggregate));
        }
        add(Method::Get, item.clone(), Endpoint::Get(aggregate));
        if let Some(command) = convenience::revising(aggregate) {
            add(Method::Patch, item.clone(), Endpoint::Revise(aggregate, command));
        }
        add(Method::Get, format!("{item}/history"), Endpoint::History(aggregate));
        for command in aggregate.commands() {
            let path = format!("{item}/{}", convenience::verb(aggregate, command));
            add(Method::Post, path, Endpoint::Perform(aggregate, command));
        }
    }
    add(Method::Get, "/v1/couplings/{id}/explain".into(), Endpoint::Explain);
    add(Method::Get, "/v1/llm-requests/{id}/answer".into(), Endpoint::Answer);
    add(Method::Post, "/v1/agents/{id}/heartbeat".into(), Endpoint::Heartbeat);
    add(Method::Post, "/v1/chat/completions".into(), Endpoint::Complete(Operation::ChatCompletion));
    add(Method::Post, "/v1/embeddings".into(), Endpoint::Complete(Operation::Embeddings));
    add(Method::Post, "/v1/feedback".into(), Endpoint::Rate);
    add(Method::Get, "/v1/models".into(), Endpoint::Models);
    // Names of models hold slashes.
    add(Method::Get, "/v1/models/{*model}".into(), Endpoint::Model);
    let (files, batches) = ("/v1/files", "/v1/batches");
    add(Method::Post, files.into(), Endpoint::CreateFile);
    add(Method::Get, files.into(), Endpoint::ListFiles);
    add(Method::Get, format!("{files}/{{id}}"), Endpoint::GetFile);
    add(Method::Delete, format!("{files}/{{id}}"), Endpoint::DeleteFile);
    add(Method::Get, format!("{files}/{{id}}/content"), Endpoint::FileContent);
    add(Method::Post, batches.into(), Endpoint::CreateBatch);
    add(Method::Get, batches.into(), Endpoint::ListBatches);
    add(Method::Get, format!("{batches}/{{id}}"), Endpoint::GetBatch);
    add(Method::Post, format!("{batches}/{{id}}/cancel"), Endpoint::CancelBatch);
    for (method, path, call) in registry::calls() {
        add(method, path, Endpoint::Registry(call));
    }
    add(Method::Get, "/healthz".into(), Endpoint::Alive);
    add(Method::Get, "/readyz".into(), Endpoint::Ready);
    add(Method::Get, "/metrics".into(), Endpoint::Metrics);
    add(Method::Get, "/openapi.json".into(), Endpoint::OpenApi);
    routes
}

/// The router over the services. `loopback` says whether only this machine can reach it.
pub fn router(services: &Arc<Services>, loopback: Loopback) -> Router {
    let router = table().into_iter().fold(Router::new(), |router, route| {
        let services = Arc::clone(services);
        let endpoint = route.endpoint;
        // One per route, for the life of the process: labels of metrics are borrowed for ever.
        let path: &'static str = Box::leak(route.path.clone().into_boxed_str());
        let method = route.method.verb();
        let handler = move |request: Request| {
            let services = Arc::clone(&services);
            let watch = Stopwatch::start();
            // Costs nothing while nobody listens to debug spans.
            let span = tracing::debug_span!("http", method = %request.method(), path = request.uri().path());
            async move {
                let _open = Open::new();
                let answer = serve(&services, loopback, endpoint, request).await;
                let answer = answer.unwrap_or_else(IntoResponse::into_response);
                http_request(method, path, answer.status().as_u16(), watch.elapsed());
                answer
            }
            .instrument(span)
        };
        router.route(&route.path, on(route.method.filter(), handler))
    });
    router
        .fallback(async |request: Request| astray::no_route(request.uri().path()))
        .method_not_allowed_fallback(async |request: Request| astray::no_method(request.uri().path()))
}

/// What a process answers that has no users, only an operator.
pub fn operator_router(operator: Operator) -> Router {
    let metrics = operator.clone();
    Router::new()
        .route("/healthz", on(MethodFilter::GET, async || health::alive()))
        .route("/readyz", on(MethodFilter::GET, async move || health::ready(&operator)))
        .route("/metrics", on(MethodFilter::GET, async move || health::metrics(&metrics)))
        .fallback(async || Problem::new(&NO_SUCH_ROUTE, "this process serves /healthz, /readyz and /metrics"))
}

async fn serve(
    services: &Arc<Services>,
    loopback: Loopback,
    endpoint: Endpoint,
    request: Request,
) -> Result<Response, Problem> {
    match endpoint {
        Endpoint::Commands => commands::post(services, loopback, request).await,
        Endpoint::Imports => imports::post(services, loopback, request).await,
        Endpoint::Create(aggregate, command) => {
            convenience::run(services, loopback, (aggregate, command), true, request).await
        }
        Endpoint::Revise(aggregate, command) | Endpoint::Perform(aggregate, command) => {
            convenience::run(services, loopback, (aggregate, command), false, request).await
        }
        Endpoint::List(aggregate) => resources::list(services, loopback, aggregate, request).await,
        Endpoint::Count(aggregate) => search::count(services, loopback, aggregate, request).await,
        Endpoint::Discover(aggregate) => discover::get(services, loopback, aggregate, request).await,
        Endpoint::Get(aggregate) => resources::get(services, loopback, aggregate, request).await,
        Endpoint::History(aggregate) => history::get(services, loopback, aggregate, request).await,
        Endpoint::Events => events::get(services, loopback, request).await,
        Endpoint::Explain => resources::explain(services, loopback, request).await,
        Endpoint::Answer => resources::answer_of(services, loopback, request).await,
        Endpoint::Heartbeat => heartbeat::post(services, loopback, request).await,
        Endpoint::Outcome => outcomes::get(services, loopback, request).await,
        Endpoint::Trace => trace::get(services, loopback, request).await,
        Endpoint::Usage => usage::list(services, loopback, request).await,
        Endpoint::RequestsStatus => status::requests(services, loopback, &request),
        Endpoint::ReplicaStatus => search::standing(services, request.uri()),
        Endpoint::DeadLetters => letters::list(services, loopback, request).await,
        Endpoint::DeadLetter => letters::get(services, loopback, request).await,
        Endpoint::Redrive => letters::redrive(services, loopback, request).await,
        Endpoint::Complete(operation) => Ok(openai::post(services, loopback, operation, request).await),
        Endpoint::Rate => Ok(openai::rate(services, loopback, request).await),
        Endpoint::Models => Ok(openai::list(services, loopback, request).await),
        Endpoint::Model => Ok(openai::retrieve(services, loopback, request).await),
        Endpoint::CreateFile => Ok(openai::files::create(services, loopback, request).await),
        Endpoint::ListFiles => Ok(openai::files::list(services, loopback, request).await),
        Endpoint::GetFile => Ok(openai::files::retrieve(services, loopback, request).await),
        Endpoint::FileContent => Ok(openai::files::content(services, loopback, request).await),
        Endpoint::DeleteFile => Ok(openai::files::delete(services, loopback, request).await),
        Endpoint::CreateBatch => Ok(openai::batches::create(services, loopback, request).await),
        Endpoint::ListBatches => Ok(openai::batches::list(services, loopback, request).await),
        Endpoint::GetBatch => Ok(openai::batches::retrieve(services, loopback, request).await),
        Endpoint::CancelBatch => Ok(openai::batches::cancel(services, loopback, request).await),
        Endpoint::Registry(call) => Ok(registry::serve(services, call, request).await),
        Endpoint::Alive => Ok(health::alive()),
        Endpoint::Ready => health::ready(&services.operator),
        Endpoint::Metrics => Ok(health::metrics(&services.operator)),
        Endpoint::OpenApi => Ok(openapi::document()),
    }
}
