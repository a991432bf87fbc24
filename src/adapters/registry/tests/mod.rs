//! Tests of the registry's client and of framing: against a stub that says what a test wants, and a real registry.

mod apply;
mod client;
mod evolved;
mod framing;
mod live;
mod stub;

use crate::domain::Aggregate;
use crate::domain::wire::Codec;
use serde_json::{Value, json};

fn codecs() -> Vec<&'static Codec> {
    Aggregate::codecs().collect()
}

fn codec(name: &str) -> &'static Codec {
    Aggregate::codecs().find(|codec| codec.name == name).unwrap()
}

/// The schema with one thing changed.
fn changed(codec: &Codec, change: impl FnOnce(&mut Value)) -> String {
    let mut schema = serde_json::from_str(codec.text).unwrap();
    change(&mut schema);
    schema.to_string()
}

/// The schema with a field at its end that ours does not have.
fn with_extra_field(codec: &Codec) -> String {
    let field = json!({ "name": "extra_of_later", "type": ["null", "string"], "default": null });
    changed(codec, |schema| schema["fields"].as_array_mut().unwrap().push(field))
}

/// The Avro bytes of a record's golden file.
fn golden(aggregate: Aggregate, record: &str) -> Vec<u8> {
    let path = format!("{}/tests/golden/{}/{record}.json", env!("CARGO_MANIFEST_DIR"), aggregate.name());
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let hex = file["avro_hex"].as_str().unwrap();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn every_schema_of_the_program_is_listed_once_under_its_full_name() {
    let subjects: std::collections::BTreeSet<_> = codecs().into_iter().map(super::subject).collect();
    assert_eq!(subjects.len(), codecs().len());
    assert!(subjects.contains("agentverse.agent.RegisterAgent"), "{subjects:?}");
    let expected: usize = Aggregate::ALL.iter().map(|kind| kind.commands().len() + kind.events().len()).sum();
    assert_eq!(subjects.len(), expected);
}
