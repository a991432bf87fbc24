//! `GET /v1/events`: what happens in the fleet, live, as server-sent events.
//!
//! A message's id ([`cursor`]) says where its reader stands in every log: a client that comes back with it as
//! `Last-Event-ID`, to any node and after any restart, misses nothing and gets nothing twice. Nothing is kept of a reader
//! here.
//!
//! **Slow readers.** What a reader does not take is not read ahead: it holds `event_reader_bytes_max` and one frame. One
//! that is seconds late, or fell out of the feed's memory and goes on from the log, is told, once each time, by a message
//! `behind`. One whose connection takes nothing for `http_stalled_ms_max` is closed (`api::stalled`), for there is no way to
//! tell it; when it comes back with its last id, it is told how far behind it is.
//!
//! Beside events there are messages that are none: `behind`; `mark`, an id alone, at the beginning, and after a long
//! silence that passed over events which were not wanted, so that they need not be looked at again; and `end`, after the last one that `until=now` asks for.

mod ask;
mod cursor;

pub use ask::types_of;

use super::access::{Access, Loopback};
use super::entry::{entry_type, render};
use super::problem::{INVALID_CURSOR, Problem, UNAVAILABLE};
use super::{ApiSettings, Services, follow};
use crate::domain::LogId;
use crate::flow::feed::{Subscribe, Subscription};
use crate::flow::query::{self, Entry};
use crate::metrics::handles;
use crate::ports::journal::Recorded;
use crate::ports::topic;
use ask::{Ask, Fleet, From};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cursor::{Last, Scope, Stand};
use futures::stream;
use hyper::StatusCode;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// After so much silence something is sent, so that nobody between takes the connection for dead.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// When a client should come back that finds too many others.
const COME_BACK: Duration = Duration::from_secs(5);
/// When a client comes back whose connection ended, as it is told.
const RETRY_MS: u64 = 1_000;
/// Messages that are ready are sent together up to this size.
const FRAME_BYTES: usize = 16 * 1024;

/// What a server has for readers of the feed.
#[derive(Clone)]
pub struct Readers {
    places: Arc<Semaphore>,
    bytes_max: usize,
    /// What would go on for ever ends with the server.
    stopping: CancellationToken,
}

impl Readers {
    pub fn new(settings: &ApiSettings, stopping: CancellationToken) -> Self {
        let places = Arc::new(Semaphore::new(settings.event_readers_max));
        Self { places, bytes_max: settings.event_reader_bytes_max, stopping }
    }
}

pub async fn get(services: &Arc<Services>, loopback: Loopback, request: Request) -> Result<Response, Problem> {
    let access = Access::of(request.headers(), loopback)?;
    let fleet = Fleet { partitions: services.feed.partitions(), now: services.feed.now() };
    let ask = Ask::of(request.uri(), request.headers(), &access, fleet)?;
    let full = || {
        let message = "too many read the feed of this node; come back later, or ask another node";
        Problem { retry_after: Some(COME_BACK), ..Problem::new(&UNAVAILABLE, message) }
    };
    let readers: Readers = request.extensions().get().cloned().ok_or_else(full)?;
    let permit = readers.places.clone().try_acquire_owned().map_err(|_| full())?;
    let logs = ask.scope.logs(fleet.partitions);
    let until = if ask.is_ending { Some(services.feed.heads(&logs).await.map_err(unread)?) } else { None };
    let (positions, last) = begin(services, &ask, &logs).await?;
    if let (Some(until), From::After(_, true)) = (&until, &ask.from)
        && positions.iter().zip(until).all(|(position, end)| position >= end)
    {
        // An `EventSource` would ask again for ever.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let ask_for = Subscribe {
        logs: logs.iter().copied().zip(positions).collect(),
        until,
        wanted: ask.wanted(),
        bytes_max: readers.bytes_max,
        is_resumed: matches!(ask.from, From::After(_, true)),
    };
    let reader = Reader {
        subscription: services.feed.subscribe(ask_for).await.map_err(unread)?,
        services: services.clone(),
        scope: ask.scope,
        last,
        told: None,
        is_ending: ask.is_ending,
        has_ended: false,
        has_begun: false,
        stopping: readers.stopping,
        said_at: Instant::now(),
        _place: Place::new(permit),
    };
    let body = stream::unfold(reader, async |mut reader| reader.next().await.map(|frame| (frame, reader)));
    Ok(follow::streamed(body))
}

/// The position in each log after which the reader begins, and the record that it has seen last.
async fn begin(services: &Services, ask: &Ask, logs: &[LogId]) -> Result<(Vec<u64>, Option<Last>), Problem> {
    let feed = &services.feed;
    Ok(match &ask.from {
        From::Now => (feed.heads(logs).await.map_err(unread)?, None),
        From::Beginning => (vec![0; logs.len()], None),
        From::Time(time) => (feed.since(logs, *time).await.map_err(unread)?, None),
        From::After(stand, _) => {
            if let Some(last) = stand.last {
                let hash = feed.hash_at(last.log, last.position).await.map_err(unread)?;
                if !hash.is_some_and(|hash| last.is_of(&hash)) {
                    let detail = "this id was given by another fleet, or by this one before it was set back: begin anew \
                                  with from=now, from=beginning or from=<time>";
                    return Err(Problem::new(&INVALID_CURSOR, detail));
                }
            }
            (stand.positions.clone(), stand.last)
        }
    })
}

/// Of reading, and not of commands that may have been lost.
fn unread(error: topic::Error) -> Problem {
    query::Error::Topics(error).into()
}

/// A reader's place, for as long as it is connected.
struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        handles().feed_readers.increment(1.0);
        Self { _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        handles().feed_readers.decrement(1.0);
    }
}

struct Reader {
    subscription: Subscription,
    services: Arc<Services>,
    scope: Scope,
    /// The record that was given last.
    last: Option<Last>,
    /// The id that the client has.
    told: Option<String>,
    is_ending: bool,
    has_ended: bool,
    has_begun: bool,
    stopping: CancellationToken,
    said_at: Instant,
    _place: Place,
}

impl Reader {
    fn id(&self) -> String {
        let (scope, positions) = (self.scope.clone(), self.subscription.positions().collect());
        Stand { scope, positions, last: self.last }.encode(self.services.feed.partitions())
    }

    /// The next frame, when there is one.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if !std::mem::replace(&mut self.has_begun, true) {
            // At once, so that a client whose connection ends before the first event goes on from here.
            let id = self.id();
            self.told = Some(id.clone());
            return Some(Ok(format!("retry: {RETRY_MS}\nid: {id}\nevent: mark\ndata: {{}}\n\n").into()));
        }
        if self.has_ended {
            return None;
        }
        let stopping = self.stopping.clone();
        let silence = tokio::time::sleep_until(self.said_at + SILENCE_MAX);
        let frame = tokio::select! {
            biased;
            () = stopping.cancelled() => return None,
            frame = self.frame() => frame,
            () = silence => Ok(self.sign_of_life()),
        };
        self.said_at = Instant::now();
        // Where it failed the client comes back with the id that it had last.
        Some(frame.map(Bytes::from).map_err(|error| io::Error::other(error.to_string())))
    }

    /// Waits for messages and puts those together that are ready. Cancel-safe: nothing is awaited between a record that
    /// was taken and its being returned.
    async fn frame(&mut self) -> Result<String, topic::Error> {
        loop {
            if let Some(first) = self.subscription.ready().await? {
                let mut frame = String::with_capacity(2 * FRAME_BYTES);
                if let Some(behind) = self.subscription.fell_behind() {
                    handles().feed_falls.increment(1);
                    let oldest = behind.oldest.unwrap_or(first.record.recorded_at).min(first.record.recorded_at);
                    let seconds = (self.services.feed.now() - oldest).max(0) as f64 / 1e6;
                    let data = json!({ "records": behind.records, "seconds": seconds });
                    let _ = write!(frame, "event: behind\ndata: {data}\n\n");
                }
                self.say(first, &mut frame);
                while frame.len() < FRAME_BYTES
                    && let Some(recorded) = self.subscription.at_hand()
                {
                    self.say(recorded, &mut frame);
                }
                return Ok(frame);
            }
            if self.is_ending && self.subscription.is_over() {
                self.has_ended = true;
                return Ok(format!("id: {}\nevent: end\ndata: {{}}\n\n", self.id()));
            }
            self.subscription.news().await;
        }
    }

    fn say(&mut self, recorded: Recorded, frame: &mut String) {
        let record = &recorded.record;
        let log = record.stream().log(self.services.feed.partitions());
        self.last = Some(Last::new(log, record.position, &recorded.hash));
        let behind = self.services.feed.now() - record.recorded_at;
        if self.subscription.is_live() {
            handles().feed_delay.record(behind.max(0) as f64 / 1e6);
        }
        handles().feed_events.increment(1);
        let (id, (name, data)) = (self.id(), message(recorded, log));
        let _ = write!(frame, "id: {id}\nevent: {name}\ndata: {data}\n\n");
        self.told = Some(id);
    }

    fn sign_of_life(&mut self) -> String {
        let id = self.id();
        if self.told.as_ref() == Some(&id) {
            return ": nothing new\n\n".to_owned();
        }
        let mark = format!("id: {id}\nevent: mark\ndata: {{}}\n\n");
        self.told = Some(id);
        mark
    }
}

/// An event's type, and the event as histories show it, with what they need not say.
fn message(recorded: Recorded, log: LogId) -> (String, Value) {
    let stream = recorded.record.stream();
    let (position, mut unreadable) = (recorded.record.position, None);
    let entry = Entry::of(recorded.clone()).unwrap_or_else(|error| {
        // One that cannot be shown must not stand in the way of all that come after it.
        tracing::error!(%log, position, %error, "an event cannot be shown to readers of the feed");
        unreadable = Some("this program cannot read the event's data; see its log");
        Entry { recorded, data: Value::Null, changes: None }
    });
    let mut shown = render(&entry);
    shown["aggregate"] = json!(stream.aggregate.name());
    shown["log"] = json!(log.to_string());
    if let Some(why) = unreadable {
        shown["unreadable"] = json!(why);
    }
    (entry_type(&entry), shown)
}
