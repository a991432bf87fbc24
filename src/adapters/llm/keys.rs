//! Where keys come from: the environment, files, commands, and addresses that answer with one.
//!
//! Names and endpoints come from whoever registers a provider; sources come from the operator alone, or anyone who may
//! register a provider could run a command. So that nobody has the operator's keys sent to an endpoint of their own, every
//! key is bound to hosts: to those that its source lists, else to those of the well-known provider whose variable it is.
//! Without a source only the variables of well-known providers are read, and those go home. There is no default that
//! sends a key anywhere else.

mod load;
#[cfg(test)]
mod tests;

use super::providers;
use crate::ports::llm::{Destination, KeyError, Keys, Secret};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Where a key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The environment variable.
    Environment(String),
    /// What the file holds.
    File(PathBuf),
    /// What the command prints. Program and arguments; no shell sees them.
    Command(Vec<String>),
    /// What the address answers to GET with status 200.
    Http(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub origin: Origin,
    /// The hosts that the key may go to: `api.example.com` means it over TLS, `http://10.0.0.7` without it too, and `*`
    /// any host over TLS. Empty: those of the well-known provider whose variable this is, by the variable that it is
    /// read from, else by the source's name; for all others none.
    pub hosts: Vec<String>,
}

/// See `agentverse config --explain`.
#[derive(Clone, Debug)]
pub struct Config {
    /// By name.
    pub sources: BTreeMap<String, Source>,
    /// A key is loaded again when it is older.
    pub age_max: Duration,
    /// A source is not asked more often.
    pub reload_interval_min: Duration,
    /// Of one attempt to load a key.
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sources: BTreeMap::new(),
            age_max: Duration::from_secs(300),
            reload_interval_min: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
        }
    }
}

/// What is remembered of a key.
#[derive(Default)]
struct Slot {
    secret: Option<Secret>,
    loaded_at: Option<Instant>,
    tried_at: Option<Instant>,
    /// Whether the last attempt was made because a provider refused the key.
    reloaded: bool,
    /// Of the last attempt, where it failed.
    cause: String,
}

/// The keys.
pub struct KeySources {
    config: Config,
    http: reqwest::Client,
    slots: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Slot>>>>,
}

impl KeySources {
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(config: Config) -> Result<Self, super::SetupError> {
        let http = super::exchange::pool(&super::Config { connect_timeout: config.timeout, ..Default::default() });
        let http = http.map_err(|error| super::SetupError(crate::adapters::http::words(error)))?;
        Ok(Self { config, http, slots: Mutex::default() })
    }

    fn origin(&self, name: &str, to: Destination<'_>) -> Result<Origin, KeyError> {
        let (origin, hosts) = match self.config.sources.get(name) {
            Some(source) => (source.origin.clone(), source.hosts.as_slice()),
            None if providers::is_variable(name) => (Origin::Environment(name.to_owned()), &[][..]),
            None => return Err(KeyError::Unknown { name: name.to_owned(), to: to.to_string() }),
        };
        let variable = if let Origin::Environment(variable) = &origin { variable } else { name };
        let fits = match hosts {
            [] => to.encrypted && providers::is_home(variable, to.host),
            _ => hosts.iter().any(|listed| allows(listed, to)),
        };
        if fits { Ok(origin) } else { Err(KeyError::Elsewhere { name: name.to_owned(), to: to.to_string() }) }
    }

    fn slot(&self, name: &str) -> Arc<tokio::sync::Mutex<Slot>> {
        Arc::clone(self.slots.lock().entry(name.to_owned()).or_default())
    }

    /// Loads the key into its slot, or leaves there why not. Whoever asks meanwhile waits, and finds it done.
    async fn load(&self, name: &str, origin: &Origin, slot: &mut Slot) {
        slot.tried_at = Some(Instant::now());
        slot.reloaded = false;
        let loading = tokio::time::timeout(self.config.timeout, load::load(origin, &self.http));
        let loaded = loading.await.unwrap_or_else(|_| Err("its source took too long".to_owned()));
        match loaded {
            Ok(secret) => {
                if slot.secret.as_ref().is_some_and(|known| *known != secret) {
                    tracing::info!(name, "a provider's key has been replaced");
                }
                slot.secret = Some(secret);
                slot.loaded_at = slot.tried_at;
            }
            Err(cause) => {
                tracing::warn!(name, cause, "a provider's key cannot be loaded");
                slot.cause = cause;
            }
        }
    }

    fn rests(&self, slot: &Slot) -> bool {
        slot.tried_at.is_some_and(|at| at.elapsed() < self.config.reload_interval_min)
    }
}

fn held(name: &str, slot: &Slot) -> Result<Secret, KeyError> {
    slot.secret.clone().ok_or_else(|| KeyError::Missing { name: name.to_owned(), cause: slot.cause.clone() })
}

#[async_trait]
impl Keys for KeySources {
    async fn key(&self, name: &str, to: Destination<'_>) -> Result<Secret, KeyError> {
        let origin = self.origin(name, to)?;
        let slot = self.slot(name);
        let mut slot = slot.lock().await;
        let is_fresh = slot.loaded_at.is_some_and(|at| at.elapsed() < self.config.age_max);
        if !is_fresh && !self.rests(&slot) {
            self.load(name, &origin, &mut slot).await;
        }
        held(name, &slot)
    }

    async fn reload(&self, name: &str, to: Destination<'_>, stale: &Secret) -> Result<Secret, KeyError> {
        let origin = self.origin(name, to)?;
        let slot = self.slot(name);
        let mut slot = slot.lock().await;
        let is_stale = slot.secret.as_ref().is_none_or(|known| known == stale);
        // A load that no provider's refusal led to does not count: the key may have been replaced right after it.
        if is_stale && !(slot.reloaded && self.rests(&slot)) {
            self.load(name, &origin, &mut slot).await;
            slot.reloaded = true;
        }
        held(name, &slot)
    }
}

/// Whether a listed host lets a key go there.
fn allows(listed: &str, to: Destination<'_>) -> bool {
    let (host, in_the_clear) = match listed.strip_prefix("http://") {
        Some(host) => (host, true),
        None => (listed, false),
    };
    let fits = host.eq_ignore_ascii_case(to.host) || listed == "*";
    fits && (to.encrypted || in_the_clear)
}
