//! A chat request in Gemini's terms.

use super::OWN_ID;
use crate::adapters::llm::chat::{Chat, Choice, Format, Image, Item, Part as Said, Turn};
use crate::adapters::llm::fault::Fault;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;

/// What Google names for calls that its models did not make, or whose signature is lost.
const FOREIGN_SIGNATURE: &str = "skip_thought_signature_validator";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    contents: Vec<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tools<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<Value>,
    generation_config: Config<'a>,
}

#[derive(Serialize)]
struct Content<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    parts: Vec<Part<'a>>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inline_data: Option<Inline>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_data: Option<File<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<FunctionCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_response: Option<FunctionResponse<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thought_signature: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inline {
    mime_type: String,
    data: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    mime_type: &'static str,
    file_uri: Cow<'a, str>,
}

#[derive(Serialize)]
struct FunctionCall<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Cow<'a, str>>,
    name: Cow<'a, str>,
    args: Box<RawValue>,
}

#[derive(Serialize)]
struct FunctionResponse<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Cow<'a, str>>,
    name: String,
    response: Box<RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tools<'a> {
    function_declarations: Vec<Function<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters_json_schema: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop_sequences: &'a [Cow<'a, str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<Value>,
}

pub fn write(mut chat: Chat<'_>, model: &str) -> Result<Bytes, Fault> {
    let one_at_a_time = chat.parallel_tool_calls == Some(false) && !chat.tools.is_empty();
    chat.refuse(&[("parallel_tool_calls", one_at_a_time), ("user", chat.user.is_some())])?;
    let (system, turns) = chat.take_turns()?;
    let signs = model.starts_with("gemini-3");
    let contents = turns.into_iter().map(|turn| content(turn, &chat, signs)).collect::<Result<Vec<_>, _>>()?;
    let text = |text| Part { text: Some(text), ..Part::default() };
    let system: Vec<_> = system.into_iter().map(text).collect();
    let (response_mime_type, response_json_schema) = match &chat.format {
        Format::Text => (None, None),
        Format::JsonObject => (Some("application/json"), None),
        Format::JsonSchema { schema, .. } => (Some("application/json"), Some(*schema)),
    };
    let request = Request {
        contents,
        system_instruction: (!system.is_empty()).then_some(Content { role: None, parts: system }),
        tools: tools(&chat),
        tool_config: tool_config(&chat),
        generation_config: Config {
            max_output_tokens: chat.max_tokens,
            temperature: chat.temperature,
            top_p: chat.top_p,
            frequency_penalty: chat.frequency_penalty,
            presence_penalty: chat.presence_penalty,
            seed: chat.seed,
            stop_sequences: &chat.stop,
            response_mime_type,
            response_json_schema,
            thinking_config: thinking(&chat, model)?,
        },
    };
    let body = serde_json::to_vec(&request);
    body.map(Bytes::from).map_err(|_| Fault::bad_request(None, "the request cannot be written as JSON"))
}

fn content<'a>(turn: Turn<'a>, chat: &Chat<'_>, signs: bool) -> Result<Content<'a>, Fault> {
    let mut parts = Vec::with_capacity(turn.items.len());
    // Of calls that were made together only the first is signed.
    let mut first_call = true;
    for item in turn.items {
        parts.push(match item {
            Item::Text(text) => Part { text: Some(text), ..Part::default() },
            Item::Image(image, name) => image_part(image, &name, chat)?,
            Item::Call(call) => {
                let lost = || (signs && first_call).then(|| FOREIGN_SIGNATURE.to_owned());
                let thought_signature = call.thought_signature.or_else(lost);
                first_call = false;
                let function_call = FunctionCall { id: own(call.id), name: call.name, args: call.arguments };
                Part { function_call: Some(function_call), thought_signature, ..Part::default() }
            }
            Item::Result { call_id, name, parts } => {
                let response = response(parts, chat)?;
                let function_response = FunctionResponse { id: own(call_id), name, response };
                Part { function_response: Some(function_response), ..Part::default() }
            }
        });
    }
    Ok(Content { role: Some(if turn.from_model { "model" } else { "user" }), parts })
}

/// The id of a call as the API knows it.
fn own(id: Cow<'_, str>) -> Option<Cow<'_, str>> {
    (!id.starts_with(OWN_ID)).then_some(id)
}

/// A result is an object: one that is none goes in as `output`, Google's name for it.
fn response(parts: Vec<Said<'_>>, chat: &Chat<'_>) -> Result<Box<RawValue>, Fault> {
    let mut text = String::new();
    for part in parts {
        match part {
            Said::Text(more) => text.push_str(&more),
            Said::Image(_, name) => return Err(chat.unsupported(&name)),
        }
    }
    if text.trim_start().starts_with('{')
        && let Ok(object) = RawValue::from_string(text.trim().to_owned())
    {
        return Ok(object);
    }
    let wrapped = serde_json::value::to_raw_value(&json!({ "output": text }));
    wrapped.map_err(|_| Fault::bad_request(Some("messages"), "a result of a tool cannot be written as JSON"))
}

fn image_part<'a>(image: Image<'a>, name: &str, chat: &Chat<'_>) -> Result<Part<'a>, Fault> {
    match image {
        Image::Data { media_type, base64 } => {
            Ok(Part { inline_data: Some(Inline { mime_type: media_type, data: base64 }), ..Part::default() })
        }
        Image::Url(url) => {
            // The API wants to know the type before it fetches.
            let mime_type = mime_type(&url).ok_or_else(|| chat.unsupported(name))?;
            Ok(Part { file_data: Some(File { mime_type, file_uri: url }), ..Part::default() })
        }
    }
}

/// By the ending of the URL's path.
fn mime_type(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next()?;
    let ending = path.rsplit('.').next()?.to_ascii_lowercase();
    let types = [
        ("png", "image/png"),
        ("jpg", "image/jpeg"),
        ("jpeg", "image/jpeg"),
        ("webp", "image/webp"),
        ("gif", "image/gif"),
        ("heic", "image/heic"),
        ("heif", "image/heif"),
    ];
    types.iter().find(|(known, _)| *known == ending).map(|(_, mime_type)| *mime_type)
}

fn tools<'a>(chat: &'a Chat<'_>) -> Vec<Tools<'a>> {
    let functions = chat.tools.iter().map(|tool| Function {
        name: &tool.name,
        description: tool.description.as_deref(),
        parameters_json_schema: tool.parameters,
    });
    let function_declarations: Vec<_> = functions.collect();
    if function_declarations.is_empty() { Vec::new() } else { vec![Tools { function_declarations }] }
}

fn tool_config(chat: &Chat<'_>) -> Option<Value> {
    let config = match &chat.choice {
        Some(Choice::None) => json!({ "mode": "NONE" }),
        Some(Choice::Required) => json!({ "mode": "ANY" }),
        Some(Choice::Named(name)) => json!({ "mode": "ANY", "allowedFunctionNames": [name] }),
        // A strict tool's arguments follow its schema: this mode is the one that holds them to it.
        None | Some(Choice::Auto) if chat.tools.iter().any(|tool| tool.strict) => json!({ "mode": "VALIDATED" }),
        Some(Choice::Auto) => json!({ "mode": "AUTO" }),
        None => return None,
    };
    Some(json!({ "functionCallingConfig": config }))
}

/// By the table of Google's OpenAI-compatible API: levels from generation 3 on, before that a budget of tokens.
fn thinking(chat: &Chat<'_>, model: &str) -> Result<Option<Value>, Fault> {
    let Some(effort) = chat.reasoning_effort.as_deref() else { return Ok(None) };
    let config = match (effort, model.starts_with("gemini-2")) {
        ("none", true) => json!({ "thinkingBudget": 0 }),
        ("minimal" | "low", true) => json!({ "thinkingBudget": 1_024 }),
        ("medium", true) => json!({ "thinkingBudget": 8_192 }),
        ("high", true) => json!({ "thinkingBudget": 24_576 }),
        ("minimal" | "low" | "medium" | "high", false) => json!({ "thinkingLevel": effort }),
        _ => return Err(chat.unsupported("reasoning_effort")),
    };
    Ok(Some(config))
}
