//! Given, when, then; every command in every state; the golden bytes.

use super::*;
use crate::domain::common::{INSTRUCTIONS_BYTES_MAX, LABELS_MAX, Modality, NAME_BYTES_MAX, TEXT_BYTES_MAX};
use crate::domain::spec::{self, Spec, TENANT};
use crate::domain::tenant::{self, standing};
use crate::domain::{AnyState, TenantId, World, golden, wire::Wire};
use proptest::prelude::*;
use uuid::Uuid;

fn definition() -> Definition {
    Definition {
        name: "Auditor".into(),
        category: "governance".into(),
        role: "auditor".into(),
        purpose: "Checks what others did.".into(),
        instructions: "Audit {scope} in {{JSON}}.".into(),
        parameters: vec![Parameter {
            name: "scope".into(),
            description: "What to audit.".into(),
            default_value: Some("everything".into()),
        }],
        skills: vec!["sql".into()],
        domains: vec!["finance".into(), "risk".into()],
        requirements: Requirements {
            cost_per_1k_tokens_micro_usd_max: Some(9_000),
            latency_ms_max: Some(4_000),
            quality_min: Some(0.75),
            context_tokens_min: Some(32_000),
            modalities: vec![Modality::Text, Modality::File],
        },
    }
}

fn define(definition: Definition) -> Command {
    Command::DefineAgentTemplate(DefineAgentTemplate { definition })
}

fn retire() -> Command {
    Command::RetireAgentTemplate(RetireAgentTemplate { reason: "replaced".into() })
}

fn defined() -> Event {
    Event::AgentTemplateDefined(AgentTemplateDefined { definition: definition() })
}

fn retired() -> Event {
    Event::AgentTemplateRetired(AgentTemplateRetired { reason: "replaced".into() })
}

fn given(events: impl IntoIterator<Item = Event>) -> Spec<AgentTemplate> {
    Spec::given_stream(stream_for(TENANT, "Auditor"), events)
}

#[test]
fn every_command_in_every_state() {
    given([]).when(define(definition())).then([defined()]);
    given([]).when(retire()).then_refused("not_found");
    given([defined()]).when(define(definition())).then_nothing();
    given([defined()]).when(retire()).then([retired()]);
    given([defined(), retired()]).when(define(definition())).then([defined()]);
    given([defined(), retired()]).when(retire()).then_nothing();
    for (status, events) in [("absent", vec![]), ("active", vec![defined()]), ("retired", vec![defined(), retired()])] {
        let spec = given(events);
        assert_eq!(AgentTemplate::status(spec.state()), status);
        assert!(!AgentTemplate::is_terminal(spec.state()));
    }
}

#[test]
fn another_definition_replaces_the_first() {
    let second = Definition { purpose: "Checks twice.".into(), ..definition() };
    let event = Event::AgentTemplateDefined(AgentTemplateDefined { definition: second.clone() });
    let state = given([defined()]).when(define(second.clone())).then([event]);
    assert_eq!(state.definition, second);
}

#[test]
fn a_template_found_by_its_name_keeps_it_and_any_other_may_change_it() {
    let renamed = Definition { name: "Inspector".into(), ..definition() };
    let rejection = given([defined()]).when(define(renamed.clone())).then_refused("invalid");
    assert_eq!(rejection.details["field"], "definition.name");
    let recased = Definition { name: "AUDITOR".into(), ..definition() };
    assert_eq!(given([defined()]).when(define(recased)).events().len(), 1);
    assert_eq!(Spec::<AgentTemplate>::given([defined()]).when(define(renamed)).events().len(), 1);
}

#[test]
fn the_stream_of_a_name_is_the_same_in_any_case_and_another_in_each_tenant() {
    assert_eq!(stream_for(TENANT, "Data Pipeline"), stream_for(TENANT, "data pipeline"));
    assert_ne!(stream_for(TENANT, "auditor"), stream_for(TENANT, "auditor2"));
    assert_ne!(stream_for(TENANT, "auditor").id, stream_for(TenantId::SHARED, "auditor").id);
    // Producers compute it too, so it must never change.
    let expected = Uuid::new_v5(&TENANT.0, b"agent_template/auditor");
    assert_eq!(stream_for(TENANT, "Auditor").id, expected);
}

#[test]
fn values_outside_their_fields_are_refused_by_field() {
    let named = |name: &str| Parameter { name: name.into(), description: String::new(), default_value: None };
    let with = |change: fn(&mut Definition)| {
        let mut definition = definition();
        change(&mut definition);
        definition
    };
    let cases = [
        ("definition.name", with(|d| d.name.clear())),
        ("definition.name", with(|d| d.name = Uuid::from_u128(1).to_string())),
        ("definition.category", with(|d| d.category = " ".into())),
        ("definition.role", with(|d| d.role = "x".repeat(NAME_BYTES_MAX + 1))),
        ("definition.purpose", with(|d| d.purpose = "x".repeat(TEXT_BYTES_MAX + 1))),
        ("definition.instructions", with(|d| d.instructions = "x".repeat(INSTRUCTIONS_BYTES_MAX + 1))),
        ("definition.skills", with(|d| d.skills = vec!["x".into(); LABELS_MAX + 1])),
        ("definition.domains", with(|d| d.domains = vec![String::new()])),
        ("requirements.quality_min", with(|d| d.requirements.quality_min = Some(2.0))),
        ("instructions", with(|d| d.instructions = "{other}".into())),
        ("instructions", with(|d| d.instructions = "{scope".into())),
        ("definition.parameters", with(|d| d.parameters[0].description = "x".repeat(TEXT_BYTES_MAX + 1))),
        ("definition.parameters", with(|d| d.parameters[0].default_value = Some("x".repeat(TEXT_BYTES_MAX + 1)))),
        ("definition.parameters", Definition { parameters: vec![named("a"), named("a")], ..definition() }),
        ("definition.parameters", Definition { parameters: vec![named("a b")], ..definition() }),
        ("definition.parameters", Definition { parameters: vec![named("a"); LABELS_MAX + 1], ..definition() }),
    ];
    for (field, definition) in cases {
        let rejection = given([]).when(define(definition)).then_refused("invalid");
        assert_eq!(rejection.details["field"], field, "{}", rejection.message);
    }
    let long = RetireAgentTemplate { reason: "x".repeat(TEXT_BYTES_MAX + 1) };
    given([defined()]).when(Command::RetireAgentTemplate(long)).then_refused("invalid");
}

#[test]
fn a_tenant_that_takes_no_commands_refuses_both() {
    for (status, code) in [(tenant::Status::Suspended, "tenant_suspended"), (tenant::Status::Closed, "tenant_closed")] {
        let state = AnyState::Tenant(Box::new(tenant::State { status, ..tenant::State::default() }));
        for command in [define(definition()), retire()] {
            given([defined()]).seeing(standing::stream(TENANT), 2, state.clone()).when(command).then_refused(code);
        }
    }
}

#[test]
fn the_tenant_is_looked_up_and_the_shared_catalogue_has_none() {
    let lookups = |tenant| {
        let envelope = Envelope::new(Uuid::from_u128(1), stream_for(tenant, "Auditor"));
        AgentTemplate::lookups(&State::default(), &retire(), &envelope)
    };
    assert_eq!(lookups(TENANT), [Lookup::Stream(standing::stream(TENANT))]);
    assert_eq!(lookups(TenantId::SHARED), []);
}

#[test]
fn the_view_is_the_definition_with_the_reason() {
    let spec = given([defined(), retired()]);
    let mut expected = serde_json::to_value(definition()).unwrap();
    expected["reason"] = "replaced".into();
    assert_eq!(serde_json::Value::Object(AgentTemplate::view(spec.state())), expected);
    let again = spec.when(define(definition())).after();
    assert_eq!(AgentTemplate::view(&again)["reason"], "");
}

#[test]
fn every_filter_has_a_value() {
    let spec = given([defined()]);
    let values: Vec<_> =
        AgentTemplate::FILTERS.iter().map(|filter| AgentTemplate::facet(spec.state(), filter).join(",")).collect();
    assert_eq!(values, ["Auditor", "governance", "auditor", "sql", "finance,risk"]);
    assert!(AgentTemplate::facet(spec.state(), "nothing").is_empty());
}

#[test]
fn defaults_may_be_left_out_of_the_json() {
    let json = br#"{"definition":{"name":"Auditor","category":"governance"}}"#;
    let command = Command::from_json("DefineAgentTemplate", json).unwrap();
    let expected = Definition { name: "Auditor".into(), category: "governance".into(), ..Definition::default() };
    assert_eq!(command, define(expected));
}

#[test]
fn golden_records() {
    let commands = vec![define(definition()), retire()];
    golden::assert_full(&commands);
    golden::check("agent_template", commands);
    let events = vec![defined(), retired()];
    golden::assert_full(&events);
    golden::check("agent_template", events);
}

proptest! {
    /// Any order of events leads to a state that has a view, survives its blob, and decides every command.
    #[test]
    fn no_order_of_events_panics(order in prop::collection::vec(prop::sample::select(vec![defined(), retired()]), 0..8)) {
        let state = given(order).state().clone();
        let blob = AnyState::AgentTemplate(Box::new(state.clone())).to_blob().unwrap();
        let back = AnyState::from_blob(Aggregate::AgentTemplate, &blob).unwrap();
        prop_assert_eq!(back, AnyState::AgentTemplate(Box::new(state.clone())));
        prop_assert!(AgentTemplate::view(&state).contains_key("reason"));
        let envelope = Envelope::new(Uuid::from_u128(1), stream_for(TENANT, "Auditor"));
        let context = Context { now: spec::NOW, envelope: &envelope, version: 1, world: &World::default() };
        for command in [define(definition()), retire()] {
            let refused = AgentTemplate::decide(&state, &command, &context).is_err();
            prop_assert_eq!(refused, state.status == Status::Absent && command == retire());
        }
    }
}
