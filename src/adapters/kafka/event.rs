//! Events out: a log's events as records of its events partition, and back.
//!
//! For the world a record has CloudEvents headers and framed Avro. For this program's own readers one binary header holds
//! what makes the log's record again, to the byte: its canonical bytes without the payload, its hash, and the position
//! that it follows. Refusals are not published; `follows` lets a reader tell them from a gap.

use super::Shared;
use super::headers::{AVRO, CONTENT_TYPE, Writer};
use super::partition::Raw;
use super::produce::Outgoing;
use crate::adapters::registry::Framing;
use crate::domain::LogId;
use crate::domain::envelope::SYSTEM_SOURCE;
use crate::domain::record::{Cursor, Hash, Record, RecordKind};
use crate::ports::journal::Recorded;
use crate::ports::topic::Error;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hashbrown::HashMap;
use parking_lot::Mutex;

/// u64 follows, 32 hash, canonical bytes without payload.
const RECORD: &str = "record";
/// First bytes of Avro's single-object encoding.
const SINGLE_OBJECT: [u8; 2] = [0xC3, 0x01];

/// How far this process has published each log.
#[derive(Default)]
pub struct Published(Mutex<HashMap<LogId, Mark>>);

#[derive(Clone, Copy)]
struct Mark {
    /// The last record that was looked at, event or not.
    through: u64,
    /// The last event at or before it.
    event: u64,
}

/// Publishes the events among records that follow one another in their log. Returns once they are acknowledged.
///
/// # Errors
/// When any was not acknowledged; publishing them again does no harm.
pub async fn publish(shared: &Shared, published: &Published, log: LogId, records: &[Recorded]) -> Result<(), Error> {
    let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(()) };
    // Known only where these records follow directly on what this process published last; others may have been here.
    let mark = published.0.lock().get(&log).copied().filter(|mark| mark.through + 1 == first.record.position);
    let mut follows = mark.map_or(first.record.position - 1, |mark| mark.event);
    let mut outgoing = Vec::with_capacity(records.len());
    for recorded in records.iter().filter(|recorded| recorded.record.kind == RecordKind::Event) {
        outgoing.push(encode(shared, log, recorded, follows)?);
        follows = recorded.record.position;
    }
    shared.producer.send(outgoing).await?;
    published.0.lock().insert(log, Mark { through: last.record.position, event: follows });
    Ok(())
}

fn encode(shared: &Shared, log: LogId, recorded: &Recorded, follows: u64) -> Result<Outgoing, Error> {
    let record = &recorded.record;
    let (headers, headers_bytes) = headers(log, recorded, follows).finish();
    Ok(Outgoing {
        topic: shared.names.events(log).to_owned(),
        partition: log.partition,
        key: record.stream().id.to_string(),
        value: value(log, record, &shared.framing)?,
        headers,
        headers_bytes,
        timestamp: Some(record.recorded_at.div_euclid(1000)),
    })
}

fn headers(log: LogId, recorded: &Recorded, follows: u64) -> Writer {
    let record = &recorded.record;
    let envelope = &*record.envelope;
    let mut headers = Writer::new(16);
    headers.text("ce_specversion", "1.0");
    headers.text("ce_id", &record.event_id().to_string());
    headers.text("ce_source", SYSTEM_SOURCE);
    headers.text("ce_type", &format!("{}.{}", log.aggregate.name(), record.schema));
    headers.text("ce_subject", &envelope.stream.id.to_string());
    if let Ok(time) = jiff::Timestamp::from_microsecond(record.recorded_at) {
        headers.text("ce_time", &time.to_string());
    }
    headers.text("ce_tenantid", &envelope.stream.tenant.to_string());
    headers.optional("ce_correlationid", envelope.correlation.as_deref());
    // Of an event, the cause is its command.
    headers.text("ce_causationid", &envelope.command_id.to_string());
    headers.optional("ce_actor", envelope.actor.as_deref());
    headers.optional("traceparent", envelope.traceparent.as_deref());
    headers.text("ce_version", &record.version.to_string());
    headers.text("ce_log", &log.to_string());
    headers.text("ce_position", &record.position.to_string());
    headers.text(CONTENT_TYPE, AVRO);
    // As text, so that tools which take headers for text show them whole.
    headers.text(RECORD, &BASE64.encode(own(recorded, follows)));
    headers
}

/// The header for this program's own readers.
fn own(recorded: &Recorded, follows: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(320);
    bytes.extend_from_slice(&follows.to_le_bytes());
    bytes.extend_from_slice(&recorded.hash);
    let bare = Record { payload: Vec::new(), ..recorded.record.clone() };
    bare.encode(&mut bytes);
    bytes
}

/// The payload in a frame: by the registry where its schema is the current one, else by its fingerprint.
fn value(log: LogId, record: &Record, framing: &Framing) -> Result<Vec<u8>, Error> {
    let codec = log.aggregate.codec(&record.schema).filter(|codec| codec.fingerprint == record.fingerprint);
    if let Some(codec) = codec {
        let head = framing.head(codec).map_err(|error| Error::Unavailable(error.to_string()))?;
        return Ok([head.as_slice(), record.payload.as_slice()].concat());
    }
    Ok([SINGLE_OBJECT.as_slice(), &record.fingerprint.to_le_bytes(), &record.payload].concat())
}

/// An event as it was published.
#[derive(Debug)]
pub struct Event {
    pub recorded: Recorded,
    /// No event of the log lies between this position and the event's own.
    pub follows: u64,
}

/// Reads a published event; `None` for what this program did not publish.
///
/// # Errors
/// When the registry cannot be asked.
pub async fn decode(raw: &Raw, framing: &Framing) -> Result<Option<Event>, Error> {
    let Some((follows, hash, mut record)) = raw.headers.get(RECORD).and_then(own_parts) else { return Ok(None) };
    let payload = match framing.open(&raw.value).await {
        Ok(framed) if framed.fingerprint == record.fingerprint => framed.payload.into_owned(),
        Err(error) if error.retryable() => return Err(Error::Unavailable(error.to_string())),
        Ok(_) | Err(_) => return Ok(None),
    };
    record.payload = payload;
    Ok(Some(Event { recorded: Recorded { record, hash, decided: None }, follows }))
}

/// The position that an event's CloudEvents headers state, whoever wrote them.
pub fn stated_position(raw: &Raw) -> Option<u64> {
    std::str::from_utf8(raw.headers.get("ce_position")?).ok()?.parse().ok()
}

/// The position of a published event; `None` for what this program did not publish.
pub fn position_of(raw: &Raw) -> Option<u64> {
    let (_, _, record) = raw.headers.get(RECORD).and_then(own_parts)?;
    Some(record.position)
}

fn own_parts(text: &[u8]) -> Option<(u64, Hash, Record)> {
    let bytes = BASE64.decode(text).ok()?;
    let mut from = Cursor(&bytes);
    let follows = from.u64("follows").ok()?;
    let hash = from.array("hash").ok()?;
    Some((follows, hash, Record::decode(from.0).ok()?))
}
