//! `agentverse send [FILE|-]`: commands from JSON lines, in batches, in order.

pub(super) mod deliver;
pub(super) mod lines;
#[cfg(test)]
mod tests;

use super::client::Connection;
use super::exit::{Error, Exit};
use super::output::{self, Format};
use super::{Remote, block_on};
use crate::runtime::retry::Policy;
use deliver::{Courier, Outcome, Verdict};
use indicatif::{ProgressBar, ProgressStyle};
use lines::{Line, Lines, Unreadable};
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Each line of the input is one command: a CloudEvent in JSON, as in
/// {"type":"agent.RegisterAgent","data":{"name":"Ada","category":"research"}}.
///
/// A batch goes when it is full or the input ends, one after the other, so that commands arrive in the order of their
/// lines. A line without `id` gets one for this run: to be able to send a file again after a failure, give the lines
/// ids of their own.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file, or `-` for standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Commands per request
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=1000))]
    batch: u16,
    /// How far to wait for each command
    #[arg(long, value_enum, default_value_t)]
    wait: Wait,
    /// How long to keep trying while the server is busy or away: seconds of waiting per batch
    #[arg(long, default_value_t = 60.0, value_name = "SECONDS", value_parser = super::parse_seconds)]
    retry_for: f64,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Wait {
    /// Until it is safely kept
    Accepted,
    /// Until it is decided
    #[default]
    Applied,
    /// Until the read models show it
    Projected,
    /// Until searches find it, too
    Searchable,
}

impl Wait {
    fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Applied => "applied",
            Self::Projected => "projected",
            Self::Searchable => "searchable",
        }
    }
}

/// Most failures in the JSON summary; all of them go to standard error in table output.
const FAILURES_MAX: usize = 1_000;
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// What became of the input; the JSON output.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Summary {
    /// Lines with a verdict, unreadable ones among them.
    lines: u64,
    /// Accepted, and not decided while it was waited for.
    accepted: u64,
    applied: u64,
    refused: u64,
    dead_lettered: u64,
    /// Malformed: not recorded.
    rejected: u64,
    /// Requests sent again.
    retries: u64,
    /// The first failures, at most 1,000.
    failures: Vec<Failure>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Failure {
    line: u64,
    id: Option<String>,
    outcome: &'static str,
    code: String,
    message: String,
}

impl Failure {
    fn line(&self) -> String {
        let separator = if self.code.is_empty() { "" } else { " " };
        format!("line {}: {}{separator}{}: {}", self.line, self.outcome, self.code, self.message)
    }
}

impl Summary {
    fn add(&mut self, line: u64, verdict: Verdict) -> Option<Failure> {
        self.lines += 1;
        let (count, name, failed) = match verdict.outcome {
            Outcome::Accepted => (&mut self.accepted, "accepted", false),
            Outcome::Applied => (&mut self.applied, "applied", false),
            Outcome::Refused => (&mut self.refused, "refused", true),
            Outcome::DeadLettered => (&mut self.dead_lettered, "dead_lettered", true),
            Outcome::Rejected => (&mut self.rejected, "rejected", true),
        };
        *count += 1;
        let failure = failed.then_some(Failure {
            line,
            id: verdict.id,
            outcome: name,
            code: verdict.code,
            message: verdict.message,
        })?;
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(failure.clone());
        }
        Some(failure)
    }

    /// The worst that happened.
    fn exit(&self, wait: Wait) -> Exit {
        if self.rejected + self.dead_lettered > 0 {
            Exit::Rejected
        } else if self.refused > 0 {
            Exit::Refused
        } else if self.accepted > 0 && wait != Wait::Accepted {
            Exit::Undecided
        } else {
            Exit::Done
        }
    }

    fn line(&self) -> String {
        let mut parts = vec![format!("{} lines", self.lines)];
        let counts = [
            (self.applied, "applied"),
            (self.accepted, "accepted"),
            (self.refused, "refused"),
            (self.dead_lettered, "dead-lettered"),
            (self.rejected, "malformed"),
            (self.retries, "requests repeated"),
        ];
        parts.extend(counts.iter().filter(|(count, _)| *count > 0).map(|(count, name)| format!("{count} {name}")));
        parts.join(", ")
    }
}

pub fn run(args: Args) -> Result<Exit, Error> {
    let input = open(&args.file)?;
    let mut summary = Summary::default();
    let result = block_on(send(&args, input, &mut summary));
    match args.remote.output {
        Format::Json => output::json(&summary)?,
        Format::Table => output::line(summary.line())?,
    }
    result?;
    Ok(summary.exit(args.wait))
}

fn open(path: &Path) -> Result<Box<dyn BufRead>, Error> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(path).map_err(|cause| Error::Input { what: path.display().to_string(), cause })?;
    Ok(Box::new(BufReader::with_capacity(1 << 20, file)))
}

async fn send(args: &Args, input: impl BufRead, summary: &mut Summary) -> Result<(), Error> {
    let mut courier = Courier {
        connection: Connection::new(args.remote.url.clone(), args.remote.timeout()),
        target: format!("/v1/commands?wait={}", args.wait.name()),
        tenant: args.remote.tenant,
        policy: Policy { first: RETRY_FIRST, longest: RETRY_LONGEST, budget: Duration::from_secs_f64(args.retry_for) },
        retries: 0,
    };
    let mut reporter = Reporter::new(args.remote.output);
    let mut batch = Batch::default();
    for line in Lines::new(input) {
        match line.map_err(|cause| Error::Input { what: args.file.display().to_string(), cause })? {
            Ok(line) => batch.lines.push(line),
            Err(bad) => batch.unreadable.push(bad),
        }
        if batch.lines.len() == usize::from(args.batch) || batch.unreadable.len() == FAILURES_MAX {
            deliver(&mut courier, &mut batch, summary, &mut reporter).await?;
        }
    }
    deliver(&mut courier, &mut batch, summary, &mut reporter).await
}

/// Lines that go together, and those between them that cannot go: what became of both is told in the order of the file.
#[derive(Default)]
struct Batch {
    lines: Vec<Line>,
    unreadable: Vec<Unreadable>,
}

async fn deliver(
    courier: &mut Courier,
    batch: &mut Batch,
    summary: &mut Summary,
    reporter: &mut Reporter,
) -> Result<(), Error> {
    let lines = std::mem::take(&mut batch.lines);
    let delivered = courier.deliver(&lines).await;
    summary.retries = courier.retries;
    let verdicts = delivered.map_err(|error| {
        let (first, last) = (lines.first().map_or(0, |line| line.number), lines.last().map_or(0, |line| line.number));
        Error::Failed {
            exit: error.exit(),
            message: format!(
                "{error}. Lines before {first} are settled, lines {first} to {last} may have been taken, later ones \
                 were not sent. Send again from line {first} on; commands with an `id` of their own take effect once"
            ),
        }
    })?;
    let malformed = |bad: Unreadable| {
        let verdict = Verdict { outcome: Outcome::Rejected, id: None, code: "malformed".into(), message: bad.why };
        (bad.number, verdict)
    };
    let sent = lines.iter().map(|line| line.number).zip(verdicts);
    let mut told: Vec<_> = sent.chain(batch.unreadable.drain(..).map(malformed)).collect();
    told.sort_unstable_by_key(|(number, _)| *number);
    for (number, verdict) in told {
        reporter.tell(summary.add(number, verdict));
    }
    reporter.bar.set_position(summary.lines);
    Ok(())
}

/// Tells failures as they happen, and how far it is.
struct Reporter {
    bar: ProgressBar,
    tells: bool,
}

impl Reporter {
    fn new(format: Format) -> Self {
        let tells = format == Format::Table;
        // Drawn on standard error, and only on a terminal.
        let bar = if tells { ProgressBar::no_length() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} lines sent, {per_sec}") {
            bar.set_style(style);
        }
        Self { bar, tells }
    }

    fn tell(&mut self, failure: Option<Failure>) {
        if let Some(failure) = failure.filter(|_| self.tells) {
            self.bar.suspend(|| {
                eprintln!("{}", failure.line());
            });
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
