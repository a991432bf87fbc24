//! `agentverse import llm-prices FILE`: reads the file, holds it against the node, tells the difference, and sends it.
//!
//! A command says which version of its provider it was made for. Where it changed meanwhile, as when it was measured, the
//! provider is read again and what is still to be put is held against it anew. What is already so is not sent.

use super::offer::{Offers, Provider, Refused};
use super::plan::{Change, Origin, change};
use super::report::{Fate, ModelReport, ProviderReport, Report};
use super::wanted::{Known, Wanted, find};
use super::{litellm, models_dev, read};
use crate::cli::client::{Connection, Request};
use crate::cli::exit::{Error, Exit};
use crate::cli::output::{self, Format};
use crate::cli::url::append_query;
use crate::cli::{Remote, block_on};
use crate::domain::Micros;
use crate::domain::llm_provider::{Model, WireProtocol};
use crate::ports::Clock;
use crate::ports::clock::SystemClock;
use crate::runtime::catalog::provider_id;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use uuid::Uuid;

/// Models of one command: what it records has each model twice, and must fit what the journal takes of one command.
const MODELS_PER_COMMAND: usize = 100;
/// How often a provider is read again that changes under an import.
const REREADS_MAX: usize = 5;
const EVENT: &str = "application/cloudevents+json";
const SOURCE: &str = "agentverse/import";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file, or `-` for standard input
    file: PathBuf,
    /// Who published it; seen from the file unless it is said
    #[arg(long, value_enum)]
    format: Option<Published>,
    /// Only this provider of the file; NAME_IN_FILE=NAME_OR_ID where it is called otherwise here. May be given several times
    #[arg(long = "provider", value_name = "NAME[=NAME_OR_ID]")]
    providers: Vec<Wanted>,
    /// Register the providers that are not here
    #[arg(long)]
    register: bool,
    /// Tell what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The day of the prices; without it, today
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    as_of: Option<Micros>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Published {
    ModelsDev,
    Litellm,
}

fn day(text: &str) -> Result<Micros, String> {
    let midnight = format!("{text}T00:00:00Z").parse::<jiff::Timestamp>();
    let micros = midnight.map(jiff::Timestamp::as_microsecond).ok().filter(|micros| *micros >= 0);
    micros.ok_or_else(|| "give a day since 1970, as in 2026-01-31".into())
}

pub fn run(args: Args) -> Result<Exit, Error> {
    args.remote.tenant()?;
    let text = read(&args.file)?;
    let offers = parse(&text, args.format).map_err(|why| Error::Usage(format!("{}: {why}", args.file.display())))?;
    for wanted in &args.providers {
        if !offers.providers.contains_key(&wanted.in_file) {
            let why = format!("the file has no provider {:?}; its providers: {}", wanted.in_file, names(&offers));
            return Err(Error::Usage(why));
        }
    }
    let report = block_on(import(&args, &offers))?;
    match args.remote.output {
        Format::Json => output::json(&report)?,
        Format::Table => report.show()?,
    }
    Ok(if report.is_refused() { Exit::Refused } else { Exit::Done })
}

fn names(offers: &Offers) -> String {
    output::shorten(&offers.providers.keys().map(String::as_str).collect::<Vec<_>>().join(", "), 400)
}

fn parse(text: &str, format: Option<Published>) -> Result<Offers, String> {
    // Every entry of LiteLLM's has this field, and none of models.dev's.
    let seen = if text.contains("\"litellm_provider\"") { Published::Litellm } else { Published::ModelsDev };
    match format.unwrap_or(seen) {
        Published::ModelsDev => models_dev::read(text),
        Published::Litellm => litellm::read(text),
    }
}

/// The node, for one tenant.
struct Node {
    connection: Connection,
    tenant: Uuid,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Known>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Decided {
    outcome: String,
    version: Option<u64>,
    reason: Option<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    code: String,
    message: String,
}

impl Node {
    /// The tenant's own providers that are registered.
    async fn providers(&mut self) -> Result<Vec<Known>, Error> {
        let (mut known, mut cursor): (Vec<Known>, Option<String>) = (Vec::new(), None);
        loop {
            let mut target = "/v1/llm-providers?shared=false&status=registered&limit=100".to_owned();
            if let Some(cursor) = &cursor {
                append_query(&mut target, "cursor", cursor);
            }
            let page: Page = self.connection.request(Request::get(target, Some(self.tenant))).await?.json()?;
            known.extend(page.items);
            match page.next_cursor {
                Some(next) if Some(&next) != cursor.as_ref() => cursor = Some(next),
                _ => return Ok(known),
            }
        }
    }

    /// A provider as it is now.
    async fn provider(&mut self, id: Uuid) -> Result<Known, Error> {
        let request = Request::get(format!("/v1/llm-providers/{id}"), Some(self.tenant));
        Ok(self.connection.request(request).await?.json()?)
    }

    /// Sends a command to a provider of this version, and waits for it.
    async fn send(&mut self, name: &str, id: Uuid, version: u64, data: Value) -> Result<Sent, Error> {
        let event = json!({
            "type": format!("llm_provider.{name}"), "source": SOURCE, "subject": id, "expectedversion": version,
            "data": data,
        });
        let body = Bytes::from(event.to_string());
        let request = Request::post("/v1/commands?wait=projected&timeout_ms=30000", Some(self.tenant), EVENT, body);
        let decided: Decided = self.connection.request(request).await?.json()?;
        Ok(match (decided.outcome.as_str(), decided.reason) {
            ("applied", _) => Sent::Applied(decided.version.unwrap_or(version)),
            (_, Some(reason)) if reason.code == "version_mismatch" => Sent::Changed,
            (_, Some(reason)) => Sent::Refused(format!("{}: {}", reason.code, reason.message)),
            (outcome, None) => Sent::Refused(format!("it is {outcome} and not decided; import again")),
        })
    }
}

/// What became of a command.
enum Sent {
    /// The version after it.
    Applied(u64),
    /// Its provider is of another version by now.
    Changed,
    Refused(String),
}

async fn import(args: &Args, offers: &Offers) -> Result<Report, Error> {
    let tenant = args.remote.tenant()?;
    let mut node = Node { connection: Connection::new(args.remote.url.clone(), args.remote.timeout()), tenant };
    let known = node.providers().await?;
    let origin =
        Origin { source: offers.source.to_owned(), priced_at: args.as_of.unwrap_or_else(|| SystemClock.now()) };
    let mut report = Report::new(offers, args.dry_run);
    let is_wanted = |in_file: &str| args.providers.is_empty() || args.providers.iter().any(|it| it.in_file == in_file);
    let is_in_sight = |it: &&Refused| is_wanted(&it.provider) || it.provider.is_empty();
    offers.refused.iter().filter(is_in_sight).cloned().for_each(|refused| report.refuse(refused));
    for (in_file, provider) in offers.providers.iter().filter(|(in_file, _)| is_wanted(in_file)) {
        let here = args.providers.iter().find(|it| it.in_file == *in_file).and_then(|it| it.here.as_deref());
        let mut line = ProviderReport { in_file: in_file.clone(), ..ProviderReport::default() };
        let mut target = Target { known: Known::default(), register: None };
        match find(&known, in_file, &provider.name, here) {
            Ok(Some(found)) => target.known = found.clone(),
            Ok(None) if args.register => match registration(tenant, provider) {
                Ok(registration) => {
                    line.fate = Fate::Registered;
                    target.known.id = registration.0;
                    target.register = Some(registration.1);
                }
                Err(why) => (line.fate, line.reason) = (Fate::Refused, Some(why)),
            },
            Ok(None) => line.fate = Fate::Missing,
            Err(why) => (line.fate, line.reason) = (Fate::Refused, Some(why)),
        }
        if matches!(line.fate, Fate::Known | Fate::Registered) {
            line.id = Some(target.known.id);
            let models = compare(provider, &target.known, &origin, &mut line, &mut report);
            if !args.dry_run
                && let Err(why) = put(&mut node, target, provider, &origin, models).await?
            {
                (line.fate, line.reason) = (Fate::Refused, Some(why));
            }
        }
        report.providers.push(line);
    }
    Ok(report)
}

/// A provider that models are put to.
struct Target {
    known: Known,
    register: Option<Value>,
}

/// Id and data of the command that registers a provider. The id follows from the name, as that of the catalogue's does.
fn registration(tenant: Uuid, provider: &Provider) -> Result<(Uuid, Value), String> {
    let Some(wire_protocol) = provider.wire_protocol else {
        return Err("how it is spoken with is not known; register it by hand, and import again".into());
    };
    let has_place =
        matches!(wire_protocol, WireProtocol::Anthropic | WireProtocol::Gemini) || provider.name == "OpenAI";
    if provider.endpoint.is_none() && !has_place && provider.name != "openai" {
        return Err("where it is found is not known; register it by hand, and import again".into());
    }
    let id = match tenant.is_nil() {
        true => provider_id(&provider.name),
        false => Uuid::new_v5(&tenant, format!("llm_provider/{}", provider.name).as_bytes()),
    };
    let data = json!({
        "name": provider.name, "wire_protocol": wire_protocol, "endpoint": provider.endpoint,
        "api_key_env": provider.api_key_env,
    });
    Ok((id, data))
}

/// The models of a provider that are to be put; the report is told of every one.
fn compare(
    provider: &Provider,
    known: &Known,
    origin: &Origin,
    line: &mut ProviderReport,
    report: &mut Report,
) -> Vec<Model> {
    let mut put = Vec::new();
    for (model_id, offer) in &provider.models {
        let before = known.models.iter().find(|model| model.model_id == *model_id);
        let (provider, model_id) = (line.in_file.clone(), model_id.clone());
        let (model, created, differences) = match change(&model_id, offer, before, origin) {
            Change::Unchanged => {
                line.unchanged += 1;
                continue;
            }
            Change::Refused(reason) => {
                report.refuse(Refused { provider, model_id, reason });
                continue;
            }
            Change::Created(model) => (model, true, Vec::new()),
            Change::Changed(model, differences) => (model, false, differences),
        };
        line.created += usize::from(created);
        line.changed += usize::from(!created);
        report.models.push(ModelReport { provider, model_id, created, differences });
        put.push(*model);
    }
    put
}

/// Sends what there is to send; says why where the node refuses it.
async fn put(
    node: &mut Node,
    target: Target,
    provider: &Provider,
    origin: &Origin,
    mut models: Vec<Model>,
) -> Result<Result<(), String>, Error> {
    let (id, mut version) = (target.known.id, target.known.version);
    if let Some(data) = target.register {
        match node.send("RegisterLlmProvider", id, version, data).await? {
            Sent::Applied(after) => version = after,
            Sent::Changed => return Ok(Err("another one registered it meanwhile; import again".into())),
            Sent::Refused(why) => return Ok(Err(why)),
        }
    }
    let mut rereads = 0;
    while !models.is_empty() {
        let rest = models.split_off(models.len().min(MODELS_PER_COMMAND));
        match node.send("PutModels", id, version, json!({ "models": models })).await? {
            Sent::Applied(after) => (version, models) = (after, rest),
            Sent::Changed if rereads == REREADS_MAX => {
                return Ok(Err("it changes all the time; import again when nobody else changes it".into()));
            }
            Sent::Changed => {
                rereads += 1;
                let known = node.provider(id).await?;
                models.extend(rest);
                (version, models) = (known.version, still(&models, provider, &known, origin));
            }
            Sent::Refused(why) => return Ok(Err(why)),
        }
    }
    Ok(Ok(()))
}

/// Those of the models that a provider which changed meanwhile still lacks, as they are to be put to it now.
fn still(models: &[Model], provider: &Provider, known: &Known, origin: &Origin) -> Vec<Model> {
    let wanted = models.iter().filter_map(|model| provider.models.get_key_value(&model.model_id));
    let changes = wanted.map(|(model_id, offer)| {
        let before = known.models.iter().find(|model| model.model_id == *model_id);
        change(model_id, offer, before, origin)
    });
    let put = |change| match change {
        Change::Created(model) | Change::Changed(model, _) => Some(*model),
        Change::Unchanged | Change::Refused(_) => None,
    };
    changes.filter_map(put).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_publisher_is_seen_from_the_file() {
        assert_eq!(parse("{}", None).unwrap().source, models_dev::NAME);
        assert_eq!(parse(r#"{"a":{"litellm_provider":"x"}}"#, None).unwrap().source, litellm::NAME);
        assert_eq!(parse("{}", Some(Published::Litellm)).unwrap().source, litellm::NAME);
    }

    #[test]
    fn what_is_still_to_be_put_is_held_against_the_provider_as_it_is_now() {
        let file = r#"{"acme":{"name":"Acme","models":{"a":{"id":"a","cost":{"input":1,"output":2}},
            "b":{"id":"b","cost":{"input":3,"output":4}},"c":{"id":"c","cost":{"input":5,"output":6}}}}}"#;
        let offers = parse(file, None).unwrap();
        let provider = &offers.providers["acme"];
        let origin = Origin { source: "there".into(), priced_at: 7 };
        let all = provider.models.keys().map(|id| Model { model_id: id.clone(), ..Model::default() });
        let all: Vec<_> = all.collect();
        let wanted = still(&all, provider, &Known::default(), &origin);
        assert_eq!(wanted.len(), 3);
        // Meanwhile another one put the second as it is in the file, and named the third.
        let named = Model { model_id: "c".into(), name: "Third".into(), ..Model::default() };
        let known = Known { models: vec![wanted[1].clone(), named], ..Known::default() };
        let left = still(&wanted, provider, &known, &origin);
        let ids: Vec<_> = left.iter().map(|model| model.model_id.as_str()).collect();
        assert_eq!(ids, ["a", "c"]);
        assert_eq!(left[1].name, "Third", "what another one changed stays");
    }

    #[test]
    fn a_day_is_its_first_moment_in_utc() {
        assert_eq!(day("2026-01-01"), Ok(1_767_225_600_000_000));
        assert!(day("yesterday").is_err() && day("1969-12-31").is_err() && day("2026-02-30").is_err());
    }

    #[test]
    fn a_provider_is_registered_only_where_it_is_known_how_and_where() {
        let provider = |name: &str, wire_protocol, endpoint: Option<&str>| Provider {
            name: name.into(),
            wire_protocol,
            endpoint: endpoint.map(str::to_owned),
            ..Provider::default()
        };
        let tenant = Uuid::from_u128(7);
        let of = |provider: &Provider| registration(tenant, provider).map(|(id, _)| id);
        let acme = provider("Acme", Some(WireProtocol::Openai), Some("https://acme.example/v1"));
        assert_eq!(of(&acme), of(&acme), "the same at every import");
        assert_eq!(registration(Uuid::nil(), &acme).unwrap().0, provider_id("Acme"));
        assert!(of(&provider("Acme", None, Some("https://x"))).unwrap_err().contains("how it is spoken"));
        assert!(of(&provider("Acme", Some(WireProtocol::Openai), None)).unwrap_err().contains("where it is found"));
        assert!(of(&provider("Anthropic", Some(WireProtocol::Anthropic), None)).is_ok());
    }
}
