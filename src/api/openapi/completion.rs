//! What a model answers, in OpenAI's form. An answer goes through untouched: required is what no answer is taken without,
//! and what the form has beside that is described where callers rely on it.

use super::resource::{text, with_more};
use serde_json::{Value, json};

/// The schemas of both answers.
pub fn schemas() -> [(&'static str, Value); 2] {
    let count = || json!({ "type": "integer", "minimum": 0 });
    let or_null = |words: &str| json!({ "type": ["string", "null"], "description": words });
    let list = |items: Value| json!({ "type": "array", "items": items });
    let message = with_more(
        json!({
            "role": text("assistant."),
            "content": or_null("What it says; null where it calls tools alone."),
            "refusal": or_null("Why it says nothing."),
            "tool_calls": list(json!({ "type": "object", "additionalProperties": true })),
        }),
        &[],
    );
    let choice = with_more(
        json!({ "index": count(), "message": message, "finish_reason": or_null("stop, length, tool_calls, …") }),
        &[],
    );
    let usage =
        || with_more(json!({ "prompt_tokens": count(), "completion_tokens": count(), "total_tokens": count() }), &[]);
    let completion = with_more(
        json!({
            "id": text("As the provider names the answer."),
            "object": text("chat.completion."),
            "created": json!({ "type": "integer", "description": "Seconds since 1970." }),
            "model": text("As the provider calls the model that answered."),
            "choices": list(choice),
            "usage": usage(),
        }),
        &["choices"],
    );
    let vector = json!({
        "anyOf": [list(json!({ "type": "number" })), { "type": "string" }],
        "description": "Numbers; base64 of them where encoding_format asks for it.",
    });
    let embedding = with_more(json!({ "object": text("embedding."), "index": count(), "embedding": vector }), &[]);
    let embeddings = with_more(
        json!({
            "object": text("list."),
            "data": list(embedding),
            "model": text("As the provider calls the model that answered."),
            "usage": usage(),
        }),
        &["data"],
    );
    [("ChatCompletion", completion), ("Embeddings", embeddings)]
}

/// An answer as it is shown.
pub fn chat() -> Value {
    json!({
        "id": "chatcmpl-9f1c2a34", "object": "chat.completion", "created": 1_767_225_600, "model": "gpt-4o-mini",
        "choices": [{
            "index": 0, "message": { "role": "assistant", "content": "Hello!", "refusal": null }, "finish_reason": "stop",
        }],
        "usage": { "prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10 },
    })
}

pub fn embeddings() -> Value {
    json!({
        "object": "list", "model": "text-embedding-3-small",
        "data": [{ "object": "embedding", "index": 0, "embedding": [0.0023, -0.0093, 0.0157] }],
        "usage": { "prompt_tokens": 1, "total_tokens": 1 },
    })
}

/// An answer that comes piece by piece.
pub fn chunks() -> String {
    let chunk = |delta: Value, finish: Value| {
        let chunk = json!({
            "id": "chatcmpl-9f1c2a34", "object": "chat.completion.chunk", "created": 1_767_225_600, "model": "gpt-4o-mini",
            "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }],
        });
        format!("data: {chunk}\n\n")
    };
    let said = chunk(json!({ "role": "assistant", "content": "Hello!" }), Value::Null);
    format!("{said}{}data: [DONE]\n\n", chunk(json!({}), json!("stop")))
}
