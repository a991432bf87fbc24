//! OpenAI's own wire: passed through. Of an answer only what a caller must know is read, and nothing is written anew.

use super::fault::Fault;
use super::splice::splice;
use super::wire::{Auth, Frame, Framing, Plan, Prepared, Reader, Step, object};
use super::{chat::Text, providers};
use crate::ports::llm::{End, Operation, Usage};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::collections::VecDeque;

pub fn prepare(plan: &Plan<'_>) -> Result<Prepared, Fault> {
    let url = plan.url(path(plan.call.operation))?;
    let asks = providers::takes_stream_options(&plan.base);
    prepare_at(plan, url, Auth::Bearer, asks)
}

pub fn path(operation: Operation) -> &'static str {
    match operation {
        Operation::ChatCompletion => "/chat/completions",
        Operation::Embeddings => "/embeddings",
    }
}

/// For whoever speaks this wire at another address.
pub fn prepare_at(plan: &Plan<'_>, url: reqwest::Url, auth: Auth, asks: bool) -> Result<Prepared, Fault> {
    let stream = plan.call.stream && plan.call.operation == Operation::ChatCompletion;
    let spliced = splice(&plan.call.request, &plan.call.target.model, stream, asks)?;
    let reader = Passing {
        is_batch: false,
        operation: plan.call.operation,
        asked_for_usage: spliced.asked_for_usage,
        answered: false,
        done: false,
        end: End::default(),
    };
    Ok(Prepared {
        url,
        headers: Vec::new(),
        body: spliced.body,
        auth,
        framing: Framing::ServerSentEvents,
        reader: Box::new(reader),
    })
}

struct Passing {
    operation: Operation,
    asked_for_usage: bool,
    /// Whether anything of an answer was there.
    answered: bool,
    done: bool,
    /// Whether it is charged as a batch, as far as was said.
    is_batch: bool,
    end: End,
}

/// As much of an answer or a chunk as is looked at. The content is passed over without being kept.
#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(default)]
    data: Option<IgnoredAny>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    service_tier: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    finish_reason: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Counts {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
    completion_tokens_details: Option<Details>,
    /// DeepSeek's name for cached tokens.
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
}

/// Counts in a form that nobody knows are no reason to throw an answer away.
fn usage(json: &RawValue) -> Option<Usage> {
    let counts: Counts = serde_json::from_str(json.get()).ok()?;
    let input = counts.prompt_tokens_details.unwrap_or_default();
    let output = counts.completion_tokens_details.unwrap_or_default();
    Some(Usage {
        input_tokens: counts.prompt_tokens?,
        output_tokens: counts.completion_tokens.unwrap_or_default(),
        cached_input_tokens: input.cached_tokens.or(counts.prompt_cache_hit_tokens).unwrap_or_default(),
        cache_write_tokens: input.cache_write_tokens.unwrap_or_default(),
        reasoning_tokens: output.reasoning_tokens.unwrap_or_default(),
        is_batch: false,
    })
}

/// Whether a service tier is one of those that are charged as a batch. What is no text is none.
fn is_batch(tier: &RawValue) -> bool {
    matches!(tier.get(), "\"flex\"" | "\"batch\"")
}

/// What kind of body it is.
struct Looked {
    is_answer: bool,
    only_usage: bool,
}

impl Passing {
    /// Keeps what a body says.
    fn look(&mut self, json: &[u8], what: &str) -> Result<Looked, Fault> {
        let peek: Peek<'_> = object(json, what)?;
        if peek.error.is_some() {
            return Err(Fault::of_answer(200, json));
        }
        let found = peek.usage.and_then(usage);
        self.end.usage = found.or(self.end.usage);
        self.is_batch |= peek.service_tier.is_some_and(is_batch);
        if let Some(usage) = &mut self.end.usage {
            usage.is_batch = self.is_batch;
        }
        let finish = peek.choices.iter().flatten().find_map(|choice| choice.finish_reason.as_ref());
        if let (Some(Text(reason)), None) = (finish, &self.end.finish_reason) {
            self.end.finish_reason = Some(reason.to_string());
        }
        let is_answer = match self.operation {
            Operation::ChatCompletion => peek.choices.is_some(),
            Operation::Embeddings => peek.data.is_some(),
        };
        let only_usage = found.is_some() && peek.choices.is_none_or(|choices| choices.is_empty());
        Ok(Looked { is_answer, only_usage })
    }
}

impl Reader for Passing {
    fn whole(&mut self, body: Bytes) -> Result<(Bytes, End), Fault> {
        match self.look(&body, "the answer")?.is_answer {
            true => Ok((body, std::mem::take(&mut self.end))),
            false => Err(Fault::garbage("the answer holds neither choices nor data")),
        }
    }

    fn frame(&mut self, frame: Frame, out: &mut VecDeque<Bytes>) -> Result<Step, Fault> {
        let data = frame.data;
        if data.trim_ascii() == b"[DONE]" {
            self.done = true;
            return Ok(Step::Done);
        }
        if data.trim_ascii().is_empty() {
            return Ok(Step::More);
        }
        let looked = self.look(&data, "a chunk of the answer")?;
        self.answered |= looked.is_answer;
        if !looked.only_usage || self.asked_for_usage {
            out.push_back(data);
        }
        Ok(Step::More)
    }

    fn finish(&mut self, _: &mut VecDeque<Bytes>) -> Result<End, Fault> {
        // Some leave out the last word; a reason to finish says the same.
        match self.done || self.end.finish_reason.is_some() {
            true if self.answered => Ok(std::mem::take(&mut self.end)),
            true => Err(Fault::garbage("the answer ends without having begun")),
            false => Err(Fault::cut()),
        }
    }

    fn usage(&self) -> Option<Usage> {
        self.end.usage
    }
}
