//! Any order of commands at any time: what must hold is checked on the events alone, without the state's own sums.

use super::*;
use crate::domain::EventMeta;
use crate::domain::spec::meta;
use proptest::prelude::*;

/// A command, and how far the clock moves before it, in seconds.
type Step = (i64, Kind, i64);

#[derive(Clone, Copy, Debug)]
enum Kind {
    Submit,
    Start,
    End,
    Complete,
    Lose,
    Fail,
    Expire,
    Cancel,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    use Kind::{Cancel, Complete, End, Expire, Fail, Lose, Start, Submit};
    let kind = prop_oneof![
        1 => Just(Submit), 8 => Just(Start), 4 => Just(End), 3 => Just(Complete), 1 => Just(Fail), 1 => Just(Expire),
        1 => Just(Cancel), 2 => Just(Lose),
    ];
    prop::collection::vec((prop_oneof![3 => 0..3_i64, 1 => 20..60_i64], kind, -2..3_i64), 1..60)
}

fn command(state: &State, kind: Kind, offset: i64, now: Micros) -> Command {
    let last = state.attempts.len() as i64;
    match kind {
        Kind::Submit => submit().into(),
        // Mostly the right one.
        Kind::Start => {
            StartAttempt { lease_until: now + 30 * SECOND, ..start(last + if offset == 2 { 0 } else { 1 }) }.into()
        }
        Kind::End if offset == 0 => EndAttempt { attempt: last, error: "connect".into(), ..Default::default() }.into(),
        Kind::End => cut(last + offset.min(0)).into(),
        Kind::Complete => complete(last + offset.min(0)).into(),
        Kind::Lose => LoseAttempt { attempt: last + offset.min(0) }.into(),
        Kind::Fail => fail().into(),
        Kind::Expire => ExpireRequest {}.into(),
        Kind::Cancel => cancel().into(),
    }
}

/// Runs the steps from a submission on; every event with when it was recorded.
fn run(steps: Vec<Step>) -> (State, Vec<(Micros, Event)>) {
    let (mut state, mut history, mut now) = (State::default(), Vec::new(), NOW);
    let envelope = Envelope::new(Uuid::from_u128(9), stream::<LlmRequest>());
    for (seconds, kind, offset) in [(0, Kind::Submit, 0)].into_iter().chain(steps) {
        now += seconds * SECOND;
        let command = command(&state, kind, offset, now);
        let context = Context { now, envelope: &envelope, version: history.len() as u64, world: &World::default() };
        let Ok(decision) = LlmRequest::decide(&state, &command, &context) else { continue };
        for event in decision.events {
            let version = history.len() as u64 + 1;
            LlmRequest::evolve(
                &mut state,
                &event,
                &EventMeta { recorded_at: now, ..meta(stream::<LlmRequest>(), version) },
            );
            history.push((now, event));
        }
    }
    (state, history)
}

/// Who reports a call: attempt, usage, cost.
fn call(event: &Event) -> Option<(i64, Option<Usage>, Option<i64>)> {
    match event {
        Event::AttemptFailed(it) => Some((it.attempt, it.usage, it.cost_pico_usd)),
        Event::RequestCompleted(it) => Some((it.attempt, Some(it.usage), it.cost_pico_usd)),
        Event::ExtraCallRecorded(it) => Some((it.attempt, it.usage, it.cost_pico_usd)),
        _ => None,
    }
}

fn is_end(event: &Event) -> bool {
    use Event::{RequestCancelled, RequestCompleted, RequestExpired, RequestFailed};
    matches!(event, RequestCompleted(_) | RequestFailed(_) | RequestExpired(_) | RequestCancelled(_))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn it_ends_once_and_the_totals_are_the_sums_over_the_events(steps in steps()) {
        let (state, history) = run(steps);
        let ends = history.iter().filter(|(_, event)| is_end(event)).count();
        prop_assert!(ends <= 1, "{history:?}");
        prop_assert_eq!(ends == 1, !state.is_running());
        let calls: Vec<_> = history.iter().filter_map(|(_, event)| call(event)).collect();
        for (place, (attempt, ..)) in calls.iter().enumerate() {
            prop_assert!(calls[..place].iter().all(|(other, ..)| other != attempt), "counted twice: {calls:?}");
        }
        let mut usage = Usage::default();
        calls.iter().filter_map(|(_, usage, _)| usage.as_ref()).for_each(|it| usage.add(it));
        prop_assert_eq!(state.totals.usage, usage);
        prop_assert_eq!(state.totals.cost_pico_usd, calls.iter().filter_map(|(.., cost)| *cost).sum::<i64>());
        let extra = history.iter().filter(|(_, event)| matches!(event, Event::ExtraCallRecorded(_))).count();
        prop_assert_eq!(state.extra_calls, extra as i64);
    }

    #[test]
    fn at_most_one_attempt_is_open_within_its_lease(steps in steps()) {
        let (state, history) = run(steps);
        let mut open: Option<Micros> = None;
        let (mut lost, mut attempts) = (0, 0);
        for (now, event) in &history {
            match event {
                Event::AttemptStarted(it) => {
                    attempts += 1;
                    prop_assert_eq!(it.attempt, attempts, "numbered without gaps");
                    prop_assert_eq!(it.previous_lost, open.is_some());
                    if let Some(lease_until) = open.replace(it.lease_until) {
                        prop_assert!(*now >= lease_until + LEASE_MARGIN_MS * 1_000, "two within a lease: {history:?}");
                        lost += 1;
                    }
                }
                Event::AttemptFailed(_) | Event::RequestCompleted(_) => open = None,
                Event::AttemptLost(it) => {
                    prop_assert!(it.attempt == attempts && open.take().is_some(), "the open one: {:?}", history);
                    lost += 1;
                }
                Event::RequestFailed(it) => lost += i64::from(it.open_attempt.is_some()),
                Event::RequestExpired(it) => lost += i64::from(it.open_attempt.is_some()),
                _ => {}
            }
        }
        prop_assert!(attempts <= ATTEMPTS_MAX);
        prop_assert_eq!(state.lost_attempts, lost);
        prop_assert_eq!(state.attempts.len() as i64, attempts);
    }

    /// Any order of events leads to a state that has a view, survives its blob, and decides every command.
    #[test]
    fn no_order_of_events_panics(order in prop::collection::vec(prop::sample::select(events()), 0..12)) {
        let state = Request::given(order).state().clone();
        let blob = AnyState::LlmRequest(Box::new(state.clone())).to_blob().unwrap();
        let back = AnyState::from_blob(Aggregate::LlmRequest, &blob).unwrap();
        prop_assert_eq!(back, AnyState::LlmRequest(Box::new(state.clone())));
        prop_assert_eq!(LlmRequest::view(&state).len(), 34);
        for command in commands() {
            let _ = as_system(&state, command);
        }
    }
}
