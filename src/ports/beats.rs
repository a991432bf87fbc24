//! Port: heartbeats on their way to whoever keeps the lease of their agent, where that is another process.

use crate::domain::{LogId, StreamId};
use crate::ports::topic::Error;
use async_trait::async_trait;

/// A run of heartbeats as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Whose they are, in the order in which they came; none where what stood there was no heartbeat of this log.
    pub agents: Vec<StreamId>,
    /// Where to read on.
    pub next: u64,
}

/// What there is of a log's heartbeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The first place that is still kept.
    pub low: u64,
    /// The place of the next heartbeat.
    pub end: u64,
}

/// Heartbeats of the agents of each log, in order, kept for a while.
///
/// Contract:
/// - `send` returns once every heartbeat is durable, with the log of its agent. It is not decided whether there is such
///   an agent.
/// - `read` gives heartbeats from place `from` on, waiting until something stands there. Places of a log only grow; some
///   may be missing, and what is not kept any more is passed over. It is cancel-safe.
/// - `bounds` counts every heartbeat whose `send` returned before it was asked.
/// - `settled` is what `settle` was last told for the log, by whatever process; `None` where that was never, or is not
///   kept any more.
#[async_trait]
pub trait Beats: Send + Sync + 'static {
    async fn send(&self, agents: Vec<StreamId>) -> Result<(), Error>;

    async fn read(&self, log: LogId, from: u64, beats_max: usize) -> Result<Page, Error>;

    async fn bounds(&self, log: LogId) -> Result<Bounds, Error>;

    async fn settled(&self, log: LogId) -> Result<Option<u64>, Error>;

    /// From now on nobody needs what stands before this place.
    async fn settle(&self, log: LogId, place: u64) -> Result<(), Error>;
}
