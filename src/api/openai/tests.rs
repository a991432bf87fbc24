//! What a request says, and how errors and streams look.

use super::answer::{event, fault, in_events};
use super::fault::Fault;
use super::form::{Form, check_media, tenant};
use crate::api::access::Loopback;
use crate::domain::llm_request::payload::PAYLOAD_BYTES_MAX;
use crate::domain::llm_request::{Operation, Priority};
use crate::domain::{Rejection, TenantId};
use crate::flow::request::engine::{Failure, How, NotSubmitted};
use crate::ports::llm::Complaint;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

const TENANT: TenantId = TenantId(Uuid::from_u128(10));

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pairs =
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
    pairs.collect()
}

fn read(pairs: &[(&'static str, &str)], operation: Operation, body: &str) -> Result<Form, Fault> {
    Form::read(&headers(pairs), TENANT, operation, &Bytes::from(body.to_owned()))
}

#[test]
fn the_tenant_is_the_headers_or_the_api_key() {
    let (other, bearer) = (Uuid::from_u128(11).to_string(), format!("Bearer {}", TENANT.0));
    let of = |pairs: &[(&'static str, &str)]| tenant(&headers(pairs), Loopback(true)).ok();
    assert_eq!(of(&[("authorization", &bearer)]), Some(TENANT));
    let both = of(&[("authorization", &bearer), ("agentverse-tenant", &other)]);
    assert_eq!(both, Some(TenantId(Uuid::from_u128(11))), "a header says it outright");
    assert_eq!(of(&[("authorization", "Bearer sk-nobody")]), None);
    let fault = tenant(&headers(&[]), Loopback(true)).unwrap_err();
    assert!(fault.complaint.message.contains("as the API key"), "{fault:?}");
}

#[test]
fn a_request_says_its_model_how_it_wants_the_answer_and_how_urgent_it_is() {
    let body = r#"{"model":"a\u002fb","stream":true,"messages":[]}"#;
    let form = read(&[], Operation::ChatCompletion, body).unwrap();
    assert_eq!((form.asked.model.as_str(), form.asked.stream, form.asked.payload.as_str()), ("a/b", true, body));
    assert_eq!((form.asked.priority, form.asked.deadline_ms), (Priority::Interactive, None));
    let pairs = [("agentverse-priority", "batch"), ("agentverse-deadline-ms", "1500"), ("idempotency-key", "k")];
    let form = read(&pairs, Operation::Embeddings, body).unwrap();
    assert_eq!((form.asked.priority, form.asked.deadline_ms), (Priority::Batch, Some(1_500)));
    assert_eq!((form.idempotency_key.as_deref(), form.asked.stream), (Some("k"), false), "embeddings come whole");
}

#[test]
fn what_cannot_be_understood_is_said_with_its_place_and_without_the_prompt() {
    let secret = "my secret";
    for (pairs, body, param, part) in [
        (&[][..], "", "body", "line 1, column 0"),
        (&[], r#"{"model":7,"messages":"my secret"}"#, "model", "model must be a text"),
        (&[], r#"{"model":"m","stream":"my secret"}"#, "stream", "true or false"),
        (&[], r#"{"model":"m","model":"my secret"}"#, "model", "model twice"),
        (&[], r#"["my secret"]"#, "body", "JSON object"),
        (&[("agentverse-priority", "soon")], r#"{"model":"m"}"#, "AgentVerse-Priority", "interactive, normal or batch"),
        (&[("agentverse-deadline-ms", "0")], r#"{"model":"m"}"#, "AgentVerse-Deadline-Ms", "from 1 to"),
        (&[("idempotency-key", "")], r#"{"model":"m"}"#, "Idempotency-Key", "1 to 1024"),
    ] {
        let fault = read(pairs, Operation::ChatCompletion, body).unwrap_err();
        assert_eq!((fault.status.as_u16(), fault.complaint.param.as_deref()), (400, Some(param)), "{body}");
        assert!(fault.complaint.message.contains(part), "{body}: {}", fault.complaint.message);
        assert!(!fault.complaint.message.contains(secret), "{body}");
    }
    let invalid =
        Form::read(&headers(&[]), TENANT, Operation::ChatCompletion, &Bytes::from_static(b"{\"a\":\"\xff\"}"));
    assert!(invalid.unwrap_err().complaint.message.contains("UTF-8"));
}

#[test]
fn a_body_that_is_larger_than_a_request_may_be_is_told_by_how_much() {
    let large = format!(r#"{{"model":"m","messages":"{}"}}"#, "x".repeat(PAYLOAD_BYTES_MAX));
    for operation in [Operation::ChatCompletion, Operation::Embeddings] {
        let fault = read(&[], operation, &large).unwrap_err();
        assert_eq!((fault.status.as_u16(), fault.complaint.code.as_deref()), (413, Some("body_too_large")));
        for bytes in [large.len(), PAYLOAD_BYTES_MAX] {
            assert!(fault.complaint.message.contains(&format!("{bytes} ")), "{}", fault.complaint.message);
        }
        assert!(read(&[], operation, &large.replacen(&"x".repeat(40), "", 1)).is_ok());
    }
}

#[test]
fn only_json_is_taken() {
    assert!(check_media(&headers(&[("content-type", "application/json; charset=utf-8")])).is_ok());
    for pairs in [&[][..], &[("content-type", "application/x-www-form-urlencoded")], &[("content-type", "text/plain")]]
    {
        assert_eq!(check_media(&headers(pairs)).unwrap_err().status.as_u16(), 415);
    }
}

async fn told(response: Response) -> (u16, HeaderMap, Value) {
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status.as_u16(), head.headers, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn errors_have_openais_form_and_say_whether_to_come_again() {
    let full = NotSubmitted::Full { retry_after: Duration::from_millis(1_500) };
    let (status, headers, body) = told(Fault::from(full).into_response()).await;
    assert_eq!((status, headers["retry-after"].to_str().unwrap()), (429, "2"));
    assert_eq!(
        (headers["retry-after-ms"].to_str().unwrap(), headers["x-should-retry"].to_str().unwrap()),
        ("1500", "true")
    );
    assert_eq!((&body["error"]["code"], &body["error"]["type"]), (&"queue_full".into(), &"rate_limit_error".into()));
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.ends_with("in 2 s"), "as the header says: {message}");

    let complaint = Complaint {
        message: "too long".into(),
        kind: "invalid_request_error".into(),
        param: Some("messages".into()),
        code: Some("context_length_exceeded".into()),
    };
    let failure = Failure {
        code: "bad_request".into(),
        message: "the provider refused the request".into(),
        status: 400,
        complaint: Some(complaint),
        retry_after: None,
    };
    let (status, headers, body) = told(Fault::from(failure).into_response()).await;
    assert_eq!((status, headers["x-should-retry"].to_str().unwrap()), (400, "false"));
    assert_eq!(body["error"]["code"], "context_length_exceeded", "the provider's own words");

    let rejection = Rejection::invalid("payload.max_tokens", "must be a whole number");
    let (status, _, body) = told(Fault::from(rejection).into_response()).await;
    assert_eq!((status, &body["error"]["param"]), (400, &"max_tokens".into()));
    assert_eq!(body["error"]["message"], "max_tokens: must be a whole number");
    let rejection = Rejection::invalid("payload", "has no messages; send some");
    let (_, _, body) = told(Fault::from(rejection).into_response()).await;
    assert_eq!(
        (&body["error"]["param"], &body["error"]["message"]),
        (&"body".into(), &"the body has no messages; send some".into())
    );
    let closed = Rejection::new("tenant_closed", "the tenant is closed");
    assert_eq!(told(Fault::from(closed).into_response()).await.0, 403);
}

#[test]
fn a_deadline_that_passed_says_what_the_last_attempt_came_to() {
    let failure = Failure {
        code: "rate_limited".into(),
        message: "openai: rate_limited (429)".into(),
        status: 429,
        complaint: None,
        retry_after: None,
    };
    let told = |last: Option<Failure>| fault(How::Expired(last.map(Box::new)));
    let after = told(Some(failure));
    assert_eq!((after.status.as_u16(), after.complaint.code.as_deref()), (504, Some("deadline_passed")));
    let part = "the last attempt failed: openai: rate_limited (429);";
    assert!(after.complaint.message.contains(part), "{}", after.complaint.message);
    assert!(!told(None).complaint.message.contains("attempt"), "there was none");
}

#[tokio::test]
async fn a_stream_is_events_and_its_mark() {
    assert_eq!(&event(b"{}")[..], b"data: {}\n\n");
    let body = in_events(b"{\"a\":1}").into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&body[..], b"data: {\"a\":1}\n\ndata: [DONE]\n\n");
}
