//! The load: writers that send commands, remember each before it leaves, and note what was answered.

use super::http::Http;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// Splitmix64: the same seed sends the same commands, whatever becomes of them.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn id(&mut self) -> Uuid {
        let bytes = u128::from(self.next()) << 64 | u128::from(self.next());
        uuid::Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid()
    }

    fn one_of(&mut self, ids: &[Uuid]) -> Uuid {
        ids[self.below(ids.len() as u64) as usize]
    }
}

/// What has become of a command as far as its sender knows.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// None came: the connection broke, or nothing was listening.
    None,
    Accepted,
    Decided {
        outcome: String,
        version: Value,
    },
}

/// A command that was sent at least once.
#[derive(Clone, Debug)]
pub struct Sent {
    pub id: Uuid,
    /// Path of its stream's kind, as `agents`.
    pub plural: &'static str,
    pub subject: Uuid,
    /// The event as JSON, the same bytes each time.
    pub event: String,
    pub answer: Answer,
}

/// What all writers share: the streams that were begun, or at least asked for.
pub struct Fleet {
    pub tenant: Uuid,
    provider: Uuid,
    agents: Mutex<Vec<Uuid>>,
    servers: Mutex<Vec<Uuid>>,
    couplings: Mutex<Vec<Uuid>>,
}

/// Streams of a kind that commands still go to: the newest ones.
const LIVELY: usize = 100;

fn recent(streams: &Mutex<Vec<Uuid>>, random: &mut Random) -> Uuid {
    let streams = streams.lock().unwrap();
    random.one_of(&streams[streams.len().saturating_sub(LIVELY)..])
}

impl Fleet {
    pub fn new(random: &mut Random) -> Self {
        let [tenant, provider, agent, server, coupling] = std::array::from_fn(|_| random.id());
        let one = |id| Mutex::new(vec![id]);
        Self { tenant, provider, agents: one(agent), servers: one(server), couplings: one(coupling) }
    }

    fn agent(&self, random: &mut Random) -> (&'static str, Uuid, &'static str, Value) {
        // One of them gets more commands than its head remembers between two of the same.
        let is_hot = random.below(4) == 0;
        let stream = if is_hot { self.agents.lock().unwrap()[0] } else { recent(&self.agents, random) };
        let text = format!("purpose {}", random.next());
        let (command, data) = match random.below(10) {
            0..=4 => ("agent.ReviseAgent", json!({ "purpose": text })),
            5 | 6 => ("agent.ActivateAgent", json!({})),
            7 => ("agent.IdleAgent", json!({})),
            8 => ("agent.MaintainAgent", json!({ "reason": text })),
            _ if random.below(4) > 0 => ("agent.ReportAgentHealth", json!({ "health": "degraded" })),
            _ if is_hot => ("agent.IdleAgent", json!({})),
            _ => ("agent.DecommissionAgent", json!({ "reason": "crash test" })),
        };
        ("agents", stream, command, data)
    }

    fn server(&self, random: &mut Random) -> (&'static str, Uuid, &'static str, Value) {
        let stream = recent(&self.servers, random);
        let tool = |name: &str, text: u64| json!({ "name": name, "description": format!("searches {text}") });
        let (command, data) = match random.below(12) {
            0..=9 => {
                let tools = [tool("search", random.below(3)), tool("fetch", random.below(3))];
                ("mcp_server.DiscoverTools", json!({ "tools": tools[..1 + random.below(2) as usize] }))
            }
            10 => ("mcp_server.ReportMcpServerHealth", json!({ "health": "active" })),
            _ => ("mcp_server.DeregisterMcpServer", json!({ "reason": "crash test" })),
        };
        ("mcp-servers", stream, command, data)
    }

    fn coupling(&self, random: &mut Random) -> (&'static str, Uuid, &'static str, Value) {
        let stream = recent(&self.couplings, random);
        let (command, data) = match random.below(6) {
            0 | 1 => ("coupling.SuspendCoupling", json!({ "reason": "crash test" })),
            2 | 3 => ("coupling.ResumeCoupling", json!({})),
            4 => ("coupling.RebindCoupling", json!({})),
            _ => ("coupling.EndCoupling", json!({ "reason": "crash test" })),
        };
        ("couplings", stream, command, data)
    }

    /// A stream that is not there yet.
    fn begin(&self, random: &mut Random) -> (&'static str, Uuid, &'static str, Value) {
        let id = random.id();
        let begun = |streams: &Mutex<Vec<Uuid>>| streams.lock().unwrap().push(id);
        match random.below(20) {
            0 => {
                begun(&self.servers);
                let data = json!({ "name": format!("server {id}"), "category": "search",
                    "transport": "streamable-http", "endpoint": "https://example.org/mcp" });
                ("mcp-servers", id, "mcp_server.RegisterMcpServer", data)
            }
            1..=11 => {
                begun(&self.agents);
                let data = json!({ "name": format!("agent {id}"), "category": "support", "skills": ["search"] });
                ("agents", id, "agent.RegisterAgent", data)
            }
            _ => {
                let data = json!({ "agent_id": recent(&self.agents, random),
                    "mcp_server_id": recent(&self.servers, random) });
                begun(&self.couplings);
                ("couplings", id, "coupling.RequestCoupling", data)
            }
        }
    }

    fn next(&self, random: &mut Random) -> Sent {
        let (plural, subject, command, data) = match random.below(20) {
            0..=7 => self.begin(random),
            8..=15 => self.agent(random),
            16 => self.server(random),
            _ => self.coupling(random),
        };
        sent(random.id(), plural, subject, command, &data)
    }
}

fn sent(id: Uuid, plural: &'static str, subject: Uuid, command: &str, data: &Value) -> Sent {
    let event = json!({ "id": id, "type": command, "subject": subject, "data": data }).to_string();
    Sent { id, plural, subject, event, answer: Answer::None }
}

/// One sender and everything that it ever sent.
pub struct Writer {
    random: Random,
    pub ledger: Vec<Sent>,
}

impl Writer {
    pub fn new(random: Random) -> Self {
        Self { random, ledger: Vec::new() }
    }

    /// Takes what the fleet rests on as the first commands to send.
    pub fn found(&mut self, fleet: &Fleet) {
        let model = |name: &str| json!({ "model_id": name, "context_tokens": 100_000 });
        let server = json!({ "name": "first", "category": "search", "transport": "streamable-http",
            "endpoint": "https://example.org/mcp" });
        let first = |streams: &Mutex<Vec<Uuid>>| streams.lock().unwrap()[0];
        let commands = [
            ("tenants", fleet.tenant, "tenant.ProvisionTenant", json!({ "name": "Crash", "region": "eu-west" })),
            (
                "llm-providers",
                fleet.provider,
                "llm_provider.RegisterLlmProvider",
                json!({ "name": "models", "models": [model("small"), model("large")] }),
            ),
            ("mcp-servers", first(&fleet.servers), "mcp_server.RegisterMcpServer", server),
            ("agents", first(&fleet.agents), "agent.RegisterAgent", json!({ "name": "first", "category": "support" })),
        ];
        for (plural, subject, command, data) in commands {
            self.ledger.push(sent(self.random.id(), plural, subject, command, &data));
        }
    }

    /// Sends until told to stop, now and then something again that was answered. Half the time it begins with what earlier
    /// rounds left without an answer.
    pub fn drive(&mut self, address: SocketAddr, fleet: &Fleet, stop: &AtomicBool, answered: &AtomicBool) {
        let mut http = Http::new(address, fleet.tenant);
        let unanswered: Vec<usize> =
            (0..self.ledger.len()).filter(|place| self.ledger[*place].answer == Answer::None).take(500).collect();
        let retried = self.ledger.iter().all(|sent| sent.answer == Answer::None) || self.random.below(2) == 0;
        let mut group = if retried { unanswered } else { Vec::new() };
        while !stop.load(Ordering::Relaxed) {
            if group.is_empty() && self.random.below(8) == 0 {
                group = self.again();
            }
            if group.is_empty() {
                let count = if self.random.below(2) == 0 { 1 } else { 2 + self.random.below(40) };
                group = (0..count).map(|_| self.remember(fleet)).collect();
            }
            let wait = ["accepted", "applied", "projected"][self.random.below(3) as usize];
            if send(&mut http, &mut self.ledger, &group, wait) {
                answered.store(true, Ordering::Relaxed);
                group.clear();
            }
            std::thread::sleep(Duration::from_micros(self.random.below(12_000)));
        }
    }

    /// Commands that were answered long ago or just now, to be sent once more.
    fn again(&mut self) -> Vec<usize> {
        let all = self.ledger.len() as u64;
        if all == 0 {
            return Vec::new();
        }
        let span = [50, 500, all][self.random.below(3) as usize].min(all);
        let mut places: Vec<_> =
            (0..self.random.below(20)).map(|_| (all - 1 - self.random.below(span)) as usize).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    fn remember(&mut self, fleet: &Fleet) -> usize {
        self.ledger.push(fleet.next(&mut self.random));
        self.ledger.len() - 1
    }
}

/// Sends commands of a ledger, one alone or several as a batch, and notes the answers. Gives whether any came.
///
/// A second answer must say what the first one said: that is asserted here, wherever commands are sent again.
pub fn send(http: &mut Http, ledger: &mut [Sent], group: &[usize], wait: &str) -> bool {
    let target = format!("/v1/commands?wait={wait}&timeout_ms=30000");
    let events: Vec<&str> = group.iter().map(|place| ledger[*place].event.as_str()).collect();
    let alone = events.len() == 1;
    let body = if alone { events[0].to_owned() } else { format!("[{}]", events.join(",")) };
    let Ok((status, answer)) = http.post(&target, &body) else { return false };
    if status == 503 {
        return false;
    }
    assert!(status == 200 || status == 202, "status {status}: {answer}");
    let items = if alone { vec![answer] } else { answer["items"].as_array().cloned().unwrap_or_default() };
    assert_eq!(items.len(), group.len());
    for (place, item) in group.iter().zip(items) {
        let sent = &mut ledger[*place];
        assert_eq!(item["id"], sent.id.to_string(), "an answer stands in the place of another");
        let outcome = item["outcome"].as_str().unwrap_or_default().to_owned();
        match (&sent.answer, outcome.as_str()) {
            (Answer::Decided { .. }, "accepted") => {}
            (_, "accepted") => sent.answer = Answer::Accepted,
            (before, "applied" | "refused") => {
                let now = Answer::Decided { outcome, version: item["version"].clone() };
                let same = !matches!(before, Answer::Decided { .. }) || *before == now;
                assert!(same, "{} of {} {}: was {before:?}, is {now:?}", sent.id, sent.plural, sent.subject);
                sent.answer = now;
            }
            _ => assert_eq!(item, Value::Null, "{}", sent.event),
        }
    }
    true
}

/// The ledgers' commands by stream.
pub fn by_stream(writers: &[Writer]) -> HashMap<(&'static str, Uuid), Vec<&Sent>> {
    let mut streams: HashMap<_, Vec<&Sent>> = HashMap::new();
    for sent in writers.iter().flat_map(|writer| &writer.ledger) {
        streams.entry((sent.plural, sent.subject)).or_default().push(sent);
    }
    streams
}
