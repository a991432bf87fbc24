//! Intake: what a processor takes in to decide next, from the topic and from the lane.
//!
//! Neither waits for the other. A poll that finds nothing stays open while commands of the lane are decided; what it finds
//! joins the next batch, where the two take turns. What was polled at once is taken apart over several batches where it is
//! large, and commands of the lane get into each of them.

use super::lane::Asked;
use super::{Attempts, Error, Processor};
use crate::domain::StreamId;
use crate::flow::process::attempts::Try;
use crate::ports::index::Head;
use crate::ports::journal;
use crate::ports::topic::{self, Delivery};
use futures::FutureExt as _;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A poll under way.
type Polling<'a> = Pin<Box<dyn Future<Output = Result<Vec<Delivery>, topic::Error>> + Send + 'a>>;

/// What was taken in and is not decided.
pub(super) struct Intake<'a> {
    inbox: mpsc::Receiver<Asked>,
    polling: Option<Polling<'a>>,
    pub polled: VecDeque<Delivery>,
    pub local: VecDeque<Asked>,
    /// The heads of their streams, as the batches so far leave them.
    pub heads: HashMap<StreamId, Arc<Head>>,
    /// How what was polled is to be tried.
    pub trying: Try,
    /// The last batch had no room for the lane: the next one is the lane's.
    pub lane_first: bool,
}

impl Intake<'_> {
    pub fn new(inbox: mpsc::Receiver<Asked>) -> Self {
        Self {
            inbox,
            polling: None,
            polled: VecDeque::new(),
            local: VecDeque::new(),
            heads: HashMap::new(),
            trying: Try::default(),
            lane_first: false,
        }
    }

    /// Whether the next batch takes commands of the lane. What is tried because a process ended at it is decided by itself.
    pub fn mixes(&self, attempts: &Attempts) -> bool {
        self.polled.is_empty() || !attempts.are_noted()
    }

    /// Lets the lane's commands come that wait, as many as go in a batch.
    fn hear(&mut self, commands_max: usize) -> bool {
        let before = self.local.len();
        while self.local.len() < commands_max
            && let Ok(asked) = self.inbox.try_recv()
        {
            self.local.push_back(asked);
        }
        self.local.len() > before
    }
}

impl Processor<'_> {
    /// Takes in what there is, waiting for something. `false` once told to stop.
    pub(super) async fn take_in(&mut self, stop: &CancellationToken) -> Result<bool, Error> {
        let mut came = false;
        let mut deliveries = None;
        if self.intake.polled.is_empty() {
            // What is pinned, and the index, say the same.
            self.intake.heads.clear();
        }
        let (parts, log, consumed) = (self.parts, self.log, self.state.consumed);
        let records_max = self.attempts.records_max(parts.limits.batch_records_max);
        let poll = move || parts.topics.poll(log, consumed, records_max);
        if self.intake.polled.is_empty() && self.intake.local.is_empty() {
            let Intake { inbox, polling, local, .. } = &mut self.intake;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(false),
                polled = polling.get_or_insert_with(poll) => deliveries = Some(polled?),
                Some(asked) = inbox.recv() => {
                    local.push_back(asked);
                    came = true;
                }
            }
            // Whoever is about to ask for more at this moment goes first, and shares the batch.
            tokio::task::yield_now().await;
        }
        if stop.is_cancelled() {
            return Ok(false);
        }
        came |= self.intake.hear(self.parts.limits.batch_records_max);
        let has_turn = !self.intake.lane_first || self.intake.local.is_empty();
        if deliveries.is_none() && self.intake.polled.is_empty() && has_turn {
            deliveries = self.intake.polling.get_or_insert_with(poll).now_or_never().transpose()?;
        }
        if let Some(deliveries) = deliveries {
            came = true;
            self.begin_round(deliveries).await;
        }
        if came {
            self.sight.refresh();
            self.unpin();
        }
        self.look_up().await?;
        Ok(true)
    }

    /// Takes what was polled.
    async fn begin_round(&mut self, mut deliveries: Vec<Delivery>) {
        self.intake.polling = None;
        self.intake.trying = self.begin(&mut deliveries).await;
        self.intake.polled = deliveries.into();
    }

    /// Reads the heads of what is decided next, those that are not known yet: pinned ones, then the index.
    async fn look_up(&mut self) -> Result<(), Error> {
        let Intake { polled, local, heads, trying, .. } = &self.intake;
        let condemned = trying.condemned.is_some();
        let polled = polled.iter().filter_map(|delivery| delivery.command.as_deref().ok()).filter(|_| !condemned);
        let mixes = self.intake.mixes(&self.attempts);
        let local = local.iter().map(|asked| &*asked.command).filter(|_| mixes);
        let streams: Vec<_> = polled
            .chain(local)
            .map(|accepted| accepted.envelope.stream)
            .filter(|stream| !heads.contains_key(stream))
            .collect();
        let mut missing = Vec::new();
        for stream in streams {
            if let Entry::Vacant(vacant) = self.intake.heads.entry(stream) {
                let pinned = self.pinned.get(&stream).cloned();
                if pinned.is_none() {
                    missing.push(stream);
                }
                // Filled below where it is missing; the entry keeps the stream from being asked for twice.
                vacant.insert(pinned.unwrap_or_else(|| Arc::new(Head::empty())));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let found = self.parts.index.heads(self.log, &missing).await?;
        for (stream, head) in missing.into_iter().zip(found) {
            let Some(head) = head else { continue };
            if head.position > self.state.head {
                // Somebody else appended: nothing may be decided on such a view.
                return Err(journal::Error::Conflict { log: self.log, head: head.position }.into());
            }
            self.intake.heads.insert(stream, head);
        }
        Ok(())
    }

    /// Index rows lag: the log pauses rather than grow.
    pub(super) async fn make_room(&mut self) -> Result<(), Error> {
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
}
