//! `/v1/dead-letters`: the commands that ended without being decided, and sending one of them again.

use super::access::{Access, Loopback};
use super::params::{self, Params};
use super::problem::{INVALID_ID, NOT_FOUND, Problem, REDRIVEN_ALREADY, UNFIT_TO_REDRIVE};
use super::resources::time;
use super::{Services, answer, cursor};
use crate::ports::topic::{Buried, RedriveError};
use axum::extract::Request;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::{StatusCode, Uri};
use serde_json::{Map, Value, json};

/// `GET /v1/dead-letters`
pub async fn list(services: &Services, loopback: Loopback, request: Request) -> Result<Response, Problem> {
    let tenant = Access::of(request.headers(), loopback)?.tenant()?;
    let mut params = Params::of(request.uri())?;
    let limit = params.limit()?;
    let after = params.one("cursor")?;
    params.finish()?;
    let name = tenant.to_string();
    let parts = ["dead-letters", name.as_str()];
    let from = after.map(|text| cursor::decode::<8>(&parts, &text)).transpose()?.map_or(0, u64::from_be_bytes);
    let page = services.query.dead_letters(tenant, from, limit).await?;
    let next = page.next.map(|number| cursor::encode(&parts, &number.to_be_bytes()));
    let items: Vec<Value> = page.letters.iter().map(|(number, letter)| render(*number, letter)).collect();
    Ok(answer::json(StatusCode::OK, json!({ "items": items, "next_cursor": next }).to_string()))
}

/// `GET /v1/dead-letters/{id}`
pub async fn get(services: &Services, loopback: Loopback, request: Request) -> Result<Response, Problem> {
    let tenant = Access::of(request.headers(), loopback)?.tenant()?;
    Params::of(request.uri())?.finish()?;
    let number = number(request.uri())?;
    let found = services.query.dead_letter(tenant, number).await?;
    let buried = found.ok_or_else(|| Problem::from(RedriveError::Unknown(number)))?;
    Ok(answer::json(StatusCode::OK, render(number, &buried).to_string()))
}

/// `POST /v1/dead-letters/{id}/redrive`
pub async fn redrive(services: &Services, loopback: Loopback, request: Request) -> Result<Response, Problem> {
    let tenant = Access::of(request.headers(), loopback)?.tenant()?;
    let mut params = Params::of(request.uri())?;
    let forced = params.choice("force", &[("true", true), ("false", false)])?.unwrap_or(false);
    params.finish()?;
    let number = number(request.uri())?;
    let redriven = services.query.redrive(tenant, number, forced).await?;
    let log = redriven.log;
    tracing::info!(number, %log, attempts = redriven.attempts, forced, "a dead letter was sent again");
    let body = json!({ "number": number, "partition": log.partition, "attempts": redriven.attempts });
    Ok(answer::json(StatusCode::ACCEPTED, body.to_string()))
}

fn number(uri: &Uri) -> Result<u64, Problem> {
    let unreadable = |_| Problem::new(&INVALID_ID, "a dead letter is named by its number; the list shows it");
    params::segment(uri, 2)?.parse().map_err(unreadable)
}

impl From<RedriveError> for Problem {
    fn from(error: RedriveError) -> Self {
        let kind = match error {
            RedriveError::Unknown(number) => {
                let detail = format!("there is no dead letter {number} of this tenant; the list shows which there are");
                return Self::new(&NOT_FOUND, detail);
            }
            RedriveError::Refused { .. } => &UNFIT_TO_REDRIVE,
            RedriveError::Again { .. } => &REDRIVEN_ALREADY,
            RedriveError::Topic(error) => return error.into(),
        };
        Self::new(kind, error.to_string())
    }
}

fn render(number: u64, buried: &Buried) -> Value {
    let Buried { letter, redriven } = buried;
    let headers: Map<String, Value> = letter.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({
        "number": number,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "command_id": letter.command_id,
        "subject": letter.stream.map(|stream| stream.id),
        "code": letter.code,
        "cause": letter.cause,
        "buried_at": time(letter.buried_at),
        "attempts": letter.attempts,
        "redriven": redriven,
        "headers": headers,
        "bytes_base64": STANDARD.encode(&letter.bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::topic::DeadLetter;

    #[test]
    fn a_dead_letter_keeps_its_bytes_and_says_why() {
        let letter = DeadLetter {
            topic: "agentverse.agent.commands.v1".into(),
            partition: 3,
            offset: 4,
            command_id: None,
            stream: None,
            code: "unreadable".into(),
            cause: "not a command".into(),
            buried_at: 1_767_225_600_000_000,
            attempts: 2,
            headers: vec![("ce_id".into(), "7".into())],
            bytes: vec![0xff, 0x00],
        };
        let expected = json!({
            "number": 9, "topic": "agentverse.agent.commands.v1", "partition": 3, "offset": 4, "command_id": null,
            "subject": null, "code": "unreadable", "cause": "not a command", "buried_at": "2026-01-01T00:00:00.000000Z",
            "attempts": 2, "redriven": 1, "headers": { "ce_id": "7" }, "bytes_base64": "/wA=",
        });
        assert_eq!(render(9, &Buried { letter, redriven: 1 }), expected);
    }

    #[test]
    fn what_is_not_sent_again_is_a_problem_of_its_own_kind() {
        let refused = RedriveError::Refused { number: 3, why: "it has no bytes" };
        let cases = [
            (RedriveError::Unknown(3), "not_found", 404),
            (refused, "unfit_to_redrive", 409),
            (RedriveError::Again { number: 3, redriven: 1 }, "redriven_already", 409),
        ];
        for (error, code, status) in cases {
            let problem = Problem::from(error);
            assert_eq!((problem.kind.code, problem.kind.status.as_u16()), (code, status));
            assert!(problem.detail.contains("dead letter 3"), "{}", problem.detail);
        }
    }
}
