//! What the engine's calls tell of models is reported to their providers: once, and only what is news.

use super::fakes::{Plan, fails};
use super::world::{Journal, World, model, provider};
use crate::domain::llm_provider::{Command, Event, LlmProvider, ModelHealth, ModelStatistics, State};
use crate::domain::llm_request::Status;
use crate::domain::spec::meta;
use crate::domain::usage::{Dimension, Latencies, Series, Slot, Totals, Window, model_key};
use crate::domain::{
    Aggregate, AnyCommand, AnyState, Context, CorrelationKey, Decider, LogId, Partitions, StreamId, TenantId,
    World as Seen,
};
use crate::flow::query::stores::Stores;
use crate::flow::request::report::{Config, Parts, Reporter};
use crate::ports::index::{self, Head, IndexRows, Known, OutcomeRef, Traced};
use crate::ports::journal::Recorded;
use crate::ports::letter::{Buried, DeadLetter, RedriveError, Redriven};
use crate::ports::llm::Kind;
use crate::ports::topic::{self, Accepted, Delivery, Lane};
use crate::ports::{Clock, Index, Topics};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// The providers' streams: what is sent to them is decided at once, and the index shows it.
struct Providers {
    journal: Arc<Journal>,
    sent: Mutex<Vec<(Uuid, Command)>>,
    events: Mutex<Vec<Event>>,
}

impl Providers {
    fn state(&self, stream: StreamId) -> (u64, State) {
        let head = self.journal.head(&stream).expect("a provider");
        match head.state_of(Aggregate::LlmProvider).expect("a state") {
            AnyState::LlmProvider(state) => (head.version, *state),
            other => panic!("{other:?}"),
        }
    }

    fn take(&self, accepted: &Accepted) {
        let AnyCommand::LlmProvider(command) = &*accepted.command else { panic!("{accepted:?}") };
        self.sent.lock().push((accepted.envelope.command_id, (**command).clone()));
        let (version, mut state) = self.state(accepted.envelope.stream);
        let (now, world) = (self.journal.now(), Seen::default());
        let context = Context { now, envelope: &accepted.envelope, version, world: &world };
        let decision = LlmProvider::decide(&state, command, &context).expect("taken");
        for event in decision.events {
            let meta = crate::domain::EventMeta { recorded_at: now, ..meta(accepted.envelope.stream, version + 1) };
            LlmProvider::evolve(&mut state, &event, &meta);
            self.journal.put(accepted.envelope.stream, &AnyState::LlmProvider(Box::new(state.clone())));
            self.events.lock().push(event);
        }
    }

    fn changes(&self) -> Vec<(String, ModelHealth)> {
        let events = self.events.lock();
        let change = |event: &Event| match event {
            Event::ModelHealthChanged(event) => Some((event.model_id.clone(), event.after)),
            _ => None,
        };
        events.iter().filter_map(change).collect()
    }
}

#[async_trait]
impl Topics for Providers {
    async fn produce(&self, commands: Vec<Arc<Accepted>>, _: Lane) -> Result<(), topic::Error> {
        commands.iter().for_each(|command| self.take(command));
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
    async fn redrive(&self, _: u64, _: bool) -> Result<Redriven, RedriveError> {
        unreachable!("nothing is buried here")
    }
}

#[async_trait]
impl Index for Providers {
    async fn heads(&self, log: LogId, streams: &[StreamId]) -> Result<Vec<Option<Arc<Head>>>, index::Error> {
        self.journal.heads(log, streams).await
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
    /// As the index step makes them of the providers' states.
    async fn edges(&self, from: StreamId, _: Option<StreamId>, _: usize) -> Result<Vec<StreamId>, index::Error> {
        let log = LogId { aggregate: Aggregate::LlmProvider, partition: 0 };
        let hangs = |stream: &StreamId| {
            let state = AnyState::LlmProvider(Box::new(self.state(*stream).1));
            state.sources(log, stream).contains(&from)
        };
        Ok([provider(1), provider(2)].into_iter().filter(hangs).collect())
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

fn providers(world: &World) -> Arc<Providers> {
    Arc::new(Providers { journal: world.journal.clone(), sent: Mutex::default(), events: Mutex::default() })
}

/// A reporter of another process has other ears.
fn reporter(world: &World, providers: &Arc<Providers>, usage: Stores, is_deaf: bool) -> Reporter {
    let engine = world.engine.clone();
    Reporter::new(Parts {
        ear: Arc::new(move || if is_deaf { Vec::new() } else { engine.heard() }),
        usage: Arc::new(usage),
        index: providers.clone(),
        topics: providers.clone(),
        clock: world.journal.clone(),
        partitions: Partitions::from(1),
        config: Config::default(),
    })
}

async fn pass(reporter: &mut Reporter, seconds: u64) {
    for _ in 0..seconds / 5 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        reporter.look().await.expect("a look");
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_stays_down_is_reported_once_and_once_more_when_it_answers() {
    let world = World::new(|_| {}).await;
    let (is_dead, providers) = (Arc::new(AtomicBool::new(true)), providers(&world));
    let dead = is_dead.clone();
    world.llm.plan(move |made, _| {
        let fails_now = made.model == "a" && dead.load(Ordering::Relaxed);
        if fails_now { fails(Kind::Connect) } else { Plan::Answer(Duration::from_millis(30)) }
    });
    let mut reporter = reporter(&world, &providers, Stores::default(), false);
    let mut number = 0;
    let mut load = async |world: &World, reporter: &mut Reporter, seconds: u64| {
        for _ in 0..seconds / 5 {
            for _ in 0..3 {
                number += 1;
                world.ask(number, &["a", "c"]).await;
            }
            pass(reporter, 5).await;
        }
        for one in 1..=number {
            assert_eq!(world.until_ended(one).await.status, Status::Completed, "{one}");
        }
    };
    load(&world, &mut reporter, 120).await;
    assert_eq!(providers.changes(), [], "not long enough yet");
    load(&world, &mut reporter, 60).await;
    assert_eq!(providers.changes(), [("a".to_owned(), ModelHealth::Down)]);
    load(&world, &mut reporter, 900).await;
    assert_eq!(providers.sent.lock().len(), 1, "it goes on failing, which is no news");
    is_dead.store(false, Ordering::Relaxed);
    load(&world, &mut reporter, 60).await;
    let both = [("a".to_owned(), ModelHealth::Down), ("a".to_owned(), ModelHealth::Up)];
    assert_eq!(providers.changes(), both);
    assert_eq!(providers.sent.lock().len(), 2);
    world.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_model_that_nobody_tries_gets_another_chance_from_a_process_that_never_called_it() {
    let world = World::new(|_| {}).await;
    let providers = providers(&world);
    let (_, mut state) = providers.state(provider(1));
    let condition = crate::domain::llm_provider::ModelCondition {
        health: ModelHealth::Down,
        since: world.journal.now(),
        reason: String::new(),
    };
    state.conditions.insert("b".into(), condition);
    world.journal.put(provider(1), &AnyState::LlmProvider(Box::new(state)));
    let mut reporter = reporter(&world, &providers, Stores::default(), true);
    pass(&mut reporter, 595).await;
    assert_eq!(providers.changes(), []);
    pass(&mut reporter, 10).await;
    assert_eq!(providers.changes(), [("b".to_owned(), ModelHealth::Up)]);
    pass(&mut reporter, 700).await;
    assert_eq!(providers.sent.lock().len(), 1);
    world.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_report_that_its_provider_does_not_show_is_sent_again_under_the_same_id() {
    let world = World::new(|_| {}).await;
    let providers = providers(&world);
    let (_, mut state) = providers.state(provider(1));
    let condition = crate::domain::llm_provider::ModelCondition { health: ModelHealth::Down, ..Default::default() };
    state.conditions.insert("b".into(), condition);
    world.journal.put(provider(1), &AnyState::LlmProvider(Box::new(state.clone())));
    let [mut one, mut other] = [(); 2].map(|()| reporter(&world, &providers, Stores::default(), true));
    let shown = providers.journal.head(&provider(1)).expect("a head");
    one.look().await.expect("a look");
    world.journal.put_head(provider(1), shown.clone());
    other.look().await.expect("a look");
    world.journal.put_head(provider(1), shown.clone());
    one.look().await.expect("a look");
    assert_eq!(providers.sent.lock().len(), 2, "not again at once");
    pass(&mut one, 30).await;
    let ids: Vec<_> = providers.sent.lock().iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, vec![ids[0]; 3], "whoever says it, it has one effect");
    world.stop.cancel();
}

/// So many calls of a model in the last minute, of which some failed.
fn counted(world: &World, calls: u64, failures: u64) -> Stores {
    let mut latencies = Latencies::default();
    (failures..calls).for_each(|_| latencies.add(&Latencies::of(800)));
    let (requests_completed, provider_failures) = (calls - failures, failures);
    let totals = Totals { requests_completed, provider_failures, latencies, output_tokens: 100, ..Totals::default() };
    let (window, dimension) = (Window::Minute, Dimension::Offer);
    let series = Series { tenant: TenantId::SHARED, dimension, key: model_key(&model("a")), window };
    let slot = Slot { series, start: window.start_of(world.journal.now()) };
    Stores { usage: [(slot, totals)].into(), ..Stores::default() }
}

#[tokio::test(start_paused = true)]
async fn statistics_are_reported_of_models_that_were_called_and_only_where_they_moved() {
    let world = World::new(|_| {}).await;
    world.ask(1, &["a"]).await;
    world.until_ended(1).await;
    let providers = providers(&world);
    let measured = |providers: &Providers| -> Option<ModelStatistics> {
        providers.state(provider(1)).1.measured.get("a").cloned()
    };
    pass(&mut reporter(&world, &providers, counted(&world, 19, 0), false), 60).await;
    assert_eq!(measured(&providers), None, "too few calls");
    pass(&mut reporter(&world, &providers, counted(&world, 20, 5), true), 60).await;
    assert_eq!(measured(&providers), None, "who called nothing looks at nothing");
    let stores = || counted(&world, 20, 5);
    let mut one = reporter(&world, &providers, stores(), false);
    let mut other = reporter(&world, &providers, stores(), false);
    pass(&mut one, 65).await;
    let found = measured(&providers).expect("statistics");
    assert_eq!((found.calls, found.error_rate), (20, 0.25));
    pass(&mut other, 60).await;
    assert_eq!((providers.sent.lock().len(), providers.events.lock().len()), (1, 1), "the same again is no news");
    pass(&mut reporter(&world, &providers, counted(&world, 40, 30), false), 60).await;
    assert_eq!(measured(&providers).map(|it| it.error_rate), Some(0.75));
    world.stop.cancel();
}
