//! Golden pairs: a request in OpenAI's terms and what goes out, an answer and what is made of it. Streams are cut at
//! every byte.

use super::{call, prepared};
use crate::adapters::llm::bedrock::frames::{EventStream, tests::encode};
use crate::adapters::llm::sse::Sse;
use crate::adapters::llm::wire::{Frames, Framing, Prepared, Step};
use crate::domain::llm_provider::WireProtocol;
use crate::ports::llm::{Call, End, Operation, Usage};
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::VecDeque;

fn cases(protocol: WireProtocol, endpoint: &str, text: &str) {
    let cases: Vec<Value> = serde_json::from_str(text).unwrap();
    assert!(cases.len() > 1);
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let call = of(protocol, endpoint, case);
        let first = prepared(&call).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
        assert_eq!(first.url.as_str(), case["url"].as_str().unwrap(), "{name}");
        let sent: Value = serde_json::from_slice(&first.body).unwrap();
        assert_eq!(sent, case["sent"], "{name}: what goes out\n{sent:#}");
        if call.stream { streamed(&call, case) } else { whole(first, case) }
    }
}

fn of(protocol: WireProtocol, endpoint: &str, case: &Value) -> Call {
    let endpoint = case["endpoint"].as_str().unwrap_or(endpoint);
    let mut call = call(protocol, endpoint, case["model"].as_str().unwrap(), &case["request"].to_string());
    call.stream = case["stream"] == json!(true);
    call.target.output_tokens_max = case["output_tokens_max"].as_i64();
    if case["operation"] == json!("embeddings") {
        call.operation = Operation::Embeddings;
    }
    call
}

fn usage(case: &Value) -> Option<Usage> {
    let counts: [u64; 5] = serde_json::from_value(case.get("usage")?.clone()).unwrap();
    let [input_tokens, output_tokens, cached_input_tokens, cache_write_tokens, reasoning_tokens] = counts;
    Some(Usage {
        input_tokens,
        output_tokens,
        cached_input_tokens,
        cache_write_tokens,
        reasoning_tokens,
        is_batch: false,
    })
}

fn whole(mut prepared: Prepared, case: &Value) {
    let name = &case["name"];
    prepared.reader.begin("request-1");
    let (body, end) = prepared.reader.whole(case["answer"].to_string().into()).unwrap();
    let given: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(given, case["given"], "{name}: what is given\n{given:#}");
    assert_eq!(end.usage, usage(case), "{name}");
    let finish = case["given"]["choices"][0]["finish_reason"].as_str();
    assert_eq!(end.finish_reason.as_deref(), finish, "{name}");
}

/// The events as they come over the line.
fn bytes(framing: Framing, case: &Value) -> Vec<u8> {
    let events = case["events"].as_array().unwrap();
    let event = |event: &Value| {
        let (name, data) = (event[0].as_str().unwrap(), event[1].to_string());
        match framing {
            Framing::ServerSentEvents if name.is_empty() => format!("data: {data}\r\n\r\n").into_bytes(),
            Framing::ServerSentEvents => format!("event: {name}\ndata: {data}\n\n").into_bytes(),
            Framing::AmazonEventStream => encode(
                &[(":event-type", name), (":content-type", "application/json"), (":message-type", "event")],
                data.as_bytes(),
            ),
        }
    };
    events.iter().flat_map(event).collect()
}

fn read<'a>(call: &Call, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Bytes>, End) {
    let Prepared { framing, mut reader, .. } = prepared(call).unwrap();
    reader.begin("request-1");
    let mut frames: Box<dyn Frames> = match framing {
        Framing::ServerSentEvents => Box::new(Sse::new(10_000)),
        Framing::AmazonEventStream => Box::new(EventStream::new(10_000)),
    };
    let mut out = VecDeque::new();
    for piece in pieces {
        frames.push(piece);
        while let Some(frame) = frames.next().unwrap() {
            if reader.frame(frame, &mut out).unwrap() == Step::Done {
                let end = reader.finish(&mut out).unwrap();
                return (out.into(), end);
            }
        }
    }
    if let Some(frame) = frames.last().unwrap() {
        reader.frame(frame, &mut out).unwrap();
    }
    let end = reader.finish(&mut out).unwrap();
    (out.into(), end)
}

fn streamed(call: &Call, case: &Value) {
    let name = &case["name"];
    let bytes = bytes(prepared(call).unwrap().framing, case);
    let (chunks, end) = read(call, [&bytes[..]]);
    let expected = case["chunks"].as_array().unwrap().iter().map(|piece| chunk(&case["chunk"], piece));
    let given = chunks.iter().map(|chunk| serde_json::from_slice::<Value>(chunk).unwrap());
    assert_eq!(given.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{name}");
    assert_eq!(end.usage, usage(case), "{name}");
    assert_eq!(end.finish_reason.as_deref(), case["finish_reason"].as_str(), "{name}");
    for at in 0..=bytes.len() {
        let (left, right) = bytes.split_at(at);
        assert_eq!(read(call, [left, right]), (chunks.clone(), end.clone()), "{name}: cut at {at}");
    }
    assert_eq!(read(call, bytes.chunks(1)), (chunks, end), "{name}: byte by byte");
}

/// A chunk in full: a piece of the answer, or the usage alone.
fn chunk(label: &Value, piece: &Value) -> Value {
    let mut chunk = label.clone();
    match piece.get("usage") {
        Some(usage) => {
            chunk["choices"] = json!([]);
            chunk["usage"] = usage.clone();
        }
        None => {
            chunk["choices"] = json!([{ "index": 0, "delta": piece["delta"], "finish_reason": piece["finish_reason"] }])
        }
    }
    chunk
}

#[test]
fn anthropics_messages_both_ways() {
    cases(WireProtocol::Anthropic, "https://api.anthropic.com", include_str!("../golden/anthropic.json"));
}

#[test]
fn googles_gemini_both_ways() {
    let base = "https://generativelanguage.googleapis.com/v1beta";
    cases(WireProtocol::Gemini, base, include_str!("../golden/gemini.json"));
}

#[test]
fn amazons_converse_both_ways() {
    cases(WireProtocol::Bedrock, "", include_str!("../golden/bedrock.json"));
}

#[test]
fn azures_addresses_are_those_of_its_documentation() {
    for (endpoint, url) in [
        ("https://r.openai.azure.com", "https://r.openai.azure.com/openai/v1/chat/completions"),
        ("https://r.openai.azure.com/openai/v1/", "https://r.openai.azure.com/openai/v1/chat/completions"),
        (
            "https://r.openai.azure.com/openai/v1?api-version=preview",
            "https://r.openai.azure.com/openai/v1/chat/completions?api-version=preview",
        ),
        (
            "https://r.openai.azure.com?api-version=2025-01-01-preview",
            "https://r.openai.azure.com/openai/deployments/my%20gpt/chat/completions?api-version=2025-01-01-preview",
        ),
        (
            "https://r.openai.azure.com/openai",
            "https://r.openai.azure.com/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21",
        ),
        (
            "https://r.openai.azure.com/openai/deployments/own?api-version=2024-06-01",
            "https://r.openai.azure.com/openai/deployments/own/chat/completions?api-version=2024-06-01",
        ),
    ] {
        let call = call(WireProtocol::AzureOpenai, endpoint, "my gpt", r#"{"messages":[]}"#);
        let prepared = prepared(&call).unwrap();
        assert_eq!(prepared.url.as_str(), url);
        assert_eq!(&prepared.body[..], br#"{"model":"my gpt","messages":[]}"#);
    }
}
