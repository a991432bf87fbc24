//! How far the logs are projected: what a caller waits for that wants to see its own write.

use crate::domain::LogId;
use crate::domain::record::RecordKind;
use crate::ports::{Journal, Views};
use async_trait::async_trait;
use hashbrown::HashMap;
use parking_lot::Mutex as Lock;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

/// Waits for projectors.
///
/// Contract: `wait` returns once the views show every event of the log up to this position. It may wait for ever; the
/// caller has a deadline.
#[async_trait]
pub trait Projected: Send + Sync + 'static {
    async fn wait(&self, log: LogId, position: u64);
}

/// The projectors run in this process and say how far they are.
#[async_trait]
impl Projected for std::collections::HashMap<LogId, watch::Receiver<u64>> {
    async fn wait(&self, log: LogId, position: u64) {
        if let Some(mut projected) = self.get(&log).cloned() {
            // An error means that the projector ended with the process.
            let _ = projected.wait_for(|reached| *reached >= position).await;
        }
    }
}

/// The projectors run elsewhere: their marks are read from the views, once for all who wait for the same log.
pub struct Marks {
    views: Arc<dyn Views>,
    journal: Arc<dyn Journal>,
    logs: Lock<HashMap<LogId, Arc<Mutex<Mark>>>>,
}

#[derive(Clone, Copy, Default)]
struct Mark {
    reached: u64,
    read_at: Option<Instant>,
}

/// Between two looks at a log's mark.
const LOOK: Duration = Duration::from_millis(5);
/// Most records that are looked at to see that nothing in them is for the views.
const RECORDS_MAX: u64 = 200;

impl Marks {
    pub fn new(views: Arc<dyn Views>, journal: Arc<dyn Journal>) -> Self {
        Self { views, journal, logs: Lock::default() }
    }

    /// The log's mark, at most [`LOOK`] old.
    async fn mark(&self, log: LogId) -> u64 {
        let cell = self.logs.lock().entry(log).or_default().clone();
        let mut mark = cell.lock().await;
        if mark.read_at.is_none_or(|at| at.elapsed() >= LOOK) {
            // A store that cannot be read now is asked again; the caller has a deadline.
            if let Ok(reached) = self.views.applied_to(log).await {
                mark.reached = reached;
            }
            mark.read_at = Some(Instant::now());
        }
        mark.reached
    }

    /// Refusals are not published, so no projector ever reaches one that stands at the end: whether all of these are
    /// such.
    async fn nothing_to_show(&self, log: LogId, after: u64, position: u64) -> bool {
        if position <= after || position - after > RECORDS_MAX {
            return false;
        }
        let count = (position - after) as usize;
        let Ok(records) = self.journal.read(log, after + 1, count).await else { return false };
        records.len() == count && records.iter().all(|recorded| recorded.record.kind != RecordKind::Event)
    }
}

#[async_trait]
impl Projected for Marks {
    async fn wait(&self, log: LogId, position: u64) {
        let mut ended_on_an_event = false;
        loop {
            let mark = self.mark(log).await;
            if mark >= position {
                return;
            }
            if !ended_on_an_event {
                let last = self.journal.read(log, position, 1).await;
                ended_on_an_event = matches!(last.as_deref(), Ok([last]) if last.record.kind == RecordKind::Event);
            }
            if !ended_on_an_event && self.nothing_to_show(log, mark, position).await {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
