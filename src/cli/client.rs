//! A small HTTP/1.1 client: one kept connection, or one request on a connection of its own.
//!
//! Everything is bounded: each exchange by a time limit, each answer by [`ANSWER_BYTES_MAX`].

use super::exit::Exit;
use super::url::BaseUrl;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::fmt;
use std::time::Duration;
use tokio::net::TcpStream;
use uuid::Uuid;

/// The largest answer that is read: a page of 1,000 resources of 64 KiB.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Names the tenant of a request.
pub const TENANT_HEADER: &str = "agentverse-tenant";

/// A request below the base URL.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    /// Path and query, escaped, from `/` on.
    pub target: String,
    pub tenant: Option<Uuid>,
    /// Content type and body.
    pub body: Option<(&'static str, Bytes)>,
}

impl Request {
    pub fn get(target: impl Into<String>, tenant: Option<Uuid>) -> Self {
        Self { method: Method::GET, target: target.into(), tenant, body: None }
    }

    pub fn post(target: impl Into<String>, tenant: Option<Uuid>, content_type: &'static str, body: Bytes) -> Self {
        Self { method: Method::POST, target: target.into(), tenant, body: Some((content_type, body)) }
    }
}

/// An answer with a 2xx status.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

impl Answer {
    /// # Errors
    /// [`ClientError::Broken`] when the body is not the JSON that was expected.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body)
            .map_err(|cause| ClientError::Broken { cause: format!("the answer is not the JSON expected: {cause}") })
    }
}

/// An error answer, as `application/problem+json` describes it (RFC 9457).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Problem {
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub detail: String,
    #[serde(skip)]
    pub status: u16,
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

impl Problem {
    /// An answer that is no problem document still gives its status and the beginning of its text.
    pub(super) fn of(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Self {
        let mut problem = serde_json::from_slice::<Problem>(body).unwrap_or_else(|_| Problem {
            detail: String::from_utf8_lossy(body).chars().filter(|c| !c.is_control()).take(200).collect(),
            ..Problem::default()
        });
        if problem.title.is_empty() && problem.detail.is_empty() {
            problem.detail = complaint(body).unwrap_or_default();
        }
        if problem.title.is_empty() {
            status.canonical_reason().unwrap_or("error").clone_into(&mut problem.title);
        }
        problem.status = status.as_u16();
        problem.retry_after = retry_after;
        problem
    }

    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self.status, 429 | 502 | 503 | 504)
    }
}

/// What an error in OpenAI's form says.
fn complaint(body: &[u8]) -> Option<String> {
    let error: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(error.get("error")?.get("message")?.as_str()?.to_owned())
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.title)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        write!(f, " (HTTP {}", self.status)?;
        if !matches!(self.kind.as_str(), "" | "about:blank") {
            write!(f, ", {}", self.kind)?;
        }
        write!(f, ")")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot reach {url}: {cause}; is the server running (`agentverse dev`), and is --url right?")]
    Unreachable { url: String, cause: std::io::Error },
    #[error("{url} did not answer within {seconds} s")]
    TimedOut { url: String, seconds: f64 },
    #[error("the connection broke: {cause}")]
    Broken { cause: String },
    #[error("{0}")]
    Problem(Box<Problem>),
}

impl ClientError {
    /// Whether the same request may succeed later; `asked` is how long the server wants to be left alone.
    pub fn retry_after(&self) -> Option<Option<Duration>> {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Broken { .. } => Some(None),
            Self::Problem(problem) => problem.is_transient().then_some(problem.retry_after),
        }
    }

    pub fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Broken { .. } => Exit::Unreachable,
            Self::Problem(problem) => match problem.status {
                404 => Exit::NotFound,
                400 | 413 | 415 | 422 => Exit::Rejected,
                403 | 409 | 412 => Exit::Refused,
                _ if problem.is_transient() => Exit::Unreachable,
                _ => Exit::Failed,
            },
        }
    }
}

/// One kept connection. It is made at the first request, and made anew after the server closed it or an exchange failed.
pub struct Connection {
    base: BaseUrl,
    /// For one exchange, connecting included.
    timeout: Duration,
    sender: Option<http1::SendRequest<Full<Bytes>>>,
}

impl Connection {
    pub fn new(base: BaseUrl, timeout: Duration) -> Self {
        Self { base, timeout, sender: None }
    }

    /// # Errors
    /// [`ClientError::Problem`] for any status but 2xx. After every other error it is unknown whether the request took
    /// effect.
    pub async fn request(&mut self, request: Request) -> Result<Answer, ClientError> {
        match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => {
                // The late answer must not be taken for that of the next request.
                self.sender = None;
                Err(ClientError::TimedOut { url: self.base.to_string(), seconds: self.timeout.as_secs_f64() })
            }
        }
    }

    async fn exchange(&mut self, request: Request) -> Result<Answer, ClientError> {
        let request = self.build(request)?;
        let kept = match self.sender.take() {
            Some(mut sender) => sender.ready().await.is_ok().then_some(sender),
            None => None,
        };
        let mut sender = match kept {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|cause| ClientError::Broken { cause: cause.to_string() })?
            .to_bytes();
        self.sender = Some(sender);
        // A batch of which nothing could be taken is a 400 that still says why, item by item.
        if status.is_success() || body.starts_with(b"{\"items\":") {
            Ok(Answer { status, body })
        } else {
            Err(ClientError::Problem(Box::new(Problem::of(status, retry_after, &body))))
        }
    }

    fn build(&self, request: Request) -> Result<hyper::Request<Full<Bytes>>, ClientError> {
        let mut builder = hyper::Request::builder()
            .method(request.method)
            .uri(format!("{}{}", self.base.prefix, request.target))
            .header(HOST, &self.base.authority)
            .header(ACCEPT, "application/json, application/problem+json");
        if let Some(tenant) = request.tenant {
            builder = builder.header(TENANT_HEADER, tenant.to_string());
        }
        let body = match request.body {
            Some((content_type, body)) => {
                builder = builder.header(CONTENT_TYPE, content_type);
                body
            }
            None => Bytes::new(),
        };
        builder.body(Full::new(body)).map_err(|cause| ClientError::Broken { cause: cause.to_string() })
    }

    async fn connect(&self) -> Result<http1::SendRequest<Full<Bytes>>, ClientError> {
        let unreachable = |cause| ClientError::Unreachable { url: self.base.to_string(), cause };
        let stream = TcpStream::connect(&self.base.authority).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends with the connection; what goes wrong on it, the request under way reports.
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// One request on a connection of its own.
///
/// # Errors
/// As [`Connection::request`].
pub async fn request(base: &BaseUrl, timeout: Duration, request: Request) -> Result<Answer, ClientError> {
    Connection::new(base.clone(), timeout).request(request).await
}

/// How long the server wants to be left alone.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

pub(super) fn broken(error: hyper::Error) -> ClientError {
    use std::error::Error as _;
    let cause = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    ClientError::Broken { cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_document_reads_as_a_sentence() {
        let body = br#"{"type":"urn:agentverse:problem:unknown_tenant","title":"Unknown tenant","detail":"Provision it first.","status":404}"#;
        let problem = Problem::of(StatusCode::NOT_FOUND, None, body);
        assert_eq!(
            problem.to_string(),
            "Unknown tenant: Provision it first. (HTTP 404, urn:agentverse:problem:unknown_tenant)"
        );
        assert_eq!(ClientError::Problem(Box::new(problem)).exit(), Exit::NotFound);
    }

    #[test]
    fn an_error_that_is_no_problem_document_keeps_its_status_and_text() {
        let problem = Problem::of(StatusCode::BAD_GATEWAY, None, b"<h1>nginx\x1b[31m</h1>");
        assert_eq!(problem.to_string(), "Bad Gateway: <h1>nginx[31m</h1> (HTTP 502)");
    }

    #[test]
    fn an_error_in_openais_form_reads_as_a_sentence_too() {
        let body = br#"{"error":{"message":"rate completed requests only","type":"x","param":null,"code":"y"}}"#;
        let problem = Problem::of(StatusCode::CONFLICT, None, body);
        assert_eq!(problem.to_string(), "Conflict: rate completed requests only (HTTP 409)");
    }

    #[test]
    fn back_pressure_and_lost_connections_may_be_retried_and_refusals_may_not() {
        let error = |status| {
            let problem = Problem { status, retry_after: Some(Duration::from_secs(2)), ..Problem::default() };
            ClientError::Problem(Box::new(problem)).retry_after()
        };
        assert_eq!(error(503), Some(Some(Duration::from_secs(2))));
        assert_eq!(error(400), None);
        assert_eq!(error(409), None);
        assert_eq!(ClientError::Broken { cause: String::new() }.retry_after(), Some(None));
    }

    #[tokio::test]
    async fn an_exchange_carries_tenant_and_body_and_brings_back_problems() {
        use crate::cli::stub;
        use axum::response::IntoResponse;
        let url = stub::serve(|uri, headers, body| {
            assert_eq!(headers[TENANT_HEADER], "00000000-0000-0000-0000-000000000007");
            match uri.path() {
                "/ok" => body.into_response(),
                _ => (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "3")], r#"{"detail":"full"}"#).into_response(),
            }
        })
        .await;
        let mut connection = Connection::new(url, Duration::from_secs(5));
        let post = |target: &str| Request::post(target, Some(Uuid::from_u128(7)), "application/json", "[1]".into());
        for _ in 0..2 {
            let answer = connection.request(post("/ok")).await.unwrap();
            assert_eq!(answer.json::<Vec<u8>>().unwrap(), [1]);
        }
        let error = connection.request(post("/busy")).await.unwrap_err();
        assert_eq!(error.to_string(), "Service Unavailable: full (HTTP 503)");
        assert_eq!(error.retry_after(), Some(Some(Duration::from_secs(3))));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_or_says_nothing_is_told_apart() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: BaseUrl = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let get = || request(&url, Duration::from_millis(100), Request::get("/", None));
        assert!(matches!(get().await, Err(ClientError::TimedOut { .. })));
        drop(listener);
        assert!(matches!(get().await, Err(ClientError::Unreachable { .. })));
    }
}
