//! What a role says that cannot start: one line on what to do, and an exit code; soon where waiting heals nothing, and
//! after `start_ms_max` where it might.

use super::fleet::{Fleet, port};
use super::{eventually, named};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Settings, what the last line says, and the exit code.
struct Case<'a> {
    settings: &'a [(&'a str, &'a str)],
    parts: &'a [&'a str],
}

fn assert_refused(fleet: &Fleet, Case { settings, parts }: &Case<'_>) {
    let address = format!("127.0.0.1:{}", port());
    let began = Instant::now();
    let (code, said) = fleet.run(&["process", "--http", &address], settings);
    let last = said.lines().last().unwrap_or_default();
    println!("{settings:?}: exit code {code} after {:.1?}: {last}", began.elapsed());
    assert_eq!(code, 1, "{settings:?}: {said}");
    assert!(last.starts_with("agentverse: "), "{settings:?}: {said}");
    for part in *parts {
        assert!(last.contains(part), "{settings:?} lacks {part:?}: {said}");
    }
    // start_ms_max, the last attempt, and a busy machine.
    assert!(began.elapsed() < Duration::from_secs(25), "{settings:?} took {:?}", began.elapsed());
}

/// A listener that takes connections and says nothing, as a paused server does.
fn silent() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port())).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || stream.unwrap().read_to_end(&mut Vec::new()));
        }
    });
    address
}

/// A fleet on the shared servers, whose traces go with it.
struct Shared {
    fleet: Fleet,
    kafka: String,
    cql: String,
    name: String,
}

impl Shared {
    fn new(test: &str) -> Option<Self> {
        let (kafka, cql) = named(test)?;
        static COUNT: AtomicU16 = AtomicU16::new(0);
        let name = format!("troubles_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut fleet = Fleet::new(&kafka, &cql, &name);
        fleet.set("start_ms_max", "2000");
        fleet.prepare();
        Some(Self { fleet, kafka, cql, name })
    }

    fn cql(&self, statements: &[&str]) {
        runtime().block_on(async {
            let nodes: Vec<_> = self.cql.split(',').collect();
            let session: Session = SessionBuilder::new().known_nodes(nodes).build().await.unwrap();
            for statement in statements {
                session.query_unpaged(statement.replace("{ks}", &self.name), ()).await.unwrap();
            }
        });
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.cql(&["DROP KEYSPACE IF EXISTS {ks}"]);
        let mut config = ClientConfig::new();
        let client: AdminClient<DefaultClientContext> = config.set("bootstrap.servers", &self.kafka).create().unwrap();
        let metadata = client.inner().fetch_metadata(None, Duration::from_secs(10)).unwrap();
        let prefix = format!("{}.", self.name);
        let topics: Vec<_> =
            metadata.topics().iter().map(|topic| topic.name()).filter(|name| name.starts_with(&prefix)).collect();
        let _ = runtime().block_on(client.delete_topics(&topics, &AdminOptions::new()));
    }
}

#[test]
fn a_role_that_cannot_start_says_what_to_do_and_ends() {
    let Some(shared) = Shared::new("what a role says that cannot start") else { return };
    let (nobody, silent) = (format!("127.0.0.1:{}", port()), silent());
    let (registry, silent_registry) = (format!("http://{nobody}"), format!("http://{silent}"));
    let cases = [
        // Absent or slow: waited for, then given up.
        (
            &[("kafka_brokers", nobody.as_str())][..],
            &["no broker of Kafka", &nobody, "check kafka_brokers", "start_ms_max"][..],
        ),
        (&[("kafka_brokers", &silent)], &["no broker of Kafka", &silent, "check kafka_brokers", "start_ms_max"]),
        (&[("scylla_nodes", &nobody)], &["no node of the database", &nobody, "check scylla_nodes", "start_ms_max"]),
        (&[("scylla_nodes", &silent)], &["no node of the database", &silent, "check scylla_nodes", "start_ms_max"]),
        (&[("registry_url", &registry)], &["schema registry", &nobody, "check registry_url", "start_ms_max"]),
        (
            &[("registry_url", &silent_registry), ("registry_request_ms_max", "1000")],
            &["schema registry", &silent, "check registry_url", "start_ms_max"],
        ),
        // Wrong: no waiting heals it.
        (
            &[("kafka_brokers", &shared.cql)],
            &["no broker of Kafka that serves clients", "check the ports in kafka_brokers"],
        ),
        (&[("kafka_properties", "linger.mz=1")], &["no property \"linger.mz\"", "kafka_properties"]),
        (&[("kafka_properties", "linger.ms=hunter2")], &["does not take this value of the property \"linger.ms\""]),
        (&[("kafka_security", "tls")], &["another kind of link than kafka_security = tls", "check kafka_security"]),
        (
            &[("kafka_security", "tls"), ("kafka_tls_ca_file", "/nowhere")],
            &["kafka_tls_ca_file: /nowhere cannot be read"],
        ),
        (
            &[("kafka_security", "sasl_plaintext"), ("kafka_username", "ada")],
            &["no password", "AGENTVERSE_KAFKA_PASSWORD", "kafka_password_file"],
        ),
        (
            &[("kafka_security", "sasl_tls"), ("kafka_username", "ada"), ("kafka_password_file", "/nowhere")],
            &["kafka_password_file: /nowhere cannot be read"],
        ),
        (
            &[("scylla_username", "ada"), ("scylla_password_file", "/nowhere")],
            &["scylla_password_file: /nowhere cannot"],
        ),
        (&[("scylla_tls_ca_file", "/nowhere")], &["/nowhere: cannot be read", "scylla_tls_ca_file"]),
        (&[("scylla_datacenter", "atlantis")], &["no datacentre \"atlantis\"", "set scylla_datacenter to one of: "]),
        (
            &[("scylla_keyspace", "troubles_none")],
            &["keyspace troubles_none does not exist", "`agentverse schemas apply`"],
        ),
        (&[("scylla_keyspace", "a-b")], &["\"a-b\" is no name for a keyspace"]),
        (
            &[("topic_prefix", "troubles.none.")],
            &["topic troubles.none.", "does not exist", "`agentverse topics apply`"],
        ),
        (&[("topic_prefix", "a b/")], &["topic_prefix = \"a b/\"", "letters, digits, dots"]),
        (&[("partitions", "2")], &["created with partitions = 1", "set partitions = 1"]),
        (&[("partitions_of", "agent=2")], &["created with partitions_of.agent = 1", "set partitions_of = agent=1"]),
        (&[("index_buckets", "7")], &["set index_buckets = 16"]),
        (&[("view_buckets", "7")], &["set view_buckets = 16"]),
        (&[("outcome_buckets", "7")], &["set outcome_buckets = 32"]),
    ];
    // Most of them wait; four at a time leave a small machine room.
    for some in cases.chunks(4) {
        std::thread::scope(|scope| {
            for (settings, parts) in some {
                scope.spawn(|| assert_refused(&shared.fleet, &Case { settings, parts }));
            }
        });
    }
    the_tables_are_not_this_programs(&shared);
}

#[test]
fn a_topic_that_something_else_widened_stops_nobody_and_is_said() {
    let Some(shared) = Shared::new("a topic that something else widened") else { return };
    let topic = format!("{}.agentverse.agent.commands.v1", shared.name);
    let client: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &shared.kafka).create().unwrap();
    let wider = NewPartitions::new(&topic, 3);
    runtime().block_on(client.create_partitions([&wider], &AdminOptions::new())).unwrap();
    let partitions = || {
        let metadata = client.inner().fetch_metadata(Some(&topic), Duration::from_secs(10)).unwrap();
        metadata.topics()[0].partitions().len()
    };
    eventually("the broker tells of the partitions", 30, || (partitions() == 3).then_some(()));
    let mut role = shared.fleet.start("process", &[]);
    role.await_ready();
    let said = role.said();
    let expected = format!("topic {topic} has 3 partitions, and the fleet 1 logs");
    assert!(said.contains(&expected) && said.contains("topic_widened"), "{said}");
    assert!(said.contains("a partition that the fleet has no log for"), "{said}");
}

/// Older, newer, contradicted by the topics, and not there: what `schemas apply` and `topics apply` are asked to heal.
fn the_tables_are_not_this_programs(shared: &Shared) {
    let now = |parts: &[&str]| assert_refused(&shared.fleet, &Case { settings: &[], parts });
    shared.cql(&["UPDATE {ks}.fleet SET value = 2 WHERE name = 'partitions_of.agent'"]);
    let settings = &[("partitions_of", "agent=2")];
    let parts = &["agent.commands.v1 has 1 partitions, and the fleet 2 logs", "`agentverse topics accept-loss --yes`"];
    assert_refused(&shared.fleet, &Case { settings, parts });
    shared.cql(&["UPDATE {ks}.fleet SET value = 1 WHERE name = 'partitions_of.agent'"]);
    shared.cql(&["INSERT INTO {ks}.schema_version (id, version, name, digest) VALUES (0, 99, 'x', 0x00)"]);
    now(&["is at version 99, which is newer than this program's", "run a newer program"]);
    shared.cql(&["DELETE FROM {ks}.schema_version WHERE id = 0 AND version > 1"]);
    now(&["is at version 1 and this program needs", "`agentverse schemas apply`"]);
    // As the message says.
    shared.fleet.prepare();
    shared.cql(&["DROP TABLE {ks}.log"]);
    now(&["the database does not know what is asked of it", "log", "`agentverse schemas apply`"]);
    shared.cql(&["DROP TABLE {ks}.schema_version"]);
    now(&["schema_version", "`agentverse schemas apply`"]);
}
