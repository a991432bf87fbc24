//! Gemini's answers in OpenAI's terms.

use super::OWN_ID;
use crate::adapters::llm::chat::Text;
use crate::adapters::llm::fault::Fault;
use crate::adapters::llm::form::{self, Chunker, Label};
use crate::adapters::llm::wire::{Frame, Reader, Step, object};
use crate::ports::llm::{End, Kind, Usage};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::VecDeque;

/// An answer, or a piece of a streamed one: they have the same form.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow, default)]
    candidates: Vec<Candidate<'a>>,
    #[serde(default)]
    prompt_feedback: Option<Feedback>,
    #[serde(default)]
    usage_metadata: Option<Counts>,
    #[serde(default)]
    model_version: Option<String>,
    #[serde(default)]
    response_id: Option<String>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(borrow, default)]
    content: Option<Content<'a>>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow, default)]
    parts: Vec<Part<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(default)]
    thought: bool,
    #[serde(default)]
    thought_signature: Option<String>,
    #[serde(borrow, default)]
    function_call: Option<FunctionCall<'a>>,
}

#[derive(Deserialize)]
struct FunctionCall<'a> {
    #[serde(default)]
    id: Option<String>,
    name: String,
    #[serde(borrow, default)]
    args: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback {
    #[serde(default)]
    block_reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Counts {
    prompt_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
    tool_use_prompt_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
}

impl Counts {
    /// Thoughts are output, and counted apart from the rest of it.
    fn usage(&self) -> Usage {
        let thoughts = self.thoughts_token_count.unwrap_or_default();
        let tools = self.tool_use_prompt_token_count.unwrap_or_default();
        Usage {
            input_tokens: self.prompt_token_count.unwrap_or_default().saturating_add(tools),
            output_tokens: self.candidates_token_count.unwrap_or_default().saturating_add(thoughts),
            cached_input_tokens: self.cached_content_token_count.unwrap_or_default(),
            cache_write_tokens: 0,
            reasoning_tokens: thoughts,
            is_batch: false,
        }
    }
}

/// # Errors
/// When the model meant to call a tool and failed at it: another try may do better.
fn finish_reason(reason: &str, calls: usize) -> Result<&'static str, Fault> {
    match reason {
        "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" | "TOO_MANY_TOOL_CALLS" => {
            Err(Fault::garbage("the model failed at calling a tool"))
        }
        "MAX_TOKENS" => Ok("length"),
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "MODEL_ARMOR" => Ok("content_filter"),
        _ if calls > 0 => Ok("tool_calls"),
        _ => Ok("stop"),
    }
}

/// The call's part of an answer, as text and not as JSON where it is to be.
struct Called<'a> {
    id: String,
    name: &'a str,
    arguments: &'a str,
    extra: Option<Value>,
}

pub struct Reading {
    chunker: Chunker,
    counts: Option<Counts>,
    finish: Option<String>,
}

impl Reading {
    pub fn new(label: Label, include_usage: bool) -> Self {
        Self { chunker: Chunker::new(label, include_usage), counts: None, finish: None }
    }

    /// Keeps what an answer or a piece says beside its content.
    fn look<'a>(&mut self, json: &'a [u8]) -> Result<Answer<'a>, Fault> {
        let answer: Answer<'_> = object(json, "the answer")?;
        if answer.error.is_some() {
            return Err(Fault::of_answer(200, json));
        }
        let blocked = answer.prompt_feedback.as_ref().and_then(|feedback| feedback.block_reason.as_ref());
        if let (Some(_), true) = (blocked, answer.candidates.is_empty()) {
            let mut fault = Fault::new(Kind::ContentFilter, "the provider blocked the prompt");
            fault.complaint.code = Some("content_filter".to_owned());
            return Err(fault);
        }
        let label = &mut self.chunker.label;
        if let (true, Some(id)) = (label.id.is_empty(), &answer.response_id) {
            label.id = format!("chatcmpl-{id}");
        }
        if let Some(model) = &answer.model_version {
            label.model.clone_from(model);
        }
        Ok(answer)
    }

    fn called<'a>(&self, call: &'a FunctionCall<'_>, signature: Option<&String>, number: usize) -> Called<'a> {
        // The answer's id makes the call's its own; where there is none, the second will do.
        let Label { id, created, .. } = &self.chunker.label;
        let answer = if id.is_empty() { created.to_string() } else { id.trim_start_matches("chatcmpl-").to_owned() };
        Called {
            id: call.id.clone().unwrap_or_else(|| format!("{OWN_ID}{answer}_{number}")),
            name: &call.name,
            arguments: call.args.map_or("{}", RawValue::get),
            extra: signature.map(|signature| json!({ "google": { "thought_signature": signature } })),
        }
    }
}

impl Reader for Reading {
    fn whole(&mut self, body: Bytes) -> Result<(Bytes, End), Fault> {
        let answer = self.look(&body)?;
        let candidate = answer.candidates.first().ok_or_else(|| Fault::garbage("the answer holds no candidate"))?;
        let parts = candidate.content.as_ref().map_or(&[][..], |content| content.parts.as_slice());
        let said: Vec<_> = parts.iter().filter(|part| !part.thought).filter_map(|part| part.text.as_ref()).collect();
        let text: String = said.iter().map(|text| &*text.0).collect();
        let calls =
            parts.iter().filter_map(|part| Some((part.function_call.as_ref()?, part.thought_signature.as_ref())));
        let called: Vec<_> =
            calls.enumerate().map(|(number, (call, signature))| self.called(call, signature, number)).collect();
        let finish = finish_reason(candidate.finish_reason.as_deref().unwrap_or_default(), called.len())?;
        let calls = called.iter().map(|call| form::Call {
            extra_content: call.extra.clone(),
            ..form::Call::new(&call.id, call.name, call.arguments)
        });
        let calls: Vec<_> = calls.collect();
        let usage = answer.usage_metadata.map(|counts| counts.usage());
        let text = (!said.is_empty()).then_some(&*text);
        let body = form::completion(&self.chunker.label, text, &calls, finish, usage);
        Ok((body, End { usage, finish_reason: Some(finish.to_owned()) }))
    }

    fn frame(&mut self, frame: Frame, out: &mut VecDeque<Bytes>) -> Result<Step, Fault> {
        let answer = self.look(&frame.data)?;
        let candidate = answer.candidates.first();
        for part in candidate.and_then(|candidate| candidate.content.as_ref()).iter().flat_map(|content| &content.parts)
        {
            if let Some(call) = &part.function_call {
                let called = self.called(call, part.thought_signature.as_ref(), self.chunker.calls());
                out.push_back(self.chunker.call(&called.id, called.name, called.arguments, called.extra));
            } else if let (Some(Text(text)), false) = (&part.text, part.thought)
                && !text.is_empty()
            {
                out.push_back(self.chunker.text(text));
            }
        }
        if let Some(reason) = candidate.and_then(|candidate| candidate.finish_reason.clone()) {
            self.finish = Some(reason);
        }
        // Totals so far, with every piece.
        if let Some(counts) = answer.usage_metadata {
            self.counts = Some(counts);
        }
        Ok(Step::More)
    }

    fn finish(&mut self, out: &mut VecDeque<Bytes>) -> Result<End, Fault> {
        let reason = self.finish.take().ok_or_else(Fault::cut)?;
        let finish = finish_reason(&reason, self.chunker.calls())?;
        let usage = self.usage();
        Ok(self.chunker.end(finish, usage, out))
    }

    fn usage(&self) -> Option<Usage> {
        self.counts.as_ref().map(Counts::usage)
    }
}
