//! One bench per stage of a command's way, in the order of the way, so that a regression names its place. Throughput is
//! in commands, records, rows or models per second, as the bench's name says; `benches/README.md` tells what is in each.

mod support;

use agentverse::domain::coupling::score;
use agentverse::domain::record::{CHAIN_START, Record, chain};
use agentverse::domain::{Aggregate, StreamId};
use agentverse::flow::append::append;
use agentverse::flow::query::{ListQuery, Query, Reach};
use agentverse::ports::clock::SystemClock;
use agentverse::ports::index::{Head, IndexRows};
use agentverse::ports::topic::{Accepted, Lane};
use agentverse::ports::views::{RowData, ViewRow};
use agentverse::ports::{Index, Topics, Views};
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use std::cell::RefCell;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use support::catalogue::{self, Request};
use support::commands::{self, Kind};
use support::{AGENTS, Folder, Heads, TENANT, ok};

/// As the program itself: allocation is a good part of several stages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Commands of a request, and of a log's batch.
const BATCH: usize = 500;
/// Records of one append.
const RECORDS: usize = 100;
/// Batches of agents in the derived stores: 10,000 streams.
const BATCHES: usize = 20;
/// Rows of a page.
const PAGE: usize = 1_000;
const MODELS: usize = 5_000;

fn group<'a>(criterion: &'a mut Criterion, stage: &str, elements: usize) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(stage);
    group.throughput(Throughput::Elements(elements as u64));
    group
}

fn receive(criterion: &mut Criterion) {
    let body = commands::body(Kind::Register, 0, BATCH);
    group(criterion, "receive", BATCH)
        .bench_function("batch_of_500_commands", |bench| bench.iter(|| commands::receive(black_box(&body))));
}

fn accept_commands(criterion: &mut Criterion) {
    let submissions = commands::submissions(Kind::Register, 0, BATCH);
    group(criterion, "accept", BATCH).bench_function("500_commands", |bench| {
        bench.iter_batched(
            || submissions.clone(),
            |taken| -> Vec<Accepted> {
                taken.into_iter().map(|taken| ok(Accepted::new(taken.envelope, taken.command))).collect()
            },
            BatchSize::SmallInput,
        );
    });
}

/// 500 commands become durable in their partition, by one sync. Between two calls a processor would consume them: an
/// empty append stands for it, and is not measured.
fn produce(criterion: &mut Criterion) {
    let folder = Folder::open();
    let mut sight = folder.sight();
    let mut state = folder.claim();
    let batch = commands::accepted(Kind::Register, 0, BATCH);
    let mut produced = 0;
    group(criterion, "produce", BATCH).bench_function("500_commands", |bench| {
        bench.iter_batched(
            || {
                let mut nothing = folder.decide(&mut sight, &state, &[], &Heads::new());
                let consumed = append(&*folder.embedded.journal, &mut state, &mut nothing, produced, 0);
                ok(folder.runtime.block_on(consumed));
                produced += BATCH as u64;
                batch.clone()
            },
            |batch| ok(folder.runtime.block_on(folder.embedded.topics.produce(batch, Lane::Outside))),
            BatchSize::PerIteration,
        );
    });
}

fn decide(criterion: &mut Criterion) {
    let folder = Folder::open();
    let mut sight = folder.sight();
    let state = folder.claim();
    let registers = commands::accepted(Kind::Register, 0, BATCH);
    let revises = commands::accepted(Kind::Revise, 0, BATCH);
    let heads = folder.decide(&mut sight, &state, &registers, &Heads::new()).heads;
    let revised = folder.decide(&mut sight, &state, &revises, &heads);
    assert!(revised.heads.values().all(|head| head.version == 2), "not all are revised");
    let mut group = group(criterion, "decide", BATCH);
    group.bench_function("500_registrations", |bench| {
        bench.iter(|| folder.decide(&mut sight, &state, black_box(&registers), &Heads::new()));
    });
    group.bench_function("500_revisions", |bench| {
        bench.iter(|| folder.decide(&mut sight, &state, black_box(&revises), &heads));
    });
}

fn record(criterion: &mut Criterion) {
    let decisions = Folder::open().registered(1, BATCH);
    let records: Vec<Record> =
        decisions.into_iter().flat_map(|batch| batch.records).map(|recorded| recorded.record).collect();
    let mut bytes = Vec::new();
    group(criterion, "record", BATCH).bench_function("encode_and_chain_500_records", |bench| {
        bench.iter(|| {
            records.iter().fold(CHAIN_START, |hash, record| {
                bytes.clear();
                record.encode(&mut bytes);
                chain(&hash, &bytes)
            })
        });
    });
}

/// 100 records go into their log by one compare-and-set and one sync.
fn append_records(criterion: &mut Criterion) {
    let folder = Folder::open();
    let mut sight = folder.sight();
    let state = RefCell::new(folder.claim());
    group(criterion, "append", RECORDS).bench_function("100_records", |bench| {
        bench.iter_batched(
            || {
                let state = state.borrow();
                let batch = commands::accepted(Kind::Register, state.head, RECORDS);
                folder.decide(&mut sight, &state, &batch, &Heads::new())
            },
            |mut decisions| {
                let mut state = state.borrow_mut();
                ok(folder.runtime.block_on(append(&*folder.embedded.journal, &mut state, &mut decisions, 0, 0)));
            },
            BatchSize::PerIteration,
        );
    });
}

/// The index rows of a batch of registrations, moved on by `positions`: rows that are not new are passed over.
fn index_rows(batch: &[(StreamId, Arc<Head>)], positions: u64) -> IndexRows {
    let mut rows = IndexRows::default();
    for (stream, head) in batch {
        let position = head.position + positions;
        rows.outcomes.extend(head.known.iter().map(|known| (stream.tenant, known.command_id, position)));
        rows.heads.push((*stream, Arc::new(Head { position, ..Head::clone(head) })));
    }
    rows
}

fn index(criterion: &mut Criterion) {
    let folder = Folder::open();
    let batches: Vec<Vec<_>> =
        folder.registered(BATCHES, BATCH).into_iter().map(|batch| batch.heads.into_iter().collect()).collect();
    let mut turn = 0;
    group(criterion, "index", BATCH).bench_function("apply_500_records", |bench| {
        bench.iter_batched(
            || {
                let rows = index_rows(&batches[turn % BATCHES], (turn / BATCHES * BATCHES * BATCH) as u64);
                turn += 1;
                (rows, (turn * BATCH) as u64)
            },
            |(rows, through)| ok(folder.runtime.block_on(folder.embedded.index.apply(AGENTS, rows, through))),
            BatchSize::PerIteration,
        );
    });
}

fn view_rows(heads: Heads) -> Vec<ViewRow> {
    let row = |(stream, head): (StreamId, Arc<Head>)| {
        let Head { version, created_at, updated_at, ref state, .. } = *head;
        ViewRow { stream, data: RowData { version, created_at, updated_at, state: state.clone() } }
    };
    heads.into_iter().map(row).collect()
}

fn views(criterion: &mut Criterion) {
    let folder = Folder::open();
    let views = &folder.embedded.views;
    let batches: Vec<_> = folder.registered(BATCHES, BATCH).into_iter().map(|batch| view_rows(batch.heads)).collect();
    for (place, rows) in batches.iter().enumerate() {
        ok(folder.runtime.block_on(views.apply(AGENTS, rows.clone(), ((place + 1) * BATCH) as u64)));
    }
    // Pages are read from disk (or its cache), as almost all are in a large fleet.
    ok(folder.embedded.checkpointer().run_once());
    let query = Query::new(
        folder.embedded.views.clone(),
        folder.embedded.index.clone(),
        folder.embedded.topics.clone(),
        folder.embedded.journal.clone(),
        folder.embedded.usage.clone(),
        Arc::new(SystemClock),
    );
    let ask = ListQuery {
        aggregate: Aggregate::Agent,
        reach: Reach::Tenants(vec![TENANT]),
        ids: None,
        filters: Vec::new(),
        updated_since: None,
        after: None,
        limit: PAGE,
    };
    assert_eq!(ok(folder.runtime.block_on(query.list(&ask))).items.len(), PAGE);
    group(criterion, "query", PAGE).bench_function("list_page_of_1000_rows", |bench| {
        bench.iter(|| ok(folder.runtime.block_on(query.list(black_box(&ask)))));
    });
    let mut turn = 0;
    group(criterion, "project", BATCH).bench_function("apply_500_rows", |bench| {
        bench.iter_batched(
            || {
                turn += 1;
                batches[turn % BATCHES].clone()
            },
            |rows| ok(folder.runtime.block_on(views.apply(AGENTS, rows, (BATCHES * BATCH) as u64))),
            BatchSize::PerIteration,
        );
    });
}

fn coupling(criterion: &mut Criterion) {
    let request = Request::over(MODELS);
    let seen = request.decide().map(|established| established.assessment);
    assert!(seen.is_some_and(|seen| seen.models_seen == MODELS as i64 && seen.candidate_count > MODELS as i64 / 2));
    group(criterion, "coupling", MODELS)
        .bench_function("decide_over_5000_models", |bench| bench.iter(|| black_box(&request).decide()));
}

fn score_pair(criterion: &mut Criterion) {
    let (agent, server, model) = (catalogue::agent().profile, catalogue::server(), catalogue::model(1));
    let needs = &agent.requirements;
    group(criterion, "score", 1).bench_function("agent_server_model", |bench| {
        bench.iter(|| {
            let (skills, _) = score::skills(black_box(&agent.skills), &server.tools);
            let domains = score::domains(&agent.domains, &server.listing.category);
            let fit = score::model(needs, black_box(model.latency_ms_p50), model.quality);
            let cost = score::cost(needs.cost_per_1k_tokens_micro_usd_max, score::price(&model));
            score::of([skills.value, domains.value, fit.value, cost.value])
        });
    });
}

criterion_group! {
    name = stages;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = receive, accept_commands, produce, decide, record, append_records, index, views, coupling, score_pair
}
criterion_main!(stages);
