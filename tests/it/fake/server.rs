//! Starts `agentverse fake-provider` on a free port, and speaks HTTP with it without a library that could be lenient.

use crate::e2e::http::dechunked;
use crate::e2e::server::eventually;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Longest that an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running stand-in; ended when dropped.
pub struct Fake {
    child: Child,
    pub address: String,
}

/// What came back, as far as it came.
#[derive(Debug)]
pub struct Answer {
    /// 0 when there was none.
    pub status: u16,
    head: String,
    pub body: String,
    /// Nothing is missing from the body.
    pub is_whole: bool,
}

impl Fake {
    pub fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_agentverse"))
            .args(["fake-provider", "--http", "127.0.0.1:0"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = match serde_json::from_str::<Value>(&line) {
            Ok(json) => json["url"].as_str().unwrap_or_default().to_owned(),
            Err(_) => line.trim().to_owned(),
        };
        let address = url.strip_prefix("http://").unwrap_or_default().to_owned();
        assert!(address.starts_with("127.0.0.1:"), "it said {line:?}");
        Self { child, address }
    }

    /// Sends a request; `headers` are whole lines.
    pub fn request(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let mut stream = self.send(method, path, headers, body);
        let mut bytes = Vec::new();
        let mut part = [0; 65_536];
        while let Ok(count @ 1..) = stream.read(&mut part) {
            bytes.extend_from_slice(&part[..count]);
        }
        parsed(&bytes)
    }

    /// Sends a request and does not wait for an answer.
    pub fn send(&self, method: &str, path: &str, headers: &[&str], body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let length = body.len();
        let address = &self.address;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
        )
        .unwrap();
        stream
    }

    pub fn get(&self, path: &str) -> Value {
        let answer = self.request("GET", path, &[], "");
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    pub fn post(&self, path: &str, headers: &[&str], body: &Value) -> Answer {
        self.request("POST", path, headers, &body.to_string())
    }

    /// Asks OpenAI's wire.
    pub fn chat(&self, headers: &[&str], text: &str) -> Answer {
        self.post("/v1/chat/completions", headers, &chat(text, false))
    }

    pub fn stats(&self) -> Value {
        self.get("/fake/stats")
    }

    /// Ends it by SIGTERM; it must leave with 0.
    pub fn stop(mut self) {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
        let ended = eventually("the end of the process", || self.child.try_wait().unwrap());
        assert_eq!(ended.code(), Some(0));
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A question on OpenAI's wire.
pub fn chat(text: &str, stream: bool) -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": text}], "stream": stream, "stream_options": {"include_usage": stream}})
}

impl Answer {
    /// The value of a header; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value.trim())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The data of its events.
    pub fn events(&self) -> Vec<Value> {
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|line| serde_json::from_str(line).unwrap_or_else(|_| line.into())).collect()
    }
}

fn parsed(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, rest)) = text.split_once("\r\n\r\n") else {
        return Answer { status: 0, head: String::new(), body: text.into_owned(), is_whole: false };
    };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let mut answer = Answer { status, head: head.into(), body: rest.into(), is_whole: false };
    if answer.header("transfer-encoding") == "chunked" {
        (answer.body, answer.is_whole) = dechunked(rest);
    } else {
        answer.is_whole = answer.header("content-length").parse() == Ok(rest.len());
    }
    answer
}
