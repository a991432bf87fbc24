//! The session: links, execution profiles and prepared statements of everything that speaks CQL.
//!
//! Two profiles. *Plain* statements write absolute rows with a timestamp of their own, so the driver may repeat them.
//! *Conditional* ones are sent once: a repeated compare-and-set would meet its own first try and read as refused.

use super::policy::Conditional;
use crate::adapters::words::words;
use openssl::ssl::{SslContext, SslContextBuilder, SslMethod, SslVerifyMode};
use scylla::client::execution_profile::{ExecutionProfile, ExecutionProfileHandle};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{DbError, ExecutionError, NewSessionError, PrepareError, RequestAttemptError};
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::retry::{DefaultRetryPolicy, FallthroughRetryPolicy};
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How to reach the database; see `agentverse config --explain`.
#[derive(Clone)]
pub struct Config {
    /// `host:port`, to begin with.
    pub nodes: Vec<String>,
    pub keyspace: String,
    /// The fleet's home, which no statement leaves; `None` where the cluster has but one.
    pub datacenter: Option<String>,
    pub replication: u16,
    /// Name and password.
    pub login: Option<(String, String)>,
    /// With it the link is encrypted, and the nodes' certificates must be signed by one of these.
    pub tls_ca_file: Option<PathBuf>,
    pub request_timeout: Duration,
    /// Longest that opening the session may take: several requests in turn, to every node.
    pub connect_timeout: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{0:?} is no name for a keyspace: give a letter, then up to 47 letters, digits or underscores, all lower case"
    )]
    Keyspace(String),
    #[error("no node of the database can be reached at {nodes}: {cause}; check scylla_nodes, and that it runs")]
    Unreachable { nodes: String, cause: String },
    #[error("the database at {nodes} refuses this user: {cause}; check scylla_username and its password")]
    Login { nodes: String, cause: String },
    #[error("{file}: {cause}; scylla_tls_ca_file must hold certificates in PEM form", file = file.display())]
    Tls { file: PathBuf, cause: String },
    #[error(
        "the encrypted link to the database at {nodes} cannot be made: {cause}; check scylla_tls_ca_file (empty: a link \
         without encryption), and that the nodes' certificates are signed by one of it"
    )]
    Handshake { nodes: String, cause: String },
    #[error("the database has no datacentre {asked:?}; set scylla_datacenter to one of: {found}")]
    Datacenter { asked: String, found: String },
    #[error("the database does not know what is asked of it: {0}; run `agentverse schemas apply`")]
    Schema(String),
    #[error("the database is not available: {0}")]
    Unavailable(String),
}

/// An open session with the keyspace that it works on.
pub struct Store {
    pub session: Session,
    pub keyspace: String,
    conditional: ExecutionProfileHandle,
}

impl Store {
    /// Opens the links. The keyspace need not exist yet.
    ///
    /// # Errors
    /// When no node can be reached or the user is refused.
    pub async fn connect(config: &Config) -> Result<Self, Error> {
        check_name(&config.keyspace)?;
        let mut builder = SessionBuilder::new()
            .known_nodes(&config.nodes)
            .connection_timeout(config.request_timeout)
            .default_execution_profile_handle(plain(config).into_handle());
        if let Some((name, password)) = &config.login {
            builder = builder.user(name, password);
        }
        if let Some(file) = &config.tls_ca_file {
            builder = builder.tls_context(Some(tls(file)?));
        }
        // A peer that takes connections and says nothing holds the driver for several of its timeouts.
        let session = match tokio::time::timeout(config.connect_timeout, builder.build()).await {
            Ok(session) => session.map_err(|error| refused(config, &error))?,
            Err(_) => return Err(silent(config)),
        };
        check_datacenter(config, &session)?;
        let conditional = conditional(config).into_handle();
        Ok(Self { session, keyspace: config.keyspace.clone(), conditional })
    }

    /// Whether a node answers at all.
    ///
    /// # Errors
    /// When none does within the time of a request.
    pub async fn answers(&self) -> Result<(), Error> {
        let answer = self.session.query_unpaged("SELECT key FROM system.local", ()).await;
        answer.map(drop).map_err(|error| Error::Unavailable(words(&error)))
    }

    /// Prepares a statement that may be repeated. `{ks}` in it stands for the keyspace.
    pub async fn prepare(&self, cql: &str) -> Result<PreparedStatement, Error> {
        let mut statement = self.session.prepare(cql.replace("{ks}", &self.keyspace)).await.map_err(unprepared)?;
        statement.set_is_idempotent(true);
        Ok(statement)
    }

    /// Prepares a conditional statement: sent once, at the serial level, to the replicas in a fixed order.
    pub async fn prepare_conditional(&self, cql: &str) -> Result<PreparedStatement, Error> {
        let mut statement = self.session.prepare(cql.replace("{ks}", &self.keyspace)).await.map_err(unprepared)?;
        statement.set_is_idempotent(false);
        statement.set_execution_profile_handle(Some(self.conditional.clone()));
        Ok(statement)
    }

    /// The profile of conditional batches.
    pub fn conditional(&self) -> ExecutionProfileHandle {
        self.conditional.clone()
    }
}

fn plain(config: &Config) -> ExecutionProfile {
    let mut policy = DefaultPolicy::builder().token_aware(true);
    if let Some(datacenter) = &config.datacenter {
        policy = policy.prefer_datacenter(datacenter.clone()).permit_dc_failover(false);
    }
    ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .serial_consistency(Some(SerialConsistency::LocalSerial))
        .request_timeout(Some(config.request_timeout))
        .retry_policy(Arc::new(DefaultRetryPolicy::new()))
        .load_balancing_policy(policy.build())
        .build()
}

fn conditional(config: &Config) -> ExecutionProfile {
    let plain = plain(config);
    let policy = Conditional::over(plain.get_load_balancing_policy().clone());
    plain
        .to_builder()
        .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
        .speculative_execution_policy(None)
        .load_balancing_policy(Arc::new(policy))
        .build()
}

fn tls(file: &PathBuf) -> Result<SslContext, Error> {
    let failed = |cause: openssl::error::ErrorStack| Error::Tls { file: file.clone(), cause: cause.to_string() };
    // The library's own words for a file that is not there are a stack of calls.
    let read = std::fs::File::open(file).map(drop);
    read.map_err(|error| Error::Tls { file: file.clone(), cause: format!("cannot be read: {error}") })?;
    let mut builder = SslContextBuilder::new(SslMethod::tls_client()).map_err(failed)?;
    builder.set_ca_file(file).map_err(failed)?;
    builder.set_verify(SslVerifyMode::PEER);
    Ok(builder.build())
}

fn check_name(keyspace: &str) -> Result<(), Error> {
    let letters = keyspace.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let first = keyspace.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if letters && first && keyspace.len() <= 48 { Ok(()) } else { Err(Error::Keyspace(keyspace.to_owned())) }
}

fn check_datacenter(config: &Config, session: &Session) -> Result<(), Error> {
    let Some(asked) = &config.datacenter else { return Ok(()) };
    let cluster = session.get_cluster_state();
    let mut found: Vec<_> = cluster.get_nodes_info().iter().filter_map(|node| node.datacenter.as_deref()).collect();
    found.sort_unstable();
    found.dedup();
    if found.contains(&asked.as_str()) {
        return Ok(());
    }
    Err(Error::Datacenter { asked: asked.clone(), found: found.join(", ") })
}

fn silent(config: &Config) -> Error {
    let cause = format!("no session within {} ms", config.connect_timeout.as_millis());
    Error::Unreachable { nodes: config.nodes.join(","), cause }
}

fn refused(config: &Config, error: &NewSessionError) -> Error {
    let (nodes, cause) = (config.nodes.join(","), words(error));
    // The driver wraps what a node answered in several layers, of which the text alone comes through.
    if ["uthentic", "password", "Unauthorized", "credentials"].iter().any(|word| cause.contains(word)) {
        return Error::Login { nodes, cause };
    }
    if config.tls_ca_file.is_some() && ["SSL routines", "certificate"].iter().any(|word| cause.contains(word)) {
        return Error::Handshake { nodes, cause };
    }
    // It looks like any other broken link, so it stays one.
    if config.tls_ca_file.is_none() && cause.contains("Request: OPTIONS") {
        let cause = format!("{cause} (a node that expects TLS hangs up like this: set scylla_tls_ca_file)");
        return Error::Unreachable { nodes, cause };
    }
    Error::Unreachable { nodes, cause }
}

fn unprepared(error: PrepareError) -> Error {
    let text = words(&error);
    // "unconfigured table", "Undefined column name", "Keyspace … does not exist": by either database.
    if ["unconfigured table", "ndefined", "does not exist", "nknown identifier"].iter().any(|word| text.contains(word))
    {
        return Error::Schema(text);
    }
    Error::Unavailable(text)
}

/// Whether a conditional statement that ended with this error can still have been, or still become, applied.
pub fn may_have_happened(error: &ExecutionError) -> bool {
    match error {
        ExecutionError::RequestTimeout(_) => true,
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, _)) => !matches!(
            error,
            DbError::SyntaxError
                | DbError::Invalid
                | DbError::Unauthorized
                | DbError::Unavailable { .. }
                | DbError::Overloaded
                | DbError::IsBootstrapping
                | DbError::Unprepared { .. }
        ),
        // The link broke after the request was written, or nobody can say.
        ExecutionError::LastAttemptError(RequestAttemptError::BrokenConnectionError(_)) => true,
        ExecutionError::LastAttemptError(RequestAttemptError::SerializationError(_)) => false,
        ExecutionError::LastAttemptError(_) => true,
        _ => false,
    }
}
