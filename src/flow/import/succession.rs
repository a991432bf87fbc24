//! What an import retired and its publisher has again.
//!
//! An agent or a server that has ended does so for good: who holds its id must be able to rely on that. What comes back is
//! therefore another resource, whose id follows from that of the one it succeeds, so that every import finds it. What
//! somebody ended here, and not an import, stays as it is: the entry is refused.

use super::run::Engine;
use super::wanted::is_succeeded;
use crate::domain::StreamId;
use crate::flow::query::{self, Resource};
use uuid::Uuid;

impl Engine {
    /// The stream of an entry as it stands: its own, or the one that came after it, and what is there.
    pub(super) async fn current(&self, stream: StreamId) -> Result<(StreamId, Option<Resource>), query::Error> {
        let mut stream = stream;
        loop {
            let known = self.query.get(stream).await?;
            match known {
                Some(known) if is_succeeded(&known.state) => stream = successor(stream),
                known => return Ok((stream, known)),
            }
        }
    }
}

/// The stream that comes after one that an import retired.
fn successor(stream: StreamId) -> StreamId {
    StreamId::new(stream.tenant, stream.aggregate, Uuid::new_v5(&stream.id, b"successor"))
}
