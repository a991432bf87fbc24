//! As of: what was, is told as it was, by HTTP and by the command line; and it agrees with a fold that shares no code.

use super::http::Client;
use super::server::{Folder, Server, run};
use super::{NOBODY, OTHER, TENANT};
use serde_json::{Value, json};
use std::process::Command;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/as_of.py");

/// An agent with three versions and a refusal, and the times of these versions.
fn ada(client: &Client) -> (String, Vec<String>) {
    let ada = client.make("agents", &json!({"name": "ada", "category": "research", "skills": ["read"]}));
    let revise = json!({"id": "r", "type": "agent.ReviseAgent", "subject": ada, "actor": "hr-feed", "correlationid": "c-1",
        "causationid": "ticket 7", "data": {"name": "Ada", "skills": ["read", "write"]}});
    assert_eq!(client.command(&revise)["outcome"], "applied");
    let refused = client.post(&format!("/v1/agents/{ada}/idle"), &json!({}));
    assert_eq!(refused.json()["outcome"], "refused", "{}", refused.text());
    assert_eq!(client.post(&format!("/v1/agents/{ada}/activate"), &json!({})).json()["version"], 3);
    let story = client.walk(&format!("/v1/agents/{ada}/history?kind=event"), 100);
    let times = story.iter().map(|entry| entry["recorded_at"].as_str().unwrap().to_owned());
    (ada, times.collect())
}

/// The status and the code of an answer that must be a problem, and its detail.
fn problem(client: &Client, path: &str) -> (u16, String, String) {
    let answer = client.get(path);
    assert_eq!(answer.header("content-type"), "application/problem+json", "{path}: {}", answer.text());
    let text = |name: &str| answer.json()[name].as_str().unwrap_or_default().to_owned();
    (answer.status, text("code"), text("detail"))
}

#[test]
fn a_resource_and_a_list_are_told_as_they_were() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let (ada, times) = ada(&client);
    let path = format!("/v1/agents/{ada}");
    for (version, name, status) in [(1, "ada", "provisioning"), (2, "Ada", "provisioning"), (3, "Ada", "active")] {
        let then = client.read(&format!("{path}?as_of={version}"));
        assert_eq!((&then["version"], &then["name"], &then["status"]), (&json!(version), &json!(name), &json!(status)));
        assert_eq!((&then["created_at"], &then["updated_at"]), (&json!(times[0]), &json!(times[version - 1])));
        assert_eq!(client.read(&format!("{path}?as_of={}", times[version - 1])), then, "the same by its time");
        let tag = format!("\"{version}\"");
        let request = |tag: &str| {
            client.request("GET", &format!("{path}?as_of={version}"), &[("if-none-match", tag)], b"").unwrap()
        };
        assert_eq!((request(&tag).status, request("\"9\"").header("etag").to_owned()), (304, tag));
    }
    assert_eq!(client.read(&format!("{path}?as_of=3")), client.read(&path));
    let (status, code, detail) = problem(&client, &format!("{path}?as_of=4"));
    assert_eq!((status, code.as_str()), (404, "no_such_version"));
    assert!(detail.contains("newest version is 3"), "{detail}");
    let (status, code, detail) = problem(&client, &format!("{path}?as_of=2026-01-01T00:00:00%2B02:00"));
    assert_eq!((status, code.as_str()), (404, "not_yet_there"));
    assert!(detail.contains(&times[0]), "{detail}");
    let bad = ["as_of=0", "as_of=soon", "as_of=2999-01-01T00:00:00Z", "as_of=1&as_of=2", "as_of="];
    for query in bad {
        assert_eq!(problem(&client, &format!("{path}?{query}")).1, "invalid_query", "{query}");
    }
    for stranger in [format!("/v1/agents/{NOBODY}?as_of=1"), format!("/v1/agents/{NOBODY}?as_of={}", times[2])] {
        assert_eq!(problem(&client, &stranger).1, "not_found");
    }
    assert_eq!(problem(&server.client_of(OTHER), &format!("{path}?as_of=1")).1, "not_found", "another tenant's");
    // Of a request's answer there is one.
    assert_eq!(problem(&client, &format!("/v1/llm-requests/{NOBODY}/answer?as_of=1")).1, "invalid_query");
    lists(&client, &ada, &times);
    server.stop();
}

fn lists(client: &Client, ada: &str, times: &[String]) {
    for number in 0..5 {
        client.make("agents", &json!({"name": format!("later {number}"), "category": "research"}));
    }
    assert_eq!(client.walk("/v1/agents", 2).len(), 6);
    for (version, time) in (1..).zip(times) {
        let list = client.walk(&format!("/v1/agents?as_of={time}"), 1);
        assert_eq!(list, [client.read(&format!("/v1/agents/{ada}?as_of={version}"))], "{time}");
    }
    let status =
        |status: &str, at: usize| client.walk(&format!("/v1/agents?as_of={}&status={status}", times[at]), 10).len();
    assert_eq!((status("provisioning", 1), status("active", 1), status("active", 2)), (1, 0, 1), "the status of then");
    let ids = client.walk(&format!("/v1/agents?as_of={}&id={ada}&id={NOBODY}", times[0]), 10);
    assert_eq!((ids.len(), &ids[0]["version"]), (1, &json!(1)));
    let now = client.read(&format!("/v1/agents/{ada}"))["updated_at"].as_str().unwrap().to_owned();
    assert!(client.walk("/v1/agents?as_of=2026-01-01T00:00:00Z", 5).is_empty());
    assert_eq!(client.walk(&format!("/v1/tenants?as_of={now}"), 5).len(), 1);
    let newest = client.walk("/v1/agents", 100);
    let newest = newest.iter().filter_map(|it| it["updated_at"].as_str()).max().unwrap();
    let page = client.read(&format!("/v1/agents?as_of={newest}&limit=4"));
    let cursor = page["next_cursor"].as_str().unwrap();
    assert_eq!(
        client.read(&format!("/v1/agents?as_of={newest}&cursor={cursor}"))["items"].as_array().unwrap().len(),
        2
    );
    for query in [format!("cursor={cursor}"), format!("as_of={now}&cursor={cursor}")] {
        assert_eq!(problem(client, &format!("/v1/agents?{query}")).1, "invalid_cursor", "{query}");
    }
    let (status, code, detail) = problem(client, "/v1/agents?as_of=3");
    assert_eq!((status, code.as_str()), (400, "invalid_query"));
    assert!(detail.contains("must be a time"), "{detail}");
}

#[test]
fn a_history_tells_what_changed_by_whom_and_why() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let (ada, _) = ada(&client);
    let path = format!("/v1/agents/{ada}/history");
    let story = client.walk(&format!("{path}?diff=true"), 1);
    let changes: Vec<&Value> = story.iter().map(|entry| &entry["changes"]).collect();
    assert!(changes[0].as_array().unwrap().contains(&json!({"path": "/name", "after": "ada"})), "{}", changes[0]);
    let revised = json!([
        {"path": "/name", "before": "ada", "after": "Ada"}, {"path": "/revision", "before": 1, "after": 2},
        {"path": "/skills", "before": ["read"], "after": ["read", "write"]},
    ]);
    assert_eq!((changes[1], changes[2]), (&revised, &json!([])), "a refusal changes nothing");
    assert!(
        changes[3]
            .as_array()
            .unwrap()
            .contains(&json!({"path": "/status", "before": "provisioning", "after": "active"}))
    );
    let revision = &story[1];
    assert_eq!((&revision["actor"], &revision["correlation"]), (&json!("hr-feed"), &json!("c-1")));
    assert_eq!((&revision["causation"], &revision["subject"]), (&json!("ticket 7"), &json!(ada)));
    let mut newest_first = client.walk(&format!("{path}?diff=true&order=desc"), 3);
    newest_first.reverse();
    assert_eq!(newest_first, story);
    assert_eq!(client.walk(&format!("{path}?diff=true&kind=event"), 2)[1], story[1]);
    assert!(client.walk(&path, 9).iter().all(|entry| entry.get("changes").is_none()), "not unless asked");
    assert_eq!(problem(&client, &format!("{path}?diff=yes")).1, "invalid_query");

    // Followed from its second entry on, until its end.
    let after = story[0]["position"].to_string();
    client.post(&format!("/v1/agents/{ada}/decommission"), &json!({"reason": "done"}));
    let headers = [("accept", "text/event-stream"), ("last-event-id", after.as_str())];
    let followed = client.request("GET", &format!("{path}?diff=true"), &headers, b"").unwrap().text();
    let told: Vec<Value> =
        followed.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
    assert_eq!(told[..3], story[1..], "{followed}");
    assert!(told[3]["changes"].to_string().contains("decommissioned"), "{followed}");
    server.stop();
}

#[test]
fn the_command_line_asks_the_same() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let (ada, times) = ada(&client);
    let (code, then, told) = server.cli(&["get", "agent", &ada, "--as-of", "1"], None);
    assert_eq!((code, &then["name"]), (Some(0), &json!("ada")), "{told}");
    let (code, _, told) = server.cli(&["get", "agent", &ada, "--as-of", "7"], None);
    assert!(code == Some(5) && told.contains("newest version is 3"), "{code:?} {told}");
    let (code, listed, told) = server.cli(&["list", "agents", "--as-of", &times[1]], None);
    assert_eq!((code, &listed["items"][0]["version"]), (Some(0), &json!(2)), "{told}");
    let (code, story, told) = server.cli(&["history", "agent", &ada, "--diff"], None);
    assert_eq!((code, &story["items"][1]["changes"][0]["after"]), (Some(0), &json!("Ada")), "{told}");
    let url = format!("http://{}", server.address);
    let shown = run(&["history", "agent", &ada, "--diff", "--url", &url, "--tenant", TENANT], None);
    let shown = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.contains(r#"name: "ada" → "Ada""#) && shown.contains("hr-feed"), "{shown}");
    server.stop();
}

#[test]
fn an_explanation_is_of_the_moment_that_is_asked_for() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let wish = json!({"agent_id": NOBODY, "mcp_server_id": NOBODY});
    let refused = json!({"id": "1", "type": "coupling.RequestCoupling", "subject": NOBODY, "data": wish});
    client.command(&refused);
    let path = format!("/v1/couplings/{NOBODY}/explain");
    assert_eq!(client.read(&format!("{path}?as_of=1")), client.read(&path));
    assert_eq!(problem(&client, &format!("{path}?as_of=2")).1, "no_such_version");
    server.stop();
}

/// A short form of `benches/as_of.py`, which folds what the histories tell with a few lines of Python and compares.
#[test]
fn random_questions_agree_with_a_fold_that_shares_no_code() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("as_of: not run, there is no python3");
        return;
    }
    let folder = Folder::new();
    let server = Server::start(&folder);
    let url = format!("http://{}", server.address);
    let args = ["--url", &url, "--make", "400", "--questions", "200", "--seed", "20260101"];
    let output = Command::new("python3").arg(SCRIPT).args(args).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["questions"], &summary["differences"]), (&json!(200), &json!(0)), "{summary}");
    for kind in ["shown", "list", "not_yet_there", "no_such_version"] {
        assert!(summary["asked"][kind].as_u64() > Some(0), "{kind} was never asked: {summary}");
    }
    server.stop();
}
