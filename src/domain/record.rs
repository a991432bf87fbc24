//! The record: one entry of a log, and its canonical bytes.
//!
//! # Layout, frozen from 0.1.0 (all integers little-endian)
//!
//! ```text
//! u8  format (1)          u8  kind            u8  flags (bit 0: last record of its command)
//! u8  aggregate           u8  hop             u16 index within the command
//! u64 position            u64 version         u64 previous position of the same stream (0: none)
//! i64 recorded_at (µs)    u64 command digest  u64 expected version (u64::MAX: none)
//! 16  tenant              16  stream          16  command id
//! str source, actor, correlation, causation, traceparent    (u16 length, UTF-8; 0xffff: absent)
//! str schema name         u64 schema fingerprint            (both empty or zero where there is no payload)
//! u32 length, payload     (Avro binary)
//! ```
//!
//! `hash = blake3(hash of the record before it in its log ‖ these bytes)`; the first record of a log follows 32 zero bytes.

use super::Aggregate;
use super::envelope::{Envelope, EventMeta, Micros};
use super::id::{StreamId, TenantId, event_id};
use std::sync::Arc;
use uuid::Uuid;

/// A link of a log's chain.
pub type Hash = [u8; 32];
/// What the first record of a log follows.
pub const CHAIN_START: Hash = [0; 32];

const FORMAT: u8 = 1;
const ABSENT: u16 = u16::MAX;
const FLAG_LAST: u8 = 1;
/// Longest text attribute of an envelope, in bytes.
pub const ATTRIBUTE_BYTES_MAX: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// An event of its stream: the next version.
    Event = 1,
    /// The command was refused; the payload says why. The version stays.
    Refusal = 2,
    /// The command was right and changed nothing. The version stays.
    Unchanged = 3,
}

impl RecordKind {
    fn from_code(code: u8) -> Option<Self> {
        [Self::Event, Self::Refusal, Self::Unchanged].into_iter().find(|kind| *kind as u8 == code)
    }
}

/// One record of a log.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub position: u64,
    /// The stream's version once this record is in: an event's own, or the one that stayed.
    pub version: u64,
    /// Position of the record before it of the same stream, 0 where it is the first: a stream's history is a walk.
    pub previous: u64,
    pub kind: RecordKind,
    /// Counts the records of one command from 0.
    pub index: u16,
    /// Whether this is the command's last record, the one that tells its outcome.
    pub last: bool,
    pub recorded_at: Micros,
    /// First 8 bytes of blake3 over the command's name and Avro bytes: tells a retry from a reused id.
    pub command_digest: u64,
    pub envelope: Arc<Envelope>,
    /// Record name of the payload's schema; empty where there is no payload.
    pub schema: String,
    /// 64-bit Avro fingerprint of the schema that wrote the payload.
    pub fingerprint: u64,
    pub payload: Vec<u8>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RecordError {
    #[error("the record ends before its field {0:?}")]
    Truncated(&'static str),
    #[error("record field {0:?} holds no value that this program knows")]
    Unknown(&'static str),
    #[error("{0} bytes follow the record's end")]
    Trailing(usize),
}

impl Record {
    pub fn stream(&self) -> StreamId {
        self.envelope.stream
    }

    pub fn event_id(&self) -> Uuid {
        event_id(self.envelope.command_id, self.index)
    }

    pub fn meta(&self) -> EventMeta {
        EventMeta {
            stream: self.envelope.stream,
            version: self.version,
            recorded_at: self.recorded_at,
            event_id: self.event_id(),
        }
    }

    /// Appends the canonical bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let envelope = &*self.envelope;
        out.extend_from_slice(&[
            FORMAT,
            self.kind as u8,
            if self.last { FLAG_LAST } else { 0 },
            envelope.stream.aggregate as u8,
            envelope.hop,
        ]);
        out.extend_from_slice(&self.index.to_le_bytes());
        for number in [self.position, self.version, self.previous] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.recorded_at.to_le_bytes());
        out.extend_from_slice(&self.command_digest.to_le_bytes());
        out.extend_from_slice(&envelope.expected_version.unwrap_or(u64::MAX).to_le_bytes());
        out.extend_from_slice(envelope.stream.tenant.0.as_bytes());
        out.extend_from_slice(envelope.stream.id.as_bytes());
        out.extend_from_slice(envelope.command_id.as_bytes());
        encode_text(Some(&envelope.source), out);
        encode_text(envelope.actor.as_deref(), out);
        encode_text(envelope.correlation.as_deref(), out);
        encode_text(envelope.causation.as_deref(), out);
        encode_text(envelope.traceparent.as_deref(), out);
        encode_text(Some(&self.schema), out);
        out.extend_from_slice(&self.fingerprint.to_le_bytes());
        out.extend_from_slice(&(self.payload.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.payload);
    }

    /// Reads canonical bytes, all of them.
    ///
    /// # Errors
    /// When they end early, hold an unknown code, or go on after the record.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut from = Cursor(bytes);
        let [format, kind, flags, aggregate, hop] = from.array("head")?;
        if format != FORMAT {
            return Err(RecordError::Unknown("format"));
        }
        let kind = RecordKind::from_code(kind).ok_or(RecordError::Unknown("kind"))?;
        let aggregate = Aggregate::from_code(aggregate).ok_or(RecordError::Unknown("aggregate"))?;
        let index = u16::from_le_bytes(from.array("index")?);
        let position = from.u64("position")?;
        let version = from.u64("version")?;
        let previous = from.u64("previous")?;
        let recorded_at = from.u64("recorded_at")? as i64;
        let command_digest = from.u64("command_digest")?;
        let expected_version = Some(from.u64("expected_version")?).filter(|version| *version != u64::MAX);
        let tenant = TenantId(Uuid::from_bytes(from.array("tenant")?));
        let stream = StreamId::new(tenant, aggregate, Uuid::from_bytes(from.array("stream")?));
        let command_id = Uuid::from_bytes(from.array("command_id")?);
        let envelope = Envelope {
            command_id,
            stream,
            source: from.text("source")?.unwrap_or_default(),
            actor: from.text("actor")?,
            correlation: from.text("correlation")?,
            causation: from.text("causation")?,
            traceparent: from.text("traceparent")?,
            expected_version,
            hop,
        };
        let schema = from.text("schema")?.unwrap_or_default();
        let fingerprint = from.u64("fingerprint")?;
        let length = u32::from_le_bytes(from.array("payload length")?) as usize;
        let payload = from.take(length, "payload")?.to_vec();
        if !from.0.is_empty() {
            return Err(RecordError::Trailing(from.0.len()));
        }
        let last = flags & FLAG_LAST != 0;
        Ok(Self {
            position,
            version,
            previous,
            kind,
            index,
            last,
            recorded_at,
            command_digest,
            envelope: Arc::new(envelope),
            schema,
            fingerprint,
            payload,
        })
    }
}

/// The next link of a chain.
pub fn chain(previous: &Hash, canonical: &[u8]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(previous);
    hasher.update(canonical);
    *hasher.finalize().as_bytes()
}

/// What tells a command's content apart: the first 8 bytes of blake3 over its name and Avro bytes.
pub fn command_digest(name: &str, avro: &[u8]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(name.as_bytes());
    hasher.update(&[0]);
    hasher.update(avro);
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// Appends a text with its length; receiving bounds it at [`ATTRIBUTE_BYTES_MAX`].
pub fn encode_text(text: Option<&str>, out: &mut Vec<u8>) {
    match text {
        None => out.extend_from_slice(&ABSENT.to_le_bytes()),
        Some(text) => {
            debug_assert!(text.len() < usize::from(ABSENT));
            out.extend_from_slice(&(text.len() as u16).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Reads what `encode` functions wrote, and says which field was missing.
pub struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    pub fn take(&mut self, length: usize, field: &'static str) -> Result<&'a [u8], RecordError> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(RecordError::Truncated(field))?;
        self.0 = rest;
        Ok(head)
    }

    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], RecordError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, field)?);
        Ok(array)
    }

    pub fn u64(&mut self, field: &'static str) -> Result<u64, RecordError> {
        self.array(field).map(u64::from_le_bytes)
    }

    pub fn text(&mut self, field: &'static str) -> Result<Option<String>, RecordError> {
        let length = u16::from_le_bytes(self.array(field)?);
        if length == ABSENT {
            return Ok(None);
        }
        let bytes = self.take(usize::from(length), field)?;
        std::str::from_utf8(bytes).map(|text| Some(text.to_owned())).map_err(|_| RecordError::Unknown(field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record() -> Record {
        let stream = StreamId::new(TenantId(Uuid::from_u128(1)), Aggregate::Agent, Uuid::from_u128(2));
        let mut envelope = Envelope::new(Uuid::from_u128(3), stream);
        envelope.actor = Some("ada".into());
        envelope.causation = Some(String::new());
        envelope.expected_version = Some(4);
        envelope.hop = 5;
        Record {
            position: 6,
            version: 7,
            previous: 8,
            kind: RecordKind::Event,
            index: 9,
            last: true,
            recorded_at: 10,
            command_digest: 11,
            envelope: Arc::new(envelope),
            schema: "AgentIdled".into(),
            fingerprint: 12,
            payload: vec![13, 14],
        }
    }

    #[test]
    fn canonical_bytes_are_frozen() {
        let mut bytes = Vec::new();
        record().encode(&mut bytes);
        let digest = blake3::hash(&bytes).to_hex();
        assert_eq!(Record::decode(&bytes).as_ref(), Ok(&record()));
        // Changing this value changes every chain there is: a new format number, never a new layout under the old one.
        assert_eq!(digest.as_str(), "222f2944067c04c06c25aa56bef474bdd09938ff8b2ee025786b5f0e80c01ce4", "{bytes:02x?}");
    }

    proptest! {
        #[test]
        fn cut_or_lengthened_bytes_are_refused_and_nothing_panics(cut in 0usize..200, junk in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = Vec::new();
            record().encode(&mut bytes);
            let whole = bytes.len();
            prop_assert!(cut >= whole || Record::decode(&bytes[..cut]).is_err());
            bytes.push(0);
            prop_assert_eq!(Record::decode(&bytes), Err(RecordError::Trailing(1)));
            let _ = Record::decode(&junk);
        }
    }
}
