//! `agentverse import KIND FILE|DIR|-`: sends what is to be imported to the node as it is read, and shows what the node
//! tells of it. What an entry means, and what it changes, only the node knows.

mod files;
mod shown;

use crate::cli::exit::{Error, Exit};
use crate::cli::output::{self, Format};
use crate::cli::stream::{self, Request};
use crate::cli::url::append_query;
use crate::cli::{Remote, block_on};
use crate::flow::import::{Kind, Mapping};
use files::{Files, Form};
use serde_json::Value;
use shown::Shown;
use std::path::PathBuf;
use std::sync::Arc;

/// What is there already and differs is changed, field by field; what the file does not say stays as it is. The same
/// file again changes nothing, so that an import that was interrupted is finished by a second one.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file; a folder, of which every .json file below it is taken; or `-` for standard input
    path: PathBuf,
    /// Tell what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Retire what this kind of import brought and the file has no more; not if any entry was refused
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
}

pub fn run(kind: Kind, args: Args) -> Result<Exit, Error> {
    bring(kind, &args, &[])
}

pub fn run_agents(args: AgentsArgs) -> Result<Exit, Error> {
    let maps = args.maps.iter().map(String::as_str);
    Mapping::new(args.key.as_deref(), maps).map_err(Error::Usage)?;
    let key = args.key.map(|key| ("key", key));
    let further: Vec<_> = key.into_iter().chain(args.maps.into_iter().map(|map| ("map", map))).collect();
    bring(Kind::Agents, &args.args, &further)
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
    let shown = block_on(async {
        tokio::select! {
            shown = told(args, target, tenant, files) => shown,
            _ = tokio::signal::ctrl_c() => Err(Error::failed(
                "interrupted: what was told as done is done; run the same again to finish it",
            )),
        }
    })?;
    match args.remote.output {
        Format::Json => output::json(&shown.to_json())?,
        Format::Table => shown.show()?,
    }
    Ok(shown.exit())
}

/// Sends the files and takes in what is told of them.
async fn told(args: &Args, target: String, tenant: uuid::Uuid, files: Files) -> Result<Shown, Error> {
    let files = Arc::new(files);
    let mut shown = Shown::new(files.clone(), args.remote.output == Format::Table);
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
                return Ok(shown);
            }
            _ => {}
        }
    }
}

fn unfinished(why: &str, exit: Exit) -> Error {
    Error::Failed { message: format!("{why}; run the same again to finish it"), exit }
}
