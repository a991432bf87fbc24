//! Heartbeats: how an agent says that it lives.
//!
//! A heartbeat renews a lease that is kept in memory and is not logged; only a transition of the agent's health is a
//! command (`ReportAgentHealth`).

use crate::domain::StreamId;
use crate::domain::common::Health;
use async_trait::async_trait;
use std::time::Duration;

/// What a heartbeat was answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeatAnswer {
    /// The agent's health now that it has beaten.
    pub health: Health,
    /// How long from now the agent stays healthy without another heartbeat.
    pub lease: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing is recorded of this agent in its tenant.
    #[error("there is no such agent in this tenant")]
    UnknownAgent,
    /// It is decommissioned: it has no health any more.
    #[error("the agent is decommissioned")]
    Decommissioned,
    /// Nothing was renewed; trying again can help.
    #[error("heartbeats cannot be taken now: {0}")]
    Unavailable(String),
}

/// Takes heartbeats.
///
/// Contract:
/// - `beat` renews the agent's lease before it returns; where that is a transition (the first heartbeat, or one after
///   the lease ran out), the command for it is on its way, not yet decided.
/// - A heartbeat of an agent that is not there, or of another tenant's, is refused as unknown and keeps no memory.
/// - Renewing a lease that runs does no I/O.
#[async_trait]
pub trait Heartbeats: Send + Sync + 'static {
    async fn beat(&self, agent: StreamId) -> Result<BeatAnswer, Error>;
}
