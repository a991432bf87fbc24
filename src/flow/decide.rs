//! Decide: a batch of commands of one log becomes records.
//!
//! Each command is decided on the state that the ones before it leave, so that a batch decides as its commands would one
//! by one. Nothing here writes: what comes out is sent as one compare-and-set, or thrown away and decided again.

use crate::domain::record::{Hash, Record, RecordKind, chain};
use crate::domain::{
    AnyEvent, AnyState, Context, Decision, Envelope, LogId, Lookup, Micros, Rejection, StreamId, World,
};
use crate::flow::trace;
use crate::flow::world::Sight;
use crate::ports::index::{Head, Known};
use crate::ports::journal::{Decided, EdgeChange, Recorded};
use crate::ports::letter::{ID_REUSED, POISONOUS};
use crate::ports::topic::{Accepted, DeadLetter, Place};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What a batch of commands becomes.
pub struct Decisions {
    pub log: LogId,
    pub first_position: u64,
    /// Canonical bytes and hash, as the journal takes them.
    pub bytes: Vec<(Vec<u8>, Hash)>,
    pub records: Vec<Recorded>,
    pub head_hash: Hash,
    pub recorded_at: Micros,
    /// Known commands that came again: they get their first outcome.
    pub repeated: Vec<Repeated>,
    /// Commands that end without a record of their own.
    pub letters: Vec<(DeadLetter, Option<Repeated>)>,
    /// The heads that the batch leaves, for those that are decided next.
    pub heads: HashMap<StreamId, Arc<Head>>,
    /// The ids that moved out of these heads. Until their index rows are written, nothing else knows them.
    pub displaced: HashMap<(StreamId, uuid::Uuid), Known>,
}

/// What the sender of a command that makes no record is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The first outcome, which the record at this position tells.
    First(u64),
    /// Refused: the id is another command's. What it said is kept as a dead letter.
    IdReused,
    /// Dead-lettered: it could not be decided.
    Poisonous,
}

/// What deciding made of a command, to be told once the batch is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    /// Records; the last one's place among those of the batch.
    Recorded(usize),
    /// None. With the stream's version as it stands.
    Answered(Answer, u64),
}

/// A command that is known already, or whose id is, or that could not be decided.
#[derive(Clone, Copy, Debug)]
pub struct Repeated {
    pub stream: StreamId,
    pub command_id: uuid::Uuid,
    pub digest: u64,
    pub answer: Answer,
}

impl Repeated {
    fn new(accepted: &Accepted, answer: Answer) -> Self {
        let Envelope { stream, command_id, .. } = *accepted.envelope;
        Self { stream, command_id, digest: accepted.digest, answer }
    }
}

/// What the batch holds of a stream; begins with its head.
fn live<'l>(
    all: &'l mut HashMap<StreamId, Live>,
    stream: StreamId,
    head: &Arc<Head>,
) -> Result<&'l mut Live, crate::ports::index::Error> {
    Ok(match all.entry(stream) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => {
            let state = head.state_of(stream.aggregate)?;
            entry.insert(Live { head: head.clone(), state })
        }
    })
}

/// A stream while a batch is decided.
struct Live {
    head: Arc<Head>,
    state: AnyState,
}

/// Decides one batch.
pub struct BatchDecider<'a> {
    sight: &'a mut Sight,
    command_bytes_max: usize,
    live: HashMap<StreamId, Live>,
    /// Of the command that is decided.
    place: Place,
    out: Decisions,
}

impl<'a> BatchDecider<'a> {
    /// `(head, head_hash)` is where the log stands; `recorded_at` is the time of the whole batch. Most bytes of records that one command may make is `command_bytes_max`: a batch is never split.
    pub fn new(
        log: LogId,
        (head, head_hash): (u64, Hash),
        recorded_at: Micros,
        command_bytes_max: usize,
        sight: &'a mut Sight,
    ) -> Self {
        let out = Decisions {
            log,
            first_position: head + 1,
            bytes: Vec::new(),
            records: Vec::new(),
            head_hash,
            recorded_at,
            repeated: Vec::new(),
            letters: Vec::new(),
            heads: HashMap::new(),
            displaced: HashMap::new(),
        };
        let place = Place { log, offset: 0, redriven: 0 };
        Self { sight, command_bytes_max, live: HashMap::new(), place, out }
    }

    /// Where the command that comes next is, and how often it was sent again: what a letter of it says.
    pub fn at(&mut self, offset: u64, redriven: u32) {
        self.place = Place { offset, redriven, ..self.place };
    }

    /// Bytes of the records so far.
    pub fn bytes(&self) -> usize {
        self.out.bytes.iter().map(|(bytes, _)| bytes.len()).sum()
    }

    /// Reads what these commands are going to look at, each with its stream's head, before any is decided.
    ///
    /// # Errors
    /// When it cannot be read: nothing is in the batch then.
    pub async fn foresee<'c>(
        &mut self,
        commands: impl Iterator<Item = (&'c Accepted, &'c Arc<Head>)>,
    ) -> Result<(), crate::ports::index::Error> {
        let mut streams = Vec::new();
        for (accepted, head) in commands {
            let live = live(&mut self.live, accepted.envelope.stream, head)?;
            let lookups = live.state.lookups(&accepted.command, &accepted.envelope);
            streams.extend(lookups.into_iter().filter_map(|lookup| match lookup {
                Lookup::Stream(stream) => Some(stream),
                Lookup::Providers(_) => None,
            }));
        }
        self.sight.foresee(streams).await
    }

    /// Decides one command. `head` is the stream's, as the processor knows it; `displaced` what is known of the command's
    /// id from before this batch, where the head does not carry all ids any more.
    ///
    /// # Errors
    /// When the world that the decision wants to see cannot be read: nothing of this command is in the batch then.
    pub async fn command(
        &mut self,
        accepted: &Accepted,
        head: &Arc<Head>,
        displaced: Option<Known>,
    ) -> Result<Became, crate::ports::index::Error> {
        let stream = accepted.envelope.stream;
        let live = live(&mut self.live, stream, head)?;
        let command_id = accepted.envelope.command_id;
        let known = live.head.known.iter().find(|known| known.command_id == command_id).copied();
        let known = known.or_else(|| self.out.displaced.get(&(stream, command_id)).copied()).or(displaced);
        if let Some(known) = known {
            let version = live.head.version;
            return Ok(Became::Answered(self.known(accepted, known), version));
        }
        let lookups = live.state.lookups(&accepted.command, &accepted.envelope);
        let world = self.sight.world(&lookups).await?;
        Ok(self.decide(accepted, &world))
    }

    /// A command whose id is known: a retry gets the first outcome, an impostor is buried.
    fn known(&mut self, accepted: &Accepted, known: Known) -> Answer {
        if known.digest == accepted.digest {
            let answer = Answer::First(known.position);
            self.out.repeated.push(Repeated::new(accepted, answer));
            return answer;
        }
        let letter = self.letter(accepted, ID_REUSED, "this command id was used before with other content");
        self.out.letters.push((letter, Some(Repeated::new(accepted, Answer::IdReused))));
        Answer::IdReused
    }

    fn decide(&mut self, accepted: &Accepted, world: &World) -> Became {
        let stream = accepted.envelope.stream;
        let Some(live) = self.live.get(&stream) else { return self.poisonous(accepted, "the stream is not loaded") };
        let context =
            Context { now: self.out.recorded_at, envelope: &accepted.envelope, version: live.head.version, world };
        // A decider that panics must not take the commands behind it along: the one that did it is buried.
        let _span = trace::span("decide", &accepted.envelope).entered();
        let decided = catch_unwind(AssertUnwindSafe(|| {
            #[cfg(test)]
            assert_ne!(accepted.envelope.source, PANICS);
            check_version(&accepted.envelope, live.head.version)?;
            live.state.decide(&accepted.command, &context)
        }));
        let decision = match decided {
            Ok(Ok(decision)) => decision,
            Ok(Err(rejection)) => Decision { events: Vec::new(), refusal: Some(rejection) },
            Err(_) => return self.poisonous(accepted, "deciding this command panicked; see the log of the process"),
        };
        tracing::debug!(target: "agentverse::command", events = decision.events.len(), refused = decision.refusal.is_some(), "decided");
        match self.record(accepted, decision) {
            Ok(()) => Became::Recorded(self.out.records.len() - 1),
            Err(cause) => self.poisonous(accepted, &cause),
        }
    }

    /// Buries a command without deciding it, and tells whoever waits for it.
    pub fn poisonous(&mut self, accepted: &Accepted, cause: &str) -> Became {
        let letter = self.letter(accepted, POISONOUS, cause);
        let repeated = Repeated::new(accepted, Answer::Poisonous);
        self.out.letters.push((letter, Some(repeated)));
        let version = self.live.get(&accepted.envelope.stream).map_or(0, |live| live.head.version);
        Became::Answered(Answer::Poisonous, version)
    }

    /// Turns a decision into records.
    fn record(&mut self, accepted: &Accepted, decision: Decision<AnyEvent>) -> Result<(), String> {
        let stream = accepted.envelope.stream;
        let Some(live) = self.live.get_mut(&stream) else { return Err("the stream is not loaded".into()) };
        let made = make_records(
            accepted,
            &live.head,
            decision,
            self.out.first_position + self.out.records.len() as u64,
            self.out.recorded_at,
        )?;
        let bytes: usize = made.iter().map(|(record, _)| record.payload.len() + RECORD_BYTES).sum();
        if bytes > self.command_bytes_max && made.iter().any(|(record, _)| record.kind == RecordKind::Event) {
            let refusal = too_large(made.len(), bytes, self.command_bytes_max);
            return self.record(accepted, Decision { events: Vec::new(), refusal: Some(refusal) });
        }
        let before = live.state.sources(self.out.log, &stream);
        let mut head = live.head.clone();
        let mut state = live.head.state.clone();
        if made.iter().any(|(record, _)| record.kind == RecordKind::Event) {
            for (record, event) in &made {
                if let Some(event) = event {
                    live.state.evolve(event, &record.meta());
                }
            }
            state = live.state.to_blob().map_err(|error| error.to_string())?.into();
        }
        let mut displaced = None;
        for (record, _) in &made {
            let (next, gone) = head.after(record, state.clone());
            head = Arc::new(next);
            displaced = displaced.or(gone);
        }
        let mut edges = edge_changes(&stream, &before, &live.state.sources(self.out.log, &stream));
        live.head = head.clone();
        self.out.displaced.extend(displaced.map(|known| ((stream, known.command_id), known)));
        self.out.heads.insert(stream, head.clone());
        for (record, event) in made {
            let mut bytes = Vec::with_capacity(256 + record.payload.len());
            record.encode(&mut bytes);
            let hash = chain(&self.out.head_hash, &bytes);
            self.out.head_hash = hash;
            self.out.bytes.push((bytes, hash));
            let edges = if record.last { std::mem::take(&mut edges) } else { Vec::new() };
            let displaced = displaced.filter(|_| record.last);
            let decided = Decided { event: event.map(Arc::new), head: head.clone(), edges, displaced };
            self.out.records.push(Recorded { record, hash, decided: Some(decided) });
        }
        Ok(())
    }

    fn letter(&self, accepted: &Accepted, code: &str, cause: &str) -> DeadLetter {
        DeadLetter::of(self.place, accepted, code, cause, self.out.recorded_at)
    }

    pub fn finish(self) -> Decisions {
        self.out
    }
}

/// The source of commands that panic in their decision, for tests: no decider that is known does.
#[cfg(test)]
pub const PANICS: &str = "panics";

/// What a record takes beside its payload.
const RECORD_BYTES: usize = 256;

fn too_large(records: usize, bytes: usize, bytes_max: usize) -> Rejection {
    let message = format!(
        "this command would make {records} records of {bytes} bytes, at most {bytes_max} are allowed; split it into several"
    );
    Rejection::new("too_large", message).with("bytes", bytes).with("bytes_max", bytes_max)
}

fn check_version(envelope: &Envelope, version: u64) -> Result<(), Rejection> {
    match envelope.expected_version {
        Some(expected) if expected != version => Err(Rejection::new(
            "version_mismatch",
            format!("the stream is at version {version}, not {expected}; read it again and decide anew"),
        )
        .with("expected", expected)
        .with("actual", version)),
        _ => Ok(()),
    }
}

/// The records of one command: its events, then a refusal where it was refused, or the fact that nothing changed.
fn make_records(
    accepted: &Accepted,
    head: &Head,
    decision: Decision<AnyEvent>,
    first_position: u64,
    recorded_at: Micros,
) -> Result<Vec<(Record, Option<AnyEvent>)>, String> {
    let aggregate = accepted.envelope.stream.aggregate;
    let mut records: Vec<(Record, Option<AnyEvent>)> = Vec::with_capacity(decision.events.len() + 1);
    let mut previous = head.position;
    let mut version = head.version;
    let mut push = |kind: RecordKind, schema: &str, fingerprint: u64, payload: Vec<u8>, event: Option<AnyEvent>| {
        let step = records.len() as u64;
        version += u64::from(kind == RecordKind::Event);
        let record = Record {
            position: first_position + step,
            version,
            previous,
            kind,
            index: step as u16,
            last: false,
            recorded_at,
            command_digest: accepted.digest,
            envelope: accepted.envelope.clone(),
            schema: schema.to_owned(),
            fingerprint,
            payload,
        };
        previous = record.position;
        records.push((record, event));
    };
    let unchanged = decision.events.is_empty() && decision.refusal.is_none();
    for event in decision.events {
        let name = event.name();
        let codec = aggregate.codec(name).ok_or_else(|| format!("{name} has no schema"))?;
        let mut payload = Vec::with_capacity(256);
        event.encode(&mut payload).map_err(|error| error.to_string())?;
        push(RecordKind::Event, name, codec.fingerprint, payload, Some(event));
    }
    if let Some(refusal) = decision.refusal {
        let payload = serde_json::to_vec(&refusal).map_err(|error| error.to_string())?;
        push(RecordKind::Refusal, REFUSAL_SCHEMA, 0, payload, None);
    } else if unchanged {
        push(RecordKind::Unchanged, "", 0, Vec::new(), None);
    }
    if let Some((record, _)) = records.last_mut() {
        record.last = true;
    }
    Ok(records)
}

/// Schema name of a refusal's payload, which is a [`Rejection`] as JSON (fingerprint 0): it has to be readable by
/// programs that know no schema of its aggregate.
pub const REFUSAL_SCHEMA: &str = "Refusal";

/// What came and what went between two sets of [`sources`](AnyState::sources).
pub fn edge_changes(stream: &StreamId, before: &[StreamId], after: &[StreamId]) -> Vec<EdgeChange> {
    let gone = before.iter().filter(|from| !after.contains(from)).map(|from| (*from, false));
    let come = after.iter().filter(|from| !before.contains(from)).map(|from| (*from, true));
    gone.chain(come).map(|(from, present)| EdgeChange { from, to: *stream, present }).collect()
}
