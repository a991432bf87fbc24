//! Files of requests and their batches, through the real binary, which dies in the middle.

use super::{node, provider, stats};
use crate::e2e::http::Client;
use crate::e2e::server::{Folder, eventually};
use crate::fake::server::Fake;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const LINES: usize = 300;
/// Lines that are requests, and yet cannot be made: no such model, no messages, a stream.
const BAD: [usize; 3] = [7, 150, 299];

fn line(number: usize) -> Value {
    let mut body = super::chat("fake/m", &format!("line {number}"));
    match BAD.iter().position(|bad| *bad == number) {
        Some(0) => body["model"] = json!("fake/none"),
        Some(1) => body["messages"] = json!([]),
        Some(_) => body["stream"] = json!(true),
        None => {}
    }
    json!({"custom_id": format!("c-{number}"), "method": "POST", "url": "/v1/chat/completions", "body": body})
}

fn upload(client: &Client, fields: &[(&str, &str)], whole: bool) -> (u16, String) {
    let mut form = String::new();
    for (name, value) in fields {
        let filename = if *name == "file" { "; filename=\"night.jsonl\"" } else { "" };
        form += &format!("--edge\r\ncontent-disposition: form-data; name=\"{name}\"{filename}\r\n\r\n{value}\r\n");
    }
    if whole {
        form += "--edge--\r\n";
    }
    let headers = [("content-type", "multipart/form-data; boundary=edge")];
    let answer = client.request("POST", "/v1/files", &headers, form.as_bytes()).expect("an answer");
    (answer.status, answer.text())
}

pub fn file(client: &Client, text: &str) -> String {
    let (status, text) = upload(client, &[("purpose", "batch"), ("file", text)], true);
    assert_eq!(status, 200, "{text}");
    let file: Value = serde_json::from_str(&text).unwrap();
    file["id"].as_str().unwrap().to_owned()
}

pub fn start(client: &Client, file: &str, endpoint: &str) -> Value {
    let body =
        json!({"input_file_id": file, "endpoint": endpoint, "completion_window": "24h", "metadata": {"night": "1"}});
    let answer = client.post("/v1/batches", &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

pub fn content(client: &Client, file: &Value) -> BTreeMap<String, Value> {
    let text = client.get(&format!("/v1/files/{}/content", file.as_str().unwrap())).text();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let by_id: BTreeMap<_, _> = lines.map(|line| (line["custom_id"].as_str().unwrap().to_owned(), line)).collect();
    assert_eq!(by_id.len(), text.lines().count(), "each custom id once");
    by_id
}

#[test]
fn a_batch_is_carried_out_line_by_line_also_by_a_node_that_dies_in_the_middle() {
    let fake = Fake::start(&["--latency-ms", "fixed:40"]);
    let folder = Folder::new();
    let settings = ["batch_requests_in_flight_max=20"];
    let server = node(&folder, &settings);
    let client = server.client();
    client.make("tenants", &json!({"name": "Acme", "tier": "diamond"}));
    provider(&client, "fake", &fake.address, &json!({}));
    let text: String = (1..=LINES).map(|number| format!("{}\n", line(number))).collect();
    let file = file(&client, &text);
    assert_eq!(client.get(&format!("/v1/files/{file}/content")).text(), text, "as it was uploaded");
    let batch = start(&client, &file, "/v1/chat/completions");
    let path = format!("/v1/batches/{}", batch["id"].as_str().unwrap());
    assert_eq!(start(&client, &file, "/v1/chat/completions")["id"], batch["id"], "a file is one batch");
    eventually("the batch is under way", || {
        let done = client.read(&path)["request_counts"]["completed"].as_i64().unwrap();
        (done >= 30).then_some(())
    });
    server.kill();

    let server = node(&folder, &settings);
    let client = server.client();
    let done = eventually("the batch has ended", || {
        let batch = client.read(&path);
        (batch["status"] != "in_progress").then_some(batch)
    });
    let counts = json!({"total": LINES, "completed": LINES - 3, "failed": 3});
    assert_eq!((&done["status"], &done["request_counts"]), (&json!("completed"), &counts), "{done:#}");
    let (output, errors) = (content(&client, &done["output_file_id"]), content(&client, &done["error_file_id"]));
    assert_eq!((output.len(), errors.len()), (LINES - 3, 3));
    assert!(output["c-1"]["response"]["body"]["choices"][0]["message"]["content"].is_string(), "{}", output["c-1"]);
    let codes = BAD.map(|number| errors[&format!("c-{number}")]["error"]["code"].clone());
    assert_eq!(codes, ["model_not_found", "invalid", "invalid"]);
    // A call whose record the crash took may be made again: no more than were under way.
    let calls = stats(&fake)["requests"].as_u64().unwrap() as usize;
    assert!((LINES - 3..LINES - 3 + 21).contains(&calls), "{calls} calls");
    let listed = client.read("/v1/batches");
    assert_eq!((listed["data"].as_array().unwrap().len(), &listed["has_more"]), (1, &json!(false)));
    let files: Vec<_> = client.read("/v1/files")["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["id"].clone(), it["bytes"].clone()))
        .collect();
    let made = |file: &str| (done[file].clone(), json!(0));
    assert_eq!(files, [(json!(file), json!(text.len())), made("output_file_id"), made("error_file_id")]);
    server.stop();
    assert_eq!(folder.check()["problem_count"], 0);
}

#[test]
fn what_is_no_batch_is_said_clearly_and_leaves_nothing() {
    let folder = Folder::new();
    let server = node(&folder, &[]);
    let client = server.client();
    client.make("tenants", &json!({"name": "Acme", "tier": "diamond"}));
    let good = line(1).to_string();
    for (fields, whole, part) in [
        (&[("purpose", "fine-tune"), ("file", &good)][..], true, "set purpose to batch"),
        (&[("file", &good)], true, "no field purpose"),
        (&[("purpose", "batch")], true, "no field file"),
        (&[("purpose", "batch"), ("file", "")], true, "no lines"),
        (&[("purpose", "batch"), ("file", &good), ("file", &good)], true, "two files"),
        (&[("purpose", "batch"), ("file", &good)], false, "broke off"),
        (&[("file", &good), ("purpose", "batch"), ("color", "red")], true, "neither file nor purpose"),
    ] {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, *value as &str)).collect();
        let (status, text) = upload(&client, &fields, whole);
        assert_eq!(status, 400, "{text}");
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(client.read("/v1/files")["data"], json!([]), "nothing is left of them");

    let broken = file(&client, &format!("{good}\n{{\n{good}\n"));
    let failed = start(&client, &broken, "/v1/chat/completions");
    let lines: Vec<_> = failed["errors"]["data"].as_array().unwrap().iter().map(|it| &it["line"]).collect();
    assert_eq!((&failed["status"], lines), (&json!("failed"), vec![&json!(2), &json!(3)]), "{failed}");
    let other = file(&client, &good);
    assert_eq!(start(&client, &other, "/v1/embeddings")["errors"]["data"][0]["code"], "mismatched_endpoint");
    for path in ["/v1/files/file-1", "/v1/batches/batch_1", "/v1/batches/x", "/v1/files/x/content"] {
        assert_eq!(client.get(path).status, 404, "{path}");
    }
    let deleted = client.request("DELETE", &format!("/v1/files/{other}"), &[], b"").unwrap();
    assert_eq!((deleted.status, &deleted.json()["deleted"]), (200, &json!(true)));
    assert_eq!(client.get(&format!("/v1/files/{other}")).status, 404);

    let tenant = client.tenant.clone().unwrap();
    let set = client.post(&format!("/v1/tenants/{tenant}/set-prompt-storage"), &json!({"prompt_storage": "hashed"}));
    assert_eq!(set.status, 200, "{}", set.text());
    let (status, text) = upload(&client, &[("purpose", "batch"), ("file", &good)], true);
    assert!(status == 400 && text.contains("SetPromptStorage"), "{status}: {text}");
    server.stop();
}
