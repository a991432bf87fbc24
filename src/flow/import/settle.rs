//! A batch of entries, from what is wanted to what became of it.

use super::diff::{Diff, Step, diff, refused, world};
use super::entry::{Fault, Item, Refused};
use super::report::{Fate, Told};
use super::run::{Ended, Engine};
use crate::domain::checks::tenant_stream;
use crate::domain::{Envelope, Rejection, StreamId, World};
use crate::flow::gateway::{Submission, Wait};
use crate::flow::outcome::{Outcome, OutcomeKind};
use crate::flow::query::{self, Resource};
use crate::ports::topic;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use std::time::Duration;
use tokio::time::Instant;

/// Reads under way for one batch.
const READS_MAX: usize = 32;
/// How often an entry is held against its resource again that changes under the import.
const REREADS_MAX: usize = 5;
/// The views may be behind the version that a refusal names: longest that they are waited for, and between two looks.
const BEHIND_MAX: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);
/// Longest that a batch is tried to be handed over while the node is busy, and the first pause.
const BUSY_MAX: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// An entry on its way.
struct Open {
    item: Item,
    stream: StreamId,
    /// Its place in the batch.
    place: usize,
    known: Option<Resource>,
    /// The fields that a command of an earlier turn has changed, or that the entry was created then.
    done: Option<(Fate, Vec<String>)>,
}

/// What became of the commands of one stream.
pub enum Sent {
    Applied,
    /// The stream is at this version.
    Mismatch(u64),
    Refused(Fault),
    Undecided,
}

impl Engine {
    /// Settles a batch; what became of each entry, in their order.
    ///
    /// # Errors
    /// When a store is away, or the node stays too busy.
    pub(super) async fn settle(&self, entries: Vec<Result<Item, Refused>>) -> Result<Vec<Told>, Ended> {
        let world = self.world().await?;
        let mut told: Vec<Option<Told>> = Vec::with_capacity(entries.len());
        let mut open = Vec::with_capacity(entries.len());
        for (place, entry) in entries.into_iter().enumerate() {
            match entry {
                Ok(item) => {
                    let stream = self.order.kind.stream(self.order.tenant, &item.key);
                    open.push(Open { item, stream, place, known: None, done: None });
                    told.push(None);
                }
                Err(refused) => told.push(Some(of_refused(refused))),
            }
        }
        let mut open: Vec<Open> = stream::iter(open)
            .map(|mut open| async {
                open.known = self.query.get(open.stream).await?;
                Ok::<_, query::Error>(open)
            })
            .buffered(READS_MAX)
            .try_collect()
            .await?;
        for _ in 0..=REREADS_MAX {
            if open.is_empty() {
                break;
            }
            open = self.turn(open, &world, &mut told).await?;
        }
        for left in open {
            let why = "it kept changing while it was imported; import it again";
            told[left.place] = Some(of(&left, Fate::Refused, Vec::new(), Some(Fault::whole(why))));
        }
        Ok(told.into_iter().flatten().collect())
    }

    /// What the tenant's rules look at.
    pub(super) async fn world(&self) -> Result<World, Ended> {
        let tenant = self.order.tenant;
        Ok(world(if tenant.is_shared() { None } else { self.query.get(tenant_stream(tenant)).await? }))
    }

    /// Holds entries against their resources, sends what differs, and gives back those whose resource changed meanwhile.
    async fn turn(&self, open: Vec<Open>, world: &World, told: &mut [Option<Told>]) -> Result<Vec<Open>, Ended> {
        let mut going = Vec::new();
        let mut steps = Vec::new();
        for open in open {
            let (fate, fields, commands) = match diff(&open.item.wanted, open.stream, open.known.as_ref(), world) {
                Diff::Refused(fault) => {
                    told[open.place] = Some(of(&open, Fate::Refused, Vec::new(), Some(fault)));
                    continue;
                }
                Diff::Unchanged => {
                    let (fate, fields) = open.done.clone().unwrap_or((Fate::Unchanged, Vec::new()));
                    told[open.place] = Some(of(&open, fate, fields, None));
                    continue;
                }
                Diff::Created(commands) => (Fate::Created, Vec::new(), commands),
                Diff::Changed(commands, fields) => (Fate::Changed, fields, commands),
            };
            if self.order.dry_run {
                told[open.place] = Some(of(&open, fate, fields, None));
                continue;
            }
            steps.push((open.stream, commands));
            going.push((open, fate, fields));
        }
        let sent = self.send(steps).await?;
        let mut again = Vec::new();
        for ((mut open, fate, fields), sent) in going.into_iter().zip(sent) {
            // Of one that was created a turn before, the rest is no change of its own.
            let fate =
                if open.done.as_ref().is_some_and(|(done, _)| *done == Fate::Created) { Fate::Created } else { fate };
            match sent {
                Sent::Applied => told[open.place] = Some(of(&open, fate, fields, None)),
                Sent::Refused(fault) => told[open.place] = Some(of(&open, Fate::Refused, Vec::new(), Some(fault))),
                Sent::Undecided => {
                    let why = "it was accepted, and not decided in time; import it again to see what became of it";
                    told[open.place] = Some(of(&open, Fate::Undecided, fields, Some(Fault::whole(why))));
                }
                Sent::Mismatch(version) => {
                    open.known = self.read_at(open.stream, version).await?;
                    again.push(open);
                }
            }
        }
        Ok(again)
    }

    /// The resource once the views show a version of it, or as they show it when that takes too long.
    async fn read_at(&self, stream: StreamId, version: u64) -> Result<Option<Resource>, Ended> {
        let until = Instant::now() + BEHIND_MAX;
        loop {
            let known = self.query.get(stream).await?;
            if known.as_ref().map_or(0, |known| known.version) >= version || Instant::now() >= until {
                return Ok(known);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Sends the commands of each stream, all together, and waits until the views show what they came to.
    pub(super) async fn send(&self, streams: Vec<(StreamId, Vec<Step>)>) -> Result<Vec<Sent>, Ended> {
        let counts: Vec<usize> = streams.iter().map(|(_, steps)| steps.len()).collect();
        let submissions = streams.into_iter().flat_map(|(stream, steps)| {
            steps
                .into_iter()
                .map(move |(command, version)| Submission { envelope: self.envelope(stream, version), command })
        });
        let submissions: Vec<Submission> = submissions.collect();
        let mut outcomes = match self.hand_over(&submissions).await? {
            Some(outcomes) => outcomes,
            // One of them is too large for the topic; nobody says which, and none was taken.
            None => self.one_by_one(&submissions).await?,
        }
        .into_iter();
        Ok(counts.into_iter().map(|count| sent(outcomes.by_ref().take(count).collect())).collect())
    }

    fn envelope(&self, stream: StreamId, version: u64) -> Envelope {
        Envelope {
            source: self.order.kind.source(),
            actor: self.order.actor.clone(),
            correlation: self.order.correlation.clone(),
            expected_version: Some(version),
            ..Envelope::new((self.ids)(), stream)
        }
    }

    async fn one_by_one(&self, submissions: &[Submission]) -> Result<Vec<Option<Outcome>>, Ended> {
        let mut outcomes = Vec::with_capacity(submissions.len());
        for submission in submissions {
            let outcome = self.hand_over(std::slice::from_ref(submission)).await?;
            outcomes.push(outcome.and_then(|outcomes| outcomes.into_iter().next().flatten()));
        }
        Ok(outcomes)
    }

    /// Hands commands over, again and again while the node is busy; `None` when one is too large for its topic.
    async fn hand_over(&self, submissions: &[Submission]) -> Result<Option<Vec<Option<Outcome>>>, Ended> {
        if submissions.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let until = Instant::now() + BUSY_MAX;
        let mut pause = PAUSE;
        loop {
            let failed = match self.gateway.submit(submissions.to_vec(), Wait::Projected, self.wait).await {
                Ok(outcomes) => return Ok(Some(outcomes.into_iter().map(Some).collect())),
                Err(topic::Error::TooLarge(_)) => return Ok(None),
                Err(failed) => failed,
            };
            // What may have been taken is sent again under the same ids, and met by its first outcome.
            let after = match &failed {
                topic::Error::Overloaded { retry_after } => *retry_after,
                _ => pause,
            };
            if Instant::now() + after > until {
                return Err(Ended(format!("the commands could not be handed over: {failed}")));
            }
            tokio::select! {
                () = tokio::time::sleep(after) => {}
                () = self.order.stop.cancelled() => return Err(Ended::stopped()),
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// What the outcomes of one stream's commands come to: the first that went wrong counts.
fn sent(outcomes: Vec<Option<Outcome>>) -> Sent {
    for outcome in outcomes {
        let Some(outcome) = outcome else {
            return Sent::Refused(Fault::whole("the entry is too large for one command"));
        };
        match outcome.kind {
            OutcomeKind::Applied => {}
            OutcomeKind::Accepted => return Sent::Undecided,
            OutcomeKind::DeadLettered => {
                return Sent::Refused(Fault::whole("its command was dead-lettered; see the dead letters for why"));
            }
            OutcomeKind::Refused => return of_rejection(outcome.reason),
        }
    }
    Sent::Applied
}

fn of_rejection(reason: Option<Rejection>) -> Sent {
    let Some(reason) = reason else { return Sent::Refused(Fault::whole("it was refused")) };
    let actual = reason.details.get("actual").and_then(|version| version.parse().ok());
    match actual.filter(|_| reason.code == "version_mismatch") {
        Some(version) => Sent::Mismatch(version),
        None => Sent::Refused(refused(&reason)),
    }
}

fn of(open: &Open, outcome: Fate, fields: Vec<String>, fault: Option<Fault>) -> Told {
    let (field, reason) = fault.map_or((None, None), |fault| (fault.field, Some(fault.reason)));
    Told {
        outcome,
        line: Some(open.item.line),
        key: Some(open.item.key.clone()),
        name: Some(open.item.wanted.name().to_owned()),
        id: Some(open.stream.id),
        fields,
        field,
        reason,
        shortened: if outcome == Fate::Refused { Vec::new() } else { open.item.shortened.clone() },
    }
}

/// What is told of an entry that could not be read.
fn of_refused(refused: Refused) -> Told {
    Told {
        outcome: Fate::Refused,
        line: Some(refused.line),
        key: refused.key,
        name: None,
        id: None,
        fields: Vec::new(),
        field: refused.fault.field,
        reason: Some(refused.fault.reason),
        shortened: Vec::new(),
    }
}
