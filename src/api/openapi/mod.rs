//! The OpenAPI 3.1 document, made from the table of routes, the aggregates and their Avro schemas, so that it cannot
//! fall behind them.

mod batches;
mod completion;
mod completions;
mod components;
mod convert;
mod event;
mod events;
mod examples;
mod explanation;
mod imports;
mod operations;
mod registry;
mod resource;
mod search;
mod status;
#[cfg(test)]
mod tests;
mod trace;

use super::answer;
use super::routes::{Endpoint, Route, table};
use axum::response::Response;
use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// The document as a response.
pub fn document() -> Response {
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(build().to_string()));
    answer::json(StatusCode::OK, DOCUMENT.clone())
}

fn build() -> Value {
    let mut paths = Map::new();
    for route in table() {
        let item = paths.entry(route.path.replace("{*", "{")).or_insert_with(|| match route.path.contains('{') {
            true => json!({ "parameters": path_parameters(&route) }),
            false => json!({}),
        });
        item[route.method.name()] = operations::operation(&route);
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "AgentVerse",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "description": "Every change is a command: sent as a CloudEvent to /v1/commands, or made for you by one of \
                the other POST and PATCH routes. Every request names its tenant in the header AgentVerse-Tenant (or, \
                for a command, in the event's tenantid). The nil UUID is the shared catalogue, which every tenant reads. \
                Below /schema-registry is a schema registry with Confluent's REST calls, which needs no tenant.",
        },
        "paths": paths,
        "components": components::components(),
    });
    typed(&mut document);
    document
}

/// Says the type of what is one of some texts: many generators of clients do not see it from these.
fn typed(schema: &mut Value) {
    if let Value::Object(fields) = schema {
        let is_text = |it: &Value| it.is_string();
        let one_of = fields.get("enum").and_then(Value::as_array).is_some_and(|them| them.iter().all(is_text));
        if (one_of || fields.get("const").is_some_and(is_text)) && !fields.contains_key("type") {
            fields.insert("type".to_owned(), json!("string"));
        }
    }
    match schema {
        Value::Object(fields) => fields.values_mut().for_each(typed),
        Value::Array(items) => items.iter_mut().for_each(typed),
        _ => {}
    }
}

/// As the ids of OpenAI's files and batches look here.
const FILE: &str = "file-0b9f7c1e-4d55-5b7a-8c55-0f6a3f9e2d11";
const BATCH: &str = "batch_0b9f7c1e-4d55-5b7a-8c55-0f6a3f9e2d11";

fn path_parameters(route: &Route) -> Vec<Value> {
    if !matches!(route.endpoint, Endpoint::Registry(_)) {
        return vec![path_parameter(route)];
    }
    let names = route.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    names.map(registry::path_parameter).collect()
}

fn path_parameter(route: &Route) -> Value {
    let (schema, description) = match route.endpoint {
        Endpoint::Outcome => (
            json!({ "type": "string" }),
            "The command's id: the UUID of its answer, or the text that it was sent with.",
        ),
        Endpoint::Trace => (json!({ "type": "string", "minLength": 1, "maxLength": 1024 }), trace::PATH_PARAMETER),
        Endpoint::DeadLetter | Endpoint::Redrive => {
            (json!({ "type": "integer", "minimum": 0 }), "The letter's number.")
        }
        Endpoint::Model => (json!({ "type": "string" }), "Its name, provider/model."),
        Endpoint::GetFile | Endpoint::FileContent | Endpoint::DeleteFile => (
            json!({ "type": "string", "examples": [FILE] }),
            "The file's id, file-<UUID>; with -output or -errors what a batch made.",
        ),
        Endpoint::GetBatch | Endpoint::CancelBatch => (
            json!({ "type": "string", "examples": [BATCH] }),
            "The batch's id, batch_<UUID>; the UUID is its input file's.",
        ),
        _ => (json!({ "type": "string", "format": "uuid" }), "The resource's id."),
    };
    let name = if route.endpoint == Endpoint::Model { "model" } else { "id" };
    json!({ "name": name, "in": "path", "required": true, "schema": schema, "description": description })
}
