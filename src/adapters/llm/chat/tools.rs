//! The tools of a chat request, and the form that the answer is to have.

use super::{Fields, Text};
use crate::adapters::llm::fault::Fault;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A function that the model may call.
#[derive(Debug)]
pub struct Tool<'a> {
    pub name: Cow<'a, str>,
    pub description: Option<Cow<'a, str>>,
    /// A JSON schema; `None` where it takes nothing.
    pub parameters: Option<&'a RawValue>,
    /// Whether the arguments must follow the schema.
    pub strict: bool,
}

/// Which tool the model is to call.
#[derive(Debug, PartialEq, Eq)]
pub enum Choice<'a> {
    None,
    Auto,
    /// Any, but one.
    Required,
    Named(Cow<'a, str>),
}

/// The form of the answer.
#[derive(Debug)]
pub enum Format<'a> {
    Text,
    JsonObject,
    JsonSchema { name: Cow<'a, str>, description: Option<Cow<'a, str>>, schema: &'a RawValue },
}

pub fn read<'a>(top: &mut Fields<'a>) -> Result<Vec<Tool<'a>>, Fault> {
    let tools: Vec<&'a RawValue> = top.take("tools")?.unwrap_or_default();
    tools.iter().enumerate().map(|(at, json)| tool(top.within(&format!("tools[{at}]"), json)?)).collect()
}

fn tool(mut fields: Fields<'_>) -> Result<Tool<'_>, Fault> {
    fields.neutral("type", &["\"function\""]);
    let Some(json) = fields.raw("function") else { return Err(fields.unsupported("type")) };
    let mut function = fields.within("function", json)?;
    let Text(name) = function.need("name")?;
    let tool = Tool {
        name,
        description: function.take("description")?.map(|Text(text)| text),
        parameters: function.raw("parameters"),
        strict: function.take("strict")?.unwrap_or_default(),
    };
    function.finish()?;
    fields.finish()?;
    Ok(tool)
}

pub fn choice<'a>(top: &mut Fields<'a>) -> Result<Option<Choice<'a>>, Fault> {
    let Some(json) = top.raw("tool_choice") else { return Ok(None) };
    match json.get() {
        "\"none\"" => return Ok(Some(Choice::None)),
        "\"auto\"" => return Ok(Some(Choice::Auto)),
        "\"required\"" => return Ok(Some(Choice::Required)),
        text if !text.starts_with('{') => return Err(top.unsupported("tool_choice")),
        _ => {}
    }
    let mut fields = top.within("tool_choice", json)?;
    fields.neutral("type", &["\"function\""]);
    let Some(json) = fields.raw("function") else { return Err(top.unsupported("tool_choice.type")) };
    let mut function = fields.within("function", json)?;
    let Text(name) = function.need("name")?;
    function.finish()?;
    fields.finish()?;
    Ok(Some(Choice::Named(name)))
}

pub fn format<'a>(top: &mut Fields<'a>) -> Result<Format<'a>, Fault> {
    let Some(json) = top.raw("response_format") else { return Ok(Format::Text) };
    let mut fields = top.within("response_format", json)?;
    let Text(kind) = fields.need("type")?;
    let format = match &*kind {
        "text" => Format::Text,
        "json_object" => Format::JsonObject,
        "json_schema" => {
            let json = fields.need("json_schema")?;
            let mut inner = fields.within("json_schema", json)?;
            // Where a wire can hold an answer to a schema, it does so strictly.
            inner.drop("strict");
            let Text(name) = inner.take("name")?.unwrap_or(Text(Cow::Borrowed("answer")));
            let description = inner.take("description")?.map(|Text(text)| text);
            let schema = inner.raw("schema").ok_or_else(|| inner.bad("schema", "is missing"))?;
            inner.finish()?;
            Format::JsonSchema { name, description, schema }
        }
        _ => return Err(fields.unsupported("type")),
    };
    fields.finish()?;
    Ok(format)
}
