//! Callers who wait for their answers.

use super::fakes::{CHUNK, Plan, fails};
use super::world::{World, provider};
use crate::domain::common::PromptStorage;
use crate::domain::limit::{Limit, LimitKey};
use crate::domain::llm_request::{Event, Status};
use crate::flow::request::engine::{Ended, How, NotSubmitted, Piece, Reply};
use crate::flow::request::queue::CLASSES;
use crate::ports::Clock;
use crate::ports::llm::Kind;
use std::time::Duration;
use tokio::time::Instant;

/// All pieces, and the end.
async fn read(mut reply: Reply) -> (usize, Option<Ended>) {
    let mut chunks = 0;
    while let Some(piece) = reply.next().await {
        match piece {
            Piece::Begun(begun) => assert_eq!((begun.model.model_id.as_str(), chunks), ("a", 0)),
            Piece::Chunk(chunk) => {
                assert_eq!(chunk, CHUNK, "untouched");
                chunks += 1;
            }
            Piece::End(ended) => {
                assert!(reply.next().await.is_none(), "nothing follows the end");
                return (chunks, Some(*ended));
            }
        }
    }
    (chunks, None)
}

fn streams(chunks: usize, each_ms: u64, is_cut: bool) -> Plan {
    Plan::Stream { chunks, each: Duration::from_millis(each_ms), is_cut }
}

#[tokio::test(start_paused = true)]
async fn an_answer_comes_back_with_what_it_cost_once_it_is_recorded() {
    let world = World::new(|_| {}).await;
    let reply = world.call(1, |_| {}).await.expect("taken");
    let (_, ended) = read(reply).await;
    let ended = ended.expect("an end");
    assert_eq!((ended.how, ended.attempts, ended.is_recorded), (How::Completed, 1, true));
    assert_eq!(ended.body.as_deref(), Some(&b"{\"echo\":\"1\"}"[..]));
    assert_eq!(ended.cost_pico_usd, Some(50_000_000));
    let events = world.journal.events();
    assert!(matches!(
        events.iter().map(|(_, event)| event).collect::<Vec<_>>()[..],
        [Event::RequestSubmitted(_), Event::AttemptStarted(_), Event::RequestCompleted(_)]
    ));
    world.until("rest", |world| world.engine.snapshot().running == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_passed_on_as_it_comes_and_recorded_whole() {
    let world = World::new(|_| {}).await;
    world.llm.plan(|_, _| streams(50, 20, false));
    let begun = Instant::now();
    let mut reply = world.call(1, |request| request.stream = true).await.expect("taken");
    assert!(matches!(reply.next().await, Some(Piece::Begun(_))));
    assert!(begun.elapsed() < Duration::from_millis(200), "before it is complete");
    let (chunks, ended) = read(reply).await;
    assert_eq!((chunks, ended.expect("an end").how), (50, How::Completed));
    let answer = world.journal.events().into_iter().find_map(|(_, event)| match event {
        Event::RequestCompleted(done) => done.answer.text().map(str::to_owned),
        _ => None,
    });
    let answer: serde_json::Value = serde_json::from_str(&answer.expect("an answer")).expect("JSON");
    assert_eq!(answer["choices"][0]["message"]["content"], "12345678".repeat(50));
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_is_not_stored_is_carried_out_from_memory() {
    let world = World::new(|_| {}).await;
    world.llm.plan(|_, before| if before == 0 { fails(Kind::Server) } else { Plan::Answer(Duration::ZERO) });
    let reply = world.call(1, |request| request.storage = PromptStorage::Hashed).await.expect("taken");
    assert_eq!(read(reply).await.1.expect("an end").how, How::Completed);
    let state = world.state(1);
    assert!(state.answer.is_some_and(|answer| !answer.is_stored && answer.sha256.is_some()));
    assert!(!state.has_payload);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_cut_after_its_first_piece_is_not_tried_again_and_counts_what_came() {
    let world = World::new(|_| {}).await;
    world.llm.plan(|_, _| streams(10, 20, true));
    let (chunks, ended) = read(world.call(1, |request| request.stream = true).await.expect("taken")).await;
    assert_eq!(chunks, 10);
    assert!(matches!(ended.expect("an end").how, How::Failed(failure) if failure.code == "cut"));
    let state = world.until_ended(1).await;
    assert_eq!((state.status, state.attempts.len(), world.llm.calls.lock().len()), (Status::Failed, 1, 1));
    assert_eq!((state.totals.usage.output_tokens, state.totals.calls_of_unknown_cost), (20, 0));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_an_answer_in_the_middle_as_it_does_one_that_has_not_begun() {
    for is_stream in [true, false] {
        let world = World::new(|_| {}).await;
        let plan = move || if is_stream { streams(1_000, 20, false) } else { Plan::Answer(Duration::from_secs(20)) };
        world.llm.plan(move |_, _| plan());
        let deadline = world.journal.now() + 500_000;
        let reply = world.call(1, |request| (request.stream, request.deadline_at) = (is_stream, Some(deadline))).await;
        let (chunks, ended) = read(reply.expect("taken")).await;
        assert_eq!(chunks > 0, is_stream);
        let how = ended.expect("an end").how;
        assert!(matches!(&how, How::Expired(Some(last)) if last.code == "timeout_total"), "{how:?}");
        let state = world.until_ended(1).await;
        assert_eq!((state.status, state.attempts[0].error.as_str()), (Status::Expired, "out_of_time"));
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_beyond_the_deadline_hears_what_the_last_attempt_came_to() {
    let world = World::new(|_| {}).await;
    let key = LimitKey::Model { provider: provider(1), model: "a".into() };
    world.limits.limit(key, Limit { requests_per_minute: Some(1), ..Limit::default() });
    world.llm.plan(|_, _| fails(Kind::Server));
    let deadline = world.journal.now() + 5_000_000;
    let reply = world.call(1, |request| request.deadline_at = Some(deadline)).await.expect("taken");
    let how = read(reply).await.1.expect("an end").how;
    assert!(matches!(&how, How::Expired(Some(last)) if last.code == "server"), "{how:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_takes_nothing_is_cut_off() {
    let world = World::new(|config| config.chunks_max = 4).await;
    world.llm.plan(|_, _| streams(100_000, 10, false));
    let reply = world.call(1, |request| request.stream = true).await.expect("taken");
    let state = world.until_ended(1).await;
    assert_eq!((state.status, state.attempts[0].error.as_str()), (Status::Cancelled, "reader_stalled"));
    assert_eq!(*world.llm.open.lock(), 0);
    drop(reply);
}

/// A caller may hang up at any moment: before its turn, while it waits for its limits, while the attempt is started,
/// during the call, between pieces, while the end is recorded.
#[tokio::test(start_paused = true)]
async fn a_caller_who_goes_leaves_no_call_no_attempt_and_no_place_behind() {
    for (is_stream, step_ms) in [(false, 3), (true, 7)] {
        let world = World::new(|_| {}).await;
        *world.journal.latency.lock() = Duration::from_millis(10);
        world
            .llm
            .plan(move |_, _| if is_stream { streams(10, 10, false) } else { Plan::Answer(Duration::from_millis(80)) });
        for number in 0..60u128 {
            let reply = world.call(number, |request| request.stream = is_stream).await.expect("taken");
            tokio::time::sleep(Duration::from_millis(number as u64 * step_ms)).await;
            drop(reply);
            world.until("rest", |world| world.engine.snapshot().running == 0).await;
            let (state, snapshot) = (world.state(number), world.engine.snapshot());
            let is_over = matches!(state.status, Status::Absent | Status::Cancelled | Status::Completed);
            assert!(is_over && state.open().is_none(), "{number}: {state:?}");
            assert_eq!((*world.llm.open.lock(), snapshot.waiting), (0, [0; CLASSES]), "{number}");
        }
        let statuses: Vec<_> = (0..60).map(|number| world.state(number).status).collect();
        for status in [Status::Absent, Status::Cancelled, Status::Completed] {
            assert!(statuses.contains(&status), "no step met {status:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_room_is_told_when_to_come_and_nothing_is_recorded() {
    let world = World::new(|config| {
        config.queue.waiting_max = [2; CLASSES];
        config.running_max = 1;
    })
    .await;
    let mut replies = Vec::new();
    for number in 1..=3 {
        replies.push(world.call(number, |_| {}).await.expect("taken"));
    }
    let refused = world.call(4, |_| {}).await.err();
    assert!(matches!(refused, Some(NotSubmitted::Full { retry_after }) if retry_after >= Duration::from_secs(1)));
    for reply in replies {
        assert_eq!(read(reply).await.1.expect("an end").how, How::Completed);
    }
    assert_eq!(world.state(4).status, Status::Absent);
}

#[tokio::test(start_paused = true)]
async fn a_caller_is_told_what_stood_in_the_way() {
    let world = World::new(|_| {}).await;
    world.llm.plan(|made, _| match made.prompt.as_str() {
        "1" => fails(Kind::BadRequest),
        _ => Plan::Answer(Duration::from_secs(1)),
    });
    let ended = read(world.call(1, |_| {}).await.expect("taken")).await.1.expect("an end");
    let How::Failed(failure) = ended.how else { panic!("{ended:?}") };
    assert_eq!((failure.code.as_str(), failure.status), ("bad_request", 400));
    assert_eq!(failure.complaint.expect("the provider's words").message, "no");
    // Its id is another request's.
    let ended = read(world.call(1, |request| request.stream = true).await.expect("taken")).await.1.expect("an end");
    assert!(matches!(ended.how, How::Refused(rejection) if rejection.code == "already_exists"));
    let reply = world.call(2, |_| {}).await.expect("taken");
    assert_eq!(world.call(2, |_| {}).await.err(), Some(NotSubmitted::Repeated));
    assert_eq!(read(reply).await.1.expect("an end").how, How::Completed);
    world.release();
    assert_eq!(world.call(3, |_| {}).await.err(), Some(NotSubmitted::NotOwned));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_goes_takes_those_along_that_wait_and_callers_are_told() {
    let world = World::new(|config| config.running_max = 1).await;
    world.llm.plan(|_, _| Plan::Answer(Duration::from_secs(5)));
    let first = world.call(1, |_| {}).await.expect("taken");
    world.until("the call", |world| *world.llm.open.lock() == 1).await;
    let second = world.call(2, |_| {}).await.expect("taken");
    world.release();
    let ended = read(second).await.1.expect("an end");
    assert_eq!(ended.how, How::NotTaken { is_unknown: false });
    let ended = read(first).await.1.expect("an end");
    assert_eq!((ended.how, ended.is_recorded), (How::Completed, true));
    assert_eq!((world.state(1).status, world.state(2).status), (Status::Completed, Status::Absent));
}
