//! Places: which partition a derived row is in, and what its keys look like.
//!
//! All of it is arithmetic that a fleet keeps for ever: changed, it would look for rows where they are not.

use crate::domain::{Aggregate, CorrelationKey, LogId, Partitions, StreamId, TenantId};
use std::ops::Range;
use uuid::Uuid;

/// Partitions that the dependents of one server, provider or tenant are spread over.
pub const EDGE_SHARDS: u16 = 16;

/// Generation of the code that writes derived rows. Raise it when a row's bytes change their meaning, so that a program of
/// the generation before, still running in a rolling upgrade, loses to this one at the same position. 2: usage counts
/// ratings; models are measured, and can be down. 3: answers in parts.
pub const GENERATION: u8 = 3;

/// Below every key, for lists that begin at the beginning: shorter than any key, and its byte the least there is.
pub const BEFORE_ALL: &[u8] = &[0];

/// The timestamp of what a record at this position, or of this version, left.
pub fn timestamp(position: u64) -> i64 {
    (position * 256 + u64::from(GENERATION)) as i64
}

/// The finalizer of splitmix64: every bit of the answer depends on every bit of the question. It has nothing in common
/// with murmur2, which chose the log: the ids of one log spread over all of its buckets.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn hash(id: Uuid, seed: u64) -> u64 {
    let (high, low) = id.as_u64_pair();
    mix(mix(high ^ seed).wrapping_add(low))
}

/// Takes a hash down to `0..buckets`.
fn reduce(hash: u64, buckets: u16) -> i32 {
    ((u128::from(hash) * u128::from(buckets.max(1))) >> 64) as i32
}

/// The bucket of a stream among so many.
pub fn bucket_of(id: Uuid, buckets: u16) -> i32 {
    reduce(hash(id, 0x9e37_79b9_7f4a_7c15), buckets)
}

/// The bucket of a command's outcome.
pub fn outcome_bucket(tenant: TenantId, command_id: Uuid, buckets: u16) -> i32 {
    reduce(hash(command_id, hash(tenant.0, 0x9e37_79b9_7f4a_7c15)), buckets)
}

/// The bucket of a trace: its key is a hash already.
pub fn trace_bucket(correlation: CorrelationKey, buckets: u16) -> i32 {
    let (high, _) = Uuid::from_bytes(correlation.0).as_u64_pair();
    reduce(high, buckets)
}

/// Tenant and id: what names a stream within its log. Its bytes sort as its streams do.
pub fn short_key(stream: &StreamId) -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(stream.tenant.0.as_bytes());
    key[16..].copy_from_slice(stream.id.as_bytes());
    key
}

/// The log of a name as [`LogId`] shows it; `None` where it is none.
pub fn log_of(name: &str) -> Option<LogId> {
    let (aggregate, partition) = name.split_once('/')?;
    Some(LogId { aggregate: Aggregate::from_name(aggregate)?, partition: partition.parse().ok()? })
}

/// Where the edges of one source are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgePlace {
    pub name: String,
    /// A source with many dependents has several of its own; any other one, which it shares with other sources.
    pub shards: Range<i32>,
}

impl EdgePlace {
    /// `partitions` and `buckets` are the fleet's logs per aggregate and index buckets per log.
    pub fn of(from: &StreamId, partitions: Partitions, buckets: u16) -> Self {
        match from.aggregate {
            Aggregate::Tenant | Aggregate::McpServer | Aggregate::LlmProvider => {
                Self { name: from.to_string(), shards: 0..i32::from(EDGE_SHARDS) }
            }
            Aggregate::AgentTemplate
            | Aggregate::Agent
            | Aggregate::Coupling
            | Aggregate::LlmRequest
            | Aggregate::LlmBatch
            | Aggregate::Skill => {
                let bucket = bucket_of(from.id, buckets);
                Self { name: from.log(partitions).to_string(), shards: bucket..bucket + 1 }
            }
        }
    }

    /// The shard that holds the edge to this dependent.
    pub fn shard(&self, to: &StreamId) -> i32 {
        self.shards.start + bucket_of(to.id, self.shards.len() as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids as a producer makes them that counts up within a millisecond: version 7, of which few bits change.
    fn counted(number: u128) -> Uuid {
        Uuid::from_u128(0x0199_aaaa_0000_7000_8000_0000_0000_0000 + ((number >> 8) << 80) + (number & 0xff))
    }

    fn assert_spread(ids: impl Iterator<Item = Uuid>, buckets: u16) {
        let mut counts = vec![0usize; usize::from(buckets)];
        let mut ids_total = 0;
        for id in ids {
            counts[bucket_of(id, buckets) as usize] += 1;
            ids_total += 1;
        }
        let mean = ids_total / usize::from(buckets);
        assert!(mean >= 50, "enough to tell");
        // Six standard deviations of a fair spread.
        let slack = 6 * (mean as f64).sqrt() as usize;
        for (bucket, count) in counts.iter().enumerate() {
            assert!(count.abs_diff(mean) <= slack, "bucket {bucket} has {count} where {mean} are fair");
        }
    }

    #[test]
    fn ids_of_every_kind_spread_evenly_over_the_buckets() {
        for buckets in [3, 16, 64, 600] {
            assert_spread((0..60_000).map(counted), buckets);
            assert_spread((0..60_000).map(Uuid::from_u128), buckets);
            assert_spread((0..60_000u128).map(|number| Uuid::from_u128(number << 64)), buckets);
            assert_spread(
                (0..60_000u128).map(|number| Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_be_bytes())),
                buckets,
            );
        }
    }

    #[test]
    fn the_streams_of_one_log_spread_over_its_buckets() {
        let of_one_log = (0..600_000).map(counted).filter(|id| crate::domain::id::partition_of(*id, 32) == 5);
        assert_spread(of_one_log, 64);
    }

    #[test]
    fn places_stay_where_they_are() {
        let ids = [Uuid::nil(), counted(7), Uuid::max()];
        assert_eq!(ids.map(|id| bucket_of(id, 64)), [18, 0, 53]);
        assert_eq!(ids.map(|id| outcome_bucket(TenantId(ids[1]), id, 64)), [46, 20, 0]);
        let correlations = ["", "a", "b"].map(|text| CorrelationKey::of(TenantId(ids[1]), text));
        assert_eq!(correlations.map(|key| trace_bucket(key, 64)), [2, 26, 50]);
        let agent = StreamId::new(TenantId(ids[1]), Aggregate::Agent, ids[2]);
        let place = EdgePlace::of(&agent, 32.into(), 64);
        assert_eq!((place.name.as_str(), place.shards.clone(), place.shard(&agent)), ("agent/18", 53..54, 53));
        let server = StreamId::new(TenantId::SHARED, Aggregate::McpServer, ids[1]);
        let place = EdgePlace::of(&server, 32.into(), 64);
        assert_eq!((&place.name, place.shards.len(), place.shard(&agent)), (&server.to_string(), 16, 13));
    }

    #[test]
    fn every_key_comes_after_the_place_before_all() {
        let least = StreamId::new(TenantId::SHARED, Aggregate::Tenant, Uuid::nil());
        assert!(BEFORE_ALL < least.to_key().as_slice() && BEFORE_ALL < least.id.as_bytes().as_slice());
    }

    #[test]
    fn a_log_is_found_by_its_name() {
        let log = LogId { aggregate: Aggregate::LlmProvider, partition: 31 };
        assert_eq!(log_of(&log.to_string()), Some(log));
        assert_eq!(["agent", "agent/", "agents/1", "agent/70000"].map(log_of), [None; 4]);
    }

    #[test]
    fn a_later_position_has_a_later_timestamp_whatever_the_generation() {
        assert!(timestamp(8) > timestamp(7) + i64::from(u8::MAX - GENERATION));
    }
}
