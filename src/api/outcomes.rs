//! `GET /v1/outcomes/{id}` and `GET /v1/dead-letters`: what became of commands.

use super::access::{Access, Loopback};
use super::params::{self, Params};
use super::problem::{NOT_FOUND, Problem};
use super::resources::time;
use super::{Services, answer, cursor};
use crate::domain::envelope::DEFAULT_SOURCE;
use crate::domain::id::command_id;
use crate::ports::topic::DeadLetter;
use axum::extract::Request;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The id in the path is the command's UUID, or the text that it was sent with; then `source` tells by whom.
pub async fn get(services: &Services, loopback: Loopback, request: Request) -> Result<Response, Problem> {
    let tenant = Access::of(request.headers(), loopback)?.tenant()?;
    let mut params = Params::of(request.uri())?;
    let source = params.one("source")?;
    params.finish()?;
    let sent = params::segment(request.uri(), 2)?;
    // The system's own commands have ids that no producer's text is hashed to: those are asked for as they are.
    let id = match uuid::Uuid::parse_str(&sent) {
        Ok(id) => id,
        Err(_) => command_id(tenant, source.as_deref().unwrap_or(DEFAULT_SOURCE), &sent),
    };
    let Some((stream, outcome)) = services.query.outcome(tenant, id).await? else {
        let detail =
            "no command of this tenant with this id is decided; if it was accepted just now, ask again shortly";
        return Err(Problem { retry_after: Some(Duration::from_secs(1)), ..Problem::new(&NOT_FOUND, detail) });
    };
    let mut out = Vec::with_capacity(answer::ANSWER_BYTES);
    answer::write_outcome(&mut out, id, &stream, &outcome);
    Ok(answer::json(StatusCode::OK, out))
}

pub async fn dead_letters(services: &Services, loopback: Loopback, request: Request) -> Result<Response, Problem> {
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

fn render(number: u64, letter: &DeadLetter) -> Value {
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
        "headers": headers,
        "bytes_base64": STANDARD.encode(&letter.bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
            headers: vec![("ce_id".into(), "7".into())],
            bytes: vec![0xff, 0x00],
        };
        let expected = json!({
            "number": 9, "topic": "agentverse.agent.commands.v1", "partition": 3, "offset": 4, "command_id": null,
            "subject": null, "code": "unreadable", "cause": "not a command", "buried_at": "2026-01-01T00:00:00.000000Z",
            "headers": { "ce_id": "7" }, "bytes_base64": "/wA=",
        });
        assert_eq!(render(9, &letter), expected);
    }
}
