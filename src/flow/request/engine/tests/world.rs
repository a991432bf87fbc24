//! A log in memory that decides as the real one does, and an engine at work on it.

use super::fakes::{FakeLimits, FakeLlm};
use crate::domain::common::PromptStorage;
use crate::domain::llm_provider::{self, Access};
use crate::domain::llm_request::{Command, Event, LlmRequest, ModelChoice, Priority, State, SubmitRequest, payload};
use crate::domain::personal::Personal;
use crate::domain::record::{CHAIN_START, Hash, RecordKind};
use crate::domain::tenant::{self, Tier, standing};
use crate::domain::{
    Aggregate, AnyEvent, AnyState, CorrelationKey, Decider, Envelope, LogId, Micros, Partitions, Rejection, StreamId,
    TenantId,
};
use crate::flow::decide::BatchDecider;
use crate::flow::request::engine::{Config, Engine, NotSubmitted, Parts, Reply, Submit};
use crate::flow::request::limiter::Limiter;
use crate::flow::request::seam::{Answered, Lane, NotTaken, OpenRequests, Watcher};
use crate::flow::world::Sight;
use crate::ports::index::{self, Head, IndexRows, Known, OutcomeRef, Traced};
use crate::ports::journal::Recorded;
use crate::ports::letter::{Buried, DeadLetter, RedriveError, Redriven};
use crate::ports::topic::{self, Accepted, Delivery};
use crate::ports::{Clock, Index, Topics};
use async_trait::async_trait;
use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub const T0: Micros = 1_706_800_000_000_000;
pub const LOG: LogId = LogId { aggregate: Aggregate::LlmRequest, partition: 0 };
pub const TENANT: TenantId = TenantId(Uuid::from_u128(77));

/// How a lane fails its next command.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Nobody knows whether it is in the log; it is where `is_in`.
    Unknown { is_in: bool },
}

pub struct Journal {
    heads: Mutex<HashMap<StreamId, Arc<Head>>>,
    tip: tokio::sync::Mutex<(u64, Hash)>,
    pub records: Mutex<Vec<Recorded>>,
    engine: OnceLock<Engine>,
    /// The claim in force; odd while there is one.
    epoch: AtomicU64,
    started: Instant,
    pub faults: Mutex<VecDeque<Fault>>,
    /// How long an append takes.
    pub latency: Mutex<Duration>,
    pub command_bytes_max: AtomicUsize,
    /// Commands that came by the topics.
    pub by_topic: AtomicUsize,
}

impl Journal {
    pub fn head(&self, stream: &StreamId) -> Option<Arc<Head>> {
        self.heads.lock().get(stream).cloned()
    }

    async fn append(self: &Arc<Self>, command: &Accepted) -> Answered {
        let mut tip = self.tip.lock().await;
        let index: Arc<dyn Index> = self.clone();
        let mut sight = Sight::new(index, Partitions::from(1));
        let bytes_max = self.command_bytes_max.load(Ordering::Relaxed);
        let mut decider = BatchDecider::new(LOG, *tip, self.now(), bytes_max, &mut sight);
        let head = self.head(&command.envelope.stream).unwrap_or_else(|| Arc::new(Head::empty()));
        decider.command(command, &head, None).await.expect("the index");
        let made = decider.finish();
        let latency = *self.latency.lock();
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        if !made.letters.is_empty() {
            return Answered::Refused(Rejection::new("id_reused", "another command"));
        }
        let Some(last) = made.records.last() else { return Answered::Repeated };
        let answer = match last.record.kind {
            RecordKind::Event => Answered::Applied,
            RecordKind::Unchanged => Answered::Unchanged,
            RecordKind::Refusal => Answered::Refused(serde_json::from_slice(&last.record.payload).expect("a refusal")),
        };
        *tip = (last.record.position, made.head_hash);
        self.heads.lock().extend(made.heads.iter().map(|(stream, head)| (*stream, head.clone())));
        self.records.lock().extend(made.records.iter().cloned());
        if self.epoch.load(Ordering::SeqCst) % 2 == 1 {
            self.engine.get().expect("the engine").appended(LOG, &made.records, &made.heads);
        }
        answer
    }

    /// All events, in their order.
    pub fn events(&self) -> Vec<(StreamId, Event)> {
        let records = self.records.lock();
        let event = |recorded: &Recorded| match recorded.decided.as_ref()?.event.as_deref()? {
            AnyEvent::LlmRequest(event) => Some((recorded.record.stream(), (**event).clone())),
            _ => None,
        };
        records.iter().filter_map(event).collect()
    }

    /// Shows a head as it was.
    pub fn put_head(&self, stream: StreamId, head: Arc<Head>) {
        self.heads.lock().insert(stream, head);
    }

    pub fn put(&self, stream: StreamId, state: &AnyState) {
        let state = state.to_blob().expect("a blob").into();
        let position = self.head(&stream).map_or(1, |head| head.position + 1);
        self.heads.lock().insert(stream, Arc::new(Head { version: position, position, state, ..Head::empty() }));
    }
}

impl Clock for Journal {
    fn now(&self) -> Micros {
        T0 + self.started.elapsed().as_micros() as Micros
    }
}

struct TestLane {
    journal: Arc<Journal>,
    epoch: u64,
}

#[async_trait]
impl Lane for TestLane {
    async fn send(&self, command: Arc<Accepted>) -> Result<Answered, NotTaken> {
        if self.journal.epoch.load(Ordering::SeqCst) != self.epoch {
            return Err(NotTaken { unknown: false });
        }
        let fault = self.journal.faults.lock().pop_front();
        if let Some(Fault::Unknown { is_in }) = fault {
            if is_in {
                drop(self.journal.append(&command).await);
            }
            return Err(NotTaken { unknown: true });
        }
        Ok(self.journal.append(&command).await)
    }
}

#[async_trait]
impl OpenRequests for Journal {
    async fn open(
        &self,
        _log: LogId,
        found: &(dyn Fn(Vec<(StreamId, Arc<Head>)>) + Send + Sync),
    ) -> Result<(), index::Error> {
        let heads = self.heads.lock().clone();
        found(heads.into_iter().filter(|(stream, _)| stream.aggregate == Aggregate::LlmRequest).collect());
        Ok(())
    }
}

#[async_trait]
impl Index for Journal {
    async fn heads(&self, _log: LogId, streams: &[StreamId]) -> Result<Vec<Option<Arc<Head>>>, index::Error> {
        Ok(streams.iter().map(|stream| self.head(stream)).collect())
    }
    async fn apply(&self, _log: LogId, _rows: IndexRows, _through: u64) -> Result<(), index::Error> {
        Ok(())
    }
    async fn applied_to(&self, _log: LogId) -> Result<u64, index::Error> {
        Ok(0)
    }
    async fn known(&self, _stream: StreamId, _command_id: Uuid) -> Result<Option<Known>, index::Error> {
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

/// The topics lead to the log, whoever owns it.
struct TestTopics(Arc<Journal>);

#[async_trait]
impl Topics for TestTopics {
    async fn produce(&self, commands: Vec<Arc<Accepted>>, _lane: topic::Lane) -> Result<(), topic::Error> {
        for command in commands {
            self.0.by_topic.fetch_add(1, Ordering::Relaxed);
            drop(self.0.append(&command).await);
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

    async fn redrive(&self, _: u64, _: bool) -> Result<Redriven, RedriveError> {
        unreachable!("nothing is buried here")
    }
}

/// An engine at work on a log, its provider and its limits.
pub struct World {
    pub engine: Engine,
    pub journal: Arc<Journal>,
    pub llm: Arc<FakeLlm>,
    pub limits: Arc<FakeLimits>,
    pub stop: CancellationToken,
    pub running: tokio::task::JoinHandle<()>,
}

pub fn provider(number: u128) -> StreamId {
    StreamId::new(TenantId::SHARED, Aggregate::LlmProvider, Uuid::from_u128(number))
}

/// Model `name` of a provider: `a` and `b` of the first, `c` of the second.
pub fn model(name: &str) -> ModelChoice {
    let number = if name == "c" { 2 } else { 1 };
    ModelChoice { provider_id: provider(number).id, model_id: name.into(), ..ModelChoice::default() }
}

pub fn stream(number: u128) -> StreamId {
    StreamId::new(TENANT, Aggregate::LlmRequest, Uuid::from_u128(1_000_000 + number))
}

pub fn prompt(number: u128) -> String {
    format!("{{\"model\":\"x\",\"max_tokens\":90,\"messages\":[{{\"role\":\"user\",\"content\":\"{number}\"}}]}}")
}

/// A request for an answer within a minute, to models by their names.
pub fn request(number: u128, models: &[&str]) -> SubmitRequest {
    SubmitRequest {
        models: models.iter().map(|name| model(name)).collect(),
        payload: Personal::Plain(prompt(number)),
        ..SubmitRequest::default()
    }
}

pub fn accepted(number: u128, command: Command) -> Arc<Accepted> {
    let id = Uuid::new_v5(&Uuid::from_u128(number), format!("{command:?}").as_bytes());
    let envelope = Envelope { source: "test".into(), ..Envelope::new(id, stream(number)) };
    Arc::new(Accepted::new(envelope, command.into()).expect("it fits its schema"))
}

impl World {
    pub async fn new(change: impl FnOnce(&mut Config)) -> Self {
        let journal = Arc::new(Journal {
            heads: Mutex::default(),
            tip: tokio::sync::Mutex::new((0, CHAIN_START)),
            records: Mutex::default(),
            engine: OnceLock::new(),
            epoch: AtomicU64::new(0),
            started: Instant::now(),
            faults: Mutex::default(),
            latency: Mutex::new(Duration::from_millis(2)),
            command_bytes_max: AtomicUsize::new(1 << 20),
            by_topic: AtomicUsize::new(0),
        });
        let tenant = tenant::State { status: tenant::Status::Active, tier: Tier::Diamond, ..Default::default() };
        journal.put(standing::stream(TENANT), &AnyState::Tenant(Box::new(tenant)));
        for (number, models) in [(1, &["a", "b"][..]), (2, &["c"][..])] {
            let model = |name: &&str| llm_provider::Model {
                model_id: (*name).into(),
                input_micro_usd_per_million: Some(1_000_000),
                output_micro_usd_per_million: Some(2_000_000),
                ..Default::default()
            };
            let state = llm_provider::State {
                status: llm_provider::Status::Registered,
                access: Access { name: format!("p{number}"), ..Access::default() },
                models: models.iter().map(model).collect(),
                ..Default::default()
            };
            journal.put(provider(number), &AnyState::LlmProvider(Box::new(state)));
        }
        let (llm, limits, stop) = (FakeLlm::new(), FakeLimits::new(), CancellationToken::new());
        let limiter = Limiter::new(limits.clone(), 7);
        let (limiting, token) = (limiter.clone(), stop.clone());
        tokio::spawn(async move { limiting.run(token).await });
        let mut config = Config::new("w1");
        change(&mut config);
        let engine = Engine::new(Parts {
            llm: llm.clone(),
            limiter,
            topics: Arc::new(TestTopics(journal.clone())),
            index: journal.clone(),
            open: journal.clone(),
            clock: journal.clone(),
            partitions: Partitions::from(1),
            seed: 42,
            config,
        });
        assert!(journal.engine.set(engine.clone()).is_ok());
        let (working, token) = (engine.clone(), stop.clone());
        let running = tokio::spawn(async move { working.run(token).await });
        let world = Self { engine, journal, llm, limits, stop, running };
        world.claim();
        world
    }

    /// The log is claimed (anew); whoever had it learns of it with its next command.
    pub fn claim(&self) {
        let epoch = (self.journal.epoch.load(Ordering::SeqCst) + 1) | 1;
        self.journal.epoch.store(epoch, Ordering::SeqCst);
        self.engine.owned(LOG, Arc::new(TestLane { journal: self.journal.clone(), epoch }));
    }

    pub fn release(&self) {
        self.journal.epoch.fetch_add(1, Ordering::SeqCst);
        self.engine.released(LOG);
    }

    /// A command from outside, by the topic.
    pub async fn say(&self, number: u128, command: Command) -> Answered {
        self.journal.append(&accepted(number, command)).await
    }

    pub async fn ask(&self, number: u128, models: &[&str]) {
        let answer = self.say(number, Command::SubmitRequest(request(number, models))).await;
        assert_eq!(answer, Answered::Applied);
    }

    /// Submits as a caller who waits.
    pub async fn call(&self, number: u128, change: impl FnOnce(&mut SubmitRequest)) -> Result<Reply, NotSubmitted> {
        let mut command = SubmitRequest { priority: Priority::Interactive, ..request(number, &["a"]) };
        change(&mut command);
        if command.storage != PromptStorage::Full {
            let text = prompt(number);
            command.payload = Personal::Absent;
            command.payload_sha256 = Some(payload::sha256(&text));
            (command.payload_bytes, command.prompt_tokens_estimated) = (Some(text.len() as i64), Some(20));
        }
        let command = accepted(number, Command::SubmitRequest(command));
        self.engine.submit(Submit { command, payload: Bytes::from(prompt(number)) }).await
    }

    pub fn state(&self, number: u128) -> State {
        let head = self.journal.head(&stream(number)).unwrap_or_else(|| Arc::new(Head::empty()));
        match head.state_of(LlmRequest::AGGREGATE).expect("a state") {
            AnyState::LlmRequest(state) => *state,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until something is so, for an hour of the test's clock at most.
    pub async fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(
                begun.elapsed() < Duration::from_secs(3600),
                "waited in vain for {what}: {:?}",
                self.engine.snapshot()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn until_ended(&self, number: u128) -> State {
        self.until("its end", |world| {
            let state = world.state(number);
            !state.is_running() && state.submitted_at > 0
        })
        .await;
        self.state(number)
    }
}
