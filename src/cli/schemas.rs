//! `agentverse schemas`: the tables and the Avro schemas that a fleet works with.

mod asyncapi;
mod compare;

use super::block_on;
use super::config::SettingsArgs;
use super::exit::{Error, Exit};
use super::output::{self, Format};
use crate::adapters::registry::{self, Client, ClientError, Outcome, Place, Registered, subject};
use crate::adapters::scylla::{self, Store, migrate};
use crate::domain::Micros;
use crate::domain::wire::Codec;
use crate::ports::clock::{Clock, SystemClock};
use crate::runtime::settings::Settings;
use crate::runtime::{links, telemetry};
use apache_avro::Schema;
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Bring the database's tables and the registry's schemas up to what this program needs; repeating it does no harm
    Apply(Apply),
    /// List the schemas of all commands and events, and where the registry has them
    List(List),
    /// Print the schema of one command or event
    Show(Show),
    /// Check that this program's schemas go together with every version that a registry has, in both directions
    Check(compare::Args),
    /// Compare this program's schemas with the latest that a registry has
    Diff(compare::Args),
    /// Print the topics and what goes over them as an AsyncAPI 3.0 document, for tools that draw or generate
    Asyncapi(asyncapi::Args),
}

#[derive(Debug, clap::Args)]
struct Apply {
    /// Do one of the two alone
    #[arg(long, value_enum, value_name = "PART")]
    only: Option<Part>,
    #[command(flatten)]
    settings: SettingsArgs,
    /// How to show the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The tables
    Cql,
    /// The Avro schemas
    Registry,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    settings: SettingsArgs,
    /// How to show the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The record, as in RegisterAgent or agentverse.agent.RegisterAgent
    name: String,
    /// How to show the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// What goes on the place of a registry where there is none.
const NO_REGISTRY: &str =
    "No registry (registry_url is empty): values carry their schema's fingerprint, and nothing is registered.";

pub fn run(args: Args) -> Result<Exit, Error> {
    match args.action {
        Action::Apply(args) => apply(&args),
        Action::List(args) => list(&args),
        Action::Show(args) => show(&args),
        Action::Check(args) => compare::check(&args),
        Action::Diff(args) => compare::diff(&args),
        Action::Asyncapi(args) => asyncapi::run(&args),
    }
}

fn apply(args: &Apply) -> Result<Exit, Error> {
    let settings = args.settings.load().map_err(|error| Error::Usage(error.to_string()))?.settings;
    telemetry::install_logs(&settings).map_err(|error| Error::Usage(error.to_string()))?;
    // Both links are made out before either is used: a wrong setting changes nothing.
    let registry = links::registry_config(&settings).map_err(|error| Error::Usage(error.to_string()))?;
    if args.only == Some(Part::Registry) && registry.is_none() {
        return Err(Error::Usage("there is no registry: set registry_url".into()));
    }
    let mut done = Done::default();
    let result = block_on(async {
        if args.only != Some(Part::Registry) {
            done.cql = Some(apply_cql(&settings).await?);
        }
        if let Some(config) = registry.filter(|_| args.only != Some(Part::Cql)) {
            let client = Client::new(&config).map_err(registry_failed)?;
            let codecs: Vec<_> = links::codecs();
            let items = registry::apply(&client, &codecs).await.map_err(registry_failed)?;
            done.registry = Some((client.url().to_owned(), items));
        }
        Ok(())
    });
    // What was done is told also where the rest failed.
    match args.output {
        Format::Json => output::json(&done.to_json())?,
        Format::Table => {
            let registry_too = args.only != Some(Part::Cql) && result.is_ok();
            done.lines(registry_too).iter().try_for_each(output::line)?;
        }
    }
    result?;
    match done.incompatible() {
        0 => Ok(Exit::Done),
        count => Err(Error::failed(format!(
            "{count} schemas are incompatible with what the registry has; nothing of them was registered"
        ))),
    }
}

/// What the tables came to.
struct Tables {
    keyspace: String,
    applied: migrate::Applied,
}

async fn apply_cql(settings: &Settings) -> Result<Tables, Error> {
    let config = links::scylla_config(settings).map_err(|error| Error::Usage(error.to_string()))?;
    let store = Store::connect(&config).await.map_err(|error| cql_failed(error.into()))?;
    let now = SystemClock.now();
    let constants = links::fleet_constants(settings);
    let applied = migrate::apply(&store, &config, &constants, &holder(now), now).await.map_err(cql_failed)?;
    Ok(Tables { keyspace: config.keyspace, applied })
}

/// Who holds the lock of the migrations, as those see it who meet it: since when, and which process.
fn holder(now: Micros) -> String {
    let since = jiff::Timestamp::from_microsecond(now).map(|time| time.to_string()).unwrap_or_default();
    let host = std::env::var("HOSTNAME").map(|host| format!(" on {host}")).unwrap_or_default();
    format!("{since}, process {}{host}", std::process::id())
}

fn cql_failed(error: migrate::Error) -> Error {
    use scylla::Error::{Keyspace, Tls, Unavailable, Unreachable};
    let exit = match &error {
        migrate::Error::Session(Unreachable { .. } | Unavailable(_)) | migrate::Error::Locked(_) => Exit::Unreachable,
        migrate::Error::Session(Keyspace(_) | Tls { .. }) | migrate::Error::Constant { .. } => Exit::Usage,
        _ => Exit::Failed,
    };
    Error::Failed { message: error.to_string(), exit }
}

fn registry_failed(error: ClientError) -> Error {
    let exit = match &error {
        ClientError::Unreachable { .. } | ClientError::Unavailable { .. } => Exit::Unreachable,
        ClientError::Url(_) | ClientError::Tls { .. } => Exit::Usage,
        _ => Exit::Failed,
    };
    Error::Failed { message: error.to_string(), exit }
}

/// What `apply` did.
#[derive(Default)]
struct Done {
    cql: Option<Tables>,
    registry: Option<(String, Vec<Registered>)>,
}

impl Done {
    fn incompatible(&self) -> usize {
        let items = self.registry.iter().flat_map(|(_, items)| items);
        items.filter(|item| matches!(item.outcome, Outcome::Incompatible(_))).count()
    }

    fn to_json(&self) -> Value {
        let cql = self.cql.as_ref().map(|tables| {
            json!({
                "keyspace": tables.keyspace,
                "keyspace_made": tables.applied.keyspace_made,
                "migrations": tables.applied.migrations,
                "version": migrate::VERSION,
                "copies_differing": tables.applied.copies,
            })
        });
        let registry = self
            .registry
            .as_ref()
            .map(|(url, items)| json!({ "url": url, "items": items.iter().map(registered_json).collect::<Vec<_>>() }));
        json!({ "cql": cql, "registry": registry })
    }

    /// For people: what came out of each part, every schema that is not as it was, and why one was refused.
    fn lines(&self, registry_too: bool) -> Vec<String> {
        let mut lines: Vec<_> = self.cql.iter().map(tables_line).collect();
        let Some((url, items)) = &self.registry else {
            lines.extend(registry_too.then(|| NO_REGISTRY.to_owned()));
            return lines;
        };
        let count = |word| items.iter().filter(|item| outcome_word(&item.outcome) == word).count();
        lines.push(format!(
            "Registry {url}: {} schemas registered, {} unchanged, {} incompatible.",
            count("registered"),
            count("unchanged"),
            count("incompatible")
        ));
        let news = items.iter().filter(|item| !matches!(item.outcome, Outcome::Unchanged(_)));
        let news: Vec<_> = news.map(registered_json).collect();
        if !news.is_empty() {
            lines.push(output::rows(&news).to_string());
        }
        for item in items {
            if let Outcome::Incompatible(messages) = &item.outcome {
                lines.extend(messages.iter().map(|message| format!("- {}: {message}", item.subject)));
            }
        }
        lines
    }
}

fn tables_line(tables: &Tables) -> String {
    let keyspace = &tables.keyspace;
    let made = if tables.applied.keyspace_made { "was made" } else { "was there" };
    let migrations = match tables.applied.migrations.as_slice() {
        [] => "no migration was needed".to_owned(),
        names => format!("applied {}", names.join(", ")),
    };
    let copies = tables.applied.copies.map_or_else(String::new, |copies| {
        format!(
            " It keeps {copies} of every row, not scylla_replication of them: that is changed with ALTER KEYSPACE and a \
             repair, or the setting."
        )
    });
    format!("Keyspace {keyspace} {made} and is at version {}; {migrations}.{copies}", migrate::VERSION)
}

fn outcome_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Registered(_) => "registered",
        Outcome::Unchanged(_) => "unchanged",
        Outcome::Incompatible(_) => "incompatible",
    }
}

fn registered_json(item: &Registered) -> Value {
    let (place, messages) = match &item.outcome {
        Outcome::Registered(place) | Outcome::Unchanged(place) => (Some(*place), None),
        Outcome::Incompatible(messages) => (None, Some(messages)),
    };
    json!({
        "name": item.subject,
        "status": outcome_word(&item.outcome),
        "fingerprint": format!("{:016x}", item.fingerprint),
        "id": place.map(|place| place.id),
        "version": place.map(|place| place.version),
        "messages": messages,
    })
}

fn list(args: &List) -> Result<Exit, Error> {
    let settings = args.settings.load().map_err(|error| Error::Usage(error.to_string()))?.settings;
    let registry = links::registry_config(&settings).map_err(|error| Error::Usage(error.to_string()))?;
    let codecs: Vec<_> = links::codecs();
    let (url, places) = match registry {
        None => (None, codecs.iter().map(|codec| (*codec, None)).collect()),
        Some(config) => block_on(async {
            let client = Client::new(&config).map_err(registry_failed)?;
            let places = registry::lookup(&client, &codecs).await.map_err(registry_failed)?;
            Ok((Some(client.url().to_owned()), places))
        })?,
    };
    let items: Vec<_> = places.iter().map(|(codec, place)| listed(codec, *place)).collect();
    match args.output {
        Format::Json => output::json(&json!({ "registry": url, "items": items }))?,
        Format::Table => {
            output::line(output::rows(&items))?;
            let missing = places.iter().filter(|(_, place)| place.is_none()).count();
            match url {
                None => output::line(NO_REGISTRY)?,
                Some(url) if missing > 0 => output::line(format!(
                    "Registry {url} lacks {missing} of {}: run `agentverse schemas apply`.",
                    items.len()
                ))?,
                Some(url) => output::line(format!("Registry {url} has all {}.", items.len()))?,
            }
        }
    }
    Ok(Exit::Done)
}

fn listed(codec: &Codec, place: Option<Place>) -> Value {
    let fields = match codec.schema {
        Schema::Record(record) => record.fields.len(),
        _ => 0,
    };
    json!({
        "name": subject(codec),
        "fingerprint": format!("{:016x}", codec.fingerprint),
        "fields": fields,
        "id": place.map(|place| place.id),
        "version": place.map(|place| place.version),
    })
}

fn show(args: &Show) -> Result<Exit, Error> {
    let codec = find(&args.name)?;
    match args.output {
        Format::Table => output::line(codec.text.trim_end())?,
        Format::Json => output::json(&json!({
            "name": subject(codec),
            "fingerprint": format!("{:016x}", codec.fingerprint),
            "schema": serde_json::from_str::<Value>(codec.text).unwrap_or_default(),
        }))?,
    }
    Ok(Exit::Done)
}

/// The schema of this name, full or short.
fn find(name: &str) -> Result<&'static Codec, Error> {
    let found: Vec<_> =
        links::codecs().into_iter().filter(|codec| codec.name == name || subject(codec) == name).collect();
    match found.as_slice() {
        [codec] => Ok(codec),
        [] => Err(Error::Failed {
            message: format!("there is no schema {name:?}; `agentverse schemas list` shows them"),
            exit: Exit::NotFound,
        }),
        several => Err(Error::Usage(format!(
            "{name} is the name of {}: give the full one",
            several.iter().map(|codec| subject(codec)).collect::<Vec<_>>().join(" and ")
        ))),
    }
}

#[cfg(test)]
mod tests;
