//! Many requests, and much that goes wrong: each is answered, and recorded, exactly once.

use super::fakes::{Plan, fails};
use super::world::{Fault, World, request};
use crate::domain::llm_request::{Command, Priority, Status, SubmitRequest};
use crate::ports::llm::{Kind, Progress};
use std::time::Duration;

const REQUESTS: u128 = 10_000;

#[tokio::test(start_paused = true)]
async fn ten_thousand_requests_are_drained_exactly_once() {
    let world = World::new(|config| {
        config.queue.waiting_max = [2_000; 3];
        config.running_max = 500;
        config.timeouts.total = Duration::from_secs(60);
        config.bulkhead.large_calls_max = 300;
        // One in twenty calls fails here, which is too much for any breaker.
        config.breaker.failures = usize::MAX;
    })
    .await;
    *world.journal.latency.lock() = Duration::ZERO;
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    world.llm.plan(move |_, _| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let after = Duration::from_millis(20 + random % 200);
        match (random >> 16) % 100 {
            0..3 => fails(Kind::Overloaded),
            3..6 => {
                let retry_after = Some(Duration::from_millis(50));
                Plan::Fail { after, kind: Kind::RateLimited, progress: Progress::Sent, retry_after }
            }
            6..8 => Plan::Fail { after, kind: Kind::Connect, progress: Progress::NotSent, retry_after: None },
            _ => Plan::Answer(after),
        }
    });
    for number in 0..REQUESTS {
        let priority = [Priority::Interactive, Priority::Normal, Priority::Batch][(number % 3) as usize];
        let models: &[&str] = if number % 2 == 0 { &["a", "c"] } else { &["c", "b"] };
        let command = SubmitRequest { priority, ..request(number, models) };
        world.say(number, Command::SubmitRequest(command)).await;
        // The log goes to another and comes back, and answers get lost.
        match number {
            3_000 | 6_000 => world.release(),
            3_010 | 6_010 => world.claim(),
            _ if number % 1_000 == 500 => {
                world.journal.faults.lock().push_back(Fault::Unknown { is_in: number % 2_000 == 500 });
            }
            _ => {}
        }
    }
    world
        .until("the end of all", |world| {
            let answered = world.llm.answered.lock().len();
            answered as u128 == REQUESTS && world.engine.snapshot().running == 0
        })
        .await;
    let mut attempts = 0;
    for number in 0..REQUESTS {
        let state = world.state(number);
        assert_eq!(state.status, Status::Completed, "{number}: {}", state.error);
        assert_eq!(state.extra_calls, 0, "{number}");
        attempts += state.attempts.len();
    }
    assert!(world.llm.answered.lock().values().all(|times| *times == 1), "one was answered twice");
    let calls = world.llm.calls.lock().len();
    assert!(attempts >= calls, "{calls} calls by {attempts} attempts: each call has its attempt");
    assert_eq!(world.engine.snapshot().waiting, [0; 3]);
    assert!(!world.engine.is_full());
}
