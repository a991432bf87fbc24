//! A log of requests in a folder: commands by the lane and by the topic, what is open found again, whatever is lost.

use super::inspect;
use super::node::folder_config;
use super::settings::Settings;
use crate::adapters::embedded::Embedded;
use crate::domain::envelope::SYSTEM_SOURCE;
use crate::domain::llm_request::{self, CancelRequest, ModelChoice, StartAttempt, SubmitRequest};
use crate::domain::open::{HOUR, anchor, hour_of};
use crate::domain::{Aggregate, Envelope, LogId, Micros, StreamId, TenantId};
use crate::flow::derive;
use crate::flow::outcome::OutcomeHub;
use crate::flow::process::lane::{Lane, LaneOutcome};
use crate::flow::process::watch::Watcher;
use crate::flow::process::{self, Parts};
use crate::flow::request::open::open;
use crate::ports::clock::{Clock, SystemClock};
use crate::ports::index::{Head, IndexRows};
use crate::ports::journal::{EdgeChange, Recorded};
use crate::ports::topic::{self, Accepted};
use crate::ports::{Index, Journal, Topics};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const LOG: LogId = LogId { aggregate: Aggregate::LlmRequest, partition: 0 };
const SOON: Duration = Duration::from_secs(60);
/// Half of them by the lane, half by the topic.
const REQUESTS: u128 = 60;

/// Of all submissions, so that one that is sent again is the same.
static BEGAN: LazyLock<Micros> = LazyLock::new(|| SystemClock.now());

fn settings() -> Settings {
    Settings { partitions: 1, ..Settings::default() }
}

/// Keeps what it hears: the lane, and the newest heads.
#[derive(Default)]
struct Ear {
    lane: Mutex<Option<Lane>>,
    owned: Notify,
    heads: Mutex<HashMap<StreamId, Arc<Head>>>,
    position: Mutex<u64>,
}

impl Watcher for Ear {
    fn owned(&self, _: LogId, lane: Lane) {
        *self.lane.lock() = Some(lane);
        self.owned.notify_one();
    }
    fn appended(&self, _: LogId, records: &[Recorded], heads: &HashMap<StreamId, Arc<Head>>) {
        let mut position = self.position.lock();
        for recorded in records {
            assert!(*position == 0 || recorded.record.position == *position + 1, "in order, none left out");
            *position = recorded.record.position;
        }
        self.heads.lock().extend(heads.iter().map(|(stream, head)| (*stream, head.clone())));
    }
    fn released(&self, _: LogId) {
        *self.lane.lock() = None;
    }
}

/// A folder whose log of requests is worked on.
struct Work {
    folder: Embedded,
    ear: Arc<Ear>,
    lane: Lane,
    stop: CancellationToken,
    process: JoinHandle<()>,
}

impl Work {
    async fn begin(path: &Path) -> Self {
        let folder = Embedded::open(path, &folder_config(&settings())).unwrap();
        let (ear, stop) = (Arc::<Ear>::default(), CancellationToken::new());
        let parts = Parts {
            journal: folder.journal.clone(),
            topics: folder.topics.clone(),
            index: folder.index.clone(),
            clock: Arc::new(SystemClock),
            outcomes: Arc::new(OutcomeHub::default()),
            assignment: folder.assignment().unwrap(),
            notice: Arc::new(|_, _| {}),
            watcher: Some(ear.clone()),
            owned: Arc::default(),
            partitions: 1.into(),
            limits: settings().limits(),
        };
        for log in folder.log_ids() {
            derive::reindex(log, &*parts.journal, &*parts.index).await.unwrap();
        }
        let process = tokio::spawn(process::run(LOG, parts, stop.clone()));
        tokio::time::timeout(SOON, ear.owned.notified()).await.unwrap();
        let lane = ear.lane.lock().clone().unwrap();
        Self { folder, ear, lane, stop, process }
    }

    /// Ends as a process does that is killed: nothing is written that is not.
    async fn crash(self) {
        self.process.abort();
        let _ = self.process.await;
    }

    async fn end(self) {
        self.stop.cancel();
        self.process.await.unwrap();
        tokio::task::spawn_blocking(move || self.folder.close()).await.unwrap().unwrap();
    }

    async fn open(&self) -> Vec<StreamId> {
        let index: &dyn Index = &*self.folder.index;
        let mut open = open(LOG, index, SystemClock.now());
        let mut found = Vec::new();
        while let Some(page) = open.next().await.unwrap() {
            found.extend(page.into_iter().map(|(stream, _)| stream));
        }
        found
    }

    /// Waits until the index shows all that the log holds.
    async fn indexed(&self) {
        let shown = async || {
            let heads = self.ear.heads.lock().clone();
            let streams: Vec<_> = heads.keys().copied().collect();
            let shown = self.folder.index.heads(LOG, &streams).await.unwrap();
            streams.iter().zip(shown).all(|(stream, head)| head.as_ref() == Some(&heads[stream]))
        };
        let wait = async {
            while !shown().await {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(SOON, wait).await.unwrap();
    }
}

fn request(number: u128) -> StreamId {
    StreamId::new(TenantId(Uuid::from_u128(1)), Aggregate::LlmRequest, Uuid::from_u128(0xa000 + number))
}

fn model() -> ModelChoice {
    ModelChoice { provider_tenant_id: Uuid::nil(), provider_id: Uuid::from_u128(2), model_id: "small".into() }
}

fn accepted(number: u128, step: u128, command: impl Into<llm_request::Command>) -> Arc<Accepted> {
    let mut envelope = Envelope::new(Uuid::from_u128(number << 8 | step), request(number));
    envelope.source = SYSTEM_SOURCE.into();
    Arc::new(Accepted::new(envelope, command.into().into()).unwrap())
}

/// Its deadline is so many hours from now: one more for each.
fn submission(number: u128) -> Arc<Accepted> {
    let command = SubmitRequest {
        models: vec![model()],
        payload: r#"{"messages":[{"role":"user","content":"Hi"}]}"#.into(),
        deadline_at: Some(*BEGAN + (number as i64 + 1) * HOUR),
        ..SubmitRequest::default()
    };
    accepted(number, 1, command)
}

fn start(number: u128) -> Arc<Accepted> {
    let lease_until = SystemClock.now() + HOUR / 2;
    let start =
        StartAttempt { attempt: 1, worker: "w1".into(), model: model(), lease_until, ..StartAttempt::default() };
    accepted(number, 2, start)
}

/// Submits all, starts every third and cancels every fourth: what is left open, by deadline.
async fn work(work: &Work) -> Vec<StreamId> {
    let polled: Vec<_> = (0..REQUESTS).filter(|number| number % 2 == 1).map(submission).collect();
    let produced = work.folder.topics.produce(polled, topic::Lane::Outside);
    let lane = (0..REQUESTS).filter(|number| number % 2 == 0).map(|number| work.lane.send(submission(number)));
    let (produced, answers) = tokio::join!(produced, futures::future::join_all(lane));
    produced.unwrap();
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().outcome == LaneOutcome::Applied), "{answers:?}");
    let consumed = async {
        while work.folder.journal.state(LOG).await.unwrap().consumed < REQUESTS as u64 / 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(SOON, consumed).await.unwrap();
    for number in (0..REQUESTS).filter(|number| number % 3 == 0) {
        assert_eq!(work.lane.send(start(number)).await.unwrap().outcome, LaneOutcome::Applied);
    }
    for number in (0..REQUESTS).filter(|number| number % 4 == 0) {
        let cancel = accepted(number, 3, CancelRequest { reason: "enough".into() });
        assert_eq!(work.lane.send(cancel).await.unwrap().outcome, LaneOutcome::Applied);
    }
    (0..REQUESTS).filter(|number| number % 4 != 0).map(request).collect()
}

async fn assert_sound(path: &Path) {
    let report = inspect::check(path, folder_config(&settings()), true).await.unwrap();
    assert_eq!((report.problems.named, report.waiting), (Vec::<String>::new(), 0));
    // The heads, and an edge for each.
    assert!(report.rows_compared >= 2 * REQUESTS as u64, "{} rows", report.rows_compared);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_is_found_after_a_crash_and_after_the_index_was_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let first = Work::begin(&path).await;
    let left = work(&first).await;
    first.indexed().await;
    assert_eq!(first.open().await, left);
    first.crash().await;

    let second = Work::begin(&path).await;
    assert_eq!(second.open().await, left, "the index was in memory alone");
    assert_eq!(second.lane.send(submission(2)).await.unwrap().outcome, LaneOutcome::Repeated(second_of(&second).await));
    second.end().await;
    assert_sound(&path).await;

    fs::remove_dir_all(path.join("derived")).unwrap();
    fs::remove_file(path.join("CHECKPOINT")).unwrap();
    let third = Work::begin(&path).await;
    assert_eq!(third.open().await, left, "built again from the log");
    for number in 0..REQUESTS {
        let cancel = accepted(number, 4, CancelRequest { reason: "over".into() });
        third.lane.send(cancel).await.unwrap();
    }
    third.indexed().await;
    assert!(third.open().await.is_empty(), "an edge goes with its request's end");
    third.end().await;
    assert_sound(&path).await;
}

/// Where the outcome of the submission of request 2 stands.
async fn second_of(work: &Work) -> u64 {
    let outcome = work.folder.index.outcome(request(2).tenant, Uuid::from_u128(2 << 8 | 1)).await.unwrap();
    outcome.unwrap().position
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_names_an_open_request_that_nobody_would_find() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let work = Work::begin(&path).await;
    work.lane.send(submission(7)).await.unwrap();
    work.indexed().await;
    let from = anchor(LOG, hour_of(*BEGAN + 8 * HOUR));
    let gone = EdgeChange { from, to: request(7), present: false };
    let rows = IndexRows { edges: vec![(gone, 99)], ..Default::default() };
    work.folder.index.apply(LOG, rows, 1).await.unwrap();
    work.end().await;
    let report = inspect::check(&path, folder_config(&settings()), true).await.unwrap();
    assert_eq!(report.problems.count, 1);
    assert!(report.problems.named[0].contains(&from.to_string()), "{:?}", report.problems.named);
}
