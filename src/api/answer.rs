//! What a command is answered with, written straight into one buffer: on the hot path a batch of 500 answers is 80 KB
//! of little but UUIDs.

use crate::domain::{Rejection, StreamId};
use crate::flow::gateway::Wait;
use crate::flow::outcome::{Outcome, OutcomeKind};
use crate::flow::receive::Refused;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use uuid::Uuid;

/// Bytes of an answer without a reason, with some room.
pub const ANSWER_BYTES: usize = 224;

/// Appends the answer for a command that was taken; with how far it is, where more was waited for.
pub fn write_outcome(out: &mut Vec<u8>, command_id: Uuid, stream: &StreamId, outcome: &Outcome, short: Option<Wait>) {
    out.extend_from_slice(b"{\"id\":\"");
    write_uuid(out, command_id);
    out.extend_from_slice(b"\",\"subject\":\"");
    write_uuid(out, stream.id);
    out.extend_from_slice(b"\",\"outcome\":\"");
    out.extend_from_slice(outcome_name(outcome.kind).as_bytes());
    out.extend_from_slice(b"\",\"version\":");
    write_json(out, &outcome.version);
    out.extend_from_slice(b",\"reason\":");
    write_json(out, &outcome.reason);
    if let Some(reached) = short {
        out.extend_from_slice(b",\"reached\":\"");
        out.extend_from_slice(reached.name().as_bytes());
        out.push(b'"');
    }
    out.push(b'}');
}

/// Appends the answer for a command of a batch that could not be taken.
pub fn write_refused(out: &mut Vec<u8>, refused: &Refused) {
    out.extend_from_slice(b"{\"id\":");
    write_json(out, &refused.id);
    out.extend_from_slice(b",\"subject\":null,\"outcome\":\"malformed\",\"version\":null,\"reason\":");
    let problem = &refused.problem;
    write_json(out, &Rejection::new(problem.code.name(), problem.message.as_str()));
    out.push(b'}');
}

pub fn outcome_name(kind: OutcomeKind) -> &'static str {
    match kind {
        OutcomeKind::Accepted => "accepted",
        OutcomeKind::Applied => "applied",
        OutcomeKind::Refused => "refused",
        OutcomeKind::DeadLettered => "dead_lettered",
    }
}

/// A response of ready JSON.
pub fn json(status: StatusCode, body: impl Into<axum::body::Body>) -> Response {
    let mut response = (status, body.into()).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn write_uuid(out: &mut Vec<u8>, uuid: Uuid) {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    out.extend_from_slice(uuid.hyphenated().encode_lower(&mut text).as_bytes());
}

fn write_json(out: &mut Vec<u8>, value: &impl Serialize) {
    // Into memory, and of texts and numbers alone: there is nothing that could fail.
    let _ = serde_json::to_writer(out, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Aggregate, TenantId};
    use crate::flow::receive::{Code, Problem};

    fn written(outcome: &Outcome, short: Option<Wait>) -> String {
        let stream = StreamId::new(TenantId(Uuid::from_u128(1)), Aggregate::Agent, Uuid::from_u128(2));
        let mut out = Vec::new();
        write_outcome(&mut out, Uuid::from_u128(3), &stream, outcome, short);
        assert!(outcome.reason.is_some() || out.len() <= ANSWER_BYTES);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn answers_have_exactly_this_form() {
        let log = StreamId::new(TenantId::SHARED, Aggregate::Agent, Uuid::nil()).log(4);
        let mut outcome = Outcome { kind: OutcomeKind::Accepted, version: None, reason: None, log, position: 0 };
        assert_eq!(
            written(&outcome, Some(Wait::Accepted)),
            "{\"id\":\"00000000-0000-0000-0000-000000000003\",\"subject\":\"00000000-0000-0000-0000-000000000002\",\
             \"outcome\":\"accepted\",\"version\":null,\"reason\":null,\"reached\":\"accepted\"}"
        );
        outcome = Outcome { kind: OutcomeKind::DeadLettered, version: Some(u64::MAX), ..outcome };
        assert!(written(&outcome, Some(Wait::Searchable)).ends_with(",\"reached\":\"searchable\"}"));
        outcome.kind = OutcomeKind::Refused;
        outcome.reason = Some(Rejection::new("stale", "say \"when\"").with("version", 7));
        assert_eq!(
            written(&outcome, None),
            "{\"id\":\"00000000-0000-0000-0000-000000000003\",\"subject\":\"00000000-0000-0000-0000-000000000002\",\
             \"outcome\":\"refused\",\"version\":18446744073709551615,\
             \"reason\":{\"code\":\"stale\",\"message\":\"say \\\"when\\\"\",\"details\":{\"version\":\"7\"}}}"
        );
    }

    #[test]
    fn a_malformed_sibling_is_answered_with_its_id_where_that_could_be_read() {
        for (id, json) in [(Some("a\"b"), "\"a\\\"b\""), (None, "null")] {
            let problem = Problem::new(Code::Malformed, "no");
            let mut out = Vec::new();
            write_refused(&mut out, &Refused { id: id.map(str::to_owned), problem });
            let expected = format!(
                "{{\"id\":{json},\"subject\":null,\"outcome\":\"malformed\",\"version\":null,\
                 \"reason\":{{\"code\":\"malformed\",\"message\":\"no\",\"details\":{{}}}}}}"
            );
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
