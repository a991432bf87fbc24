//! Values that another version of a schema wrote.

use super::super::resolve::{Fault, Writer};
use super::super::subject;
use super::*;
use crate::domain::{AnyCommand, AnyEvent};
use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;
use std::borrow::Cow;
use std::collections::HashMap;

fn ours() -> HashMap<String, &'static Codec> {
    codecs().into_iter().map(|codec| (subject(codec), codec)).collect()
}

fn writer(text: &str) -> Result<Writer, Fault> {
    Writer::new(text, &ours())
}

/// Aggregate and name of every record, commands first.
fn records() -> impl Iterator<Item = (Aggregate, &'static str)> {
    let of = |kind: &Aggregate| {
        let kind = *kind;
        kind.commands().iter().chain(kind.events()).map(move |name| (kind, *name))
    };
    Aggregate::ALL.iter().flat_map(of)
}

/// Holds two encodings of one record against each other by what they decode to: the order within a map is free.
fn assert_same(kind: Aggregate, name: &str, left: &[u8], right: &[u8]) {
    let fingerprint = kind.codec(name).unwrap().fingerprint;
    if kind.commands().contains(&name) {
        let decode = |bytes| AnyCommand::decode(kind, name, fingerprint, bytes).unwrap();
        assert_eq!(decode(left), decode(right), "{name}");
    } else {
        let decode = |bytes| AnyEvent::decode(kind, name, fingerprint, bytes).unwrap();
        assert_eq!(decode(left), decode(right), "{name}");
    }
}

#[test]
fn a_field_that_only_the_writer_has_is_left_out_of_every_record() {
    for (kind, name) in records() {
        let writer = writer(&with_extra_field(kind.codec(name).unwrap())).unwrap();
        let golden = golden(kind, name);
        for extra in [&[0u8][..], &[2, 4, b'h', b'i']] {
            let bytes = [&golden, extra].concat();
            let read = writer.read(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(matches!(read, Cow::Owned(_)), "{name} has another schema");
            assert_same(kind, name, &read, &golden);
        }
    }
}

#[test]
fn a_field_that_only_we_have_gets_its_default() {
    let codec = codec("RegisterAgent");
    let text = changed(codec, |schema| {
        let fields = schema["fields"].as_array_mut().unwrap();
        fields.retain(|field| {
            !["risk_tier", "requirements", "skills", "category"].contains(&field["name"].as_str().unwrap())
        });
    });
    let schema = Schema::parse_str(&text).unwrap();
    let Schema::Record(record) = &schema else { panic!("a record") };
    let value = |name: &str| match name {
        "name" => Avro::String("Ada".into()),
        "purpose" | "role" => Avro::String("x".into()),
        "instructions" => Avro::Union(1, Box::new(Avro::String("be kind".into()))),
        "domains" => Avro::Array(vec![Avro::String("finance".into())]),
        "template_parameters" => Avro::Map(HashMap::from([("k".to_owned(), Avro::String("v".into()))])),
        _ => Avro::Union(0, Box::new(Avro::Null)),
    };
    let fields = record.fields.iter().map(|field| (field.name.clone(), value(&field.name))).collect();
    let bytes = GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(Avro::Record(fields)).unwrap();

    let read = writer(&text).unwrap().read(&bytes).unwrap().into_owned();

    let AnyCommand::Agent(command) =
        AnyCommand::decode(Aggregate::Agent, codec.name, codec.fingerprint, &read).unwrap()
    else {
        panic!("a command of an agent")
    };
    let json = crate::domain::wire::Wire::to_json(&*command);
    assert_eq!(json["name"], "Ada");
    assert_eq!(json["instructions"], "be kind");
    assert_eq!(json["domains"], json!(["finance"]));
    assert_eq!(json["template_parameters"], json!({"k": "v"}));
    assert_eq!((&json["risk_tier"], &json["category"]), (&json!("medium"), &json!("")), "{json}");
    assert_eq!((&json["skills"], &json["requirements"]), (&json!([]), &Value::Null), "{json}");
}

#[test]
fn the_same_schema_with_other_words_is_ours_and_costs_nothing() {
    let codec = codec("RegisterAgent");
    let writer = writer(&changed(codec, |schema| schema["doc"] = json!("In other words."))).unwrap();
    assert!(matches!(writer.read(b"anything").unwrap(), Cow::Borrowed(b"anything")));
}

#[test]
fn a_value_that_was_cut_anywhere_is_an_error_and_not_a_value_with_empty_fields() {
    for (kind, name) in records() {
        let writer = writer(&with_extra_field(kind.codec(name).unwrap())).unwrap();
        let bytes = [&golden(kind, name)[..], &[2, 4, b'h', b'i']].concat();
        for length in 0..bytes.len() {
            assert!(writer.read(&bytes[..length]).is_err(), "{name} of {length} bytes");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(writer.read(&longer).unwrap_err().contains("1 bytes are left over"), "{name}");
    }
}

#[test]
fn what_does_not_fit_names_the_fault() {
    let foreign = r#"{"type": "record", "name": "Other", "namespace": "com.example", "fields": []}"#;
    assert_eq!(writer(foreign).unwrap_err(), Fault::Foreign("com.example.Other".into()));
    for text in ["", "{", "\"string\"", r#"{"type": "array", "items": "int"}"#] {
        assert!(matches!(writer(text), Err(Fault::Unusable(_))), "{text}");
    }
    let text = changed(codec("RegisterAgent"), |schema| {
        schema["fields"].as_array_mut().unwrap().retain(|field| field["name"] != "name");
    });
    let bytes = {
        let ours = GenericDatumReader::builder(codec("RegisterAgent").schema).build().unwrap();
        let value = ours.read_value(&mut &golden(Aggregate::Agent, "RegisterAgent")[..]).unwrap();
        let Avro::Record(mut fields) = value else { panic!("a record") };
        fields.retain(|(name, _)| name != "name");
        let schema = Schema::parse_str(&text).unwrap();
        GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(Avro::Record(fields)).unwrap()
    };
    let error = writer(&text).unwrap().read(&bytes).unwrap_err();
    assert!(error.contains("name"), "a field without a default is missed: {error}");
}

#[test]
fn a_schema_by_which_few_bytes_would_take_all_memory_or_stack_is_refused() {
    let extra = |kind: Value| {
        let field = json!({ "name": "extra", "type": kind });
        changed(codec("IdleAgent"), |schema| schema["fields"].as_array_mut().unwrap().push(field))
    };
    let node =
        json!(["null", { "type": "record", "name": "Node", "fields": [{ "name": "next", "type": ["null", "Node"] }] }]);
    let endless = json!({ "type": "record", "name": "Node", "fields": [{ "name": "next", "type": "Node" }] });
    let empty = json!({ "type": "record", "name": "Empty", "fields": [] });
    let mut laughs = json!({ "type": "record", "name": "L0", "fields": [] });
    for level in 1..40 {
        let again = format!("L{}", level - 1);
        laughs = json!({ "type": "record", "name": format!("L{level}"), "fields": [
            { "name": "a", "type": laughs }, { "name": "b", "type": again }
        ] });
    }
    let no_bytes = json!({ "type": "array", "items": "null" });
    let no_bytes_either = json!({ "type": "array", "items": empty });
    for kind in [node, endless, no_bytes, no_bytes_either, laughs] {
        let fault = writer(&extra(kind.clone())).unwrap_err();
        assert!(matches!(&fault, Fault::Unusable(text) if text.starts_with("it ")), "{kind}: {fault:?}");
    }
    assert!(writer(&extra(json!({ "type": "array", "items": "long" }))).is_ok());
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), which in any::<prop::sample::Index>()) {
        let codec = codecs()[which.index(codecs().len())];
        let writer = writer(&with_extra_field(codec)).unwrap();
        if let Ok(read) = writer.read(&bytes) {
            // What comes out is a value of ours.
            let ours = GenericDatumReader::builder(codec.schema).build().unwrap();
            prop_assert!(ours.read_value(&mut &read[..]).is_ok());
        }
    }

    #[test]
    fn a_value_with_damaged_bytes_never_panics(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), which in any::<prop::sample::Index>()
    ) {
        let records: Vec<_> = records().collect();
        let (kind, name) = records[which.index(records.len())];
        let mut bytes = [&golden(kind, name)[..], &[0]].concat();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let writer = writer(&with_extra_field(kind.codec(name).unwrap())).unwrap();
        let _ = writer.read(&bytes);
    }
}
