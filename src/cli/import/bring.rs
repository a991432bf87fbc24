//! `agentverse import KIND FILE|DIR|-`: sends what is to be imported to the node as it is read, and shows what the node
//! tells of it. What an entry means, and what it changes, only the node knows.

mod files;
mod shown;

use crate::cli::exit::{Error, Exit};
use crate::cli::output::{self, Format};
use crate::cli::stream::{self, Request};
use crate::cli::url::append_query;
use crate::cli::{Remote, block_on};
use crate::flow::import::{Kind, Mapping, Selected};
use files::{Files, Form};
use serde_json::Value;
use shown::Shown;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How much of a file is looked at to see who published it, and what tells it.
const SEEN_BYTES: u64 = 64 << 10;
const LITELLM: &[u8] = b"\"litellm_provider\"";

/// What is there already and differs is changed, field by field; what the file does not say stays as it is. The same
/// file again changes nothing, so that an import that was interrupted is finished by a second one.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file; a folder, of which every .json file below it is taken; or `-` for standard input
    path: PathBuf,
    /// Tell what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Retire what this kind of import brought and the file has no more; not if any entry was refused. Servers and agents
    /// end for good then: one that comes back later is registered anew, under another id
    #[arg(long)]
    retire_missing: bool,
    /// Retire also if entries were refused; those that could not be read count as missing
    #[arg(long, requires = "retire_missing")]
    force_retire: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Args)]
pub struct AgentsArgs {
    #[command(flatten)]
    args: Args,
    /// The field that tells agents apart: a name, or a JSON pointer such as /employee/id; `id` unless it is said
    #[arg(long, value_name = "FIELD")]
    key: Option<String>,
    /// Take our field from theirs, as in name=full_name; may be given several times
    #[arg(long = "map", value_name = "OURS=THEIRS")]
    maps: Vec<String>,
    /// Our field where a line has none, as in category=operations; may be given several times
    #[arg(long = "set", value_name = "OURS=VALUE")]
    defaults: Vec<String>,
}

/// Providers that are not here yet are registered, with what the file says of how they are reached; of those that are here
/// that stays. Retiring ends models, never a provider.
#[derive(Debug, clap::Args)]
pub struct ModelsArgs {
    #[command(flatten)]
    args: Args,
    /// Only providers that are registered here already, by hand, from the catalogue or by an import
    #[arg(long)]
    only_known: bool,
    #[command(flatten)]
    offers: Offers,
}

/// Prices and facts of models for the providers that are registered here, from models.dev's api.json or LiteLLM's
/// model_prices_and_context_window.json: `import models-dev --only-known`, or `import litellm --only-known`.
#[derive(Debug, clap::Args)]
pub struct PricesArgs {
    #[command(flatten)]
    args: Args,
    /// Who published the file; seen from it unless it is said. Standard input is taken for models.dev's
    #[arg(long, value_enum)]
    format: Option<Published>,
    /// Register the providers that are not here
    #[arg(long)]
    register: bool,
    #[command(flatten)]
    offers: Offers,
}

#[derive(Debug, clap::Args)]
struct Offers {
    /// Only this provider of the file; NAME_IN_FILE=NAME_OR_ID where it is called otherwise here. May be given several times
    #[arg(long = "provider", value_name = "NAME[=NAME_OR_ID]", value_parser = provider)]
    providers: Vec<String>,
    /// The day of the prices; without it, today
    #[arg(long, value_name = "YYYY-MM-DD")]
    as_of: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Published {
    ModelsDev,
    Litellm,
}

fn provider(text: &str) -> Result<String, String> {
    text.parse::<Selected>().map(|_| text.to_owned())
}

pub fn run(kind: Kind, args: Args) -> Result<Exit, Error> {
    bring(kind, &args, &[])
}

pub fn run_agents(args: AgentsArgs) -> Result<Exit, Error> {
    let (maps, defaults) = (args.maps.iter().map(String::as_str), args.defaults.iter().map(String::as_str));
    Mapping::new(args.key.as_deref(), maps, defaults).map_err(Error::Usage)?;
    let key = args.key.map(|key| ("key", key));
    let maps = args.maps.into_iter().map(|map| ("map", map));
    let defaults = args.defaults.into_iter().map(|default| ("set", default));
    let further: Vec<_> = key.into_iter().chain(maps).chain(defaults).collect();
    bring(Kind::Agents, &args.args, &further)
}

pub fn run_models(kind: Kind, args: ModelsArgs) -> Result<Exit, Error> {
    bring_models(kind, &args.args, args.only_known, args.offers)
}

pub fn run_prices(args: PricesArgs) -> Result<Exit, Error> {
    let published = match args.format {
        Some(published) => published,
        None => seen(&args.args.path)?,
    };
    let kind = if published == Published::Litellm { Kind::LiteLlm } else { Kind::ModelsDev };
    bring_models(kind, &args.args, !args.register, args.offers)
}

fn bring_models(kind: Kind, args: &Args, only_known: bool, offers: Offers) -> Result<Exit, Error> {
    let providers = offers.providers.into_iter().map(|provider| ("provider", provider));
    let as_of = offers.as_of.map(|day| ("as_of", day));
    let only_known = only_known.then(|| ("only_known", "true".to_owned()));
    bring(kind, args, &providers.chain(as_of).chain(only_known).collect::<Vec<_>>())
}

/// Who published a file: every entry of LiteLLM's has a field that none of models.dev's has.
fn seen(path: &Path) -> Result<Published, Error> {
    if path.as_os_str() == "-" || path.is_dir() {
        return Ok(Published::ModelsDev);
    }
    let failed = |cause| Error::Input { what: path.display().to_string(), cause };
    let mut beginning = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(SEEN_BYTES).read_to_end(&mut beginning).map_err(failed)?;
    let is_litellm = beginning.windows(LITELLM.len()).any(|piece| piece == LITELLM);
    Ok(if is_litellm { Published::Litellm } else { Published::ModelsDev })
}

fn bring(kind: Kind, args: &Args, further: &[(&str, String)]) -> Result<Exit, Error> {
    let tenant = args.remote.tenant()?;
    let mut target = "/v1/imports".to_owned();
    append_query(&mut target, "kind", kind.name());
    let flags =
        [("dry_run", args.dry_run), ("retire_missing", args.retire_missing), ("force_retire", args.force_retire)];
    for (name, _) in flags.into_iter().filter(|(_, is_set)| *is_set) {
        append_query(&mut target, name, "true");
    }
    for (name, value) in further {
        append_query(&mut target, name, value);
    }
    let files = Files::find(&args.path, if kind.is_lines() { Form::Lines } else { Form::Documents })?;
    let files = Arc::new(files);
    let mut shown = Shown::new(files.clone(), args.remote.output == Format::Table);
    let is_ended = block_on(async {
        tokio::select! {
            told = told(args, target, tenant, files, &mut shown) => told.map(|()| true),
            _ = tokio::signal::ctrl_c() => Ok(false),
        }
    })?;
    if !is_ended {
        shown.interrupted(kind.name(), args.dry_run);
    }
    match args.remote.output {
        Format::Json => output::json(&shown.to_json())?,
        Format::Table => shown.show()?,
    }
    match is_ended {
        true => Ok(shown.exit()),
        false => Err(Error::failed("interrupted; run the same again to finish it")),
    }
}

/// Sends the files and takes in what is told of them.
async fn told(
    args: &Args,
    target: String,
    tenant: uuid::Uuid,
    files: Arc<Files>,
    shown: &mut Shown,
) -> Result<(), Error> {
    let request = Request {
        target,
        tenant,
        content_type: files.content_type(),
        body: Files::body(files.clone()),
        sent: files.sent.clone(),
    };
    let mut events = match stream::post(&args.remote.url, args.remote.timeout(), request).await {
        Ok(events) => events,
        Err(error) => return Err(files.failure().unwrap_or(error.into())),
    };
    loop {
        let event = match events.next().await {
            Ok(event) => event,
            Err(error) => return Err(files.failure().unwrap_or_else(|| unfinished(&error.to_string(), error.exit()))),
        };
        let Some(event) = event else {
            let why = "the answer ended before its report";
            return Err(files.failure().unwrap_or_else(|| unfinished(why, Exit::Unreachable)));
        };
        let Ok(data) = serde_json::from_str::<Value>(&event.data) else { continue };
        match event.name.as_str() {
            "progress" => shown.progress(&data),
            "entry" => shown.entry(data),
            "report" => {
                shown.end(data);
                return Ok(());
            }
            _ => {}
        }
    }
}

fn unfinished(why: &str, exit: Exit) -> Error {
    Error::Failed { message: format!("{why}; run the same again to finish it"), exit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_publisher_is_seen_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let seen = |text: &str| {
            let path = folder.path().join("prices.json");
            std::fs::write(&path, text).unwrap();
            seen(&path).unwrap()
        };
        assert_eq!(seen("{}"), Published::ModelsDev);
        assert_eq!(seen("{\"a\": {\"litellm_provider\": \"x\"}}"), Published::Litellm);
        assert!(super::seen(&folder.path().join("nothing")).is_err());
    }
}
