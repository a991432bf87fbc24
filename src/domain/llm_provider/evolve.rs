//! What a provider's events leave.

use super::*;

pub fn evolve(state: &mut State, event: &Event, meta: &EventMeta) {
    match event {
        Event::LlmProviderRegistered(event) => {
            state.status = Status::Registered;
            state.access = event.access.clone();
        }
        Event::LlmProviderRevised(event) => state.access = event.access.clone(),
        Event::ModelsAdded(event) => {
            if state.models.is_empty() {
                state.models = event.models.clone();
                state.models.sort_by(|a, b| a.model_id.cmp(&b.model_id));
            } else {
                event.models.iter().for_each(|model| put_model(&mut state.models, model));
            }
        }
        Event::ModelChanged(event) => put_model(&mut state.models, &event.after),
        Event::ModelRetired(event) => {
            if let Ok(index) = state.models.binary_search_by(|model| model.model_id.cmp(&event.model_id)) {
                state.models.remove(index);
            }
            // One that is offered anew under its name is another.
            state.measured.remove(&event.model_id);
            state.conditions.remove(&event.model_id);
        }
        Event::LlmProviderLimitsSet(event) => {
            state.requests_per_minute = event.requests_per_minute;
            state.tokens_per_minute = event.tokens_per_minute;
        }
        Event::LlmProviderHealthChanged(event) => {
            state.health = event.after;
            state.reason.clone_from(&event.reason);
        }
        Event::LlmProviderDeregistered(event) => {
            state.status = Status::Deregistered;
            state.reason.clone_from(&event.reason);
        }
        Event::ModelStatisticsChanged(event) => {
            state.measured.insert(event.model_id.clone(), event.after.clone());
        }
        Event::ModelHealthChanged(event) => {
            let ModelHealthChanged { model_id, after, reason, .. } = event;
            let condition = ModelCondition { health: *after, since: meta.recorded_at, reason: reason.clone() };
            state.conditions.insert(model_id.clone(), condition);
        }
    }
}

pub fn is_terminal(state: &State) -> bool {
    state.status == Status::Deregistered
}

/// Keeps the order by `model_id`.
fn put_model(models: &mut Vec<Model>, model: &Model) {
    match models.binary_search_by(|known| known.model_id.cmp(&model.model_id)) {
        Ok(index) => models[index] = model.clone(),
        Err(index) => models.insert(index, model.clone()),
    }
}
