//! Converse's answers in OpenAI's terms.

use crate::adapters::llm::chat::Text;
use crate::adapters::llm::fault::Fault;
use crate::adapters::llm::form::{self, Chunker, Label};
use crate::adapters::llm::wire::{Frame, Reader, Step, object};
use crate::ports::llm::{End, Usage};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::VecDeque;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow)]
    output: Output<'a>,
    stop_reason: String,
    #[serde(default)]
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    message: Message<'a>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Vec<Block<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Block<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    tool_use: Option<ToolUse<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolUse<'a> {
    tool_use_id: String,
    name: String,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
}

/// The payload of any event: which one it is stands in the frame.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    #[serde(borrow, default)]
    start: Option<Block<'a>>,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    usage: Option<Counts>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delta<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    tool_use: Option<Input<'a>>,
}

#[derive(Deserialize)]
struct Input<'a> {
    #[serde(borrow)]
    input: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Counts {
    input_tokens: u64,
    output_tokens: u64,
    cache_read_input_tokens: Option<u64>,
    cache_write_input_tokens: Option<u64>,
}

impl Counts {
    /// Bedrock counts what goes to and comes from the cache apart from the rest of the input.
    fn usage(&self) -> Usage {
        let cached = self.cache_read_input_tokens.unwrap_or_default();
        let written = self.cache_write_input_tokens.unwrap_or_default();
        Usage {
            input_tokens: self.input_tokens.saturating_add(cached).saturating_add(written),
            output_tokens: self.output_tokens,
            cached_input_tokens: cached,
            cache_write_tokens: written,
            reasoning_tokens: 0,
            is_batch: false,
        }
    }
}

/// # Errors
/// When the model meant to say or call something and failed at it: another try may do better.
fn finish_reason(stop_reason: &str) -> Result<&'static str, Fault> {
    match stop_reason {
        "malformed_model_output" | "malformed_tool_use" => Err(Fault::garbage("the model failed at its answer")),
        "max_tokens" | "model_context_window_exceeded" => Ok("length"),
        "tool_use" => Ok("tool_calls"),
        "guardrail_intervened" | "content_filtered" => Ok("content_filter"),
        _ => Ok("stop"),
    }
}

pub struct Reading {
    chunker: Chunker,
    usage: Option<Usage>,
    stop_reason: Option<String>,
    in_call: bool,
}

impl Reading {
    pub fn new(label: Label, include_usage: bool) -> Self {
        let chunker = Chunker::new(label, include_usage);
        Self { chunker, usage: None, stop_reason: None, in_call: false }
    }
}

impl Reader for Reading {
    fn begin(&mut self, request_id: &str) {
        self.chunker.label.id = format!("chatcmpl-{request_id}");
    }

    fn whole(&mut self, body: Bytes) -> Result<(Bytes, End), Fault> {
        let answer: Answer<'_> = object(&body, "the answer")?;
        let content = answer.output.message.content;
        let texts: Vec<_> = content.iter().filter_map(|block| block.text.as_ref()).collect();
        let text: String = texts.iter().map(|text| &*text.0).collect();
        let calls = content.iter().filter_map(|block| block.tool_use.as_ref());
        let calls =
            calls.map(|call| form::Call::new(&call.tool_use_id, &call.name, call.input.map_or("{}", RawValue::get)));
        let calls: Vec<_> = calls.collect();
        let finish = finish_reason(&answer.stop_reason)?;
        let usage = answer.usage.map(|counts| counts.usage());
        let text = (!texts.is_empty()).then_some(&*text);
        let body = form::completion(&self.chunker.label, text, &calls, finish, usage);
        Ok((body, End { usage, finish_reason: Some(finish.to_owned()) }))
    }

    fn frame(&mut self, frame: Frame, out: &mut VecDeque<Bytes>) -> Result<Step, Fault> {
        if frame.failed {
            return Err(Fault::of_named(200, &String::from_utf8_lossy(&frame.name), &frame.data));
        }
        let event: Event<'_> = object(&frame.data, "an event of the answer")?;
        match &frame.name[..] {
            b"contentBlockStart" => {
                if let Some(call) = event.start.and_then(|start| start.tool_use) {
                    out.push_back(self.chunker.call(&call.tool_use_id, &call.name, "", None));
                    self.in_call = true;
                }
            }
            b"contentBlockDelta" => {
                let Some(delta) = event.delta else { return Ok(Step::More) };
                if let Some(Text(text)) = delta.text.filter(|text| !text.0.is_empty()) {
                    out.push_back(self.chunker.text(&text));
                }
                let input = delta.tool_use.filter(|call| self.in_call && !call.input.0.is_empty());
                out.extend(input.map(|call| self.chunker.arguments(&call.input.0)));
            }
            b"contentBlockStop" if std::mem::take(&mut self.in_call) => out.extend(self.chunker.call_ended()),
            b"messageStop" => self.stop_reason = event.stop_reason,
            b"metadata" => self.usage = event.usage.map(|counts| counts.usage()),
            _ => {}
        }
        Ok(Step::More)
    }

    fn finish(&mut self, out: &mut VecDeque<Bytes>) -> Result<End, Fault> {
        let finish = finish_reason(&self.stop_reason.take().ok_or_else(Fault::cut)?)?;
        Ok(self.chunker.end(finish, self.usage, out))
    }

    fn usage(&self) -> Option<Usage> {
        self.usage
    }
}
