//! One process of a fleet.

use crate::e2e::http::{Answer, Client};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_agentverse");

/// A process that works as one of the roles; ended when it is dropped.
pub struct Role {
    child: Child,
    pub address: String,
    pub log: PathBuf,
}

impl Role {
    /// Starts `agentverse <kind>`.
    pub fn start(kind: &str, config: &Path, log: PathBuf) -> Self {
        let address = crate::port::unused().to_string();
        let child = Command::new(BINARY)
            .args([kind, "--config", config.to_str().unwrap(), "--http", &address])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, address, log }
    }

    /// Whether it says that it is ready.
    ///
    /// # Panics
    /// When it has ended.
    pub fn is_ready(&mut self) -> bool {
        assert_eq!(self.child.try_wait().unwrap(), None, "it ended: {}", self.said());
        let client = Client { address: self.address.clone(), tenant: None };
        client.request("GET", "/readyz", &[], b"").as_ref().map(|answer: &Answer| answer.status) == Some(200)
    }

    /// All that it wrote.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGTERM, and waits until what was under way has ended.
    pub fn terminate(mut self) {
        self.signal(Signal::TERM);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "SIGTERM ended it with {status}: {}", self.said());
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // Both fail only when it has ended already. SIGKILL ends a paused process too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
