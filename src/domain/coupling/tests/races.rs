//! What the other side did between this coupling's decision and its edges is found by the re-check.

use super::fixtures::*;
use crate::domain::agent::Lifecycle;
use crate::domain::common::Health;
use crate::domain::coupling::*;
use crate::domain::spec::{TENANT, meta, stream};
use crate::domain::{AnyCommand, TenantId, llm_provider, mcp_server, tenant};

fn established() -> Event {
    scene().established(by(Objective::Cost))
}

/// The commands that follow from the last of these events when the world is as in `scene` by then.
fn answers(scene: &Scene, events: &[Event]) -> Vec<(&'static str, Command)> {
    let event = events.last().expect("an event");
    let state = after(events.to_vec());
    let meta = meta(stream::<Coupling>(), events.len() as u64);
    let reactions = Coupling::react(event, &state, &meta, &scene.world());
    let sent = reactions.into_iter().map(|reaction| match reaction {
        Reaction::Send { name, to, command: AnyCommand::Coupling(command) } => {
            assert_eq!(to, meta.stream, "a coupling answers to itself");
            (name, *command)
        }
        other => panic!("{other:?}"),
    });
    sent.collect()
}

fn end(name: &'static str, reason: &str) -> Vec<(&'static str, Command)> {
    vec![(name, EndCoupling { reason: reason.into() }.into())]
}

fn leave(model: Option<&str>, reason: &str) -> Vec<(&'static str, Command)> {
    let rebind = RebindCoupling {
        model: None,
        away_from_provider: Some(OWN),
        away_from_model: model.map(Into::into),
        reason: reason.into(),
    };
    vec![("recheck_model", rebind.into())]
}

/// Everything that may have been written just before the race.
fn beginnings() -> [Vec<Event>; 3] {
    let Event::CouplingEstablished(event) = established() else { unreachable!() };
    let (binding, assessment) = (event.binding.clone(), event.assessment.clone());
    let before = reference(SHARED, "medium");
    let rebound = CouplingRebound { model_before: before, binding, reason: String::new(), assessment };
    [
        vec![established()],
        vec![established(), rebound.into()],
        vec![established(), suspended(Hold::Manual), CouplingResumed { hold: Hold::Manual }.into()],
    ]
}

#[test]
fn nothing_follows_while_everything_is_as_it_was_seen() {
    for events in beginnings() {
        assert_eq!(answers(&scene(), &events), []);
    }
    let mut unknown_tenant = scene();
    unknown_tenant.tenant = None;
    assert_eq!(answers(&unknown_tenant, &[established()]), []);
}

#[test]
fn a_party_that_ended_meanwhile_ends_the_coupling() {
    for events in beginnings() {
        let mut scene = scene();
        scene.tenant().status = tenant::Status::Closed;
        assert_eq!(answers(&scene, &events), end("recheck_tenant", "its tenant was closed"));
        scene.server().status = mcp_server::Status::Deregistered;
        assert_eq!(answers(&scene, &events), end("recheck_server", "its MCP server was deregistered"));
        scene.agent().lifecycle = Lifecycle::Decommissioned;
        assert_eq!(answers(&scene, &events), end("recheck_agent", "its agent was decommissioned"), "one end is enough");
        scene.agent = None;
        assert_eq!(answers(&scene, &events), end("recheck_agent", "its agent was decommissioned"));
    }
}

#[test]
fn a_model_that_went_away_meanwhile_is_left() {
    for events in beginnings() {
        let retired = scene().without_model("small");
        assert_eq!(answers(&retired, &events), leave(Some("small"), "its model was retired"));
        let mut scene = scene();
        scene.own().health = Health::Offline;
        assert_eq!(answers(&scene, &events), leave(None, "its LLM provider is offline"));
        scene.own().status = llm_provider::Status::Deregistered;
        assert_eq!(answers(&scene, &events), leave(None, "its LLM provider was deregistered"));
        scene.providers.clear();
        assert_eq!(answers(&scene, &events), leave(None, "its LLM provider was deregistered"));
    }
}

#[test]
fn a_tenant_suspended_meanwhile_suspends_the_coupling_and_both_answers_can_come_at_once() {
    for events in beginnings() {
        let mut scene = scene();
        scene.tenant().status = tenant::Status::Suspended;
        let suspend = SuspendCoupling { hold: Hold::Tenant, reason: "its tenant was suspended".into() };
        let mut expected = vec![("recheck_tenant", suspend.into())];
        assert_eq!(answers(&scene, &events), expected);
        scene.own().health = Health::Offline;
        expected.extend(leave(None, "its LLM provider is offline"));
        assert_eq!(answers(&scene, &events), expected);
    }
}

#[test]
fn a_hold_that_is_there_already_is_not_asked_for_again() {
    let mut scene = scene();
    scene.tenant().status = tenant::Status::Suspended;
    scene.own().health = Health::Offline;
    let lifted = CouplingResumed { hold: Hold::Manual }.into();
    let events = [established(), suspended(Hold::Manual), suspended(Hold::Tenant), suspended(Hold::Provider), lifted];
    assert_eq!(answers(&scene, &events), []);
}

#[test]
fn a_hold_of_which_the_cause_is_gone_by_then_is_lifted() {
    let of = |hold| [established(), suspended(hold)];
    let resume = |name, hold| vec![(name, Command::from(ResumeCoupling { hold }))];
    let mut scene = scene();
    assert_eq!(answers(&scene, &of(Hold::Tenant)), resume("recheck_tenant", Hold::Tenant));
    assert_eq!(answers(&scene, &of(Hold::Provider)), resume("recheck_model", Hold::Provider));
    assert_eq!(answers(&scene, &of(Hold::Manual)), []);

    scene.tenant().status = tenant::Status::Suspended;
    scene.own().health = Health::Offline;
    assert_eq!(answers(&scene, &of(Hold::Tenant)), []);
    assert_eq!(answers(&scene, &of(Hold::Provider)), []);
    scene.tenant().status = tenant::Status::Closed;
    assert_eq!(answers(&scene, &of(Hold::Tenant)), end("recheck_tenant", "its tenant was closed"));
}

#[test]
fn what_is_over_or_was_never_there_needs_no_answer() {
    let mut empty = scene();
    (empty.agent, empty.tenant) = (None, None);
    (empty.servers, empty.providers) = (vec![], vec![]);
    let refused = empty.spec([]).when(request()).events()[0].clone();
    for events in [vec![refused], vec![established(), ended()]] {
        assert_eq!(answers(&empty, &events), []);
        let state = after(events.clone());
        assert!(Coupling::depends_on(&state, &stream::<Coupling>()).is_empty());
        let meta = meta(stream::<Coupling>(), 1);
        assert!(Coupling::reaction_lookups(&events[events.len() - 1], &state, &meta).is_empty());
    }
}

#[test]
fn a_live_coupling_depends_on_agent_server_provider_and_tenant_where_they_were_found() {
    let mut scene = scene();
    scene.servers[0].0 = TenantId::SHARED;
    let own = scene.established(by(Objective::Cost));
    let expected = |provider| {
        [
            StreamId::new(TENANT, Aggregate::Agent, AGENT),
            StreamId::new(TenantId::SHARED, Aggregate::McpServer, SERVER),
            provider,
            StreamId::new(TENANT, Aggregate::Tenant, TENANT.0),
        ]
    };
    let here = expected(StreamId::new(TENANT, Aggregate::LlmProvider, OWN));
    let of = |events: Vec<Event>| Coupling::depends_on(&after(events), &stream::<Coupling>());
    assert_eq!(of(vec![own.clone()]), here);
    assert_eq!(of(vec![own, suspended(Hold::Provider)]), here, "a suspended one waits for the same streams");
    let catalogue = scene.established(pinned(SHARED, "medium"));
    assert_eq!(of(vec![catalogue]), expected(StreamId::new(TenantId::SHARED, Aggregate::LlmProvider, SHARED)));
}

#[test]
fn the_recheck_reads_what_the_coupling_depends_on() {
    let meta = meta(stream::<Coupling>(), 1);
    let all: Vec<_> =
        Coupling::depends_on(&after([established()]), &meta.stream).into_iter().map(Lookup::Stream).collect();
    for events in beginnings() {
        let state = after(events.clone());
        assert_eq!(Coupling::reaction_lookups(&events[events.len() - 1], &state, &meta), all);
    }
    let of = |hold| Coupling::reaction_lookups(&suspended(hold), &after([established(), suspended(hold)]), &meta);
    assert_eq!(of(Hold::Manual), []);
    assert_eq!(of(Hold::Tenant), all[3..]);
    assert_eq!(of(Hold::Provider), all[2..3]);
}

/// The whole chain: each answer is taken, and the chain ends.
#[test]
fn the_answers_to_a_race_settle() {
    let mut scene = scene();
    scene.own().health = Health::Offline;
    let mut events = vec![established()];
    let rebind = answers(&scene, &events).remove(0).1;
    events.extend(scene.react_with(&after(events.clone()), rebind).events);
    let binding = after(events.clone()).binding.expect("bound");
    assert_eq!(binding.model.model_id, "medium");
    assert_eq!(answers(&scene, &events), []);

    scene.shared().health = Health::Offline;
    let away = RebindCoupling { away_from_provider: Some(SHARED), ..Default::default() };
    events.extend(scene.react_with(&after(events.clone()), away.into()).events);
    assert_eq!(after(events.clone()).holds, [Hold::Provider]);
    assert_eq!(answers(&scene, &events), [], "nothing to do until a provider is back");
}
