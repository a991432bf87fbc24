//! What has to be sent so that what is there becomes what is wanted. What the manifest does not say stays as it is, and
//! what changes nothing is not sent.

use super::blueprint::{AgentWanted, TenantWanted};
use super::node::{KnownAgent, KnownTenant};
use crate::domain::agent::{
    ActivateAgent, Command as Agent, DecommissionAgent, Profile, RegisterAgent, ReviseAgent, RiskTier, TemplateUse,
};
use crate::domain::common::Requirements;
use crate::domain::personal::Personal;
use crate::domain::tenant::{
    AddProject, Command as Tenant, Project, ProvisionTenant, ReviseProject, ReviseTenant, SetCouplingThreshold,
    SetPromptStorage, SetTenantBudget,
};
use crate::domain::{AnyCommand, AnyState, Context, Envelope, EventMeta, Rejection, StreamId, World};
use std::collections::BTreeSet;
use uuid::Uuid;

/// A command, and the fields that it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub fields: Vec<&'static str>,
    pub command: AnyCommand,
}

impl Change {
    fn new(field: &'static str, command: impl Into<AnyCommand>) -> Self {
        Self { fields: vec![field], command: command.into() }
    }
}

/// What becomes of an agent.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentDiff {
    Create(Vec<Change>),
    Change(Vec<Change>),
    Unchanged,
    /// It was decommissioned, and stays so: that is final.
    Decommissioned,
    /// What no command can make of it, and what to do instead.
    Impossible(String),
}

/// The commands for a tenant, in their order; none where it is as it is wanted.
pub fn tenant(wanted: &TenantWanted<'_>, known: Option<&KnownTenant>) -> Vec<Change> {
    let set = wanted.set;
    let mut changes = Vec::new();
    match known {
        None => {
            let provision = ProvisionTenant {
                name: wanted.name.clone(),
                region: wanted.region.unwrap_or_default().to_owned(),
                tier: set.tier.unwrap_or_default(),
                monthly_budget_micro_usd: set.monthly_budget_micro_usd,
                coupling_threshold: set.coupling_threshold,
            };
            changes.push(Change::new("tenant", Tenant::ProvisionTenant(provision)));
        }
        Some(known) => {
            changes.extend(revision(wanted, known));
            let budget =
                set.monthly_budget_micro_usd.filter(|_| known.monthly_budget_micro_usd != set.monthly_budget_micro_usd);
            changes.extend(budget.map(|budget| {
                let command = SetTenantBudget { monthly_budget_micro_usd: Some(budget) };
                Change::new("monthly_budget_usd", Tenant::SetTenantBudget(command))
            }));
            let threshold = set.coupling_threshold.filter(|threshold| *threshold != known.coupling_threshold);
            changes.extend(threshold.map(|threshold| {
                let command = SetCouplingThreshold { coupling_threshold: Some(threshold) };
                Change::new("coupling_threshold", Tenant::SetCouplingThreshold(command))
            }));
        }
    }
    let kept = known.map(|known| known.prompt_storage).unwrap_or_default();
    changes.extend(set.prompt_storage.filter(|storage| *storage != kept).map(|prompt_storage| {
        Change::new("prompt_storage", Tenant::SetPromptStorage(SetPromptStorage { prompt_storage }))
    }));
    for (name, wanted) in set.projects.iter() {
        changes.extend(project(name, wanted, known.and_then(|known| known.projects.get(name))));
    }
    changes
}

fn revision(wanted: &TenantWanted<'_>, known: &KnownTenant) -> Option<Change> {
    let revision = ReviseTenant {
        name: (wanted.name != known.name).then(|| wanted.name.clone()),
        region: wanted.region.filter(|region| *region != known.region).map(str::to_owned),
        tier: wanted.set.tier.filter(|tier| *tier != known.tier),
    };
    let said =
        [("name", revision.name.is_some()), ("region", revision.region.is_some()), ("tier", revision.tier.is_some())];
    let fields: Vec<_> = said.into_iter().filter(|(_, is_said)| *is_said).map(|(field, _)| field).collect();
    (!fields.is_empty()).then(|| Change { fields, command: Tenant::ReviseTenant(revision).into() })
}

/// A list that the manifest leaves out stays as it is.
fn project(name: &str, wanted: &Project, known: Option<&Project>) -> Option<Change> {
    let Some(known) = known else {
        let command = AddProject {
            project: name.to_owned(),
            allowed_mcp_servers: wanted.allowed_mcp_servers.clone(),
            allowed_llm_providers: wanted.allowed_llm_providers.clone(),
        };
        return Some(Change::new("projects", Tenant::AddProject(command)));
    };
    let differs = |wanted: &Option<Vec<Uuid>>, known: &Option<Vec<Uuid>>| {
        wanted.is_some() && as_set(wanted.as_deref()) != as_set(known.as_deref())
    };
    let is_same = !differs(&wanted.allowed_mcp_servers, &known.allowed_mcp_servers)
        && !differs(&wanted.allowed_llm_providers, &known.allowed_llm_providers);
    if is_same {
        return None;
    }
    let command = ReviseProject {
        project: name.to_owned(),
        allowed_mcp_servers: wanted.allowed_mcp_servers.clone().or_else(|| known.allowed_mcp_servers.clone()),
        allowed_llm_providers: wanted.allowed_llm_providers.clone().or_else(|| known.allowed_llm_providers.clone()),
    };
    Some(Change::new("projects", Tenant::ReviseProject(command)))
}

fn as_set(list: Option<&[Uuid]>) -> Option<BTreeSet<Uuid>> {
    list.map(|list| list.iter().copied().collect())
}

/// The commands for an agent. One that is activated is so once, after its registration: who idled it meant that.
pub fn agent(wanted: &AgentWanted<'_>, known: Option<&KnownAgent>) -> AgentDiff {
    let registration = wanted.registration();
    let activate = || Change::new("status", Agent::ActivateAgent(ActivateAgent {}));
    let Some(known) = known else {
        let mut changes = vec![Change::new("agent", Agent::RegisterAgent(registration))];
        changes.extend(wanted.group.is_activated.then(activate));
        return AgentDiff::Create(changes);
    };
    if known.status == "decommissioned" {
        return AgentDiff::Decommissioned;
    }
    if let Some(made_from) = other_template(&registration, known.template.as_ref()) {
        return AgentDiff::Impossible(made_from);
    }
    let mut changes: Vec<_> = revise(&registration, wanted.group.risk_tier, &known.profile).into_iter().collect();
    if wanted.group.is_activated && known.status == "provisioning" {
        changes.push(activate());
    }
    if changes.is_empty() { AgentDiff::Unchanged } else { AgentDiff::Change(changes) }
}

/// The command that ends an agent which the manifest has no more.
pub fn retirement() -> Change {
    let reason = "the manifest that it was provisioned by has it no more".to_owned();
    Change::new("status", Agent::DecommissionAgent(DecommissionAgent { reason }))
}

/// Why an agent cannot become one of the template that is wanted: it keeps what it was made from.
fn other_template(wanted: &RegisterAgent, known: Option<&TemplateUse>) -> Option<String> {
    let advice = "an agent keeps what it was made from: give the group another key, whose agents are made anew";
    match (&wanted.template, known) {
        (None, None) => None,
        (None, Some(known)) => {
            Some(format!("it was made from the template {:?}, and the manifest names none; {advice}", known.name))
        }
        (Some(wanted), None) => {
            Some(format!("it was made without a template, and the manifest names {wanted:?}; {advice}"))
        }
        (Some(template), Some(known)) => {
            let is_same = match Uuid::parse_str(template) {
                Ok(id) => id == known.template_id,
                Err(_) => template.to_lowercase() == known.name.to_lowercase(),
            };
            if !is_same {
                return Some(format!(
                    "it was made from the template {:?}, not from {template:?}; {advice}",
                    known.name
                ));
            }
            let is_same = wanted.template_parameters == known.parameters;
            (!is_same).then(|| format!("it was made with other parameters of {:?}; {advice}", known.name))
        }
    }
}

/// What is said and differs.
fn revise(wanted: &RegisterAgent, risk_tier: Option<RiskTier>, known: &Profile) -> Option<Change> {
    let mut revision = ReviseAgent::default();
    let mut fields = Vec::new();
    let mut text = |field, wanted: &str, known: &str| {
        let differs = !wanted.is_empty() && wanted != known;
        differs.then(|| {
            fields.push(field);
            wanted.to_owned()
        })
    };
    revision.name = text("name", &wanted.name, &known.name);
    revision.category = text("category", &wanted.category, &known.category);
    revision.purpose = text("purpose", &wanted.purpose, &known.purpose);
    revision.role = text("role", &wanted.role, &known.role);
    let project = wanted.project.as_deref().unwrap_or_default();
    revision.project = text("project", project, known.project.as_deref().unwrap_or_default());
    let mut personal = |field, wanted: &Personal, known: &Personal| match wanted.text() {
        // A sealed text cannot be compared.
        Some(_) if !matches!(known, Personal::Sealed(_)) && wanted != known => {
            fields.push(field);
            wanted.clone()
        }
        _ => Personal::Absent,
    };
    revision.instructions = personal("instructions", &wanted.instructions, &known.instructions);
    revision.owner = personal("owner", &wanted.owner, &known.owner);
    revision.skills = missing(&wanted.skills, &known.skills);
    fields.extend(revision.skills.is_some().then_some("skills"));
    revision.domains = missing(&wanted.domains, &known.domains);
    fields.extend(revision.domains.is_some().then_some("domains"));
    revision.risk_tier = risk_tier.filter(|tier| *tier != known.risk_tier);
    fields.extend(revision.risk_tier.is_some().then_some("risk_tier"));
    if wanted.confidence_threshold.is_some() && wanted.confidence_threshold != known.confidence_threshold {
        revision.confidence_threshold = wanted.confidence_threshold;
        fields.push("confidence_threshold");
    }
    let merged = wanted.requirements.as_ref().map(|wanted| merged(wanted, &known.requirements));
    revision.requirements = merged.filter(|merged| *merged != known.requirements);
    fields.extend(revision.requirements.is_some().then_some("requirements"));
    (!fields.is_empty()).then(|| Change { fields, command: Agent::ReviseAgent(revision).into() })
}

/// Both lists together where any of what is wanted is not there: the template's own entries stay.
fn missing(wanted: &[String], known: &[String]) -> Option<Vec<String>> {
    let mut all = known.to_vec();
    wanted.iter().for_each(|value| {
        if !all.contains(value) {
            all.push(value.clone());
        }
    });
    (all.len() > known.len()).then_some(all)
}

fn merged(wanted: &Requirements, known: &Requirements) -> Requirements {
    let modalities = if wanted.modalities.is_empty() { &known.modalities } else { &wanted.modalities };
    Requirements {
        cost_per_1k_tokens_micro_usd_max: wanted
            .cost_per_1k_tokens_micro_usd_max
            .or(known.cost_per_1k_tokens_micro_usd_max),
        latency_ms_max: wanted.latency_ms_max.or(known.latency_ms_max),
        quality_min: wanted.quality_min.or(known.quality_min),
        context_tokens_min: wanted.context_tokens_min.or(known.context_tokens_min),
        modalities: modalities.clone(),
    }
}

/// Decides commands on a new stream, each on what the ones before it leave.
///
/// # Errors
/// The first refusal.
pub fn rehearse(
    stream: StreamId,
    commands: impl IntoIterator<Item = AnyCommand>,
    world: &World,
) -> Result<(), Rejection> {
    let mut state = AnyState::initial(stream.aggregate);
    let mut version = 0;
    for command in commands {
        let envelope = Envelope::new(Uuid::nil(), stream);
        // None of these deciders looks at the time.
        let context = Context { now: 0, envelope: &envelope, version, world };
        let decision = state.decide(&command, &context)?;
        if let Some(rejection) = decision.refusal {
            return Err(rejection);
        }
        let meta = EventMeta { stream, version, recorded_at: 0, event_id: Uuid::nil() };
        decision.events.iter().for_each(|event| state.evolve(event, &meta));
        version += decision.events.len() as u64;
    }
    Ok(())
}
