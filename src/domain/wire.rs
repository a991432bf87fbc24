//! Commands and events on the wire: Avro by the schema files, JSON by the same names.
//!
//! The files under `schemas/` are the contract; the Rust structs follow them, field for field and in the same order.
//! A record is stored with its schema's name and 64-bit Avro fingerprint. Encoding and decoding go straight between
//! bytes and struct (1 µs each for a twelve-field record); nothing passes through `apache_avro::types::Value`.

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
}

impl Codec {
    /// # Panics
    /// When the schema does not parse. The text is compiled in, and a test loads every one.
    #[expect(clippy::panic, reason = "a schema that is compiled in and does not parse is no program")]
    pub fn new(name: &'static str, text: &'static str) -> Self {
        let schema = Schema::parse_str(text).unwrap_or_else(|error| panic!("schema {name}: {error}"));
        // One per record for the life of the program, so that the writer and reader can borrow it.
        let schema: &'static Schema = Box::leak(Box::new(schema));
        let digest = schema.fingerprint::<Rabin>().bytes;
        let mut fingerprint = [0u8; 8];
        fingerprint.copy_from_slice(&digest[..8]);
        Self {
            name,
            text,
            fingerprint: u64::from_le_bytes(fingerprint),
            schema,
            writer: GenericDatumWriter::builder(schema)
                .build()
                .unwrap_or_else(|error| panic!("schema {name}: {error}")),
            reader: GenericDatumReader::builder(schema)
                .build()
                .unwrap_or_else(|error| panic!("schema {name}: {error}")),
        }
    }

    pub fn write<T: Serialize>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), WireError> {
        self.writer.write_ser(out, value).map(|_| ()).map_err(|error| self.malformed(error))
    }

    /// Fails when bytes are left over: a longer value is another schema's.
    pub fn read<T: DeserializeOwned>(&self, fingerprint: u64, mut bytes: &[u8]) -> Result<T, WireError> {
        if fingerprint != self.fingerprint {
            return Err(WireError::UnknownSchema { name: self.name.into(), fingerprint, known: self.fingerprint });
        }
        let value = self.reader.read_deser(&mut bytes).map_err(|error| self.malformed(error))?;
        if !bytes.is_empty() {
            return Err(self.malformed(format!("{} bytes are left over", bytes.len())));
        }
        Ok(value)
    }

    pub fn malformed(&self, cause: impl ToString) -> WireError {
        WireError::Malformed { name: self.name.into(), cause: cause.to_string() }
    }
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
