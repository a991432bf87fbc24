//! The feed over a journal in memory: who reads what, whatever is kept and whenever a reader begins again.

use super::*;
use crate::domain::Aggregate;
use crate::domain::record::{CHAIN_START, Record, RecordKind};
use crate::flow::query::stores::At;
use crate::ports::conformance::{event, stream};
use crate::ports::journal::{self, Batch, LogState};
use async_trait::async_trait;
use proptest::prelude::*;

/// Logs of the aggregate `tenant`, of which so much is appended.
#[derive(Default)]
struct Logs {
    logs: Mutex<Vec<Vec<Recorded>>>,
    reads: AtomicUsize,
}

#[async_trait]
impl Journal for Logs {
    async fn claim(&self, _: LogId) -> Result<LogState, journal::Error> {
        unreachable!()
    }
    async fn append(&self, _: Batch) -> Result<(), journal::Error> {
        unreachable!()
    }
    async fn read(&self, log: LogId, from: u64, max: usize) -> Result<Vec<Recorded>, journal::Error> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let logs = self.logs.lock();
        Ok(logs[usize::from(log.partition)].iter().skip(from as usize - 1).take(max).cloned().collect())
    }
    async fn state(&self, log: LogId) -> Result<LogState, journal::Error> {
        let head = self.logs.lock().get(usize::from(log.partition)).map_or(0, Vec::len) as u64;
        Ok(LogState { epoch: 1, head, head_hash: CHAIN_START, recorded_at: 0, consumed: 0, derived_to: 0 })
    }
}

struct World {
    journal: Arc<Logs>,
    feed: Arc<Feed>,
    time: Micros,
}

const LOGS: u16 = 3;

impl World {
    fn new(ring_bytes_max: usize) -> Self {
        Self::new_at(0, ring_bytes_max)
    }

    /// With a clock that stands still. The first record is of the time 1.
    fn new_at(now: Micros, ring_bytes_max: usize) -> Self {
        let journal = Arc::new(Logs { logs: Mutex::new(vec![Vec::new(); usize::from(LOGS)]), ..Logs::default() });
        let feed = Arc::new(Feed::new(Source::Told, journal.clone(), Arc::new(At(now)), LOGS.into(), ring_bytes_max));
        Self { journal, feed, time: 0 }
    }

    /// Appends records to a log, every third a refusal, and publishes them.
    fn write(&mut self, partition: u16, count: usize) {
        let log = log(partition);
        let records: Arc<[Recorded]> = {
            let mut logs = self.journal.logs.lock();
            let records = &mut logs[usize::from(partition)];
            let before = records.len();
            for _ in 0..count {
                self.time += 1;
                let position = records.len() as u64 + 1;
                let kind = if position.is_multiple_of(3) { RecordKind::Refusal } else { RecordKind::Event };
                let record = Record { recorded_at: self.time, kind, ..event(stream(1), position, position, 0) };
                records.push(Recorded { record, hash: CHAIN_START, decided: None });
            }
            records[before..].into()
        };
        self.feed.publish(log, &records);
    }

    async fn read_from(&self, after: [u64; LOGS as usize]) -> Subscription {
        self.read(after, false).await
    }

    async fn read(&self, after: [u64; LOGS as usize], is_resumed: bool) -> Subscription {
        let wanted: Wanted = Arc::new(|record| record.kind == RecordKind::Event);
        let logs = (0..LOGS).zip(after).map(|(partition, after)| (log(partition), after)).collect();
        self.feed.subscribe(Subscribe { logs, until: None, wanted, bytes_max: 20_000, is_resumed }).await.unwrap()
    }
}

fn log(partition: u16) -> LogId {
    LogId { aggregate: Aggregate::Tenant, partition }
}

/// Log and position of all that is ready.
async fn drain(reader: &mut Subscription, max: usize) -> Vec<(Micros, u64)> {
    let mut got = Vec::new();
    while got.len() < max
        && let Some(recorded) = reader.ready().await.unwrap()
    {
        got.push((recorded.record.recorded_at, recorded.record.position));
    }
    got
}

#[tokio::test]
async fn many_followers_of_a_log_each_get_all_of_it() {
    let mut world = World::new(usize::MAX);
    world.write(0, 10);
    let positions = async |after, max| {
        let records = world.feed.follow(log(0), after, max).await.unwrap();
        records.iter().map(|recorded| recorded.record.position).collect::<Vec<_>>()
    };
    let (one, two) = tokio::join!(positions(0, 100), positions(4, 3));
    assert_eq!(one, (1..=10).collect::<Vec<_>>());
    assert_eq!(two, [5, 6, 7]);
    let elsewhere = LogId { aggregate: Aggregate::Tenant, partition: LOGS };
    assert!(world.feed.follow(elsewhere, 0, 1).await.is_err());
}

#[tokio::test]
async fn a_follower_that_waits_is_woken_and_served_from_memory() {
    let mut world = World::new(usize::MAX);
    world.write(1, 5);
    world.feed.follow(log(1), 4, 1).await.unwrap();
    let reads = world.journal.reads.load(Ordering::Relaxed);
    let feed = world.feed.clone();
    let waiting = tokio::spawn(async move { feed.follow(log(1), 5, 10).await.unwrap() });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    world.write(1, 2);
    let records = waiting.await.unwrap();
    assert_eq!(records.len(), 2);
    assert_eq!(world.journal.reads.load(Ordering::Relaxed), reads, "the ring had them");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_once_the_last_reader_has_been_gone_for_a_while() {
    let mut world = World::new(usize::MAX);
    world.write(0, 3);
    assert!(world.feed.shared.ring.lock().after(0, 0, 1).is_empty(), "nobody reads");
    drop(world.read_from([0; 3]).await);
    world.write(0, 3);
    let place = world.feed.shared.place(log(0)).unwrap();
    let kept = |world: &World| world.feed.shared.ring.lock().after(place, 5, 1).len();
    assert_eq!(kept(&world), 1, "a reader may come back");
    tokio::time::advance(LINGER + Duration::from_secs(1)).await;
    world.write(0, 3);
    assert_eq!(kept(&world), 0);
}

#[tokio::test]
async fn what_was_there_before_is_read_in_the_order_of_its_time() {
    let mut world = World::new(0);
    for partition in [0, 2, 1, 0, 1, 2, 2, 0] {
        world.write(partition, 2);
    }
    let mut reader = world.read_from([0; 3]).await;
    let times: Vec<_> = drain(&mut reader, usize::MAX).await.into_iter().map(|(time, _)| time).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(times.len(), 4 + 3 + 4, "of 6, 4 and 6 records, every third a refusal");
    assert_eq!(reader.positions().collect::<Vec<_>>(), [6, 4, 6]);
}

#[tokio::test]
async fn a_reader_that_falls_out_of_the_ring_is_told_once_and_misses_nothing() {
    let mut world = World::new(20_000);
    let mut reader = world.read_from([0; 3]).await;
    world.write(0, 3);
    assert_eq!(drain(&mut reader, usize::MAX).await.len(), 2);
    assert_eq!(reader.fell_behind(), None);
    for _ in 0..100 {
        world.write(0, 10);
    }
    let first = drain(&mut reader, 1).await;
    assert_eq!(first[0].1, 4);
    let behind = reader.fell_behind().unwrap();
    assert_eq!(behind.records, 1_003 - 4);
    assert!(behind.oldest.is_some());
    assert_eq!(
        drain(&mut reader, usize::MAX).await.len(),
        669 - 2 - 1,
        "events of 1003 records, but for those that it had"
    );
    assert_eq!(reader.fell_behind(), None);
}

#[tokio::test]
async fn a_reader_that_is_seconds_late_is_told_once_although_memory_has_it_all() {
    let mut world = World::new_at(10_000_000, usize::MAX);
    let mut reader = world.read_from([0; 3]).await;
    world.write(0, 3);
    drain(&mut reader, usize::MAX).await;
    assert_eq!(reader.fell_behind(), None, "few records are no backlog");
    world.write(0, 1_000);
    drain(&mut reader, 1).await;
    assert_eq!(reader.fell_behind().unwrap().records, 1_003 - 4);
    world.write(0, 1_000);
    drain(&mut reader, usize::MAX).await;
    assert_eq!(reader.fell_behind(), None, "it had not caught up");
}

#[tokio::test]
async fn a_reader_that_comes_back_is_told_how_far_behind_it_is_and_a_new_one_is_not() {
    let mut world = World::new_at(10_000_000, usize::MAX);
    world.write(0, 1_000);
    let mut new = world.read([1, 0, 0], false).await;
    drain(&mut new, 1).await;
    assert_eq!(new.fell_behind(), None);
    let mut back = world.read([1, 0, 0], true).await;
    drain(&mut back, 1).await;
    assert_eq!(back.fell_behind().map(|behind| behind.records), Some(998));
}

#[tokio::test]
async fn a_reader_that_has_an_end_comes_to_it() {
    let mut world = World::new(usize::MAX);
    world.write(0, 5);
    world.write(1, 3);
    let logs = [(log(0), 0), (log(1), 0), (log(2), 0)];
    let heads = world.feed.heads(&logs.map(|(log, _)| log)).await.unwrap();
    world.write(0, 5);
    let wanted: Wanted = Arc::new(|_| true);
    let ask = Subscribe { logs: logs.into(), until: Some(heads), wanted, bytes_max: 10_000, is_resumed: false };
    let mut reader = world.feed.subscribe(ask).await.unwrap();
    assert!(!reader.is_over());
    assert_eq!(drain(&mut reader, usize::MAX).await.len(), 8);
    assert!(reader.is_over());
}

#[tokio::test]
async fn a_time_is_found_in_every_log() {
    let mut world = World::new(0);
    for partition in [0, 1, 0, 1] {
        world.write(partition, 2);
    }
    let logs = [log(0), log(1), log(2)];
    for (time, expected) in [(0, [0, 0, 0]), (1, [0, 0, 0]), (4, [2, 1, 0]), (6, [3, 2, 0]), (100, [4, 4, 0])] {
        assert_eq!(world.feed.since(&logs, time).await.unwrap(), expected, "{time}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(u16, usize),
    Read(usize),
    /// The reader goes away and comes back with where it stood.
    Again,
    /// The process does: the feed begins anew.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..LOGS, 1..40usize).prop_map(|(log, count)| Step::Write(log, count)),
        4 => (0..60usize).prop_map(Step::Read),
        1 => Just(Step::Again),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn every_event_comes_once_and_in_its_logs_order(
        steps in prop::collection::vec(step(), 1..60),
        ring in prop_oneof![Just(0usize), Just(3_000), Just(30_000), Just(usize::MAX)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (world, got) = runtime.block_on(async {
            let mut world = World::new(ring);
            let mut reader = world.read_from([0; 3]).await;
            let mut got = Vec::new();
            for step in steps.into_iter().chain([Step::Read(usize::MAX)]) {
                match step {
                    Step::Write(log, count) => world.write(log, count),
                    Step::Read(max) => got.extend(drain(&mut reader, max).await),
                    Step::Again | Step::Restart => {
                        let positions: Vec<_> = reader.positions().collect();
                        drop(reader);
                        if matches!(step, Step::Restart) {
                            let journal = world.journal.clone();
                            let feed = Feed::new(Source::Told, journal, Arc::new(At(0)), LOGS.into(), ring);
                            let logs = world.journal.logs.lock().clone();
                            // As a start does that derives again what its log holds.
                            for (partition, records) in (0..).zip(logs) {
                                feed.publish(log(partition), &records.into());
                            }
                            world.feed = Arc::new(feed);
                        }
                        reader = world.read_from(positions.try_into().unwrap()).await;
                    }
                }
            }
            (world, got)
        });
        // Times are distinct, and tell which record of which log it was.
        for records in world.journal.logs.lock().iter() {
            let events = records.iter().filter(|recorded| recorded.record.kind == RecordKind::Event);
            let expected: Vec<_> = events.map(|one| (one.record.recorded_at, one.record.position)).collect();
            let of_log: Vec<_> = got.iter().filter(|one| expected.contains(one)).copied().collect();
            prop_assert_eq!(of_log, expected);
        }
        let events = world.journal.logs.lock().iter().flatten().filter(|one| one.record.kind == RecordKind::Event).count();
        prop_assert_eq!(got.len(), events);
    }
}
