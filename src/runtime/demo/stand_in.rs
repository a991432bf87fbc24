//! What keeps the fleet busy: every company has a stand-in for an LLM provider, some of its agents are coupled to the
//! models there, and requests go by these couplings.
//!
//! Where the stand-in listens is not known when it is registered: it is told at every start ([`StandIn::move_to`]).

use super::agents::PlannedAgent;
use super::couplings::PlannedCoupling;
use super::random::SplitMix64;
use super::tenants::{COMPANIES, Company};
use super::{Commands, Fleet, SOURCE, Stage, agents, command};
use crate::domain::common::Modality;
use crate::domain::coupling::{Command, ModelRef, Objective, RequestCoupling};
use crate::domain::llm_provider::{self, Model, RegisterLlmProvider, ReviseLlmProvider};
use crate::domain::llm_request::Priority;
use crate::domain::{Aggregate, Envelope, StreamId};
use crate::runtime::catalog::Catalog;
use uuid::Uuid;

/// The name of each company's own.
pub const PROVIDER: &str = "Stand-in";
/// Its models, with their prices in micro-dollars per million tokens: input and output.
const MODELS: [(&str, i64, i64); 2] = [("stand-in-small", 150_000, 600_000), ("stand-in-large", 2_500_000, 10_000_000)];
/// Of each company.
const REQUESTS_PER_MINUTE: i64 = 60;
const TOKENS_PER_MINUTE: i64 = 30_000;
/// Agents of each company that are coupled to it.
const AGENTS_EACH: usize = 6;
/// The round of their couplings, after those of the fleet.
const ROUND: usize = 3;
/// Where nobody listens (port 9: discard), until it is told where it is.
const NOWHERE: &str = "http://127.0.0.1:9/v1";

const PURPOSE: u64 = 0x7374_616e_6469_6e73;
const QUESTIONS: &[&str] = &[
    "Summarise what changed since yesterday in three sentences.",
    "Which open items are overdue, and who should be asked first?",
    "Draft a short and friendly answer to the last message.",
    "Compare the two offers by price, delivery and risk.",
    "What does the report not say that it should?",
    "List the steps to take when the check fails again.",
];

/// The stand-ins of the fleet, and what goes by them.
pub struct StandIn {
    /// Registers and couples; idempotent, as all of the demo.
    pub stages: Vec<Stage>,
    providers: Vec<StreamId>,
    /// Couplings that requests may go by; some may have been refused.
    pub couplings: Vec<StreamId>,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub coupling: StreamId,
    pub priority: Priority,
    pub question: &'static str,
    pub output_tokens_max: u64,
    pub stream: bool,
}

impl StandIn {
    pub fn new(catalog: &Catalog) -> Self {
        let fleet = Fleet { catalog, agents: agents::plan(catalog) };
        // The last company is suspended by the stage "operations".
        let companies = &COMPANIES[..COMPANIES.len().saturating_sub(1)];
        let registered: Commands = companies.iter().map(register).collect();
        let coupled: Commands = companies.iter().flat_map(|company| couple(&fleet, company)).collect();
        let streams = |commands: &Commands| commands.iter().map(|(envelope, _)| envelope.stream).collect();
        Self {
            providers: streams(&registered),
            couplings: streams(&coupled),
            stages: vec![
                Stage { name: "stand-in providers", commands: registered },
                Stage { name: "couplings to them", commands: coupled },
            ],
        }
    }

    /// One of the providers: all are at the same place.
    pub fn provider(&self) -> Option<StreamId> {
        self.providers.first().copied()
    }

    /// Says where they are. Each needs an id that was never used: the place may be one of before.
    pub fn move_to(&self, endpoint: &str, fresh_id: impl Fn() -> Uuid) -> Commands {
        let revise = |stream: &StreamId| {
            let revise = ReviseLlmProvider { endpoint: Some(endpoint.to_owned()), ..Default::default() };
            let envelope =
                Envelope { source: SOURCE.into(), actor: Some(SOURCE.into()), ..Envelope::new(fresh_id(), *stream) };
            (envelope, llm_provider::Command::ReviseLlmProvider(revise).into())
        };
        self.providers.iter().map(revise).collect()
    }
}

/// The request of this number, by one of the couplings. The first ones are asked the most.
pub fn ask(number: u64, couplings: &[StreamId]) -> Option<Ask> {
    let mut random = SplitMix64::new(PURPOSE, usize::try_from(number).unwrap_or_default());
    let reach = 1 + random.below(couplings.len().max(1));
    let coupling = *couplings.get(random.below(reach))?;
    let priority = match random.below(100) {
        0..70 => Priority::Interactive,
        70..90 => Priority::Normal,
        _ => Priority::Batch,
    };
    let question = random.pick(QUESTIONS).copied().unwrap_or_default();
    let output_tokens_max = 40 + 20 * random.below(8) as u64;
    Some(Ask { coupling, priority, question, output_tokens_max, stream: random.chance(30) })
}

fn register(company: &Company) -> (Envelope, crate::domain::AnyCommand) {
    let model = |(model_id, input, output): (&str, i64, i64)| Model {
        model_id: model_id.into(),
        name: model_id.into(),
        context_tokens: Some(1_000_000),
        output_tokens_max: Some(8_192),
        input_micro_usd_per_million: Some(input),
        output_micro_usd_per_million: Some(output),
        cached_input_micro_usd_per_million: Some(input / 2),
        input_modalities: vec![Modality::Text, Modality::Image],
        output_modalities: vec![Modality::Text],
        tool_calling: Some(true),
        structured_output: Some(true),
        latency_ms_p50: Some(800),
        quality: Some(0.9),
        ..Model::default()
    };
    let register = RegisterLlmProvider {
        name: PROVIDER.into(),
        endpoint: Some(NOWHERE.into()),
        models: MODELS.map(model).into(),
        requests_per_minute: Some(REQUESTS_PER_MINUTE),
        tokens_per_minute: Some(TOKENS_PER_MINUTE),
        ..Default::default()
    };
    command(provider_of(company), "", llm_provider::Command::RegisterLlmProvider(register))
}

fn provider_of(company: &Company) -> StreamId {
    company.own(Aggregate::LlmProvider, PROVIDER)
}

/// Couples some of a company's agents: those that nothing stands in the way of.
fn couple(fleet: &Fleet, company: &'static Company) -> Commands {
    let is_free = |agent: &&PlannedAgent| {
        let allows_all = agent.project.is_none_or(|it| it.providers.is_none() && it.servers.is_none());
        agent.company.name == company.name && agent.activated && allows_all
    };
    let request = |(index, agent): (usize, &PlannedAgent)| {
        let coupling = PlannedCoupling::fitting(agent, ROUND);
        let (model_id, ..) = MODELS[index % MODELS.len()];
        let request = RequestCoupling {
            agent_id: agent.stream().id,
            mcp_server_id: coupling.fitting_server(fleet.catalog),
            model: Some(ModelRef { provider_id: provider_of(company).id, model_id: model_id.into() }),
            objective: Objective::Cost,
            cost_per_1k_tokens_micro_usd_max: None,
            required_capabilities: Vec::new(),
        };
        command(coupling.stream(), "", Command::RequestCoupling(request))
    };
    fleet.agents.iter().filter(is_free).take(AGENTS_EACH).enumerate().map(request).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::demo::stages;
    use std::collections::HashSet;

    fn stand_in() -> StandIn {
        StandIn::new(Catalog::built_in().expect("the files parse"))
    }

    #[test]
    fn every_company_but_the_suspended_one_has_a_stand_in_and_couplings_to_it() {
        let stand_in = stand_in();
        assert_eq!((stand_in.providers.len(), stand_in.couplings.len()), (9, 9 * AGENTS_EACH));
        let again: Vec<_> = self::stand_in().stages.into_iter().map(|stage| stage.commands).collect();
        let first: Vec<_> = stand_in.stages.into_iter().map(|stage| stage.commands).collect();
        assert_eq!(first, again, "a second run sends the same commands");
    }

    #[test]
    fn its_streams_are_not_those_of_the_fleet() {
        let fleet: HashSet<StreamId> = stages(Catalog::built_in().expect("the files parse"))
            .flat_map(|stage| stage.commands)
            .map(|(envelope, _)| envelope.stream)
            .collect();
        let stand_in = stand_in();
        let own = stand_in.providers.iter().chain(&stand_in.couplings);
        assert_eq!(own.filter(|stream| fleet.contains(stream)).count(), 0);
    }

    #[test]
    fn a_move_is_a_new_command_each_time() {
        let (stand_in, count) = (stand_in(), std::cell::Cell::new(0));
        let fresh = || {
            count.set(count.get() + 1);
            Uuid::from_u128(count.get())
        };
        let both = [stand_in.move_to("http://127.0.0.1:1/v1", fresh), stand_in.move_to("http://127.0.0.1:1/v1", fresh)];
        let ids: HashSet<Uuid> = both.iter().flatten().map(|(envelope, _)| envelope.command_id).collect();
        assert_eq!(ids.len(), 18);
    }

    #[test]
    fn requests_are_of_every_kind_and_the_first_couplings_have_the_most() {
        let couplings = stand_in().couplings;
        let asks: Vec<Ask> = (0..1_000).map(|number| ask(number, &couplings).expect("a coupling")).collect();
        assert_eq!(ask(7, &couplings), ask(7, &couplings));
        let of = |priority| asks.iter().filter(|ask| ask.priority == priority).count();
        assert!(of(Priority::Interactive) > of(Priority::Normal) && of(Priority::Normal) > of(Priority::Batch));
        assert!(of(Priority::Batch) > 50 && asks.iter().any(|ask| ask.stream));
        let half = asks.iter().filter(|ask| couplings[..couplings.len() / 2].contains(&ask.coupling)).count();
        assert!(half > 700, "{half}");
        assert_eq!(ask(0, &[]), None);
    }
}
