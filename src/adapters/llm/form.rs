//! Answers in OpenAI's form, for the wires that have another: whole ones and chunks.

use crate::ports::llm::{End, Usage};
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use std::collections::VecDeque;

/// What every answer begins with.
#[derive(Clone, Debug, Default)]
pub struct Label {
    pub id: String,
    /// Seconds since the epoch.
    pub created: i64,
    pub model: String,
}

/// A call of a tool, whole or as a piece of one.
#[derive(Debug, Default, Serialize)]
pub struct Call<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    pub function: Function<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_content: Option<Value>,
}

#[derive(Debug, Default, Serialize)]
pub struct Function<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    pub arguments: &'a str,
}

impl<'a> Call<'a> {
    pub fn new(id: &'a str, name: &'a str, arguments: &'a str) -> Self {
        let function = Function { name: Some(name), arguments };
        Self { index: None, id: Some(id), kind: Some("function"), function, extra_content: None }
    }

    fn more(index: usize, arguments: &'a str) -> Self {
        Self { index: Some(index), function: Function { name: None, arguments }, ..Self::default() }
    }
}

#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: &'a [Choice<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Counts>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<Delta<'a>>,
    finish_reason: Option<&'a str>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Option<&'a str>,
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tool_calls: &'a [Call<'a>],
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tool_calls: &'a [Call<'a>],
}

#[derive(Serialize)]
struct Counts {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Serialize)]
struct PromptDetails {
    cached_tokens: u64,
}

#[derive(Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
}

impl From<Usage> for Counts {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.input_tokens,
            completion_tokens: usage.output_tokens,
            total_tokens: usage.total_tokens(),
            prompt_tokens_details: PromptDetails { cached_tokens: usage.cached_input_tokens },
            completion_tokens_details: CompletionDetails { reasoning_tokens: usage.reasoning_tokens },
        }
    }
}

fn bytes(label: &Label, object: &'static str, choices: &[Choice<'_>], usage: Option<Usage>) -> Bytes {
    let Label { id, created, model } = label;
    let completion = Completion { id, object, created: *created, model, choices, usage: usage.map(Counts::from) };
    // Texts, numbers and booleans can always be written.
    serde_json::to_vec(&completion).unwrap_or_default().into()
}

/// A `chat.completion`.
pub fn completion(label: &Label, text: Option<&str>, calls: &[Call<'_>], finish: &str, usage: Option<Usage>) -> Bytes {
    let message = Message { role: "assistant", content: text, refusal: None, tool_calls: calls };
    let choice = Choice { index: 0, message: Some(message), delta: None, finish_reason: Some(finish) };
    bytes(label, "chat.completion", &[choice], usage)
}

/// Makes the `chat.completion.chunk`s of one answer. Nothing is made before there is content: until then another try,
/// or another provider, costs the caller nothing.
#[derive(Debug, Default)]
pub struct Chunker {
    pub label: Label,
    /// Whether the caller asked for the chunk that carries the usage.
    include_usage: bool,
    begun: bool,
    calls: usize,
    /// Whether the call that is open has had a piece of its arguments.
    argued: bool,
}

impl Chunker {
    pub fn new(label: Label, include_usage: bool) -> Self {
        Self { label, include_usage, ..Self::default() }
    }

    fn chunk(&mut self, mut delta: Delta<'_>, finish: Option<&str>) -> Bytes {
        if !std::mem::replace(&mut self.begun, true) {
            delta.role = Some("assistant");
        }
        let choice = Choice { index: 0, message: None, delta: Some(delta), finish_reason: finish };
        bytes(&self.label, "chat.completion.chunk", &[choice], None)
    }

    pub fn text(&mut self, text: &str) -> Bytes {
        self.chunk(Delta { content: Some(text), ..Delta::default() }, None)
    }

    /// A call begins, with all of its arguments or none yet.
    pub fn call(&mut self, id: &str, name: &str, arguments: &str, extra_content: Option<Value>) -> Bytes {
        let call = Call { index: Some(self.calls), extra_content, ..Call::new(id, name, arguments) };
        self.calls += 1;
        self.argued = !arguments.is_empty();
        self.chunk(Delta { tool_calls: &[call], ..Delta::default() }, None)
    }

    /// More of the arguments of the call that began last.
    pub fn arguments(&mut self, arguments: &str) -> Bytes {
        self.argued = true;
        let call = Call::more(self.calls.saturating_sub(1), arguments);
        self.chunk(Delta { tool_calls: &[call], ..Delta::default() }, None)
    }

    /// The call that began last is complete: one without arguments still has an object of them.
    pub fn call_ended(&mut self) -> Option<Bytes> {
        (!self.argued).then(|| self.arguments("{}"))
    }

    /// How many calls there were.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// The chunks that end a stream: the reason, and the usage where the caller asked for it and it is known.
    pub fn end(&mut self, reason: &str, usage: Option<Usage>, out: &mut VecDeque<Bytes>) -> End {
        out.push_back(self.chunk(Delta::default(), Some(reason)));
        let told = usage.filter(|_| self.include_usage);
        out.extend(told.map(|usage| bytes(&self.label, "chat.completion.chunk", &[], Some(usage))));
        End { usage, finish_reason: Some(reason.to_owned()) }
    }
}
