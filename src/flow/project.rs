//! Project: published events become view rows.
//!
//! See [`fold`] for how. What request logs cost is counted on the way, see [`usage`].

mod usage;
#[cfg(test)]
mod usage_tests;

use crate::domain::{LogId, StreamId};
use crate::flow::fold;
use crate::flow::said::Said;
use crate::flow::trace;
use crate::metrics::{Stopwatch, handles};
use crate::ports::{Clock, Topics, Usage, Views};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use usage::Meter;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Views(#[from] crate::ports::views::Error),
    #[error(transparent)]
    Usage(#[from] crate::ports::usage::Error),
    #[error(transparent)]
    Topic(#[from] crate::ports::topic::Error),
    #[error(transparent)]
    Fold(#[from] fold::Error),
    #[error(transparent)]
    Payload(#[from] crate::flow::derive::Error),
    #[error("the state of {stream} cannot be read: {cause}")]
    State { stream: StreamId, cause: String },
}

/// Records projected in one go.
const RECORDS_MAX: usize = 1000;
/// Between a failure and the next try: the first time, and at most, when nothing comes of it again and again.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

static SAID: Mutex<Said> = Mutex::new(Said::nothing());

/// What a projector reads and writes.
#[derive(Clone)]
pub struct Parts {
    pub topics: Arc<dyn Topics>,
    pub views: Arc<dyn Views>,
    pub usage: Arc<dyn Usage>,
    pub clock: Arc<dyn Clock>,
}

/// Projects a log until told to stop. `projected` shows how far.
pub async fn run(log: LogId, parts: Parts, projected: watch::Sender<u64>, stop: CancellationToken) {
    let mut pause = PAUSE;
    loop {
        let before = *projected.borrow();
        let result = tokio::select! {
            () = stop.cancelled() => return,
            result = follow(log, &parts, &projected) => result,
        };
        let Err(error) = result else { continue };
        if let Some(failures) = SAID.lock().count(Instant::now()) {
            tracing::warn!(%log, %error, failures, "projecting failed; it is tried again");
        } else {
            tracing::debug!(%log, %error, "projecting failed");
        }
        if *projected.borrow() != before {
            pause = PAUSE;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
        }
    }
}

async fn follow(log: LogId, parts: &Parts, projected: &watch::Sender<u64>) -> Result<(), Error> {
    let views = &*parts.views;
    let mut meter = Meter::new(log, parts.usage.clone(), parts.clock.clone());
    let mut after = views.applied_to(log).await?;
    projected.send_replace(after);
    loop {
        let records = parts.topics.follow(log, after, RECORDS_MAX).await?;
        let watch = Stopwatch::start();
        let Some(last) = records.last() else { continue };
        let through = last.record.position;
        let rows = fold::rows(log, views, &records).await?;
        handles().project_rows.increment(rows.len() as u64);
        // Before the mark of the views, at which the next projector begins.
        meter.count(&records, &rows).await?;
        views.apply(log, rows, through).await?;
        after = through;
        for recorded in records.iter().filter(|recorded| recorded.record.last) {
            trace::passed("project", &recorded.record.envelope, Some(recorded.record.position));
        }
        projected.send_replace(after);
        handles().project_records.increment(records.len() as u64);
        watch.record(&handles().project_batch);
    }
}
