//! Starting: each link in turn, and what is wrong with it in words.

use crate::adapters::kafka::admin::Admin;
use crate::adapters::kafka::manifest;
use crate::adapters::kafka::{self, Link, membership};
use crate::adapters::registry::{self, ClientError, Framing};
use crate::adapters::scylla::{Store, migrate, session};
use crate::domain::Aggregate;
use crate::ports::topic;
use crate::runtime::links;
use crate::runtime::retry::Policy;
use crate::runtime::settings::Settings;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Settings(#[from] links::Error),
    #[error(transparent)]
    Session(#[from] session::Error),
    #[error(transparent)]
    Tables(#[from] migrate::Error),
    #[error(transparent)]
    Registry(#[from] registry::Error),
    #[error(transparent)]
    Kafka(#[from] kafka::client::Error),
    #[error(transparent)]
    Topics(#[from] topic::Error),
    /// The topics are there and do not answer: a broker that just came up leads none of them yet.
    #[error(transparent)]
    Outcomes(topic::Error),
    #[error(transparent)]
    Membership(#[from] membership::Error),
    #[error(transparent)]
    Requests(#[from] crate::runtime::requests::Error),
    #[error("the replica cannot be opened: {0}; see replica_dir")]
    Replica(#[from] crate::ports::search::Error),
    #[error("topic {0} does not exist: run `agentverse topics apply`")]
    MissingTopic(String),
    #[error("topic {topic} has {found} partitions, and the fleet {asked} logs, as its tables say: {advice}")]
    Partitions { topic: String, found: usize, asked: u16, advice: String },
    #[error("topic_prefix = {prefix:?} does not go before a topic's name, which {fault}")]
    Prefix { prefix: String, fault: String },
    #[error("{error}; gave up after start_ms_max = {limit_ms}")]
    GaveUp { error: Box<Error>, limit_ms: u64 },
}

impl Error {
    /// Whether a server may only be late.
    fn retryable(&self) -> bool {
        match self {
            Self::Session(error) | Self::Tables(migrate::Error::Session(error)) => {
                matches!(error, session::Error::Unreachable { .. } | session::Error::Unavailable(_))
            }
            Self::Tables(error) => matches!(error, migrate::Error::Statement(_)),
            // At work a refused user may be let in again; at start the settings are wrong.
            Self::Registry(registry::Error::Registry(error)) => {
                matches!(error, ClientError::Unreachable { .. } | ClientError::Unavailable { .. })
            }
            Self::Kafka(error) => error.retryable(),
            Self::Outcomes(_) => true,
            // Opening the topics asks nothing of the brokers: what fails is a setting.
            Self::Settings(_)
            | Self::Requests(_)
            | Self::Replica(_)
            | Self::Registry(_)
            | Self::Topics(_)
            | Self::Membership(_) => false,
            Self::MissingTopic(_) | Self::Partitions { .. } | Self::Prefix { .. } | Self::GaveUp { .. } => false,
        }
    }
}

/// Tries again what may heal, for as long as a start may take.
pub async fn patiently<T>(settings: &Settings, mut open: impl AsyncFnMut() -> Result<T, Error>) -> Result<T, Error> {
    let policy = Policy {
        first: Duration::from_millis(250),
        longest: Duration::from_secs(5),
        budget: Duration::from_millis(settings.start_ms_max),
    };
    let deadline = Instant::now() + policy.budget;
    let mut waits = policy.waits();
    loop {
        let error = match open().await {
            Ok(opened) => return Ok(opened),
            Err(error) if error.retryable() => error,
            Err(error) => return Err(error),
        };
        // The attempts count too: a server that lets its caller wait takes seconds of each.
        let wait = waits.after(None).filter(|wait| Instant::now() + *wait < deadline);
        let Some(wait) = wait else {
            return Err(Error::GaveUp { error: Box::new(error), limit_ms: settings.start_ms_max });
        };
        tracing::warn!(%error, again_in_ms = wait.as_millis() as u64, "a server does not answer yet");
        tokio::time::sleep(wait).await;
    }
}

/// The database, with the tables that this program works with.
pub async fn store(settings: &Settings) -> Result<Store, Error> {
    let store = Store::connect(&links::scylla_config(settings)?).await?;
    migrate::check(&store, &links::fleet_constants(settings)).await?;
    Ok(store)
}

/// How values are framed: by the registry's ids where there is one.
pub async fn framing(settings: &Settings) -> Result<Framing, Error> {
    match links::registry_config(settings)? {
        Some(config) => Ok(Framing::connect(&config, &links::codecs()).await?),
        None => Ok(Framing::single_object()),
    }
}

/// Kafka, with the topics that the fleet needs.
pub async fn link(settings: &Settings) -> Result<Link, Error> {
    let link = links::kafka_link(settings)?;
    let prefix = &settings.topic_prefix;
    let longest = format!("{prefix}agentverse.agent_template.commands.v1");
    manifest::check_name(&longest).map_err(|fault| Error::Prefix { prefix: prefix.clone(), fault })?;
    let checked = link.clone();
    let check = tokio::task::spawn_blocking(move || checked.check());
    check.await.map_err(|error| topic::Error::Unavailable(error.to_string()))??;
    let partitions = settings.fleet_partitions();
    let shared = ["command-outcomes", "dead-letters"].map(|name| format!("{prefix}agentverse.{name}.v1"));
    let mut wanted: Vec<_> = shared.into_iter().map(|name| (name, settings.partitions, false)).collect();
    for aggregate in Aggregate::ALL {
        let count = partitions.of(*aggregate);
        let names = ["commands", "events"].map(|kind| format!("{prefix}agentverse.{}.{kind}.v1", aggregate.name()));
        wanted.extend(names.map(|name| (name, count, true)));
    }
    wanted.push((format!("{prefix}agentverse.agent.heartbeats.v1"), partitions.of(Aggregate::Agent), true));
    let found = Admin::connect(&link).await?.read(wanted.iter().map(|(name, ..)| name.as_str())).await?;
    for (topic, asked, exactly) in wanted {
        let Some(existing) = found.topics.get(&topic) else { return Err(Error::MissingTopic(topic)) };
        let count = existing.partitions as usize;
        if count < usize::from(asked) {
            let advice = advice(count, asked, exactly);
            return Err(Error::Partitions { topic, found: count, asked, advice });
        }
        if exactly && count > usize::from(asked) {
            // No reason to stand still: what is on the fleet's own partitions is as it was.
            let error = Error::Partitions { advice: advice(count, asked, exactly), topic, found: count, asked };
            tracing::error!(alarm = "topic_widened", "{error}");
        }
    }
    Ok(link)
}

/// What to do about a topic with another count of partitions than the fleet's.
fn advice(found: usize, asked: u16, exactly: bool) -> String {
    if !exactly {
        return "run `agentverse topics apply`".to_owned();
    }
    let rest = if found > usize::from(asked) {
        format!(", and send again what was in its partitions beyond {asked}, which nobody reads")
    } else {
        String::new()
    };
    format!(
        "something else made it or widened it. Once the fleet has consumed it, delete it, run `agentverse topics apply` and \
         `agentverse topics accept-loss --yes`{rest}"
    )
}
