//! Imports through the real binary: what is told is what is done, the same again changes nothing, one bad entry harms no
//! other, and an import that was killed is finished by a second one.

use super::TENANT;
use super::server::{Folder, Server, eventually};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

fn server_entry(number: usize) -> Value {
    json!({
        "packageName": format!("@acme/s{number}"), "name": format!("Server {number}"), "runtime": "node",
        "category": "search", "description": format!("Finds {number}."),
        "tools": [{"name": "find", "description": "Finds."}],
    })
}

/// One entry a line, so that lines are numbers: the first is on line 2.
fn list(entries: &[Value]) -> String {
    let lines: Vec<String> = entries.iter().map(Value::to_string).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

pub fn counts(report: &Value) -> [u64; 5] {
    ["created", "changed", "unchanged", "refused", "retired"].map(|name| report[name].as_u64().unwrap_or(u64::MAX))
}

#[test]
fn an_import_is_a_difference_that_is_told_beforehand_and_the_same_again_changes_nothing() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let import = |args: &[&str], text: &str| {
        let (code, report, told) = server.cli(&[&["import", "mcp-servers", "-"], args].concat(), Some(text));
        assert_eq!(report["complete"], true, "{report} {told}");
        (code, report)
    };
    let own = "/v1/mcp-servers?shared=false";
    let mut entries: Vec<Value> = (0..450).map(server_entry).collect();
    let (code, report) = import(&["--dry-run"], &list(&entries));
    assert_eq!((code, counts(&report)), (Some(0), [450, 0, 0, 0, 0]));
    assert_eq!(client.walk(own, 1000).len(), 0, "a dry run changes nothing");
    assert_eq!(counts(&import(&[], &list(&entries)).1), [450, 0, 0, 0, 0]);
    assert_eq!(counts(&import(&[], &list(&entries)).1), [0, 0, 450, 0, 0]);

    entries[7]["description"] = json!("Finds more.");
    entries[9]["tools"] = json!([{"name": "find", "description": "Finds."}, {"name": "look"}]);
    let expected = [("@acme/s7", json!(["description"]), 9), ("@acme/s9", json!(["tools"]), 11)];
    for args in [&["--dry-run"][..], &[]] {
        let (_, report) = import(args, &list(&entries));
        assert_eq!(counts(&report), [0, 2, 448, 0, 0]);
        for (told, (key, fields, line)) in report["listed"].as_array().unwrap().iter().zip(&expected) {
            assert_eq!((&told["key"], &told["fields"], &told["line"]), (&json!(key), fields, &json!(line)), "{told}");
        }
    }

    // Bad entries are refused alone, and nothing is retired on their file's word.
    let mut bad = entries.clone();
    bad[3] = json!({"packageName": "@acme/s3", "name": 7});
    bad[4]["description"] = json!("Finds anew.");
    bad.truncate(440);
    let text = list(&bad).replacen("{", "{ nope ", 1);
    let (code, report) = import(&["--retire-missing"], &text);
    assert_eq!((code, counts(&report)), (Some(3), [0, 1, 437, 2, 0]), "{report}");
    assert!(report["retire_skipped"].as_str().unwrap().contains("refused"), "{report}");
    let refused: Vec<_> = report["listed"].as_array().unwrap().iter().filter(|it| it["outcome"] == "refused").collect();
    assert_eq!(
        (&refused[0]["line"], &refused[1]["line"], &refused[1]["field"]),
        (&json!(2), &json!(5), &json!("name"))
    );
    assert!(refused[1]["reason"].as_str().unwrap().contains("must be text"));

    // What somebody registered by hand is nothing that an import may retire.
    let by_hand = client.make("mcp-servers", &json!({"name": "mine", "endpoint": "https://mcp.example.com/"}));
    entries.truncate(440);
    entries[4]["description"] = json!("Finds anew.");
    for args in [&["--retire-missing", "--dry-run"][..], &["--retire-missing"]] {
        assert_eq!(counts(&import(args, &list(&entries)).1), [0, 0, 440, 0, 10]);
    }
    assert_eq!(client.walk(&format!("{own}&status=deregistered"), 1000).len(), 10);
    assert_eq!(client.read(&format!("/v1/mcp-servers/{by_hand}"))["status"], "registered");
    server.stop();
    folder.check();
}

#[test]
fn what_was_retired_and_is_published_again_is_registered_anew_as_often_as_it_comes_back() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let import = |args: &[&str], text: &str| {
        let (code, report, _) = server.cli(&[&["import", "mcp-servers", "-"], args].concat(), Some(text));
        (code, counts(&report), report)
    };
    let own = "/v1/mcp-servers?shared=false";
    let [fewer, all] = [20, 24].map(|count| list(&(0..count).map(server_entry).collect::<Vec<_>>()));
    assert_eq!(import(&[], &all).1, [24, 0, 0, 0, 0]);
    for gone in [4, 8] {
        assert_eq!(import(&["--retire-missing"], &fewer).1, [0, 0, 20, 0, 4]);
        assert_eq!(client.walk(&format!("{own}&status=deregistered"), 1000).len(), gone);
        assert_eq!(import(&["--retire-missing", "--dry-run"], &all).1, [4, 0, 20, 0, 0]);
        assert_eq!(import(&["--retire-missing"], &all).1, [4, 0, 20, 0, 0]);
        assert_eq!(import(&["--retire-missing"], &all).1, [0, 0, 24, 0, 0]);
    }
    // What somebody ended here stays so.
    let there = client.walk(&format!("{own}&status=registered"), 1000);
    assert_eq!(there.len(), 24);
    let end =
        json!({"type": "mcp_server.DeregisterMcpServer", "subject": there[0]["id"], "data": {"reason": "not ours"}});
    assert_eq!(client.command(&end)["outcome"], "applied");
    let (code, counts, report) = import(&[], &all);
    assert_eq!((code, counts), (Some(3), [0, 0, 23, 1, 0]));
    assert!(report["listed"][0]["reason"].as_str().unwrap().contains("which is final"), "{report}");
    server.stop();
    folder.check();
}

#[test]
fn imports_that_meet_settle_every_entry_once() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let text = list(&(0..600).map(server_entry).collect::<Vec<_>>());
    let import = || {
        let (code, report, told) = server.cli(&["import", "mcp-servers", "-"], Some(&text));
        assert_eq!((code, &report["complete"]), (Some(0), &json!(true)), "{report} {told}");
        counts(&report)
    };
    let reports = std::thread::scope(|scope| {
        let imports: Vec<_> = (0..3).map(|_| scope.spawn(import)).collect();
        imports.into_iter().map(|import| import.join().unwrap()).collect::<Vec<_>>()
    });
    let sum = |place: usize| reports.iter().map(|counts| counts[place]).sum::<u64>();
    assert_eq!([0, 1, 2, 3].map(sum), [600, 0, 1_200, 0], "{reports:?}");
    let listed = client.walk("/v1/mcp-servers?shared=false", 1000);
    assert_eq!((listed.len(), listed.iter().all(|it| it["version"] == 2)), (600, true), "registered, with its tools");
    server.stop();
}

#[test]
fn an_import_that_was_killed_is_finished_by_a_second_one() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let line = |number: usize| {
        format!("{{\"employee\":{{\"id\":{number}}},\"full_name\":\"Agent {number}\",\"team\":\"ops\"}}\n")
    };
    let args = ["import", "agents", "-", "--key", "/employee/id", "--map", "name=full_name", "--map", "category=team"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_agentverse"))
        .args(args)
        .args(["--url", &format!("http://{}", server.address), "--tenant", TENANT])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let first: String = (0..700).map(line).collect();
    let mut input = child.stdin.take().unwrap();
    input.write_all(first.as_bytes()).unwrap();
    let count = || client.walk("/v1/agents", 1000).len();
    eventually("the import begins while its input goes on", || (count() > 0).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    drop(input);

    let all: String = (0..1_500).map(line).collect();
    let (code, report, told) = server.cli(&args, Some(&all));
    let [created, changed, unchanged, refused, _] = counts(&report);
    assert_eq!((code, created + unchanged, changed, refused), (Some(0), 1_500, 0, 0), "{report} {told}");
    assert!(unchanged > 0 && created >= 800, "{report}");
    assert_eq!(count(), 1_500);

    let twice = line(3) + &line(3) + "{\n" + &line(4).replace("4}", "4},\"skills\":7");
    let (code, report, _) = server.cli(&args, Some(&twice));
    assert_eq!((code, counts(&report)), (Some(3), [0, 0, 1, 3, 0]), "{report}");
    let lines: Vec<_> =
        report["listed"].as_array().unwrap().iter().map(|told| told["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [2, 3, 4]);
    let (code, _, told) = server.cli(&["import", "agents", "-", "--map", "nmae=x"], Some(""));
    assert!(code == Some(2) && told.contains("name, category"), "{told}");
    server.stop();
}

#[test]
fn over_http_an_import_is_told_as_it_goes_on_or_in_one_report() {
    let folder = Folder::new();
    let settings = ["--set", "import_listed_max=1", "--set", "import_bytes_max=64KiB", "--set", "import_batch_max=2"];
    let server = Server::start_with(&folder, &settings);
    let client = server.provisioned();
    let json_type = ("content-type", "application/json");
    let entries: Vec<Value> = (0..5).map(server_entry).collect();
    let post = |query: &str, headers: &[(&str, &str)], body: &str| {
        client.request("POST", &format!("/v1/imports?{query}"), headers, body.as_bytes()).unwrap()
    };
    let elsewhere = server.client_of("7a2d3b63-1e6f-4d4c-8b88-2a1a7a2a8c02");
    let lost =
        elsewhere.request("POST", "/v1/imports?kind=mcp-servers", &[json_type], list(&entries).as_bytes()).unwrap();
    assert_eq!((lost.status, &lost.json()["code"]), (404, &json!("tenant_not_found")), "for a mistyped tenant");
    let headers = [json_type, ("accept", "text/event-stream"), ("ce-actor", "ada"), ("ce-correlationid", "monday")];
    let answer = post("kind=mcp-servers", &headers, &list(&entries));
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/event-stream"));
    let text = answer.text();
    let events: Vec<(&str, Value)> = text
        .split("\n\n")
        .filter_map(|block| block.strip_prefix("event: ")?.split_once("\ndata: "))
        .map(|(name, data)| (name, serde_json::from_str(data).unwrap()))
        .collect();
    assert_eq!(events.iter().filter(|(name, _)| *name == "entry").count(), 5, "{text}");
    assert_eq!((events[0].0, &events[0].1["entries_total"]), ("progress", &json!(5)));
    let (name, report) = events.last().unwrap();
    assert_eq!((*name, counts(report)), ("report", [5, 0, 0, 0, 0]));
    let id = events.iter().find(|(name, _)| *name == "entry").unwrap().1["id"].as_str().unwrap().to_owned();
    let history = client.read(&format!("/v1/mcp-servers/{id}/history"));
    let record = &history["items"][0];
    assert_eq!(record["source"], "agentverse/import/mcp-servers", "{record}");
    assert_eq!((&record["actor"], &record["correlation"]), (&json!("ada"), &json!("monday")));

    let bad = list(&[json!({"id": 7}), json!({"packageName": "@acme/s9"}), entries[0].clone()]);
    let report = post("kind=mcp-servers&dry_run=true", &[json_type], &bad).json();
    assert_eq!(counts(&report), [1, 0, 1, 1, 0], "{report}");
    assert_eq!((&report["listed"][0]["outcome"], &report["not_listed"]), (&json!("refused"), &json!(1)), "{report}");
    for (query, content_type, body, status) in [
        ("kind=models", "application/json", "[]".to_owned(), 400),
        ("kind=mcp-servers", "text/plain", "[]".into(), 415),
        ("kind=mcp-servers", "application/json", " ".repeat(70_000), 413),
    ] {
        assert_eq!(post(query, &[("content-type", content_type)], &body).status, status, "{query} {content_type}");
    }
    let lines = "{\"id\":1,\"name\":\"a\",\"category\":\"c\"}\n".to_owned() + &" ".repeat(70_000);
    let report = post("kind=agents", &[("content-type", "application/x-ndjson")], &lines).json();
    assert_eq!(counts(&report), [1, 0, 0, 0, 0], "lines may be of any length together");
    server.stop();
}

#[test]
fn the_cards_of_a_folder_are_imported_together_and_a_broken_one_is_named() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let cards = tempfile::tempdir().unwrap();
    fs::create_dir(cards.path().join("more")).unwrap();
    let card = |name: &str| {
        let skills = json!([{"id": "convert", "name": "Convert", "tags": ["money"]}]);
        let card = json!({"name": name, "description": "d", "url": "http://localhost:1", "version": "1.0.0",
            "capabilities": {}, "provider": {"organization": "Acme", "url": "http://acme"}, "skills": skills});
        serde_json::to_string_pretty(&card).unwrap()
    };
    fs::write(cards.path().join("a.json"), card("A")).unwrap();
    fs::write(cards.path().join("more/b.json"), "{\n\"name\": \"B\",\n").unwrap();
    fs::write(cards.path().join("more/c.json"), card("C")).unwrap();
    let path = cards.path().to_str().unwrap();
    let (code, report, told) = server.cli(&["import", "a2a-cards", path], None);
    assert_eq!((code, counts(&report)), (Some(3), [2, 0, 0, 1, 0]), "{report} {told}");
    let refused = &report["listed"][0];
    assert!(refused["file"].as_str().unwrap().ends_with("more/b.json") && refused["line"] == 1, "{refused}");
    let agents = client.walk("/v1/agents?category=a2a", 100);
    assert_eq!(agents.len(), 2);
    assert_eq!(
        (&agents[0]["skills"], &agents[0]["owner"]),
        (&json!(["convert", "money"]), &Value::Null),
        "{}",
        agents[0]
    );
    fs::remove_file(cards.path().join("more/b.json")).unwrap();
    fs::remove_file(cards.path().join("a.json")).unwrap();
    let (code, report, _) = server.cli(&["import", "a2a-cards", path, "--retire-missing"], None);
    assert_eq!((code, counts(&report)), (Some(0), [0, 0, 1, 0, 1]), "{report}");
    assert_eq!(client.walk("/v1/agents?status=decommissioned", 100)[0]["name"], "A");
    server.stop();
}

#[test]
fn a_file_of_another_kind_is_refused_and_whatever_is_counted_is_named() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let import = |kind: &str, text: &str| server.cli(&["import", kind, "-"], Some(text));
    let (code, report, _) = import("a2a-cards", &list(&[server_entry(1), server_entry(2)]));
    assert_eq!((code, counts(&report)), (Some(3), [0, 0, 0, 2, 0]), "{report}");
    let told = &report["listed"][1];
    assert_eq!((&told["line"], &told["field"]), (&json!(3), &json!("skills")), "{told}");
    assert!(told["reason"].as_str().unwrap().contains("looks like mcp-servers"), "{told}");
    assert_eq!(client.walk("/v1/agents", 10).len(), 0);

    // Of two versions one counts; a third was taken back; a remote that cannot be kept is left out.
    let version = |name: &str, version: &str, status: &str| {
        json!({"server": {"name": name, "version": version,
            "packages": [{"registryType": "npm", "identifier": "s"}], "remotes": [{"type": "sse", "url": "not a url"}]},
            "_meta": {"io.modelcontextprotocol.registry/official": {"status": status}}})
    };
    let entries =
        [version("a/s", "1.0.0", "active"), version("a/s", "1.1.0", "active"), version("a/gone", "1.0.0", "deleted")];
    for created in [1, 0] {
        let (code, report, _) = import("mcp-registry", &list(&entries));
        assert_eq!((code, counts(&report)), (Some(0), [created, 0, 1 - created, 0, 0]), "{report}");
        let named = |name: &str| report[name].as_u64().unwrap();
        assert_eq!((named("superseded"), named("withdrawn"), named("shortened"), named("entries")), (1, 1, 1, 1));
        let listed = report["listed"].as_array().unwrap();
        let told = |outcome: &str| listed.iter().find(|told| told["outcome"] == outcome).unwrap();
        let superseded = told("superseded");
        assert_eq!((&superseded["line"], &superseded["instead_line"]), (&json!(2), &json!(3)), "{superseded}");
        assert_eq!((&superseded["key"], &told("withdrawn")["key"]), (&json!("a/s"), &json!("a/gone")), "{listed:?}");
        let cut = &told(if created == 1 { "created" } else { "unchanged" })["cuts"][0];
        assert!(cut["field"] == "remotes" && cut["reason"].as_str().unwrap().contains("no endpoint"), "{cut}");
    }
    let lines = "{\"id\":1,\"full_name\":\" \",\"category\":\"c\"}\n{\"id\":2,\"full_name\":\"a\\u0000b\",\"category\":\"c\"}\n{\"id\": nope}\n";
    let (_, report, _) = server.cli(&["import", "agents", "-", "--map", "name=full_name"], Some(lines));
    let told: Vec<_> =
        report["listed"].as_array().unwrap().iter().map(|told| (&told["field"], &told["reason"])).collect();
    let field = json!("full_name");
    assert_eq!(told.len(), 3, "{report}");
    assert!(told[..2].iter().all(|(told, _)| **told == field), "{report}");
    assert!(told[1].1.as_str().unwrap().contains("control characters"), "{report}");
    let reason = told[2].1.as_str().unwrap();
    assert!(reason.ends_with("at its column 9") && !reason.contains("line 1"), "{report}");
    server.stop();
}

#[test]
fn an_import_that_is_interrupted_tells_what_it_did_and_that_the_same_finishes_it() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let mut child = Command::new(env!("CARGO_BIN_EXE_agentverse"))
        .args(["import", "agents", "-", "--output", "json"])
        .args(["--url", &format!("http://{}", server.address), "--tenant", TENANT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The input stays open: nothing but the signal ends it.
    let mut input = child.stdin.take().unwrap();
    let lines: String = (0..300).map(|id| format!("{{\"id\":{id},\"name\":\"n\",\"category\":\"c\"}}\n")).collect();
    input.write_all(lines.as_bytes()).unwrap();
    eventually("all that came is imported", || (client.walk("/v1/agents", 1000).len() == 300).then_some(()));
    std::thread::sleep(std::time::Duration::from_millis(500));
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["complete"]), (Some(1), &json!(false)), "{report}");
    // What was told before the signal, however much of it had come.
    let created = report["created"].as_u64().unwrap();
    assert!((1..=300).contains(&created) && report["unchanged"] == 0, "{report}");
    assert!(report["ended_because"].as_str().unwrap().contains("run the same again"), "{report}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("interrupted; run the same again"), "{told}");
    drop(input);
    server.stop();
}
