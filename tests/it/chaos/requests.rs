//! Requests to a stand-in provider while parts of the cluster are killed and paused: submitted as commands and over
//! OpenAI's API under `Idempotency-Key`s, sent again where no answer came, and in the end held against the record and
//! against what the stand-in counted.

use crate::crash::load::Random;
use crate::e2e::http::Client;
use crate::e2e::server::eventually;
use crate::fake::server::Fake;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;

const TENANT: Uuid = Uuid::from_u128(0x6f1c_2a52_0d5e_4c3b_9a77_1f0f_6f1f_9bca);
const PROVIDER: Uuid = Uuid::from_u128(0x6f1c_2a52_0d5e_4c3b_9a77_1f0f_6f1f_9bcb);
/// Keys may go to the stand-in, which speaks without TLS.
pub const KEYS: &str = r#"{"FAKE_KEY": {"env": "PATH", "hosts": ["http://127.0.0.1"]}}"#;
/// How long a sender waits after it got no answer: while a server is away, refusals come fast.
const PAUSE: Duration = Duration::from_millis(200);
/// And once it has made so many requests in a round: they are all held against the record in the end.
const MANY: usize = 100;
const LONG_PAUSE: Duration = Duration::from_secs(1);
/// How long what was submitted may take to end once nothing goes wrong any more: a lost attempt's lease is waited out.
const CATCH_UP_MAX: Duration = Duration::from_secs(120);
const ENDINGS: [&str; 4] = ["RequestCompleted", "RequestFailed", "RequestExpired", "RequestCancelled"];

/// One request, and what its sender knows of it.
struct Asked {
    id: Uuid,
    /// Over OpenAI's API: its key. Else it is a command.
    key: Option<String>,
    body: Value,
    /// What was answered: to a command, that it was accepted; else the completion.
    answer: Option<Value>,
}

/// One sender and everything that it ever asked.
pub struct Asker {
    random: Random,
    ledger: Vec<Asked>,
}

fn client(address: SocketAddr) -> Client {
    Client { address: address.to_string(), tenant: Some(TENANT.to_string()) }
}

/// Makes the tenant and its provider, and waits until every worker can call the model.
pub fn found(serving: SocketAddr, workers: &[SocketAddr], fake: &Fake) {
    let model =
        json!({"model_id": "m", "input_micro_usd_per_million": 1_000_000, "output_micro_usd_per_million": 2_000_000});
    let provider = json!({"name": "fake", "wire_protocol": "openai", "endpoint": format!("http://{}/v1", fake.address),
        "api_key_env": "FAKE_KEY", "models": [model]});
    for (id, subject, command, data) in [
        ("tenant", TENANT, "tenant.ProvisionTenant", json!({"name": "Requests", "region": "eu", "tier": "diamond"})),
        ("provider", PROVIDER, "llm_provider.RegisterLlmProvider", provider),
    ] {
        let event = json!({"id": id, "type": command, "subject": subject, "data": data});
        client(serving).command(&event);
    }
    for (number, worker) in workers.iter().enumerate() {
        let body = chat(&format!("is {number} there"));
        eventually("a worker answers", || (ask(*worker, &format!("first-{number}"), &body)?.0 == 200).then_some(()));
    }
}

fn chat(text: &str) -> Value {
    json!({"model": "fake/m", "messages": [{"role": "user", "content": text}], "max_tokens": 40})
}

fn ask(worker: SocketAddr, key: &str, body: &Value) -> Option<(u16, Value)> {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    let body = body.to_string();
    let answer = client(worker).request("POST", "/v1/chat/completions", &headers, body.as_bytes())?;
    Some((answer.status, serde_json::from_slice(&answer.body).unwrap_or_default()))
}

impl Asker {
    pub fn new(random: Random) -> Self {
        Self { random, ledger: Vec::new() }
    }

    pub fn count(&self) -> usize {
        self.ledger.len()
    }

    /// Asks until told to stop: something new, or again what was not answered, or something that was.
    pub fn drive(&mut self, serving: &[SocketAddr], workers: &[SocketAddr], stop: &AtomicBool, answered: &AtomicBool) {
        let before = self.ledger.len();
        while !stop.load(Ordering::Relaxed) {
            let place = match self.random.below(8) {
                0 if !self.ledger.is_empty() => self.random.below(self.ledger.len() as u64) as usize,
                1 | 2 => self.ledger.iter().rposition(|asked| asked.answer.is_none()).unwrap_or_else(|| self.new_one()),
                _ => self.new_one(),
            };
            let nodes = if self.ledger[place].key.is_some() { workers } else { serving };
            let node = nodes[self.random.below(nodes.len() as u64) as usize];
            let asked = &mut self.ledger[place];
            let is_new = asked.answer.is_none() && asked.key.is_some();
            let is_answered = asked.send(node);
            if is_answered && is_new {
                answered.store(true, Ordering::Relaxed);
            }
            std::thread::sleep(match is_answered {
                _ if self.ledger.len() > before + MANY => LONG_PAUSE,
                true => Duration::from_micros(self.random.below(20_000)),
                false => PAUSE,
            });
        }
    }

    fn new_one(&mut self) -> usize {
        let number = self.random.id();
        let body = chat(&format!("request {number}"));
        let asked = if self.random.below(2) == 0 {
            let key = number.to_string();
            // The id that a key stands for, as /v1/chat/completions makes it.
            let id = Uuid::new_v5(&TENANT, format!("completion/{key}").as_bytes());
            Asked { id, key: Some(key), body, answer: None }
        } else {
            let models = json!([{"provider_tenant_id": TENANT, "provider_id": PROVIDER, "model_id": "m"}]);
            let data = json!({"models": models, "payload": body.to_string()});
            let event = json!({"id": number, "type": "llm_request.SubmitRequest", "subject": number, "data": data});
            Asked { id: number, key: None, body: event, answer: None }
        };
        self.ledger.push(asked);
        self.ledger.len() - 1
    }
}

impl Asked {
    /// Gives whether it was answered. What was answered once is answered alike again.
    fn send(&mut self, node: SocketAddr) -> bool {
        let Some(key) = &self.key else {
            let body = self.body.to_string();
            let headers = [("content-type", "application/json")];
            let sent = client(node).request("POST", "/v1/commands?wait=accepted", &headers, body.as_bytes());
            let Some(answer) = sent.filter(|answer| answer.status != 503) else { return false };
            assert!([200, 202].contains(&answer.status), "{}: {}", answer.status, answer.text());
            self.answer = Some(Value::Null);
            return true;
        };
        match ask(node, key, &self.body) {
            Some((200, answer)) => {
                let before = self.answer.replace(answer);
                assert!(before.is_none() || before == self.answer, "{}: was {before:?}, is {:?}", self.id, self.answer);
                true
            }
            // Not taken, in doubt, or given up with its caller; none of them is the request's own fault.
            Some((status, answer)) => {
                let known = [409, 429, 499, 502, 503, 504].contains(&status);
                assert!(known, "{} was answered with {status}: {answer}", self.id);
                false
            }
            None => false,
        }
    }
}

/// What was found of all that was asked.
#[derive(Default, Debug)]
pub struct Found {
    requests: usize,
    completed: usize,
    cancelled: usize,
    attempts: u64,
    lost_attempts: u64,
    calls: u64,
}

/// Every accepted request ended once, those that were answered and those of commands by a completion; and nothing was
/// called more often than the record says that it was tried.
pub fn verify(serving: SocketAddr, askers: &mut [Asker], fake: &Fake) -> Found {
    let began = Instant::now();
    let mut found = Found::default();
    for asked in askers.iter_mut().flat_map(|asker| &mut asker.ledger) {
        while asked.key.is_none() && asked.answer.is_none() && !asked.send(serving) {
            assert!(began.elapsed() < CATCH_UP_MAX, "no answer to {} that was sent again", asked.id);
            std::thread::sleep(Duration::from_millis(50));
        }
        if let Some(request) = ended(serving, asked, began) {
            hold(&request, asked, &history(serving, asked.id), fake, &mut found);
        }
    }
    assert!(found.completed > 0 && found.lost_attempts <= found.attempts, "{found:?}");
    found
}

/// The request once it has ended; nothing where it was never recorded, as its sender was never told that it was.
fn ended(serving: SocketAddr, asked: &Asked, began: Instant) -> Option<Value> {
    loop {
        let answer = client(serving).get(&format!("/v1/llm-requests/{}", asked.id));
        let request = match answer.status {
            200 => answer.json(),
            404 if asked.answer.is_none() => return None,
            _ => json!({"status": format!("answered with {}", answer.status)}),
        };
        let status = request["status"].as_str().unwrap();
        if ["completed", "failed", "expired", "cancelled"].contains(&status) {
            return Some(request);
        }
        assert!(began.elapsed() < CATCH_UP_MAX, "{} has not ended: {request:#}", asked.id);
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The names of a request's events, oldest first.
fn history(serving: SocketAddr, id: Uuid) -> Vec<String> {
    let page = client(serving).read(&format!("/v1/llm-requests/{id}/history?limit=1000"));
    let items = page["items"].as_array().unwrap().iter();
    let events = items.filter(|item| item["kind"] == "event");
    events.map(|item| item["type"].as_str().unwrap().rsplit('.').next().unwrap().to_owned()).collect()
}

fn hold(request: &Value, asked: &Asked, events: &[String], fake: &Fake, found: &mut Found) {
    let id = asked.id;
    let count = |names: &[&str]| events.iter().filter(|event| names.contains(&event.as_str())).count();
    assert_eq!(count(&ENDINGS), 1, "{id} must end once: {events:?}");
    let [attempts, failed] = [&["AttemptStarted"], &["AttemptFailed"]].map(|names| count(names) as u64);
    let lost = request["lost_attempts"].as_u64().unwrap();
    // A caller that goes takes its request with it; what was accepted or answered is completed: the provider never fails.
    let is_completed = request["status"] == "completed";
    let is_abandoned = asked.key.is_some() && asked.answer.is_none();
    assert!(is_completed || is_abandoned, "{id} was accepted: {request:#}");
    let seen = fake.get(&format!("/fake/ids/{id}"));
    let calls = seen["arrived"].as_u64().unwrap();
    assert!(calls <= attempts, "{id} was called {calls} times in {attempts} attempts: {events:?}");
    assert!(!is_completed || calls >= 1, "{id} was completed without a call");
    // Only what failed or was lost is tried again: one that completed, or that its request's cancellation met, is the last.
    let is_met = is_completed || request["status"] == "cancelled";
    assert!(attempts <= u64::from(is_met) + failed + lost, "{id}: {events:?} {request:#}");
    let after = events.iter().rposition(|event| event == "AttemptStarted");
    let ending = events.iter().position(|event| ENDINGS.contains(&event.as_str()));
    assert!(after < ending, "{id} was tried after its end: {events:?}");
    found.requests += 1;
    found.completed += usize::from(is_completed);
    found.cancelled += usize::from(request["status"] == "cancelled");
    found.attempts += attempts;
    found.lost_attempts += lost;
    found.calls += calls;
}
