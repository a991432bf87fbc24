//! Index and views beyond their suites: many rows at once, pages of every size, late writers of another process.

use super::{ScyllaRig, rig};
use crate::domain::{Aggregate, CorrelationKey, LogId, StreamId, TenantId};
use crate::ports::conformance::{Author, Ports, Rig, event, stream};
use crate::ports::index::{Head, IndexRows, Known, Traced};
use crate::ports::journal::EdgeChange;
use crate::ports::views::{RowData, ViewRow};
use std::sync::Arc;
use uuid::Uuid;

/// Ids that share most of their bytes, and differ in what sorts first as well as in what sorts last.
fn id(number: u128) -> Uuid {
    Uuid::from_u128((number % 3) << 120 | 0x7000_8000_0000_0000_0000 | number)
}

fn agent(tenant: u128, number: u128) -> StreamId {
    StreamId::new(TenantId(Uuid::from_u128(tenant)), Aggregate::Agent, id(number))
}

fn head(position: u64, state: usize) -> Arc<Head> {
    Arc::new(Head { version: position, position, state: vec![7; state].into(), ..Head::empty() })
}

async fn apply(ports: &Ports, log: LogId, rows: IndexRows) {
    ports.index.apply(log, rows, 0).await.expect("applied");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_streams_of_one_apply_come_back_in_the_order_asked() {
    let Some(rig) = rig(None).await else { return };
    let ports = rig.ports();
    let log = LogId { aggregate: Aggregate::Agent, partition: 0 };
    let streams: Vec<_> = (0..1000).map(|number| agent(number % 7, number)).collect();
    // Most are small; some fill a batch of their own, and some are too large for any.
    let size = |place: usize| if place.is_multiple_of(100) { 60_000 } else { place % 2000 };
    let heads = streams.iter().enumerate().map(|(place, stream)| (*stream, head(place as u64 + 1, size(place))));
    let displaced = streams.iter().enumerate().map(|(place, stream)| {
        (*stream, Known { command_id: id(place as u128), digest: u64::MAX - place as u64, position: place as u64 })
    });
    let outcomes = streams.iter().map(|stream| (stream.tenant, stream.id, 5)).collect();
    let rows = IndexRows { heads: heads.collect(), displaced: displaced.collect(), outcomes, ..IndexRows::default() };
    apply(&ports, log, rows).await;

    let mut asked: Vec<_> = streams.iter().rev().copied().collect();
    asked.insert(500, agent(99, 99));
    asked.insert(700, asked[3]);
    let found = ports.index.heads(log, &asked).await.expect("read");
    for (stream, found) in asked.iter().zip(&found) {
        let expected = streams.iter().position(|other| other == stream);
        let expected = expected.map(|place| head(place as u64 + 1, size(place)));
        assert_eq!(found, &expected, "{stream}");
    }
    let other = LogId { aggregate: Aggregate::Agent, partition: 1 };
    let elsewhere = ports.index.heads(other, &asked[..3]).await.expect("read");
    assert_eq!(elsewhere, [None, None, None], "heads of another log");
    for place in [0, 1, 999] {
        let outcome = ports.index.outcome(streams[place].tenant, streams[place].id).await.expect("read");
        assert_eq!(outcome.map(|outcome| (outcome.log, outcome.position)), Some((log, 5)));
    }
    let stream = streams.iter().find(|stream| stream.log(ports.partitions) == log).expect("one is of this log");
    let place = streams.iter().position(|other| other == stream).expect("there");
    let known = ports.index.known(*stream, id(place as u128)).await.expect("read").expect("known");
    assert_eq!((known.digest, known.position), (u64::MAX - place as u64, place as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_writer_of_another_process_loses() {
    let Some(rig) = rig(None).await else { return };
    let (ports, late) = (rig.ports(), rig.connect().await);
    let (agent, target) = (agent(1, 1), StreamId::new(TenantId(id(1)), Aggregate::Coupling, id(5)));
    let server = StreamId { aggregate: Aggregate::McpServer, ..agent };
    let log = agent.log(ports.partitions);
    let rows = |position: u64, present: bool| IndexRows {
        heads: vec![(agent, head(position, position as usize))],
        edges: [agent, server].map(|from| (EdgeChange { from, to: target, present }, position)).to_vec(),
        ..IndexRows::default()
    };
    for (through, newest, older, shown) in [(10, true, false, 1), (20, false, true, 0), (30, true, false, 1)] {
        apply(&ports, log, rows(through, newest)).await;
        apply(&late, log, rows(through - 1, older)).await;
        for from in [agent, server] {
            let edges = ports.index.edges(from, None, 10).await.expect("read");
            assert_eq!(edges, vec![target; shown], "of {from} at {through}");
        }
        assert_eq!(late.index.heads(log, &[agent]).await.expect("read"), [Some(head(through, through as usize))]);
    }
    ports.views.apply(log, vec![row(agent, 3)], 30).await.expect("applied");
    late.views.apply(log, vec![row(agent, 2)], 20).await.expect("applied");
    assert_eq!(ports.views.get(agent).await.expect("read"), Some(row(agent, 3)));
    assert_eq!(ports.views.applied_to(log).await.expect("read"), 30, "the mark does not go back");
}

#[tokio::test(flavor = "multi_thread")]
async fn edges_page_in_order_from_one_place_or_many_shards() {
    let Some(rig) = rig(None).await else { return };
    let ports = rig.ports();
    for source in [Aggregate::McpServer, Aggregate::Agent, Aggregate::Tenant] {
        let from = StreamId { aggregate: source, ..agent(1, 1) };
        let mut targets: Vec<_> = (0..70)
            .map(|number| StreamId::new(TenantId(id(number % 4)), Aggregate::ALL[number as usize % 6], id(number)))
            .collect();
        let edge = |to: &StreamId, present| EdgeChange { from, to: *to, present };
        let log = LogId { aggregate: Aggregate::Coupling, partition: 0 };
        let made = targets.iter().map(|to| (edge(to, true), 5)).collect();
        apply(&ports, log, IndexRows { edges: made, ..IndexRows::default() }).await;
        let gone = targets.iter().step_by(5).map(|to| (edge(to, false), 6)).collect();
        apply(&ports, log, IndexRows { edges: gone, ..IndexRows::default() }).await;
        let mut place = 0..;
        targets.retain(|_| place.next().is_some_and(|place: usize| !place.is_multiple_of(5)));
        targets.sort();
        for edges_max in (1..10).chain([17, 55, 56, 57, 1000]) {
            let mut all: Vec<StreamId> = Vec::new();
            loop {
                let page = ports.index.edges(from, all.last().copied(), edges_max).await.expect("read");
                let whole = page.len() == edges_max;
                all.extend(page);
                if !whole {
                    break;
                }
            }
            assert_eq!(all, targets, "of {source:?}, {edges_max} a page");
        }
    }
}

fn row(stream: StreamId, version: u64) -> ViewRow {
    let data = RowData { version, created_at: 1, updated_at: version as i64, state: vec![version as u8; 100].into() };
    ViewRow { stream, data }
}

/// Rows of five tenants, the shared one and one without any of this aggregate among them.
async fn five_tenants(rig: &ScyllaRig) -> Vec<ViewRow> {
    let ports = rig.ports();
    let counts = [(0, 3), (1, 60), (2, 1), (9, 20), (u128::MAX, 2)];
    let streams = counts.into_iter().flat_map(|(tenant, count)| (0..count).map(move |number| agent(tenant, number)));
    let mut rows: Vec<_> = streams.map(|stream| row(stream, 1)).collect();
    ports.views.apply(rows[0].stream.log(4), rows.clone(), 9).await.expect("applied");
    let other = StreamId { aggregate: Aggregate::Coupling, ..agent(5, 1) };
    ports.views.apply(other.log(4), vec![row(other, 1)], 9).await.expect("applied");
    rows.sort_by_key(|row| row.stream);
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_every_page_size_give_the_sorted_whole() {
    let Some(rig) = rig(None).await else { return };
    let rows = five_tenants(&rig).await;
    let ports = rig.ports();
    let tenant = agent(1, 0).tenant;
    let of_one: Vec<_> = rows.iter().filter(|row| row.stream.tenant == tenant).cloned().collect();
    assert_eq!(of_one.len(), 60);
    for rows_max in 1..=61 {
        let mut all: Vec<ViewRow> = Vec::new();
        loop {
            let after = all.last().map(|row| row.stream.id);
            let page = ports.views.list(tenant, Aggregate::Agent, after, rows_max).await.expect("read");
            let whole = page.len() == rows_max;
            all.extend(page);
            if !whole {
                break;
            }
        }
        assert_eq!(all, of_one, "{rows_max} a page");
    }
    for rows_max in [1, 2, 3, 5, 20, 62, 63, 64, 85, 86, 87, 1000] {
        let mut all: Vec<ViewRow> = Vec::new();
        loop {
            let after = all.last().map(|row| (row.stream.tenant, row.stream.id));
            let page = ports.views.list_all(Aggregate::Agent, after, rows_max).await.expect("read");
            let whole = page.len() == rows_max;
            all.extend(page);
            if !whole {
                break;
            }
        }
        assert_eq!(all, rows, "of all tenants, {rows_max} a page");
    }
    assert!(ports.views.list(tenant, Aggregate::Coupling, None, 10).await.expect("read").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_paged_from_the_last_record_of_the_page_before() {
    let Some(rig) = rig(Some(super::SEGMENT_RECORDS)).await else { return };
    let ports = rig.ports();
    let (mine, log) = (stream(960), stream(960).log(ports.partitions));
    let author = Author::claim(&ports, log).await;
    let (mut batch, _) = author.batch(&[]);
    // Every second record is of another stream.
    let mut previous = 0;
    for position in 1..=20u64 {
        let record = match position % 2 {
            0 => event(stream(961), position, position / 2, position.saturating_sub(2)),
            _ => event(mine, position, position / 2 + 1, std::mem::replace(&mut previous, position)),
        };
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        batch.head_hash = crate::domain::record::chain(&batch.head_hash, &bytes);
        batch.records.push((bytes, batch.head_hash));
        if position % 5 == 0 {
            let (first_position, derived_to) = (position + 1, position - 1);
            let (previous_hash, head_hash) = (batch.head_hash, batch.head_hash);
            let next = crate::ports::journal::Batch { records: vec![], previous_hash, head_hash, ..batch.clone() };
            ports.journal.append(batch).await.expect("appended");
            batch = crate::ports::journal::Batch { first_position, derived_to, ..next };
        }
    }
    apply(&ports, log, IndexRows { heads: vec![(mine, head(19, 0))], ..IndexRows::default() }).await;
    for records_max in [1, 2, 3, 10, 11] {
        let (mut all, mut before) = (Vec::new(), u64::MAX);
        loop {
            let page = ports.index.history(mine, before, records_max).await.expect("read");
            all.extend(page.iter().map(|recorded| recorded.record.position));
            match page.last() {
                Some(last) => before = last.record.position,
                None => break,
            }
        }
        assert_eq!(all, (1..=19).rev().step_by(2).collect::<Vec<_>>(), "{records_max} a page");
    }
    // Below a record of another stream, too.
    let below = ports.index.history(mine, 6, 1).await.expect("read");
    assert_eq!(below[0].record.position, 5);
    assert_eq!(ports.index.applied_to(log).await.expect("read"), 14, "what the log itself says is derived");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_takes_several_reads_comes_whole_or_as_far_as_asked() {
    let Some(rig) = rig(None).await else { return };
    let ports = rig.ports();
    let log = |partition| LogId { aggregate: Aggregate::Agent, partition };
    let key = CorrelationKey::of(TenantId::SHARED, "provision/0123");
    // Many of one instant, in several logs: a read begins in the middle of them.
    let all: Vec<_> = (1..=3_004).flat_map(|position| [1, 2, 11, 3].map(|partition| (partition, position))).collect();
    for partition in [1, 2, 11, 3] {
        let own = all.iter().filter(|(of, _)| *of == partition);
        let traces = own.map(|(_, position)| (key, (position / 1_000) as i64, *position)).collect();
        apply(&ports, log(partition), IndexRows { traces, ..IndexRows::default() }).await;
    }
    let at = |(partition, position): &(u16, u64)| Traced {
        recorded_at: (position / 1_000) as i64,
        log: log(*partition),
        position: *position,
    };
    let mut expected: Vec<_> = all.iter().map(at).collect();
    expected.sort_unstable();
    for commands_max in [20_000, 12_017, 12_016, 10_000] {
        let found = ports.index.trace(key, commands_max).await.expect("read");
        let times = |traced: &[Traced]| traced.iter().map(|at| at.recorded_at).collect::<Vec<_>>();
        let wanted = &expected[..commands_max.min(12_016)];
        assert_eq!((found.len(), times(&found)), (wanted.len(), times(wanted)), "the earliest {commands_max}");
        assert!(commands_max < 12_016 || found == expected, "each once");
    }
}
