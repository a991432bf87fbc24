//! The life of requests that come from a log.

use super::fakes::{Plan, fails};
use super::world::{World, model, provider, request, stream};
use crate::domain::common::PromptStorage;
use crate::domain::limit::{Limit, LimitKey};
use crate::domain::llm_request::{
    AttemptEnd, CancelRequest, Command, CompleteRequest, EndAttempt, Event, LEASE_MARGIN_MS, Priority, StartAttempt,
    Status, SubmitRequest, Usage, payload,
};
use crate::flow::request::seam::Answered;
use crate::ports::Clock;
use crate::ports::llm::{Kind, Progress};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_request_is_called_once_and_its_answer_usage_and_cost_are_recorded() {
    let world = World::new(|_| {}).await;
    world.ask(1, &["a"]).await;
    let state = world.until_ended(1).await;
    assert_eq!((state.status, state.attempts.len()), (Status::Completed, 1));
    assert_eq!(state.attempts[0].worker, "w1");
    assert_eq!(state.totals.usage, Usage { input_tokens: 10, output_tokens: 20, ..Usage::default() });
    assert_eq!(state.totals.cost_pico_usd, 10 * 1_000_000 + 20 * 2_000_000);
    assert!(state.answer.is_some_and(|answer| answer.is_stored && answer.latency_ms >= 100));
    assert_eq!(world.llm.calls.lock().len(), 1);
    assert_eq!(world.journal.by_topic.load(Ordering::Relaxed), 0);
    world.until("rest", |world| world.engine.snapshot().running == 0).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_call_came_to_is_settled_with_the_limits() {
    let world = World::new(|_| {}).await;
    let key = LimitKey::Model { provider: provider(1), model: "a".into() };
    world.limits.limit(key.clone(), Limit { tokens_per_minute: Some(100_000), ..Limit::default() });
    world.ask(1, &["a"]).await;
    world.until_ended(1).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let used = world.limits.standing(&key).and_then(|standing| standing.tokens).expect("tokens are counted");
    assert_eq!(used.used, 30, "of some hundred that were estimated");
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_not_there_is_passed_over_and_the_event_says_so() {
    let world = World::new(|_| {}).await;
    world.ask(1, &["gone", "c"]).await;
    world.ask(2, &["gone", "lost"]).await;
    assert_eq!(world.until_ended(1).await.status, Status::Completed);
    let state = world.until_ended(2).await;
    assert_eq!((state.status, state.error.as_str()), (Status::Failed, "unknown_model"));
    let started = world.journal.events().into_iter().find_map(|(_, event)| match event {
        Event::AttemptStarted(started) => Some(started),
        _ => None,
    });
    let started = started.expect("an attempt");
    assert_eq!((started.model, started.rejected[0].model.clone()), (model("c"), model("gone")));
    assert_eq!(started.rejected[0].reason, "unknown_model");
    assert_eq!(world.llm.models(), ["c"]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_tried_again_elsewhere_at_once_and_at_the_same_model_later() {
    let world = World::new(|_| {}).await;
    world.llm.plan(|_, before| if before < 3 { fails(Kind::Server) } else { Plan::Answer(Duration::ZERO) });
    world.ask(1, &["a", "c"]).await;
    let state = world.until_ended(1).await;
    assert_eq!(state.status, Status::Completed);
    assert_eq!(world.llm.models(), ["a", "c", "a", "c"]);
    let ends: Vec<_> = state.attempts.iter().map(|attempt| attempt.end).collect();
    assert_eq!(ends, [AttemptEnd::Failed, AttemptEnd::Failed, AttemptEnd::Failed, AttemptEnd::Completed]);
    assert_eq!(state.attempts[0].error, "server");
}

#[tokio::test(start_paused = true)]
async fn what_no_other_try_can_change_fails_at_once_and_a_models_own_fault_goes_to_the_next() {
    let world = World::new(|_| {}).await;
    world.llm.plan(|made, _| match (made.prompt.as_str(), made.model.as_str()) {
        ("1", _) => fails(Kind::BadRequest),
        ("2", "a") => fails(Kind::ContextLength),
        ("3", "a") => {
            Plan::Fail { after: Duration::ZERO, kind: Kind::BadRequest, progress: Progress::NotSent, retry_after: None }
        }
        _ => Plan::Answer(Duration::ZERO),
    });
    for number in 1..=3 {
        world.ask(number, &["a", "c"]).await;
    }
    let first = world.until_ended(1).await;
    assert_eq!((first.status, first.error.as_str(), first.attempts.len()), (Status::Failed, "bad_request", 1));
    assert_eq!(first.totals.calls_of_unknown_cost, 0, "what a provider turns away is free");
    assert_eq!(world.until_ended(2).await.status, Status::Completed);
    assert_eq!(world.until_ended(3).await.status, Status::Completed);
}

#[tokio::test(start_paused = true)]
async fn attempts_are_bounded() {
    let world = World::new(|config| config.attempts_max = 3).await;
    world.llm.plan(|_, _| fails(Kind::Server));
    world.ask(1, &["a"]).await;
    let state = world.until_ended(1).await;
    assert_eq!((state.status, state.error.as_str(), state.attempts.len()), (Status::Failed, "server", 3));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_too_large_for_its_log_is_recorded_by_its_hash() {
    let world = World::new(|_| {}).await;
    world.journal.command_bytes_max.store(20_000, Ordering::Relaxed);
    world.llm.plan(|_, _| Plan::Long(50_000));
    world.ask(1, &["a"]).await;
    let state = world.until_ended(1).await;
    let answer = state.answer.expect("an answer");
    assert_eq!((state.status, answer.is_stored, answer.bytes), (Status::Completed, false, 50_002));
    assert!(answer.sha256.is_some());
    assert_eq!(world.llm.calls.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_too_large_for_one_record_is_kept_in_parts() {
    let world = World::new(|_| {}).await;
    world.llm.plan(|_, _| Plan::Long(1_000_000));
    world.ask(1, &["a"]).await;
    let state = world.until_ended(1).await;
    let answer = state.answer.expect("an answer");
    assert_eq!((state.status, answer.is_stored, answer.bytes), (Status::Completed, true, 1_000_002));
    let (mut whole, mut parts) = (String::new(), 0);
    for (_, event) in world.journal.events() {
        match event {
            Event::AnswerPartAdded(added) => {
                parts += 1;
                assert_eq!((added.attempt, added.part), (1, parts));
                whole.push_str(added.text.text().expect("plain"));
            }
            Event::RequestCompleted(done) => {
                assert_eq!((done.answer_parts, done.answer.is_absent()), (parts, true));
                assert_eq!(done.answer_sha256, Some(payload::sha256(&whole)));
            }
            _ => {}
        }
    }
    assert_eq!((parts, whole.len(), world.llm.calls.lock().len()), (4, 1_000_002, 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_expires_while_it_waits_and_one_that_is_called_is_dropped_at_its_deadline() {
    let world = World::new(|config| config.running_max = 1).await;
    world.llm.plan(|_, _| Plan::Answer(Duration::from_secs(3600)));
    let within = |seconds: i64| Some(world.journal.now() + seconds * 1_000_000);
    for number in 1..=2 {
        let command = SubmitRequest { deadline_at: within(30), ..request(number, &["a"]) };
        assert_eq!(world.say(number, Command::SubmitRequest(command)).await, Answered::Applied);
    }
    let (first, second) = (world.until_ended(1).await, world.until_ended(2).await);
    assert_eq!((first.status, second.status), (Status::Expired, Status::Expired));
    assert_eq!((first.attempts.len() + second.attempts.len(), world.llm.calls.lock().len()), (1, 1));
    assert_eq!(*world.llm.open.lock(), 0, "the call was dropped");
    let called = if first.attempts.is_empty() { second } else { first };
    assert_eq!((called.attempts[0].end, called.attempts[0].error.as_str()), (AttemptEnd::Failed, "out_of_time"));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_request_is_not_called_and_a_call_under_way_is_dropped() {
    let world = World::new(|config| config.running_max = 1).await;
    world.llm.plan(|_, _| Plan::Answer(Duration::from_secs(100)));
    world.ask(1, &["a"]).await;
    world.until("the call", |world| *world.llm.open.lock() == 1).await;
    world.ask(2, &["a"]).await;
    for number in [2, 1] {
        let cancel = Command::CancelRequest(CancelRequest { reason: "no".into() });
        assert_eq!(world.say(number, cancel).await, Answered::Applied);
    }
    world.until("rest", |world| world.engine.snapshot().running == 0).await;
    assert_eq!((*world.llm.open.lock(), world.llm.calls.lock().len()), (0, 1));
    let state = world.state(1);
    assert_eq!((state.status, state.attempts[0].end), (Status::Cancelled, AttemptEnd::Failed));
    assert_eq!((state.attempts[0].error.as_str(), state.totals.calls_of_unknown_cost), ("cancelled", 1));
    assert_eq!(world.engine.snapshot().waiting, [0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_prompt_is_nowhere_fails_at_once() {
    let world = World::new(|_| {}).await;
    let text = super::world::prompt(1);
    let command = SubmitRequest {
        priority: Priority::Interactive,
        payload: crate::domain::personal::Personal::Absent,
        payload_bytes: Some(text.len() as i64),
        prompt_tokens_estimated: Some(9),
        storage: PromptStorage::None,
        ..request(1, &["a"])
    };
    assert_eq!(world.say(1, Command::SubmitRequest(command)).await, Answered::Applied);
    let state = world.until_ended(1).await;
    assert_eq!((state.status, state.error.as_str(), state.attempts.len()), (Status::Failed, "prompt_gone", 0));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_alone_waits_for_no_lease_but_its_own() {
    let world = World::new(|config| config.is_alone = true).await;
    world.release();
    let lease_until = world.journal.now() + 600_000_000;
    for (number, worker) in [(1, "dead"), (2, "w1")] {
        world.ask(number, &["a"]).await;
        let attempt =
            StartAttempt { attempt: 1, worker: worker.into(), model: model("a"), lease_until, ..Default::default() };
        assert_eq!(world.say(number, Command::StartAttempt(attempt)).await, Answered::Applied);
    }
    world.claim();
    let state = world.until_ended(1).await;
    assert!(world.journal.now() < lease_until - 590_000_000, "it was not waited for");
    let ends: Vec<_> = state.attempts.iter().map(|attempt| attempt.end).collect();
    assert_eq!(ends, [AttemptEnd::Lost, AttemptEnd::Completed]);
    assert_eq!((state.lost_attempts, world.llm.calls.lock().len()), (1, 1));
    assert_eq!(state.totals.calls_of_unknown_cost, 1, "it may have been paid");
    // Of its own it is to be heard yet.
    let state = world.until_ended(2).await;
    assert!(state.attempts[1].started_at >= lease_until + LEASE_MARGIN_MS * 1_000);
}

#[tokio::test(start_paused = true)]
async fn what_only_a_caller_could_hear_of_is_not_paid_again_once_its_process_is_gone() {
    let world = World::new(|config| config.is_alone = true).await;
    world.release();
    let command = SubmitRequest { awaited: true, ..request(1, &["a"]) };
    assert_eq!(world.say(1, Command::SubmitRequest(command)).await, Answered::Applied);
    let lease_until = world.journal.now() + 600_000_000;
    let attempt =
        StartAttempt { attempt: 1, worker: "dead".into(), model: model("a"), lease_until, ..Default::default() };
    assert_eq!(world.say(1, Command::StartAttempt(attempt)).await, Answered::Applied);
    world.claim();
    let state = world.until_ended(1).await;
    assert_eq!((state.status, world.llm.calls.lock().len()), (Status::Cancelled, 0));
    world.until("the attempt is lost", |world| world.state(1).lost_attempts == 1).await;
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_a_worker_that_died_is_waited_out_unless_it_is_heard_of() {
    let world = World::new(|_| {}).await;
    world.release();
    let lease_until = world.journal.now() + 60_000_000;
    for number in 1..=3 {
        world.ask(number, &["a"]).await;
        let attempt =
            StartAttempt { attempt: 1, worker: "dead".into(), model: model("a"), lease_until, ..Default::default() };
        assert_eq!(world.say(number, Command::StartAttempt(attempt)).await, Answered::Applied);
    }
    world.claim();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.llm.calls.lock().len(), 0);
    // The second one's end comes by the topic, the third one's answer.
    let end = EndAttempt { attempt: 1, error: "server".into(), sent: true, ..Default::default() };
    world.say(2, Command::EndAttempt(end)).await;
    let done = CompleteRequest { attempt: 1, answer: "{}".into(), ..Default::default() };
    world.say(3, Command::CompleteRequest(done)).await;
    world.until_ended(2).await;
    assert!(world.journal.now() < lease_until, "it was not waited for any more");
    let state = world.until_ended(1).await;
    let called: Vec<_> = world.llm.calls.lock().iter().map(|made| made.prompt.clone()).collect();
    assert_eq!(called, ["2", "1"]);
    assert!(state.attempts[1].started_at >= lease_until + LEASE_MARGIN_MS * 1_000);
    assert_eq!((state.status, state.lost_attempts), (Status::Completed, 1));
}

#[tokio::test(start_paused = true)]
async fn what_has_no_room_stays_on_its_log_and_comes_back() {
    let world = World::new(|config| {
        config.queue.waiting_max = [5; 3];
        config.running_max = 2;
        config.held_bytes_max = 1000;
        // Fewer ids than requests: the log is read again.
        config.left_max = 20;
    })
    .await;
    for number in 1..=60 {
        world.ask(number, &["a"]).await;
    }
    world.until("the spill", |world| world.engine.is_full()).await;
    let late = SubmitRequest { deadline_at: Some(world.journal.now() + 500_000), ..request(99, &["a"]) };
    world.say(99, Command::SubmitRequest(late)).await;
    for number in 1..=60 {
        assert_eq!(world.until_ended(number).await.status, Status::Completed, "{number}");
    }
    assert!(matches!(world.until_ended(99).await.status, Status::Expired | Status::Completed));
    assert!(!world.engine.is_full());
    assert_eq!(world.llm.answered.lock().values().filter(|times| **times != 1).count(), 0);
}

#[tokio::test(start_paused = true)]
async fn tenants_take_turns_at_a_limit_and_urgent_ones_pass_those_that_wait() {
    let world = World::new(|_| {}).await;
    let key = LimitKey::Model { provider: provider(1), model: "a".into() };
    world.limits.limit(key, Limit { requests_per_minute: Some(60), ..Limit::default() });
    for number in 1..=100 {
        let batch = SubmitRequest { priority: Priority::Batch, ..request(number, &["a"]) };
        world.say(number, Command::SubmitRequest(batch)).await;
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let begun = Instant::now();
    let urgent = SubmitRequest { priority: Priority::Interactive, ..request(200, &["a"]) };
    world.say(200, Command::SubmitRequest(urgent)).await;
    world.until_ended(200).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}, with 90 s of others before it", begun.elapsed());
    assert!(world.state(100).is_running());
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_stream_that_is_no_ones_is_touched() {
    let world = World::new(|_| {}).await;
    world.release();
    world.ask(1, &["a"]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((world.llm.calls.lock().len(), world.state(1).attempts.len()), (0, 0));
    assert_eq!(world.journal.events().iter().filter(|(of, _)| *of == stream(1)).count(), 1);
}
