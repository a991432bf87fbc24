//! The topics as they should be: Strimzi `KafkaTopic` manifests, as `topics/` holds them and as the binary carries them.
//!
//! They are read by hand and not by a derived form, so that what is wrong is named by file and field, and a misspelt
//! field of `spec` is an error rather than a default.

use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Most partitions that a manifest may ask for, and most replicas: far above any use, below what wrecks a cluster.
const PARTITIONS_MAX: u64 = 10_000;
const REPLICAS_MAX: u64 = 16;

macro_rules! files {
    ($($name:literal),+ $(,)?) => { &[$(($name, include_str!(concat!("../../../topics/", $name)))),+] };
}

/// The files of `topics/`, in the order of their names.
pub const FILES: &[(&str, &str)] = files![
    "agentverse.agent.commands.v1.yaml",
    "agentverse.agent.events.v1.yaml",
    "agentverse.agent.heartbeats.v1.yaml",
    "agentverse.agent_template.commands.v1.yaml",
    "agentverse.agent_template.events.v1.yaml",
    "agentverse.command-outcomes.v1.yaml",
    "agentverse.coupling.commands.v1.yaml",
    "agentverse.coupling.events.v1.yaml",
    "agentverse.dead-letters.v1.yaml",
    "agentverse.llm-requests.v1.yaml",
    "agentverse.llm_batch.commands.v1.yaml",
    "agentverse.llm_batch.events.v1.yaml",
    "agentverse.llm_provider.commands.v1.yaml",
    "agentverse.llm_provider.events.v1.yaml",
    "agentverse.llm_request.commands.v1.yaml",
    "agentverse.llm_request.events.v1.yaml",
    "agentverse.mcp-requests.v1.yaml",
    "agentverse.mcp_server.commands.v1.yaml",
    "agentverse.mcp_server.events.v1.yaml",
    "agentverse.skill.commands.v1.yaml",
    "agentverse.skill.events.v1.yaml",
    "agentverse.tenant.commands.v1.yaml",
    "agentverse.tenant.events.v1.yaml",
];

/// The files of `topics/profiles/`.
pub const PROFILES: &[(&str, &str)] = files!["profiles/planned.yaml"];

/// A topic as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: String,
    pub partitions: u32,
    pub replicas: u16,
    pub config: BTreeMap<String, String>,
    /// Whether its partitions answer to the logs of an aggregate, so that their count is fixed with the fleet.
    pub is_fixed: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{} cannot be read: {cause}", path.display())]
    File { path: PathBuf, cause: std::io::Error },
    #[error("{} holds no manifest: give a folder of KafkaTopic files that end in .yaml or .yml", .0.display())]
    Empty(PathBuf),
    #[error("{file} is no YAML that can be read: {cause}")]
    Yaml { file: String, cause: String },
    #[error("{file}: {field} {fault}")]
    Field { file: String, field: String, fault: String },
    #[error("{file}: the topic {topic} is in {other} already")]
    Twice { file: String, other: String, topic: String },
    #[error("{file}: there is no manifest of the topic {topic}")]
    Missing { file: String, topic: String },
}

/// The topics that the binary carries.
///
/// # Errors
/// When one of its files is no manifest, which a test rules out.
pub fn built_in() -> Result<Vec<Topic>, Error> {
    collect(FILES.iter().map(|(file, text)| Ok(((*file).to_owned(), (*text).to_owned()))))
}

/// The topics of the `.yaml` and `.yml` files of a folder; those of folders inside it are left alone.
///
/// # Errors
/// When the folder has none, or one of them is no manifest.
pub fn read_dir(folder: &Path) -> Result<Vec<Topic>, Error> {
    let failed = |cause| Error::File { path: folder.to_owned(), cause };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_file() && path.extension().is_some_and(|end| end == "yaml" || end == "yml") {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(Error::Empty(folder.to_owned()));
    }
    paths.sort();
    collect(paths.into_iter().map(|path| match std::fs::read_to_string(&path) {
        Ok(text) => Ok((path.display().to_string(), text)),
        Err(cause) => Err(Error::File { path, cause }),
    }))
}

fn collect(files: impl Iterator<Item = Result<(String, String), Error>>) -> Result<Vec<Topic>, Error> {
    let mut topics: Vec<Topic> = Vec::new();
    let mut seen = BTreeMap::<String, String>::new();
    for file in files {
        let (file, text) = file?;
        let topic = parse(&file, &text)?;
        if let Some(other) = seen.insert(topic.name.clone(), file.clone()) {
            return Err(Error::Twice { file, other, topic: topic.name });
        }
        topics.push(topic);
    }
    Ok(topics)
}

/// Reads one manifest. `file` is what errors call it.
///
/// # Errors
/// With the field that is missing, misspelt or out of bounds.
pub fn parse(file: &str, text: &str) -> Result<Topic, Error> {
    let reader = Reader { file };
    let root = reader.yaml(text)?;
    let kind = reader.text(&root, "", "kind")?;
    if kind != "KafkaTopic" {
        return Err(reader.fault("kind", format!("is {kind:?}, not \"KafkaTopic\"")));
    }
    let spec = reader.object(&root, "", "spec")?;
    reader.known(spec, "spec", &["topicName", "partitions", "replicas", "config"])?;
    let (field, name) = match spec.get("topicName") {
        Some(_) => ("spec.topicName", reader.text(spec, "spec.", "topicName")?),
        None => ("metadata.name", reader.text(reader.object(&root, "", "metadata")?, "metadata.", "name")?),
    };
    check_name(name).map_err(|fault| reader.fault(field, fault))?;
    let partitions = reader.number(spec, "spec.", "partitions", PARTITIONS_MAX)?;
    let replicas = reader.number(spec, "spec.", "replicas", REPLICAS_MAX)?;
    let config = match spec.get("config") {
        None | Some(Value::Null) => BTreeMap::new(),
        Some(_) => reader.config(reader.object(spec, "spec.", "config")?, "spec.config.")?,
    };
    let (partitions, replicas) =
        (u32::try_from(partitions).unwrap_or_default(), u16::try_from(replicas).unwrap_or_default());
    Ok(Topic { name: name.to_owned(), partitions, replicas, config, is_fixed: is_fixed(name) })
}

/// Whether a topic's partitions answer to logs. What only wakes workers may grow.
fn is_fixed(name: &str) -> bool {
    [".commands.", ".events.", ".heartbeats.", "command-outcomes", "dead-letters"]
        .iter()
        .any(|part| name.contains(part))
}

/// What Kafka takes as a topic's name.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > 249 || !name.bytes().all(is_legal) || name == "." || name == ".." {
        return Err(format!("is {name:?}: a topic's name is 1 to 249 letters, digits, dots, dashes and underscores"));
    }
    Ok(())
}

/// Lays a profile over the topics: it replaces the partitions and the settings that it names, and leaves the rest.
///
/// # Errors
/// When the profile is malformed, or names a topic that is not there.
pub fn lay_over(topics: &mut [Topic], file: &str, text: &str) -> Result<BTreeSet<String>, Error> {
    let reader = Reader { file };
    let root = reader.yaml(text)?;
    reader.known(&root, "the profile", &["topics"])?;
    let mut changed = BTreeSet::new();
    for name in reader.object(&root, "", "topics")?.keys() {
        let path = format!("topics.{name}");
        let over = reader.object(reader.object(&root, "", "topics")?, "topics.", name)?;
        reader.known(over, &path, &["partitions", "config"])?;
        let topic = topics.iter_mut().find(|topic| topic.name == *name);
        let topic = topic.ok_or_else(|| Error::Missing { file: file.to_owned(), topic: name.clone() })?;
        if over.contains_key("partitions") {
            let partitions = reader.number(over, &format!("{path}."), "partitions", PARTITIONS_MAX)?;
            topic.partitions = u32::try_from(partitions).unwrap_or_default();
        }
        if over.contains_key("config") {
            let config = reader.object(over, &format!("{path}."), "config")?;
            topic.config.extend(reader.config(config, &format!("{path}.config."))?);
        }
        changed.insert(name.clone());
    }
    Ok(changed)
}

/// Reads fields of a file, and names it in what goes wrong.
struct Reader<'a> {
    file: &'a str,
}

impl Reader<'_> {
    fn fault(&self, field: impl Into<String>, fault: impl Into<String>) -> Error {
        Error::Field { file: self.file.to_owned(), field: field.into(), fault: fault.into() }
    }

    fn yaml(&self, text: &str) -> Result<Map<String, Value>, Error> {
        let failed = |cause: String| Error::Yaml { file: self.file.to_owned(), cause };
        match serde_saphyr::from_str(text).map_err(|error| failed(error.to_string()))? {
            Value::Object(object) => Ok(object),
            _ => Err(failed("it is no map of fields".to_owned())),
        }
    }

    fn known(&self, object: &Map<String, Value>, path: &str, names: &[&str]) -> Result<(), Error> {
        match object.keys().find(|name| !names.contains(&name.as_str())) {
            Some(name) => Err(self.fault(path, format!("has no field {name:?}; it has {}", names.join(", ")))),
            None => Ok(()),
        }
    }

    fn get<'v>(&self, object: &'v Map<String, Value>, path: &str, name: &str) -> Result<&'v Value, Error> {
        object.get(name).ok_or_else(|| self.fault(format!("{path}{name}"), "is missing"))
    }

    fn object<'v>(
        &self,
        object: &'v Map<String, Value>,
        path: &str,
        name: &str,
    ) -> Result<&'v Map<String, Value>, Error> {
        let value = self.get(object, path, name)?;
        value.as_object().ok_or_else(|| self.fault(format!("{path}{name}"), format!("is {value}, not a map of fields")))
    }

    fn text<'v>(&self, object: &'v Map<String, Value>, path: &str, name: &str) -> Result<&'v str, Error> {
        let value = self.get(object, path, name)?;
        value.as_str().ok_or_else(|| self.fault(format!("{path}{name}"), format!("is {value}, not a text")))
    }

    fn number(&self, object: &Map<String, Value>, path: &str, name: &str, max: u64) -> Result<u64, Error> {
        let value = self.get(object, path, name)?;
        value.as_u64().filter(|number| (1..=max).contains(number)).ok_or_else(|| {
            self.fault(format!("{path}{name}"), format!("is {value}, not a whole number from 1 to {max}"))
        })
    }

    /// Kafka's settings are texts; YAML may have them as numbers and truth values.
    fn config(&self, config: &Map<String, Value>, path: &str) -> Result<BTreeMap<String, String>, Error> {
        let texts = config.iter().map(|(name, value)| {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Bool(value) => value.to_string(),
                _ => return Err(self.fault(format!("{path}{name}"), format!("is {value}, not a single value"))),
            };
            Ok((name.clone(), text))
        });
        texts.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "kind: KafkaTopic\nmetadata:\n  name: a-b.commands.v1\nspec:\n  topicName: a_b.commands.v1\n  partitions: 32\n  replicas: 3\n  config:\n    retention.ms: 604800000 # a week\n    unclean.leader.election.enable: false\n    cleanup.policy: delete\n";

    #[test]
    fn a_manifest_is_read() {
        let topic = parse("a.yaml", MANIFEST).unwrap();
        assert_eq!((topic.name.as_str(), topic.partitions, topic.replicas), ("a_b.commands.v1", 32, 3));
        let config: Vec<_> = topic.config.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(config, ["cleanup.policy=delete", "retention.ms=604800000", "unclean.leader.election.enable=false"]);
        let unnamed = MANIFEST.replace("  topicName: a_b.commands.v1\n", "");
        assert_eq!(parse("a.yaml", &unnamed).unwrap().name, "a-b.commands.v1", "as Strimzi has it");
    }

    #[test]
    fn what_is_wrong_is_named_by_file_and_field() {
        for (from, to, fault) in [
            ("KafkaTopic", "KafkaUser", r#"a.yaml: kind is "KafkaUser", not "KafkaTopic""#),
            ("  partitions: 32\n", "", "a.yaml: spec.partitions is missing"),
            ("partitions: 32", "partitions: many", r#"spec.partitions is "many", not a whole number from 1 to 10000"#),
            ("partitions: 32", "partitions: 0", "spec.partitions is 0, not a whole number"),
            ("partitions: 32", "partitions: -4", "spec.partitions is -4, not a whole number"),
            ("replicas: 3", "replicas: 3.5", "spec.replicas is 3.5, not a whole number from 1 to 16"),
            ("replicas: 3", "replica: 3", r#"spec has no field "replica""#),
            ("a_b.commands.v1", "a b", r#"spec.topicName is "a b": a topic's name"#),
            ("a_b.commands.v1", "7", "spec.topicName is 7, not a text"),
            ("604800000", "[1, 2]", "spec.config.retention.ms is [1,2], not a single value"),
            ("spec:\n", "spec: 1\nx:\n", "spec is 1, not a map of fields"),
            ("kind: KafkaTopic", "kind: [", "a.yaml is no YAML that can be read"),
            ("  replicas: 3\n", "  replicas: 3\n  replicas: 4\n", "a.yaml is no YAML that can be read"),
        ] {
            assert!(MANIFEST.contains(from), "{from}");
            let error = parse("a.yaml", &MANIFEST.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(fault), "{from} -> {to}: {error}");
        }
        assert!(parse("a.yaml", "- 1").unwrap_err().to_string().contains("no map of fields"));
    }

    #[test]
    fn the_binary_carries_the_files_of_the_folder() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("topics");
        for (folder, carried) in [(root.clone(), FILES), (root.join("profiles"), PROFILES)] {
            let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.retain(|path| path.is_file());
            files.sort();
            let names: Vec<_> =
                files.iter().map(|path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned()).collect();
            assert_eq!(names, carried.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>());
        }
        assert_eq!(built_in().unwrap(), read_dir(&root).unwrap());
    }

    #[test]
    fn only_what_answers_to_logs_has_a_fixed_count() {
        let free: Vec<_> =
            built_in().unwrap().into_iter().filter(|topic| !topic.is_fixed).map(|topic| topic.name).collect();
        assert_eq!(free, ["agentverse.llm-requests.v1", "agentverse.mcp-requests.v1"]);
    }

    #[test]
    fn the_planned_profile_changes_the_topics_of_the_plan_alone() {
        let before = built_in().unwrap();
        let mut after = before.clone();
        let (file, text) = PROFILES[0];
        let changed = lay_over(&mut after, file, text).unwrap();
        let different: Vec<_> = before
            .iter()
            .zip(&after)
            .filter(|(before, after)| before != after)
            .map(|(_, topic)| (topic.name.as_str(), topic.partitions, topic.config["retention.ms"].as_str()))
            .collect();
        assert_eq!(
            different,
            [
                ("agentverse.agent.commands.v1", 1_000, "604800000"),
                ("agentverse.agent.events.v1", 1_000, "604800000"),
                ("agentverse.agent.heartbeats.v1", 1_000, "3600000"),
                ("agentverse.llm-requests.v1", 200, "3600000"),
                ("agentverse.mcp_server.commands.v1", 500, "86400000"),
                ("agentverse.mcp_server.events.v1", 500, "2592000000"),
            ]
        );
        assert_eq!(changed.len(), different.len());
    }

    #[test]
    fn a_profile_that_fits_no_topic_is_refused() {
        let mut topics = built_in().unwrap();
        for (text, fault) in [
            (
                "topics:\n  agentverse.ghost.v1: {partitions: 1}",
                "p.yaml: there is no manifest of the topic agentverse.ghost.v1",
            ),
            ("topics:\n  agentverse.agent.events.v1: {partition: 1}", r#"has no field "partition""#),
            ("topic: {}", r#"the profile has no field "topic""#),
        ] {
            let error = lay_over(&mut topics, "p.yaml", text).unwrap_err().to_string();
            assert!(error.contains(fault), "{error}");
        }
    }

    #[test]
    fn a_folder_is_read_without_the_folders_inside() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read_dir(folder.path()).unwrap_err().to_string().contains("holds no manifest"));
        std::fs::write(folder.path().join("a.yaml"), MANIFEST).unwrap();
        std::fs::create_dir(folder.path().join("inside")).unwrap();
        std::fs::write(folder.path().join("inside/c.yaml"), "nonsense").unwrap();
        std::fs::write(folder.path().join("README.md"), "nonsense").unwrap();
        assert_eq!(read_dir(folder.path()).unwrap().len(), 1);
        std::fs::write(folder.path().join("b.yml"), MANIFEST).unwrap();
        let error = read_dir(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("b.yml: the topic a_b.commands.v1 is in") && error.contains("a.yaml already"),
            "{error}"
        );
        assert!(read_dir(Path::new("/nowhere")).unwrap_err().to_string().contains("cannot be read"));
    }
}
