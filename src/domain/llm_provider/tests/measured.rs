//! What calls show of a model: which reports are events, and what counts.

use super::*;
use crate::domain::open::anchor;
use coupling::{Hold, RebindCoupling, ResumeCoupling};

const MINUTE: Micros = 60_000_000;

pub fn statistics() -> ModelStatistics {
    ModelStatistics {
        measured_to: NOW,
        calls: 100,
        error_rate: 0.25,
        latency_ms_p50: Some(1_000),
        latency_ms_p95: Some(3_000),
        tokens_per_second: Some(50.0),
        cost_per_1k_tokens_micro_usd: Some(750.5),
        ratings: 8,
        rating_mean: Some(0.75),
    }
}

/// A minute later, by more than the threshold.
pub fn slower() -> ModelStatistics {
    ModelStatistics { measured_to: NOW + MINUTE, latency_ms_p50: Some(1_200), ..statistics() }
}

pub fn report(statistics: ModelStatistics) -> Command {
    Command::ReportModelStatistics(ReportModelStatistics { model_id: "a".into(), statistics })
}

pub fn report_health(model_id: &str, health: ModelHealth) -> Command {
    Command::ReportModelHealth(ReportModelHealth { model_id: model_id.into(), health, reason: "calls fail".into() })
}

pub fn changed(before: Option<ModelStatistics>, after: ModelStatistics) -> Event {
    Event::ModelStatisticsChanged(ModelStatisticsChanged { model_id: "a".into(), before, after })
}

pub fn went(model_id: &str, before: ModelHealth, after: ModelHealth) -> Event {
    Event::ModelHealthChanged(ModelHealthChanged { model_id: model_id.into(), before, after, reason: "calls fail".into() })
}

fn measured() -> Provider {
    Provider::given(with_models().into_iter().chain([changed(None, statistics())]))
}

fn later(change: impl FnOnce(&mut ModelStatistics)) -> ModelStatistics {
    let mut later = ModelStatistics { measured_to: NOW + MINUTE, ..statistics() };
    change(&mut later);
    later
}

#[test]
fn the_first_statistics_are_an_event_and_declared_values_stay_as_they_are() {
    let state = Provider::given(with_models()).when(report(statistics())).then([changed(None, statistics())]);
    assert_eq!(state.models, [model("a"), model("b")]);
    assert_eq!(state.measured["a"], statistics());
    let shown = serde_json::Value::from(LlmProvider::view(&state));
    assert_eq!(shown["models"][0]["latency_ms_p50"], 1_200, "as declared");
    assert_eq!(shown["models"][0]["measured"]["latency_ms_p50"], 1_000);
    assert_eq!(shown["models"][1]["measured"], json!(null));
}

#[test]
fn a_report_is_an_event_only_past_its_threshold() {
    type Change = fn(&mut ModelStatistics);
    let below: [Change; 7] = [
        |it| it.latency_ms_p50 = Some(1_199),
        |it| it.latency_ms_p95 = Some(2_401),
        |it| it.tokens_per_second = Some(59.9),
        |it| it.cost_per_1k_tokens_micro_usd = Some(700.0),
        |it| it.error_rate = 0.299,
        |it| it.rating_mean = Some(0.71),
        |it| (it.calls, it.ratings) = (100_000, 9),
    ];
    for (place, change) in below.into_iter().enumerate() {
        assert_eq!(measured().when(report(later(change))).events(), [], "{place}");
    }
    let past: [Change; 9] = [
        |it| it.latency_ms_p50 = Some(1_200),
        |it| it.latency_ms_p95 = Some(2_400),
        |it| it.tokens_per_second = Some(40.0),
        |it| it.cost_per_1k_tokens_micro_usd = None,
        |it| it.error_rate = 0.3,
        |it| it.error_rate = 0.2,
        |it| it.rating_mean = Some(0.8),
        // Too few to say anything any more.
        |it| it.ratings = 4,
        |it| it.measured_to = NOW + MEASURED_LIFE / 2,
    ];
    for (place, change) in past.into_iter().enumerate() {
        let after = later(change);
        let outcome = measured().when(report(after.clone()));
        assert_eq!(outcome.events(), [changed(Some(statistics()), after)], "{place}");
    }
    let doubtful = ModelStatistics { error_rate: 0.49, ..statistics() };
    let worse = later(|it| it.error_rate = 0.51);
    let given = Provider::given(with_models().into_iter().chain([changed(None, doubtful.clone())]));
    given.when(report(worse.clone())).then([changed(Some(doubtful), worse)]);
}

#[test]
fn of_reports_of_the_same_time_one_counts() {
    measured().when(report(ModelStatistics { measured_to: NOW, ..slower() })).then_nothing();
    measured().when(report(ModelStatistics { measured_to: NOW - MINUTE, ..slower() })).then_nothing();
}

#[test]
fn what_is_no_measurement_is_refused() {
    let wrong: [fn(&mut ModelStatistics); 6] = [
        |it| it.calls = -1,
        |it| it.error_rate = 1.5,
        |it| it.rating_mean = Some(-0.1),
        |it| it.tokens_per_second = Some(f64::NAN),
        |it| it.cost_per_1k_tokens_micro_usd = Some(f64::INFINITY),
        |it| it.latency_ms_p95 = Some(-1),
    ];
    for change in wrong {
        assert_eq!(measured().when(report(later(change))).then_refused("invalid").code, "invalid");
    }
    Provider::given([registered()]).when(report(statistics())).then_refused("model_unknown");
    Provider::given(with_models()).when(report_health("z", ModelHealth::Down)).then_refused("model_unknown");
}

#[test]
fn what_was_measured_counts_before_what_is_declared() {
    let state = measured().state().clone();
    let figures = state.figures(&model("a"), NOW);
    assert_eq!((figures.latency_ms_p50, figures.latency_is_measured), (Some(1_000), true));
    assert_eq!((figures.quality, figures.quality_is_measured), (Some(0.75), true));
    assert_eq!((figures.error_rate, figures.calls), (Some(0.25), 100));
    let figures = state.figures(&model("b"), NOW);
    assert_eq!((figures.latency_ms_p50, figures.quality, figures.error_rate), (Some(1_200), Some(0.85), None));
    assert!(!figures.latency_is_measured && !figures.quality_is_measured);
    let old = state.figures(&model("a"), NOW + MEASURED_LIFE + 1);
    assert_eq!((old.latency_ms_p50, old.error_rate), (Some(1_200), None), "it gets another chance");
    let few = |change: fn(&mut ModelStatistics)| {
        let statistics = later(change);
        let state = Provider::given(with_models().into_iter().chain([changed(None, statistics)])).state().clone();
        state.figures(&model("a"), NOW)
    };
    assert_eq!(few(|it| it.calls = CALLS_MIN - 1).error_rate, None);
    assert_eq!(few(|it| it.ratings = RATINGS_MIN - 1).quality, Some(0.85), "declared");
}

#[test]
fn a_model_goes_down_and_comes_up_and_reports_that_change_nothing_are_no_events() {
    let given = || Provider::given(with_models());
    given().when(report_health("a", ModelHealth::Up)).then_nothing();
    let down = went("a", ModelHealth::Up, ModelHealth::Down);
    let state = given().when(report_health("a", ModelHealth::Down)).then([down.clone()]);
    assert!(state.is_down("a") && !state.is_down("b"));
    assert_eq!(state.conditions["a"].since, NOW);
    let given = || Provider::given(with_models().into_iter().chain([down.clone()]));
    given().when(report_health("a", ModelHealth::Down)).then_nothing();
    let up = went("a", ModelHealth::Down, ModelHealth::Up);
    let state = given().when(report_health("a", ModelHealth::Up)).then([up]);
    assert!(!state.is_down("a"));
    let shown = serde_json::Value::from(LlmProvider::view(given().state()));
    assert_eq!((&shown["models"][0]["model_health"], &shown["models"][1]["model_health"]), (&json!("down"), &json!("up")));
    let state = given().when(retire(&["a"])).then([retired("a")]);
    assert!(state.conditions.is_empty(), "one that is offered anew is another");
}

#[test]
fn a_provider_with_a_model_that_is_down_hangs_on_an_anchor_until_it_is_up() {
    let stream = StreamId::new(TENANT, Aggregate::LlmProvider, Uuid::from_u128(5));
    let log = crate::domain::LogId { aggregate: Aggregate::LlmProvider, partition: 3 };
    let down = [went("a", ModelHealth::Up, ModelHealth::Down)];
    let anchored = |more: Vec<Event>| {
        let events = with_models().into_iter().chain(down.clone()).chain(more);
        let state = AnyState::LlmProvider(Box::new(Provider::given(events).state().clone()));
        state.sources(log, &stream).contains(&anchor(log, 0))
    };
    assert!(anchored(vec![]));
    assert!(anchored(vec![went("b", ModelHealth::Up, ModelHealth::Down), went("a", ModelHealth::Down, ModelHealth::Up)]));
    assert!(!anchored(vec![went("a", ModelHealth::Down, ModelHealth::Up)]));
    assert!(!anchored(vec![deregistered()]));
}

#[test]
fn couplings_leave_a_model_that_is_down_and_those_without_another_come_back_to_it() {
    let react = |event: &Event| {
        LlmProvider::react(event, &State::default(), &meta(stream::<LlmProvider>(), 3), &World::default())
    };
    let fan_out = |name, command: coupling::Command| {
        let (from, to) = (stream::<LlmProvider>(), Aggregate::Coupling);
        vec![Reaction::FanOut { name, from, to, command: command.into() }]
    };
    let away = RebindCoupling {
        model: None,
        away_from_provider: Some(stream::<LlmProvider>().id),
        away_from_model: Some("a".into()),
        reason: "the model a is down: calls fail".into(),
    };
    let down = react(&went("a", ModelHealth::Up, ModelHealth::Down));
    assert_eq!(down, fan_out("rebind_from_model", coupling::Command::RebindCoupling(away)));
    let resume = coupling::Command::ResumeCoupling(ResumeCoupling { hold: Hold::Provider });
    assert_eq!(react(&went("a", ModelHealth::Down, ModelHealth::Up)), fan_out("resume_with_model", resume));
    assert_eq!(react(&changed(None, statistics())), vec![]);
}
