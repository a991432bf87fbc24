//! The tables, as versioned migrations under `schemas/cql/`, applied in order and under a lock; and the numbers that a
//! fleet is created with and keeps.
//!
//! A migration may be applied twice (a crash between its statements and its mark), so each statement is of the
//! `IF NOT EXISTS` kind. A migration that was released is never changed: its digest is kept and compared.

use super::session::{Config, Store};
use crate::adapters::words::words;
use crate::domain::Micros;
use scylla::cluster::ClusterState;
use scylla::cluster::metadata::Strategy;
use scylla::errors::ExecutionError;
use scylla::response::query_result::QueryResult;

/// One migration as it is compiled in.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    pub version: i32,
    pub name: &'static str,
    pub text: &'static str,
}

macro_rules! migrations {
    ($($version:literal $name:literal,)+) => {
        /// Every migration, in order; a test compares them with the folder.
        pub const MIGRATIONS: &[Migration] = &[$(Migration {
            version: $version,
            name: $name,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/cql/", $name, ".cql")),
        },)+];
    };
}

migrations! {
    1 "0001_log",
    2 "0002_index",
    3 "0003_views",
    4 "0004_limits",
    5 "0005_usage",
    6 "0006_traces",
}

/// The version that this program works with.
pub const VERSION: i32 = MIGRATIONS[MIGRATIONS.len() - 1].version;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Session(#[from] super::session::Error),
    #[error("the database: {0}; see whether enough of its nodes are up")]
    Statement(String),
    #[error(
        "scylla_replication = {asked} and datacentre {home} has {nodes} nodes: add nodes, or set scylla_replication to no \
         more than there are"
    )]
    Replication { asked: u16, home: String, nodes: usize },
    #[error("migration {name} does not apply: {cause}")]
    Migration { name: &'static str, cause: String },
    #[error("migration {name} was applied with another text; a released migration is never changed")]
    Changed { name: &'static str },
    #[error(
        "keyspace {keyspace} is at version {found}, which is newer than this program's {VERSION}: run a newer program"
    )]
    Newer { keyspace: String, found: i32 },
    #[error(
        "keyspace {keyspace} is at version {found} and this program needs {VERSION}: run `agentverse schemas apply`"
    )]
    Older { keyspace: String, found: i32 },
    #[error("keyspace {keyspace} does not exist: run `agentverse schemas apply`")]
    Missing { keyspace: String },
    #[error("somebody else is applying migrations (since {0}); if that one died, its lock ends by itself in 2 minutes")]
    Locked(String),
    #[error(
        "this fleet was created with {name} = {found}, and the settings say {asked}: set {setting}; it is fixed once a fleet exists", setting = setting(name, *found)
    )]
    Constant { name: String, found: i64, asked: i64 },
}

/// A number that a fleet is created with; its data is laid out by it.
pub type Constant = (String, i64);

/// How a constant is written in the settings: counts by aggregate have one setting together.
fn setting(name: &str, value: i64) -> String {
    match name.split_once('.') {
        Some((setting, part)) => format!("{setting} = {part}={value}"),
        None => format!("{name} = {value}"),
    }
}

/// What [`apply`] did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub keyspace_made: bool,
    /// Names, in order.
    pub migrations: Vec<&'static str>,
    /// Copies that the keyspace keeps in its home, where they are not as many as were asked for.
    pub copies: Option<usize>,
}

/// How long a lock lasts that nobody gives back.
const LOCK_SECONDS: i32 = 120;

/// Brings the keyspace up to [`VERSION`], making it where there is none, and writes the fleet's constants where they are
/// not there yet. `who` is shown to those who meet the lock.
///
/// # Errors
/// When a migration fails (those before it stay), the keyspace is newer, or another process is at it.
pub async fn apply(
    store: &Store,
    config: &Config,
    constants: &[Constant],
    who: &str,
    now: Micros,
) -> Result<Applied, Error> {
    let keyspace_made = make_keyspace(store, config).await?;
    let copies = copies(store, config).filter(|copies| *copies != usize::from(config.replication));
    let mut applied = Applied { keyspace_made, copies, ..Applied::default() };
    run(
        store,
        "CREATE TABLE IF NOT EXISTS {ks}.schema_version \
         (id int, version int, name text, digest blob, applied_at bigint, PRIMARY KEY (id, version))",
    )
    .await?;
    run(store, "CREATE TABLE IF NOT EXISTS {ks}.schema_lock (id int PRIMARY KEY, holder text)").await?;
    run(store, "CREATE TABLE IF NOT EXISTS {ks}.fleet (name text PRIMARY KEY, value bigint)").await?;
    lock(store, who).await?;
    let result = apply_locked(store, constants, now, &mut applied).await;
    let unlocked = unlock(store, who).await;
    result.and(unlocked).map(|()| applied)
}

async fn apply_locked(store: &Store, constants: &[Constant], now: Micros, applied: &mut Applied) -> Result<(), Error> {
    let done = versions(store).await?;
    if let Some((found, _)) = done.last().filter(|(version, _)| *version > VERSION) {
        return Err(Error::Newer { keyspace: store.keyspace.clone(), found: *found });
    }
    // The files name no keyspace, so that they can be read and run by hand; every other statement names it.
    store.session.use_keyspace(&store.keyspace, false).await.map_err(|error| Error::Statement(words(&error)))?;
    for migration in MIGRATIONS {
        let digest = blake3::hash(migration.text.as_bytes());
        match done.iter().find(|(version, _)| *version == migration.version) {
            Some((_, found)) if found == digest.as_bytes() => continue,
            Some(_) => return Err(Error::Changed { name: migration.name }),
            None => {}
        }
        for statement in statements(migration.text) {
            let failed = |error: ExecutionError| Error::Migration { name: migration.name, cause: words(&error) };
            store.session.query_unpaged(statement, ()).await.map_err(failed)?;
        }
        let mark = store
            .prepare("INSERT INTO {ks}.schema_version (id, version, name, digest, applied_at) VALUES (0, ?, ?, ?, ?)")
            .await?;
        let row = (migration.version, migration.name, digest.as_bytes().as_slice(), now);
        store.session.execute_unpaged(&mark, row).await.map_err(failed)?;
        applied.migrations.push(migration.name);
    }
    for (name, value) in constants {
        let insert =
            store.prepare_conditional("INSERT INTO {ks}.fleet (name, value) VALUES (?, ?) IF NOT EXISTS").await?;
        store.session.execute_unpaged(&insert, (name, value)).await.map_err(failed)?;
    }
    check_constants(store, constants).await
}

/// Checks at start that the tables are the ones that this program works with, and the settings the fleet's.
///
/// # Errors
/// In words that say what to run.
pub async fn check(store: &Store, constants: &[Constant]) -> Result<(), Error> {
    let keyspace = || store.keyspace.clone();
    let known = store.session.get_cluster_state().get_keyspace(&store.keyspace).is_some();
    if !known {
        return Err(Error::Missing { keyspace: keyspace() });
    }
    match versions(store).await?.last() {
        None => Err(Error::Older { keyspace: keyspace(), found: 0 }),
        Some((found, _)) if *found < VERSION => Err(Error::Older { keyspace: keyspace(), found: *found }),
        Some((found, _)) if *found > VERSION => Err(Error::Newer { keyspace: keyspace(), found: *found }),
        Some(_) => check_constants(store, constants).await,
    }
}

async fn check_constants(store: &Store, constants: &[Constant]) -> Result<(), Error> {
    let select = store.prepare("SELECT value FROM {ks}.fleet WHERE name = ?").await?;
    for (name, asked) in constants {
        let asked = *asked;
        let result = store.session.execute_unpaged(&select, (name,)).await.map_err(failed)?;
        let found = rows::<(i64,)>(result)?.pop().map(|(value,)| value);
        if let Some(found) = found.filter(|found| *found != asked) {
            return Err(Error::Constant { name: name.clone(), found, asked });
        }
    }
    Ok(())
}

async fn versions(store: &Store) -> Result<Vec<(i32, Vec<u8>)>, Error> {
    let select = store.prepare("SELECT version, digest FROM {ks}.schema_version WHERE id = 0").await?;
    rows(store.session.execute_unpaged(&select, ()).await.map_err(failed)?)
}

fn rows<R>(result: QueryResult) -> Result<Vec<R>, Error>
where
    R: for<'f> scylla::deserialize::row::DeserializeRow<'f, 'f>,
{
    let rows = result.into_rows_result().map_err(|error| Error::Statement(words(&error)))?;
    let rows = rows.rows::<R>().map_err(|error| Error::Statement(words(&error)))?;
    rows.collect::<Result<_, _>>().map_err(|error| Error::Statement(words(&error)))
}

fn failed(error: ExecutionError) -> Error {
    Error::Statement(words(&error))
}

async fn run(store: &Store, cql: &str) -> Result<(), Error> {
    store.session.query_unpaged(cql.replace("{ks}", &store.keyspace), ()).await.map(|_| ()).map_err(failed)
}

/// Makes the keyspace in the home datacentre. On ScyllaDB without tablets, on which conditional statements work from
/// 2025.4 on only.
async fn make_keyspace(store: &Store, config: &Config) -> Result<bool, Error> {
    let cluster = store.session.get_cluster_state();
    if cluster.get_keyspace(&store.keyspace).is_some() {
        return Ok(false);
    }
    let nodes = cluster.get_nodes_info();
    let home = home(config, &cluster);
    let scylla = nodes.iter().any(|node| node.sharder().is_some());
    let tablets = if scylla { " AND tablets = {'enabled': false}" } else { "" };
    let copies = config.replication;
    let there = nodes.iter().filter(|node| node.datacenter.as_deref() == Some(home.as_str())).count();
    if there < usize::from(copies) {
        return Err(Error::Replication { asked: copies, home, nodes: there });
    }
    run(
        store,
        &format!(
            "CREATE KEYSPACE IF NOT EXISTS {{ks}} WITH replication = \
             {{'class': 'NetworkTopologyStrategy', '{home}': {copies}}}{tablets}"
        ),
    )
    .await?;
    store.session.refresh_metadata().await.map_err(|error| Error::Statement(words(&error)))?;
    Ok(true)
}

/// Copies of every row in the home datacentre, where the keyspace says so.
fn copies(store: &Store, config: &Config) -> Option<usize> {
    let cluster = store.session.get_cluster_state();
    match &cluster.get_keyspace(&store.keyspace)?.strategy {
        Strategy::SimpleStrategy { replication_factor } => Some(*replication_factor),
        Strategy::NetworkTopologyStrategy { datacenter_repfactors } => {
            datacenter_repfactors.get(&home(config, &cluster)).copied()
        }
        _ => None,
    }
}

fn home(config: &Config, cluster: &ClusterState) -> String {
    let first = || cluster.get_nodes_info().iter().find_map(|node| node.datacenter.clone());
    config.datacenter.clone().or_else(first).unwrap_or_else(|| "datacenter1".into())
}

async fn lock(store: &Store, who: &str) -> Result<(), Error> {
    let cql =
        format!("INSERT INTO {{ks}}.schema_lock (id, holder) VALUES (0, ?) IF NOT EXISTS USING TTL {LOCK_SECONDS}");
    let insert = store.prepare_conditional(&cql).await?;
    let result = store.session.execute_unpaged(&insert, (who,)).await.map_err(failed)?;
    if super::journal::refusal::applied(result).map_err(Error::Statement)? {
        return Ok(());
    }
    let select = store.prepare("SELECT holder FROM {ks}.schema_lock WHERE id = 0").await?;
    let held = rows::<(Option<String>,)>(store.session.execute_unpaged(&select, ()).await.map_err(failed)?)?;
    Err(Error::Locked(held.into_iter().find_map(|(holder,)| holder).unwrap_or_else(|| "a moment ago".into())))
}

async fn unlock(store: &Store, who: &str) -> Result<(), Error> {
    let delete = store.prepare_conditional("DELETE FROM {ks}.schema_lock WHERE id = 0 IF holder = ?").await?;
    store.session.execute_unpaged(&delete, (who,)).await.map(|_| ()).map_err(failed)
}

/// The statements of a migration, without comments.
fn statements(text: &str) -> Vec<String> {
    let code: Vec<_> = text.lines().map(|line| line.split_once("--").map_or(line, |(code, _)| code)).collect();
    let code = code.join("\n");
    code.split(';').map(|statement| statement.trim().to_owned()).filter(|statement| !statement.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_a_migration_and_none_is_skipped() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/cql");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".cql"))
            .collect();
        files.sort();
        let named: Vec<_> = MIGRATIONS.iter().map(|migration| format!("{}.cql", migration.name)).collect();
        assert_eq!(files, named);
        for (place, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version as usize, place + 1);
            assert!(migration.name.starts_with(&format!("{:04}_", migration.version)));
            for statement in statements(migration.text) {
                assert!(statement.contains("IF NOT EXISTS"), "{}: {statement}", migration.name);
            }
        }
    }

    #[test]
    fn comments_are_no_statements() {
        assert_eq!(statements("-- a; b\nCREATE x; -- c\n\n CREATE\ny ;\n"), ["CREATE x", "CREATE\ny"]);
    }
}
