//! What an entry wants of its resource, and the commands that lead there.
//!
//! A field that is absent is one that the file does not know: it stays as it is.

use super::entry::Fault;
use super::offer::Provider;
use super::read::agents::Sources;
use crate::domain::agent::{self, DecommissionAgent, RegisterAgent, ReviseAgent};
use crate::domain::agent_template::{self, DefineAgentTemplate, Definition, Parameter, RetireAgentTemplate};
use crate::domain::common::Requirements;
use crate::domain::mcp_server::{self, DeregisterMcpServer, DiscoverTools, RegisterMcpServer, ReviseMcpServer, Tool};
use crate::domain::skill::{self, DefineSkill, RetireSkill};
use crate::domain::{AnyCommand, AnyState};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Why a resource was retired; one that says so comes back when it is published again.
pub const RETIRED_BECAUSE: &str = "it is no longer in what was imported";

#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    Server(Box<Server>),
    Template(Box<Template>),
    Agent(Box<Agent>),
    /// With its models; [`super::models`] says what becomes of them.
    Provider(Box<Provider>),
    Skill(Box<DefineSkill>),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Agent {
    pub profile: ReviseAgent,
    /// The template that it is made from, by name or id.
    pub template: Option<String>,
    pub template_parameters: Option<BTreeMap<String, String>>,
    /// Where the entry says that the agent is: not kept, and told where two entries are taken for one agent.
    pub place: Option<String>,
    /// What the entry calls the fields of an agent, where a mapping says it.
    pub sources: Option<Arc<Sources>>,
}

impl Agent {
    /// A field of ours as the entry calls it; what is below a field stays as it is.
    pub fn named(&self, field: String) -> String {
        let end = field.find(['.', '[']).unwrap_or(field.len());
        let (own, below) = field.split_at(end);
        match self.sources.as_deref().and_then(|sources| sources.of(own)) {
            Some(source) => format!("{source}{below}"),
            None => field,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Server {
    pub listing: ReviseMcpServer,
    /// All tools that it has.
    pub tools: Option<Vec<KnownTool>>,
}

/// A tool as far as a file knows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KnownTool {
    pub name: String,
    pub description: Option<String>,
    pub input_schema: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Template {
    pub name: String,
    pub category: Option<String>,
    pub role: Option<String>,
    pub purpose: Option<String>,
    pub instructions: Option<String>,
    pub parameters: Option<Vec<Parameter>>,
    pub skills: Option<Vec<String>>,
    pub domains: Option<Vec<String>>,
    pub requirements: Option<Requirements>,
}

impl Wanted {
    /// What it will be called.
    pub fn name(&self) -> &str {
        match self {
            Self::Server(server) => server.listing.name.as_deref().unwrap_or_default(),
            Self::Template(template) => &template.name,
            Self::Agent(agent) => agent.profile.name.as_deref().unwrap_or_default(),
            Self::Provider(provider) => &provider.name,
            Self::Skill(skill) => &skill.name,
        }
    }

    /// The commands that lead from a state to what is wanted, in order. Those that change nothing are among them.
    ///
    /// # Errors
    /// When the resource was ended.
    pub fn commands(&self, state: &AnyState) -> Result<Vec<AnyCommand>, Fault> {
        match (self, state) {
            (Self::Server(wanted), AnyState::McpServer(state)) => server(wanted, state),
            (Self::Template(wanted), AnyState::AgentTemplate(state)) => template(wanted, state),
            (Self::Agent(wanted), AnyState::Agent(state)) => agent(wanted, state),
            (Self::Skill(wanted), AnyState::Skill(state)) => skill(wanted, state),
            _ => Err(Fault::whole("its id belongs to another kind of resource")),
        }
    }
}

fn server(wanted: &Server, state: &mcp_server::State) -> Result<Vec<AnyCommand>, Fault> {
    use mcp_server::Command;
    let tools = wanted.tools.as_ref().map(|tools| tools.iter().map(|tool| whole_tool(tool, state)).collect::<Vec<_>>());
    match state.status {
        mcp_server::Status::Deregistered => {
            let why =
                "it was deregistered here, which is final; take it out of the file, or import it under another key";
            Err(Fault::whole(why))
        }
        mcp_server::Status::Registered => {
            let mut commands = vec![Command::ReviseMcpServer(wanted.listing.clone()).into()];
            commands.extend(tools.map(|tools| Command::DiscoverTools(DiscoverTools { tools }).into()));
            Ok(commands)
        }
        mcp_server::Status::Absent => {
            let listing = wanted.listing.clone();
            // A registration without tools says nothing of them.
            let has_none = tools.as_ref().is_some_and(Vec::is_empty);
            let text = |text: Option<String>| text.unwrap_or_default();
            let register = RegisterMcpServer {
                name: text(listing.name),
                category: text(listing.category),
                description: text(listing.description),
                transport: listing.transport.unwrap_or_default(),
                endpoint: listing.endpoint,
                package: listing.package,
                capabilities: listing.capabilities.unwrap_or_default(),
                tools: tools.unwrap_or_default(),
            };
            let mut commands = vec![Command::RegisterMcpServer(register).into()];
            commands.extend(has_none.then(|| Command::DiscoverTools(DiscoverTools::default()).into()));
            Ok(commands)
        }
    }
}

/// The tool with what is known of it already where the file does not say.
fn whole_tool(tool: &KnownTool, state: &mcp_server::State) -> Tool {
    let before = state.tools.iter().find(|before| before.name == tool.name);
    let or = |given: &Option<String>, before: Option<&String>| given.as_ref().or(before).cloned().unwrap_or_default();
    Tool {
        name: tool.name.clone(),
        description: or(&tool.description, before.map(|before| &before.description)),
        input_schema: or(&tool.input_schema, before.map(|before| &before.input_schema)),
    }
}

fn template(wanted: &Template, state: &agent_template::State) -> Result<Vec<AnyCommand>, Fault> {
    if state.status == agent_template::Status::Retired && state.reason != RETIRED_BECAUSE {
        let why = "it was retired here, and not by an import; define it again with DefineAgentTemplate first";
        return Err(Fault::whole(why));
    }
    let before = &state.definition;
    let or = |given: &Option<String>, before: &String| given.as_ref().unwrap_or(before).clone();
    let labels = |given: &Option<Vec<String>>, before: &Vec<String>| given.as_ref().unwrap_or(before).clone();
    let definition = Definition {
        name: wanted.name.clone(),
        category: or(&wanted.category, &before.category),
        role: or(&wanted.role, &before.role),
        purpose: or(&wanted.purpose, &before.purpose),
        instructions: or(&wanted.instructions, &before.instructions),
        parameters: wanted.parameters.as_ref().unwrap_or(&before.parameters).clone(),
        skills: labels(&wanted.skills, &before.skills),
        domains: labels(&wanted.domains, &before.domains),
        requirements: wanted.requirements.as_ref().unwrap_or(&before.requirements).clone(),
    };
    Ok(vec![agent_template::Command::DefineAgentTemplate(DefineAgentTemplate { definition }).into()])
}

fn agent(wanted: &Agent, state: &agent::State) -> Result<Vec<AnyCommand>, Fault> {
    use agent::Command;
    match state.lifecycle {
        agent::Lifecycle::Decommissioned => {
            let why = "it was decommissioned here, which is final; take it out of the file, or give it another key";
            Err(Fault::whole(why))
        }
        agent::Lifecycle::Absent => {
            let Agent { profile, template, template_parameters, .. } = wanted.clone();
            let text = |text: Option<String>| text.unwrap_or_default();
            let register = RegisterAgent {
                name: text(profile.name),
                category: text(profile.category),
                purpose: text(profile.purpose),
                role: text(profile.role),
                instructions: profile.instructions,
                skills: profile.skills.unwrap_or_default(),
                domains: profile.domains.unwrap_or_default(),
                owner: profile.owner,
                project: profile.project,
                risk_tier: profile.risk_tier.unwrap_or_default(),
                confidence_threshold: profile.confidence_threshold,
                requirements: profile.requirements,
                template,
                template_parameters: template_parameters.unwrap_or_default(),
            };
            Ok(vec![Command::RegisterAgent(register).into()])
        }
        _ => {
            check_template(wanted, state.template.as_ref())?;
            let revise = match state.template {
                Some(_) => beside_template(&wanted.profile, &state.profile),
                None => wanted.profile.clone(),
            };
            Ok(vec![Command::ReviseAgent(revise).into()])
        }
    }
}

/// An agent keeps the template that it was registered with.
fn check_template(wanted: &Agent, used: Option<&agent::TemplateUse>) -> Result<(), Fault> {
    let Some(template) = wanted.template.as_deref() else { return Ok(()) };
    let Some(used) = used else {
        let why =
            "cannot be given to an agent that was registered without one; decommission it, and give it another key";
        return Err(Fault::field("template", why));
    };
    let is_same =
        used.name.to_lowercase() == template.to_lowercase() || Uuid::parse_str(template) == Ok(used.template_id);
    if !is_same {
        let why = format!("is another than the one that the agent was made from, {}, and stays that", used.name);
        return Err(Fault::field("template", why));
    }
    match &wanted.template_parameters {
        Some(parameters) if *parameters != used.parameters => {
            let why = "differ from those that the agent was made with, and stay those; change its instructions instead";
            Err(Fault::field("template_parameters", why))
        }
        _ => Ok(()),
    }
}

/// What is wanted of an agent that was made from a template: what came from there beside the file's own stays, as at its
/// registration, so that the same file again changes nothing.
fn beside_template(wanted: &ReviseAgent, before: &agent::Profile) -> ReviseAgent {
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let both = |wanted: &Option<Vec<String>>, before: &Vec<String>| {
        let further =
            |wanted: &Vec<String>| wanted.iter().filter(|it| !before.contains(it)).cloned().collect::<Vec<_>>();
        wanted.as_ref().map(|wanted| before.iter().cloned().chain(further(wanted)).collect())
    };
    let requirements = wanted.requirements.as_ref().map(|wanted| Requirements {
        cost_per_1k_tokens_micro_usd_max: wanted
            .cost_per_1k_tokens_micro_usd_max
            .or(before.requirements.cost_per_1k_tokens_micro_usd_max),
        latency_ms_max: wanted.latency_ms_max.or(before.requirements.latency_ms_max),
        quality_min: wanted.quality_min.or(before.requirements.quality_min),
        context_tokens_min: wanted.context_tokens_min.or(before.requirements.context_tokens_min),
        modalities: match wanted.modalities.is_empty() {
            true => before.requirements.modalities.clone(),
            false => wanted.modalities.clone(),
        },
    });
    ReviseAgent {
        category: text(&wanted.category),
        purpose: text(&wanted.purpose),
        role: text(&wanted.role),
        skills: both(&wanted.skills, &before.skills),
        domains: both(&wanted.domains, &before.domains),
        requirements,
        ..wanted.clone()
    }
}

fn skill(wanted: &DefineSkill, state: &skill::State) -> Result<Vec<AnyCommand>, Fault> {
    if state.status == skill::Status::Retired && state.reason != RETIRED_BECAUSE {
        let why = "it was retired here, and not by an import; define it again with DefineSkill first";
        return Err(Fault::whole(why));
    }
    Ok(vec![skill::Command::DefineSkill(wanted.clone()).into()])
}

/// Whether an import ended it for good: what is published again is another resource.
pub fn is_succeeded(state: &AnyState) -> bool {
    match state {
        AnyState::McpServer(state) => {
            state.status == mcp_server::Status::Deregistered && state.reason == RETIRED_BECAUSE
        }
        AnyState::Agent(state) => {
            state.lifecycle == agent::Lifecycle::Decommissioned && state.reason == RETIRED_BECAUSE
        }
        _ => false,
    }
}

/// The command that ends what is not published any more; `None` for what has ended already, and for a provider, of which
/// the models are retired.
pub fn retirement(state: &AnyState) -> Option<AnyCommand> {
    let reason = RETIRED_BECAUSE.to_owned();
    match state {
        AnyState::McpServer(state) => (state.status == mcp_server::Status::Registered)
            .then(|| mcp_server::Command::DeregisterMcpServer(DeregisterMcpServer { reason }).into()),
        AnyState::AgentTemplate(state) => (state.status == agent_template::Status::Active)
            .then(|| agent_template::Command::RetireAgentTemplate(RetireAgentTemplate { reason }).into()),
        AnyState::Agent(state) => {
            let has_ended = matches!(state.lifecycle, agent::Lifecycle::Absent | agent::Lifecycle::Decommissioned);
            (!has_ended).then(|| agent::Command::DecommissionAgent(DecommissionAgent { reason }).into())
        }
        AnyState::Skill(state) => {
            (state.status == skill::Status::Active).then(|| skill::Command::RetireSkill(RetireSkill { reason }).into())
        }
        _ => None,
    }
}
