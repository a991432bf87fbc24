//! The tables are tried on the database that `AGENTVERSE_TEST_CQL` names (host:port), each test in a keyspace of its own.

use super::*;
use crate::cli::{Cli, stub};
use axum::response::Response;
use clap::Parser;

/// A keyspace of its own, which is not there yet.
struct Keyspace {
    settings: Settings,
    store: Store,
}

impl Keyspace {
    async fn new(name: &str) -> Option<Self> {
        let Ok(nodes) = std::env::var("AGENTVERSE_TEST_CQL") else {
            eprintln!("did not run: AGENTVERSE_TEST_CQL names no database");
            return None;
        };
        let scylla_keyspace = format!("test_{name}_{}", std::process::id());
        let settings = Settings {
            scylla_nodes: nodes,
            scylla_keyspace,
            scylla_replication: 1,
            partitions: 4,
            ..Settings::default()
        };
        let store = Store::connect(&links::scylla_config(&settings).unwrap()).await.unwrap();
        let keyspace = Self { settings, store };
        keyspace.run("DROP KEYSPACE IF EXISTS {ks}").await;
        Some(keyspace)
    }

    async fn run(&self, cql: &str) {
        let cql = cql.replace("{ks}", &self.settings.scylla_keyspace);
        self.store.session.query_unpaged(cql, ()).await.unwrap();
    }

    async fn count(&self, table: &str) -> i64 {
        let cql = format!("SELECT COUNT(*) FROM {}.{table}", self.settings.scylla_keyspace);
        let rows = self.store.session.query_unpaged(cql, ()).await.unwrap().into_rows_result().unwrap();
        rows.single_row::<(i64,)>().unwrap().0
    }

    async fn drop(self) {
        self.run("DROP KEYSPACE IF EXISTS {ks}").await;
    }
}

#[tokio::test]
async fn the_tables_are_made_once_and_the_second_time_nothing_changes() {
    let Some(keyspace) = Keyspace::new("twice").await else { return };
    let first = apply_cql(&keyspace.settings).await.unwrap();
    assert!(first.applied.keyspace_made);
    assert_eq!(first.applied.migrations.len(), migrate::MIGRATIONS.len());
    assert!(tables_line(&first).contains("was made"), "{}", tables_line(&first));
    let second = apply_cql(&keyspace.settings).await.unwrap();
    assert_eq!(second.applied, migrate::Applied::default());
    assert!(tables_line(&second).ends_with("no migration was needed."), "{}", tables_line(&second));
    assert_eq!(keyspace.count("schema_version").await, migrate::MIGRATIONS.len() as i64);
    let constants = links::fleet_constants(&keyspace.settings).len();
    assert_eq!(keyspace.count("fleet").await, constants as i64);
    assert_eq!(keyspace.count("schema_lock").await, 0, "the lock is given back");
    let check = Store::connect(&links::scylla_config(&keyspace.settings).unwrap()).await.unwrap();
    migrate::check(&check, &links::fleet_constants(&keyspace.settings)).await.unwrap();
    keyspace.drop().await;
}

#[tokio::test]
async fn a_fleet_keeps_the_numbers_that_it_was_created_with() {
    let Some(keyspace) = Keyspace::new("constants").await else { return };
    apply_cql(&keyspace.settings).await.unwrap();
    let other = Settings { partitions: 8, ..keyspace.settings.clone() };
    let error = apply_cql(&other).await.err().unwrap();
    assert!(error.to_string().contains("partitions = 4") && error.exit() == Exit::Usage, "{error}");
    keyspace.drop().await;
}

#[tokio::test]
async fn of_two_at_a_time_one_does_it_and_the_other_says_who_is_at_it() {
    let Some(keyspace) = Keyspace::new("locked").await else { return };
    let all = futures::future::join_all((0..4).map(|_| apply_cql(&keyspace.settings))).await;
    let done: Vec<_> = all.iter().flatten().filter(|tables| !tables.applied.migrations.is_empty()).collect();
    let told = || all.iter().filter_map(|one| one.as_ref().err()).map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(done.len(), 1, "exactly one made the tables: {:?}", told());
    for error in all.iter().filter_map(|one| one.as_ref().err()) {
        assert!(error.to_string().contains("somebody else is applying"), "{error}");
    }
    assert_eq!(keyspace.count("schema_version").await, migrate::MIGRATIONS.len() as i64);
    assert_eq!(keyspace.count("schema_lock").await, 0, "the lock is given back");

    keyspace.run("INSERT INTO {ks}.schema_lock (id, holder) VALUES (0, 'noon, process 7') IF NOT EXISTS").await;
    let error = apply_cql(&keyspace.settings).await.err().unwrap();
    assert!(error.to_string().contains("since noon, process 7") && error.exit() == Exit::Unreachable, "{error}");
    assert_eq!(keyspace.count("schema_lock").await, 1, "another's lock stays");
    keyspace.drop().await;
}

#[tokio::test]
async fn tables_of_a_newer_program_are_left_alone() {
    let Some(keyspace) = Keyspace::new("newer").await else { return };
    apply_cql(&keyspace.settings).await.unwrap();
    let newer = migrate::VERSION + 1;
    keyspace
        .run(&format!(
            "INSERT INTO {{ks}}.schema_version (id, version, name, digest) VALUES (0, {newer}, 'later', 0x00)"
        ))
        .await;
    let error = apply_cql(&keyspace.settings).await.err().unwrap();
    assert!(error.to_string().contains("run a newer program") && error.exit() == Exit::Failed, "{error}");
    assert_eq!(keyspace.count("schema_lock").await, 0, "the lock is given back");
    keyspace.drop().await;
}

#[tokio::test]
async fn a_database_that_is_not_there_has_its_exit_code() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let scylla_nodes = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = apply_cql(&Settings { scylla_nodes, ..Settings::default() }).await.err().unwrap();
    assert!(error.exit() == Exit::Unreachable && error.to_string().contains("check scylla_nodes"), "{error}");
}

fn run_line(line: &[&str]) -> Result<Exit, Error> {
    let line = [&["agentverse", "schemas"], line].concat();
    match Cli::try_parse_from(line).unwrap().command {
        crate::cli::Command::Schemas(args) => run(args),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_schema_is_found_by_its_short_and_its_full_name() {
    for name in ["RegisterAgent", "agentverse.agent.RegisterAgent"] {
        assert_eq!(subject(find(name).unwrap()), "agentverse.agent.RegisterAgent");
    }
    let error = run_line(&["show", "registeragent"]).unwrap_err();
    assert!(error.exit() == Exit::NotFound && error.to_string().contains("schemas list"), "{error}");
}

#[test]
fn the_list_says_what_a_schema_is_and_where_it_is() {
    let codec = find("RegisterAgent").unwrap();
    let row = listed(codec, Some(Place { id: 12, version: 3 }));
    assert_eq!(row["name"], "agentverse.agent.RegisterAgent");
    assert_eq!(row["fingerprint"], format!("{:016x}", codec.fingerprint));
    assert_eq!((row["fields"].as_u64(), row["id"].as_u64(), row["version"].as_u64()), (Some(14), Some(12), Some(3)));
    let shown = output::rows(&[row]).to_string();
    assert!(shown.contains("fingerprint") && shown.contains("12"), "{shown}");
    assert!(listed(codec, None)["id"].is_null());
}

#[test]
fn a_registry_alone_needs_a_registry() {
    let error = run_line(&["apply", "--only", "registry", "--set", "registry_url="]).unwrap_err();
    assert!(error.exit() == Exit::Usage && error.to_string().contains("set registry_url"), "{error}");
}

#[test]
fn a_registry_that_does_not_let_us_in_is_told_without_the_password() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = runtime.block_on(stub::serve(|_, _, _| Response::builder().status(403).body("no".into()).unwrap()));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "s3cret\n").unwrap();
    let settings = [
        format!("registry_url={url}"),
        "registry_username=ann".to_owned(),
        format!("registry_password_file={}", file.display()),
    ];
    let mut line = vec!["list"];
    settings.iter().for_each(|setting| line.extend(["--set", setting]));
    let error = run_line(&line).unwrap_err();
    assert!(error.to_string().contains("check registry_username") && error.exit() == Exit::Failed, "{error}");
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
}

#[test]
fn what_was_done_is_told_for_people_and_for_programs() {
    let item = |subject: &str, outcome| Registered { subject: subject.to_owned(), fingerprint: 10, outcome };
    let place = Place { id: 4, version: 1 };
    let done = Done {
        cql: None,
        registry: Some((
            "http://r".to_owned(),
            vec![
                item("a", Outcome::Unchanged(place)),
                item("b", Outcome::Registered(place)),
                item("c", Outcome::Incompatible(vec!["no".to_owned()])),
            ],
        )),
    };
    assert_eq!(done.incompatible(), 1);
    let json = done.to_json();
    assert!(json["cql"].is_null());
    assert_eq!(
        json["registry"]["items"][1],
        json!({
            "name": "b", "status": "registered", "fingerprint": "000000000000000a", "id": 4, "version": 1,
            "messages": null,
        })
    );
    assert_eq!(json["registry"]["items"][2]["messages"], json!(["no"]));
    let lines = done.lines(true);
    assert_eq!(lines[0], "Registry http://r: 1 schemas registered, 1 unchanged, 1 incompatible.");
    assert!(lines[1].contains(" b ") && !lines[1].contains(" a "), "what is unchanged is only counted: {}", lines[1]);
    assert_eq!(lines[2..], ["- c: no"]);
    assert_eq!(Done::default().lines(true), [NO_REGISTRY]);
    assert!(Done::default().lines(false).is_empty());
}

#[test]
fn the_lock_names_when_and_which_process() {
    let holder = holder(1_700_000_000_000_000);
    assert!(holder.starts_with("2023-11-14T22:13:20Z, process "), "{holder}");
}
