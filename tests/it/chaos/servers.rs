//! Servers of this test's own, which it may stop as it likes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Kafka and Cassandra on ports of their own; ended, with their data, when dropped.
pub struct Servers {
    dir: PathBuf,
    pub kafka: String,
    pub cql: Vec<String>,
}

const KAFKA_PORT: u16 = 28_092;
const CQL_PORT: u16 = 28_042;
const STORAGE_PORT: u16 = 28_700;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Servers {
    /// `None` where they cannot be had: it is said why.
    pub fn start(ring: bool) -> Option<Self> {
        if std::env::var_os("AGENTVERSE_TEST_KAFKA").is_none() || std::env::var_os("AGENTVERSE_TEST_CQL").is_none() {
            eprintln!(
                "not run: the chaos suite wants AGENTVERSE_TEST_KAFKA and AGENTVERSE_TEST_CQL, as a sign that servers can be had"
            );
            return None;
        }
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos-servers");
        std::fs::create_dir_all(&dir).unwrap();
        // What was downloaded once serves here too.
        let (lib, shared) = (dir.join("lib"), root().join("target/servers/lib"));
        if !lib.exists() && shared.join("kafka").exists() {
            std::os::unix::fs::symlink(shared, &lib).unwrap();
        }
        let nodes = if ring { 3 } else { 1 };
        let cql = (1..=nodes).map(|node| format!("127.0.0.{node}:{CQL_PORT}")).collect();
        let servers = Self { dir, kafka: format!("127.0.0.1:{KAFKA_PORT}"), cql };
        servers.run(&["reset"]);
        let up: &[&str] = if ring { &["up", "--ring", "kafka", "cassandra"] } else { &["up", "kafka", "cassandra"] };
        match servers.status(up) {
            0 => Some(servers),
            3 => {
                eprintln!("not run: the chaos suite's servers cannot be started here");
                None
            }
            code => panic!("the servers did not start: exit code {code}"),
        }
    }

    pub fn ring(&self) -> bool {
        self.cql.len() > 1
    }

    /// One of the script's commands.
    pub fn run(&self, args: &[&str]) {
        let code = self.status(args);
        assert_eq!(code, 0, "deploy/local/servers {args:?}");
    }

    fn status(&self, args: &[&str]) -> i32 {
        let mut command = Command::new(root().join("deploy/local/servers"));
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null());
        command.env("AGENTVERSE_LOCAL_DIR", &self.dir).env("AGENTVERSE_LOCAL_WAY", "java");
        for (name, port) in [("KAFKA", KAFKA_PORT), ("CQL", CQL_PORT), ("CQL_STORAGE", STORAGE_PORT)] {
            command.env(format!("AGENTVERSE_LOCAL_{name}_PORT"), port.to_string());
        }
        command.stderr(std::fs::File::create(self.dir.join("script.log")).unwrap());
        command.status().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.status(&["reset"]);
    }
}
