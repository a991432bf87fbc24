//! A log of requests on real servers: commands by the lane beside those of the topic, an owner that is replaced, and
//! what is open found by whoever claims next.

use super::fleet::Fleet;
use crate::e2e::server::eventually;
use agentverse::domain::envelope::SYSTEM_SOURCE;
use agentverse::domain::llm_request::{CancelRequest, Command, ModelChoice, SubmitRequest};
use agentverse::domain::open::HOUR;
use agentverse::domain::{Aggregate, Envelope, LogId, Micros, StreamId, TenantId};
use agentverse::flow::process::lane::{Lane, LaneOutcome, NotTaken};
use agentverse::flow::process::watch::Watcher;
use agentverse::flow::process::{self, Parts};
use agentverse::flow::request::open::open;
use agentverse::ports::clock::{Clock, SystemClock};
use agentverse::ports::index::Head;
use agentverse::ports::journal::Recorded;
use agentverse::ports::topic::{self, Accepted};
use agentverse::ports::{Assignment, Index, Topics};
use agentverse::runtime::cluster::Links;
use agentverse::runtime::settings::{Loaded, Settings};
use async_trait::async_trait;
use futures::future::join_all;
use hashbrown::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const LOG: LogId = LogId { aggregate: Aggregate::LlmRequest, partition: 2 };
const SOON: Duration = Duration::from_secs(60);
const REQUESTS: usize = 60;

struct Mine;

#[async_trait]
impl Assignment for Mine {
    async fn confirm(&self, _: LogId) -> bool {
        true
    }
    fn consumed(&self, _: LogId, _: u64) {}
    async fn tried(&self, _: LogId, _: u64) -> u32 {
        0
    }
    async fn note(&self, _: LogId, _: u64, _: u32) {}
}

/// Keeps the lane while there is one.
struct Ear(watch::Sender<Option<Lane>>);

impl Watcher for Ear {
    fn owned(&self, _: LogId, lane: Lane) {
        self.0.send_replace(Some(lane));
    }
    fn appended(&self, _: LogId, records: &[Recorded], heads: &HashMap<StreamId, Arc<Head>>) {
        assert!(records.iter().all(|recorded| heads.contains_key(&recorded.record.stream())));
    }
    fn released(&self, _: LogId) {
        self.0.send_replace(None);
    }
}

/// The requests whose log this is.
fn requests() -> Vec<StreamId> {
    let tenant = TenantId(Uuid::from_u128(1));
    let all = (0x10u128..).map(|number| StreamId::new(tenant, LOG.aggregate, Uuid::from_u128(number << 64 | number)));
    all.filter(|stream| stream.log(4) == LOG).take(REQUESTS).collect()
}

fn accepted(stream: StreamId, step: &str, command: Command) -> Arc<Accepted> {
    let mut envelope = Envelope::new(Uuid::new_v5(&stream.id, step.as_bytes()), stream);
    envelope.source = SYSTEM_SOURCE.into();
    Arc::new(Accepted::new(envelope, command.into()).unwrap())
}

fn submission(stream: StreamId, deadline_at: Micros) -> Arc<Accepted> {
    let model =
        ModelChoice { provider_tenant_id: Uuid::nil(), provider_id: Uuid::from_u128(2), model_id: "small".into() };
    let command = SubmitRequest {
        models: vec![model],
        payload: r#"{"messages":[{"role":"user","content":"Hi"}]}"#.into(),
        deadline_at: Some(deadline_at),
        ..SubmitRequest::default()
    };
    accepted(stream, "submit", Command::SubmitRequest(command))
}

fn parts(links: &Links, settings: &Settings, ear: Ear) -> Parts {
    Parts {
        journal: links.journal.clone(),
        topics: links.topics.clone(),
        index: links.index.clone(),
        clock: Arc::new(SystemClock),
        outcomes: links.outcomes.clone(),
        assignment: Arc::new(Mine),
        notice: Arc::new(|_, _| {}),
        watcher: Some(Arc::new(ear)),
        owned: Arc::default(),
        partitions: settings.fleet_partitions(),
        limits: settings.cluster_limits(),
    }
}

/// The lane of the claim in force.
async fn lane(lanes: &mut watch::Receiver<Option<Lane>>) -> Lane {
    let is_open = |lane: &Option<Lane>| lane.as_ref().is_some_and(|lane| !lane.has_ended());
    let lane = tokio::time::timeout(SOON, lanes.wait_for(is_open)).await.expect("claimed in time");
    lane.unwrap().clone().unwrap()
}

async fn found(index: &dyn Index) -> Vec<StreamId> {
    let mut open = open(LOG, index, SystemClock.now());
    let mut found = Vec::new();
    while let Some(page) = open.next().await.unwrap() {
        found.extend(page.into_iter().map(|(stream, _)| stream));
    }
    found
}

/// Waits until exactly these are found open.
async fn finds(index: &dyn Index, due: &[StreamId]) {
    let wait = async {
        while found(index).await != due {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, wait).await.expect("the index shows it in time");
}

async fn at_work(links: &Links, settings: &Settings) {
    let (sender, mut lanes) = watch::channel(None);
    let stop = CancellationToken::new();
    let process = tokio::spawn(process::run(LOG, parts(links, settings, Ear(sender)), stop.clone()));
    let first = lane(&mut lanes).await;
    let (requests, began) = (requests(), SystemClock.now());
    let deadline = |place: usize| began + (place as i64 + 1) * HOUR;
    let (by_lane, by_topic): (Vec<_>, Vec<_>) = requests
        .iter()
        .enumerate()
        .map(|(place, stream)| submission(*stream, deadline(place)))
        .enumerate()
        .partition(|(place, _)| place % 3 != 0);
    let by_topic: Vec<_> = by_topic.into_iter().map(|(_, command)| command).collect();
    let polled = by_topic.len() as u64;
    let answers = by_lane.into_iter().map(|(_, command)| first.send(command));
    let (answers, produced) = tokio::join!(join_all(answers), links.topics.produce(by_topic, topic::Lane::Outside));
    produced.unwrap();
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().outcome == LaneOutcome::Applied), "{answers:?}");
    finds(&*links.index, &requests).await;
    assert_eq!(links.journal.state(LOG).await.unwrap().consumed, polled, "the lane moves no offset");

    // Somebody else claims the log: what is under way is in doubt, and not done.
    links.journal.claim(LOG).await.unwrap();
    let enough = || Command::CancelRequest(CancelRequest { reason: "enough".into() });
    let cancel = |place: usize| accepted(requests[place], "cancel", enough());
    assert_eq!(first.send(cancel(0)).await, Err(NotTaken::Unknown(LOG)));
    let second = lane(&mut lanes).await;
    assert_eq!(found(&*links.index).await, requests, "whoever claims finds all that is open");
    for place in (0..REQUESTS).step_by(2) {
        assert_eq!(second.send(cancel(place)).await.unwrap().outcome, LaneOutcome::Applied);
    }
    let again = second.send(cancel(0)).await.unwrap();
    assert_eq!(again.outcome, LaneOutcome::Repeated(again.position));
    let left: Vec<_> = requests.iter().skip(1).step_by(2).copied().collect();
    finds(&*links.index, &left).await;
    stop.cancel();
    process.await.unwrap();
    assert_eq!(second.send(cancel(1)).await, Err(NotTaken::Ended(LOG)));
}

#[test]
fn the_lane_works_beside_the_topic_and_what_is_open_outlives_its_owner() {
    let Some(mut fleet) = Fleet::start("lane", &[]) else { return };
    // The log is this process's.
    fleet.terminate("process-1");
    let settings = Loaded::load(Some(&fleet.config()), |_| None, &[]).unwrap().settings;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let links = runtime.block_on(Links::open(&settings)).unwrap();
    runtime.block_on(at_work(&links, &settings));
    eventually("views, heads and edges are as the log makes them", || {
        let report = runtime.block_on(links.check(&settings, true)).unwrap();
        (report.problems.count == 0 && report.records == REQUESTS as u64 * 3 / 2).then_some(())
    });
}
