//! One HTTP exchange: sending, waiting no longer than allowed, reading no more than allowed, and saying what went wrong.

use super::Config;
use super::bedrock;
use super::fault::Fault;
use super::wire::{Auth, Prepared};
use crate::adapters::http::words;
use crate::domain::Micros;
use crate::ports::llm::{Error, Head, Kind, Progress, Secret, Timeouts, Usage, Waited};
use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{RequestBuilder, Response, redirect};
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// Most of a failure's body that is read.
const FAILURE_BYTES_MAX: usize = 64 << 10;
/// How long the end of a complete answer is waited for, so that its connection can be used again.
const DRAIN_WAIT: Duration = Duration::from_millis(50);
/// Shorter parts of a key are not looked for in messages: they would be found in any text.
const KEY_PART_BYTES_MIN: usize = 8;
/// The header by which a provider, or a proxy before it, learns which of our requests a call is for.
pub const OUR_REQUEST_ID: &str = "x-agentverse-request-id";
/// By what names providers tell which answer it is.
const REQUEST_ID: &[&str] = &["x-request-id", "request-id", "x-amzn-requestid"];

/// The client that all calls share. HTTP/1.1: a connection that breaks takes one answer with it, not a hundred.
pub fn pool(config: &Config) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .http1_only()
        .redirect(redirect::Policy::none())
        .referer(false)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(30))
        .connect_timeout(config.connect_timeout)
        .pool_max_idle_per_host(config.idle_connections_per_host_max)
        .pool_idle_timeout(config.idle_connection_timeout)
        .user_agent(concat!("agentverse/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// When a wait that began at `from` is over: not after `limit`, however long it may be.
pub fn until(from: Instant, wait: Duration, limit: Instant) -> Instant {
    from.checked_add(wait).map_or(limit, |end| end.min(limit))
}

/// The request with its key.
pub fn request(
    http: &reqwest::Client,
    prepared: &Prepared,
    key: Option<&Secret>,
    now: Micros,
) -> Result<RequestBuilder, Fault> {
    let mut request = http.post(prepared.url.clone()).header("content-type", "application/json");
    for (name, value) in &prepared.headers {
        request = request.header(*name, *value);
    }
    let Some(key) = key else { return Ok(request.body(prepared.body.clone())) };
    let proofs = match prepared.auth {
        Auth::Bearer => vec![("authorization", format!("Bearer {}", key.expose()))],
        Auth::Header(name) => vec![(name, key.expose().to_owned())],
        Auth::Aws => bedrock::authorize(&prepared.url, &prepared.body, key, now)?,
    };
    for (name, value) in proofs {
        let mut value = HeaderValue::from_str(&value)
            .map_err(|_| Fault::new(Kind::Auth, "the key holds characters that no header can carry"))?;
        value.set_sensitive(true);
        request = request.header(name, value);
    }
    Ok(request.body(prepared.body.clone()))
}

/// Who is to be named in an error, and what must not be.
#[derive(Clone)]
pub struct Blame {
    provider: String,
    secrets: Vec<String>,
    pub head: Head,
}

impl Blame {
    pub fn new(provider: &str, key: Option<&Secret>) -> Self {
        let parts = |key: &Secret| -> Vec<String> {
            let separators = |char: char| matches!(char, ':' | '"' | ',') || char.is_whitespace();
            let whole = std::iter::once(key.expose());
            let parts = whole.chain(key.expose().split(separators)).filter(|part| part.len() >= KEY_PART_BYTES_MIN);
            parts.map(str::to_owned).collect()
        };
        Self { provider: provider.to_owned(), secrets: key.map(parts).unwrap_or_default(), head: Head::default() }
    }

    pub fn error(&self, fault: Fault, progress: Progress) -> Box<Error> {
        self.error_with(fault, progress, None)
    }

    pub fn error_with(&self, fault: Fault, progress: Progress, usage: Option<Usage>) -> Box<Error> {
        let Fault { kind, complaint, cause, retry_after } = fault;
        let mut complaint = *complaint;
        for secret in &self.secrets {
            for text in std::iter::once(&mut complaint.message).chain(&mut complaint.code).chain(&mut complaint.param) {
                if text.contains(secret) {
                    *text = text.replace(secret, "***");
                }
            }
        }
        let mut head = self.head.clone();
        head.rates.retry_after = head.rates.retry_after.or(retry_after);
        Box::new(Error { provider: self.provider.clone(), kind, progress, head, complaint, cause, usage })
    }
}

/// The answer's body, as it comes in.
pub struct Body {
    response: Response,
    timeouts: Timeouts,
    limit: Instant,
    /// When the last byte came; before the first one, when the request was sent.
    last_at: Instant,
    begun: bool,
}

impl Body {
    /// Sends the request and waits for the headers of the answer.
    pub async fn open(request: RequestBuilder, timeouts: Timeouts, limit: Instant) -> Result<Self, (Fault, Progress)> {
        let last_at = Instant::now();
        let until = until(last_at, timeouts.first_byte, limit);
        match timeout_at(until, request.send()).await {
            Ok(Ok(response)) => Ok(Self { response, timeouts, limit, last_at, begun: false }),
            Ok(Err(error)) => Err(unsent(error)),
            Err(_) => {
                let waited = if until == limit { Waited::Total } else { Waited::FirstByte };
                Err((Fault::timeout(waited), Progress::Sent))
            }
        }
    }

    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub fn is_success(&self) -> bool {
        self.response.status().is_success()
    }

    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    pub fn request_id(&self) -> Option<&str> {
        REQUEST_ID.iter().find_map(|name| self.header(name))
    }

    /// Whether the body is of this type, or says nothing of its type.
    pub fn is(&self, media_type: &str) -> bool {
        self.header("content-type").is_none_or(|found| found.to_ascii_lowercase().starts_with(media_type))
    }

    pub fn progress(&self) -> Progress {
        if self.begun { Progress::Receiving } else { Progress::Sent }
    }

    /// The next piece; `None` at the end. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        let (wait, waited) = match self.begun {
            true => (self.timeouts.between_chunks, Waited::BetweenChunks),
            false => (self.timeouts.first_byte, Waited::FirstByte),
        };
        let until = until(self.last_at, wait, self.limit);
        match timeout_at(until, self.response.chunk()).await {
            Ok(Ok(bytes)) => {
                self.begun |= bytes.is_some();
                self.last_at = Instant::now();
                Ok(bytes)
            }
            Ok(Err(error)) => Err(Fault { cause: Some(words(error)), ..Fault::cut() }),
            Err(_) if until == self.limit => Err(Fault::timeout(Waited::Total)),
            Err(_) => Err(Fault::timeout(waited)),
        }
    }

    pub async fn whole(&mut self, bytes_max: usize) -> Result<Bytes, Fault> {
        let too_large = || Fault::too_large("the answer", bytes_max);
        if self.response.content_length().is_some_and(|length| length > bytes_max as u64) {
            return Err(too_large());
        }
        let Some(first) = self.next().await? else { return Ok(Bytes::new()) };
        if first.len() > bytes_max {
            return Err(too_large());
        }
        // Most answers come in one piece, which is then not copied.
        let Some(second) = self.next().await? else { return Ok(first) };
        let mut whole = BytesMut::from(&first[..]);
        let mut more = Some(second);
        while let Some(bytes) = more {
            whole.extend_from_slice(&bytes);
            if whole.len() > bytes_max {
                return Err(too_large());
            }
            more = self.next().await?;
        }
        Ok(whole.freeze())
    }

    /// What the provider says about its refusal; a body that breaks off or is endless is taken as far as it goes.
    pub async fn failure(&mut self) -> Fault {
        let mut body = BytesMut::new();
        while let Ok(Some(bytes)) = self.next().await {
            body.extend_from_slice(&bytes);
            if body.len() > FAILURE_BYTES_MAX {
                body.truncate(FAILURE_BYTES_MAX);
                break;
            }
        }
        let status = self.status();
        let mut fault = match self.header("x-amzn-errortype") {
            Some(name) => Fault::of_named(status, name, &body),
            None => Fault::of_answer(status, &body),
        };
        if self.response.status().is_redirection() {
            fault.cause =
                Some("the endpoint leads elsewhere, which is not followed; set it to where it leads".to_owned());
        }
        fault
    }

    /// Reads the end of an answer that is complete.
    pub async fn drain(&mut self) {
        let rest = async { while let Ok(Some(_)) = self.response.chunk().await {} };
        let _ = timeout(DRAIN_WAIT, rest).await;
    }
}

/// Why there are not even headers.
fn unsent(error: reqwest::Error) -> (Fault, Progress) {
    if error.is_connect() {
        let fault = match error.is_timeout() {
            true => Fault::timeout(Waited::Connect),
            false => Fault::new(Kind::Connect, words(error)),
        };
        return (fault, Progress::NotSent);
    }
    if error.is_builder() {
        let cause = format!("the endpoint cannot be asked: {}", words(error));
        return (Fault::bad_target(cause), Progress::NotSent);
    }
    (Fault { cause: Some(words(error)), ..Fault::cut() }, Progress::Sent)
}
