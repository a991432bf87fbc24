//! Port `index`, embedded: heads in sharded maps with a bound, written behind; the rest in overlays.

use super::Config;
use super::folder::FolderError;
use super::journal::EmbeddedJournal;
use super::logs::{Logs, slot};
use super::runs::{Held, RowKey};
use super::store::{EdgeRow, HeadKey, Store, edge_key, head_key, known_key};
use crate::domain::{CorrelationKey, LogId, StreamId, TenantId};
use crate::ports::index::{Error, Head, Index, IndexRows, Known, OutcomeRef, Traced};
use crate::ports::journal::Recorded;
use async_trait::async_trait;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};
use uuid::Uuid;

/// What a head costs in memory beside its state and its ids: the map's slot, two counts, the fields.
const HEAD_BYTES: usize = 200;
/// Edges looked at in one step of a page.
const EDGES_PER_SCAN: usize = 1024;
/// Runs of traces asked in one step of a look-up.
const RUNS_PER_STEP: usize = 1024;

pub struct EmbeddedIndex {
    store: Arc<Store>,
    logs: Arc<Logs>,
    shards: Vec<Mutex<Shard>>,
    /// Of all shards together: one busy aggregate may use what the others leave.
    bytes_max: usize,
    journal: OnceLock<Arc<EmbeddedJournal>>,
}

/// The heads of one log.
struct Shard {
    heads: HashMap<(TenantId, Uuid), Slot>,
    /// Heads that no checkpoint holds yet.
    dirty: Vec<StreamId>,
    bytes: usize,
    /// Whether every head of the log is here: a stream that is not is then known to be new without asking the disk.
    complete: bool,
    /// Highest position applied.
    through: u64,
    /// Highest position that a checkpoint holds.
    durable: u64,
}

impl Shard {
    /// Forgets clean heads of so many bytes.
    fn let_go(&mut self, due: usize) {
        let mut freed = 0;
        self.heads.retain(|_, slot| {
            let keep = slot.dirty || freed >= due;
            if !keep {
                freed += head_bytes(&slot.head);
            }
            keep
        });
        self.bytes -= freed;
        self.complete &= freed == 0;
    }
}

struct Slot {
    head: Arc<Head>,
    dirty: bool,
}

/// Heads that a checkpoint takes with it.
pub struct TakenHeads {
    pub heads: Vec<(HeadKey, Arc<Head>)>,
    /// Per slot, the position that they reach.
    pub through: Vec<u64>,
}

impl EmbeddedIndex {
    pub(super) fn new(store: Arc<Store>, logs: Arc<Logs>, indexed_to: Vec<u64>, config: &Config) -> Self {
        let shards = indexed_to
            .into_iter()
            .map(|through| {
                Mutex::new(Shard {
                    heads: HashMap::new(),
                    dirty: Vec::new(),
                    bytes: 0,
                    complete: through == 0,
                    through,
                    durable: through,
                })
            })
            .collect();
        Self { store, logs, shards, bytes_max: config.head_cache_bytes_max, journal: OnceLock::new() }
    }

    pub(super) fn set_journal(&self, journal: Arc<EmbeddedJournal>) {
        let _ = self.journal.set(journal);
    }

    fn shard(&self, log: LogId) -> &Mutex<Shard> {
        &self.shards[slot(log, self.logs.partitions())]
    }

    /// Takes the heads that changed since the last time.
    pub(super) fn take_dirty(&self) -> TakenHeads {
        let mut heads = Vec::new();
        let mut through = Vec::with_capacity(self.shards.len());
        for (log, _) in self.logs.all() {
            let mut shard = self.shard(log).lock();
            through.push(shard.through);
            let dirty = std::mem::take(&mut shard.dirty);
            heads.reserve(dirty.len());
            for stream in dirty {
                if let Some(slot) = shard.heads.get_mut(&(stream.tenant, stream.id)) {
                    slot.dirty = false;
                    heads.push((head_key(log, &stream), slot.head.clone()));
                }
            }
        }
        heads.sort_unstable_by_key(|(key, _)| *key);
        TakenHeads { heads, through }
    }

    /// Puts heads back whose checkpoint failed.
    pub(super) fn put_back(&self, taken: TakenHeads) {
        for (key, _) in taken.heads {
            let mut stream_bytes = [0; 33];
            stream_bytes[..16].copy_from_slice(&key[3..19]);
            stream_bytes[16] = key[0];
            stream_bytes[17..].copy_from_slice(&key[19..]);
            let Some(stream) = StreamId::from_key(&stream_bytes) else { continue };
            let mut shard = self.shard(stream.log(self.logs.partitions())).lock();
            if let Some(slot) = shard.heads.get_mut(&(stream.tenant, stream.id)).filter(|slot| !slot.dirty) {
                slot.dirty = true;
                shard.dirty.push(stream);
            }
        }
    }

    /// Tells that heads are on disk, and lets go of clean ones where there are too many.
    pub(super) fn written(&self, through: &[u64]) {
        for (shard, through) in self.shards.iter().zip(through) {
            shard.lock().durable = *through;
        }
        let bytes: usize = self.shards.iter().map(|shard| shard.lock().bytes).sum();
        if bytes <= self.bytes_max {
            return;
        }
        // Down to three quarters, so that not every checkpoint has to; each shard by its share.
        let excess = (bytes - self.bytes_max * 3 / 4) as f64 / bytes as f64;
        for shard in &self.shards {
            let mut shard = shard.lock();
            let due = (shard.bytes as f64 * excess) as usize;
            shard.let_go(due);
        }
    }

    fn load(&self, log: LogId, stream: &StreamId) -> Result<Option<Arc<Head>>, Error> {
        let head = self.store.head(&head_key(log, stream)).map_err(unavailable)?;
        let Some(head) = head.map(Arc::new) else { return Ok(None) };
        let mut shard = self.shard(log).lock();
        // A newer one may have come in while the disk was read.
        if let Some(slot) = shard.heads.get(&(stream.tenant, stream.id)) {
            return Ok(Some(slot.head.clone()));
        }
        shard.bytes += head_bytes(&head);
        shard.heads.insert((stream.tenant, stream.id), Slot { head: head.clone(), dirty: false });
        Ok(Some(head))
    }
}

fn head_bytes(head: &Head) -> usize {
    HEAD_BYTES + head.state.len() + head.known.capacity() * size_of::<Known>()
}

/// Two tenants may use one command id: neither may find, or hide, the other's outcome.
fn outcome_key(tenant: TenantId, command_id: Uuid) -> RowKey {
    if tenant.is_shared() {
        return command_id.into_bytes();
    }
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(tenant.0.as_bytes());
    bytes[16..].copy_from_slice(command_id.as_bytes());
    let mut key = [0; 16];
    key.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..16]);
    key
}

fn unavailable(error: FolderError) -> Error {
    Error::Unavailable(error.to_string())
}

#[async_trait]
impl Index for EmbeddedIndex {
    async fn heads(&self, log: LogId, streams: &[StreamId]) -> Result<Vec<Option<Arc<Head>>>, Error> {
        let mut heads = Vec::with_capacity(streams.len());
        let mut missing = Vec::new();
        {
            let shard = self.shard(log).lock();
            for (place, stream) in streams.iter().enumerate() {
                let head = shard.heads.get(&(stream.tenant, stream.id)).map(|slot| slot.head.clone());
                if head.is_none() && !shard.complete {
                    missing.push(place);
                }
                heads.push(head);
            }
        }
        for place in missing {
            heads[place] = self.load(log, &streams[place])?;
        }
        Ok(heads)
    }

    async fn apply(&self, log: LogId, rows: IndexRows, through: u64) -> Result<(), Error> {
        // Edges, ids, outcomes and traces first: a checkpoint takes the heads before them, so that no head is ever durable
        // without what its records made beside it.
        for (edge, position) in rows.edges {
            let key = edge_key(&edge.from, &edge.to);
            let newer = self.store.edges.get(&key).map_err(unavailable)?.is_some_and(|row| row.position >= position);
            if !newer {
                self.store.edges.put(key, EdgeRow { position, present: edge.present });
            }
        }
        if !rows.displaced.is_empty() {
            self.store.known.put_all(
                rows.displaced.into_iter().map(|(stream, known)| (known_key(&stream, known.command_id), known)),
            );
        }
        self.store.outcomes.put_all(
            rows.outcomes
                .into_iter()
                .map(|(tenant, command_id, position)| (outcome_key(tenant, command_id), OutcomeRef { log, position })),
        );
        let traced =
            |(key, recorded_at, position): (CorrelationKey, _, _)| (key.0, Traced { recorded_at, log, position });
        self.store.traces.put_all(rows.traces.into_iter().map(traced));
        let mut shard = self.shard(log).lock();
        let shard = &mut *shard;
        for (stream, head) in rows.heads {
            let bytes = head_bytes(&head);
            match shard.heads.entry((stream.tenant, stream.id)) {
                hashbrown::hash_map::Entry::Occupied(mut entry) => {
                    let slot = entry.get_mut();
                    if slot.head.position >= head.position {
                        continue;
                    }
                    shard.bytes = (shard.bytes + bytes).saturating_sub(head_bytes(&slot.head));
                    slot.head = head;
                    if !slot.dirty {
                        slot.dirty = true;
                        shard.dirty.push(stream);
                    }
                }
                hashbrown::hash_map::Entry::Vacant(entry) => {
                    shard.bytes += bytes;
                    entry.insert(Slot { head, dirty: true });
                    shard.dirty.push(stream);
                }
            }
        }
        shard.through = shard.through.max(through);
        Ok(())
    }

    async fn applied_to(&self, log: LogId) -> Result<u64, Error> {
        Ok(self.shard(log).lock().durable)
    }

    async fn known(&self, stream: StreamId, command_id: Uuid) -> Result<Option<Known>, Error> {
        self.store.known.get(&known_key(&stream, command_id)).map_err(unavailable)
    }

    async fn edges(&self, from: StreamId, after: Option<StreamId>, edges_max: usize) -> Result<Vec<StreamId>, Error> {
        let mut start = [0; 66];
        start[..33].copy_from_slice(&from.to_key());
        if let Some(after) = after {
            start[33..].copy_from_slice(&after.to_key());
            super::store::increment(&mut start);
        }
        let mut end = [0xff; 66];
        end[..33].copy_from_slice(&from.to_key());
        let mut found = Vec::new();
        loop {
            let rows = self.store.edges.scan(&start, Some(&end), EDGES_PER_SCAN).map_err(unavailable)?;
            let last = rows.last().map(|(key, _)| *key);
            let whole = rows.len() == EDGES_PER_SCAN;
            let present = rows.into_iter().filter(|(_, row)| row.present);
            found.extend(present.filter_map(|(key, _)| StreamId::from_key(&key[33..])));
            match last {
                Some(last) if whole && found.len() < edges_max => {
                    start = last;
                    super::store::increment(&mut start);
                }
                _ => break,
            }
        }
        found.truncate(edges_max);
        Ok(found)
    }

    async fn history(&self, stream: StreamId, before: u64, records_max: usize) -> Result<Vec<Recorded>, Error> {
        let journal = self.journal.get().ok_or_else(|| Error::Unavailable("the journal is not open".into()))?;
        let log = stream.log(self.logs.partitions());
        let head = self.heads(log, &[stream]).await?.pop().flatten();
        let mut position = head.map_or(0, |head| head.position);
        let read = |position| {
            let read = journal.read_now(log, position, 1).map_err(|error| Error::Damaged(error.to_string()))?;
            Ok::<_, Error>(read.into_iter().next())
        };
        // Who reads on, or looks one record up, names a position beside one of the stream's own: its records lead back from
        // there, and those after it need not be read.
        if before <= position {
            for near in [before, before.saturating_sub(1)] {
                let known = if near > 0 { read(near)? } else { None };
                if let Some(recorded) = known.filter(|recorded| recorded.record.stream() == stream) {
                    position = recorded.record.position;
                    break;
                }
            }
        }
        let mut records = Vec::new();
        while position > 0 && records.len() < records_max {
            let Some(recorded) = read(position)? else { break };
            position = recorded.record.previous;
            if recorded.record.position < before {
                records.push(recorded);
            }
        }
        Ok(records)
    }

    async fn outcome(&self, tenant: TenantId, command_id: Uuid) -> Result<Option<OutcomeRef>, Error> {
        self.store.outcomes.latest(&outcome_key(tenant, command_id)).map_err(unavailable)
    }

    async fn trace(&self, correlation: CorrelationKey, commands_max: usize) -> Result<Vec<Traced>, Error> {
        let traces = &self.store.traces;
        let mut all = traces.in_memory(&correlation.0);
        for (step, run) in traces.written().map_err(unavailable)?.enumerate() {
            if let Some(found) = traces.of_run(run, &correlation.0).map_err(unavailable)? {
                match &mut all {
                    Some(all) => all.join(found),
                    None => all = Some(found),
                }
            }
            // Many runs must not keep their thread from others.
            if step % RUNS_PER_STEP == RUNS_PER_STEP - 1 {
                tokio::task::yield_now().await;
            }
        }
        Ok(all.map(|all| all.earliest(commands_max)).unwrap_or_default())
    }
}
