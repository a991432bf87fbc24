//! Leases: the health of agents by their heartbeats.
//!
//! A lease is a time in memory: renewing it is one map access, which is what 20 million agents at 300,000 heartbeats a
//! second can afford. Only what changes goes the way of a command. After a restart every agent that was up gets a fresh
//! lease; those that are gone run out of it.

use crate::domain::agent::{self, Agent, Lifecycle, ReportAgentHealth};
use crate::domain::common::Health;
use crate::domain::envelope::SYSTEM_SOURCE;
use crate::domain::record::Record;
use crate::domain::{Aggregate, AnyState, Envelope, Partitions, Seen, StreamId, World};
use crate::flow::gateway::{Gateway, Submission, Wait};
use crate::flow::heartbeat::{BeatAnswer, Error, Heartbeats};
use crate::ports::topic::Lane;
use crate::ports::{Index, Views};
use async_trait::async_trait;
use hashbrown::HashMap;
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
    pub tracked_max: usize,
}

/// Leases of all agents that ever beat in this process, or were up when it started.
pub struct Leases {
    shards: Vec<Mutex<HashMap<StreamId, Lease>>>,
    gateway: Arc<Gateway>,
    index: Arc<dyn Index>,
    partitions: Partitions,
    times: LeaseTimes,
    /// Makes the ids of transitions: they follow from time alone, and each happens once.
    ids: fn() -> Uuid,
}

struct Lease {
    renewed: Instant,
    health: Health,
}

const SHARDS: usize = 64;
/// Between two looks for leases that ran out.
const SWEEP: Duration = Duration::from_secs(1);
/// Health transitions sent at once.
const TRANSITIONS_MAX: usize = 1000;
/// View rows read at once while the leases of a predecessor are made again.
const ROWS_MAX: usize = 1000;

impl Leases {
    pub fn new(
        gateway: Arc<Gateway>,
        index: Arc<dyn Index>,
        partitions: Partitions,
        times: LeaseTimes,
        ids: fn() -> Uuid,
    ) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, gateway, index, partitions, times, ids }
    }

    fn shard(&self, agent: &StreamId) -> &Mutex<HashMap<StreamId, Lease>> {
        &self.shards[usize::from(agent.id.as_bytes()[15]) % SHARDS]
    }

    /// A decommissioned agent has no health any more, and one whose health somebody else reported has another than its
    /// lease says: either lease ends, and the next heartbeat asks the index.
    pub fn notice(&self, record: &Record) {
        let reported = record.schema == "AgentHealthChanged" && record.envelope.source != SYSTEM_SOURCE;
        if reported || record.schema == "AgentDecommissioned" {
            self.shard(&record.stream()).lock().remove(&record.stream());
        }
    }

    fn track(&self, agent: StreamId, health: Health) -> Result<(), Error> {
        let mut shard = self.shard(&agent).lock();
        if shard.len() >= self.times.tracked_max / SHARDS && !shard.contains_key(&agent) {
            return Err(Error::Unavailable("as many agents as heartbeat_tracked_max allows are tracked".into()));
        }
        shard.insert(agent, Lease { renewed: Instant::now(), health });
        Ok(())
    }

    /// Gives fresh leases to those that were up, then looks for leases that ran out until told to stop.
    pub async fn run(self: Arc<Self>, views: Arc<dyn Views>, stop: CancellationToken) {
        if let Err(error) = self.remember(&*views).await {
            tracing::warn!(%error, "the agents that were up could not be read; they get leases with their next heartbeat");
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SWEEP) => self.sweep().await,
            }
        }
    }

    async fn remember(&self, views: &dyn Views) -> Result<(), crate::ports::views::Error> {
        let mut after = None;
        loop {
            let rows = views.list_all(Aggregate::Agent, after, ROWS_MAX).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some((last.stream.tenant, last.stream.id));
            for row in rows {
                let Ok(state) = AnyState::from_blob(Aggregate::Agent, &row.data.state) else { continue };
                let AnyState::Agent(state) = state else { continue };
                if !matches!(state.health, Health::Active | Health::Degraded) || ended(&state) {
                    continue;
                }
                let mut shard = self.shard(&row.stream).lock();
                shard.entry(row.stream).or_insert_with(|| Lease { renewed: Instant::now(), health: state.health });
            }
            tokio::task::yield_now().await;
        }
    }

    /// Sends the transitions of leases that ran out.
    async fn sweep(&self) {
        for shard in &self.shards {
            let mut due = Vec::new();
            {
                let now = Instant::now();
                let mut shard = shard.lock();
                shard.retain(|agent, lease| {
                    let silent = now.duration_since(lease.renewed);
                    if silent >= self.times.offline_after {
                        due.push((*agent, Health::Offline));
                        return false;
                    }
                    if silent >= self.times.degraded_after && lease.health == Health::Active {
                        lease.health = Health::Degraded;
                        due.push((*agent, Health::Degraded));
                    }
                    true
                });
            }
            for page in due.chunks(TRANSITIONS_MAX) {
                self.report(page).await;
            }
        }
    }

    async fn report(&self, transitions: &[(StreamId, Health)]) {
        let commands = transitions.iter().map(|(agent, health)| self.transition(*agent, *health)).collect();
        let sent = self.gateway.submit_in(Lane::System, commands, Wait::Accepted, Duration::ZERO).await;
        if let Err(error) = sent {
            tracing::warn!(%error, agents = transitions.len(), "health transitions were not taken; the next sweep tries again");
            for (agent, health) in transitions {
                // As it was before: the lease is still run out, and due again.
                let before = if *health == Health::Offline { Health::Degraded } else { Health::Active };
                let renewed = Instant::now().checked_sub(self.times.degraded_after).unwrap_or_else(Instant::now);
                self.shard(agent).lock().entry(*agent).or_insert(Lease { renewed, health: before }).health = before;
            }
        }
    }

    /// The command that reports a transition.
    fn transition(&self, agent: StreamId, health: Health) -> Submission {
        let reason = match health {
            Health::Active => "heartbeat",
            Health::Unknown | Health::Degraded | Health::Offline => "no heartbeat within the lease",
        };
        let mut envelope = Envelope::new((self.ids)(), agent);
        envelope.source = SYSTEM_SOURCE.into();
        let command = agent::Command::ReportAgentHealth(ReportAgentHealth { health, reason: reason.into() });
        Submission { envelope, command: command.into() }
    }

    /// The state of an agent as the index has it.
    async fn agent(&self, agent: StreamId) -> Result<agent::State, Error> {
        let unavailable = |error: crate::ports::index::Error| Error::Unavailable(error.to_string());
        let heads = self.index.heads(agent.log(self.partitions), &[agent]).await.map_err(unavailable)?;
        let head = heads.into_iter().flatten().next().filter(|head| head.version > 0).ok_or(Error::UnknownAgent)?;
        let state = head.state_of(agent.aggregate).map_err(unavailable)?;
        let mut world = World::default();
        world.insert(agent, Seen { version: head.version, state: Arc::new(state) });
        world.get::<Agent>(&agent).map(|(_, state)| state.clone()).ok_or(Error::UnknownAgent)
    }
}

fn ended(state: &agent::State) -> bool {
    state.lifecycle == Lifecycle::Decommissioned
}

#[async_trait]
impl Heartbeats for Leases {
    async fn beat(&self, agent: StreamId) -> Result<BeatAnswer, Error> {
        let answer = BeatAnswer { health: Health::Active, lease: self.times.degraded_after };
        if let Some(lease) = self.shard(&agent).lock().get_mut(&agent).filter(|lease| lease.health == Health::Active) {
            lease.renewed = Instant::now();
            return Ok(answer);
        }
        let state = self.agent(agent).await?;
        if ended(&state) {
            self.shard(&agent).lock().remove(&agent);
            return Err(Error::Decommissioned);
        }
        if state.health != Health::Active {
            self.gateway
                .submit_in(Lane::System, vec![self.transition(agent, Health::Active)], Wait::Accepted, Duration::ZERO)
                .await
                .map_err(|error| Error::Unavailable(error.to_string()))?;
        }
        self.track(agent, Health::Active)?;
        Ok(answer)
    }
}
