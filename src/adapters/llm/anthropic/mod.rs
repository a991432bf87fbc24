//! Anthropic's Messages API, both ways.
//!
//! Structured output goes through `output_config.format`, which Anthropic's own API offers, and not through a tool that
//! the model is forced to call: so it can stand beside tools, and comes as text. All texts of the system are put
//! together: the API has one place for them. Thinking is passed over, OpenAI's wire has no place for it.

mod answer;
mod request;

use super::chat::Chat;
use super::fault::Fault;
use super::form::Label;
use super::wire::{Auth, Framing, Plan, Prepared};
use crate::ports::llm::Operation;

const WIRE: &str = "Anthropic's Messages API";

pub fn prepare(plan: &Plan<'_>) -> Result<Prepared, Fault> {
    let call = plan.call;
    if call.operation == Operation::Embeddings {
        return Err(Fault::bad_request(None, "Anthropic has no embeddings; use another provider for them"));
    }
    let chat = Chat::read(&call.request, WIRE)?;
    let include_usage = chat.include_usage;
    let body = request::write(chat, call)?;
    let versioned = plan.base.path().trim_end_matches('/').ends_with("/v1");
    let label = Label { id: String::new(), created: plan.created(), model: call.target.model.to_string() };
    Ok(Prepared {
        url: plan.url(if versioned { "/messages" } else { "/v1/messages" })?,
        headers: vec![("anthropic-version", "2023-06-01")],
        body,
        auth: Auth::Header("x-api-key"),
        framing: Framing::ServerSentEvents,
        reader: Box::new(answer::Reading::new(label, include_usage)),
    })
}
