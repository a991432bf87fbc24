//! Given, when, then; every command in every state; the golden bytes.

use super::*;
use crate::domain::common::{NAME_BYTES_MAX, TEXT_BYTES_MAX};
use crate::domain::spec::{self, Spec, TENANT};
use crate::domain::tenant::{self, standing};
use crate::domain::{AnyState, TenantId, World, golden, wire::Wire};
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

fn definition() -> DefineSkill {
    DefineSkill {
        name: "claim_extraction".into(),
        caption: "Claim Extraction".into(),
        description: "Finds what a text asserts.".into(),
        ancestors: vec!["verification".into(), "reasoning".into()],
        uid: Some(3),
    }
}

fn define(definition: DefineSkill) -> Command {
    Command::DefineSkill(definition)
}

fn retire() -> Command {
    Command::RetireSkill(RetireSkill { reason: "replaced".into() })
}

fn defined_as(definition: DefineSkill) -> Event {
    let DefineSkill { name, caption, description, ancestors, uid } = definition;
    Event::SkillDefined(SkillDefined { name, caption, description, ancestors, uid })
}

fn defined() -> Event {
    defined_as(definition())
}

fn retired() -> Event {
    Event::SkillRetired(SkillRetired { reason: "replaced".into() })
}

fn given(events: impl IntoIterator<Item = Event>) -> Spec<Skill> {
    Spec::given_stream(stream_for(TENANT, "claim_extraction"), events)
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
        assert_eq!(Skill::status(spec.state()), status);
        assert!(!Skill::is_terminal(spec.state()));
    }
}

#[test]
fn another_definition_replaces_the_first_and_the_name_stays() {
    let moved = DefineSkill { ancestors: vec!["research".into()], ..definition() };
    let state = given([defined()]).when(define(moved.clone())).then([defined_as(moved.clone())]);
    assert_eq!(state.definition.ancestors, moved.ancestors);
    let renamed = DefineSkill { name: "claims".into(), ..definition() };
    let rejection = given([defined()]).when(define(renamed.clone())).then_refused("invalid");
    assert_eq!(rejection.details["field"], "name");
    assert_eq!(Spec::<Skill>::given([defined()]).when(define(renamed)).events().len(), 1);
}

#[test]
fn the_stream_of_a_name_is_the_same_in_any_case_and_another_in_each_tenant() {
    assert_eq!(stream_for(TENANT, "Planning"), stream_for(TENANT, "planning"));
    assert_ne!(stream_for(TENANT, "planning").id, stream_for(TenantId::SHARED, "planning").id);
    // Producers compute it too, so it must never change.
    assert_eq!(stream_for(TENANT, "Planning").id, Uuid::new_v5(&TENANT.0, b"skill/planning"));
}

#[test]
fn values_outside_their_fields_are_refused_by_field() {
    let with = |change: fn(&mut DefineSkill)| {
        let mut definition = definition();
        change(&mut definition);
        definition
    };
    let cases = [
        ("name", with(|d| d.name = " ".into())),
        ("name", with(|d| d.name = "x".repeat(NAME_BYTES_MAX + 1))),
        ("caption", with(|d| d.caption = "x".repeat(TEXT_BYTES_MAX + 1))),
        ("description", with(|d| d.description = "x".repeat(TEXT_BYTES_MAX + 1))),
        ("uid", with(|d| d.uid = Some(-1))),
        ("ancestors", with(|d| d.ancestors = vec![String::new()])),
        ("ancestors", with(|d| d.ancestors = vec!["a".into(), "a".into()])),
        ("ancestors", with(|d| d.ancestors = vec!["a".into(), "claim_extraction".into()])),
        ("ancestors", with(|d| d.ancestors = (0..=ANCESTORS_MAX).map(|it| it.to_string()).collect())),
    ];
    for (field, definition) in cases {
        let rejection = given([]).when(define(definition)).then_refused("invalid");
        assert_eq!(rejection.details["field"], field, "{}", rejection.message);
    }
    let long = RetireSkill { reason: "x".repeat(TEXT_BYTES_MAX + 1) };
    given([defined()]).when(Command::RetireSkill(long)).then_refused("invalid");
}

#[test]
fn a_tenant_that_takes_no_commands_refuses_both() {
    for (status, code) in [(tenant::Status::Suspended, "tenant_suspended"), (tenant::Status::Closed, "tenant_closed")] {
        let state = AnyState::Tenant(Box::new(tenant::State { status, ..tenant::State::default() }));
        for command in [define(definition()), retire()] {
            given([defined()]).seeing(standing::stream(TENANT), 2, state.clone()).when(command).then_refused(code);
        }
    }
    let lookups = |tenant| {
        let envelope = Envelope::new(Uuid::from_u128(1), stream_for(tenant, "x"));
        Skill::lookups(&State::default(), &retire(), &envelope)
    };
    assert_eq!(lookups(TENANT), [Lookup::Stream(standing::stream(TENANT))]);
    assert_eq!(lookups(TenantId::SHARED), []);
}

#[test]
fn the_view_has_all_that_is_above_and_every_filter_a_value() {
    let spec = given([defined(), retired()]);
    let expected = json!({
        "name": "claim_extraction", "caption": "Claim Extraction", "description": "Finds what a text asserts.",
        "ancestors": ["verification", "reasoning"], "uid": 3, "parent": "verification", "category": "reasoning",
        "reason": "replaced",
    });
    assert_eq!(serde_json::Value::Object(Skill::view(spec.state())), expected);
    let values: Vec<_> = Skill::FILTERS.iter().map(|filter| Skill::facet(spec.state(), filter).join(",")).collect();
    assert_eq!(values, ["claim_extraction", "verification", "verification,reasoning", "reasoning"]);
    assert!(Skill::facet(spec.state(), "nothing").is_empty());
    let category = given([defined_as(DefineSkill { name: "reasoning".into(), ..DefineSkill::default() })]);
    let view = Skill::view(category.state());
    assert_eq!((&view["parent"], &view["category"]), (&json!(null), &json!("reasoning")));
    assert_eq!(Skill::facet(category.state(), "parent"), Vec::<String>::new());
}

#[test]
fn defaults_may_be_left_out_of_the_json() {
    let command = Command::from_json("DefineSkill", br#"{"name":"planning"}"#).unwrap();
    assert_eq!(command, define(DefineSkill { name: "planning".into(), ..DefineSkill::default() }));
}

#[test]
fn golden_records() {
    let commands = vec![define(definition()), retire()];
    golden::assert_full(&commands);
    golden::check("skill", commands);
    let events = vec![defined(), retired()];
    golden::assert_full(&events);
    golden::check("skill", events);
}

proptest! {
    /// Any order of events leads to a state that has a view, survives its blob, and decides every command.
    #[test]
    fn no_order_of_events_panics(order in prop::collection::vec(prop::sample::select(vec![defined(), retired()]), 0..8)) {
        let state = given(order).state().clone();
        let blob = AnyState::Skill(Box::new(state.clone())).to_blob().unwrap();
        let back = AnyState::from_blob(Aggregate::Skill, &blob).unwrap();
        prop_assert_eq!(back, AnyState::Skill(Box::new(state.clone())));
        prop_assert!(Skill::view(&state).contains_key("category"));
        let envelope = Envelope::new(Uuid::from_u128(1), stream_for(TENANT, "claim_extraction"));
        let context = Context { now: spec::NOW, envelope: &envelope, version: 1, world: &World::default() };
        for command in [define(definition()), retire()] {
            let refused = Skill::decide(&state, &command, &context).is_err();
            prop_assert_eq!(refused, state.status == Status::Absent && command == retire());
        }
    }
}
