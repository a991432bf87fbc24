//! Dead letters: what is kept of a command that was not decided, and sending it again.

use super::http::Client;
use super::server::{Folder, Server, eventually};
use super::{OTHER, TENANT};
use agentverse::adapters::embedded::Embedded;
use agentverse::domain::{Aggregate, AnyCommand, CorrelationKey, Envelope, StreamId, TenantId};
use agentverse::flow::process::{self, Limits, Parts};
use agentverse::ports::clock::SystemClock;
use agentverse::ports::index::{self, Head, IndexRows, Known, OutcomeRef, Traced};
use agentverse::ports::journal::Recorded;
use agentverse::ports::letter::POISONOUS;
use agentverse::ports::outcome::{Outcomes, Word};
use agentverse::ports::topic::{self, Accepted, DeadLetter, Lane, Place};
use agentverse::ports::{Index, Journal, Topics};
use agentverse::runtime::node::folder_config;
use agentverse::runtime::settings::Settings;
use async_trait::async_trait;
use serde_json::{Value, json};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Partitions of a fleet whose settings say nothing else.
fn partitions() -> u16 {
    Settings::default().partitions
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn open(folder: &Path) -> Embedded {
    Embedded::open(folder, &folder_config(&Settings::default())).unwrap()
}

fn agent(number: u128) -> StreamId {
    StreamId::new(TenantId(TENANT.parse().unwrap()), Aggregate::Agent, Uuid::from_u128((4 << 76) + (8 << 60) + number))
}

/// The registration of an agent.
fn registration(stream: StreamId) -> Accepted {
    let data = json!({"name": "Ada", "category": "research"});
    let command = AnyCommand::from_json(Aggregate::Agent, "RegisterAgent", data.to_string().as_bytes()).unwrap();
    let envelope = Envelope::new(Uuid::from_u128(stream.id.as_u128() + (1 << 100)), stream);
    Accepted::new(envelope, command).unwrap()
}

/// Puts letters into a folder that nobody has open.
fn bury(folder: &Folder, letters: Vec<DeadLetter>) {
    let open = open(&folder.data());
    runtime().block_on(async {
        for letter in letters {
            open.topics.bury(letter).await.unwrap();
        }
    });
    open.close().unwrap();
}

fn letter(stream: StreamId, code: &str) -> DeadLetter {
    let place = Place { log: stream.log(partitions()), offset: 0, redriven: 0 };
    DeadLetter::of(place, &registration(stream), code, "a test", 1_767_225_600_000_000)
}

fn redrive(client: &Client, number: u64, query: &str) -> (u16, Value) {
    let answer = client.post(&format!("/v1/dead-letters/{number}/redrive{query}"), &Value::Null);
    (answer.status, answer.json())
}

#[test]
fn a_dead_letter_is_shown_and_sent_again_and_takes_effect_once() {
    let folder = Folder::new();
    Server::start(&folder).stop();
    bury(&folder, vec![letter(agent(1), POISONOUS), letter(agent(2), "id_reused"), letter(agent(3), POISONOUS)]);
    let server = Server::start(&folder);
    let client = server.provisioned();
    let letters = client.walk("/v1/dead-letters", 2);
    let numbers: Vec<_> = letters.iter().map(|letter| letter["number"].as_u64().unwrap()).collect();
    assert_eq!((numbers.as_slice(), &letters[0]["redriven"]), (&[0, 1, 2][..], &json!(0)), "{letters:#?}");
    assert_eq!(client.read("/v1/dead-letters/0"), letters[0]);
    let id = letters[0]["command_id"].as_str().unwrap();
    assert_eq!(client.read(&format!("/v1/outcomes/{id}"))["outcome"], "dead_lettered");

    let stranger = server.client_of(OTHER);
    assert_eq!(stranger.get("/v1/dead-letters/0").status, 404);
    assert_eq!(redrive(&stranger, 0, "?force=true").0, 404);
    assert_eq!(redrive(&client, 9, "").0, 404);
    assert_eq!((redrive(&client, 1, "?force=true").1)["code"], "unfit_to_redrive");

    let (status, sent) = redrive(&client, 0, "");
    assert_eq!((status, &sent["attempts"]), (202, &json!(1)), "{sent}");
    let path = format!("/v1/agents/{}", agent(1).id);
    let made = eventually("the agent", || {
        let answer = client.get(&path);
        (answer.status == 200).then(|| answer.json())
    });
    assert_eq!((&made["name"], &made["version"]), (&json!("Ada"), &json!(1)));
    assert_eq!(client.read(&format!("/v1/outcomes/{id}"))["outcome"], "applied");
    assert_eq!((redrive(&client, 0, "").1)["code"], "redriven_already");
    assert_eq!(redrive(&client, 0, "?force=true").0, 202);

    let (code, report, told) = server.cli(&["dead-letters", "redrive", "--all"], None);
    assert_eq!((code, &report["redriven"][0]["number"]), (Some(3), &json!(2)), "{report} {told}");
    assert_eq!(report["refused"][0]["number"], 1, "{report}");
    let (code, shown, told) = server.cli(&["dead-letters", "show", "2"], None);
    assert_eq!(
        (code, &shown["redriven"], &shown["headers"]["ce_type"]),
        (Some(0), &json!(1), &json!("agent.RegisterAgent")),
        "{told}"
    );
    let (code, listed, _) = server.cli(&["dead-letters", "list", "--all"], None);
    assert_eq!((code, listed["items"].as_array().map(Vec::len)), (Some(0), Some(3)));
    server.kill();

    let server = Server::start(&folder);
    let client = server.client();
    let marks: Vec<_> = client.walk("/v1/dead-letters", 9).iter().map(|letter| letter["redriven"].clone()).collect();
    assert_eq!(marks, [2, 0, 1], "the crash took none of it");
    assert_eq!(client.read(&path)["version"], 1, "three times the same command");
    server.stop();
    assert_eq!(folder.check()["dead_letters"], 3);
}

/// Names the folder of [`a_process_that_dies`].
const DYING_IN: &str = "AGENTVERSE_TEST_DYING_IN";
/// The agent whose registration no process survives.
const KILLER: u128 = 7;
const COMMANDS: u128 = 12;

/// An index that ends the process when it is asked for the killer's head.
struct Deadly(Arc<dyn Index>);

#[async_trait]
impl Index for Deadly {
    async fn heads(
        &self,
        log: agentverse::domain::LogId,
        streams: &[StreamId],
    ) -> Result<Vec<Option<Arc<Head>>>, index::Error> {
        if streams.contains(&in_one_log(KILLER)) {
            std::process::abort();
        }
        self.0.heads(log, streams).await
    }
    async fn apply(&self, log: agentverse::domain::LogId, rows: IndexRows, to: u64) -> Result<(), index::Error> {
        self.0.apply(log, rows, to).await
    }
    async fn applied_to(&self, log: agentverse::domain::LogId) -> Result<u64, index::Error> {
        self.0.applied_to(log).await
    }
    async fn known(&self, stream: StreamId, id: Uuid) -> Result<Option<Known>, index::Error> {
        self.0.known(stream, id).await
    }
    async fn edges(&self, of: StreamId, after: Option<StreamId>, max: usize) -> Result<Vec<StreamId>, index::Error> {
        self.0.edges(of, after, max).await
    }
    async fn history(&self, stream: StreamId, before: u64, max: usize) -> Result<Vec<Recorded>, index::Error> {
        self.0.history(stream, before, max).await
    }
    async fn outcome(&self, tenant: TenantId, id: Uuid) -> Result<Option<OutcomeRef>, index::Error> {
        self.0.outcome(tenant, id).await
    }
    async fn trace(&self, correlation: CorrelationKey, max: usize) -> Result<Vec<Traced>, index::Error> {
        self.0.trace(correlation, max).await
    }
}

struct Silent;

#[async_trait]
impl Outcomes for Silent {
    async fn tell(&self, _: agentverse::domain::LogId, _: Vec<Word<'_>>) -> Result<(), topic::Error> {
        Ok(())
    }
}

/// The `number`th agent whose stream is in the log of the first.
fn in_one_log(number: u128) -> StreamId {
    let log = agent(0).log(partitions());
    (0..).map(agent).filter(|stream| stream.log(partitions()) == log).nth(number as usize).unwrap()
}

/// One life of a process: it goes on with what its folder holds, until it dies or nothing is left.
#[test]
#[ignore = "ends its process; run by the test below, in one of its own"]
fn a_process_that_dies() {
    let Some(folder) = std::env::var_os(DYING_IN).map(PathBuf::from) else { return };
    let log = agent(0).log(partitions());
    runtime().block_on(async {
        let open = open(&folder);
        let parts = Parts {
            journal: open.journal.clone(),
            topics: open.topics.clone(),
            index: Arc::new(Deadly(open.index.clone())),
            clock: Arc::new(SystemClock),
            outcomes: Arc::new(Silent),
            assignment: open.assignment().unwrap(),
            notice: Arc::new(|_, _| {}),
            watcher: None,
            owned: Arc::default(),
            partitions: partitions().into(),
            limits: Limits { batch_records_max: 100, ..Settings::default().limits() },
        };
        let stop = CancellationToken::new();
        let process = tokio::spawn(process::run(log, parts, stop.clone()));
        while open.journal.state(log).await.unwrap().consumed < COMMANDS as u64 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        stop.cancel();
        process.await.unwrap();
        open.close().unwrap();
    });
}

#[test]
fn a_command_that_ends_its_process_is_dead_lettered_after_a_few_and_the_others_are_decided() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let log = agent(0).log(partitions());
    {
        let open = open(&data);
        let commands = (0..COMMANDS).map(|number| Arc::new(registration(in_one_log(number)))).collect();
        runtime().block_on(open.topics.produce(commands, Lane::Outside)).unwrap();
    }
    let life = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "e2e::letters::a_process_that_dies", "--ignored"]).env(DYING_IN, &data);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap()
    };
    let lives: Vec<_> = (0..12).map(|_| life()).take_while(|status| !status.success()).collect();
    assert!(lives.iter().all(|status| status.signal().is_some()), "{lives:?}: each was ended by the command");
    assert!((4..=9).contains(&lives.len()), "{} processes died", lives.len());
    let open = open(&data);
    let (letters, state) = runtime()
        .block_on(async { (open.topics.dead_letters(0, 10).await.unwrap(), open.journal.state(log).await.unwrap()) });
    let [(_, buried)] = &letters[..] else { panic!("{letters:#?}") };
    let letter = &buried.letter;
    assert_eq!(
        (letter.code.as_str(), letter.stream, letter.offset),
        (POISONOUS, Some(in_one_log(KILLER)), KILLER as u64)
    );
    assert!(letter.cause.contains("ended the process"), "{}", letter.cause);
    assert_eq!((state.consumed, state.head), (COMMANDS as u64, COMMANDS as u64 - 1), "all others have their record");
}
