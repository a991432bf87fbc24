//! Kafka with TLS and passwords (PLAIN and SCRAM), Cassandra with both: a fleet works through them, and what is wrong
//! with a password or certificate is said at once.

use super::fleet::{Fleet, Role, port, programs};
use super::{alone, eventually, named};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;
use uuid::Uuid;

/// Of every store and user here.
const PASSWORD: &str = "correct-horse";

/// Two servers with certificates of one authority, which is made for them.
struct Secured {
    folder: TempDir,
    java: Vec<Child>,
    /// Listeners: SASL without encryption, SASL over TLS, TLS alone.
    kafka: [u16; 3],
    cql: u16,
}

impl Drop for Secured {
    fn drop(&mut self) {
        for child in &mut self.java {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            println!("the servers' logs are kept in {}", self.folder.path().display());
        }
    }
}

/// `None` where a program is missing.
fn run(folder: &Path, program: &str, args: &[&str]) -> Option<()> {
    let output = Command::new(program).args(args).current_dir(folder).stdin(Stdio::null()).output().ok()?;
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(())
}

fn is_missing() -> Option<String> {
    let has = |program: &str, arg: &str| Command::new(program).arg(arg).output().is_ok();
    if !has("java", "-version") || !has("openssl", "version") {
        return Some("java and openssl".into());
    }
    let lacking = ["kafka", "cassandra"].into_iter().find(|name| !programs().join(name).exists())?;
    Some(format!("{}, which `deploy/local/servers up` downloads", programs().join(lacking).display()))
}

/// An authority, and a key store of a server on 127.0.0.1 whose certificate it signed.
fn certificates(folder: &Path) {
    let authority = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=Troubles"];
    for name in ["ca", "other"] {
        run(
            folder,
            "openssl",
            &[&authority[..], &["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")]].concat(),
        );
    }
    let request = ["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1"];
    run(folder, "openssl", &[&request[..], &["-keyout", "server.key", "-out", "server.csr"]].concat());
    fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n").unwrap();
    let sign =
        ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"];
    run(folder, "openssl", &[&sign[..], &["-extfile", "names", "-out", "server.pem"]].concat());
    let store = ["pkcs12", "-export", "-inkey", "server.key", "-in", "server.pem", "-certfile", "ca.pem"];
    run(folder, "openssl", &[&store[..], &["-out", "server.p12", "-passout", &format!("pass:{PASSWORD}")]].concat());
}

fn java(folder: &Path, name: &str, args: &[String]) -> Child {
    let log = File::create(folder.join(format!("{name}.log"))).unwrap();
    let mut command = Command::new("java");
    command.args(args).current_dir(folder).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().unwrap()
}

fn local(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/local").join(file)
}

fn start_kafka(folder: &Path, [plain, sasl, sasl_tls, tls, controller]: [u16; 5]) -> Child {
    let module = "org.apache.kafka.common.security";
    let scram = format!("{module}.scram.ScramLoginModule required;");
    let users = format!("{module}.plain.PlainLoginModule required user_ada=\"{PASSWORD}\";");
    let text = fs::read_to_string(local("kafka.properties")).unwrap();
    let text = text.replace("@DATA@", &folder.join("kafka").display().to_string());
    let text = text.replace("@KAFKA_PORT@", &plain.to_string()).replace("@CONTROLLER_PORT@", &controller.to_string());
    let listeners = format!(
        "PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl},SASL_SSL://127.0.0.1:{sasl_tls},SSL://127.0.0.1:{tls}"
    );
    let mut kept: Vec<String> = text
        .lines()
        .filter(|line| {
            !["listeners=", "advertised.listeners=", "listener.security"].iter().any(|it| line.starts_with(it))
        })
        .map(str::to_owned)
        .collect();
    kept.extend([
        format!("listeners={listeners},CONTROLLER://127.0.0.1:{controller}"),
        format!("advertised.listeners={listeners}"),
        "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,\
         SASL_SSL:SASL_SSL,SSL:SSL"
            .into(),
        "inter.broker.listener.name=PLAINTEXT".into(),
        "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512".into(),
        "ssl.keystore.type=PKCS12".into(),
        format!("ssl.keystore.location={}", folder.join("server.p12").display()),
        format!("ssl.keystore.password={PASSWORD}"),
    ]);
    for listener in ["sasl_plaintext", "sasl_ssl"] {
        kept.push(format!("listener.name.{listener}.plain.sasl.jaas.config={users}"));
        kept.push(format!("listener.name.{listener}.scram-sha-512.sasl.jaas.config={scram}"));
    }
    fs::write(folder.join("server.properties"), kept.join("\n")).unwrap();
    let classes = format!("{}/*", programs().join("kafka").display());
    let user = format!("SCRAM-SHA-512=[name=ada,password={PASSWORD}]");
    let format = ["-Xmx256m", "-cp", &classes, "kafka.tools.StorageTool", "format", "--cluster-id"];
    let config = ["YWdlbnR2ZXJzZS1sb2NhbA", "--config", "server.properties", "--add-scram", &user];
    run(folder, "java", &[&format[..], &config].concat());
    let args = ["-Xmx512m", "-XX:+UseSerialGC", "-cp", &classes, "kafka.Kafka", "server.properties"];
    java(folder, "kafka", &args.map(str::to_owned))
}

fn start_cassandra(folder: &Path, cql: u16, storage: u16) -> Child {
    let (home, lib) = (folder.join("cassandra"), programs().join("cassandra"));
    fs::create_dir(&home).unwrap();
    let text = fs::read_to_string(local("cassandra.yaml.in")).unwrap();
    let text = text.replace("@DATA@", &home.display().to_string()).replace("@HOST@", "127.0.0.1");
    let text = text.replace("@CQL_PORT@", &cql.to_string()).replace("@STORAGE_PORT@", &storage.to_string());
    let store = folder.join("server.p12").display().to_string();
    let secured = format!(
        "\nauthenticator: PasswordAuthenticator\nauthorizer: CassandraAuthorizer\nrole_manager: CassandraRoleManager\n\
         client_encryption_options:\n  enabled: true\n  optional: false\n  require_client_auth: false\n  \
         keystore: {store}\n  keystore_password: {PASSWORD}\n  store_type: PKCS12\n"
    );
    fs::write(folder.join("cassandra.yaml"), text + &secured).unwrap();
    fs::copy(local("logback.xml"), folder.join("logback.xml")).unwrap();
    let agent = fs::read_dir(&lib).unwrap().map(|entry| entry.unwrap().path());
    let agent =
        agent.into_iter().find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("jamm-")));
    let args = [
        "-Xmx1g".into(),
        "-Dcassandra.skip_wait_for_gossip_to_settle=0".into(),
        "-Dcassandra.ring_delay_ms=0".into(),
        "-Dcassandra.superuser_setup_delay_ms=0".into(),
        format!("-Dcassandra.storagedir={}", home.display()),
        format!("-javaagent:{}", agent.unwrap().display()),
        format!("@{}", local("cassandra.jvm").display()),
        "-cp".into(),
        format!("{}:{}/*", folder.display(), lib.display()),
        "org.apache.cassandra.service.CassandraDaemon".into(),
    ];
    java(folder, "cassandra", &args)
}

impl Secured {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("agentverse-secured-").tempdir().unwrap();
        certificates(folder.path());
        let [plain, sasl, sasl_tls, tls, controller, cql, storage] = std::array::from_fn(|_| port());
        let kafka = start_kafka(folder.path(), [plain, sasl, sasl_tls, tls, controller]);
        let cassandra = start_cassandra(folder.path(), cql, storage);
        Self { java: vec![kafka, cassandra], kafka: [sasl, sasl_tls, tls], cql, folder }
    }

    /// A fleet that may do everything: passwords and certificates are right.
    fn fleet(&self, security: &str, mechanism: &str) -> Fleet {
        let listener = self.kafka[["sasl_plaintext", "sasl_tls", "tls"].iter().position(|it| *it == security).unwrap()];
        let ca = self.folder.path().join("ca.pem").display().to_string();
        let mut fleet = Fleet::new(&format!("127.0.0.1:{listener}"), &format!("127.0.0.1:{}", self.cql), "secured");
        for (setting, value) in [
            ("kafka_security", security),
            ("kafka_sasl_mechanism", mechanism),
            ("kafka_username", "ada"),
            ("kafka_tls_ca_file", &ca),
            ("scylla_tls_ca_file", &ca),
            ("scylla_username", "cassandra"),
        ] {
            fleet.set(setting, value);
        }
        fleet.secret("AGENTVERSE_KAFKA_PASSWORD", PASSWORD);
        fleet.secret("AGENTVERSE_SCYLLA_PASSWORD", "cassandra");
        fleet
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

/// One command in, decided, and shown.
fn assert_works(fleet: &Fleet) {
    let mut roles = ["process", "project", "work", "serve"].map(|role| fleet.start(role, &[]));
    roles.iter_mut().for_each(Role::await_ready);
    let subject = Uuid::now_v7();
    let answer = roles[3].register(subject, "projected");
    assert!(matches!(answer.status, 200 | 202), "{answer:?}");
    eventually("the command is projected", 30, || {
        (roles[3].get(&format!("/v1/mcp-servers/{subject}")).status == 200).then_some(())
    });
    roles.iter_mut().for_each(Role::terminate);
}

fn assert_refused(fleet: &Fleet, settings: &[(&str, &str)], parts: &[&str]) {
    let more = [&[("start_ms_max", "3000")], settings].concat();
    let (code, said) = fleet.run(&["process", "--http", &format!("127.0.0.1:{}", port())], &more);
    let last = said.lines().last().unwrap_or_default();
    println!("{settings:?}: exit code {code}: {last}");
    assert_eq!(code, 1, "{said}");
    for part in parts {
        assert!(last.contains(part), "{settings:?} lacks {part:?}: {said}");
    }
    assert!(!said.contains("hunter2") && !said.contains(PASSWORD), "a password is shown: {said}");
}

#[test]
#[ignore = "starts secured servers of its own: run it by name after a change to how a link is made"]
fn a_fleet_works_over_secured_servers_and_says_which_password_or_certificate_is_wrong() {
    if named("the fleet over secured servers").is_none() {
        return;
    }
    if let Some(missing) = is_missing() {
        eprintln!("not run: the fleet over secured servers wants {missing}");
        return;
    }
    let _alone = alone();
    let secured = Secured::start();
    let plain = secured.fleet("sasl_plaintext", "plain");
    for args in [&["schemas", "apply"][..], &["topics", "apply", "--replicas", "1"]] {
        let mut last = String::new();
        eventually(&format!("{args:?} goes well"), 90, || {
            let (code, said) = plain.run(args, &[]);
            if said != last {
                println!("{args:?}: {code}: {said}");
                last = said;
            }
            (code == 0).then_some(())
        });
    }
    assert_works(&plain);
    for (security, mechanism) in [("sasl_plaintext", "scram_sha_512"), ("sasl_tls", "plain"), ("tls", "plain")] {
        let (code, said) = secured.fleet(security, mechanism).run(&["topics", "diff", "--replicas", "1"], &[]);
        assert_eq!(code, 0, "{security} {mechanism}: {said}");
    }
    let mut both = secured.fleet("sasl_tls", "scram_sha_512");
    assert_works(&both);
    let other = secured.file("other.pem");
    let plain_port = format!("127.0.0.1:{}", secured.kafka[1]);
    assert_refused(&both, &[("kafka_tls_ca_file", &other)], &["encrypted link to Kafka", "check kafka_tls_ca_file"]);
    assert_refused(
        &both,
        &[("scylla_tls_ca_file", &other)],
        &["encrypted link to the database", "check scylla_tls_ca_file"],
    );
    assert_refused(&both, &[("scylla_tls_ca_file", "")], &["no node of the database", "scylla_tls_ca_file"]);
    assert_refused(&both, &[("scylla_username", "")], &["refuses this user", "check scylla_username"]);
    assert_refused(
        &both,
        &[("kafka_sasl_mechanism", "scram_sha_256")],
        &["check kafka_username", "kafka_sasl_mechanism"],
    );
    assert_refused(
        &both,
        &[("kafka_security", "plaintext"), ("kafka_brokers", &plain_port)],
        &["check kafka_security"],
    );
    assert_refused(&plain, &[("kafka_security", "plaintext")], &["check kafka_security"]);
    both.secret("AGENTVERSE_KAFKA_PASSWORD", "hunter2");
    assert_refused(&both, &[], &["does not accept this user", "check kafka_username"]);
    let mut wrong = secured.fleet("sasl_plaintext", "plain");
    wrong.secret("AGENTVERSE_KAFKA_PASSWORD", "hunter2");
    assert_refused(&wrong, &[], &["does not accept this user", "check kafka_username"]);
    let mut wrong = secured.fleet("sasl_tls", "scram_sha_512");
    wrong.secret("AGENTVERSE_SCYLLA_PASSWORD", "hunter2");
    assert_refused(&wrong, &[], &["refuses this user", "check scylla_username"]);
}
