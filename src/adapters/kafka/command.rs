//! A command as a record of its topic.
//!
//! Written: key, CloudEvents headers, framed Avro. `ce_id` is the command's id, which reading gives back: an id that is a
//! UUID is kept, one of the reactions' version only under the system's own source. Read: what anybody sends by the same
//! attributes as over HTTP, with JSON or Avro, in binary or structured mode.

use super::Shared;
use super::headers::{AVRO, CONTENT_TYPE, PREFIX, Received, Writer};
use super::partition::Raw;
use super::produce::Outgoing;
use crate::adapters::registry::Framing;
use crate::domain::envelope::SYSTEM_SOURCE;
use crate::domain::{AnyCommand, Envelope, LogId, StreamId, TenantId};
use crate::ports::receive::{Admission, Attributes, Claim, Code, Data, Media, Problem, Receiver, Shape, media};
use crate::ports::receive::{Received as Commands, Submission};
use crate::ports::topic::{Accepted, Error};
use std::borrow::Cow;
use uuid::Uuid;

/// Marks a record that was sent on to its partition, with where it came from. It is sent on once.
pub const FORWARDED: &str = "ce_forwardedfrom";
pub const SUBJECT: &str = "ce_subject";
const ID: &str = "ce_id";

/// Makes the record of a command.
///
/// # Errors
/// When it is too large, or the registry cannot say how its schema is framed.
pub fn encode(accepted: &Accepted, shared: &Shared) -> Result<Outgoing, Error> {
    let envelope = &*accepted.envelope;
    let log = envelope.stream.log(shared.config.partitions);
    let (headers, headers_bytes) = headers(envelope, accepted.command.name()).finish();
    let outgoing = Outgoing {
        topic: shared.names.commands(log).to_owned(),
        partition: log.partition,
        key: envelope.stream.id.to_string(),
        value: value(accepted, &shared.framing)?,
        headers,
        headers_bytes,
        timestamp: None,
    };
    outgoing.check(shared.config.message_bytes_max)?;
    Ok(outgoing)
}

/// The headers of a command's record.
pub fn headers(envelope: &Envelope, command: &str) -> Writer {
    let aggregate = envelope.stream.aggregate.name();
    let mut headers = Writer::new(14);
    headers.text("ce_specversion", "1.0");
    headers.text(ID, &envelope.command_id.to_string());
    headers.text("ce_source", &envelope.source);
    headers.text("ce_type", &format!("{aggregate}.{command}"));
    headers.text(SUBJECT, &envelope.stream.id.to_string());
    headers.text("ce_tenantid", &envelope.stream.tenant.to_string());
    headers.optional("ce_correlationid", envelope.correlation.as_deref());
    headers.optional("ce_causationid", envelope.causation.as_deref());
    headers.optional("ce_actor", envelope.actor.as_deref());
    headers.optional("traceparent", envelope.traceparent.as_deref());
    if let Some(version) = envelope.expected_version {
        headers.text("ce_expectedversion", &version.to_string());
    }
    if envelope.hop > 0 {
        headers.text("ce_hop", &envelope.hop.to_string());
    }
    headers.text(CONTENT_TYPE, AVRO);
    headers
}

/// The framed value of a command's record.
pub fn value(accepted: &Accepted, framing: &Framing) -> Result<Vec<u8>, Error> {
    let name = accepted.command.name();
    let codec = accepted.command.aggregate().codec(name);
    let codec = codec.ok_or_else(|| Error::Unavailable(format!("{name} has no schema")))?;
    let head = framing.head(codec).map_err(|error| Error::Unavailable(error.to_string()))?;
    Ok([head.as_slice(), accepted.payload.as_slice()].concat())
}

/// What became of reading a record.
#[derive(Debug)]
pub enum Decoded {
    /// A command, whatever partition it came on.
    Command(Box<Accepted>),
    /// No command that this program can read, and why.
    Unreadable(String),
}

/// Reads a record of the command partition of `log`.
///
/// # Errors
/// When the registry cannot be asked: the record may be readable later.
pub async fn decode(raw: &Raw, log: LogId, topic: &str, framing: &Framing) -> Result<Decoded, Error> {
    let read = match record_parts(raw, framing).await? {
        Ok((attributes, data)) => read(raw, log, topic, attributes, data),
        Err(problem) => Err(problem),
    };
    let accepted = read.and_then(|Submission { envelope, command }| {
        if command.aggregate() != log.aggregate {
            let message = format!("a command for {} does not belong on this topic", command.aggregate().name());
            return Err(Problem::new(Code::UnknownType, message));
        }
        Accepted::new(envelope, command).map_err(|error| Problem::new(Code::InvalidData, error.to_string()))
    });
    Ok(match accepted {
        Ok(accepted) => Decoded::Command(Box::new(accepted)),
        Err(problem) => Decoded::Unreadable(format!("{}: {}", problem.code.name(), problem.message)),
    })
}

/// The value of a record, before its attributes are looked at.
enum Value<'a> {
    Json(&'a [u8]),
    Structured(&'a [u8]),
    Avro { fingerprint: u64, record: Cow<'a, [u8]> },
}

async fn record_parts<'a>(
    raw: &'a Raw,
    framing: &Framing,
) -> Result<Result<(Attributes<'a>, Value<'a>), Problem>, Error> {
    let attributes = match attributes(&raw.headers) {
        Ok(attributes) => attributes,
        Err(problem) => return Ok(Err(problem)),
    };
    let bytes = raw.value.as_slice();
    let declared = raw.headers.text(CONTENT_TYPE).or_else(|| raw.headers.text("ce_datacontenttype"));
    // Neither of Avro's frames can begin a JSON text.
    let framed = matches!(bytes, [0 | 0xC3, ..]);
    let value = match declared.map_or(if framed { Media::Avro } else { Media::Json }, media) {
        Media::Json => Value::Json(bytes),
        Media::CloudEvent => Value::Structured(bytes),
        Media::Avro => match framing.open(bytes).await {
            Ok(framed) => Value::Avro { fingerprint: framed.fingerprint, record: framed.payload },
            Err(error) if error.retryable() => return Err(Error::Unavailable(error.to_string())),
            Err(error) => return Ok(Err(Problem::new(Code::UnknownSchema, error.to_string()))),
        },
        Media::CloudEventBatch | Media::Other => {
            let message = "a command is application/avro, application/json or application/cloudevents+json; set the \
                           header content-type to one of them, and send one command a record";
            return Ok(Err(Problem::new(Code::UnsupportedMediaType, message)));
        }
    };
    Ok(Ok((attributes, value)))
}

fn attributes(headers: &Received) -> Result<Attributes<'_>, Problem> {
    let mut attributes = Attributes::default();
    for (name, value) in headers.iter() {
        let Some(name) = name.strip_prefix(PREFIX) else { continue };
        let value = std::str::from_utf8(value)
            .map_err(|_| Problem::new(Code::NotUtf8, format!("the header {PREFIX}{name} is not UTF-8; send UTF-8")))?;
        attributes.set(name, Cow::Borrowed(value))?;
    }
    Ok(attributes)
}

fn read(
    raw: &Raw,
    log: LogId,
    topic: &str,
    mut attributes: Attributes<'_>,
    value: Value<'_>,
) -> Result<Submission, Problem> {
    if attributes.subject.is_none() {
        attributes.subject = stream_of_key(raw).map(|key| Cow::Owned(key.to_owned()));
    }
    if attributes.source.as_deref() == Some(SYSTEM_SOURCE) {
        return system(raw, log, attributes, value);
    }
    let receiver = Receiver {
        admission: &ByTopic,
        generate: &|| generated_id(raw, log, topic),
        idempotency_key: None,
        traceparent: raw.headers.text("traceparent"),
        commands_max: 1,
    };
    let item = match value {
        Value::Json(bytes) => receiver.command(attributes, Data::new(None, bytes)?),
        Value::Avro { fingerprint, record } => {
            receiver.command(attributes, Data::Unframed { fingerprint, record: &record })
        }
        Value::Structured(bytes) => match receiver.structured(bytes, Shape::One)? {
            Commands::One(item) => *item,
            Commands::Batch(_) => return Err(Problem::new(Code::Malformed, "send one command a record")),
        },
    };
    item.map_err(|refused| refused.problem)
}

/// The key names the stream as well as the subject does.
pub fn stream_of_key(raw: &Raw) -> Option<&str> {
    let key = raw.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
    key.filter(|key| Uuid::try_parse(key).is_ok())
}

/// The id of a record that came without: the same each time it is read.
pub fn generated_id(raw: &Raw, log: LogId, topic: &str) -> Uuid {
    let place = format!("{topic}/{}/{}/{}", log.partition, raw.offset, raw.timestamp);
    Uuid::new_v5(&Uuid::NAMESPACE_OID, place.as_bytes())
}

/// Where a record is to go that belongs to another partition: as it came, with the id that it is known by.
pub fn forwarded(raw: &Raw, log: LogId, topic: &str, stream: StreamId, partition: u16) -> Outgoing {
    let mut headers = Writer::new(16);
    for (name, value) in raw.headers.iter() {
        headers.add(name, value);
    }
    let structured = raw.headers.text(CONTENT_TYPE).map(media) == Some(Media::CloudEvent);
    if raw.headers.get(ID).is_none() && !structured {
        headers.text(ID, &generated_id(raw, log, topic).to_string());
    }
    headers.text(FORWARDED, &format!("{}/{}", log.partition, raw.offset));
    let (headers, headers_bytes) = headers.finish();
    Outgoing {
        topic: topic.to_owned(),
        partition,
        key: stream.id.to_string(),
        value: raw.value.clone(),
        headers,
        headers_bytes,
        timestamp: None,
    }
}

/// One of the system's own: its id and hop count stand as they are.
fn system(raw: &Raw, log: LogId, attributes: Attributes<'_>, value: Value<'_>) -> Result<Submission, Problem> {
    let invalid =
        |what: &str| Problem::new(Code::InvalidAttribute, format!("a command of the system's own lacks {what}"));
    let uuid = |text: Option<&str>| text.and_then(|text| Uuid::try_parse(text).ok());
    let command_id = uuid(attributes.id.as_deref()).ok_or_else(|| invalid("a UUID as ce_id"))?;
    let tenant = uuid(attributes.tenantid.as_deref()).ok_or_else(|| invalid("a UUID as ce_tenantid"))?;
    let id = uuid(attributes.subject.as_deref()).ok_or_else(|| invalid("a UUID as ce_subject"))?;
    let hop = raw.headers.text("ce_hop").unwrap_or("0").parse().map_err(|_| invalid("a number as ce_hop"))?;
    let owned = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
    let traceparent = raw.headers.text("traceparent").map(str::to_owned);
    let envelope = Envelope {
        command_id,
        stream: StreamId::new(TenantId(tenant), log.aggregate, id),
        source: SYSTEM_SOURCE.to_owned(),
        actor: owned(attributes.actor),
        correlation: owned(attributes.correlationid),
        causation: owned(attributes.causationid),
        expected_version: attributes.expectedversion,
        hop,
        traceparent,
    };
    let name = attributes.r#type.as_deref().unwrap_or_default();
    let name = name.strip_prefix(log.aggregate.name()).and_then(|rest| rest.strip_prefix('.')).unwrap_or(name);
    let Value::Avro { fingerprint, record } = value else {
        return Err(invalid("an Avro value"));
    };
    let command = AnyCommand::decode(log.aggregate, name, fingerprint, &record)
        .map_err(|error| Problem::new(Code::InvalidData, error.to_string()))?;
    Ok(Submission { envelope, command })
}

/// Who may write to the topic may send for every tenant; the record says which.
struct ByTopic;

impl Admission for ByTopic {
    fn admit(&self, claim: &Claim) -> Result<Option<TenantId>, Problem> {
        if claim.command == "ProvisionTenant" {
            return match (claim.tenant, claim.subject) {
                (Some(tenant), Some(subject)) if tenant.0 != subject => Err(Problem::new(
                    Code::TenantMismatch,
                    format!("the subject {subject} of ProvisionTenant is not its own tenant, {tenant}"),
                )),
                (tenant, subject) => Ok(tenant.or(subject.map(TenantId))),
            };
        }
        claim
            .tenant
            .map(Some)
            .ok_or_else(|| Problem::new(Code::TenantRequired, "name the tenant in the header ce_tenantid, as a UUID"))
    }
}
