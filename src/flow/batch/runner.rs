//! The batches of the logs that this process owns, each a task.

use super::task::Task;
use crate::domain::llm_batch::{State, Status};
use crate::domain::{Aggregate, AnyState, LogId, Partitions, StreamId, TenantId};
use crate::flow::request::resolve::Resolver;
use crate::flow::request::seam::{Lane, OpenRequests, Watcher};
use crate::metrics::handles;
use crate::ports::index::Head;
use crate::ports::journal::Recorded;
use crate::ports::{Clock, Index, Topics};
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Between two tries to find the open batches of a log.
const AGAIN: Duration = Duration::from_secs(1);
/// Batches of this process that submit requests at a time; the others wait for their turn, in the order of their starts.
const RUNNING_MAX: usize = 64;
/// How many of them may be one tenant's.
const RUNNING_OF_TENANT_MAX: usize = 4;

/// Bounds and times of batches.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Most requests of one batch that are under way at a time.
    pub in_flight_max: usize,
    /// Most bytes of one command.
    pub command_bytes_max: usize,
    /// How often progress is recorded at least, while there is any.
    pub record_every: Duration,
}

/// What batches are run with.
pub struct Parts {
    pub index: Arc<dyn Index>,
    pub topics: Arc<dyn Topics>,
    pub resolver: Resolver,
    pub open: Arc<dyn OpenRequests>,
    pub clock: Arc<dyn Clock>,
    pub partitions: Partitions,
    pub config: Config,
}

/// See the module. Clones are the same.
#[derive(Clone)]
pub struct Runner(Arc<Shared>);

/// What the tasks share.
pub struct Shared {
    pub index: Arc<dyn Index>,
    pub topics: Arc<dyn Topics>,
    pub resolver: Resolver,
    pub clock: Arc<dyn Clock>,
    pub partitions: Partitions,
    pub config: Config,
    open: Arc<dyn OpenRequests>,
    logs: Mutex<HashMap<LogId, Owned>>,
    claims: AtomicU64,
    room: Arc<Semaphore>,
    rooms: Mutex<HashMap<TenantId, Weak<Semaphore>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What a task is told while it runs.
pub struct Word {
    pub is_cancelled: AtomicBool,
    pub told: Notify,
    /// Whether this process saw the batch begin.
    pub is_first: bool,
}

/// A log under one claim.
struct Owned {
    claim: u64,
    lane: Arc<dyn Lane>,
    stop: CancellationToken,
    running: HashMap<StreamId, Arc<Word>>,
    /// Batches that ended under this claim: the open ones are read from an index that may not show it yet.
    ended: HashSet<StreamId>,
    is_found: bool,
}

impl Runner {
    pub fn new(parts: Parts) -> Self {
        let Parts { index, topics, resolver, open, clock, partitions, config } = parts;
        Self(Arc::new(Shared {
            index,
            topics,
            resolver,
            clock,
            partitions,
            config,
            open,
            logs: Mutex::default(),
            claims: AtomicU64::new(0),
            room: Arc::new(Semaphore::new(RUNNING_MAX)),
            rooms: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }))
    }

    /// Lets go of every batch where it is; whoever claims its log goes on.
    pub async fn stop(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

impl Watcher for Runner {
    fn owned(&self, log: LogId, lane: Arc<dyn Lane>) {
        let stop = self.0.stop.child_token();
        let claim = self.0.claims.fetch_add(1, Ordering::Relaxed);
        let owned =
            Owned { claim, lane, stop: stop.clone(), running: HashMap::new(), ended: HashSet::new(), is_found: false };
        if let Some(before) = self.0.logs.lock().insert(log, owned) {
            before.stop.cancel();
        }
        let shared = self.0.clone();
        self.0.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = shared.find(log, claim) => {}
            }
        });
    }

    fn appended(&self, log: LogId, records: &[Recorded], heads: &HashMap<StreamId, Arc<Head>>) {
        for (stream, head) in heads {
            let Ok(AnyState::LlmBatch(state)) = head.state_of(Aggregate::LlmBatch) else { continue };
            let is_started = |it: &&Recorded| it.record.stream() == *stream && it.record.schema == "BatchStarted";
            let is_first = records.iter().find(is_started).is_some();
            self.0.told(log, None, *stream, &state, is_first);
        }
    }

    fn released(&self, log: LogId) {
        if let Some(owned) = self.0.logs.lock().remove(&log) {
            owned.stop.cancel();
        }
    }
}

impl Shared {
    /// Finds what is open of a log that was claimed.
    async fn find(self: Arc<Self>, log: LogId, claim: u64) {
        let found = |page: Vec<(StreamId, Arc<Head>)>| {
            for (stream, head) in page {
                if let Ok(AnyState::LlmBatch(state)) = head.state_of(Aggregate::LlmBatch) {
                    self.told(log, Some(claim), stream, &state, false);
                }
            }
        };
        while let Err(error) = self.open.open(log, &found).await {
            tracing::warn!(%log, %error, "the open batches of a log could not be read; it is tried again");
            tokio::time::sleep(AGAIN).await;
        }
        if let Some(owned) = self.logs.lock().get_mut(&log).filter(|owned| owned.claim == claim) {
            owned.is_found = true;
            owned.ended.clear();
        }
    }

    /// A batch of a log stands like this: by an append, or as the index has it for `claim`.
    fn told(self: &Arc<Self>, log: LogId, claim: Option<u64>, stream: StreamId, state: &State, is_first: bool) {
        let mut logs = self.logs.lock();
        let Some(owned) = logs.get_mut(&log).filter(|owned| claim.is_none_or(|claim| claim == owned.claim)) else {
            return;
        };
        if !state.is_running() {
            // Its task sees the end by itself: it was the one that said it.
            if claim.is_none() && !owned.is_found && state.run.is_some() {
                owned.ended.insert(stream);
            }
            return;
        }
        if let Some(word) = owned.running.get(&stream) {
            if state.status == Status::Cancelling && !word.is_cancelled.swap(true, Ordering::AcqRel) {
                word.told.notify_one();
            }
            return;
        }
        if claim.is_some() && owned.ended.contains(&stream) {
            return;
        }
        let is_cancelled = AtomicBool::new(state.status == Status::Cancelling);
        let word = Arc::new(Word { is_cancelled, told: Notify::new(), is_first });
        let Some(task) = Task::new(self.clone(), stream, state, owned.lane.clone(), word.clone()) else { return };
        let (shared, claim, stop) = (self.clone(), owned.claim, owned.stop.clone());
        owned.running.insert(stream, word.clone());
        self.tasks.spawn(async move {
            handles().request_open_batches.increment(1.0);
            shared.clone().carry(task, &word, stop).await;
            handles().request_open_batches.decrement(1.0);
            if let Some(owned) = shared.logs.lock().get_mut(&log).filter(|owned| owned.claim == claim) {
                owned.running.remove(&stream);
            }
        });
    }

    async fn carry(self: Arc<Self>, task: Task, word: &Word, stop: CancellationToken) {
        let cancelled = async {
            while !word.is_cancelled.load(Ordering::Acquire) {
                word.told.notified().await;
            }
        };
        let turn = async {
            let own = self.room_of(task.tenant()).acquire_owned().await.ok();
            (own, self.room.clone().acquire_owned().await.ok())
        };
        // One that is cancelled or expired waits for no turn: it has nothing left to submit.
        let _turn = tokio::select! {
            () = stop.cancelled() => return,
            () = cancelled => None,
            () = tokio::time::sleep(task.expires_in()) => None,
            turn = turn => Some(turn),
        };
        task.run(stop).await;
    }

    /// A tenant's own turns, which others do not wait behind.
    fn room_of(&self, tenant: TenantId) -> Arc<Semaphore> {
        let mut rooms = self.rooms.lock();
        if let Some(room) = rooms.get(&tenant).and_then(Weak::upgrade) {
            return room;
        }
        rooms.retain(|_, room| room.strong_count() > 0);
        let room = Arc::new(Semaphore::new(RUNNING_OF_TENANT_MAX));
        rooms.insert(tenant, Arc::downgrade(&room));
        room
    }
}
