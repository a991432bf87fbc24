//! Which of the node's providers a provider of the file is.

use crate::domain::llm_provider::{MODEL_SHOWN_FIELDS, Model};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use uuid::Uuid;

/// A provider as the node has it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Known {
    pub id: Uuid,
    pub version: u64,
    pub name: String,
    #[serde(default, deserialize_with = "declared")]
    pub models: Vec<Model>,
}

/// Models as they were declared: without what is shown of them beside that.
fn declared<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Model>, D::Error> {
    let shown: Vec<Map<String, Value>> = Deserialize::deserialize(deserializer)?;
    let declared = shown.into_iter().map(|mut model| {
        MODEL_SHOWN_FIELDS.iter().for_each(|field| drop(model.remove(*field)));
        serde_json::from_value(Value::Object(model)).map_err(D::Error::custom)
    });
    declared.collect()
}

/// One `--provider`: a name in the file, and perhaps what the node calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub in_file: String,
    pub here: Option<String>,
}

impl std::str::FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (in_file, here) = match text.split_once('=') {
            Some((in_file, here)) => (in_file, Some(here.to_owned())),
            None => (text, None),
        };
        if in_file.is_empty() || here.as_deref() == Some("") {
            return Err("give a provider as the file names it, or NAME_IN_FILE=NAME_OR_ID_HERE".into());
        }
        Ok(Self { in_file: in_file.to_owned(), here })
    }
}

/// Names that files have for providers which go by another one: both reduced to letters and digits.
const ALSO: &[(&str, &str)] = &[
    ("google", "googlegemini"),
    ("gemini", "googlegemini"),
    ("bedrock", "amazonbedrock"),
    ("azure", "azureopenai"),
    ("mistral", "mistralai"),
    ("moonshot", "moonshotai"),
    ("alibaba", "alibabacloud"),
    ("dashscope", "alibabacloud"),
    ("nebius", "nebiustokenfactory"),
    ("ovhcloud", "ovhcloudaiendpoints"),
    ("nvidianim", "nvidia"),
];

fn reduced(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The provider that is meant: by the name or id that was given for it, else by either name that the file has. `None`:
/// there is none.
///
/// # Errors
/// When several are called so.
pub fn find<'a>(
    known: &'a [Known],
    in_file: &str,
    name: &str,
    here: Option<&str>,
) -> Result<Option<&'a Known>, String> {
    if let Some(provider) = here.and_then(|here| Uuid::parse_str(here).ok()) {
        return Ok(known.iter().find(|it| it.id == provider));
    }
    let names: Vec<String> = match here {
        Some(here) => vec![reduced(here)],
        None => {
            let own = reduced(in_file);
            let also = ALSO.iter().find(|(file, _)| *file == own).map(|(_, here)| (*here).to_owned());
            [Some(own), Some(reduced(name)), also].into_iter().flatten().collect()
        }
    };
    let called: Vec<&Known> = known.iter().filter(|it| names.contains(&reduced(&it.name))).collect();
    match called.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => Err(format!("{} providers are called so; say which with --provider {in_file}=ID", several.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(names: &[&str]) -> Vec<Known> {
        let known = |(at, name): (usize, &&str)| Known {
            id: Uuid::from_u128(at as u128),
            name: (*name).into(),
            ..Known::default()
        };
        names.iter().enumerate().map(known).collect()
    }

    #[test]
    fn a_provider_is_found_by_either_name_its_alias_or_what_was_said() {
        let all = known(&["OpenAI", "Google Gemini", "Z.AI", "Mine", "mine"]);
        let name =
            |in_file: &str, name: &str, here| find(&all, in_file, name, here).map(|it| it.map(|it| it.name.as_str()));
        assert_eq!(name("openai", "OpenAI", None), Ok(Some("OpenAI")));
        assert_eq!(name("google", "Google", None), Ok(Some("Google Gemini")));
        assert_eq!(name("zai", "x", None), Ok(Some("Z.AI")));
        assert_eq!(name("acme", "Acme", None), Ok(None));
        assert_eq!(name("acme", "Acme", Some("openai")), Ok(Some("OpenAI")));
        assert_eq!(name("acme", "Acme", Some("00000000-0000-0000-0000-000000000003")), Ok(Some("Mine")));
        assert!(name("mine", "Mine", None).unwrap_err().contains("--provider mine=ID"));
    }

    #[test]
    fn an_option_names_a_provider_in_the_file_and_perhaps_here() {
        assert_eq!("a=B c".parse(), Ok(Wanted { in_file: "a".into(), here: Some("B c".into()) }));
        assert_eq!("a".parse(), Ok(Wanted { in_file: "a".into(), here: None }));
        assert!("=b".parse::<Wanted>().is_err() && "a=".parse::<Wanted>().is_err());
    }
}
