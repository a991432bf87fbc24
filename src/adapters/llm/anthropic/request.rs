//! A chat request in Anthropic's terms.

use crate::adapters::llm::chat::{Chat, Choice, Format, Image, Item, Part, Tool, Turn};
use crate::adapters::llm::fault::Fault;
use crate::ports::llm::Call;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The bound on an answer where neither the request nor the model's description has one: every model takes it.
const MAX_TOKENS: u64 = 4_096;
/// What the API knows as effort.
const EFFORTS: &[&str] = &["low", "medium", "high", "xhigh"];

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    max_tokens: u64,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolSpec<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<ToolChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop_sequences: &'a [Cow<'a, str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text { text: Cow<'a, str> },
    Image { source: Source<'a> },
    ToolUse { id: Cow<'a, str>, name: Cow<'a, str>, input: Box<RawValue> },
    ToolResult { tool_use_id: Cow<'a, str>, content: Vec<Block<'a>> },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Source<'a> {
    Base64 { media_type: String, data: String },
    Url { url: Cow<'a, str> },
}

#[derive(Serialize)]
struct ToolSpec<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    input_schema: Cow<'a, RawValue>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    strict: bool,
}

#[derive(Serialize)]
struct ToolChoice<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disable_parallel_tool_use: Option<bool>,
}

#[derive(Serialize)]
struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<OutputFormat<'a>>,
}

#[derive(Serialize)]
struct OutputFormat<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    schema: &'a RawValue,
}

#[derive(Serialize)]
struct Metadata<'a> {
    user_id: &'a str,
}

pub fn write(mut chat: Chat<'_>, call: &Call) -> Result<Bytes, Fault> {
    let [frequency, presence] = chat.penalties();
    chat.refuse(&[frequency, presence, ("seed", chat.seed.is_some())])?;
    let (system, turns) = chat.take_turns()?;
    let own_max = call.target.output_tokens_max.and_then(|tokens| u64::try_from(tokens).ok());
    let request = Request {
        model: &call.target.model,
        max_tokens: chat.max_tokens.or(own_max).unwrap_or(MAX_TOKENS),
        messages: turns.into_iter().map(message).collect(),
        system: system.into_iter().map(|text| Block::Text { text }).collect(),
        tools: chat.tools.iter().map(tool).collect(),
        tool_choice: choice(&chat),
        output_config: output_config(&chat)?,
        stop_sequences: &chat.stop,
        temperature: chat.temperature,
        top_p: chat.top_p,
        metadata: chat.user.as_deref().map(|user_id| Metadata { user_id }),
        stream: call.stream,
    };
    let body = serde_json::to_vec(&request);
    body.map(Bytes::from).map_err(|_| Fault::bad_request(None, "the request cannot be written as JSON"))
}

fn message(turn: Turn<'_>) -> Message<'_> {
    let role = if turn.from_model { "assistant" } else { "user" };
    let content = turn.items.into_iter().map(|item| match item {
        Item::Text(text) => Block::Text { text },
        Item::Image(image, _) => image_block(image),
        Item::Call(call) => Block::ToolUse { id: call.id, name: call.name, input: call.arguments },
        Item::Result { call_id, parts, .. } => {
            Block::ToolResult { tool_use_id: call_id, content: parts.into_iter().map(part).collect() }
        }
    });
    Message { role, content: content.collect() }
}

fn part(part: Part<'_>) -> Block<'_> {
    match part {
        Part::Text(text) => Block::Text { text },
        Part::Image(image, _) => image_block(image),
    }
}

fn image_block(image: Image<'_>) -> Block<'_> {
    let source = match image {
        Image::Url(url) => Source::Url { url },
        Image::Data { media_type, base64 } => Source::Base64 { media_type, data: base64 },
    };
    Block::Image { source }
}

fn tool<'a>(tool: &'a Tool<'a>) -> ToolSpec<'a> {
    let input_schema = match tool.parameters {
        Some(schema) => Cow::Borrowed(schema),
        // The API wants a schema of a tool that takes nothing.
        None => {
            Cow::Owned(RawValue::from_string(r#"{"type":"object","properties":{}}"#.to_owned()).unwrap_or_default())
        }
    };
    ToolSpec { name: &tool.name, description: tool.description.as_deref(), input_schema, strict: tool.strict }
}

fn choice<'a>(chat: &'a Chat<'_>) -> Option<ToolChoice<'a>> {
    let (kind, name) = match &chat.choice {
        None if chat.parallel_tool_calls.is_none() || chat.tools.is_empty() => return None,
        None | Some(Choice::Auto) => ("auto", None),
        Some(Choice::None) => ("none", None),
        Some(Choice::Required) => ("any", None),
        Some(Choice::Named(name)) => ("tool", Some(&**name)),
    };
    let one_at_a_time = (chat.parallel_tool_calls == Some(false) && kind != "none").then_some(true);
    Some(ToolChoice { kind, name, disable_parallel_tool_use: one_at_a_time })
}

fn output_config<'a>(chat: &'a Chat<'_>) -> Result<Option<OutputConfig<'a>>, Fault> {
    let effort = chat.reasoning_effort.as_deref();
    if effort.is_some_and(|effort| !EFFORTS.contains(&effort)) {
        return Err(chat.unsupported("reasoning_effort"));
    }
    let format = match &chat.format {
        Format::Text => None,
        // The API knows no JSON without a schema.
        Format::JsonObject => return Err(chat.unsupported("response_format.type")),
        Format::JsonSchema { schema, .. } => Some(OutputFormat { kind: "json_schema", schema }),
    };
    Ok((effort.is_some() || format.is_some()).then_some(OutputConfig { effort, format }))
}
