//! The settings of a fleet, its roles as processes, and requests to them.

use super::eventually;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use uuid::Uuid;

const BINARY: &str = env!("CARGO_BIN_EXE_agentverse");
const TENANT: &str = "00000000-0000-0000-0000-0000000000aa";

/// A port that nobody listens on, below those that the system gives to outgoing links: one of these could take the port
/// of a server that is stopped for a while.
pub fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 1_000) as u16 * 10;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// What every process of a fleet is started with, and where their logs are.
pub struct Fleet {
    folder: TempDir,
    settings: Vec<(String, String)>,
    environment: Vec<(String, String)>,
}

impl Fleet {
    pub fn new(kafka: &str, cql: &str, name: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("agentverse-troubles-").tempdir().unwrap();
        let mut fleet = Self { folder, settings: Vec::new(), environment: Vec::new() };
        for (setting, value) in [
            ("kafka_brokers", kafka),
            ("scylla_nodes", cql),
            ("scylla_keyspace", name),
            ("scylla_replication", "1"),
            ("topic_prefix", &format!("{name}.")),
            ("partitions", "1"),
            ("kafka_request_ms_max", "3000"),
            ("kafka_session_ms_max", "6000"),
            ("scylla_request_ms_max", "3000"),
        ] {
            fleet.set(setting, value);
        }
        fleet
    }

    pub fn set(&mut self, setting: &str, value: &str) {
        self.settings.retain(|(name, _)| name != setting);
        self.settings.push((setting.to_owned(), value.to_owned()));
    }

    pub fn secret(&mut self, variable: &str, value: &str) {
        self.environment.retain(|(name, _)| name != variable);
        self.environment.push((variable.to_owned(), value.to_owned()));
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(args).stdin(Stdio::null());
        for (name, value) in &self.settings {
            command.arg("--set").arg(format!("{name}={value}"));
        }
        command.envs(self.environment.iter().cloned());
        command
    }

    /// Where the logs are; gone with the fleet.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command to its end: its exit code, and all that it said.
    pub fn run(&self, args: &[&str], more: &[(&str, &str)]) -> (i32, String) {
        let mut command = self.command(args);
        for (name, value) in more {
            command.arg("--set").arg(format!("{name}={value}"));
        }
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
    }

    /// Makes tables and topics.
    pub fn prepare(&self) {
        for args in [&["schemas", "apply"][..], &["topics", "apply", "--replicas", "1"]] {
            let (code, said) = self.run(args, &[]);
            assert_eq!(code, 0, "{args:?}: {said}");
        }
    }

    /// Starts a role; `environment` is for this one alone.
    pub fn start(&self, role: &'static str, environment: &[(&str, &str)]) -> Role {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port()));
        let log = self.folder.path().join(format!("{role}-{}.log", address.port()));
        let mut command = self.command(&[role, "--http", &address.to_string()]);
        command.envs(environment.iter().copied()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        Role { address, log, child: command.spawn().unwrap() }
    }
}

/// A running role, killed when it is dropped.
pub struct Role {
    address: SocketAddr,
    log: PathBuf,
    child: Child,
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Value,
    pub took: Duration,
}

impl Role {
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn await_ready(&mut self) {
        let _: Answer = eventually("the role is ready", 60, || {
            assert!(self.is_running(), "it ended: {}", self.said());
            self.request("GET", "/readyz", "").ok().filter(|answer| answer.status == 200)
        });
    }

    /// SIGTERM, and what is under way is finished.
    pub fn terminate(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "SIGTERM ended it with {status}: {}", self.said());
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, "").unwrap()
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path, &body.to_string()).unwrap()
    }

    /// Sends one command that registers a server of tools.
    pub fn register(&self, subject: Uuid, wait: &str) -> Answer {
        self.post(&format!("/v1/commands?wait={wait}&timeout_ms=2000"), &registration(subject))
    }

    fn request(&self, method: &str, path: &str, body: &str) -> std::io::Result<Answer> {
        let began = Instant::now();
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nagentverse-tenant: {TENANT}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| std::io::Error::other("no head"))?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok(Answer {
            status: status.ok_or_else(|| std::io::Error::other("no status"))?,
            head: head.to_ascii_lowercase(),
            body: serde_json::from_str(body).unwrap_or_default(),
            took: began.elapsed(),
        })
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = self.said();
            let end = said.lines().rev().take(30).collect::<Vec<_>>();
            println!("{}, its end first:\n{}", self.log.display(), end.join("\n"));
        }
    }
}

/// The command that registers a server of tools; its id is the server's.
pub fn registration(subject: Uuid) -> Value {
    json!({
        "id": subject, "type": "mcp_server.RegisterMcpServer", "subject": subject,
        "data": {"name": "Library", "category": "research", "transport": "streamable-http",
            "endpoint": "https://library.example/mcp"},
    })
}

/// The programs that were downloaded for `deploy/local/servers`.
pub fn programs() -> PathBuf {
    let folder = std::env::var_os("AGENTVERSE_LOCAL_DIR").map(PathBuf::from);
    folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers")).join("lib")
}
