//! Reading values that another version of a schema wrote.
//!
//! A writer's schema with our fingerprint is ours: its bytes are passed on as they are. Any other is resolved into ours
//! by Avro's rules, through `apache_avro`'s `Value`, and written again: several times slower, and rare, for it happens
//! only while producers of two versions are at work.
//!
//! The schema comes from outside, and so does the value. Before a schema is used it is walked, because one that contains
//! itself, or an array of items that take no bytes, would let a few bytes of a value use up the stack or the memory.

use crate::domain::wire::Codec;
use apache_avro::rabin::Rabin;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema::{Name, NamesRef, ResolvedSchema, UuidSchema};
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Schema, schema::InnerDecimalSchema};
use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Read};

/// Deepest nesting of a writer's schema; ours have at most 6 levels.
const DEPTH_MAX: usize = 64;
/// Most types in a writer's schema, each counted as often as it is used; ours have fewer than 200.
const TYPES_MAX: usize = 10_000;

/// How to read what one schema of the registry wrote.
pub struct Writer {
    pub codec: &'static Codec,
    /// Where it is another than ours.
    other: Option<Schema>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("name", &self.codec.name).field("ours", &self.other.is_none()).finish()
    }
}

/// Why a schema cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is a record of this name, which is none of ours.
    Foreign(String),
    Unusable(String),
}

impl Writer {
    pub fn ours(codec: &'static Codec) -> Self {
        Self { codec, other: None }
    }

    /// Takes a writer's schema, whose record must be one of ours by its full name.
    pub fn new(text: &str, ours: &HashMap<String, &'static Codec>) -> Result<Self, Fault> {
        let schema = Schema::parse_str(text).map_err(|error| Fault::Unusable(error.to_string()))?;
        let name = schema.name().map(|name| name.fullname(None));
        let name = name.ok_or_else(|| Fault::Unusable("it is no record".to_owned()))?;
        let codec = *ours.get(&name).ok_or(Fault::Foreign(name))?;
        if schema.fingerprint::<Rabin>().bytes.as_slice() == codec.fingerprint.to_le_bytes() {
            return Ok(Self::ours(codec));
        }
        check(&schema).map_err(Fault::Unusable)?;
        Ok(Self { codec, other: Some(schema) })
    }

    /// The value's bytes in our schema.
    pub fn read<'a>(&self, payload: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
        match &self.other {
            None => Ok(Cow::Borrowed(payload)),
            Some(schema) => self.resolve(schema, payload).map(Cow::Owned),
        }
    }

    fn resolve(&self, schema: &Schema, payload: &[u8]) -> Result<Vec<u8>, String> {
        let words = |error: apache_avro::Error| error.to_string();
        let reader = GenericDatumReader::builder(schema).reader_schema(self.codec.schema).build().map_err(words)?;
        let mut rest = Whole(payload);
        let value = reader.read_value(&mut rest).map_err(words)?;
        if !rest.0.is_empty() {
            return Err(format!("{} bytes are left over", rest.0.len()));
        }
        let mut out = Vec::with_capacity(payload.len());
        let writer = GenericDatumWriter::builder(self.codec.schema).build().map_err(words)?;
        writer.write_value_ref(&mut out, &value).map_err(words)?;
        Ok(out)
    }
}

/// Bytes whose end is an error of its own kind: `apache_avro` takes an end that it knows for a null, so that a value
/// that was cut would read as one whose last fields are empty.
struct Whole<'a>(&'a [u8]);

impl Read for Whole<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the value ends too early"));
        }
        self.0.read(buffer)
    }
}

/// Refuses schemas whose values could take more than their bytes are worth.
fn check(schema: &Schema) -> Result<(), String> {
    let resolved = ResolvedSchema::new(schema).map_err(|error| error.to_string())?;
    Walk { names: resolved.get_names(), types: 0 }.bytes_min(schema, None, 0).map(|_| ())
}

struct Walk<'a> {
    names: &'a NamesRef<'a>,
    types: usize,
}

impl Walk<'_> {
    /// The fewest bytes that a value takes.
    fn bytes_min(&mut self, schema: &Schema, namespace: Option<&str>, depth: usize) -> Result<usize, String> {
        self.types += 1;
        if depth > DEPTH_MAX || self.types > TYPES_MAX {
            return Err("it contains itself, or is too large".to_owned());
        }
        Ok(match schema {
            Schema::Null => 0,
            Schema::Float => 4,
            Schema::Double => 8,
            Schema::Fixed(fixed) | Schema::Duration(fixed) | Schema::Uuid(UuidSchema::Fixed(fixed)) => fixed.size,
            Schema::Decimal(decimal) => match &decimal.inner {
                InnerDecimalSchema::Fixed(fixed) => fixed.size,
                InnerDecimalSchema::Bytes => 1,
            },
            Schema::Array(array) => {
                if self.bytes_min(&array.items, namespace, depth + 1)? == 0 {
                    return Err("it has an array of items that take no bytes".to_owned());
                }
                1
            }
            Schema::Map(map) => {
                self.bytes_min(&map.types, namespace, depth + 1)?;
                1
            }
            Schema::Union(union) => {
                for variant in union.variants() {
                    self.bytes_min(variant, namespace, depth + 1)?;
                }
                1
            }
            Schema::Record(record) => {
                let namespace = record.name.namespace().or(namespace);
                let mut bytes: usize = 0;
                for field in &record.fields {
                    bytes = bytes.saturating_add(self.bytes_min(&field.schema, namespace, depth + 1)?);
                }
                bytes
            }
            Schema::Ref { name } => {
                let name = Name::new(name.fullname(namespace)).map_err(|error| error.to_string())?;
                let named = *self.names.get(&name).ok_or_else(|| format!("it does not define {}", name.name()))?;
                self.bytes_min(named, name.namespace(), depth + 1)?
            }
            _ => 1,
        })
    }
}
