//! The command line: one subcommand, one file.
//!
//! `send`, `import`, `provision`, `get`, `list`, `count`, `discover`, `history`, `trace`, `watch`, `explain`, `usage`, `feedback`, `top`,
//! `dead-letters` and `load` are clients:
//! they speak HTTP to a running system and know nothing else about it. What they print is a table for people, or JSON with `--output json`;
//! what a script needs to know is in the exit code ([`exit::Exit`]).

mod catalog;
pub mod check;
pub mod client;
mod completions;
pub mod config;
mod count;
mod daemon;
pub mod dev;
mod discover;
pub mod exit;
mod explain;
mod fake_provider;
mod feedback;
mod get;
mod history;
mod import;
mod kind;
mod letters;
mod list;
pub mod load;
mod migrate;
pub mod output;
mod pages;
mod provision;
mod role;
mod schemas;
mod send;
mod stream;
#[cfg(test)]
mod stub;
mod top;
mod topics;
mod trace;
pub mod url;
mod usage;
mod watch;

use crate::runtime::settings;
use clap::{Parser, Subcommand};
use exit::{Error, Exit};
use std::time::Duration;
use uuid::Uuid;

/// An event-sourced streaming coupling pipeline for very large fleets of AI agents.
#[derive(Debug, Parser)]
#[command(name = "agentverse", version, propagate_version = true, after_help = exit::EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the whole system in one process, from one folder
    Dev(dev::Args),
    /// Decide the commands of a cluster and append what follows: one of any number
    Process(role::Args),
    /// Turn the published events of a cluster into what is shown: one of any number
    Project(role::Args),
    /// Carry out the requests of a cluster to LLMs, and serve its users over HTTP: one of any number
    Work(role::Args),
    /// Serve a cluster's users over HTTP: one of any number
    Serve(role::Args),
    /// Make the topics of Kafka as the manifests want them, or compare
    #[command(after_help = exit::EXIT_CODES)]
    Topics(topics::Args),
    /// Prepare the database and the schema registry, and show the schemas
    #[command(after_help = exit::EXIT_CODES)]
    Schemas(schemas::Args),
    /// Send commands from a file of JSON lines
    #[command(after_help = exit::EXIT_CODES)]
    Send(send::Args),
    /// Show one resource
    #[command(after_help = exit::EXIT_CODES)]
    Get(get::Args),
    /// List resources
    #[command(after_help = exit::EXIT_CODES)]
    List(list::Args),
    /// Count resources, by the values of a filter too
    #[command(after_help = exit::EXIT_CODES)]
    Count(count::Args),
    /// Find who can do something, the best first, and why
    #[command(after_help = exit::EXIT_CODES)]
    Discover(discover::Args),
    /// Show what happened to one resource, oldest first
    #[command(after_help = exit::EXIT_CODES)]
    History(history::Args),
    /// Show everything that followed from one request, as a tree
    #[command(after_help = exit::EXIT_CODES)]
    Trace(trace::Args),
    /// Show what happens, as it happens, or all that happened
    #[command(after_help = exit::EXIT_CODES)]
    Watch(watch::Args),
    /// Show why a coupling was established or refused
    #[command(after_help = exit::EXIT_CODES)]
    Explain(explain::Args),
    /// Show what requests to LLMs came to and cost, window by window
    #[command(after_help = exit::EXIT_CODES)]
    Usage(usage::Args),
    /// Say how good the answer to a request was
    #[command(after_help = exit::EXIT_CODES)]
    Feedback(feedback::Args),
    /// Watch what requests to LLMs do, live: queues, models, limits, tenants
    #[command(after_help = exit::EXIT_CODES)]
    Top(top::Args),
    /// Show the commands that ended without being decided, and send them again
    #[command(after_help = exit::EXIT_CODES)]
    DeadLetters(letters::Args),
    /// Bring in what others publish: MCP servers, agents, templates, the prices of models
    #[command(after_help = exit::EXIT_CODES)]
    Import(import::Args),
    /// Create tenants with their projects and agents in bulk, as a manifest wants them
    #[command(after_help = exit::EXIT_CODES)]
    Provision(provision::Args),
    /// Drive a running system and measure it
    #[command(after_help = exit::EXIT_CODES)]
    Load(load::Args),
    /// Stand in for an LLM provider: OpenAI, Anthropic and Gemini, with limits and trouble on purpose
    #[command(after_help = exit::EXIT_CODES)]
    FakeProvider(fake_provider::Args),
    /// Show the settings in force, and where each comes from
    Config(config::Args),
    /// Check a data folder, or a cluster's fleet
    #[command(after_help = exit::EXIT_CODES)]
    Check(check::Args),
    /// Move a data folder to a cluster, while `dev` works on it
    #[command(after_help = exit::EXIT_CODES)]
    Migrate(migrate::Args),
    /// Print the built-in catalogue as commands, for `send`
    Catalog(catalog::Args),
    /// Print the completion script of a shell
    Completions(completions::Args),
}

/// Where the server is and how to show what it says; the options of every client command.
#[derive(Clone, Debug, clap::Args)]
pub struct Remote {
    /// Base URL of the server
    #[arg(long, env = "AGENTVERSE_URL", default_value = "http://127.0.0.1:7400", value_name = "URL")]
    pub url: url::BaseUrl,
    /// The tenant to act for: a UUID, or `shared` for the catalogue that all tenants share
    #[arg(long, env = "AGENTVERSE_TENANT", value_name = "UUID", value_parser = parse_tenant)]
    pub tenant: Option<Uuid>,
    /// How long one exchange with the server may take, in seconds
    #[arg(long, default_value_t = 30.0, value_name = "SECONDS", value_parser = parse_seconds)]
    pub timeout: f64,
    /// How to show the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: output::Format,
}

impl Remote {
    pub fn timeout(&self) -> Duration {
        Duration::from_secs_f64(self.timeout)
    }

    /// The tenant, for requests that cannot do without one.
    ///
    /// # Errors
    /// [`Error::Usage`] when none was named.
    pub fn tenant(&self) -> Result<Uuid, Error> {
        self.tenant.ok_or_else(|| Error::Usage("name the tenant with --tenant UUID or AGENTVERSE_TENANT".into()))
    }
}

fn parse_tenant(text: &str) -> Result<Uuid, String> {
    if text == "shared" {
        return Ok(Uuid::nil());
    }
    Uuid::parse_str(text).map_err(|cause| format!("{cause}; a tenant is a UUID, or `shared`"))
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.001..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("give a number of seconds from 0.001 to 86400".into()),
    }
}

/// Runs the command, tells on standard error what went wrong, and returns the code to leave with.
pub fn run(cli: Cli) -> Exit {
    // A name that is misspelt leaves its value where nobody finds it.
    let variables = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for sentence in settings::strangers(variables) {
        eprintln!("warning: {sentence}");
    }
    let result = match cli.command {
        Command::Dev(args) => dev::run(args),
        Command::Process(args) => role::own(role::Owner::Process, args),
        Command::Project(args) => role::own(role::Owner::Project, args),
        Command::Work(args) => role::work(args),
        Command::Serve(args) => role::users(args),
        Command::Topics(args) => topics::run(args),
        Command::Schemas(args) => schemas::run(args),
        Command::Send(args) => send::run(args),
        Command::Get(args) => get::run(args),
        Command::List(args) => list::run(args),
        Command::Count(args) => count::run(args),
        Command::Discover(args) => discover::run(args),
        Command::History(args) => history::run(args),
        Command::Trace(args) => trace::run(args),
        Command::Watch(args) => watch::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Usage(args) => usage::run(args),
        Command::Feedback(args) => feedback::run(args),
        Command::Top(args) => top::run(args),
        Command::DeadLetters(args) => letters::run(args),
        Command::Import(args) => import::run(args),
        Command::Provision(args) => provision::run(args),
        Command::Load(args) => load::run(args),
        Command::FakeProvider(args) => fake_provider::run(args),
        Command::Config(args) => config::run(args),
        Command::Check(args) => check::run(args),
        Command::Migrate(args) => migrate::run(args),
        Command::Catalog(args) => catalog::run(&args),
        Command::Completions(args) => completions::run(&args),
    };
    result.unwrap_or_else(|error| {
        if !error.is_silent() {
            eprintln!("agentverse: {error}");
        }
        error.exit()
    })
}

/// Runs a client command: one thread is enough for one connection.
fn block_on<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Error::failed(format!("cannot start the asynchronous runtime: {cause}")))?;
    let done = runtime.block_on(work);
    // A read of standard input that waits for its next line would hold the end up for as long.
    runtime.shutdown_background();
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_documents_the_exit_codes() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("Exit codes:"), "{help}");
    }

    #[test]
    fn a_tenant_is_a_uuid_or_the_shared_catalogue() {
        assert_eq!(parse_tenant("shared"), Ok(Uuid::nil()));
        assert_eq!(
            parse_tenant("67e55044-10b1-426f-9247-bb680e5fe0c8"),
            Ok(Uuid::from_u128(0x67e55044_10b1_426f_9247_bb680e5fe0c8))
        );
        assert!(parse_tenant("acme").unwrap_err().contains("`shared`"));
    }

    #[test]
    fn times_out_of_range_are_refused() {
        assert_eq!(parse_seconds("0.5"), Ok(0.5));
        for text in ["0", "-1", "nan", "inf", "1e9", "x"] {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
    }
}
