//! Heartbeats that reach another process than the one that keeps the lease: answered here, sent on to there.

use crate::domain::common::Health;
use crate::domain::{Partitions, StreamId};
use crate::flow::heartbeat::{BeatAnswer, Error, Heartbeats};
use crate::flow::lease::{LeaseTimes, living, states};
use crate::ports::Index;
use crate::ports::beats::Beats;
use async_trait::async_trait;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::time::Instant;

/// Sends heartbeats on. It remembers for the time of a lease that an agent is there, so that most heartbeats ask nobody.
pub struct Relay {
    beats: Arc<dyn Beats>,
    index: Arc<dyn Index>,
    partitions: Partitions,
    times: LeaseTimes,
    /// When each agent was last seen in the index.
    known: Vec<Mutex<HashMap<StreamId, Instant>>>,
}

const SHARDS: usize = 64;

impl Relay {
    pub fn new(beats: Arc<dyn Beats>, index: Arc<dyn Index>, partitions: Partitions, times: LeaseTimes) -> Self {
        let known = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { beats, index, partitions, times, known }
    }

    /// Something became of an agent: its next heartbeat looks at it again.
    pub fn forget(&self, agent: &StreamId) {
        self.shard(agent).lock().remove(agent);
    }

    fn shard(&self, agent: &StreamId) -> &Mutex<HashMap<StreamId, Instant>> {
        &self.known[usize::from(agent.id.as_bytes()[15]) % SHARDS]
    }

    fn knows(&self, agent: &StreamId) -> bool {
        let seen = self.shard(agent).lock().get(agent).copied();
        seen.is_some_and(|seen| seen.elapsed() < self.times.degraded_after)
    }

    fn learn(&self, agent: StreamId, seen: Instant) {
        let mut shard = self.shard(&agent).lock();
        if shard.len() >= self.times.tracked_max.div_ceil(SHARDS) {
            shard.retain(|_, seen| seen.elapsed() < self.times.degraded_after);
        }
        if shard.len() < self.times.tracked_max.div_ceil(SHARDS) {
            shard.insert(agent, seen);
        }
    }
}

#[async_trait]
impl Heartbeats for Relay {
    async fn beat(&self, agent: StreamId) -> Result<BeatAnswer, Error> {
        if !self.knows(&agent) {
            let now = Instant::now();
            let state = states(&*self.index, agent.log(self.partitions), &[agent]).await?.pop().flatten();
            living(state)?;
            self.learn(agent, now);
        }
        self.beats.send(vec![agent]).await.map_err(|error| Error::Unavailable(error.to_string()))?;
        Ok(BeatAnswer { health: Health::Active, lease: self.times.degraded_after })
    }
}
