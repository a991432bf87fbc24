//! React: an event's follow-up commands.
//!
//! A reaction reads the index only, after its own event's rows are written there: of two sides that change at once, the
//! one that writes later sees the other. A follow-up's id is made from the event, the reaction and the target, so that a
//! deriver that repeats itself sends the same command, which then takes effect once.
//!
//! Fan-outs go in pages, one after the other, each durable before the next is read: memory is bounded, and a crash starts
//! the fan-out again with the same ids. The deriver's own mark is the continuation; a command that carries one would put
//! a record into the log for every page and say nothing that the mark does not.

use crate::domain::envelope::{HOPS_MAX, SYSTEM_SOURCE};
use crate::domain::id::reaction_command_id;
use crate::domain::record::Record;
use crate::domain::{AnyCommand, AnyEvent, AnyState, Envelope, Reaction, StreamId};
use crate::flow::world::Sight;
use crate::ports::topic::{Accepted, Lane};
use crate::ports::{Index, Topics};
use std::sync::Arc;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Index(#[from] crate::ports::index::Error),
    #[error(transparent)]
    Topic(#[from] crate::ports::topic::Error),
    #[error("a follow-up command does not fit its schema: {0}")]
    Wire(#[from] crate::domain::wire::WireError),
}

/// What reacting needs.
pub struct Reactor {
    pub index: Arc<dyn Index>,
    pub topics: Arc<dyn Topics>,
    pub sight: Sight,
    /// Follow-up commands sent at once.
    pub page_max: usize,
}

impl Reactor {
    /// Sends what follows from an event. Returns once all of it is durable.
    pub async fn react(&mut self, record: &Record, event: &AnyEvent, state: &AnyState) -> Result<(), Error> {
        let meta = record.meta();
        let lookups = event.reaction_lookups(state, &meta);
        self.sight.refresh();
        let world = self.sight.world(&lookups).await?;
        for reaction in event.react(state, &meta, &world) {
            match reaction {
                Reaction::Send { name, to, command } => {
                    let accepted = follow_up(record, name, to, command)?;
                    self.send(record, accepted.into_iter().collect()).await?;
                }
                Reaction::FanOut { name, from, to, command } => {
                    self.fan_out(record, name, from, to, &command).await?;
                }
            }
        }
        Ok(())
    }

    async fn fan_out(
        &self,
        record: &Record,
        name: &'static str,
        from: StreamId,
        to: crate::domain::Aggregate,
        command: &AnyCommand,
    ) -> Result<(), Error> {
        let mut after = None;
        loop {
            let page = self.index.edges(from, after, self.page_max).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(*last);
            let mut commands = Vec::with_capacity(page.len());
            for stream in page.into_iter().filter(|stream| stream.aggregate == to) {
                commands.extend(follow_up(record, name, stream, command.clone())?);
            }
            self.send(record, commands).await?;
        }
    }

    async fn send(&self, record: &Record, commands: Vec<Arc<Accepted>>) -> Result<(), Error> {
        if commands.is_empty() {
            return Ok(());
        }
        crate::metrics::handles().react_commands.increment(commands.len() as u64);
        tracing::debug!(event = %record.event_id(), commands = commands.len(), "reacting");
        Ok(self.topics.produce(commands, Lane::System).await?)
    }
}

/// The follow-up command, or nothing where the chain of reactions has grown too long.
fn follow_up(record: &Record, name: &str, to: StreamId, command: AnyCommand) -> Result<Option<Arc<Accepted>>, Error> {
    let cause = &record.envelope;
    if cause.hop >= HOPS_MAX {
        tracing::error!(event = %record.event_id(), reaction = name, target = %to, hops = cause.hop, "a chain of reactions was cut");
        crate::metrics::handles().react_stops.increment(1);
        return Ok(None);
    }
    let envelope = Envelope {
        command_id: reaction_command_id(record.event_id(), name, &to),
        stream: to,
        source: SYSTEM_SOURCE.into(),
        actor: None,
        correlation: Some(cause.correlation.clone().unwrap_or_else(|| cause.command_id.to_string())),
        causation: Some(record.event_id().to_string()),
        expected_version: None,
        hop: cause.hop + 1,
        traceparent: cause.traceparent.clone(),
    };
    Ok(Some(Arc::new(Accepted::new(envelope, command)?)))
}
