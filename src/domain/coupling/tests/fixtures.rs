//! A small world: one agent, one server, two providers, with everything known. Tests change what they are about.

use crate::domain::agent::{self, Lifecycle, Profile};
use crate::domain::common::{Modality, Requirements};
use crate::domain::coupling::*;
use crate::domain::llm_provider::{self, Access, Model};
use crate::domain::mcp_server::{self, DigestedTool, Listing};
use crate::domain::spec::{Spec, TENANT, stream};
use crate::domain::tenant;
use crate::domain::{AnyState, Seen, TenantId};
use std::sync::Arc;

pub const AGENT: Uuid = Uuid::from_u128(0xa1);
pub const SERVER: Uuid = Uuid::from_u128(0x51);
/// The tenant's own provider.
pub const OWN: Uuid = Uuid::from_u128(0x11);
/// A provider of the shared catalogue.
pub const SHARED: Uuid = Uuid::from_u128(0x22);

/// What a decision can see.
#[derive(Clone)]
pub struct Scene {
    pub tenant: Option<tenant::State>,
    pub agent: Option<agent::State>,
    pub servers: Vec<(TenantId, mcp_server::State)>,
    pub providers: Vec<(TenantId, Uuid, llm_provider::State)>,
}

/// Agent and server fit in full; the budget is 1,000 micro-dollars, the limits 2,000 ms and quality 0.5.
pub fn scene() -> Scene {
    Scene {
        tenant: Some(tenant::State { status: tenant::Status::Active, ..Default::default() }),
        agent: Some(agent()),
        servers: vec![(TENANT, server())],
        providers: vec![
            (TENANT, OWN, provider("Own", vec![model("large", 400, 1_500, 0.9), model("small", 100, 500, 0.6)])),
            (TenantId::SHARED, SHARED, provider("Shared", vec![model("medium", 200, 900, 0.75)])),
        ],
    }
}

pub fn agent() -> agent::State {
    let requirements = Requirements {
        cost_per_1k_tokens_micro_usd_max: Some(1_000),
        latency_ms_max: Some(2_000),
        quality_min: Some(0.5),
        ..Default::default()
    };
    let profile = Profile {
        name: "Triage".into(),
        skills: vec!["issue triage".into(), "search".into()],
        domains: vec!["Developer Tools".into()],
        requirements,
        ..Default::default()
    };
    agent::State { lifecycle: Lifecycle::Active, profile, revision: 1, ..Default::default() }
}

pub fn tool(name: &str, description: &str) -> DigestedTool {
    DigestedTool { name: name.into(), description: description.into(), ..Default::default() }
}

pub fn server() -> mcp_server::State {
    mcp_server::State {
        status: mcp_server::Status::Registered,
        listing: Listing { name: "Tracker".into(), category: "developer tools".into(), ..Default::default() },
        tools: vec![tool("search", "Searches everything"), tool("triage_issue", "Labels an issue and assigns it")],
        tools_known: true,
        ..Default::default()
    }
}

/// A model of this blended price (micro-dollars per 1,000 tokens), latency and quality.
pub fn model(id: &str, price: i64, latency_ms: i64, quality: f64) -> Model {
    Model {
        model_id: id.into(),
        name: id.into(),
        context_tokens: Some(128_000),
        input_micro_usd_per_million: Some(price * 1_000),
        output_micro_usd_per_million: Some(price * 1_000),
        input_modalities: vec![Modality::Text],
        tool_calling: Some(true),
        latency_ms_p50: Some(latency_ms),
        quality: Some(quality),
        ..Default::default()
    }
}

pub fn provider(name: &str, models: Vec<Model>) -> llm_provider::State {
    let access = Access { name: name.into(), ..Default::default() };
    llm_provider::State { status: llm_provider::Status::Registered, access, models, ..Default::default() }
}

impl Scene {
    pub fn agent(&mut self) -> &mut agent::State {
        self.agent.as_mut().expect("an agent")
    }

    pub fn requirements(&mut self) -> &mut Requirements {
        &mut self.agent().profile.requirements
    }

    pub fn tenant(&mut self) -> &mut tenant::State {
        self.tenant.as_mut().expect("a tenant")
    }

    pub fn server(&mut self) -> &mut mcp_server::State {
        &mut self.servers[0].1
    }

    /// The tenant's own provider.
    pub fn own(&mut self) -> &mut llm_provider::State {
        &mut self.providers[0].2
    }

    /// The provider of the shared catalogue.
    pub fn shared(&mut self) -> &mut llm_provider::State {
        &mut self.providers[1].2
    }

    pub fn without_model(mut self, id: &str) -> Self {
        for (.., provider) in &mut self.providers {
            provider.models.retain(|model| model.model_id != id);
        }
        self
    }

    fn streams(&self) -> Vec<(StreamId, u64, AnyState)> {
        let mut streams = Vec::new();
        if let Some(state) = &self.tenant {
            let stream = StreamId::new(TENANT, Aggregate::Tenant, TENANT.0);
            streams.push((stream, 3, AnyState::Tenant(Box::new(state.clone()))));
        }
        if let Some(state) = &self.agent {
            let stream = StreamId::new(TENANT, Aggregate::Agent, AGENT);
            streams.push((stream, 4, AnyState::Agent(Box::new(state.clone()))));
        }
        for (home, state) in &self.servers {
            let stream = StreamId::new(*home, Aggregate::McpServer, SERVER);
            streams.push((stream, 5, AnyState::McpServer(Box::new(state.clone()))));
        }
        streams.extend(self.provider_streams());
        streams
    }

    fn provider_streams(&self) -> Vec<(StreamId, u64, AnyState)> {
        let heads = self.providers.iter().map(|(home, id, state)| {
            (StreamId::new(*home, Aggregate::LlmProvider, *id), 6, AnyState::LlmProvider(Box::new(state.clone())))
        });
        heads.collect()
    }

    /// A spec that sees this scene.
    pub fn spec(&self, events: impl IntoIterator<Item = Event>) -> Spec<Coupling> {
        let spec = Spec::<Coupling>::given(events).seeing_providers(self.provider_streams());
        self.streams().into_iter().fold(spec, |spec, (stream, version, state)| spec.seeing(stream, version, state))
    }

    pub fn world(&self) -> World {
        let mut world = World::default();
        for (stream, version, state) in self.streams() {
            world.insert(stream, Seen { version, state: Arc::new(state) });
        }
        let mut providers: Vec<_> = self
            .provider_streams()
            .into_iter()
            .map(|(stream, version, state)| (stream, Seen { version, state: Arc::new(state) }))
            .collect();
        providers.sort_by_key(|(stream, _)| *stream);
        world.insert_providers(TENANT, Arc::new(providers));
        world
    }

    /// Decides as the system's own follow-up command.
    pub fn react_with(&self, state: &State, command: Command) -> Decision<Event> {
        let mut envelope = Envelope::new(Uuid::from_u128(9), stream::<Coupling>());
        envelope.source = crate::domain::envelope::SYSTEM_SOURCE.into();
        let world = self.world();
        let context = Context { now: 0, envelope: &envelope, version: 1, world: &world };
        Coupling::decide(state, &command, &context).expect("decided")
    }

    /// The event of a request that this scene lets through.
    pub fn established(&self, request: RequestCoupling) -> Event {
        let outcome = self.spec([]).when(request);
        let [event @ Event::CouplingEstablished(_)] = outcome.events() else {
            panic!("not established: {:?}", outcome.events())
        };
        event.clone()
    }

    /// The assessment behind a request, established or refused.
    pub fn assessed(&self, request: RequestCoupling) -> Assessment {
        match self.spec([]).when(request).events() {
            [Event::CouplingEstablished(event)] => event.assessment.clone(),
            [Event::CouplingRefused(event)] => event.assessment.clone(),
            other => panic!("{other:?}"),
        }
    }
}

pub fn request() -> RequestCoupling {
    RequestCoupling {
        agent_id: AGENT,
        mcp_server_id: SERVER,
        model: None,
        objective: Objective::Balanced,
        cost_per_1k_tokens_micro_usd_max: None,
        required_capabilities: Vec::new(),
    }
}

pub fn by(objective: Objective) -> RequestCoupling {
    RequestCoupling { objective, ..request() }
}

pub fn reference(provider_id: Uuid, model_id: &str) -> ModelRef {
    ModelRef { provider_id, model_id: model_id.into() }
}

pub fn pinned(provider_id: Uuid, model_id: &str) -> RequestCoupling {
    RequestCoupling { model: Some(reference(provider_id, model_id)), ..request() }
}

/// The state after these events.
pub fn after(events: impl IntoIterator<Item = Event>) -> State {
    Spec::<Coupling>::given(events).state().clone()
}

pub fn suspended(hold: Hold) -> Event {
    Event::CouplingSuspended(CouplingSuspended { hold, reason: "why".into(), assessment: None })
}

pub fn ended() -> Event {
    Event::CouplingEnded(CouplingEnded { reason: "done".into() })
}

macro_rules! into_command {
    ($($record:ident),+) => {
        $(impl From<$record> for Command {
            fn from(command: $record) -> Self {
                Command::$record(command)
            }
        })+
    };
}
into_command!(RequestCoupling, RebindCoupling, SuspendCoupling, ResumeCoupling, EndCoupling, RequestCompletion);

macro_rules! into_event {
    ($($record:ident),+) => {
        $(impl From<$record> for Event {
            fn from(event: $record) -> Self {
                Event::$record(event)
            }
        })+
    };
}
into_event!(CouplingRefused, CouplingRebound, CouplingResumed, CompletionRequested);
