//! The data of a command: JSON or Avro bytes into the command's struct.

use super::{Code, Problem};
use crate::domain::schemas::{self, Schemas};
use crate::domain::wire::WireError;
use crate::domain::{Aggregate, AnyCommand};

/// First bytes of Avro's single-object encoding; the schema's 64-bit fingerprint follows, little-endian.
const SINGLE_OBJECT: [u8; 2] = [0xc3, 0x01];
/// First byte of the Confluent wire format; a 4-byte schema id of the built-in registry follows, big-endian.
const CONFLUENT: u8 = 0;

/// The bytes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data<'a> {
    /// A JSON object.
    Json(&'a str),
    /// Avro's single-object encoding: `C3 01`, 8 bytes of fingerprint, the record. Or the Confluent wire format: `00`,
    /// 4 bytes of an id of the built-in registry, the record.
    Avro(&'a [u8]),
    /// An Avro record whose frame is taken off already, and the fingerprint of the schema that wrote it.
    Unframed { fingerprint: u64, record: &'a [u8] },
}

/// What a `content-type` says of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    CloudEvent,
    CloudEventBatch,
    Json,
    Avro,
    Other,
}

/// Reads a `content-type`; its parameters are ignored.
pub fn media(content_type: &str) -> Media {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let is = |name: &str| essence.eq_ignore_ascii_case(name);
    if is("application/json") {
        Media::Json
    } else if is("application/cloudevents+json") {
        Media::CloudEvent
    } else if is("application/cloudevents-batch+json") {
        Media::CloudEventBatch
    } else if is("application/avro") || is("avro/binary") || is("application/vnd.apache.avro+binary") {
        Media::Avro
    } else {
        Media::Other
    }
}

impl<'a> Data<'a> {
    /// The data of a command whose attributes came beside it.
    ///
    /// # Errors
    /// When the media type is neither JSON nor Avro, or JSON is not UTF-8.
    pub fn new(content_type: Option<&str>, bytes: &'a [u8]) -> Result<Self, Problem> {
        match content_type.map_or(Media::Json, media) {
            Media::Json => utf8(bytes).map(Data::Json),
            Media::Avro => Ok(Data::Avro(bytes)),
            _ => Err(Problem::new(
                Code::UnsupportedMediaType,
                "a command's data is application/json or application/avro; set its content type to one of them",
            )),
        }
    }

    pub(super) fn command(self, aggregate: Aggregate, name: &'static str) -> Result<AnyCommand, Problem> {
        match self {
            Self::Json(text) if !text.trim_start().starts_with('{') => Err(no_object(name, text)),
            Self::Json(text) => AnyCommand::from_json(aggregate, name, text.as_bytes()).map_err(problem),
            Self::Avro(bytes) => avro(aggregate, name, bytes),
            Self::Unframed { fingerprint, record } => {
                AnyCommand::decode(aggregate, name, fingerprint, record).map_err(problem)
            }
        }
    }
}

/// What is wrong with a text that is no JSON object.
fn no_object(name: &str, text: &str) -> Problem {
    let wanted = format!("{name} needs \"data\", a JSON object of its fields; {{}} where it has nothing to say");
    let message = match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Err(error) if !text.trim().is_empty() => format!("what was sent is not JSON ({error}); {wanted}"),
        _ => wanted,
    };
    Problem::new(Code::InvalidData, message)
}

/// The whole of a body as text.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        Problem::new(Code::NotUtf8, format!("byte {at} of the JSON text is not UTF-8; send UTF-8"))
    })
}

fn avro(aggregate: Aggregate, name: &'static str, bytes: &[u8]) -> Result<AnyCommand, Problem> {
    if let Some((fingerprint, record)) = bytes.strip_prefix(&SINGLE_OBJECT).and_then(<[u8]>::split_first_chunk::<8>) {
        let fingerprint = u64::from_le_bytes(*fingerprint);
        return AnyCommand::decode(aggregate, name, fingerprint, record).map_err(problem);
    }
    if let Some((&[CONFLUENT, a, b, c, d], record)) = bytes.split_first_chunk::<5>() {
        let fingerprint = of_built_in(aggregate, name, u32::from_be_bytes([a, b, c, d]))?;
        return AnyCommand::decode(aggregate, name, fingerprint, record).map_err(problem);
    }
    Err(Problem::new(
        Code::InvalidData,
        "the Avro data starts neither as single-object encoding does (C3 01, then the schema's 64-bit fingerprint, \
         little-endian, then the record) nor as the Confluent wire format (00, then the schema's 4-byte id, big-endian)",
    ))
}

/// The fingerprint of the schema that an id of the built-in registry stands for, which must be the command's.
fn of_built_in(aggregate: Aggregate, name: &str, id: u32) -> Result<u64, Problem> {
    let Some(version) = Schemas::of_program().by_id(id) else {
        let message = format!(
            "schema id {id} is none of this program's, which GET /schema-registry/schemas lists; serialize with that \
             registry, or send Avro's single-object encoding (C3 01, the schema's 64-bit fingerprint, the record), or JSON"
        );
        return Err(Problem::new(Code::UnknownSchema, message));
    };
    let own = aggregate.codec(name);
    let is_own = own.is_some_and(|codec| {
        codec.fingerprint == version.fingerprint || schemas::name_of(codec.schema).as_ref() == Some(&version.subject)
    });
    if is_own {
        return Ok(version.fingerprint);
    }
    let message = format!("the data was written by schema {id}, {}, and the command is {name}", version.subject);
    Err(Problem::new(Code::InvalidData, message))
}

fn problem(error: WireError) -> Problem {
    let code = match &error {
        WireError::UnknownRecord { .. } => Code::UnknownType,
        WireError::UnknownSchema { .. } => Code::UnknownSchema,
        WireError::Malformed { .. } => Code::InvalidData,
    };
    Problem::new(code, error.to_string())
}
