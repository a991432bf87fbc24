//! A client of few lines: one request, one connection, no library that could be lenient for us.

use super::server::eventually;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Longest that an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Answer {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value.trim())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        let json = serde_json::from_slice(&self.body);
        assert!(json.is_ok(), "{} {}: no JSON: {}", self.status, self.head, self.text());
        json.unwrap()
    }
}

/// Sends a request and reads its answer; `None` when the server is away or goes away meanwhile.
pub fn exchange(address: &str, head: &str, body: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let head = format!("{head}host: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    // A server that answers before it has read all of a body may close while we write: its answer is there still.
    let _ = stream.write_all(body);
    let mut bytes = Vec::new();
    let mut part = [0; 65_536];
    while let Ok(count @ 1..) = stream.read(&mut part) {
        bytes.extend_from_slice(&part[..count]);
    }
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut answer = Answer {
        status: head.split(' ').nth(1)?.parse().ok()?,
        body: bytes[end + 4..].to_vec(),
        head: head.split_once("\r\n").map_or(String::new(), |(_, headers)| headers.to_owned()),
    };
    if answer.header("transfer-encoding") == "chunked" {
        let (body, is_whole) = dechunked(&answer.text());
        answer.body = body.into_bytes();
        return is_whole.then_some(answer);
    }
    let whole = answer.header("content-length").parse() == Ok(answer.body.len()) || [204, 304].contains(&answer.status);
    whole.then_some(answer)
}

/// What the chunks hold, and whether the last one came.
pub fn dechunked(mut rest: &str) -> (String, bool) {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size, 16) else { break };
        if size == 0 {
            return (body, true);
        }
        let Some(chunk) = after.get(..size) else { break };
        body += chunk;
        rest = after.get(size + 2..).unwrap_or_default();
    }
    (body, false)
}

/// Those that got an id here.
static COMMANDS: AtomicU64 = AtomicU64::new(1);

/// Acts for one tenant on one server.
#[derive(Clone)]
pub struct Client {
    pub address: String,
    pub tenant: Option<String>,
}

impl Client {
    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], b"").unwrap()
    }

    /// The resource at a path, which must be there.
    pub fn read(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text());
        answer.json()
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes()).unwrap()
    }

    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Answer> {
        let mut head = format!("{method} {path} HTTP/1.1\r\ncontent-length: {}\r\n", body.len());
        if let Some(tenant) = &self.tenant {
            head += &format!("AgentVerse-Tenant: {tenant}\r\n");
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        exchange(&self.address, &head, body)
    }

    /// Sends one command and waits until it can be read. Where one answer is not enough for that, it is sent again.
    pub fn command(&self, event: &Value) -> Value {
        let mut event = event.clone();
        // What is sent again must be the same command, and no other.
        if event["id"].is_null() {
            event["id"] = format!("command {}", COMMANDS.fetch_add(1, Ordering::Relaxed)).into();
        }
        let send = || Some(self.post("/v1/commands?wait=projected", &event)).filter(|answer| answer.status != 202);
        let answer = eventually("a command is decided", send);
        assert_eq!(answer.status, 200, "{event}: {}", answer.text());
        answer.json()
    }

    /// Makes something by a convenience route and gives its id.
    pub fn make(&self, plural: &str, body: &Value) -> String {
        let answer = self.post(&format!("/v1/{plural}"), body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let json = answer.json();
        assert_eq!(json["outcome"], "applied", "{json}");
        json["subject"].as_str().unwrap().to_owned()
    }

    /// All items of a list, page by page.
    pub fn walk(&self, path: &str, limit: usize) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let sign = if path.contains('?') { '&' } else { '?' };
            let page = self.read(&format!("{path}{sign}limit={limit}{cursor}"));
            let found = page["items"].as_array().unwrap();
            assert!(found.len() <= limit, "{} items on a page of {limit}", found.len());
            items.extend(found.iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }
}
