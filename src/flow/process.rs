//! The processor of one log: claim, then take in → decide → append, batch after batch. Commands come by the topic, and by
//! a [lane] from within the process.
//!
//! It holds nothing that the log does not prove: the heads that it keeps are pinned only until their index rows are
//! acknowledged, and are thrown away with the claim.

mod attempts;
mod batch;
mod complaint;
mod intake;
pub mod lane;
pub mod missing;
mod tally;
#[cfg(test)]
mod tests;
pub mod watch;

use crate::domain::{LogId, Partitions, StreamId};
use crate::flow::append::consume_from;
use crate::flow::derive::{Derivation, Deriver, Marks, Notice};
use crate::flow::process::attempts::Attempts;
use crate::flow::process::intake::Intake;
use crate::flow::process::lane::Lane;
use crate::flow::process::missing::missing;
use crate::flow::process::watch::{Ownership, Watcher};
use crate::flow::react::Reactor;
use crate::flow::world::Sight;
use crate::metrics::handles;
use crate::ports::index::{Head, Known};
use crate::ports::journal::{self, LogState};
use crate::ports::topic::Loss;
use crate::ports::{Assignment, Clock, Index, Journal, Outcomes, Topics};
use hashbrown::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What every processor is given.
#[derive(Clone)]
pub struct Parts {
    pub journal: Arc<dyn Journal>,
    pub topics: Arc<dyn Topics>,
    pub index: Arc<dyn Index>,
    pub clock: Arc<dyn Clock>,
    pub outcomes: Arc<dyn Outcomes>,
    pub assignment: Arc<dyn Assignment>,
    pub notice: Notice,
    /// Who in this process hears of its logs and has commands of its own for them.
    pub watcher: Option<Arc<dyn Watcher>>,
    /// How many logs are claimed and caught up: readiness.
    pub owned: Arc<AtomicUsize>,
    pub partitions: Partitions,
    pub limits: Limits,
}

/// Bounds of a processor; see `agentverse config --explain`.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub batch_records_max: usize,
    pub batch_bytes_max: usize,
    pub command_bytes_max: usize,
    pub pinned_heads_max: usize,
    /// Of the process itself that wait for one log.
    pub lane_commands_max: usize,
    pub reaction_page_max: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Journal(#[from] crate::ports::journal::Error),
    #[error(transparent)]
    Index(#[from] crate::ports::index::Error),
    #[error(transparent)]
    Topic(#[from] crate::ports::topic::Error),
    #[error(transparent)]
    Derive(#[from] crate::flow::derive::Error),
    #[error("the deriver of log {0} ended")]
    DeriverEnded(LogId),
    #[error("{0}")]
    Lost(Loss),
}

/// Batches between a processor and its deriver.
const DERIVATIONS_MAX: usize = 16;
/// Records from which on no further batch is derived together with them.
const DERIVED_TOGETHER: usize = 1_000;
/// Between a failure and the next claim: the first time, and at most, when nothing comes of it again and again.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A claim that held this long was none that failed again.
const HELD: Duration = Duration::from_secs(10);

/// Processes a log until told to stop. Every failure ends the claim; the next one starts from what the log says.
pub async fn run(log: LogId, parts: Parts, stop: CancellationToken) {
    let mut pause = PAUSE;
    while !stop.is_cancelled() {
        let claimed = Instant::now();
        match own(log, &parts, &stop).await {
            Ok(()) => return,
            Err(error) => {
                complaint::claim_ended(log, &error);
                if let Error::Journal(journal::Error::Fenced { .. }) = error {
                    handles().append_fenced.increment(1);
                }
                if let Error::Lost(loss) = &error {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = missing::accepted(loss, &*parts.journal) => {}
                    }
                }
                pause = if claimed.elapsed() > HELD { PAUSE } else { pause };
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = its_turn(log, &*parts.assignment, pause) => {}
                }
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Waits until the log may be claimed again. Whoever took it may have been given it: two that think it theirs must not
/// take it from each other for ever.
async fn its_turn(log: LogId, assignment: &dyn Assignment, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        if assignment.confirm(log).await {
            return;
        }
    }
}

/// One claim of the log, from its beginning to its end.
async fn own(log: LogId, parts: &Parts, stop: &CancellationToken) -> Result<(), Error> {
    let mut state = parts.journal.claim(log).await?;
    handles().append_claims.increment(1);
    let marks = Arc::new(Marks::default());
    let mut deriver = Deriver {
        log,
        index: parts.index.clone(),
        journal: parts.journal.clone(),
        topics: parts.topics.clone(),
        outcomes: parts.outcomes.clone(),
        reactor: Reactor {
            index: parts.index.clone(),
            topics: parts.topics.clone(),
            sight: Sight::new(parts.index.clone(), parts.partitions),
            page_max: parts.limits.reaction_page_max,
        },
        notice: parts.notice.clone(),
        marks: marks.clone(),
    };
    deriver.catch_up(state.derived_to, state.head).await?;
    if let Some(loss) = missing(log, &state, &*parts.topics, &*parts.journal, &*parts.index).await? {
        if state.epoch > 1 || state.consumed > 0 {
            return Err(Error::Lost(loss));
        }
        // Nobody was there before: a new fleet on topics that are older begins with what there is.
        consume_from(&*parts.journal, log, &mut state, loss.low).await?;
    }
    let (derivations, confirmed) = mpsc::channel(DERIVATIONS_MAX);
    let deriving = tokio::spawn(derive_all(deriver, confirmed));
    let (lane, inbox) = Lane::new(log, parts.partitions, parts.limits.lane_commands_max);
    let ownership = Ownership::begin(log, parts, lane);
    let mut processor = Processor {
        log,
        parts,
        state,
        marks,
        pinned: HashMap::new(),
        displaced: HashMap::new(),
        sight: Sight::new(parts.index.clone(), parts.partitions),
        derivations,
        attempts: Attempts::new(),
        intake: Intake::new(inbox),
    };
    let result = processor.run(stop).await;
    processor.attempts.take_back(log, &*parts.assignment).await;
    // What waits in the lane is answered first.
    drop(processor);
    drop(ownership);
    // The deriver finishes what is confirmed; only then may anybody claim on top of it in this process.
    match deriving.await {
        Ok(Ok(())) => result,
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Error::DeriverEnded(log)),
    }
}

async fn derive_all(
    mut deriver: Deriver,
    mut inbox: mpsc::Receiver<Derivation>,
) -> Result<(), crate::flow::derive::Error> {
    while let Some(mut derivation) = inbox.recv().await {
        // What waits goes together: a store that keeps rows by partition takes many as fast as one, and so does a topic.
        // Whoever is deciding more of it at this moment goes first.
        tokio::task::yield_now().await;
        while derivation.records.len() < DERIVED_TOGETHER
            && let Ok(next) = inbox.try_recv()
        {
            derivation.records.extend(next.records);
            derivation.repeated.extend(next.repeated);
        }
        deriver.derive(derivation).await?;
    }
    Ok(())
}

struct Processor<'a> {
    log: LogId,
    parts: &'a Parts,
    state: LogState,
    marks: Arc<Marks>,
    /// Heads whose index rows are not acknowledged.
    pinned: HashMap<StreamId, Arc<Head>>,
    /// Ids that moved out of their heads, and the head of the log then: their index rows are not acknowledged either.
    displaced: HashMap<(StreamId, Uuid), (Known, u64)>,
    sight: Sight,
    derivations: mpsc::Sender<Derivation>,
    attempts: Attempts,
    intake: Intake<'a>,
}

impl Processor<'_> {
    async fn run(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        while self.take_in(stop).await? {
            self.make_room().await?;
            self.batch().await?;
        }
        Ok(())
    }
}
