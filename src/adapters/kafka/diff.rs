//! What separates the topics as they are from what they should be, and the steps between.
//!
//! Pure: it decides everything, and [`admin`](super::admin) takes the steps. Nothing is ever deleted, no record, no topic
//! and no setting that somebody else made. What would break a fleet is refused, and what is the work of an operator's
//! tool is named and left.

use super::manifest::Topic;
use std::collections::BTreeMap;

const MIN_INSYNC: &str = "min.insync.replicas";

/// A cluster, as far as the topics of a fleet are concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    pub brokers: usize,
    /// Those that were asked for and are there.
    pub topics: BTreeMap<String, Existing>,
}

/// A topic as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Existing {
    pub partitions: u32,
    /// Of the partition that has the fewest.
    pub replicas: u16,
    /// Partitions of which not every replica is in step.
    pub under_replicated: u32,
    /// Partitions that nobody leads: they take and give nothing.
    pub leaderless: u32,
    /// Every setting that the broker tells, also those that it has by default.
    pub config: BTreeMap<String, String>,
}

/// What separates one topic from its manifest; without steps, nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub topic: String,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Create(Topic),
    /// More partitions.
    Widen {
        from: u32,
        to: u32,
    },
    /// Another value of a setting.
    Set {
        name: String,
        from: Option<String>,
        to: String,
    },
    /// A difference that stays, because it is not for this program to change.
    Leave {
        name: String,
        from: String,
        to: String,
        why: String,
    },
    /// A difference that must not be made up for.
    Refuse {
        name: String,
        from: String,
        to: String,
        why: String,
    },
}

impl Change {
    pub fn is_refused(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Refuse { .. }))
    }

    /// Whether [`Admin::apply`](super::admin::Admin::apply) has something to do.
    pub fn has_work(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Create(_) | Step::Widen { .. } | Step::Set { .. }))
    }
}

/// What it takes to make the topics of a cluster those that are wanted; one change for each wanted topic, in its order.
pub fn diff(wanted: &[Topic], cluster: &Cluster) -> Vec<Change> {
    let steps = |topic: &Topic| match cluster.topics.get(&topic.name) {
        Some(existing) => [counts(topic, existing), settings(topic, existing)].concat(),
        None => vec![creation(topic, cluster.brokers)],
    };
    wanted.iter().map(|topic| Change { topic: topic.name.clone(), steps: steps(topic) }).collect()
}

fn creation(topic: &Topic, brokers: usize) -> Step {
    if usize::from(topic.replicas) <= brokers {
        return Step::Create(topic.clone());
    }
    Step::Refuse {
        name: "replicas".to_owned(),
        from: String::new(),
        to: topic.replicas.to_string(),
        why: format!(
            "the cluster has {brokers} broker{}: add brokers, or give --replicas {brokers} and live with fewer copies",
            if brokers == 1 { "" } else { "s" },
        ),
    }
}

fn counts(topic: &Topic, existing: &Existing) -> Vec<Step> {
    let mut steps = Vec::new();
    let (from, to) = (existing.partitions, topic.partitions);
    if from != to {
        let why = if topic.is_fixed {
            Some(format!(
                "its partitions answer to the logs of the fleet, whose count is fixed when it is created. If the fleet was \
                 created with {from}, keep {from} (the setting partitions, and --profile): up to {from} processors share \
                 them. Another count is another fleet, with topic_prefix and scylla_keyspace of its own: new, or filled by \
                 `agentverse migrate` from a folder that has that count; no command moves a fleet's history to it. If the \
                 fleet has {to} and something else made or widened the topic: once the fleet has consumed it, delete it, \
                 run `agentverse topics apply` and `agentverse topics accept-loss --yes`"
            ))
        } else if to < from {
            Some(format!("Kafka cannot take partitions away: keep {from} in the manifest"))
        } else {
            None
        };
        steps.push(match why {
            Some(why) => {
                Step::Refuse { name: "partitions".to_owned(), from: from.to_string(), to: to.to_string(), why }
            }
            None => Step::Widen { from, to },
        });
    }
    if existing.replicas != topic.replicas {
        steps.push(Step::Leave {
            name: "replicas".to_owned(),
            from: existing.replicas.to_string(),
            to: topic.replicas.to_string(),
            why: "moving replicas between brokers takes hours and load that somebody must watch over: use \
                  kafka-reassign-partitions.sh or Cruise Control, or give --replicas to want what is there"
                .to_owned(),
        });
    }
    steps
}

fn settings(topic: &Topic, existing: &Existing) -> Vec<Step> {
    let differing = topic.config.iter().filter(|(name, to)| existing.config.get(*name) != Some(to));
    let steps = differing.map(|(name, to)| {
        let from = existing.config.get(name).cloned();
        let is_beyond = to.parse::<u16>().is_ok_and(|least| least > existing.replicas);
        if name == MIN_INSYNC && is_beyond {
            let why =
                format!("with {} replica(s) no write would be taken any more: raise replicas first", existing.replicas);
            return Step::Leave { name: name.clone(), from: from.unwrap_or_default(), to: to.clone(), why };
        }
        Step::Set { name: name.clone(), from, to: to.clone() }
    });
    steps.collect()
}

/// Wants another number of replicas of every topic, and no more of them in step than leave room for a lost broker.
pub fn set_replicas(topics: &mut [Topic], replicas: u16) {
    for topic in topics {
        topic.replicas = replicas;
        if let Some(least) = topic.config.get_mut(MIN_INSYNC) {
            let wanted = least.parse().unwrap_or(u16::MAX);
            *least = wanted.min(replicas.saturating_sub(1).max(1)).to_string();
        }
    }
}
