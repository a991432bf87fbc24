//! A streamed answer, put together again as if it had come in one piece: what is recorded of it.
//!
//! Chunks are added up by their form, not by a list of fields: in a choice's `delta` texts are joined, numbered lists are
//! merged by number, and anything else is what it was last; so fields that are not known here survive. What makes the whole
//! larger than is stored is left out, and so then is the whole.

use crate::domain::common::hex;
use crate::domain::llm_request::payload::{BYTES_PER_TOKEN, sha256};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// See the module.
#[derive(Debug)]
pub struct Assembly {
    whole: Map<String, Value>,
    /// Bytes of the chunks.
    bytes: usize,
    /// Bytes of text of the answer.
    text_bytes: usize,
    /// Of the whole; 0 once that is too large.
    bytes_max: usize,
    /// Bytes of chunks that may come before the whole is measured again: it grows by less than they have.
    room: usize,
    /// Over the chunks as they came.
    chunks: Sha256,
}

impl Assembly {
    /// `bytes_max` bounds what is held, and is met within a sixteenth.
    pub fn new(bytes_max: usize) -> Self {
        Self { whole: Map::new(), bytes: 0, text_bytes: 0, bytes_max, room: bytes_max, chunks: Sha256::new() }
    }

    /// Takes in the JSON of one chunk. What is no chunk is left out: whoever reads the stream gets it as it is.
    pub fn add(&mut self, chunk: &[u8]) {
        let chunk_bytes = chunk.len();
        self.bytes += chunk_bytes;
        self.chunks.update(chunk);
        let Ok(Value::Object(chunk)) = serde_json::from_slice(chunk) else { return };
        let choices = chunk.get("choices").and_then(Value::as_array);
        self.text_bytes += choices.into_iter().flatten().map(|choice| text_bytes(&choice["delta"])).sum::<usize>();
        if !self.takes(chunk_bytes) {
            return;
        }
        for (field, value) in chunk {
            match (field.as_str(), value) {
                ("choices", Value::Array(choices)) => self.add_choices(choices),
                ("object", _) => drop(self.whole.insert(field, "chat.completion".into())),
                // The last chunk's usage is null in the others.
                (_, Value::Null) => {}
                (_, value) => drop(self.whole.insert(field, value)),
            }
        }
    }

    fn add_choices(&mut self, choices: Vec<Value>) {
        let whole = self.whole.entry("choices").or_insert_with(|| Value::Array(Vec::new()));
        let Value::Array(whole) = whole else { return };
        for choice in choices {
            let Value::Object(mut choice) = choice else { continue };
            if let Some(delta) = choice.remove("delta") {
                choice.insert("message".into(), delta);
            }
            merge_numbered(whole, Value::Object(choice));
        }
    }

    /// Whether anything of an answer came.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Whether a chunk may be added. A chunk is mostly frame, so the whole is measured rather than counted up; with little
    /// room left it is given up, for else it would be measured at every chunk.
    fn takes(&mut self, chunk_bytes: usize) -> bool {
        if chunk_bytes > self.room && !self.is_too_large() {
            let held = serde_json::to_vec(&self.whole).map_or(usize::MAX, |whole| whole.len());
            self.room = self.bytes_max.saturating_sub(held);
            if self.room < chunk_bytes.max(self.bytes_max / MEASURED_AT_LEAST) {
                self.whole.clear();
                self.bytes_max = 0;
            }
        }
        self.room = self.room.saturating_sub(chunk_bytes);
        !self.is_too_large()
    }

    fn is_too_large(&self) -> bool {
        self.bytes_max == 0
    }

    /// Tokens that came, where nobody counted them.
    pub fn tokens_estimated(&self) -> i64 {
        let bytes = i64::try_from(self.text_bytes).unwrap_or(i64::MAX);
        (bytes / BYTES_PER_TOKEN + i64::from(bytes % BYTES_PER_TOKEN > 0)).max(i64::from(self.bytes > 0))
    }

    /// The whole as JSON, its SHA-256 and its size. Of what was too much to hold, those of the chunks.
    pub fn finish(self) -> (Option<String>, String, usize) {
        let whole = if self.is_too_large() { None } else { serde_json::to_string(&self.whole).ok() };
        match whole {
            Some(whole) => {
                let (sha256, bytes) = (sha256(&whole), whole.len());
                (Some(whole), sha256, bytes)
            }
            None => (None, hex(&self.chunks.finalize()), self.bytes),
        }
    }
}

/// The part of what may be held that is left for chunks between two measurements.
const MEASURED_AT_LEAST: usize = 16;

fn text_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(text_bytes).sum(),
        Value::Object(fields) => fields.iter().filter(|(name, _)| *name != "role").map(|(_, it)| text_bytes(it)).sum(),
        _ => 0,
    }
}

/// Adds an element to a list by its `index`, or at the end where it has none.
fn merge_numbered(whole: &mut Vec<Value>, more: Value) {
    let index = more.get("index").cloned().filter(|index| !index.is_null());
    let same = index.and_then(|index| whole.iter_mut().find(|one| one.get("index") == Some(&index)));
    match (same, more) {
        (Some(Value::Object(one)), Value::Object(more)) => merge(one, more),
        (_, more) => whole.push(more),
    }
}

fn merge(whole: &mut Map<String, Value>, more: Map<String, Value>) {
    for (field, value) in more {
        match (whole.get_mut(&field), value) {
            (_, Value::Null) => {}
            (Some(Value::String(text)), Value::String(more)) if JOINED.contains(&field.as_str()) => {
                text.push_str(&more)
            }
            (Some(Value::Object(one)), Value::Object(more)) => merge(one, more),
            (Some(Value::Array(one)), Value::Array(more)) => more.into_iter().for_each(|it| merge_numbered(one, it)),
            (_, value) => drop(whole.insert(field, value)),
        }
    }
}

/// Texts that come in parts. Others (ids, names, roles, types) are said whole, and by some providers in every chunk.
const JOINED: &[&str] = &["content", "refusal", "arguments", "reasoning", "reasoning_content", "thinking", "text"];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn assembled(chunks: &[Value]) -> Value {
        let mut assembly = Assembly::new(1 << 20);
        chunks.iter().for_each(|chunk| assembly.add(chunk.to_string().as_bytes()));
        serde_json::from_str(&assembly.finish().0.expect("small")).expect("JSON")
    }

    #[test]
    fn texts_tool_calls_and_unknown_fields_come_together() {
        let delta = |delta: Value| {
            json!({"id": "x", "object": "chat.completion.chunk", "model": "m", "usage": null,
            "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
        };
        let call = |index: u64, function: Value| json!({"tool_calls": [{"index": index, "function": function}]});
        let whole = assembled(&[
            delta(json!({"role": "assistant", "content": "Hel"})),
            delta(json!({"content": "lo", "odd": {"a": 1}})),
            delta(
                json!({"role": "assistant", "tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]}),
            ),
            delta(call(0, json!({"arguments": "{\"a\""}))),
            delta(call(1, json!({"name": "g", "arguments": "{}"}))),
            delta(call(0, json!({"arguments": ":1}"}))),
            json!({"id": "x", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}),
            json!({"id": "x", "object": "chat.completion.chunk", "choices": [], "usage": {"total_tokens": 3}}),
        ]);
        assert_eq!(
            whole,
            json!({"id": "x", "object": "chat.completion", "model": "m", "usage": {"total_tokens": 3}, "choices": [{
                "index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": "Hello",
                "odd": {"a": 1}, "tool_calls": [
                    {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
                    {"index": 1, "function": {"name": "g", "arguments": "{}"}}]}}]})
        );
    }

    #[test]
    fn tokens_are_estimated_by_the_text_that_came() {
        let mut assembly = Assembly::new(1 << 20);
        assert_eq!(assembly.tokens_estimated(), 0);
        assembly.add(b"{\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}");
        assert_eq!(assembly.tokens_estimated(), 1);
        assembly.add(b"{\"choices\":[{\"delta\":{\"content\":\"0123456789\"}}]}");
        assert_eq!(assembly.tokens_estimated(), 3);
    }

    #[test]
    fn frames_take_no_room_of_the_answer() {
        let frame = format!("{{\"id\":\"{}\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":", "f".repeat(200));
        let mut assembly = Assembly::new(4096);
        (0..300).for_each(|_| assembly.add(format!("{frame}\"0123456789\"}}}}]}}").as_bytes()));
        let (whole, _, bytes) = assembly.finish();
        assert!(whole.is_some() && (3_000..4_096).contains(&bytes), "{bytes} of 70,000");
    }

    #[test]
    fn an_answer_without_end_is_not_held() {
        let mut assembly = Assembly::new(16);
        (0..100).for_each(|_| assembly.add(b"{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"0123456789\"}}]}"));
        assert!(assembly.whole.is_empty());
        assert_eq!(assembly.tokens_estimated(), 250);
        let (whole, sha256, bytes) = assembly.finish();
        assert_eq!((whole, sha256.len(), bytes > 1024), (None, 64, true));
    }
}
