//! An accepted command as the segments hold it.
//!
//! ```text
//! u8 hop    16 command id    u64 expected version (u64::MAX: none)    16 tenant    16 stream    u8 aggregate
//! str source, actor, correlation, causation, traceparent, record name    u64 fingerprint    u64 digest    Avro bytes
//! ```

use crate::domain::record::{Cursor, RecordError, encode_text};
use crate::domain::{Aggregate, AnyCommand, Envelope, StreamId, TenantId};
use crate::ports::topic::{Accepted, Unreadable};
use std::sync::Arc;
use uuid::Uuid;

/// Appends the bytes of a command.
pub fn encode(accepted: &Accepted, out: &mut Vec<u8>) {
    let envelope = &*accepted.envelope;
    out.push(envelope.hop);
    out.extend_from_slice(envelope.command_id.as_bytes());
    out.extend_from_slice(&envelope.expected_version.unwrap_or(u64::MAX).to_le_bytes());
    out.extend_from_slice(envelope.stream.tenant.0.as_bytes());
    out.extend_from_slice(envelope.stream.id.as_bytes());
    out.push(envelope.stream.aggregate as u8);
    encode_text(Some(&envelope.source), out);
    encode_text(envelope.actor.as_deref(), out);
    encode_text(envelope.correlation.as_deref(), out);
    encode_text(envelope.causation.as_deref(), out);
    encode_text(envelope.traceparent.as_deref(), out);
    let name = accepted.command.name();
    encode_text(Some(name), out);
    let fingerprint = accepted.command.aggregate().codec(name).map_or(0, |codec| codec.fingerprint);
    out.extend_from_slice(&fingerprint.to_le_bytes());
    out.extend_from_slice(&accepted.digest.to_le_bytes());
    out.extend_from_slice(&accepted.payload);
}

/// Reads a command back. What this program cannot read is not lost: it comes back with its bytes and the cause.
pub fn decode(bytes: &[u8]) -> Result<Accepted, Box<Unreadable>> {
    let unreadable = |cause: String| Box::new(Unreadable { bytes: bytes.to_vec(), headers: Vec::new(), cause });
    let (envelope, name, fingerprint, digest, payload) = parts(bytes).map_err(|error| unreadable(error.to_string()))?;
    let command = AnyCommand::decode(envelope.stream.aggregate, &name, fingerprint, payload)
        .map_err(|error| unreadable(error.to_string()))?;
    Ok(Accepted { envelope: Arc::new(envelope), command: Arc::new(command), payload: payload.to_vec(), digest })
}

fn parts(bytes: &[u8]) -> Result<(Envelope, String, u64, u64, &[u8]), RecordError> {
    let mut from = Cursor(bytes);
    let [hop] = from.array("hop")?;
    let command_id = Uuid::from_bytes(from.array("command_id")?);
    let expected_version = Some(from.u64("expected_version")?).filter(|version| *version != u64::MAX);
    let tenant = TenantId(Uuid::from_bytes(from.array("tenant")?));
    let id = Uuid::from_bytes(from.array("stream")?);
    let [aggregate] = from.array("aggregate")?;
    let aggregate = Aggregate::from_code(aggregate).ok_or(RecordError::Unknown("aggregate"))?;
    let envelope = Envelope {
        command_id,
        stream: StreamId::new(tenant, aggregate, id),
        source: from.text("source")?.unwrap_or_default(),
        actor: from.text("actor")?,
        correlation: from.text("correlation")?,
        causation: from.text("causation")?,
        traceparent: from.text("traceparent")?,
        expected_version,
        hop,
    };
    let name = from.text("name")?.unwrap_or_default();
    let fingerprint = from.u64("fingerprint")?;
    let digest = from.u64("digest")?;
    Ok((envelope, name, fingerprint, digest, from.0))
}
