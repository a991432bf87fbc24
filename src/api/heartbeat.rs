//! `POST /v1/agents/{id}/heartbeat`: renews an agent's lease.

use super::access::{Access, Loopback};
use super::params::Params;
use super::problem::{DECOMMISSIONED, Problem, UNAVAILABLE};
use super::{Services, answer, params};
use crate::domain::{Aggregate, StreamId};
use crate::flow::heartbeat;
use axum::extract::Request;
use axum::response::Response;
use hyper::StatusCode;
use serde_json::json;
use std::time::Duration;

pub async fn post(services: &Services, loopback: Loopback, request: Request) -> Result<Response, Problem> {
    let tenant = Access::of(request.headers(), loopback)?.tenant()?;
    Params::of(request.uri())?.finish()?;
    let id = params::id(request.uri())?;
    let beaten = services.heartbeats.beat(StreamId::new(tenant, Aggregate::Agent, id)).await;
    let beat = beaten.map_err(|error| match error {
        heartbeat::Error::UnknownAgent => Access::not_found(Aggregate::Agent, id),
        heartbeat::Error::Decommissioned => {
            Problem::new(&DECOMMISSIONED, "a decommissioned agent has no health; stop its heartbeats")
        }
        heartbeat::Error::Unavailable(cause) => {
            tracing::warn!(cause, "a heartbeat could not be taken");
            let problem = Problem::new(&UNAVAILABLE, "the heartbeat was not taken; send it again shortly");
            Problem { retry_after: Some(Duration::from_secs(1)), ..problem }
        }
    })?;
    let lease_ms = beat.lease.as_millis() as u64;
    let body = json!({ "id": id, "health": beat.health.name(), "lease_ms": lease_ms });
    Ok(answer::json(StatusCode::OK, body.to_string()))
}
