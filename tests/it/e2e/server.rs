//! Starts and ends the real binary.

use super::http::Client;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_agentverse");
/// Between two looks at something that is waited for, and how often is looked: 40 s together.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS_MAX: usize = 2_000;

/// Waits until there is something.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let found = (0..LOOKS_MAX).find_map(|_| {
        let found = look();
        if found.is_none() {
            thread::sleep(LOOK);
        }
        found
    });
    assert!(found.is_some(), "waited in vain: {what}");
    found.unwrap()
}

/// A folder that outlives the servers that use it.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn log(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `agentverse check --deep`, whose findings must be none.
    pub fn check(&self) -> Value {
        let output = run(&["check", "--deep", "--output", "json", "--data", self.data().to_str().unwrap()], None);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        assert_eq!(output.status.code(), Some(0), "{report:#} {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(report["problem_count"], 0, "{report:#}");
        report
    }
}

/// A running `agentverse dev`; ended when dropped.
pub struct Server<'a> {
    child: Child,
    folder: &'a Folder,
    pub address: String,
}

impl<'a> Server<'a> {
    pub fn start(folder: &'a Folder) -> Self {
        Self::start_with(folder, &[])
    }

    /// Starts with further arguments and waits until it is ready and its catalogue is loaded.
    pub fn start_with(folder: &'a Folder, args: &[&str]) -> Self {
        let mut server = Self::launch(folder, args);
        eventually("the greeting", || {
            assert_eq!(server.child.try_wait().unwrap(), None, "ended: {}", server.said());
            let said = server.said();
            ["AgentVerse serves http://", "Serving http://"]
                .iter()
                .any(|greeting| said.contains(greeting))
                .then_some(())
        });
        server
    }

    /// Starts and waits only until it says that it is ready.
    pub fn launch(folder: &'a Folder, args: &[&str]) -> Self {
        let file = |name: &str| File::create(folder.log(name)).unwrap();
        let child = Command::new(BINARY)
            .args(["dev", "--http", "127.0.0.1:0", "--data", folder.data().to_str().unwrap()])
            .args(["--set", "log_format=pretty"])
            .args(args)
            .env_remove("AGENTVERSE_TENANT")
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap();
        let mut server = Self { child, folder, address: String::new() };
        server.address = eventually("the address", || {
            assert_eq!(server.child.try_wait().unwrap(), None, "ended: {}", server.said());
            let said = server.said();
            let (_, rest) = said.split_once("serving address=")?;
            rest.split_once(' ').map(|(address, _)| address.to_owned())
        });
        let ready = || server.client().request("GET", "/readyz", &[], b"").filter(|answer| answer.status == 200);
        eventually("readiness", ready);
        server
    }

    /// All that it wrote.
    pub fn said(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.log(name)).unwrap_or_default();
        read("stderr") + &read("stdout")
    }

    pub fn client(&self) -> Client {
        self.client_of(super::TENANT)
    }

    pub fn client_of(&self, tenant: &str) -> Client {
        Client { address: self.address.clone(), tenant: Some(tenant.to_owned()) }
    }

    /// A client whose tenant is provisioned.
    pub fn provisioned(&self) -> Client {
        let client = self.client();
        client.make("tenants", &json!({"name": "Acme", "region": "eu-west", "tier": "emerald"}));
        client
    }

    /// `agentverse <args>` against this server, for the test's tenant, in JSON.
    pub fn cli(&self, args: &[&str], input: Option<&str>) -> (Option<i32>, Value, String) {
        let url = format!("http://{}", self.address);
        let common = ["--url", &url, "--tenant", super::TENANT, "--output", "json"];
        let output = run(&[args, &common].concat(), input);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default(), told)
    }

    /// Asks the process to end, as an operator does.
    pub fn signal_term(&self) {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Ends it by SIGTERM; it must leave with 0, and must not have panicked on its way.
    pub fn stop(mut self) {
        self.signal_term();
        let status = self.ended();
        assert_eq!(status.code(), Some(0), "{}", self.said());
        let said = self.said();
        assert!(!said.contains("panicked"), "{said}");
    }

    fn ended(&mut self) -> ExitStatus {
        eventually("the end of the process", || self.child.try_wait().unwrap())
    }

    /// Ends it by SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the binary to its end.
pub fn run(args: &[&str], input: Option<&str>) -> Output {
    let mut child = Command::new(BINARY)
        .args(args)
        .current_dir(Path::new("/"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.unwrap_or_default().as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}
