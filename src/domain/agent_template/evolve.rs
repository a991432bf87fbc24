//! State and event to state. Whatever the order of the events, nothing here fails.

use super::*;

pub fn evolve(state: &mut State, event: &Event) {
    match event {
        Event::AgentTemplateDefined(event) => {
            state.status = Status::Active;
            state.definition.clone_from(&event.definition);
            state.reason.clear();
        }
        Event::AgentTemplateRetired(event) => {
            state.status = Status::Retired;
            state.reason.clone_from(&event.reason);
        }
    }
}

/// Never: a retired template can be defined again.
pub fn is_terminal(_state: &State) -> bool {
    false
}
