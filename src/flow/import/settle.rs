//! A batch of entries, from what is wanted to what became of it.

use super::diff::{Plan, Planned, Step, plan, refused, world};
use super::entry::{Fault, Item, Refused};
use super::passed;
use super::report::{Fate, Told};
use super::run::{Admitted, Ended, Engine};
use super::wanted::Wanted;
use crate::domain::checks::tenant_stream;
use crate::domain::{Aggregate, AnyState, Envelope, Lookup, Rejection, Seen, StreamId, World};
use crate::flow::gateway::{Submission, Wait};
use crate::flow::outcome::{Outcome, OutcomeKind};
use crate::flow::query::{self, Resource};
use crate::ports::topic;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

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
    /// By the places of the plan's fates: what a command of an earlier turn did.
    done: Vec<Option<Planned>>,
}

/// What became of the commands of one stream.
pub struct Sent {
    /// How many were applied, from the first on.
    pub applied: usize,
    /// What stopped the others; `None` where nothing did.
    pub stopped: Option<Stopped>,
}

pub enum Stopped {
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
    pub(super) async fn settle(&self, entries: Vec<Admitted>) -> Result<Vec<Told>, Ended> {
        let mut told: Vec<Vec<Told>> = Vec::with_capacity(entries.len());
        let mut open = Vec::with_capacity(entries.len());
        for (place, entry) in entries.into_iter().enumerate() {
            match entry {
                Ok((stream, item)) => {
                    let done = vec![None; item.weight()];
                    open.push(Open { item, stream, place, known: None, done });
                    told.push(Vec::new());
                }
                Err(passed) => told.push(vec![passed]),
            }
        }
        let mut open: Vec<Open> = stream::iter(open)
            .map(|mut open| async {
                (open.stream, open.known) = self.current(open.stream).await?;
                Ok::<_, query::Error>(open)
            })
            .buffered(READS_MAX)
            .try_collect()
            .await?;
        let mut world = self.world().await?;
        self.look_up(&open, &mut world).await?;
        for _ in 0..=REREADS_MAX {
            if open.is_empty() {
                break;
            }
            open = self.turn(open, &world, &mut told).await?;
        }
        for left in open {
            let why = Fault::whole("it kept changing while it was imported; import it again");
            told[left.place] = left.told(vec![Planned::refused(why); left.done.len()]);
        }
        Ok(told.into_iter().flatten().collect())
    }

    /// What the tenant's rules look at.
    pub(super) async fn world(&self) -> Result<World, Ended> {
        let tenant = self.order.tenant;
        Ok(world(if tenant.is_shared() { None } else { self.query.get(tenant_stream(tenant)).await? }))
    }

    /// Adds the templates that agents are to be made from.
    async fn look_up(&self, open: &[Open], world: &mut World) -> Result<(), Ended> {
        let mut streams = BTreeSet::new();
        for open in open {
            let Wanted::Agent(agent) = &open.item.wanted else { continue };
            if agent.template.is_none() || open.known.is_some() {
                continue;
            }
            let state = AnyState::initial(open.stream.aggregate);
            let envelope = Envelope::new(Uuid::nil(), open.stream);
            for command in open.item.wanted.commands(&state).unwrap_or_default() {
                streams.extend(state.lookups(&command, &envelope).into_iter().filter_map(|lookup| match lookup {
                    Lookup::Stream(stream) if stream.aggregate == Aggregate::AgentTemplate => Some(stream),
                    _ => None,
                }));
            }
        }
        for stream in streams {
            if let Some(seen) = self.query.get(stream).await? {
                world.insert(stream, Seen { version: seen.version, state: Arc::new(seen.state) });
            }
        }
        Ok(())
    }

    /// Holds entries against their resources, sends what differs, and gives back those whose resource changed meanwhile.
    async fn turn(&self, open: Vec<Open>, world: &World, told: &mut [Vec<Told>]) -> Result<Vec<Open>, Ended> {
        let mut going = Vec::new();
        let mut streams = Vec::new();
        for open in open {
            let Plan { steps, fates } = plan(&open.item.wanted, open.stream, open.known.as_ref(), world);
            if self.order.dry_run || steps.is_empty() {
                told[open.place] = open.told(fates);
                continue;
            }
            streams.push((open.stream, steps));
            going.push((open, fates));
        }
        let sent = self.send(streams).await?;
        let mut again = Vec::new();
        for ((mut open, mut fates), Sent { applied, stopped }) in going.into_iter().zip(sent) {
            let fault = match stopped {
                None => None,
                Some(Stopped::Mismatch(version)) => {
                    open.note(fates, applied);
                    open.known = self.read_at(open.stream, version).await?;
                    again.push(open);
                    continue;
                }
                Some(Stopped::Refused(fault)) => Some((Fate::Refused, fault)),
                Some(Stopped::Undecided) => {
                    let why = "it was accepted, and not decided in time; import it again to see what became of it";
                    Some((Fate::Undecided, Fault::whole(why)))
                }
            };
            if let Some((fate, fault)) = fault {
                for planned in fates.iter_mut().filter(|planned| planned.after > applied) {
                    (planned.fate, planned.fault) = (fate, Some(fault.clone()));
                    if fate == Fate::Refused {
                        planned.fields = Vec::new();
                    }
                }
            }
            told[open.place] = open.told(fates);
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

/// What the outcomes of one stream's commands come to.
fn sent(outcomes: Vec<Option<Outcome>>) -> Sent {
    let stopped = |outcome: &Option<Outcome>| {
        let Some(outcome) = outcome else {
            return Some(Stopped::Refused(Fault::whole("the entry is too large for one command")));
        };
        match outcome.kind {
            OutcomeKind::Applied => None,
            OutcomeKind::Accepted => Some(Stopped::Undecided),
            OutcomeKind::DeadLettered => {
                let why = "its command was dead-lettered; see the dead letters for why";
                Some(Stopped::Refused(Fault::whole(why)))
            }
            OutcomeKind::Refused => Some(of_rejection(outcome.reason.as_ref())),
        }
    };
    let first = outcomes.iter().enumerate().find_map(|(place, outcome)| Some((place, stopped(outcome)?)));
    match first {
        Some((applied, stopped)) => Sent { applied, stopped: Some(stopped) },
        None => Sent { applied: outcomes.len(), stopped: None },
    }
}

fn of_rejection(reason: Option<&Rejection>) -> Stopped {
    let Some(reason) = reason else { return Stopped::Refused(Fault::whole("it was refused")) };
    let actual = reason.details.get("actual").and_then(|version| version.parse().ok());
    match actual.filter(|_| reason.code == "version_mismatch") {
        Some(version) => Stopped::Mismatch(version),
        None => Stopped::Refused(refused(reason)),
    }
}

impl Open {
    /// Notes what was done before the rest is planned anew. Of an entry of which some commands were applied the others
    /// follow: all that was planned counts.
    fn note(&mut self, fates: Vec<Planned>, applied: usize) {
        for (place, (done, planned)) in self.done.iter_mut().zip(fates).enumerate() {
            let is_begun = place == 0 && planned.after > 0 && applied > 0;
            if is_begun || (planned.after > 0 && planned.after <= applied) {
                *done = Some(merged(done.take(), planned));
            }
        }
    }

    /// What is told of the entry and its parts.
    fn told(&self, fates: Vec<Planned>) -> Vec<Told> {
        let item = &self.item;
        let own = (item.line, &item.key, item.wanted.name(), &item.cuts);
        let parts = item.parts.iter().map(|part| (part.line, &part.key, part.name.as_str(), &part.cuts));
        let all = std::iter::once(own).chain(parts).zip(fates).zip(&self.done);
        all.map(|(((line, key, name, cuts), planned), done)| {
            let planned = merged(done.clone(), planned);
            let (field, reason) = planned.fault.map_or((None, None), |fault| (fault.field, Some(fault.reason)));
            let field = match &item.wanted {
                Wanted::Agent(agent) => field.map(|field| agent.named(field)),
                _ => field,
            };
            let cuts = if planned.fate == Fate::Refused { &[] } else { cuts.as_slice() };
            Told {
                line: Some(line),
                key: Some(key.clone()),
                name: Some(name.to_owned()),
                id: Some(self.stream.id),
                fields: planned.fields,
                field,
                reason,
                shortened: passed::fields(cuts),
                cuts: cuts.to_vec(),
                ..Told::of(planned.fate)
            }
        })
        .collect()
    }
}

/// What two turns did together.
fn merged(before: Option<Planned>, now: Planned) -> Planned {
    match (before, now.fate) {
        (None, _) | (_, Fate::Refused | Fate::Undecided) => now,
        (Some(before), Fate::Unchanged) => before,
        // Of one that was created a turn before, the rest is no change of its own.
        (Some(before), _) if before.fate == Fate::Created => before,
        (Some(before), _) => {
            let mut fields = [before.fields, now.fields].concat();
            fields.sort();
            fields.dedup();
            Planned { fields, ..now }
        }
    }
}

/// What is told of an entry that could not be read.
impl From<Refused> for Told {
    fn from(refused: Refused) -> Self {
        let Refused { line, key, fault } = refused;
        Self { line: Some(line), key, field: fault.field, reason: Some(fault.reason), ..Self::of(Fate::Refused) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TenantId;
    use crate::flow::import::Kind;
    use crate::flow::import::entry::Rank;
    use crate::flow::import::offer::Part;

    fn planned(fate: Fate, field: &str, after: usize) -> Planned {
        let fields = Some(field.to_owned()).filter(|field| !field.is_empty()).into_iter().collect();
        Planned { fate, fields, fault: None, after }
    }

    #[test]
    fn what_an_earlier_turn_did_is_told_with_what_the_last_one_does() {
        let part = |key: &str| Part { key: key.into(), ..Part::default() };
        let item = Item {
            line: 1,
            bytes: 0,
            key: "p".into(),
            rank: Rank::default(),
            wanted: Wanted::Provider(Box::default()),
            cuts: Vec::new(),
            parts: vec![part("p/a"), part("p/b"), part("p/c")],
        };
        let stream = Kind::ModelsDev.stream(TenantId(Uuid::nil()), "p");
        let mut open = Open { item, stream, place: 0, known: None, done: vec![None; 4] };
        // Two commands were applied, the third met another's change.
        let first =
            [(Fate::Created, "", 1), (Fate::Changed, "x", 2), (Fate::Changed, "y", 3), (Fate::Unchanged, "", 0)];
        open.note(first.map(|(fate, field, after)| planned(fate, field, after)).into(), 2);
        let then = [
            planned(Fate::Unchanged, "", 0),
            planned(Fate::Changed, "z", 1),
            planned(Fate::Changed, "y", 1),
            Planned::refused(Fault::whole("no")),
        ];
        let told: Vec<_> =
            open.told(then.into()).into_iter().map(|told| (told.outcome, told.fields.concat())).collect();
        let expected = [(Fate::Created, ""), (Fate::Changed, "xz"), (Fate::Changed, "y"), (Fate::Refused, "")];
        assert_eq!(told, expected.map(|(fate, fields)| (fate, fields.to_owned())));
    }
}
