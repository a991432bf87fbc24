use super::*;

pub fn evolve(state: &mut State, event: &Event) {
    match event {
        Event::CouplingEstablished(event) => {
            state.status = Status::Active;
            state.request = event.request.clone();
            state.mcp_server_tenant_id = event.mcp_server_tenant_id;
            state.binding = Some(event.binding.clone());
            state.assessment = Some(event.assessment.clone());
            state.reasons.clear();
        }
        Event::CouplingRefused(event) => {
            state.status = Status::Refused;
            state.request = event.request.clone();
            state.reasons = event.reasons.clone();
            state.assessment = Some(event.assessment.clone());
        }
        Event::CouplingRebound(event) => {
            state.binding = Some(event.binding.clone());
            state.assessment = Some(event.assessment.clone());
            state.reason = event.reason.clone();
        }
        Event::CouplingSuspended(event) => {
            if let Err(place) = state.holds.binary_search(&event.hold) {
                state.holds.insert(place, event.hold);
            }
            state.status = Status::Suspended;
            state.hold_reasons.insert(event.hold, event.reason.clone());
            state.reason = event.reason.clone();
            if event.hold == Hold::Provider {
                state.failed_search = event.assessment.clone();
            }
        }
        Event::CouplingResumed(event) => {
            state.holds.retain(|hold| *hold != event.hold);
            state.hold_reasons.remove(&event.hold);
            if event.hold == Hold::Provider {
                state.failed_search = None;
            }
            if state.holds.is_empty() {
                state.status = Status::Active;
            }
            // Of what still holds it; nothing where nothing does.
            state.reason = state.hold_reasons.values().next().cloned().unwrap_or_default();
        }
        Event::CouplingEnded(event) => {
            state.status = Status::Ended;
            state.reason = event.reason.clone();
            state.holds.clear();
            state.hold_reasons.clear();
        }
        // The request lives in its own stream.
        Event::CompletionRequested(_) => {}
    }
}

/// A refused coupling is not terminal: a new command may try again.
pub fn is_terminal(state: &State) -> bool {
    state.status == Status::Ended
}
