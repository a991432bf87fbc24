//! Instances against the schemas that they were made for.

use super::draw::{Draw, Purpose};
use super::schema::instance;
use serde_json::{Value, json};

fn made(schema: &Value) -> Value {
    let text = instance(&schema.to_string(), &mut Draw::new(1, Purpose::Content, 1)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn refusal(schema: &Value) -> String {
    instance(&schema.to_string(), &mut Draw::new(1, Purpose::Content, 1)).unwrap_err()
}

#[test]
fn an_object_has_its_properties_with_their_types_and_bounds() {
    let value = made(&json!({
        "type": "object",
        "properties": {
            "city": {"type": "string", "minLength": 12},
            "unit": {"enum": ["c", "f"]},
            "days": {"type": "integer", "minimum": 3, "maximum": 5},
            "share": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.001},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 2}, "minItems": 3},
            "when": {"type": "string", "format": "date-time"},
            "maybe": {"anyOf": [{"type": "boolean"}, {"type": "null"}]}
        },
        "required": ["city", "unit", "days", "share", "tags", "when", "maybe", "extra"],
        "additionalProperties": {"const": 7}
    }));
    assert!(value["city"].as_str().unwrap().len() >= 12);
    assert!(["c", "f"].contains(&value["unit"].as_str().unwrap()));
    assert!((3..=5).contains(&value["days"].as_i64().unwrap()));
    let share = value["share"].as_f64().unwrap();
    assert!(share > 0.0 && share < 0.001, "{share}");
    let tags = value["tags"].as_array().unwrap();
    assert!(tags.len() == 3 && tags.iter().all(|tag| tag.as_str().unwrap().len() <= 2));
    assert!(value["when"].as_str().unwrap().starts_with("2025-"));
    assert!(value["maybe"].is_boolean());
    assert_eq!(value["extra"], 7);
}

#[test]
fn numbers_keep_their_bounds_whatever_these_are() {
    for (schema, fits) in [
        (json!({"type": "integer", "exclusiveMinimum": 3, "maximum": 4}), (4.0..=4.0)),
        (json!({"type": "integer", "maximum": -5}), (-1e9..=-5.0)),
        (json!({"type": "integer", "multipleOf": 7, "minimum": 8, "maximum": 20}), (14.0..=14.0)),
        (json!({"type": "number", "minimum": 0.1, "maximum": 0.2}), (0.1..=0.2)),
        (json!({"type": "NUMBER", "minimum": 5}), (5.0..=1e9)),
    ] {
        let value = made(&schema).as_f64().unwrap();
        assert!(fits.contains(&value), "{schema}: {value}");
    }
    assert!(refusal(&json!({"type": "integer", "minimum": 1.2, "maximum": 1.8})).contains("between the bounds"));
}

#[test]
fn references_are_followed_and_a_tree_ends() {
    let value = made(&json!({
        "$ref": "#/$defs/Node",
        "$defs": {"Node": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}},
            "required": ["name", "children"]
        }}
    }));
    assert!(value["name"].is_string() && value["children"].is_array());
    let endless = json!({"$ref": "#/$defs/A", "$defs": {"A": {
        "type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "required": ["a"]}}});
    assert!(refusal(&endless).contains("without end"));
}

#[test]
fn parts_of_an_object_come_together() {
    let value = made(&json!({
        "allOf": [{"type": "object", "properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}],
        "properties": {"c": {"const": 3}}
    }));
    assert_eq!(value, json!({"a": 1, "b": 2, "c": 3}));
}

#[test]
fn what_is_not_understood_is_said_and_not_guessed() {
    assert!(refusal(&json!({"type": "string", "pattern": "^a+$"})).contains("pattern"));
    assert!(refusal(&json!({"type": "string", "format": "regex"})).contains("regex"));
    assert!(refusal(&json!({"$ref": "#/nowhere"})).contains("nowhere"));
    assert!(refusal(&json!({"type": "array", "minItems": 1e9 as u64})).contains("minItems"));
    assert!(refusal(&json!(false)).contains("no schema"));
}
