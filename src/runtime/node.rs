//! One process with all roles over one folder: wiring, start, stop.

use crate::adapters::embedded::{Config, Embedded, FolderError};
use crate::domain::LogId;
use crate::flow::derive;
use crate::flow::feed::{Feed, Source};
use crate::flow::gateway::Gateway;
use crate::flow::lease::Leases;
use crate::flow::outcome::OutcomeHub;
use crate::flow::process::{self, Parts};
use crate::flow::project;
use crate::flow::query::Query;
use crate::ports::clock::SystemClock;
use crate::ports::{Clock, Journal, Views};
use crate::runtime::replica::{KeptReplica, searching};
use crate::runtime::requests::{self, Requests};
use crate::runtime::settings::{Settings, Switch};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Journal(#[from] crate::ports::journal::Error),
    #[error(transparent)]
    Derive(#[from] derive::Error),
    #[error(transparent)]
    Requests(#[from] requests::Error),
    #[error("the replica cannot be opened: {0}")]
    Replica(#[from] crate::ports::search::Error),
    #[error("cannot start the checkpoint thread: {0}")]
    Thread(std::io::Error),
    #[error("{waiting} of {all} logs did not come up within {seconds} s; the log of the process says why")]
    Slow { waiting: usize, all: usize, seconds: u64 },
}

/// The replica's place in the folder.
const REPLICA: &str = "replica";
/// How often a starting node looks whether its logs are up.
const LOOK: Duration = Duration::from_millis(5);

/// A running node.
pub struct Node {
    pub gateway: Arc<Gateway>,
    pub query: Arc<Query>,
    /// What is published, for any number of readers.
    pub feed: Arc<Feed>,
    pub leases: Arc<Leases>,
    /// Where the settings want requests carried out.
    pub requests: Option<Requests>,
    replica: Option<KeptReplica>,
    embedded: Embedded,
    checkpoints: std::thread::JoinHandle<()>,
    tasks: TaskTracker,
    stop: CancellationToken,
    owned: Arc<AtomicUsize>,
    projected: Arc<HashMap<LogId, watch::Receiver<u64>>>,
}

impl Node {
    /// Opens a folder and starts every role on it. Ready when it returns: what a predecessor left is derived and shown.
    ///
    /// # Errors
    /// When the folder cannot be opened, or its logs do not come up.
    pub async fn start(path: &Path, settings: &Settings) -> Result<Self, NodeError> {
        let embedded = Embedded::open(path, &folder_config(settings))?;
        let hub = Arc::new(OutcomeHub::default());
        let owned = Arc::new(AtomicUsize::new(0));
        let leases = Arc::new(new_leases(&embedded, settings));
        let requests = new_requests(&embedded, settings)?;
        let feed = new_feed(&embedded, settings);
        let parts = Parts {
            journal: embedded.journal.clone(),
            topics: embedded.topics.clone(),
            index: embedded.index.clone(),
            clock: Arc::new(SystemClock),
            outcomes: hub.clone(),
            assignment: embedded.assignment()?,
            notice: Arc::new({
                let leases = leases.clone();
                move |stream, event| leases.notice(stream, event)
            }),
            watcher: requests.as_ref().map(Requests::watcher),
            owned: owned.clone(),
            partitions: embedded.partitions.into(),
            limits: settings.limits(),
        };
        reindex(&embedded.log_ids(), &parts).await?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let projected = Arc::new(spawn_logs(&embedded, &parts, &tasks, &stop));
        let checkpointer = embedded.checkpointer();
        let checkpoints = std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || checkpointer.run())
            .map_err(NodeError::Thread)?;
        let gateway = Gateway::new(parts.topics.clone(), hub, projected.clone(), embedded.partitions.into());
        let replica = KeptReplica::open(settings, Some(&path.join(REPLICA)))?;
        let gateway = Arc::new(searching(gateway, replica.as_ref(), Gateway::searching));
        let query = new_query(&embedded, parts.clock).folding_at_most(settings.folded_records_max);
        let query = query.tracing_at_most(settings.trace_commands_max);
        let query = Arc::new(searching(query, replica.as_ref(), Query::searching));
        let node = Self {
            gateway,
            query,
            feed,
            leases,
            requests,
            replica,
            embedded,
            checkpoints,
            tasks,
            stop,
            owned,
            projected,
        };
        node.come_up(Duration::from_millis(settings.start_ms_max)).await?;
        node.keep_replica().await;
        let views: Arc<dyn Views> = node.embedded.views.clone();
        node.tasks.spawn(node.leases.clone().run(views, node.stop.clone()));
        // Not before: what budgets have spent is shown by then.
        node.requests.iter().for_each(Requests::start);
        node.tasks.close();
        // What was caught up need not be caught up again at the next start.
        node.embedded.checkpointer().request();
        Ok(node)
    }

    async fn keep_replica(&self) {
        if let Some(replica) = &self.replica {
            replica.start(self.embedded.views.clone(), self.embedded.journal.clone(), self.feed.clone());
            replica.built().await;
        }
    }

    /// Waits until every log is claimed, derived and projected.
    async fn come_up(&self, within: Duration) -> Result<(), NodeError> {
        let logs = self.embedded.log_ids();
        let slow = |waiting| NodeError::Slow { waiting, all: logs.len(), seconds: within.as_secs() };
        let deadline = tokio::time::Instant::now() + within;
        while self.owned.load(Ordering::Acquire) < logs.len() {
            if tokio::time::Instant::now() > deadline {
                return Err(slow(logs.len() - self.owned.load(Ordering::Acquire)));
            }
            tokio::time::sleep(LOOK).await;
        }
        for log in &logs {
            let head = self.embedded.journal.state(*log).await?.head;
            let Some(mut projected) = self.projected.get(log).cloned() else { continue };
            let reached = tokio::time::timeout_at(deadline, projected.wait_for(|reached| *reached >= head)).await;
            if reached.is_err() {
                return Err(slow(1));
            }
        }
        Ok(())
    }

    /// Why the node cannot serve now, if it cannot.
    pub fn readiness(&self) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
        let (owned, all, stop) = (self.owned.clone(), self.embedded.log_ids().len(), self.stop.clone());
        move || {
            if stop.is_cancelled() {
                return Err("the process is stopping".into());
            }
            match owned.load(Ordering::Acquire) {
                owned if owned >= all => Ok(()),
                owned => Err(format!("{} of {all} logs are being claimed", all - owned)),
            }
        }
    }

    /// Ends every role: batches under way are finished, everything is synced, a checkpoint is written. Commands that
    /// were accepted and not decided are decided at the next start.
    ///
    /// # Errors
    /// When the last checkpoint cannot be written; nothing is lost, the next start reads more.
    pub async fn stop(self) -> Result<(), NodeError> {
        if let Some(requests) = &self.requests {
            requests.stop().await;
        }
        self.stop.cancel();
        self.tasks.wait().await;
        if let Some(replica) = &self.replica {
            replica.stop().await;
        }
        self.embedded.checkpointer().stop();
        let (checkpoints, embedded) = (self.checkpoints, self.embedded);
        let closed = tokio::task::spawn_blocking(move || {
            if checkpoints.join().is_err() {
                tracing::error!("the checkpoint thread panicked");
            }
            embedded.close()
        });
        match closed.await {
            Ok(result) => Ok(result?),
            Err(error) => Err(FolderError::Derived(error.to_string()).into()),
        }
    }
}

/// Has every log decided and projected; tells how far each is projected.
fn spawn_logs(
    embedded: &Embedded,
    parts: &Parts,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> HashMap<LogId, watch::Receiver<u64>> {
    let projecting = project::Parts {
        topics: embedded.topics.clone(),
        views: embedded.views.clone(),
        usage: embedded.usage.clone(),
        clock: parts.clock.clone(),
    };
    let mut projected = HashMap::new();
    for log in embedded.log_ids() {
        tasks.spawn(process::run(log, parts.clone(), stop.clone()));
        let (sender, receiver) = watch::channel(0);
        projected.insert(log, receiver);
        tasks.spawn(project::run(log, projecting.clone(), sender, stop.clone()));
    }
    projected
}

/// Restores the index rows of all logs that a crash took. Every log's, before any log decides or reacts: both look at
/// the heads and edges of others.
async fn reindex(logs: &[LogId], parts: &Parts) -> Result<(), NodeError> {
    let mut restoring = JoinSet::new();
    for log in logs.iter().copied() {
        let (journal, index) = (parts.journal.clone(), parts.index.clone());
        restoring.spawn(async move { derive::reindex(log, &*journal, &*index).await });
    }
    for restored in restoring.join_all().await {
        restored?;
    }
    Ok(())
}

fn new_query(embedded: &Embedded, clock: Arc<dyn Clock>) -> Query {
    let (views, index, topics) = (embedded.views.clone(), embedded.index.clone(), embedded.topics.clone());
    Query::new(views, index, topics, embedded.journal.clone(), embedded.usage.clone(), clock)
}

fn new_leases(embedded: &Embedded, settings: &Settings) -> Leases {
    let (topics, index) = (embedded.topics.clone(), embedded.index.clone());
    Leases::new(topics, index, embedded.partitions.into(), settings.lease_times(), fresh_id)
}

/// Before anything is published: it is told of all of it.
fn new_feed(embedded: &Embedded, settings: &Settings) -> Arc<Feed> {
    let (journal, clock) = (embedded.journal.clone(), Arc::new(SystemClock));
    let ring = settings.event_ring_bytes_max;
    let feed = Arc::new(Feed::new(Source::Told, journal, clock, embedded.partitions.into(), ring));
    let told = feed.clone();
    embedded.topics.tell(Box::new(move |log, records| told.publish(log, records)));
    feed
}

fn new_requests(embedded: &Embedded, settings: &Settings) -> Result<Option<Requests>, NodeError> {
    if settings.request_calls == Switch::Off {
        return Ok(None);
    }
    let stores = requests::Stores {
        limits: Arc::new(embedded.limits(&SystemClock)?),
        usage: embedded.usage.clone(),
        topics: embedded.topics.clone(),
        index: embedded.index.clone(),
        partitions: embedded.partitions.into(),
        // The folder's lock says so.
        is_exclusive: true,
    };
    Ok(Some(Requests::new(settings, stores, settings.command_bytes_max)?))
}

/// An id for what has none of its own: a command that came without one, a transition that follows from time alone.
#[expect(clippy::disallowed_methods, reason = "the one place where ids come from nowhere")]
pub fn fresh_id() -> uuid::Uuid {
    uuid::Uuid::now_v7()
}

/// The engine's part of the settings.
pub fn folder_config(settings: &Settings) -> Config {
    Config {
        partitions: settings.partitions,
        segment_bytes_max: settings.segment_bytes_max,
        // A batch takes commands until it is full; the last one may go over by its own size.
        batch_bytes_max: settings.batch_bytes_max + settings.command_bytes_max,
        accepted_waiting_max: settings.accepted_waiting_max,
        accepted_waiting_bytes_max: settings.accepted_waiting_bytes_max,
        checkpoint_records_max: settings.checkpoint_records_max,
        checkpoint_interval: Duration::from_millis(settings.checkpoint_interval_ms),
        head_cache_bytes_max: settings.head_cache_bytes_max,
        row_cache_bytes_max: settings.row_cache_bytes_max,
        outcomes_bytes_max: settings.outcomes_retained_max * OUTCOME_BYTES,
        traces_bytes_max: settings.outcomes_retained_max * TRACED_BYTES,
        usage_retention: settings.usage_retention(),
    }
}

/// What an outcome takes on disk: its key of 20 bytes, its place, and the blocks around it.
const OUTCOME_BYTES: u64 = 32;
/// What a trace of one command takes: the same, with its time.
const TRACED_BYTES: u64 = 40;
