//! The world of a processor, in memory; and commands that end the process, with a process that can be ended: its task, cut
//! off where the killer is met.

mod lane;

use super::*;
use crate::domain::record::{CHAIN_START, Record};
use crate::domain::{CorrelationKey, Micros};
use crate::ports::conformance::{command, stream};
use crate::ports::index::Known;
use crate::ports::index::{self, IndexRows, OutcomeRef, Traced};
use crate::ports::journal::{Batch, Recorded};
use crate::ports::outcome::Word;
use crate::ports::topic::{
    self, Accepted, Buried, DeadLetter, Delivery, Held, Lane as Sender, Place, RedriveError, Redriven,
};
use async_trait::async_trait;
use hashbrown::HashSet;
use parking_lot::Mutex;
use std::time::Duration;
use tokio::sync::{Notify, RwLock};
use uuid::Uuid;

const BATCH: usize = 8;

/// What outlives a process: the log, the topic, the letters, the count of tries. And what ends one.
struct World {
    commands: Vec<Arc<Accepted>>,
    state: Mutex<LogState>,
    decided: Mutex<Vec<StreamId>>,
    letters: Mutex<Vec<DeadLetter>>,
    tries: Mutex<Option<(u64, u32)>>,
    /// The stream whose head nobody can look at and live.
    killer: Option<StreamId>,
    /// How many streams were looked at together each time it was met.
    met: Mutex<Vec<usize>>,
    died: Notify,
    done: Notify,
    /// Appends that are refused while the process lives.
    refusals: Mutex<u32>,
    /// Commands that the index knows.
    known: Mutex<HashSet<Uuid>>,
    /// The log, and what is derived from it.
    log: Mutex<Vec<Recorded>>,
    heads: Mutex<HashMap<StreamId, Arc<Head>>>,
    /// Whoever has it keeps appends from ending, or polls from finding anything.
    appends: RwLock<()>,
    polls: RwLock<()>,
    /// Told when an append begins.
    appending: Notify,
    /// The commands of each append.
    batches: Mutex<Vec<Vec<Uuid>>>,
    /// Whether the index takes no rows, and so knows nothing.
    lags: bool,
    batch: usize,
}

#[async_trait]
impl Assignment for World {
    async fn confirm(&self, _: LogId) -> bool {
        true
    }
    fn consumed(&self, _: LogId, _: u64) {}
    async fn tried(&self, _: LogId, offset: u64) -> u32 {
        self.tries.lock().filter(|(at, _)| *at == offset).map_or(0, |(_, tries)| tries)
    }
    async fn note(&self, _: LogId, offset: u64, tries: u32) {
        *self.tries.lock() = Some((offset, tries));
    }
}

#[async_trait]
impl Index for World {
    async fn heads(&self, _: LogId, streams: &[StreamId]) -> Result<Vec<Option<Arc<Head>>>, index::Error> {
        if self.killer.is_some_and(|killer| streams.contains(&killer)) {
            self.met.lock().push(streams.len());
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
        let head = Arc::new(Head { displaced: true, ..Head::empty() });
        let unknown = Some(head).filter(|_| !self.known.lock().is_empty());
        let heads = self.heads.lock();
        Ok(streams.iter().map(|stream| heads.get(stream).cloned().or_else(|| unknown.clone())).collect())
    }
    async fn apply(&self, _: LogId, rows: IndexRows, _: u64) -> Result<(), index::Error> {
        if self.lags {
            std::future::pending::<()>().await;
        }
        self.heads.lock().extend(rows.heads);
        Ok(())
    }
    async fn applied_to(&self, _: LogId) -> Result<u64, index::Error> {
        Ok(self.state.lock().head)
    }
    async fn known(&self, _: StreamId, command_id: Uuid) -> Result<Option<Known>, index::Error> {
        let known = Known { command_id, digest: 0, position: 1 };
        Ok(Some(known).filter(|_| self.known.lock().contains(&command_id)))
    }
    async fn edges(&self, _: StreamId, _: Option<StreamId>, _: usize) -> Result<Vec<StreamId>, index::Error> {
        Ok(Vec::new())
    }
    async fn history(&self, _: StreamId, _: u64, _: usize) -> Result<Vec<Recorded>, index::Error> {
        Ok(Vec::new())
    }
    async fn outcome(&self, _: crate::domain::TenantId, _: Uuid) -> Result<Option<OutcomeRef>, index::Error> {
        Ok(None)
    }
    async fn trace(&self, _: CorrelationKey, _: usize) -> Result<Vec<Traced>, index::Error> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Journal for World {
    async fn claim(&self, _: LogId) -> Result<LogState, journal::Error> {
        // Everything is derived: there is nothing to catch up with.
        let mut state = self.state.lock();
        state.epoch += 1;
        state.derived_to = state.head;
        Ok(state.clone())
    }
    async fn append(&self, batch: Batch) -> Result<(), journal::Error> {
        {
            let mut refusals = self.refusals.lock();
            if *refusals > 0 {
                *refusals -= 1;
                return Err(journal::Error::Unavailable("not now".into()));
            }
        }
        self.appending.notify_one();
        let _allowed = self.appends.read().await;
        let mut state = self.state.lock();
        if batch.epoch != state.epoch {
            return Err(journal::Error::Fenced { log: batch.log, epoch: state.epoch });
        }
        let records = batch.records.iter().map(|(bytes, hash)| {
            let record = Record::decode(bytes).expect("it was encoded");
            Recorded { record, hash: *hash, decided: None }
        });
        let records: Vec<_> = records.collect();
        self.batches.lock().push(records.iter().map(|recorded| recorded.record.envelope.command_id).collect());
        self.log.lock().extend(records);
        let taken = &self.commands[state.consumed as usize..batch.consumed as usize];
        self.decided.lock().extend(taken.iter().map(|accepted| accepted.envelope.stream));
        let recorded = taken.iter().filter(|accepted| !self.lags && Some(accepted.envelope.stream) != self.killer);
        self.known.lock().extend(recorded.map(|accepted| accepted.envelope.command_id));
        state.head += batch.records.len() as u64;
        (state.head_hash, state.consumed) = (batch.head_hash, batch.consumed);
        if state.consumed == self.commands.len() as u64 {
            self.done.notify_one();
        }
        Ok(())
    }
    async fn read(&self, _: LogId, from: u64, records_max: usize) -> Result<Vec<Recorded>, journal::Error> {
        Ok(self.log.lock().iter().skip(from as usize - 1).take(records_max).cloned().collect())
    }
    async fn state(&self, _: LogId) -> Result<LogState, journal::Error> {
        Ok(self.state.lock().clone())
    }
}

#[async_trait]
impl Topics for World {
    async fn produce(&self, _: Vec<Arc<Accepted>>, _: Sender) -> Result<(), topic::Error> {
        Ok(())
    }
    async fn poll(&self, _: LogId, from: u64, records_max: usize) -> Result<Vec<Delivery>, topic::Error> {
        let _allowed = self.polls.read().await;
        let left = (from..).zip(&self.commands[from as usize..]).take(records_max);
        let found: Vec<_> =
            left.map(|(offset, command)| Delivery { offset, command: Ok(command.clone()), redriven: 0 }).collect();
        if found.is_empty() {
            std::future::pending::<()>().await;
        }
        Ok(found)
    }
    async fn held(&self, _: LogId, from: u64, records_max: usize) -> Result<Held, topic::Error> {
        let end = self.commands.len() as u64;
        let before = from.saturating_sub(records_max as u64) as usize..from.min(end) as usize;
        let before = self.commands.get(before).unwrap_or_default().iter();
        let before = before.map(|accepted| (accepted.envelope.stream, accepted.envelope.command_id)).collect();
        Ok(Held { low: 0, end, before })
    }
    async fn publish(&self, _: LogId, _: Arc<[Recorded]>) -> Result<(), topic::Error> {
        Ok(())
    }
    async fn follow(&self, _: LogId, _: u64, _: usize) -> Result<Vec<Recorded>, topic::Error> {
        std::future::pending().await
    }
    async fn bury(&self, letter: DeadLetter) -> Result<(), topic::Error> {
        self.letters.lock().push(letter);
        Ok(())
    }
    async fn dead_letters(&self, from: u64, letters_max: usize) -> Result<Vec<(u64, Buried)>, topic::Error> {
        let letters = self.letters.lock();
        let buried = letters.iter().map(|letter| Buried { letter: letter.clone(), redriven: 0 });
        Ok((0..).zip(buried).skip(from as usize).take(letters_max).collect())
    }
    async fn dead_letter(&self, _: u64) -> Result<Option<Buried>, topic::Error> {
        Ok(None)
    }
    async fn redrive(&self, number: u64, _: bool) -> Result<Redriven, RedriveError> {
        Err(RedriveError::Unknown(number))
    }
}

#[async_trait]
impl Outcomes for World {
    async fn tell(&self, _: LogId, _: Vec<Word<'_>>) -> Result<(), topic::Error> {
        Ok(())
    }
}

struct Still;

impl Clock for Still {
    fn now(&self) -> Micros {
        1
    }
}

impl World {
    fn new(commands: u128, killer: Option<u128>) -> Arc<Self> {
        Arc::new(Self::of((0..commands).map(|number| command(stream(number), number)).collect(), killer))
    }

    fn of(commands: Vec<Arc<Accepted>>, killer: Option<u128>) -> Self {
        let state = LogState { epoch: 0, head: 0, head_hash: CHAIN_START, recorded_at: 0, consumed: 0, derived_to: 0 };
        Self {
            commands,
            state: Mutex::new(state),
            decided: Mutex::default(),
            letters: Mutex::default(),
            tries: Mutex::default(),
            killer: killer.map(stream),
            met: Mutex::default(),
            died: Notify::new(),
            done: Notify::new(),
            refusals: Mutex::default(),
            known: Mutex::default(),
            log: Mutex::default(),
            heads: Mutex::default(),
            appends: RwLock::default(),
            polls: RwLock::default(),
            appending: Notify::new(),
            batches: Mutex::default(),
            lags: false,
            batch: BATCH,
        }
    }

    fn parts(self: &Arc<Self>) -> Parts {
        Parts {
            journal: self.clone(),
            topics: self.clone(),
            index: self.clone(),
            clock: Arc::new(Still),
            outcomes: self.clone(),
            assignment: self.clone(),
            notice: Arc::new(|_, _| {}),
            watcher: None,
            owned: Arc::default(),
            partitions: 1.into(),
            limits: Limits {
                batch_records_max: self.batch,
                batch_bytes_max: 1 << 20,
                command_bytes_max: 1 << 20,
                pinned_heads_max: 1_000,
                lane_commands_max: 100,
                reaction_page_max: 10,
            },
        }
    }

    /// Runs processes, each until it is ended by the killer, until everything is consumed. Gives how many were ended.
    async fn live(self: &Arc<Self>) -> usize {
        for ended in 0..20 {
            let process = tokio::spawn(run(stream(0).log(1), self.parts(), CancellationToken::new()));
            let done = tokio::time::timeout(Duration::from_secs(60), async {
                tokio::select! {
                    () = self.done.notified() => true,
                    () = self.died.notified() => false,
                }
            });
            let done = done.await.expect("in time");
            process.abort();
            let _ = process.await;
            if done {
                return ended;
            }
        }
        panic!("it kills for ever");
    }
}

#[tokio::test]
async fn a_command_that_kills_is_dead_lettered_and_harms_none_beside_it() {
    for killer in [0, 3, 7, 13, 19] {
        let world = World::new(20, Some(killer));
        let ended = world.live().await;
        let letters = world.letters.lock();
        let [letter] = &letters[..] else { panic!("{killer}: {letters:#?}") };
        assert_eq!((letter.code.as_str(), letter.offset), ("poisonous", killer as u64));
        assert!(letter.cause.contains("ended the process") && letter.cause.contains(" 3 times"), "{}", letter.cause);
        assert_eq!(letter.command().expect("it can be sent again").envelope, world.commands[killer as usize].envelope);
        assert_eq!(world.decided.lock().len(), 20, "{killer}: each was passed once");
        assert_eq!(world.met.lock().last(), Some(&1), "{killer}: it was alone when it was condemned");
        assert!(ended <= 8, "{killer}: {ended} processes were ended");
    }
}

#[tokio::test]
async fn what_fails_while_the_process_lives_is_not_held_against_a_command() {
    let world = World::new(5, None);
    *world.refusals.lock() = 6;
    assert_eq!(world.live().await, 0);
    assert!(world.letters.lock().is_empty());
    assert_eq!(world.decided.lock().len(), 5);
}

#[tokio::test]
async fn tries_at_another_offset_condemn_nobody() {
    let world = World::new(5, None);
    *world.tries.lock() = Some((3, 9));
    assert_eq!(world.live().await, 0);
    assert!(world.letters.lock().is_empty());
}

#[tokio::test]
async fn a_topic_of_which_the_log_knows_no_command_is_another_topic() {
    let world = World::new(200, None);
    let lost = async |consumed: u64| {
        let state = LogState { consumed, ..world.state.lock().clone() };
        missing(stream(0).log(1), &state, &*world, &*world, &*world).await.expect("asked")
    };
    let knows = |number: usize| *world.known.lock() = HashSet::from([world.commands[number].envelope.command_id]);
    assert_eq!(lost(0).await, None, "nothing was consumed");
    let loss = lost(150).await.expect("none of them is known");
    assert_eq!((loss.consumed, loss.low, loss.end), (150, 0, 200));
    assert!(lost(201).await.is_some(), "it ends before");
    for (number, is_lost) in [(149, false), (142, false), (100, false), (3, false), (150, true)] {
        knows(number);
        assert_eq!(lost(150).await.is_some(), is_lost, "what lies before 150 and is known is {number}");
    }
    let place = Place { log: stream(0).log(1), offset: 120, redriven: 0 };
    let letter = DeadLetter::of(place, &world.commands[120], "poisonous", "it died", 1);
    let elsewhere = DeadLetter { partition: 1, ..letter.clone() };
    for (letter, is_lost) in [(elsewhere, true), (letter, false)] {
        world.letters.lock().push(letter);
        assert_eq!(lost(150).await.is_some(), is_lost, "a command that died here is a witness too");
    }
}

#[tokio::test]
async fn a_command_that_comes_again_is_known_after_any_number_of_others_and_while_the_index_lags() {
    for (lags, batch) in [(false, 8), (true, 8), (true, 64), (false, 64)] {
        for between in [5, 15, 16, 17, 20, 40] {
            let one = |number: u128| command(stream(1), number);
            let commands = (0..=between).map(one).chain([one(0), one(1), one(0)]).collect();
            let world = Arc::new(World { lags, batch, ..World::of(commands, None) });
            assert_eq!(world.live().await, 0);
            let recorded = u128::from(world.state.lock().head);
            assert_eq!(recorded, between + 1, "{between} between, in batches of {batch}, index lags: {lags}");
        }
    }
}
