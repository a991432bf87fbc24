//! `agentverse load`: drives a running system and measures it.
//!
//! ```text
//! plan ──► sender × connections ──► POST /v1/commands ──► accepted_ms
//!             └─ one command in 1,000 ──► sampler ──► GET, on fresh connections ──► queryable_ms
//! ```
//!
//! The generator shares the machine with what it measures, so a command costs it about a microsecond: bodies are
//! written directly, HTTP is spoken by hand, all senders are tasks of one thread.

mod body;
mod pace;
mod plan;
mod report;
mod sampler;
mod sender;
mod stats;
#[cfg(test)]
mod tests;
mod wire;

use super::client::{ClientError, Connection, Request};
use super::exit::{Error, Exit};
use super::output::{self, Format};
use super::url::BaseUrl;
use indicatif::{ProgressBar, ProgressStyle};
use plan::{Plan, Use, id};
use report::{Asked, Report};
use sampler::{Sample, Sampler, Target};
use sender::{Run, Tally};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;
use wire::Poster;

/// Registers agents, then revises them over and over, each command an event, spread evenly over the streams; reports
/// throughput until the last command is queryable, and latencies.
///
/// Queryable: GET by id and the tenant's list both show the version, on fresh connections. One command in
/// --sample-every is checked so, and the last ones of every connection.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Base URL of the system
    #[arg(long, env = "AGENTVERSE_URL", default_value = "http://127.0.0.1:7400", value_name = "URL")]
    url: BaseUrl,
    /// Commands to send [default: 100000, or no end with --seconds]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..1 << 40))]
    commands: Option<u64>,
    /// Agents to spread them over; they are registered first
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..1 << 40))]
    streams: u64,
    /// Commands per request; with 1 each goes as a single event
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    batch: u64,
    /// Connections, each with one request under way
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    connections: u64,
    /// Commands per second to send, whatever the answers do [default: as fast as they are accepted]
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Stop sending after this many seconds
    #[arg(long, value_parser = super::parse_seconds)]
    seconds: Option<f64>,
    /// Tenants to spread the agents over
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    tenants: u64,
    /// Length of each command's data, in bytes
    #[arg(long, default_value_t = 300, value_parser = parse_payload)]
    payload_bytes: usize,
    /// Check one command in this many
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000))]
    sample_every: u64,
    /// All ids follow from it; a run on a system that knows them already measures nothing [default: random]
    #[arg(long)]
    seed: Option<u64>,
    /// How long one exchange with the system may take, in seconds
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS", value_parser = super::parse_seconds)]
    timeout: f64,
    /// How to show the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// Without `--commands` and `--seconds`.
const COMMANDS_DEFAULT: u64 = 100_000;

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=1e9).contains(&rate) => Ok(rate),
        _ => Err("give commands per second, from 0.001 to 1000000000".into()),
    }
}

fn parse_payload(text: &str) -> Result<usize, String> {
    let range = body::PAYLOAD_BYTES_MIN..=body::PAYLOAD_BYTES_MAX;
    match text.parse() {
        Ok(bytes) if range.contains(&bytes) => Ok(bytes),
        _ => Err(format!("give a number of bytes from {} to {}", range.start(), range.end())),
    }
}

pub fn run(args: Args) -> Result<Exit, Error> {
    let report = super::block_on(drive(&args))?;
    match args.output {
        Format::Json => output::json(&report)?,
        Format::Table => output::line(report.text())?,
    }
    Ok(if report.is_clean() { Exit::Done } else { Exit::Failed })
}

fn plan(args: &Args) -> Result<Plan, Error> {
    if args.tenants > args.streams {
        return Err(Error::Usage("every tenant needs a stream: lower --tenants or raise --streams".into()));
    }
    Ok(Plan {
        seed: args.seed.unwrap_or_else(random_seed),
        tenants: args.tenants,
        streams: args.streams,
        // A stream belongs to one connection, so more of them would have nothing to do.
        connections: args.connections.min(args.streams),
        batch: args.batch,
        commands: args.commands.or_else(|| args.seconds.is_none().then_some(COMMANDS_DEFAULT)),
    })
}

/// Of 53 bits, which every JSON reader keeps exactly.
#[expect(clippy::disallowed_methods, reason = "two runs on one folder must not send the same commands")]
fn random_seed() -> u64 {
    Uuid::new_v4().as_u64_pair().0 >> 11
}

async fn drive(args: &Args) -> Result<Report, Error> {
    let plan = plan(args)?;
    let target = resolve(&args.url).await?;
    let tenants = provision(args, &plan, &target).await?;
    let sampler = Sampler::start(&target).map_err(|cause| Error::failed(format!("cannot start threads: {cause}")))?;
    let posters = connect(&plan, &target).await?;
    let start = Instant::now();
    let run = Arc::new(Run {
        bodies: body::Bodies::new(plan.seed, args.payload_bytes),
        pace: pace::Pace::new(start, args.rate, plan.batch),
        tenants,
        timeout: Duration::from_secs_f64(args.timeout),
        deadline: args.seconds.map(|seconds| start + Duration::from_secs_f64(seconds)),
        sample_every: args.sample_every,
        accepted: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        tally: parking_lot::Mutex::new(Tally::default()),
        plan,
    });
    let last = send_all(&run, posters, &sampler, args.output).await?;
    let mut watcher = sampler.watcher(0);
    last.into_iter().for_each(|sample| watcher.watch(sample));
    drop(watcher);
    // It waits for threads, at most until the last sample is given up; nothing else is left to run here.
    let seen = tokio::task::spawn_blocking(move || sampler.finish())
        .await
        .map_err(|cause| Error::failed(format!("the sampler failed: {cause}")))?;
    let asked = Asked {
        target: args.url.to_string(),
        plan: run.plan.clone(),
        payload_bytes: args.payload_bytes,
        rate: args.rate,
    };
    let tally = std::mem::take(&mut *run.tally.lock());
    Ok(Report::new(asked, tally, seen, run.accepted.load(Ordering::Relaxed)))
}

/// Runs the connections to their end and shows how far they are.
async fn send_all(
    run: &Arc<Run>,
    posters: Vec<Poster>,
    sampler: &Sampler,
    format: Format,
) -> Result<Vec<Sample>, Error> {
    let bar = progress(run.plan.commands, format);
    let mut senders = JoinSet::new();
    for (connection, poster) in posters.into_iter().enumerate() {
        let watcher = sampler.watcher(connection);
        senders.spawn(sender::connection(Arc::clone(run), connection as u64, poster, watcher));
    }
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let mut last = Vec::new();
    loop {
        tokio::select! {
            sent = senders.join_next() => match sent {
                None => break,
                Some(Ok(samples)) => last.extend(samples),
                Some(Err(cause)) => return Err(Error::failed(format!("a sender failed: {cause}"))),
            },
            _ = tick.tick() => bar.set_position(run.accepted.load(Ordering::Relaxed)),
        }
    }
    bar.finish_and_clear();
    Ok(last)
}

/// Drawn on standard error, and only on a terminal.
fn progress(commands: Option<u64>, format: Format) -> ProgressBar {
    let (bar, template) = match (format, commands) {
        (Format::Json, _) => (ProgressBar::hidden(), ""),
        (_, Some(commands)) => {
            (ProgressBar::new(commands), "{wide_bar} {human_pos}/{human_len} commands, {per_sec}, {eta} left")
        }
        (_, None) => (ProgressBar::no_length(), "{spinner} {human_pos} commands, {per_sec}, {elapsed}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Looked up once: the generator measures the system, not the name service.
async fn resolve(url: &BaseUrl) -> Result<Target, Error> {
    let address = lookup_host(&url.authority)
        .await
        .map_err(|cause| Error::Usage(format!("cannot look up {}: {cause}", url.authority)))?
        .next()
        .ok_or_else(|| Error::Usage(format!("{} has no address", url.authority)))?;
    Ok(Target { address, authority: url.authority.clone(), prefix: url.prefix.clone() })
}

async fn connect(plan: &Plan, target: &Target) -> Result<Vec<Poster>, Error> {
    let mut posters = Vec::new();
    for _ in 0..plan.connections {
        let mut poster = Poster::new(target.address);
        poster
            .connect()
            .await
            .map_err(|cause| ClientError::Unreachable { url: format!("http://{}", target.authority), cause })?;
        posters.push(poster);
    }
    Ok(posters)
}

/// Provisions the tenants and returns, for each, its id and the head of its requests.
async fn provision(args: &Args, plan: &Plan, target: &Target) -> Result<Vec<(Uuid, String)>, Error> {
    let mut connection = Connection::new(args.url.clone(), Duration::from_secs_f64(args.timeout));
    let mut tenants = Vec::new();
    for index in 0..plan.tenants {
        let tenant = id(plan.seed, Use::Tenant, index);
        let body = serde_json::to_vec(&provision_command(plan.seed, index, tenant))
            .map_err(|cause| Error::failed(cause.to_string()))?;
        let request = Request::post("/v1/commands?wait=projected", Some(tenant), body::SINGLE, body.into());
        let answer: Value = connection.request(request).await?.json()?;
        if !matches!(answer["outcome"].as_str(), Some("applied" | "accepted")) {
            return Err(Error::failed(format!("the tenant {tenant} could not be provisioned: {answer}")));
        }
        tenants.push((tenant, head(target, tenant, plan.batch)));
    }
    Ok(tenants)
}

fn provision_command(seed: u64, index: u64, tenant: Uuid) -> Value {
    json!({
        "specversion": "1.0",
        "id": id(seed, Use::Provision, index),
        "source": body::SOURCE,
        "type": "tenant.ProvisionTenant",
        "subject": tenant,
        "tenantid": tenant,
        "data": {"name": format!("Load {index} of {seed:016x}"), "region": "local"},
    })
}

fn head(target: &Target, tenant: Uuid, batch: u64) -> String {
    let Target { authority, prefix, .. } = target;
    let content_type = if batch == 1 { body::SINGLE } else { body::BATCH };
    format!(
        "POST {prefix}/v1/commands?wait=accepted HTTP/1.1\r\nhost: {authority}\r\ncontent-type: {content_type}\r\n\
         agentverse-tenant: {tenant}\r\n"
    )
}
