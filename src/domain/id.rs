//! Typed ids, and the arithmetic that makes one id from another.
//!
//! Every id that the system makes itself is a function of something already recorded, so that a retry, a replay and a
//! second processor arrive at the same one.

use super::Aggregate;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// A company. The nil UUID is the shared catalogue, whose servers, providers and templates every tenant may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantId(pub Uuid);

impl TenantId {
    /// The shared catalogue.
    pub const SHARED: TenantId = TenantId(Uuid::nil());

    pub fn is_shared(self) -> bool {
        self.0.is_nil()
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TenantId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(TenantId)
    }
}

/// One aggregate instance: the unit of consistency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamId {
    pub tenant: TenantId,
    pub aggregate: Aggregate,
    pub id: Uuid,
}

impl StreamId {
    /// Bytes of a key.
    pub const KEY_LEN: usize = 33;

    pub fn new(tenant: TenantId, aggregate: Aggregate, id: Uuid) -> Self {
        Self { tenant, aggregate, id }
    }

    /// Tenant, aggregate and id in [`Self::KEY_LEN`] bytes, which sort as streams do. Stores keep it as it is.
    pub fn to_key(&self) -> [u8; Self::KEY_LEN] {
        let mut key = [0; Self::KEY_LEN];
        key[..16].copy_from_slice(self.tenant.0.as_bytes());
        key[16] = self.aggregate as u8;
        key[17..].copy_from_slice(self.id.as_bytes());
        key
    }

    /// The stream of a [`Self::to_key`]; `None` where it is none.
    pub fn from_key(key: &[u8]) -> Option<Self> {
        let key: &[u8; Self::KEY_LEN] = key.try_into().ok()?;
        let tenant = TenantId(Uuid::from_slice(&key[..16]).ok()?);
        Some(Self::new(tenant, Aggregate::from_code(key[16])?, Uuid::from_slice(&key[17..]).ok()?))
    }

    /// The log that holds this stream for ever, given the partition counts that its fleet was created with.
    pub fn log(&self, partitions: impl Into<Partitions>) -> LogId {
        let count = partitions.into().of(self.aggregate);
        LogId { aggregate: self.aggregate, partition: partition_of(self.id, count) }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.aggregate.name(), self.id)
    }
}

/// One log: a partition of an aggregate's command topic and the records that its commands became.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogId {
    pub aggregate: Aggregate,
    pub partition: u16,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.aggregate.name(), self.partition)
    }
}

/// How many logs each aggregate has: one per partition of its command topic, fixed when a fleet is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partitions([u16; Aggregate::ALL.len()]);

impl Partitions {
    pub fn of(&self, aggregate: Aggregate) -> u16 {
        self.0[aggregate as usize]
    }

    /// The same with another count for one aggregate.
    pub fn with(mut self, aggregate: Aggregate, count: u16) -> Self {
        self.0[aggregate as usize] = count;
        self
    }

    /// A number for a log of the fleet: they count from 0 without gaps, in the order of [`Self::logs`].
    pub fn place(&self, log: LogId) -> usize {
        let before = self.0.iter().take(log.aggregate as usize).copied();
        before.map(usize::from).sum::<usize>() + usize::from(log.partition)
    }

    /// Every log of the fleet.
    pub fn logs(self) -> impl Iterator<Item = LogId> {
        Aggregate::ALL.iter().flat_map(move |aggregate| {
            (0..self.of(*aggregate)).map(|partition| LogId { aggregate: *aggregate, partition })
        })
    }
}

/// The same count for every aggregate.
impl From<u16> for Partitions {
    fn from(count: u16) -> Self {
        Self([count; Aggregate::ALL.len()])
    }
}

/// The partition of a stream: `(murmur2(UTF-8 of the lower-case UUID) & 0x7fffffff) mod partitions`, which is what
/// Kafka's Java client and librdkafka's `murmur2_random` compute for the same key.
pub fn partition_of(id: Uuid, partitions: u16) -> u16 {
    let mut text = [0u8; uuid::fmt::Hyphenated::LENGTH];
    id.hyphenated().encode_lower(&mut text);
    ((murmur2(&text) & 0x7fff_ffff) % u32::from(partitions)) as u16
}

/// Kafka's murmur2 (32 bit, seed 0x9747b28c): `org.apache.kafka.common.utils.Utils.murmur2`.
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut h: u32 = 0x9747_b28c ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (shift, byte) in rest.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * shift);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

/// The identity of a producer's command: its id where that is a UUID, else `uuid5(tenant, source ‖ 0 ‖ id)`.
///
/// Version 8 is kept for commands that the system gives itself ([`reaction_command_id`]): an outside id of that version
/// is hashed like any other text, so that no producer can write into that namespace.
pub fn command_id(tenant: TenantId, source: &str, id: &str) -> Uuid {
    match Uuid::parse_str(id) {
        Ok(uuid) if uuid.get_version_num() != 8 && !uuid.is_nil() => uuid,
        _ => {
            let mut name = Vec::with_capacity(source.len() + 1 + id.len());
            name.extend_from_slice(source.as_bytes());
            name.push(0);
            name.extend_from_slice(id.as_bytes());
            Uuid::new_v5(&tenant.0, &name)
        }
    }
}

/// What a tenant's commands have in common that followed from one request, as stores keep it: the first 16 bytes of
/// blake3(tenant ‖ correlation). The same text of two tenants is two keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CorrelationKey(pub [u8; 16]);

impl CorrelationKey {
    pub fn of(tenant: TenantId, correlation: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(tenant.0.as_bytes());
        hasher.update(correlation.as_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(key)
    }
}

/// The subject of a command that named none: made from the command id, so that a retry meets its first try.
pub fn generated_subject(command_id: Uuid) -> Uuid {
    Uuid::new_v5(&command_id, b"subject")
}

/// `uuid5(command_id, index)`: the id of the `index`th record that a command became.
pub fn event_id(command_id: Uuid, index: u16) -> Uuid {
    Uuid::new_v5(&command_id, &index.to_be_bytes())
}

/// The id of a follow-up command: a version 8 UUID over (event, reaction, target stream).
pub fn reaction_command_id(event: Uuid, reaction: &str, target: &StreamId) -> Uuid {
    let mut hasher = blake3::Hasher::new();
    hasher.update(event.as_bytes());
    hasher.update(reaction.as_bytes());
    hasher.update(&[0]);
    hasher.update(target.tenant.0.as_bytes());
    hasher.update(target.aggregate.name().as_bytes());
    hasher.update(target.id.as_bytes());
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_streams_do_and_tell_them_again() {
        let mut streams: Vec<_> = (0..200u128)
            .map(|number| {
                let id = |salt: u128| {
                    Uuid::from_u128((number * 0x9e37_79b9_7f4a_7c15_f39c + salt).rotate_left(number as u32))
                };
                StreamId::new(TenantId(id(number % 3)), Aggregate::ALL[number as usize % 6], id(0))
            })
            .collect();
        streams.sort();
        streams.dedup();
        for pair in streams.windows(2) {
            assert!(pair[0].to_key() < pair[1].to_key(), "{} before {}", pair[0], pair[1]);
        }
        assert!(streams.iter().all(|stream| StreamId::from_key(&stream.to_key()) == Some(*stream)));
        assert_eq!(StreamId::from_key(&streams[0].to_key()[1..]), None);
    }
    #[test]
    fn murmur2_agrees_with_kafka() {
        // Values from Kafka's own UtilsTest.testMurmur2.
        for (text, hash) in [
            ("21", -973932308i32),
            ("foobar", -790332482),
            ("a-little-bit-long-string", -985981536),
            ("a-little-bit-longer-string", -1486304829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
            ("abc", 479470107),
        ] {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }

    #[test]
    fn producers_cannot_write_into_the_reaction_namespace() {
        let stream = StreamId::new(TenantId::SHARED, Aggregate::Agent, Uuid::from_u128(7));
        let ours = reaction_command_id(Uuid::from_u128(1), "end", &stream);
        assert_eq!(ours.get_version_num(), 8);
        assert_ne!(command_id(TenantId::SHARED, "x", &ours.to_string()), ours);
    }

    #[test]
    fn an_id_that_is_a_uuid_is_kept_and_any_other_is_hashed_with_its_source() {
        let uuid = Uuid::from_u128(0x1234_5678_9abc_4def_8000_0000_0000_0001);
        assert_eq!(command_id(TenantId::SHARED, "a", &uuid.to_string()), uuid);
        assert_ne!(command_id(TenantId::SHARED, "a", "1"), command_id(TenantId::SHARED, "b", "1"));
    }
}
