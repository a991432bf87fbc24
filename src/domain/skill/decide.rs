//! State and command to events, or a rejection.

use super::*;
use crate::domain::checks::{check_tenant, tenant_lookup};
use crate::domain::common::{TEXT_BYTES_MAX, check_length, check_name, check_not_negative};
use crate::domain::{StreamId, TenantId};
use std::collections::BTreeSet;
use uuid::Uuid;

/// The stream of the skill of this name: `uuid5(tenant, "skill/" ‖ lower-cased name)`.
pub fn stream_for(tenant: TenantId, name: &str) -> StreamId {
    let id = Uuid::new_v5(&tenant.0, format!("skill/{}", name.to_lowercase()).as_bytes());
    StreamId::new(tenant, Aggregate::Skill, id)
}

pub fn lookups(envelope: &Envelope) -> Vec<Lookup> {
    tenant_lookup(envelope.tenant())
}

pub fn decide(state: &State, command: &Command, context: &Context<'_>) -> Result<Decision<Event>, Rejection> {
    check_tenant(context)?;
    match command {
        Command::DefineSkill(command) => define(state, command, context.envelope.stream),
        Command::RetireSkill(command) => retire(state, command),
    }
}

fn define(state: &State, command: &DefineSkill, stream: StreamId) -> Result<Decision<Event>, Rejection> {
    check(command)?;
    let wanted = SkillDefined {
        name: command.name.clone(),
        caption: command.caption.clone(),
        description: command.description.clone(),
        ancestors: command.ancestors.clone(),
        uid: command.uid,
    };
    if state.status == Status::Active && state.definition == wanted {
        return Ok(Decision::unchanged());
    }
    let found_by_name = state.status != Status::Absent && stream == stream_for(stream.tenant, &state.definition.name);
    if found_by_name && stream != stream_for(stream.tenant, &wanted.name) {
        let why = "a skill that is found by its name keeps it; define another one under the new name";
        return Err(Rejection::invalid("name", why).with("name", &state.definition.name));
    }
    Ok(Decision::event(Event::SkillDefined(wanted)))
}

fn check(command: &DefineSkill) -> Result<(), Rejection> {
    check_name("name", &command.name)?;
    check_length("caption", &command.caption, TEXT_BYTES_MAX)?;
    check_length("description", &command.description, TEXT_BYTES_MAX)?;
    check_not_negative("uid", command.uid)?;
    if command.ancestors.len() > ANCESTORS_MAX {
        let why = format!("has {} entries, at most {ANCESTORS_MAX} are allowed", command.ancestors.len());
        return Err(Rejection::invalid("ancestors", why));
    }
    let mut names = BTreeSet::from([command.name.as_str()]);
    for ancestor in &command.ancestors {
        check_name("ancestors", ancestor)?;
        if !names.insert(ancestor) {
            let why = "has a name twice, or the skill's own; give each skill above it once, nearest first";
            return Err(Rejection::invalid("ancestors", why).with("ancestor", ancestor));
        }
    }
    Ok(())
}

fn retire(state: &State, command: &RetireSkill) -> Result<Decision<Event>, Rejection> {
    check_length("reason", &command.reason, TEXT_BYTES_MAX)?;
    match state.status {
        Status::Absent => Err(Rejection::not_found("skill")),
        Status::Retired => Ok(Decision::unchanged()),
        Status::Active => Ok(Decision::event(Event::SkillRetired(SkillRetired { reason: command.reason.clone() }))),
    }
}
