//! State and event to state. Whatever the order of the events, nothing here fails.

use super::*;

pub fn evolve(state: &mut State, event: &Event) {
    match event {
        Event::SkillDefined(event) => {
            state.status = Status::Active;
            state.definition.clone_from(event);
            state.reason.clear();
        }
        Event::SkillRetired(event) => {
            state.status = Status::Retired;
            state.reason.clone_from(&event.reason);
        }
    }
}
