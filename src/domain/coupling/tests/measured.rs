//! What calls and ratings show of models, in the choice; and models that are down.

use super::fixtures::*;
use crate::domain::coupling::*;
use crate::domain::llm_provider::{
    self, CALLS_MIN, MEASURED_LIFE, LlmProvider, ModelCondition, ModelHealth, ModelStatistics, ModelStatisticsChanged,
    RATINGS_MIN,
};
use crate::domain::spec::{NOW, Spec, TENANT};
use crate::domain::Micros;

fn statistics(change: impl FnOnce(&mut ModelStatistics)) -> ModelStatistics {
    let mut statistics = ModelStatistics { measured_to: NOW, calls: CALLS_MIN, ..Default::default() };
    change(&mut statistics);
    statistics
}

fn measure(state: &mut llm_provider::State, model_id: &str, change: impl FnOnce(&mut ModelStatistics)) {
    state.measured.insert(model_id.into(), statistics(change));
}

fn down(state: &mut llm_provider::State, model_id: &str) {
    let condition = ModelCondition { health: ModelHealth::Down, since: 1, reason: "connect".into() };
    state.conditions.insert(model_id.into(), condition);
}

fn order(scene: &Scene, objective: Objective) -> Vec<String> {
    scene.assessed(by(objective)).candidates.into_iter().map(|it| it.model.model_id).collect()
}

#[test]
fn a_measured_latency_counts_before_the_declared_one() {
    let mut scene = scene();
    assert_eq!(order(&scene, Objective::Latency), ["small", "medium", "large"]);
    measure(scene.own(), "small", |it| it.latency_ms_p50 = Some(1_900));
    assert_eq!(order(&scene, Objective::Latency), ["medium", "large", "small"]);
    let seen = scene.assessed(by(Objective::Latency));
    let small = &seen.candidates[2];
    assert_eq!((small.latency_ms_p50, small.latency_is_measured, small.quality_is_measured), (Some(1_900), true, false));
    measure(scene.own(), "small", |it| it.latency_ms_p50 = Some(2_001));
    let seen = scene.assessed(by(Objective::Latency));
    assert_eq!(seen.rejected_examples[0].reason, Unfit::TooSlow);
    assert_eq!(seen.rejected_examples[0].detail, "2001 ms median measured, at most 2000 wanted");
}

#[test]
fn ratings_count_as_quality_from_the_fifth_on() {
    let mut scene = scene();
    assert_eq!(order(&scene, Objective::Quality)[0], "large");
    measure(scene.shared(), "medium", |it| (it.ratings, it.rating_mean) = (RATINGS_MIN - 1, Some(1.0)));
    assert_eq!(order(&scene, Objective::Quality)[0], "large", "four raters are too few");
    measure(scene.shared(), "medium", |it| (it.ratings, it.rating_mean) = (RATINGS_MIN, Some(1.0)));
    let seen = scene.assessed(by(Objective::Quality));
    assert_eq!((&*seen.candidates[0].model.model_id, seen.candidates[0].quality), ("medium", Some(1.0)));
    assert!(seen.candidates[0].quality_is_measured);
    measure(scene.shared(), "medium", |it| (it.ratings, it.rating_mean) = (RATINGS_MIN, Some(0.1)));
    let seen = scene.assessed(by(Objective::Quality));
    assert_eq!(seen.rejected_examples[0].detail, "quality 0.1 as rated, at least 0.5 wanted");
}

#[test]
fn errors_count_whatever_the_objective_and_lower_the_score() {
    for objective in [Objective::Cost, Objective::Latency, Objective::Quality, Objective::Balanced] {
        let mut scene = scene();
        // Two that differ in nothing else: the first id is first.
        scene.own().models = vec![model("a", 300, 900, 0.8), model("b", 299, 899, 0.81)];
        scene.shared().models.clear();
        let best = scene.assessed(by(objective));
        assert_eq!(best.candidates[0].model.model_id, "b", "{objective:?}");
        assert_eq!(best.reliability, None);
        measure(scene.own(), "b", |it| it.error_rate = 0.25);
        let worse = scene.assessed(by(objective));
        let ids: Vec<_> = worse.candidates.iter().map(|it| (&*it.model.model_id, it.error_rate, it.calls)).collect();
        assert_eq!(ids, [("a", None, 0), ("b", Some(0.25), CALLS_MIN)], "{objective:?}");
        let expected = score::round6(best.candidates[0].score * 0.75);
        assert_eq!(worse.candidates[1].score, expected, "{objective:?}");
    }
}

#[test]
fn a_model_that_fails_more_than_half_of_its_calls_is_rejected_until_that_is_long_ago() {
    let rejected = |error_rate: f64, calls: i64, measured_to: Micros| {
        let mut scene = scene();
        measure(scene.own(), "small", |it| {
            (it.error_rate, it.calls, it.measured_to) = (error_rate, calls, measured_to);
        });
        let seen = scene.assessed(request());
        seen.rejected_examples.into_iter().map(|it| (it.reason, it.detail)).next()
    };
    let detail = "0.51 of its last 20 calls failed, at most 0.5 may".to_owned();
    assert_eq!(rejected(0.51, CALLS_MIN, NOW), Some((Unfit::Unreliable, detail)));
    assert_eq!(rejected(0.5, CALLS_MIN, NOW), None);
    assert_eq!(rejected(1.0, CALLS_MIN - 1, NOW), None, "too few calls tell");
    assert_eq!(rejected(1.0, CALLS_MIN, NOW - MEASURED_LIFE - 1), None, "too long ago");
}

#[test]
fn an_explanation_writes_the_reliability_out() {
    let mut scene = scene();
    scene.shared().models.clear();
    scene.own().models.truncate(1);
    measure(scene.own(), "large", |it| it.error_rate = 0.1);
    let explained = explain(&after([scene.established(request())]));
    assert_eq!(explained["score"]["reliability"], 0.9);
    let written = explained["score"]["calculation"].as_str().expect("text");
    assert!(written.starts_with('(') && written.contains(") x 0.9 (reliability) = "), "{written}");
    let parts = explained["score"]["parts"].as_array().expect("parts");
    let sum: f64 = parts.iter().filter_map(|part| part["contribution"].as_f64()).sum();
    let score = explained["score"]["value"].as_f64().expect("a score");
    assert!((sum * 0.9 - score).abs() < 5e-6, "{sum} {score}");
    assert_eq!(explained["choice"]["candidates"][0]["error_rate"], 0.1);
}

/// Statistics come from the provider's events, so whoever replays them chooses as the live system did.
#[test]
fn a_replay_of_the_statistics_chooses_the_same() {
    let models = vec![model("a", 300, 900, 0.7), model("b", 300, 900, 0.8)];
    let measured = |model_id: &str, rating_mean: f64, error_rate: f64| {
        let after = statistics(|it| {
            (it.ratings, it.rating_mean, it.error_rate) = (9, Some(rating_mean), error_rate);
        });
        llm_provider::Event::ModelStatisticsChanged(ModelStatisticsChanged { model_id: model_id.into(), before: None, after })
    };
    let events = [
        llm_provider::Event::LlmProviderRegistered(llm_provider::LlmProviderRegistered {
            access: provider("Own", vec![]).access,
        }),
        llm_provider::Event::ModelsAdded(llm_provider::ModelsAdded { models }),
        measured("a", 0.9, 0.05),
        measured("b", 0.6, 0.0),
    ];
    let choose = |events: &[llm_provider::Event]| {
        // Every event goes through its bytes.
        let state = Spec::<LlmProvider>::given(events.iter().cloned()).state().clone();
        let scene = Scene { providers: vec![(TENANT, OWN, state)], ..scene() };
        scene.established(by(Objective::Quality))
    };
    let (live, replayed) = (choose(&events), choose(&events));
    assert_eq!(live, replayed);
    let Event::CouplingEstablished(live) = live else { unreachable!() };
    assert_eq!(live.binding.model.model_id, "a", "by its ratings, although b is declared better");
    let Event::CouplingEstablished(before) = choose(&events[..2]) else { unreachable!() };
    assert_eq!(before.binding.model.model_id, "b", "as it was before them");
}

fn away() -> RebindCoupling {
    let away_from_model = Some("small".to_owned());
    RebindCoupling { away_from_provider: Some(OWN), away_from_model, reason: "it is down".into(), model: None }
}

#[test]
fn a_coupling_leaves_a_model_that_is_down_and_new_ones_do_not_choose_it() {
    let mut scene = scene();
    let event = scene.established(by(Objective::Cost));
    down(scene.own(), "small");
    let state = after([event]);
    let Decision { events, .. } = scene.react_with(&state, away().into());
    let [Event::CouplingRebound(rebound)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(rebound.binding.model, reference(SHARED, "medium"));
    assert_eq!(rebound.assessment.rejected_examples[0].reason, Unfit::MovedAway);
    let seen = scene.assessed(by(Objective::Cost));
    assert_eq!(seen.rejected_examples[0].reason, Unfit::ModelDown);
    assert_eq!(seen.rejected_examples[0].detail, "calls to it have failed for a while: connect");
    // Up again: what was moved away stays, and the next choice sees it.
    scene.own().conditions.clear();
    let mut moved = state;
    Coupling::evolve(&mut moved, &events[0], &crate::domain::spec::meta(crate::domain::spec::stream::<Coupling>(), 2));
    assert_eq!(scene.react_with(&moved, ResumeCoupling { hold: Hold::Provider }.into()), Decision::unchanged());
    assert_eq!(order(&scene, Objective::Cost)[0], "small");
}

#[test]
fn a_coupling_without_another_model_waits_and_so_does_one_that_is_pinned() {
    let mut lonely = scene();
    lonely.shared().models.clear();
    lonely.own().models.retain(|model| model.model_id == "small");
    for (mut scene, event) in [
        (lonely.clone(), lonely.established(by(Objective::Cost))),
        (scene(), scene().established(pinned(OWN, "small"))),
    ] {
        down(scene.own(), "small");
        let state = after([event.clone()]);
        let Decision { events, .. } = scene.react_with(&state, away().into());
        let [Event::CouplingSuspended(suspended)] = &events[..] else { panic!("{events:?}") };
        assert_eq!(suspended.hold, Hold::Provider);
        let state = after([event, events[0].clone()]);
        let resume = || ResumeCoupling { hold: Hold::Provider };
        assert_eq!(scene.react_with(&state, resume().into()), Decision::unchanged(), "it is still down");
        scene.own().conditions.clear();
        let lifted = scene.react_with(&state, resume().into());
        assert_eq!(lifted.events, [Event::CouplingResumed(CouplingResumed { hold: Hold::Provider })]);
    }
}

/// The model went down after the decision had looked, and before the coupling's edges were there for the fan-out.
#[test]
fn a_coupling_that_just_missed_it_leaves_a_model_that_is_down() {
    let mut scene = scene();
    let event = scene.established(by(Objective::Cost));
    let state = after([event.clone()]);
    let meta = crate::domain::spec::meta(crate::domain::spec::stream::<Coupling>(), 1);
    assert_eq!(Coupling::react(&event, &state, &meta, &scene.world()), []);
    down(scene.own(), "small");
    let reactions = Coupling::react(&event, &state, &meta, &scene.world());
    let [Reaction::Send { name: "recheck_model", command, .. }] = &reactions[..] else { panic!("{reactions:?}") };
    let reason = "its model is down".to_owned();
    assert_eq!(*command, Command::RebindCoupling(RebindCoupling { reason, ..away() }).into());
}
