//! The wire of Gemini: content, whole and streamed.

use super::answer::{Answer, Content, Finish, Usage};
use super::anthropic::parsed;
use super::ask::{Ask, Choice, Prompt, Tool, Want};
use super::said::Said;
use super::wire::{Script, Trouble, escaped};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Generate<'a> {
    #[serde(borrow)]
    contents: Vec<Turn<'a>>,
    #[serde(borrow, default, alias = "system_instruction")]
    system_instruction: Said<'a>,
    #[serde(borrow, default, alias = "generation_config")]
    generation_config: GenerationConfig<'a>,
    #[serde(borrow)]
    tools: Option<Vec<ToolBox<'a>>>,
    #[serde(alias = "tool_config")]
    tool_config: Option<ToolConfig>,
}

#[derive(Deserialize)]
struct Turn<'a> {
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    parts: Said<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig<'a> {
    #[serde(alias = "max_output_tokens")]
    max_output_tokens: Option<u64>,
    #[serde(alias = "response_mime_type")]
    response_mime_type: Option<String>,
    #[serde(borrow, alias = "response_schema")]
    response_schema: Option<&'a RawValue>,
    #[serde(borrow, alias = "response_json_schema")]
    response_json_schema: Option<&'a RawValue>,
    #[serde(alias = "candidate_count")]
    candidate_count: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolBox<'a> {
    #[serde(borrow, alias = "function_declarations")]
    function_declarations: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Declaration<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    #[serde(borrow, alias = "parameters_json_schema")]
    parameters_json_schema: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolConfig {
    #[serde(alias = "function_calling_config")]
    function_calling_config: Option<CallingConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CallingConfig {
    mode: Option<String>,
    #[serde(alias = "allowed_function_names")]
    allowed_function_names: Option<Vec<String>>,
}

/// Reads a request for content; the model and the way of answering stand in its path.
///
/// # Errors
/// A sentence for the caller.
pub fn generate<'a>(body: &'a [u8], model: &str, stream: bool) -> Result<Ask<'a>, String> {
    let asked: Generate<'_> =
        serde_json::from_slice(body).map_err(|cause| format!("the body is no generateContent request: {cause}"))?;
    let config = asked.generation_config;
    if asked.contents.is_empty() {
        return Err("contents must not be empty".into());
    }
    if config.candidate_count.is_some_and(|count| count != 1) {
        return Err("candidateCount is understood as 1 only by this stand-in".into());
    }
    let mut prompt = Prompt::default();
    prompt.add_bytes(asked.system_instruction.bytes);
    for turn in asked.contents {
        let from_user = turn.role.is_none_or(|role| role == "user") && !turn.parts.tool_result;
        prompt.add(turn.parts, from_user, false);
    }
    let choice = choice(asked.tool_config);
    let mut tools = Vec::new();
    for form in asked.tools.into_iter().flatten().filter_map(|tools| tools.function_declarations).flatten() {
        prompt.add_bytes(form.get().len() as u64);
        let declaration: Declaration<'_> =
            serde_json::from_str(form.get()).map_err(|cause| format!("functionDeclarations: {cause}"))?;
        let schema = declaration.parameters_json_schema.or(declaration.parameters);
        tools.push(Tool { name: declaration.name, schema });
    }
    let schema = config.response_json_schema.or(config.response_schema);
    let is_json = config.response_mime_type.as_deref() == Some("application/json");
    let want = match (prompt.tool(tools, &choice)?, schema) {
        (Some(call), _) => call,
        (None, Some(schema)) => Want::Schema(schema),
        (None, None) if is_json => Want::Json,
        (None, None) => Want::Text,
    };
    Ok(Ask {
        prompt_tokens: prompt.tokens(),
        text: prompt.text,
        model: model.to_owned().into(),
        max_tokens: config.max_output_tokens,
        stream,
        include_usage: true,
        want,
    })
}

fn choice(config: Option<ToolConfig>) -> Choice<'static> {
    let Some(config) = config.and_then(|config| config.function_calling_config) else { return Choice::Auto };
    match (config.mode.as_deref(), config.allowed_function_names.as_deref()) {
        (Some("NONE"), _) => Choice::Never,
        (Some("ANY"), Some([name, ..])) => Choice::Named(name.clone().into()),
        (Some("ANY"), _) => Choice::Any,
        _ => Choice::Auto,
    }
}

/// The whole answer.
pub fn whole(answer: &Answer) -> String {
    let part = match &answer.content {
        Content::Text(text) => json!({"text": text}),
        Content::Call { .. } => call(answer),
    };
    last(answer, &json!([part])).to_string()
}

/// The same as events: the pieces, and a last one with the reason of the end and the usage. A call comes in one piece.
pub fn script(answer: &Answer) -> Script {
    let (text, parts) = match &answer.content {
        Content::Text(text) => (text.clone(), json!([{"text": ""}])),
        Content::Call { .. } => (String::new(), json!([call(answer)])),
    };
    let known = json!({
        "promptTokenCount": answer.usage.prompt,
        "totalTokenCount": answer.usage.prompt,
    });
    Script {
        opening: String::new(),
        before: "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":".into(),
        after: format!(
            "}}],\"role\":\"model\"}},\"index\":0}}],\"usageMetadata\":{known},\"modelVersion\":{},\"responseId\":\"{}\"}}\r\n\r\n",
            escaped(&answer.model),
            id(answer),
        ),
        closing: format!("data: {}\r\n\r\n", last(answer, &parts)),
        text,
    }
}

fn last(answer: &Answer, parts: &Value) -> Value {
    json!({
        "candidates": [{
            "content": {"parts": parts, "role": "model"},
            "finishReason": if answer.finish == Finish::Length { "MAX_TOKENS" } else { "STOP" },
            "index": 0,
        }],
        "usageMetadata": usage(answer.usage),
        "modelVersion": answer.model,
        "responseId": id(answer),
    })
}

fn call(answer: &Answer) -> Value {
    match &answer.content {
        Content::Call { name, arguments } => json!({"functionCall": {"name": name, "args": parsed(arguments)}}),
        Content::Text(text) => json!({"text": text}),
    }
}

fn id(answer: &Answer) -> String {
    format!("resp-{:016x}", answer.digest)
}

fn usage(usage: Usage) -> Value {
    let mut counts = json!({
        "promptTokenCount": usage.prompt,
        "candidatesTokenCount": usage.completion,
        "totalTokenCount": usage.prompt + usage.completion,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.prompt}],
    });
    if usage.cached > 0 {
        counts["cachedContentTokenCount"] = usage.cached.into();
    }
    counts
}

/// An error's body.
pub fn error(trouble: &Trouble) -> String {
    let status = match trouble.status {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        408 | 504 => "DEADLINE_EXCEEDED",
        429 => "RESOURCE_EXHAUSTED",
        400..=499 => "INVALID_ARGUMENT",
        503 | 529 => "UNAVAILABLE",
        _ => "INTERNAL",
    };
    let mut error = json!({"code": trouble.status, "message": trouble.message, "status": status});
    if let Some(wait) = trouble.wait {
        let delay = format!("{}.{:09}s", wait.as_secs(), wait.subsec_nanos());
        error["details"] = json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]);
    }
    json!({ "error": error }).to_string()
}
