//! Golden files: the bytes of every record, kept under `tests/golden/<folder of its schema>/<Record>.json`.
//!
//! A file holds the schema's fingerprint, the Avro bytes in hex and the same value as JSON. The bytes of a released
//! version must decode for ever, so a file changes only together with a deliberate change of its schema.
//! `UPDATE_GOLDEN=1` writes the files that are missing or differ; without it both fail the test.

use super::wire::{Codec, Wire, known};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

/// Holds `samples`, one per record of the set, against the golden files of `aggregate`.
///
/// # Panics
/// When a record has no sample or two, when a file is missing, when its bytes no longer decode to its JSON, or when
/// encoding what they decode to gives other bytes.
#[track_caller]
pub fn check<W: Wire>(aggregate: &str, samples: Vec<W>) {
    let mut covered = BTreeSet::new();
    for sample in &samples {
        assert!(covered.insert(sample.name()), "{aggregate}/{} has two samples", sample.name());
    }
    let missing: Vec<_> = W::NAMES.iter().filter(|name| !covered.contains(*name)).collect();
    assert!(missing.is_empty(), "{aggregate} has no golden sample of {missing:?}");
    for sample in &samples {
        let path = path(aggregate, sample.name());
        if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
            update(&path, sample);
        }
        compare(&path, sample);
    }
}

/// The same for a record that is neither command nor event.
///
/// # Panics
/// As [`check`] does.
#[track_caller]
pub fn check_record<R>(folder: &str, codec: &Codec, sample: &R)
where
    R: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let path = path(folder, codec.name);
    let mut bytes = Vec::new();
    codec.write(sample, &mut bytes).unwrap_or_else(|error| panic!("{error}"));
    let file = file(codec.fingerprint, &bytes, serde_json::to_value(sample).expect("it prints"));
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        write(&path, &file);
    }
    assert_eq!(file, read(&path), "{}: the sample makes something else", path.display());
    let back: R = codec.read(codec.fingerprint, &bytes).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(&back, sample, "{}", path.display());
}

/// Fails when a value of the sample is null or empty, so that a golden file pins every field's value.
#[track_caller]
pub fn assert_full<W: Wire>(samples: &[W]) {
    for sample in samples {
        if let Value::Object(fields) = sample.to_json() {
            fields.iter().for_each(|(name, value)| assert_value(&format!("{}.{name}", sample.name()), value));
        }
    }
}

#[track_caller]
fn assert_value(at: &str, value: &Value) {
    let blank = match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Bool(value) => !value,
        Value::Array(items) => {
            items.iter().for_each(|item| assert_value(at, item));
            items.is_empty()
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| assert_value(&format!("{at}.{name}"), value));
            fields.is_empty()
        }
    };
    assert!(!blank, "{at} is {value}: give the sample a value that is not the default");
}

fn path(aggregate: &str, record: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(aggregate).join(format!("{record}.json"))
}

fn update<W: Wire>(path: &Path, sample: &W) {
    let fingerprint = known::<W>(sample.name()).expect("declared").fingerprint;
    write(path, &file(fingerprint, &encode(sample), sample.to_json()));
}

fn file(fingerprint: u64, bytes: &[u8], json: Value) -> Value {
    json!({ "fingerprint": format!("{fingerprint:016x}"), "avro_hex": to_hex(bytes), "json": json })
}

fn write(path: &Path, file: &Value) {
    let text = serde_json::to_string_pretty(file).expect("a JSON value prints") + "\n";
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return;
    }
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("the golden folder can be made");
    std::fs::write(path, text).expect("the golden file can be written");
}

#[track_caller]
fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("{}: {error}; UPDATE_GOLDEN=1 writes it", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[track_caller]
fn compare<W: Wire>(path: &Path, sample: &W) {
    let (name, file) = (sample.name(), read(path));
    let field = |name: &str| file[name].as_str().unwrap_or_else(|| panic!("{}: no {name}", path.display()));
    let fingerprint = u64::from_str_radix(field("fingerprint"), 16).expect("16 hex digits");
    let bytes = from_hex(field("avro_hex"));

    let from_avro = W::decode(name, fingerprint, &bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let from_json = W::from_json(name, file["json"].to_string().as_bytes())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(from_avro, from_json, "{}: Avro and JSON differ", path.display());
    assert_eq!(from_avro.to_json(), file["json"], "{}: the JSON form changed", path.display());
    assert_eq!(to_hex(&encode(&from_avro)), field("avro_hex"), "{}: the bytes changed", path.display());
    assert_eq!(&from_avro, sample, "{}: the sample in the test is another one", path.display());
}

fn encode<W: Wire>(record: &W) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes).unwrap_or_else(|error| panic!("{error}"));
    bytes
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("hex digits");
            u8::from_str_radix(pair, 16).expect("hex digits")
        })
        .collect()
}
