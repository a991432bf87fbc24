//! The three thousand couplings that are asked for: most make sense, some cannot be granted, each for its own reason.

use super::agents::PlannedAgent;
use super::random::SplitMix64;
use super::tenants::{PRIVATE, PRIVATE_MODELS, PRIVATE_PROVIDER, PRIVATE_SERVERS};
use super::{COUPLINGS, Commands, Fleet, command};
use crate::domain::agent_template::Definition;
use crate::domain::common::Requirements;
use crate::domain::coupling::{Capability, Command, ModelRef, Objective, RequestCoupling};
use crate::domain::llm_provider::{Model, RegisterLlmProvider};
use crate::domain::mcp_server::{RegisterMcpServer, Tool};
use crate::domain::{Aggregate, StreamId};
use crate::runtime::catalog::{Catalog, provider_id, server_id};
use uuid::Uuid;

/// What a request is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A server of the agent's domains that its project allows; the policy chooses the model.
    Fitting,
    /// The same, with the model named.
    Pinned,
    /// To a server or a model that the tenant runs itself.
    Private,
    /// A server from another world: the score falls below the threshold.
    Unfitting,
    /// A server that the agent's project does not allow.
    ServerNotAllowed,
    /// A model of a provider that the agent's project does not allow.
    ProviderNotAllowed,
    /// A budget that buys no model.
    NoBudget,
    /// Capabilities that no model has at the price.
    NoCapability,
    /// A pinned model that is not there.
    UnknownModel,
}

const PURPOSE: u64 = 0x0063_6f75_706c_6573;
const OBJECTIVES: &[Objective] = &[Objective::Cost, Objective::Latency, Objective::Quality, Objective::Balanced];

/// One request of the fleet.
pub struct PlannedCoupling<'f, 'c> {
    pub agent: &'f PlannedAgent<'c>,
    /// Which of the agent's requests this is, from 0.
    round: usize,
    pub wish: Wish,
    random: SplitMix64,
}

/// All requests: every agent has its share.
pub fn plan<'f, 'c>(fleet: &'f Fleet<'c>) -> impl Iterator<Item = PlannedCoupling<'f, 'c>> {
    let agents = fleet.agents.len();
    let count = if agents == 0 { 0 } else { COUPLINGS };
    (0..count).map(move |index| {
        let agent = &fleet.agents[index % agents];
        let mut random = SplitMix64::new(PURPOSE, index);
        let wish = wish(agent, &mut random);
        PlannedCoupling { agent, round: index / agents, wish, random }
    })
}

pub fn request(fleet: &Fleet) -> Commands {
    plan(fleet)
        .map(|mut coupling| {
            let request = coupling.request(fleet.catalog);
            command(coupling.stream(), "", Command::RequestCoupling(request))
        })
        .collect()
}

/// A wish that the agent's project makes possible falls back to a plain one where there is nothing to break.
fn wish(agent: &PlannedAgent, random: &mut SplitMix64) -> Wish {
    let project = agent.project;
    match random.below(100) {
        0..5 => Wish::Unfitting,
        5..13 if project.is_some_and(|project| project.servers.is_some()) => Wish::ServerNotAllowed,
        13..21 if project.is_some_and(|project| project.providers.is_some()) => Wish::ProviderNotAllowed,
        21..24 => Wish::NoBudget,
        24..26 => Wish::NoCapability,
        26..27 => Wish::UnknownModel,
        27..47 if agent.company.name == PRIVATE.name => Wish::Private,
        47..60 => Wish::Pinned,
        _ => Wish::Fitting,
    }
}

impl<'f, 'c> PlannedCoupling<'f, 'c> {
    /// One more of an agent, beside those of the fleet.
    pub fn fitting(agent: &'f PlannedAgent<'c>, round: usize) -> Self {
        Self { agent, round, wish: Wish::Fitting, random: SplitMix64::new(PURPOSE, agent.index) }
    }
}

impl PlannedCoupling<'_, '_> {
    pub fn stream(&self) -> StreamId {
        self.agent.company.own(Aggregate::Coupling, &format!("{}/{}", self.agent.index, self.round))
    }

    fn request(&mut self, catalog: &Catalog) -> RequestCoupling {
        let mut request = RequestCoupling {
            agent_id: self.agent.stream().id,
            mcp_server_id: self.fitting_server(catalog),
            model: None,
            objective: self.random.pick(OBJECTIVES).copied().unwrap_or_default(),
            cost_per_1k_tokens_micro_usd_max: self
                .random
                .chance(25)
                .then(|| 2_000 + 1_000 * self.random.below(9) as i64),
            required_capabilities: self.capabilities(),
        };
        match self.wish {
            Wish::Fitting => {}
            Wish::Pinned => request.model = self.pin(catalog, true),
            Wish::ProviderNotAllowed => request.model = self.pin(catalog, false),
            Wish::Private => self.make_private(&mut request),
            Wish::Unfitting => {
                request.mcp_server_id = self.server_where(catalog, |server| {
                    self.allows_server(&server.name) && stranger(server, self.agent.template)
                });
            }
            Wish::ServerNotAllowed => {
                request.mcp_server_id = self.server_where(catalog, |server| !self.allows_server(&server.name));
            }
            Wish::NoBudget => request.cost_per_1k_tokens_micro_usd_max = Some(1 + self.random.below(9) as i64),
            Wish::NoCapability => {
                request.required_capabilities =
                    vec![Capability::ToolCalling, Capability::AudioInput, Capability::VideoInput];
                request.cost_per_1k_tokens_micro_usd_max = Some(100);
            }
            Wish::UnknownModel => {
                let provider_id = provider_id("Mistral AI");
                request.model = Some(ModelRef { provider_id, model_id: "mistral-enormous".into() });
            }
        }
        request
    }

    fn capabilities(&mut self) -> Vec<Capability> {
        let mut capabilities = vec![Capability::ToolCalling];
        if self.random.chance(15) {
            capabilities.push(Capability::StructuredOutput);
        }
        if self.random.chance(8) {
            capabilities.push(Capability::ImageInput);
        }
        capabilities
    }

    fn allows_server(&self, name: &str) -> bool {
        self.agent.project.and_then(|project| project.servers).is_none_or(|names| names.contains(&name))
    }

    fn allows_provider(&self, name: &str) -> bool {
        self.agent.project.and_then(|project| project.providers).is_none_or(|names| names.contains(&name))
    }

    /// A server of the agent's domains that its project allows, another one in each round; where the project allows
    /// none of those, any of the domains.
    pub fn fitting_server(&self, catalog: &Catalog) -> Uuid {
        let domains = &self.agent.template.domains;
        let in_domain = |server: &RegisterMcpServer| domains.contains(&server.category);
        let allowed = self.servers(catalog, |server| in_domain(server) && self.allows_server(&server.name));
        let names = if allowed.is_empty() { self.servers(catalog, in_domain) } else { allowed };
        self.of_round(&names)
    }

    fn server_where(&self, catalog: &Catalog, wanted: impl Fn(&RegisterMcpServer) -> bool) -> Uuid {
        let names = self.servers(catalog, wanted);
        if names.is_empty() { self.fitting_server(catalog) } else { self.of_round(&names) }
    }

    /// Names of the servers that pass, in the agent's own order.
    fn servers<'c>(&self, catalog: &'c Catalog, wanted: impl Fn(&RegisterMcpServer) -> bool) -> Vec<&'c str> {
        let passes = catalog.servers.entries.iter().filter(|server| wanted(server));
        let mut names: Vec<_> = passes.map(|server| server.name.as_str()).collect();
        self.agent.random(PURPOSE).shuffle(&mut names);
        names
    }

    /// Another one in each round. An empty catalogue makes requests that are refused, not a panic.
    fn of_round(&self, names: &[&str]) -> Uuid {
        names.get(self.round % names.len().max(1)).map_or(Uuid::nil(), |name| server_id(name))
    }

    /// A model that meets the agent's needs, of a provider that the project allows, or (`allowed` false) does not.
    fn pin(&mut self, catalog: &Catalog, allowed: bool) -> Option<ModelRef> {
        let reference = |provider: &RegisterLlmProvider, model: &Model| ModelRef {
            provider_id: provider_id(&provider.name),
            model_id: model.model_id.clone(),
        };
        let mut models = Vec::new();
        for provider in catalog.providers.entries.iter().filter(|p| self.allows_provider(&p.name) == allowed) {
            let suitable = provider.models.iter().filter(|model| meets(model, &self.agent.requirements));
            models.extend(suitable.map(|model| reference(provider, model)));
        }
        self.random.pick(&models).cloned()
    }

    fn make_private(&mut self, request: &mut RequestCoupling) {
        if self.random.chance(60) {
            let name = self.random.pick(&PRIVATE_SERVERS).copied().unwrap_or_default();
            request.mcp_server_id = PRIVATE.own(Aggregate::McpServer, name).id;
        } else {
            let model_id = self.random.pick(&PRIVATE_MODELS).copied().unwrap_or_default().to_owned();
            let provider_id = PRIVATE.own(Aggregate::LlmProvider, PRIVATE_PROVIDER).id;
            request.model = Some(ModelRef { provider_id, model_id });
        }
    }
}

/// Whether a server is of none of the template's domains and no tool has a word of any of its skills in it: one shared
/// word can be enough for a coupling.
fn stranger(server: &RegisterMcpServer, template: &Definition) -> bool {
    let text = |tool: &Tool| format!("{} {}", tool.name, tool.description).to_lowercase();
    let tools: Vec<_> = server.tools.iter().map(text).collect();
    let words = template.skills.iter().flat_map(|skill| skill.split(' ')).filter(|word| word.len() > 2);
    let mut stems = words.map(|word| word.strip_suffix('s').unwrap_or(word));
    !tools.is_empty()
        && !template.domains.contains(&server.category)
        && !stems.any(|stem| tools.iter().any(|tool| tool.contains(stem)))
}

/// Whether a model is within an agent's needs; the price blended 3 input : 1 output.
fn meets(model: &Model, needs: &Requirements) -> bool {
    let prices = model.input_micro_usd_per_million.zip(model.output_micro_usd_per_million);
    let cost = prices.map(|(input, output)| (3 * input + output) / 4_000);
    let within = |value: Option<i64>, max: Option<i64>| max.is_none_or(|max| value.is_some_and(|value| value <= max));
    within(cost, needs.cost_per_1k_tokens_micro_usd_max)
        && within(model.latency_ms_p50, needs.latency_ms_max)
        && needs.quality_min.is_none_or(|min| model.quality.is_some_and(|quality| quality >= min))
        && needs.context_tokens_min.is_none_or(|min| model.context_tokens.is_some_and(|tokens| tokens >= min))
        && needs.modalities.iter().all(|modality| model.input_modalities.contains(modality))
        && model.tool_calling == Some(true)
}
