//! Anthropic's answers in OpenAI's terms.

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
struct Answer<'a> {
    id: String,
    model: String,
    #[serde(borrow)]
    content: Vec<Block<'a>>,
    stop_reason: Option<String>,
    usage: Option<Counts>,
}

/// A block of content. Which kind it is stands in `type`; kinds that OpenAI's wire has no place for are passed over.
#[derive(Deserialize)]
struct Block<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(default)]
    message: Option<Start>,
    #[serde(borrow, default)]
    content_block: Option<Block<'a>>,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(default)]
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Start {
    id: String,
    model: String,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    partial_json: Option<Text<'a>>,
    #[serde(default)]
    stop_reason: Option<String>,
}

/// Counts; those of a stream are totals so far, and only what changed need be there.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Counts {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    output_tokens_details: Option<OutputDetails>,
    /// `standard`, `priority` or `batch`.
    service_tier: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    thinking_tokens: Option<u64>,
}

impl Counts {
    fn update(&mut self, newer: Self) {
        self.input_tokens = newer.input_tokens.or(self.input_tokens);
        self.output_tokens = newer.output_tokens.or(self.output_tokens);
        self.cache_read_input_tokens = newer.cache_read_input_tokens.or(self.cache_read_input_tokens);
        self.cache_creation_input_tokens = newer.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.output_tokens_details = newer.output_tokens_details.or(self.output_tokens_details.take());
        self.service_tier = newer.service_tier.or(self.service_tier.take());
    }

    /// Anthropic counts what goes to and comes from the cache apart from the rest of the input.
    fn usage(&self) -> Usage {
        let cached = self.cache_read_input_tokens.unwrap_or_default();
        let written = self.cache_creation_input_tokens.unwrap_or_default();
        let details = self.output_tokens_details.as_ref();
        Usage {
            input_tokens: self.input_tokens.unwrap_or_default().saturating_add(cached).saturating_add(written),
            output_tokens: self.output_tokens.unwrap_or_default(),
            cached_input_tokens: cached,
            cache_write_tokens: written,
            reasoning_tokens: details.and_then(|details| details.thinking_tokens).unwrap_or_default(),
            is_batch: matches!(self.service_tier.as_deref(), Some("batch" | "flex")),
        }
    }
}

fn finish_reason(stop_reason: Option<&str>) -> &'static str {
    match stop_reason {
        Some("max_tokens" | "model_context_window_exceeded") => "length",
        Some("tool_use") => "tool_calls",
        Some("refusal") => "content_filter",
        // `end_turn`, `stop_sequence`, `pause_turn`, and what is yet to come.
        _ => "stop",
    }
}

pub struct Reading {
    chunker: Chunker,
    counts: Option<Counts>,
    finish: Option<&'static str>,
    in_call: bool,
    stopped: bool,
}

impl Reading {
    pub fn new(label: Label, include_usage: bool) -> Self {
        let chunker = Chunker::new(label, include_usage);
        Self { chunker, counts: None, finish: None, in_call: false, stopped: false }
    }

    fn count(&mut self, newer: Option<Counts>) {
        if let Some(newer) = newer {
            self.counts.get_or_insert_default().update(newer);
        }
    }

    fn block_begins(&mut self, block: &Block<'_>, out: &mut VecDeque<Bytes>) {
        match (&*block.kind.0, &block.id, &block.name) {
            ("tool_use", Some(id), Some(name)) => {
                let input = block.input.map_or("", RawValue::get);
                let arguments = if input == "{}" { "" } else { input };
                out.push_back(self.chunker.call(id, name, arguments, None));
                self.in_call = true;
            }
            ("text", ..) => {
                let text = block.text.as_ref().filter(|text| !text.0.is_empty());
                out.extend(text.map(|text| self.chunker.text(&text.0)));
            }
            _ => {}
        }
    }

    fn delta(&mut self, delta: Delta<'_>, out: &mut VecDeque<Bytes>) {
        if let Some(Text(text)) = delta.text.filter(|text| !text.0.is_empty()) {
            out.push_back(self.chunker.text(&text));
        }
        let json = delta.partial_json.filter(|json| self.in_call && !json.0.is_empty());
        if let Some(Text(json)) = json {
            out.push_back(self.chunker.arguments(&json));
        }
    }
}

impl Reader for Reading {
    fn whole(&mut self, body: Bytes) -> Result<(Bytes, End), Fault> {
        let answer: Answer<'_> = object(&body, "the answer")?;
        let texts: Vec<_> = answer
            .content
            .iter()
            .filter(|block| block.kind.0 == "text")
            .filter_map(|block| block.text.as_ref())
            .collect();
        let text: String = texts.iter().map(|text| &*text.0).collect();
        let calls = answer.content.iter().filter(|block| block.kind.0 == "tool_use").filter_map(|block| {
            let input = block.input.map_or("{}", RawValue::get);
            Some(form::Call::new(block.id.as_deref()?, block.name.as_deref()?, input))
        });
        let calls: Vec<_> = calls.collect();
        let usage = answer.usage.map(|counts| counts.usage());
        let finish = finish_reason(answer.stop_reason.as_deref());
        let label = Label { id: answer.id, created: self.chunker.label.created, model: answer.model };
        let text = (!texts.is_empty()).then_some(&*text);
        let body = form::completion(&label, text, &calls, finish, usage);
        Ok((body, End { usage, finish_reason: Some(finish.to_owned()) }))
    }

    fn frame(&mut self, frame: Frame, out: &mut VecDeque<Bytes>) -> Result<Step, Fault> {
        let event: Event<'_> = object(&frame.data, "an event of the answer")?;
        match &*event.kind.0 {
            "error" => return Err(Fault::of_answer(200, &frame.data)),
            "message_start" => {
                let start = event.message.ok_or_else(|| Fault::garbage("the answer begins without a message"))?;
                (self.chunker.label.id, self.chunker.label.model) = (start.id, start.model);
                self.count(start.usage);
            }
            "content_block_start" => event.content_block.iter().for_each(|block| self.block_begins(block, out)),
            "content_block_delta" => event.delta.into_iter().for_each(|delta| self.delta(delta, out)),
            "content_block_stop" if std::mem::take(&mut self.in_call) => out.extend(self.chunker.call_ended()),
            "message_delta" => {
                self.count(event.usage);
                if let Some(reason) = event.delta.and_then(|delta| delta.stop_reason) {
                    self.finish = Some(finish_reason(Some(&reason)));
                }
            }
            "message_stop" => {
                self.stopped = true;
                return Ok(Step::Done);
            }
            // Signs of life, and what is yet to come.
            _ => {}
        }
        Ok(Step::More)
    }

    fn finish(&mut self, out: &mut VecDeque<Bytes>) -> Result<End, Fault> {
        if !self.stopped {
            return Err(Fault::cut());
        }
        let finish = self.finish.unwrap_or("stop");
        let usage = self.usage();
        Ok(self.chunker.end(finish, usage, out))
    }

    fn usage(&self) -> Option<Usage> {
        self.counts.as_ref().map(Counts::usage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_to_the_cache_is_a_part_of_the_input_and_a_batch_is_said_by_its_tier() {
        let mut counts: Counts = serde_json::from_str(
            r#"{"input_tokens":5,"output_tokens":1,"cache_creation_input_tokens":70,"cache_read_input_tokens":20,"service_tier":"batch"}"#,
        )
        .unwrap();
        counts.update(serde_json::from_str(r#"{"output_tokens":9}"#).unwrap());
        let usage = counts.usage();
        assert_eq!((usage.input_tokens, usage.cached_input_tokens, usage.cache_write_tokens), (95, 20, 70));
        assert_eq!((usage.output_tokens, usage.is_batch), (9, true), "what came at the beginning stays");
        counts.update(serde_json::from_str(r#"{"service_tier":"standard"}"#).unwrap());
        assert!(!counts.usage().is_batch);
    }
}
