//! State and command to events, or a rejection.

use super::*;
use crate::domain::common::{
    INSTRUCTIONS_BYTES_MAX, LABELS_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX, check_labels, check_length, check_name,
};
use crate::domain::tenant::standing;
use crate::domain::{StreamId, TenantId};
use std::collections::BTreeSet;
use uuid::Uuid;

/// The stream of the template of this name: `uuid5(tenant, "agent_template/" ‖ lower-cased name)`.
pub fn stream_for(tenant: TenantId, name: &str) -> StreamId {
    let id = Uuid::new_v5(&tenant.0, format!("agent_template/{}", name.to_lowercase()).as_bytes());
    StreamId::new(tenant, Aggregate::AgentTemplate, id)
}

pub fn lookups(_state: &State, _command: &Command, envelope: &Envelope) -> Vec<Lookup> {
    standing::lookup(envelope.tenant()).into_iter().collect()
}

pub fn decide(state: &State, command: &Command, context: &Context<'_>) -> Result<Decision<Event>, Rejection> {
    standing::check_open(context.envelope.tenant(), context.world)?;
    match command {
        Command::DefineAgentTemplate(command) => define(state, &command.definition, context.envelope.stream),
        Command::RetireAgentTemplate(command) => retire(state, command),
    }
}

fn define(state: &State, definition: &Definition, stream: StreamId) -> Result<Decision<Event>, Rejection> {
    check(definition)?;
    if state.status == Status::Active && state.definition == *definition {
        return Ok(Decision::unchanged());
    }
    let found_by_name = state.status != Status::Absent && stream == stream_for(stream.tenant, &state.definition.name);
    if found_by_name && stream != stream_for(stream.tenant, &definition.name) {
        let why = "a template that is found by its name keeps it; define another one under the new name";
        return Err(Rejection::invalid("definition.name", why).with("name", &state.definition.name));
    }
    Ok(Decision::event(Event::AgentTemplateDefined(AgentTemplateDefined { definition: definition.clone() })))
}

fn check(definition: &Definition) -> Result<(), Rejection> {
    check_name("definition.name", &definition.name)?;
    if Uuid::parse_str(&definition.name).is_ok() {
        return Err(Rejection::invalid(
            "definition.name",
            "reads as a UUID, so it could not be found by name; choose another",
        ));
    }
    check_name("definition.category", &definition.category)?;
    check_length("definition.role", &definition.role, NAME_BYTES_MAX)?;
    check_length("definition.purpose", &definition.purpose, TEXT_BYTES_MAX)?;
    check_length("definition.instructions", &definition.instructions, INSTRUCTIONS_BYTES_MAX)?;
    check_labels("definition.skills", &definition.skills)?;
    check_labels("definition.domains", &definition.domains)?;
    definition.requirements.check()?;
    check_parameters(&definition.parameters)?;
    render::check_declared(&definition.instructions, &definition.parameters)
}

fn check_parameters(parameters: &[Parameter]) -> Result<(), Rejection> {
    const FIELD: &str = "definition.parameters";
    if parameters.len() > LABELS_MAX {
        let why = format!("has {} entries, at most {LABELS_MAX} are allowed", parameters.len());
        return Err(Rejection::invalid(FIELD, why));
    }
    let mut names = BTreeSet::new();
    for parameter in parameters {
        check_length(FIELD, &parameter.name, NAME_BYTES_MAX)?;
        if !render::is_parameter_name(&parameter.name) {
            let why = "a name is a letter or _, then letters, digits and _";
            return Err(Rejection::invalid(FIELD, why).with("parameter", &parameter.name));
        }
        if !names.insert(parameter.name.as_str()) {
            return Err(Rejection::invalid(FIELD, "declares a name twice").with("parameter", &parameter.name));
        }
        check_length(FIELD, &parameter.description, TEXT_BYTES_MAX)?;
        check_length(FIELD, parameter.default_value.as_deref().unwrap_or_default(), TEXT_BYTES_MAX)?;
    }
    Ok(())
}

fn retire(state: &State, command: &RetireAgentTemplate) -> Result<Decision<Event>, Rejection> {
    check_length("reason", &command.reason, TEXT_BYTES_MAX)?;
    match state.status {
        Status::Absent => Err(Rejection::not_found("agent template")),
        Status::Retired => Ok(Decision::unchanged()),
        Status::Active => {
            Ok(Decision::event(Event::AgentTemplateRetired(AgentTemplateRetired { reason: command.reason.clone() })))
        }
    }
}
