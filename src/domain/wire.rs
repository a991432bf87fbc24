//! Commands and events on the wire: Avro by the schema files, JSON by the same names.
//!
//! The files under `schemas/` are the contract; the Rust structs follow them, field for field and in the same order.
//! A record is stored with its schema's name and 64-bit Avro fingerprint. Encoding and decoding go straight between
//! bytes and struct (1 µs each for a twelve-field record). Only what an earlier release's schema wrote passes through
//! `apache_avro::types::Value`, by which Avro resolves it to the schema as it is now.

use super::schemas;
use apache_avro::rabin::Rabin;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema::Schema;
use apache_avro::writer::datum::GenericDatumWriter;
use serde::{Serialize, de::DeserializeOwned};

/// A closed set of records: the commands, or the events, of one aggregate. Implemented by [`records!`](crate::records).
pub trait Wire: Sized + Clone + PartialEq + std::fmt::Debug + Send + Sync + 'static {
    /// Record names, in the order of the variants.
    const NAMES: &'static [&'static str];
    fn name(&self) -> &'static str;
    fn codec(name: &str) -> Option<&'static Codec>;
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), WireError>;
    fn decode(name: &str, fingerprint: u64, bytes: &[u8]) -> Result<Self, WireError>;
    fn from_json(name: &str, json: &[u8]) -> Result<Self, WireError>;
    fn to_json(&self) -> serde_json::Value;
}

#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("unknown record {name:?}; known: {known}")]
    UnknownRecord { name: String, known: String },
    #[error(
        "{name} was written with schema {fingerprint:016x}, which this program does not know; it knows {known:016x}"
    )]
    UnknownSchema { name: String, fingerprint: u64, known: u64 },
    #[error("{name} does not fit its schema: {cause}")]
    Malformed { name: String, cause: String },
}

/// One record's schema with its ready-made writer and reader.
pub struct Codec {
    pub name: &'static str,
    /// The schema file as it stands under `schemas/`.
    pub text: &'static str,
    /// The 64-bit Rabin fingerprint of the schema's parsing canonical form (Avro specification, "Schema Fingerprints").
    pub fingerprint: u64,
    pub schema: &'static Schema,
    writer: GenericDatumWriter<'static>,
    reader: GenericDatumReader<'static>,
    /// By fingerprint: each reads what a schema of an earlier release wrote, as a value of this one.
    earlier: Vec<(u64, GenericDatumReader<'static>)>,
}

impl Codec {
    /// # Panics
    /// When the schema does not parse, or one of the same name that an earlier release had. The texts are compiled in, and
    /// a test loads every one.
    pub fn new(name: &'static str, text: &'static str) -> Self {
        let schema = parsed(name, text);
        let full_name = schemas::name_of(schema).unwrap_or_default();
        Self::of(name, text, schema, schemas::earlier(&full_name))
    }

    #[expect(clippy::panic, reason = "a schema that is compiled in and cannot be used is no program")]
    fn of(name: &'static str, text: &'static str, schema: &'static Schema, earlier: &[&str]) -> Self {
        let unusable = |error| -> ! { panic!("schema {name}: {error}") };
        let reader = |text: &&str| {
            let writer = parsed(name, text);
            let reader = GenericDatumReader::builder(writer).reader_schema(schema).build();
            (fingerprint_of(writer), reader.unwrap_or_else(|error| unusable(error)))
        };
        Self {
            name,
            text,
            fingerprint: fingerprint_of(schema),
            schema,
            writer: GenericDatumWriter::builder(schema).build().unwrap_or_else(|error| unusable(error)),
            reader: GenericDatumReader::builder(schema).build().unwrap_or_else(|error| unusable(error)),
            earlier: earlier.iter().map(reader).collect(),
        }
    }

    pub fn write<T: Serialize>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), WireError> {
        self.writer.write_ser(out, value).map(|_| ()).map_err(|error| self.malformed(error))
    }

    /// Reads what this schema wrote, or one of the same name that an earlier release had.
    ///
    /// # Errors
    /// When no such schema has this fingerprint, or the bytes are not of it. Bytes that are left over are an error: a longer
    /// value is another schema's.
    pub fn read<T: DeserializeOwned>(&self, fingerprint: u64, mut bytes: &[u8]) -> Result<T, WireError> {
        if fingerprint != self.fingerprint {
            return self.read(self.fingerprint, &self.upcast(fingerprint, bytes)?);
        }
        let value = self.reader.read_deser(&mut bytes).map_err(|error| self.malformed(error))?;
        self.all_read(bytes)?;
        Ok(value)
    }

    /// What an earlier schema wrote, as this one writes it.
    fn upcast(&self, fingerprint: u64, mut bytes: &[u8]) -> Result<Vec<u8>, WireError> {
        let Some((_, reader)) = self.earlier.iter().find(|(known, _)| *known == fingerprint) else {
            return Err(WireError::UnknownSchema { name: self.name.into(), fingerprint, known: self.fingerprint });
        };
        let value = reader.read_value(&mut bytes).map_err(|error| self.malformed(error))?;
        self.all_read(bytes)?;
        let mut upcast = Vec::new();
        self.writer.write_value(&mut upcast, value).map_err(|error| self.malformed(error))?;
        Ok(upcast)
    }

    fn all_read(&self, rest: &[u8]) -> Result<(), WireError> {
        match rest.len() {
            0 => Ok(()),
            count => Err(self.malformed(format!("{count} bytes are left over"))),
        }
    }

    pub fn malformed(&self, cause: impl ToString) -> WireError {
        WireError::Malformed { name: self.name.into(), cause: cause.to_string() }
    }
}

/// One per text for the life of the program, so that writers and readers can borrow it.
#[expect(clippy::panic, reason = "a schema that is compiled in and does not parse is no program")]
fn parsed(name: &str, text: &str) -> &'static Schema {
    let schema = Schema::parse_str(text).unwrap_or_else(|error| panic!("schema {name}: {error}"));
    Box::leak(Box::new(schema))
}

/// The 64-bit fingerprint of a schema.
pub fn fingerprint_of(schema: &Schema) -> u64 {
    let digest = schema.fingerprint::<Rabin>().bytes;
    digest.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Declares the commands or the events of an aggregate: an enum with one variant per record, each a struct of the same
/// name in scope, each with its schema at `schemas/<folder>/<Record>.avsc`.
#[macro_export]
macro_rules! records {
    ($(#[$meta:meta])* pub enum $set:ident in $folder:literal { $($record:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $set { $($record($record)),+ }

        impl $crate::domain::wire::Wire for $set {
            const NAMES: &'static [&'static str] = &[$(stringify!($record)),+];

            fn name(&self) -> &'static str {
                match self { $(Self::$record(_) => stringify!($record)),+ }
            }

            fn codec(name: &str) -> Option<&'static $crate::domain::wire::Codec> {
                match name {
                    $(stringify!($record) => {
                        static CODEC: std::sync::LazyLock<$crate::domain::wire::Codec> = std::sync::LazyLock::new(|| {
                            $crate::domain::wire::Codec::new(
                                stringify!($record),
                                include_str!(concat!(
                                    env!("CARGO_MANIFEST_DIR"), "/schemas/", $folder, "/", stringify!($record), ".avsc"
                                )),
                            )
                        });
                        Some(&CODEC)
                    })+
                    _ => None,
                }
            }

            fn encode(&self, out: &mut Vec<u8>) -> Result<(), $crate::domain::wire::WireError> {
                let codec = $crate::domain::wire::known::<Self>(self.name())?;
                match self { $(Self::$record(record) => codec.write(record, out)),+ }
            }

            fn decode(name: &str, fingerprint: u64, bytes: &[u8]) -> Result<Self, $crate::domain::wire::WireError> {
                let codec = $crate::domain::wire::known::<Self>(name)?;
                match name {
                    $(stringify!($record) => codec.read(fingerprint, bytes).map(Self::$record),)+
                    _ => unreachable!("known() refused it"),
                }
            }

            fn from_json(name: &str, json: &[u8]) -> Result<Self, $crate::domain::wire::WireError> {
                let codec = $crate::domain::wire::known::<Self>(name)?;
                match name {
                    $(stringify!($record) => {
                        $crate::domain::json::from_slice(json)
                            .map(Self::$record)
                            .map_err(|error| codec.malformed(error))
                    })+
                    _ => unreachable!("known() refused it"),
                }
            }

            fn to_json(&self) -> serde_json::Value {
                match self { $(Self::$record(record) => serde_json::to_value(record).unwrap_or_default()),+ }
            }
        }
    };
}

/// The codec of a record, or an error that lists the names there are.
pub fn known<W: Wire>(name: &str) -> Result<&'static Codec, WireError> {
    W::codec(name).ok_or_else(|| WireError::UnknownRecord { name: name.into(), known: W::NAMES.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;
    use std::collections::BTreeMap;

    const NOW: &str = r#"{"type": "record", "name": "a.Moved", "fields": [
        {"name": "id", "type": "string"},
        {"name": "count", "type": "long"},
        {"name": "why", "type": ["null", "string"], "default": null},
        {"name": "tier", "type": {"type": "enum", "name": "Tier", "symbols": ["low", "other"], "default": "other"}},
        {"name": "place", "type": {"type": "record", "name": "Place", "fields": [
            {"name": "room", "type": "string"}, {"name": "floor", "type": "int", "default": 1}
        ]}},
        {"name": "tags", "type": {"type": "map", "values": "double"}, "default": {}}
    ]}"#;
    /// Another order, a narrower number, a field that is gone, symbols that are gone, nothing of what came later.
    const FIRST: &str = r#"{"type": "record", "name": "a.Moved", "fields": [
        {"name": "count", "type": "int"},
        {"name": "gone", "type": {"type": "array", "items": "string"}},
        {"name": "tier", "type": {"type": "enum", "name": "Tier", "symbols": ["high", "low"]}},
        {"name": "id", "type": "string"},
        {"name": "place", "type": {"type": "record", "name": "Place", "fields": [{"name": "room", "type": "string"}]}}
    ]}"#;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Moved {
        id: String,
        count: i64,
        why: Option<String>,
        tier: Tier,
        place: Place,
        tags: BTreeMap<String, f64>,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Tier {
        Low,
        Other,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Place {
        room: String,
        floor: i32,
    }

    fn codec() -> Codec {
        Codec::of("Moved", NOW, parsed("Moved", NOW), &[FIRST])
    }

    /// Avro by hand: zig-zag numbers, lengths before texts, an array in blocks.
    fn written_first(tier: u8) -> Vec<u8> {
        [&[14, 2, 2, b'x', 0, tier, 4][..], b"ab", &[6], b"lab"].concat()
    }

    #[test]
    fn what_an_earlier_schema_wrote_is_read_as_the_schema_now_says() {
        let (codec, first) = (codec(), fingerprint_of(parsed("Moved", FIRST)));
        for (symbol, tier) in [(0, Tier::Other), (2, Tier::Low)] {
            let place = Place { room: "lab".into(), floor: 1 };
            let expected = Moved { id: "ab".into(), count: 7, why: None, tier, place, tags: BTreeMap::new() };
            assert_eq!(codec.read::<Moved>(first, &written_first(symbol)).unwrap(), expected);
            let mut bytes = Vec::new();
            codec.write(&expected, &mut bytes).unwrap();
            assert_eq!(codec.read::<Moved>(codec.fingerprint, &bytes).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_of_no_known_schema_or_longer_or_shorter_than_its_own_is_refused() {
        let (codec, first) = (codec(), fingerprint_of(parsed("Moved", FIRST)));
        let whole = written_first(2);
        let longer = [&whole[..], &[0]].concat();
        let told = |fingerprint, bytes: &[u8]| codec.read::<Moved>(fingerprint, bytes).unwrap_err().to_string();
        assert!(told(first, &longer).contains("1 bytes are left over"));
        assert!(told(first, &whole[..whole.len() - 1]).contains("Moved does not fit its schema"));
        assert!(told(first ^ 1, &whole).contains("which this program does not know"));
    }

    #[test]
    fn json_follows_the_schema_now() {
        let read: Moved = codec().read(fingerprint_of(parsed("Moved", FIRST)), &written_first(2)).unwrap();
        let expected = json!({ "id": "ab", "count": 7, "why": null, "tier": "low", "place": { "room": "lab", "floor": 1 }, "tags": {} });
        assert_eq!(serde_json::to_value(read).unwrap(), expected);
    }
}
