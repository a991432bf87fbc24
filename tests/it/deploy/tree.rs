//! The files of `deploy/`, read as what they are.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// One YAML document and where it stands.
pub struct Document {
    /// From the root, with `/`.
    pub path: String,
    pub value: Value,
}

impl Document {
    /// The text at a JSON pointer, or nothing.
    pub fn text(&self, pointer: &str) -> &str {
        text(&self.value, pointer)
    }

    pub fn is(&self, kind: &str) -> bool {
        self.text("/kind") == kind
    }

    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|cause| panic!("{path}: {cause}"))
}

/// Every file below `folder`, sorted, from the root.
pub fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![root().join(folder)];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/"));
        }
    }
    found.sort();
    found
}

pub fn is_yaml(path: &str) -> bool {
    path.ends_with(".yaml") || path.ends_with(".yml")
}

/// The documents of a YAML text.
///
/// # Errors
/// What cannot be read of it.
pub fn parse(path: &str, text: &str) -> Result<Vec<Document>, String> {
    let values: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|cause| format!("{path}: {cause}"))?;
    let documents = values.into_iter().filter(|value| !value.is_null());
    Ok(documents.map(|value| Document { path: path.to_owned(), value }).collect())
}

/// The documents of every YAML file below `folder`.
pub fn documents(folder: &str) -> Vec<Document> {
    let paths = files(folder).into_iter().filter(|path| is_yaml(path));
    paths.flat_map(|path| parse(&path, &read(&path)).unwrap_or_else(|fault| panic!("{fault}"))).collect()
}

pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// The list at a JSON pointer; an absent one is empty.
pub fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The texts of a list.
pub fn texts<'a>(value: &'a Value, pointer: &str) -> Vec<&'a str> {
    list(value, pointer).iter().filter_map(Value::as_str).collect()
}

/// The entries of an object; an absent one is empty.
pub fn entries<'a>(value: &'a Value, pointer: &str) -> BTreeMap<&'a str, &'a Value> {
    let object = value.pointer(pointer).and_then(Value::as_object);
    object.into_iter().flatten().map(|(name, value)| (name.as_str(), value)).collect()
}

pub fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn what_is_no_yaml_is_named_and_merges_are_followed() {
    let fault = parse("a.yaml", "a: [1\nb: {").err().unwrap();
    assert!(fault.starts_with("a.yaml: "), "{fault}");
    assert!(parse("a.yaml", "a: 1\na: 2\n").is_err(), "a key that stands twice");
    let merged = parse("a.yaml", "x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\n---\nz: 1\n").unwrap();
    assert_eq!(merged.len(), 2);
    assert_eq!(merged[0].value["y"], serde_json::json!({"a": 1, "b": 3}));
}
