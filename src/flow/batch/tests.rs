//! Batches over logs in memory that decide as the real ones do, with a process that dies at any of its steps.

mod door;
mod world;

use super::output::Reader;
use crate::domain::llm_batch::{BatchFile, State, Status};
use door::Door;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use world::{Store, file, requests_of};

const SECOND: Duration = Duration::from_secs(1);

/// Lines of a file of the batch: custom id to what is said of it.
async fn lines(store: &Arc<Store>, which: BatchFile) -> BTreeMap<String, Value> {
    let state = store.batch();
    let mut reader = Reader::new(store.clone(), 1.into(), world::BATCH, &state, which).await.unwrap();
    let mut text = String::new();
    while let Some(bytes) = reader.next().await.unwrap() {
        text.push_str(std::str::from_utf8(&bytes).unwrap());
    }
    let lines = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["custom_id"].as_str().unwrap().to_owned(), line)
    });
    let by_id: BTreeMap<_, _> = lines.collect();
    assert_eq!(by_id.len(), text.lines().count(), "a custom id stands there once");
    by_id
}

/// Lets the batch go on, requests being carried out, until it has ended.
async fn until_ended(store: &Arc<Store>) -> State {
    for _ in 0..1_000 {
        store.work().await;
        let state = store.batch();
        if !state.is_running() {
            return state;
        }
        tokio::time::sleep(SECOND / 2).await;
    }
    panic!("the batch does not end: {:?}", store.batch());
}

/// Every line is in one of the two files, and the counts say how many are in which.
async fn check_whole(store: &Arc<Store>, count: usize, failed: usize) {
    let state = store.batch();
    let run = state.run.clone().unwrap();
    assert_eq!((run.line, run.completed, run.failed), (count as i64, (count - failed) as i64, failed as i64));
    let (output, errors) = (lines(store, BatchFile::Output).await, lines(store, BatchFile::Errors).await);
    assert_eq!((output.len(), errors.len()), (count - failed, failed));
    let all: BTreeSet<_> = output.keys().chain(errors.keys()).cloned().collect();
    assert_eq!(all.len(), count, "no line is in both");
    assert!(store.submitted_twice().is_empty(), "{:?}", store.submitted_twice());
    assert!(output.values().all(|line| line["response"]["status_code"] == 200 && line["error"].is_null()));
    assert!(errors.values().all(|line| line["response"].is_null() && line["error"]["code"].is_string()));
}

#[tokio::test(start_paused = true)]
async fn every_line_is_carried_out_and_bad_ones_are_told() {
    let store = Store::new(&file(30, &[4, 9, 30])).await;
    let door = Door::open(&store, 5);
    store.start().await;
    let state = until_ended(&store).await;
    assert_eq!(state.status, Status::Completed);
    check_whole(&store, 30, 3).await;
    assert!(store.open_most() <= 5, "{} were under way", store.open_most());
    let errors = lines(&store, BatchFile::Errors).await;
    let codes: Vec<_> = errors.values().map(|line| line["error"]["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["invalid", "model_not_found", "invalid"], "of lines 30, 4 and 9: {errors:?}");
    let output = lines(&store, BatchFile::Output).await;
    assert_eq!(output["c1"]["response"]["body"]["said"], "line 1");
    door.close().await;
}

#[tokio::test(start_paused = true)]
async fn whatever_step_a_process_dies_at_its_successor_brings_the_batch_to_the_same_end() {
    for takes_effect in [true, false] {
        let mut step = 0;
        loop {
            step += 1;
            let store = Store::new(&file(12, &[3, 7])).await;
            let first = Door::open(&store, 4);
            first.die_after(step, takes_effect);
            store.start().await;
            for _ in 0..40 {
                store.work().await;
                if first.is_dead() || !store.batch().is_running() {
                    break;
                }
                tokio::time::sleep(SECOND / 2).await;
            }
            let is_dead = first.is_dead();
            first.close().await;
            let second = Door::open(&store, 4);
            let state = until_ended(&store).await;
            assert_eq!(state.status, Status::Completed, "died at step {step}");
            check_whole(&store, 12, 2).await;
            second.close().await;
            if !is_dead {
                break;
            }
        }
        assert!(step > 20, "it died at {step} steps only");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_cancelled_keeps_what_has_an_answer_and_makes_nothing_more() {
    for dies in [false, true] {
        let store = Store::new(&file(40, &[2])).await;
        let door = Door::open(&store, 6);
        store.start().await;
        tokio::time::sleep(SECOND).await;
        store.work().await;
        tokio::time::sleep(SECOND).await;
        let successor = if dies {
            door.close().await;
            store.cancel().await;
            Door::open(&store, 6)
        } else {
            store.cancel().await;
            door
        };
        // Nothing is carried out any more: what is open ends by the cancellation alone.
        for _ in 0..100 {
            tokio::time::sleep(SECOND).await;
        }
        let state = store.batch();
        assert_eq!(state.status, Status::Cancelled, "{state:?}");
        let completed = state.run.unwrap().completed as usize;
        assert!((1..40).contains(&completed), "{completed}");
        check_whole(&store, 40, 40 - completed).await;
        let errors = lines(&store, BatchFile::Errors).await;
        assert_eq!(errors["c2"]["error"]["code"], "invalid");
        assert_eq!(errors["c40"]["error"]["code"], "batch_cancelled");
        assert_eq!(requests_of(&store).iter().filter(|state| state.is_running()).count(), 0);
        successor.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_whose_window_ends_tells_what_was_not_carried_out() {
    for dies in [false, true] {
        let store = Store::new(&file(20, &[])).await;
        let mut door = Door::open(&store, 4);
        store.start().await;
        tokio::time::sleep(SECOND).await;
        store.work().await;
        tokio::time::sleep(SECOND).await;
        let day = tokio::time::sleep(Duration::from_secs(24 * 3_600));
        if dies {
            door.close().await;
            day.await;
            door = Door::open(&store, 4);
        } else {
            day.await;
        }
        let state = until_ended(&store).await;
        assert_eq!(state.status, Status::Expired);
        let run = state.run.unwrap();
        assert!(run.completed >= 4 && run.expired == run.failed, "{run:?}");
        check_whole(&store, 20, run.failed as usize).await;
        let errors = lines(&store, BatchFile::Errors).await;
        assert!(errors.values().all(|line| line["error"]["code"] == "batch_expired"));
        door.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_input_is_read_as_it_was_uploaded() {
    let text = file(3, &[1]);
    let store = Store::new(&text).await;
    let state = store.batch();
    let mut reader = Reader::new(store.clone(), 1.into(), world::BATCH, &state, BatchFile::Input).await.unwrap();
    let mut read = Vec::new();
    while let Some(bytes) = reader.next().await.unwrap() {
        read.extend_from_slice(&bytes);
    }
    assert_eq!(read, text.as_bytes());
}
