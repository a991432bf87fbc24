//! Where the runner meets the processors: they hand it lanes and tell it what is appended to the logs of batches.

use super::runner::Runner;
use crate::domain::{Aggregate, LogId, StreamId};
use crate::flow::process::lane::Lane;
use crate::flow::process::watch::Watcher;
use crate::flow::request::seam;
use crate::ports::index::Head;
use crate::ports::journal::Recorded;
use hashbrown::HashMap;
use std::sync::Arc;

/// Tells a runner of the logs of batches, and of no others.
pub struct Watched(pub Runner);

impl Watcher for Watched {
    fn owned(&self, log: LogId, lane: Lane) {
        if log.aggregate == Aggregate::LlmBatch {
            seam::Watcher::owned(&self.0, log, Arc::new(lane));
        }
    }

    fn appended(&self, log: LogId, records: &[Recorded], heads: &HashMap<StreamId, Arc<Head>>) {
        if log.aggregate == Aggregate::LlmBatch {
            seam::Watcher::appended(&self.0, log, records, heads);
        }
    }

    fn released(&self, log: LogId) {
        if log.aggregate == Aggregate::LlmBatch {
            seam::Watcher::released(&self.0, log);
        }
    }
}

/// Tells several, one after the other.
pub struct All(pub Vec<Arc<dyn Watcher>>);

impl Watcher for All {
    fn owned(&self, log: LogId, lane: Lane) {
        self.0.iter().for_each(|watcher| watcher.owned(log, lane.clone()));
    }

    fn appended(&self, log: LogId, records: &[Recorded], heads: &HashMap<StreamId, Arc<Head>>) {
        self.0.iter().for_each(|watcher| watcher.appended(log, records, heads));
    }

    fn released(&self, log: LogId) {
        self.0.iter().for_each(|watcher| watcher.released(log));
    }
}
