//! The rows of the index' tables: which statement writes them, and what goes together.

use super::super::flush::Row;
use super::super::places::timestamp;
use crate::domain::{CorrelationKey, Micros, StreamId, TenantId};
use crate::ports::index::Known;
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;
use std::sync::Arc;
use uuid::Uuid;

/// A stream within its log; see [`short_key`](super::super::places::short_key).
pub type Key = [u8; 32];

/// In the order of [`IndexRow::statement`].
pub const INSERT: [&str; 6] = [
    "INSERT INTO {ks}.edges (place, shard, source, target) VALUES (?, ?, ?, ?) USING TIMESTAMP ?",
    "DELETE FROM {ks}.edges USING TIMESTAMP ? WHERE place = ? AND shard = ? AND source = ? AND target = ?",
    "INSERT INTO {ks}.known (log, bucket, stream, command_id, digest, position) VALUES (?, ?, ?, ?, ?, ?) \
     USING TIMESTAMP ?",
    "INSERT INTO {ks}.heads (log, bucket, stream, head) VALUES (?, ?, ?, ?) USING TIMESTAMP ?",
    "INSERT INTO {ks}.outcomes (bucket, tenant, command_id, log, position) VALUES (?, ?, ?, ?, ?) USING TTL ?",
    "INSERT INTO {ks}.traces (bucket, correlation, recorded_at, log, position) VALUES (?, ?, ?, ?, ?) USING TTL ?",
];

/// A row of any of the index' tables.
pub enum IndexRow {
    Edge { place: Arc<str>, shard: i32, from: StreamId, to: StreamId, present: bool, position: u64 },
    Known { log: Arc<str>, bucket: i32, stream: Key, known: Known },
    Head { log: Arc<str>, bucket: i32, stream: Key, head: Vec<u8>, position: u64 },
    Outcome { bucket: i32, tenant: TenantId, command_id: Uuid, log: Arc<str>, position: u64, seconds: i32 },
    Trace { bucket: i32, correlation: CorrelationKey, recorded_at: Micros, log: Arc<str>, position: u64, seconds: i32 },
}

impl Row for IndexRow {
    /// Place and bucket; outcomes and traces have no place. Of one bucket both have one token: they go as one write.
    type Partition = (Option<Arc<str>>, i32);

    /// A head and the ids that left it have one, so that they go as one write, the ids first.
    fn partition(&self) -> Self::Partition {
        match self {
            Self::Edge { place, shard, .. } => (Some(place.clone()), *shard),
            Self::Known { log, bucket, .. } | Self::Head { log, bucket, .. } => (Some(log.clone()), *bucket),
            Self::Outcome { bucket, .. } | Self::Trace { bucket, .. } => (None, *bucket),
        }
    }

    fn statement(&self) -> usize {
        match self {
            Self::Edge { present: true, .. } => 0,
            Self::Edge { present: false, .. } => 1,
            Self::Known { .. } => 2,
            Self::Head { .. } => 3,
            Self::Outcome { .. } => 4,
            Self::Trace { .. } => 5,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Edge { .. } => 66,
            Self::Known { .. } => 64,
            Self::Head { head, .. } => 32 + head.len(),
            Self::Outcome { log, .. } | Self::Trace { log, .. } => 40 + log.len(),
        }
    }
}

impl SerializeRow for IndexRow {
    fn serialize(
        &self,
        context: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        match self {
            Self::Edge { place, shard, from, to, present, position } => {
                let (place, from, to) = (&**place, from.to_key(), to.to_key());
                match present {
                    true => (place, shard, from, to, timestamp(*position)).serialize(context, writer),
                    false => (timestamp(*position), place, shard, from, to).serialize(context, writer),
                }
            }
            Self::Known { log, bucket, stream, known } => {
                let (digest, position) = (known.digest as i64, known.position as i64);
                (&**log, bucket, stream, known.command_id, digest, position, timestamp(known.position))
                    .serialize(context, writer)
            }
            Self::Head { log, bucket, stream, head, position } => {
                (&**log, bucket, stream, head, timestamp(*position)).serialize(context, writer)
            }
            Self::Outcome { bucket, tenant, command_id, log, position, seconds } => {
                (bucket, tenant.0, command_id, &**log, *position as i64, seconds).serialize(context, writer)
            }
            Self::Trace { bucket, correlation, recorded_at, log, position, seconds } => {
                (bucket, correlation.0, recorded_at, &**log, *position as i64, seconds).serialize(context, writer)
            }
        }
    }

    fn is_empty(&self) -> bool {
        false
    }
}
