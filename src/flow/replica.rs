//! Replica: a node's own copy of the views, kept for searches.
//!
//! It begins as a copy of the views, with a note of how far they were, and goes on from there by the events themselves, so
//! that no query of it costs the database anything. Where a replica is found that knows a record which the log does not
//! have at its place, it is another fleet's, or of a time that was taken back: it is built again.

use crate::domain::{Aggregate, LogId, Partitions};
use crate::flow::feed::Feed;
use crate::flow::fold;
use crate::flow::said::Said;
use crate::metrics::handles;
use crate::ports::search::{self, Mark};
use crate::ports::{Journal, Search, Views, journal, topic, views};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Search(#[from] search::Error),
    #[error(transparent)]
    Views(#[from] views::Error),
    #[error(transparent)]
    Journal(#[from] journal::Error),
    #[error(transparent)]
    Topic(#[from] topic::Error),
    #[error(transparent)]
    Fold(#[from] fold::Error),
    #[error("the views are projected up to position {position} of log {log}, which does not have it")]
    NotThere { log: LogId, position: u64 },
}

/// Records, and rows of the views, that are taken at once.
const PAGE: usize = 500;
/// Between a failure and the next try: the first time, and at most, when nothing comes of it again and again.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

static SAID: Mutex<Said> = Mutex::new(Said::nothing());

/// What the replica is kept with.
#[derive(Clone)]
pub struct Parts {
    pub search: Arc<dyn Search>,
    pub views: Arc<dyn Views>,
    pub journal: Arc<dyn Journal>,
    pub feed: Arc<Feed>,
}

/// Keeps the replica until told to stop.
pub async fn run(parts: Parts, stop: CancellationToken) {
    let Some(marks) = again(&stop, || begin(&parts)).await else { return };
    let tasks = TaskTracker::new();
    for log in logs(parts.feed.partitions()) {
        let (parts, stop) = (parts.clone(), stop.clone());
        let after = marks.get(&log).map_or(0, |mark| mark.position);
        tasks.spawn(async move {
            let after = Mutex::new(after);
            again(&stop, || follow(log, &parts, &after)).await;
        });
    }
    tasks.close();
    tasks.wait().await;
}

fn logs(partitions: Partitions) -> impl Iterator<Item = LogId> {
    partitions.logs().filter(|log| log.aggregate.is_searched())
}

/// Tries until it comes to an end; `None` when told to stop.
async fn again<T, F: Future<Output = Result<T, Error>>>(
    stop: &CancellationToken,
    mut work: impl FnMut() -> F,
) -> Option<T> {
    let mut pause = PAUSE;
    loop {
        let begun = Instant::now();
        let result = tokio::select! {
            () = stop.cancelled() => return None,
            result = work() => result,
        };
        let error = match result {
            Ok(end) => return Some(end),
            Err(error) => error,
        };
        if let Some(failures) = SAID.lock().count(Instant::now()) {
            tracing::warn!(%error, failures, "keeping the replica failed; it is tried again");
        }
        if begun.elapsed() > PAUSE_MAX {
            pause = PAUSE;
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
        }
    }
}

/// The places after which the replica goes on: those that it knows, or, where it has none that it can trust, those of the
/// views that it was made from.
async fn begin(parts: &Parts) -> Result<BTreeMap<LogId, Mark>, Error> {
    let marks = parts.search.marks();
    if parts.search.standing().is_complete {
        if is_of_this_fleet(parts, &marks).await? {
            return Ok(marks);
        }
        tracing::info!("the replica was of other logs; it is built again");
    }
    parts.search.clear().await?;
    let marks = marks_of_views(parts).await?;
    let begun = Instant::now();
    let mut rows = 0;
    for aggregate in Aggregate::ALL.iter().copied().filter(|aggregate| aggregate.is_searched()) {
        rows += copy(parts, aggregate).await?;
    }
    for (log, mark) in &marks {
        parts.search.apply(Vec::new(), Some((*log, *mark))).await?;
    }
    parts.search.complete().await?;
    tracing::info!(rows, seconds = begun.elapsed().as_secs_f64(), "the replica is built");
    Ok(marks)
}

async fn is_of_this_fleet(parts: &Parts, marks: &BTreeMap<LogId, Mark>) -> Result<bool, Error> {
    for (log, mark) in marks {
        let there = parts.journal.read(*log, mark.position, 1).await?;
        if there.first().is_none_or(|recorded| recorded.hash != mark.hash) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Before the first row is read: what is written meanwhile comes again as an event.
async fn marks_of_views(parts: &Parts) -> Result<BTreeMap<LogId, Mark>, Error> {
    let mut marks = BTreeMap::new();
    for log in logs(parts.feed.partitions()) {
        let position = parts.views.applied_to(log).await?;
        if position == 0 {
            continue;
        }
        let there = parts.journal.read(log, position, 1).await?;
        let recorded = there.first().ok_or(Error::NotThere { log, position })?;
        marks.insert(log, Mark { position, hash: recorded.hash });
    }
    Ok(marks)
}

/// Copies the rows of one kind; how many.
async fn copy(parts: &Parts, aggregate: Aggregate) -> Result<u64, Error> {
    let mut after = None;
    let mut copied = 0;
    loop {
        let rows = parts.views.list_all(aggregate, after, PAGE).await?;
        let count = rows.len();
        after = rows.last().map(|row| (row.stream.tenant, row.stream.id));
        copied += count as u64;
        handles().replica_rows.increment(count as u64);
        parts.search.apply(rows, None).await?;
        if count < PAGE {
            return Ok(copied);
        }
    }
}

async fn follow(log: LogId, parts: &Parts, at: &Mutex<u64>) -> Result<(), Error> {
    loop {
        let after = *at.lock();
        let records = parts.feed.follow(log, after, PAGE).await?;
        let Some(last) = records.last() else { continue };
        let mark = Mark { position: last.record.position, hash: last.hash };
        let rows = fold::rows(log, &*parts.search, &records).await?;
        handles().replica_rows.increment(rows.len() as u64);
        parts.search.apply(rows, Some((log, mark))).await?;
        *at.lock() = mark.position;
    }
}
