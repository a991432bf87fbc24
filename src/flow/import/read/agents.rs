//! Agents of any source, one JSON object a line, with a mapping of fields.
//!
//! A field of ours is taken from the member that the mapping names for it, or else from the one that is called as it is.
//! A name that begins with `/` is a JSON pointer (RFC 6901). Where a line has no such member, the field has the value that
//! the mapping sets for it, if any.

use crate::domain::agent::{ReviseAgent, RiskTier};
use crate::domain::common::{NAME_BYTES_MAX, Requirements, TEXT_BYTES_MAX};
use crate::domain::personal::Personal;
use crate::flow::import::entry::{Cutter, Fault, Rank, Read};
use crate::flow::import::wanted::{Agent, Wanted};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The fields of an agent that a mapping can fill.
pub const TARGETS: [&str; 14] = [
    "name",
    "category",
    "purpose",
    "role",
    "instructions",
    "skills",
    "domains",
    "owner",
    "project",
    "risk_tier",
    "confidence_threshold",
    "requirements",
    "template",
    "template_parameters",
];
/// The member that is the key unless another is named.
const KEY: &str = "id";

/// The members from which fields are taken, by the places of [`TARGETS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources([String; TARGETS.len()]);

impl Sources {
    /// The member of a field; `None` of what is no field of an agent.
    pub fn of(&self, target: &str) -> Option<&str> {
        let place = TARGETS.iter().position(|it| *it == target)?;
        self.0.get(place).map(String::as_str)
    }
}

/// Where the fields of an agent come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    key: String,
    sources: Arc<Sources>,
    /// By the same places: the value where a line has none.
    defaults: [Option<Value>; TARGETS.len()],
    /// Whether a key or a field was named.
    is_said: bool,
}

impl Default for Mapping {
    fn default() -> Self {
        let sources = Arc::new(Sources(TARGETS.map(str::to_owned)));
        Self { key: KEY.into(), sources, defaults: TARGETS.map(|_| None), is_said: false }
    }
}

impl Mapping {
    /// From a key's name, any number of `target=source`, and any number of `target=value`.
    ///
    /// # Errors
    /// A sentence: which part is not of this form, is there twice, or names no field; it lists the fields there are.
    pub fn new<'a>(
        key: Option<&str>,
        pairs: impl IntoIterator<Item = &'a str>,
        defaults: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, String> {
        let mut mapping = Self::default();
        if let Some(key) = key {
            if key.is_empty() {
                return Err("the key needs the name of a field".into());
            }
            key.clone_into(&mut mapping.key);
            mapping.is_said = true;
        }
        let mut mapped = Vec::new();
        let mut sources = TARGETS.map(str::to_owned);
        for pair in pairs {
            let (place, source) = target(pair, "our_field=their_field")?;
            if mapped.contains(&place) {
                return Err(format!("{} is mapped twice; keep one of the two", TARGETS[place]));
            }
            mapped.push(place);
            source.clone_into(&mut sources[place]);
            mapping.is_said = true;
        }
        mapping.sources = Arc::new(Sources(sources));
        for pair in defaults {
            let (place, value) = target(pair, "our_field=value")?;
            let value = default_value(TARGETS[place], value)?;
            if mapping.defaults[place].replace(value).is_some() {
                return Err(format!("{} is set twice; keep one of the two", TARGETS[place]));
            }
        }
        Ok(mapping)
    }

    /// Whether it was said where fields are, so that any object may be an agent.
    pub fn is_said(&self) -> bool {
        self.is_said
    }

    /// What a line has for a field, and by what name.
    fn get<'a>(&'a self, value: &'a Value, target: &'static str) -> Option<(&'a str, &'a Value)> {
        let place = TARGETS.iter().position(|it| *it == target)?;
        let source = self.sources.0[place].as_str();
        let own = find(value, source).map(|found| (source, found));
        own.or_else(|| self.defaults[place].as_ref().map(|default| (target, default)))
    }

    /// What an agent's line calls its key, for who looks for one that was refused.
    pub fn told_key(&self, value: &Value) -> Option<String> {
        find(value, &self.key).and_then(|found| text(&self.key, found).ok())
    }
}

/// The place of a field, and what is said of it.
fn target<'a>(pair: &'a str, form: &str) -> Result<(usize, &'a str), String> {
    let parts = pair.split_once('=').filter(|(target, said)| !target.is_empty() && !said.is_empty());
    let (target, said) = parts.ok_or_else(|| format!("{pair:?} is not of this form: {form}"))?;
    let place = TARGETS.iter().position(|it| *it == target);
    let place = place.ok_or_else(|| format!("an agent has no field {target:?}; it has {}", TARGETS.join(", ")))?;
    Ok((place, said))
}

/// A value as it is set: text, or JSON where the field is an object. What is wrong with it is wrong in every line, and said
/// before the first.
fn default_value(target: &str, said: &str) -> Result<Value, String> {
    let value = match target {
        "requirements" | "template_parameters" => {
            serde_json::from_str(said).map_err(|error| format!("{target} must be a JSON object: {error}"))?
        }
        _ => Value::String(said.to_owned()),
    };
    let checked = match target {
        "confidence_threshold" => number(target, &value).map(drop),
        "risk_tier" => risk_tier(target, &value).map(drop),
        "requirements" => requirements(target, &value).map(drop),
        "template_parameters" => parameters(target, &value).map(drop),
        _ => Ok(()),
    };
    checked.map_err(|fault| format!("{target} {}", fault.reason))?;
    Ok(value)
}

/// # Errors
/// When the line is no agent, or cannot be kept here.
pub fn read(value: &Value, mapping: &Mapping) -> Result<Read, Fault> {
    if !value.is_object() {
        return Err(Fault::whole("the line is no JSON object"));
    }
    let key = find(value, &mapping.key)
        .ok_or_else(|| Fault::field(&mapping.key, "is missing; name the field that tells agents apart as the key"))?;
    let key = text(&mapping.key, key)?;
    if key.trim().is_empty() {
        return Err(Fault::field(&mapping.key, "must not be blank; it tells agents apart"));
    }
    let mut cutter = Cutter::default();
    let get = |target: &'static str| mapping.get(value, target);
    let plain = |target: &'static str| get(target).map(|(field, found)| text(field, found)).transpose();
    let personal = |target: &'static str| plain(target).map(|text| text.map_or(Personal::Absent, Personal::Plain));
    let mut agent = ReviseAgent {
        name: plain("name")?,
        instructions: personal("instructions")?,
        owner: personal("owner")?,
        project: plain("project")?,
        risk_tier: get("risk_tier").map(|(field, found)| risk_tier(field, found)).transpose()?,
        confidence_threshold: get("confidence_threshold").map(|(field, found)| number(field, found)).transpose()?,
        requirements: get("requirements").map(|(field, found)| requirements(field, found)).transpose()?,
        ..ReviseAgent::default()
    };
    agent.category = plain("category")?.map(|text| cutter.name("category", &text));
    agent.role = plain("role")?.map(|text| cutter.text("role", &text, NAME_BYTES_MAX));
    agent.purpose = plain("purpose")?.map(|text| cutter.text("purpose", &text, TEXT_BYTES_MAX));
    let list = |target: &'static str| get(target).map(|(field, found)| labels(field, found)).transpose();
    agent.skills = list("skills")?.map(|all| cutter.labels("skills", all.iter().map(String::as_str)));
    agent.domains = list("domains")?.map(|all| cutter.labels("domains", all.iter().map(String::as_str)));
    let wanted = Wanted::Agent(Box::new(Agent {
        profile: agent,
        template: plain("template")?.filter(|template| !template.trim().is_empty()),
        template_parameters: get("template_parameters").map(|(field, found)| parameters(field, found)).transpose()?,
        place: None,
        sources: mapping.is_said.then(|| mapping.sources.clone()),
    }));
    Ok(Read::Wanted { key, rank: Rank::default(), wanted, cuts: cutter.cuts })
}

/// A member by its name, or by a JSON pointer; null is as good as absent.
fn find<'a>(value: &'a Value, source: &str) -> Option<&'a Value> {
    let found = if source.starts_with('/') { value.pointer(source) } else { value.get(source) };
    found.filter(|found| !found.is_null())
}

/// A text, or a number or truth value as it is written.
fn text(field: &str, value: &Value) -> Result<String, Fault> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        _ => Err(Fault::field(field, "must be text or a number")),
    }
}

/// A list of texts, or one text with commas between.
fn labels(field: &str, value: &Value) -> Result<Vec<String>, Fault> {
    match value {
        Value::String(text) => Ok(text.split(',').map(|label| label.trim().to_owned()).collect()),
        Value::Array(items) => items.iter().map(|item| text(field, item)).collect(),
        _ => Err(Fault::field(field, "must be a list of texts, or one text with commas between")),
    }
}

fn number(field: &str, value: &Value) -> Result<f64, Fault> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|it: &f64| it.is_finite()).ok_or_else(|| Fault::field(field, "must be a number"))
}

fn risk_tier(field: &str, value: &Value) -> Result<RiskTier, Fault> {
    let text = text(field, value)?.to_lowercase();
    let tiers = [RiskTier::Low, RiskTier::Medium, RiskTier::High];
    let found = tiers.into_iter().find(|tier| tier.name() == text);
    found.ok_or_else(|| Fault::field(field, "must be low, medium or high"))
}

fn requirements(field: &str, value: &Value) -> Result<Requirements, Fault> {
    Requirements::deserialize(value).map_err(|error| Fault::field(field, error.to_string()))
}

/// An object of texts; numbers and truth values as they are written.
fn parameters(field: &str, value: &Value) -> Result<BTreeMap<String, String>, Fault> {
    let members = value.as_object().ok_or_else(|| Fault::field(field, "must be an object of texts"))?;
    let named = |(name, value): (&String, &Value)| Ok((name.clone(), text(&format!("{field}.{name}"), value)?));
    members.iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn agent(value: &Value, mapping: &Mapping) -> (String, ReviseAgent) {
        match read(value, mapping).unwrap() {
            Read::Wanted { wanted: Wanted::Agent(agent), key, .. } => (key, agent.profile),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fields_come_from_where_the_mapping_says_else_from_their_own_names() {
        let mapping = Mapping::new(Some("/ids/hr"), ["name=full_name", "skills=/job/tags", "owner=boss"], []).unwrap();
        let line = json!({"ids": {"hr": 4711}, "full_name": "Ada", "category": "research", "boss": "Bo",
            "job": {"tags": "a, b"}, "confidence_threshold": "0.5", "risk_tier": "High", "role": null});
        let (key, read) = agent(&line, &mapping);
        assert_eq!(
            (key.as_str(), read.name.as_deref(), read.category.as_deref()),
            ("4711", Some("Ada"), Some("research"))
        );
        assert_eq!((read.skills.unwrap(), read.owner.text()), (vec!["a".to_owned(), "b".into()], Some("Bo")));
        assert_eq!((read.confidence_threshold, read.risk_tier, read.role), (Some(0.5), Some(RiskTier::High), None));
    }

    #[test]
    fn what_a_line_does_not_have_is_set_and_a_template_has_its_parameters() {
        let set = [
            "category=ops",
            "template=researcher",
            "template_parameters={\"topic\":\"all\",\"depth\":2}",
            "skills=a, b",
        ];
        let mapping = Mapping::new(None, ["template=kind", "template_parameters=/given"], set).unwrap();
        let read = |line: Value| match super::read(&line, &mapping).unwrap() {
            Read::Wanted { wanted: Wanted::Agent(agent), .. } => *agent,
            other => panic!("{other:?}"),
        };
        let bare = read(json!({"id": 1, "name": "x", "category": null}));
        assert_eq!((bare.profile.category.as_deref(), bare.template.as_deref()), (Some("ops"), Some("researcher")));
        assert_eq!(bare.profile.skills.unwrap(), ["a", "b"]);
        assert_eq!(bare.template_parameters.unwrap()["depth"], "2");
        let whole = read(json!({"id": 1, "category": "x", "kind": "auditor", "given": {"scope": true}}));
        assert_eq!((whole.profile.category.as_deref(), whole.template.as_deref()), (Some("x"), Some("auditor")));
        assert_eq!(whole.template_parameters.unwrap()["scope"], "true");
    }

    #[test]
    fn a_mapping_that_cannot_be_meant_says_what_there_is() {
        let error = |pairs: &[&str]| Mapping::new(None, pairs.iter().copied(), []).unwrap_err();
        assert!(error(&["nmae=x"]).contains("name, category, purpose"), "{}", error(&["nmae=x"]));
        assert!(error(&["name"]).contains("our_field=their_field") && error(&["name=a", "name=b"]).contains("twice"));
        assert!(Mapping::new(Some(""), [], []).is_err());
        let error = |set: &[&str]| Mapping::new(None, [], set.iter().copied()).unwrap_err();
        assert!(error(&["category"]).contains("our_field=value") && error(&["id=7"]).contains("no field \"id\""));
        assert!(
            error(&["role=a", "role=b"]).contains("set twice") && error(&["risk_tier=huge"]).contains("low, medium")
        );
        assert!(error(&["requirements=cheap"]).contains("JSON object"), "{}", error(&["requirements=cheap"]));
    }

    #[test]
    fn what_a_rule_says_of_a_field_of_ours_is_told_of_theirs() {
        let mapping = Mapping::new(None, ["name=full_name", "requirements=/needs"], []).unwrap();
        let Ok(Read::Wanted { wanted: Wanted::Agent(agent), .. }) = read(&json!({"id": 1, "full_name": " "}), &mapping)
        else {
            panic!("a blank name is for the rules to refuse")
        };
        let told = ["name", "requirements.quality_min", "skills[2]", "expected_version"]
            .map(|field| agent.named(field.into()));
        assert_eq!(told, ["full_name", "/needs.quality_min", "skills[2]", "expected_version"]);
    }

    #[test]
    fn what_is_wrong_names_the_field_as_the_file_does() {
        let mapping = Mapping::new(None, ["skills=tags", "risk_tier=risk"], []).unwrap();
        for (line, field) in [
            (json!({"name": "x"}), "id"),
            (json!({"id": " "}), "id"),
            (json!({"id": {}}), "id"),
            (json!({"id": 1, "tags": 7}), "tags"),
            (json!({"id": 1, "risk": "extreme"}), "risk"),
            (json!({"id": 1, "confidence_threshold": "much"}), "confidence_threshold"),
            (json!({"id": 1, "requirements": {"latency": 1}}), "requirements"),
            (json!({"id": 1, "template_parameters": {"a": []}}), "template_parameters.a"),
            (json!({"id": 1, "template": []}), "template"),
        ] {
            assert_eq!(read(&line, &mapping).unwrap_err().field.as_deref(), Some(field), "{line}");
        }
        assert_eq!(read(&json!([1]), &mapping).unwrap_err().field, None);
    }
}
