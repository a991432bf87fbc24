//! The thousand agents: each from a template, with an owner, a project, a risk tier and needs.

use super::random::SplitMix64;
use super::tenants::{COMPANIES, Company, PlannedProject};
use super::{Commands, Fleet, command};
use crate::domain::agent::{ActivateAgent, Command, RegisterAgent, RiskTier};
use crate::domain::agent_template::Definition;
use crate::domain::{Aggregate, StreamId, common::Requirements};
use crate::runtime::catalog::Catalog;
use std::collections::BTreeMap;

/// What a coupling has to know of an agent before the agent exists.
pub struct PlannedAgent<'a> {
    /// From 0, over the whole fleet.
    pub index: usize,
    pub company: &'static Company,
    pub project: Option<&'static PlannedProject>,
    pub template: &'a Definition,
    /// What the agent asks of its model, the template's needs included.
    pub requirements: Requirements,
    /// Set when the agent's needs differ from the template's.
    own_requirements: bool,
    /// A few are left in provisioning.
    pub activated: bool,
}

const PURPOSE: u64 = 0x6167_656e_7473;

const CODE_NAMES: &[&str] = &[
    "Amber", "Basalt", "Cedar", "Delta", "Ember", "Fjord", "Garnet", "Harbor", "Indigo", "Jasper", "Kestrel", "Lumen",
    "Maple", "Nimbus", "Opaline", "Pine", "Quartz", "Raven", "Slate", "Tundra", "Umber", "Vesper", "Willow", "Zephyr",
];
const GIVEN_NAMES: &[&str] =
    &["ada", "bruno", "chidi", "dana", "elif", "farid", "greta", "hana", "ivo", "jun", "kaya", "leon"];
const FAMILY_NAMES: &[&str] =
    &["abel", "brandt", "costa", "dietz", "eriksen", "fontaine", "gupta", "hale", "ito", "janssen"];

/// Values for the parameters that a demo agent may set; the first column is the parameter's name.
const PARAMETERS: &[(&str, &[&str])] = &[
    ("jurisdiction", &["Germany", "the State of New York", "Singapore", "France"]),
    ("product", &["freight contracts", "savings plans", "service robots", "group travel", "solar leases"]),
    ("industry", &["logistics", "retail banking", "robotics", "food supply", "energy trading"]),
    ("process", &["vendor payments", "access reviews", "stock counts", "expense reports"]),
    ("tone", &["warm and plain", "formal", "cheerful and short"]),
    ("environment", &["staging", "production in daylight hours", "the test cluster"]),
    ("language", &["English", "German", "Japanese", "Spanish"]),
    ("currency", &["USD", "EUR", "SGD"]),
];

/// All agents, tenant by tenant.
pub fn plan(catalog: &Catalog) -> Vec<PlannedAgent<'_>> {
    let mut agents = Vec::with_capacity(super::AGENTS);
    for company in COMPANIES {
        for _ in 0..company.agents {
            let index = agents.len();
            let mut random = SplitMix64::new(PURPOSE, index);
            let Some(template) = random.pick(&catalog.templates.entries) else { return agents };
            let project = if random.chance(85) { random.pick(company.projects) } else { None };
            let own_requirements = random.chance(35);
            let mut requirements = template.requirements.clone();
            if own_requirements {
                vary(&mut requirements, &mut random);
            }
            let activated = !random.chance(6);
            agents.push(PlannedAgent { index, company, project, template, requirements, own_requirements, activated });
        }
    }
    agents
}

/// Somewhat tighter or looser than the template.
fn vary(requirements: &mut Requirements, random: &mut SplitMix64) {
    let percent = 60 + 10 * random.below(10) as i64;
    requirements.cost_per_1k_tokens_micro_usd_max =
        requirements.cost_per_1k_tokens_micro_usd_max.map(|micro_usd| micro_usd * percent / 100);
    requirements.latency_ms_max = requirements.latency_ms_max.map(|ms| ms * (70 + 10 * random.below(8) as i64) / 100);
    if random.chance(30) {
        requirements.quality_min = None;
    }
    if random.chance(25) {
        requirements.context_tokens_min = Some(200_000);
    }
}

impl PlannedAgent<'_> {
    pub fn stream(&self) -> StreamId {
        self.company.own(Aggregate::Agent, &self.index.to_string())
    }

    /// Numbers for one more purpose, apart from those that the plan used.
    pub fn random(&self, purpose: u64) -> SplitMix64 {
        SplitMix64::new(PURPOSE ^ purpose, self.index)
    }

    fn registration(&self) -> RegisterAgent {
        let mut random = self.random(1);
        let mut word = |words: &[&str]| random.pick(words).copied().unwrap_or_default().to_owned();
        let name = format!("{} {}-{:04}", self.template.name, word(CODE_NAMES), self.index + 1);
        let owner = format!("{}.{}@{}", word(GIVEN_NAMES), word(FAMILY_NAMES), self.company.mail);
        RegisterAgent {
            name,
            category: String::new(),
            purpose: String::new(),
            role: String::new(),
            instructions: Default::default(),
            skills: if random.chance(20) { vec!["summary report".into()] } else { Vec::new() },
            domains: Vec::new(),
            owner: owner.as_str().into(),
            project: self.project.map(|project| project.name.into()),
            risk_tier: self.risk_tier(&mut random),
            confidence_threshold: random.chance(70).then(|| 0.5 + 0.05 * random.below(9) as f64),
            requirements: self.own_requirements.then(|| self.requirements.clone()),
            template: Some(self.template.name.clone()),
            template_parameters: self.parameters(&mut random),
        }
    }

    fn risk_tier(&self, random: &mut SplitMix64) -> RiskTier {
        match self.template.category.as_str() {
            "security" | "legal" | "finance" | "devops" | "operations" => RiskTier::High,
            "knowledge" | "human resources" | "marketing" => RiskTier::Low,
            _ if random.chance(30) => RiskTier::Low,
            _ => RiskTier::Medium,
        }
    }

    /// All required parameters, and some of those that have a default.
    fn parameters(&self, random: &mut SplitMix64) -> BTreeMap<String, String> {
        let mut parameters = BTreeMap::new();
        for parameter in &self.template.parameters {
            let known = PARAMETERS.iter().find(|(name, _)| *name == parameter.name);
            let value = match known {
                _ if parameter.name == "company" => Some(self.company.name),
                Some((_, values)) if parameter.default_value.is_none() || random.chance(40) => {
                    random.pick(values).copied()
                }
                _ => None,
            };
            parameters.extend(value.map(|value| (parameter.name.clone(), value.to_owned())));
        }
        parameters
    }
}

pub fn register(fleet: &Fleet) -> Commands {
    let register = |agent: &PlannedAgent| command(agent.stream(), "", Command::RegisterAgent(agent.registration()));
    fleet.agents.iter().map(register).collect()
}

pub fn activate(fleet: &Fleet) -> Commands {
    let activate = |agent: &PlannedAgent| command(agent.stream(), "", Command::ActivateAgent(ActivateAgent {}));
    fleet.agents.iter().filter(|agent| agent.activated).map(activate).collect()
}
