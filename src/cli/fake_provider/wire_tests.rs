//! The three wires say the same: what they ask for, what they answer, whole and streamed.

use super::answer::{Answer, Content, Finish};
use super::ask::{Ask, Want};
use super::settings::tests::settings;
use super::wire::{Script, Trouble, Wire};
use super::{anthropic, gemini, openai};
use serde_json::{Value, json};
use std::time::Duration;

const WIRES: [Wire; 3] = [Wire::OpenAi, Wire::Anthropic, Wire::Gemini];

/// The same question on each wire, with a tool where one is given.
fn body(wire: Wire, text: &str, max_tokens: u64, tool: Option<&Value>) -> String {
    let mut body = match wire {
        Wire::OpenAi => json!({"model": "m", "max_tokens": max_tokens, "messages": [
            {"role": "system", "content": "Be kind."}, {"role": "user", "content": [{"type": "text", "text": text}]}]}),
        Wire::Anthropic => json!({"model": "m", "max_tokens": max_tokens, "system": "Be kind.", "messages": [
            {"role": "user", "content": text}]}),
        Wire::Gemini => json!({"systemInstruction": {"parts": [{"text": "Be kind."}]},
            "contents": [{"role": "user", "parts": [{"text": text}]}],
            "generationConfig": {"maxOutputTokens": max_tokens}}),
    };
    if let Some(schema) = tool {
        body["tools"] = match wire {
            Wire::OpenAi => json!([{"type": "function", "function": {"name": "get_weather", "parameters": schema}}]),
            Wire::Anthropic => json!([{"name": "get_weather", "input_schema": schema}]),
            Wire::Gemini => json!([{"functionDeclarations": [{"name": "get_weather", "parameters": schema}]}]),
        };
    }
    body.to_string()
}

fn ask(wire: Wire, body: &str) -> Result<Ask<'_>, String> {
    match wire {
        Wire::OpenAi => openai::chat(body.as_bytes()),
        Wire::Anthropic => anthropic::messages(body.as_bytes()),
        Wire::Gemini => gemini::generate(body.as_bytes(), "m", false),
    }
}

fn answer(wire: Wire, body: &str) -> Answer {
    Answer::new(&ask(wire, body).unwrap(), &settings(&["--cached-share", "0.5"])).unwrap()
}

/// The events of a script, one line of data each.
fn events(script: &Script) -> Vec<Value> {
    let mut text = script.opening.clone();
    for piece in script.text.split_inclusive(' ') {
        text += &format!("{}{}{}", script.before, Value::from(piece), script.after);
    }
    text += &script.closing;
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|line| *line != "[DONE]");
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn the_same_question_is_understood_alike_on_every_wire() {
    for wire in WIRES {
        let body = body(wire, "Hello \"you\"", 7, None);
        let ask = ask(wire, &body).unwrap();
        assert_eq!((&*ask.text, ask.prompt_tokens, ask.max_tokens), ("Hello \"you\"", 5, Some(7)), "{wire:?}");
        assert!(matches!(ask.want, Want::Text) && !ask.stream);
    }
}

#[test]
fn a_whole_answer_tells_its_text_its_usage_and_its_end() {
    for wire in WIRES {
        let answer = answer(wire, &body(wire, "hello", 3, None));
        let whole: Value = serde_json::from_str(&wire.whole(&answer)).unwrap();
        let (text, usage, finish) = match wire {
            Wire::OpenAi => {
                (&whole["choices"][0]["message"]["content"], "usage", &whole["choices"][0]["finish_reason"])
            }
            Wire::Anthropic => (&whole["content"][0]["text"], "usage", &whole["stop_reason"]),
            Wire::Gemini => (
                &whole["candidates"][0]["content"]["parts"][0]["text"],
                "usageMetadata",
                &whole["candidates"][0]["finishReason"],
            ),
        };
        assert_eq!(text, "hello hello ", "{wire:?}");
        let usage = &whole[usage];
        let counts = match wire {
            Wire::OpenAi => [
                &usage["prompt_tokens"],
                &usage["prompt_tokens_details"]["cached_tokens"],
                &usage["completion_tokens"],
                &usage["total_tokens"],
            ]
            .map(Value::as_u64),
            Wire::Anthropic => {
                let [input, cached, output] = ["input_tokens", "cache_read_input_tokens", "output_tokens"]
                    .map(|name| usage[name].as_u64().unwrap());
                [Some(input + cached), Some(cached), Some(output), Some(input + cached + output)]
            }
            Wire::Gemini => ["promptTokenCount", "cachedContentTokenCount", "candidatesTokenCount", "totalTokenCount"]
                .map(|name| usage[name].as_u64()),
        };
        assert_eq!(counts, [Some(4), Some(2), Some(3), Some(7)], "{wire:?}");
        let cut = ["length", "max_tokens", "MAX_TOKENS"];
        assert!(cut.contains(&finish.as_str().unwrap()), "{wire:?}: {finish}");
    }
}

#[test]
fn the_events_add_up_to_the_whole_answer() {
    for wire in WIRES {
        let answer = answer(wire, &body(wire, "tell me \"more\" of ü", 100, None));
        let Content::Text(text) = &answer.content else { panic!("no text") };
        let events = events(&wire.script(&answer, true));
        let piece = |event: &Value| match wire {
            Wire::OpenAi => event["choices"][0]["delta"]["content"].as_str().map(str::to_owned),
            Wire::Anthropic => event["delta"]["text"].as_str().map(str::to_owned),
            Wire::Gemini => event["candidates"][0]["content"]["parts"][0]["text"].as_str().map(str::to_owned),
        };
        assert_eq!(events.iter().filter_map(piece).collect::<String>(), *text, "{wire:?}");
        let last = events.last().unwrap();
        match wire {
            Wire::OpenAi => {
                assert_eq!(last["choices"], json!([]));
                assert_eq!(last["usage"]["completion_tokens"], answer.usage.completion);
                let finish = &events[events.len() - 2]["choices"][0]["finish_reason"];
                assert_eq!(finish, "stop");
                assert!(events[0]["usage"].is_null() && events[0]["choices"][0]["delta"]["role"] == "assistant");
            }
            Wire::Anthropic => {
                let mut kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
                kinds.dedup();
                let order = [
                    "message_start",
                    "content_block_start",
                    "ping",
                    "content_block_delta",
                    "content_block_stop",
                    "message_delta",
                    "message_stop",
                ];
                assert_eq!(kinds, order);
                let delta = &events[events.len() - 2];
                assert_eq!(
                    (&delta["delta"]["stop_reason"], &delta["usage"]["output_tokens"]),
                    (&json!("end_turn"), &json!(answer.usage.completion))
                );
            }
            Wire::Gemini => {
                assert_eq!(last["candidates"][0]["finishReason"], "STOP");
                assert_eq!(last["usageMetadata"]["candidatesTokenCount"], answer.usage.completion);
            }
        }
    }
}

#[test]
fn a_tool_that_the_text_names_is_called_whole_and_streamed() {
    let schema = json!({"type": "object", "properties": {"city": {"const": "Bern ü"}}, "required": ["city"]});
    for wire in WIRES {
        let answer = answer(wire, &body(wire, "get the weather: Get Weather!", 100, Some(&schema)));
        assert_eq!(answer.finish, Finish::Call, "{wire:?}");
        let whole: Value = serde_json::from_str(&wire.whole(&answer)).unwrap();
        let events = events(&wire.script(&answer, false));
        let (name, input, streamed) = match wire {
            Wire::OpenAi => {
                let function = &whole["choices"][0]["message"]["tool_calls"][0]["function"];
                let call = |event: &Value| {
                    event["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str().map(str::to_owned)
                };
                let streamed = events.iter().filter_map(call).collect::<String>();
                (&function["name"], anthropic::parsed(function["arguments"].as_str().unwrap()), streamed)
            }
            Wire::Anthropic => {
                let call = |event: &Value| event["delta"]["partial_json"].as_str().map(str::to_owned);
                let streamed = events.iter().filter_map(call).collect();
                (&whole["content"][0]["name"], whole["content"][0]["input"].clone(), streamed)
            }
            Wire::Gemini => {
                let call = &whole["candidates"][0]["content"]["parts"][0]["functionCall"];
                let streamed = &events.last().unwrap()["candidates"][0]["content"]["parts"][0]["functionCall"]["args"];
                (&call["name"], call["args"].clone(), streamed.to_string())
            }
        };
        assert_eq!((name, &input), (&json!("get_weather"), &json!({"city": "Bern ü"})), "{wire:?}");
        assert_eq!(anthropic::parsed(&streamed), input, "{wire:?}");
    }
}

#[test]
fn json_of_a_schema_is_answered_on_every_wire() {
    let schema = json!({"type": "object", "properties": {"n": {"const": 5}}, "required": ["n"]});
    for wire in WIRES {
        let mut body: Value = serde_json::from_str(&body(wire, "hello", 100, None)).unwrap();
        match wire {
            Wire::OpenAi => {
                body["response_format"] =
                    json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
            }
            Wire::Anthropic => body["output_config"] = json!({"format": {"type": "json_schema", "schema": schema}}),
            Wire::Gemini => body["generationConfig"]["responseJsonSchema"] = schema.clone(),
        }
        let answer = answer(wire, &body.to_string());
        assert!(matches!(&answer.content, Content::Text(text) if text == "{\"n\":5}"), "{wire:?}: {answer:?}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_a_reason() {
    for wire in WIRES {
        for body in ["", "{}", "[]", "{\"model\": 1}", "not json"] {
            assert!(ask(wire, body).is_err(), "{wire:?}: {body}");
        }
    }
    let without = r#"{"model": "m", "messages": [{"role": "user", "content": "x"}]}"#;
    assert!(ask(Wire::OpenAi, without).is_ok());
    assert!(ask(Wire::Anthropic, without).unwrap_err().contains("max_tokens"));
}

#[test]
fn an_error_has_the_form_of_its_wire() {
    let trouble = Trouble {
        status: 429,
        message: "slow down".into(),
        request_id: "req_1".into(),
        limit: Some("tokens"),
        wait: Some(Duration::from_millis(1_500)),
    };
    let error = |wire: Wire| serde_json::from_str::<Value>(&wire.error(&trouble)).unwrap();
    assert_eq!(
        error(Wire::OpenAi),
        json!({"error": {"message": "slow down", "type": "tokens", "param": null, "code": "rate_limit_exceeded"}})
    );
    assert_eq!(
        error(Wire::Anthropic),
        json!({"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}, "request_id": "req_1"})
    );
    let gemini = error(Wire::Gemini);
    assert_eq!((&gemini["error"]["code"], &gemini["error"]["status"]), (&json!(429), &json!("RESOURCE_EXHAUSTED")));
    assert_eq!(gemini["error"]["details"][0]["retryDelay"], "1.500000000s");
}
