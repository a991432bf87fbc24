use super::*;
use crate::domain::llm_request::{
    AnswerRated, Attempt, AttemptFailed, Event, ExtraCallRecorded, LlmRequest, ModelChoice, RequestCancelled,
    RequestCompleted, RequestExpired, State, Submission, Usage, usd_of_many,
};
use crate::domain::spec::stream;
use crate::domain::{StreamId, TenantId};
use uuid::Uuid;

const DAY: Micros = 24 * 3_600_000_000;

fn model(id: &str) -> ModelChoice {
    ModelChoice { model_id: id.into(), provider_id: Uuid::from_u128(5), ..ModelChoice::default() }
}

fn state() -> State {
    let request = Submission {
        agent_id: Some(Uuid::from_u128(1)),
        coupling_id: Some(Uuid::from_u128(2)),
        project: Some("atlas".into()),
        models: vec![model("large"), model("small")],
        ..Submission::default()
    };
    let attempts = vec![Attempt { attempt: 1, model: model("small"), ..Attempt::default() }];
    State { request, attempts, ..State::default() }
}

fn failed(sent: bool, cost_pico_usd: Option<i64>) -> Event {
    let usage = cost_pico_usd.map(|_| Usage { input_tokens: 10, output_tokens: 2, ..Usage::default() });
    Event::AttemptFailed(AttemptFailed {
        attempt: 1,
        error: "timeout".into(),
        http_status: None,
        provider_code: None,
        sent,
        received: false,
        retry_after_ms: None,
        usage,
        estimated: false,
        price: None,
        cost_pico_usd,
        latency_ms: None,
        provider_request_id: None,
    })
}

fn completed(cost_pico_usd: Option<i64>) -> Event {
    Event::RequestCompleted(RequestCompleted {
        attempt: 1,
        model: model("small"),
        usage: Usage {
            input_tokens: 100,
            output_tokens: 20,
            cached_input_tokens: 30,
            cache_write_tokens: 7,
            reasoning_tokens: 4,
        },
        estimated: false,
        price: None,
        cost_pico_usd,
        latency_ms: 1_200,
        first_byte_ms: None,
        finish_reason: None,
        answer: crate::domain::personal::Personal::Absent,
        answer_sha256: None,
        answer_bytes: 0,
        provider_request_id: None,
        answer_parts: 0,
    })
}

fn counted(event: &Event, state: &State) -> Counted {
    count(&stream::<LlmRequest>(), event, state).unwrap()
}

#[test]
fn an_event_counts_for_everybody_whom_the_request_was_for() {
    let it: StreamId = stream::<LlmRequest>();
    let keys = counted(&completed(Some(7)), &state()).keys;
    let found: Vec<(TenantId, Dimension, &str)> = keys.iter().map(|it| (it.tenant, it.dimension, &*it.key)).collect();
    let (tenant, agent, coupling) =
        (it.tenant.to_string(), Uuid::from_u128(1).to_string(), Uuid::from_u128(2).to_string());
    let model = format!("{}/small", Uuid::from_u128(5));
    let expected = [
        (it.tenant, Dimension::Tenant, tenant.as_str()),
        (it.tenant, Dimension::Project, "atlas"),
        (it.tenant, Dimension::Agent, agent.as_str()),
        (it.tenant, Dimension::Coupling, coupling.as_str()),
        (it.tenant, Dimension::Model, model.as_str()),
        (TenantId::SHARED, Dimension::Offer, model.as_str()),
    ];
    assert_eq!(found, expected);
    let direct = State { request: Submission::default(), ..state() };
    let few: Vec<_> = counted(&completed(None), &direct).keys.iter().map(|it| it.dimension).collect();
    assert_eq!(few, [Dimension::Tenant, Dimension::Model, Dimension::Offer]);
}

#[test]
fn a_call_that_may_have_been_paid_and_has_no_cost_is_one_of_unknown_cost() {
    let unknown = |event: &Event| counted(event, &state()).totals.calls_of_unknown_cost;
    assert_eq!(unknown(&completed(Some(0))), 0);
    assert_eq!(unknown(&completed(None)), 1);
    assert_eq!(unknown(&failed(false, None)), 0, "it never left");
    assert_eq!(unknown(&failed(true, None)), 1);
    assert_eq!(unknown(&failed(true, Some(5))), 0);
    let mut estimated = state();
    estimated.attempts.iter_mut().for_each(|attempt| attempt.cost_estimated_pico_usd = 70);
    let cost = |event: &Event| counted(event, &estimated).totals.unknown_cost_pico_usd;
    let events = [completed(Some(0)), completed(None), failed(false, None), failed(true, None), failed(true, Some(5))];
    assert_eq!(events.each_ref().map(cost), [0, 70, 0, 70, 0]);
}

#[test]
fn what_each_event_counts_as_is_one_thing() {
    let totals = counted(&completed(Some(9)), &state()).totals;
    assert_eq!((totals.requests_completed, totals.cost_pico_usd, totals.latencies.count()), (1, 9, 1));
    assert_eq!((totals.input_tokens, totals.cached_input_tokens, totals.cache_write_tokens), (100, 30, 7));
    let totals = counted(&failed(true, Some(3)), &state()).totals;
    assert_eq!(
        (totals.attempts_failed, totals.requests_failed, totals.input_tokens, totals.cost_pico_usd),
        (1, 0, 10, 3)
    );
    let expired = Event::RequestExpired(RequestExpired { attempts: 0, open_attempt: None });
    let cancelled =
        Event::RequestCancelled(RequestCancelled { reason: String::new(), attempts: 0, open_attempt: None });
    assert_eq!(counted(&expired, &state()).totals, Totals { requests_expired: 1, ..Totals::default() });
    assert_eq!(counted(&cancelled, &state()).totals, Totals { requests_cancelled: 1, ..Totals::default() });
    let extra = Event::ExtraCallRecorded(ExtraCallRecorded {
        attempt: 1,
        model: model("large"),
        error: None,
        usage: None,
        estimated: false,
        price: None,
        cost_pico_usd: None,
        latency_ms: Some(3),
        provider_request_id: None,
    });
    let counted_extra = counted(&extra, &state());
    assert_eq!(counted_extra.totals, Totals { extra_calls: 1, calls_of_unknown_cost: 1, ..Totals::default() });
    assert!(counted_extra.keys.iter().any(|it| it.key.ends_with("/large")), "the model of the call");
}

#[test]
fn only_what_a_provider_fails_by_itself_counts_against_it() {
    let of = |error: &str| {
        let Event::AttemptFailed(event) = failed(true, None) else { unreachable!() };
        let event = Event::AttemptFailed(AttemptFailed { error: error.into(), ..event });
        counted(&event, &state()).totals.provider_failures
    };
    for code in ["connect", "timeout_first_byte", "timeout_total", "overloaded", "server", "cut", "auth", "not_found"] {
        assert_eq!(of(code), 1, "{code}");
    }
    for code in ["bad_request", "context_length", "content_filter", "rate_limited", "caller_gone", "out_of_time"] {
        assert_eq!(of(code), 0, "{code}");
    }
}

fn rated(before_millionths: Option<i64>, after_millionths: i64) -> Event {
    let comment = crate::domain::personal::Personal::Absent;
    Event::AnswerRated(AnswerRated { model: model("small"), rater: None, before_millionths, after_millionths, comment })
}

#[test]
fn a_rating_counts_where_it_was_given_and_so_does_its_change() {
    let mut sum = counted(&rated(None, 250_000), &state()).totals;
    assert_eq!((sum.ratings.count(), sum.ratings.mean(), sum.requests_completed), (1, Some(0.25), 0));
    sum.add(&counted(&rated(None, 750_000), &state()).totals);
    assert_eq!((sum.ratings.count(), sum.ratings.mean()), (2, Some(0.5)));
    let later = counted(&rated(Some(1_000_000), 0), &state()).totals;
    assert_eq!((later.ratings.count(), later.ratings.mean()), (1, Some(0.0)), "what a window shows was said in it");
}

#[test]
fn an_end_without_an_attempt_counts_for_the_first_choice() {
    let expired = Event::RequestExpired(RequestExpired { attempts: 0, open_attempt: None });
    let key = |state: &State| counted(&expired, state).keys.last().unwrap().key.to_string();
    assert!(key(&state()).ends_with("/small"));
    assert!(key(&State { attempts: Vec::new(), ..state() }).ends_with("/large"));
}

#[test]
fn what_is_not_counted_is_told_by_its_name() {
    use crate::domain::wire::Wire;
    let counted: Vec<_> = Event::NAMES.iter().filter(|name| is_counted(name)).collect();
    assert_eq!(counted.len(), Event::NAMES.len() - 2, "{counted:?}");
    assert!(is_counted(completed(None).name()) && is_counted(failed(true, None).name()));
}

#[test]
fn the_cost_of_very_many_calls_is_still_exact() {
    let most = counted(&completed(Some(400_000_000_000_000_000)), &state()).totals;
    let mut sum = Totals::default();
    (0..1_000).for_each(|_| sum.add(&most));
    assert_eq!(usd_of_many(sum.cost_pico_usd), "400000000.000000000000", "beyond 64 bits of pico-dollars");
}

#[test]
fn windows_begin_at_multiples_of_their_size() {
    let at = 20_000 * DAY + 3 * 3_600_000_000 + 7 * 60_000_000 + 31_000_000;
    let starts = Window::ALL.map(|window| window.start_of(at) - 20_000 * DAY);
    let minutes = starts.map(|start| start / 60_000_000);
    assert_eq!(minutes, [187, 185, 180, 0]);
    for window in Window::ALL {
        let start = window.start_of(at);
        assert_eq!(window.start_of(start), start);
        assert_eq!(window.start_of(start + window.size() - 1), start);
        assert_eq!(window.start_of(-1), -window.size(), "before 1970 too");
        let period = window.period_of(start);
        let end = window.end_of_period(period);
        assert_eq!((window.period_of(end - 1), window.period_of(end)), (period, period + 1));
        assert_eq!(window.periods(&(start..end + 1)), period..=period + 1);
        assert!(window.periods(&(start..start)).is_empty());
    }
}

#[test]
fn a_window_goes_when_its_time_after_its_end_is_over() {
    let retention = Retention::default();
    let start = 20_000 * DAY;
    let end = start + Window::Minute.size();
    assert!(retention.keeps(Window::Minute, start, end + 2 * DAY - 1));
    assert!(!retention.keeps(Window::Minute, start, end + 2 * DAY));
    assert!(retention.keeps(Window::Day, 0, i64::MAX));
    let now = end + 2 * DAY - 1;
    assert_eq!(retention.first_kept(Window::Minute, now), start);
    assert_eq!(retention.first_kept(Window::Day, now), Micros::MIN);
    for window in [Window::Minute, Window::FiveMinutes, Window::Hour] {
        let first = retention.first_kept(window, now);
        assert!(retention.keeps(window, first, now) && !retention.keeps(window, first - window.size(), now));
    }
}
