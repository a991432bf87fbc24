//! What a provider's commands lead to.

use super::check::{check_access, check_limit, checked_models};
use super::*;
use crate::domain::checks::{check_tenant, some_text, tenant_lookup};
use crate::domain::common::{TEXT_BYTES_MAX, check_length};
use std::collections::BTreeSet;

/// Most ids that one refusal names.
const IDS_NAMED_MAX: usize = 20;

pub fn lookups(_state: &State, command: &Command, envelope: &Envelope) -> Vec<Lookup> {
    if asks_the_tenant(command) { tenant_lookup(envelope.tenant()) } else { Vec::new() }
}

/// Taking a provider out and reporting how it is are right even when the tenant is suspended or closed.
fn asks_the_tenant(command: &Command) -> bool {
    match command {
        Command::RegisterLlmProvider(_)
        | Command::ReviseLlmProvider(_)
        | Command::PutModels(_)
        | Command::RetireModels(_)
        | Command::SetLlmProviderLimits(_) => true,
        Command::ReportLlmProviderHealth(_)
        | Command::DeregisterLlmProvider(_)
        | Command::ReportModelStatistics(_)
        | Command::ReportModelHealth(_) => false,
    }
}

pub fn decide(state: &State, command: &Command, context: &Context<'_>) -> Result<Decision<Event>, Rejection> {
    if asks_the_tenant(command) {
        check_tenant(context)?;
    }
    match command {
        Command::RegisterLlmProvider(command) => register(state, command),
        Command::ReviseLlmProvider(command) => revise(state, command),
        Command::PutModels(command) => put_models(state, command),
        Command::RetireModels(command) => retire_models(state, command),
        Command::SetLlmProviderLimits(command) => set_limits(state, command),
        Command::ReportLlmProviderHealth(command) => report_health(state, command),
        Command::DeregisterLlmProvider(command) => deregister(state, command),
        Command::ReportModelStatistics(command) => measured::report_statistics(state, command),
        Command::ReportModelHealth(command) => measured::report_model_health(state, command),
    }
}

/// An identical registration changes nothing; one that gives no models or no limits says nothing about them.
fn register(state: &State, command: &RegisterLlmProvider) -> Result<Decision<Event>, Rejection> {
    if state.status == Status::Deregistered {
        return Err(final_state("registered"));
    }
    let access = Access {
        name: command.name.clone(),
        wire_protocol: command.wire_protocol,
        endpoint: some_text(command.endpoint.as_deref()),
        api_key_env: some_text(command.api_key_env.as_deref()),
    };
    check_access(&access)?;
    let models = checked_models(&command.models)?;
    check_limit("requests_per_minute", command.requests_per_minute)?;
    check_limit("tokens_per_minute", command.tokens_per_minute)?;
    let limits = LlmProviderLimitsSet {
        requests_per_minute: command.requests_per_minute,
        tokens_per_minute: command.tokens_per_minute,
    };
    let limited = limits.requests_per_minute.is_some() || limits.tokens_per_minute.is_some();
    if state.status == Status::Registered {
        let same = access == state.access
            && (models.is_empty() || models.values().eq(&state.models))
            && (!limited || limits == limits_of(state));
        return if same { Ok(Decision::unchanged()) } else { Err(Rejection::already_exists("LLM provider")) };
    }
    let mut events = vec![Event::LlmProviderRegistered(LlmProviderRegistered { access })];
    if !models.is_empty() {
        events.push(Event::ModelsAdded(ModelsAdded { models: models.into_values().collect() }));
    }
    if limited {
        events.push(Event::LlmProviderLimitsSet(limits));
    }
    Ok(Decision::events(events))
}

fn revise(state: &State, command: &ReviseLlmProvider) -> Result<Decision<Event>, Rejection> {
    check_registered(state, "revised")?;
    let before = &state.access;
    let optional = |given: &Option<String>, before: &Option<String>| match given {
        Some(given) => some_text(Some(given)),
        None => before.clone(),
    };
    let access = Access {
        name: command.name.as_ref().unwrap_or(&before.name).clone(),
        wire_protocol: command.wire_protocol.unwrap_or(before.wire_protocol),
        endpoint: optional(&command.endpoint, &before.endpoint),
        api_key_env: optional(&command.api_key_env, &before.api_key_env),
    };
    if access == *before {
        return Ok(Decision::unchanged());
    }
    check_access(&access)?;
    Ok(Decision::event(Event::LlmProviderRevised(LlmProviderRevised { access })))
}

fn put_models(state: &State, command: &PutModels) -> Result<Decision<Event>, Rejection> {
    check_registered(state, "with other models")?;
    let mut added = Vec::new();
    let mut changed = Vec::new();
    for (model_id, after) in checked_models(&command.models)? {
        match find_model(state, &model_id) {
            None => added.push(after),
            Some(before) if *before != after => {
                changed.push(Event::ModelChanged(ModelChanged { before: before.clone(), after }));
            }
            Some(_) => {}
        }
    }
    let total = state.models.len() + added.len();
    if total > MODELS_MAX {
        let why = format!("the provider would have {total}, at most {MODELS_MAX} are allowed; retire some first");
        return Err(Rejection::invalid("models", why));
    }
    let mut events = Vec::new();
    if !added.is_empty() {
        events.push(Event::ModelsAdded(ModelsAdded { models: added }));
    }
    events.append(&mut changed);
    Ok(Decision::events(events))
}

/// All or nothing: one unknown id retires none.
fn retire_models(state: &State, command: &RetireModels) -> Result<Decision<Event>, Rejection> {
    check_registered(state, "with fewer models")?;
    check_length("reason", &command.reason, TEXT_BYTES_MAX)?;
    let model_ids: BTreeSet<&str> = command.model_ids.iter().map(String::as_str).collect();
    let unknown: Vec<&str> = model_ids.iter().copied().filter(|id| find_model(state, id).is_none()).collect();
    if !unknown.is_empty() {
        return Err(model_unknown(&unknown, "none was retired, leave out what is not there"));
    }
    let retired = model_ids.into_iter().map(|model_id| {
        Event::ModelRetired(ModelRetired { model_id: model_id.into(), reason: command.reason.clone() })
    });
    Ok(Decision::events(retired.collect()))
}

pub fn model_unknown(unknown: &[&str], what_to_do: &str) -> Rejection {
    let named: Vec<String> = unknown.iter().take(IDS_NAMED_MAX).map(|id| shortened(id)).collect();
    let more = match unknown.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = named.join(", ");
    let message = format!("this provider has no model {named}{more}; {what_to_do}");
    Rejection::new("model_unknown", message).with("model_ids", format!("{named}{more}"))
}

/// An id that no provider can have is not repeated whole.
fn shortened(model_id: &str) -> String {
    if model_id.len() <= MODEL_ID_BYTES_MAX {
        return model_id.to_owned();
    }
    format!("{}…", &model_id[..model_id.floor_char_boundary(MODEL_ID_BYTES_MAX)])
}

fn set_limits(state: &State, command: &SetLlmProviderLimits) -> Result<Decision<Event>, Rejection> {
    check_registered(state, "with other limits")?;
    check_limit("requests_per_minute", command.requests_per_minute)?;
    check_limit("tokens_per_minute", command.tokens_per_minute)?;
    let limits = LlmProviderLimitsSet {
        requests_per_minute: command.requests_per_minute,
        tokens_per_minute: command.tokens_per_minute,
    };
    if limits == limits_of(state) {
        return Ok(Decision::unchanged());
    }
    Ok(Decision::event(Event::LlmProviderLimitsSet(limits)))
}

fn report_health(state: &State, command: &ReportLlmProviderHealth) -> Result<Decision<Event>, Rejection> {
    check_registered(state, command.health.name())?;
    check_length("reason", &command.reason, TEXT_BYTES_MAX)?;
    if command.health == state.health {
        return Ok(Decision::unchanged());
    }
    let (before, after) = (state.health, command.health);
    let event = LlmProviderHealthChanged { before, after, reason: command.reason.clone() };
    Ok(Decision::event(Event::LlmProviderHealthChanged(event)))
}

fn deregister(state: &State, command: &DeregisterLlmProvider) -> Result<Decision<Event>, Rejection> {
    if state.status == Status::Deregistered {
        return Ok(Decision::unchanged());
    }
    check_registered(state, "deregistered")?;
    check_length("reason", &command.reason, TEXT_BYTES_MAX)?;
    Ok(Decision::event(Event::LlmProviderDeregistered(LlmProviderDeregistered { reason: command.reason.clone() })))
}

pub fn check_registered(state: &State, to: &str) -> Result<(), Rejection> {
    match state.status {
        Status::Absent => Err(Rejection::not_found("LLM provider")),
        Status::Registered => Ok(()),
        Status::Deregistered => Err(final_state(to)),
    }
}

fn final_state(to: &str) -> Rejection {
    Rejection::illegal_transition("deregistered", to, &[])
}

fn limits_of(state: &State) -> LlmProviderLimitsSet {
    LlmProviderLimitsSet { requests_per_minute: state.requests_per_minute, tokens_per_minute: state.tokens_per_minute }
}

pub fn find_model<'a>(state: &'a State, model_id: &str) -> Option<&'a Model> {
    let index = state.models.binary_search_by(|model| model.model_id.as_str().cmp(model_id)).ok()?;
    state.models.get(index)
}
