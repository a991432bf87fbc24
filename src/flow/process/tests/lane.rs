//! The lane and the watcher, beside a topic.

use super::*;
use crate::domain::Envelope;
use crate::flow::decide::PANICS;
use crate::flow::process::lane::{Answer, Answered, Lane, LaneOutcome, NotTaken};
use tokio::task::JoinHandle;

const SOON: Duration = Duration::from_secs(30);

/// What a watcher hears.
#[derive(Clone, Debug, PartialEq)]
enum Heard {
    Owned,
    /// Commands and the versions that their streams have then.
    Appended(Vec<(u64, u64)>),
    Released,
}

#[derive(Default)]
struct Ear {
    heard: Mutex<Vec<Heard>>,
    lane: Mutex<Option<Lane>>,
    owned: Notify,
    released: Notify,
}

impl Watcher for Ear {
    fn owned(&self, _: LogId, lane: Lane) {
        self.heard.lock().push(Heard::Owned);
        *self.lane.lock() = Some(lane);
        self.owned.notify_one();
    }
    fn appended(&self, _: LogId, records: &[Recorded], heads: &HashMap<StreamId, Arc<Head>>) {
        let told = records.iter().map(|Recorded { record, .. }| (record.position, heads[&record.stream()].version));
        self.heard.lock().push(Heard::Appended(told.collect()));
    }
    fn released(&self, _: LogId) {
        self.heard.lock().push(Heard::Released);
        self.released.notify_one();
    }
}

/// A processor at work in a world, and an ear.
struct Work {
    world: Arc<World>,
    ear: Arc<Ear>,
    stop: CancellationToken,
    process: JoinHandle<()>,
}

impl Work {
    fn begin(world: Arc<World>) -> Self {
        Self::within(world, |_| {})
    }

    fn within(world: Arc<World>, limit: impl FnOnce(&mut Limits)) -> Self {
        let (ear, stop) = (Arc::<Ear>::default(), CancellationToken::new());
        let mut parts = Parts { watcher: Some(ear.clone()), ..world.parts() };
        limit(&mut parts.limits);
        let process = tokio::spawn(run(stream(0).log(1), parts, stop.clone()));
        Self { world, ear, stop, process }
    }

    /// The lane of the next claim.
    async fn lane(&self) -> Lane {
        soon(self.ear.owned.notified()).await;
        self.ear.lane.lock().clone().expect("owned")
    }

    /// Waits until an append is under way that somebody holds.
    async fn appending(&self) {
        soon(self.world.appending.notified()).await;
    }

    fn heard(&self) -> Vec<Heard> {
        self.ear.heard.lock().clone()
    }

    /// Everything that was polled is consumed.
    async fn done(&self) {
        soon(self.world.done.notified()).await;
    }

    async fn end(self) -> Vec<Heard> {
        self.stop.cancel();
        soon(self.process).await.expect("it ends by itself");
        self.ear.heard.lock().clone()
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("in time")
}

fn id(number: u128) -> Uuid {
    command(stream(0), number).envelope.command_id
}

fn on_its_way(lane: &Lane, command: Arc<Accepted>) -> Answer {
    lane.try_send(command).expect("there is room")
}

fn applied(position: u64) -> Result<Answered, NotTaken> {
    Ok(Answered { position, version: 1, outcome: LaneOutcome::Applied })
}

fn panicking(number: u128) -> Arc<Accepted> {
    let sent = command(stream(number), number);
    let envelope = Envelope { source: PANICS.into(), ..(*sent.envelope).clone() };
    Arc::new(Accepted::new(envelope, (*sent.command).clone()).expect("it fits"))
}

#[tokio::test]
async fn a_command_of_the_lane_is_decided_while_the_topic_is_silent_and_moves_no_offset() {
    let work = Work::begin(World::new(0, None));
    let lane = work.lane().await;
    assert_eq!(soon(lane.send(command(stream(1), 1))).await, applied(1));
    assert_eq!(work.heard(), [Heard::Owned, Heard::Appended(vec![(1, 1)])], "told before it was answered");
    // Another claim on the same name, and the same content under an id of its own.
    let refused = soon(lane.send(command(stream(1), 2))).await.expect("answered");
    assert_eq!((refused.position, refused.version), (2, 1));
    assert!(matches!(refused.outcome, LaneOutcome::Refused(reason) if reason.code == "already_exists"));
    let same = command(stream(1), 1);
    let envelope = Envelope::new(id(3), stream(1));
    let same = Arc::new(Accepted::new(envelope, (*same.command).clone()).expect("it fits"));
    let unchanged = Answered { position: 3, version: 1, outcome: LaneOutcome::Unchanged };
    assert_eq!(soon(lane.send(same)).await, Ok(unchanged));
    assert_eq!(work.world.state.lock().consumed, 0);
    assert_eq!(work.end().await.last(), Some(&Heard::Released));
}

#[tokio::test]
async fn what_waits_in_both_goes_into_one_batch_in_turns() {
    let world = World::new(20, None);
    let silence = world.polls.try_write().expect("free");
    let work = Work::begin(world.clone());
    let lane = work.lane().await;
    let held = world.appends.try_write().expect("free");
    let first = on_its_way(&lane, command(stream(100), 100));
    work.appending().await;
    let others: Vec<_> = (101..121).map(|number| on_its_way(&lane, command(stream(number), number))).collect();
    drop((silence, held));
    assert_eq!(soon(first).await, applied(1));
    for answer in others {
        assert!(matches!(soon(answer).await, Ok(Answered { outcome: LaneOutcome::Applied, .. })));
    }
    work.done().await;
    let batches = world.batches.lock().clone();
    // The first that is polled after a claim is tried by itself; from then on they share.
    let shared: Vec<_> = batches.iter().filter(|batch| batch.contains(&id(10)) || batch.contains(&id(15))).collect();
    for batch in &shared {
        let polled = batch.iter().filter(|command| (0..20).any(|number| id(number) == **command)).count();
        assert_eq!((batch.len(), polled), (BATCH, BATCH / 2), "{batches:?}");
    }
    assert!(!shared.is_empty());
    // Each way keeps its order.
    let all = batches.concat();
    for numbers in [0..20, 100..121] {
        let due: Vec<_> = numbers.clone().map(id).collect();
        let found: Vec<_> = all.iter().filter(|command| due.contains(command)).copied().collect();
        assert_eq!(found, due);
    }
    work.end().await;
}

#[tokio::test]
async fn a_batch_is_bounded_by_bytes_whichever_way_its_commands_came() {
    let world = World::new(6, None);
    let silence = world.polls.try_write().expect("free");
    let work = Work::within(world.clone(), |limits| limits.batch_bytes_max = 1);
    let lane = work.lane().await;
    let held = world.appends.try_write().expect("free");
    let answers: Vec<_> = (100..106).map(|number| on_its_way(&lane, command(stream(number), number))).collect();
    work.appending().await;
    drop((silence, held));
    work.done().await;
    for answer in answers {
        assert!(soon(answer).await.is_ok());
    }
    let batches = world.batches.lock().clone();
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [1; 12], "one is more than the bound");
    work.end().await;
}

#[tokio::test]
async fn a_claim_that_is_fenced_leaves_those_under_way_in_doubt_and_the_others_not_taken() {
    let world = World::new(0, None);
    let work = Work::within(world.clone(), |limits| limits.batch_records_max = 1);
    let lane = work.lane().await;
    let held = world.appends.try_write().expect("free");
    let first = on_its_way(&lane, command(stream(1), 1));
    work.appending().await;
    let second = on_its_way(&lane, command(stream(2), 2));
    world.state.lock().epoch += 1;
    drop(held);
    let log = lane.log();
    assert_eq!(soon(first).await, Err(NotTaken::Unknown(log)));
    assert_eq!(soon(second).await, Err(NotTaken::Ended(log)));
    assert_eq!(soon(lane.send(command(stream(3), 3))).await, Err(NotTaken::Ended(log)), "a claim's lane ends with it");
    assert!(lane.has_ended());
    // When it is its turn again there is another lane.
    let lane = work.lane().await;
    assert_eq!(soon(lane.send(command(stream(1), 1))).await, applied(1));
    let heard = work.end().await;
    assert_eq!(heard[..3], [Heard::Owned, Heard::Released, Heard::Owned], "a refused append is not told");
}

#[tokio::test]
async fn a_processor_that_stops_answers_what_is_under_way_and_lets_go_of_what_waits() {
    let world = World::new(0, None);
    let work = Work::within(world.clone(), |limits| limits.batch_records_max = 1);
    let lane = work.lane().await;
    let held = world.appends.try_write().expect("free");
    let first = on_its_way(&lane, command(stream(1), 1));
    work.appending().await;
    let second = on_its_way(&lane, command(stream(2), 2));
    work.stop.cancel();
    drop(held);
    assert_eq!(soon(first).await, applied(1));
    assert_eq!(soon(second).await, Err(NotTaken::Ended(lane.log())));
    assert_eq!(work.end().await.last(), Some(&Heard::Released));
}

#[tokio::test]
async fn a_task_that_is_cut_off_leaves_nobody_without_an_answer() {
    let world = World::new(0, None);
    let work = Work::within(world.clone(), |limits| limits.batch_records_max = 1);
    let lane = work.lane().await;
    let _held = world.appends.try_write().expect("free");
    let first = on_its_way(&lane, command(stream(1), 1));
    work.appending().await;
    let second = on_its_way(&lane, command(stream(2), 2));
    work.process.abort();
    assert_eq!(soon(first).await, Err(NotTaken::Unknown(lane.log())));
    assert_eq!(soon(second).await, Err(NotTaken::Ended(lane.log())));
    soon(work.ear.released.notified()).await;
    assert_eq!(work.heard(), [Heard::Owned, Heard::Released]);
}

#[tokio::test]
async fn a_full_lane_says_so_or_lets_wait() {
    let world = World::new(0, None);
    let work = Work::within(world.clone(), |limits| limits.lane_commands_max = 2);
    let lane = work.lane().await;
    let held = world.appends.try_write().expect("free");
    let mut answers = vec![on_its_way(&lane, command(stream(1), 1))];
    work.appending().await;
    answers.extend((2..4).map(|number| on_its_way(&lane, command(stream(number), number))));
    let full = lane.try_send(command(stream(4), 4)).map(|_| ());
    assert_eq!(full, Err(NotTaken::Full(lane.log())));
    let waiting = tokio::spawn({
        let lane = lane.clone();
        async move { lane.send(command(stream(5), 5)).await }
    });
    drop(held);
    for (answer, position) in answers.into_iter().zip(1..) {
        assert_eq!(soon(answer).await, applied(position));
    }
    assert_eq!(soon(waiting).await.expect("it ran"), applied(4));
    assert!(!world.heads.lock().contains_key(&stream(4)), "what was refused is not in the log");
    work.end().await;
}

#[tokio::test]
async fn a_command_that_panics_is_dead_lettered_and_answered_and_harms_none_beside_it() {
    let world = World::new(0, None);
    let work = Work::begin(world.clone());
    let lane = work.lane().await;
    let held = world.appends.try_write().expect("free");
    let before = on_its_way(&lane, command(stream(1), 1));
    work.appending().await;
    let poison = on_its_way(&lane, panicking(2));
    let after = on_its_way(&lane, command(stream(3), 3));
    drop(held);
    assert_eq!(soon(before).await, applied(1));
    let dead = Answered { position: 0, version: 0, outcome: LaneOutcome::DeadLettered };
    assert_eq!(soon(poison).await, Ok(dead.clone()));
    assert_eq!(soon(after).await, applied(2));
    // Alone it needs no append, and the log goes on.
    assert_eq!(soon(lane.send(panicking(4))).await, Ok(dead));
    assert_eq!(soon(lane.send(command(stream(5), 5))).await, applied(3));
    let letters = world.letters.lock().clone();
    assert_eq!(letters.len(), 2);
    for (letter, number) in letters.iter().zip([2, 4]) {
        let sent = panicking(number);
        let back = letter.command().expect("its bytes are kept");
        assert_eq!((&back.envelope, back.digest, letter.code.as_str()), (&sent.envelope, sent.digest, "poisonous"));
        assert_eq!((letter.log(), letter.not_redrivable()), (Some(lane.log()), None), "it can be sent again");
    }
    assert_eq!(world.state.lock().consumed, 0);
    work.end().await;
}

#[tokio::test]
async fn a_command_takes_effect_once_whichever_way_it_comes_and_comes_again() {
    let world = World::new(3, None);
    let silence = world.polls.try_write().expect("free");
    let work = Work::begin(world.clone());
    let lane = work.lane().await;
    assert_eq!(soon(lane.send(command(stream(0), 0))).await, applied(1));
    let repeated = |position| Ok(Answered { position, version: 1, outcome: LaneOutcome::Repeated(position) });
    assert_eq!(soon(lane.send(command(stream(0), 0))).await, repeated(1));
    drop(silence);
    work.done().await;
    for (number, position) in [(0, 1), (1, 2), (2, 3)] {
        assert_eq!(soon(lane.send(command(stream(number), number))).await, repeated(position));
    }
    // The same id with other content.
    let impostor = Accepted::new(Envelope::new(id(1), stream(1)), (*command(stream(1), 9).command).clone());
    let reused = soon(lane.send(Arc::new(impostor.expect("it fits")))).await.expect("answered");
    assert_eq!(reused, Answered { position: 0, version: 1, outcome: LaneOutcome::IdReused });
    assert_eq!(world.letters.lock().iter().map(|letter| letter.code.as_str()).collect::<Vec<_>>(), ["id_reused"]);
    assert_eq!(world.log.lock().len(), 3);
    work.end().await;
}

#[tokio::test]
async fn the_lane_is_not_mixed_with_what_is_tried_alone_and_does_not_wait_for_all_of_it() {
    let world = World::new(20, None);
    *world.tries.lock() = Some((0, 2));
    let held = world.appends.try_write().expect("free");
    let work = Work::begin(world.clone());
    let lane = work.lane().await;
    work.appending().await;
    let answers: Vec<_> = (100..104).map(|number| on_its_way(&lane, command(stream(number), number))).collect();
    drop(held);
    for answer in answers {
        assert!(soon(answer).await.is_ok());
    }
    work.done().await;
    let batches = world.batches.lock().clone();
    let is_local = |command: &Uuid| (100..104).any(|number| id(number) == *command);
    let last = batches.iter().rposition(|batch| batch.iter().any(is_local)).expect("they are there");
    assert_eq!(last, 2, "after the one under way and one more: {batches:?}");
    for batch in &batches[..last + 1] {
        assert!(batch.len() == 1 || batch.iter().all(is_local), "{batches:?}");
    }
    assert!(world.letters.lock().is_empty());
    work.end().await;
}

#[tokio::test]
async fn a_command_of_another_log_is_not_taken() {
    let world = World::new(0, None);
    let ear = Arc::<Ear>::default();
    let parts = Parts { watcher: Some(ear.clone()), partitions: 4.into(), ..world.parts() };
    let log = stream(0).log(4);
    let process = tokio::spawn(run(log, parts, CancellationToken::new()));
    soon(ear.owned.notified()).await;
    let lane = ear.lane.lock().clone().expect("owned");
    let stranger = (1..).map(stream).find(|stream| stream.log(4) != log).expect("there is one");
    let answer = soon(lane.send(command(stranger, 1))).await;
    assert_eq!(answer, Err(NotTaken::OtherLog { lane: log, home: stranger.log(4) }));
    process.abort();
}
