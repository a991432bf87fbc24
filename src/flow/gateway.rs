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

impl Wait {
    pub const ALL: [Self; 4] = [Self::Accepted, Self::Applied, Self::Projected, Self::Searchable];

    /// As in requests and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Applied => "applied",
            Self::Projected => "projected",
            Self::Searchable => "searchable",
        }
    }
}

/// What a command came to while its caller waited.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    pub outcome: Outcome,
    /// How far it is, where that is less than what was waited for: the time ran out before, or this node does not search.
    /// A command that is sent again gets the answer that it had, however its caller waits.
    pub short: Option<Wait>,
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
        let answered = self.answered(commands, wait, timeout).await?;
        Ok(answered.into_iter().map(|answered| answered.outcome).collect())
    }

    /// As [`Self::submit`], and tells which did not come so far.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub async fn answered(
        &self,
        commands: Vec<Submission>,
        wait: Wait,
        timeout: Duration,
    ) -> Result<Vec<Answered>, topic::Error> {
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
        if let Err(error) = self.topics.produce(accepted, Lane::Outside).await {
            self.forget(taken);
            return Err(error);
        }
        handles().receive_commands.increment(count);
        handles().receive_bytes.increment(bytes as u64);
        watch.record(&handles().receive_accept);
        let mut answered = Vec::with_capacity(taken.len());
        for taken in taken {
            answered.push(self.answer(taken, wait, deadline).await);
        }
        Ok(answered)
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

    async fn answer(&self, taken: Taken, wait: Wait, deadline: Instant) -> Answered {
        let Taken { stream, command_id, waiting } = taken;
        let log = stream.log(self.partitions);
        let outcome = Outcome { kind: OutcomeKind::Accepted, version: None, reason: None, log, position: 0 };
        let short = |reached| Some(reached).filter(|reached| *reached < wait);
        let accepted = Answered { outcome, short: short(Wait::Accepted) };
        let Some(mut waiting) = waiting else { return accepted };
        let Ok(Ok(outcome)) = tokio::time::timeout_at(deadline, &mut waiting).await else {
            drop(waiting);
            self.hub.forget(stream, command_id);
            return accepted;
        };
        let short = short(self.reached(&outcome, stream, wait, deadline).await);
        Answered { outcome, short }
    }

    /// Waits until what was decided can be read; tells how far it came.
    async fn reached(&self, outcome: &Outcome, stream: StreamId, wait: Wait, deadline: Instant) -> Wait {
        if wait <= Wait::Applied {
            return Wait::Applied;
        }
        if tokio::time::timeout_at(deadline, self.projected.wait(stream.log(self.partitions), outcome.position))
            .await
            .is_err()
        {
            return Wait::Applied;
        }
        // A stream of which nothing is but refusals has no row.
        let version = outcome.version.filter(|version| *version > 0 && stream.aggregate.is_searched());
        match (wait, version, &self.search) {
            (Wait::Searchable, None, _) => Wait::Searchable,
            (Wait::Searchable, Some(version), Some(search)) => {
                let shown = tokio::time::timeout_at(deadline, search.shown(stream, version)).await;
                if shown.is_ok() { Wait::Searchable } else { Wait::Projected }
            }
            _ => Wait::Projected,
        }
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
    use crate::domain::TenantId;
    use crate::flow::query::stores::Stores;
    use std::collections::HashMap;
    use tokio::sync::watch;
    use uuid::Uuid;

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
    #[tokio::test(start_paused = true)]
    async fn an_answer_tells_how_far_its_command_is() {
        let partitions = Partitions::from(1);
        let marks: HashMap<LogId, _> = partitions.logs().map(|log| (log, watch::channel(5))).collect();
        let projected: HashMap<_, _> = marks.iter().map(|(log, (_, mark))| (*log, mark.clone())).collect();
        let gateway = Gateway::new(Arc::new(Stores::default()), Arc::default(), Arc::new(projected), partitions);
        let reached = async |aggregate, position, wait| {
            let stream = StreamId::new(TenantId(Uuid::from_u128(1)), aggregate, Uuid::from_u128(2));
            let log = stream.log(partitions);
            let outcome = Outcome { kind: OutcomeKind::Applied, version: Some(1), reason: None, log, position };
            gateway.reached(&outcome, stream, wait, Instant::now() + Duration::from_secs(1)).await
        };
        assert_eq!(reached(Aggregate::Agent, 6, Wait::Applied).await, Wait::Applied);
        assert_eq!(reached(Aggregate::Agent, 5, Wait::Projected).await, Wait::Projected);
        assert_eq!(reached(Aggregate::Agent, 6, Wait::Projected).await, Wait::Applied, "the views are behind");
        assert_eq!(reached(Aggregate::Agent, 6, Wait::Searchable).await, Wait::Applied);
        assert_eq!(reached(Aggregate::Agent, 5, Wait::Searchable).await, Wait::Projected, "this node does not search");
        assert_eq!(
            reached(Aggregate::LlmRequest, 5, Wait::Searchable).await,
            Wait::Searchable,
            "there is no more to come"
        );
    }
}
