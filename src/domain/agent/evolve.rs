//! State and event to state. Whatever the order of the events, nothing here fails.

use super::*;

pub fn evolve(state: &mut State, event: &Event) {
    match event {
        Event::AgentRegistered(event) => {
            state.lifecycle = Lifecycle::Provisioning;
            state.profile.clone_from(&event.profile);
            state.revision = 1;
            state.template.clone_from(&event.template);
        }
        Event::AgentRevised(event) => {
            state.profile.clone_from(&event.profile);
            state.revision = event.revision;
        }
        Event::AgentActivated(_) => enter(state, Lifecycle::Active, ""),
        Event::AgentIdled(_) => enter(state, Lifecycle::Idle, ""),
        Event::AgentMaintained(event) => enter(state, Lifecycle::Maintenance, &event.reason),
        Event::AgentDecommissioned(event) => enter(state, Lifecycle::Decommissioned, &event.reason),
        Event::AgentHealthChanged(event) => state.health = event.after,
    }
}

fn enter(state: &mut State, lifecycle: Lifecycle, reason: &str) {
    state.lifecycle = lifecycle;
    state.reason.clear();
    state.reason.push_str(reason);
}

pub fn is_terminal(state: &State) -> bool {
    state.lifecycle == Lifecycle::Decommissioned
}
