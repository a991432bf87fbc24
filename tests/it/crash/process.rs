//! The binary, its folder, and the ways in which it ends.

use super::http::Http;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use uuid::Uuid;

const BINARY: &str = env!("CARGO_BIN_EXE_agentverse");
/// Small, so that a round crosses checkpoints and segments.
const SETTINGS: [&str; 5] = [
    "partitions=4",
    "checkpoint_records_max=2000",
    "checkpoint_interval_ms=200",
    "segment_bytes_max=1MiB",
    "batch_bytes_max=64KiB",
];

/// The folder of a test, kept when the test fails.
pub struct World {
    folder: TempDir,
    starts: usize,
}

impl World {
    pub fn new() -> Self {
        Self { folder: tempfile::Builder::new().prefix("agentverse-crash-").tempdir().unwrap(), starts: 0 }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What the process that was started last says.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join(format!("{}.log", self.starts))
    }

    /// Starts a node and waits until it is ready.
    pub fn start(&mut self) -> Node {
        let mut node = self.start_unready();
        let began = Instant::now();
        let mut http = Http::new(node.address, Uuid::nil());
        while !matches!(http.get("/readyz"), Ok((200, _))) {
            let up = node.is_running() && began.elapsed() < Duration::from_secs(60);
            assert!(up, "the node did not come up; see {}", self.log().display());
            std::thread::sleep(Duration::from_millis(10));
        }
        node
    }

    pub fn start_unready(&mut self) -> Node {
        self.starts += 1;
        let address = crate::port::unused();
        let mut command = Command::new(BINARY);
        command.arg("dev").arg("--data").arg(self.data()).args(["--http", &address.to_string()]);
        command.args(SETTINGS.iter().flat_map(|setting| ["--set", setting]));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(self.log()).unwrap());
        Node { address, child: command.spawn().unwrap() }
    }

    /// The folder as `check --deep` finds it; opening it recovers it as a start does.
    pub fn check(&self) -> Value {
        let mut command = Command::new(BINARY);
        command.arg("check").arg("--data").arg(self.data()).args(["--deep", "--output", "json"]);
        let output = command.output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let right = output.status.success() && report["problem_count"] == 0;
        assert!(right, "{} {report:#} {}", output.status, String::from_utf8_lossy(&output.stderr));
        report
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            println!("the folder and the logs are kept in {}", self.folder.path().display());
        }
    }
}

/// A running process, killed when it is dropped.
pub struct Node {
    pub address: SocketAddr,
    child: Child,
}

impl Node {
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and what is in flight is finished.
    pub fn terminate(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "SIGTERM ended it with {status}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
    }
}
