//! The feed of events through the real binary: whoever reads it, and whatever is killed meanwhile, gets every event once.

mod cluster;
mod reader;

use crate::clients::{PROGRAMS, python, succeeded};
use crate::crash::process::{Node, World};
use crate::e2e::server::{Folder, Server, eventually, run};
use reader::{End, Reader};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const BINARY: &str = env!("CARGO_BIN_EXE_agentverse");
const TENANT: &str = "6f1c2a52-0d5e-4c3b-9a77-1f0f6f1f9b01";
const ALL: &str = "from=beginning&until=now";

/// Sends registrations of agents one after another until told to stop. Gives the ids of those that were acknowledged as
/// applied; a server that is away is asked again.
fn register(address: &dyn Fn() -> String, name: &str, stop: &AtomicBool, done: &AtomicUsize) -> Vec<String> {
    let mut applied = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let client = crate::e2e::http::Client { address: address(), tenant: Some(TENANT.to_owned()) };
        let event = json!({
            "type": "agent.RegisterAgent", "id": format!("{name}-{number}"),
            "data": { "name": format!("{name} {number}"), "category": "research", "purpose": "p", "role": "r" },
        });
        let headers = [("content-type", "application/cloudevents+json")];
        let body = event.to_string();
        let answer = client.request("POST", "/v1/commands?wait=applied", &headers, body.as_bytes());
        if let Some(answer) = answer.filter(|answer| answer.status == 200) {
            let told = answer.json();
            assert_eq!(told["outcome"], "applied", "{told}");
            applied.push(told["subject"].as_str().unwrap().to_owned());
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
    applied
}

/// The ids of the agents that were registered, as a reader heard of them, in order.
fn registered(reader: &Reader) -> Vec<String> {
    let registered = reader.events.iter().filter(|event| event["type"] == "agent.AgentRegistered");
    let mut ids: Vec<_> = registered.map(|event| event["subject"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

#[test]
fn a_reader_that_is_cut_off_again_and_again_gets_every_event_once_though_the_node_is_killed() {
    let mut world = World::new();
    let first = world.start();
    let address = parking_lot::Mutex::new(first.address.to_string());
    let mut node = Some(first);
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut reader = Reader::default();
    let applied: Vec<String> = std::thread::scope(|scope| {
        let writers: Vec<_> = ["a", "b", "c"]
            .map(|name| {
                let (address, stop, done) = (&address, &stop, &done);
                scope.spawn(move || register(&|| address.lock().clone(), name, stop, done))
            })
            .into();
        // Few at a time, so that it begins again very often; the rest of a frame is thrown away each time.
        for round in 0..60usize {
            let before = done.load(Ordering::Relaxed);
            eventually("something happens", || (done.load(Ordering::Relaxed) > before).then_some(()));
            let at = address.lock().clone();
            reader.read(&at, None, "from=beginning", 1 + round * 7 % 23);
            if round % 20 == 19 {
                node.take().into_iter().for_each(Node::kill);
                let next = world.start();
                *address.lock() = next.address.to_string();
                node = Some(next);
            }
        }
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    let at = address.lock().clone();
    assert_eq!(reader.read(&at, None, "from=beginning&until=now", usize::MAX), End::Whole);
    let mut whole = Reader::default();
    assert_eq!(whole.read(&at, None, ALL, usize::MAX), End::Whole);
    assert_eq!(reader.places(), whole.places(), "cut off or not, a reader gets the same");
    let known = registered(&whole);
    let missing = applied.iter().filter(|id| known.binary_search(id).is_err()).count();
    assert_eq!(missing, 0, "of {} that were acknowledged", applied.len());
    assert!(applied.len() > 100, "{}", applied.len());
    let again = Reader { last: reader.last.clone(), ..Reader::default() }.read(&at, None, ALL, 1);
    assert_eq!(again, End::Status(204), "nothing came since");
    println!("{} events over 60 connections, ids of up to {} characters", reader.events.len(), reader.longest_id);
    node.take().into_iter().for_each(Node::terminate);
    world.check();
}

#[test]
fn readers_get_what_they_may_see_and_asked_for() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let agent = client.make("agents", &json!({"name": "ada", "category": "research", "purpose": "p", "role": "r"}));
    let read = |tenant: Option<&str>, query: &str| {
        let mut reader = Reader::default();
        assert_eq!(reader.read(&server.address, tenant, query, usize::MAX), End::Whole, "{query}");
        reader
    };
    let tenant = client.tenant.clone().unwrap();
    let mine = read(Some(&tenant), ALL);
    assert!(
        mine.events.iter().all(|event| event["tenant"] == *tenant || event["tenant"] == NIL),
        "its own, and shared"
    );
    assert!(mine.events.iter().any(|event| event["aggregate"] == "agent_template" && event["tenant"] == NIL));
    let other = read(Some(OTHER), ALL);
    assert!(other.events.iter().all(|event| event["tenant"] == NIL), "another tenant sees the catalogue alone");
    let everything = read(None, ALL).places();
    assert!(everything.len() > other.events.len() && everything.len() >= mine.events.len());
    let times: Vec<_> = mine.events.iter().map(|event| event["recorded_at"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "what was there already comes in the order of its time");

    let one = read(Some(&tenant), &format!("{ALL}&aggregate=agent&id={agent}"));
    let event = one.events.first().unwrap();
    assert_eq!(
        (&event["type"], &event["subject"], one.events.len()),
        (&json!("agent.AgentRegistered"), &json!(agent), 1)
    );
    assert_eq!(event["data"]["profile"]["name"], "ada");
    let since = format!("from={}&until=now&type=agent.AgentRegistered", event["recorded_at"].as_str().unwrap());
    assert_eq!(read(Some(&tenant), &since).events.len(), 1);
    assert_eq!(read(Some(&tenant), "until=now").events.len(), 0, "from now on nothing happened");

    let refused = |query: &str, code: &str, part: &str| {
        let answer = client.get(&format!("/v1/events?{query}"));
        assert_eq!((answer.status, answer.json()["code"].clone()), (400, json!(code)), "{}", answer.text());
        assert!(answer.text().contains(part), "{}", answer.text());
    };
    refused("type=agent.Registered", "invalid_query", "agent.AgentRegistered");
    refused("aggregate=robots", "invalid_query", "coupling");
    refused("from=tomorrow", "invalid_cursor", "from=beginning");
    refused("from=2999-01-01T00:00:00Z", "invalid_query", "future");
    let id = mine.last.unwrap();
    let altered = if id.starts_with('A') { "B" } else { "A" }.to_owned() + &id[1..];
    refused(&format!("from={altered}"), "invalid_cursor", "as it was given");

    // Another fleet, with as many logs: its own events stand at those positions.
    let elsewhere = Folder::new();
    let stranger = Server::start(&elsewhere);
    stranger.provisioned();
    let mut lost = Reader { last: Some(id), ..Reader::default() };
    assert_eq!(lost.read(&stranger.address, None, ALL, 1), End::Status(400));
    stranger.stop();
    server.stop();
}

const NIL: &str = "00000000-0000-0000-0000-000000000000";
const OTHER: &str = "7a2d3b63-1e6f-4d4c-8b88-2a1a7a2a8c02";

#[test]
fn a_reader_that_takes_nothing_for_a_while_is_told_that_it_is_behind_and_misses_nothing() {
    let folder = Folder::new();
    let settings = ["--set", "event_ring_bytes_max=64KiB", "--set", "http_stalled_ms_max=600000"];
    let server = Server::start_with(&folder, &settings);
    let client = server.client();
    let (go, pause) = std::sync::mpsc::channel();
    let mut reader = Reader { pause: Some(pause), ..Reader::default() };
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| reader.read(&server.address, None, "type=agent.AgentRegistered", 4_000));
        let is_there = || client.get("/metrics").text().contains("agentverse_feed_open_readers 1").then_some(());
        eventually("the reader is there", is_there);
        // More than the buffers between the two take.
        for _ in 0..8 {
            let data = json!({ "name": "ada", "category": "c", "purpose": "p".repeat(3_000), "role": "r" });
            let batch = vec![json!({ "type": "agent.RegisterAgent", "data": data }); 500];
            let answer = client.post("/v1/commands?wait=applied", &json!(batch));
            assert!(answer.status < 300, "{}", answer.text());
        }
        go.send(()).unwrap();
        assert_eq!(reading.join().unwrap(), End::Left);
    });
    assert_eq!(reader.places().len(), 4_000);
    assert!(reader.others.iter().any(|name| name == "behind"), "{:?}", reader.others);
    server.stop();
}

#[test]
fn watch_exports_what_there_is_and_shows_what_happens() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let url = format!("http://{}", server.address);
    let tenant = client.tenant.clone().unwrap();
    let common = ["watch", "--url", &url, "--tenant", &tenant, "--from", "beginning", "--until-now"];
    let output = run(&[&common[..], &["--output", "json"]].concat(), None);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut reader = Reader::default();
    assert_eq!(reader.read(&server.address, Some(&tenant), ALL, usize::MAX), End::Whole);
    assert_eq!(events, reader.events);

    let shown = run(&[&common[..], &["--type", "tenant.TenantProvisioned"]].concat(), None);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(shown.lines().count(), 1, "{shown}");
    assert!(shown.contains("tenant.TenantProvisioned") && shown.contains(&tenant), "{shown}");

    let wrong = run(&["watch", "--url", &url, "--tenant", &tenant, "--type", "agent.Nothing"], None);
    assert_eq!(wrong.status.code(), Some(4), "{}", String::from_utf8_lossy(&wrong.stderr));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("agent.AgentRegistered"));
    server.stop();
}

/// A node on a fixed address, killed when dropped.
struct Fixed(Child);

impl Fixed {
    fn start(folder: &Folder, address: SocketAddr) -> Self {
        let mut command = Command::new(BINARY);
        command.args(["dev", "--http", &address.to_string(), "--data", folder.data().to_str().unwrap()]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let client = crate::e2e::http::Client { address: address.to_string(), tenant: None };
        let ready = || client.request("GET", "/readyz", &[], b"").filter(|answer| answer.status == 200);
        eventually("readiness", ready);
        Self(child)
    }
}

impl Drop for Fixed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_off_the_shelf_client_goes_on_over_kills_of_the_node() {
    let Some(python) = python() else { return };
    let (folder, address) = (Folder::new(), crate::port::unused());
    let mut node = Some(Fixed::start(&folder, address));
    let mut command = Command::new(python);
    command.arg(Path::new(PROGRAMS).join("follow_events.py")).env("PYTHONDONTWRITEBYTECODE", "1");
    command.args([&format!("http://{address}"), TENANT, "300"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let follower = command.spawn().unwrap();
    let client = crate::e2e::http::Client { address: address.to_string(), tenant: Some(TENANT.to_owned()) };
    for number in 0..300 {
        if number % 100 == 50 {
            drop(node.take());
            node = Some(Fixed::start(&folder, address));
        }
        client.make("agents", &json!({"name": format!("{number}"), "category": "c", "purpose": "p", "role": "r"}));
    }
    let output = follower.wait_with_output().unwrap();
    let said = succeeded("follow_events.py", &output);
    assert!(said.contains("300 events, each once, over "), "{said}");
    assert!(!said.contains("over 1 connections"), "{said}");
}
