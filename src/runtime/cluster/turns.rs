//! One task per log, for as long as the log is this process's.

use crate::adapters::kafka::Turns;
use crate::domain::{LogId, Partitions};
use crate::ports::Assignment;
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Starts the task of a log.
pub type Start = Box<dyn Fn(LogId, CancellationToken) -> JoinHandle<()> + Send + Sync>;

/// The tasks of the logs that are this process's.
pub struct PerLog {
    runtime: Handle,
    start: Start,
    partitions: Partitions,
    /// How long a log that goes away may take to end what is under way.
    drain_max: Duration,
    running: Mutex<HashMap<LogId, Running>>,
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl PerLog {
    /// Within a runtime, on which the tasks then run.
    pub fn new(start: Start, partitions: Partitions, drain_max: Duration) -> Arc<Self> {
        Arc::new(Self { runtime: Handle::current(), start, partitions, drain_max, running: Mutex::default() })
    }

    /// Whether it is one of the fleet's. Partitions that something else added to a topic belong to no log.
    fn is_log(&self, log: LogId) -> bool {
        let is_log = log.partition < self.partitions.of(log.aggregate);
        if !is_log {
            tracing::error!(
                alarm = "topic_widened",
                %log,
                "a topic has a partition that the fleet has no log for: something else widened it, and nobody reads what is \
                 sent there; `agentverse topics diff` says what to do"
            );
        }
        is_log
    }

    /// How many logs are run.
    pub fn count(&self) -> usize {
        self.running.lock().len()
    }
}

/// The group's thread calls these; it is no thread of the runtime, so it may block.
impl Turns for PerLog {
    fn gained(&self, logs: &[LogId]) {
        let mut running = self.running.lock();
        let _runtime = self.runtime.enter();
        for log in logs.iter().filter(|log| self.is_log(**log)) {
            running.entry(*log).or_insert_with(|| {
                let stop = CancellationToken::new();
                Running { task: (self.start)(*log, stop.clone()), stop }
            });
        }
    }

    fn lost(&self, logs: &[LogId]) {
        let ending: Vec<_> = {
            let mut running = self.running.lock();
            logs.iter().filter_map(|log| Some((*log, running.remove(log)?))).collect()
        };
        ending.iter().for_each(|(_, running)| running.stop.cancel());
        self.runtime.block_on(async {
            let deadline = Instant::now() + self.drain_max;
            for (log, Running { mut task, .. }) in ending {
                if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                    // Its claim still stands; the next owner's shuts out whatever it has under way.
                    tracing::warn!(%log, "what was under way did not end in time and was cut off");
                    task.abort();
                    // Whoever watches the log hears that this claim ended before it hears of another one.
                    let _ = task.await;
                }
            }
        });
    }
}

/// An assignment that is known a moment after those who ask it were made.
#[derive(Default)]
pub struct Later(OnceLock<Arc<dyn Assignment>>);

impl Later {
    /// The first one stays.
    pub fn set(&self, assignment: Arc<dyn Assignment>) {
        self.0.get_or_init(|| assignment);
    }
}

#[async_trait]
impl Assignment for Later {
    async fn confirm(&self, log: LogId) -> bool {
        match self.0.get() {
            Some(assignment) => assignment.confirm(log).await,
            None => false,
        }
    }

    fn consumed(&self, log: LogId, offset: u64) {
        if let Some(assignment) = self.0.get() {
            assignment.consumed(log, offset);
        }
    }

    async fn tried(&self, log: LogId, offset: u64) -> u32 {
        match self.0.get() {
            Some(assignment) => assignment.tried(log, offset).await,
            None => 0,
        }
    }

    async fn note(&self, log: LogId, offset: u64, tries: u32) {
        if let Some(assignment) = self.0.get() {
            assignment.note(log, offset, tries).await;
        }
    }
}
