//! Starting: each link in turn, and what is wrong with it in words.

use crate::adapters::kafka::admin::Admin;
use crate::adapters::kafka::{self, Link, membership};
use crate::adapters::registry::{self, Framing};
use crate::adapters::scylla::{Store, migrate, session};
use crate::domain::Aggregate;
use crate::ports::topic;
use crate::runtime::links;
use crate::runtime::retry::Policy;
use crate::runtime::settings::Settings;
use std::time::Duration;

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
    #[error(transparent)]
    Membership(#[from] membership::Error),
    #[error("topic {0} does not exist: run `agentverse topics apply`")]
    MissingTopic(String),
    #[error(
        "topic {topic} has {found} partitions and the fleet {asked} logs: set `partitions` (or `partitions_of`) to what the fleet was created with"
    )]
    Partitions { topic: String, found: usize, asked: u16 },
}

impl Error {
    /// Whether a server may only be late.
    fn retryable(&self) -> bool {
        match self {
            Self::Session(error) => {
                matches!(error, session::Error::Unreachable { .. } | session::Error::Unavailable(_))
            }
            Self::Tables(error) => matches!(error, migrate::Error::Statement(_)),
            Self::Registry(error) => error.retryable(),
            Self::Kafka(error) => error.retryable(),
            Self::Topics(_) => true,
            Self::Settings(_) | Self::Membership(_) | Self::MissingTopic(_) | Self::Partitions { .. } => false,
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
    let mut waits = policy.waits();
    loop {
        let error = match open().await {
            Ok(opened) => return Ok(opened),
            Err(error) if error.retryable() => error,
            Err(error) => return Err(error),
        };
        let Some(wait) = waits.after(None) else { return Err(error) };
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
    let checked = link.clone();
    let check = tokio::task::spawn_blocking(move || checked.check());
    check.await.map_err(|error| topic::Error::Unavailable(error.to_string()))??;
    let prefix = &settings.topic_prefix;
    let partitions = settings.fleet_partitions();
    let shared = ["command-outcomes", "dead-letters"].map(|name| format!("{prefix}agentverse.{name}.v1"));
    let mut wanted: Vec<_> = shared.into_iter().map(|name| (name, settings.partitions, false)).collect();
    for aggregate in Aggregate::ALL {
        let count = partitions.of(*aggregate);
        let names = ["commands", "events"].map(|kind| format!("{prefix}agentverse.{}.{kind}.v1", aggregate.name()));
        wanted.extend(names.map(|name| (name, count, true)));
    }
    let found = Admin::connect(&link).await?.read(wanted.iter().map(|(name, ..)| name.as_str())).await?;
    for (topic, asked, exactly) in wanted {
        let Some(existing) = found.topics.get(&topic) else { return Err(Error::MissingTopic(topic)) };
        let count = existing.partitions as usize;
        if count < usize::from(asked) || (exactly && count != usize::from(asked)) {
            return Err(Error::Partitions { topic, found: count, asked });
        }
    }
    Ok(link)
}
