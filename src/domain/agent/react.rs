//! What an agent's end does to its couplings: they record a dependency edge on the agent's stream.

use super::*;
use crate::domain::AnyCommand;
use crate::domain::common::TEXT_BYTES_MAX;
use crate::domain::coupling::{self, EndCoupling};

pub fn react(event: &Event, _state: &State, meta: &EventMeta, _world: &World) -> Vec<Reaction> {
    let Event::AgentDecommissioned(event) = event else { return Vec::new() };
    let mut reason = "agent decommissioned".to_owned();
    if !event.reason.is_empty() {
        reason.push_str(": ");
        reason.push_str(&event.reason);
        // A follow-up command must not be refused for its length.
        reason.truncate(reason.floor_char_boundary(TEXT_BYTES_MAX));
    }
    vec![Reaction::FanOut {
        name: "end_with_agent",
        from: meta.stream,
        to: Aggregate::Coupling,
        command: AnyCommand::from(coupling::Command::EndCoupling(EndCoupling { reason })),
    }]
}
