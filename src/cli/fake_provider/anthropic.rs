//! The wire of Anthropic: messages, whole and as its sequence of events.

use super::answer::{Answer, Content, Finish, Usage};
use super::ask::{Ask, Choice, Prompt, Tool, Want};
use super::said::Said;
use super::wire::{Script, Trouble};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;

#[derive(Deserialize)]
struct Messages<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
    max_tokens: u64,
    #[serde(borrow)]
    messages: Vec<Message<'a>>,
    #[serde(borrow, default)]
    system: Said<'a>,
    stream: Option<bool>,
    #[serde(borrow)]
    tools: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    tool_choice: Option<ToolChoice<'a>>,
    #[serde(borrow)]
    output_config: Option<OutputConfig<'a>>,
    #[serde(borrow)]
    output_format: Option<Format<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow)]
    content: Said<'a>,
}

#[derive(Deserialize)]
struct ToolForm<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    input_schema: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ToolChoice<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    name: Option<String>,
}

#[derive(Deserialize)]
struct OutputConfig<'a> {
    #[serde(borrow)]
    format: Option<Format<'a>>,
}

#[derive(Deserialize)]
struct Format<'a> {
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
}

/// Reads a request for a message.
///
/// # Errors
/// A sentence for the caller.
pub fn messages(body: &[u8]) -> Result<Ask<'_>, String> {
    let asked: Messages<'_> =
        serde_json::from_slice(body).map_err(|cause| format!("the body is no messages request: {cause}"))?;
    if asked.messages.is_empty() {
        return Err("messages: at least one message is required".into());
    }
    let mut prompt = Prompt::default();
    prompt.add_bytes(asked.system.bytes);
    for message in asked.messages {
        // A tool's result is not what the user says.
        let from_user = message.role == "user" && !message.content.tool_result;
        prompt.add(message.content, from_user, false);
    }
    let mut tools = Vec::new();
    for form in asked.tools.into_iter().flatten() {
        prompt.add_bytes(form.get().len() as u64);
        let ToolForm { name, input_schema } =
            serde_json::from_str(form.get()).map_err(|cause| format!("tools: {cause}"))?;
        // Without a schema it is a tool that the provider runs itself: it is never called from here.
        tools.extend(input_schema.map(|schema| Tool { name, schema: Some(schema) }));
    }
    let choice = choice(asked.tool_choice)?;
    let format = asked.output_config.and_then(|config| config.format).or(asked.output_format);
    let want = match (prompt.tool(tools, &choice)?, format.and_then(|format| format.schema)) {
        (Some(call), _) => call,
        (None, Some(schema)) => Want::Schema(schema),
        (None, None) => Want::Text,
    };
    Ok(Ask {
        prompt_tokens: prompt.tokens(),
        text: prompt.text,
        model: asked.model,
        max_tokens: Some(asked.max_tokens),
        stream: asked.stream.unwrap_or(false),
        include_usage: true,
        want,
    })
}

fn choice(choice: Option<ToolChoice<'_>>) -> Result<Choice<'static>, String> {
    let Some(ToolChoice { kind, name }) = choice else { return Ok(Choice::Auto) };
    match (&*kind, name) {
        ("auto", _) => Ok(Choice::Auto),
        ("none", _) => Ok(Choice::Never),
        ("any", _) => Ok(Choice::Any),
        ("tool", Some(name)) => Ok(Choice::Named(name.into())),
        _ => Err(format!("tool_choice: {kind:?} is not understood, or lacks a name")),
    }
}

/// The whole answer.
pub fn whole(answer: &Answer) -> String {
    let content = match &answer.content {
        Content::Text(text) => json!({"type": "text", "text": text}),
        Content::Call { name, arguments } => call(answer, name, &parsed(arguments)),
    };
    let mut message = start(answer, usage(answer.usage, answer.usage.completion));
    message["content"] = json!([content]);
    message["stop_reason"] = finish(answer.finish).into();
    message.to_string()
}

/// The same as events, from `message_start` to `message_stop`.
pub fn script(answer: &Answer) -> Script {
    let (block, before, text) = match &answer.content {
        Content::Text(text) => (json!({"type": "text", "text": ""}), "\"text_delta\",\"text\":", text),
        Content::Call { name, arguments } => {
            (call(answer, name, &json!({})), "\"input_json_delta\",\"partial_json\":", arguments)
        }
    };
    let begin = json!({"type": "message_start", "message": start(answer, usage(answer.usage, 1))});
    let block = json!({"type": "content_block_start", "index": 0, "content_block": block});
    let stop = json!({"type": "content_block_stop", "index": 0});
    let delta = json!({
        "type": "message_delta",
        "delta": {"stop_reason": finish(answer.finish), "stop_sequence": null},
        "usage": usage(answer.usage, answer.usage.completion),
    });
    let opening =
        [event("message_start", &begin), event("content_block_start", &block), event("ping", &json!({"type": "ping"}))];
    let closing = [
        event("content_block_stop", &stop),
        event("message_delta", &delta),
        event("message_stop", &json!({"type": "message_stop"})),
    ];
    Script {
        opening: opening.concat(),
        before: format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":{before}"
        ),
        after: "}}\n\n".into(),
        closing: closing.concat(),
        text: text.clone(),
    }
}

fn event(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

fn start(answer: &Answer, usage: Value) -> Value {
    json!({
        "id": format!("msg_{:016x}", answer.digest),
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": usage,
    })
}

fn call(answer: &Answer, name: &str, input: &Value) -> Value {
    json!({"type": "tool_use", "id": format!("toolu_{:016x}", answer.digest), "name": name, "input": input})
}

/// Arguments are JSON of our own making.
pub fn parsed(arguments: &str) -> Value {
    serde_json::from_str(arguments).unwrap_or_default()
}

fn finish(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "end_turn",
        Finish::Length => "max_tokens",
        Finish::Call => "tool_use",
    }
}

/// Here the input does not include what was read from the cache.
fn usage(usage: Usage, output: u64) -> Value {
    json!({
        "input_tokens": usage.prompt - usage.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": output,
        "service_tier": "standard",
    })
}

/// An error's body.
pub fn error(trouble: &Trouble) -> String {
    let kind = match trouble.status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    };
    json!({
        "type": "error",
        "error": {"type": kind, "message": trouble.message},
        "request_id": trouble.request_id,
    })
    .to_string()
}
