//! The calls of a Confluent-compatible schema registry (Confluent, Karapace, Apicurio's `ccompat`) that this program makes.
//!
//! Every call may be repeated: looking up changes nothing, and a registry gives a schema that it has the id that it had.
//! So links that break, 429 and 5xx are tried again, a few times; a timeout is not, it has cost enough already.

use crate::adapters::http::words;
use reqwest::{Certificate, Method, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::time::Duration;

const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";
/// Attempts of one call, the first included.
const TRIES: u32 = 4;
/// The wait after the first failure; each further one is twice as long. Up to half of it is left off by chance, so that
/// processes that failed together do not come back together.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Largest answer that is read: a schema is a few KiB.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Characters of a registry's own words that go into an error.
const MESSAGE_CHARS_MAX: usize = 600;

/// How to reach the registry; see `agentverse config --explain`.
#[derive(Clone)]
pub struct Config {
    /// The base, which `/subjects` comes after.
    pub url: String,
    /// Name and password.
    pub login: Option<(String, String)>,
    /// The certificates that the registry's must be signed by; `None`: the system's.
    pub tls_ca_file: Option<PathBuf>,
    /// Of one request.
    pub timeout: Duration,
}

/// Why a call failed. No text holds the password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("registry_url: {0}; give it as in http://host:8081, the user in registry_username")]
    Url(String),
    #[error("{file}: {cause}; registry_tls_ca_file must hold certificates in PEM form", file = file.display())]
    Tls { file: PathBuf, cause: String },
    #[error("the schema registry at {url} cannot be reached: {cause}; check registry_url, and that it runs")]
    Unreachable { url: String, cause: String },
    #[error("the schema registry at {url} refuses this user ({status}): check registry_username and its password")]
    Login { url: String, status: u16 },
    #[error("the schema registry at {url} is not available ({status}): {message}")]
    Unavailable { url: String, status: u16, message: String },
    #[error("the schema registry at {url} does not have this: {message}")]
    Missing { url: String, message: String },
    #[error("the schema registry refuses the schema as incompatible with an earlier one: {message}")]
    Incompatible { message: String },
    #[error("the schema registry at {url} refuses the request ({status}): {message}")]
    Refused { url: String, status: u16, message: String },
    #[error("{url} does not answer as a schema registry: {cause}; check that registry_url is its base")]
    Answer { url: String, cause: String },
}

impl Error {
    /// Whether it says nothing about what was asked, so that the same call can go well later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Unavailable { .. } | Self::Login { .. } | Self::Answer { .. } => true,
            Self::Url(_) | Self::Tls { .. } | Self::Missing { .. } => false,
            Self::Incompatible { .. } | Self::Refused { .. } => false,
        }
    }

    /// Whether a repetition within the same call may help.
    fn passes(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Unavailable { .. })
    }
}

/// Where a schema is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Place {
    /// What goes into values; the same for the same schema in all subjects.
    pub id: u32,
    /// Within the subject, from 1.
    pub version: u32,
}

/// A schema as the registry keeps it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stored {
    pub schema: String,
    /// Absent where it is Avro.
    pub schema_type: Option<String>,
}

#[derive(Deserialize)]
struct Id {
    id: u32,
}

#[derive(Deserialize)]
struct Compatibility {
    is_compatible: bool,
    #[serde(default)]
    messages: Vec<String>,
}

#[derive(Deserialize)]
struct Complaint {
    error_code: u32,
    #[serde(default)]
    message: String,
}

/// A registry's answers to "there is no such subject, version, schema".
const MISSING: std::ops::RangeInclusive<u32> = 40_401..=40_403;

/// The registry.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    login: Option<(String, String)>,
    timeout: Duration,
}

impl Client {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// When the URL or the certificates cannot be used.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let base = base(&config.url)?;
        let mut http = reqwest::Client::builder()
            .timeout(config.timeout)
            .user_agent(concat!("agentverse/", env!("CARGO_PKG_VERSION")));
        if let Some(file) = &config.tls_ca_file {
            http = http.tls_certs_only(certificates(file)?);
        }
        let http = http.build().map_err(|error| Error::Url(words(error)))?;
        Ok(Self { http, base, login: config.login.clone(), timeout: config.timeout })
    }

    /// The base URL.
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Where this very schema is registered under the subject; `None` where it is not.
    pub async fn lookup(&self, subject: &str, schema: &str) -> Result<Option<Place>, Error> {
        let body = json!({ "schema": schema });
        there(self.call(Method::POST, &["subjects", subject], None, Some(&body)).await)
    }

    /// Registers a schema and returns its id: the one that it has where it is registered already.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32, Error> {
        let body = json!({ "schema": schema });
        self.call::<Id>(Method::POST, &["subjects", subject, "versions"], None, Some(&body)).await.map(|Id { id }| id)
    }

    /// The schema of an id; `None` where there is none.
    pub async fn schema(&self, id: u32) -> Result<Option<Stored>, Error> {
        there(self.call(Method::GET, &["schemas", "ids", &id.to_string()], None, None).await)
    }

    /// What makes a schema incompatible with the subject's latest, in the registry's words; `None` where it is compatible.
    pub async fn complaints(&self, subject: &str, schema: &str) -> Result<Option<Vec<String>>, Error> {
        let path = ["compatibility", "subjects", subject, "versions", "latest"];
        let body = json!({ "schema": schema });
        let answer: Compatibility = self.call(Method::POST, &path, Some("verbose=true"), Some(&body)).await?;
        Ok((!answer.is_compatible).then_some(answer.messages))
    }

    /// Makes the registry hold every new version against all versions before it, in both directions.
    pub async fn set_full_transitive(&self, subject: &str) -> Result<(), Error> {
        let body = json!({ "compatibility": "FULL_TRANSITIVE" });
        let set = async || self.call::<Value>(Method::PUT, &["config", subject], None, Some(&body)).await;
        match set().await {
            // Apicurio says so where another one is setting it at this moment: set once more, it is there.
            Err(Error::Incompatible { .. }) => set().await.map(|_| ()),
            other => other.map(|_| ()),
        }
    }

    /// The subject's versions; none where there is no such subject.
    pub async fn versions(&self, subject: &str) -> Result<Vec<u32>, Error> {
        there(self.call(Method::GET, &["subjects", subject, "versions"], None, None).await)
            .map(Option::unwrap_or_default)
    }

    /// The text of one version of a subject; `None` where there is no such version.
    pub async fn text(&self, subject: &str, version: u32) -> Result<Option<String>, Error> {
        let path = ["subjects", subject, "versions", &version.to_string()];
        let found: Option<Stored> = there(self.call(Method::GET, &path, None, None).await)?;
        Ok(found.map(|stored| stored.schema))
    }

    /// The names of all subjects.
    pub async fn subjects(&self) -> Result<Vec<String>, Error> {
        self.call(Method::GET, &["subjects"], None, None).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: Option<&str>,
        body: Option<&Value>,
    ) -> Result<T, Error> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url.set_query(query);
        let mut request = self.http.request(method, url).header("accept", CONTENT_TYPE);
        if let Some((name, password)) = &self.login {
            request = request.basic_auth(name, Some(password));
        }
        if let Some(body) = body {
            request = request.header("content-type", CONTENT_TYPE).body(body.to_string());
        }
        let (status, body) = self.answered(request).await?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| self.no_registry(error));
        }
        Err(self.refusal(status, &body))
    }

    /// The answer to a request, after as many attempts as it takes, or the last failure.
    async fn answered(&self, request: reqwest::RequestBuilder) -> Result<(StatusCode, Vec<u8>), Error> {
        let mut wait = FIRST_WAIT;
        for _ in 1..TRIES {
            let Some(request) = request.try_clone() else { break };
            match self.exchange(request).await {
                Err((error, true)) => {
                    tracing::debug!(%error, "the schema registry is asked again");
                    tokio::time::sleep(shortened(wait)).await;
                    wait *= 2;
                }
                settled => return settled.map_err(|(error, _)| error),
            }
        }
        self.exchange(request).await.map_err(|(error, _)| error)
    }

    /// One attempt; a failure comes with whether a further one may help.
    async fn exchange(&self, request: reqwest::RequestBuilder) -> Result<(StatusCode, Vec<u8>), (Error, bool)> {
        let broken = |error: reqwest::Error| {
            let again = !error.is_timeout() || error.is_connect();
            let cause = match error.is_timeout() {
                true => format!("no answer within {} ms", self.timeout.as_millis()),
                false => words(error),
            };
            (Error::Unreachable { url: self.url().to_owned(), cause }, again)
        };
        let mut response = request.send().await.map_err(broken)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err((self.no_registry(format!("more than {ANSWER_BYTES_MAX} bytes")), false));
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            let error = self.refusal(status, &body);
            let again = error.passes();
            return Err((error, again));
        }
        Ok((status, body))
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> Error {
        let url = self.url().to_owned();
        let complaint = serde_json::from_slice::<Complaint>(body).ok();
        let code = complaint.as_ref().map(|complaint| complaint.error_code);
        let message = match complaint {
            Some(complaint) => shorten(&complaint.message),
            None => shorten(&String::from_utf8_lossy(body)),
        };
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::Login { url, status: status.as_u16() },
            StatusCode::NOT_FOUND if code.is_some_and(|code| MISSING.contains(&code)) => {
                Error::Missing { url, message }
            }
            StatusCode::NOT_FOUND => self.no_registry("404 without a registry's error code"),
            StatusCode::CONFLICT => Error::Incompatible { message },
            _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Error::Unavailable { url, status: status.as_u16(), message }
            }
            _ => Error::Refused { url, status: status.as_u16(), message },
        }
    }

    fn no_registry(&self, cause: impl ToString) -> Error {
        Error::Answer { url: self.url().to_owned(), cause: cause.to_string() }
    }
}

fn there<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Error::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The text of a URL that does not parse may hold a password: it is never repeated.
fn base(text: &str) -> Result<Url, Error> {
    let url = Url::parse(text).map_err(|error| Error::Url(error.to_string()))?;
    let fault = match () {
        () if !matches!(url.scheme(), "http" | "https") => "it begins with neither http:// nor https://",
        () if !url.username().is_empty() || url.password().is_some() => "it holds a user or a password",
        () if url.query().is_some() || url.fragment().is_some() => "it holds a query or a fragment",
        () => return Ok(url),
    };
    Err(Error::Url(fault.to_owned()))
}

fn certificates(file: &Path) -> Result<Vec<Certificate>, Error> {
    let failed = |cause: String| Error::Tls { file: file.to_owned(), cause };
    let pem = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| failed(words(error)))?;
    if found.is_empty() { Err(failed("it holds no certificate".to_owned())) } else { Ok(found) }
}

/// From half of the wait to all of it.
fn shortened(wait: Duration) -> Duration {
    // The standard library's hashers are seeded by chance, which is all that is needed here.
    let chance = RandomState::new().hash_one(0u8) % 512;
    wait / 2 + wait * (chance as u32) / 1_024
}

fn shorten(text: &str) -> String {
    let text: String = text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    match text.trim().char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text.trim()[..at]),
        None if text.trim().is_empty() => "no reason given".to_owned(),
        None => text.trim().to_owned(),
    }
}
