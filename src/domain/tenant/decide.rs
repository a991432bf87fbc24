//! State and command to events, or a rejection.

use super::standing::unknown_project;
use super::*;
use crate::domain::StreamId;
use crate::domain::common::{NAME_BYTES_MAX, TEXT_BYTES_MAX, check_length, check_name, check_not_negative, check_unit};

/// Most projects of a tenant.
pub const PROJECTS_MAX: usize = 1_000;
/// Most entries in one list of a project.
pub const ALLOWED_MAX: usize = 10_000;
/// Most entries in all lists of a tenant: its state travels with every decision of its agents and couplings.
pub const ALLOWED_TOTAL_MAX: usize = 100_000;

/// A tenant decides by itself alone.
pub fn lookups(_state: &State, _command: &Command, _envelope: &Envelope) -> Vec<Lookup> {
    Vec::new()
}

pub fn decide(state: &State, command: &Command, context: &Context<'_>) -> Result<Decision<Event>, Rejection> {
    match command {
        Command::ProvisionTenant(command) => provision(state, command, context.envelope.stream),
        _ if state.status == Status::Absent => Err(Rejection::not_found("tenant")),
        Command::SuspendTenant(command) => suspend(state, command),
        Command::ResumeTenant(_) => resume(state),
        Command::CloseTenant(command) => close(state, command),
        _ if state.status == Status::Closed => Err(closed(state)),
        Command::ReviseTenant(command) => revise(state, command),
        Command::SetTenantBudget(command) => set_budget(state, command),
        Command::SetCouplingThreshold(command) => set_threshold(state, command),
        Command::SetPromptStorage(command) => Ok(set_prompt_storage(state, command.prompt_storage)),
        Command::ReportBudgetUse(command) => budget::decide(state, command),
        Command::AddProject(command) => {
            let project = check_project(&command.allowed_mcp_servers, &command.allowed_llm_providers)?;
            add_project(state, &command.project, project)
        }
        Command::ReviseProject(command) => {
            let project = check_project(&command.allowed_mcp_servers, &command.allowed_llm_providers)?;
            revise_project(state, &command.project, project)
        }
        Command::RemoveProject(command) => remove_project(state, &command.project),
    }
}

fn closed(state: &State) -> Rejection {
    Rejection::new("tenant_closed", "the tenant is closed for good; use another tenant").with("reason", &state.reason)
}

fn provision(state: &State, command: &ProvisionTenant, stream: StreamId) -> Result<Decision<Event>, Rejection> {
    if stream.tenant.is_shared() {
        return Err(Rejection::invalid(
            "tenantid",
            "the nil UUID is the shared catalogue, which is no tenant; use another",
        ));
    }
    if stream.id != stream.tenant.0 {
        return Err(Rejection::invalid("subject", "must be the tenant's own id").with("expected", stream.tenant));
    }
    check_name("name", &command.name)?;
    check_length("region", &command.region, NAME_BYTES_MAX)?;
    check_not_negative("monthly_budget_micro_usd", command.monthly_budget_micro_usd)?;
    check_unit("coupling_threshold", command.coupling_threshold)?;
    match state.status {
        Status::Absent => Ok(Decision::event(Event::TenantProvisioned(TenantProvisioned {
            name: command.name.clone(),
            region: command.region.clone(),
            tier: command.tier,
            monthly_budget_micro_usd: command.monthly_budget_micro_usd,
            coupling_threshold: command.coupling_threshold,
        }))),
        Status::Closed => Err(closed(state)),
        Status::Active | Status::Suspended => {
            let same = state.name == command.name
                && state.region == command.region
                && state.tier == command.tier
                && state.monthly_budget_micro_usd == command.monthly_budget_micro_usd
                && state.coupling_threshold == command.coupling_threshold;
            if same { Ok(Decision::unchanged()) } else { Err(Rejection::already_exists("tenant")) }
        }
    }
}

fn revise(state: &State, command: &ReviseTenant) -> Result<Decision<Event>, Rejection> {
    let name = command.name.as_ref().unwrap_or(&state.name);
    let region = command.region.as_ref().unwrap_or(&state.region);
    let tier = command.tier.unwrap_or(state.tier);
    check_name("name", name)?;
    check_length("region", region, NAME_BYTES_MAX)?;
    if *name == state.name && *region == state.region && tier == state.tier {
        return Ok(Decision::unchanged());
    }
    Ok(Decision::event(Event::TenantRevised(TenantRevised { name: name.clone(), region: region.clone(), tier })))
}

fn set_budget(state: &State, command: &SetTenantBudget) -> Result<Decision<Event>, Rejection> {
    let monthly_budget_micro_usd = command.monthly_budget_micro_usd;
    check_not_negative("monthly_budget_micro_usd", monthly_budget_micro_usd)?;
    if monthly_budget_micro_usd == state.monthly_budget_micro_usd {
        return Ok(Decision::unchanged());
    }
    Ok(Decision::event(Event::TenantBudgetSet(TenantBudgetSet { monthly_budget_micro_usd })))
}

fn set_threshold(state: &State, command: &SetCouplingThreshold) -> Result<Decision<Event>, Rejection> {
    let coupling_threshold = command.coupling_threshold;
    check_unit("coupling_threshold", coupling_threshold)?;
    if coupling_threshold == state.coupling_threshold {
        return Ok(Decision::unchanged());
    }
    Ok(Decision::event(Event::CouplingThresholdSet(CouplingThresholdSet { coupling_threshold })))
}

fn set_prompt_storage(state: &State, prompt_storage: PromptStorage) -> Decision<Event> {
    if prompt_storage == state.prompt_storage {
        return Decision::unchanged();
    }
    Decision::event(Event::PromptStorageSet(PromptStorageSet { prompt_storage }))
}

fn suspend(state: &State, command: &SuspendTenant) -> Result<Decision<Event>, Rejection> {
    check_length("reason", &command.reason, TEXT_BYTES_MAX)?;
    match state.status {
        Status::Suspended => Ok(Decision::unchanged()),
        Status::Closed => Err(Rejection::illegal_transition("closed", "suspended", &[])),
        _ => Ok(Decision::event(Event::TenantSuspended(TenantSuspended { reason: command.reason.clone() }))),
    }
}

fn resume(state: &State) -> Result<Decision<Event>, Rejection> {
    match state.status {
        Status::Suspended => Ok(Decision::event(Event::TenantResumed(TenantResumed {}))),
        Status::Closed => Err(Rejection::illegal_transition("closed", "active", &[])),
        _ => Ok(Decision::unchanged()),
    }
}

fn close(state: &State, command: &CloseTenant) -> Result<Decision<Event>, Rejection> {
    check_length("reason", &command.reason, TEXT_BYTES_MAX)?;
    if state.status == Status::Closed {
        return Ok(Decision::unchanged());
    }
    Ok(Decision::event(Event::TenantClosed(TenantClosed { reason: command.reason.clone() })))
}

/// A project's lists as sets: sorted, without repeats, so that equal rules are equal values.
fn check_project(mcp_servers: &Option<Vec<Uuid>>, llm_providers: &Option<Vec<Uuid>>) -> Result<Project, Rejection> {
    Ok(Project {
        allowed_mcp_servers: check_allowed("allowed_mcp_servers", mcp_servers)?,
        allowed_llm_providers: check_allowed("allowed_llm_providers", llm_providers)?,
    })
}

fn check_allowed(field: &str, ids: &Option<Vec<Uuid>>) -> Result<Option<Vec<Uuid>>, Rejection> {
    let Some(ids) = ids else { return Ok(None) };
    if ids.len() > ALLOWED_MAX {
        return Err(Rejection::invalid(field, format!("has {} entries, at most {ALLOWED_MAX} are allowed", ids.len())));
    }
    let mut ids = ids.clone();
    ids.sort_unstable();
    ids.dedup();
    Ok(Some(ids))
}

fn add_project(state: &State, name: &str, project: Project) -> Result<Decision<Event>, Rejection> {
    check_name("project", name)?;
    match state.projects.get(name) {
        Some(there) if *there == project => return Ok(Decision::unchanged()),
        Some(_) => {
            let message = "this tenant has a project of that name already; change it with ReviseProject";
            return Err(Rejection::new("already_exists", message).with("project", name));
        }
        None => {}
    }
    if state.projects.len() >= PROJECTS_MAX {
        return Err(Rejection::invalid(
            "project",
            format!("a tenant has at most {PROJECTS_MAX} projects; remove one first"),
        ));
    }
    check_total(state, name, &project)?;
    Ok(Decision::event(Event::ProjectAdded(ProjectAdded {
        project: name.to_owned(),
        allowed_mcp_servers: project.allowed_mcp_servers,
        allowed_llm_providers: project.allowed_llm_providers,
    })))
}

fn revise_project(state: &State, name: &str, project: Project) -> Result<Decision<Event>, Rejection> {
    let there = state.projects.get(name).ok_or_else(|| unknown_project(name))?;
    if *there == project {
        return Ok(Decision::unchanged());
    }
    check_total(state, name, &project)?;
    Ok(Decision::event(Event::ProjectRevised(ProjectRevised {
        project: name.to_owned(),
        allowed_mcp_servers: project.allowed_mcp_servers,
        allowed_llm_providers: project.allowed_llm_providers,
    })))
}

fn remove_project(state: &State, name: &str) -> Result<Decision<Event>, Rejection> {
    if !state.projects.contains_key(name) {
        return Err(unknown_project(name));
    }
    Ok(Decision::event(Event::ProjectRemoved(ProjectRemoved { project: name.to_owned() })))
}

/// The sum over the projects as they would be with `project` under `name`.
fn check_total(state: &State, name: &str, project: &Project) -> Result<(), Rejection> {
    let entries = |project: &Project| {
        let lists = [&project.allowed_mcp_servers, &project.allowed_llm_providers];
        lists.into_iter().flatten().map(Vec::len).sum::<usize>()
    };
    let others =
        state.projects.iter().filter(|(other, _)| *other != name).map(|(_, other)| entries(other)).sum::<usize>();
    let total = others + entries(project);
    if total > ALLOWED_TOTAL_MAX {
        let why = format!("the tenant's projects would list {total} entries, at most {ALLOWED_TOTAL_MAX} are allowed");
        return Err(Rejection::invalid("project", why));
    }
    Ok(())
}
