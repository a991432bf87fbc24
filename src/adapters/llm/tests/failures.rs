//! Providers that refuse, stall, break off, or answer with something else.

use super::server::{
    Act, REQUEST, Stub, answer, asking, client, client_with, piece, scripted, serve, stream_head, streaming,
};
use crate::adapters::llm::Config;
use crate::ports::llm::{Answer, Call, Chunk, Error, Kind, Llm, Progress, Waited};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;

const SOON: Duration = Duration::from_millis(60);

async fn failure(call: Call) -> Box<Error> {
    match client().call(call).await {
        Err(error) => checked(error),
        Ok(_) => panic!("it went well"),
    }
}

/// No error says what was asked or with which key.
fn checked(error: Box<Error>) -> Box<Error> {
    let text = format!("{error} {error:?}");
    assert!(!text.contains("the prompt") && !text.contains("sk-first"), "{text}");
    error
}

/// Waits until the provider has seen the client hang up.
async fn hung_up(stub: &Stub) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while stub.hung_up.load(Ordering::SeqCst) == 0 {
        assert!(Instant::now() < deadline, "the connection stays open");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_refusal_comes_with_all_that_decides_about_another_try() {
    for (status, kind, retryable, for_client) in [
        (400, Kind::BadRequest, false, 400),
        (403, Kind::Auth, false, 502),
        (404, Kind::NotFound, false, 404),
        (429, Kind::RateLimited, true, 429),
        (500, Kind::Server, true, 500),
        (503, Kind::Overloaded, true, 503),
        (529, Kind::Overloaded, true, 529),
        (307, Kind::Garbage, false, 502),
    ] {
        let headers = [
            ("retry-after", "7"),
            ("x-ratelimit-limit-requests", "10"),
            ("x-request-id", "r"),
            ("location", "http://127.0.0.1:1/"),
        ];
        let body = r#"{"error":{"message":"you said: the prompt","type":"odd","param":"p","code":null}}"#;
        let stub = serve(move |_| vec![answer(status, &headers, body)]).await;
        let error = failure(asking(&stub)).await;
        assert_eq!((error.kind, error.retryable(), error.progress), (kind, retryable, Progress::Sent), "{status}");
        assert_eq!((error.status(), error.status_for_client()), (Some(status), for_client));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        assert_eq!(error.rates().requests.limit, Some(10));
        assert!(error.head.headers.contains(&("x-request-id".to_owned(), "r".to_owned())));
        let json: serde_json::Value = serde_json::from_slice(&error.complaint.to_json()).unwrap();
        assert_eq!(json["error"]["message"], "you said: the prompt", "the sender may read it");
        assert_eq!((&json["error"]["type"], &json["error"]["param"]), (&"odd".into(), &"p".into()));
        assert_eq!(stub.seen.lock().len(), 1, "nothing is repeated or followed");
    }
}

#[tokio::test]
async fn a_provider_that_is_not_there_was_not_sent_anything() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let mut call = asking(&serve(|_| Vec::new()).await);
    call.target.endpoint = Some(format!("http://127.0.0.1:{port}").into());
    let error = failure(call).await;
    assert_eq!((error.kind, error.progress, error.retryable()), (Kind::Connect, Progress::NotSent, true), "{error}");
    assert_eq!(error.status(), None);
}

#[tokio::test]
async fn each_wait_has_its_own_bound() {
    let begun = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n";
    let partly = |text: &str| vec![Act::Send(format!("{begun}{text}").into_bytes()), Act::Stall];
    type Shorten = fn(&mut Call);
    let cases: [(Vec<Act>, Shorten, Waited, Progress); 6] = [
        (vec![Act::Stall], |call| call.timeouts.first_byte = SOON, Waited::FirstByte, Progress::Sent),
        (partly(""), |call| call.timeouts.first_byte = SOON, Waited::FirstByte, Progress::Sent),
        (partly("{"), |call| call.timeouts.between_chunks = SOON, Waited::BetweenChunks, Progress::Receiving),
        (partly("{"), |call| call.timeouts.total = SOON, Waited::Total, Progress::Receiving),
        (vec![Act::Stall], |call| call.deadline = Instant::now() + SOON, Waited::Total, Progress::Sent),
        (vec![Act::Stall], |call| call.deadline = Instant::now(), Waited::Total, Progress::Sent),
    ];
    for (acts, shorten, waited, progress) in cases {
        let stub = serve(move |_| acts.clone()).await;
        let mut call = asking(&stub);
        shorten(&mut call);
        let error = failure(call).await;
        assert_eq!(error.kind, Kind::Timeout(waited));
        assert!(error.progress <= progress && error.status_for_client() == 504, "{error}");
        assert_eq!(error.retryable(), waited != Waited::Total);
    }
}

#[tokio::test]
async fn a_stream_that_stalls_or_breaks_off_says_how_far_it_came() {
    let first = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":{\"prompt_tokens\":4}}\n\n";
    for (act, kind) in [
        (Act::Stall, Kind::Timeout(Waited::BetweenChunks)),
        (Act::Close, Kind::Cut),
        (piece(""), Kind::Cut),
        (piece("data: {\"choi\n\n"), Kind::Garbage),
        (piece("data: {\"error\":{\"message\":\"m\",\"code\":429}}\n\n"), Kind::RateLimited),
    ] {
        let stub = serve(move |_| vec![stream_head(""), piece(first), act.clone()]).await;
        let mut call = streaming(&stub);
        call.timeouts.between_chunks = SOON;
        let Ok(Answer::Streamed(mut streamed)) = client().call(call).await else { panic!("no stream") };
        assert!(matches!(streamed.chunks.next().await, Some(Ok(Chunk::Data(_)))));
        let error = checked(streamed.chunks.next().await.unwrap().err().unwrap());
        assert_eq!((error.kind, error.progress), (kind, Progress::Receiving), "{error}");
        assert_eq!(error.usage.map(|usage| usage.input_tokens), Some(4), "what is charged for is known");
        assert!(streamed.chunks.next().await.is_none());
    }
}

#[tokio::test]
async fn a_stream_that_fails_before_its_first_chunk_is_a_call_that_fails() {
    let error = "data: {\"error\":{\"message\":\"m\",\"type\":\"overloaded_error\"}}\n\n";
    for (acts, kind) in [
        (vec![stream_head("retry-after: 3\r\n"), piece(error), Act::Stall], Kind::Overloaded),
        (vec![stream_head("retry-after: 3\r\n"), piece(": alive\n\n"), Act::Close], Kind::Cut),
        (vec![stream_head("retry-after: 3\r\n"), piece("")], Kind::Cut),
        (vec![stream_head("retry-after: 3\r\n"), piece("data: [DONE]\n\n"), piece("")], Kind::Garbage),
        (vec![answer(200, &[("retry-after", "3")], r#"{"error":{"message":"m","code":503}}"#)], Kind::Overloaded),
    ] {
        let stub = serve(move |_| acts.clone()).await;
        let error = failure(streaming(&stub)).await;
        assert_eq!((error.kind, error.progress), (kind, Progress::Sent), "{error}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
    }
}

#[tokio::test]
async fn what_is_no_answer_is_garbage() {
    let html = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>";
    for (stream, act) in [
        (false, answer(200, &[], "<html>")),
        (false, answer(200, &[], "{}")),
        (false, answer(200, &[], "")),
        (false, answer(200, &[], "[[]]")),
        (true, Act::Send(html.as_bytes().to_vec())),
    ] {
        let stub = serve(move |_| vec![act.clone()]).await;
        let error = failure(Call { stream, ..asking(&stub) }).await;
        assert_eq!((error.kind, error.retryable(), error.status_for_client()), (Kind::Garbage, false, 502), "{error}");
        assert!(error.cause.is_some(), "{error}");
    }
}

#[tokio::test]
async fn what_is_above_a_bound_is_not_read_to_its_end() {
    let config = || Config { body_bytes_max: 1_000, event_bytes_max: 1_000, ..Config::default() };
    let long = "x".repeat(2_000);
    let told = Act::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n{".to_vec());
    let untold = vec![stream_head(""), piece(&long), Act::Stall];
    let line = vec![stream_head(""), piece(&format!("data: {long}")), Act::Stall];
    for (stream, acts) in [(false, vec![told, Act::Stall]), (false, untold), (true, line)] {
        let stub = serve(move |_| acts.clone()).await;
        let client = client_with(scripted(&["sk-first-secret"]), config());
        let error = client.call(Call { stream, ..asking(&stub) }).await.err().unwrap();
        assert_eq!((error.kind, error.retryable()), (Kind::TooLarge, false), "{error}");
        assert!(error.to_string().contains("1000 bytes"), "{error}");
        hung_up(&stub).await;
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_cut() {
    let begun = b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"choices\":".to_vec();
    let stub = serve(move |_| vec![Act::Send(begun.clone()), Act::Close]).await;
    let error = failure(asking(&stub)).await;
    assert_eq!((error.kind, error.progress), (Kind::Cut, Progress::Receiving), "{error}");
    let stub = serve(|_| vec![Act::Close]).await;
    let error = failure(asking(&stub)).await;
    assert_eq!((error.kind, error.progress), (Kind::Cut, Progress::Sent), "{error}");
}

#[tokio::test]
async fn whoever_drops_a_stream_hangs_up() {
    let stub = serve(|_| vec![stream_head(""), piece("data: {\"choices\":[{\"delta\":{}}]}\n\n"), Act::Stall]).await;
    let answer = client().call(streaming(&stub)).await;
    assert!(matches!(answer, Ok(Answer::Streamed(_))));
    drop(answer);
    hung_up(&stub).await;
}

#[tokio::test]
async fn what_was_asked_is_in_no_error_of_a_bad_request() {
    let stub = serve(|_| Vec::new()).await;
    let mut call = asking(&stub);
    call.request = REQUEST.replace('}', "").into();
    let error = failure(call).await;
    assert_eq!((error.kind, error.progress, error.status_for_client()), (Kind::BadRequest, Progress::NotSent, 400));
    assert!(!error.complaint.message.contains("the prompt"));
}
