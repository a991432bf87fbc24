//! As of: a resource as it stood at a time or at a version, folded from its history.
//!
//! What a time means is `recorded_at`, the log's own, and never what a producer says. The index leads from a stream's
//! newest record backwards and a fold goes forwards: the walk back remembers where the chunks begin that are wanted, and
//! these are read again, oldest first, so that one chunk is held at a time however long the history is. A view row is a
//! fold that is done already: where it is not newer than what was asked for, nothing older is read.
//!
//! The index shows a record before anybody is told of it. So an answer holds every command whose outcome was told as
//! applied before the question came, whatever the projectors do. For a moment that has just passed, a command that was
//! decided by then can still come in; one whose log has a later record is final.

mod list;
#[cfg(test)]
mod tests;

use super::{Error, Query, Resource};
use crate::domain::record::RecordKind;
use crate::domain::{AnyEvent, AnyState, LogId, Micros, StreamId};
use crate::ports::journal::Recorded;

/// Records of a history that are held at once.
const CHUNK: usize = 64;
/// Most records of one history that a fold walks over, unless [`Query::folding_at_most`] says otherwise.
pub const FOLDED_MAX: usize = 100_000;

/// The moment that a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// After the last event that was recorded by then.
    Time(Micros),
    /// After the event that made this version, from 1.
    Version(u64),
}

impl At {
    /// Whether a state of this version, whose last event was recorded then, is not newer.
    fn takes(self, version: u64, recorded_at: Micros) -> bool {
        match self {
            Self::Time(time) => recorded_at <= time,
            Self::Version(asked) => version <= asked,
        }
    }
}

/// What a stream was at a moment.
#[derive(Clone, Debug, PartialEq)]
pub enum AsOf {
    Stood(Box<Resource>),
    /// Its first event was recorded later.
    NotYet {
        began_at: Micros,
    },
    /// It has no such version yet.
    NoVersion {
        newest: u64,
    },
}

/// A walk from the newest record backwards.
struct Walk {
    /// Below which positions the wanted chunks lie that are newer than `oldest`; the newest first.
    befores: Vec<u64>,
    /// The last chunk that was read, newest first.
    oldest: Vec<Recorded>,
    /// When the oldest event that was met was recorded.
    began_at: Option<Micros>,
    looked_at: usize,
}

impl Query {
    /// The same, with another bound of what one fold walks over.
    pub fn folding_at_most(self, folded_max: usize) -> Self {
        Self { folded_max, ..self }
    }

    /// One resource as of a moment; `None` when no event of it is recorded at all.
    ///
    /// # Errors
    /// [`Error::TooFar`] when the moment lies behind more records than one fold may walk over.
    pub async fn get_as_of(&self, stream: StreamId, at: At) -> Result<Option<AsOf>, Error> {
        let row = self.get(stream).await?;
        Ok(self.fold(stream, at, row).await?.0)
    }

    /// The positions of the last records of these logs: what a list as of a time waits for the views to show.
    pub async fn tips(&self, logs: &[LogId]) -> Result<Vec<(LogId, u64)>, Error> {
        let states = logs.iter().map(|log| async move { Ok((*log, self.journal.state(*log).await?.head)) });
        futures::future::try_join_all(states).await
    }

    /// Folds a stream up to a moment, from its view row on where that is not newer. Tells how many records were read too.
    async fn fold(&self, stream: StreamId, at: At, row: Option<Resource>) -> Result<(Option<AsOf>, usize), Error> {
        let base = row.filter(|row| at.takes(row.version, row.updated_at));
        let mut folded = base.unwrap_or_else(|| Resource::nothing(stream));
        if at == At::Version(folded.version) {
            return Ok((Some(AsOf::Stood(Box::new(folded))), 0));
        }
        let Walk { mut befores, oldest, began_at, looked_at } = self.walk_back(stream, at, folded.version).await?;
        let mut chunk = oldest;
        loop {
            for recorded in chunk.iter().rev().filter(|recorded| recorded.record.kind == RecordKind::Event) {
                let record = &recorded.record;
                if record.version > folded.version && at.takes(record.version, record.recorded_at) {
                    folded.take(recorded)?;
                }
            }
            let Some(before) = befores.pop() else { break };
            chunk = self.index.history(stream, before, CHUNK).await?;
            // A long fold in memory must not keep its thread from others.
            tokio::task::yield_now().await;
        }
        let found = match (folded.version, at, began_at) {
            (0, _, None) => None,
            (0, _, Some(began_at)) => Some(AsOf::NotYet { began_at }),
            (newest, At::Version(asked), _) if newest < asked => Some(AsOf::NoVersion { newest }),
            _ => Some(AsOf::Stood(Box::new(folded))),
        };
        Ok((found, looked_at))
    }

    /// Walks back to the record that made version `floor`, or to the first.
    async fn walk_back(&self, stream: StreamId, at: At, floor: u64) -> Result<Walk, Error> {
        let oldest = self.index.history(stream, u64::MAX, CHUNK).await?;
        let mut walk = Walk { befores: Vec::new(), oldest, began_at: None, looked_at: 0 };
        loop {
            let chunk = &walk.oldest;
            walk.looked_at += chunk.len();
            let mut events = chunk.iter().map(|it| &it.record).filter(|record| record.kind == RecordKind::Event);
            walk.began_at = events.next_back().map(|record| record.recorded_at).or(walk.began_at);
            let (Some(first), Some(last)) = (chunk.first(), chunk.last()) else { return Ok(walk) };
            if chunk.len() < CHUNK || last.record.version <= floor {
                return Ok(walk);
            }
            if walk.looked_at >= self.folded_max {
                return Err(Error::TooFar { stream, records_max: self.folded_max });
            }
            // Named by its own first record: what is recorded meanwhile moves no chunk.
            if chunk.iter().any(|it| at.takes(it.record.version, it.record.recorded_at)) {
                walk.befores.push(first.record.position + 1);
            }
            let before = last.record.position;
            walk.oldest = self.index.history(stream, before, CHUNK).await?;
            tokio::task::yield_now().await;
        }
    }
}

impl Resource {
    /// A stream before its first event.
    pub(super) fn nothing(stream: StreamId) -> Self {
        let state = AnyState::initial(stream.aggregate);
        Self { stream, version: 0, created_at: 0, updated_at: 0, state }
    }

    /// Goes on by the next event.
    ///
    /// # Errors
    /// When it is not the next, or cannot be read.
    pub(super) fn take(&mut self, recorded: &Recorded) -> Result<(), Error> {
        let record = &recorded.record;
        if record.version != self.version + 1 {
            let cause = format!("version {} follows version {}", record.version, self.version);
            return Err(Error::Damaged { stream: self.stream, what: "the history", cause });
        }
        let Some(event) = event(recorded)? else { return Ok(()) };
        self.state.evolve(&event, &record.meta());
        self.version = record.version;
        self.updated_at = record.recorded_at;
        if record.version == 1 {
            self.created_at = record.recorded_at;
        }
        Ok(())
    }
}

/// The event of a record; `None` where it holds none.
pub(super) fn event(recorded: &Recorded) -> Result<Option<std::sync::Arc<AnyEvent>>, Error> {
    let record = &recorded.record;
    if record.kind != RecordKind::Event {
        return Ok(None);
    }
    if let Some(event) = recorded.decided.as_ref().and_then(|decided| decided.event.clone()) {
        return Ok(Some(event));
    }
    let stream = record.stream();
    let event = AnyEvent::decode(stream.aggregate, &record.schema, record.fingerprint, &record.payload)
        .map_err(|error| Error::Damaged { stream, what: "an event", cause: error.to_string() })?;
    Ok(Some(event.into()))
}
