//! Once: whatever is sent again is answered alike and changes nothing; siblings of bad commands are not harmed.

use super::http::Client;
use super::server::{Folder, Server, eventually};
use super::{NOBODY, TENANT};
use serde_json::{Value, json};

fn register(id: &str) -> Value {
    json!({"id": id, "type": "agent.RegisterAgent", "data": {"name": id, "category": "research"}})
}

#[test]
fn a_batch_sent_twice_gets_the_same_answers_and_changes_nothing() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let mut events: Vec<Value> = (0..200).map(|number| register(&format!("a-{number}"))).collect();
    // One that is refused: its answer must come again too.
    events.push(json!({"id": "r", "type": "agent.IdleAgent", "subject": NOBODY, "data": {}}));
    let send = |wait: &str| {
        let answer = client.post(&format!("/v1/commands?wait={wait}"), &json!(events));
        (answer.status, answer.json())
    };
    let first = send("projected");
    assert_eq!(first.0, 200);
    let items = first.1["items"].as_array().unwrap();
    assert_eq!(items.len(), events.len());
    assert!(items[..200].iter().all(|item| item["outcome"] == "applied" && item["version"] == 1), "{items:#?}");
    assert_eq!(items[200]["outcome"], "refused");
    assert_eq!(send("applied"), first);
    assert_eq!(client.walk("/v1/agents", 1000).len(), 200);
    server.stop();
    let before = folder.check();
    let server = Server::start(&folder);
    let client = Client { address: server.address.clone(), ..client };
    let again = client.post("/v1/commands?wait=applied", &json!(events));
    assert_eq!((again.status, again.json()), first, "also after a restart");
    server.stop();
    assert_eq!(folder.check()["records"], before["records"]);
}

#[test]
fn siblings_of_malformed_commands_are_taken_in_the_order_sent() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let batch = json!([
        register("one"), {"id": "bad-type", "type": "agent.Nonsense"}, 7, register("two"),
        {"id": "bad-data", "type": "agent.RegisterAgent", "data": {"name": []}}, register("three"),
    ]);
    let answer = client.post("/v1/commands?wait=projected", &batch);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    let outcomes: Vec<_> =
        json["items"].as_array().unwrap().iter().map(|item| item["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["applied", "malformed", "malformed", "applied", "malformed", "applied"], "{json:#}");
    for (at, id, code) in
        [(1, json!("bad-type"), "unknown_type"), (2, Value::Null, "malformed"), (4, json!("bad-data"), "invalid_data")]
    {
        let item = &json["items"][at];
        assert_eq!((&item["id"], &item["reason"]["code"]), (&id, &json!(code)), "{item}");
    }
    assert_eq!(client.walk("/v1/agents", 10).len(), 3);
    assert_eq!(client.get("/v1/outcomes/bad-type").status, 404, "what cannot be parsed is not recorded");
    server.stop();
}

#[test]
fn a_caller_chooses_how_long_to_wait_and_can_ask_later() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let send = |wait: &str, id: &str| client.post(&format!("/v1/commands{wait}"), &register(id));
    let accepted = send("", "first");
    assert_eq!((accepted.status, &accepted.json()["outcome"]), (202, &json!("accepted")));
    let location = accepted.header("location").to_owned();
    let outcome = eventually("the outcome", || {
        let answer = client.get(&location);
        (answer.status == 200).then(|| answer.json())
    });
    assert_eq!((&outcome["outcome"], &outcome["version"]), (&json!("applied"), &json!(1)));
    assert_eq!(outcome["subject"], accepted.json()["subject"]);
    assert_eq!(client.read("/v1/outcomes/first"), outcome, "by the id as it was sent, too");
    assert_eq!(send("?wait=applied", "first").json(), outcome);

    for wait in ["applied", "projected"] {
        let answer = send(&format!("?wait={wait}"), wait);
        assert_eq!((answer.status, &answer.json()["version"]), (200, &json!(1)));
        let id = answer.json()["subject"].as_str().unwrap().to_owned();
        if wait == "projected" {
            assert_eq!(client.read(&format!("/v1/agents/{id}"))["name"], wait);
        }
        assert_eq!(client.walk(&format!("/v1/agents/{id}/history"), 10).len(), 1, "indexed when applied");
    }
    let hurried = send("?wait=applied&timeout_ms=0", "hurried");
    let expected = if hurried.status == 202 { "accepted" } else { "applied" };
    assert_eq!(hurried.json()["outcome"], expected, "{}", hurried.status);
    assert_eq!(send("?wait=forever", "x").status, 400);
    assert_eq!(send("?wait=applied&timeout_ms=99999999", "x").status, 400);
    assert_eq!(client.get("/v1/outcomes/never-sent").status, 404);
    server.stop();
}

#[test]
fn a_version_that_is_expected_holds_in_every_form() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let agent = client.make("agents", &json!({"name": "Ada", "category": "research"}));
    let path = format!("/v1/agents/{agent}");
    let revise = |tag: &str, purpose: &str| {
        let body = json!({"purpose": purpose}).to_string();
        let headers = [("content-type", "application/json"), ("if-match", tag)];
        client.request("PATCH", &path, &headers, body.as_bytes()).unwrap()
    };
    let tag = client.get(&path).header("etag").to_owned();
    assert_eq!(tag, "\"1\"");
    assert_eq!(revise(&tag, "first").json()["version"], 2);
    let stale = revise(&tag, "second").json();
    assert_eq!((&stale["outcome"], &stale["reason"]["code"]), (&json!("refused"), &json!("version_mismatch")));
    assert_eq!(revise("soon", "third").status, 400);
    assert_eq!(client.read(&path)["purpose"], "first");
    let known = client.request("GET", &path, &[("if-none-match", "\"2\"")], b"").unwrap();
    assert_eq!((known.status, known.body.len()), (304, 0));

    let activate = |version: u64| {
        let body = json!({"type": "agent.ActivateAgent", "subject": agent, "expectedversion": version, "data": {}});
        client.command(&body)
    };
    assert_eq!(activate(1)["outcome"], "refused");
    assert_eq!(activate(2)["version"], 3);
    // Nothing left to do: applied, with the version as it was.
    let again = activate(3);
    assert_eq!((&again["outcome"], &again["version"]), (&json!("applied"), &json!(3)));

    // Binary mode, with the key of a retry for an id.
    let headers = [
        ("content-type", "application/json"),
        ("ce-type", "agent.IdleAgent"),
        ("ce-subject", agent.as_str()),
        ("ce-expectedversion", "3"),
        ("ce-tenantid", TENANT),
        ("idempotency-key", "night"),
    ];
    let idle = || client.request("POST", "/v1/commands?wait=applied", &headers, b"{}").unwrap().json();
    let first = idle();
    assert_eq!((&first["outcome"], &first["version"]), (&json!("applied"), &json!(4)), "{first}");
    assert_eq!(idle(), first);
    server.stop();
}
