//! `agentverse fake-provider`: a stand-in LLM provider on the wires of OpenAI, Anthropic and Gemini, for tests, demos and
//! load tests.
//!
//! ```text
//! route ──► key ──► body ──► ask ──► answer planned ──► limits ──► fault ──► latency ──► answer, or its events
//!                                                         │                                 │
//!                                                      /fake/stats ◄────────────────────────┘
//! ```
//!
//! Everything that it says follows from the request and a seed; everything that it counts, it counts exactly.

mod answer;
mod anthropic;
mod ask;
mod control;
mod draw;
mod embed;
mod exchange;
mod fault;
mod flow;
mod gemini;
mod headers;
mod limiter;
mod models;
mod openai;
mod said;
mod schema;
#[cfg(test)]
mod schema_tests;
mod series;
mod server;
mod settings;
mod state;
mod stats;
mod window;
#[cfg(test)]
mod window_tests;
mod wire;
#[cfg(test)]
mod wire_tests;

use super::daemon;
use super::exit::{EXIT_CODES, Error, Exit};
use super::output::{self, Format};
use crate::ports::clock::SystemClock;
use serde_json::json;
use state::{Fake, Fixed};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Largest body, and most requests remembered, where it serves within another command.
const BODY_BYTES: usize = 1 << 20;
const WINDOW_REQUESTS: usize = 100_000;

/// Explains what the options cannot.
const AFTER_HELP: &str = "\
Routes:
  OpenAI     POST /v1/chat/completions, POST /v1/embeddings, GET /v1/models
  Anthropic  POST /v1/messages, GET /v1/models (with the header anthropic-version)
  Gemini     POST /v1beta/models/MODEL:generateContent, :streamGenerateContent?alt=sse, :embedContent, :batchEmbedContents;
             the same under /v1
  Control    GET /fake/stats, GET /fake/series, GET /fake/ids/ID, GET and POST /fake/settings (the options below Settings, as JSON),
             POST /fake/down ({\"mode\": \"refuse\"|\"drop\"}), POST /fake/up, POST /fake/reset

Tokens:
  One token is 4 bytes of UTF-8 text, a part of one counts as one; a prompt is all of its text (instructions, messages,
  what tools gave back, definitions of tools) added up, and has at least 1. Pictures and other data count nothing.

Limits:
  Counted in an exact log of the last 60 s by time of arrival. A request counts if it passes, whatever becomes of it; what is
  refused with 429 does not count, nor does what fails before (outage, key, form). Tokens of --count-tokens actual: prompt
  and answer, at arrival. Of estimate: prompt and max_tokens at arrival, corrected at the answer's end to prompt and what
  was sent. An injected error or hang has the tokens of its prompt only.

Proof:
  /fake/stats tells under limited how many 429 the two limits gave (one that was injected is under faults); under window what
  counts now and the most of any 60 s ever (exact), of what arrived and of what passed; under five_minutes the last, the least
  and the most that passed in 300 whole seconds, from the second after the first request on (null before, the present second
  left out). /fake/series has requests, tokens and limited of each second, up to two hours; now is the second that runs, there and in /fake/stats.

Distributions:
  fixed:50, uniform:20-80, lognormal:40,200 (p50,p99; cut at 4 x p99)

Faults:
  A request may choose: header x-fake-fault: none, cut, garbage, hang, slow, or a status from 400 to 599.

Ids:
  /fake/stats tells how often each id in the header x-agentverse-request-id (or x-request-id) arrived, passed the limits,
  and was answered to the end.";

#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("{AFTER_HELP}\n\n{EXIT_CODES}"))]
pub struct Args {
    /// Where to serve HTTP; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:7410", value_name = "ADDRESS")]
    http: SocketAddr,
    /// A key that callers must show, else they get 401; may be given repeatedly [default: any key, or none]
    #[arg(long = "api-key", value_name = "KEY")]
    keys: Vec<String>,
    /// The models that the lists of models name; any other name is answered as well
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    #[arg(
        default_value = "gpt-4o-mini,text-embedding-3-small,claude-sonnet-4-5,gemini-2.5-flash,gemini-embedding-001"
    )]
    models: Vec<String>,
    /// Largest body of a request, in bytes
    #[arg(long, default_value_t = 16 << 20, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    body_bytes_max: u32,
    /// Most requests of 60 s that are remembered, at 48 bytes each; more get 503
    #[arg(long, default_value_t = 5_000_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    window_requests_max: u32,
    /// Threads that serve [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// How to print the address: one line with the URL, or JSON
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(flatten, next_help_heading = "Settings")]
    settings: settings::Settings,
}

/// Serves until SIGTERM or Ctrl-C.
pub fn run(args: Args) -> Result<Exit, Error> {
    args.settings.validate().map_err(Error::Usage)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = args.threads {
        runtime.worker_threads(threads.into());
    }
    let runtime = runtime
        .enable_all()
        .build()
        .map_err(|cause| Error::failed(format!("cannot start the asynchronous runtime: {cause}")))?;
    let result = runtime.block_on(serve(args));
    // What is told to hang does not keep the process.
    runtime.shutdown_background();
    result
}

async fn serve(args: Args) -> Result<Exit, Error> {
    let stop = CancellationToken::new();
    tokio::spawn(daemon::stop_on_signal(stop.clone())?);
    let listener = daemon::listen(args.http).await?;
    let url = format!("http://{}", listener.local_addr().unwrap_or(args.http));
    let fixed = Fixed {
        keys: args.keys,
        models: args.models,
        body_bytes_max: args.body_bytes_max as usize,
        window_requests_max: args.window_requests_max as usize,
    };
    let fake = Arc::new(Fake::new(args.settings, fixed, Box::new(SystemClock), stop));
    match args.output {
        Format::Table => output::line(url)?,
        Format::Json => output::json(&json!({ "url": url }))?,
    }
    server::serve(listener, fake).await;
    Ok(Exit::Done)
}

/// The settings alone, as words of a command line.
#[derive(clap::Parser)]
struct Manners {
    #[command(flatten)]
    settings: settings::Settings,
}

/// Settings from the words of a command line.
///
/// # Errors
/// What is wrong with them.
pub fn manners(words: &[&str]) -> Result<settings::Settings, Error> {
    use clap::Parser;
    let words = [&["stand-in"], words].concat();
    let settings = Manners::try_parse_from(words).map_err(|error| Error::Usage(error.to_string()))?.settings;
    settings.validate().map_err(Error::Usage)?;
    Ok(settings)
}

/// Serves within another command until told to stop, with the settings that the words give; it asks for no key.
///
/// # Errors
/// What is wrong with the words.
pub fn serve_with(
    words: &[&str],
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<impl Future<Output = ()>, Error> {
    let fixed = Fixed {
        keys: Vec::new(),
        models: Vec::new(),
        body_bytes_max: BODY_BYTES,
        window_requests_max: WINDOW_REQUESTS,
    };
    let fake = Arc::new(Fake::new(manners(words)?, fixed, Box::new(SystemClock), stop));
    Ok(server::serve(listener, fake))
}
