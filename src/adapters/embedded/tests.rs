//! The embedded engine against the suites of the ports, before and after checkpoints.

use super::{Config, Embedded};
use crate::domain::CorrelationKey;
use crate::domain::usage::Retention;
use crate::ports::Index;
use crate::ports::conformance::{self, Ports, Rig};
use crate::ports::index::IndexRows;
use std::time::Duration;
use tempfile::TempDir;

pub fn config() -> Config {
    Config {
        partitions: 4,
        // Small, so that the suites cross segments.
        segment_bytes_max: 16 << 10,
        batch_bytes_max: 1 << 20,
        accepted_waiting_max: 200,
        accepted_waiting_bytes_max: 1 << 20,
        checkpoint_records_max: 1000,
        checkpoint_interval: Duration::from_secs(3600),
        head_cache_bytes_max: 64 << 20,
        row_cache_bytes_max: 8 << 20,
        outcomes_bytes_max: 64 << 20,
        traces_bytes_max: 64 << 20,
        usage_retention: Retention::default(),
    }
}

/// The ports of an open folder.
pub fn ports(open: &Embedded) -> Ports {
    Ports {
        journal: open.journal.clone(),
        topics: open.topics.clone(),
        index: open.index.clone(),
        views: open.views.clone(),
        usage: open.usage.clone(),
        partitions: open.partitions,
    }
}

struct EmbeddedRig {
    folder: TempDir,
    open: Option<Embedded>,
    /// Writes a checkpoint before each crash.
    checkpoints: bool,
}

impl EmbeddedRig {
    fn new(checkpoints: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let open = Embedded::open(folder.path(), &config()).expect("it opens");
        Self { folder, open: Some(open), checkpoints }
    }
}

impl Rig for EmbeddedRig {
    fn ports(&self) -> Ports {
        ports(self.open.as_ref().expect("open"))
    }

    fn crash(&mut self) {
        let open = self.open.take().expect("open");
        if self.checkpoints {
            open.checkpointer().run_once().expect("a checkpoint");
        }
        // No checkpoint of what came since: dropping writes nothing.
        drop(open);
        self.open = Some(Embedded::open(self.folder.path(), &config()).expect("it opens again"));
    }

    fn waiting_max(&self) -> usize {
        config().accepted_waiting_max
    }
}

async fn every_suite(mut rig: EmbeddedRig) {
    conformance::journal::suite(&mut rig).await;
    conformance::topic::suite(&mut rig).await;
    conformance::index::suite(&mut rig).await;
    conformance::views::suite(&mut rig).await;
    conformance::usage::suite(&mut rig).await;
    rig.crash();
    conformance::index::suite(&mut EmbeddedRig::new(rig.checkpoints)).await;
}

#[tokio::test]
async fn conforms_when_everything_comes_from_the_segments() {
    every_suite(EmbeddedRig::new(false)).await;
}

#[tokio::test]
async fn conforms_when_checkpoints_were_written() {
    every_suite(EmbeddedRig::new(true)).await;
}

/// A program that kept no traces left a folder without their table.
#[tokio::test]
async fn a_folder_without_traces_opens_and_has_those_of_what_comes() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = conformance::stream(1).log(config().partitions);
    let key = CorrelationKey::of(conformance::stream(1).tenant, "hire-4711");
    let mut open = Embedded::open(folder.path(), &config()).expect("it opens");
    for (position, has_table) in [(1, false), (2, true)] {
        let rows = IndexRows { traces: vec![(key, position as i64, position)], ..IndexRows::default() };
        open.index.apply(log, rows, position).await.expect("applied");
        open.close().expect("a checkpoint");
        if !has_table {
            let database = fjall::Database::builder(folder.path().join("derived")).open().expect("it opens");
            let traces = database.keyspace("traces", fjall::KeyspaceCreateOptions::default).expect("it is there");
            assert!(!traces.is_empty().expect("read"), "written by the checkpoint");
            database.delete_keyspace(traces).expect("deleted");
        }
        open = Embedded::open(folder.path(), &config()).expect("it opens again");
        let found = open.index.trace(key, 10).await.expect("read");
        let expected = if has_table { vec![position] } else { Vec::new() };
        assert_eq!(found.into_iter().map(|traced| traced.position).collect::<Vec<_>>(), expected);
    }
}
