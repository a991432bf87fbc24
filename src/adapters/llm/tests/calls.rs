//! What goes over the line, and what comes back from it, when all goes well; and keys that are replaced meanwhile.

use super::call;
use super::server::{Act, answer, asking, client, client_with, scripted, serve};
use crate::adapters::llm::keys::{self, KeySources, Origin, Source};
use crate::adapters::llm::{Client, Config};
use crate::domain::llm_provider::WireProtocol;
use crate::ports::llm::{Answer, Call, Kind, Llm, Operation, Progress, Usage, Whole};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use uuid::Uuid;

const BODY: &str = concat!(
    r#"{ "id":"c1","choices":[{"index":0,"message":{"role":"assistant","content":"Hi","odd":1.50},"finish_reason":"stop"}],"#,
    r#""usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":4},"#,
    r#""completion_tokens_details":{"reasoning_tokens":2}},"unknown":{"b":1,"a":2} }"#
);

async fn whole(client: &impl Llm, call: Call) -> Whole {
    match client.call(call).await {
        Ok(Answer::Whole(whole)) => whole,
        Ok(Answer::Streamed(_)) => panic!("it streams"),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn bytes_go_through_as_they_are_both_ways_and_the_limits_come_along() {
    let stub = serve(|_| {
        let headers = [
            ("x-request-id", "req_7"),
            ("x-ratelimit-remaining-requests", "41"),
            ("x-ratelimit-reset-tokens", "6m0s"),
            ("set-cookie", "a=b"),
        ];
        vec![answer(200, &headers, BODY)]
    })
    .await;
    let mut call = asking(&stub);
    call.request = r#"{"zeta":1.50, "model" : "mine", "messages":[], "new_thing":{"b":1,"a":2}}"#.into();
    call.request_id = Some(Uuid::from_u128(7));

    let whole = whole(&client(), call).await;

    assert_eq!(&whole.body[..], BODY.as_bytes());
    assert_eq!(whole.end.finish_reason.as_deref(), Some("stop"));
    let usage =
        Usage { input_tokens: 9, output_tokens: 3, cached_input_tokens: 4, reasoning_tokens: 2, ..Usage::default() };
    assert_eq!(whole.end.usage, Some(usage));
    assert_eq!(whole.head.status, 200);
    assert_eq!(whole.head.rates.requests.remaining, Some(41));
    assert_eq!(whole.head.rates.tokens.reset_after, Some(Duration::from_secs(360)));
    assert!(whole.head.headers.contains(&("x-request-id".to_owned(), "req_7".to_owned())));
    assert!(!whole.head.headers.iter().any(|(name, _)| name == "set-cookie"));
    let seen = stub.seen.lock()[0].clone();
    assert_eq!(seen.body, r#"{"zeta":1.50, "model" : "gpt-x", "messages":[], "new_thing":{"b":1,"a":2}}"#);
    assert!(seen.head.starts_with("post /v1/chat/completions http/1.1\r\n"), "{}", seen.head);
    assert!(seen.head.contains("authorization: bearer sk-first-secret\r\n"));
    assert!(seen.head.contains("content-type: application/json\r\n"));
    assert!(seen.head.contains("x-agentverse-request-id: 00000000-0000-0000-0000-000000000007\r\n"), "{}", seen.head);
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let stub = serve(|_| vec![answer(200, &[], BODY)]).await;
    let client = client();
    for _ in 0..3 {
        whole(&client, asking(&stub)).await;
    }
    assert_eq!(stub.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn embeddings_have_their_own_address_and_never_stream() {
    let body = r#"{"object":"list","data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":5,"total_tokens":5}}"#;
    let stub = serve(move |_| vec![answer(200, &[], body)]).await;
    let mut call = asking(&stub);
    (call.operation, call.stream) = (Operation::Embeddings, true);
    call.request = r#"{"model":"e","input":"x"}"#.into();
    let whole = whole(&client(), call).await;
    assert_eq!(&whole.body[..], body.as_bytes());
    assert_eq!(whole.end.usage.map(|usage| (usage.input_tokens, usage.output_tokens)), Some((5, 0)));
    let seen = stub.seen.lock()[0].clone();
    assert!(seen.head.starts_with("post /v1/embeddings "));
    assert_eq!(seen.body, r#"{"model":"gpt-x","input":"x"}"#);
}

#[tokio::test]
async fn each_wire_takes_its_key_its_own_way() {
    let anthropic = r#"{"id":"m","model":"c","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn"}"#;
    let gemini = r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}]},"finishReason":"STOP"}]}"#;
    let bedrock = r#"{"output":{"message":{"content":[{"text":"Hi"}]}},"stopReason":"end_turn"}"#;
    for (protocol, body, header) in [
        (WireProtocol::Anthropic, anthropic, "x-api-key: sk-first-secret\r\n"),
        (WireProtocol::Anthropic, anthropic, "anthropic-version: 2023-06-01\r\n"),
        (WireProtocol::Gemini, gemini, "x-goog-api-key: sk-first-secret\r\n"),
        (WireProtocol::Bedrock, bedrock, "authorization: bearer sk-first-secret\r\n"),
        (WireProtocol::AzureOpenai, BODY, "api-key: sk-first-secret\r\n"),
    ] {
        let stub = serve(move |_| vec![answer(200, &[], body)]).await;
        let mut call = asking(&stub);
        call.target.protocol = protocol;
        let given = whole(&client(), call).await.body;
        let given: serde_json::Value = serde_json::from_slice(&given).unwrap();
        assert_eq!(given["choices"][0]["message"]["content"], "Hi", "{protocol:?}");
        assert!(stub.seen.lock()[0].head.contains(header), "{protocol:?}: {}", stub.seen.lock()[0].head);
    }
}

#[tokio::test]
async fn an_access_key_signs_and_does_not_go_along() {
    let stub =
        serve(|_| vec![answer(200, &[], r#"{"output":{"message":{"content":[]}},"stopReason":"end_turn"}"#)]).await;
    let keys = scripted(&["AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG:session-token"]);
    let client = client_with(keys, Config::default());
    let mut call = asking(&stub);
    call.target.protocol = WireProtocol::Bedrock;
    // The region is read from the host, which a stub's is not.
    let error = client.call(call).await.err().unwrap();
    assert_eq!((error.kind, error.progress), (Kind::NotFound, Progress::NotSent));
    assert!(error.to_string().contains("names no region"), "{error}");
    assert!(!format!("{error} {error:?}").contains("wJalr"));

    let url = reqwest::Url::parse("https://bedrock-runtime.eu-west-1.amazonaws.com/model/m%3A0/converse").unwrap();
    let key = crate::ports::llm::Secret::new("AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG:session-token");
    let headers = crate::adapters::llm::bedrock::authorize(&url, b"{}", &key, super::NOW).unwrap();
    assert_eq!(headers[0], ("x-amz-date", "20260102T030405Z".to_owned()));
    assert_eq!(headers[1], ("x-amz-security-token", "session-token".to_owned()));
    let scope = "Credential=AKIAIOSFODNN7EXAMPLE/20260102/eu-west-1/bedrock/aws4_request, \
        SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=";
    assert!(headers[2].1.contains(scope) && !headers[2].1.contains("wJalr"), "{}", headers[2].1);
}

#[tokio::test]
async fn a_key_that_was_replaced_is_loaded_again_once() {
    let refusing = |good: &'static str| {
        move |seen: &super::server::Seen| -> Vec<Act> {
            let refusal = r#"{"error":{"message":"bad key sk-old-secret","type":"invalid_request_error","code":"invalid_api_key"}}"#;
            match seen.head.contains(good) {
                true => vec![answer(200, &[], BODY)],
                false => vec![answer(401, &[], refusal)],
            }
        }
    };
    // A new key: the second try goes well.
    let stub = serve(refusing("sk-new-secret")).await;
    let client = client_with(scripted(&["sk-old-secret", "sk-new-secret"]), Config::default());
    whole(&client, asking(&stub)).await;
    assert_eq!(stub.seen.lock().len(), 2);
    // The same key: it is not sent a second time.
    let stub = serve(refusing("nothing")).await;
    let keys = scripted(&["sk-old-secret"]);
    let error = client_with(keys.clone(), Config::default()).call(asking(&stub)).await.err().unwrap();
    assert_eq!((error.kind, error.status(), error.retryable()), (Kind::Auth, Some(401), false));
    assert_eq!((stub.seen.lock().len(), keys.reloads.load(Ordering::SeqCst)), (1, 1));
    // Another key that is refused as well: there is no third try.
    let stub = serve(refusing("nothing")).await;
    let client = client_with(scripted(&["sk-old-secret", "sk-new-secret", "sk-third-secret"]), Config::default());
    let error = client.call(asking(&stub)).await.err().unwrap();
    assert_eq!((error.kind, stub.seen.lock().len()), (Kind::Auth, 2));
    for text in [error.to_string(), format!("{error:?}"), String::from_utf8(error.complaint.to_json()).unwrap()] {
        assert!(!text.contains("sk-new"), "{text}");
    }
}

#[tokio::test]
async fn a_key_that_is_repeated_by_the_provider_is_cut_out() {
    let refusal = r#"{"error":{"message":"no: sk-first-secret!","code":"sk-first-secret","type":"t"}}"#;
    let stub = serve(move |_| vec![answer(400, &[], refusal)]).await;
    let error = client().call(asking(&stub)).await.err().unwrap();
    for text in [error.to_string(), format!("{error:?}"), String::from_utf8(error.complaint.to_json()).unwrap()] {
        assert!(!text.contains("sk-first-secret"), "{text}");
    }
    assert_eq!(error.complaint.message, "no: ***!");
}

#[tokio::test]
async fn a_key_that_is_not_there_is_said_before_anything_is_sent() {
    let stub = serve(|_| vec![answer(200, &[], BODY)]).await;
    let error = client_with(scripted(&[]), Config::default()).call(asking(&stub)).await.err().unwrap();
    assert_eq!((error.kind, error.progress), (Kind::Auth, Progress::NotSent));
    assert_eq!(error.status_for_client(), 502);
    assert!(error.to_string().contains("the key K is not there"), "{error}");
    assert!(stub.seen.lock().is_empty());
}

#[tokio::test]
async fn a_key_of_the_operators_is_not_sent_to_whoever_names_it() {
    let stub = serve(|_| vec![answer(200, &[], BODY)]).await;
    let name = "CARGO_MANIFEST_DIR";
    let with = |source: Option<Source>| {
        let sources = source.into_iter().map(|source| (name.to_owned(), source)).collect();
        let keys = KeySources::new(keys::Config { sources, ..keys::Config::default() }).unwrap();
        Client::new(Config::default(), Arc::new(keys), Arc::new(super::Fixed)).unwrap()
    };
    let source = |host: &str| Source { origin: Origin::Environment(name.to_owned()), hosts: vec![host.to_owned()] };
    let named = |name: &str| {
        let mut call = asking(&stub);
        call.target.key = Some(name.into());
        call
    };
    for (client, name) in [
        (with(None), name),
        (with(None), "OPENAI_API_KEY"),
        (with(Some(source("127.0.0.1"))), name),
        (with(Some(source("http://10.0.0.7"))), name),
    ] {
        let error = client.call(named(name)).await.err().unwrap();
        assert_eq!((error.kind, error.progress), (Kind::Auth, Progress::NotSent));
        assert!(error.to_string().contains(name), "{error}");
        // Both texts say which host is to be listed.
        assert!(error.complaint.message.contains("http://127.0.0.1"), "{error}");
        assert!(stub.seen.lock().is_empty() && stub.connections.load(Ordering::SeqCst) == 0);
    }
    whole(&with(Some(source("http://127.0.0.1"))), named(name)).await;
    assert_eq!(stub.seen.lock().len(), 1);
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_used_is_said() {
    for (protocol, endpoint) in [
        (WireProtocol::Bedrock, None),
        (WireProtocol::Openai, Some("ftp://x")),
        (WireProtocol::Openai, Some("https://{r}.x")),
        (WireProtocol::Openai, Some("https://user:sk-hidden@x")),
    ] {
        let mut call = call(protocol, "", "m", super::server::REQUEST);
        call.target.endpoint = endpoint.map(Into::into);
        let error = client().call(call).await.err().unwrap();
        assert_eq!((error.kind, error.progress), (Kind::NotFound, Progress::NotSent), "{error}");
        assert!(error.to_string().contains("endpoint") && !error.to_string().contains("sk-hidden"), "{error}");
    }
}
