//! A fleet of roles over the servers, each a process that can be ended, paused and started again.

use super::net::Namespace;
use super::servers::Servers;
use crate::crash::http::Http;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use uuid::Uuid;

const BINARY: &str = env!("CARGO_BIN_EXE_agentverse");
/// The shortest that a broker takes by default.
pub const SESSION: Duration = Duration::from_secs(6);
const READY_MAX: Duration = Duration::from_secs(90);

/// Where the processes' logs are.
pub fn logs() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos")
}

pub struct Fleet {
    config: PathBuf,
    pub namespace: Option<Namespace>,
    pub processors: Vec<Role>,
    pub projectors: Vec<Role>,
    pub workers: Vec<Role>,
    servers: Vec<Role>,
}

/// One process of a role, and its successors.
pub struct Role {
    name: String,
    verb: &'static str,
    address: SocketAddr,
    inside: bool,
    child: Option<Child>,
    /// What its predecessors counted.
    fenced: u64,
}

impl Fleet {
    pub fn start(servers: &Servers) -> Self {
        let folder = logs();
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let config = folder.join("agentverse.conf");
        let replicas = if servers.ring() { 3 } else { 1 };
        let keys = folder.join("keys.json");
        std::fs::write(&keys, super::requests::KEYS).unwrap();
        let text = format!(
            "kafka_brokers = {}\nscylla_nodes = {}\nscylla_keyspace = chaos\nscylla_replication = {replicas}\npartitions = 4\n\
             kafka_session_ms_max = {}\nkafka_request_ms_max = 10000\nscylla_request_ms_max = 20000\n\
             llm_keys_file = {}\nllm_call_ms_max = 3000\nllm_first_byte_ms_max = 2000\nrequest_backoff_first_ms = 10\n\
             shutdown_ms_max = 5000\nlog_filter = info,rdkafka=warn,librdkafka=error,scylla=error\n",
            servers.kafka,
            servers.cql.join(","),
            SESSION.as_millis(),
            keys.display(),
        );
        std::fs::write(&config, text).unwrap();
        let mut targets = servers.cql.clone();
        targets.push(servers.kafka.clone());
        let mut fleet = Self {
            namespace: Namespace::new(&folder, &targets),
            config,
            processors: vec![Role::new("process", 1, false), Role::new("process", 2, false)],
            projectors: vec![Role::new("project", 1, false), Role::new("project", 2, false)],
            workers: vec![Role::new("work", 1, false), Role::new("work", 2, false)],
            servers: vec![Role::new("serve", 1, false), Role::new("serve", 2, false)],
        };
        if fleet.namespace.is_some() {
            fleet.processors.push(Role::new("process", 3, true));
        }
        fleet.command(&["schemas", "apply"]);
        fleet.command(&["topics", "apply", "--replicas", "1"]);
        fleet.mend();
        fleet
    }

    fn command(&self, args: &[&str]) -> Vec<u8> {
        let output = Command::new(BINARY).args(args).arg("--config").arg(&self.config).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{args:?}: {} {}", text(&output.stdout), text(&output.stderr));
        output.stdout
    }

    fn roles(&mut self) -> impl Iterator<Item = &mut Role> {
        let owners = self.processors.iter_mut().chain(&mut self.projectors);
        owners.chain(&mut self.workers).chain(&mut self.servers)
    }

    /// Starts what does not run, and waits until all is ready.
    pub fn mend(&mut self) {
        let config = self.config.clone();
        self.roles().for_each(|role| role.start(&config));
        self.roles().for_each(|role| role.wait_ready());
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(|role| role.address).collect()
    }

    /// Where workers answer users.
    pub fn workers(&self) -> Vec<SocketAddr> {
        self.workers.iter().map(|role| role.address).collect()
    }

    pub fn serving(&self) -> SocketAddr {
        self.servers[0].address
    }

    /// Appends of replaced owners that the logs refused, in all processes that ever were.
    pub fn fenced(&mut self) -> u64 {
        self.processors.iter_mut().chain(&mut self.workers).map(Role::fenced).sum()
    }

    pub fn config(&self) -> PathBuf {
        self.config.clone()
    }

    /// What `check --cluster --deep` says, once the fleet has come to rest.
    pub fn check(&self) -> Value {
        let began = Instant::now();
        loop {
            let mut command = Command::new(BINARY);
            command.args(["check", "--cluster", "--deep", "--output", "json", "--config"]).arg(&self.config);
            let output = command.output().unwrap();
            let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            if output.status.success() && report["problem_count"] == 0 {
                return report;
            }
            // A projector may still be at it.
            let patient = began.elapsed() < Duration::from_secs(30);
            assert!(patient, "{} {report:#} {}", output.status, String::from_utf8_lossy(&output.stderr));
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

impl Role {
    fn new(verb: &'static str, number: usize, inside: bool) -> Self {
        let address = crate::port::unused();
        Self { name: format!("{verb}-{number}"), verb, address, inside, child: None, fenced: 0 }
    }

    pub fn start(&mut self, config: &Path) {
        if self.child.is_some() {
            return;
        }
        let log = OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let mut command = if self.inside { Namespace::command(BINARY) } else { Command::new(BINARY) };
        command.args([self.verb, "--http", &self.address.to_string(), "--config"]).arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    fn wait_ready(&mut self) {
        let began = Instant::now();
        while !self.ready() {
            let up = self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none());
            assert!(
                up && began.elapsed() < READY_MAX,
                "{} is not ready (running: {up}):\n{}",
                self.name,
                self.last_words()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The end of its log.
    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    fn log(&self) -> PathBuf {
        logs().join(format!("{}.log", self.name))
    }

    fn ready(&self) -> bool {
        match self.inside {
            true => self.get("/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")),
            false => matches!(Http::new(self.address, Uuid::nil()).get("/readyz"), Ok((200, _))),
        }
    }

    /// An answer as it came; from inside the namespace by a process in it.
    fn get(&self, path: &str) -> Option<String> {
        if self.inside {
            let url = format!("http://{}{path}", self.address);
            let output = Namespace::command("curl").args(["-si", "--max-time", "5", &url]).output().ok()?;
            return output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        std::io::Write::write_all(&mut stream, request.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// What it and its predecessors counted; a process that does not answer counts as it did before.
    fn fenced(&mut self) -> u64 {
        let name = "agentverse_append_fences_total ";
        let text = self.get("/metrics").unwrap_or_default();
        let now = text.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok());
        self.fenced + now.unwrap_or(0)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.fenced = self.fenced();
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().unwrap();
        kill_process(Pid::from_child(child), signal).unwrap();
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Keeps a line of what the test did beside what the processes say.
pub fn note(text: &str) {
    let mut file: File = OpenOptions::new().create(true).append(true).open(logs().join("faults.log")).unwrap();
    let _ = std::io::Write::write_all(&mut file, format!("{:?} {text}\n", std::time::SystemTime::now()).as_bytes());
}
