//! What a coupling is decided on: an agent, a server, and a catalogue of models.

use super::{NOW, TENANT};
use agentverse::domain::agent::{self, Lifecycle, Profile};
use agentverse::domain::common::Requirements;
use agentverse::domain::coupling::{self, Objective, RequestCoupling};
use agentverse::domain::llm_provider::{self, Access, Model};
use agentverse::domain::mcp_server::{self, DigestedTool, Listing};
use agentverse::domain::{Aggregate, AnyState, Context, Decider, Envelope, Seen, StreamId, TenantId, World};
use std::sync::Arc;
use uuid::Uuid;

const AGENT: Uuid = Uuid::from_u128(1);
const SERVER: Uuid = Uuid::from_u128(2);

/// With eight skills, and everything required that the score has a part for.
pub fn agent() -> agent::State {
    let skills = ["issue triage", "code search", "summarise tickets", "schedule meetings"];
    let more = ["translate", "review changes", "write reports", "plan releases"];
    let profile = Profile {
        name: "Triage".into(),
        category: "engineering".into(),
        skills: skills.into_iter().chain(more).map(str::to_owned).collect(),
        domains: vec!["Developer Tools".into(), "project management".into()],
        requirements: Requirements {
            cost_per_1k_tokens_micro_usd_max: Some(1_000),
            latency_ms_max: Some(2_000),
            quality_min: Some(0.5),
            ..Requirements::default()
        },
        ..Profile::default()
    };
    agent::State { lifecycle: Lifecycle::Active, profile, revision: 1, ..agent::State::default() }
}

/// Thirty tools, as a large public server lists.
pub fn server() -> mcp_server::State {
    let tool = |number: usize| {
        let (name, description) = match number % 3 {
            0 => ("search", "Searches issues, code and tickets by text, label and author"),
            1 => ("triage", "Labels an issue, assigns it to somebody and plans the release that it belongs to"),
            _ => ("export", "Writes everything to a file that other programs can read"),
        };
        DigestedTool { name: format!("{name}_{number:02}"), description: description.into(), ..DigestedTool::default() }
    };
    mcp_server::State {
        status: mcp_server::Status::Registered,
        listing: Listing { name: "Tracker".into(), category: "developer tools".into(), ..Listing::default() },
        tools: (0..30).map(tool).collect(),
        tools_known: true,
        ..mcp_server::State::default()
    }
}

/// The `number`th model: price, latency and quality spread so that somewhat under half of them break a requirement.
pub fn model(number: usize) -> Model {
    let spread = |step: usize, range: usize| (number * step % range) as i64;
    let price = 50_000 + spread(7_919, 1_200_000);
    Model {
        model_id: format!("model-{number:05}"),
        context_tokens: Some(128_000),
        input_micro_usd_per_million: Some(price),
        output_micro_usd_per_million: Some(price),
        tool_calling: Some(true),
        latency_ms_p50: Some(200 + spread(104_729, 2_200)),
        quality: Some(0.45 + spread(15_485, 500) as f64 / 1_000.0),
        ..Model::default()
    }
}

/// A world with `models` models, 100 to a provider, and a request that sees all of them.
pub struct Request {
    world: World,
    envelope: Envelope,
    command: coupling::Command,
}

impl Request {
    pub fn over(models: usize) -> Self {
        let mut world = World::default();
        let mut see = |aggregate: Aggregate, id: Uuid, state: AnyState| {
            world.insert(StreamId::new(TENANT, aggregate, id), Seen { version: 1, state: Arc::new(state) });
        };
        see(Aggregate::Agent, AGENT, AnyState::Agent(Box::new(agent())));
        see(Aggregate::McpServer, SERVER, AnyState::McpServer(Box::new(server())));
        let numbers: Vec<usize> = (0..models).collect();
        let providers = numbers.chunks(100).enumerate().map(|(place, numbers)| {
            let state = llm_provider::State {
                status: llm_provider::Status::Registered,
                access: Access { name: format!("Provider {place}"), ..Access::default() },
                models: numbers.iter().map(|number| model(*number)).collect(),
                ..llm_provider::State::default()
            };
            let stream = StreamId::new(TenantId::SHARED, Aggregate::LlmProvider, Uuid::from_u128(100 + place as u128));
            (stream, Seen { version: 1, state: Arc::new(AnyState::LlmProvider(Box::new(state))) })
        });
        world.insert_providers(TENANT, Arc::new(providers.collect()));
        let command = coupling::Command::RequestCoupling(RequestCoupling {
            agent_id: AGENT,
            mcp_server_id: SERVER,
            model: None,
            objective: Objective::Balanced,
            cost_per_1k_tokens_micro_usd_max: None,
            required_capabilities: Vec::new(),
        });
        let stream = StreamId::new(TENANT, Aggregate::Coupling, Uuid::from_u128(3));
        Self { world, envelope: Envelope::new(Uuid::from_u128(4), stream), command }
    }

    /// Decides the request. `None` where it is refused.
    pub fn decide(&self) -> Option<coupling::CouplingEstablished> {
        let context = Context { now: NOW, envelope: &self.envelope, version: 0, world: &self.world };
        let decision = coupling::Coupling::decide(&coupling::State::default(), &self.command, &context).ok()?;
        match decision.events.into_iter().next()? {
            coupling::Event::CouplingEstablished(established) => Some(established),
            _ => None,
        }
    }
}
