//! Port `index` on the database: heads, known ids and edges by (log, bucket), outcomes by a bucket of their own.
//!
//! Every row is a plain write at quorum whose timestamp is its record's position. A stream lives in one log, and an edge is
//! written by its dependent's log alone, so positions of one row can be compared.
//!
//! Nothing is lost once `apply` returned, so no log has to wait for others before it decides: of two streams that look at
//! each other, each writes its rows before its reactions read the other's, and the later one sees the earlier. What stands
//! in a log and was never applied is missing here until its deriver catches up; its reactions come after that too. So
//! `applied_to` is the log's own `derived_to`: all rows up to there were acknowledged before it was written. It is no more
//! than a lower bound, and enough: bringing a log up to its head from there is right, and hardly ever more than a batch.
//!
//! Edges go before heads: a head that is there tells a deriver who catches up that its edges are.

mod row;

use super::flush::{Writer, rows};
use super::merge::merge;
use super::places::{BEFORE_ALL, EdgePlace, bucket_of, log_of, outcome_bucket, short_key, trace_bucket};
use super::session::{self, Store};
use crate::adapters::words::words;
use crate::domain::{CorrelationKey, LogId, Micros, Partitions, StreamId, TenantId};
use crate::ports::Journal;
use crate::ports::index::{Error, Head, Index, IndexRows, Known, OutcomeRef, Traced};
use crate::ports::journal::{Error as JournalError, Recorded};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use hashbrown::HashMap;
use row::{INSERT, IndexRow, Key};
use scylla::errors::ExecutionError;
use scylla::statement::prepared::PreparedStatement;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Heads that one read asks of a bucket; ScyllaDB takes no more than a hundred.
const HEADS_PER_READ: usize = 50;
/// The longest time to live that the databases take: 20 years.
const TTL_SECONDS_MAX: i32 = 20 * 365 * 24 * 60 * 60;
/// Commands that one read asks of a trace.
const TRACED_PER_READ: usize = 5_000;
/// Reads that one question has under way at a time.
const READS_IN_FLIGHT: usize = 64;

/// What the index is laid out by; `partitions` and both bucket counts are fixed when the fleet is created.
#[derive(Clone, Copy, Debug)]
pub struct IndexConfig {
    /// Logs per aggregate.
    pub partitions: Partitions,
    /// Partitions of the tables that the streams of one log are spread over; about ten thousand streams each is good: a
    /// write costs by the partitions that it touches, and a partition of some megabytes is read as fast as a small one.
    pub index_buckets: u16,
    /// Partitions that the outcomes of all logs are spread over. A batch of commands touches nearly as many.
    pub outcome_buckets: u16,
    pub outcomes_retained: Duration,
    /// Writes under way at a time.
    pub writes_max: usize,
}

pub struct ScyllaIndex {
    store: Arc<Store>,
    journal: Arc<dyn Journal>,
    config: IndexConfig,
    writer: Writer<IndexRow>,
    select: Select,
}

struct Select {
    heads: PreparedStatement,
    known: PreparedStatement,
    edges: PreparedStatement,
    outcome: PreparedStatement,
    trace: PreparedStatement,
}

impl ScyllaIndex {
    /// # Errors
    /// When the tables are not there, or the database does not answer.
    pub async fn open(
        store: Arc<Store>,
        journal: Arc<dyn Journal>,
        config: IndexConfig,
    ) -> Result<Self, session::Error> {
        let mut insert = Vec::with_capacity(INSERT.len());
        for cql in INSERT {
            insert.push(store.prepare(cql).await?);
        }
        let select = Select {
            heads: store
                .prepare("SELECT stream, head FROM {ks}.heads WHERE log = ? AND bucket = ? AND stream IN ?")
                .await?,
            known: store
                .prepare(
                    "SELECT digest, position FROM {ks}.known \
                     WHERE log = ? AND bucket = ? AND stream = ? AND command_id = ?",
                )
                .await?,
            edges: store
                .prepare(
                    "SELECT target FROM {ks}.edges \
                     WHERE place = ? AND shard = ? AND source = ? AND target > ? LIMIT ?",
                )
                .await?,
            outcome: store
                .prepare("SELECT log, position FROM {ks}.outcomes WHERE bucket = ? AND tenant = ? AND command_id = ?")
                .await?,
            trace: store
                .prepare(
                    "SELECT recorded_at, log, position FROM {ks}.traces WHERE bucket = ? AND correlation = ? \
                     AND (recorded_at, log, position) > (?, ?, ?) LIMIT ?",
                )
                .await?,
        };
        let writer = Writer::new(store.clone(), insert, config.writes_max);
        Ok(Self { store, journal, config, writer, select })
    }

    fn bucket(&self, stream: &StreamId) -> i32 {
        bucket_of(stream.id, self.config.index_buckets)
    }

    /// The heads that one partition has of these streams.
    async fn read_heads(&self, log: &str, bucket: i32, keys: Vec<[u8; 32]>) -> Result<Vec<(Key, Arc<Head>)>, Error> {
        let result = self.store.session.execute_unpaged(&self.select.heads, (log, bucket, keys)).await;
        let found = rows::<(Bytes, Bytes)>(result.map_err(unavailable)?).map_err(Error::Damaged)?;
        let head = |(key, head): (Bytes, Bytes)| {
            let key = Key::try_from(&key[..]).map_err(|_| Error::Damaged("a head's key names no stream".into()))?;
            let head = postcard::from_bytes(&head).map_err(|error| Error::Damaged(error.to_string()))?;
            Ok((key, Arc::new(head)))
        };
        found.into_iter().map(head).collect()
    }

    async fn read_edges(
        &self,
        place: &EdgePlace,
        shard: i32,
        from: &StreamId,
        after: Option<StreamId>,
        edges_max: usize,
    ) -> Result<Vec<(StreamId, StreamId)>, Error> {
        let after = after.map(|after| after.to_key());
        let after = after.as_ref().map_or(BEFORE_ALL, |key| key.as_slice());
        let values = (place.name.as_str(), shard, from.to_key(), after, edges_max as i32);
        let result = self.store.session.execute_unpaged(&self.select.edges, values).await.map_err(unavailable)?;
        let targets = rows::<(Bytes,)>(result).map_err(Error::Damaged)?;
        let stream = |(key,): (Bytes,)| {
            let stream = StreamId::from_key(&key).ok_or_else(|| Error::Damaged("an edge names no stream".into()))?;
            Ok((stream, stream))
        };
        targets.into_iter().map(stream).collect()
    }

    /// The record at a position that something points to.
    async fn record(&self, log: LogId, position: u64) -> Result<Recorded, Error> {
        let read = self.journal.read(log, position, 1).await.map_err(|error| match error {
            JournalError::Damaged { .. } => Error::Damaged(error.to_string()),
            _ => Error::Unavailable(error.to_string()),
        })?;
        read.into_iter().next().ok_or_else(|| Error::Damaged(format!("log {log} has no record at {position}")))
    }

    /// The position where a walk through a stream's records begins that wants those below `before`.
    async fn newest_below(&self, stream: &StreamId, before: u64) -> Result<u64, Error> {
        let log = stream.log(self.config.partitions);
        let head = self.heads(log, &[*stream]).await?.pop().flatten().map_or(0, |head| head.position);
        if before == 0 || before > head {
            return Ok(head);
        }
        // Who pages gives the last record of the page before: the walk goes on from there, not from the newest.
        let recorded = self.record(log, before).await?;
        Ok(if recorded.record.stream() == *stream { recorded.record.previous } else { head })
    }
}

fn unavailable(error: ExecutionError) -> Error {
    Error::Unavailable(words(&error))
}

#[async_trait]
impl Index for ScyllaIndex {
    async fn heads(&self, log: LogId, streams: &[StreamId]) -> Result<Vec<Option<Arc<Head>>>, Error> {
        let log = log.to_string();
        let mut wanted: Vec<_> = streams.iter().map(|stream| (self.bucket(stream), short_key(stream))).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut reads = Vec::new();
        for bucket in wanted.chunk_by(|one, other| one.0 == other.0) {
            for part in bucket.chunks(HEADS_PER_READ) {
                let keys = part.iter().map(|(_, key)| *key).collect();
                reads.push(self.read_heads(&log, part[0].0, keys));
            }
        }
        let found: Vec<_> = stream::iter(reads).buffer_unordered(READS_IN_FLIGHT).try_collect().await?;
        let found: HashMap<Key, Arc<Head>> = found.into_iter().flatten().collect();
        Ok(streams.iter().map(|stream| found.get(&short_key(stream)).cloned()).collect())
    }

    async fn apply(&self, log: LogId, rows: IndexRows, _through: u64) -> Result<(), Error> {
        let IndexConfig { partitions, index_buckets, outcome_buckets, outcomes_retained, .. } = self.config;
        let edges = rows.edges.iter().map(|(edge, position)| {
            let place = EdgePlace::of(&edge.from, partitions, index_buckets);
            let (shard, place) = (place.shard(&edge.to), place.name.into());
            let (from, to) = (edge.from, edge.to);
            IndexRow::Edge { place, shard, from, to, present: edge.present, position: *position }
        });
        self.writer.write(edges.collect()).await.map_err(unavailable)?;

        let log: Arc<str> = log.to_string().into();
        let mut others =
            Vec::with_capacity(rows.displaced.len() + rows.heads.len() + rows.outcomes.len() + rows.traces.len());
        others.extend(rows.displaced.iter().map(|(stream, known)| IndexRow::Known {
            log: log.clone(),
            bucket: self.bucket(stream),
            stream: short_key(stream),
            known: *known,
        }));
        for (stream, head) in &rows.heads {
            others.push(IndexRow::Head {
                log: log.clone(),
                bucket: self.bucket(stream),
                stream: short_key(stream),
                head: postcard::to_stdvec(&**head).map_err(|error| Error::Damaged(error.to_string()))?,
                position: head.position,
            });
        }
        let seconds = i32::try_from(outcomes_retained.as_secs()).unwrap_or(i32::MAX).clamp(1, TTL_SECONDS_MAX);
        others.extend(rows.outcomes.iter().map(|(tenant, command_id, position)| IndexRow::Outcome {
            bucket: outcome_bucket(*tenant, *command_id, outcome_buckets),
            tenant: *tenant,
            command_id: *command_id,
            log: log.clone(),
            position: *position,
            seconds,
        }));
        others.extend(rows.traces.iter().map(|(correlation, recorded_at, position)| IndexRow::Trace {
            bucket: trace_bucket(*correlation, outcome_buckets),
            correlation: *correlation,
            recorded_at: *recorded_at,
            log: log.clone(),
            position: *position,
            seconds,
        }));
        self.writer.write(others).await.map_err(unavailable)
    }

    async fn applied_to(&self, log: LogId) -> Result<u64, Error> {
        let state = self.journal.state(log).await.map_err(|error| Error::Unavailable(error.to_string()))?;
        Ok(state.derived_to)
    }

    async fn known(&self, stream: StreamId, command_id: Uuid) -> Result<Option<Known>, Error> {
        let log = stream.log(self.config.partitions).to_string();
        let values = (log, self.bucket(&stream), short_key(&stream), command_id);
        let result = self.store.session.execute_unpaged(&self.select.known, values).await.map_err(unavailable)?;
        let found = rows::<(i64, i64)>(result).map_err(Error::Damaged)?.pop();
        Ok(found.map(|(digest, position)| Known { command_id, digest: digest as u64, position: position as u64 }))
    }

    async fn edges(&self, from: StreamId, after: Option<StreamId>, edges_max: usize) -> Result<Vec<StreamId>, Error> {
        let place = EdgePlace::of(&from, self.config.partitions, self.config.index_buckets);
        let (place, from) = (&place, &from);
        merge(place.shards.clone(), after, edges_max, |shard, after, edges_max| {
            self.read_edges(place, shard, from, after, edges_max)
        })
        .await
    }

    async fn history(&self, stream: StreamId, before: u64, records_max: usize) -> Result<Vec<Recorded>, Error> {
        let log = stream.log(self.config.partitions);
        let mut position = self.newest_below(&stream, before).await?;
        let mut records = Vec::new();
        while position > 0 && records.len() < records_max {
            let recorded = self.record(log, position).await?;
            position = recorded.record.previous;
            if recorded.record.position < before {
                records.push(recorded);
            }
        }
        Ok(records)
    }

    async fn outcome(&self, tenant: TenantId, command_id: Uuid) -> Result<Option<OutcomeRef>, Error> {
        let bucket = outcome_bucket(tenant, command_id, self.config.outcome_buckets);
        let values = (bucket, tenant.0, command_id);
        let result = self.store.session.execute_unpaged(&self.select.outcome, values).await.map_err(unavailable)?;
        let Some((log, position)) = rows::<(String, i64)>(result).map_err(Error::Damaged)?.pop() else {
            return Ok(None);
        };
        let log = log_of(&log).ok_or_else(|| Error::Damaged(format!("an outcome names {log:?}, which is no log")))?;
        Ok(Some(OutcomeRef { log, position: position as u64 }))
    }

    async fn trace(&self, correlation: CorrelationKey, commands_max: usize) -> Result<Vec<Traced>, Error> {
        let bucket = trace_bucket(correlation, self.config.outcome_buckets);
        let mut found: Vec<Traced> = Vec::new();
        // Before all: no time is earlier, no name shorter.
        let mut after = (Micros::MIN, String::new(), 0);
        while found.len() < commands_max {
            let room = TRACED_PER_READ.min(commands_max - found.len());
            let values = (bucket, correlation.0, after.0, after.1.as_str(), after.2, room as i32);
            let result = self.store.session.execute_unpaged(&self.select.trace, values).await.map_err(unavailable)?;
            let read = rows::<(Micros, String, i64)>(result).map_err(Error::Damaged)?;
            let is_last = read.len() < room;
            for (recorded_at, name, position) in &read {
                let log =
                    log_of(name).ok_or_else(|| Error::Damaged(format!("a trace names {name:?}, which is no log")))?;
                found.push(Traced { recorded_at: *recorded_at, log, position: *position as u64 });
            }
            match read.into_iter().next_back() {
                Some(last) if !is_last => after = last,
                _ => break,
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}
