//! `agentverse provision plan|apply|status MANIFEST`: tenants with their projects and agents, in bulk, from one manifest.
//!
//! ```text
//! YAML ──► document ──► compile ──► blueprint ──► tenants, agents (lazily) ──► differ against the node ──► commands
//!                       (strictly checked)                                     └─ told, tenant by tenant
//! ```
//!
//! A run that broke off, however, is finished by the same command: ids follow from the manifest, what is there is read
//! before anything is sent, and a command takes effect once. The file of [`progress`] only spares looking again.

mod blueprint;
mod compile;
mod differ;
mod document;
mod engine;
mod node;
mod pace;
mod pattern;
mod progress;
mod report;
#[cfg(test)]
mod stub_tests;
mod tally;
mod templates;
#[cfg(test)]
mod tests;

use super::exit::{Error, Exit};
use super::output::{self, Format};
use super::url::BaseUrl;
use super::{block_on, parse_seconds};
use blueprint::{Blueprint, TenantWanted};
use clap::Subcommand;
use engine::Engine;
use node::Node;
use pace::{Gate, Pace};
use parking_lot::Mutex;
use progress::Progress;
use report::Shown;
use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest manifest that is read.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;
/// Commands that agents which are looked at together could need: half as many agents.
const LOOKED_AT: usize = 500;
/// Printed by `example`; a test compiles it.
const EXAMPLE: &str = include_str!("example.yaml");
/// Rates that can be asked for, in commands per second.
const RATE_MIN: f64 = 0.1;
const RATE_MAX: f64 = 1e6;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell what apply would create and change, and change nothing
    Plan(PlanArgs),
    /// Create and change what the manifest wants otherwise; the same again goes on where it was
    Apply(ApplyArgs),
    /// Tell what of the manifest is there; leaves with 1 while anything is missing or different
    Status(PlanArgs),
    /// Print a manifest with every field, explained
    Example,
}

#[derive(Debug, clap::Args)]
struct Common {
    /// The manifest, or `-` for standard input
    manifest: PathBuf,
    /// Only this tenant, by its name or its id; may be given several times
    #[arg(long, value_name = "TENANT")]
    only: Vec<String>,
    /// Requests under way at a time; fewer while the node is busy
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    parallel: u16,
    /// How long to keep trying while the node is busy or away: seconds of waiting per request
    #[arg(long, default_value_t = 300.0, value_name = "SECONDS", value_parser = parse_seconds)]
    retry_for: f64,
    /// Base URL of the server
    #[arg(long, env = "AGENTVERSE_URL", default_value = "http://127.0.0.1:7400", value_name = "URL")]
    url: BaseUrl,
    /// How long one exchange with the server may take, in seconds
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS", value_parser = parse_seconds)]
    timeout: f64,
    /// How to show the result; json: a line for each tenant as it is done, then the summary
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

#[derive(Debug, clap::Args)]
struct PlanArgs {
    #[command(flatten)]
    common: Common,
    /// Name the agents one by one
    #[arg(long, requires = "only")]
    detail: bool,
}

#[derive(Debug, clap::Args)]
struct ApplyArgs {
    #[command(flatten)]
    common: Common,
    /// Commands per second, at most; as fast as the node takes them unless it is said
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Commands per request
    #[arg(long, default_value_t = 500, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=1_000))]
    batch: u16,
    /// Decommission the agents above their group's count, which is final
    #[arg(long)]
    retire_surplus: bool,
    /// Where to note which tenants are done; beside the manifest unless it is said
    #[arg(long, value_name = "FILE", conflicts_with = "no_progress")]
    progress: Option<PathBuf>,
    /// Note nothing: a run that broke off looks at every tenant again
    #[arg(long)]
    no_progress: bool,
    /// Look at every tenant again, whatever an earlier run noted
    #[arg(long)]
    from_start: bool,
}

/// What is done with a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Plan,
    Apply,
    Status,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Apply => "apply",
            Self::Status => "status",
        }
    }
}

/// How the engine goes about it.
#[derive(Clone, Debug, Default)]
struct Options {
    /// Tenants at a time.
    parallel: usize,
    /// Chunks of one tenant at a time.
    parallel_within: usize,
    /// Commands per request.
    batch: usize,
    retires_surplus: bool,
    has_details: bool,
    /// Names and ids; all tenants where there are none.
    only: Vec<String>,
}

impl Options {
    fn new(common: &Common, batch: usize, tenants: u64) -> Self {
        let parallel = usize::from(common.parallel);
        // Few tenants with many agents would else go one request after the other.
        let parallel_within = parallel / usize::try_from(tenants).unwrap_or(parallel).clamp(1, parallel);
        let only = common.only.clone();
        Self { parallel, parallel_within, batch, only, ..Self::default() }
    }

    fn takes(&self, tenant: &TenantWanted<'_>) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| *only == tenant.name || *only == tenant.id.to_string())
    }
}

pub fn run(args: Args) -> Result<Exit, Error> {
    match args.command {
        Command::Plan(args) => look(Verb::Plan, &args),
        Command::Status(args) => look(Verb::Status, &args),
        Command::Apply(args) => apply(&args),
        Command::Example => {
            output::line(EXAMPLE.trim_end())?;
            Ok(Exit::Done)
        }
    }
}

fn look(verb: Verb, args: &PlanArgs) -> Result<Exit, Error> {
    let blueprint = blueprint(&args.common)?;
    let totals = wanted(&args.common, &blueprint)?;
    let mut options = Options::new(&args.common, LOOKED_AT, totals.0);
    options.has_details = args.detail;
    let node = node(&args.common, &blueprint, Pace::new(None));
    let shown = Mutex::new(Shown::new(verb, &blueprint.name, args.common.output, totals));
    let (done, progress) = (HashMap::new(), Mutex::new(None));
    carry_out(&Engine { node, blueprint: &blueprint, verb, options, done, progress, shown })
}

fn apply(args: &ApplyArgs) -> Result<Exit, Error> {
    let blueprint = blueprint(&args.common)?;
    let totals = wanted(&args.common, &blueprint)?;
    // A request takes no more than a second's worth, so that a low rate is even.
    let batch = args.rate.map_or(args.batch, |rate| args.batch.min(rate as u16)).max(2);
    let mut options = Options::new(&args.common, usize::from(batch), totals.0);
    options.retires_surplus = args.retire_surplus;
    let (progress, done) = match progress_path(args)? {
        None => (None, HashMap::new()),
        Some(path) => {
            let asked = if args.retire_surplus { " --retire-surplus" } else { "" };
            let manifest = format!("{}{asked}", blueprint.digest);
            let (progress, done) = Progress::open(&path, &manifest, !args.from_start)?;
            (Some(progress), done)
        }
    };
    let node = node(&args.common, &blueprint, Pace::new(args.rate));
    let shown = Mutex::new(Shown::new(Verb::Apply, &blueprint.name, args.common.output, totals));
    let progress = Mutex::new(progress);
    carry_out(&Engine { node, blueprint: &blueprint, verb: Verb::Apply, options, done, progress, shown })
}

/// Runs to the end, or until it is interrupted; what was done until then is told in any case.
fn carry_out(engine: &Engine<'_>) -> Result<Exit, Error> {
    let result = block_on(async {
        let work = async {
            if engine.verb != Verb::Status {
                templates::check(&engine.node, engine.blueprint).await?;
            }
            engine.run().await
        };
        tokio::select! {
            result = work => result,
            _ = tokio::signal::ctrl_c() => Err(Error::failed("interrupted")),
        }
    });
    match result {
        Ok(()) => {
            engine.shown.lock().end(true)?;
            if let Some(progress) = engine.progress.lock().take() {
                progress.finish();
            }
            Ok(engine.shown.lock().exit())
        }
        // A reader who has gone is told nothing.
        Err(error) if error.is_silent() => Err(error),
        Err(error) => {
            let mut shown = engine.shown.lock();
            let has_begun = engine.verb == Verb::Apply && shown.has_begun();
            match engine.progress.lock().take() {
                Some(progress) if !has_begun && engine.done.is_empty() => progress.finish(),
                Some(mut progress) => progress.sync()?,
                None => {}
            }
            if !has_begun {
                return Err(error);
            }
            shown.end(false)?;
            let message = format!("{error}; what was told as done is done: run the same again to go on");
            Err(Error::Failed { message, exit: error.exit() })
        }
    }
}

/// # Errors
/// When the manifest cannot be read, or is wrong.
fn blueprint(common: &Common) -> Result<Blueprint, Error> {
    let path = &common.manifest;
    let is_stdin = path.as_os_str() == "-";
    let file = if is_stdin { "standard input".to_owned() } else { path.display().to_string() };
    let failed = |cause: std::io::Error| Error::Input { what: file.clone(), cause };
    let reader: Box<dyn Read> = match is_stdin {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(std::fs::File::open(path).map_err(failed)?),
    };
    let mut text = String::new();
    reader.take(MANIFEST_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MANIFEST_BYTES_MAX {
        let advice = "let generators (`count`) stand for tenants that are alike";
        return Err(Error::Usage(format!("{file} has more than {MANIFEST_BYTES_MAX} bytes; {advice}")));
    }
    compile::compile(&file, &text)
}

/// How many tenants and agents are to be looked at.
///
/// # Errors
/// When the manifest has no tenant that was named.
fn wanted(common: &Common, blueprint: &Blueprint) -> Result<(u64, u64), Error> {
    if common.only.is_empty() {
        return Ok((blueprint.tenants_total(), blueprint.agents_total()));
    }
    let options = Options { only: common.only.clone(), ..Options::default() };
    let (mut tenants, mut agents) = (0, 0u64);
    let mut missing = common.only.clone();
    for tenant in blueprint.tenants().filter(|tenant| options.takes(tenant)) {
        tenants += 1;
        agents = agents.saturating_add(tenant.set.agents_each());
        missing.retain(|only| *only != tenant.name && *only != tenant.id.to_string());
    }
    match missing.first() {
        None => Ok((tenants, agents)),
        Some(missing) => {
            let advice = "give a tenant's name as it is after its placeholders, or its id";
            Err(Error::Usage(format!("the manifest has no tenant {missing:?}; {advice}")))
        }
    }
}

fn node(common: &Common, blueprint: &Blueprint, pace: Pace) -> Node {
    let (timeout, retry_for) = (Duration::from_secs_f64(common.timeout), Duration::from_secs_f64(common.retry_for));
    let correlation = format!("provision/{}", blueprint.digest.get(..16).unwrap_or_default());
    Node::new(common.url.clone(), timeout, retry_for, correlation, Gate::new(usize::from(common.parallel)), pace)
}

/// Where it is noted how far a run is: nowhere if only some tenants were asked for, or the manifest is no file.
fn progress_path(args: &ApplyArgs) -> Result<Option<PathBuf>, Error> {
    if args.no_progress || !args.common.only.is_empty() {
        return Ok(None);
    }
    if let Some(path) = &args.progress {
        return Ok(Some(path.clone()));
    }
    let manifest = &args.common.manifest;
    let Some(name) = manifest.file_name().filter(|_| manifest != Path::new("-")) else { return Ok(None) };
    let mut name = name.to_owned();
    name.push(".progress");
    Ok(Some(manifest.with_file_name(name)))
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (RATE_MIN..=RATE_MAX).contains(&rate) => Ok(rate),
        _ => Err(format!("give commands per second, from {RATE_MIN} to {RATE_MAX}")),
    }
}
