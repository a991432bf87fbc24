//! Moving up: a folder's fleet becomes a cluster's, and nobody who asks can tell.

mod cluster;

use crate::e2e::http::Client;
use crate::e2e::server::{Folder, Server, eventually, run};
use agentverse::adapters::embedded::Embedded;
use agentverse::domain::agent::{self, RegisterAgent};
use agentverse::domain::{Aggregate, Envelope, StreamId, TenantId};
use agentverse::ports::Topics;
use agentverse::ports::topic::{Accepted, Lane};
use agentverse::runtime::node::folder_config;
use agentverse::runtime::settings::Settings;
use cluster::Cluster;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

const PARTITIONS: &str = "partitions=2";
/// No requests: what is compared must rest.
const QUIET: &str = "demo_requests_per_minute=0";
/// Acts while the folder is moved; what it sees may change.
const LATE: &str = "5b0e1f0a-3c55-4c6e-9a10-6d1c7d6b3e01";
const KINDS: [&str; 5] = ["agents", "couplings", "mcp-servers", "llm-providers", "agent-templates"];

fn migrate(cluster: &Cluster, folder: &Folder, switch: bool) -> Value {
    let data = folder.data();
    let args = ["migrate", "--output", "json", "--data", data.to_str().unwrap(), "--switch"];
    cluster.cli(&args[..if switch { 6 } else { 5 }])
}

/// Everything that one tenant can ask: lists and resources with their histories, as the bodies that came.
fn answers(client: &Client) -> BTreeMap<String, String> {
    let mut answers = BTreeMap::new();
    let mut ask = |path: String| {
        let body = client.get(&path).text();
        answers.insert(path, body);
    };
    for kind in KINDS {
        for item in client.walk(&format!("/v1/{kind}"), 500) {
            let path = format!("/v1/{kind}/{}", item["id"].as_str().unwrap());
            ask(format!("{path}/history"));
            ask(path);
        }
        ask(format!("/v1/{kind}?limit=500"));
    }
    answers
}

fn register(id: &str) -> Value {
    json!({"id": id, "type": "agent.RegisterAgent", "data": {"name": id, "category": "research"}})
}

/// Sends batches until told to stop, or the server is away; gives the ids of the commands that were accepted.
fn write(client: &Client, stop: &AtomicBool, batches: &AtomicUsize) -> Vec<String> {
    let mut accepted = Vec::new();
    for batch in 0.. {
        if stop.load(Ordering::Acquire) {
            break;
        }
        // A stream of commands, not a flood: the servers are shared.
        thread::sleep(Duration::from_millis(50));
        let ids: Vec<String> = (0..5).map(|number| format!("late-{batch}-{number}")).collect();
        let events: Vec<Value> = ids.iter().map(|id| register(id)).collect();
        let headers = [("content-type", "application/cloudevents-batch+json")];
        let body = json!(events).to_string();
        let Some(answer) = client.request("POST", "/v1/commands", &headers, body.as_bytes()) else { break };
        if answer.status == 202 {
            accepted.extend(ids);
            batches.fetch_add(1, Ordering::Release);
        }
    }
    accepted
}

/// Sends commands again: each has its first outcome, wherever it waited when it was accepted.
fn decided_once(client: &Client, accepted: &[String]) {
    for (number, ids) in accepted.chunks(200).enumerate() {
        let events: Vec<Value> = ids.iter().map(|id| register(id)).collect();
        let answer = eventually(&format!("batch {number}"), || {
            let answer = client.post("/v1/commands?wait=projected", &json!(events));
            (answer.status == 200).then(|| answer.json())
        });
        let once = |item: &Value| item["outcome"] == "applied" && item["version"] == 1;
        assert!(answer["items"].as_array().unwrap().iter().all(once), "{answer}");
    }
}

#[test]
fn a_folder_moves_to_a_cluster_under_load_and_every_answer_stays() {
    let Some(mut cluster) = Cluster::new(2) else { return };
    let folder = Folder::new();
    let server = Server::start_with(&folder, &["--demo", "--set", QUIET, "--set", PARTITIONS]);
    let late = server.client_of(LATE);
    late.make("tenants", &json!({"name": "Late", "region": "eu-west", "tier": "emerald"}));
    let everyone = Client { address: server.address.clone(), tenant: None };
    let tenants = everyone.walk("/v1/tenants", 100);
    let tenants: Vec<&str> =
        tenants.iter().map(|tenant| tenant["id"].as_str().unwrap()).filter(|id| *id != LATE).take(3).collect();
    let before: Vec<_> = tenants.iter().map(|tenant| answers(&server.client_of(tenant))).collect();
    assert!(before.iter().all(|answers| answers.len() > 200), "there is something to compare");
    let known = server.client_of(tenants[0]);
    let first = known.post("/v1/commands?wait=applied", &register("known")).json();
    let before_known = answers(&known);

    let (stop, batches) = (AtomicBool::new(false), AtomicUsize::new(0));
    let accepted = thread::scope(|scope| {
        let writer = scope.spawn(|| write(&late, &stop, &batches));
        let at_least = |count| eventually("load", || (batches.load(Ordering::Acquire) >= count).then_some(()));
        at_least(3);
        let copied = migrate(&cluster, &folder, false);
        assert!(copied["moved"] == false && copied["records"].as_u64() > Some(1_000), "{copied}");
        at_least(batches.load(Ordering::Acquire) + 3);
        // It ends the process that the writer still writes to.
        let moved = migrate(&cluster, &folder, true);
        assert_eq!(moved["moved"], true, "{moved}");
        assert!(moved["records"].as_u64() > copied["records"].as_u64(), "it followed");
        stop.store(true, Ordering::Release);
        writer.join().unwrap()
    });
    assert!(accepted.len() > 30);
    // It has ended, and well.
    server.stop();

    let refused =
        run(&["dev", "--http", "127.0.0.1:0", "--set", PARTITIONS, "--data", folder.data().to_str().unwrap()], None);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && said.contains("was moved to the fleet with keyspace"), "{said}");
    folder.check();
    let again = cluster.try_cli(&["migrate", "--data", folder.data().to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(3), "{}", String::from_utf8_lossy(&again.stderr));

    cluster.start("process");
    cluster.start("project");
    cluster.start("work");
    let address = cluster.start("serve");
    let client = |tenant: &str| Client { address: address.clone(), tenant: Some(tenant.to_owned()) };
    // An acknowledged command is decided wherever it waited, and shown.
    decided_once(&client(LATE), &accepted);
    assert_eq!(client(LATE).walk("/v1/agents", 500).len(), accepted.len());
    let again = client(tenants[0]).post("/v1/commands?wait=applied", &register("known"));
    assert_eq!(again.json(), first, "its first outcome, from the folder");
    eventually("the views", || (answers(&client(tenants[0])) == before_known).then_some(()));
    for (tenant, before) in tenants.iter().zip(before).skip(1) {
        let after = answers(&client(tenant));
        assert_eq!(after.len(), before.len());
        for (path, body) in before {
            assert_eq!(after[&path], body, "{path}");
        }
    }
    cluster.stop_roles();
    cluster.audit();
}

/// Puts commands into a folder that nobody decides: what a process leaves that ends at once.
fn leave_waiting(folder: &Folder, count: u128) -> Vec<StreamId> {
    let settings = Settings { partitions: 2, ..Settings::default() };
    let open = Embedded::open(&folder.data(), &folder_config(&settings)).unwrap();
    let tenant = TenantId(LATE.parse().unwrap());
    let command = |number: u128| {
        let stream = StreamId::new(tenant, Aggregate::Agent, Uuid::from_u128(number));
        let register = json!({"name": format!("waiting {number}"), "category": "ops"});
        let register: RegisterAgent = serde_json::from_value(register).unwrap();
        let command = agent::Command::RegisterAgent(register);
        let envelope = Envelope::new(Uuid::from_u128(0x8000 << 64 | number), stream);
        Arc::new(Accepted::new(envelope, command.into()).unwrap())
    };
    let commands: Vec<_> = (1..=count).map(command).collect();
    let streams = commands.iter().map(|command| command.envelope.stream).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(open.topics.produce(commands, Lane::System)).unwrap();
    open.close().unwrap();
    streams
}

#[test]
fn a_move_that_is_killed_again_and_again_ends_as_one_that_was_not() {
    let Some(mut cluster) = Cluster::new(2) else { return };
    let folder = Folder::new();
    let server = Server::start_with(&folder, &["--demo", "--set", QUIET, "--set", PARTITIONS]);
    let late = server.client_of(LATE);
    late.make("tenants", &json!({"name": "Late", "region": "eu-west", "tier": "emerald"}));
    server.stop();
    let streams = leave_waiting(&folder, 300);
    let waiting = folder.check()["waiting"].as_u64().unwrap();
    assert!(waiting >= streams.len() as u64);
    let data = folder.data();
    let mut kills = 0;
    // Later ones live longer: the hand-over too is met.
    for round in 1..=8 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_agentverse"))
            .args(["migrate", "--switch", "--data", data.to_str().unwrap()])
            .args(["--config", cluster.config().to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
        thread::sleep(Duration::from_millis(300 + u64::from(nanos) % (600 * round)));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    let moved = std::fs::read_to_string(data.join("MOVED")).is_ok_and(|text| text.contains("\"finished\":true"));
    println!("{kills} kills; moved: {moved}");
    assert!(kills > 0, "it was too fast to be killed");
    if !moved {
        let report = migrate(&cluster, &folder, true);
        assert_eq!((&report["moved"], &report["commands_handed_over"]), (&json!(true), &json!(waiting)), "{report}");
        assert!(report["logs"].as_array().unwrap().iter().all(|log| log["equal"] == true));
    }
    let before = folder.check();

    // Another folder's fleet is refused, and not harmed.
    let other = Folder::new();
    Server::start_with(&other, &["--set", PARTITIONS]).stop();
    let refused = cluster.try_cli(&["migrate", "--data", other.data().to_str().unwrap()]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(3) && said.contains("neither empty nor a copy"), "{said}");

    cluster.start("process");
    cluster.start("project");
    cluster.start("work");
    let address = cluster.start("serve");
    let client = Client { address, tenant: Some(LATE.to_owned()) };
    for stream in &streams {
        let path = format!("/v1/agents/{}", stream.id);
        eventually(&path, || (client.get(&path).status == 200).then_some(()));
        let history = client.read(&format!("{path}/history"));
        assert_eq!(history["items"].as_array().unwrap().len(), 1, "decided once: {history}");
    }
    cluster.stop_roles();
    let (records, _) = cluster.audit();
    assert_eq!(records, before["records"].as_u64().unwrap() + waiting);
    // The fleet is at work now: even its own folder is not copied over it.
    std::fs::remove_file(data.join("MOVED")).unwrap();
    let refused = cluster.try_cli(&["migrate", "--data", data.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(3) && said.contains("it is at work"), "{said}");
}

#[test]
fn a_fleet_with_another_partition_count_is_refused_before_any_server_is_asked() {
    let folder = Folder::new();
    let settings = Settings { partitions: 3, ..Settings::default() };
    Embedded::open(&folder.data(), &folder_config(&settings)).unwrap().close().unwrap();
    let data = folder.data();
    let nowhere = ["--set", "scylla_nodes=127.0.0.1:1", "--set", "kafka_brokers=127.0.0.1:1"];
    let refused =
        run(&[&["migrate", "--data", data.to_str().unwrap(), "--set", "partitions=4"][..], &nowhere].concat(), None);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(3) && said.contains("partitions = 3"), "{said}");
    let missing = run(&["migrate", "--data", "/nonexistent", "--set", "partitions=4"], None);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("there is no data folder at /nonexistent"));
}
