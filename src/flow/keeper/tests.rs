//! A keeper over heartbeats and an index in memory, on a clock that stands unless it is moved.

use super::*;
use crate::domain::agent::{self, AgentHealthChanged};
use crate::domain::common::Health;
use crate::domain::{Aggregate, AnyCommand, AnyEvent, AnyState, CorrelationKey, StreamId, TenantId};
use crate::flow::lease::LeaseTimes;
use crate::ports::beats::{Bounds, Page};
use crate::ports::index::{self, Head, IndexRows, Known, OutcomeRef, Traced};
use crate::ports::journal::Recorded;
use crate::ports::topic::{Accepted, Buried, DeadLetter, Delivery, Lane, RedriveError, Redriven};
use crate::ports::views::{RowData, ViewRow};
use crate::ports::{Index, Topics};
use async_trait::async_trait;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use tokio::sync::Notify;
use uuid::Uuid;

const LOG: LogId = LogId { aggregate: Aggregate::Agent, partition: 0 };
const DEGRADED_AFTER: Duration = Duration::from_secs(30);
const OFFLINE_AFTER: Duration = Duration::from_secs(120);
/// Between two looks for silence.
const LOOK: Duration = Duration::from_secs(3);

/// Everything outside of the keepers. A command that it takes is decided and derived at once.
#[derive(Default)]
struct World {
    beats: Mutex<Vec<StreamId>>,
    arrived: Notify,
    settled: Mutex<Option<u64>>,
    /// The keepers read nothing: they are cut off from the heartbeats, or lag.
    deaf: AtomicBool,
    health: Mutex<HashMap<StreamId, Health>>,
    told: Mutex<Vec<(StreamId, Health)>>,
    replaced: AtomicBool,
    confirmed: AtomicU32,
}

impl World {
    /// With agents that are registered and were never heard of.
    fn of(agents: u128) -> Arc<Self> {
        let world = Self::default();
        world.health.lock().extend((0..agents).map(|number| (agent(number), Health::Unknown)));
        Arc::new(world)
    }

    fn beat(&self, agent: StreamId) {
        self.beats.lock().push(agent);
        self.arrived.notify_waiters();
    }

    fn told(&self) -> Vec<(StreamId, Health)> {
        std::mem::take(&mut *self.told.lock())
    }

    fn head(&self, agent: &StreamId) -> Option<Head> {
        let health = *self.health.lock().get(agent)?;
        let mut state = AnyState::initial(Aggregate::Agent);
        let AnyState::Agent(of_agent) = &mut state else { unreachable!("it is an agent's") };
        of_agent.health = health;
        Some(Head { version: 1, position: 1, state: state.to_blob().unwrap().into(), ..Head::empty() })
    }

    /// Starts a keeper; it ends with the token.
    fn keeper(self: &Arc<Self>) -> (Arc<Leases>, CancellationToken) {
        let times = LeaseTimes { degraded_after: DEGRADED_AFTER, offline_after: OFFLINE_AFTER, tracked_max: 100 };
        let leases = Arc::new(Leases::new(self.clone(), self.clone(), 1.into(), times, || Uuid::from_u128(9)));
        let stop = CancellationToken::new();
        let (beats, views, assignment) = (self.clone(), self.clone(), self.clone());
        let keeper = Keeper { leases: leases.clone(), beats, views, assignment };
        tokio::spawn(keeper.run(LOG, stop.clone()));
        (leases, stop)
    }
}

fn agent(number: u128) -> StreamId {
    StreamId::new(TenantId(Uuid::from_u128(1)), Aggregate::Agent, Uuid::from_u128(number))
}

/// Lets so much time go by, and everything happen that is due in it.
async fn pass(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(100).min(end - Instant::now())).await;
    }
}

#[async_trait]
impl Beats for World {
    async fn send(&self, agents: Vec<StreamId>) -> Result<(), topic::Error> {
        agents.into_iter().for_each(|agent| self.beat(agent));
        Ok(())
    }
    async fn read(&self, _: LogId, from: u64, beats_max: usize) -> Result<Page, topic::Error> {
        loop {
            let arrived = self.arrived.notified();
            let agents: Vec<_> = self.beats.lock().iter().skip(from as usize).take(beats_max).copied().collect();
            if !agents.is_empty() && !self.deaf.load(Ordering::SeqCst) {
                let next = from + agents.len() as u64;
                return Ok(Page { agents, next });
            }
            arrived.await;
        }
    }
    async fn bounds(&self, _: LogId) -> Result<Bounds, topic::Error> {
        Ok(Bounds { low: 0, end: self.beats.lock().len() as u64 })
    }
    async fn settled(&self, _: LogId) -> Result<Option<u64>, topic::Error> {
        Ok(*self.settled.lock())
    }
    async fn settle(&self, _: LogId, place: u64) -> Result<(), topic::Error> {
        *self.settled.lock() = Some(place);
        Ok(())
    }
}

#[async_trait]
impl Assignment for World {
    async fn confirm(&self, _: LogId) -> bool {
        self.confirmed.fetch_add(1, Ordering::SeqCst);
        !self.replaced.load(Ordering::SeqCst)
    }
    fn consumed(&self, _: LogId, _: u64) {}
    async fn tried(&self, _: LogId, _: u64) -> u32 {
        0
    }
    async fn note(&self, _: LogId, _: u64, _: u32) {}
}

#[async_trait]
impl Index for World {
    async fn heads(&self, _: LogId, streams: &[StreamId]) -> Result<Vec<Option<Arc<Head>>>, index::Error> {
        Ok(streams.iter().map(|stream| self.head(stream).map(Arc::new)).collect())
    }
    async fn apply(&self, _: LogId, _: IndexRows, _: u64) -> Result<(), index::Error> {
        Ok(())
    }
    async fn applied_to(&self, _: LogId) -> Result<u64, index::Error> {
        Ok(0)
    }
    async fn known(&self, _: StreamId, _: Uuid) -> Result<Option<Known>, index::Error> {
        Ok(None)
    }
    async fn edges(&self, _: StreamId, _: Option<StreamId>, _: usize) -> Result<Vec<StreamId>, index::Error> {
        Ok(Vec::new())
    }
    async fn history(&self, _: StreamId, _: u64, _: usize) -> Result<Vec<Recorded>, index::Error> {
        Ok(Vec::new())
    }
    async fn outcome(&self, _: TenantId, _: Uuid) -> Result<Option<OutcomeRef>, index::Error> {
        Ok(None)
    }
    async fn trace(&self, _: CorrelationKey, _: usize) -> Result<Vec<Traced>, index::Error> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Topics for World {
    async fn produce(&self, commands: Vec<Arc<Accepted>>, lane: Lane) -> Result<(), topic::Error> {
        assert_eq!(lane, Lane::System);
        for accepted in commands {
            let AnyCommand::Agent(command) = &*accepted.command else { unreachable!("an agent's") };
            let agent::Command::ReportAgentHealth(report) = &**command else { unreachable!("about its health") };
            self.health.lock().insert(accepted.envelope.stream, report.health);
            self.told.lock().push((accepted.envelope.stream, report.health));
        }
        Ok(())
    }
    async fn poll(&self, _: LogId, _: u64, _: usize) -> Result<Vec<Delivery>, topic::Error> {
        std::future::pending().await
    }
    async fn publish(&self, _: LogId, _: Arc<[Recorded]>) -> Result<(), topic::Error> {
        Ok(())
    }
    async fn follow(&self, _: LogId, _: u64, _: usize) -> Result<Vec<Recorded>, topic::Error> {
        std::future::pending().await
    }
    async fn bury(&self, _: DeadLetter) -> Result<(), topic::Error> {
        Ok(())
    }
    async fn dead_letters(&self, _: u64, _: usize) -> Result<Vec<(u64, Buried)>, topic::Error> {
        Ok(Vec::new())
    }
    async fn dead_letter(&self, _: u64) -> Result<Option<Buried>, topic::Error> {
        Ok(None)
    }
    async fn redrive(&self, number: u64, _: bool) -> Result<Redriven, RedriveError> {
        Err(RedriveError::Unknown(number))
    }
}

#[async_trait]
impl Views for World {
    async fn apply(&self, _: LogId, _: Vec<ViewRow>, _: u64) -> Result<(), views::Error> {
        Ok(())
    }
    async fn applied_to(&self, _: LogId) -> Result<u64, views::Error> {
        Ok(0)
    }
    async fn get(&self, _: StreamId) -> Result<Option<ViewRow>, views::Error> {
        Ok(None)
    }
    async fn list(&self, _: TenantId, _: Aggregate, _: Option<Uuid>, _: usize) -> Result<Vec<ViewRow>, views::Error> {
        Ok(Vec::new())
    }
    async fn list_all(
        &self,
        _: Aggregate,
        after: Option<(TenantId, Uuid)>,
        _: usize,
    ) -> Result<Vec<ViewRow>, views::Error> {
        let mut streams: Vec<_> = self.health.lock().keys().copied().collect();
        streams.sort();
        streams.retain(|stream| after.is_none_or(|after| (stream.tenant, stream.id) > after));
        let row = |stream: StreamId| {
            let state = self.head(&stream).expect("it is there").state;
            ViewRow { stream, data: RowData { version: 1, created_at: 0, updated_at: 0, state } }
        };
        Ok(streams.into_iter().map(row).collect())
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_beats_is_active_and_one_that_falls_silent_is_degraded_and_then_offline() {
    let world = World::of(2);
    world.keeper();
    pass(LOOK).await;
    for _ in 0..20 {
        world.beat(agent(0));
        world.beat(agent(0));
        pass(Duration::from_secs(10)).await;
    }
    assert_eq!(world.told(), [(agent(0), Health::Active)], "only the turn is told");
    pass(DEGRADED_AFTER).await;
    assert_eq!(world.told(), [(agent(0), Health::Degraded)]);
    pass(OFFLINE_AFTER).await;
    assert_eq!(world.told(), [(agent(0), Health::Offline)]);
    pass(OFFLINE_AFTER * 3).await;
    assert_eq!(world.told(), [], "nothing is told twice, and nothing of who was never heard of");
    world.beat(agent(0));
    pass(LOOK).await;
    assert_eq!(world.told(), [(agent(0), Health::Active)]);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_silent_whose_heartbeat_is_not_read_yet() {
    let world = World::of(2);
    world.keeper();
    pass(LOOK).await;
    world.beat(agent(0));
    world.beat(agent(1));
    pass(LOOK).await;
    assert_eq!(world.told().len(), 2);
    world.deaf.store(true, Ordering::SeqCst);
    for _ in 0..OFFLINE_AFTER.as_secs() {
        world.beat(agent(0));
        pass(Duration::from_secs(2)).await;
    }
    assert_eq!(world.told(), [], "time stands still for leases");
    world.deaf.store(false, Ordering::SeqCst);
    world.beat(agent(0));
    pass(LOOK * 3).await;
    assert_eq!(world.told(), [(agent(1), Health::Offline)], "the other one was silent indeed");
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_was_replaced_turns_nobody() {
    let world = World::of(1);
    world.keeper();
    pass(LOOK).await;
    world.beat(agent(0));
    pass(LOOK).await;
    world.told();
    world.replaced.store(true, Ordering::SeqCst);
    pass(OFFLINE_AFTER * 2).await;
    assert_eq!(world.told(), []);
    assert!(world.confirmed.load(Ordering::SeqCst) > 0, "it would have");
}

#[tokio::test(start_paused = true)]
async fn who_comes_after_keeps_the_leases_that_ran_and_wakes_nobody_by_old_heartbeats() {
    let world = World::of(3);
    let (_, stop) = world.keeper();
    pass(LOOK).await;
    world.beat(agent(0));
    pass(OFFLINE_AFTER + DEGRADED_AFTER).await;
    world.beat(agent(1));
    pass(LOOK).await;
    let turns = [Health::Active, Health::Degraded, Health::Offline].map(|health| (agent(0), health));
    assert_eq!(world.told(), [&turns[..], &[(agent(1), Health::Active)]].concat());

    stop.cancel();
    pass(OFFLINE_AFTER * 2).await;
    let (leases, _) = world.keeper();
    pass(DEGRADED_AFTER - LOOK * 2).await;
    assert_eq!(world.told(), [], "a fresh lease for who was up, nothing for who was offline");
    pass(OFFLINE_AFTER).await;
    assert_eq!(world.told(), [(agent(1), Health::Degraded), (agent(1), Health::Offline)]);
    pass(OFFLINE_AFTER * 2).await;
    assert_eq!(*world.settled.lock(), Some(2), "the next one begins behind both heartbeats");
    assert!(leases.due(LOG, Instant::now() + OFFLINE_AFTER).is_empty(), "and no lease is left");
}

#[tokio::test(start_paused = true)]
async fn the_first_keeper_of_a_fleet_gives_leases_to_whoever_is_up() {
    let world = World::of(2);
    world.health.lock().insert(agent(1), Health::Active);
    world.keeper();
    pass(DEGRADED_AFTER + LOOK * 2).await;
    assert_eq!(world.told(), [(agent(1), Health::Degraded)]);
}

#[tokio::test(start_paused = true)]
async fn the_next_heartbeat_makes_active_whom_somebody_else_reported_otherwise() {
    let world = World::of(1);
    let (leases, _) = world.keeper();
    pass(LOOK).await;
    world.beat(agent(0));
    pass(LOOK).await;
    world.told();
    world.health.lock().insert(agent(0), Health::Offline);
    let changed = AgentHealthChanged { before: Health::Active, after: Health::Offline, reason: "unplugged".to_owned() };
    let event = AnyEvent::Agent(Box::new(agent::Event::AgentHealthChanged(changed)));
    leases.notice(agent(0), &event);
    world.beat(agent(0));
    pass(LOOK).await;
    assert_eq!(world.told(), [(agent(0), Health::Active)]);
}
