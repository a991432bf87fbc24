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
            mask_letters(fields);
            mask_score(fields);
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

/// A dead letter's number tells its place: in the folder there is one sequence, in the topic one per partition. So does the
/// cursor of a page of them.
fn mask_letters(fields: &mut serde_json::Map<String, Value>) {
    if fields.contains_key("buried_at")
        && let Some(number) = fields.get_mut("number").filter(|number| number.is_u64())
    {
        *number = Value::String("<number>".into());
    }
    let letters =
        fields.get("items").and_then(|items| items.get(0)).is_some_and(|item| item.get("buried_at").is_some());
    if let Some(cursor) = fields.get_mut("next_cursor").filter(|cursor| letters && cursor.is_string()) {
        *cursor = Value::String("<next_cursor>".into());
    }
}

/// How rare a word is counts rows that were replaced until their segment is merged anew, and each side merges when it does.
fn mask_score(fields: &mut serde_json::Map<String, Value>) {
    if fields.contains_key("reasons")
        && let Some(score) = fields.get_mut("score").filter(|score| score.is_number())
    {
        *score = Value::String("<score>".into());
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

/// A trace: commands of different logs that followed from one event were recorded in the order in which each side came to
/// them.
pub fn without_order_of_time(mut body: Value) -> Value {
    order(&mut body);
    body
}

fn order(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                order(value);
                if let ("roots" | "commands", Value::Array(commands)) = (name.as_str(), value) {
                    commands.sort_by_key(|command| command["command_id"].to_string());
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(order),
        _ => {}
    }
}

#[test]
fn only_times_and_what_covers_them_are_masked() {
    let entry = |at: &str, hash: &str, position: u64| serde_json::json!({ "items": [{ "recorded_at": at, "hash": hash, "position": position }], "created_at": null });
    assert_eq!(masked(entry("now", "ab", 1)), masked(entry("then", "cd", 1)));
    assert_ne!(masked(entry("now", "ab", 1)), masked(entry("now", "ab", 2)));
    assert_ne!(masked(serde_json::json!({ "hash": null })), masked(serde_json::json!({ "hash": "ab" })));
}
