//! `GET /v1/outcomes/{id}`: what became of a command.

use super::access::{Access, Loopback};
use super::params::{self, Params};
use super::problem::{NOT_FOUND, Problem};
use super::{Services, answer};
use crate::domain::envelope::DEFAULT_SOURCE;
use crate::domain::id::command_id;
use axum::extract::Request;
use axum::response::Response;
use hyper::StatusCode;
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
    answer::write_outcome(&mut out, id, &stream, &outcome, None);
    Ok(answer::json(StatusCode::OK, out))
}
