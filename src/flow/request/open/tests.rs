//! Open requests in an index that is all of memory.

use super::*;
use crate::domain::llm_request::{State, Status};
use crate::domain::{Aggregate, AnyState, CorrelationKey, TenantId};
use crate::ports::index::{IndexRows, Known, OutcomeRef, Traced};
use crate::ports::journal::Recorded;
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use uuid::Uuid;

const LOG: LogId = LogId { aggregate: Aggregate::LlmRequest, partition: 3 };
const NOW: Micros = 1_790_000_000_000_000;

#[derive(Default)]
struct Memory {
    edges: BTreeMap<StreamId, BTreeSet<StreamId>>,
    heads: BTreeMap<StreamId, Arc<Head>>,
    asked: AtomicUsize,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    fails: bool,
}

#[async_trait]
impl Index for Memory {
    async fn heads(&self, log: LogId, streams: &[StreamId]) -> Result<Vec<Option<Arc<Head>>>, Error> {
        assert_eq!(log, LOG);
        assert!(streams.len() <= PAGE);
        Ok(streams.iter().map(|stream| self.heads.get(stream).cloned()).collect())
    }
    async fn apply(&self, _: LogId, _: IndexRows, _: u64) -> Result<(), Error> {
        unreachable!()
    }
    async fn applied_to(&self, _: LogId) -> Result<u64, Error> {
        unreachable!()
    }
    async fn known(&self, _: StreamId, _: Uuid) -> Result<Option<Known>, Error> {
        unreachable!()
    }
    async fn edges(&self, from: StreamId, after: Option<StreamId>, edges_max: usize) -> Result<Vec<StreamId>, Error> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let under_way = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_under_way.fetch_max(under_way, Ordering::Relaxed);
        tokio::task::yield_now().await;
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        if self.fails {
            return Err(Error::Unavailable("down".into()));
        }
        let there = self.edges.get(&from).into_iter().flatten().filter(|to| after.is_none_or(|after| **to > after));
        Ok(there.take(edges_max).copied().collect())
    }
    async fn history(&self, _: StreamId, _: u64, _: usize) -> Result<Vec<Recorded>, Error> {
        unreachable!()
    }
    async fn outcome(&self, _: TenantId, _: Uuid) -> Result<Option<OutcomeRef>, Error> {
        unreachable!()
    }
    async fn trace(&self, _: CorrelationKey, _: usize) -> Result<Vec<Traced>, Error> {
        unreachable!()
    }
}

fn request(number: u128) -> StreamId {
    StreamId::new(TenantId(Uuid::from_u128(1)), LOG.aggregate, Uuid::from_u128(number))
}

fn head(status: Status, deadline_at: Micros) -> Arc<Head> {
    let mut state = State { status, ..State::default() };
    state.request.deadline_at = deadline_at;
    let state = AnyState::LlmRequest(Box::new(state)).to_blob().unwrap().into();
    Arc::new(Head { version: 1, position: 1, state, ..Head::empty() })
}

impl Memory {
    fn put(&mut self, number: u128, status: Status, deadline_at: Micros) {
        self.edges.entry(anchor(LOG, hour_of(deadline_at))).or_default().insert(request(number));
        self.heads.insert(request(number), head(status, deadline_at));
    }

    async fn found(&self) -> Vec<StreamId> {
        let mut open = open(LOG, self, NOW);
        let mut found = Vec::new();
        while let Some(page) = open.next().await.unwrap() {
            assert!(page.len() <= PAGE);
            for (stream, head) in page {
                assert_eq!(self.heads[&stream], head);
                found.push(stream);
            }
        }
        found
    }
}

#[tokio::test]
async fn what_is_open_is_found_by_its_deadline_the_earliest_first_and_what_ended_is_not() {
    let mut memory = Memory::default();
    let ahead = 7 * 24 * HOUR;
    let due = [(5, NOW - LOOKBACK), (4, NOW - HOUR), (3, NOW + 1), (2, NOW + 5 * HOUR), (1, NOW + ahead)];
    for (number, deadline_at) in due {
        let status = if number % 2 == 0 { Status::Started } else { Status::Submitted };
        memory.put(number, status, deadline_at);
    }
    memory.put(90, Status::Completed, NOW + HOUR);
    memory.put(91, Status::Cancelled, NOW + HOUR);
    // Whoever watches the log knows of one whose head is not there yet.
    memory.edges.entry(anchor(LOG, hour_of(NOW))).or_default().insert(request(92));
    memory.put(93, Status::Submitted, NOW - LOOKBACK - HOUR);
    assert_eq!(memory.found().await, due.map(|(number, _)| request(number)));
}

#[tokio::test]
async fn an_hour_with_many_comes_page_by_page_and_whole() {
    for many in [PAGE - 1, PAGE, PAGE + 1, 3 * PAGE + 7] {
        let mut memory = Memory::default();
        for number in 0..many as u128 {
            memory.put(number, Status::Submitted, NOW + HOUR);
        }
        memory.put(1_000_000, Status::Submitted, NOW + 2 * HOUR);
        let found = memory.found().await;
        assert_eq!(found.len(), many + 1);
        assert_eq!(found[many], request(1_000_000));
    }
}

#[tokio::test]
async fn two_weeks_of_empty_hours_are_asked_once_each_and_some_at_a_time() {
    let memory = Memory::default();
    assert!(memory.found().await.is_empty());
    let hours = 2 * (7 * 24 + 1) + 1;
    assert_eq!(memory.asked.load(Ordering::Relaxed), hours);
    assert_eq!(memory.most_under_way.load(Ordering::Relaxed), ANCHORS_IN_FLIGHT);
}

#[tokio::test]
async fn an_index_that_is_away_says_so() {
    let memory = Memory { fails: true, ..Memory::default() };
    assert!(matches!(open(LOG, &memory, NOW).next().await, Err(Error::Unavailable(_))));
}
