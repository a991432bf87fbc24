//! What happens to an established coupling: rebind, suspend, resume, end.

use super::fixtures::*;
use crate::domain::agent::Lifecycle;
use crate::domain::common::{Health, TEXT_BYTES_MAX};
use crate::domain::coupling::*;
use crate::domain::tenant;

fn away(provider: Uuid, model: Option<&str>) -> RebindCoupling {
    RebindCoupling {
        away_from_provider: Some(provider),
        away_from_model: model.map(Into::into),
        reason: "gone".into(),
        ..Default::default()
    }
}

fn to(provider: Uuid, model: &str) -> RebindCoupling {
    RebindCoupling { model: Some(reference(provider, model)), ..Default::default() }
}

fn used(state: &State) -> &ModelRef {
    &state.binding.as_ref().expect("bound").model
}

/// Established by cost: `small` of the own provider, then `medium` (shared), then `large` (own).
fn cheapest() -> Event {
    scene().established(by(Objective::Cost))
}

fn resumed(hold: Hold) -> Event {
    CouplingResumed { hold }.into()
}

#[test]
fn a_retired_model_is_left_for_the_next_best_one() {
    let scene = scene().without_model("small");
    let outcome = scene.spec([cheapest()]).when(away(OWN, Some("small")));
    let [Event::CouplingRebound(event)] = outcome.events() else { panic!("{:?}", outcome.events()) };
    assert_eq!(event.model_before, reference(OWN, "small"));
    assert_eq!(event.binding.model, reference(SHARED, "medium"));
    assert_eq!(event.binding.fallbacks, [reference(OWN, "large")]);
    assert_eq!(event.reason, "gone");
    let state = outcome.after();
    assert_eq!((state.status, used(&state).model_id.as_str()), (Status::Active, "medium"));
}

#[test]
fn moving_away_excludes_the_model_or_the_whole_provider_even_where_the_catalogue_still_shows_them() {
    let state = scene().spec([cheapest()]).when(away(OWN, Some("small"))).after();
    assert_eq!(used(&state), &reference(SHARED, "medium"));
    let state = scene().spec([cheapest()]).when(away(OWN, None)).after();
    assert_eq!(used(&state), &reference(SHARED, "medium"));
    let binding = state.binding.expect("bound");
    assert!(binding.fallbacks.is_empty(), "the other model of that provider is no fallback either");
    let rejected = state.assessment.expect("assessed").rejected;
    assert_eq!(rejected, [RejectedCount { reason: Unfit::MovedAway, count: 2 }]);
}

#[test]
fn what_does_not_name_the_model_in_use_changes_nothing() {
    // A choice made anew would move: only the condition keeps it.
    let mut scene = scene();
    scene.own().models.push(model("tiny", 1, 100, 0.9));
    scene.spec([cheapest()]).when(away(SHARED, None)).then_nothing();
    scene.spec([cheapest()]).when(away(OWN, Some("large"))).then_nothing();
    let only_model = RebindCoupling { away_from_model: Some("large".into()), ..Default::default() };
    scene.spec([cheapest()]).when(only_model).then_nothing();
    let only_model = RebindCoupling { away_from_model: Some("small".into()), ..Default::default() };
    let state = scene.spec([cheapest()]).when(only_model).after();
    assert_eq!(used(&state).model_id, "tiny");
}

#[test]
fn without_another_model_the_coupling_waits_and_says_what_was_searched() {
    let mut scene = scene();
    scene.own().health = Health::Offline;
    scene.shared().health = Health::Offline;
    let outcome = scene.spec([cheapest()]).when(away(OWN, None));
    let [Event::CouplingSuspended(event)] = outcome.events() else { panic!("{:?}", outcome.events()) };
    assert_eq!((event.hold, event.reason.as_str()), (Hold::Provider, "gone"));
    assert_eq!(event.assessment.as_ref().expect("searched").models_seen, 3);
    let suspended = outcome.events()[0].clone();
    let state = outcome.after();
    assert_eq!((state.status, &*state.holds), (Status::Suspended, &[Hold::Provider][..]));
    assert_eq!(used(&state).model_id, "small", "it keeps what it waits for");
    assert!(state.failed_search.is_some());
    scene.spec([cheapest(), suspended]).when(away(OWN, None)).then_nothing();
}

#[test]
fn a_rebind_that_finds_a_model_lifts_the_hold_that_waited_for_one() {
    let mut scene = scene();
    scene.own().health = Health::Offline;
    let outcome = scene.spec([cheapest(), suspended(Hold::Provider)]).when(away(OWN, None));
    assert!(matches!(outcome.events(), [Event::CouplingRebound(_), Event::CouplingResumed(_)]));
    let state = outcome.after();
    assert_eq!((state.status, used(&state).model_id.as_str()), (Status::Active, "medium"));
    let state =
        scene.spec([cheapest(), suspended(Hold::Manual), suspended(Hold::Provider)]).when(away(OWN, None)).after();
    assert_eq!((state.status, &*state.holds), (Status::Suspended, &[Hold::Manual][..]));
}

#[test]
fn somebody_who_asks_to_leave_a_working_model_is_told_when_there_is_no_other() {
    let alone = scene().without_model("medium").without_model("large");
    alone.spec([cheapest()]).when(away(OWN, None)).then_refused("no_model");
    // The system knows more than the catalogue row that this decision saw.
    let decision = alone.react_with(&after([cheapest()]), away(OWN, None).into());
    assert!(matches!(&*decision.events, [Event::CouplingSuspended(event)] if event.hold == Hold::Provider));
}

#[test]
fn a_named_model_is_pinned_and_must_be_usable() {
    let mut scene = scene();
    let outcome = scene.spec([cheapest()]).when(to(OWN, "large"));
    let rebound = outcome.events()[0].clone();
    let state = outcome.after();
    let binding = state.binding.expect("bound");
    assert_eq!((binding.model.model_id.as_str(), binding.pinned, binding.fallbacks.len()), ("large", true, 0));
    scene.spec([cheapest(), rebound.clone()]).when(to(OWN, "large")).then_nothing();
    scene.spec([cheapest()]).when(to(OWN, "unheard-of")).then_refused("model_not_found");
    scene.spec([cheapest()]).when(to(OWN, " ")).then_refused("invalid");

    let state = scene.spec([cheapest(), rebound]).when(RebindCoupling::default()).after();
    let binding = state.binding.expect("bound");
    assert!(!binding.pinned, "choosing by objective releases the pin");
    assert_eq!(binding.model.model_id, "small");

    scene.own().health = Health::Offline;
    let rejection = scene.spec([cheapest()]).when(to(OWN, "large")).then_refused("model_not_allowed");
    assert_eq!(rejection.details["rejected"], "provider_offline");
}

#[test]
fn a_pinned_coupling_is_not_moved_but_waits_for_its_model() {
    let pinned = scene().established(pinned(OWN, "large"));
    let retired = scene().without_model("large");
    let outcome = retired.spec([pinned.clone()]).when(away(OWN, Some("large")));
    assert!(matches!(outcome.events(), [Event::CouplingSuspended(event)] if event.hold == Hold::Provider));
    let waiting = outcome.events()[0].clone();

    let resume = ResumeCoupling { hold: Hold::Provider };
    retired.spec([pinned.clone(), waiting.clone()]).when(resume.clone()).then_nothing();
    let state = scene().spec([pinned, waiting]).when(resume).then([resumed(Hold::Provider)]);
    assert_eq!((state.status, used(&state).model_id.as_str()), (Status::Active, "large"));
}

#[test]
fn choosing_again_changes_nothing_while_the_choice_is_the_same() {
    scene().spec([cheapest()]).when(RebindCoupling::default()).then_nothing();
    let mut scene = scene();
    scene.own().models.push(model("tiny", 1, 100, 0.9));
    let state = scene.spec([cheapest()]).when(RebindCoupling::default()).after();
    assert_eq!(used(&state).model_id, "tiny");
    scene.own().models[2].input_micro_usd_per_million = Some(300_000);
    scene.own().models[2].output_micro_usd_per_million = Some(300_000);
    let state = scene.spec([cheapest()]).when(RebindCoupling::default()).after();
    let fallbacks: Vec<_> = state.binding.expect("bound").fallbacks.into_iter().map(|it| it.model_id).collect();
    assert_eq!(fallbacks, ["medium", "tiny", "large"], "new fallbacks are a change");
}

#[test]
fn a_rebind_below_the_threshold_is_no_choice() {
    let mut misfit = scene();
    misfit.tenant().coupling_threshold = Some(0.99);
    misfit.spec([cheapest()]).when(RebindCoupling::default()).then_refused("score_below_threshold");
    let mut retired = misfit.without_model("small");
    let outcome = retired.spec([cheapest()]).when(away(OWN, Some("small")));
    assert!(matches!(outcome.events(), [Event::CouplingSuspended(event)] if event.hold == Hold::Provider));
    retired.tenant().coupling_threshold = None;
    let state = retired.spec([cheapest()]).when(away(OWN, Some("small"))).after();
    assert_eq!(state.status, Status::Active);
}

#[test]
fn a_change_that_somebody_wants_is_barred_where_a_new_coupling_would_be() {
    let mut scene = scene();
    scene.agent().lifecycle = Lifecycle::Decommissioned;
    scene.spec([cheapest()]).when(RebindCoupling::default()).then_refused("agent_decommissioned");
    scene.tenant().status = tenant::Status::Suspended;
    scene.spec([cheapest()]).when(to(OWN, "large")).then_refused("tenant_suspended");
    let state = scene.spec([cheapest()]).when(away(OWN, None)).after();
    assert_eq!(used(&state).model_id, "medium", "one that has to be goes on");
}

#[test]
fn holds_are_a_set_and_the_last_one_lifted_makes_the_coupling_active() {
    let scene = scene();
    let suspend = |hold| SuspendCoupling { hold, reason: "why".into() };
    let state = scene.spec([cheapest()]).when(suspend(Hold::Tenant)).then([suspended(Hold::Tenant)]);
    assert_eq!((state.status, state.reason.as_str()), (Status::Suspended, "why"));
    scene.spec([cheapest(), suspended(Hold::Tenant)]).when(suspend(Hold::Tenant)).then_nothing();

    let both = [cheapest(), suspended(Hold::Tenant), suspended(Hold::Manual)];
    assert_eq!(after(both.clone()).holds, [Hold::Manual, Hold::Tenant], "sorted, not in order of arrival");
    let resume = |hold| ResumeCoupling { hold };
    let state = scene.spec(both.clone()).when(resume(Hold::Tenant)).then([resumed(Hold::Tenant)]);
    assert_eq!((state.status, &*state.holds), (Status::Suspended, &[Hold::Manual][..]));
    let last = both.into_iter().chain([resumed(Hold::Tenant)]);
    let state = scene.spec(last).when(resume(Hold::Manual)).then([resumed(Hold::Manual)]);
    assert_eq!((state.status, state.reason.as_str()), (Status::Active, ""));
    scene.spec([cheapest()]).when(resume(Hold::Manual)).then_nothing();
}

#[test]
fn a_suspended_tenant_keeps_its_holds_but_not_the_providers() {
    let mut scene = scene();
    scene.tenant().status = tenant::Status::Suspended;
    let held = [cheapest(), suspended(Hold::Manual), suspended(Hold::Provider), suspended(Hold::Tenant)];
    for hold in [Hold::Manual, Hold::Tenant] {
        scene.spec(held.clone()).when(ResumeCoupling { hold }).then_refused("tenant_suspended");
    }
    let state = scene.spec(held).when(ResumeCoupling { hold: Hold::Provider }).then([resumed(Hold::Provider)]);
    assert_eq!(state.holds, [Hold::Manual, Hold::Tenant]);
    scene.spec([cheapest()]).when(SuspendCoupling::default()).after();
    scene.spec([cheapest()]).when(EndCoupling::default()).after();
}

#[test]
fn the_hold_provider_is_lifted_with_the_model_in_use_or_with_another() {
    let resume = ResumeCoupling { hold: Hold::Provider };
    let held = [cheapest(), suspended(Hold::Provider)];
    scene().spec(held.clone()).when(resume.clone()).then([resumed(Hold::Provider)]);

    let mut elsewhere = scene();
    elsewhere.own().health = Health::Offline;
    let outcome = elsewhere.spec(held.clone()).when(resume.clone());
    assert!(matches!(outcome.events(), [Event::CouplingRebound(_), Event::CouplingResumed(_)]));
    let state = outcome.after();
    assert_eq!((state.status, used(&state).model_id.as_str()), (Status::Active, "medium"));

    elsewhere.shared().health = Health::Offline;
    elsewhere.spec(held).when(resume).then_nothing();
}

#[test]
fn the_end_is_final_and_comes_once() {
    let scene = scene();
    let end = || EndCoupling { reason: "done".into() };
    let state = scene.spec([cheapest(), suspended(Hold::Manual)]).when(end()).then([ended()]);
    assert!(Coupling::is_terminal(&state) && state.holds.is_empty());
    assert_eq!(state.reason, "done");
    let gone = [cheapest(), ended()];
    scene.spec(gone.clone()).when(end()).then_nothing();
    scene.spec(gone.clone()).when(SuspendCoupling::default()).then_refused("illegal_transition");
    scene.spec(gone.clone()).when(ResumeCoupling::default()).then_refused("illegal_transition");
    scene.spec(gone).when(RebindCoupling::default()).then_refused("illegal_transition");
}

#[test]
fn only_an_established_coupling_can_be_moved() {
    let scene = scene();
    let mut poor = scene.clone();
    poor.providers.clear();
    let refused = poor.spec([]).when(request()).events()[0].clone();
    assert!(!Coupling::is_terminal(&after([refused.clone()])), "it may be asked for again");
    let moves: [Command; 4] = [
        RebindCoupling::default().into(),
        SuspendCoupling::default().into(),
        ResumeCoupling::default().into(),
        EndCoupling::default().into(),
    ];
    for command in moves {
        scene.spec([]).when(command.clone()).then_refused("not_found");
        scene.spec([refused.clone()]).when(command).then_refused("illegal_transition");
    }
}

#[test]
fn reasons_are_bounded() {
    let scene = scene();
    let reason = "x".repeat(TEXT_BYTES_MAX + 1);
    let end = EndCoupling { reason: reason.clone() };
    let suspend = SuspendCoupling { reason: reason.clone(), ..Default::default() };
    let rebind = RebindCoupling { reason, ..Default::default() };
    for command in [Command::from(end), suspend.into(), rebind.into()] {
        scene.spec([cheapest()]).when(command).then_refused("invalid");
    }
}
