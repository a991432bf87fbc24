//! The adapter against a real server: the suites of the ports, and what they leave open.
//!
//! The tests here run where `AGENTVERSE_TEST_CQL` names a node, each in a keyspace of its own that it drops.

mod derived;
mod limits;
mod logs;
mod usage;

use super::{
    Config, IndexConfig, ScyllaIndex, ScyllaJournal, ScyllaUsage, ScyllaViews, Store, UsageConfig, ViewsConfig, migrate,
};
use crate::adapters::embedded::{self, Embedded};
use crate::domain::usage::Retention;
use crate::ports::conformance::{self, Ports, Rig};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Handle;

/// Few, so that the suites cross segments.
const SEGMENT_RECORDS: u64 = 7;
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Several streams a bucket, several buckets a log.
const PARTITIONS: u16 = 4;
const VIEWS: ViewsConfig = ViewsConfig { view_buckets: 5, writes_max: 8 };

fn index_config() -> IndexConfig {
    IndexConfig {
        partitions: PARTITIONS.into(),
        index_buckets: 4,
        outcome_buckets: 4,
        outcomes_retained: Duration::from_secs(3600),
        writes_max: 8,
    }
}

fn usage_config() -> UsageConfig {
    UsageConfig { retention: Retention::default(), writes_max: 8 }
}

pub struct ScyllaRig {
    config: Config,
    segment_records: Option<u64>,
    open: Option<Ports>,
    /// The topics of the suites: none of them is about the database's.
    topics: Embedded,
    _folder: TempDir,
}

/// A keyspace of its own with all tables; `None` where no server is named.
pub async fn rig(segment_records: Option<u64>) -> Option<ScyllaRig> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let Ok(node) = std::env::var("AGENTVERSE_TEST_CQL") else {
        eprintln!("not run: AGENTVERSE_TEST_CQL names no node");
        return None;
    };
    let name = std::env::var("AGENTVERSE_TEST_NAME").unwrap_or_else(|_| "test".into());
    let config = Config {
        nodes: vec![node],
        keyspace: format!("{name}_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)),
        datacenter: None,
        replication: 1,
        login: None,
        tls_ca_file: None,
        request_timeout: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(90),
    };
    let store = Store::connect(&config).await.expect("connected");
    let folder = tempfile::tempdir().expect("a folder");
    let topics = Embedded::open(folder.path(), &embedded_config()).expect("it opens");
    let mut rig = ScyllaRig { config, segment_records, open: None, topics, _folder: folder };
    let constants = [("partitions".to_owned(), 4)];
    let applied = migrate::apply(&store, &rig.config, &constants, "a test", 1).await.expect("applied");
    assert_eq!(applied.migrations.len(), migrate::MIGRATIONS.len());
    rig.open = Some(rig.connect().await);
    Some(rig)
}

impl ScyllaRig {
    /// The ports over a session of their own, as another process has them.
    async fn connect(&self) -> Ports {
        let store = Arc::new(Store::connect(&self.config).await.expect("connected"));
        let journal = match self.segment_records {
            Some(records) => ScyllaJournal::with_segments(store.clone(), BATCH_BYTES_MAX, records).await,
            None => ScyllaJournal::open(store.clone(), BATCH_BYTES_MAX).await,
        };
        let journal = Arc::new(journal.expect("open"));
        let index = ScyllaIndex::open(store.clone(), journal.clone(), index_config()).await.expect("open");
        let views = ScyllaViews::open(store.clone(), VIEWS).await.expect("open");
        let usage = ScyllaUsage::open(store, usage_config()).await.expect("open");
        let (index, views, usage) = (Arc::new(index), Arc::new(views), Arc::new(usage));
        Ports { journal, topics: self.topics.topics.clone(), index, views, usage, partitions: PARTITIONS }
    }
}

impl Rig for ScyllaRig {
    fn ports(&self) -> Ports {
        self.open.clone().expect("open")
    }

    fn crash(&mut self) {
        drop(self.open.take());
        self.open = Some(wait_for(self.connect()));
    }

    fn waiting_max(&self) -> usize {
        embedded_config().accepted_waiting_max
    }
}

impl Drop for ScyllaRig {
    fn drop(&mut self) {
        let dropped = wait_for(async {
            let store = Store::connect(&self.config).await.map_err(|error| error.to_string())?;
            let cql = format!("DROP KEYSPACE IF EXISTS {}", self.config.keyspace);
            store.session.query_unpaged(cql, ()).await.map_err(|error| error.to_string())
        });
        if let Err(error) = dropped {
            eprintln!("keyspace {} stays: {error}", self.config.keyspace);
        }
    }
}

fn wait_for<F: Future>(future: F) -> F::Output {
    tokio::task::block_in_place(|| Handle::current().block_on(future))
}

fn embedded_config() -> embedded::Config {
    embedded::Config {
        partitions: PARTITIONS,
        segment_bytes_max: 1 << 20,
        batch_bytes_max: BATCH_BYTES_MAX,
        accepted_waiting_max: 200,
        accepted_waiting_bytes_max: 1 << 20,
        checkpoint_records_max: 1000,
        checkpoint_interval: Duration::from_secs(3600),
        head_cache_bytes_max: 1 << 20,
        row_cache_bytes_max: 1 << 20,
        outcomes_bytes_max: 1 << 20,
        traces_bytes_max: 1 << 20,
        usage_retention: Retention::default(),
    }
}

async fn every_suite(segment_records: Option<u64>) {
    let Some(mut rig) = rig(segment_records).await else { return };
    conformance::journal::suite(&mut rig).await;
    conformance::index::suite(&mut rig).await;
    conformance::views::suite(&mut rig).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms_with_segments_of_a_few_records() {
    every_suite(Some(SEGMENT_RECORDS)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms_with_segments_as_they_are() {
    every_suite(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_apply_once_and_a_fleet_keeps_its_numbers() {
    let Some(rig) = rig(None).await else { return };
    let store = Store::connect(&rig.config).await.expect("connected");
    let again =
        migrate::apply(&store, &rig.config, &[("partitions".to_owned(), 4)], "a test", 2).await.expect("applied");
    assert_eq!(again, migrate::Applied::default(), "nothing is left to do");
    migrate::check(&store, &[("partitions".to_owned(), 4)]).await.expect("it fits");
    let other = migrate::check(&store, &[("partitions".to_owned(), 8)]).await;
    assert!(matches!(other, Err(migrate::Error::Constant { found: 4, asked: 8, .. })), "{other:?}");
}
