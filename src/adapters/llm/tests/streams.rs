//! Streams on OpenAI's wire: bytes as they came, usage always read, and given only to who asked for it.

use super::server::{Stub, asking, client, piece, serve, stream_head, streaming};
use crate::ports::llm::{Answer, Call, Chunk, End, Llm, Streamed, Usage};
use std::sync::atomic::Ordering;

async fn open(call: Call) -> Streamed {
    match client().call(call).await {
        Ok(Answer::Streamed(streamed)) => streamed,
        Ok(Answer::Whole(_)) => panic!("it is whole"),
        Err(error) => panic!("{error}"),
    }
}

async fn all(mut streamed: Streamed) -> (Vec<String>, End) {
    let mut chunks = Vec::new();
    loop {
        match streamed.chunks.next().await.unwrap().unwrap() {
            Chunk::Data(data) => chunks.push(String::from_utf8(data.to_vec()).unwrap()),
            Chunk::End(end) => {
                assert!(streamed.chunks.next().await.is_none());
                return (chunks, end);
            }
        }
    }
}

const FIRST: &str = r#"{"id":"1", "choices":[{"delta":{"role":"assistant","content":"é\n"},"odd":1.0}],"usage":null}"#;
const LAST: &str = r#"{"id":"1","choices":[{"delta":{},"finish_reason":"length"}]}"#;
const USAGE: &str = r#"{"id":"1","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":6}}"#;

/// A provider that streams these, cut into pieces of so many bytes.
async fn provider(events: &[&str], size: usize) -> Stub {
    let text: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    let text = format!(": processing\n\n{text}data: [DONE]\n\n");
    serve(move |_| {
        let mut acts = vec![stream_head("x-ratelimit-remaining-tokens: 7\r\n")];
        let pieces = text
            .as_bytes()
            .chunks(size)
            .map(|bytes| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat());
        acts.extend(pieces.map(super::server::Act::Send));
        acts.push(piece(""));
        acts
    })
    .await
}

fn usage() -> Option<Usage> {
    Some(Usage { input_tokens: 5, output_tokens: 6, ..Usage::default() })
}

#[tokio::test]
async fn the_chunk_of_usage_is_read_and_withheld_from_who_did_not_ask() {
    for size in [1, 7, 10_000] {
        let stub = provider(&[FIRST, LAST, USAGE], size).await;
        let streamed = open(streaming(&stub)).await;
        assert_eq!(streamed.head.rates.tokens.remaining, Some(7));
        let (chunks, end) = all(streamed).await;
        assert_eq!(chunks, [FIRST, LAST], "pieces of {size}");
        assert_eq!(end, End { usage: usage(), finish_reason: Some("length".to_owned()) });
        let body = stub.seen.lock()[0].body.clone();
        assert!(body.starts_with(r#"{"stream":true,"stream_options":{"include_usage":true},"#), "{body}");
    }
}

#[tokio::test]
async fn who_asked_for_usage_gets_it() {
    let stub = provider(&[FIRST, LAST, USAGE], 50).await;
    let mut call = streaming(&stub);
    call.request = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#.into();
    let (chunks, end) = all(open(call).await).await;
    assert_eq!(chunks, [FIRST, LAST, USAGE]);
    assert_eq!(end.usage, usage());
    let body = stub.seen.lock()[0].body.clone();
    assert_eq!(body, r#"{"model":"gpt-x","stream":true,"stream_options":{"include_usage":true}}"#);
}

#[tokio::test]
async fn usage_beside_content_is_read_and_stays_where_it_is() {
    let both = r#"{"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":6}}"#;
    let stub = provider(&[both], 50).await;
    let (chunks, end) = all(open(streaming(&stub)).await).await;
    assert_eq!(chunks, [both]);
    assert_eq!(end.usage, usage());
}

#[tokio::test]
async fn a_provider_that_leaves_out_the_last_word_is_understood() {
    let text = format!("data: {FIRST}\n\ndata: {LAST}\n\n");
    let stub = serve(move |_| vec![stream_head(""), piece(&text), piece("")]).await;
    let (chunks, end) = all(open(streaming(&stub)).await).await;
    assert_eq!(chunks, [FIRST, LAST]);
    assert_eq!(end, End { usage: None, finish_reason: Some("length".to_owned()) });
}

#[tokio::test]
async fn the_connection_of_a_stream_that_was_read_to_its_end_is_used_again() {
    let stub = provider(&[FIRST, LAST, USAGE], 1_000).await;
    let client = client();
    for _ in 0..3 {
        let Ok(Answer::Streamed(streamed)) = client.call(streaming(&stub)).await else { panic!("no stream") };
        all(streamed).await;
    }
    assert_eq!(stub.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_request_that_says_otherwise_streams_as_the_call_does() {
    let stub = provider(&[FIRST, LAST], 1_000).await;
    let mut call = asking(&stub);
    call.stream = true;
    call.request = r#"{"stream":false,"model":"m"}"#.into();
    assert_eq!(all(open(call).await).await.0, [FIRST, LAST]);
    let body = stub.seen.lock()[0].body.clone();
    assert_eq!(body, r#"{"stream_options":{"include_usage":true},"stream":true,"model":"gpt-x"}"#);
}

#[tokio::test]
async fn a_service_tier_that_is_charged_as_a_batch_is_told_with_the_usage() {
    let tiered = |tier: &str| USAGE.replacen('{', &format!("{{\"service_tier\":{tier},"), 1);
    for (tier, is_batch) in
        [("\"flex\"", true), ("\"batch\"", true), ("\"default\"", false), ("null", false), ("{\"a\":1}", false)]
    {
        let stub = provider(&[FIRST, LAST, &tiered(tier)], 10_000).await;
        let (_, end) = all(open(streaming(&stub)).await).await;
        assert_eq!(end.usage, usage().map(|usage| Usage { is_batch, ..usage }), "{tier}");
    }
}
