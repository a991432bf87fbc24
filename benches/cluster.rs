//! What the cluster's log costs, beside what the same servers do in plain loops: every figure is a rate, taken in turns
//! in one run, so that it can be put in proportion to the others. Needs servers; see `benches/README.md`.

mod cluster {
    pub mod pipeline;
    pub mod raw;
    pub mod report;
    pub mod servers;
    pub mod stub;
}
#[expect(dead_code, reason = "what the stages need beside the commands")]
mod support;

use agentverse::adapters::scylla::ScyllaJournal;
use agentverse::domain::record::chain;
use agentverse::domain::{Aggregate, LogId};
use agentverse::ports::Journal;
use agentverse::ports::journal::Batch;
use cluster::pipeline::{self, Copies, Fleet};
use cluster::raw;
use cluster::report::Report;
use cluster::servers::{Servers, fail};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Records of one batch, as the design's ceilings were taken.
const RECORDS: usize = 100;
/// Bytes of one record there.
const BYTES: usize = 300;
/// Bytes of the record that a registration makes: the pipeline is put in proportion to a loop with those.
const REGISTERED_BYTES: usize = 870;
/// Logs that are written at a time.
const LOGS: u16 = 32;
/// Conditional writes under way in the plain loop.
const WRITERS: usize = 128;
/// How long each loop runs in a round, and how many rounds count. One goes before them, in which the servers compile what
/// they run: at its end the plain loops are several times as fast as at its beginning.
const TURN: Duration = Duration::from_secs(5);
const ROUNDS: usize = 3;

#[tokio::main]
async fn main() {
    let Some(servers) = Servers::from_environment().await else {
        println!("AGENTVERSE_TEST_CQL names no database: nothing was measured. See benches/README.md.");
        return;
    };
    // As in `cargo bench --bench cluster -- whole index_buckets=64`: one of the parts alone, and settings of its fleets.
    let args: Vec<_> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let set: Vec<_> = args.iter().filter(|arg| arg.contains('=')).map(String::as_str).collect();
    let part = args.iter().find(|arg| !arg.contains('='));
    let wants = |name: &str| part.is_none_or(|part| part == name);
    let mut report = Report::default();
    for round in 0..=ROUNDS {
        report.counts = round > 0;
        if wants("log") {
            log(&servers, round, &mut report).await;
        }
        if wants("whole") {
            whole(&format!("whole_{round}"), "default", &set, &mut report).await;
        }
        if wants("stubbed") {
            stubbed(round, &set, &mut report).await;
        }
    }
    if wants("planned") {
        whole("planned", "planned", &["partitions_of=agent=1000,mcp_server=500"], &mut report).await;
    }
    report.print();
    servers.clean().await;
}

/// The log alone.
async fn log(servers: &Servers, round: usize, report: &mut Report) {
    let journal = ScyllaJournal::open(servers.store.clone(), 1 << 20).await;
    let journal: Arc<dyn Journal> = Arc::new(journal.unwrap_or_else(fail("the journal")));
    for bytes in [REGISTERED_BYTES, BYTES] {
        let rate = raw::per_command(servers, round, WRITERS, bytes, TURN).await;
        report.add(&format!("one conditional write per command, {bytes} bytes"), rate);
    }
    report.add("raw conditional batches of 100", raw::batches(servers, round, LOGS, RECORDS, BYTES, TURN).await);
    report.add("the journal, batches of 100", append(&journal, TURN).await);
}

/// From the command topic to the views, on topics and tables of its own.
async fn whole(name: &str, profile: &str, set: &[&str], report: &mut Report) {
    let Some(fleet) = Fleet::new(name, profile, set) else {
        println!("AGENTVERSE_TEST_KAFKA names no broker: the pipeline was not measured.");
        return;
    };
    let whole = pipeline::whole(&fleet, 3 * TURN).await;
    report.add(&format!("the pipeline, topics as in {profile}"), whole.rate);
    report.add(&format!("  its records per append, {profile}"), whole.records_per_append);
    fleet.clean().await;
}

/// The processors without their log, and a plain loop on the same broker.
async fn stubbed(round: usize, set: &[&str], report: &mut Report) {
    if let Some(fleet) = Fleet::new(&format!("stubbed_{round}"), "default", set) {
        let stubbed = pipeline::log_stubbed(&fleet).await;
        report.add("plain consume-and-produce", pipeline::plain_loop(&fleet, Copies::Bare).await);
        report
            .add("the same, with what the processors write", pipeline::plain_loop(&fleet, Copies::AsProcessors).await);
        report.add("the processors, log stubbed", stubbed);
        fleet.clean().await;
    }
}

/// The journal's own appends: `LOGS` owners, each sending its next batch when the one before is confirmed.
async fn append(journal: &Arc<dyn Journal>, turn: Duration) -> f64 {
    let (done, started) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let owners: Vec<_> = (0..LOGS)
        .map(|partition| {
            let (journal, done) = (journal.clone(), done.clone());
            tokio::spawn(async move {
                let log = LogId { aggregate: Aggregate::Agent, partition };
                let mut state = journal.claim(log).await.unwrap_or_else(fail("a claim"));
                while started.elapsed() < turn {
                    let records: Vec<_> = (0..RECORDS)
                        .scan(state.head_hash, |hash, _| {
                            let record = vec![7; BYTES];
                            *hash = chain(hash, &record);
                            Some((record, *hash))
                        })
                        .collect();
                    let batch = Batch {
                        log,
                        epoch: state.epoch,
                        previous_hash: state.head_hash,
                        head_hash: records.last().map_or(state.head_hash, |(_, hash)| *hash),
                        first_position: state.head + 1,
                        records,
                        recorded_at: 1,
                        consumed: state.consumed + RECORDS as u64,
                        derived_to: state.head,
                    };
                    (state.head_hash, state.head, state.consumed) =
                        (batch.head_hash, state.head + RECORDS as u64, batch.consumed);
                    journal.append(batch).await.unwrap_or_else(fail("an append"));
                    done.fetch_add(RECORDS as u64, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for owner in owners {
        owner.await.unwrap_or_else(fail("an owner"));
    }
    done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}
