//! Leases: the health of agents by their heartbeats.
//!
//! A lease is a time in memory: renewing it is one map access, which is what 20 million agents at 300,000 heartbeats a
//! second can afford. Only what changes goes the way of a command. The leases of a log's agents are kept by the process
//! that owns the log, and are gone with it: who comes after gives every agent that was up a fresh one, and those that are
//! gone run out of it.

use crate::domain::agent::{self, Lifecycle, ReportAgentHealth};
use crate::domain::common::Health;
use crate::domain::envelope::SYSTEM_SOURCE;
use crate::domain::{Aggregate, AnyEvent, AnyState, Envelope, LogId, Partitions, StreamId};
use crate::flow::heartbeat::{BeatAnswer, Error, Heartbeats};
use crate::ports::topic::{Accepted, Lane};
use crate::ports::{Index, Topics, Views};
use async_trait::async_trait;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// When a silent agent is taken for what; see `agentverse config --explain`.
#[derive(Clone, Copy, Debug)]
pub struct LeaseTimes {
    pub degraded_after: Duration,
    pub offline_after: Duration,
    /// Of all logs together; each takes an equal share.
    pub tracked_max: usize,
}

/// Leases of the agents that this process keeps.
pub struct Leases {
    /// By the partition of the agent's log.
    logs: Vec<Mutex<HashMap<StreamId, Lease>>>,
    topics: Arc<dyn Topics>,
    index: Arc<dyn Index>,
    partitions: Partitions,
    pub(super) times: LeaseTimes,
    /// Makes the ids of transitions: they follow from time alone, and each happens once.
    ids: fn() -> Uuid,
}

#[derive(Clone, Copy)]
struct Lease {
    renewed: Instant,
    /// The agent's, as far as this process knows: what it last made it, or what its log last said.
    health: Health,
}

/// A lease that ran out.
pub struct Due {
    agent: StreamId,
    health: Health,
    renewed: Instant,
}

/// Between two looks for leases that ran out.
const SWEEP: Duration = Duration::from_secs(1);
/// Health transitions sent at once.
const TRANSITIONS_MAX: usize = 1000;
/// View rows read at once while the leases of a predecessor are made again.
const ROWS_MAX: usize = 1000;

impl Leases {
    pub fn new(
        topics: Arc<dyn Topics>,
        index: Arc<dyn Index>,
        partitions: Partitions,
        times: LeaseTimes,
        ids: fn() -> Uuid,
    ) -> Self {
        let logs = (0..partitions.of(Aggregate::Agent)).map(|_| Mutex::default()).collect();
        Self { logs, topics, index, partitions, times, ids }
    }

    fn of(&self, log: LogId) -> &Mutex<HashMap<StreamId, Lease>> {
        &self.logs[usize::from(log.partition)]
    }

    /// Hears of an event of a log whose leases are kept here. Whoever made an agent's health what it is, the next
    /// heartbeat makes it active again; a decommissioned agent has none any more.
    pub fn notice(&self, agent: StreamId, event: &AnyEvent) {
        let AnyEvent::Agent(event) = event else { return };
        match &**event {
            agent::Event::AgentDecommissioned(_) => {
                self.of(agent.log(self.partitions)).lock().remove(&agent);
            }
            agent::Event::AgentHealthChanged(changed) => {
                if let Some(lease) = self.of(agent.log(self.partitions)).lock().get_mut(&agent) {
                    lease.health = changed.after;
                }
            }
            _ => {}
        }
    }

    /// Takes heartbeats of agents of this log. Gives those that renewed nothing, each with why.
    ///
    /// # Errors
    /// When the index or the topics do not answer; some may be renewed all the same.
    pub async fn renew(&self, log: LogId, agents: &[StreamId]) -> Result<Vec<(StreamId, Error)>, Error> {
        let asked = self.touch(log, agents);
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let (mut up, mut turned, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for (agent, state) in asked.iter().zip(states(&*self.index, log, &asked).await?) {
            match living(state) {
                Ok(state) => {
                    up.push(*agent);
                    turned.extend((state.health != Health::Active).then_some((*agent, Health::Active)));
                }
                Err(error) => {
                    self.of(log).lock().remove(agent);
                    refused.push((*agent, error));
                }
            }
        }
        self.report(&turned).await?;
        for agent in up {
            if !self.track(log, agent, Health::Active) {
                let full = "as many agents as heartbeat_tracked_max allows are tracked";
                refused.push((agent, Error::Unavailable(full.into())));
            }
        }
        Ok(refused)
    }

    /// Renews the leases that run, and gives the agents that have none or were not active.
    fn touch(&self, log: LogId, agents: &[StreamId]) -> Vec<StreamId> {
        let now = Instant::now();
        let mut leases = self.of(log).lock();
        let mut asked = HashSet::new();
        for agent in agents {
            match leases.get_mut(agent).filter(|lease| lease.health == Health::Active) {
                Some(lease) => lease.renewed = now,
                None => {
                    asked.insert(*agent);
                }
            }
        }
        asked.into_iter().collect()
    }

    /// Gives a lease that begins now; `false` where too many are tracked.
    fn track(&self, log: LogId, agent: StreamId, health: Health) -> bool {
        let mut leases = self.of(log).lock();
        let fits = leases.len() < self.times.tracked_max.div_ceil(self.logs.len()) || leases.contains_key(&agent);
        if fits {
            leases.insert(agent, Lease { renewed: Instant::now(), health });
        }
        fits
    }

    /// Gives fresh leases to those of these agents that are up, and changes no health: their heartbeats may be old.
    ///
    /// # Errors
    /// When the index does not answer.
    pub async fn restore(&self, log: LogId, agents: &[StreamId]) -> Result<(), Error> {
        let asked: Vec<StreamId> = {
            let leases = self.of(log).lock();
            agents.iter().filter(|agent| !leases.contains_key(*agent)).copied().collect()
        };
        for (agent, state) in asked.iter().zip(states(&*self.index, log, &asked).await?) {
            if let Some(state) = living(state).ok().filter(is_up) {
                self.track(log, *agent, state.health);
            }
        }
        Ok(())
    }

    /// Gives fresh leases to every agent that is up by the views: of one log, or of all.
    ///
    /// # Errors
    /// When the views do not answer.
    pub async fn remember(&self, views: &dyn Views, log: Option<LogId>) -> Result<(), crate::ports::views::Error> {
        let mut after = None;
        loop {
            let rows = views.list_all(Aggregate::Agent, after, ROWS_MAX).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some((last.stream.tenant, last.stream.id));
            for row in rows {
                let its = row.stream.log(self.partitions);
                if log.is_some_and(|log| log != its) {
                    continue;
                }
                let Ok(AnyState::Agent(state)) = AnyState::from_blob(Aggregate::Agent, &row.data.state) else {
                    continue;
                };
                if has_health(&state) && is_up(&state) && !self.of(its).lock().contains_key(&row.stream) {
                    self.track(its, row.stream, state.health);
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// The leases of a log that ran out by this time.
    pub fn due(&self, log: LogId, now: Instant) -> Vec<Due> {
        let mut leases = self.of(log).lock();
        let mut due = Vec::new();
        leases.retain(|agent, Lease { renewed, health }| {
            let silent = now.saturating_duration_since(*renewed);
            let turned = match health {
                _ if silent >= self.times.offline_after => Health::Offline,
                Health::Active if silent >= self.times.degraded_after => Health::Degraded,
                _ => return true,
            };
            if *health == turned {
                // Somebody else said so first: nothing is left to tell.
                return false;
            }
            due.push(Due { agent: *agent, health: turned, renewed: *renewed });
            true
        });
        due
    }

    /// Has the health of agents turned whose leases ran out.
    ///
    /// # Errors
    /// When the topics do not answer; the leases are due still.
    pub async fn turn(&self, log: LogId, due: &[Due]) -> Result<(), Error> {
        for page in due.chunks(TRANSITIONS_MAX) {
            self.report(&page.iter().map(|due| (due.agent, due.health)).collect::<Vec<_>>()).await?;
            let mut leases = self.of(log).lock();
            for Due { agent, health, renewed } in page {
                let hashbrown::hash_map::Entry::Occupied(mut lease) = leases.entry(*agent) else { continue };
                // One that was renewed meanwhile learns from its log what it was turned to.
                if lease.get().renewed != *renewed {
                    continue;
                }
                match health {
                    Health::Offline => drop(lease.remove()),
                    other => lease.get_mut().health = *other,
                }
            }
        }
        Ok(())
    }

    /// Lets go of the leases of a log that is another process's now.
    pub fn forget(&self, log: LogId) {
        *self.of(log).lock() = HashMap::new();
    }

    /// Keeps the leases of every log: gives fresh ones to those that were up, then looks for those that ran out until
    /// told to stop.
    pub async fn run(self: Arc<Self>, views: Arc<dyn Views>, stop: CancellationToken) {
        if let Err(error) = self.remember(&*views, None).await {
            tracing::warn!(%error, "the agents that were up could not be read; they get leases with their next heartbeat");
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SWEEP) => {}
            }
            let agents = self.partitions.logs().filter(|log| log.aggregate == Aggregate::Agent);
            for log in agents {
                let due = self.due(log, Instant::now());
                if let Err(error) = self.turn(log, &due).await {
                    tracing::warn!(%log, %error, agents = due.len(), "silent agents were not turned; the next look tries again");
                }
            }
        }
    }

    /// Sends the commands that report transitions.
    async fn report(&self, transitions: &[(StreamId, Health)]) -> Result<(), Error> {
        if transitions.is_empty() {
            return Ok(());
        }
        let unavailable = |cause: String| Error::Unavailable(cause);
        let commands: Result<Vec<_>, _> =
            transitions.iter().map(|(agent, health)| self.transition(*agent, *health).map(Arc::new)).collect();
        let commands = commands.map_err(|error| unavailable(error.to_string()))?;
        self.topics.produce(commands, Lane::System).await.map_err(|error| unavailable(error.to_string()))
    }

    fn transition(&self, agent: StreamId, health: Health) -> Result<Accepted, crate::domain::wire::WireError> {
        let reason = match health {
            Health::Active => "heartbeat",
            Health::Unknown | Health::Degraded | Health::Offline => "no heartbeat within the lease",
        };
        let mut envelope = Envelope::new((self.ids)(), agent);
        envelope.source = SYSTEM_SOURCE.into();
        let command = agent::Command::ReportAgentHealth(ReportAgentHealth { health, reason: reason.into() });
        Accepted::new(envelope, command.into())
    }
}

/// The states of agents as the index has them, `None` for those of which nothing is recorded.
pub(super) async fn states(
    index: &dyn Index,
    log: LogId,
    agents: &[StreamId],
) -> Result<Vec<Option<agent::State>>, Error> {
    let unavailable = |error: crate::ports::index::Error| Error::Unavailable(error.to_string());
    let heads = index.heads(log, agents).await.map_err(unavailable)?;
    heads
        .into_iter()
        .map(|head| {
            let Some(head) = head.filter(|head| head.version > 0) else { return Ok(None) };
            match head.state_of(Aggregate::Agent).map_err(unavailable)? {
                AnyState::Agent(state) => Ok(Some(*state)),
                _ => Ok(None),
            }
        })
        .collect()
}

/// The state of an agent that can have health.
pub(super) fn living(state: Option<agent::State>) -> Result<agent::State, Error> {
    let state = state.ok_or(Error::UnknownAgent)?;
    if has_health(&state) { Ok(state) } else { Err(Error::Decommissioned) }
}

fn has_health(state: &agent::State) -> bool {
    state.lifecycle != Lifecycle::Decommissioned
}

fn is_up(state: &agent::State) -> bool {
    matches!(state.health, Health::Active | Health::Degraded)
}

#[async_trait]
impl Heartbeats for Leases {
    async fn beat(&self, agent: StreamId) -> Result<BeatAnswer, Error> {
        match self.renew(agent.log(self.partitions), &[agent]).await?.pop() {
            None => Ok(BeatAnswer { health: Health::Active, lease: self.times.degraded_after }),
            Some((_, error)) => Err(error),
        }
    }
}
