//! The wire of OpenAI: chat completions, whole and streamed.

use super::answer::{Answer, CREATED, Content, Finish, Usage};
use super::ask::{Ask, Choice, Prompt, Tool, Want};
use super::said::Said;
use super::wire::{Script, Trouble, escaped};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::fmt::Write;

#[derive(Deserialize)]
struct Chat<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
    #[serde(borrow)]
    messages: Vec<Message<'a>>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    n: Option<u64>,
    #[serde(borrow)]
    tools: Option<Vec<ToolForm<'a>>>,
    #[serde(borrow)]
    tool_choice: Option<&'a RawValue>,
    #[serde(borrow)]
    response_format: Option<ResponseFormat<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow, default)]
    content: Said<'a>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct ToolForm<'a> {
    #[serde(borrow)]
    function: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ResponseFormat<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    json_schema: Option<JsonSchema<'a>>,
}

#[derive(Deserialize)]
struct JsonSchema<'a> {
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
}

/// Reads a request for a chat completion.
///
/// # Errors
/// A sentence for the caller.
pub fn chat(body: &[u8]) -> Result<Ask<'_>, String> {
    let chat: Chat<'_> =
        serde_json::from_slice(body).map_err(|cause| format!("the body is no chat request: {cause}"))?;
    if chat.n.is_some_and(|n| n != 1) {
        return Err("n is understood as 1 only by this stand-in".into());
    }
    if chat.messages.is_empty() {
        return Err("messages must not be empty".into());
    }
    let mut prompt = Prompt::default();
    for message in chat.messages {
        prompt.add_bytes(message.tool_calls.map_or(0, |calls| calls.get().len() as u64));
        prompt.add(message.content, message.role == "user", message.role == "tool");
    }
    let mut tools = Vec::new();
    for form in chat.tools.into_iter().flatten() {
        let Some(function) = form.function else { continue };
        prompt.add_bytes(function.get().len() as u64);
        let Function { name, parameters } =
            serde_json::from_str(function.get()).map_err(|cause| format!("a tool is no function: {cause}"))?;
        tools.push(Tool { name, schema: parameters });
    }
    let want = match prompt.tool(tools, &choice(chat.tool_choice)?)? {
        Some(call) => call,
        None => format(chat.response_format)?,
    };
    Ok(Ask {
        prompt_tokens: prompt.tokens(),
        text: prompt.text,
        model: chat.model,
        max_tokens: chat.max_completion_tokens.or(chat.max_tokens),
        stream: chat.stream.unwrap_or(false),
        include_usage: chat.stream_options.and_then(|options| options.include_usage).unwrap_or(false),
        want,
    })
}

fn choice(choice: Option<&RawValue>) -> Result<Choice<'static>, String> {
    let Some(choice) = choice else { return Ok(Choice::Auto) };
    let choice: Value = serde_json::from_str(choice.get()).map_err(|cause| cause.to_string())?;
    match (choice.as_str(), choice["function"]["name"].as_str()) {
        (Some("auto"), _) => Ok(Choice::Auto),
        (Some("none"), _) => Ok(Choice::Never),
        (Some("required"), _) => Ok(Choice::Any),
        (None, Some(name)) => Ok(Choice::Named(name.to_owned().into())),
        _ if choice.is_null() => Ok(Choice::Auto),
        _ => Err(format!("tool_choice {choice} is not understood")),
    }
}

fn format(format: Option<ResponseFormat<'_>>) -> Result<Want<'_>, String> {
    let Some(format) = format else { return Ok(Want::Text) };
    match &*format.kind {
        "text" => Ok(Want::Text),
        "json_object" => Ok(Want::Json),
        "json_schema" => match format.json_schema.and_then(|form| form.schema) {
            Some(schema) => Ok(Want::Schema(schema)),
            None => Err("response_format.json_schema.schema is missing".into()),
        },
        other => Err(format!("response_format.type {other:?} is not understood")),
    }
}

/// The whole answer. Written and not built as a tree: a load test of a client must not measure this.
pub fn whole(answer: &Answer) -> String {
    let (digest, model, finish) = (answer.digest, escaped(&answer.model), finish(answer.finish));
    let said = match &answer.content {
        Content::Text(text) => format!("{},\"refusal\":null,\"annotations\":[]", escaped(text)),
        Content::Call { name, arguments } => format!(
            "null,\"refusal\":null,\"annotations\":[],\"tool_calls\":[{{\"id\":\"{}\",\"type\":\"function\",\"function\":{{\"name\":{},\"arguments\":{}}}}}]",
            call_id(answer),
            escaped(name),
            escaped(arguments),
        ),
    };
    let Usage { prompt, cached, completion } = answer.usage;
    let total = prompt + completion;
    let mut whole = String::with_capacity(said.len() + model.len() + 640);
    // Memory takes all.
    let _ = write!(
        whole,
        "{{\"id\":\"chatcmpl-{digest:016x}\",\"object\":\"chat.completion\",\"created\":{CREATED},\"model\":{model},\
         \"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":{said}}},\"logprobs\":null,\"finish_reason\":\"{finish}\"}}],\
         \"usage\":{{\"prompt_tokens\":{prompt},\"completion_tokens\":{completion},\"total_tokens\":{total},\
         \"prompt_tokens_details\":{{\"cached_tokens\":{cached},\"audio_tokens\":0}},\
         \"completion_tokens_details\":{{\"reasoning_tokens\":0,\"audio_tokens\":0,\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}}}},\
         \"service_tier\":\"default\",\"system_fingerprint\":\"{FINGERPRINT}\"}}"
    );
    whole
}

/// The same as events: the role, the pieces, the reason of the end, and the usage where it was asked for.
pub fn script(answer: &Answer, include_usage: bool) -> Script {
    let usage_field = if include_usage { ",\"usage\":null" } else { "" };
    let frame = format!(
        "data: {{\"id\":\"{}\",\"object\":\"chat.completion.chunk\",\"created\":{CREATED},\"model\":{},\"service_tier\":\"default\",\"system_fingerprint\":\"{FINGERPRINT}\"{usage_field},\"choices\":[",
        id(answer),
        escaped(&answer.model),
    );
    let choice = |delta: &str, finish: &str| {
        format!("{frame}{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}]}}\n\n")
    };
    let (first, before, after, text) = match &answer.content {
        Content::Text(text) => {
            (json!({"role": "assistant", "content": "", "refusal": null}), "{\"content\":", "}", text)
        }
        Content::Call { name, arguments } => {
            let function = json!({"name": name, "arguments": ""});
            let call = json!({"index": 0, "id": call_id(answer), "type": "function", "function": function});
            let before = "{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":";
            (json!({"role": "assistant", "content": null, "tool_calls": [call]}), before, "}}]}", arguments)
        }
    };
    let mut closing = choice("{}", &format!("\"{}\"", finish(answer.finish)));
    if include_usage {
        let frame = frame.replacen(",\"usage\":null", &format!(",\"usage\":{}", usage(answer.usage)), 1);
        closing += &format!("{frame}]}}\n\n");
    }
    closing += "data: [DONE]\n\n";
    Script {
        opening: choice(&first.to_string(), "null"),
        before: format!("{frame}{{\"index\":0,\"delta\":{before}"),
        after: format!("{after},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n"),
        closing,
        text: text.clone(),
    }
}

const FINGERPRINT: &str = "fp_stand_in";

fn id(answer: &Answer) -> String {
    format!("chatcmpl-{:016x}", answer.digest)
}

fn call_id(answer: &Answer) -> String {
    format!("call_{:016x}", answer.digest)
}

fn finish(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::Call => "tool_calls",
    }
}

fn usage(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    })
}

/// An error's body.
pub fn error(trouble: &Trouble) -> String {
    let (kind, code) = match trouble.status {
        401 => ("invalid_request_error", Some("invalid_api_key")),
        413 => ("invalid_request_error", Some("request_too_large")),
        429 => (trouble.limit.unwrap_or("requests"), Some("rate_limit_exceeded")),
        400..=499 => ("invalid_request_error", None),
        _ => ("server_error", None),
    };
    json!({"error": {"message": trouble.message, "type": kind, "param": null, "code": code}}).to_string()
}
