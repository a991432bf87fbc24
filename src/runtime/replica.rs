//! The replica of a node that serves HTTP: opened, kept, closed. One that can be written or read no more (its files are
//! damaged or gone, the disk was full) is removed and built from the views again, while the node goes on.

mod current;

use crate::adapters::tantivy::{Config, Replica};
use crate::flow::feed::Feed;
use crate::flow::replica::{self, Parts};
use crate::ports::clock::SystemClock;
use crate::ports::search::Error;
use crate::ports::{Journal, Search, Views};
use crate::runtime::settings::{Settings, Switch};
use current::Current;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a starting node waits for it, and how often it looks.
const BUILT_WITHIN: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(5);
/// Before one that broke is built again: a disk that is full fills again.
const PAUSE: Duration = Duration::from_secs(5);

/// Gives a part the replica to search in, where there is one.
pub fn searching<T>(part: T, replica: Option<&KeptReplica>, give: impl FnOnce(T, Arc<dyn Search>) -> T) -> T {
    match replica {
        Some(replica) => give(part, replica.search()),
        None => part,
    }
}

/// A replica and who keeps it.
pub struct KeptReplica {
    current: Arc<Current>,
    place: Place,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Where a replica is, and how it is kept.
#[derive(Clone)]
struct Place {
    /// `None`: in a folder that ends with the process.
    path: Option<PathBuf>,
    config: Config,
}

impl Place {
    fn open(&self) -> Result<Arc<Replica>, Error> {
        Ok(Arc::new(Replica::open(self.path.as_deref(), self.config, Arc::new(SystemClock))?))
    }
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
        let config = Config {
            memory_bytes_max: settings.replica_memory_bytes_max,
            commit_interval: Duration::from_millis(settings.replica_commit_interval_ms),
        };
        let place = Place { path: named.or_else(|| place.map(Path::to_owned)), config };
        let current = Arc::new(Current::new(place.open()?));
        Ok(Some(Self { current, place, tasks: TaskTracker::new(), stop: CancellationToken::new() }))
    }

    pub fn search(&self) -> Arc<dyn Search> {
        self.current.clone()
    }

    /// Keeps it by what is published, from the views on where it is new.
    pub fn start(&self, views: Arc<dyn Views>, journal: Arc<dyn Journal>, feed: Arc<Feed>) {
        let parts = Parts { search: self.search(), views, journal, feed };
        self.tasks.spawn(keep(self.current.clone(), self.place.clone(), parts, self.stop.clone()));
        self.tasks.close();
    }

    /// Waits until it is built, but not long: a small one is built at once, and nobody need meet it unfinished.
    pub async fn built(&self) {
        let built = async {
            while !self.current.standing().is_complete {
                tokio::time::sleep(LOOK).await;
            }
        };
        let _ = tokio::time::timeout(BUILT_WITHIN, built).await;
    }

    /// Ends it: what was taken is kept.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
        close(&self.current.now()).await;
    }
}

async fn close(replica: &Replica) {
    if let Err(error) = replica.close().await {
        tracing::warn!(%error, "the replica was not closed; it is built again when it is opened");
    }
}

/// Keeps the replica, and puts another in its place where it breaks, until told to stop.
async fn keep(current: Arc<Current>, place: Place, parts: Parts, stop: CancellationToken) {
    loop {
        let (replica, round) = (current.now(), stop.child_token());
        let mut kept = std::pin::pin!(replica::run(parts.clone(), round.clone()));
        tokio::select! {
            () = &mut kept => return,
            () = replica.broken() => round.cancel(),
        }
        kept.await;
        // Its folder is its successor's.
        close(&replica).await;
        let Some(next) = reopened(&place, &stop).await else { return };
        current.replace(next);
    }
}

/// `None` when told to stop.
async fn reopened(place: &Place, stop: &CancellationToken) -> Option<Arc<Replica>> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(PAUSE) => {}
        }
        let place = place.clone();
        let opened = tokio::task::spawn_blocking(move || place.open()).await;
        match opened.map_err(|error| Error::Unavailable(error.to_string())).flatten() {
            Ok(replica) => return Some(replica),
            Err(error) => tracing::error!(%error, "the replica cannot be opened; it is tried again"),
        }
    }
}
