//! What a wire cannot express is refused by name; what says nothing is not.

use super::{call, prepared};
use crate::domain::llm_provider::WireProtocol::{self, Anthropic, Bedrock, Gemini};
use crate::ports::llm::{Kind, Operation};
use serde_json::{Value, json};

fn refused(protocol: WireProtocol, more: &Value) -> Option<String> {
    let mut request = json!({ "messages": [{ "role": "user", "content": "the prompt" }] });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let call = call(protocol, "https://bedrock-runtime.eu-west-1.amazonaws.com", "gemini-3-pro", &request.to_string());
    let fault = prepared(&call).err()?;
    assert_eq!(fault.kind, Kind::BadRequest, "{more}");
    let param = fault.complaint.param.clone().unwrap_or_else(|| panic!("{more}: no name: {}", fault.complaint.message));
    assert!(fault.complaint.message.contains(&param), "{}", fault.complaint.message);
    assert!(!fault.complaint.message.contains("the prompt"));
    Some(param)
}

const ALL: [WireProtocol; 3] = [Anthropic, Gemini, Bedrock];

#[test]
fn what_no_other_wire_can_express_is_refused_by_name() {
    let user = |part: Value| json!({ "messages": [{ "role": "user", "content": [part] }] });
    for (more, param) in [
        (json!({ "n": 2 }), "n"),
        (json!({ "logprobs": true }), "logprobs"),
        (json!({ "top_logprobs": 3 }), "top_logprobs"),
        (json!({ "logit_bias": { "1": 2 } }), "logit_bias"),
        (json!({ "modalities": ["text", "audio"] }), "modalities"),
        (json!({ "audio": { "voice": "alloy" } }), "audio"),
        (json!({ "prediction": {} }), "prediction"),
        (json!({ "service_tier": "flex" }), "service_tier"),
        (json!({ "store": true }), "store"),
        (json!({ "functions": [] }), "functions"),
        (json!({ "invented": 1 }), "invented"),
        (json!({ "tool_choice": { "type": "allowed_tools" } }), "tool_choice.type"),
        (json!({ "tools": [{ "type": "web_search" }] }), "tools[0].type"),
        (json!({ "response_format": { "type": "grammar" } }), "response_format.type"),
        (user(json!({ "type": "input_audio", "input_audio": {} })), "messages[0].content[0].input_audio"),
        (user(json!({ "type": "file", "file": {} })), "messages[0].content[0].file"),
        (
            user(json!({ "type": "image_url", "image_url": { "url": "https://x/a.png", "detail": "high" } })),
            "messages[0].content[0].image_url.detail",
        ),
        (json!({ "messages": [{ "role": "user", "name": "Ann", "content": "hi" }] }), "messages[0].name"),
        (json!({ "messages": [{ "role": "function", "content": "hi" }] }), "messages[0].role"),
        (
            json!({ "messages": [{ "role": "system", "content": [{ "type": "image_url", "image_url": { "url": "https://x/a.png" } }] }] }),
            "messages[0].content[0].image_url.url",
        ),
    ] {
        for protocol in ALL {
            assert_eq!(refused(protocol, &more).as_deref(), Some(param), "{protocol:?} {more}");
        }
    }
}

#[test]
fn what_one_wire_cannot_express_is_refused_there() {
    let tools = json!([{ "type": "function", "function": { "name": "f" } }]);
    let image =
        json!([{ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "https://x/a" } }] }]);
    for (more, param, wires) in [
        (json!({ "seed": 1 }), "seed", &[Anthropic, Bedrock][..]),
        (json!({ "frequency_penalty": 0.5 }), "frequency_penalty", &[Anthropic, Bedrock]),
        (json!({ "presence_penalty": -1 }), "presence_penalty", &[Anthropic, Bedrock]),
        (json!({ "user": "u" }), "user", &[Gemini, Bedrock]),
        (json!({ "reasoning_effort": "none" }), "reasoning_effort", &ALL),
        (json!({ "reasoning_effort": "high" }), "reasoning_effort", &[Bedrock]),
        (json!({ "response_format": { "type": "json_object" } }), "response_format.type", &[Anthropic, Bedrock]),
        (json!({ "tools": tools, "parallel_tool_calls": false }), "parallel_tool_calls", &[Gemini, Bedrock]),
        (json!({ "tools": tools, "tool_choice": "none" }), "tool_choice", &[Bedrock]),
        (json!({ "messages": image }), "messages[0].content[0].image_url.url", &[Gemini, Bedrock]),
    ] {
        for protocol in ALL {
            let expected = wires.contains(&protocol).then_some(param);
            assert_eq!(refused(protocol, &more).as_deref(), expected, "{protocol:?} {more}");
        }
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let assistant = |call: Value| json!({ "messages": [{ "role": "assistant", "tool_calls": [call] }] });
    for (more, param) in [
        (json!({ "messages": [] }), "messages"),
        (json!({ "messages": [{ "role": "user", "content": "" }] }), "messages"),
        (json!({ "messages": [{ "role": "user", "content": 7 }] }), "messages[0].content"),
        (json!({ "messages": [{ "content": "x" }] }), "messages[0].role"),
        (json!({ "messages": [{ "role": "tool", "tool_call_id": "t", "content": "x" }] }), "messages[0].tool_call_id"),
        (json!({ "temperature": "hot" }), "temperature"),
        (json!({ "max_tokens": -1 }), "max_tokens"),
        (json!({ "tools": [{ "type": "function", "function": {} }] }), "tools[0].function.name"),
        (
            assistant(json!({ "id": "t", "function": { "name": "f", "arguments": "[1]" } })),
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            assistant(json!({ "id": "t", "function": { "name": "f", "arguments": "{" } })),
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "data:text/html,x" } }] }] }),
            "messages[0].content[0].image_url.url",
        ),
    ] {
        for protocol in ALL {
            assert_eq!(refused(protocol, &more).as_deref(), Some(param), "{protocol:?} {more}");
        }
    }
}

#[test]
fn what_says_nothing_is_not_refused() {
    for more in [
        json!({ "n": 1, "logprobs": false, "top_logprobs": null, "store": false, "metadata": {}, "invented": null }),
        json!({ "service_tier": "auto", "modalities": ["text"], "frequency_penalty": 0.0, "parallel_tool_calls": false }),
        json!({ "response_format": { "type": "text" }, "stream": true, "stream_options": null, "stop": null }),
    ] {
        for protocol in ALL {
            assert_eq!(refused(protocol, &more), None, "{protocol:?} {more}");
        }
    }
}

#[test]
fn embeddings_are_refused_where_there_are_none_and_of_tokens() {
    for (protocol, input) in
        [(Anthropic, json!("x")), (Bedrock, json!("x")), (Gemini, json!([1, 2])), (Gemini, json!([[1]]))]
    {
        let request = json!({ "input": input, "model": "m" }).to_string();
        let mut call = call(protocol, "https://example.com", "m", &request);
        call.operation = Operation::Embeddings;
        assert_eq!(prepared(&call).err().map(|fault| fault.kind), Some(Kind::BadRequest), "{protocol:?} {input}");
    }
}
