//! Usage and cost, driven by the commands that a worker sends: every figure by every key, whatever process was ended.

use super::http::Client;
use super::server::{Folder, Server};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The provider of every model here.
const PROVIDER: &str = "00000000-0000-4000-8000-0000000000ff";
/// The test is the worker.
const CALLS_OFF: &[&str] = &["--set", "request_calls=off"];
const WINDOWS: [&str; 4] = ["1m", "5m", "1h", "1d"];

fn id(kind: u16, number: u64) -> String {
    uuid::Uuid::from_u64_pair(u64::from(kind) << 48 | 0x4000, 0x8000_0000_0000_0000 | number).to_string()
}

/// What a key is expected to come to, and what it is found at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sums {
    completed: u64,
    failed: u64,
    cancelled: u64,
    attempts_failed: u64,
    extra_calls: u64,
    input_tokens: u64,
    cost_pico_usd: i128,
    unknown: u64,
}

impl Sums {
    fn of(item: &Value) -> Self {
        let number = |field: &str| item[field].as_u64().unwrap();
        let (dollars, pico) = item["cost_usd"].as_str().unwrap().split_once('.').unwrap();
        assert_eq!(pico.len(), 12);
        Self {
            completed: number("requests_completed"),
            failed: number("requests_failed"),
            cancelled: number("requests_cancelled"),
            attempts_failed: number("attempts_failed"),
            extra_calls: number("extra_calls"),
            input_tokens: number("input_tokens"),
            cost_pico_usd: dollars.parse::<i128>().unwrap() * 1_000_000_000_000 + pico.parse::<i128>().unwrap(),
            unknown: number("calls_of_unknown_cost"),
        }
    }

    fn add_sums(&mut self, more: &Self) {
        self.completed += more.completed;
        self.failed += more.failed;
        self.cancelled += more.cancelled;
        self.attempts_failed += more.attempts_failed;
        self.extra_calls += more.extra_calls;
        self.input_tokens += more.input_tokens;
        self.cost_pico_usd += more.cost_pico_usd;
        self.unknown += more.unknown;
    }

    fn add(&mut self, item: &Value) {
        self.add_sums(&Self::of(item));
    }
}

/// Carries out one request, as a worker does, by its commands.
struct Worker<'a> {
    client: &'a Client,
    number: u64,
    /// Microseconds since 1970.
    deadline_at: i64,
}

impl<'a> Worker<'a> {
    fn submit(client: &'a Client, number: u64, agent: &str, coupling: &str, project: &str) -> Self {
        let mut worker = Self { client, number, deadline_at: 0 };
        let data = json!({
            "agent_id": agent, "coupling_id": coupling, "project": project, "models": [model("large"), model("small/v2")],
            "payload": r#"{"messages":[{"role":"user","content":"Hi"}]}"#,
        });
        worker.send("SubmitRequest", data);
        let request = client.read(&format!("/v1/llm-requests/{}", id(0xf, number)));
        worker.deadline_at = request["deadline_at"].as_i64().unwrap();
        worker
    }

    fn send(&self, kind: &str, data: Value) {
        let subject = id(0xf, self.number);
        let event = json!({"type": format!("llm_request.{kind}"), "subject": subject, "data": data});
        assert_eq!(self.client.command(&event)["outcome"], "applied", "{kind} {}", self.number);
    }

    fn start(&self, attempt: u64, name: &str) {
        let lease_until = self.deadline_at - 60_000_000;
        let data = json!({"attempt": attempt, "worker": "w", "model": model(name), "lease_until": lease_until});
        self.send("StartAttempt", data);
    }

    fn complete(&self, attempt: u64, price: &Value) {
        let usage = json!({"input_tokens": 100 + self.number, "output_tokens": 20});
        let data = json!({"attempt": attempt, "usage": usage, "price": price, "latency_ms": 250, "answer": "{}"});
        self.send("CompleteRequest", data);
    }
}

fn model(name: &str) -> Value {
    json!({"provider_id": PROVIDER, "model_id": name})
}

/// What every key came to so far, by dimension and key.
#[derive(Clone, Debug, Default)]
pub struct Expected(BTreeMap<(&'static str, String), Sums>);

impl Expected {
    /// Carries out some requests, each for one of two agents, and adds what they come to. `round` names them.
    pub fn work(&mut self, client: &Client, tenant: &str, round: u64) {
        for number in 0..8 {
            self.request(client, tenant, round * 100 + number);
        }
    }

    fn request(&mut self, client: &Client, tenant: &str, number: u64) {
        let project = if number.is_multiple_of(2) { "atlas" } else { "north star/1" };
        let (agent, coupling) = (id(0xa, number % 2), id(0xc, number % 4));
        let keys = [("tenant", tenant), ("agent", &agent), ("coupling", &coupling), ("project", project)];
        let keys = keys.map(|(dimension, key)| (dimension, key.to_owned()));
        let worker = Worker::submit(client, number, &agent, &coupling, project);
        let mut counts = |name: &str, sums: &Sums| {
            for (dimension, key) in keys.iter().cloned().chain([("model", format!("{PROVIDER}/{name}"))]) {
                self.0.entry((dimension, key)).or_default().add_sums(sums);
            }
        };
        let cost_pico_usd = i128::from(100 + number) * 3_000_001 + 20 * 15_000_000;
        let called = Sums { input_tokens: 100 + number, cost_pico_usd, ..Sums::default() };
        let price = json!({"input_micro_usd_per_million": 3_000_001, "output_micro_usd_per_million": 15_000_000});
        match number % 8 {
            // Cancelled before anything was tried.
            0 => {
                worker.send("CancelRequest", json!({"reason": "changed my mind"}));
                counts("large", &Sums { cancelled: 1, ..Sums::default() });
            }
            // Cut short, which costs nobody knows what, and then given up.
            1 => {
                worker.start(1, "large");
                worker.send("EndAttempt", json!({"attempt": 1, "error": "timeout", "sent": true}));
                worker.send("FailRequest", json!({"error": "timeout"}));
                counts("large", &Sums { attempts_failed: 1, failed: 1, unknown: 1, ..Sums::default() });
            }
            // Turned away by the first model, answered by the second.
            2 => {
                worker.start(1, "large");
                worker.send("EndAttempt", json!({"attempt": 1, "error": "rate_limited", "http_status": 429}));
                worker.start(2, "small/v2");
                worker.complete(2, &price);
                counts("large", &Sums { attempts_failed: 1, ..Sums::default() });
                counts("small/v2", &Sums { completed: 1, ..called });
            }
            // Cancelled while the call was under way, which is paid all the same.
            3 => {
                worker.start(1, "small/v2");
                worker.send("CancelRequest", json!({"reason": "too slow"}));
                worker.complete(1, &price);
                counts("small/v2", &Sums { cancelled: 1, extra_calls: 1, ..called });
            }
            // Of a price that nobody knows.
            4 => {
                worker.start(1, "large");
                worker.complete(1, &Value::Null);
                counts("large", &Sums { completed: 1, unknown: 1, cost_pico_usd: 0, ..called });
            }
            _ => {
                worker.start(1, "large");
                worker.complete(1, &price);
                counts("large", &Sums { completed: 1, ..called });
            }
        }
    }

    /// Holds what a server shows against it: by every dimension, in windows of every size, in pages of any length.
    pub fn check(&self, client: &Client) {
        for dimension in ["tenant", "project", "agent", "coupling", "model"] {
            let expected: BTreeMap<&str, &Sums> = self
                .0
                .iter()
                .filter(|((it, _), _)| *it == dimension)
                .map(|((_, key), sums)| (key.as_str(), sums))
                .collect();
            for window in WINDOWS {
                let path = format!("/v1/usage?by={dimension}&window={window}");
                let items = client.walk(&path, 100);
                assert_eq!(client.walk(&path, 1), items, "{path}");
                let mut found: BTreeMap<String, Sums> = BTreeMap::new();
                for item in &items {
                    assert_eq!((&item["by"], &item["window"]), (&json!(dimension), &json!(window)));
                    found.entry(item["key"].as_str().unwrap().to_owned()).or_default().add(item);
                }
                let found: BTreeMap<&str, &Sums> = found.iter().map(|(key, sums)| (key.as_str(), sums)).collect();
                assert_eq!(found, expected, "{path}");
                for key in expected.keys() {
                    let encoded = key.replace('/', "%2F").replace(' ', "%20");
                    let alone = client.walk(&format!("{path}&key={encoded}"), 100);
                    let of_key: Vec<_> = items.iter().filter(|item| item["key"] == **key).cloned().collect();
                    assert_eq!(alone, of_key, "{path} {key}");
                }
            }
        }
    }
}

#[test]
fn every_event_is_in_every_total_once_also_after_the_process_was_killed() {
    let folder = Folder::new();
    let server = Server::start_with(&folder, CALLS_OFF);
    server.provisioned();
    let mut expected = Expected::default();
    expected.work(&server.client(), super::TENANT, 1);
    expected.check(&server.client());
    assert!(server.client_of(super::OTHER).walk("/v1/usage?by=agent", 10).is_empty(), "nobody else's");
    server.kill();
    let server = Server::start_with(&folder, CALLS_OFF);
    expected.check(&server.client());
    expected.work(&server.client(), super::TENANT, 2);
    expected.check(&server.client());
    server.stop();
    folder.check();
    // Everything derived is built again from the log.
    std::fs::remove_dir_all(folder.data().join("derived")).unwrap();
    let server = Server::start_with(&folder, CALLS_OFF);
    expected.check(&server.client());
    let project = ["usage", "--by", "project", "--window", "1d", "--key", "north star/1", "--all"];
    let (code, shown, told) = server.cli(&project, None);
    assert_eq!(code, Some(0), "{told}");
    let mut sums = Sums::default();
    shown["items"].as_array().unwrap().iter().for_each(|item| sums.add(item));
    assert_eq!(sums, expected.0[&("project", "north star/1".to_owned())]);
    let (code, _, told) = server.cli(&["usage", "--by", "agent", "--from", "soon"], None);
    assert_eq!(code, Some(4), "{told}");
    server.stop();
    folder.check();
}
