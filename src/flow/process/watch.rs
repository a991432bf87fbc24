//! The watcher: who in this process is told what happens to the logs that it owns.
//!
//! What follows outside of the logs (a call to a model) has to begin with the append, not with the index rows after it,
//! and must end with the claim. It therefore hears of both from the processor itself.

use super::Parts;
use super::lane::Lane;
use crate::domain::{LogId, StreamId};
use crate::ports::index::Head;
use crate::ports::journal::Recorded;
use hashbrown::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Who is told what happens to the logs that this process owns: in order, per log. Calls must not block, and must not
/// panic.
pub trait Watcher: Send + Sync + 'static {
    /// The log is claimed and caught up: the index shows all that it holds. `lane` takes commands for it until
    /// [`Self::released`].
    fn owned(&self, log: LogId, lane: Lane);

    /// These records are in the log, in position order and whole commands: told after the append is confirmed, before any
    /// command of the lane among them is answered, and before the index shows them. `heads` has the streams that they
    /// touched as the append left them.
    ///
    /// An append of which nothing is known is not told: what of it is in the log is seen by whoever claims it next.
    fn appended(&self, log: LogId, records: &[Recorded], heads: &HashMap<StreamId, Arc<Head>>);

    /// The claim ended, whatever ended it: nothing more may be decided here. All commands of the lane are answered.
    fn released(&self, log: LogId);
}

/// A log in this process's hands. Also one whose task is cut off lets go of it.
pub(super) struct Ownership<'a> {
    log: LogId,
    parts: &'a Parts,
}

impl<'a> Ownership<'a> {
    pub fn begin(log: LogId, parts: &'a Parts, lane: Lane) -> Self {
        parts.owned.fetch_add(1, Ordering::AcqRel);
        if let Some(watcher) = &parts.watcher {
            watcher.owned(log, lane);
        }
        Self { log, parts }
    }
}

impl Drop for Ownership<'_> {
    fn drop(&mut self) {
        self.parts.owned.fetch_sub(1, Ordering::AcqRel);
        if let Some(watcher) = &self.parts.watcher {
            watcher.released(self.log);
        }
    }
}
