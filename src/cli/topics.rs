//! `agentverse topics`: the topics of Kafka, as the manifests want them and as they are.
//!
//! Either every change can be made or none is: a fleet whose topics were only partly moved to another shape would come
//! up with counts that contradict each other.

mod loss;

use super::config::SettingsArgs;
use super::exit::{Error, Exit};
use super::output::{self, Format};
use crate::adapters::kafka::admin::Admin;
use crate::adapters::kafka::client;
use crate::adapters::kafka::diff::{Change, Cluster, Existing, Step, diff};
use crate::adapters::kafka::manifest::Topic;
use crate::runtime::settings::{Loaded, Origin};
use crate::runtime::topics::{Choice, Profile, wanted};
use crate::runtime::{links, telemetry};
use clap::builder::PossibleValue;
use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make what is missing, alter settings that differ; delete nothing
    Apply {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        shape: Shape,
        /// Show what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Compare the topics with the manifests
    Diff {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        shape: Shape,
    },
    /// Show the topics as they are, and how much they hold
    Describe {
        #[command(flatten)]
        target: Target,
    },
    /// Have logs go on whose topics do not hold any more what they were to consume
    AcceptLoss(loss::Args),
}

/// Which brokers, and the topics of which fleet.
#[derive(Debug, clap::Args)]
struct Target {
    #[command(flatten)]
    settings: SettingsArgs,
    /// A folder of KafkaTopic manifests, instead of those that the program carries
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How to show the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

#[derive(Debug, clap::Args)]
struct Shape {
    /// Partitions and retention for a size of fleet
    #[arg(long, value_enum, default_value_t, value_name = "PROFILE")]
    profile: Profile,
    /// Copies of each partition, where the cluster has fewer brokers than the manifests want
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    replicas: Option<u16>,
}

impl ValueEnum for Profile {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Default, Self::Planned]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Default => PossibleValue::new("default").help("The manifests as they are"),
            Self::Planned => PossibleValue::new("planned")
                .help(
                "A large fleet: 1,000 partitions for agents, 500 for MCP servers, 200 for LLM requests; every process then \
                 needs the setting partitions_of = agent=1000,mcp_server=500",
            ),
        })
    }
}

pub fn run(args: Args) -> Result<Exit, Error> {
    match args.command {
        Command::Apply { target, shape, dry_run } => {
            let (loaded, topics) = target.wanted(&shape)?;
            super::block_on(apply(&loaded, &topics, dry_run, target.output))
        }
        Command::Diff { target, shape } => {
            let (loaded, topics) = target.wanted(&shape)?;
            super::block_on(compare(&loaded, &topics, target.output))
        }
        Command::Describe { target } => {
            let (loaded, topics) = target.wanted(&Shape { profile: Profile::Default, replicas: None })?;
            super::block_on(describe(&loaded, &topics, target.output))
        }
        Command::AcceptLoss(args) => loss::run(&args),
    }
}

impl Target {
    fn wanted(&self, shape: &Shape) -> Result<(Loaded, Vec<Topic>), Error> {
        let loaded = self.settings.load().map_err(|error| Error::Usage(error.to_string()))?;
        if loaded.origin("log_filter") != Origin::Default {
            // Otherwise the client's lines would stand beside the one sentence that says what is wrong.
            telemetry::install_logs(&loaded.settings).map_err(|error| Error::Usage(error.to_string()))?;
        }
        let choice = Choice { dir: self.dir.clone(), profile: shape.profile, replicas: shape.replicas };
        let topics = wanted(&loaded, &choice).map_err(|error| Error::Usage(error.to_string()))?;
        Ok((loaded, topics))
    }
}

async fn connect(loaded: &Loaded) -> Result<Admin, Error> {
    let link = links::kafka_link(&loaded.settings).map_err(|error| Error::Usage(error.to_string()))?;
    Admin::connect(&link).await.map_err(failed)
}

fn failed(error: client::Error) -> Error {
    let exit = if error.retryable() { Exit::Unreachable } else { Exit::Failed };
    Error::Failed { message: error.to_string(), exit }
}

async fn read(admin: &Admin, topics: &[Topic]) -> Result<Cluster, Error> {
    admin.read(topics.iter().map(|topic| topic.name.as_str())).await.map_err(failed)
}

async fn apply(loaded: &Loaded, topics: &[Topic], dry_run: bool, format: Format) -> Result<Exit, Error> {
    let admin = connect(loaded).await?;
    let changes = diff(topics, &read(&admin, topics).await?);
    if dry_run || changes.iter().any(Change::is_refused) {
        let report = Report::planned(&changes);
        report.show(format)?;
        return Ok(if report.count("refused") > 0 { Exit::Refused } else { Exit::Done });
    }
    let report = Report::done(&changes, &admin.apply(&changes).await);
    report.show(format)?;
    Ok(if report.count("failed") > 0 { Exit::Failed } else { Exit::Done })
}

async fn compare(loaded: &Loaded, topics: &[Topic], format: Format) -> Result<Exit, Error> {
    let admin = connect(loaded).await?;
    let changes = diff(topics, &read(&admin, topics).await?);
    let report = Report::planned(&changes);
    report.show(format)?;
    Ok(match (report.count("refused"), report.count("unchanged") == changes.len()) {
        (0, true) => Exit::Done,
        (0, false) => Exit::Failed,
        _ => Exit::Refused,
    })
}

/// What became or would become of each topic, as it is shown.
struct Report<'a> {
    rows: Vec<Row<'a>>,
}

struct Row<'a> {
    change: &'a Change,
    /// `create`, `change`, `unchanged`, `differs` or `refused`; after the fact `created`, `changed` or `failed`.
    action: &'static str,
    error: Option<String>,
}

impl<'a> Report<'a> {
    fn planned(changes: &'a [Change]) -> Self {
        let row = |change: &'a Change| Row { change, action: planned(change), error: None };
        Self { rows: changes.iter().map(row).collect() }
    }

    fn done(changes: &'a [Change], results: &BTreeMap<String, Result<(), client::Error>>) -> Self {
        let row = |change: &'a Change| match results.get(&change.topic) {
            Some(Err(error)) => Row { change, action: "failed", error: Some(error.to_string()) },
            Some(Ok(())) if planned(change) == "create" => Row { change, action: "created", error: None },
            Some(Ok(())) => Row { change, action: "changed", error: None },
            None => Row { change, action: planned(change), error: None },
        };
        Self { rows: changes.iter().map(row).collect() }
    }

    fn count(&self, action: &str) -> usize {
        self.rows.iter().filter(|row| row.action == action).count()
    }

    fn show(&self, format: Format) -> Result<(), Error> {
        match format {
            Format::Json => output::json(&self.to_json())?,
            Format::Table => output::line(self.to_text())?,
        }
        Ok(())
    }

    fn to_json(&self) -> Value {
        let items = self.rows.iter().map(|row| {
            let steps: Vec<_> = row.change.steps.iter().map(step_json).collect();
            json!({"topic": row.change.topic, "action": row.action, "steps": steps, "error": row.error})
        });
        json!({ "items": items.collect::<Vec<_>>() })
    }

    fn to_text(&self) -> String {
        let mut table = output::table(["topic", "action", "difference"]);
        let mut reasons = BTreeMap::<String, Vec<&str>>::new();
        for row in &self.rows {
            let lines: Vec<_> = row.change.steps.iter().map(step_text).collect();
            table.add_row([row.change.topic.as_str(), row.action, &lines.join("\n")]);
            for reason in row.change.steps.iter().filter_map(reason).chain(row.error.clone()) {
                reasons.entry(reason).or_default().push(&row.change.topic);
            }
        }
        let mut text = format!("{table}\n");
        for (reason, topics) in reasons {
            // The same sentence for many topics is said once.
            let whose = if let [topic] = topics[..] { topic.to_owned() } else { format!("{} topics", topics.len()) };
            text += &output::wrap(&format!("- {whose}: {reason}."), output::width()).join("\n  ");
            text.push('\n');
        }
        text + &self.summary()
    }

    fn summary(&self) -> String {
        let actions = ["created", "changed", "failed", "create", "change", "refused", "differs", "unchanged"];
        let counts: Vec<_> = actions
            .into_iter()
            .filter_map(|action| match (self.count(action), action) {
                (0, _) => None,
                (count, "create" | "change") => Some(format!("{count} to {action}")),
                (count, "differs") => Some(format!("{count} with differences that stay")),
                (count, action) => Some(format!("{count} {action}")),
            })
            .collect();
        let nothing =
            if self.count("refused") > 0 { " As long as anything is refused, nothing is changed." } else { "" };
        format!("{}.{nothing}", counts.join(", "))
    }
}

fn planned(change: &Change) -> &'static str {
    match &change.steps[..] {
        [] => "unchanged",
        _ if change.is_refused() => "refused",
        [Step::Create(_)] => "create",
        _ if change.has_work() => "change",
        _ => "differs",
    }
}

fn step_text(step: &Step) -> String {
    match step {
        Step::Create(topic) => {
            let kept = kept(&topic.config).map_or_else(String::new, |kept| format!(", kept {kept}"));
            format!(
                "{}, {}{kept}",
                counted(u64::from(topic.partitions), "partition"),
                counted(u64::from(topic.replicas), "replica")
            )
        }
        Step::Widen { from, to } => format!("partitions: {from} -> {to}"),
        Step::Set { name, from, to } => format!("{name}: {} -> {to}", from.as_deref().unwrap_or("(not known)")),
        Step::Leave { name, from, to, .. } => format!("{name}: {from}, {to} wanted"),
        Step::Refuse { name, from, to, .. } if from.is_empty() => format!("{name}: {to} wanted"),
        Step::Refuse { name, from, to, .. } => format!("{name}: {from}, {to} wanted"),
    }
}

fn step_json(step: &Step) -> Value {
    match step {
        Step::Create(topic) => json!({
            "step": "create", "partitions": topic.partitions, "replicas": topic.replicas, "config": topic.config,
        }),
        Step::Widen { from, to } => json!({"step": "widen", "name": "partitions", "from": from, "to": to}),
        Step::Set { name, from, to } => json!({"step": "set", "name": name, "from": from, "to": to}),
        Step::Leave { name, from, to, why } => {
            json!({"step": "leave", "name": name, "from": from, "to": to, "reason": why})
        }
        Step::Refuse { name, from, to, why } => {
            json!({"step": "refuse", "name": name, "from": from, "to": to, "reason": why})
        }
    }
}

fn reason(step: &Step) -> Option<String> {
    match step {
        Step::Leave { why, .. } | Step::Refuse { why, .. } => Some(why.clone()),
        _ => None,
    }
}

async fn describe(loaded: &Loaded, topics: &[Topic], format: Format) -> Result<Exit, Error> {
    let admin = connect(loaded).await?;
    let cluster = read(&admin, topics).await?;
    let messages = admin.messages(&cluster).await.map_err(failed)?;
    let found = topics.iter().map(|topic| (topic.name.as_str(), cluster.topics.get(&topic.name)));
    match format {
        Format::Json => output::json(&json!({
            "brokers": cluster.brokers,
            "items": found.map(|(name, topic)| described_json(name, topic, &messages)).collect::<Vec<_>>(),
        }))?,
        Format::Table => output::line(described_text(found, &messages))?,
    }
    Ok(Exit::Done)
}

fn described_json(name: &str, topic: Option<&Existing>, messages: &BTreeMap<String, u64>) -> Value {
    let Some(topic) = topic else { return json!({"topic": name, "exists": false}) };
    json!({
        "topic": name,
        "exists": true,
        "partitions": topic.partitions,
        "replicas": topic.replicas,
        "under_replicated": topic.under_replicated,
        "leaderless": topic.leaderless,
        "messages": messages.get(name),
        "config": topic.config,
    })
}

fn described_text<'a>(
    found: impl Iterator<Item = (&'a str, Option<&'a Existing>)>,
    messages: &BTreeMap<String, u64>,
) -> String {
    let mut table =
        output::table(["topic", "partitions", "replicas", "kept", "messages", "under-replicated", "leaderless"]);
    let mut missing = 0;
    for (name, topic) in found {
        let Some(topic) = topic else {
            missing += 1;
            table.add_row([name, "missing"]);
            continue;
        };
        let counts = [topic.partitions, u32::from(topic.replicas), topic.under_replicated, topic.leaderless];
        let [partitions, replicas, under_replicated, leaderless] = counts.map(|count| count.to_string());
        let count = messages.get(name).map_or_else(String::new, u64::to_string);
        table.add_row([
            name,
            &partitions,
            &replicas,
            &kept(&topic.config).unwrap_or_default(),
            &count,
            &under_replicated,
            &leaderless,
        ]);
    }
    match missing {
        0 => table.to_string(),
        _ => format!("{table}\n{missing} missing: `agentverse topics apply` makes what is not there."),
    }
}

/// For how long a topic keeps its messages, in words; `None` where it does not say.
fn kept(config: &BTreeMap<String, String>) -> Option<String> {
    if config.get("cleanup.policy").is_some_and(|policy| policy == "compact") {
        return Some("the last of each key".to_owned());
    }
    let text = config.get("retention.ms")?;
    let Ok(ms) = text.parse::<u64>() else {
        return Some(if text == "-1" { "for ever".to_owned() } else { text.clone() });
    };
    let units = [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second"), (1, "millisecond")];
    let unit = units.into_iter().find(|(length, _)| ms >= *length && ms % length == 0);
    unit.map(|(length, name)| counted(ms / length, name))
}

fn counted(count: u64, name: &str) -> String {
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
