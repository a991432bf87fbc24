//! Answers that are read as they come: server-sent events, of a request whose body is sent as it is read, or of one
//! without a body.

use super::client::{ANSWER_BYTES_MAX, ClientError, Problem, TENANT_HEADER, broken};
use super::url::BaseUrl;
use bytes::Bytes;
use futures::stream::BoxStream;
use http_body_util::{BodyExt as _, Empty, Limited, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use uuid::Uuid;

/// Longest event that is read, in bytes: a command of 16 MiB, as JSON.
const EVENT_BYTES_MAX: usize = 32 << 20;
const ACCEPTED: &str = "text/event-stream, application/problem+json";
/// What a client that comes back says it had.
const LAST_EVENT_ID: &str = "last-event-id";

/// A body that is sent as it is read.
pub type Pieces = BoxStream<'static, io::Result<Bytes>>;

/// What is asked for.
pub struct Request {
    /// Path and query, escaped, from `/` on.
    pub target: String,
    pub tenant: Uuid,
    pub content_type: &'static str,
    pub body: Pieces,
    /// Bytes of the body that were sent.
    pub sent: Arc<AtomicU64>,
}

/// One event of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub id: Option<String>,
    pub name: String,
    pub data: String,
}

/// The events of an answer, as they come.
pub struct Events {
    url: BaseUrl,
    silence_max: Duration,
    body: Incoming,
    held: Parser,
    ready: std::collections::VecDeque<Event>,
}

/// Sends a request; the answer's events are then read one by one.
///
/// `silence_max` is the longest time in which nothing is sent and nothing is answered.
///
/// # Errors
/// [`ClientError::Problem`] for any status but 2xx. After every other error it is unknown what took effect.
pub async fn post(url: &BaseUrl, silence_max: Duration, request: Request) -> Result<Events, ClientError> {
    let mut sender = connect(url).await?;
    let sent = request.sent;
    let frames = futures::StreamExt::map(request.body, |piece| piece.map(Frame::data));
    let head = hyper::Request::post(format!("{}{}", url.prefix, request.target))
        .header(HOST, &url.authority)
        .header(ACCEPT, ACCEPTED)
        .header(CONTENT_TYPE, request.content_type)
        .header(TENANT_HEADER, request.tenant.to_string());
    let built = head.body(StreamBody::new(frames)).map_err(|cause| ClientError::Broken { cause: cause.to_string() })?;
    let mut answering = std::pin::pin!(sender.send_request(built));
    let mut sent_before = 0;
    let response = loop {
        match tokio::time::timeout(silence_max, answering.as_mut()).await {
            Ok(response) => break response.map_err(broken)?,
            Err(_) if sent.load(Ordering::Relaxed) > sent_before => sent_before = sent.load(Ordering::Relaxed),
            Err(_) => return Err(timed_out(url, silence_max)),
        }
    };
    answered(url, silence_max, response).await
}

/// What is asked for without a body.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// Path and query, escaped, from `/` on.
    pub target: &'a str,
    pub tenant: Option<Uuid>,
    /// The id of the last event that was had.
    pub last: Option<&'a str>,
}

/// Asks; the answer's events are then read one by one. `None` where the server says that none will come.
///
/// # Errors
/// As [`post`]; the answer has to begin within `timeout`.
pub async fn get(
    url: &BaseUrl,
    timeout: Duration,
    silence_max: Duration,
    ask: Ask<'_>,
) -> Result<Option<Events>, ClientError> {
    let asked = async {
        let mut sender = connect(url).await?;
        let mut head = hyper::Request::get(format!("{}{}", url.prefix, ask.target))
            .header(HOST, &url.authority)
            .header(ACCEPT, ACCEPTED);
        if let Some(tenant) = ask.tenant {
            head = head.header(TENANT_HEADER, tenant.to_string());
        }
        if let Some(last) = ask.last {
            head = head.header(LAST_EVENT_ID, last);
        }
        let built = head.body(Empty::<Bytes>::new());
        let built = built.map_err(|cause| ClientError::Broken { cause: cause.to_string() })?;
        sender.send_request(built).await.map_err(broken)
    };
    let response = tokio::time::timeout(timeout, asked).await.map_err(|_| timed_out(url, timeout))??;
    if response.status() == StatusCode::NO_CONTENT {
        return Ok(None);
    }
    answered(url, silence_max, response).await.map(Some)
}

async fn connect<B>(url: &BaseUrl) -> Result<http1::SendRequest<B>, ClientError>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let unreachable = |cause| ClientError::Unreachable { url: url.to_string(), cause };
    let stream = TcpStream::connect(&url.authority).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // It ends with the connection; what goes wrong on it, the request under way reports.
    tokio::spawn(connection);
    Ok(sender)
}

/// The events of an answer, or what it says is wrong.
async fn answered(url: &BaseUrl, silence_max: Duration, response: Response<Incoming>) -> Result<Events, ClientError> {
    let status = response.status();
    if status.is_success() {
        let (held, ready) = (Parser::default(), Default::default());
        return Ok(Events { url: url.clone(), silence_max, body: response.into_body(), held, ready });
    }
    let retry_after = super::client::retry_after(response.headers());
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    Err(ClientError::Problem(Box::new(Problem::of(status, retry_after, &body))))
}

fn timed_out(url: &BaseUrl, after: Duration) -> ClientError {
    ClientError::TimedOut { url: url.to_string(), seconds: after.as_secs_f64() }
}

impl Events {
    /// Whether the next event is there already.
    pub fn has_more(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next event; `None` at the end of the answer.
    ///
    /// # Errors
    /// When the connection breaks, or is silent for too long.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let frame = tokio::time::timeout(self.silence_max, self.body.frame()).await;
            let Some(frame) = frame.map_err(|_| timed_out(&self.url, self.silence_max))? else { return Ok(None) };
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            self.ready.extend(self.held.push(&data)?);
        }
    }
}

/// Takes events out of pieces of text; comments are thrown away.
#[derive(Debug, Default)]
struct Parser {
    held: Vec<u8>,
    /// So many bytes at the beginning of `held` hold no end of an event.
    searched: usize,
}

impl Parser {
    fn push(&mut self, piece: &[u8]) -> Result<Vec<Event>, ClientError> {
        let mut events = Vec::new();
        self.held.extend_from_slice(piece);
        let mut begin = 0;
        while let Some(end) = self.held[self.searched..].windows(2).position(|pair| pair == b"\n\n") {
            let end = self.searched + end;
            let text = String::from_utf8_lossy(&self.held[begin..end]);
            let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            if let (Some(name), Some(data)) = (field("event"), field("data")) {
                let id = field("id").map(str::to_owned);
                events.push(Event { id, name: name.to_owned(), data: data.to_owned() });
            }
            (begin, self.searched) = (end + 2, end + 2);
        }
        self.held.drain(..begin);
        self.searched = self.held.len().saturating_sub(1);
        if self.held.len() > EVENT_BYTES_MAX {
            let cause = format!("an event of the answer has more than {EVENT_BYTES_MAX} bytes");
            return Err(ClientError::Broken { cause });
        }
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_however_they_come() {
        let text = b"id: 7\nevent: a\ndata: {\"x\":1}\n\n: still at it\n\nevent: b\ndata: 2\n\nevent: c";
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let events: Vec<_> = text.chunks(size).flat_map(|piece| parser.push(piece).unwrap()).collect();
            let told: Vec<_> = events.iter().map(|it| (it.id.as_deref(), it.name.as_str(), it.data.as_str())).collect();
            assert_eq!(told, [(Some("7"), "a", "{\"x\":1}"), (None, "b", "2")], "{size}");
        }
        assert!(Parser::default().push(&vec![b'x'; EVENT_BYTES_MAX + 1]).is_err());
    }
}
