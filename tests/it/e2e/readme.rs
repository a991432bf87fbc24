//! The walks of the README, word for word: what a new user copies into a shell does what the text beside it says.

use super::TENANT;
use super::server::{Folder, Server, eventually};
use crate::fake::server::Fake;
use serde_json::Value;
use std::process::Command;

fn readme() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap()
}

/// The shell blocks between a title and the next one of any depth.
fn blocks(title: &str) -> Vec<String> {
    let text = readme();
    let (_, section) = text.split_once(&format!("\n{title}\n")).unwrap_or_else(|| panic!("there is no {title:?}"));
    let mut section = section.lines().take_while(|line| !(line.starts_with("## ") || line.starts_with("### ")));
    let mut found = Vec::new();
    while section.any(|line| line == "```sh") {
        let block: Vec<_> = section.by_ref().take_while(|line| *line != "```").collect();
        found.push(block.join("\n"));
    }
    found
}

/// The file of key sources that the README writes, with a variable that every process has.
fn key_sources(setup: &str) -> String {
    let written = setup.lines().find_map(|line| line.strip_prefix("echo '")?.strip_suffix("' > keys.json"));
    written.expect("the README writes keys.json").replace("\"env\":\"HOUSE_KEY\"", "\"env\":\"PATH\"")
}

fn shell(script: &str) -> String {
    let output = Command::new("bash").args(["-euo", "pipefail", "-c", script]).env_remove("AGENTVERSE_TENANT").output();
    let output = output.unwrap();
    let [said, told] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{}\n{said}\n{told}", output.status);
    said
}

/// The value of the last line `NAME=value`.
fn variable<'a>(said: &'a str, name: &str) -> &'a str {
    said.lines().rev().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap()
}

#[test]
fn the_walks_of_the_readme_do_what_they_say() {
    let [first] = blocks("## A first walk").try_into().unwrap();
    let [setup, requests] = blocks("### Requests to models").try_into().unwrap();
    let fake = Fake::start(&[]);
    let folder = Folder::new();
    let keys = folder.data().with_file_name("keys.json");
    std::fs::write(&keys, key_sources(&setup)).unwrap();
    assert!(setup.contains("dev --demo --set llm_keys_file=keys.json"), "{setup}");
    let server = Server::start_with(&folder, &["--set", &format!("llm_keys_file={}", keys.display())]);
    assert!(first.contains(&format!("TENANT={TENANT}\n")), "another tenant than this test's");
    let script = format!("{first}\n{requests}\necho COUPLING=$COUPLING; echo CHAT=$CHAT")
        .replace("127.0.0.1:7400", &server.address)
        .replace("127.0.0.1:7410", &fake.address);
    let said = shell(&script);
    assert!(!said.contains("\"error\":{") && !said.contains("\"detail\""), "{said}");

    let client = server.client();
    let ended = format!("/v1/couplings/{}", variable(&said, "COUPLING"));
    eventually("the first coupling ended", || (client.read(&ended)["status"] == "ended").then_some(()));

    let answers: Vec<Value> = said
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|answer: &Value| answer["object"] == "chat.completion")
        .collect();
    assert_eq!(answers.len(), 3, "{said}");
    assert_eq!(answers[1], answers[2], "told again, and not made again");
    assert!(said.contains("data: [DONE]"), "{said}");
    assert_eq!(fake.stats()["requests"], 3, "{}", fake.stats());
    // Each call names its request to the provider, and no request is called twice.
    assert_eq!((&fake.stats()["ids"]["distinct"], &fake.stats()["ids"]["arrived_repeatedly"]), (&3.into(), &0.into()));

    let chat = variable(&said, "CHAT");
    let used = eventually("usage counts them", || {
        let page = client.read(&format!("/v1/usage?by=coupling&key={chat}&window=1d"));
        page["items"].as_array()?.iter().find(|item| item["requests_completed"] == 3).cloned()
    });
    let [input, output] = ["input_tokens", "output_tokens"].map(|field| used[field].as_u64().unwrap());
    let pico = input * 150_000 + output * 600_000;
    let cost: f64 = used["cost_usd"].as_str().map_or(f64::NAN, |text| text.parse().unwrap());
    assert!((cost - pico as f64 / 1e12).abs() < 1e-12, "{used}");

    let metrics = client.get("/metrics").text();
    let value = |name: &str| {
        let found = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<u64>().ok());
        found.unwrap_or_else(|| panic!("there is no {name}"))
    };
    assert_eq!(value("agentverse_agent_response_time_count"), 3);
    assert_eq!(value("agentverse_llm_token_usage_sum{gen_ai_token_type=\"input\"}"), input);
    assert_eq!(value("agentverse_llm_token_usage_sum{gen_ai_token_type=\"output\"}"), output);
    assert_eq!(value("agentverse_request_calls_total{outcome=\"answered\"}"), 3);
    assert_eq!(value("agentverse_request_cost_micro_dollars_total"), pico / 1_000_000);
    assert_eq!(value("agentverse_request_unpriced_calls_total"), 0);
    server.stop();
    folder.check();
}
