//! One suite per port, in prose and code. An adapter passes them all, unchanged, or it is no adapter.
//!
//! A suite is given a [`Rig`]: a way to open the ports on fresh ground, and to lose everything that was not durable.

pub mod index;
pub mod journal;
pub mod limits;
pub mod topic;
pub mod usage;
pub mod views;

use crate::domain::record::{CHAIN_START, Hash, Record, RecordKind, chain};
use crate::domain::tenant::{self, ProvisionTenant};
use crate::domain::{Aggregate, Envelope, LogId, StreamId, TenantId};
use crate::ports::index::Head;
use crate::ports::journal::{Batch, Decided, LogState, Recorded};
use crate::ports::topic::Accepted;
use crate::ports::{Index, Journal, Topics, Usage, Views};
use std::sync::Arc;
use uuid::Uuid;

/// The ports of one adapter, open.
#[derive(Clone)]
pub struct Ports {
    pub journal: Arc<dyn Journal>,
    pub topics: Arc<dyn Topics>,
    pub index: Arc<dyn Index>,
    pub views: Arc<dyn Views>,
    pub usage: Arc<dyn Usage>,
    pub partitions: u16,
}

/// How a suite gets at an adapter.
pub trait Rig {
    /// The ports as they are open now.
    fn ports(&self) -> Ports;

    /// Loses what is not durable, as a crash does, and opens the same ground again.
    fn crash(&mut self);

    /// Most commands that may wait before outsiders are refused.
    fn waiting_max(&self) -> usize;
}

/// A stream of the log `tenant/0` or whichever partition its id falls into.
pub fn stream(number: u128) -> StreamId {
    let id = Uuid::from_u128(0x1000_0000_0000_4000_8000_0000_0000_0000 + number);
    StreamId::new(TenantId(id), Aggregate::Tenant, id)
}

/// A command to a stream.
pub fn command(stream: StreamId, number: u128) -> Arc<Accepted> {
    let envelope = Envelope::new(Uuid::from_u128(0x2000_0000_0000_4000_8000_0000_0000_0000 + number), stream);
    let command = tenant::Command::ProvisionTenant(ProvisionTenant {
        name: format!("tenant {number}"),
        region: String::new(),
        tier: tenant::Tier::Onyx,
        monthly_budget_micro_usd: None,
        coupling_threshold: None,
    });
    Arc::new(Accepted::new(envelope, command.into()).expect("it fits its schema"))
}

/// Writes records into a log, as a processor would.
pub struct Author {
    pub log: LogId,
    pub state: LogState,
}

impl Author {
    pub async fn claim(ports: &Ports, log: LogId) -> Self {
        Self { log, state: ports.journal.claim(log).await.expect("claimed") }
    }

    /// A batch of one event for each of these streams, following on what was written before.
    pub fn batch(&self, streams: &[StreamId]) -> (Batch, Vec<Recorded>) {
        let mut hash = self.state.head_hash;
        let mut records = Vec::new();
        let mut recorded = Vec::new();
        for (step, stream) in streams.iter().enumerate() {
            let record = event(*stream, self.state.head + 1 + step as u64, 1, 0);
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            hash = chain(&hash, &bytes);
            records.push((bytes, hash));
            recorded.push(decided(record, hash));
        }
        let batch = Batch {
            log: self.log,
            epoch: self.state.epoch,
            previous_hash: self.state.head_hash,
            head_hash: hash,
            first_position: self.state.head + 1,
            records,
            recorded_at: 1,
            consumed: self.state.consumed,
            derived_to: self.state.derived_to,
        };
        (batch, recorded)
    }

    /// Appends such a batch.
    pub async fn write(&mut self, ports: &Ports, streams: &[StreamId]) -> Vec<Recorded> {
        let (batch, recorded) = self.batch(streams);
        let head_hash = batch.head_hash;
        ports.journal.append(batch).await.expect("appended");
        self.state.head += recorded.len() as u64;
        self.state.head_hash = head_hash;
        recorded
    }
}

/// An event record without payload.
pub fn event(stream: StreamId, position: u64, version: u64, previous: u64) -> Record {
    Record {
        position,
        version,
        previous,
        kind: RecordKind::Event,
        index: 0,
        last: true,
        recorded_at: position as i64,
        command_digest: position,
        envelope: Arc::new(Envelope::new(Uuid::from_u128(u128::from(position)), stream)),
        schema: "TenantResumed".into(),
        fingerprint: 1,
        payload: Vec::new(),
    }
}

fn decided(record: Record, hash: Hash) -> Recorded {
    let (head, _) = Head::empty().after(&record, Arc::from([1, 2, 3]));
    let decided = Decided { event: None, head: Arc::new(head), edges: Vec::new(), displaced: None };
    Recorded { record, hash, decided: Some(decided) }
}

/// Checks that records are the ones at these positions, chained from the log's beginning when they start there.
pub fn assert_positions(records: &[Recorded], positions: std::ops::RangeInclusive<u64>) {
    let found: Vec<u64> = records.iter().map(|recorded| recorded.record.position).collect();
    assert_eq!(found, positions.collect::<Vec<_>>());
    if found.first() == Some(&1) {
        let mut hash = CHAIN_START;
        for recorded in records {
            let mut bytes = Vec::new();
            recorded.record.encode(&mut bytes);
            hash = chain(&hash, &bytes);
            assert_eq!(recorded.hash, hash, "the chain at {}", recorded.record.position);
        }
    }
}
