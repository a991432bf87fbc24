//! `GET /v1/<plural>/{id}/history` with `Accept: text/event-stream`: a history that is followed. Who sent a request as a
//! command hears of its answer here, and need not ask again and again.
//!
//! Server-sent events: an entry's position is its id, so that a client that comes back with `Last-Event-ID` misses nothing
//! and gets nothing twice. Once nothing more can happen the stream ends with an event `end`, and a client that comes back
//! after that gets 204, at which an `EventSource` stops to ask. What a slow reader does not take is not read ahead.

use super::entry::{entry_type, render};
use super::problem::{INVALID_CURSOR, Problem, UNAVAILABLE};
use super::{ApiSettings, Services};
use crate::domain::AnyState;
use crate::flow::query::{Entry, HistoryQuery, Order, Standing};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, stream};
use hyper::StatusCode;
use hyper::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const EVENT_STREAM: &str = "text/event-stream";
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Entries that are read at once.
const PAGE: usize = 100;
/// Between two looks at a history: at first, and at most.
const LOOK: Duration = Duration::from_millis(25);
const LOOK_MAX: Duration = Duration::from_millis(500);
/// After so much silence a comment is sent, so that nobody between takes the connection for dead.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// When a client should come back that finds too many others.
const COME_BACK: Duration = Duration::from_secs(5);

/// What a server has for those who follow histories.
#[derive(Clone)]
pub struct Followers {
    places: Arc<Semaphore>,
    /// What would go on for ever ends with the server.
    stopping: CancellationToken,
}

impl Followers {
    pub fn new(settings: &ApiSettings, stopping: CancellationToken) -> Self {
        Self { places: Arc::new(Semaphore::new(settings.followers_max)), stopping }
    }
}

/// Whether the answer is to be a stream.
pub fn is_wanted(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepts
        .flat_map(|value| value.split(','))
        .any(|media| media.split(';').next().is_some_and(|it| it.trim() == EVENT_STREAM))
}

/// The position after which the client goes on.
///
/// # Errors
/// When the header holds no position.
pub fn after(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let position = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    let message = "Last-Event-ID must be the id of an event of this stream: a whole number";
    position.map(Some).ok_or_else(|| Problem::new(&INVALID_CURSOR, message))
}

/// Follows a history from its first page on, which exists; with `diff`, tells what each event changed.
///
/// # Errors
/// When too many are followed, or the history cannot be read.
pub async fn begin(
    services: &Arc<Services>,
    ask: HistoryQuery,
    diff: bool,
    followers: Option<Followers>,
) -> Result<Response, Problem> {
    let full = || {
        let message = "too many histories are followed on this node; come back later, or ask for pages instead";
        Problem { retry_after: Some(COME_BACK), ..Problem::new(&UNAVAILABLE, message) }
    };
    let followers = followers.ok_or_else(full)?;
    let permit = followers.places.try_acquire_owned().map_err(|_| full())?;
    let ask = HistoryQuery { order: Order::OldestFirst, limit: PAGE, ..ask };
    let mut follower = Follower {
        services: services.clone(),
        ask,
        diff,
        standing: None,
        seen: None,
        ready: VecDeque::new(),
        stopping: followers.stopping,
        has_ended: false,
        said_at: Instant::now(),
        _permit: permit,
    };
    follower.look().await?;
    if follower.ready.is_empty() && follower.ask.after.is_some() && follower.is_over().await? {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let body = stream::unfold(follower, async |mut follower| follower.next().await.map(|event| (event, follower)));
    Ok(streamed(body))
}

/// An answer of server-sent events.
pub fn streamed(frames: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Response {
    let mut response = Body::from_stream(frames).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that gather would hold back what is meant to be seen as it comes.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

struct Follower {
    services: Arc<Services>,
    ask: HistoryQuery,
    diff: bool,
    /// After the last event that was read: what comes is held against it, and nothing is folded twice.
    standing: Option<Standing>,
    /// Position of the newest entry that was there at the last look, of whatever kind.
    seen: Option<u64>,
    /// Entries that were read and not sent.
    ready: VecDeque<Entry>,
    stopping: CancellationToken,
    has_ended: bool,
    said_at: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    /// Reads what is new. A look at the newest entry alone says mostly that nothing is.
    async fn look(&mut self) -> Result<(), Problem> {
        if self.ask.after.is_some() {
            let newest = HistoryQuery {
                order: Order::NewestFirst,
                kinds: Vec::new(),
                after: None,
                limit: 1,
                stream: self.ask.stream,
            };
            let page = self.services.query.history(&newest).await?;
            let last = page.entries.first().map(|entry| entry.recorded.record.position);
            if last <= self.seen {
                return Ok(());
            }
            self.seen = last;
        }
        let mut page = self.services.query.history(&self.ask).await?;
        if self.diff {
            self.services.query.tell_changes(&mut page.entries, &mut self.standing).await?;
        }
        let last = page.entries.last().map(|entry| entry.recorded.record.position);
        self.ask.after = last.or(self.ask.after);
        self.ready.extend(page.entries);
        Ok(())
    }

    /// Whether nothing more can happen that anybody waits for.
    async fn is_over(&self) -> Result<bool, Problem> {
        let resource = self.services.query.get(self.ask.stream).await?;
        Ok(resource.is_some_and(|resource| match resource.state {
            // A call of a worker that was lost may still be reported; it changes nothing for the caller.
            AnyState::LlmRequest(state) => !state.is_running(),
            state => state.is_terminal(),
        }))
    }

    /// The next piece, when there is one.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        let mut pause = LOOK;
        loop {
            if let Some(entry) = self.ready.pop_front() {
                self.said_at = Instant::now();
                let id = entry.recorded.record.position;
                let text = format!("id: {id}\nevent: {}\ndata: {}\n\n", entry_type(&entry), render(&entry));
                return Some(Ok(text.into()));
            }
            if self.has_ended || self.stopping.is_cancelled() {
                return None;
            }
            match self.look_again().await {
                Ok(()) if !self.ready.is_empty() => continue,
                Ok(()) if self.has_ended => return Some(Ok(Bytes::from_static(b"event: end\ndata: {}\n\n"))),
                Ok(()) => {}
                // The client comes back with the id that it had last.
                Err(problem) => return Some(Err(io::Error::other(problem.detail))),
            }
            if self.said_at.elapsed() >= SILENCE_MAX {
                self.said_at = Instant::now();
                return Some(Ok(Bytes::from_static(b": nothing new\n\n")));
            }
            tokio::select! {
                () = self.stopping.cancelled() => return None,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LOOK_MAX),
            }
        }
    }

    async fn look_again(&mut self) -> Result<(), Problem> {
        // Before the history is read: what ended it is then among what is read.
        let is_over = self.is_over().await?;
        self.look().await?;
        self.has_ended = is_over && self.ready.is_empty();
        Ok(())
    }
}
