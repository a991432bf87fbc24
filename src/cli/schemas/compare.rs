//! `agentverse schemas check` and `diff`: this program's schemas beside those of a registry, another node's built-in one
//! or any that speaks Confluent's calls.
//!
//! `check` asks whether both can live together: every schema against every version of its subject, in both directions.
//! `diff` asks what is not the same. Neither changes anything.

use super::registry_failed;
use crate::adapters::registry::{self, Client, Versions, subject};
use crate::cli::block_on;
use crate::cli::config::SettingsArgs;
use crate::cli::exit::{Error, Exit};
use crate::cli::output::{self, Format};
use crate::domain::schemas;
use crate::runtime::links;
use apache_avro::Schema;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: SettingsArgs,
    /// How to show the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// What became of one schema in a comparison.
#[derive(Debug, PartialEq, Eq)]
pub struct Compared {
    pub name: String,
    pub status: &'static str,
    /// A sentence for each thing that is to be said of it.
    pub messages: Vec<String>,
}

pub fn check(args: &Args) -> Result<Exit, Error> {
    let (url, kept, _) = kept(args)?;
    let items: Vec<_> = kept.iter().map(|versions| checked(versions.codec.schema, versions)).collect();
    let conflicts = items.iter().filter(|item| item.status == "incompatible").count();
    let new = items.iter().filter(|item| item.status == "missing").count();
    let end = match conflicts {
        0 => format!("Registry {url}: all {} schemas go together with it; it lacks {new} of them.", items.len()),
        _ => format!("Registry {url}: {conflicts} of {} schemas conflict with what it has.", items.len()),
    };
    show(args, &url, &items, &["compatible"], &end)?;
    Ok(if conflicts == 0 { Exit::Done } else { Exit::Failed })
}

pub fn diff(args: &Args) -> Result<Exit, Error> {
    let (url, kept, there) = kept(args)?;
    let mut items: Vec<_> = kept.iter().map(|versions| differing(versions.codec.schema, versions)).collect();
    let ours: Vec<_> = kept.iter().map(|versions| subject(versions.codec)).collect();
    let others = there.into_iter().filter(|name| name.starts_with("agentverse.") && !ours.contains(name));
    items.extend(others.map(|name| Compared {
        name,
        status: "unknown",
        messages: vec!["only the registry has it".into()],
    }));
    let differences = items.iter().filter(|item| item.status != "same").count();
    let end = match differences {
        0 => format!("Registry {url} has all {} schemas as they are here.", items.len()),
        _ => format!("Registry {url}: {differences} of {} schemas differ.", items.len()),
    };
    show(args, &url, &items, &["same"], &end)?;
    Ok(if differences == 0 { Exit::Done } else { Exit::Failed })
}

/// What the registry has of each schema of ours, and the names of all of its subjects.
fn kept(args: &Args) -> Result<(String, Vec<Versions>, Vec<String>), Error> {
    let settings = args.settings.load().map_err(|error| Error::Usage(error.to_string()))?.settings;
    let registry = links::registry_config(&settings).map_err(|error| Error::Usage(error.to_string()))?;
    let Some(config) = registry else {
        let why =
            "there is no registry: set registry_url, as in --set registry_url=http://127.0.0.1:7400/schema-registry";
        return Err(Error::Usage(why.into()));
    };
    block_on(async {
        let client = Client::new(&config).map_err(registry_failed)?;
        let kept = registry::kept(&client, &links::codecs()).await.map_err(registry_failed)?;
        let there = client.subjects().await.map_err(registry_failed)?;
        Ok((client.url().to_owned(), kept, there))
    })
}

/// People see what is not as it should be, programs everything.
fn show(args: &Args, url: &str, items: &[Compared], unremarkable: &[&str], end: &str) -> Result<(), Error> {
    let to_json = |item: &Compared| json!({ "name": item.name, "status": item.status, "messages": item.messages });
    match args.output {
        Format::Json => {
            output::json(&json!({ "registry": url, "items": items.iter().map(to_json).collect::<Vec<_>>() }))?
        }
        Format::Table => {
            for item in items.iter().filter(|item| !unremarkable.contains(&item.status)) {
                output::line(format!("{}: {}", item.name, item.status))?;
                item.messages.iter().try_for_each(|message| output::line(format!("  {message}")))?;
            }
            output::line(end)?;
        }
    }
    Ok(())
}

/// A schema against every version that the registry has.
fn checked(ours: &Schema, kept: &Versions) -> Compared {
    let mut messages = Vec::new();
    for (number, text) in &kept.texts {
        match schemas::parse(text) {
            Ok(theirs) => messages.extend(schemas::conflicts_with(ours, *number, &theirs)),
            Err(cause) => messages.push(format!("version {number} cannot be read: {cause}")),
        }
    }
    let status = match () {
        () if kept.texts.is_empty() => "missing",
        () if messages.is_empty() => "compatible",
        () => "incompatible",
    };
    Compared { name: subject(kept.codec), status, messages }
}

/// A schema against the latest version that the registry has.
fn differing(ours: &Schema, kept: &Versions) -> Compared {
    let compared = |status, messages| Compared { name: subject(kept.codec), status, messages };
    let Some((number, text)) = kept.texts.last() else {
        return compared("missing", vec!["the registry does not have it".to_owned()]);
    };
    match schemas::parse(text) {
        Ok(theirs) if schemas::same(ours, &theirs, false) => compared("same", Vec::new()),
        Ok(theirs) => compared("different", differences(ours, &theirs, *number)),
        Err(cause) => compared("different", vec![format!("version {number} cannot be read: {cause}")]),
    }
}

/// What two records do not have in common, field by field.
fn differences(ours: &Schema, theirs: &Schema, number: u32) -> Vec<String> {
    let (here, there) = (fields(ours), fields(theirs));
    let mut messages = Vec::new();
    for (name, field) in &here {
        match there.get(name) {
            None => messages.push(format!("field {name:?} is not in version {number}")),
            Some(other) => {
                let differ = |key: &&str| field.get(key) != other.get(key);
                let parts: Vec<_> = ["type", "default", "doc", "aliases"].into_iter().filter(differ).collect();
                if !parts.is_empty() {
                    messages.push(format!("field {name:?} has another {} in version {number}", parts.join(" and ")));
                }
            }
        }
    }
    let only_there = there.keys().filter(|name| !here.contains_key(*name));
    messages.extend(only_there.map(|name| format!("field {name:?} is only in version {number}")));
    if messages.is_empty() {
        messages.push(format!(
            "the record itself is written otherwise in version {number}: its words, or its fields' order"
        ));
    }
    messages
}

/// A record's fields as JSON, by name.
fn fields(schema: &Schema) -> BTreeMap<String, Value> {
    let json = serde_json::to_value(schema).unwrap_or_default();
    let fields = json["fields"].as_array().cloned().unwrap_or_default();
    fields.into_iter().map(|field| (field["name"].as_str().unwrap_or_default().to_owned(), field)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn against(texts: &[(u32, &str)]) -> Versions {
        let codec = links::codecs().into_iter().find(|codec| codec.name == "EndCoupling").unwrap();
        let texts = texts.iter().map(|(number, text)| (*number, (*text).to_owned())).collect();
        Versions { codec, texts }
    }

    fn with_field(field: &str) -> String {
        let text = against(&[]).codec.text;
        let at = text.find("\"fields\": [").unwrap() + "\"fields\": [".len();
        format!("{}{field},{}", &text[..at], &text[at..])
    }

    #[test]
    fn a_schema_is_held_against_every_version() {
        let kept = against(&[]);
        let ours = kept.codec.schema;
        assert_eq!(checked(ours, &kept).status, "missing");
        assert_eq!(checked(ours, &against(&[(1, kept.codec.text)])).status, "compatible");
        let needed = with_field(r#"{"name": "x", "type": "int"}"#);
        let found = checked(ours, &against(&[(1, &needed), (2, kept.codec.text)]));
        assert_eq!(found.status, "incompatible");
        assert!(found.messages.len() == 1 && found.messages[0].contains("version 1 cannot read"), "{found:?}");
        let found = checked(ours, &against(&[(3, "{")]));
        assert!(found.status == "incompatible" && found.messages[0].starts_with("version 3 cannot be read"));
    }

    #[test]
    fn what_differs_from_the_latest_is_named_by_field() {
        let kept = against(&[]);
        let ours = kept.codec.schema;
        assert_eq!(differing(ours, &kept).status, "missing");
        let optional = with_field(r#"{"name": "x", "type": ["null", "int"], "default": null}"#);
        assert_eq!(differing(ours, &against(&[(1, &optional), (2, kept.codec.text)])).status, "same");
        let found = differing(ours, &against(&[(1, kept.codec.text), (2, &optional)]));
        assert_eq!((found.status, found.messages), ("different", vec!["field \"x\" is only in version 2".to_owned()]));
        let theirs = schemas::parse(&optional).unwrap();
        assert_eq!(differences(&theirs, ours, 4), ["field \"x\" is not in version 4"]);
        let other = schemas::parse(&with_field(r#"{"name": "x", "type": "int", "default": 1}"#)).unwrap();
        assert_eq!(differences(&theirs, &other, 1), ["field \"x\" has another type and default in version 1"]);
    }
}
