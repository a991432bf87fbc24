//! Traces: every command that followed from one request, as a tree.
//!
//! The commands of a request have their correlation in common, by which the index finds them. A command that was sent
//! without one stands by its own id: the reactions to it carry that id as theirs. What carries a request to an LLM out, or a
//! batch, has the stream's id as correlation instead; it is looked for where a trace shows how the stream began.
//!
//! A trace is of one tenant. Where the shared catalogue changes and couplings of many tenants follow, each tenant sees its
//! own part: a root whose `causation` names an event that is not in it.
//!
//! The index has a command before anybody is told of it, so a trace holds whatever was answered as applied before it was
//! asked for. Reactions come after that, in their own time.

#[cfg(test)]
mod tests;
mod tree;

pub use tree::Trace;

use super::{CHUNK, Error, PAGE_BYTES_MAX, Query, refusal};
use crate::domain::record::{Record, RecordKind};
use crate::domain::{Aggregate, CorrelationKey, Envelope, LogId, Micros, Rejection, TenantId};
use crate::ports::index::{self, Traced};
use crate::ports::journal::Recorded;
use futures::stream::{self, StreamExt, TryStreamExt};
use hashbrown::HashSet;
use std::sync::Arc;
use uuid::Uuid;

/// Most commands of a trace, unless [`Query::tracing_at_most`] says otherwise.
pub const TRACED_DEFAULT: usize = 10_000;
/// Most requests and batches of a trace whose execution is looked for.
const CARRIED_OUT_MAX: usize = 1_000;
/// Questions to a store that one trace has under way at a time.
const READS_IN_FLIGHT: usize = 16;
/// Most records of one read, and how far apart commands may stand that one read brings.
const READ_RECORDS: u64 = 16;
/// About what a command, and an event, takes when it is shown, beside its texts.
const COMMAND_BYTES: usize = 512;
const EVENT_BYTES: usize = 256;

/// What a trace is asked by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceQuery {
    pub tenant: TenantId,
    pub correlation: String,
    /// The command that the correlation names where it is a command's id.
    pub command_id: Uuid,
}

/// What was found.
#[derive(Clone, Debug)]
pub enum TraceFound {
    Trace(Trace),
    /// The text is the id of a command that has this other correlation.
    Elsewhere(String),
    /// Nothing that is decided, and not forgotten.
    Nothing,
}

/// One command, and what it came to.
#[derive(Clone, Debug)]
pub struct TraceCommand {
    pub envelope: Arc<Envelope>,
    pub log: LogId,
    /// Of its last record, as are the time and the version.
    pub position: u64,
    pub recorded_at: Micros,
    pub version: u64,
    /// Why it was refused; `None` of one that was applied.
    pub refusal: Option<Rejection>,
    pub events: Vec<TraceEvent>,
    /// Places of the commands that name this one as their cause, and none of its events.
    pub commands: Vec<usize>,
}

/// One event of a command.
#[derive(Clone, Debug)]
pub struct TraceEvent {
    pub event_id: Uuid,
    /// The record's name, as `AgentRegistered`.
    pub name: String,
    pub version: u64,
    pub position: u64,
    pub recorded_at: Micros,
    /// Places of the commands that it caused, in the order of their times.
    pub commands: Vec<usize>,
}

impl TraceCommand {
    /// Of all its records, in their order.
    fn of<'a>(log: LogId, last: &Record, records: impl Iterator<Item = &'a Recorded>) -> Result<Self, Error> {
        let events = records.map(|recorded| &recorded.record).filter(|record| record.kind == RecordKind::Event);
        let event = |record: &Record| TraceEvent {
            event_id: record.event_id(),
            name: record.schema.clone(),
            version: record.version,
            position: record.position,
            recorded_at: record.recorded_at,
            commands: Vec::new(),
        };
        Ok(Self {
            envelope: last.envelope.clone(),
            log,
            position: last.position,
            recorded_at: last.recorded_at,
            version: last.version,
            refusal: (last.kind == RecordKind::Refusal).then(|| refusal(last)).transpose()?,
            events: events.map(event).collect(),
            commands: Vec::new(),
        })
    }

    fn traced(&self) -> Traced {
        Traced { recorded_at: self.recorded_at, log: self.log, position: self.position }
    }

    /// The event that began a stream whose id is the correlation of what carries it out.
    fn beginning(&self) -> Option<usize> {
        let is_carried_out = matches!(self.envelope.stream.aggregate, Aggregate::LlmRequest | Aggregate::LlmBatch);
        self.events.iter().position(|event| is_carried_out && event.version == 1)
    }

    fn bytes(&self) -> usize {
        let texts = [&self.envelope.actor, &self.envelope.correlation, &self.envelope.causation];
        let texts: usize = texts.into_iter().flatten().map(String::len).sum();
        let refusal = self.refusal.as_ref().map_or(0, |refusal| refusal.message.len());
        COMMAND_BYTES + self.envelope.source.len() + texts + refusal + self.events.len() * EVENT_BYTES
    }
}

/// The commands of a trace as they are found.
#[derive(Default)]
struct Gathered {
    commands: Vec<TraceCommand>,
    /// The correlations that were looked for.
    names: HashSet<String>,
    bytes: usize,
    is_truncated: bool,
}

/// Which commands are meant. The index finds them by hashes, and by those alone nobody may see another's.
#[derive(Clone, Copy)]
struct Meant<'a> {
    tenant: TenantId,
    by: By<'a>,
}

#[derive(Clone, Copy)]
enum By<'a> {
    Id(Uuid),
    /// Any of these.
    Correlation(&'a HashSet<String>),
}

impl Meant<'_> {
    fn takes(self, envelope: &Envelope) -> bool {
        let is_meant = match self.by {
            By::Id(command_id) => envelope.command_id == command_id,
            By::Correlation(names) => envelope.correlation.as_ref().is_some_and(|name| names.contains(name)),
        };
        is_meant && envelope.tenant() == self.tenant
    }
}

impl Gathered {
    /// The correlations of what carries out the requests and batches that began among the commands from this one on.
    fn begun_since(&mut self, from: usize) -> Vec<String> {
        let begun = self.commands[from..].iter().filter(|command| command.beginning().is_some());
        let begun = begun.map(|command| command.envelope.stream.id.to_string());
        let mut names: Vec<_> = begun.filter(|name| !self.names.contains(name)).collect();
        let room = (CARRIED_OUT_MAX + 2).saturating_sub(self.names.len());
        if names.len() > room {
            names.truncate(room);
            self.is_truncated = true;
        }
        names
    }
}

impl Query {
    /// The same, with another bound of the commands that a trace shows.
    pub fn tracing_at_most(self, traced_max: usize) -> Self {
        Self { traced_max: traced_max.clamp(1, index::TRACED_MAX), ..self }
    }

    /// All that followed from one request of a tenant.
    ///
    /// # Errors
    /// When a store does not answer, or holds what cannot be read.
    pub async fn trace(&self, ask: &TraceQuery) -> Result<TraceFound, Error> {
        let mut names = vec![ask.correlation.clone(), ask.command_id.to_string()];
        names.dedup();
        let mut root = self.command(ask.tenant, ask.command_id).await?;
        let correlation = root.as_ref().and_then(|root| root.envelope.correlation.clone());
        let elsewhere = correlation.filter(|correlation| !names.contains(correlation));
        if elsewhere.is_some() {
            root = None;
        }
        let mut found = Gathered::default();
        while !names.is_empty() && !found.is_truncated {
            let from = found.commands.len();
            self.gather(ask.tenant, &mut found, names).await?;
            if let Some(root) = root.take().filter(|root| !found.commands.iter().any(|it| it.traced() == root.traced()))
            {
                found.commands.push(root);
            }
            names = found.begun_since(from);
        }
        Ok(match elsewhere {
            Some(elsewhere) if found.commands.is_empty() => TraceFound::Elsewhere(elsewhere),
            _ if found.commands.is_empty() => TraceFound::Nothing,
            _ => TraceFound::Trace(Trace::of(found.commands, found.is_truncated)),
        })
    }

    /// Adds the commands of these correlations, the earliest first, as many as there is room for.
    async fn gather(&self, tenant: TenantId, found: &mut Gathered, names: Vec<String>) -> Result<(), Error> {
        let room = self.traced_max.saturating_sub(found.commands.len());
        // One more tells whether there are more.
        let keys = names.iter().map(|name| CorrelationKey::of(tenant, name));
        let asked: Vec<_> = keys.map(|key| self.index.trace(key, room + 1)).collect();
        let mut answers = stream::iter(asked).buffered(READS_IN_FLIGHT);
        let mut traced: Vec<Traced> = Vec::new();
        while let Some(answer) = answers.try_next().await? {
            traced.extend(answer);
            if traced.len() > room {
                found.is_truncated = true;
                break;
            }
        }
        drop(answers);
        traced.sort_unstable();
        traced.truncate(room);
        found.names.extend(names);
        for chunk in traced.chunks(CHUNK) {
            for command in self.commands(tenant, &found.names, chunk).await? {
                if found.bytes >= PAGE_BYTES_MAX {
                    found.is_truncated = true;
                    return Ok(());
                }
                found.bytes += command.bytes();
                found.commands.push(command);
            }
        }
        Ok(())
    }

    /// These commands, in their order.
    async fn commands(
        &self,
        tenant: TenantId,
        names: &HashSet<String>,
        traced: &[Traced],
    ) -> Result<Vec<TraceCommand>, Error> {
        let mut places: Vec<_> = traced.iter().map(|at| (at.log, at.position)).collect();
        places.sort_unstable();
        let near = places.chunk_by(|one, other| one.0 == other.0 && one.1 / READ_RECORDS == other.1 / READ_RECORDS);
        let reads: Vec<_> = near
            .map(|places| {
                let positions = places.iter().map(|(_, position)| *position).collect();
                self.read(places[0].0, positions, Meant { tenant, by: By::Correlation(names) })
            })
            .collect();
        let read: Vec<_> = stream::iter(reads).buffer_unordered(READS_IN_FLIGHT).try_collect().await?;
        let mut commands: Vec<_> = read.into_iter().flatten().collect();
        commands.sort_unstable_by_key(TraceCommand::traced);
        Ok(commands)
    }

    /// A command of this tenant by its id; `None` when it is not decided, or forgotten.
    async fn command(&self, tenant: TenantId, command_id: Uuid) -> Result<Option<TraceCommand>, Error> {
        let Some(at) = self.index.outcome(tenant, command_id).await? else { return Ok(None) };
        Ok(self.read(at.log, vec![at.position], Meant { tenant, by: By::Id(command_id) }).await?.pop())
    }

    /// The commands whose last records stand at these positions of a log, which ascend; those that are meant.
    async fn read(&self, log: LogId, positions: Vec<u64>, meant: Meant<'_>) -> Result<Vec<TraceCommand>, Error> {
        let (Some(first), Some(end)) = (positions.first(), positions.last()) else { return Ok(Vec::new()) };
        let records = self.records(log, *first, *end).await?;
        let mut commands = Vec::with_capacity(positions.len());
        for position in &positions {
            let place = (position - first) as usize;
            let last = &records[place].record;
            if !last.last || !meant.takes(&last.envelope) {
                continue;
            }
            let before = usize::from(last.index);
            let earlier = match before.checked_sub(place) {
                Some(missing @ 1..) => self.records(log, first.saturating_sub(missing as u64), first - 1).await?,
                _ => Vec::new(),
            };
            let own = earlier.iter().chain(&records[place.saturating_sub(before)..=place]);
            commands.push(TraceCommand::of(log, last, own)?);
        }
        Ok(commands)
    }

    /// The records of a log from one position to another, all of them.
    async fn records(&self, log: LogId, from: u64, to: u64) -> Result<Vec<Recorded>, Error> {
        let mut records = Vec::new();
        let mut next = from;
        while next <= to {
            let read = self.journal.read(log, next, (to - next + 1) as usize).await?;
            let Some(last) = read.last() else {
                let cause = format!("the index names position {to} of log {log}, which the log does not have");
                return Err(index::Error::Damaged(cause).into());
            };
            next = last.record.position + 1;
            records.extend(read);
        }
        Ok(records)
    }
}
