//! Where the engine meets the processors: they hand it lanes and tell it what is appended, it finds the open requests of a
//! log that was claimed in the index.

use super::engine::Engine;
use super::open::open;
use super::seam::{self, Answered, NotTaken, OpenRequests};
use crate::domain::{Aggregate, LogId, Rejection, StreamId};
use crate::flow::process::lane::{self, Lane, LaneOutcome};
use crate::flow::process::watch::Watcher;
use crate::ports::index::{Error, Head};
use crate::ports::journal::Recorded;
use crate::ports::topic::Accepted;
use crate::ports::{Clock, Index};
use async_trait::async_trait;
use hashbrown::HashMap;
use std::sync::Arc;

/// Tells an engine of the logs of requests, and of no others.
pub struct Watched(pub Engine);

impl Watcher for Watched {
    fn owned(&self, log: LogId, lane: Lane) {
        if log.aggregate == Aggregate::LlmRequest {
            seam::Watcher::owned(&self.0, log, Arc::new(lane));
        }
    }

    fn appended(&self, log: LogId, records: &[Recorded], heads: &HashMap<StreamId, Arc<Head>>) {
        if log.aggregate == Aggregate::LlmRequest {
            seam::Watcher::appended(&self.0, log, records, heads);
        }
    }

    fn released(&self, log: LogId) {
        if log.aggregate == Aggregate::LlmRequest {
            seam::Watcher::released(&self.0, log);
        }
    }
}

#[async_trait]
impl seam::Lane for Lane {
    async fn send(&self, command: Arc<Accepted>) -> Result<Answered, NotTaken> {
        match Lane::send(self, command).await {
            Ok(answered) => Ok(match answered.outcome {
                LaneOutcome::Applied => Answered::Applied,
                LaneOutcome::Unchanged => Answered::Unchanged,
                LaneOutcome::Refused(rejection) => Answered::Refused(rejection),
                LaneOutcome::Repeated(_) => Answered::Repeated,
                LaneOutcome::IdReused => Answered::Refused(dead("id_reused", "the command's id is another command's")),
                LaneOutcome::DeadLettered => Answered::Refused(dead("poisonous", "the command could not be decided")),
            }),
            Err(lane::NotTaken::Unknown(_)) => Err(NotTaken { unknown: true }),
            Err(error) => {
                tracing::debug!(%error, "a log did not take a command");
                Err(NotTaken { unknown: false })
            }
        }
    }
}

/// What ended as a dead letter was refused, as far as its sender is concerned.
fn dead(code: &str, what: &str) -> Rejection {
    Rejection::new(code, format!("{what}; it is kept as a dead letter"))
}

/// The open requests of a log, as the index has them.
pub struct Indexed {
    pub index: Arc<dyn Index>,
    pub clock: Arc<dyn Clock>,
}

#[async_trait]
impl OpenRequests for Indexed {
    async fn open(&self, log: LogId, found: &(dyn Fn(Vec<(StreamId, Arc<Head>)>) + Send + Sync)) -> Result<(), Error> {
        let mut pages = open(log, &*self.index, self.clock.now());
        while let Some(page) = pages.next().await? {
            found(page);
        }
        Ok(())
    }
}
