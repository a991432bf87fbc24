//! The list of models in the form of each wire. Any other model name is answered as well.

use super::answer::CREATED;
use super::wire::Wire;
use serde_json::{Value, json};

/// When every model was made, as [`CREATED`] in words.
const CREATED_AT: &str = "2025-01-01T00:00:00Z";

pub fn list(wire: Wire, models: &[String]) -> String {
    let all: Vec<Value> = models.iter().map(|model| form(wire, model)).collect();
    match wire {
        Wire::OpenAi => json!({"object": "list", "data": all}),
        Wire::Anthropic => {
            json!({"data": all, "first_id": models.first(), "has_more": false, "last_id": models.last()})
        }
        Wire::Gemini => json!({"models": all}),
    }
    .to_string()
}

pub fn one(wire: Wire, model: &str) -> String {
    form(wire, model).to_string()
}

fn form(wire: Wire, model: &str) -> Value {
    match wire {
        Wire::OpenAi => json!({"id": model, "object": "model", "created": CREATED, "owned_by": "stand-in"}),
        Wire::Anthropic => {
            json!({"type": "model", "id": model, "display_name": model, "created_at": CREATED_AT})
        }
        Wire::Gemini => json!({
            "name": format!("models/{model}"),
            "version": "001",
            "displayName": model,
            "description": "a stand-in",
            "inputTokenLimit": 1_048_576,
            "outputTokenLimit": 65_536,
            "supportedGenerationMethods":
                ["generateContent", "streamGenerateContent", "embedContent", "batchEmbedContents"],
        }),
    }
}
