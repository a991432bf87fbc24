//! State and command to events, or a rejection.

use super::*;
use crate::domain::TenantId;
use crate::domain::agent_template::{AgentTemplate, stream_for};
use crate::domain::common::{TEXT_BYTES_MAX, check_length};
use crate::domain::tenant::standing;
use crate::domain::{StreamId, agent_template};

pub fn lookups(_state: &State, command: &Command, envelope: &Envelope) -> Vec<Lookup> {
    let tenant = envelope.tenant();
    match command {
        // An agent can be ended, and its health reported, whatever its tenant's standing.
        Command::DecommissionAgent(_) | Command::ReportAgentHealth(_) => Vec::new(),
        Command::RegisterAgent(RegisterAgent { template: Some(template), .. }) => {
            let templates = template_streams(tenant, template).map(Lookup::Stream);
            standing::lookup(tenant).into_iter().chain(templates).collect()
        }
        _ => standing::lookup(tenant).into_iter().collect(),
    }
}

/// Where a template may be, the tenant's own first: by UUID, else by name.
fn template_streams(tenant: TenantId, template: &str) -> impl Iterator<Item = StreamId> {
    let id = Uuid::parse_str(template).ok();
    let shared = (!tenant.is_shared()).then_some(TenantId::SHARED);
    [Some(tenant), shared].into_iter().flatten().map(move |owner| match id {
        Some(id) => StreamId::new(owner, Aggregate::AgentTemplate, id),
        None => stream_for(owner, template),
    })
}

pub fn decide(state: &State, command: &Command, context: &Context<'_>) -> Result<Decision<Event>, Rejection> {
    if state.lifecycle == Lifecycle::Absent && !matches!(command, Command::RegisterAgent(_)) {
        return Err(Rejection::not_found("agent"));
    }
    if state.lifecycle == Lifecycle::Decommissioned {
        return match command {
            Command::DecommissionAgent(_) => Ok(Decision::unchanged()),
            _ => Err(Rejection::illegal_transition("decommissioned", aim(command), &[])),
        };
    }
    match command {
        Command::RegisterAgent(command) => register(state, command, context),
        Command::ReviseAgent(command) => revise(state, command, context),
        Command::ActivateAgent(_) => {
            open(context)?;
            transition(state, Lifecycle::Active, || Event::AgentActivated(AgentActivated {}))
        }
        Command::IdleAgent(_) => {
            open(context)?;
            transition(state, Lifecycle::Idle, || Event::AgentIdled(AgentIdled {}))
        }
        Command::MaintainAgent(command) => {
            open(context)?;
            check_length("reason", &command.reason, TEXT_BYTES_MAX)?;
            let event = || Event::AgentMaintained(AgentMaintained { reason: command.reason.clone() });
            transition(state, Lifecycle::Maintenance, event)
        }
        Command::DecommissionAgent(command) => {
            check_length("reason", &command.reason, TEXT_BYTES_MAX)?;
            let event = || Event::AgentDecommissioned(AgentDecommissioned { reason: command.reason.clone() });
            transition(state, Lifecycle::Decommissioned, event)
        }
        Command::ReportAgentHealth(command) => report_health(state, command),
    }
}

fn open<'a>(context: &Context<'a>) -> Result<Option<&'a crate::domain::tenant::State>, Rejection> {
    standing::check_open(context.envelope.tenant(), context.world)
}

/// What a command would have made of a decommissioned agent.
fn aim(command: &Command) -> &'static str {
    match command {
        Command::RegisterAgent(_) => Lifecycle::Provisioning.name(),
        Command::ReviseAgent(_) => "revised",
        Command::ActivateAgent(_) => Lifecycle::Active.name(),
        Command::IdleAgent(_) => Lifecycle::Idle.name(),
        Command::MaintainAgent(_) => Lifecycle::Maintenance.name(),
        Command::DecommissionAgent(_) => Lifecycle::Decommissioned.name(),
        Command::ReportAgentHealth(command) => command.health.name(),
    }
}

fn transition(state: &State, to: Lifecycle, event: impl FnOnce() -> Event) -> Result<Decision<Event>, Rejection> {
    if state.lifecycle == to {
        return Ok(Decision::unchanged());
    }
    let allowed = state.lifecycle.targets();
    if !allowed.contains(&to) {
        let names: Vec<_> = allowed.iter().map(|target| target.name()).collect();
        return Err(Rejection::illegal_transition(state.lifecycle.name(), to.name(), &names));
    }
    Ok(Decision::event(event()))
}

fn register(state: &State, command: &RegisterAgent, context: &Context<'_>) -> Result<Decision<Event>, Rejection> {
    let tenant = open(context)?;
    if let Some(tenant) = tenant
        && let Some(project) = command.project.as_deref().filter(|project| !project.is_empty())
    {
        standing::check_project(tenant, project)?;
    }
    let found = match &command.template {
        Some(template) => Some(find_template(template, context)?),
        None => None,
    };
    let profile = profile::registered(command, found.as_ref().map(|found| found.state))?;
    let template = found.map(|found| found.used(command));
    if state.lifecycle != Lifecycle::Absent {
        return if state.profile == profile && state.template == template {
            Ok(Decision::unchanged())
        } else {
            Err(Rejection::already_exists("agent"))
        };
    }
    Ok(Decision::event(Event::AgentRegistered(AgentRegistered { profile, template })))
}

struct Found<'a> {
    stream: StreamId,
    version: u64,
    state: &'a agent_template::State,
}

impl Found<'_> {
    fn used(&self, command: &RegisterAgent) -> TemplateUse {
        TemplateUse {
            template_id: self.stream.id,
            shared: self.stream.tenant.is_shared(),
            name: self.state.definition.name.clone(),
            version: i64::try_from(self.version).unwrap_or(i64::MAX),
            parameters: command.template_parameters.clone(),
        }
    }
}

/// The tenant's own template hides the shared one of the same name, a retired one too: whoever retires a template does
/// not mean another to take its place.
fn find_template<'a>(template: &str, context: &Context<'a>) -> Result<Found<'a>, Rejection> {
    let found = template_streams(context.envelope.tenant(), template).find_map(|stream| {
        let (version, state) = context.world.get::<AgentTemplate>(&stream)?;
        (state.status != agent_template::Status::Absent).then_some(Found { stream, version, state })
    });
    let Some(found) = found else {
        let message = "neither this tenant nor the shared catalogue has such a template; \
                       list agent-templates for the names, or define it with DefineAgentTemplate";
        return Err(Rejection::new("template_not_found", message).with("template", template));
    };
    if found.state.status == agent_template::Status::Retired {
        let message = "the template is retired; use another, or define it again with DefineAgentTemplate";
        return Err(Rejection::new("template_retired", message)
            .with("template", template)
            .with("template_id", found.stream.id)
            .with("reason", &found.state.reason));
    }
    Ok(found)
}

fn revise(state: &State, command: &ReviseAgent, context: &Context<'_>) -> Result<Decision<Event>, Rejection> {
    // Only a project that the command names is looked for: one that was removed since must not stop other changes.
    if let Some(tenant) = open(context)?
        && let Some(project) = command.project.as_deref().filter(|project| !project.is_empty())
    {
        standing::check_project(tenant, project)?;
    }
    let profile = profile::revised(&state.profile, command)?;
    if profile == state.profile {
        return Ok(Decision::unchanged());
    }
    Ok(Decision::event(Event::AgentRevised(AgentRevised { profile, revision: state.revision.saturating_add(1) })))
}

fn report_health(state: &State, command: &ReportAgentHealth) -> Result<Decision<Event>, Rejection> {
    check_length("reason", &command.reason, TEXT_BYTES_MAX)?;
    if state.health == command.health {
        return Ok(Decision::unchanged());
    }
    Ok(Decision::event(Event::AgentHealthChanged(AgentHealthChanged {
        before: state.health,
        after: command.health,
        reason: command.reason.clone(),
    })))
}
