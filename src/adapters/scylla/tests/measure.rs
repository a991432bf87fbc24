//! How fast derived rows go in and out: for the order of magnitude, and to find silly costs.

use super::{index_config, rig};
use crate::adapters::scylla::{IndexConfig, ScyllaIndex, ScyllaViews, Store, ViewsConfig};
use crate::domain::{Aggregate, LogId, StreamId, TenantId};
use crate::ports::conformance::Rig;
use crate::ports::index::{Head, IndexRows, Known};
use crate::ports::journal::EdgeChange;
use crate::ports::views::{RowData, ViewRow};
use crate::ports::{Index, Views};
use futures::future::join_all;
use std::sync::Arc;
use tokio::time::Instant;
use uuid::Uuid;

const BATCH: usize = 500;
const BATCHES: usize = 40;
/// Logs that are derived side by side.
const LOGS: u16 = 4;
const BUCKETS: u16 = 64;

fn streams(log: u16, batch: usize) -> Vec<StreamId> {
    let tenant = TenantId(Uuid::from_u128(7));
    let id = |place: usize| Uuid::new_v5(&tenant.0, format!("{log} {batch} {place}").as_bytes());
    (0..BATCH).map(|place| StreamId::new(tenant, Aggregate::Agent, id(place))).collect()
}

/// A head as large as a usual one: some state, some ids.
fn head(position: u64) -> Arc<Head> {
    let known = Known { command_id: Uuid::from_u128(3), digest: 4, position };
    Arc::new(Head { version: 1, position, known: vec![known; 3], state: vec![5; 200].into(), ..Head::empty() })
}

fn show(what: &str, rows: usize, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("{what}: {:.0} rows/s ({rows} in {seconds:.2} s)", rows as f64 / seconds);
}

/// `AGENTVERSE_TEST_CQL=… cargo test --lib scylla::tests::measure -- --ignored --nocapture`
#[ignore = "measures, and proves nothing"]
#[tokio::test(flavor = "multi_thread")]
async fn rows_a_second() {
    let Some(rig) = rig(None).await else { return };
    let ports = rig.ports();
    let store = Arc::new(Store::connect(&rig.config).await.expect("connected"));
    let config =
        IndexConfig { partitions: 32.into(), index_buckets: BUCKETS, outcome_buckets: BUCKETS, ..index_config() };
    let index = Arc::new(ScyllaIndex::open(store.clone(), ports.journal.clone(), config).await.expect("open"));
    let views = Arc::new(ScyllaViews::open(store, ViewsConfig { view_buckets: BUCKETS }).await.expect("open"));
    let log = |partition| LogId { aggregate: Aggregate::Agent, partition };
    for (what, outcomes, edges) in [("heads", false, false), ("heads, outcomes", true, false), ("all", true, true)] {
        let start = Instant::now();
        join_all((0..LOGS).map(|number| {
            let index = index.clone();
            async move {
                for batch in 0..BATCHES {
                    let position = |place: usize| (batch * BATCH + place + 1) as u64;
                    let streams = streams(number, batch);
                    let mut rows = IndexRows::default();
                    for (place, stream) in streams.iter().enumerate() {
                        rows.heads.push((*stream, head(position(place))));
                        if outcomes {
                            rows.outcomes.push((stream.tenant, stream.id, position(place)));
                        }
                        if edges {
                            let to = StreamId { aggregate: Aggregate::Coupling, ..*stream };
                            rows.edges.push((EdgeChange { from: *stream, to, present: true }, position(place)));
                        }
                    }
                    index.apply(log(number), rows, position(BATCH)).await.expect("applied");
                }
            }
        }))
        .await;
        show(&format!("index apply of {what}, streams"), usize::from(LOGS) * BATCHES * BATCH, start);
    }
    for size in [1, 100, BATCH] {
        let batches = if size == 1 { 4 } else { BATCHES };
        let start = Instant::now();
        join_all((0..LOGS).map(|number| {
            let index = index.clone();
            async move {
                for batch in 0..batches {
                    for part in streams(number, batch).chunks(size) {
                        let heads = index.heads(log(number), part).await.expect("read");
                        assert!(heads.iter().all(Option::is_some));
                    }
                }
            }
        }))
        .await;
        show(&format!("heads, {size} at once"), usize::from(LOGS) * batches * BATCH, start);
    }
    let start = Instant::now();
    join_all((0..LOGS).map(|number| {
        let views = views.clone();
        async move {
            for batch in 0..BATCHES {
                let data = RowData { version: 1, created_at: 1, updated_at: 2, state: vec![5; 200].into() };
                let rows = streams(number, batch).into_iter().map(|stream| ViewRow { stream, data: data.clone() });
                views.apply(log(number), rows.collect(), (batch * BATCH) as u64).await.expect("applied");
            }
        }
    }))
    .await;
    show("views apply", usize::from(LOGS) * BATCHES * BATCH, start);
    let start = Instant::now();
    let rows = views.list_all(Aggregate::Agent, None, 1000).await.expect("read").len();
    show("views list", rows, start);
}
