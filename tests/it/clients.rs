//! Clients that share no code with this program, against a whole fleet on real servers: what they send is understood, and
//! what they read is what the documentation says.
//!
//! The programs are `tests/clients/`, written as examples for people who have a Kafka client, a registry's client or a CQL
//! driver and nothing else. Where the servers, Python, Node.js, their packages or kcat are missing, the test says so and
//! ends well.

mod described;
mod registry;
mod typescript;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

const BINARY: &str = env!("CARGO_BIN_EXE_agentverse");
pub const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");
const TENANT: &str = "6f1c2a52-0d5e-4c3b-9a77-1f0f6f1f9b01";
const AGENTS: usize = 1_000;
/// Between two looks at a role that starts or ends, and how often is looked: 60 s together.
const LOOK: Duration = Duration::from_millis(50);
const LOOKS_MAX: usize = 1_200;

/// Takes away what the fleet left on the servers.
const CLEAN: &str = "
import sys; sys.path.insert(0, sys.argv[1])
import fleet
from confluent_kafka.admin import AdminClient
session, _ = fleet.database()
session.execute(f'DROP KEYSPACE {fleet.KEYSPACE}', timeout=60)
session.cluster.shutdown()
admin = AdminClient({'bootstrap.servers': fleet.KAFKA})
mine = [name for name in admin.list_topics(timeout=10).topics if name.startswith(fleet.PREFIX)]
groups = [group.group_id for group in admin.list_consumer_groups().result().valid]
groups = [group for group in groups if group.startswith(fleet.PREFIX)]
answers = list(admin.delete_topics(mine).values()) if mine else []
answers += list(admin.delete_consumer_groups(groups).values()) if groups else []
[answer.result() for answer in answers]
";

/// Does to the third record of an agents' log what no user of this program can: alters a byte, or takes it out.
const TAMPER: &str = "
import sys; sys.path.insert(0, sys.argv[1])
import fleet
session, _ = fleet.database()
where = 'WHERE log = %s AND segment = 0 AND position = 3'
record = bytearray(session.execute(f'SELECT record FROM log {where}', ('agent/0',)).one().record)
record[-1] ^= 1
if sys.argv[2] == 'alter':
    session.execute(f'UPDATE log SET record = %s {where}', (bytes(record), 'agent/0'))
else:
    session.execute(f'DELETE FROM log {where}', ('agent/0',))
session.cluster.shutdown()
";

/// The servers that the test may use.
struct Servers {
    kafka: String,
    cql: String,
    registry: String,
}

impl Servers {
    fn named() -> Option<Self> {
        let name = |part: &str| {
            let variable = format!("AGENTVERSE_TEST_{part}");
            let value = std::env::var(&variable).ok().filter(|value| !value.is_empty());
            if value.is_none() {
                eprintln!("clients: not run, {variable} is not set");
            }
            value
        };
        Some(Self { kafka: name("KAFKA")?, cql: name("CQL")?, registry: name("REGISTRY")? })
    }
}

/// A Python with the packages, made once below the target folder; `None`, with words, where it cannot be had.
pub fn python() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients-venv");
    let (python, done) = (folder.join("bin/python"), folder.join("requirements.txt"));
    let wanted = Path::new(PROGRAMS).join("requirements.txt");
    if fs::read(&done).ok() != fs::read(&wanted).ok() {
        let path = folder.to_str()?;
        let quiet = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
        try_to("make a virtual environment of Python", Command::new("python3").args(["-m", "venv", "--clear", path]))?;
        try_to("install the packages of Python", Command::new(&python).args(quiet).arg(&wanted))?;
        fs::copy(&wanted, &done).unwrap();
    }
    // The driver's wheel needs an event loop that not every Python has.
    let import = "import blake3, cassandra.cluster, confluent_kafka.schema_registry.avro, httpx_sse, openai";
    try_to("import the packages of Python", Command::new(&python).args(["-c", import]))?;
    Some(python)
}

/// Whether a command ended well; `None`, with words, where it did not.
pub fn try_to(what: &str, command: &mut Command) -> Option<()> {
    let cause = match command.output() {
        Ok(output) if output.status.success() => return Some(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    eprintln!("clients: not run, could not {what}: {}", cause.lines().last().unwrap_or_default());
    None
}

/// One process of the fleet, ended when dropped.
struct Role {
    child: Child,
    address: SocketAddr,
}

impl Drop for Role {
    /// By SIGTERM, so that it leaves its consumer group, which cannot be deleted before; killed where that takes too long.
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        for _ in 0..LOOKS_MAX {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(LOOK),
                _ => return,
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A fleet of one process each, with tables and topics of its own.
struct Fleet {
    folder: PathBuf,
    python: PathBuf,
    roles: Vec<Role>,
    environment: Vec<(&'static str, String)>,
}

impl Fleet {
    fn start(servers: &Servers, python: PathBuf) -> Self {
        let name = format!("clients_{}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
        fs::create_dir_all(&folder).unwrap();
        let Servers { kafka, cql, registry } = servers;
        let settings = format!(
            "kafka_brokers = {kafka}\nscylla_nodes = {cql}\nscylla_keyspace = {name}\nscylla_replication = 1\n\
             topic_prefix = {name}.\npartitions = 4\nregistry_url = {registry}\n"
        );
        fs::write(folder.join("fleet.conf"), settings).unwrap();
        let environment = vec![
            ("AGENTVERSE_KAFKA", kafka.clone()),
            ("AGENTVERSE_REGISTRY", registry.clone()),
            ("AGENTVERSE_PREFIX", format!("{name}.")),
            ("AGENTVERSE_CQL", cql.clone()),
            ("AGENTVERSE_KEYSPACE", name),
        ];
        let mut fleet = Self { folder, python, roles: Vec::new(), environment };
        fleet.apply(&["schemas", "apply"]);
        fleet.apply(&["topics", "apply", "--replicas", "1"]);
        for role in ["process", "project", "serve"] {
            fleet.begin(role);
        }
        fleet.wait_until_ready();
        fleet
    }

    fn apply(&self, arguments: &[&str]) {
        let output = Command::new(BINARY).args(arguments).arg("--config").arg(self.folder.join("fleet.conf")).output();
        succeeded(&arguments.join(" "), &output.unwrap());
    }

    fn begin(&mut self, role: &str) {
        let address = crate::port::unused();
        let log = File::create(self.folder.join(format!("{role}.log"))).unwrap();
        let mut command = Command::new(BINARY);
        command.arg(role).arg("--config").arg(self.folder.join("fleet.conf")).args(["--http", &address.to_string()]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.roles.push(Role { child, address });
    }

    fn wait_until_ready(&mut self) {
        for _ in 0..LOOKS_MAX {
            for role in &mut self.roles {
                assert!(role.child.try_wait().unwrap().is_none(), "a role ended; see {}", self.folder.display());
            }
            if self.roles.iter().all(|role| is_ready(role.address)) {
                return;
            }
            thread::sleep(LOOK);
        }
        panic!("the roles did not get ready; see {}", self.folder.display());
    }

    /// One of the programs, by name; to be run by bash or Python.
    fn program(&self, name: &str) -> Command {
        let shell = Path::new("bash");
        let mut command = Command::new(if name.ends_with(".sh") { shell } else { &self.python });
        command.arg(Path::new(PROGRAMS).join(name)).envs(self.environment.iter().cloned());
        // Compiled files do not belong into the source tree.
        command.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
        command
    }

    fn snippet(&self, text: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.python);
        command.args(["-c", text, PROGRAMS]).args(arguments).env("PYTHONDONTWRITEBYTECODE", "1");
        command.envs(self.environment.iter().cloned()).output().unwrap()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.roles.clear();
        let output = self.snippet(CLEAN, &[]);
        if !output.status.success() {
            eprintln!("clients: not cleaned up: {}", String::from_utf8_lossy(&output.stderr));
        }
        if thread::panicking() {
            eprintln!("clients: the logs of the roles are kept in {}", self.folder.display());
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn is_ready(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let mut answer = String::new();
    let asked = write!(stream, "GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200")
}

/// What a program printed, which must have ended well.
pub fn succeeded(what: &str, output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{what}: {}", said.trim_end());
    assert!(output.status.success(), "{what}: {}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    said
}

fn kcat_is_there() -> bool {
    let there =
        ["kcat", "curl"].map(|name| Command::new(name).arg("-V").output().is_ok_and(|out| out.status.success()));
    if there.contains(&false) {
        eprintln!("clients: produce_json.sh was not run, kcat or curl is missing");
    }
    !there.contains(&false)
}

#[test]
fn independent_clients_send_and_read_what_the_documentation_says() {
    let Some(servers) = Servers::named() else { return };
    let Some(python) = python() else { return };
    let mut fleet = Fleet::start(&servers, python);
    let run = |command: &mut Command| {
        let program = Path::new(command.get_args().next().unwrap()).file_name().unwrap().to_owned();
        succeeded(&program.to_string_lossy(), &command.output().unwrap())
    };

    if kcat_is_there() {
        let metrics = format!("http://{}/metrics", fleet.roles[0].address);
        run(fleet.program("produce_json.sh").env("AGENTVERSE_METRICS", metrics));
    }
    let sent = run(fleet.program("avro_producer.py").args(["--tenant", TENANT, "--agents", &AGENTS.to_string()]));
    let found: Vec<&str> = sent.split_whitespace().collect();
    assert!(found.len() == 4 && found[1] == TENANT, "{sent}");
    run(fleet.program("read_events.py").args(&found));
    run(fleet.program("read_views.py").args(&found));
    // Once while the roles work, and once on what they left.
    run(fleet.program("verify_log.py").args(["--at-least", &AGENTS.to_string()]));
    fleet.roles.clear();
    run(&mut fleet.program("verify_log.py"));

    for tampering in ["alter", "remove"] {
        succeeded("tamper", &fleet.snippet(TAMPER, &[tampering]));
        let output = fleet.program("verify_log.py").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let named = if tampering == "alter" { "position 3: its hash" } else { "position 4: follows 2" };
        assert!(!output.status.success() && said.contains(named), "{tampering}: {said}");
    }
}
