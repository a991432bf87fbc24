//! Sight: what a decision or a reaction sees of other streams, read from the index and nowhere else.
//!
//! One batch sees one reading: the thousandth agent of a tenant does not read the tenant again. What changes meanwhile is
//! caught by symmetry: the other side's reaction, and this side's re-check, both read after they wrote.

use crate::domain::{Aggregate, LogId, Lookup, Partitions, Seen, StreamId, TenantId, World};
use crate::ports::Index;
use crate::ports::index::{Error, Head};
use futures::future::try_join_all;
use hashbrown::HashMap;
use std::sync::Arc;

/// Providers that one tenant's decisions look at.
const PROVIDERS_MAX: usize = 1000;

/// Reads the index, and remembers decoded heads for as long as their version stays.
pub struct Sight {
    index: Arc<dyn Index>,
    partitions: Partitions,
    /// What this batch has seen.
    seen: HashMap<StreamId, Option<Seen>>,
    providers: HashMap<TenantId, Arc<Vec<(StreamId, Seen)>>>,
    /// States of earlier batches, kept while their heads stay the same: a catalogue is decoded once, not per batch.
    decoded: HashMap<StreamId, (Arc<Head>, Seen)>,
}

/// Decoded states kept; beyond it they are decoded again.
const DECODED_MAX: usize = 4096;

impl Sight {
    pub fn new(index: Arc<dyn Index>, partitions: Partitions) -> Self {
        Self { index, partitions, seen: HashMap::new(), providers: HashMap::new(), decoded: HashMap::new() }
    }

    /// Forgets what was seen: the next reading is fresh.
    pub fn refresh(&mut self) {
        self.seen.clear();
        self.providers.clear();
        if self.decoded.len() > DECODED_MAX {
            self.decoded.clear();
        }
    }

    /// Reads what a batch is going to look at, all at once: where the index is on another machine, one after the other
    /// would be a journey each.
    pub async fn foresee(&mut self, streams: impl IntoIterator<Item = StreamId>) -> Result<(), Error> {
        let mut wanted: HashMap<LogId, Vec<StreamId>> = HashMap::new();
        for stream in streams.into_iter().filter(|stream| !self.seen.contains_key(stream)) {
            let streams = wanted.entry(stream.log(self.partitions)).or_default();
            if !streams.contains(&stream) {
                streams.push(stream);
            }
        }
        let index = &*self.index;
        let reads = wanted.into_iter().map(async |(log, streams)| {
            let heads = index.heads(log, &streams).await?;
            Ok::<_, Error>(streams.into_iter().zip(heads).collect::<Vec<_>>())
        });
        for read in try_join_all(reads).await?.into_iter().flatten() {
            self.see(read.0, read.1)?;
        }
        Ok(())
    }

    /// The world as these lookups show it.
    pub async fn world(&mut self, lookups: &[Lookup]) -> Result<World, Error> {
        let mut world = World::default();
        for lookup in lookups {
            match lookup {
                Lookup::Stream(stream) => {
                    if let Some(seen) = self.look(*stream).await? {
                        world.insert(*stream, seen);
                    }
                }
                Lookup::Providers(tenant) => {
                    let providers = self.providers(*tenant).await?;
                    world.insert_providers(*tenant, providers);
                }
            }
        }
        Ok(world)
    }

    async fn look(&mut self, stream: StreamId) -> Result<Option<Seen>, Error> {
        if let Some(seen) = self.seen.get(&stream) {
            return Ok(seen.clone());
        }
        let head = self.index.heads(stream.log(self.partitions), &[stream]).await?.pop().flatten();
        self.see(stream, head)
    }

    fn see(&mut self, stream: StreamId, head: Option<Arc<Head>>) -> Result<Option<Seen>, Error> {
        let seen = match head {
            Some(head) if head.version > 0 => Some(self.decode(stream, head)?),
            _ => None,
        };
        self.seen.insert(stream, seen.clone());
        Ok(seen)
    }

    fn decode(&mut self, stream: StreamId, head: Arc<Head>) -> Result<Seen, Error> {
        if let Some((_, seen)) = self.decoded.get(&stream).filter(|(known, _)| known.position == head.position) {
            return Ok(seen.clone());
        }
        let seen = Seen { version: head.version, state: Arc::new(head.state_of(stream.aggregate)?) };
        self.decoded.insert(stream, (head, seen.clone()));
        Ok(seen)
    }

    async fn providers(&mut self, tenant: TenantId) -> Result<Arc<Vec<(StreamId, Seen)>>, Error> {
        if let Some(providers) = self.providers.get(&tenant) {
            return Ok(providers.clone());
        }
        let mut streams = Vec::new();
        let owners = if tenant.is_shared() { vec![tenant] } else { vec![tenant, TenantId::SHARED] };
        for owner in owners {
            let from = StreamId::new(owner, Aggregate::Tenant, owner.0);
            // Providers and couplings both depend on a tenant; a tenant's providers sort before its couplings.
            let after = StreamId::new(owner, Aggregate::LlmProvider, uuid::Uuid::nil());
            let edges = self.index.edges(from, Some(after), PROVIDERS_MAX).await?;
            streams.extend(edges.into_iter().take_while(|stream| stream.aggregate == Aggregate::LlmProvider));
        }
        streams.sort_unstable();
        self.foresee(streams.iter().copied()).await?;
        let mut providers = Vec::with_capacity(streams.len());
        for stream in streams {
            if let Some(seen) = self.look(stream).await? {
                providers.push((stream, seen));
            }
        }
        let providers = Arc::new(providers);
        self.providers.insert(tenant, providers.clone());
        Ok(providers)
    }
}
