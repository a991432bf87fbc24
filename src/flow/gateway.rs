//! The gateway: commands in, answers out. What HTTP, the health leases and the catalogue loader call.

use crate::domain::{Aggregate, LogId, Partitions, StreamId};
use crate::flow::outcome::{Outcome, OutcomeHub, OutcomeKind};
use crate::flow::projected::Projected;
use crate::flow::trace;
use crate::metrics::{Stopwatch, handles};
use crate::ports::topic::{self, Accepted, Lane};
use crate::ports::{Search, Topics};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

pub use crate::ports::receive::Submission;

/// How long a caller waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// Until the command is durable.
    #[default]
    Accepted,
    /// Until it is decided, durable in its log and indexed.
    Applied,
    /// Until the views show it.
    Projected,
    /// Until searches on this node find it, too.
    Searchable,
}

pub struct Gateway {
    topics: Arc<dyn Topics>,
    hub: Arc<OutcomeHub>,
    projected: Arc<dyn Projected>,
    partitions: Partitions,
    search: Option<Arc<dyn Search>>,
}

impl Gateway {
    pub fn new(
        topics: Arc<dyn Topics>,
        hub: Arc<OutcomeHub>,
        projected: Arc<dyn Projected>,
        partitions: Partitions,
    ) -> Self {
        Self { topics, hub, projected, partitions, search: None }
    }

    /// Gives it the replica in which this node searches.
    pub fn searching(mut self, search: Arc<dyn Search>) -> Self {
        self.search = Some(search);
        self
    }

    /// Takes commands, all of them or none, and answers in their order, once `wait` is reached or `timeout` has passed.
    /// What was not reached in time is answered as accepted.
    ///
    /// # Errors
    /// When none was taken: too much waits, or the topics cannot be written.
    pub async fn submit(
        &self,
        commands: Vec<Submission>,
        wait: Wait,
        timeout: Duration,
    ) -> Result<Vec<Outcome>, topic::Error> {
        self.submit_in(Lane::Outside, commands, wait, timeout).await
    }

    /// As [`Self::submit`], for what the system produces for itself.
    pub async fn submit_in(
        &self,
        lane: Lane,
        commands: Vec<Submission>,
        wait: Wait,
        timeout: Duration,
    ) -> Result<Vec<Outcome>, topic::Error> {
        let watch = Stopwatch::start();
        let deadline = Instant::now() + timeout;
        let mut taken = Vec::with_capacity(commands.len());
        let mut accepted = Vec::with_capacity(commands.len());
        let mut bytes = 0;
        for Submission { envelope, command } in commands {
            let (stream, command_id) = (envelope.stream, envelope.command_id);
            // A command that parsed fits its schema; if not, the schema and the struct have come apart.
            let command =
                Accepted::new(envelope, command).map_err(|error| topic::Error::Unavailable(error.to_string()))?;
            bytes += command.payload.len();
            let waiting = (wait > Wait::Accepted).then(|| self.hub.wait(stream, command_id, command.digest));
            taken.push(Taken { stream, command_id, waiting });
            trace::passed("receive", &command.envelope, None);
            accepted.push(Arc::new(command));
        }
        let count = accepted.len() as u64;
        if let Err(error) = self.topics.produce(accepted, lane).await {
            self.forget(taken);
            return Err(error);
        }
        handles().receive_commands.increment(count);
        handles().receive_bytes.increment(bytes as u64);
        watch.record(&handles().receive_accept);
        let mut outcomes = Vec::with_capacity(taken.len());
        for taken in taken {
            outcomes.push(self.outcome(taken, wait, deadline).await);
        }
        Ok(outcomes)
    }

    /// The logs of an aggregate.
    pub fn logs(&self, aggregate: Aggregate) -> Vec<LogId> {
        self.partitions.logs().filter(|log| log.aggregate == aggregate).collect()
    }

    /// Waits until the views show these logs up to these positions; `false` when they do not in time.
    pub async fn shown(&self, tips: &[(LogId, u64)], timeout: Duration) -> bool {
        let waits = tips.iter().filter(|(_, tip)| *tip > 0).map(|(log, tip)| self.projected.wait(*log, *tip));
        tokio::time::timeout(timeout, futures::future::join_all(waits)).await.is_ok()
    }

    async fn outcome(&self, taken: Taken, wait: Wait, deadline: Instant) -> Outcome {
        let Taken { stream, command_id, waiting } = taken;
        let log = stream.log(self.partitions);
        let accepted = Outcome { kind: OutcomeKind::Accepted, version: None, reason: None, log, position: 0 };
        let Some(mut waiting) = waiting else { return accepted };
        let Ok(Ok(outcome)) = tokio::time::timeout_at(deadline, &mut waiting).await else {
            drop(waiting);
            self.hub.forget(stream, command_id);
            return accepted;
        };
        if wait >= Wait::Projected {
            let _ = tokio::time::timeout_at(deadline, self.projected.wait(log, outcome.position)).await;
        }
        if wait == Wait::Searchable
            && let (Some(search), Some(version)) = (&self.search, outcome.version)
            // A stream of which nothing is but refusals has no row.
            && version > 0
            && stream.aggregate.is_searched()
        {
            let _ = tokio::time::timeout_at(deadline, search.shown(stream, version)).await;
        }
        outcome
    }

    fn forget(&self, taken: Vec<Taken>) {
        for Taken { stream, command_id, waiting } in taken {
            drop(waiting);
            self.hub.forget(stream, command_id);
        }
    }
}

struct Taken {
    stream: StreamId,
    command_id: uuid::Uuid,
    waiting: Option<oneshot::Receiver<Outcome>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::query::stores::Stores;
    use std::collections::HashMap;
    use tokio::sync::watch;

    #[tokio::test(start_paused = true)]
    async fn views_are_waited_for_until_they_show_every_log() {
        let partitions = Partitions::from(2).with(Aggregate::Agent, 3);
        let marks: HashMap<LogId, _> = partitions.logs().map(|log| (log, watch::channel(5))).collect();
        let projected: HashMap<_, _> = marks.iter().map(|(log, (_, mark))| (*log, mark.clone())).collect();
        let gateway = Gateway::new(Arc::new(Stores::default()), Arc::default(), Arc::new(projected), partitions);
        let logs = gateway.logs(Aggregate::Agent);
        assert_eq!(
            logs.iter().map(|log| (log.aggregate, log.partition)).collect::<Vec<_>>(),
            [(Aggregate::Agent, 0), (Aggregate::Agent, 1), (Aggregate::Agent, 2)]
        );
        let mut tips: Vec<_> = logs.iter().map(|log| (*log, 5)).collect();
        assert!(gateway.shown(&tips, Duration::from_secs(1)).await);
        tips[2].1 = 6;
        assert!(!gateway.shown(&tips, Duration::from_secs(1)).await, "one log is behind");
        marks[&logs[2]].0.send_replace(6);
        assert!(gateway.shown(&tips, Duration::from_secs(1)).await);
    }
}
