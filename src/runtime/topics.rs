//! The topics that a fleet wants: the manifests, with what settings, profile and flags make of them.

use crate::adapters::kafka::diff::set_replicas;
use crate::adapters::kafka::manifest::{self, PROFILES, Topic};
use crate::runtime::settings::{Loaded, Origin};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Which counts and retentions to want.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// The manifests as they are.
    #[default]
    Default,
    /// A large fleet: 1,000 partitions for agents, 500 for MCP servers, 200 for LLM requests.
    Planned,
}

impl Profile {
    /// Its file and text, where it has one.
    fn text(self) -> Option<(&'static str, &'static str)> {
        let wanted = match self {
            Self::Default => return None,
            Self::Planned => "profiles/planned.yaml",
        };
        PROFILES.iter().find(|(file, _)| *file == wanted).copied()
    }
}

/// What goes over the manifests.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Instead of the manifests that the binary carries.
    pub dir: Option<PathBuf>,
    pub profile: Profile,
    /// Replicas of every topic, where the cluster has too few brokers for the manifests'.
    pub replicas: Option<u16>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    #[error("topic_prefix = {prefix:?} does not go before a topic's name: {fault}")]
    Prefix { prefix: String, fault: String },
    #[error(
        "the manifest of {topic} wants {manifest} partitions, and the setting partitions is {setting} by default. The \
         count is fixed when a fleet is created: a fleet that exists keeps the one that it has; for a new one, say which \
         with --set partitions=N or in the settings file, the same for every process"
    )]
    Partitions { topic: String, manifest: u32, setting: u16 },
}

/// The topics of the fleet that these settings describe, under the names that they have on the brokers.
///
/// # Errors
/// When a manifest is malformed, or contradicts the settings.
pub fn wanted(loaded: &Loaded, choice: &Choice) -> Result<Vec<Topic>, Error> {
    let settings = &loaded.settings;
    let mut topics = match &choice.dir {
        Some(dir) => manifest::read_dir(dir)?,
        None => manifest::built_in()?,
    };
    let planned = match choice.profile.text() {
        Some((file, text)) => manifest::lay_over(&mut topics, file, text)?,
        None => BTreeSet::new(),
    };
    for topic in topics.iter_mut().filter(|topic| topic.is_fixed && !planned.contains(&topic.name)) {
        let setting = settings.partitions;
        if loaded.origin("partitions") == Origin::Default && topic.partitions != u32::from(setting) {
            return Err(Error::Partitions { topic: topic.name.clone(), manifest: topic.partitions, setting });
        }
        topic.partitions = u32::from(setting);
    }
    if let Some(replicas) = choice.replicas {
        set_replicas(&mut topics, replicas);
    }
    for topic in &mut topics {
        topic.name.insert_str(0, &settings.topic_prefix);
        manifest::check_name(&topic.name)
            .map_err(|fault| Error::Prefix { prefix: settings.topic_prefix.clone(), fault })?;
    }
    Ok(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(overrides: &[&str]) -> Loaded {
        let overrides: Vec<_> = overrides.iter().map(|text| (*text).to_owned()).collect();
        Loaded::load(None, |_| None, &overrides).unwrap()
    }

    fn counts(overrides: &[&str], choice: &Choice) -> Vec<(String, u32)> {
        let topics = wanted(&loaded(overrides), choice).unwrap();
        topics.into_iter().map(|topic| (topic.name, topic.partitions)).collect()
    }

    fn count(counts: &[(String, u32)], name: &str) -> u32 {
        counts.iter().find(|(topic, _)| topic == name).unwrap().1
    }

    #[test]
    fn the_setting_counts_the_partitions_that_answer_to_logs() {
        let counts = counts(&["partitions=4", "topic_prefix=test."], &Choice::default());
        for name in ["tenant.commands", "coupling.events", "command-outcomes", "dead-letters"] {
            assert_eq!(count(&counts, &format!("test.agentverse.{name}.v1")), 4, "{name}");
        }
        assert_eq!(count(&counts, "test.agentverse.llm-requests.v1"), 32, "it grows by its manifest");
    }

    #[test]
    fn a_profile_goes_over_the_setting() {
        let choice = Choice { profile: Profile::Planned, ..Choice::default() };
        let counts = counts(&["partitions=64"], &choice);
        for (name, partitions) in [("agent.commands", 1_000), ("mcp_server.events", 500), ("tenant.events", 64)] {
            assert_eq!(count(&counts, &format!("agentverse.{name}.v1")), partitions, "{name}");
        }
    }

    #[test]
    fn fewer_replicas_leave_room_for_a_lost_broker() {
        let of = |replicas| {
            let topics = wanted(&loaded(&[]), &Choice { replicas, ..Choice::default() }).unwrap();
            (topics[0].replicas, topics[0].config["min.insync.replicas"].clone())
        };
        let table = [(None, 3, "2"), (Some(1), 1, "1"), (Some(2), 2, "1"), (Some(3), 3, "2"), (Some(5), 5, "2")];
        for (given, replicas, least) in table {
            assert_eq!(of(given), (replicas, least.to_owned()), "{given:?}");
        }
    }

    #[test]
    fn manifests_that_contradict_a_setting_left_alone_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let text = "kind: KafkaTopic\nspec: {topicName: a.events.v1, partitions: 8, replicas: 1}\n";
        std::fs::write(folder.path().join("a.yaml"), text).unwrap();
        let choice = Choice { dir: Some(folder.path().to_owned()), ..Choice::default() };
        let error = wanted(&loaded(&[]), &choice).unwrap_err().to_string();
        assert!(error.contains("a.events.v1 wants 8 partitions") && error.contains("--set partitions=N"), "{error}");
        assert_eq!(counts(&["partitions=8"], &choice), [("a.events.v1".to_owned(), 8)]);
    }

    #[test]
    fn a_prefix_that_no_topic_may_have_is_refused() {
        let error = wanted(&loaded(&["topic_prefix=a b/"]), &Choice::default()).unwrap_err().to_string();
        assert!(error.contains("a b/"), "{error}");
    }
}
