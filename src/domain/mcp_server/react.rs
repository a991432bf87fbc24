//! What follows from a server's events elsewhere.

use super::*;
use crate::domain::checks::because;
use crate::domain::coupling::{self, EndCoupling};

/// A server that is gone ends what is coupled to it. A changed tool ends nothing: who depends on it decides.
pub fn react(event: &Event, _state: &State, meta: &EventMeta, _world: &World) -> Vec<Reaction> {
    let Event::McpServerDeregistered(event) = event else {
        return Vec::new();
    };
    let command = EndCoupling { reason: because("the MCP server was deregistered", &event.reason) };
    vec![Reaction::FanOut {
        name: "end_with_server",
        from: meta.stream,
        to: Aggregate::Coupling,
        command: coupling::Command::EndCoupling(command).into(),
    }]
}
