//! What a name that is no setting may have meant.

use super::{SETTINGS, environment_name};

/// Nearer than this, 1 being the same, a name is taken for a misspelling.
const NEAR: f64 = 0.85;
const PREFIX: &str = "AGENTVERSE_";
/// Variables that are read and set nothing in [`SETTINGS`].
const READ_ELSEWHERE: [&str; 6] = ["CONFIG", "TENANT", "URL", "KAFKA_PASSWORD", "REGISTRY_PASSWORD", "SCYLLA_PASSWORD"];
/// For the test suites and for the scripts of `deploy/`.
const OF_SCRIPTS: [&str; 5] = ["TEST_", "LOCAL_", "CRASH_", "CHAOS_", "REQUIRE_"];

/// The setting whose name is nearest to `name`, where one is near.
pub fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    let name = name.strip_prefix("agentverse_").unwrap_or(&name);
    let near = SETTINGS.iter().map(|setting| (strsim::jaro_winkler(setting.name, name), setting.name));
    near.filter(|(nearness, _)| *nearness >= NEAR).max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, name)| name)
}

/// A sentence for each of these variables that is named as if it set something, and sets nothing.
pub fn strangers(variables: impl Iterator<Item = String>) -> Vec<String> {
    let strange = variables.filter(|variable| {
        variable.strip_prefix(PREFIX).is_some_and(|name| {
            !(READ_ELSEWHERE.contains(&name)
                || OF_SCRIPTS.iter().any(|prefix| name.starts_with(prefix))
                || is_service_link(name)
                || SETTINGS.iter().any(|setting| environment_name(setting.name) == *variable))
        })
    });
    let mut sentences: Vec<String> = strange
        .map(|variable| match nearest(&variable[PREFIX.len()..]) {
            Some(name) => format!("{variable} sets nothing; did you mean {}?", environment_name(name)),
            None => format!("{variable} sets nothing; `agentverse config --explain` lists the settings"),
        })
        .collect();
    sentences.sort();
    sentences
}

/// Whether Kubernetes puts a variable of this name into every container beside a service named `agentverse…`.
fn is_service_link(name: &str) -> bool {
    let parts = ["PORT", "SERVICE_HOST", "SERVICE_PORT"];
    parts.iter().any(|part| name == *part || name.ends_with(&format!("_{part}")))
        || name.contains("SERVICE_PORT_")
        || name.starts_with("PORT_")
        || name.contains("_PORT_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_recognised_and_a_strange_one_is_not() {
        for (name, meant) in [
            ("partitionz", Some("partitions")),
            ("PARTITION", Some("partitions")),
            ("http_batch_maxx", Some("http_batch_max")),
            ("kafka_broker", Some("kafka_brokers")),
            ("colour", None),
        ] {
            assert_eq!(nearest(name), meant, "{name}");
        }
    }

    #[test]
    fn variables_that_set_nothing_are_named_and_others_are_left_alone() {
        let variables = [
            "AGENTVERSE_PARTITONS",
            "AGENTVERSE_COLOUR",
            "AGENTVERSE_PARTITIONS",
            "AGENTVERSE_URL",
            "AGENTVERSE_TEST_KAFKA",
            "AGENTVERSE_SERVE_SERVICE_HOST",
            "AGENTVERSE_PORT_7400_TCP_ADDR",
            "PATH",
        ];
        let sentences = strangers(variables.into_iter().map(str::to_owned));
        assert_eq!(sentences.len(), 2, "{sentences:?}");
        assert!(sentences[0].starts_with("AGENTVERSE_COLOUR sets nothing; `agentverse config"), "{sentences:?}");
        assert!(sentences[1].ends_with("did you mean AGENTVERSE_PARTITIONS?"), "{sentences:?}");
    }
}
