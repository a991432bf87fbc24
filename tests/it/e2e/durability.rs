//! Endings: SIGTERM under load loses nothing that was accepted; SIGKILL changes no answer.

use super::http::Client;
use super::server::{Folder, Server, eventually};
use agentverse::metrics::Stopwatch;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const SENDERS: usize = 3;
const BATCH: usize = 100;
/// Batches that are answered before the process is told to end.
const BATCHES_BEFORE: usize = 20;

/// Sends batches until the server is away; gives the subjects of all that was accepted.
fn load(client: &Client, sender: usize, answered: &AtomicUsize) -> Vec<String> {
    let mut accepted = Vec::new();
    for batch in 0.. {
        let event = |number: usize| {
            json!({"id": format!("{sender}-{batch}-{number}"), "type": "agent.RegisterAgent",
                "data": {"name": format!("agent {number}"), "category": "research"}})
        };
        let events: Vec<Value> = (0..BATCH).map(event).collect();
        let headers = [("content-type", "application/cloudevents-batch+json")];
        let Some(answer) = client.request("POST", "/v1/commands", &headers, json!(events).to_string().as_bytes())
        else {
            break;
        };
        if answer.status == 503 {
            continue;
        }
        assert_eq!(answer.status, 202, "{}", answer.text());
        let json = answer.json();
        for item in json["items"].as_array().unwrap() {
            assert_eq!(item["outcome"], "accepted");
            accepted.push(item["subject"].as_str().unwrap().to_owned());
        }
        answered.fetch_add(1, Ordering::Relaxed);
    }
    accepted
}

#[test]
fn sigterm_in_the_middle_of_a_load_loses_nothing_that_was_accepted() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let answered = AtomicUsize::new(0);
    let accepted: Vec<String> = thread::scope(|scope| {
        let (client, answered) = (&client, &answered);
        let senders: Vec<_> = (0..SENDERS).map(|sender| scope.spawn(move || load(client, sender, answered))).collect();
        eventually("load", || (answered.load(Ordering::Relaxed) >= BATCHES_BEFORE).then_some(()));
        server.stop();
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
    });
    assert!(accepted.len() >= BATCH * BATCHES_BEFORE);
    let server = Server::start(&folder);
    let client = Client { address: server.address.clone(), ..client };
    let listed = eventually("all that was accepted", || {
        let listed = client.walk("/v1/agents", 1000);
        (listed.len() >= accepted.len()).then_some(listed)
    });
    let found: BTreeSet<&str> = listed.iter().map(|agent| agent["id"].as_str().unwrap()).collect();
    let lost: Vec<_> = accepted.iter().filter(|id| !found.contains(id.as_str())).collect();
    assert!(lost.is_empty(), "{} of {} lost: {lost:?}", lost.len(), accepted.len());
    assert!(listed.iter().all(|agent| agent["version"] == 1), "none is applied twice");
    server.stop();
    assert_eq!(folder.check()["waiting"], 0);
}

/// What supervisors grant before they kill is often 30 s, and what is accepted must be decided within it too.
const STOP_MAX: Duration = Duration::from_secs(10);

#[test]
fn a_client_that_stalls_does_not_hold_up_the_end() {
    for stalled in ["", "GET /v1/agents HT", "POST /v1/commands HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{"] {
        let folder = Folder::new();
        let server = Server::start(&folder);
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream.write_all(stalled.as_bytes()).unwrap();
        // Answered after the stalled connection was taken.
        assert_eq!(server.client().get("/healthz").status, 200);
        let watch = Stopwatch::start();
        server.stop();
        assert!(watch.elapsed() < STOP_MAX, "{stalled:?}: it took {:?}", watch.elapsed());
    }
}

#[test]
fn after_sigkill_every_resource_reads_as_before() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let agents: Vec<String> = (0..20)
        .map(|number| client.make("agents", &json!({"name": format!("agent {number}"), "category": "research"})))
        .collect();
    for agent in &agents[..10] {
        client.post(&format!("/v1/agents/{agent}/activate"), &json!({}));
    }
    let tools = json!([{"name": "search_papers"}]);
    let mcp_server = client.make(
        "mcp-servers",
        &json!({"name": "Library", "category": "research",
        "transport": "stdio", "package": "npm:library", "tools": tools}),
    );
    let refused = client.post("/v1/couplings", &json!({"agent_id": agents[0], "mcp_server_id": mcp_server})).json();
    assert_eq!(refused["outcome"], "refused", "there is no model yet: {refused}");
    let coupling = refused["subject"].as_str().unwrap();
    let mut paths = vec![
        "/v1/agents?limit=1000".to_owned(),
        "/v1/agents?status=active".to_owned(),
        "/v1/tenants".to_owned(),
        format!("/v1/mcp-servers/{mcp_server}"),
        format!("/v1/couplings/{coupling}"),
        format!("/v1/couplings/{coupling}/explain"),
        format!("/v1/couplings/{coupling}/history"),
        format!("/v1/outcomes/{}", refused["id"].as_str().unwrap()),
        "/v1/agent-templates".to_owned(),
    ];
    paths.extend(agents.iter().map(|agent| format!("/v1/agents/{agent}")));
    paths.extend(agents.iter().map(|agent| format!("/v1/agents/{agent}/history")));
    let bodies = |client: &Client| paths.iter().map(|path| client.read(path)).collect::<Vec<_>>();
    let before = bodies(&client);
    server.kill();
    for _ in 0..2 {
        let server = Server::start(&folder);
        let after = bodies(&Client { address: server.address.clone(), ..client.clone() });
        for (path, (before, after)) in paths.iter().zip(before.iter().zip(&after)) {
            assert_eq!(after, before, "{path}");
        }
        server.kill();
    }
    folder.check();
}
