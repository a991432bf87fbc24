//! A batch: what was taken in is decided, appended by one compare-and-set, told, and handed to the deriver.

use super::intake::Intake;
use super::lane::answered;
use super::{Error, Processor, tally};
use crate::domain::{Envelope, Micros, StreamId};
use crate::flow::append::append;
use crate::flow::decide::{BatchDecider, Became, Decisions, Repeated};
use crate::flow::derive::Derivation;
use crate::flow::trace;
use crate::metrics::{Stopwatch, handles};
use crate::ports::Index;
use crate::ports::index::{self, Head, Known};
use crate::ports::topic::{Accepted, Aside, DeadLetter, Place};
use hashbrown::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use uuid::Uuid;

/// A batch that is decided and not in the log.
struct Decided {
    decisions: Decisions,
    /// The offset after the last one decided, as it was where none was polled.
    consumed: u64,
    /// How many of those polled are in it.
    polled: usize,
    /// What became of those of the lane that are in it, in their order.
    local: Vec<Became>,
}

impl Processor<'_> {
    /// Decides and appends as much of what was taken in as fits a batch; a condemned command is dead-lettered without a
    /// look at it.
    pub(super) async fn batch(&mut self) -> Result<(), Error> {
        let watch = Stopwatch::start();
        let now = self.parts.clock.now().max(self.state.recorded_at);
        let mixes = self.intake.mixes(&self.attempts);
        let mut decided = match self.intake.trying.condemned.take() {
            Some(cause) => self.condemn(&cause, now),
            None => self.decide(now, mixes).await?,
        };
        watch.record(&handles().decide_batch);
        // From here on something of it may be durable, however the claim ends.
        self.intake.local.iter_mut().take(decided.local.len()).for_each(|asked| asked.sent = true);
        let repeated = self.bury(&mut decided, now).await?;
        self.append(&mut decided).await?;
        self.intake.lane_first = !mixes && !self.intake.local.is_empty();
        self.intake.polled.drain(..decided.polled);
        if self.intake.polled.is_empty() {
            // Whoever is to be tried alone waits for the turn that this one had.
            self.intake.trying = Default::default();
        }
        self.tell(decided, repeated).await
    }

    /// Buries what ends without a record. Gives the commands of the batch that made none, for the deriver to tell.
    async fn bury(&mut self, decided: &mut Decided, now: Micros) -> Result<Vec<Repeated>, Error> {
        for delivery in self.intake.polled.iter().take(decided.polled) {
            if let Err(Aside::Unreadable(command)) = &delivery.command {
                let place = Place { log: self.log, offset: delivery.offset, redriven: delivery.redriven };
                let letter = DeadLetter::of_unreadable(place, command, now);
                self.parts.topics.bury(letter).await?;
                handles().decide_dead_lettered.increment(1);
            }
        }
        let mut repeated = std::mem::take(&mut decided.decisions.repeated);
        for (letter, waiting) in std::mem::take(&mut decided.decisions.letters) {
            tracing::warn!(log = %self.log, code = letter.code, cause = letter.cause, "dead-lettered");
            self.parts.topics.bury(letter).await?;
            handles().decide_dead_lettered.increment(1);
            repeated.extend(waiting);
        }
        Ok(repeated)
    }

    async fn append(&mut self, decided: &mut Decided) -> Result<(), Error> {
        let Decided { decisions, consumed, polled, .. } = decided;
        if *polled == 0 && decisions.records.is_empty() {
            // Commands of the lane that are known already: the log has nothing to say that it does not say.
            return Ok(());
        }
        let watch = Stopwatch::start();
        let derived_to = self.marks.derived_to.load(Ordering::Acquire);
        append(&*self.parts.journal, &mut self.state, decisions, *consumed, derived_to).await?;
        watch.record(&handles().append_latency);
        if *polled > 0 {
            self.parts.assignment.consumed(self.log, *consumed);
            self.attempts.passed();
        }
        Ok(())
    }

    /// Tells of a batch that is in the log: the watcher, the lane, and the deriver, who tells everybody else.
    async fn tell(&mut self, decided: Decided, repeated: Vec<Repeated>) -> Result<(), Error> {
        let Decided { decisions, local, .. } = decided;
        for recorded in decisions.records.iter().filter(|recorded| recorded.record.last) {
            trace::passed("append", &recorded.record.envelope, Some(recorded.record.position));
        }
        tally::count(&decisions, repeated.len());
        if let Some(watcher) = self.parts.watcher.as_ref().filter(|_| !decisions.records.is_empty()) {
            watcher.appended(self.log, &decisions.records, &decisions.heads);
        }
        for (asked, became) in self.intake.local.drain(..local.len()).zip(local) {
            asked.answer(answered(self.log, became, &decisions.records));
        }
        for (stream, head) in decisions.heads {
            self.intake.heads.insert(stream, head.clone());
            self.pinned.insert(stream, head);
        }
        let head = self.state.head;
        self.displaced.extend(decisions.displaced.into_iter().map(|(id, known)| (id, (known, head))));
        let derivation = Derivation { records: decisions.records, repeated };
        self.derivations.send(derivation).await.map_err(|_| Error::DeriverEnded(self.log))
    }

    /// Decides as many commands as fit a batch: polled ones and, where it `mixes`, those of the lane, in turns.
    async fn decide(&mut self, now: Micros, mixes: bool) -> Result<Decided, Error> {
        let Intake { polled, local, heads, .. } = &self.intake;
        let limits = self.parts.limits;
        let before = Before { heads, displaced: &self.displaced, index: &*self.parts.index };
        let at = (self.state.head, self.state.head_hash);
        let mut decider = BatchDecider::new(self.log, at, now, limits.command_bytes_max, &mut self.sight);
        let local_max = if mixes { local.len() } else { 0 };
        let commands = polled.iter().filter_map(|delivery| delivery.command.as_deref().ok());
        let commands = commands.chain(local.iter().take(local_max).map(|asked| &*asked.command));
        decider
            .foresee(commands.filter_map(|accepted| Some((accepted, heads.get(&accepted.envelope.stream)?))))
            .await?;
        let (mut consumed, mut taken, mut became) = (self.state.consumed, 0, Vec::new());
        while taken + became.len() < limits.batch_records_max && decider.bytes() < limits.batch_bytes_max {
            let is_turn_of_lane = became.len() <= taken || taken == polled.len();
            if let Some(asked) = local.get(became.len()).filter(|_| is_turn_of_lane && became.len() < local_max) {
                decider.at(consumed, 0);
                became.push(one(&mut decider, &asked.command, &before).await?);
            } else if let Some(delivery) = polled.get(taken) {
                if let Ok(accepted) = &delivery.command {
                    decider.at(delivery.offset, delivery.redriven);
                    one(&mut decider, accepted, &before).await?;
                }
                (taken, consumed) = (taken + 1, delivery.offset + 1);
            } else {
                break;
            }
        }
        Ok(Decided { decisions: decider.finish(), consumed, polled: taken, local: became })
    }

    /// Dead-letters what was polled and must not be decided.
    fn condemn(&mut self, cause: &str, now: Micros) -> Decided {
        let at = (self.state.head, self.state.head_hash);
        let mut decider = BatchDecider::new(self.log, at, now, 0, &mut self.sight);
        for delivery in &self.intake.polled {
            if let Ok(accepted) = &delivery.command {
                decider.at(delivery.offset, delivery.redriven);
                decider.poisonous(accepted, cause);
            }
        }
        let consumed = self.intake.polled.back().map_or(self.state.consumed, |delivery| delivery.offset + 1);
        Decided { decisions: decider.finish(), consumed, polled: self.intake.polled.len(), local: Vec::new() }
    }
}

/// What is known from before a batch.
struct Before<'a> {
    heads: &'a HashMap<StreamId, Arc<Head>>,
    /// Ids that moved out of their heads, and whose index rows may not be written yet.
    displaced: &'a HashMap<(StreamId, Uuid), (Known, u64)>,
    index: &'a dyn Index,
}

/// Decides one command on the head that was read for it.
async fn one(decider: &mut BatchDecider<'_>, accepted: &Accepted, before: &Before<'_>) -> Result<Became, index::Error> {
    let Envelope { stream, command_id, .. } = *accepted.envelope;
    let Some(head) = before.heads.get(&stream) else {
        return Ok(decider.poisonous(accepted, "the head of its stream was not read"));
    };
    let displaced = match before.displaced.get(&(stream, command_id)) {
        Some((known, _)) => Some(*known),
        // The point read that only streams with many commands pay.
        None if head.displaced => before.index.known(stream, command_id).await?,
        None => None,
    };
    decider.command(accepted, head, displaced).await
}
