//! The operations of OpenAI's API. What a provider takes and gives is its own: the document shows what every one has, and
//! leaves the rest open.

use super::completion;
use super::components::reference;
use super::examples::answers;
use super::operations::{Operation, described};
use crate::domain::llm_request::payload::PAYLOAD_BYTES_MAX;
use crate::domain::llm_request::{self, DEADLINE_MS_MAX, Priority};
use serde_json::{Value, json};

/// Statuses of errors in OpenAI's form.
const STATUSES: [u16; 11] = [400, 403, 404, 405, 408, 409, 413, 415, 429, 503, 504];

pub fn complete(operation: llm_request::Operation) -> Operation {
    let (id, summary, own, example) = match operation {
        llm_request::Operation::ChatCompletion => (
            "create-chat-completion",
            "Asks a model, as OpenAI's API does; the request is recorded before the call, and what it came to after it.",
            json!({ "messages": { "type": "array", "items": { "type": "object" }, "minItems": 1 }, "stream": { "type": "boolean", "default": false } }),
            json!({ "model": "openai/gpt-4o-mini", "messages": [{ "role": "user", "content": "Hello" }] }),
        ),
        llm_request::Operation::Embeddings => (
            "create-embeddings",
            "Asks a model for embeddings, as OpenAI's API does.",
            json!({ "input": { "anyOf": [{ "type": "string", "minLength": 1 }, { "type": "array", "minItems": 1, "items": {} }], "description": "A text, or a list of texts or tokens." } }),
            json!({ "model": "openai/text-embedding-3-small", "input": "Hello" }),
        ),
    };
    let mut properties =
        json!({ "model": { "type": "string", "description": "coupling:<id>, agent:<id> or provider/model." } });
    for (name, schema) in own.as_object().into_iter().flatten() {
        properties[name] = schema.clone();
    }
    let mut required = vec!["model"];
    required.push(if operation == llm_request::Operation::Embeddings { "input" } else { "messages" });
    let schema =
        json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": true });
    let answered = match operation {
        llm_request::Operation::ChatCompletion => "ChatCompletion",
        llm_request::Operation::Embeddings => "Embeddings",
    };
    let mut found = described("The provider's answer, untouched.", reference(answered), None);
    if operation == llm_request::Operation::ChatCompletion {
        found["content"]["text/event-stream"] =
            json!({ "schema": { "type": "string" }, "example": completion::chunks() });
    }
    let mut operation = answering(id, summary, found);
    let classes = json!({ "enum": Priority::NAMES, "default": "interactive" });
    let deadline = json!({ "type": "integer", "minimum": 1, "maximum": DEADLINE_MS_MAX });
    let key = json!({ "type": "string", "minLength": 1, "maxLength": 1024 });
    operation.own_parameters = vec![
        header(
            "Idempotency-Key",
            key,
            "A request that was carried out under this key is answered, and not made again.",
        ),
        header("AgentVerse-Priority", classes, "How urgent it is among those that wait."),
        header("AgentVerse-Deadline-Ms", deadline, "Milliseconds from now after which nobody wants the answer."),
    ];
    operation.body = Some(json!({
        "required": true,
        "description": format!("The provider's own fields go through untouched. At most {PAYLOAD_BYTES_MAX} bytes."),
        "content": { "application/json": { "schema": schema, "example": example } },
    }));
    operation
}

pub fn answer() -> Operation {
    let summary = "What a request was answered, as its provider said it; 404 while there is no answer, and where it is not \
                   kept.";
    let mut operation = Operation::reading("get-llm-request-answer", "llm_request", summary, "Status");
    let either = json!({ "anyOf": [reference("ChatCompletion"), reference("Embeddings")] });
    operation.answers = vec![(200, described("The provider's answer.", either, answers::of("ChatCompletion")))];
    operation
}

pub fn rate() -> Operation {
    let mut operation = answering(
        "rate-answer",
        "Says how good an answer was; the ratings of a model count as its quality.",
        described("It is recorded.", reference("Feedback"), None),
    );
    operation.answers.push((202, described("It is durable, and not decided yet.", reference("Feedback"), None)));
    let actor = json!({ "type": "string", "maxLength": 1024 });
    operation.own_parameters =
        vec![header("ce-actor", actor, "Who rates. Each has one rating of an answer: another one replaces it.")];
    let request = json!({
        "type": "object",
        "properties": {
            "request_id": {
                "type": "string",
                "description": "The answer's header AgentVerse-Request-Id; or its own id, on the node that gave it.",
            },
            "score": { "type": "number", "minimum": 0, "maximum": 1, "description": "0 is useless, 1 is perfect." },
            "comment": {
                "type": ["string", "null"],
                "description": "Kept where the tenant keeps its prompts.",
            },
        },
        "required": ["request_id", "score"],
        "additionalProperties": false,
    });
    let example = json!({ "request_id": "0b9f7c1e-4d55-5b7a-8c55-0f6a3f9e2d11", "score": 0.9 });
    operation.body = Some(json!({
        "required": true,
        "content": { "application/json": { "schema": request, "example": example } },
    }));
    operation
}

pub fn models() -> Operation {
    let listed = json!({ "type": "object", "properties": { "object": { "const": "list" }, "data": { "type": "array", "items": reference("OfferedModel") } }, "required": ["object", "data"] });
    let example = json!({ "object": "list", "data": [answers::of("OfferedModel")] });
    answering("list-models", "The models that the tenant may name.", described("Found.", listed, Some(example)))
}

pub fn model() -> Operation {
    answering("get-model", "One model.", described("Found.", reference("OfferedModel"), None))
}

pub fn answering(id: &str, summary: &str, found: Value) -> Operation {
    let error = |status: u16| (status, described("An error in OpenAI's form.", reference("OpenAiError"), None));
    let answers = [(200, found)].into_iter().chain(STATUSES.map(error)).collect();
    Operation {
        id: id.into(),
        tag: "completions",
        summary: summary.into(),
        shared_parameters: vec!["TenantOrKey"],
        own_parameters: Vec::new(),
        body: None,
        answers,
        problems: Vec::new(),
    }
}

fn header(name: &str, schema: Value, description: &str) -> Value {
    json!({ "name": name, "in": "header", "required": false, "schema": schema, "description": description })
}

/// The schemas of these operations.
pub fn schemas() -> [(&'static str, Value); 3] {
    let text = || json!({ "type": "string" });
    let or_null = || json!({ "type": ["string", "null"] });
    let error = json!({
        "type": "object",
        "properties": { "message": text(), "type": text(), "param": or_null(), "code": or_null() },
        "required": ["message", "type", "param", "code"],
    });
    let model = json!({
        "type": "object",
        "properties": { "id": text(), "object": { "const": "model" }, "created": { "type": "integer" }, "owned_by": text() },
        "required": ["id", "object", "created", "owned_by"],
    });
    let feedback = json!({
        "type": "object",
        "properties": {
            "object": { "const": "feedback" },
            "request_id": { "type": "string", "format": "uuid" },
            "score": { "type": "number" },
        },
        "required": ["object", "request_id", "score"],
    });
    [
        ("Feedback", feedback),
        ("OfferedModel", model),
        ("OpenAiError", json!({ "type": "object", "properties": { "error": error }, "required": ["error"] })),
    ]
}
