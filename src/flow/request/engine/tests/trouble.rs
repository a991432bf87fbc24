//! Logs that go to others, answers that get lost, providers that fail and come back.

use super::fakes::{Plan, fails};
use super::world::{Fault, World, model, request, stream};
use crate::domain::llm_request::{AttemptEnd, Command, Event, Status, SubmitRequest};
use crate::flow::request::engine::BreakerView;
use crate::flow::request::seam::Answered;
use crate::ports::Clock;
use crate::ports::llm::{Kind, Progress};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_call_whose_log_goes_to_another_is_recorded_by_the_topic() {
    let world = World::new(|_| {}).await;
    world.llm.plan(|_, _| Plan::Answer(Duration::from_secs(10)));
    world.ask(1, &["a"]).await;
    world.ask(2, &["a"]).await;
    world.until("the calls", |world| *world.llm.open.lock() == 2).await;
    world.release();
    let state = world.until_ended(1).await;
    assert_eq!((state.status, state.attempts[0].end), (Status::Completed, AttemptEnd::Completed));
    world.until_ended(2).await;
    assert_eq!((world.llm.calls.lock().len(), world.journal.by_topic.load(Ordering::Relaxed)), (2, 2));
    world.until("rest", |world| world.engine.snapshot().running == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_claimed_again_in_the_middle_of_a_call_does_not_have_it_called_twice() {
    let world = World::new(|_| {}).await;
    world.llm.plan(|_, _| Plan::Answer(Duration::from_secs(300)));
    world.ask(1, &["a"]).await;
    world.until("the call", |world| *world.llm.open.lock() == 1).await;
    world.release();
    world.claim();
    let state = world.until_ended(1).await;
    assert_eq!((state.status, state.attempts.len(), world.llm.calls.lock().len()), (Status::Completed, 1, 1));
    world.until("rest", |world| world.engine.snapshot().waiting == [0, 0, 0]).await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_of_which_nobody_knows_whether_it_started_is_not_called() {
    for is_in in [false, true] {
        let world = World::new(|config| config.timeouts.total = Duration::from_secs(50)).await;
        world.journal.faults.lock().push_back(Fault::Unknown { is_in });
        world.ask(1, &["a"]).await;
        let begun = Instant::now();
        let state = world.until_ended(1).await;
        assert_eq!((state.status, world.llm.calls.lock().len()), (Status::Completed, 1), "{is_in}");
        assert_eq!((state.attempts.len(), state.lost_attempts), if is_in { (2, 1) } else { (1, 0) });
        // Its own lease is waited out as another's would be.
        assert_eq!(begun.elapsed() > Duration::from_secs(55), is_in);
    }
}

#[tokio::test(start_paused = true)]
async fn a_completion_of_which_nobody_knows_is_said_again_and_counts_once() {
    for is_in in [false, true] {
        let world = World::new(|_| {}).await;
        world.ask(1, &["a"]).await;
        world.until("the call", |world| *world.llm.open.lock() == 1).await;
        world.journal.faults.lock().push_back(Fault::Unknown { is_in });
        let state = world.until_ended(1).await;
        world.until("rest", |world| world.engine.snapshot().running == 0).await;
        assert_eq!((state.status, state.extra_calls, world.llm.calls.lock().len()), (Status::Completed, 0, 1));
        assert_eq!(world.state(1).totals, state.totals, "counted once");
    }
}

#[tokio::test(start_paused = true)]
async fn no_call_begins_once_its_lease_is_over() {
    let world = World::new(|config| config.timeouts.total = Duration::from_secs(1)).await;
    world.ask(1, &["a"]).await;
    // The append takes longer than the lease of the first attempt.
    *world.journal.latency.lock() = Duration::from_secs(7);
    world.until("the attempt", |world| !world.state(1).attempts.is_empty()).await;
    *world.journal.latency.lock() = Duration::from_millis(1);
    let state = world.until_ended(1).await;
    assert_eq!(state.status, Status::Completed);
    assert_eq!((state.attempts[0].end, state.attempts[0].error.as_str()), (AttemptEnd::Failed, "lease_over"));
    assert_eq!((world.llm.calls.lock().len(), state.totals.calls_of_unknown_cost), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_ran_out_while_the_attempt_was_started_is_replaced() {
    let world = World::new(|_| {}).await;
    *world.journal.latency.lock() = Duration::from_secs(4);
    world.ask(1, &["a"]).await;
    let state = world.until_ended(1).await;
    assert_eq!((state.status, state.attempts.len(), world.llm.calls.lock().len()), (Status::Completed, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_429_pauses_the_model_and_costs_nobody_a_request() {
    let world = World::new(|_| {}).await;
    let calm = Instant::now() + Duration::from_secs(20);
    world.llm.plan(move |made, _| {
        let retry_after = Some(Duration::from_secs(2));
        let kind = Kind::RateLimited;
        let limited = Plan::Fail { after: Duration::from_millis(5), kind, progress: Progress::Sent, retry_after };
        if made.at < calm { limited } else { Plan::Answer(Duration::from_millis(50)) }
    });
    for number in 1..=50 {
        world.ask(number, &["a"]).await;
    }
    for number in 1..=50 {
        let state = world.until_ended(number).await;
        assert_eq!(state.status, Status::Completed, "{number}: {}", state.error);
        assert_eq!(state.totals.calls_of_unknown_cost, 0);
    }
    let limited = world.llm.calls.lock().iter().filter(|made| made.at < calm).count();
    // Ten pauses of two seconds at most, each with those that come back together after it.
    assert!(limited <= 400, "{limited} calls although the provider said to wait");
    assert!(world.engine.snapshot().breakers.is_empty(), "a provider that says no is well");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_dies_is_left_for_the_next_and_comes_back() {
    let world = World::new(|_| {}).await;
    let is_dead = Arc::new(AtomicBool::new(false));
    let dead = is_dead.clone();
    world.llm.plan(move |made, _| {
        let fails_now = made.model == "a" && dead.load(Ordering::Relaxed);
        if fails_now { fails(Kind::Connect) } else { Plan::Answer(Duration::from_millis(30)) }
    });
    let mut number = 0;
    let mut load = async |world: &World, requests: u128| {
        for _ in 0..requests {
            number += 1;
            world.ask(number, &["a", "c"]).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for one in 1..=number {
            assert_eq!(world.until_ended(one).await.status, Status::Completed, "{one}");
        }
        std::mem::take(&mut *world.llm.calls.lock()).iter().filter(|made| made.model == "a").count()
    };
    assert_eq!(load(&world, 50).await, 50);
    is_dead.store(true, Ordering::Relaxed);
    let tried = load(&world, 200).await;
    assert!((5..=10).contains(&tried), "{tried} calls to a provider that is dead: the breaker was to open");
    let open = world.engine.snapshot().breakers;
    assert!(matches!(&open[..], [BreakerView { model: one, .. }] if *one == model("a")), "{open:?}");
    is_dead.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(31)).await;
    let back = load(&world, 50).await;
    assert!(back >= 48, "{back} of 50 to the provider that is back");
    assert!(world.engine.snapshot().breakers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn callers_who_do_not_wait_cannot_have_a_model_left_alone() {
    for (seconds, is_open, error) in [(2, false, "out_of_time"), (40, true, "timeout_total")] {
        let world = World::new(|_| {}).await;
        world.llm.plan(|_, _| Plan::Answer(Duration::from_secs(3000)));
        for number in 1..=8 {
            let deadline_at = Some(world.journal.now() + seconds * 1_000_000);
            let command = SubmitRequest { deadline_at, ..request(number, &["a"]) };
            assert_eq!(world.say(number, Command::SubmitRequest(command)).await, Answered::Applied);
        }
        for number in 1..=8 {
            assert_eq!(world.until_ended(number).await.attempts[0].error, error);
        }
        world.until("rest", |world| world.engine.snapshot().running == 0).await;
        assert_eq!(!world.engine.snapshot().breakers.is_empty(), is_open, "{seconds} s");
        world.stop.cancel();
    }
}

#[tokio::test(start_paused = true)]
async fn stopping_lets_calls_end_and_records_those_that_do_not() {
    let world = World::new(|config| config.stop_for = Duration::from_secs(5)).await;
    world.llm.plan(|made, _| Plan::Answer(Duration::from_secs(if made.prompt == "1" { 3 } else { 3000 })));
    world.ask(1, &["a"]).await;
    world.ask(2, &["a"]).await;
    world.until("the calls", |world| *world.llm.open.lock() == 2).await;
    world.stop.cancel();
    world.running.await.expect("it stops");
    let events = world.journal.events();
    let ends = [1, 2].map(|number| {
        let last = events.iter().rfind(|(of, _)| *of == stream(number)).map(|(_, event)| event);
        (matches!(last, Some(Event::RequestCompleted(_))), matches!(last, Some(Event::AttemptFailed(_))))
    });
    assert_eq!(ends, [(true, false), (false, true)]);
}
