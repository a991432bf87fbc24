//! An Avro schema as the JSON Schema of its records' JSON form.

use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Base64 (RFC 4648) with its padding, and nothing in the bits that the last letter has over.
const BASE64: &str = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/][AQgw]==)?$";

/// Converts the text of a schema file; anything, where it cannot be read.
pub fn json_schema(avro: &str) -> Value {
    let avro: Value = serde_json::from_str(avro).unwrap_or_default();
    Converter::default().convert(&avro, "")
}

/// Named types by their full names: Avro defines a type at its first use and names it after that.
#[derive(Default)]
struct Converter {
    named: HashMap<String, Value>,
}

impl Converter {
    fn convert(&mut self, avro: &Value, namespace: &str) -> Value {
        match avro {
            Value::String(name) => self.primitive(name, namespace),
            Value::Array(branches) => self.union(branches, namespace),
            Value::Object(fields) => self.complex(fields, namespace),
            _ => json!({}),
        }
    }

    fn primitive(&self, name: &str, namespace: &str) -> Value {
        match name {
            "null" => json!({ "type": "null" }),
            "boolean" => json!({ "type": "boolean" }),
            "int" => json!({ "type": "integer", "format": "int32" }),
            "long" => json!({ "type": "integer", "format": "int64" }),
            "float" | "double" => json!({ "type": "number" }),
            "bytes" => json!({ "type": "string", "contentEncoding": "base64", "pattern": BASE64 }),
            "string" => json!({ "type": "string" }),
            name => self
                .named
                .get(name)
                .or_else(|| self.named.get(&format!("{namespace}.{name}")))
                .cloned()
                .unwrap_or_else(|| json!({})),
        }
    }

    fn union(&mut self, branches: &[Value], namespace: &str) -> Value {
        let mut schemas: Vec<Value> = branches.iter().map(|branch| self.convert(branch, namespace)).collect();
        match schemas.len() {
            1 => schemas.remove(0),
            _ => json!({ "anyOf": schemas }),
        }
    }

    fn complex(&mut self, avro: &Map<String, Value>, namespace: &str) -> Value {
        let name = avro.get("name").and_then(Value::as_str).unwrap_or_default();
        let namespace = match name.rsplit_once('.') {
            Some((namespace, _)) => namespace,
            None => avro.get("namespace").and_then(Value::as_str).unwrap_or(namespace),
        };
        let mut schema = match avro.get("type").and_then(Value::as_str) {
            Some("record") => self.record(avro, namespace),
            Some("enum") => json!({ "type": "string", "enum": avro.get("symbols") }),
            Some("fixed") if avro.get("logicalType") == Some(&json!("uuid")) => {
                json!({ "type": "string", "format": "uuid" })
            }
            Some("fixed") => json!({ "type": "string", "contentEncoding": "base64" }),
            Some("array") => {
                json!({ "type": "array", "items": self.convert(avro.get("items").unwrap_or(&Value::Null), namespace) })
            }
            Some("map") => {
                let values = self.convert(avro.get("values").unwrap_or(&Value::Null), namespace);
                json!({ "type": "object", "additionalProperties": values })
            }
            // A primitive with a logical type, or a type in another pair of braces.
            _ => self.convert(avro.get("type").unwrap_or(&Value::Null), namespace),
        };
        if let Some(doc) = avro.get("doc") {
            schema["description"] = doc.clone();
        }
        if !name.is_empty() {
            let full = if name.contains('.') { name.to_owned() } else { format!("{namespace}.{name}") };
            self.named.insert(full, schema.clone());
        }
        schema
    }

    fn record(&mut self, avro: &Map<String, Value>, namespace: &str) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in avro.get("fields").and_then(Value::as_array).into_iter().flatten() {
            let Some(name) = field.get("name").and_then(Value::as_str) else { continue };
            let mut schema = self.convert(field.get("type").unwrap_or(&Value::Null), namespace);
            let mut default = field.get("default").cloned();
            wider(name, &mut schema, &mut default);
            // What may be null may be left out, which Avro cannot say.
            let is_nullable = field.get("type").and_then(Value::as_array).is_some_and(|it| it.contains(&json!("null")));
            let default = default.or_else(|| is_nullable.then_some(Value::Null));
            if let Some(doc) = field.get("doc") {
                schema["description"] = doc.clone();
            }
            match default {
                Some(default) => schema["default"] = default,
                None => required.push(name.to_owned()),
            }
            properties.insert(name.to_owned(), schema);
        }
        let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        schema
    }
}

/// What JSON takes beyond the record's Avro form.
fn wider(field: &str, schema: &mut Value, default: &mut Option<Value>) {
    match field {
        "input_schema" => *schema = json!({ "anyOf": [schema.take(), { "type": "object" }, { "type": "null" }] }),
        "transport" => widen_transport(schema),
        "provider_tenant_id" if default.is_none() => *default = Some(json!(uuid::Uuid::nil())),
        _ => {}
    }
}

/// The spelling of MCP's specification is what is shown, and is taken too.
fn widen_transport(schema: &mut Value) {
    if let Some(symbols) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        symbols.push("streamable-http".into());
    }
    for branch in schema.get_mut("anyOf").and_then(Value::as_array_mut).into_iter().flatten() {
        widen_transport(branch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_with_every_kind_of_type() {
        let avro = json!({
            "type": "record", "name": "R", "namespace": "a.b", "doc": "whole",
            "fields": [
                { "name": "id", "type": { "type": "fixed", "name": "Uuid", "namespace": "agentverse", "size": 16, "logicalType": "uuid" } },
                { "name": "other", "type": ["null", "agentverse.Uuid"], "default": null, "doc": "part" },
                { "name": "tier", "type": { "type": "enum", "name": "Tier", "symbols": ["x", "y"] }, "default": "x" },
                { "name": "tiers", "type": { "type": "array", "items": "Tier" }, "default": [] },
                { "name": "map", "type": { "type": "map", "values": "long" } },
                { "name": "raw", "type": "bytes" },
                { "name": "share", "type": { "type": "double" } },
            ],
        });
        let uuid = json!({ "type": "string", "format": "uuid" });
        let expected = json!({
            "type": "object", "description": "whole", "additionalProperties": false,
            "required": ["id", "map", "raw", "share"],
            "properties": {
                "id": uuid,
                "other": { "anyOf": [{ "type": "null" }, uuid], "default": null, "description": "part" },
                "tier": { "type": "string", "enum": ["x", "y"], "default": "x" },
                "tiers": { "type": "array", "items": { "type": "string", "enum": ["x", "y"] }, "default": [] },
                "map": { "type": "object", "additionalProperties": { "type": "integer", "format": "int64" } },
                "raw": { "type": "string", "contentEncoding": "base64", "pattern": BASE64 },
                "share": { "type": "number" },
            },
        });
        assert_eq!(json_schema(&avro.to_string()), expected);
    }
}
