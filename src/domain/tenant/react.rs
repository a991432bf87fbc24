//! What a tenant's fate does to its couplings: they record a dependency edge on the tenant's stream.

use super::*;
use crate::domain::AnyCommand;
use crate::domain::common::TEXT_BYTES_MAX;
use crate::domain::coupling::{self, EndCoupling, Hold, ResumeCoupling, SuspendCoupling};

pub fn react(event: &Event, _state: &State, meta: &EventMeta, _world: &World) -> Vec<Reaction> {
    let (name, command) = match event {
        Event::TenantSuspended(event) => {
            let reason = because("tenant suspended", &event.reason);
            let command = SuspendCoupling { hold: Hold::Tenant, reason };
            ("suspend_with_tenant", coupling::Command::SuspendCoupling(command))
        }
        Event::TenantResumed(_) => {
            ("resume_with_tenant", coupling::Command::ResumeCoupling(ResumeCoupling { hold: Hold::Tenant }))
        }
        Event::TenantClosed(event) => {
            let command = EndCoupling { reason: because("tenant closed", &event.reason) };
            ("end_with_tenant", coupling::Command::EndCoupling(command))
        }
        _ => return Vec::new(),
    };
    vec![Reaction::FanOut { name, from: meta.stream, to: Aggregate::Coupling, command: AnyCommand::from(command) }]
}

/// The cause with its reason, cut to what a reason may have: a follow-up command must not be refused for its length.
fn because(what: &str, reason: &str) -> String {
    if reason.is_empty() {
        return what.to_owned();
    }
    let mut text = format!("{what}: {reason}");
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}
