//! Given, when, then: the lifecycle, health, what the read side sees, the golden bytes. What a registration or a
//! revision makes of a profile is in `tests/profile.rs`.

mod profile;

use super::*;
use crate::domain::common::{Modality, TEXT_BYTES_MAX};
use crate::domain::personal::Sealed;
use crate::domain::spec::{self, Spec, TENANT};
use crate::domain::tenant::{self, standing};
use crate::domain::{AnyCommand, AnyState, StreamId, TenantId, coupling, golden, wire::Wire};
use proptest::prelude::*;

fn given(events: impl IntoIterator<Item = Event>) -> Spec<Agent> {
    Spec::given(events)
}

fn requirements() -> Requirements {
    Requirements {
        cost_per_1k_tokens_micro_usd_max: Some(9_000),
        latency_ms_max: Some(4_000),
        quality_min: Some(0.75),
        context_tokens_min: Some(32_000),
        modalities: vec![Modality::Text, Modality::Image],
    }
}

fn profile() -> Profile {
    Profile {
        name: "Ada".into(),
        category: "research".into(),
        purpose: "Reads papers.".into(),
        role: "researcher".into(),
        instructions: "Read.".into(),
        skills: vec!["search".into(), "summarize".into()],
        domains: vec!["science".into()],
        owner: "lab@example.org".into(),
        project: Some("core".into()),
        risk_tier: RiskTier::High,
        confidence_threshold: Some(0.5),
        requirements: requirements(),
    }
}

/// The command that registers [`profile`].
fn register() -> RegisterAgent {
    let profile = profile();
    RegisterAgent {
        name: profile.name,
        category: profile.category,
        purpose: profile.purpose,
        role: profile.role,
        instructions: profile.instructions,
        skills: profile.skills,
        domains: profile.domains,
        owner: profile.owner,
        project: profile.project,
        risk_tier: profile.risk_tier,
        confidence_threshold: profile.confidence_threshold,
        requirements: Some(profile.requirements),
        template: None,
        template_parameters: BTreeMap::new(),
    }
}

fn registered() -> Event {
    Event::AgentRegistered(AgentRegistered { profile: profile(), template: None })
}

fn revised() -> Event {
    let profile = Profile { role: "librarian".into(), ..profile() };
    Event::AgentRevised(AgentRevised { profile, revision: 2 })
}

fn activated() -> Event {
    Event::AgentActivated(AgentActivated {})
}

fn idled() -> Event {
    Event::AgentIdled(AgentIdled {})
}

fn maintained() -> Event {
    Event::AgentMaintained(AgentMaintained { reason: "upgrade".into() })
}

fn decommissioned() -> Event {
    Event::AgentDecommissioned(AgentDecommissioned { reason: "obsolete".into() })
}

fn degraded() -> Event {
    let reason = "no heartbeat".into();
    Event::AgentHealthChanged(AgentHealthChanged { before: Health::Active, after: Health::Degraded, reason })
}

fn report(health: Health) -> Command {
    Command::ReportAgentHealth(ReportAgentHealth { health, reason: "no heartbeat".into() })
}

fn decommission() -> Command {
    Command::DecommissionAgent(DecommissionAgent { reason: "obsolete".into() })
}

fn events() -> Vec<Event> {
    vec![registered(), revised(), activated(), idled(), maintained(), decommissioned(), degraded()]
}

/// One of each command.
fn commands() -> Vec<Command> {
    vec![
        Command::RegisterAgent(register()),
        Command::ReviseAgent(ReviseAgent { role: Some("librarian".into()), ..ReviseAgent::default() }),
        Command::ActivateAgent(ActivateAgent {}),
        Command::IdleAgent(IdleAgent {}),
        Command::MaintainAgent(MaintainAgent { reason: "upgrade".into() }),
        decommission(),
        report(Health::Degraded),
    ]
}

fn states() -> [(&'static str, Vec<Event>); 6] {
    [
        ("absent", vec![]),
        ("provisioning", vec![registered()]),
        ("active", vec![registered(), activated()]),
        ("idle", vec![registered(), activated(), idled()]),
        ("maintenance", vec![registered(), activated(), maintained()]),
        ("decommissioned", vec![registered(), activated(), decommissioned()]),
    ]
}

/// What a command comes to: the event's name, "unchanged", or the code of the refusal.
fn outcome(state: &State, command: &Command, world: &World) -> String {
    let envelope = Envelope::new(Uuid::from_u128(1), spec::stream::<Agent>());
    let context = Context { now: spec::NOW, envelope: &envelope, version: 1, world };
    match Agent::decide(state, command, &context) {
        Ok(decision) if decision.events.is_empty() => "unchanged".into(),
        Ok(decision) => decision.events.iter().map(Wire::name).collect::<Vec<_>>().join("+"),
        Err(rejection) => rejection.code,
    }
}

#[test]
fn every_command_in_every_lifecycle_state() {
    const NO: &str = "illegal_transition";
    const NONE: &str = "not_found";
    // One row per command; the columns are the states: absent, provisioning, active, idle, maintenance, decommissioned.
    let expected = [
        ["AgentRegistered", "unchanged", "unchanged", "unchanged", "unchanged", NO],
        [NONE, "AgentRevised", "AgentRevised", "AgentRevised", "AgentRevised", NO],
        [NONE, "AgentActivated", "unchanged", "AgentActivated", "AgentActivated", NO],
        [NONE, NO, "AgentIdled", "unchanged", "AgentIdled", NO],
        [NONE, NO, "AgentMaintained", "AgentMaintained", "unchanged", NO],
        [NONE, "AgentDecommissioned", "AgentDecommissioned", "AgentDecommissioned", "AgentDecommissioned", "unchanged"],
        [NONE, "AgentHealthChanged", "AgentHealthChanged", "AgentHealthChanged", "AgentHealthChanged", NO],
    ];
    assert_eq!(commands().len(), expected.len());
    for (column, (name, events)) in states().into_iter().enumerate() {
        let spec = given(events);
        assert_eq!(Agent::status(spec.state()), name);
        assert_eq!(Agent::is_terminal(spec.state()), name == "decommissioned");
        for (command, row) in commands().iter().zip(expected) {
            assert_eq!(outcome(spec.state(), command, &World::default()), row[column], "{command:?} when {name}");
        }
    }
}

#[test]
fn an_illegal_move_says_which_moves_there_are() {
    let rejection = given([registered()]).when(Command::IdleAgent(IdleAgent {})).then_refused("illegal_transition");
    assert_eq!(rejection.details["from"], "provisioning");
    assert_eq!(rejection.details["to"], "idle");
    assert!(rejection.message.ends_with("allowed from provisioning: active, decommissioned"), "{}", rejection.message);
    let rejection =
        given([registered(), decommissioned()]).when(report(Health::Active)).then_refused("illegal_transition");
    assert!(rejection.message.ends_with("none, the state is final"), "{}", rejection.message);
}

#[test]
fn a_standing_tenant_gates_all_but_the_end_and_health() {
    let standings = [
        (tenant::Status::Active, None),
        (tenant::Status::Absent, None),
        (tenant::Status::Suspended, Some("tenant_suspended")),
        (tenant::Status::Closed, Some("tenant_closed")),
    ];
    for (status, code) in standings {
        let projects = BTreeMap::from([("core".to_owned(), tenant::Project::default())]);
        let state = tenant::State { status, projects, ..tenant::State::default() };
        let tenant = AnyState::Tenant(Box::new(state));
        for command in commands() {
            let gated = !matches!(command, Command::DecommissionAgent(_) | Command::ReportAgentHealth(_));
            let events = vec![registered(), activated(), idled()];
            let outcome = given(events).seeing(standing::stream(TENANT), 3, tenant.clone()).when(command);
            match code {
                Some(code) if gated => drop(outcome.then_refused(code)),
                _ => drop(outcome.after()),
            }
        }
    }
}

#[test]
fn the_tenant_is_looked_up_only_where_it_can_refuse() {
    let envelope =
        |tenant| Envelope::new(Uuid::from_u128(1), StreamId::new(tenant, Aggregate::Agent, Uuid::from_u128(2)));
    for command in commands() {
        let gated = !matches!(command, Command::DecommissionAgent(_) | Command::ReportAgentHealth(_));
        let expected = if gated { vec![Lookup::Stream(standing::stream(TENANT))] } else { vec![] };
        assert_eq!(Agent::lookups(&State::default(), &command, &envelope(TENANT)), expected, "{command:?}");
        assert_eq!(Agent::lookups(&State::default(), &command, &envelope(TenantId::SHARED)), []);
    }
}

#[test]
fn only_a_change_of_health_is_recorded() {
    let change =
        |before, after| Event::AgentHealthChanged(AgentHealthChanged { before, after, reason: "no heartbeat".into() });
    let first = change(Health::Unknown, Health::Active);
    given([registered()]).when(report(Health::Active)).then([first.clone()]);
    given([registered(), first.clone()]).when(report(Health::Active)).then_nothing();
    let second = change(Health::Active, Health::Offline);
    let state = given([registered(), first]).when(report(Health::Offline)).then([second]);
    assert_eq!((state.health, state.lifecycle), (Health::Offline, Lifecycle::Provisioning));
}

#[test]
fn a_reason_is_bounded() {
    let reason = "x".repeat(TEXT_BYTES_MAX + 1);
    for command in [
        Command::MaintainAgent(MaintainAgent { reason: reason.clone() }),
        Command::DecommissionAgent(DecommissionAgent { reason: reason.clone() }),
        Command::ReportAgentHealth(ReportAgentHealth { health: Health::Offline, reason: reason.clone() }),
    ] {
        let rejection = given([registered(), activated()]).when(command).then_refused("invalid");
        assert_eq!(rejection.details["field"], "reason");
    }
}

#[test]
fn the_reason_of_a_maintenance_ends_with_it() {
    let state = given([registered(), activated(), maintained()]);
    assert_eq!(state.state().reason, "upgrade");
    assert_eq!(state.when(Command::IdleAgent(IdleAgent {})).then([idled()]).reason, "");
}

#[test]
fn couplings_end_with_their_agent() {
    let meta = spec::meta(spec::stream::<Agent>(), 3);
    let react = |event: &Event| Agent::react(event, &State::default(), &meta, &World::default());
    let end = |reason: String| {
        let command = AnyCommand::from(coupling::Command::EndCoupling(coupling::EndCoupling { reason }));
        [Reaction::FanOut { name: "end_with_agent", from: meta.stream, to: Aggregate::Coupling, command }]
    };
    let because = |reason: &str| Event::AgentDecommissioned(AgentDecommissioned { reason: reason.into() });
    assert_eq!(react(&decommissioned()), end("agent decommissioned: obsolete".into()));
    assert_eq!(react(&because("")), end("agent decommissioned".into()));
    let long = "x".repeat(TEXT_BYTES_MAX);
    let cut = format!("agent decommissioned: {long}")[..TEXT_BYTES_MAX].to_owned();
    assert_eq!(react(&because(&long)), end(cut));
    for event in events().iter().filter(|event| **event != decommissioned()) {
        assert_eq!(react(event), [], "{event:?}");
    }
}

#[test]
fn the_view_shows_the_profile_and_where_the_agent_stands() {
    let spec = given([golden_registered(), activated(), degraded(), maintained()]);
    let expected = serde_json::json!({
        "lifecycle": "maintenance", "health": "degraded", "revision": 1, "reason": "upgrade",
        "name": "Ada", "category": "research", "purpose": "Reads papers.", "role": "researcher",
        "instructions": {"key_id": "key-1", "nonce": "AQI=", "ciphertext": "AwQF"},
        "skills": ["search", "summarize"], "domains": ["science"], "owner": "lab@example.org", "project": "core",
        "risk_tier": "high", "confidence_threshold": 0.5,
        "requirements": {
            "cost_per_1k_tokens_micro_usd_max": 9_000, "latency_ms_max": 4_000, "quality_min": 0.75,
            "context_tokens_min": 32_000, "modalities": ["text", "image"],
        },
        "template": {
            "template_id": Uuid::from_u128(9), "shared": true, "name": "researcher", "version": 4,
            "parameters": {"field": "physics"},
        },
    });
    assert_eq!(serde_json::Value::Object(Agent::view(spec.state())), expected);
    assert_eq!(Agent::view(given([registered()]).state())["template"], serde_json::Value::Null);
}

#[test]
fn every_filter_has_a_value() {
    let spec = given([golden_registered(), degraded()]);
    let values: Vec<_> = Agent::FILTERS.iter().map(|filter| Agent::facet(spec.state(), filter).join(",")).collect();
    let template = format!("researcher,{}", Uuid::from_u128(9));
    let expected = [
        "Ada",
        "research",
        "researcher",
        "search,summarize",
        "science",
        "core",
        "lab@example.org",
        "high",
        "degraded",
        &template,
    ];
    assert_eq!(values, expected);
    assert!(Agent::facet(spec.state(), "nothing").is_empty());
}

/// A registration with every field set, one of the personal ones sealed.
fn golden_registered() -> Event {
    let sealed = Sealed { key_id: "key-1".into(), nonce: vec![1, 2], ciphertext: vec![3, 4, 5] };
    let profile = Profile { instructions: Personal::Sealed(sealed), ..profile() };
    let template = TemplateUse {
        template_id: Uuid::from_u128(9),
        shared: true,
        name: "researcher".into(),
        version: 4,
        parameters: BTreeMap::from([("field".to_owned(), "physics".to_owned())]),
    };
    Event::AgentRegistered(AgentRegistered { profile, template: Some(template) })
}

#[test]
fn golden_events() {
    let mut samples = events();
    samples[0] = golden_registered();
    golden::assert_full(&samples);
    golden::check("agent", samples);
}

#[test]
fn golden_commands() {
    let mut samples = commands();
    samples[0] = Command::RegisterAgent(RegisterAgent {
        template: Some("researcher".into()),
        template_parameters: BTreeMap::from([("field".to_owned(), "physics".to_owned())]),
        ..register()
    });
    samples[1] = Command::ReviseAgent(ReviseAgent {
        name: Some("Ada 2".into()),
        category: Some("library".into()),
        purpose: Some("Finds papers.".into()),
        role: Some("librarian".into()),
        instructions: Personal::Sealed(Sealed { key_id: "key-2".into(), nonce: vec![6], ciphertext: vec![7, 8] }),
        skills: Some(vec!["index".into()]),
        domains: Some(vec!["history".into()]),
        owner: "library@example.org".into(),
        project: Some("archive".into()),
        risk_tier: Some(RiskTier::Low),
        confidence_threshold: Some(0.25),
        requirements: Some(requirements()),
    });
    golden::assert_full(&samples);
    golden::check("agent", samples);
}

proptest! {
    /// Any order of events leads to a state that has a view, survives its blob, and decides every command.
    #[test]
    fn no_order_of_events_panics(
        order in prop::collection::vec(prop::sample::select([events(), vec![golden_registered()]].concat()), 0..12),
    ) {
        let state = given(order).state().clone();
        let any = AnyState::Agent(Box::new(state.clone()));
        prop_assert_eq!(AnyState::from_blob(Aggregate::Agent, &any.to_blob().unwrap()).unwrap(), any);
        prop_assert_eq!(&Agent::view(&state)["lifecycle"], Agent::status(&state));
        for command in commands() {
            outcome(&state, &command, &World::default());
        }
    }

    /// However an agent got where it is, nothing but its end's repetition is taken once it is decommissioned.
    #[test]
    fn decommissioned_is_final(order in prop::collection::vec(prop::sample::select(commands()), 0..12)) {
        let mut state = given([registered(), decommissioned()]).state().clone();
        let before = state.clone();
        for (version, command) in order.iter().enumerate() {
            let envelope = Envelope::new(Uuid::from_u128(1), spec::stream::<Agent>());
            let world = World::default();
            let context = Context { now: spec::NOW, envelope: &envelope, version: version as u64, world: &world };
            for event in Agent::decide(&state, command, &context).map(|decision| decision.events).unwrap_or_default() {
                Agent::evolve(&mut state, &event, &spec::meta(envelope.stream, version as u64));
            }
        }
        prop_assert_eq!(state, before);
    }
}
