//! `POST /v1/imports`: a file of what others publish, imported as it comes, and told of as it goes on.
//!
//! Answered with server-sent events where the client accepts them: `progress`, `entry` for whatever is not
//! unchanged, or was cut, and at the end `report`; else with one report. A client that goes away ends the import
//! at its next batch; the same request again finishes it.

mod ask;
mod source;

pub use ask::CONTENT_TYPES;

use super::access::{Access, Loopback};
use super::problem::{BODY_TIMEOUT, BODY_TOO_LARGE, MALFORMED, Problem, TENANT_NOT_FOUND, UNAVAILABLE};
use super::{ApiSettings, Services, answer, body, follow};
use crate::domain::TenantId;
use crate::domain::tenant::standing;
use crate::flow::import::{CLASSES, Document, Engine, Event, ImportSettings, Outset, Report, Told, batches};
use ask::Ask;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use serde::Serialize;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// Longest that the body of an import may take. Between two pieces of it, what bodies are given in all counts.
const IMPORT_MAX: Duration = Duration::from_secs(86_400);
/// What is told and not sent yet; when it is full the import waits for its reader.
const EVENTS_WAITING_MAX: usize = 256;
/// After so much silence a comment is sent, so that nobody between takes the connection for dead.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// When a client should come back that finds too many others.
const COME_BACK: Duration = Duration::from_secs(5);

/// What a server has for imports.
#[derive(Clone)]
pub struct Importers {
    places: Arc<Semaphore>,
    /// What would go on for long ends with the server.
    stopping: CancellationToken,
}

impl Importers {
    pub fn new(settings: &ApiSettings, stopping: CancellationToken) -> Self {
        Self { places: Arc::new(Semaphore::new(settings.imports.imports_max)), stopping }
    }

    fn enter(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.places.clone().try_acquire_owned().map_err(|_| {
            let why = "too many imports are under way on this node; come back later";
            Problem { retry_after: Some(COME_BACK), ..Problem::new(&UNAVAILABLE, why) }
        })
    }
}

pub async fn post(services: &Arc<Services>, loopback: Loopback, request: Request) -> Result<Response, Problem> {
    let (mut head, body) = request.into_parts();
    let access = Access::of(&head.headers, loopback)?;
    let tenant = access.tenant()?;
    let mut ask = Ask::of(&head, (services.ids)())?;
    is_there(services, tenant).await?;
    let importers = head.extensions.remove::<Importers>();
    let importers = importers.ok_or_else(|| Problem::new(&UNAVAILABLE, "this node takes no imports"))?;
    let place = importers.enter()?;
    let settings = services.settings.imports;
    let kind = ask.kind;
    let body = body::timely(body, services.settings.body_timeout, IMPORT_MAX);
    let came = if kind.is_lines() {
        Came::Lines(body)
    } else {
        let whole = whole(body, settings, services.settings.body_timeout).await?;
        let length = whole.len() as u64;
        let read = tokio::task::spawn_blocking(move || Document::read(kind, &whole)).await;
        let mut read = read.map_err(|_| Problem::new(&MALFORMED, "the document cannot be read"))?;
        ask.select(&mut read, tenant)?;
        Came::Whole(read, length)
    };
    let engine = Engine {
        gateway: services.gateway.clone(),
        query: services.query.clone(),
        ids: services.ids.clone(),
        settings,
        wait: services.settings.wait_timeout_max,
        order: ask.order(tenant, importers.stopping),
    };
    let work = match came {
        Came::Lines(body) => Work {
            engine,
            batches: source::lines(body, kind, ask.mapping, settings).boxed(),
            outset: Outset::default(),
        },
        Came::Whole(document, length) => {
            let outset = Outset { entries_total: Some(document.entries_total()), has_more: document.has_more };
            let batches = batches(document.entries, document.passed, length, settings.batch_max).boxed();
            Work { engine, batches, outset }
        }
    };
    if follow::is_wanted(&head.headers) { Ok(told(work, place)) } else { Ok(reported(work, settings, place).await) }
}

/// A single command may come before its tenant's own. A file of thousands for a tenant that is not there is most likely
/// for another one, and what it makes would be looked for by nobody.
async fn is_there(services: &Services, tenant: TenantId) -> Result<(), Problem> {
    if tenant.is_shared() || services.query.get(standing::stream(tenant)).await?.is_some() {
        return Ok(());
    }
    let detail = format!(
        "there is no tenant {tenant}; name yours in the header AgentVerse-Tenant, or provision it first with POST /v1/tenants"
    );
    Err(Problem::new(&TENANT_NOT_FOUND, detail))
}

/// What is imported as it comes, or all of it with its size.
enum Came {
    Lines(BoxStream<'static, io::Result<Bytes>>),
    Whole(Document, u64),
}

/// An import that is ready to go.
struct Work {
    engine: Engine,
    batches: BoxStream<'static, Result<crate::flow::import::Batch, String>>,
    outset: Outset,
}

impl Work {
    async fn run(self, events: mpsc::Sender<Event>) -> Report {
        self.engine.run(self.batches, self.outset, &events).await
    }
}

/// Reads a document whole.
async fn whole(
    mut body: BoxStream<'static, io::Result<Bytes>>,
    settings: ImportSettings,
    between: Duration,
) -> Result<Bytes, Problem> {
    let mut whole = BytesMut::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => {
                let why = format!("the body stood still for {} s; send it again", between.as_secs());
                Problem::new(&BODY_TIMEOUT, why)
            }
            _ => Problem::new(&MALFORMED, "the body broke off before its end; send it again"),
        })?;
        if whole.len() + piece.len() > settings.bytes_max {
            let why = format!(
                "the document is larger than {} bytes; send it in parts, or raise import_bytes_max",
                settings.bytes_max
            );
            body::throw_away(body).await;
            return Err(Problem::new(&BODY_TOO_LARGE, why));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// A report with what it lists.
#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    report: &'a Report,
    /// By [`Told::class`]: what was refused first.
    listed: &'a [Told],
    /// Entries that are not listed for want of room.
    not_listed: u64,
}

/// The answer in one piece.
async fn reported(work: Work, settings: ImportSettings, _place: OwnedSemaphorePermit) -> Response {
    let (sender, mut events) = mpsc::channel(EVENTS_WAITING_MAX);
    let listing = async {
        let (mut classes, mut told_of) = ([const { Vec::new() }; CLASSES], 0_u64);
        while let Some(event) = events.recv().await {
            let Event::Entry(told) = event else { continue };
            told_of += 1;
            if let Some(list) = classes.get_mut(told.class()).filter(|list| list.len() < settings.listed_max) {
                list.push(*told);
            }
        }
        let listed: Vec<Told> = classes.into_iter().flatten().take(settings.listed_max).collect();
        let not_listed = told_of - listed.len() as u64;
        (listed, not_listed)
    };
    let (report, (listed, not_listed)) = tokio::join!(work.run(sender), listing);
    let listed = Listed { report: &report, listed: &listed, not_listed };
    answer::json(StatusCode::OK, serde_json::to_vec(&listed).unwrap_or_default())
}

/// The answer as events.
fn told(work: Work, place: OwnedSemaphorePermit) -> Response {
    let (sender, events) = mpsc::channel(EVENTS_WAITING_MAX);
    let running = tokio::spawn(async move {
        let _place = place;
        work.run(sender).await
    });
    let body = stream::unfold(Some((events, running)), async |telling| {
        let (mut events, running) = telling?;
        match tokio::time::timeout(SILENCE_MAX, events.recv()).await {
            Ok(Some(event)) => Some((Ok::<_, io::Error>(rendered(&event)), Some((events, running)))),
            Err(_) => Some((Ok(Bytes::from_static(b": still at it\n\n")), Some((events, running)))),
            Ok(None) => match running.await {
                Ok(report) => Some((Ok(piece("report", &report)), None)),
                Err(error) => Some((Err(io::Error::other(error)), None)),
            },
        }
    });
    let mut response = Body::from_stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that gather would hold back what is meant to be seen as it comes.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

fn rendered(event: &Event) -> Bytes {
    match event {
        Event::Progress(progress) => piece("progress", progress),
        Event::Entry(told) => piece("entry", told),
    }
}

fn piece(name: &str, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n").into()
}
