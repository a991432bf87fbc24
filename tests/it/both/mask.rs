//! What of an answer cannot be the same on both sides.

use serde_json::Value;

/// Fields that hold what the wall clock said, or a digest over it.
const MASKED: &[&str] = &[
    // When the record was made, and when the stream's first and last event was.
    "recorded_at",
    "created_at",
    "updated_at",
    // When a dead letter was buried.
    "buried_at",
    // The record's link of the chain covers its time.
    "hash",
];

/// The body with those fields blanked; one that is missing or null stays as it is, so that presence is compared.
pub fn masked(mut body: Value) -> Value {
    mask(&mut body);
    body
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if MASKED.contains(&name.as_str()) => *text = format!("<{name}>"),
                    _ => mask(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        _ => {}
    }
}

/// An answer to a command without an id: both sides make one, and the stream's from it.
pub fn without_generated_ids(mut body: Value) -> Value {
    for name in ["id", "subject"] {
        if let Some(field) = body.get_mut(name).filter(|field| field.is_string()) {
            *field = Value::String("<generated>".into());
        }
    }
    body
}

#[test]
fn only_times_and_what_covers_them_are_masked() {
    let entry = |at: &str, hash: &str, position: u64| serde_json::json!({ "items": [{ "recorded_at": at, "hash": hash, "position": position }], "created_at": null });
    assert_eq!(masked(entry("now", "ab", 1)), masked(entry("then", "cd", 1)));
    assert_ne!(masked(entry("now", "ab", 1)), masked(entry("now", "ab", 2)));
    assert_ne!(masked(serde_json::json!({ "hash": null })), masked(serde_json::json!({ "hash": "ab" })));
}
