//! `POST /v1/commands`: commands as CloudEvents, one or a batch, structured or binary.

use super::access::{Access, Loopback};
use super::params::percent_decoded;
use super::problem::{INVALID_ATTRIBUTE, NOT_UTF8, Problem, UNAVAILABLE, UNSUPPORTED_MEDIA_TYPE};
use super::{Services, answer, body};
use crate::domain::StreamId;
use crate::domain::record::ATTRIBUTE_BYTES_MAX;
use crate::flow::gateway::{Answered, Submission, Wait};
use crate::flow::outcome::OutcomeKind;
use crate::flow::receive::{Attributes, Data, Item, Media, Received, Receiver, Refused, Shape, media};
use axum::extract::Request;
use axum::response::Response;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use hyper::{StatusCode, header};
use std::borrow::Cow;
use std::time::Duration;
use uuid::Uuid;

/// Stands for the missing id of a command.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Prefix of the headers that carry a CloudEvent's attributes.
const ATTRIBUTE_PREFIX: &str = "ce-";

/// How a request carries its commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Structured(Shape),
    Binary,
}

pub async fn post(services: &Services, loopback: Loopback, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let access = Access::of(&head.headers, loopback)?;
    let (wait, timeout) = services.wait_of(&head.uri, Wait::Accepted)?;
    let mode = mode(&head.headers)?;
    let body = body::read(&head.headers, body, &services.settings).await?;
    match receive(services, &access, &head.headers, mode, &body)? {
        Received::One(item) => one(services, *item, wait, timeout).await,
        Received::Batch(items) => batch(services, items, wait, timeout).await,
    }
}

fn receive(
    services: &Services,
    access: &Access,
    headers: &HeaderMap,
    mode: Mode,
    body: &[u8],
) -> Result<Received, Problem> {
    let receiver = receiver(services, access, headers)?;
    match mode {
        Mode::Structured(shape) => Ok(receiver.structured(body, shape)?),
        Mode::Binary => {
            let data = Data::new(text(headers, &CONTENT_TYPE)?, body)?;
            Ok(Received::One(Box::new(receiver.command(attributes(headers)?, data))))
        }
    }
}

/// The reader of a request's commands.
///
/// # Errors
/// When a header that it needs cannot be read.
pub fn receiver<'a>(
    services: &'a Services,
    access: &'a Access,
    headers: &'a HeaderMap,
) -> Result<Receiver<'a>, Problem> {
    let idempotency_key = text(headers, &IDEMPOTENCY_KEY)?;
    if idempotency_key.is_some_and(|key| key.is_empty() || key.len() > ATTRIBUTE_BYTES_MAX) {
        let detail = format!("Idempotency-Key must have 1 to {ATTRIBUTE_BYTES_MAX} bytes");
        return Err(Problem::new(&INVALID_ATTRIBUTE, detail));
    }
    Ok(Receiver {
        admission: access,
        generate: &*services.ids,
        idempotency_key,
        traceparent: text(headers, &HeaderName::from_static("traceparent"))?
            .filter(|trace| trace.len() <= ATTRIBUTE_BYTES_MAX),
        commands_max: services.settings.commands_max,
    })
}

fn mode(headers: &HeaderMap) -> Result<Mode, Problem> {
    let content_type = text(headers, &CONTENT_TYPE)?;
    match content_type.map(media) {
        Some(Media::CloudEvent) => Ok(Mode::Structured(Shape::One)),
        Some(Media::CloudEventBatch) => Ok(Mode::Structured(Shape::Batch)),
        Some(Media::Json | Media::Avro) if headers.contains_key("ce-type") => Ok(Mode::Binary),
        Some(Media::Json) => Ok(Mode::Structured(Shape::Either)),
        Some(Media::Avro) => Err(Problem::new(
            &INVALID_ATTRIBUTE,
            "an Avro body needs its attributes in headers; name the command in ce-type",
        )),
        Some(Media::Other) | None => Err(unsupported()),
    }
}

/// A form, and a request without a content type, is what a foreign web page can make a browser send here; refusing them
/// keeps it out, and tells a user of `curl -d` what is missing.
pub fn unsupported() -> Problem {
    Problem::new(
        &UNSUPPORTED_MEDIA_TYPE,
        "set the content type: application/json (curl: -H 'content-type: application/json'), \
         application/cloudevents+json, application/cloudevents-batch+json, or application/avro with ce- headers",
    )
}

/// The attributes of a command in `ce-` headers.
///
/// # Errors
/// When one is not UTF-8, or has no such value.
pub fn attributes(headers: &HeaderMap) -> Result<Attributes<'_>, Problem> {
    let mut attributes = Attributes::default();
    for (name, value) in headers {
        let Some(attribute) = name.as_str().strip_prefix(ATTRIBUTE_PREFIX) else { continue };
        let text = utf8(name, value)?;
        let text = if text.contains('%') {
            Cow::Owned(percent_decoded(text).ok_or_else(|| not_utf8(name))?)
        } else {
            Cow::Borrowed(text)
        };
        attributes.set(attribute, text)?;
    }
    Ok(attributes)
}

/// The text of a header.
///
/// # Errors
/// When it is not UTF-8.
pub fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    headers.get(name).map(|value| utf8(name, value)).transpose()
}

fn utf8<'a>(name: &HeaderName, value: &'a HeaderValue) -> Result<&'a str, Problem> {
    std::str::from_utf8(value.as_bytes()).map_err(|_| not_utf8(name))
}

fn not_utf8(name: &HeaderName) -> Problem {
    Problem::new(&NOT_UTF8, format!("the header {name} is not UTF-8; encode other bytes as %XX"))
}

async fn one(services: &Services, item: Item, wait: Wait, timeout: Duration) -> Result<Response, Problem> {
    let submission = item.map_err(|refused| refused.problem)?;
    let (command_id, _, outcome, mut response) = submit_one(services, submission, wait, timeout).await?;
    if outcome == OutcomeKind::Accepted
        && let Ok(location) = HeaderValue::try_from(format!("/v1/outcomes/{command_id}"))
    {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// Hands one command to the gateway and makes the answer.
///
/// # Errors
/// When the gateway does not take it.
pub async fn submit_one(
    services: &Services,
    submission: Submission,
    wait: Wait,
    timeout: Duration,
) -> Result<(Uuid, StreamId, OutcomeKind, Response), Problem> {
    let (command_id, stream) = (submission.envelope.command_id, submission.envelope.stream);
    let answered = services.gateway.answered(vec![submission], wait, timeout).await?;
    let Answered { outcome, short } = answered.first().ok_or_else(unanswered)?;
    let mut out = Vec::with_capacity(answer::ANSWER_BYTES);
    answer::write_outcome(&mut out, command_id, &stream, outcome, *short);
    let status = if outcome.kind == OutcomeKind::Accepted { StatusCode::ACCEPTED } else { StatusCode::OK };
    let mut response = answer::json(status, out);
    // An outcome is of this moment and this caller's.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok((command_id, stream, outcome.kind, response))
}

async fn batch(services: &Services, items: Vec<Item>, wait: Wait, timeout: Duration) -> Result<Response, Problem> {
    let mut taken = Vec::with_capacity(items.len());
    let slots: Vec<Slot> = items
        .into_iter()
        .map(|item| {
            item.map(|submission| {
                let slot = (submission.envelope.command_id, submission.envelope.stream);
                taken.push(submission);
                slot
            })
        })
        .collect();
    let answered = match taken.is_empty() {
        true => Vec::new(),
        false => services.gateway.answered(taken, wait, timeout).await?,
    };
    let (status, out) = batch_answer(&slots, &answered)?;
    Ok(answer::json(status, out))
}

/// A command of a batch as it is answered: what it is, or why it was not taken.
type Slot = Result<(Uuid, StreamId), Refused>;

/// The answer of a batch: 400 when nothing of it could be taken, 202 while anything is only accepted, else 200.
fn batch_answer(slots: &[Slot], answered: &[Answered]) -> Result<(StatusCode, Vec<u8>), Problem> {
    let mut out = Vec::with_capacity(slots.len() * answer::ANSWER_BYTES + 16);
    out.extend_from_slice(b"{\"items\":[");
    let mut answers_left = answered.iter();
    for (index, slot) in slots.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        match slot {
            Ok((command_id, stream)) => {
                let Answered { outcome, short } = answers_left.next().ok_or_else(unanswered)?;
                answer::write_outcome(&mut out, *command_id, stream, outcome, *short);
            }
            Err(refused) => answer::write_refused(&mut out, refused),
        }
    }
    out.extend_from_slice(b"]}");
    let status = if answered.is_empty() && !slots.is_empty() {
        StatusCode::BAD_REQUEST
    } else if answered.iter().any(|answered| answered.outcome.kind == OutcomeKind::Accepted) {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    Ok((status, out))
}

fn unanswered() -> Problem {
    Problem::new(&UNAVAILABLE, "a command was left without an answer; ask for its outcome, or send it again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Aggregate, TenantId};
    use crate::flow::outcome::Outcome;
    use crate::flow::receive::{Code, Problem as Unreceived};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn content_type_and_ce_type_choose_the_mode() {
        let json = ("content-type", "application/json; charset=utf-8");
        assert_eq!(mode(&headers(&[json])), Ok(Mode::Structured(Shape::Either)));
        assert_eq!(mode(&headers(&[json, ("ce-type", "agent.IdleAgent")])), Ok(Mode::Binary));
        assert_eq!(
            mode(&headers(&[("content-type", "Application/CloudEvents-Batch+JSON")])),
            Ok(Mode::Structured(Shape::Batch))
        );
        for bad in
            [&[][..], &[("content-type", "text/plain")], &[("content-type", "application/x-www-form-urlencoded")]]
        {
            assert_eq!(mode(&headers(bad)).map_err(|problem| problem.kind), Err(&UNSUPPORTED_MEDIA_TYPE));
        }
    }

    #[test]
    fn attributes_come_from_ce_headers_percent_decoded() {
        let headers =
            headers(&[("ce-actor", "Zo%C3%AB"), ("ce-expectedversion", "4"), ("x-id", "9"), ("ce-other", "x")]);
        let read = attributes(&headers).unwrap();
        let expected = Attributes { actor: Some("Zoë".into()), expectedversion: Some(4), ..Attributes::default() };
        assert_eq!(read, expected);
        let mut bad = HeaderMap::new();
        bad.insert("ce-actor", HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(attributes(&bad).map_err(|problem| problem.kind), Err(&NOT_UTF8));
        bad.insert("ce-actor", HeaderValue::from_static("%ff"));
        assert_eq!(attributes(&bad).map_err(|problem| problem.kind), Err(&NOT_UTF8));
    }

    #[test]
    fn a_batch_is_answered_in_its_order_and_its_status_tells_how_far_it_is() {
        let stream = StreamId::new(TenantId(Uuid::from_u128(1)), Aggregate::Agent, Uuid::from_u128(2));
        let problem = Unreceived::new(Code::UnknownType, "no");
        let bad: Slot = Err(Refused { id: Some("x".into()), problem });
        let good: Slot = Ok((Uuid::from_u128(3), stream));
        let outcome = |kind| Answered {
            outcome: Outcome { kind, version: Some(1), reason: None, log: stream.log(1), position: 1 },
            short: Some(Wait::Applied),
        };
        let status = |slots: &[Slot], answered: &[Answered]| batch_answer(slots, answered).unwrap().0;
        assert_eq!(status(&[bad.clone(), good.clone()], &[outcome(OutcomeKind::Accepted)]), StatusCode::ACCEPTED);
        assert_eq!(status(&[bad.clone(), good.clone()], &[outcome(OutcomeKind::Refused)]), StatusCode::OK);
        assert_eq!(status(std::slice::from_ref(&bad), &[]), StatusCode::BAD_REQUEST);
        assert_eq!(status(&[], &[]), StatusCode::OK);
        let (_, out) = batch_answer(&[bad, good.clone()], &[outcome(OutcomeKind::Applied)]).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(json["items"][0]["outcome"], "malformed");
        assert_eq!(json["items"][0]["reason"]["code"], "unknown_type");
        assert_eq!((&json["items"][1]["version"], &json["items"][1]["reached"]), (&1.into(), &"applied".into()));
        assert!(batch_answer(&[good], &[]).is_err());
    }
}
