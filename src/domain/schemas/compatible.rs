//! Whether two schemas can read each other's values: FULL, in the words of registries; over all versions FULL_TRANSITIVE.
//!
//! `apache_avro` does the comparing. It takes a type that is named for another than the same type where it is defined, so
//! the definitions are put in for the names first. What it finds readable for some values only is a conflict here.

use super::Version;
use apache_avro::Schema;
use apache_avro::error::CompatibilityError;
use apache_avro::schema::{Name, NamesRef, ResolvedSchema, UnionSchema};
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};

/// Deepest nesting of a schema; ours have at most 8 levels.
const DEPTH_MAX: usize = 64;
/// Most types in a schema, each counted as often as it is used; ours have fewer than 300.
const TYPES_MAX: usize = 10_000;

/// What keeps a schema and these versions from reading each other's values, a sentence each; none where nothing does.
pub fn conflicts<'a>(schema: &Schema, versions: impl IntoIterator<Item = &'a Version>) -> Vec<String> {
    let each = versions.into_iter().flat_map(|version| conflicts_with(schema, version.number, &version.schema));
    each.collect()
}

/// The same of one other schema, which the sentences call a version of this number.
pub fn conflicts_with(schema: &Schema, number: u32, version: &Schema) -> Vec<String> {
    let (ours, theirs) = match (inlined(schema), inlined(version)) {
        (Ok(ours), Ok(theirs)) => (ours, theirs),
        (Err(cause), _) => return vec![format!("the schema cannot be compared: {cause}")],
        (_, Err(cause)) => return vec![format!("version {number} cannot be compared: {cause}")],
    };
    let mut found = Vec::new();
    if let Some(cause) = unreadable(&theirs, &ours) {
        found.push(format!("the schema cannot read what version {number} wrote: {cause}"));
    }
    if let Some(cause) = unreadable(&ours, &theirs) {
        found.push(format!("version {number} cannot read what the schema wrote: {cause}"));
    }
    found
}

/// Why not every value of the writer can be read.
fn unreadable(writer: &Schema, reader: &Schema) -> Option<String> {
    match SchemaCompatibility::can_read(writer, reader) {
        Ok(Compatibility::Full) => None,
        Ok(Compatibility::Partial) => {
            Some("an enum or a union of the writer has what the reader's does not have".to_owned())
        }
        Err(error) => Some(words(&error)),
    }
}

fn words(error: &CompatibilityError) -> String {
    match error {
        CompatibilityError::FieldTypeMismatch(field, cause) => format!("field {field:?}: {}", words(cause)),
        CompatibilityError::MissingDefaultValue(field) => {
            format!("field {field:?} has no default in the reader, and the writer has no such field")
        }
        // Its own words print both schemas as the library holds them.
        CompatibilityError::WrongType { .. } => "the types differ".to_owned(),
        CompatibilityError::NameMismatch { writer_name, reader_name } => {
            format!("the writer names it {writer_name:?}, the reader {reader_name:?}")
        }
        CompatibilityError::MissingSymbols => "the reader's enum has none of the writer's symbols".to_owned(),
        CompatibilityError::MissingUnionElements | CompatibilityError::SchemaMismatchAllUnionElements => {
            "the reader takes no type of the writer's".to_owned()
        }
        other => other.to_string(),
    }
}

/// The schema with every name of a type replaced by its definition.
fn inlined(schema: &Schema) -> Result<Schema, String> {
    let resolved = ResolvedSchema::new(schema).map_err(|error| error.to_string())?;
    let mut out = schema.clone();
    Inline { names: resolved.get_names(), types: 0 }.visit(&mut out, None, 0)?;
    Ok(out)
}

struct Inline<'a> {
    names: &'a NamesRef<'a>,
    types: usize,
}

impl Inline<'_> {
    fn visit(&mut self, schema: &mut Schema, namespace: Option<&str>, depth: usize) -> Result<(), String> {
        self.types += 1;
        if depth > DEPTH_MAX || self.types > TYPES_MAX {
            return Err("it contains itself, or is too large".to_owned());
        }
        match schema {
            Schema::Ref { name } => {
                let name = Name::new(name.fullname(namespace)).map_err(|error| error.to_string())?;
                let named = *self.names.get(&name).ok_or_else(|| format!("it does not define {}", name.name()))?;
                *schema = named.clone();
                self.visit(schema, name.namespace(), depth + 1)?;
            }
            Schema::Array(array) => self.visit(&mut array.items, namespace, depth + 1)?,
            Schema::Map(map) => self.visit(&mut map.types, namespace, depth + 1)?,
            Schema::Union(union) => {
                let mut variants = union.variants().to_vec();
                for variant in &mut variants {
                    self.visit(variant, namespace, depth + 1)?;
                }
                *union = UnionSchema::new(variants).map_err(|error| error.to_string())?;
            }
            Schema::Record(record) => {
                let own = record.name.namespace().map(str::to_owned);
                for field in &mut record.fields {
                    self.visit(&mut field.schema, own.as_deref().or(namespace), depth + 1)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}
