//! The replica of a node that serves HTTP: opened, kept, closed.

use crate::adapters::tantivy::{Config, Replica};
use crate::flow::feed::Feed;
use crate::flow::replica::{self, Parts};
use crate::ports::clock::SystemClock;
use crate::ports::search::Error;
use crate::ports::{Journal, Search, Views};
use crate::runtime::settings::{Settings, Switch};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a starting node waits for it, and how often it looks.
const BUILT_WITHIN: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(5);

/// Gives a part the replica to search in, where there is one.
pub fn searching<T>(part: T, replica: Option<&KeptReplica>, give: impl FnOnce(T, Arc<dyn Search>) -> T) -> T {
    match replica {
        Some(replica) => give(part, replica.search()),
        None => part,
    }
}

/// A replica and who keeps it.
pub struct KeptReplica {
    replica: Arc<Replica>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl KeptReplica {
    /// Opens the replica that the settings want, in `place` unless they name another; `None` where they want none.
    ///
    /// # Errors
    /// When its folder cannot be written, or another process has it open.
    pub fn open(settings: &Settings, place: Option<&Path>) -> Result<Option<Self>, Error> {
        if settings.replica == Switch::Off {
            return Ok(None);
        }
        let named = Some(settings.replica_dir.as_str()).filter(|name| !name.is_empty()).map(PathBuf::from);
        let place = named.as_deref().or(place);
        let config = Config {
            memory_bytes_max: settings.replica_memory_bytes_max,
            commit_interval: Duration::from_millis(settings.replica_commit_interval_ms),
        };
        let replica = Arc::new(Replica::open(place, config, Arc::new(SystemClock))?);
        Ok(Some(Self { replica, tasks: TaskTracker::new(), stop: CancellationToken::new() }))
    }

    pub fn search(&self) -> Arc<dyn Search> {
        self.replica.clone()
    }

    /// Keeps it by what is published, from the views on where it is new.
    pub fn start(&self, views: Arc<dyn Views>, journal: Arc<dyn Journal>, feed: Arc<Feed>) {
        let parts = Parts { search: self.search(), views, journal, feed };
        self.tasks.spawn(replica::run(parts, self.stop.clone()));
        self.tasks.close();
    }

    /// Waits until it is built, but not long: a small one is built at once, and nobody need meet it unfinished.
    pub async fn built(&self) {
        let built = async {
            while !self.replica.standing().is_complete {
                tokio::time::sleep(LOOK).await;
            }
        };
        let _ = tokio::time::timeout(BUILT_WITHIN, built).await;
    }

    /// Ends it: what was taken is kept.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
        if let Err(error) = self.replica.close().await {
            tracing::warn!(%error, "the replica was not closed; it is built again at the next start");
        }
    }
}
