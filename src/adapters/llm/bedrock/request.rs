//! A chat request in Converse's terms.

use crate::adapters::llm::chat::{Chat, Choice, Format, Image, Item, Part, Tool};
use crate::adapters::llm::fault::Fault;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    inference_config: Inference<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<ToolConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<Value>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Block<'a> {
    Text(Cow<'a, str>),
    Image(Value),
    #[serde(rename_all = "camelCase")]
    ToolUse {
        tool_use_id: Cow<'a, str>,
        name: Cow<'a, str>,
        input: Box<RawValue>,
    },
    #[serde(rename_all = "camelCase")]
    ToolResult {
        tool_use_id: Cow<'a, str>,
        content: Vec<Block<'a>>,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inference<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop_sequences: &'a [Cow<'a, str>],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolConfig {
    tools: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
}

pub fn write(mut chat: Chat<'_>) -> Result<Bytes, Fault> {
    let [frequency, presence] = chat.penalties();
    let one_at_a_time = chat.parallel_tool_calls == Some(false) && !chat.tools.is_empty();
    chat.refuse(&[
        frequency,
        presence,
        ("seed", chat.seed.is_some()),
        ("user", chat.user.is_some()),
        ("reasoning_effort", chat.reasoning_effort.is_some()),
        ("parallel_tool_calls", one_at_a_time),
        ("tool_choice", chat.choice == Some(Choice::None) && !chat.tools.is_empty()),
    ])?;
    let (system, turns) = chat.take_turns()?;
    let mut messages = Vec::with_capacity(turns.len());
    for turn in turns {
        let content = turn.items.into_iter().map(|item| block(item, &chat)).collect::<Result<_, _>>()?;
        messages.push(Message { role: if turn.from_model { "assistant" } else { "user" }, content });
    }
    let request = Request {
        messages,
        system: system.into_iter().map(Block::Text).collect(),
        inference_config: Inference {
            max_tokens: chat.max_tokens,
            temperature: chat.temperature,
            top_p: chat.top_p,
            stop_sequences: &chat.stop,
        },
        tool_config: tool_config(&chat)?,
        output_config: output_config(&chat)?,
    };
    let body = serde_json::to_vec(&request);
    body.map(Bytes::from).map_err(|_| Fault::bad_request(None, "the request cannot be written as JSON"))
}

fn block<'a>(item: Item<'a>, chat: &Chat<'_>) -> Result<Block<'a>, Fault> {
    Ok(match item {
        Item::Text(text) => Block::Text(text),
        Item::Image(image, name) => image_block(image, &name, chat)?,
        Item::Call(call) => Block::ToolUse { tool_use_id: call.id, name: call.name, input: call.arguments },
        Item::Result { call_id, parts, .. } => {
            let content = parts.into_iter().map(|part| match part {
                Part::Text(text) => Ok(Block::Text(text)),
                Part::Image(image, name) => image_block(image, &name, chat),
            });
            Block::ToolResult { tool_use_id: call_id, content: content.collect::<Result<_, _>>()? }
        }
    })
}

/// Converse takes bytes, and knows four types of image.
fn image_block<'a>(image: Image<'a>, name: &str, chat: &Chat<'_>) -> Result<Block<'a>, Fault> {
    let Image::Data { media_type, base64 } = image else { return Err(chat.unsupported(name)) };
    let format = match media_type.as_str() {
        "image/png" => "png",
        "image/jpeg" | "image/jpg" => "jpeg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        _ => return Err(chat.unsupported(name)),
    };
    Ok(Block::Image(json!({ "format": format, "source": { "bytes": base64 } })))
}

fn tool_config(chat: &Chat<'_>) -> Result<Option<ToolConfig>, Fault> {
    if chat.tools.is_empty() {
        return Ok(None);
    }
    let tools = chat.tools.iter().map(tool).collect::<Result<_, _>>()?;
    let tool_choice = match &chat.choice {
        None | Some(Choice::None) => None,
        Some(Choice::Auto) => Some(json!({ "auto": {} })),
        Some(Choice::Required) => Some(json!({ "any": {} })),
        Some(Choice::Named(name)) => Some(json!({ "tool": { "name": name } })),
    };
    Ok(Some(ToolConfig { tools, tool_choice }))
}

fn tool(tool: &Tool<'_>) -> Result<Value, Fault> {
    let schema = tool.parameters.map_or(r#"{"type":"object","properties":{}}"#, RawValue::get);
    let schema: Value =
        serde_json::from_str(schema).map_err(|error| Fault::unreadable("a tool's parameters", &error))?;
    let mut spec = json!({ "name": tool.name, "inputSchema": { "json": schema } });
    if let Some(description) = &tool.description {
        spec["description"] = Value::from(&**description);
    }
    if tool.strict {
        spec["strict"] = true.into();
    }
    Ok(json!({ "toolSpec": spec }))
}

/// The schema goes as text.
fn output_config(chat: &Chat<'_>) -> Result<Option<Value>, Fault> {
    let Format::JsonSchema { name, description, schema } = &chat.format else {
        return match chat.format {
            Format::JsonObject => Err(chat.unsupported("response_format.type")),
            _ => Ok(None),
        };
    };
    let mut definition = json!({ "name": name, "schema": schema.get() });
    if let Some(description) = description {
        definition["description"] = Value::from(&**description);
    }
    let format = json!({ "type": "json_schema", "structure": { "jsonSchema": definition } });
    Ok(Some(json!({ "textFormat": format })))
}
