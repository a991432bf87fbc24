//! The fingerprint of a tool: what an auditor recomputes, and what makes a silent change loud.
//!
//! The input schema is brought into the canonical form of RFC 8785 (JSON Canonicalization Scheme) first, so that key
//! order, blanks and spelling of numbers never look like a change. Text that is not JSON stays as it is. Where an
//! object repeats a key, the last one counts.

use super::{DigestedTool, Tool};
use crate::domain::common::hex;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::{Number, Value};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Reads an input schema: plain text in binary formats; in JSON its text, or the object itself, or null for unknown.
pub fn schema_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    if !deserializer.is_human_readable() {
        return String::deserialize(deserializer);
    }
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        Value::Null => Ok(String::new()),
        object @ Value::Object(_) => Ok(canonical(&object)),
        _ => Err(D::Error::custom("input_schema must be a JSON object, or its text")),
    }
}

/// The canonical text of an input schema given as text.
pub fn canonical_text(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(value) => canonical(&value),
        Err(_) => text.to_owned(),
    }
}

/// The tool with its canonical schema and its digest.
pub fn digested(tool: &Tool) -> DigestedTool {
    let input_schema = canonical_text(&tool.input_schema);
    let digest = digest(&tool.name, &tool.description, &input_schema);
    DigestedTool { name: tool.name.clone(), description: tool.description.clone(), input_schema, digest }
}

/// SHA-256 over the three texts in UTF-8, each after its length in bytes as a 64-bit big-endian number; lower-case
/// hexadecimal.
pub fn digest(name: &str, description: &str, input_schema: &str) -> String {
    let mut hasher = Sha256::new();
    for part in [name, description, input_schema] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hex(&hasher.finalize())
}

fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write_value(value, &mut out);
    out
}

/// The depth is bounded by the parser that made the value (128 levels).
fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => out.push_str(&number_text(number)),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            // RFC 8785 sorts by UTF-16 code units, which differs from UTF-8 above the basic plane.
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push('{');
            for (index, (key, field)) in fields.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_string(key, out);
                out.push(':');
                write_value(field, out);
            }
            out.push('}');
        }
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// As ECMAScript writes a double, which is what RFC 8785 asks for.
fn number_text(number: &Number) -> String {
    let Some(value) = number.as_f64().filter(|value| value.is_finite()) else {
        return number.to_string();
    };
    if value == 0.0 {
        return "0".into();
    }
    let sign = if value < 0.0 { "-" } else { "" };
    // Rust's shortest round-trip digits are ECMAScript's; only the layout differs.
    let scientific = format!("{:e}", value.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits = mantissa.replace('.', "");
    let count = digits.len() as i32;
    let point = exponent.parse::<i32>().unwrap_or(0) + 1;
    if (count..=21).contains(&point) {
        format!("{sign}{digits}{}", "0".repeat((point - count) as usize))
    } else if (1..=21).contains(&point) {
        let (whole, fraction) = digits.split_at(point as usize);
        format!("{sign}{whole}.{fraction}")
    } else if (-5..=0).contains(&point) {
        format!("{sign}0.{}{digits}", "0".repeat(point.unsigned_abs() as usize))
    } else {
        let (first, rest) = digits.split_at(1);
        let dot = if rest.is_empty() { "" } else { "." };
        format!("{sign}{first}{dot}{rest}e{:+}", point - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn canonical_form_is_that_of_rfc_8785() {
        // The sample of its section 3.2.2, and the sorting sample of section 3.2.3.
        let sample = r#"{
            "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
            "literals": [null, true, false]
        }"#;
        let expected = concat!(
            r#"{"literals":[null,true,false],"#,
            r#""numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"#,
            r#""string":"€$\u000f\nA'B\"\\\\\"/"}"#
        );
        assert_eq!(canonical_text(sample), expected);

        let sample = r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#;
        assert_eq!(canonical_text(sample), "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\u{fb33}\":3}");
    }

    #[test]
    fn numbers_are_laid_out_as_ecmascript_does() {
        for (given, expected) in [
            ("-0.0", "0"),
            ("1.0", "1"),
            ("-5", "-5"),
            ("100000000000000000000", "100000000000000000000"),
            ("1e21", "1e+21"),
            ("1.5e21", "1.5e+21"),
            ("0.000001", "0.000001"),
            ("0.0000001", "1e-7"),
            ("-1.25e-9", "-1.25e-9"),
            ("9007199254740992", "9007199254740992"),
            ("5e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ] {
            assert_eq!(canonical_text(given), expected);
        }
    }

    #[test]
    fn the_digest_can_be_recomputed_by_hand() {
        // printf '\0\0\0\0\0\0\0\1a\0\0\0\0\0\0\0\2bc\0\0\0\0\0\0\0\2{}' | sha256sum
        assert_eq!(digest("a", "bc", "{}"), "585d32325ca46e07c58fe1937d7e3c4abc91f5487f83d83c3103489009e6fda1");
        assert_ne!(digest("a", "bc", "{}"), digest("ab", "c", "{}"), "lengths keep the parts apart");
    }

    #[test]
    fn text_that_is_no_json_stays() {
        for text in ["", "{", "type: object", "{\"a\":1} x", "1e999"] {
            assert_eq!(canonical_text(text), text);
        }
    }

    #[test]
    fn an_input_schema_may_be_an_object_its_text_or_null() {
        let tool = |json: &str| serde_json::from_str::<Tool>(json).map(|tool| tool.input_schema);
        assert_eq!(tool(r#"{"name":"t","input_schema":{"b":1, "a":[]}}"#).unwrap(), r#"{"a":[],"b":1}"#);
        assert_eq!(tool(r#"{"name":"t","input_schema":"{\"b\": 1}"}"#).unwrap(), r#"{"b": 1}"#);
        assert_eq!(tool(r#"{"name":"t","input_schema":null}"#).unwrap(), "");
        assert_eq!(tool(r#"{"name":"t"}"#).unwrap(), "");
        assert!(
            tool(r#"{"name":"t","input_schema":[1]}"#).unwrap_err().to_string().contains("JSON object, or its text")
        );
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn canonical_text_is_a_fixed_point_and_keeps_the_value(value in json()) {
            let text = canonical_text(&value.to_string());
            prop_assert_eq!(&canonical_text(&text), &text);
            prop_assert_eq!(&canonical_text(&serde_json::to_string_pretty(&value).unwrap()), &text);
            let back: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(as_doubles(back), as_doubles(value));
        }
    }

    /// `1.0` and `1` are one number to JSON and two to serde_json.
    fn as_doubles(value: Value) -> Value {
        match value {
            Value::Number(number) => number.as_f64().map_or(Value::Null, |n| Value::from(n + 0.0)),
            Value::Array(items) => items.into_iter().map(as_doubles).collect(),
            Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, as_doubles(value))).collect(),
            other => other,
        }
    }
}
