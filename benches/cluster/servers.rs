//! The servers that the loops run against, in a keyspace of their own.

use agentverse::adapters::scylla::migrate;
use agentverse::adapters::scylla::session::{Config, Store};
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

pub struct Servers {
    pub store: Arc<Store>,
}

impl Servers {
    /// The database that `AGENTVERSE_TEST_CQL` names, with fresh tables; `None` where it names none.
    pub async fn from_environment() -> Option<Self> {
        let nodes = std::env::var("AGENTVERSE_TEST_CQL").ok()?;
        let config = Config {
            nodes: nodes.split(',').map(str::to_owned).collect(),
            keyspace: format!("bench_{}", std::process::id()),
            datacenter: None,
            replication: std::env::var("AGENTVERSE_TEST_CQL_RING")
                .ok()
                .and_then(|nodes| nodes.parse().ok())
                .unwrap_or(1),
            login: None,
            tls_ca_file: None,
            request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(90),
        };
        let store = Arc::new(Store::connect(&config).await.unwrap_or_else(fail("the database")));
        migrate::apply(&store, &config, &[], "bench", 0).await.unwrap_or_else(fail("the tables"));
        Some(Self { store })
    }

    /// Takes away what was written.
    pub async fn clean(self) {
        let drop = format!("DROP KEYSPACE {}", self.store.keyspace);
        self.store.session.query_unpaged(drop, ()).await.map(|_| ()).unwrap_or_else(fail("the keyspace"));
    }
}

/// Ends the run: a loop that failed has no rate.
pub fn fail<T, E: Display>(what: &'static str) -> impl FnOnce(E) -> T {
    move |error| {
        eprintln!("{what}: {error}");
        std::process::exit(1);
    }
}
