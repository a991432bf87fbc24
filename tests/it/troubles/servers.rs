//! Kafka and Cassandra of a test's own, which it may stop as it likes.

use super::fleet::{port, programs};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Ended, with their data, when dropped.
pub struct Servers {
    folder: PathBuf,
    kafka_port: u16,
    cql_port: u16,
    storage_port: u16,
}

impl Servers {
    fn folder() -> PathBuf {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("troubles-servers")
    }

    /// Where each server has its data, by name.
    pub fn data() -> PathBuf {
        Self::folder().join("data")
    }

    /// Starts both; `None` where they cannot be had, and it is said why.
    pub fn start() -> Option<Self> {
        let folder = Self::folder();
        std::fs::create_dir_all(&folder).unwrap();
        // What was downloaded once serves here too.
        let lib = folder.join("lib");
        if lib.is_symlink() {
            // It may point to where they were at an earlier run.
            std::fs::remove_file(&lib).unwrap();
        }
        if programs().join("kafka").exists() && !lib.exists() {
            std::os::unix::fs::symlink(programs(), &lib).unwrap();
        }
        // Kafka's controller takes the port after the broker's.
        let servers = Self {
            folder,
            kafka_port: port(),
            cql_port: {
                port();
                port()
            },
            storage_port: port(),
        };
        servers.run(&["reset"]);
        match servers.run(&["up", "kafka", "cassandra"]) {
            0 => Some(servers),
            3 => {
                eprintln!("not run: no servers of the test's own can be had; {}", servers.script_log().display());
                None
            }
            code => panic!("the servers did not start: {code}; see {}", servers.script_log().display()),
        }
    }

    pub fn kafka(&self) -> String {
        format!("127.0.0.1:{}", self.kafka_port)
    }

    pub fn cql(&self) -> String {
        format!("127.0.0.1:{}", self.cql_port)
    }

    fn script_log(&self) -> PathBuf {
        self.folder.join("script.log")
    }

    /// One of the script's commands, for one server.
    pub fn tell(&self, command: &str, server: &str) {
        let code = self.run(&[command, server]);
        assert_eq!(code, 0, "{command} {server}; see {}", self.script_log().display());
    }

    fn run(&self, args: &[&str]) -> i32 {
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/local/servers"));
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(self.script_log()).unwrap());
        command.env("AGENTVERSE_LOCAL_DIR", &self.folder).env("AGENTVERSE_LOCAL_WAY", "java");
        for (name, port) in [("KAFKA", self.kafka_port), ("CQL", self.cql_port), ("CQL_STORAGE", self.storage_port)] {
            command.env(format!("AGENTVERSE_LOCAL_{name}_PORT"), port.to_string());
        }
        command.status().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.run(&["reset"]);
    }
}
