//! Embeddings, both ways.

use super::WIRE;
use crate::adapters::llm::chat::{Fields, Text};
use crate::adapters::llm::fault::Fault;
use crate::adapters::llm::wire::{Frame, Reader, Step, object};
use crate::ports::llm::{End, Usage};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::VecDeque;

/// What was asked for and shapes the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Whether there were several texts, in one call.
    many: bool,
    /// Whether vectors go as base64 of 32-bit floats, as OpenAI's own clients ask for.
    base64: bool,
}

impl Asked {
    pub fn method(self) -> &'static str {
        if self.many { "batchEmbedContents" } else { "embedContent" }
    }
}

pub fn write(request: &[u8], model: &str) -> Result<(Asked, Bytes), Fault> {
    let mut top = Fields::read(request, WIRE)?;
    top.drop("model");
    let input = top.raw("input").ok_or_else(|| top.bad("input", "is missing"))?;
    let many = input.get().starts_with('[');
    let texts = match many {
        true => serde_json::from_str::<Vec<Text<'_>>>(input.get()),
        false => serde_json::from_str::<Text<'_>>(input.get()).map(|text| vec![text]),
    };
    // Tokens of OpenAI's models say nothing to Google's.
    let texts = texts.map_err(|_| top.unsupported("input"))?;
    let dimensions: Option<u64> = top.take("dimensions")?;
    let base64 = match top.take::<Text<'_>>("encoding_format")?.as_ref().map(|Text(text)| &**text) {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(top.unsupported("encoding_format")),
    };
    top.finish()?;
    let embed = |Text(text): &Text<'_>| {
        let mut one = json!({ "model": format!("models/{model}"), "content": { "parts": [{ "text": text }] } });
        if let Some(dimensions) = dimensions {
            one["outputDimensionality"] = dimensions.into();
        }
        one
    };
    let body = match (many, texts.as_slice()) {
        (false, [text]) => embed(text),
        _ => json!({ "requests": texts.iter().map(embed).collect::<Vec<_>>() }),
    };
    Ok((Asked { many, base64 }, body.to_string().into()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow, default)]
    embedding: Option<Embedding<'a>>,
    #[serde(borrow, default)]
    embeddings: Vec<Embedding<'a>>,
    #[serde(default)]
    usage_metadata: Option<Counts>,
}

#[derive(Deserialize)]
struct Embedding<'a> {
    #[serde(borrow)]
    values: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    #[serde(default)]
    prompt_token_count: Option<u64>,
}

pub struct Reading {
    asked: Asked,
    model: String,
}

impl Reading {
    pub fn new(asked: Asked, model: &str) -> Self {
        Self { asked, model: model.to_owned() }
    }

    fn vector(&self, values: &RawValue) -> Result<String, Fault> {
        if !self.asked.base64 {
            return Ok(values.get().to_owned());
        }
        let floats: Vec<f32> =
            serde_json::from_str(values.get()).map_err(|error| Fault::unreadable("a vector", &error))?;
        let bytes: Vec<u8> = floats.into_iter().flat_map(f32::to_le_bytes).collect();
        Ok(Value::from(STANDARD.encode(bytes)).to_string())
    }
}

impl Reader for Reading {
    fn whole(&mut self, body: Bytes) -> Result<(Bytes, End), Fault> {
        let answer: Answer<'_> = object(&body, "the answer")?;
        let found: Vec<_> = answer.embedding.into_iter().chain(answer.embeddings).collect();
        if found.is_empty() {
            return Err(Fault::garbage("the answer holds no vector"));
        }
        let count = answer.usage_metadata.and_then(|counts| counts.prompt_token_count);
        let mut text = String::from("{\"object\":\"list\",\"data\":[");
        for (index, embedding) in found.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let vector = self.vector(embedding.values)?;
            text.push_str(&format!("{comma}{{\"object\":\"embedding\",\"index\":{index},\"embedding\":{vector}}}"));
        }
        // Clients of OpenAI's API expect counts; the API tells none of older models.
        let tokens = count.unwrap_or_default();
        let model = Value::from(self.model.as_str());
        text.push_str(&format!(
            "],\"model\":{model},\"usage\":{{\"prompt_tokens\":{tokens},\"total_tokens\":{tokens}}}}}"
        ));
        let usage = count.map(|input_tokens| Usage { input_tokens, ..Usage::default() });
        Ok((text.into(), End { usage, finish_reason: None }))
    }

    fn frame(&mut self, _: Frame, _: &mut VecDeque<Bytes>) -> Result<Step, Fault> {
        Err(Fault::garbage("embeddings do not come in pieces"))
    }

    fn finish(&mut self, _: &mut VecDeque<Bytes>) -> Result<End, Fault> {
        Err(Fault::cut())
    }

    fn usage(&self) -> Option<Usage> {
        None
    }
}
