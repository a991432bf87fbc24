//! Bad input from both sides: what callers send, how they send it, and what providers answer. Each is an error in OpenAI's
//! form, the next request is answered, and nothing is left under way.

use super::{chat, complete, node, provider, stats};
use crate::e2e::http::Client;
use crate::e2e::server::{Folder, eventually};
use crate::fake::server::Fake;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const MIB: usize = 1 << 20;
/// Connections of callers that say next to nothing.
const LORISES: usize = 200;

/// An error as OpenAI's clients read it.
fn is_openai_error(answer: &Value) -> bool {
    let error = &answer["error"];
    let told = |field: &str| error[field].as_str().is_some_and(|text| !text.is_empty());
    let there = |field: &str| error.as_object().is_some_and(|error| error.contains_key(field));
    // A provider's own error may have no code.
    told("message") && told("type") && there("code") && there("param")
}

/// Nothing waits, nothing is under way, and a request is answered.
fn is_well(client: &Client) {
    let (status, answer) = complete(client, &chat("fake/m", "are you well?"));
    assert_eq!(status, 200, "{answer}");
    eventually("nothing is under way", || {
        let metrics = client.get("/metrics").text();
        let gauge = |name: &str| {
            let lines = metrics.lines().filter(|line| line.starts_with(name));
            lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum::<f64>()
        };
        let left = ["agentverse_request_open_calls", "agentverse_request_waiting_requests"].map(gauge);
        (left == [0.0, 0.0]).then_some(())
    });
}

#[test]
fn what_callers_get_wrong_is_told_in_openais_words() {
    let fake = Fake::start(&[]);
    let folder = Folder::new();
    let server = node(&folder, &[]);
    let client = server.client();
    client.make("tenants", &json!({"name": "Acme", "tier": "diamond"}));
    provider(&client, "fake", &fake.address, &json!({"tokens_per_minute": 100_000}));
    let with = |field: &str, value: Value| {
        let mut body = chat("fake/m", "hello");
        body[field] = value;
        body.to_string()
    };
    for (status, body) in [
        (400, String::new()),
        (400, "{".into()),
        (400, "null".into()),
        (400, "\"model\"".into()),
        (400, r#"{"model":"fake/m"}"#.into()),
        (400, r#"{"model":7,"messages":[]}"#.into()),
        (400, with("messages", json!("hello"))),
        (400, with("max_tokens", json!(-1))),
        (400, with("max_tokens", json!(0))),
        (400, with("max_tokens", json!(1.5))),
        (400, with("max_tokens", json!("many"))),
        (400, with("max_tokens", json!(1e300))),
        (400, with("max_tokens", json!(u64::MAX))),
        // More than the provider's limit ever lets through.
        (400, with("max_tokens", json!(2_000_000))),
        (400, with("stream", json!("yes"))),
        (413, chat("fake/m", &"x".repeat(2 * MIB)).to_string()),
        (413, chat("fake/m", &"x".repeat(10 * MIB)).to_string()),
        (404, chat("fake/nothing", "hello").to_string()),
        (404, chat("nobody/m", "hello").to_string()),
        (404, chat("", "hello").to_string()),
        (404, chat(&"m".repeat(100_000), "hello").to_string()),
    ] {
        let headers = [("content-type", "application/json")];
        let answer = client.request("POST", "/v1/chat/completions", &headers, body.as_bytes()).unwrap();
        let shown = &body[..body.len().min(60)];
        assert_eq!(answer.status, status, "{shown}: {}", answer.text());
        let error = answer.json();
        assert!(is_openai_error(&error), "{shown}: {error}");
        // What was sent may be secret, and is not repeated at length.
        assert!(answer.body.len() < 2_000, "{shown}: {} bytes", answer.body.len());
    }
    assert_eq!(stats(&fake)["requests"], 0, "nothing of it reached the provider");
    // What only the provider can judge, it judges.
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let body = format!(r#"{{"model":"fake/m","messages":{deep}}}"#);
    let answer =
        client.request("POST", "/v1/chat/completions", &[("content-type", "application/json")], body.as_bytes());
    let answer = answer.unwrap();
    assert!(answer.status == 400 && is_openai_error(&answer.json()), "{}: {}", answer.status, answer.text());
    is_well(&client);
    server.stop();
    assert_eq!(folder.check()["problem_count"], 0);
}

#[test]
fn callers_that_dawdle_or_hang_up_hold_up_nobody() {
    let fake = Fake::start(&["--latency-ms", "fixed:300"]);
    let folder = Folder::new();
    let server = node(&folder, &["http_header_ms_max=5000", "http_body_ms_max=5000"]);
    let client = server.client();
    client.make("tenants", &json!({"name": "Acme", "tier": "diamond"}));
    provider(&client, "fake", &fake.address, &json!({}));
    let body = chat("fake/m", "hello").to_string();
    let head = |length: usize| {
        let tenant = client.tenant.as_deref().unwrap();
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nagentverse-tenant: {tenant}\r\ncontent-length: {length}\r\n"
        )
    };
    let open = |said: &str| {
        let mut stream = TcpStream::connect(&client.address).unwrap();
        stream.write_all(said.as_bytes()).unwrap();
        stream
    };
    // Half of a head; a head and half of a body; and a whole request whose caller goes.
    let heads: Vec<_> = (0..LORISES).map(|_| open(&head(100)[..50])).collect();
    let bodies: Vec<_> = (0..LORISES).map(|_| open(&format!("{}\r\n{}", head(body.len()), &body[..20]))).collect();
    let gone: Vec<_> = (0..LORISES / 4).map(|_| open(&format!("{}\r\n{body}", head(body.len())))).collect();
    let (status, answer) = complete(&client, &chat("fake/m", "meanwhile"));
    assert_eq!(status, 200, "{answer}");
    // It did not wait for them: they are still there.
    heads[0].set_nonblocking(true).unwrap();
    assert_eq!((&heads[0]).read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    heads[0].set_nonblocking(false).unwrap();
    drop(gone);
    for mut stream in heads.into_iter().chain(bodies) {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut told = Vec::new();
        // It is answered or closed; in no case kept.
        let _ = stream.read_to_end(&mut told);
        let told = String::from_utf8_lossy(&told).into_owned();
        assert!(told.is_empty() || told.starts_with("HTTP/1.1 408"), "{told}");
    }
    is_well(&client);
    // A caller that went is on record: nothing is open of any request.
    eventually("every request has ended", || {
        let open =
            ["submitted", "started"].map(|status| client.walk(&format!("/v1/llm-requests?status={status}"), 100).len());
        (open == [0, 0]).then_some(())
    });
    server.stop();
    assert_eq!(folder.check()["problem_count"], 0);
}

#[test]
fn what_providers_get_wrong_is_told_as_a_bad_gateway_and_the_queue_goes_on() {
    let fake = Fake::start(&["--output-tokens", "fixed:30"]);
    let folder = Folder::new();
    let more = [
        "request_attempts_max=2",
        "request_breaker_failures=1000",
        "llm_first_byte_ms_max=500",
        "llm_between_chunks_ms_max=500",
        "llm_call_ms_max=3000",
    ];
    let server = node(&folder, &more);
    let client = server.client();
    client.make("tenants", &json!({"name": "Acme", "tier": "diamond"}));
    provider(&client, "fake", &fake.address, &json!({}));
    for (name, others) in [
        ("garbage_rate", "cut_rate"),
        ("cut_rate", "hang_rate"),
        ("hang_rate", "error_rate"),
        ("error_rate", "garbage_rate"),
    ] {
        let change = json!({name: 1.0, others: 0.0});
        let set = fake.post("/fake/settings", &[], &change);
        assert_eq!(set.status, 200, "{}", set.body);
        for stream in [false, true] {
            let mut body = chat("fake/m", name);
            body["stream"] = json!(stream);
            let answer = client.post("/v1/chat/completions", &body);
            let text = answer.text();
            if answer.status == 200 {
                // A stream that broke after it had begun ends with an error, and not as if it were whole.
                assert!(stream && !text.contains("[DONE]"), "{name}: {text}");
                let last = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap();
                assert!(is_openai_error(&serde_json::from_str(last).unwrap()), "{name}: {text}");
            } else {
                assert!((500..600).contains(&answer.status), "{name}: {} {text}", answer.status);
                assert!(is_openai_error(&answer.json()), "{name}: {text}");
            }
        }
        let set = fake.post("/fake/settings", &[], &json!({ name: 0.0 }));
        assert_eq!(set.status, 200, "{}", set.body);
        is_well(&client);
    }
    server.stop();
    assert_eq!(folder.check()["problem_count"], 0);
}
