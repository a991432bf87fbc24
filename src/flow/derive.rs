//! Derive: what follows from the records of one log, in position order: index rows → published events → outcomes →
//! reactions.
//!
//! Every step can be done any number of times with the same result, so taking over after a crash is the normal path: go
//! on from `derived_to`. The records come from memory, or from the log; [`fold`] makes the second look like the first.

use crate::domain::record::{Record, RecordKind};
use crate::domain::{AnyEvent, AnyState, CorrelationKey, LogId, Rejection, StreamId};
use crate::flow::decide::{Answer, Repeated, edge_changes};
use crate::flow::react::Reactor;
use crate::flow::trace;
use crate::metrics::{Stopwatch, handles};
use crate::ports::index::{Head, IndexRows};
use crate::ports::journal::{Decided, Recorded};
use crate::ports::outcome::{Outcome, OutcomeKind, Says, Word};
use crate::ports::{Index, Journal, Outcomes, Topics};
use hashbrown::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Journal(#[from] crate::ports::journal::Error),
    #[error(transparent)]
    Index(#[from] crate::ports::index::Error),
    #[error(transparent)]
    Topic(#[from] crate::ports::topic::Error),
    #[error(transparent)]
    React(#[from] crate::flow::react::Error),
    #[error("record {position} of log {log} cannot be read: {cause}")]
    Payload { log: LogId, position: u64, cause: String },
}

/// How far a log is derived; shared between its processor and its deriver.
#[derive(Default)]
pub struct Marks {
    /// Up to here index rows are acknowledged: heads need no pin any more.
    pub indexed_to: AtomicU64,
    /// Up to here everything is: what the next append carries.
    pub derived_to: AtomicU64,
}

/// One batch for the deriver.
pub struct Derivation {
    pub records: Vec<Recorded>,
    /// Commands that came again, or under a used id: told once what they rest on is indexed.
    pub repeated: Vec<Repeated>,
}

/// Told of every event once the index shows what it made.
pub type Notice = Arc<dyn Fn(StreamId, &AnyEvent) + Send + Sync>;

/// The deriver of one log.
pub struct Deriver {
    pub log: LogId,
    pub index: Arc<dyn Index>,
    pub journal: Arc<dyn Journal>,
    pub topics: Arc<dyn Topics>,
    pub outcomes: Arc<dyn Outcomes>,
    pub reactor: Reactor,
    pub notice: Notice,
    pub marks: Arc<Marks>,
}

/// Records of the log read at once while catching up.
const CATCH_UP_RECORDS: usize = 1000;

impl Deriver {
    /// Derives what the log holds beyond `derived_to`, up to `head`. The index rows of what stands before must be there;
    /// see [`reindex`].
    pub async fn catch_up(&mut self, derived_to: u64, head: u64) -> Result<(), Error> {
        if derived_to < head {
            tracing::debug!(log = %self.log, derived_to, head, "deriving what a predecessor left");
        }
        let mut pages = Pages::new(self.log, derived_to, head);
        while let Some(mut records) = pages.next(&*self.journal).await? {
            fold(self.log, &*self.index, &mut records).await?;
            self.derive(Derivation { records, repeated: Vec::new() }).await?;
        }
        self.marks.indexed_to.fetch_max(head, Ordering::AcqRel);
        self.marks.derived_to.fetch_max(head, Ordering::AcqRel);
        Ok(())
    }

    /// Derives a batch.
    pub async fn derive(&mut self, batch: Derivation) -> Result<(), Error> {
        let watch = Stopwatch::start();
        let records: Arc<[Recorded]> = batch.records.into();
        if let Some(last) = records.last() {
            let through = last.record.position;
            self.index.apply(self.log, rows(&records), through).await?;
            self.marks.indexed_to.fetch_max(through, Ordering::AcqRel);
            for recorded in records.iter() {
                if let Some(Decided { event: Some(event), .. }) = &recorded.decided {
                    (self.notice)(recorded.record.stream(), event);
                }
            }
            self.topics.publish(self.log, records.clone()).await?;
            self.tell(&records).await?;
            self.react(&records).await?;
            self.marks.derived_to.fetch_max(through, Ordering::AcqRel);
            handles().derive_records.increment(records.len() as u64);
        }
        for repeated in batch.repeated {
            self.repeat(repeated).await?;
        }
        watch.record(&handles().derive_batch);
        Ok(())
    }

    /// Tells what became of the commands that these records end.
    async fn tell(&self, records: &[Recorded]) -> Result<(), Error> {
        let mut words = Vec::with_capacity(records.len());
        for Recorded { record, .. } in records.iter().filter(|recorded| recorded.record.last) {
            trace::passed("derive", &record.envelope, Some(record.position));
            words.push(word(record, record.command_digest));
        }
        Ok(self.outcomes.tell(self.log, words).await?)
    }

    /// A command that came again gets its first outcome; one that made no record learns why.
    async fn repeat(&self, repeated: Repeated) -> Result<(), Error> {
        let (kind, reason) = match repeated.answer {
            Answer::First(position) => {
                if let Some(first) = self.journal.read(self.log, position, 1).await?.first() {
                    self.outcomes.tell(self.log, vec![word(&first.record, repeated.digest)]).await?;
                }
                return Ok(());
            }
            Answer::IdReused => {
                let why = "this command id was used before with other content; send it under a new id";
                (OutcomeKind::Refused, Rejection::new("id_reused", why))
            }
            Answer::Poisonous => {
                let why =
                    "this command could not be decided, which is a fault of this program; it is kept as a dead letter";
                (OutcomeKind::DeadLettered, Rejection::new("poisonous", why))
            }
        };
        let outcome = Outcome { kind, version: None, reason: Some(reason), log: self.log, position: 0 };
        let Repeated { stream, command_id, digest, .. } = repeated;
        let word = Word { stream, command_id, digest, says: Says::Outcome(outcome) };
        Ok(self.outcomes.tell(self.log, vec![word]).await?)
    }

    async fn react(&mut self, records: &[Recorded]) -> Result<(), Error> {
        let (mut established, mut refused) = (0, 0);
        for recorded in records {
            let record = &recorded.record;
            if record.kind != RecordKind::Event {
                continue;
            }
            match record.schema.as_str() {
                "CouplingEstablished" => established += 1,
                "CouplingRefused" => refused += 1,
                _ => {}
            }
            let Some(Decided { event: Some(event), head, .. }) = &recorded.decided else { continue };
            if !event.may_react() {
                continue;
            }
            let state = head.state_of(self.log.aggregate)?;
            self.reactor.react(record, event, &state).await?;
        }
        if established + refused > 0 {
            crate::metrics::couplings_decided(established, refused);
        }
        Ok(())
    }
}

/// Brings the index rows of one log up to its head, and nothing else. Where an index loses rows in a crash, every log
/// needs this before any log decides or reacts: both look at the rows of other logs, and the race between two streams is
/// closed only if the one that looks later finds what the other wrote.
///
/// # Errors
/// When the log cannot be read or folded, or the index not written.
pub async fn reindex(log: LogId, journal: &dyn Journal, index: &dyn Index) -> Result<(), Error> {
    let head = journal.state(log).await?.head;
    let mut pages = Pages::new(log, index.applied_to(log).await?, head);
    while let Some(mut records) = pages.next(journal).await? {
        index_page(log, index, &mut records).await?;
    }
    Ok(())
}

/// Writes the index rows of a page of whole commands that was read from the log, and nothing else.
///
/// # Errors
/// When the page cannot be folded, or the index not written.
pub async fn index_page(log: LogId, index: &dyn Index, records: &mut [Recorded]) -> Result<(), Error> {
    fold(log, index, records).await?;
    let through = records.last().map_or(0, |last| last.record.position);
    Ok(index.apply(log, rows(records), through).await?)
}

/// The records of a log in pages of whole commands.
pub struct Pages {
    log: LogId,
    from: u64,
    head: u64,
    /// The beginning of a command that was cut: it goes with the next page.
    carry: Vec<Recorded>,
}

impl Pages {
    /// What stands after `from`, up to `head`.
    pub fn new(log: LogId, from: u64, head: u64) -> Self {
        Self { log, from, head, carry: Vec::new() }
    }

    /// The next page; `None` once no whole command is left.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn next(&mut self, journal: &dyn Journal) -> Result<Option<Vec<Recorded>>, Error> {
        while self.from < self.head {
            let room = CATCH_UP_RECORDS.min((self.head - self.from) as usize);
            let read = journal.read(self.log, self.from + 1, room).await?;
            let Some(last) = read.last() else { break };
            self.from = last.record.position;
            self.carry.extend(read);
            let whole = self.carry.iter().rposition(|recorded| recorded.record.last).map_or(0, |place| place + 1);
            if whole > 0 {
                let rest = self.carry.split_off(whole);
                return Ok(Some(std::mem::replace(&mut self.carry, rest)));
            }
        }
        Ok(None)
    }
}

/// What a command's last record tells those who sent this content.
fn word(record: &Record, digest: u64) -> Word<'_> {
    let (stream, command_id) = (record.stream(), record.envelope.command_id);
    Word { stream, command_id, digest, says: Says::Record(record) }
}

/// The index rows of a run of records.
fn rows(records: &[Recorded]) -> IndexRows {
    let mut rows = IndexRows::default();
    let mut heads: HashMap<StreamId, Arc<Head>> = HashMap::with_capacity(records.len());
    for recorded in records {
        let record = &recorded.record;
        if record.last {
            let envelope = &*record.envelope;
            rows.outcomes.push((envelope.tenant(), envelope.command_id, record.position));
            if let Some(correlation) = &envelope.correlation {
                let key = CorrelationKey::of(envelope.tenant(), correlation);
                rows.traces.push((key, record.recorded_at, record.position));
            }
        }
        // A record whose head is newer in the index already has none here.
        let Some(decided) = &recorded.decided else { continue };
        rows.edges.extend(decided.edges.iter().map(|edge| (*edge, record.position)));
        rows.displaced.extend(decided.displaced.map(|known| (record.stream(), known)));
        if record.last {
            heads.insert(record.stream(), decided.head.clone());
        }
    }
    rows.heads = heads.into_iter().collect();
    rows
}

/// Gives records that were read from the log what their processor knew, by folding them onto the heads of the index.
/// A stream whose head is newer already keeps `decided` empty for what that head holds: its rows are there.
pub async fn fold(log: LogId, index: &dyn Index, records: &mut [Recorded]) -> Result<(), Error> {
    let mut heads = heads_of(log, index, records).await?;
    let mut start = 0;
    while start < records.len() {
        let stream = records[start].record.stream();
        let length = records[start..].iter().position(|recorded| recorded.record.last).map_or(1, |last| last + 1);
        let command = &mut records[start..start + length];
        start += length;
        let Some((head, state)) = heads.get_mut(&stream) else { continue };
        fold_command(log, &stream, command, head, state)?;
    }
    Ok(())
}

/// What the index holds of the streams of these records: asked for in one go, for the database answers many as fast as
/// one.
async fn heads_of(
    log: LogId,
    index: &dyn Index,
    records: &[Recorded],
) -> Result<HashMap<StreamId, (Arc<Head>, AnyState)>, Error> {
    let streams: HashSet<StreamId> = records.iter().map(|recorded| recorded.record.stream()).collect();
    let streams: Vec<StreamId> = streams.into_iter().collect();
    let found = index.heads(log, &streams).await?;
    let mut heads = HashMap::with_capacity(streams.len());
    for (stream, head) in streams.into_iter().zip(found) {
        let head = head.unwrap_or_else(|| Arc::new(Head::empty()));
        let state = head.state_of(log.aggregate)?;
        heads.insert(stream, (head, state));
    }
    Ok(heads)
}

fn fold_command(
    log: LogId,
    stream: &StreamId,
    command: &mut [Recorded],
    head: &mut Arc<Head>,
    state: &mut AnyState,
) -> Result<(), Error> {
    let newer = command.last().is_some_and(|last| head.position >= last.record.position);
    let before = state.sources(log, stream);
    let mut events = Vec::with_capacity(command.len());
    for recorded in command.iter() {
        let event = event_of(log, &recorded.record)?;
        if let Some(event) = event.as_ref().filter(|_| !newer) {
            state.evolve(event, &recorded.record.meta());
        }
        events.push(event.map(Arc::new));
    }
    if newer {
        // The reactions of such a record may still be owed, and want the event; the head is the best that is known.
        for (recorded, event) in command.iter_mut().zip(events) {
            recorded.decided = Some(Decided { event, head: head.clone(), edges: Vec::new(), displaced: None });
        }
        return Ok(());
    }
    let blob = if events.iter().any(Option::is_some) {
        state.to_blob().map_err(|error| crate::ports::index::Error::Damaged(error.to_string()))?.into()
    } else {
        head.state.clone()
    };
    let mut displaced = None;
    for recorded in command.iter() {
        let (next, gone) = head.after(&recorded.record, blob.clone());
        *head = Arc::new(next);
        displaced = displaced.or(gone);
    }
    let mut edges = edge_changes(stream, &before, &state.sources(log, stream));
    for (recorded, event) in command.iter_mut().zip(events) {
        let last = recorded.record.last;
        let edges = if last { std::mem::take(&mut edges) } else { Vec::new() };
        let displaced = displaced.filter(|_| last);
        recorded.decided = Some(Decided { event, head: head.clone(), edges, displaced });
    }
    Ok(())
}

/// The event of a record; `None` for one that is no event.
pub fn event_of(log: LogId, record: &Record) -> Result<Option<AnyEvent>, Error> {
    if record.kind != RecordKind::Event {
        return Ok(None);
    }
    AnyEvent::decode(log.aggregate, &record.schema, record.fingerprint, &record.payload)
        .map(Some)
        .map_err(|error| Error::Payload { log, position: record.position, cause: error.to_string() })
}
