//! State and event to state. Whatever the order of the events, nothing here fails.

use super::*;

pub fn evolve(state: &mut State, event: &Event) {
    match event {
        Event::TenantProvisioned(event) => {
            state.status = Status::Active;
            state.name.clone_from(&event.name);
            state.region.clone_from(&event.region);
            state.tier = event.tier;
            state.monthly_budget_micro_usd = event.monthly_budget_micro_usd;
            state.coupling_threshold = event.coupling_threshold;
        }
        Event::TenantRevised(event) => {
            state.name.clone_from(&event.name);
            state.region.clone_from(&event.region);
            state.tier = event.tier;
        }
        Event::TenantBudgetSet(event) => {
            state.monthly_budget_micro_usd = event.monthly_budget_micro_usd;
            state.budget_alert = None;
        }
        Event::CouplingThresholdSet(event) => state.coupling_threshold = event.coupling_threshold,
        Event::TenantSuspended(event) => {
            state.status = Status::Suspended;
            state.reason.clone_from(&event.reason);
        }
        Event::TenantResumed(_) => {
            state.status = Status::Active;
            state.reason.clear();
        }
        Event::TenantClosed(event) => {
            state.status = Status::Closed;
            state.reason.clone_from(&event.reason);
        }
        Event::ProjectAdded(event) => {
            put(state, &event.project, &event.allowed_mcp_servers, &event.allowed_llm_providers);
        }
        Event::ProjectRevised(event) => {
            put(state, &event.project, &event.allowed_mcp_servers, &event.allowed_llm_providers);
        }
        Event::ProjectRemoved(event) => {
            state.projects.remove(&event.project);
        }
        Event::PromptStorageSet(event) => state.prompt_storage = event.prompt_storage,
        Event::BudgetAlertRaised(event) => state.budget_alert = Some(event.clone()),
    }
}

fn put(state: &mut State, name: &str, mcp_servers: &Option<Vec<Uuid>>, llm_providers: &Option<Vec<Uuid>>) {
    let project = Project { allowed_mcp_servers: mcp_servers.clone(), allowed_llm_providers: llm_providers.clone() };
    state.projects.insert(name.to_owned(), project);
}

pub fn is_terminal(state: &State) -> bool {
    state.status == Status::Closed
}
