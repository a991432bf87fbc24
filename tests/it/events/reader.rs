//! A reader of the feed in a few lines: HTTP/1.0, so that the answer is its lines and nothing else, and no library that
//! could be lenient for us.

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::mpsc::Receiver;
use std::time::Duration;

/// What a reader has had, over all of its connections.
#[derive(Default)]
pub struct Reader {
    /// Of the last message.
    pub last: Option<String>,
    pub events: Vec<Value>,
    /// Names of the messages that are no events.
    pub others: Vec<String>,
    /// After its first message it takes nothing until it is told to.
    pub pause: Option<Receiver<()>>,
    /// The length of the longest id.
    pub longest_id: usize,
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// It was left after so many events.
    Left,
    /// By the message `end`.
    Whole,
    /// By the other side, or by silence.
    Lost,
    /// By an answer with this status.
    Status(u16),
}

impl Reader {
    /// Reads on where it stood, at most so many events. A message that breaks off is none.
    pub fn read(&mut self, address: &str, tenant: Option<&str>, query: &str, events_max: usize) -> End {
        self.connect(address, tenant, query, events_max).unwrap_or(End::Lost)
    }

    fn connect(&mut self, address: &str, tenant: Option<&str>, query: &str, events_max: usize) -> Option<End> {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        let mut head = format!("GET /v1/events?{query} HTTP/1.0\r\nhost: {address}\r\n");
        head.extend(tenant.map(|tenant| format!("agentverse-tenant: {tenant}\r\n")));
        head.extend(self.last.iter().map(|last| format!("last-event-id: {last}\r\n")));
        stream.write_all(format!("{head}\r\n").as_bytes()).ok()?;
        let mut lines = BufReader::new(stream).lines();
        let status: u16 = lines.next()?.ok()?.split(' ').nth(1)?.parse().ok()?;
        if status != 200 {
            return Some(End::Status(status));
        }
        while !lines.next()?.ok()?.is_empty() {}
        let (mut message, mut count) = (BTreeMap::new(), 0);
        while count < events_max {
            let line = lines.next()?.ok()?;
            if let Some((name, value)) = line.split_once(": ") {
                message.insert(name.to_owned(), value.to_owned());
                continue;
            }
            let Some(name) = message.get("event").cloned() else { continue };
            if let Some(id) = message.get("id") {
                self.longest_id = self.longest_id.max(id.len());
                self.last = Some(id.clone());
            }
            if name.contains('.') {
                count += 1;
                let event: Value = serde_json::from_str(&message["data"]).unwrap();
                assert_eq!(event["type"], name);
                self.events.push(event);
            } else {
                self.others.push(name.clone());
            }
            message.clear();
            self.pause.take().into_iter().for_each(|pause| pause.recv().unwrap());
            if name == "end" {
                return Some(End::Whole);
            }
        }
        Some(End::Left)
    }

    /// Checks that no event came twice, and that each log's came in its order. Gives log and position of each, sorted.
    pub fn places(&self) -> Vec<(String, u64)> {
        let mut last: BTreeMap<String, u64> = BTreeMap::new();
        let mut places = Vec::new();
        for event in &self.events {
            let (log, position) = (event["log"].as_str().unwrap().to_owned(), event["position"].as_u64().unwrap());
            let before = last.insert(log.clone(), position);
            assert!(before < Some(position), "after {before:?} of its log came {event}");
            places.push((log, position));
        }
        places.sort();
        places
    }
}
