//! Google's Gemini API (`generateContent`, `streamGenerateContent`, `embedContent`, `batchEmbedContents`), both ways.
//!
//! Models of generation 3 want the signature of a thought back with the call of a tool that it led to. It travels where
//! Google's own OpenAI-compatible API puts it, in `extra_content.google.thought_signature` of the call; for a client that
//! drops it, the value that Google names for calls of another origin is sent.

mod answer;
mod embed;
mod request;

use super::chat::Chat;
use super::fault::Fault;
use super::form::Label;
use super::wire::{Auth, Framing, Plan, Prepared, Reader, segment};
use crate::ports::llm::Operation;
use bytes::Bytes;

const WIRE: &str = "Google's Gemini API";
/// What the ids of calls begin with that the API did not name itself, and that it therefore must not get back.
const OWN_ID: &str = "call_agentverse_";

pub fn prepare(plan: &Plan<'_>) -> Result<Prepared, Fault> {
    let model = plan.call.target.model.trim_start_matches("models/");
    let label = Label { id: String::new(), created: plan.created(), model: model.to_owned() };
    let (method, body, reader): (_, Bytes, Box<dyn Reader>) = match plan.call.operation {
        Operation::Embeddings => {
            let (asked, body) = embed::write(&plan.call.request, model)?;
            (asked.method(), body, Box::new(embed::Reading::new(asked, model)))
        }
        Operation::ChatCompletion => {
            let chat = Chat::read(&plan.call.request, WIRE)?;
            let reader = answer::Reading::new(label, chat.include_usage);
            let method = if plan.call.stream { "streamGenerateContent" } else { "generateContent" };
            (method, request::write(chat, model)?, Box::new(reader))
        }
    };
    let mut url = plan.url(&format!("/models/{}:{method}", segment(model)))?;
    if method == "streamGenerateContent" {
        url.query_pairs_mut().append_pair("alt", "sse");
    }
    let auth = Auth::Header("x-goog-api-key");
    Ok(Prepared { url, headers: Vec::new(), body, auth, framing: Framing::ServerSentEvents, reader })
}
