//! `GET /v1/trace/{correlation id}`: everything that followed from one request, as a tree.

use super::access::{Access, Loopback};
use super::params::{Params, percent_decoded};
use super::problem::{INVALID_ID, NOT_FOUND, Problem};
use super::resources::time;
use super::{Services, answer};
use crate::domain::envelope::DEFAULT_SOURCE;
use crate::domain::id::command_id;
use crate::flow::outcome::OutcomeKind;
use crate::flow::query::{Trace, TraceEvent, TraceFound, TraceQuery};
use axum::extract::Request;
use axum::response::Response;
use hyper::{StatusCode, Uri};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

/// Before the correlation id in the path.
pub const PREFIX: &str = "/v1/trace/";

/// The correlation id is the text that commands were sent with; of a command that was sent without one its own id, which
/// is its UUID, or the text that it was sent with, and then `source` tells by whom.
pub async fn get(services: &Services, loopback: Loopback, request: Request) -> Result<Response, Problem> {
    let tenant = Access::of(request.headers(), loopback)?.tenant()?;
    let mut params = Params::of(request.uri())?;
    let source = params.one("source")?;
    params.finish()?;
    let correlation = correlation(request.uri())?;
    // The system's own commands have ids that no producer's text is hashed to: those are asked for as they are.
    let id = Uuid::parse_str(&correlation)
        .unwrap_or_else(|_| command_id(tenant, source.as_deref().unwrap_or(DEFAULT_SOURCE), &correlation));
    let ask = TraceQuery { tenant, correlation, command_id: id };
    let absent = |detail: String| Problem::new(&NOT_FOUND, detail);
    match services.query.trace(&ask).await? {
        TraceFound::Trace(trace) => Ok(answer::json(StatusCode::OK, shown(&ask.correlation, &trace).to_string())),
        TraceFound::Elsewhere(other) => Err(absent(format!(
            "this is the id of a command with the correlation {other:?}; ask for the trace of that"
        ))),
        TraceFound::Nothing => {
            let detail = "no command of this tenant with this correlation id, or this id, is decided and still kept; if it \
                          was accepted just now, ask again shortly";
            Err(Problem { retry_after: Some(Duration::from_secs(1)), ..absent(detail.into()) })
        }
    }
}

/// All that follows in the path: a correlation id may hold slashes.
fn correlation(uri: &Uri) -> Result<String, Problem> {
    let raw = uri.path().strip_prefix(PREFIX).unwrap_or_default();
    percent_decoded(raw).ok_or_else(|| Problem::new(&INVALID_ID, "the path is not URL-encoded UTF-8"))
}

fn shown(correlation: &str, trace: &Trace) -> Value {
    let commands = &trace.commands;
    json!({
        "correlation": correlation,
        "command_count": commands.len(),
        "event_count": commands.iter().map(|command| command.events.len()).sum::<usize>(),
        "refused_count": commands.iter().filter(|command| command.refusal.is_some()).count(),
        "truncated": trace.is_truncated,
        "roots": nodes(trace, &trace.roots),
    })
}

/// Commands with all below them. Calls itself, for a tree is only so deep ([`Trace`]).
fn nodes(trace: &Trace, places: &[usize]) -> Vec<Value> {
    places.iter().map(|place| node(trace, *place)).collect()
}

fn node(trace: &Trace, place: usize) -> Value {
    let command = &trace.commands[place];
    let envelope = &*command.envelope;
    let stream = envelope.stream;
    let outcome = if command.refusal.is_some() { OutcomeKind::Refused } else { OutcomeKind::Applied };
    json!({
        "command_id": envelope.command_id,
        "tenant": stream.tenant,
        "aggregate": stream.aggregate.name(),
        "subject": stream.id,
        "outcome": outcome.name(),
        "version": command.version,
        "reason": command.refusal,
        "recorded_at": time(command.recorded_at),
        "source": envelope.source,
        "actor": envelope.actor,
        "correlation": envelope.correlation,
        "causation": envelope.causation,
        "log": command.log.to_string(),
        "position": command.position,
        "events": command.events.iter().map(|it| event(trace, stream.aggregate.name(), it)).collect::<Vec<_>>(),
        "commands": nodes(trace, &command.commands),
    })
}

fn event(trace: &Trace, aggregate: &str, event: &TraceEvent) -> Value {
    json!({
        "type": format!("{aggregate}.{}", event.name),
        "event_id": event.event_id,
        "version": event.version,
        "position": event.position,
        "recorded_at": time(event.recorded_at),
        "commands": nodes(trace, &event.commands),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_correlation_id_is_all_that_follows_decoded() {
        for (path, expected) in [
            ("/v1/trace/a", "a"),
            ("/v1/trace/provision/0123?source=x", "provision/0123"),
            ("/v1/trace/provision%2F0123", "provision/0123"),
            ("/v1/trace/caf%C3%A9%20%3F", "café ?"),
        ] {
            assert_eq!(correlation(&path.parse().unwrap()), Ok(expected.to_owned()));
        }
        assert_eq!(correlation(&"/v1/trace/%ff".parse().unwrap()).unwrap_err().kind, &INVALID_ID);
    }
}
