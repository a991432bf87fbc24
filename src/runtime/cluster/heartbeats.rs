//! Heartbeats in a cluster: not taken here.
//!
//! A lease that is kept in one process's memory runs out wrongly when the next heartbeat of the same agent reaches another
//! process. Until leases have a home that all of them share, a cluster's agents report their health by command.

use crate::domain::StreamId;
use crate::flow::heartbeat::{BeatAnswer, Error, Heartbeats};
use async_trait::async_trait;

pub struct ByCommand;

#[async_trait]
impl Heartbeats for ByCommand {
    async fn beat(&self, _agent: StreamId) -> Result<BeatAnswer, Error> {
        Err(Error::Unavailable("a cluster keeps no leases: report health with the command ReportAgentHealth".into()))
    }
}
