//! What must stand where, and what must not.

use agentverse::domain::Aggregate;
use std::collections::BTreeSet;
use std::path::Path;

/// What may stand at the top, beside entries that begin with a dot.
const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "src",
    "schemas",
    "topics",
    "deploy",
    "tests",
    "benches",
];

/// The files of every aggregate's folder.
const ROOMS: &[&str] = &["mod", "decide", "evolve", "view", "tests"];

/// Folders of the domain that are no aggregates.
const PLAIN: &[&str] = &["limit", "schemas", "usage"];

/// The topics that belong to no aggregate.
const SHARED_TOPICS: &[&str] =
    &["llm-requests", "mcp-requests", "command-outcomes", "dead-letters", "agent.heartbeats"];

/// What `agentverse topics --profile` may lay over the manifests.
const TOPIC_PROFILES: &[&str] = &["planned"];
/// The schemas that belong to no aggregate.
const SHARED_SCHEMAS: &[&str] = &["outcome/CommandOutcome"];

/// One aggregate: its name, and its records.
pub struct Room {
    pub name: &'static str,
    pub records: Vec<&'static str>,
}

/// Every registered aggregate.
pub fn aggregates() -> Vec<Room> {
    let records = |aggregate: &Aggregate| [aggregate.commands(), aggregate.events()].concat();
    Aggregate::ALL.iter().map(|aggregate| Room { name: aggregate.name(), records: records(aggregate) }).collect()
}

/// The names at the top of the tree.
pub fn top_level(root: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Whether git ignores an entry of the top level (`/name` or `name` in `.gitignore`).
pub fn is_ignored(root: &Path, entry: &str) -> bool {
    let ignored = std::fs::read_to_string(root.join(".gitignore")).unwrap();
    ignored.lines().any(|line| line.trim().trim_start_matches('/').trim_end_matches('/') == entry)
}

pub fn unexpected_entries(entries: &[String]) -> Vec<String> {
    let expected = |entry: &str| entry.starts_with('.') || TOP_LEVEL.contains(&entry);
    let unexpected = entries.iter().filter(|entry| !expected(entry));
    unexpected.map(|entry| format!("{entry}: nothing else stands at the top; find it a room")).collect()
}

/// What an aggregate lacks of `present`, and what of it belongs to none.
pub fn faults(aggregates: &[Room], present: &BTreeSet<String>) -> Vec<String> {
    let mut wanted = BTreeSet::new();
    for Room { name, records } in aggregates {
        wanted.extend(ROOMS.iter().map(|room| format!("src/domain/{name}/{room}.rs")));
        wanted.extend(records.iter().map(|record| format!("schemas/{name}/{record}.avsc")));
        wanted.extend(records.iter().map(|record| format!("tests/golden/{name}/{record}.json")));
        wanted.extend(["commands", "events"].map(|kind| format!("topics/agentverse.{name}.{kind}.v1.yaml")));
    }
    wanted.extend(SHARED_TOPICS.iter().map(|topic| format!("topics/agentverse.{topic}.v1.yaml")));
    wanted.extend(TOPIC_PROFILES.iter().map(|profile| format!("topics/profiles/{profile}.yaml")));
    wanted.extend(SHARED_SCHEMAS.iter().map(|schema| format!("schemas/{schema}.avsc")));
    wanted.extend(SHARED_SCHEMAS.iter().map(|schema| format!("tests/golden/{schema}.json")));
    let missing = wanted.difference(present).map(|path| format!("{path}: missing"));
    let strays = present.difference(&wanted).filter(|path| is_stray(aggregates, path));
    missing.chain(strays.map(|path| format!("{path}: belongs to no registered record, aggregate or topic"))).collect()
}

/// Files of a kind that must be wanted: schemas, golden files of a released version aside (`Record@fingerprint.json`),
/// topics, and folders of the domain.
fn is_stray(aggregates: &[Room], path: &str) -> bool {
    let parts: Vec<_> = path.split('/').collect();
    match parts[..] {
        ["schemas", _, file] => file.ends_with(".avsc"),
        ["tests", "golden", _, file] => !file.contains('@'),
        ["topics", file] | ["topics", _, file] => file.ends_with(".yaml"),
        ["src", "domain", folder, _] => {
            !PLAIN.contains(&folder) && !aggregates.iter().any(|aggregate| aggregate.name == folder)
        }
        _ => false,
    }
}

/// Whether a file of `topics/` is a manifest: they stand in the folder itself, profiles in one below.
pub fn is_manifest(path: &str) -> bool {
    path.split('/').count() == 2
}

/// What a topic's file lacks: its own name, and the settings without which the promises do not hold.
pub fn topic_faults(path: &str, text: &str) -> Vec<String> {
    let name = path.trim_start_matches("topics/").trim_end_matches(".yaml");
    let mut wanted = vec![
        "kind: KafkaTopic".to_owned(),
        format!("  topicName: {name}"),
        "  partitions: 32".to_owned(),
        "  replicas: 3".to_owned(),
        "    min.insync.replicas: 2".to_owned(),
        "    unclean.leader.election.enable: false".to_owned(),
        "    cleanup.policy: delete".to_owned(),
    ];
    if path.contains(".commands.") {
        // Retention counts from the broker's time: a producer's old clock must not delete what nobody has read.
        wanted.push("    message.timestamp.type: LogAppendTime".to_owned());
    }
    let lines: BTreeSet<_> = text.lines().map(|line| line.split(" #").next().unwrap_or(line).trim_end()).collect();
    let mut faults: Vec<_> = wanted
        .iter()
        .filter(|line| !lines.contains(line.as_str()))
        .map(|line| format!("{path}: lacks the line {line:?}"))
        .collect();
    if !text.contains("    retention.ms: ") {
        faults.push(format!("{path}: lacks retention.ms"));
    }
    faults
}

#[cfg(test)]
fn complete() -> (Vec<Room>, BTreeSet<String>) {
    let aggregates = vec![Room { name: "robot", records: vec!["BuildRobot", "RobotBuilt"] }];
    let wanted = faults(&aggregates, &BTreeSet::new());
    (aggregates, wanted.iter().map(|fault| fault.trim_end_matches(": missing").to_owned()).collect())
}

#[test]
fn each_missing_room_is_named() {
    let (aggregates, present) = complete();
    assert_eq!(
        present.len(),
        ROOMS.len() + 2 * 2 + 2 + SHARED_TOPICS.len() + TOPIC_PROFILES.len() + 2 * SHARED_SCHEMAS.len()
    );
    assert_eq!(faults(&aggregates, &present), Vec::<String>::new());
    for path in &present {
        let mut rest = present.clone();
        rest.remove(path);
        assert_eq!(faults(&aggregates, &rest), [format!("{path}: missing")]);
    }
}

#[test]
fn what_belongs_to_nothing_is_named() {
    let (aggregates, present) = complete();
    for path in [
        "schemas/robot/Gone.avsc",
        "tests/golden/robot/Gone.json",
        "topics/agentverse.gone.v1.yaml",
        "topics/profiles/gone.yaml",
        "src/domain/ghost/mod.rs",
    ] {
        let mut more = present.clone();
        more.insert(path.to_owned());
        assert_eq!(faults(&aggregates, &more).len(), 1, "{path}");
    }
    let mut more = present;
    more.extend(["src/domain/robot/score.rs", "src/domain/id.rs", "schemas/README.md"].map(str::to_owned));
    more.insert("tests/golden/robot/RobotBuilt@0123456789abcdef.json".to_owned());
    assert_eq!(faults(&aggregates, &more), Vec::<String>::new());
}

#[test]
fn an_unexpected_entry_is_named() {
    let entries = ["src", ".ci", "Cargo.toml", "notes.txt"].map(str::to_owned);
    assert_eq!(unexpected_entries(&entries).len(), 1);
}

#[test]
fn a_topic_that_breaks_a_promise_is_named() {
    let faults =
        topic_faults("topics/agentverse.robot.commands.v1.yaml", "kind: KafkaTopic\n  partitions: 32 # as logs\n");
    for part in ["topicName", "replicas: 3", "min.insync", "LogAppendTime", "retention.ms"] {
        assert!(faults.iter().any(|fault| fault.contains(part)), "{part}: {faults:?}");
    }
    assert!(!faults.iter().any(|fault| fault.contains("partitions")), "{faults:?}");
}
