//! What followed from one request: a tree, the same after a kill, and on the command line.

use super::http::Client;
use super::server::{Folder, Server, eventually, run};
use super::walk::{agent_data, provider_data, server_data};
use super::{OTHER, TENANT};
use serde_json::{Value, json};

/// An agent with two couplings; all under one correlation.
fn coupled(client: &Client, correlation: &str) -> (String, [String; 2]) {
    let send = |kind: &str, data: Value| {
        let event = json!({"type": kind, "correlationid": correlation, "data": data});
        let answer = client.command(&event);
        assert_eq!(answer["outcome"], "applied", "{answer}");
        answer["subject"].as_str().unwrap().to_owned()
    };
    let agent = send("agent.RegisterAgent", agent_data());
    let mcp_server = send("mcp_server.RegisterMcpServer", server_data());
    send("llm_provider.RegisterLlmProvider", provider_data());
    let couple = || {
        send("coupling.RequestCoupling", json!({"agent_id": agent, "mcp_server_id": mcp_server, "objective": "cost"}))
    };
    let couplings = [couple(), couple()];
    (agent, couplings)
}

/// The trace once it has so many commands.
fn traced(client: &Client, id: &str, commands: u64) -> Value {
    eventually("the trace", || {
        let answer = client.get(&format!("/v1/trace/{id}"));
        (answer.status == 200 && answer.json()["command_count"] == commands).then(|| answer.json())
    })
}

fn texts(values: &Value, field: &str) -> Vec<String> {
    let values = values.as_array().unwrap();
    let mut texts: Vec<_> = values.iter().map(|value| value[field].as_str().unwrap().to_owned()).collect();
    texts.sort();
    texts
}

#[test]
fn a_trace_shows_what_followed_from_a_request_after_a_kill_too() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let (agent, mut couplings) = coupled(&client, "hire/ada");
    couplings.sort();

    let hired = traced(&client, "hire/ada", 5);
    assert_eq!(hired["roots"].as_array().unwrap().len(), 5, "nobody named a cause: {hired:#}");
    let retire = json!({"id": "retire-ada", "type": "agent.DecommissionAgent", "subject": agent, "actor": "ada",
        "data": {"reason": "project over"}});
    let command = client.command(&retire)["id"].clone();
    let ended = traced(&client, "retire-ada", 3);
    assert_eq!(
        (&ended["event_count"], &ended["refused_count"], &ended["truncated"]),
        (&json!(3), &json!(0), &json!(false))
    );
    let [root] = &ended["roots"].as_array().unwrap()[..] else { panic!("{ended:#}") };
    assert_eq!((&root["command_id"], &root["subject"], &root["actor"]), (&command, &json!(agent), &json!("ada")));
    let [event] = &root["events"].as_array().unwrap()[..] else { panic!("{root:#}") };
    assert_eq!(event["type"], "agent.AgentDecommissioned");
    assert_eq!(texts(&event["commands"], "subject"), couplings);
    for end in event["commands"].as_array().unwrap() {
        assert_eq!((&end["causation"], &end["correlation"]), (&event["event_id"], &command), "{end:#}");
        assert_eq!(texts(&end["events"], "type"), ["coupling.CouplingEnded"]);
    }
    let by_uuid = client.read(&format!("/v1/trace/{}", command.as_str().unwrap()));
    assert_eq!(by_uuid["roots"], ended["roots"], "by its UUID too");

    // Refused, and a follower of the user's own that names the command as its cause.
    let idle = json!({"type": "agent.IdleAgent", "subject": agent, "correlationid": command, "causationid": command,
        "data": {}});
    assert_eq!(client.command(&idle)["outcome"], "refused");
    let with_refusal = traced(&client, "retire-ada", 4);
    assert_eq!(
        (&with_refusal["refused_count"], &with_refusal["roots"][0]["commands"][0]["outcome"]),
        (&json!(1), &json!("refused"))
    );

    let client_of_other = server.client_of(OTHER);
    assert_eq!(client_of_other.get("/v1/trace/hire%2Fada").status, 404);
    let later = with_refusal["roots"][0]["commands"][0]["command_id"].as_str().unwrap();
    let elsewhere = client.get(&format!("/v1/trace/{later}"));
    assert_eq!(elsewhere.status, 404);
    assert!(elsewhere.text().contains(command.as_str().unwrap()), "it says where: {}", elsewhere.text());
    server.kill();

    let server = Server::start(&folder);
    let client = server.client();
    assert_eq!(client.read("/v1/trace/retire-ada"), with_refusal);
    assert_eq!(client.read("/v1/trace/hire%2Fada"), hired);
    server.stop();

    // From the disk alone, and bounded.
    let server = Server::start_with(&folder, &["--set", "trace_commands_max=2"]);
    let client = server.client();
    let cut = client.read("/v1/trace/hire/ada");
    assert_eq!((&cut["command_count"], &cut["truncated"]), (&json!(2), &json!(true)));
    assert_eq!(cut["roots"][0], hired["roots"][0], "the earliest");
    server.stop();
    folder.check();
}

#[test]
fn the_command_line_shows_a_trace_as_a_tree() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let client = server.provisioned();
    let (agent, couplings) = coupled(&client, "hire/ada");
    let retire = json!({"id": "r", "source": "hr", "type": "agent.DecommissionAgent", "subject": agent, "data": {"reason": "over"}});
    let command = client.command(&retire)["id"].as_str().unwrap().to_owned();
    traced(&client, &command, 3);
    let (code, trace, said) = server.cli(&["trace", "r", "--source", "hr"], None);
    assert_eq!((code, &trace["command_count"]), (Some(0), &json!(3)), "{said}");
    let (code, trace, said) = server.cli(&["trace", "hire/ada"], None);
    assert_eq!((code, &trace["correlation"]), (Some(0), &json!("hire/ada")), "{said}");
    let (code, _, said) = server.cli(&["trace", "never"], None);
    assert_eq!(code, Some(5), "{said}");

    let url = format!("http://{}", server.address);
    let output = run(&["trace", &command, "--url", &url, "--tenant", TENANT], None);
    let shown = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<_> = shown.lines().collect();
    assert!(lines[0].starts_with("3 commands, 3 events, 0 refused; from "), "{shown}");
    assert!(lines[1].starts_with(&format!("└─ agent.AgentDecommissioned  {agent}  version ")), "{shown}");
    assert!(lines[1].ends_with("by hr"), "{shown}");
    for coupling in couplings {
        let line = lines[2..].iter().find(|line| line.contains(&coupling));
        assert!(line.is_some_and(|line| line.contains("─ coupling.CouplingEnded")), "{shown}");
    }
    server.stop();
}
