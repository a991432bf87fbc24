//! Logs and an index in memory, one log per aggregate, and whoever carries requests out.

use crate::domain::llm_batch::{self, AddBatchPart, CancelBatch, LlmBatch, OpenBatchFile, StartBatch, WINDOW_MS_MAX};
use crate::domain::llm_provider::{self, Access, Model};
use crate::domain::llm_request::{self, AddAnswerPart, CompleteRequest, ExpireRequest, Operation, StartAttempt};
use crate::domain::record::{CHAIN_START, Hash, RecordKind};
use crate::domain::{
    Aggregate, AnyCommand, AnyState, CorrelationKey, Decider, Envelope, LogId, Micros, Partitions, Rejection, StreamId,
    TenantId,
};
use crate::flow::batch::runner::Runner;
use crate::flow::batch::split::Splitter;
use crate::flow::decide::BatchDecider;
use crate::flow::request::seam::{Answered, Watcher};
use crate::flow::world::Sight;
use crate::ports::index::{Error, Head, IndexRows, Known, OutcomeRef, Traced};
use crate::ports::journal::Recorded;
use crate::ports::topic::Accepted;
use crate::ports::{Clock, Index};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;
use uuid::Uuid;

const T0: Micros = 1_706_800_000_000_000;
const TENANT: TenantId = TenantId(Uuid::from_u128(77));
pub const BATCH: StreamId = StreamId { tenant: TENANT, aggregate: LlmBatch::AGGREGATE, id: Uuid::from_u128(0xba7c4) };
const LOG: LogId = LogId { aggregate: Aggregate::LlmBatch, partition: 0 };

/// A file of so many lines; each of these is one that cannot be submitted, each for another reason.
pub fn file(count: usize, bad: &[usize]) -> String {
    let lines = (1..=count).map(|number| {
        let body = match bad.iter().position(|it| *it == number) {
            Some(0) if bad.len() > 1 => r#"{"model":"p/none","messages":[1]}"#.to_owned(),
            Some(1) => r#"{"model":"p/m","messages":[]}"#.to_owned(),
            Some(_) => r#"{"model":"p/m","messages":[1],"stream":true}"#.to_owned(),
            None => format!(r#"{{"model":"p/m","messages":["line {number}"]}}"#),
        };
        format!(
            "{{\"custom_id\":\"c{number}\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{body}}}\n"
        )
    });
    lines.collect()
}

/// The states of all requests there are.
pub fn requests_of(store: &Store) -> Vec<llm_request::State> {
    store.running(|_| true).into_iter().map(|(_, state)| state).collect()
}

pub struct Store {
    heads: Mutex<BTreeMap<StreamId, Arc<Head>>>,
    tips: tokio::sync::Mutex<BTreeMap<Aggregate, (u64, Hash)>>,
    records: Mutex<Vec<Recorded>>,
    watcher: Mutex<Option<Runner>>,
    started: Instant,
    open_most: Mutex<usize>,
    ids: Mutex<u128>,
}

impl Store {
    /// With a provider, and a file that is whole.
    pub async fn new(text: &str) -> Arc<Self> {
        let store = Arc::new(Self {
            heads: Mutex::default(),
            tips: tokio::sync::Mutex::default(),
            records: Mutex::default(),
            watcher: Mutex::default(),
            started: Instant::now(),
            open_most: Mutex::default(),
            ids: Mutex::new(1 << 80),
        });
        let provider = llm_provider::State {
            status: llm_provider::Status::Registered,
            access: Access { name: "p".to_owned(), ..Access::default() },
            models: vec![Model { model_id: "m".to_owned(), ..Model::default() }],
            ..llm_provider::State::default()
        };
        let state = AnyState::LlmProvider(Box::new(provider)).to_blob().unwrap().into();
        let stream = StreamId::new(TENANT, Aggregate::LlmProvider, Uuid::from_u128(1));
        store.heads.lock().insert(stream, Arc::new(Head { version: 1, position: 1, state, ..Head::empty() }));
        store.say(BATCH, llm_batch::Command::OpenBatchFile(OpenBatchFile { filename: "f".into() })).await;
        // Parts of three lines: a file of this size would be one.
        let lines: Vec<_> = text.split_inclusive('\n').collect();
        let mut splitter = Splitter::new(1 << 20);
        assert!(splitter.push(text.as_bytes()).unwrap().is_empty());
        let (_, mut closing) = splitter.finish().unwrap();
        closing.parts = 0;
        for part in lines.chunks(3) {
            closing.parts += 1;
            let text = part.concat().as_str().into();
            store.say(BATCH, llm_batch::Command::AddBatchPart(AddBatchPart { part: closing.parts, text })).await;
        }
        store.say(BATCH, llm_batch::Command::CloseBatchFile(closing)).await;
        assert_eq!(store.batch().status, llm_batch::Status::Uploaded);
        store
    }

    pub async fn start(self: &Arc<Self>) {
        let operation = Operation::ChatCompletion;
        let start = StartBatch { operation, window_ms: WINDOW_MS_MAX, metadata: BTreeMap::new() };
        self.say(BATCH, llm_batch::Command::StartBatch(start)).await;
    }

    pub async fn cancel(self: &Arc<Self>) {
        self.say(BATCH, llm_batch::Command::CancelBatch(CancelBatch {})).await;
    }

    pub fn batch(&self) -> llm_batch::State {
        match self.state(&BATCH) {
            Some(AnyState::LlmBatch(state)) => *state,
            _ => llm_batch::State::default(),
        }
    }

    /// Who is told of the batch's log from now on.
    pub fn watch(&self, runner: Option<Runner>) {
        *self.watcher.lock() = runner;
    }

    /// How many requests were ever under way at a time.
    pub fn open_most(&self) -> usize {
        *self.open_most.lock()
    }

    /// Requests of which more than one submission is on record.
    pub fn submitted_twice(&self) -> Vec<StreamId> {
        let mut counts = BTreeMap::<StreamId, usize>::new();
        for recorded in self.records.lock().iter().filter(|it| it.record.schema == "RequestSubmitted") {
            *counts.entry(recorded.record.stream()).or_default() += 1;
        }
        counts.into_iter().filter(|(_, count)| *count > 1).map(|(stream, _)| stream).collect()
    }

    /// Carries out what is open, or expires it.
    pub async fn work(self: &Arc<Self>) {
        let open = self.running(llm_request::State::is_running);
        let most = self.open_most().max(open.len());
        *self.open_most.lock() = most;
        for (stream, state) in open {
            if self.now() >= state.request.deadline_at {
                self.say(stream, llm_request::Command::ExpireRequest(ExpireRequest {})).await;
                continue;
            }
            let start = StartAttempt {
                attempt: 1,
                worker: "w".into(),
                model: state.request.models[0].clone(),
                lease_until: self.now() + 1_000_000,
                ..StartAttempt::default()
            };
            self.say(stream, llm_request::Command::StartAttempt(start)).await;
            let asked: serde_json::Value = serde_json::from_str(state.request.payload.text().unwrap()).unwrap();
            // Providers break their lines, too.
            let answer = format!("{{\n\"said\":{}}}", asked["messages"][0]);
            let complete = match stream.id.as_bytes()[15] % 2 {
                0 => CompleteRequest { attempt: 1, answer: answer.as_str().into(), ..CompleteRequest::default() },
                _ => self.give_parts(stream, &answer).await,
            };
            self.say(stream, llm_request::Command::CompleteRequest(complete)).await;
        }
    }

    /// Gives an answer in parts, as one that is too large for a record; what completes it.
    async fn give_parts(self: &Arc<Self>, stream: StreamId, answer: &str) -> CompleteRequest {
        let parts: Vec<_> = answer.as_bytes().chunks(7).map(|bytes| std::str::from_utf8(bytes).unwrap()).collect();
        for (text, part) in parts.iter().zip(1..) {
            let command = AddAnswerPart { attempt: 1, part, text: (*text).into() };
            self.say(stream, llm_request::Command::AddAnswerPart(command)).await;
        }
        CompleteRequest {
            attempt: 1,
            answer_parts: parts.len() as i64,
            answer_sha256: Some(llm_request::payload::sha256(answer)),
            answer_bytes: Some(answer.len() as i64),
            ..CompleteRequest::default()
        }
    }

    fn running(&self, wanted: fn(&llm_request::State) -> bool) -> Vec<(StreamId, llm_request::State)> {
        let streams: Vec<_> = self.heads.lock().keys().copied().collect();
        let requests = streams.into_iter().filter(|stream| stream.aggregate == Aggregate::LlmRequest);
        let states = requests.filter_map(|stream| match self.state(&stream)? {
            AnyState::LlmRequest(state) if wanted(&state) => Some((stream, *state)),
            _ => None,
        });
        states.collect()
    }

    fn state(&self, stream: &StreamId) -> Option<AnyState> {
        let head = self.heads.lock().get(stream).cloned()?;
        Some(head.state_of(stream.aggregate).unwrap())
    }

    async fn say(self: &Arc<Self>, stream: StreamId, command: impl Into<AnyCommand>) {
        let id = {
            let mut ids = self.ids.lock();
            *ids += 1;
            Uuid::from_u128(*ids)
        };
        let accepted = Accepted::new(Envelope::new(id, stream), command.into()).unwrap();
        let answered = self.append(&accepted).await;
        assert_eq!(answered, Answered::Applied, "{}", accepted.command.name());
    }

    pub async fn append(self: &Arc<Self>, command: &Accepted) -> Answered {
        let mut tips = self.tips.lock().await;
        let stream = command.envelope.stream;
        let tip = tips.entry(stream.aggregate).or_insert((0, CHAIN_START));
        let index: Arc<dyn Index> = self.clone();
        let mut sight = Sight::new(index, Partitions::from(1));
        let log = stream.log(1);
        let mut decider = BatchDecider::new(log, *tip, self.now(), 1 << 20, &mut sight);
        let head = self.heads.lock().get(&stream).cloned().unwrap_or_else(|| Arc::new(Head::empty()));
        decider.command(command, &head, None).await.expect("the index");
        let made = decider.finish();
        assert!(made.letters.is_empty(), "nothing dies: {:?}", command.command.name());
        let Some(last) = made.records.last() else { return Answered::Repeated };
        let answer = match last.record.kind {
            RecordKind::Event => Answered::Applied,
            RecordKind::Unchanged => Answered::Unchanged,
            RecordKind::Refusal => {
                let rejection: Rejection = serde_json::from_slice(&last.record.payload).expect("a refusal");
                Answered::Refused(rejection)
            }
        };
        *tip = (last.record.position, made.head_hash);
        self.heads.lock().extend(made.heads.iter().map(|(stream, head)| (*stream, head.clone())));
        self.records.lock().extend(made.records.iter().cloned());
        let watcher = self.watcher.lock().clone();
        if let Some(watcher) = watcher.filter(|_| log == LOG) {
            watcher.appended(log, &made.records, &made.heads);
        }
        answer
    }

    /// The batches of the log that run.
    pub fn open(&self) -> Vec<(StreamId, Arc<Head>)> {
        let head = self.heads.lock().get(&BATCH).cloned();
        head.filter(|_| self.batch().is_running()).map(|head| (BATCH, head)).into_iter().collect()
    }
}

impl Clock for Store {
    fn now(&self) -> Micros {
        T0 + self.started.elapsed().as_micros() as Micros
    }
}

#[async_trait]
impl Index for Store {
    async fn heads(&self, _: LogId, streams: &[StreamId]) -> Result<Vec<Option<Arc<Head>>>, Error> {
        let heads = self.heads.lock();
        Ok(streams.iter().map(|stream| heads.get(stream).cloned()).collect())
    }
    async fn edges(&self, from: StreamId, after: Option<StreamId>, edges_max: usize) -> Result<Vec<StreamId>, Error> {
        let heads = self.heads.lock();
        let providers = heads.keys().filter(|stream| stream.aggregate == Aggregate::LlmProvider);
        let streams = providers.copied().filter(|stream| stream.tenant == from.tenant);
        Ok(streams.filter(|stream| after.is_none_or(|after| *stream > after)).take(edges_max).collect())
    }
    async fn history(&self, stream: StreamId, before: u64, records_max: usize) -> Result<Vec<Recorded>, Error> {
        let records = self.records.lock();
        let newest_first = records.iter().rev();
        let of_stream = newest_first.filter(|it| it.record.stream() == stream && it.record.position < before);
        Ok(of_stream.take(records_max).cloned().collect())
    }
    async fn apply(&self, _: LogId, _: IndexRows, _: u64) -> Result<(), Error> {
        unreachable!()
    }
    async fn applied_to(&self, _: LogId) -> Result<u64, Error> {
        unreachable!()
    }
    async fn known(&self, _: StreamId, _: Uuid) -> Result<Option<Known>, Error> {
        Ok(None)
    }
    async fn outcome(&self, _: TenantId, _: Uuid) -> Result<Option<OutcomeRef>, Error> {
        unreachable!()
    }
    async fn trace(&self, _: CorrelationKey, _: usize) -> Result<Vec<Traced>, Error> {
        unreachable!()
    }
}
