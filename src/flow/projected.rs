//! How far the logs are projected: what a caller waits for that wants to see its own write.

use crate::domain::LogId;
use crate::domain::record::RecordKind;
use crate::ports::journal::Recorded;
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
    /// The projector's, as it was read last.
    reached: u64,
    read_at: Option<Instant>,
    /// From `reached` up to here the log holds nothing for the views.
    quiet_to: u64,
    /// The first event after that, once it was met: no use in looking further before it is projected.
    event_at: Option<u64>,
}

/// Between two looks at a log's mark.
const LOOK: Duration = Duration::from_millis(5);
/// Records read at once to see that nothing in them is for the views.
const PAGE: u64 = 200;

impl Marks {
    pub fn new(views: Arc<dyn Views>, journal: Arc<dyn Journal>) -> Self {
        Self { views, journal, logs: Lock::default() }
    }

    /// Up to where the views show every event of the log, as far as it was looked at. The projector's mark is at most
    /// [`LOOK`] old; where `at_rest`, what stands between it and `position` is looked at too.
    async fn shown(&self, log: LogId, position: u64, at_rest: bool) -> u64 {
        let cell = self.logs.lock().entry(log).or_default().clone();
        let mut mark = cell.lock().await;
        if mark.read_at.is_none_or(|at| at.elapsed() >= LOOK) {
            // A store that cannot be read now is asked again; the caller has a deadline.
            if let Ok(reached) = self.views.applied_to(log).await {
                mark.reach(reached);
            }
            mark.read_at = Some(Instant::now());
        }
        if at_rest {
            self.look_on(log, &mut mark, position).await;
        }
        mark.quiet_to
    }

    /// Refusals are not published, so no projector ever reaches one that stands at the end: looks at what comes after
    /// the mark, each record once however many wait, up to the first event.
    async fn look_on(&self, log: LogId, mark: &mut Mark, position: u64) {
        while mark.event_at.is_none() && mark.quiet_to < position {
            let count = (position - mark.quiet_to).min(PAGE) as usize;
            let Ok(records) = self.journal.read(log, mark.quiet_to + 1, count).await else { return };
            if records.is_empty() {
                return;
            }
            let is_event = |recorded: &Recorded| recorded.record.kind == RecordKind::Event;
            let quiet = records.iter().take_while(|recorded| !is_event(recorded)).count();
            mark.event_at = records.get(quiet).map(|recorded| recorded.record.position);
            mark.quiet_to += quiet as u64;
        }
    }
}

impl Mark {
    fn reach(&mut self, reached: u64) {
        // A mark that went back is that of views which are being built again.
        let is_rebuilt = reached < self.reached;
        self.reached = reached;
        if is_rebuilt || reached > self.quiet_to {
            self.quiet_to = reached;
            self.event_at = None;
        }
    }
}

#[async_trait]
impl Projected for Marks {
    async fn wait(&self, log: LogId, position: u64) {
        // Where an event stands at the position, the projector's mark will come to it.
        let mut ends_on_an_event = None;
        loop {
            if self.shown(log, position, ends_on_an_event == Some(false)).await >= position {
                return;
            }
            if ends_on_an_event.is_none() {
                let last = self.journal.read(log, position, 1).await;
                let kind = last.ok().and_then(|records| Some(records.first()?.record.kind));
                ends_on_an_event = kind.map(|kind| kind == RecordKind::Event);
                if ends_on_an_event == Some(false) {
                    continue;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::query::stores::Stores;
    use crate::ports::conformance::{event, stream};
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A log that holds events at these positions and refusals at all others up to `head`.
    fn marks(events: &[u64], head: u64, reached: u64) -> (Marks, Arc<Stores>) {
        let record = |position: u64| {
            let kind = if events.contains(&position) { RecordKind::Event } else { RecordKind::Refusal };
            let record = crate::domain::record::Record { kind, ..event(stream(1), position, 1, 0) };
            Recorded { record, hash: crate::domain::record::CHAIN_START, decided: None }
        };
        let records = (1..=head).map(record).collect();
        let stores = Arc::new(Stores { records, applied_to: AtomicU64::new(reached), ..Stores::default() });
        (Marks::new(stores.clone(), stores.clone()), stores)
    }

    /// Whether the wait ends within a while, in which the projector does nothing.
    async fn ends(marks: &Marks, position: u64) -> bool {
        tokio::time::timeout(Duration::from_millis(200), marks.wait(stream(1).log(1), position)).await.is_ok()
    }

    #[tokio::test]
    async fn a_refusal_behind_many_others_is_not_waited_for() {
        let (marks, _) = marks(&[1], 1_001, 1);
        assert!(ends(&marks, 1_001).await);
        assert!(ends(&marks, 700).await);
    }

    #[tokio::test]
    async fn an_event_between_is_waited_for() {
        let (marks, stores) = marks(&[1, 500], 1_001, 1);
        assert!(!ends(&marks, 1_001).await);
        assert!(ends(&marks, 499).await);
        stores.applied_to.store(500, Ordering::Relaxed);
        assert!(ends(&marks, 1_001).await);
    }

    #[tokio::test]
    async fn an_event_is_waited_for_until_the_mark_comes_to_it() {
        let (marks, stores) = marks(&[1, 3], 3, 1);
        assert!(!ends(&marks, 3).await);
        stores.applied_to.store(3, Ordering::Relaxed);
        assert!(ends(&marks, 3).await);
        // Views that are built again show nothing yet.
        stores.applied_to.store(0, Ordering::Relaxed);
        tokio::time::sleep(LOOK).await;
        assert!(!ends(&marks, 3).await);
    }

    #[tokio::test]
    async fn what_the_log_does_not_show_yet_is_waited_for() {
        let (marks, _) = marks(&[1], 5, 1);
        assert!(!ends(&marks, 6).await);
    }
}
