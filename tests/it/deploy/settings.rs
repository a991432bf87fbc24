//! What a deployment sets must be something that the program reads, with a value that it takes.

use super::tree::root;
use agentverse::runtime::settings::{Loaded, SETTINGS, Settings, environment_name};
use std::collections::BTreeMap;

/// Variables that are no settings: secrets, which no settings file may hold.
const SECRETS: &[&str] = &["AGENTVERSE_KAFKA_PASSWORD", "AGENTVERSE_SCYLLA_PASSWORD", "AGENTVERSE_REGISTRY_PASSWORD"];

/// Variables that look like ours and that the program does not read.
pub fn unknown_variables<'a>(place: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let known = |name: &str| SECRETS.contains(&name) || SETTINGS.iter().any(|it| environment_name(it.name) == name);
    let unknown = names.into_iter().filter(|name| name.starts_with("AGENTVERSE_") && !known(name));
    unknown.map(|name| format!("{place}: there is no setting {name}")).collect()
}

/// The settings that a file and variables make together, as the program itself reads them.
///
/// # Errors
/// What it refuses.
pub fn load(file: &str, variables: &BTreeMap<String, String>) -> Result<Settings, String> {
    let loaded = Loaded::load(Some(&root().join(file)), |name| variables.get(name).cloned(), &[]);
    loaded.map(|loaded| loaded.settings).map_err(|error| format!("{file}: {error}"))
}

/// `NAME=value` texts as variables.
pub fn variables(literals: &[&str]) -> BTreeMap<String, String> {
    let pairs = literals.iter().filter_map(|literal| literal.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn a_setting_that_does_not_exist_is_named() {
    let names = ["AGENTVERSE_KAFKA_BROKERS", "AGENTVERSE_KAFKA_PASSWORD", "AGENTVERSE_KAFKA_BROKER", "PATH"];
    assert_eq!(unknown_variables("here", names), ["here: there is no setting AGENTVERSE_KAFKA_BROKER"]);
}

#[test]
fn a_value_out_of_bounds_is_named() {
    let variables = variables(&["AGENTVERSE_SCYLLA_REPLICATION=99"]);
    let fault = load("deploy/compose/agentverse.conf", &variables).unwrap_err();
    assert!(fault.contains("scylla_replication"), "{fault}");
    assert!(load("deploy/compose/none.conf", &BTreeMap::new()).is_err());
}
