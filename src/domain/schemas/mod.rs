//! The schemas that come with this program, as a registry shows them: subjects, versions, ids.
//!
//! A subject is a record's full name (RecordNameStrategy). Its last version is the text under `schemas/`; before it come
//! the texts of earlier releases, oldest first, so that a version keeps its number for ever.
//!
//! An id follows from the schema alone, so that it is the same on every node, after every start, and in every release:
//! bit 30 is set, and below it are the low 30 bits of the schema's 64-bit Avro fingerprint (`0x40000000 |
//! fingerprint & 0x3fffffff`). That is a positive number of 31 bits, as clients want it, and greater than any id that a
//! registry gives that counts from 1: the two cannot be taken for one another. A test proves that no two share one.
//!
//! Two texts of one canonical form (they differ in documentation or defaults) are one version: the later one.

mod compatible;
#[cfg(test)]
mod tests;

pub use compatible::{conflicts, conflicts_with};

use super::Aggregate;
use super::wire::{Codec, fingerprint_of};
use apache_avro::Schema;
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

/// Texts that earlier releases had, by subject, oldest first: what they wrote is resolved to the schema as it is now.
/// Whoever changes a schema that was released moves its old text here.
const EARLIER: &[(&str, &[&str])] = &[];

/// The texts that earlier releases had of a subject, oldest first.
pub fn earlier(subject: &str) -> &'static [&'static str] {
    EARLIER.iter().find(|(name, _)| *name == subject).map_or(&[], |(_, texts)| texts)
}

/// Longest text of a schema that is looked at; ours have at most 12 KiB.
pub const TEXT_BYTES_MAX: usize = 256 << 10;

/// The schema of what is told on the topic of outcomes: the only one that belongs to no aggregate.
pub fn outcome_codec() -> &'static Codec {
    static CODEC: LazyLock<Codec> = LazyLock::new(|| {
        let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/outcome/CommandOutcome.avsc"));
        Codec::new("CommandOutcome", text)
    });
    &CODEC
}

/// The id of a schema, from its 64-bit Avro fingerprint.
pub const fn id_of(fingerprint: u64) -> u32 {
    (1 << 30) | (fingerprint & ((1 << 30) - 1)) as u32
}

/// One version of one subject.
#[derive(Debug)]
pub struct Version {
    pub subject: String,
    /// Within the subject, from 1.
    pub number: u32,
    pub id: u32,
    pub fingerprint: u64,
    /// The schema's text without the white space between its parts.
    pub text: String,
    pub schema: Schema,
}

/// Every schema there is.
pub struct Schemas {
    /// By subject; a subject's versions in their order.
    subjects: BTreeMap<String, Vec<Version>>,
    ids: HashMap<u32, (String, usize)>,
}

impl Schemas {
    /// The schemas of this program.
    pub fn of_program() -> &'static Self {
        static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| {
            let codecs = Aggregate::codecs().chain([outcome_codec()]);
            Schemas::new(codecs.map(|codec| (codec.schema, codec.text)), EARLIER)
        });
        &SCHEMAS
    }

    fn new<'a>(current: impl Iterator<Item = (&'a Schema, &'a str)>, earlier: &[(&str, &[&str])]) -> Self {
        let mut schemas = Self { subjects: BTreeMap::new(), ids: HashMap::new() };
        for (schema, text) in current {
            let Some(subject) = name_of(schema) else { continue };
            let texts = earlier.iter().find(|(name, _)| *name == subject).map_or(&[][..], |(_, texts)| *texts);
            // A text that does not parse is left out; a test loads every one.
            let before = texts.iter().filter_map(|text| parse(text).ok().map(|schema| (schema, *text)));
            for (schema, text) in before.chain([(schema.clone(), text)]) {
                schemas.add(&subject, schema, text);
            }
        }
        schemas
    }

    fn add(&mut self, subject: &str, schema: Schema, text: &str) {
        let fingerprint = fingerprint_of(&schema);
        let versions = self.subjects.entry(subject.to_owned()).or_default();
        versions.retain(|version| version.fingerprint != fingerprint);
        let (number, id) = (versions.len() as u32 + 1, id_of(fingerprint));
        self.ids.insert(id, (subject.to_owned(), versions.len()));
        versions.push(Version { subject: subject.to_owned(), number, id, fingerprint, text: compact(text), schema });
    }

    /// In the order of their names.
    pub fn subjects(&self) -> impl Iterator<Item = &str> {
        self.subjects.keys().map(String::as_str)
    }

    /// All versions of all subjects.
    pub fn all(&self) -> impl Iterator<Item = &Version> {
        self.subjects.values().flatten()
    }

    /// A subject's versions, oldest first: at least one. `None` where there is no such subject.
    pub fn versions(&self, subject: &str) -> Option<&[Version]> {
        self.subjects.get(subject).map(Vec::as_slice)
    }

    pub fn by_id(&self, id: u32) -> Option<&Version> {
        let (subject, at) = self.ids.get(&id)?;
        self.subjects.get(subject)?.get(*at)
    }
}

/// Reads a schema that came from outside.
///
/// # Errors
/// In words, when it is no Avro schema or a larger one than any that is looked at.
pub fn parse(text: &str) -> Result<Schema, String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("it has more than {TEXT_BYTES_MAX} bytes"));
    }
    Schema::parse_str(text).map_err(|error| error.to_string())
}

/// Whether two schemas are the same but for white space, the order of keys and how names are written; with `normalized`,
/// also but for documentation, defaults and whatever else Avro's parsing canonical form leaves out.
pub fn same(one: &Schema, other: &Schema, normalized: bool) -> bool {
    match normalized {
        true => fingerprint_of(one) == fingerprint_of(other),
        false => serde_json::to_value(one).ok() == serde_json::to_value(other).ok(),
    }
}

/// The full name of a record, enum or fixed.
pub fn name_of(schema: &Schema) -> Option<String> {
    schema.name().map(|name| name.fullname(None))
}

/// JSON without the white space between its parts.
fn compact(json: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    let keep = |char: &char| {
        let kept = inside || !char.is_ascii_whitespace();
        if *char == '"' && !escaped {
            inside = !inside;
        }
        escaped = inside && *char == '\\' && !escaped;
        kept
    };
    json.chars().filter(keep).collect()
}
