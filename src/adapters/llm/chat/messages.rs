//! The messages of a chat request.

use super::{Fields, Text};
use crate::adapters::llm::fault::Fault;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A turn.
#[derive(Debug)]
pub enum Message<'a> {
    /// Roles `system` and `developer`.
    System(Vec<Part<'a>>),
    User(Vec<Part<'a>>),
    Assistant {
        parts: Vec<Part<'a>>,
        calls: Vec<ToolCall<'a>>,
    },
    /// The result of a tool call.
    Tool {
        call_id: Cow<'a, str>,
        parts: Vec<Part<'a>>,
    },
}

/// A piece of a turn's content.
#[derive(Debug)]
pub enum Part<'a> {
    Text(Cow<'a, str>),
    /// With its name in the request, for a wire that cannot take it.
    Image(Image<'a>, String),
}

#[derive(Debug)]
pub enum Image<'a> {
    Url(Cow<'a, str>),
    /// Out of a `data:` URL.
    Data {
        media_type: String,
        base64: String,
    },
}

/// A call that the model made in an earlier turn.
#[derive(Debug)]
pub struct ToolCall<'a> {
    pub id: Cow<'a, str>,
    pub name: Cow<'a, str>,
    /// A JSON object.
    pub arguments: Box<RawValue>,
    /// What Gemini's models want back with their calls; it travels as in Google's own OpenAI-compatible API.
    pub thought_signature: Option<String>,
}

pub fn read<'a>(top: &mut Fields<'a>) -> Result<Vec<Message<'a>>, Fault> {
    let messages: Vec<&'a RawValue> = top.need("messages")?;
    if messages.is_empty() {
        return Err(top.bad("messages", "must hold at least one message"));
    }
    messages.iter().enumerate().map(|(at, json)| message(top.within(&format!("messages[{at}]"), json)?)).collect()
}

fn message(mut fields: Fields<'_>) -> Result<Message<'_>, Fault> {
    let Text(role) = fields.need("role")?;
    let mut parts = content(&mut fields)?;
    let message = match &*role {
        "system" | "developer" => Message::System(parts),
        "user" => Message::User(parts),
        "assistant" => {
            // What an earlier answer said beside its content, and clients send back with it.
            fields.neutral("annotations", &["[]"]);
            if let Some(Text(refusal)) = fields.take("refusal")? {
                parts.push(Part::Text(refusal));
            }
            let calls: Vec<&RawValue> = fields.take("tool_calls")?.unwrap_or_default();
            let calls = calls.iter().enumerate();
            let calls = calls.map(|(at, json)| tool_call(fields.within(&format!("tool_calls[{at}]"), json)?));
            Message::Assistant { parts, calls: calls.collect::<Result<_, _>>()? }
        }
        "tool" => {
            // The call's id says whose result it is.
            fields.drop("name");
            let Text(call_id) = fields.need("tool_call_id")?;
            Message::Tool { call_id, parts }
        }
        _ => return Err(fields.unsupported("role")),
    };
    fields.finish()?;
    Ok(message)
}

fn content<'a>(fields: &mut Fields<'a>) -> Result<Vec<Part<'a>>, Fault> {
    let Some(json) = fields.raw("content") else { return Ok(Vec::new()) };
    let bad = |_| fields.bad("content", "must be a text or a list of parts");
    if !json.get().starts_with('[') {
        let Text(text) = serde_json::from_str(json.get()).map_err(bad)?;
        return Ok(vec![Part::Text(text)]);
    }
    let parts: Vec<&RawValue> = serde_json::from_str(json.get()).map_err(bad)?;
    parts.iter().enumerate().map(|(at, json)| part(fields.within(&format!("content[{at}]"), json)?)).collect()
}

fn part(mut fields: Fields<'_>) -> Result<Part<'_>, Fault> {
    let Text(kind) = fields.need("type")?;
    let part = match &*kind {
        "text" => Part::Text(fields.need::<Text<'_>>("text")?.0),
        "refusal" => Part::Text(fields.need::<Text<'_>>("refusal")?.0),
        "image_url" => {
            let json = fields.need("image_url")?;
            let mut image = fields.within("image_url", json)?;
            let Text(url) = image.need("url")?;
            image.neutral("detail", &["\"auto\""]);
            let found = match url.strip_prefix("data:") {
                Some(data) => inline(data).ok_or_else(|| image.bad("url", "is no base64 data URL"))?,
                None => Image::Url(url),
            };
            let name = image.name("url");
            image.finish()?;
            Part::Image(found, name)
        }
        // Sound and files: the type itself is what cannot be expressed.
        other => return Err(fields.unsupported(if known(other) { other } else { "type" })),
    };
    fields.finish()?;
    Ok(part)
}

fn known(kind: &str) -> bool {
    ["input_audio", "file", "video_url"].contains(&kind)
}

/// `image/png;base64,…`.
fn inline(data: &str) -> Option<Image<'static>> {
    let (head, base64) = data.split_once(',')?;
    let media_type = head.strip_suffix(";base64")?.split(';').next()?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let sound = media_type.starts_with("image/") && !base64.is_empty() && base64.bytes().all(fits);
    sound.then(|| Image::Data { media_type: media_type.to_owned(), base64: base64.to_owned() })
}

fn tool_call(mut fields: Fields<'_>) -> Result<ToolCall<'_>, Fault> {
    #[derive(Deserialize)]
    struct Extra {
        google: Option<Google>,
    }
    #[derive(Deserialize)]
    struct Google {
        thought_signature: Option<String>,
    }
    // Streams number their calls, and clients leave that in.
    fields.drop("index");
    fields.neutral("type", &["\"function\""]);
    let Text(id) = fields.need("id")?;
    let json = fields.need("function")?;
    let mut function = fields.within("function", json)?;
    let Text(name) = function.need("name")?;
    let Text(arguments) = function.take("arguments")?.unwrap_or(Text(Cow::Borrowed("")));
    let arguments = if arguments.trim().is_empty() { "{}".to_owned() } else { arguments.into_owned() };
    let is_object = arguments.trim_start().starts_with('{');
    let arguments = RawValue::from_string(arguments).ok().filter(|_| is_object);
    let arguments = arguments.ok_or_else(|| function.bad("arguments", "must be a JSON object, as text"))?;
    function.finish()?;
    let extra: Option<Extra> = fields.take("extra_content")?;
    let thought_signature = extra.and_then(|extra| extra.google).and_then(|google| google.thought_signature);
    fields.finish()?;
    Ok(ToolCall { id, name, arguments, thought_signature })
}
