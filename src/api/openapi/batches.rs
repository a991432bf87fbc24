//! The operations of OpenAI's files and batches.

use super::completions::answering;
use super::components::{EXAMPLE_COMMAND, reference};
use super::examples::answers;
use super::operations::{Operation, described};
use super::{FILE as FILE_ID, completion};
use crate::domain::llm_batch::{FILE_BYTES_MAX, LINE_BYTES_MAX, REQUESTS_MAX};
use serde_json::{Value, json};

const FILE: &str = "BatchFileObject";
const BATCH: &str = "BatchObject";

pub fn create_file() -> Operation {
    let mut operation = found("create-file", "Uploads a file of requests: JSON lines, each with a custom_id.", FILE);
    let request = json!({ "model": "local/small", "messages": [{ "role": "user", "content": "Hello" }] });
    let request = json!({ "custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": request });
    let properties = json!({ "file": { "type": "string", "format": "binary" }, "purpose": { "const": "batch" } });
    operation.body = Some(json!({
        "required": true,
        "description": format!(
            "At most {REQUESTS_MAX} requests, {FILE_BYTES_MAX} bytes, and {LINE_BYTES_MAX} bytes a line. The tenant's \
             prompts must be stored in full."
        ),
        "content": { "multipart/form-data": { "schema": {
            "type": "object", "properties": properties, "required": ["file", "purpose"], "additionalProperties": false,
        }, "example": { "purpose": "batch", "file": lines(&request) } } },
    }));
    operation
}

fn lines(line: &Value) -> String {
    format!("{line}\n")
}

pub fn list_files() -> Operation {
    let mut operation = listed("list-files", "The tenant's files, the oldest first.", FILE, 10_000);
    let purposes = json!({ "enum": ["batch", "batch_output"] });
    operation.own_parameters.extend([
        parameter("purpose", purposes, "Only files of this purpose."),
        parameter("order", json!({ "enum": ["asc"] }), "The oldest first."),
    ]);
    operation
}

pub fn get_file() -> Operation {
    found("get-file", "One file.", FILE)
}

pub fn file_content() -> Operation {
    let mut content = described("JSON lines.", json!({ "type": "string" }), None);
    let answer = json!({ "status_code": 200, "request_id": EXAMPLE_COMMAND, "body": completion::chat() });
    let line = json!({ "id": EXAMPLE_COMMAND, "custom_id": "a", "response": answer, "error": null });
    content["content"] = json!({ "application/jsonl": { "schema": { "type": "string" }, "example": lines(&line) } });
    answering(
        "get-file-content",
        "The lines of a file; answers and errors are made from the requests' records.",
        content,
    )
}

pub fn delete_file() -> Operation {
    let text = json!({ "type": "string" });
    let deleted = json!({ "type": "object", "properties": { "id": text, "object": { "const": "file" }, "deleted": { "const": true } }, "required": ["id", "object", "deleted"] });
    let example = json!({ "id": FILE_ID, "object": "file", "deleted": true });
    let summary = "Shows a file no more, neither it nor its content; the history keeps what is recorded.";
    answering("delete-file", summary, described("Deleted.", deleted, Some(example)))
}

pub fn create_batch() -> Operation {
    let summary = "Starts the batch that a file is; the same again is the same batch.";
    let mut operation = found("create-batch", summary, BATCH);
    let text = || json!({ "type": "string" });
    let metadata = json!({ "type": ["object", "null"], "additionalProperties": text(), "maxProperties": 16 });
    let properties = json!({
        "input_file_id": text(),
        "endpoint": { "enum": ["/v1/chat/completions", "/v1/embeddings"] },
        "completion_window": { "const": "24h" },
        "metadata": metadata,
    });
    let schema = json!({
        "type": "object",
        "properties": properties,
        "required": ["input_file_id", "endpoint", "completion_window"],
        "additionalProperties": false,
    });
    let example = json!({ "input_file_id": FILE_ID, "endpoint": "/v1/chat/completions", "completion_window": "24h" });
    operation.body =
        Some(json!({ "required": true, "content": { "application/json": { "schema": schema, "example": example } } }));
    operation
}

pub fn list_batches() -> Operation {
    listed("list-batches", "The tenant's batches, the oldest first.", BATCH, 100)
}

pub fn get_batch() -> Operation {
    found("get-batch", "One batch.", BATCH)
}

pub fn cancel_batch() -> Operation {
    found("cancel-batch", "Cancels a batch: what has an answer keeps it, nothing else is made.", BATCH)
}

fn found(id: &str, summary: &str, schema: &str) -> Operation {
    answering(id, summary, described("As it stands.", reference(schema), None))
}

fn listed(id: &str, summary: &str, schema: &str, limit_max: u64) -> Operation {
    let text = || json!({ "type": ["string", "null"] });
    let page = json!({
        "type": "object",
        "properties": {
            "object": { "const": "list" },
            "data": { "type": "array", "items": reference(schema) },
            "first_id": text(),
            "last_id": text(),
            "has_more": { "type": "boolean" },
        },
        "required": ["object", "data", "has_more"],
    });
    let item = answers::of(schema).unwrap_or_default();
    let (first, last) = (&item["id"], &item["id"]);
    let example = json!({ "object": "list", "data": [item], "first_id": first, "last_id": last, "has_more": false });
    let mut operation = answering(id, summary, described("Found.", page, Some(example)));
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": limit_max });
    operation.own_parameters = vec![
        parameter("limit", limit, "Most items of the page."),
        parameter("after", json!({ "type": "string" }), "The id after which the page begins."),
    ];
    operation
}

fn parameter(name: &str, schema: Value, description: &str) -> Value {
    json!({ "name": name, "in": "query", "required": false, "schema": schema, "description": description })
}

/// The schemas of these operations.
pub fn schemas() -> [(&'static str, Value); 2] {
    let object = |name: &str, id: &str| {
        json!({
            "type": "object",
            "description": format!("OpenAI's {name} object; times are seconds since 1970."),
            "properties": { "id": { "type": "string", "pattern": id }, "object": { "const": name } },
            "required": ["id", "object"],
            "additionalProperties": true,
        })
    };
    let mut file = object("file", "^file-");
    file["properties"]["bytes"] = json!({
        "type": "integer",
        "minimum": 0,
        "description": "Of a file that was uploaded; 0 for one that a batch made: it is made when it is read, and how \
            large it is is not known before.",
    });
    file["required"] = json!(["id", "object", "bytes"]);
    [(FILE, file), (BATCH, object("batch", "^batch_"))]
}
