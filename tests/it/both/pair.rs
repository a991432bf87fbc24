//! The two sides, what was asked of them, and where they differed.

use super::mask::{masked, without_generated_ids, without_order_of_time};
use crate::e2e::http::{Answer, Client};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// Routes whose answers differ by design; [`super::sweep`] holds each side to its own.
pub const ALLOWED: &[(&str, &str)] = &[
    // Each process counts its own work; the names are the same.
    ("GET", "/metrics"),
    // Each node has a replica of its own, which is as large and as late as it is.
    ("GET", "/v1/status/replica"),
    // It has no end.
    ("GET", "/v1/events"),
];

/// Headers that a program reads.
const HEADERS: &[&str] = &["content-type", "location", "etag", "retry-after", "cache-control", "allow"];

/// A request.
#[derive(Clone)]
pub struct Ask {
    method: String,
    path: String,
    tenant: Option<String>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Ask {
    pub fn new(method: &str, path: impl Into<String>) -> Self {
        let tenant = Some(super::TENANT.to_owned());
        Self { method: method.to_owned(), path: path.into(), tenant, headers: Vec::new(), body: Vec::new() }
    }

    pub fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    /// Posts JSON.
    pub fn post(path: impl Into<String>, body: &Value) -> Self {
        Self::new("POST", path).with("content-type", "application/json").bytes(body.to_string())
    }

    pub fn patch(path: impl Into<String>, body: &Value) -> Self {
        Self { method: "PATCH".into(), ..Self::post(path, body) }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn bytes(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn tenant(mut self, tenant: Option<&str>) -> Self {
        self.tenant = tenant.map(str::to_owned);
        self
    }

    fn send(&self, client: &Client) -> Answer {
        let client = Client { tenant: self.tenant.clone(), ..client.clone() };
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = client.request(&self.method, &self.path, &headers, &self.body);
        assert!(answer.is_some(), "no answer to {} {} from {}", self.method, self.path, client.address);
        answer.unwrap()
    }
}

/// An embedded node and a cluster.
pub struct Pair {
    pub embedded: Client,
    pub cluster: Client,
    asked: BTreeSet<(String, String)>,
    requests: usize,
    differences: Vec<String>,
    /// Ids of the commands that were sent, with their tenants.
    pub sent: Vec<(String, String)>,
    /// Streams that were begun: plural, id, tenant.
    pub made: Vec<(String, String, String)>,
}

impl Pair {
    pub fn new(embedded: &Client, cluster: &Client) -> Self {
        let (embedded, cluster) = (embedded.clone(), cluster.clone());
        Self {
            embedded,
            cluster,
            asked: BTreeSet::new(),
            requests: 0,
            differences: Vec::new(),
            sent: Vec::new(),
            made: Vec::new(),
        }
    }

    /// Asks both and leaves the comparing to the caller: embedded, cluster.
    pub fn each(&mut self, ask: &Ask) -> [Answer; 2] {
        self.requests += 1;
        let path = ask.path.split('?').next().unwrap_or_default();
        self.asked.insert((ask.method.clone(), path.to_owned()));
        [ask.send(&self.embedded), ask.send(&self.cluster)]
    }

    pub fn differ(&mut self, ask: &Ask, what: &str) {
        let body: String = String::from_utf8_lossy(&ask.body).chars().take(300).collect();
        self.differences.push(format!("{} {} {body}\n{what}", ask.method, ask.path));
    }

    /// Asks both, compares, and gives the embedded node's body; null where it is no JSON. An answer with another status
    /// than expected counts as a difference: two that fail alike prove nothing.
    pub fn ask(&mut self, status: u16, ask: &Ask) -> Value {
        self.ask_and(status, ask, |body| body)
    }

    /// As [`Self::ask`], for a command that is sent without an id.
    pub fn ask_without_id(&mut self, status: u16, ask: &Ask) -> Value {
        self.ask_and(status, ask, without_generated_ids)
    }

    /// As [`Self::ask`], for a trace: what stands beside each other in it stands by its time.
    pub fn ask_tree(&mut self, status: u16, ask: &Ask) -> Value {
        self.ask_and(status, ask, without_order_of_time)
    }

    fn ask_and(&mut self, status: u16, ask: &Ask, mask: fn(Value) -> Value) -> Value {
        let answers = self.each(ask);
        let [embedded, cluster] = answers.each_ref().map(|answer| told(answer, mask));
        if embedded != cluster {
            self.differ(ask, &format!("  embedded: {embedded:#}\n  cluster:  {cluster:#}"));
        } else if answers[0].status != status {
            self.differ(ask, &format!("  {status} was expected of both: {embedded:#}"));
        }
        serde_json::from_slice(&answers[0].body).unwrap_or_default()
    }

    /// Reads a resource, a list or a history.
    pub fn read(&mut self, path: &str) -> Value {
        self.ask(200, &Ask::get(path))
    }

    /// An id for the next command.
    pub fn next_id(&mut self, tenant: &str) -> String {
        let id = format!("step-{}", self.sent.len());
        self.sent.push((id.clone(), tenant.to_owned()));
        id
    }

    /// Sends a command by its route, waits until it can be read, and checks what became of it: `applied`, or a refusal's
    /// code.
    pub fn perform(&mut self, expected: &str, path: &str, body: &Value) -> Value {
        self.command(expected, Ask::post(path, body))
    }

    /// As [`Self::perform`], for a request that was made elsewhere.
    pub fn command(&mut self, expected: &str, ask: Ask) -> Value {
        let tenant = ask.tenant.clone().unwrap_or_default();
        let ask = ask.with("ce-id", self.next_id(&tenant)).with("ce-actor", "ada");
        let answer = self.ask(200, &ask);
        let outcome = answer["reason"]["code"].as_str().or(answer["outcome"].as_str()).unwrap_or("none");
        if outcome != expected {
            self.differ(&ask, &format!("  {expected} was expected: {answer}"));
        }
        answer
    }

    /// Begins a stream under an id of the script's.
    pub fn create(&mut self, plural: &str, id: &str, body: &Value) {
        self.create_for(super::TENANT, "applied", plural, id, body);
    }

    pub fn create_for(&mut self, tenant: &str, expected: &str, plural: &str, id: &str, body: &Value) {
        let ask = Ask::post(format!("/v1/{plural}"), body).with("ce-subject", id).tenant(Some(tenant));
        self.command(expected, ask);
        self.made.push((plural.to_owned(), id.to_owned(), tenant.to_owned()));
    }

    /// Waits until both show a resource at a version, which what reacts to others reaches in its own time; then compares.
    pub fn until_version(&mut self, path: &str, version: u64) -> Value {
        for client in [self.embedded.clone(), self.cluster.clone()] {
            let reached = || client.get(path).json()["version"].as_u64() >= Some(version);
            if !within_patience(reached) {
                let shown = client.get(path).json();
                self.differ(
                    &Ask::get(path),
                    &format!("  version {version} is not reached at {}: {shown:#}", client.address),
                );
            }
        }
        self.read(path)
    }

    /// Walks the pages of a list, comparing each; gives all items.
    pub fn walk(&mut self, path: &str, limit: usize) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        let sign = if path.contains('?') { '&' } else { '?' };
        loop {
            let page = self.read(&format!("{path}{sign}limit={limit}{cursor}"));
            items.extend(page["items"].as_array().cloned().unwrap_or_default());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    /// Says what differed, and what was never asked.
    pub fn finish(&mut self) {
        println!("{} requests were asked of both", self.requests);
        let document = self.embedded.read("/openapi.json");
        for (path, operations) in document["paths"].as_object().unwrap() {
            for method in
                operations.as_object().unwrap().keys().filter(|key| ["get", "post", "patch"].contains(&&***key))
            {
                let is_asked = |(asked, of): &(String, String)| *asked == method.to_uppercase() && fits(path, of);
                assert!(self.asked.iter().any(is_asked), "the script never asks {method} {path}");
            }
        }
        assert!(self.differences.is_empty(), "they differ in {} answers, shown below", self.differences.len());
    }
}

impl Drop for Pair {
    /// Also where the script broke off: a difference is often the reason.
    fn drop(&mut self) {
        self.differences.iter().for_each(|difference| eprintln!("\n{difference}"));
    }
}

/// Looks for as long as reactions may take on a machine that does much else.
fn within_patience(mut look: impl FnMut() -> bool) -> bool {
    (0..1_000).any(|_| {
        let found = look();
        if !found {
            std::thread::sleep(Duration::from_millis(20));
        }
        found
    })
}

/// Whether a path is one of a route's.
fn fits(route: &str, path: &str) -> bool {
    let (route, path): (Vec<_>, Vec<_>) = (route.split('/').collect(), path.split('/').collect());
    route.len() == path.len() && route.iter().zip(&path).all(|(part, given)| *part == "{id}" || part == given)
}

/// What of an answer is compared.
fn told(answer: &Answer, mask: fn(Value) -> Value) -> Value {
    let headers: Vec<_> = HEADERS.iter().map(|name| format!("{name}: {}", answer.header(name))).collect();
    let body = match serde_json::from_slice(&answer.body) {
        Ok(body) => mask(masked(body)),
        Err(_) => Value::String(answer.text()),
    };
    json!({ "status": answer.status, "headers": headers, "body": body })
}
