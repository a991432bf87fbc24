//! The LLM providers: one thin adapter per wire, over one pooled HTTP client.
//!
//! Why not the crate `genai` (0.7): it gives the headers of failures only, so that the limits that come with every
//! success are lost; it reads every body into its own model and writes another, so that what it does not know
//! disappears, where most providers speak OpenAI's wire and its bytes can go through as they are; and it brings 146
//! crates. What is left to write by hand are the three wires that differ, and those want care with every field anyway.
//!
//! A call is prepared by its wire (`openai`, `azure`, `anthropic`, `gemini`, `bedrock`), sent by `exchange`, and read by
//! the wire's reader: whole, or in frames by `stream`. OpenAI's wire is passed through with three values spliced in;
//! the others are translated, and say so where something cannot be.

mod anthropic;
mod azure;
mod bedrock;
mod chat;
mod exchange;
mod fault;
mod form;
mod gemini;
mod headers;
pub mod keys;
mod openai;
pub mod providers;
mod splice;
mod sse;
mod stream;
#[cfg(test)]
mod tests;
mod times;
mod wire;

use crate::domain::llm_provider::WireProtocol;
use crate::ports::Clock;
use crate::ports::llm::{
    Answer, Call, Destination, Error, KeyError, Keys, Kind, Llm, Operation, Progress, Secret, Streamed, Target, Waited,
    Whole,
};
use async_trait::async_trait;
use exchange::{Blame, Body};
use fault::Fault;
use reqwest::Url;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use wire::{Plan, Prepared};

/// What holds for all providers; see `agentverse config --explain`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Reaching a provider: name, connection and TLS.
    pub connect_timeout: Duration,
    /// Connections that are kept per provider while nobody uses them, and how long.
    pub idle_connections_per_host_max: usize,
    pub idle_connection_timeout: Duration,
    /// The largest answer in one piece, in bytes.
    pub body_bytes_max: usize,
    /// The largest event of a stream, in bytes.
    pub event_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            idle_connections_per_host_max: 256,
            idle_connection_timeout: Duration::from_secs(60),
            body_bytes_max: 32 << 20,
            event_bytes_max: 4 << 20,
        }
    }
}

/// The program's own HTTP client cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the HTTP client for LLM providers cannot be made: {0}; check the system's TLS certificates")]
pub struct SetupError(String);

/// The providers.
pub struct Client {
    http: reqwest::Client,
    keys: Arc<dyn Keys>,
    clock: Arc<dyn Clock>,
    config: Config,
}

impl Client {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(config: Config, keys: Arc<dyn Keys>, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let http = exchange::pool(&config).map_err(|error| SetupError(super::http::words(error)))?;
        Ok(Self { http, keys, clock, config })
    }

    async fn attempt(
        &self,
        call: &Call,
        base: &Url,
        key: Option<&Secret>,
        limit: Instant,
    ) -> Result<Answer, Box<Error>> {
        let mut blame = Blame::new(&call.target.provider, key);
        let unsent = |fault| blame.error(fault, Progress::NotSent);
        let plan = Plan { call, base: base.clone(), now: self.clock.now() };
        let prepared = prepare(&plan).map_err(unsent)?;
        let request = exchange::request(&self.http, &prepared, key, plan.now).map_err(unsent)?;
        let request = match call.request_id {
            Some(id) => request.header(exchange::OUR_REQUEST_ID, id.to_string()),
            None => request,
        };
        let body = Body::open(request, call.timeouts, limit).await;
        let mut body = body.map_err(|(fault, progress)| blame.error(fault, progress))?;
        let Prepared { framing, mut reader, .. } = prepared;
        blame.head = headers::head(body.status(), body.headers(), self.clock.now());
        if !body.is_success() {
            let fault = body.failure().await;
            return Err(blame.error(fault, Progress::Sent));
        }
        if let Some(id) = body.request_id() {
            reader.begin(id);
        }
        if call.stream && call.operation == Operation::ChatCompletion {
            let chunks = stream::Chunks::open(body, framing, reader, blame, self.config.event_bytes_max).await?;
            return Ok(Answer::Streamed(Streamed { head: chunks.head().clone(), chunks: Box::new(chunks) }));
        }
        let bytes = body.whole(self.config.body_bytes_max).await;
        let bytes = bytes.map_err(|fault| blame.error(fault, body.progress()))?;
        let (body, end) = reader.whole(bytes).map_err(|fault| blame.error(fault, Progress::Receiving))?;
        Ok(Answer::Whole(Whole { head: blame.head, body, end }))
    }
}

#[async_trait]
impl Llm for Client {
    async fn call(&self, call: Call) -> Result<Answer, Box<Error>> {
        let target = &call.target;
        let limit = exchange::until(Instant::now(), call.timeouts.total, call.deadline);
        let blame = Blame::new(&target.provider, None);
        let unsent = |fault| blame.error(fault, Progress::NotSent);
        let base = base(target).map_err(unsent)?;
        let to = Destination { host: base.host_str().unwrap_or_default(), encrypted: base.scheme() == "https" };
        let Some(name) = &target.key else {
            return self.attempt(&call, &base, None, limit).await;
        };
        let key = timeout_at(limit, self.keys.key(name, to)).await;
        let key = key.map_err(|_| unsent(Fault::timeout(Waited::Total)))?;
        let key = key.map_err(|error| unsent(without_key(&error)))?;
        let error = match self.attempt(&call, &base, Some(&key), limit).await {
            Err(error) if error.kind == Kind::Auth && error.status().is_some() => error,
            settled => return settled,
        };
        // The key may have been replaced since it was read.
        match timeout_at(limit, self.keys.reload(name, to, &key)).await {
            Ok(Ok(fresh)) if fresh != key => self.attempt(&call, &base, Some(&fresh), limit).await,
            _ => Err(error),
        }
    }
}

/// Why a source gives nothing is for the operator's log; who asked learns which key it is, and where it may not go.
fn without_key(error: &KeyError) -> Fault {
    let mut fault = Fault::new(Kind::Auth, error.to_string());
    if let KeyError::Missing { name, .. } = error {
        fault.complaint.message = format!("the key {name} is not there; the log of the operator says why");
    }
    fault
}

fn base(target: &Target) -> Result<Url, Fault> {
    let well_known = providers::base_url(target.protocol);
    let text = target.endpoint.as_deref().or(well_known).ok_or_else(|| {
        Fault::bad_target(format!(
            "providers that speak {} have no well-known address; set the endpoint",
            target.protocol.name()
        ))
    })?;
    let url = Url::parse(text).map_err(|error| Fault::bad_target(format!("the endpoint is no URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(Fault::bad_target("the endpoint is no web address"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Fault::bad_target("the endpoint holds a name or a password; keys come from key sources"));
    }
    Ok(url)
}

fn prepare(plan: &Plan<'_>) -> Result<Prepared, Fault> {
    match plan.call.target.protocol {
        WireProtocol::Openai => openai::prepare(plan),
        WireProtocol::AzureOpenai => azure::prepare(plan),
        WireProtocol::Anthropic => anthropic::prepare(plan),
        WireProtocol::Gemini => gemini::prepare(plan),
        WireProtocol::Bedrock => bedrock::prepare(plan),
    }
}
