//! A command as a CloudEvent: its attributes, and the data that its type asks for.

use super::components::reference;
use crate::domain::Aggregate;
use crate::domain::record::ATTRIBUTE_BYTES_MAX;
use serde_json::{Map, Value, json};

/// The structured form. Of several attributes `null` means that they are not there.
pub fn command_event() -> Value {
    let text = |least: u8, description: &str| json!({ "type": ["string", "null"], "minLength": least, "maxLength": ATTRIBUTE_BYTES_MAX, "description": description });
    let uuid = |description: &str| json!({ "type": ["string", "null"], "format": "uuid", "description": description });
    let id = "The command's id. A UUID is kept; any other text becomes uuid5 of tenant, source and it. Sending the same \
              again is answered with the first outcome.";
    let version =
        json!([{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": VERSION }, { "type": "null" }]);
    let mut source = text(1, "Who sends it; ids are unique within it. The source agentverse is the system's own.");
    source["default"] = json!("unnamed");
    source["not"] = json!({ "const": "agentverse" });
    json!({
        "type": "object",
        "required": ["type"],
        "description": "A CloudEvent. Attributes that are not named here are ignored.",
        "properties": {
            "specversion": { "enum": ["1.0", null], "default": "1.0" },
            "id": text(1, id),
            "source": source,
            "subject": uuid("The stream; made from the id when missing."),
            "tenantid": uuid("Must agree with AgentVerse-Tenant where both are there."),
            "expectedversion": { "anyOf": version, "description": "Refuse unless the stream is at this version." },
            "correlationid": text(0, "Groups everything that followed from one request, for /v1/trace; the command's id does where it is missing."),
            "causationid": text(0, "What the command follows from."),
            "actor": text(0, "Who is answerable for the command."),
            "traceparent": text(0, "W3C trace context."),
        },
        "anyOf": commands().map(of_type).chain([encoded()]).collect::<Vec<_>>(),
    })
}

/// A version as text.
const VERSION: &str = "^[0-9]{1,18}$";

fn commands() -> impl Iterator<Item = (Aggregate, &'static str)> {
    Aggregate::ALL.iter().flat_map(|aggregate| aggregate.commands().iter().map(|command| (*aggregate, *command)))
}

fn types() -> Vec<String> {
    commands().map(|(aggregate, command)| format!("{}.{command}", aggregate.name())).collect()
}

fn of_type((aggregate, command): (Aggregate, &'static str)) -> Value {
    let (mut required, mut data) = (vec!["type"], reference(command));
    match needs_data(aggregate, command) {
        true => required.push("data"),
        false => data = json!({ "anyOf": [data, { "type": "null" }] }),
    }
    json!({
        "type": "object",
        "required": required,
        "properties": {
            "type": { "const": format!("{}.{command}", aggregate.name()) },
            "data": data,
        },
    })
}

/// Whether a command has a field that must be said.
pub fn needs_data(aggregate: Aggregate, command: &str) -> bool {
    let schema = super::convert::json_schema(aggregate.codec(command).map_or("", |codec| codec.text));
    schema.get("required").is_some()
}

/// Data that is no JSON.
fn encoded() -> Value {
    json!({
        "type": "object",
        "required": ["type", "data_base64", "datacontenttype"],
        "properties": {
            "type": { "enum": types() },
            "datacontenttype": { "const": "application/avro" },
            "data_base64": {
                "type": "string",
                "contentEncoding": "base64",
                "description": "As a body of application/avro: a record in single-object encoding, or in the Confluent wire \
                    format with an id of /schema-registry.",
            },
        },
    })
}

/// The attributes in headers: of a whole event in binary mode, and what a convenience route does not say itself.
pub fn headers(is_whole: bool) -> Vec<Value> {
    let text = |least: u8| json!({ "type": "string", "minLength": least, "maxLength": ATTRIBUTE_BYTES_MAX });
    let uuid = || json!({ "type": "string", "format": "uuid" });
    let header = |name: &str, schema: Value, description: &str| json!({ "name": name, "in": "header", "required": false, "schema": schema, "description": description });
    let own = [
        header("ce-type", json!({ "enum": types() }), "Binary mode: the command; the body is its data."),
        header("ce-subject", uuid(), "Binary mode: the stream; made from the id when missing."),
        header(
            "ce-tenantid",
            uuid(),
            "Binary mode: the tenant. Must agree with AgentVerse-Tenant where both are there.",
        ),
        header(
            "ce-expectedversion",
            json!({ "type": "string", "pattern": VERSION }),
            "Binary mode: refuse unless the stream is at this version.",
        ),
        header("ce-specversion", json!({ "const": "1.0" }), "Binary mode: the version of CloudEvents."),
    ];
    let shared = [
        header(
            "ce-id",
            text(1),
            "The command's id: the same again is answered with the first outcome. Bytes beyond ASCII as %XX.",
        ),
        header(
            "ce-source",
            json!({ "type": "string", "minLength": 1, "maxLength": ATTRIBUTE_BYTES_MAX, "not": { "const": "agentverse" } }),
            "Who sends it; ids are unique within it.",
        ),
        header(
            "ce-correlationid",
            text(0),
            "Groups everything that followed from one request, for /v1/trace; the command's id does where it is missing.",
        ),
        header("ce-causationid", text(0), "What the command follows from."),
        header("ce-actor", text(0), "Who is answerable for the command."),
        header("traceparent", json!({ "type": "string" }), "W3C trace context; passed over where it is too long."),
    ];
    own.into_iter().filter(|_| is_whole).chain(shared).collect::<Vec<_>>()
}

/// The headers of an answer to a command.
pub fn answered(what: &str) -> Map<String, Value> {
    let header = |description: &str| json!({ "schema": { "type": "string" }, "description": description });
    [("Location", header(what)), ("Cache-Control", header("no-store: an outcome is of this moment."))]
        .map(|(name, header)| (name.to_owned(), header))
        .into_iter()
        .collect()
}
