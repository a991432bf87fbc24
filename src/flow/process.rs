//! The processor of one log: claim, then receive → decide → append, batch after batch.
//!
//! It holds nothing that the log does not prove: the heads that it keeps are pinned only until their index rows are
//! acknowledged, and are thrown away with the claim.

mod attempts;
mod complaint;
pub mod missing;
mod tally;
#[cfg(test)]
mod tests;

use crate::domain::{LogId, Micros, Partitions, StreamId};
use crate::flow::append::{append, consume_from};
use crate::flow::decide::{BatchDecider, Decisions};
use crate::flow::derive::{Derivation, Deriver, Marks, Notice};
use crate::flow::process::attempts::Attempts;
use crate::flow::process::missing::missing;
use crate::flow::react::Reactor;
use crate::flow::trace;
use crate::flow::world::Sight;
use crate::metrics::{Stopwatch, handles};
use crate::ports::index::{Head, Known};
use crate::ports::journal::{self, LogState};
use crate::ports::topic::{Aside, DeadLetter, Delivery, Loss, Place};
use crate::ports::{Assignment, Clock, Index, Journal, Outcomes, Topics};
use hashbrown::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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
    let (derivations, inbox) = mpsc::channel(DERIVATIONS_MAX);
    let deriving = tokio::spawn(derive_all(deriver, inbox));
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
    };
    parts.owned.fetch_add(1, Ordering::AcqRel);
    let result = processor.run(stop).await;
    parts.owned.fetch_sub(1, Ordering::AcqRel);
    processor.attempts.take_back(log, &*parts.assignment).await;
    // The deriver finishes what is confirmed; only then may anybody claim on top of it in this process.
    drop(processor);
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
}

impl Processor<'_> {
    async fn run(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        loop {
            let limits = self.parts.limits;
            let records_max = self.attempts.records_max(limits.batch_records_max);
            let polled = self.parts.topics.poll(self.log, self.state.consumed, records_max);
            let mut deliveries = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                deliveries = polled => deliveries?,
            };
            let this = self.begin(&mut deliveries).await;
            self.sight.refresh();
            self.unpin();
            let mut heads = match this.condemned {
                Some(_) => HashMap::new(),
                None => self.heads(&deliveries).await?,
            };
            // The log takes less at a time than the topic gives; what was read for all of them is good for each.
            let mut rest = deliveries.as_slice();
            while !rest.is_empty() && !stop.is_cancelled() {
                self.make_room().await?;
                self.batch(rest, &mut heads, this.condemned.as_deref()).await?;
                rest = &rest[rest.partition_point(|delivery| delivery.offset < self.state.consumed)..];
            }
        }
    }

    /// Index rows lag: the log pauses rather than grow.
    async fn make_room(&mut self) -> Result<(), Error> {
        self.unpin();
        while self.pinned.len() >= self.parts.limits.pinned_heads_max {
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.unpin();
            if self.derivations.is_closed() {
                return Err(Error::DeriverEnded(self.log));
            }
        }
        Ok(())
    }

    /// Lets go of the heads that the index shows.
    fn unpin(&mut self) {
        let indexed_to = self.marks.indexed_to.load(Ordering::Acquire);
        if indexed_to >= self.state.head {
            self.pinned.clear();
            self.displaced.clear();
        } else {
            self.pinned.retain(|_, head| head.position > indexed_to);
            self.displaced.retain(|_, (_, position)| *position > indexed_to);
        }
    }

    /// Decides and appends as many deliveries as fit a batch; a condemned one is dead-lettered without a look at it.
    async fn batch(
        &mut self,
        deliveries: &[Delivery],
        heads: &mut HashMap<StreamId, Arc<Head>>,
        condemned: Option<&str>,
    ) -> Result<(), Error> {
        let watch = Stopwatch::start();
        let now = self.parts.clock.now().max(self.state.recorded_at);
        let (mut decisions, consumed) = match condemned {
            Some(cause) => self.condemn(deliveries, cause, now),
            None => self.decide(deliveries, heads, now).await?,
        };
        watch.record(&handles().decide_batch);
        for delivery in deliveries.iter().filter(|delivery| delivery.offset < consumed) {
            if let Err(Aside::Unreadable(command)) = &delivery.command {
                let place = Place { log: self.log, offset: delivery.offset, redriven: delivery.redriven };
                let letter = DeadLetter::of_unreadable(place, command, now);
                self.parts.topics.bury(letter).await?;
                handles().decide_dead_lettered.increment(1);
            }
        }
        let mut repeated = std::mem::take(&mut decisions.repeated);
        for (letter, waiting) in std::mem::take(&mut decisions.letters) {
            tracing::warn!(log = %self.log, code = letter.code, cause = letter.cause, "dead-lettered");
            self.parts.topics.bury(letter).await?;
            handles().decide_dead_lettered.increment(1);
            repeated.extend(waiting);
        }
        let watch = Stopwatch::start();
        let derived_to = self.marks.derived_to.load(Ordering::Acquire);
        append(&*self.parts.journal, &mut self.state, &mut decisions, consumed, derived_to).await?;
        watch.record(&handles().append_latency);
        self.parts.assignment.consumed(self.log, consumed);
        self.attempts.passed();
        for recorded in decisions.records.iter().filter(|recorded| recorded.record.last) {
            trace::passed("append", &recorded.record.envelope, Some(recorded.record.position));
        }
        tally::count(&decisions, repeated.len());
        for (stream, head) in decisions.heads {
            heads.insert(stream, head.clone());
            self.pinned.insert(stream, head);
        }
        let head = self.state.head;
        self.displaced.extend(decisions.displaced.into_iter().map(|(id, known)| (id, (known, head))));
        let derivation = Derivation { records: decisions.records, repeated };
        self.derivations.send(derivation).await.map_err(|_| Error::DeriverEnded(self.log))
    }

    /// The heads of the batch's streams: pinned ones, then the index.
    async fn heads(&self, deliveries: &[Delivery]) -> Result<HashMap<StreamId, Arc<Head>>, Error> {
        let mut heads = HashMap::with_capacity(deliveries.len());
        let mut missing = Vec::new();
        for stream in deliveries.iter().filter_map(|delivery| Some(delivery.command.as_ref().ok()?.envelope.stream)) {
            if let Some(head) = self.pinned.get(&stream) {
                heads.insert(stream, head.clone());
            } else if let hashbrown::hash_map::Entry::Vacant(vacant) = heads.entry(stream) {
                // Filled below; the entry keeps the stream from being asked for twice.
                vacant.insert(Arc::new(Head::empty()));
                missing.push(stream);
            }
        }
        let found = self.parts.index.heads(self.log, &missing).await?;
        for (stream, head) in missing.into_iter().zip(found) {
            let Some(head) = head else { continue };
            if head.position > self.state.head {
                // Somebody else appended: nothing may be decided on such a view.
                return Err(journal::Error::Conflict { log: self.log, head: head.position }.into());
            }
            heads.insert(stream, head);
        }
        Ok(heads)
    }

    /// Decides as many deliveries as fit a batch. Gives the decisions and the offset after the last one decided.
    async fn decide(
        &mut self,
        deliveries: &[Delivery],
        heads: &HashMap<StreamId, Arc<Head>>,
        now: Micros,
    ) -> Result<(Decisions, u64), Error> {
        let mut consumed = self.state.consumed;
        let limits = self.parts.limits;
        let at = (self.state.head, self.state.head_hash);
        let mut decider = BatchDecider::new(self.log, at, now, limits.command_bytes_max, &mut self.sight);
        let commands = deliveries.iter().filter_map(|delivery| delivery.command.as_deref().ok());
        decider
            .foresee(commands.filter_map(|accepted| Some((accepted, heads.get(&accepted.envelope.stream)?))))
            .await?;
        for delivery in deliveries {
            if let Ok(accepted) = &delivery.command {
                let stream = accepted.envelope.stream;
                let Some(head) = heads.get(&stream) else { continue };
                decider.at(delivery.offset, delivery.redriven);
                let command_id = accepted.envelope.command_id;
                let displaced = match self.displaced.get(&(stream, command_id)) {
                    Some((known, _)) => Some(*known),
                    // The point read that only streams with many commands pay.
                    None if head.displaced => self.parts.index.known(stream, command_id).await?,
                    None => None,
                };
                decider.command(accepted, head, displaced).await?;
            }
            consumed = delivery.offset + 1;
            if decider.bytes() >= limits.batch_bytes_max {
                break;
            }
        }
        Ok((decider.finish(), consumed))
    }

    /// Dead-letters deliveries that must not be decided.
    fn condemn(&mut self, deliveries: &[Delivery], cause: &str, now: Micros) -> (Decisions, u64) {
        let at = (self.state.head, self.state.head_hash);
        let mut decider = BatchDecider::new(self.log, at, now, 0, &mut self.sight);
        for delivery in deliveries {
            if let Ok(accepted) = &delivery.command {
                decider.at(delivery.offset, delivery.redriven);
                decider.poisonous(accepted, cause);
            }
        }
        let consumed = deliveries.last().map_or(self.state.consumed, |delivery| delivery.offset + 1);
        (decider.finish(), consumed)
    }
}
