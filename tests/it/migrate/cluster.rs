//! A cluster's fleet on the servers that the environment names: made for one test, its roles as real processes, and
//! taken away at the end.

use crate::e2e::server::{eventually, run};
use agentverse::adapters::scylla::session::{Config, Store};
use agentverse::domain::audit::Problems;
use agentverse::runtime::cluster::Links;
use agentverse::runtime::settings::{Loaded, Settings};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::Value;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_agentverse");

static FLEETS: AtomicU32 = AtomicU32::new(0);

pub struct Cluster {
    kafka: String,
    nodes: String,
    keyspace: String,
    prefix: String,
    folder: TempDir,
    roles: Vec<Child>,
    starts: usize,
}

impl Cluster {
    /// A fresh fleet; `None`, and a word about it, where no servers are named.
    pub fn new(partitions: u16) -> Option<Self> {
        let servers = (std::env::var("AGENTVERSE_TEST_KAFKA"), std::env::var("AGENTVERSE_TEST_CQL"));
        let (Ok(kafka), Ok(nodes)) = servers else {
            eprintln!("AGENTVERSE_TEST_KAFKA and AGENTVERSE_TEST_CQL name no servers: the test did not run");
            return None;
        };
        let number = FLEETS.fetch_add(1, Ordering::Relaxed);
        let name = format!("migrate_{}_{number}", std::process::id());
        let folder = tempfile::tempdir().unwrap();
        let prefix = format!("{name}.");
        let cluster = Self { kafka, nodes, keyspace: name, prefix, folder, roles: Vec::new(), starts: 0 };
        fs::write(cluster.config(), cluster.settings(partitions)).unwrap();
        cluster.cli(&["schemas", "apply"]);
        cluster.cli(&["topics", "apply", "--replicas", "1"]);
        Some(cluster)
    }

    fn settings(&self, partitions: u16) -> String {
        let Self { kafka, nodes, keyspace, prefix, .. } = self;
        format!(
            "kafka_brokers = {kafka}\nscylla_nodes = {nodes}\nscylla_keyspace = {keyspace}\nscylla_replication = 1\n\
             topic_prefix = {prefix}\npartitions = {partitions}\nlog_format = pretty\n"
        )
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("c.conf")
    }

    /// `agentverse <args>` with this fleet's settings, which must succeed.
    pub fn cli(&self, args: &[&str]) -> Value {
        let output = self.try_cli(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    pub fn try_cli(&self, args: &[&str]) -> Output {
        run(&[args, &["--config", self.config().to_str().unwrap()]].concat(), None)
    }

    /// Starts a role and waits until it is ready; gives its address.
    pub fn start(&mut self, role: &str) -> String {
        self.starts += 1;
        let address: SocketAddr = crate::port::unused();
        let log = self.folder.path().join(format!("{role}-{}", self.starts));
        let child = Command::new(BINARY)
            .args([role, "--http", &address.to_string(), "--config", self.config().to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        self.roles.push(child);
        let ready = || {
            let answer = crate::e2e::http::exchange(&address.to_string(), "GET /readyz HTTP/1.1\r\n", b"");
            let child = self.roles.last_mut().unwrap();
            assert_eq!(child.try_wait().unwrap(), None, "{}", fs::read_to_string(&log).unwrap());
            answer.filter(|answer| answer.status == 200).map(|_| ())
        };
        eventually(role, ready);
        address.to_string()
    }

    pub fn stop_roles(&mut self) {
        for role in &self.roles {
            let _ = Command::new("kill").args(["-TERM", &role.id().to_string()]).status();
        }
        for mut role in self.roles.drain(..) {
            let _ = role.wait();
        }
    }

    fn settings_in_force(&self) -> Settings {
        Loaded::load(Some(&self.config()), |_| None, &[]).unwrap().settings
    }

    /// Every log holds, and every head and view row is what the log makes it. Gives records and streams.
    pub fn audit(&self) -> (u64, u64) {
        let settings = self.settings_in_force();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let links = Links::open(&settings).await.unwrap();
            let report = links.check(&settings, true).await.unwrap();
            assert_eq!(report.problems, Problems::default());
            (report.records, report.streams)
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop_roles();
        let client = |name: &str, value: &str| {
            ClientConfig::new().set("bootstrap.servers", &self.kafka).set(name, value).clone()
        };
        let consumer: Result<BaseConsumer, _> = client("group.id", "cleaning").create();
        let admin: Result<AdminClient<DefaultClientContext>, _> = client("client.id", "cleaning").create();
        let (Ok(consumer), Ok(admin)) = (consumer, admin) else { return };
        let Ok(metadata) = consumer.fetch_metadata(None, Duration::from_secs(10)) else { return };
        let topics: Vec<&str> =
            metadata.topics().iter().map(|topic| topic.name()).filter(|name| name.starts_with(&self.prefix)).collect();
        let config = Config {
            nodes: self.nodes.split(',').map(str::to_owned).collect(),
            keyspace: self.keyspace.clone(),
            datacenter: None,
            replication: 1,
            login: None,
            tls_ca_file: None,
            request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(90),
        };
        let Ok(runtime) = tokio::runtime::Runtime::new() else { return };
        runtime.block_on(async {
            let _ = admin.delete_topics(&topics, &AdminOptions::new()).await;
            if let Ok(store) = Store::connect(&config).await {
                let _ = store.session.query_unpaged(format!("DROP KEYSPACE IF EXISTS {}", config.keyspace), ()).await;
            }
        });
    }
}
