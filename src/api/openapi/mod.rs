//! The OpenAPI 3.1 document, made from the table of routes, the aggregates and their Avro schemas, so that it cannot
//! fall behind them.

mod batches;
mod completions;
mod components;
mod convert;
mod events;
mod imports;
mod operations;
mod registry;
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
    json!({
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
    })
}

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
        Endpoint::GetFile | Endpoint::FileContent | Endpoint::DeleteFile => {
            (json!({ "type": "string" }), "The file's id, file-<UUID>; with -output or -errors what a batch made.")
        }
        Endpoint::GetBatch | Endpoint::CancelBatch => {
            (json!({ "type": "string" }), "The batch's id, batch_<UUID>; the UUID is its input file's.")
        }
        _ => (json!({ "type": "string", "format": "uuid" }), "The resource's id."),
    };
    let name = if route.endpoint == Endpoint::Model { "model" } else { "id" };
    json!({ "name": name, "in": "path", "required": true, "schema": schema, "description": description })
}
