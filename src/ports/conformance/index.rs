//! The suite of the port `index`.

use super::{Author, Ports, Rig, event, stream};
use crate::domain::{Aggregate, CorrelationKey, LogId, StreamId};
use crate::ports::index::{Head, IndexRows, Known, OutcomeRef, Traced};
use crate::ports::journal::EdgeChange;
use std::sync::Arc;
use uuid::Uuid;

pub async fn suite(rig: &mut impl Rig) {
    the_newest_head_stays(rig).await;
    edges_page_and_disappear(rig).await;
    ids_and_outcomes_are_found(rig).await;
    a_trace_has_every_command_once_the_earliest_first(rig).await;
    history_walks_from_the_newest(rig).await;
    what_a_crash_takes_is_below_the_mark(rig).await;
}

fn head(position: u64) -> Arc<Head> {
    Arc::new(Head { version: position, position, ..Head::empty() })
}

async fn apply_heads(ports: &Ports, heads: Vec<(StreamId, Arc<Head>)>, through: u64) {
    let log = heads[0].0.log(ports.partitions);
    ports.index.apply(log, IndexRows { heads, ..IndexRows::default() }, through).await.expect("applied");
}

async fn read_heads(ports: &Ports, streams: &[StreamId]) -> Vec<Option<u64>> {
    let log = streams[0].log(ports.partitions);
    let heads = ports.index.heads(log, streams).await.expect("read");
    heads.into_iter().map(|head| head.map(|head| head.position)).collect()
}

async fn the_newest_head_stays(rig: &mut impl Rig) {
    let ports = rig.ports();
    assert_eq!(read_heads(&ports, &[stream(920), stream(920)]).await, [None, None]);
    apply_heads(&ports, vec![(stream(920), head(3))], 3).await;
    apply_heads(&ports, vec![(stream(920), head(2))], 2).await;
    apply_heads(&ports, vec![(stream(920), head(3))], 3).await;
    assert_eq!(read_heads(&ports, &[stream(920)]).await, [Some(3)]);
}

async fn edges_page_and_disappear(rig: &mut impl Rig) {
    let ports = rig.ports();
    let from = stream(921);
    let log = from.log(ports.partitions);
    let to = |number: u128| StreamId::new(from.tenant, Aggregate::Coupling, Uuid::from_u128(number));
    let edge = |number, present| EdgeChange { from, to: to(number), present };
    let rows = |edges: Vec<(EdgeChange, u64)>| IndexRows { edges, ..IndexRows::default() };
    let all = (1..=5).map(|number| (edge(number, true), 10)).collect();
    ports.index.apply(log, rows(all), 10).await.expect("applied");
    ports.index.apply(log, rows(vec![(edge(3, false), 12)]), 12).await.expect("applied");
    ports.index.apply(log, rows(vec![(edge(3, true), 11), (edge(9, true), 11)]), 12).await.expect("applied");
    let first = ports.index.edges(from, None, 3).await.expect("read");
    assert_eq!(first, [to(1), to(2), to(4)], "an older row does not bring an edge back");
    let rest = ports.index.edges(from, first.last().copied(), 10).await.expect("read");
    assert_eq!(rest, [to(5), to(9)]);
    assert!(ports.index.edges(stream(929), None, 10).await.expect("read").is_empty());
}

async fn ids_and_outcomes_are_found(rig: &mut impl Rig) {
    let ports = rig.ports();
    let log = stream(922).log(ports.partitions);
    let known = Known { command_id: Uuid::from_u128(7), digest: 8, position: 9 };
    let rows = IndexRows {
        displaced: vec![(stream(922), known)],
        outcomes: vec![(stream(922).tenant, Uuid::from_u128(10), 11)],
        ..IndexRows::default()
    };
    ports.index.apply(log, rows, 11).await.expect("applied");
    assert_eq!(ports.index.known(stream(922), known.command_id).await.expect("read"), Some(known));
    assert_eq!(ports.index.known(stream(923), known.command_id).await.expect("read"), None, "of another stream");
    let outcome = ports.index.outcome(stream(922).tenant, Uuid::from_u128(10)).await.expect("read");
    assert_eq!(outcome, Some(OutcomeRef { log, position: 11 }));
    assert_eq!(ports.index.outcome(stream(923).tenant, Uuid::from_u128(10)).await.expect("read"), None);
}

async fn a_trace_has_every_command_once_the_earliest_first(rig: &mut impl Rig) {
    let ports = rig.ports();
    let log = stream(930).log(ports.partitions);
    let others = (931..).map(|number| stream(number).log(ports.partitions));
    let other = others.into_iter().find(|other| *other != log).expect("several logs");
    let key = CorrelationKey::of(stream(930).tenant, "hire-4711");
    let another = CorrelationKey::of(stream(931).tenant, "hire-4711");
    let apply = async |ports: &Ports, log: LogId, traces: Vec<_>| {
        let through = traces.iter().map(|(_, _, position)| *position).max().unwrap_or_default();
        ports.index.apply(log, IndexRows { traces, ..IndexRows::default() }, through).await.expect("applied");
    };
    let first = vec![(key, 30, 5), (another, 11, 4), (key, 10, 3)];
    apply(&ports, log, first.clone()).await;
    apply(&ports, log, first.clone()).await;
    drop(ports);
    // Some may be on disk by now, and come again all the same.
    rig.crash();
    let ports = rig.ports();
    apply(&ports, log, first).await;
    apply(&ports, other, vec![(key, 20, 7), (key, 30, 8)]).await;
    let at = |log, recorded_at, position| Traced { recorded_at, log, position };
    let mut all = vec![at(log, 10, 3), at(other, 20, 7), at(log, 30, 5), at(other, 30, 8)];
    all.sort_unstable();
    assert_eq!(ports.index.trace(key, 10).await.expect("read"), all);
    assert_eq!(ports.index.trace(key, 2).await.expect("read"), all[..2]);
    assert_eq!(ports.index.trace(another, 10).await.expect("read"), [at(log, 11, 4)], "another tenant's");
    let unknown = CorrelationKey::of(stream(930).tenant, "hire-4712");
    assert!(ports.index.trace(unknown, 10).await.expect("read").is_empty());
}

async fn history_walks_from_the_newest(rig: &mut impl Rig) {
    let ports = rig.ports();
    let log = stream(924).log(ports.partitions);
    let mut author = Author::claim(&ports, log).await;
    let start = author.state.head;
    // Three records of one stream with another's between them.
    author.write(&ports, &[stream(924)]).await;
    author.write(&ports, &[stream(925)]).await;
    let (mut batch, _) = author.batch(&[]);
    let mut previous = start + 1;
    for version in 2..=3u64 {
        let record = event(stream(924), start + 1 + version, version, previous);
        previous = record.position;
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        batch.head_hash = crate::domain::record::chain(&batch.head_hash, &bytes);
        batch.records.push((bytes, batch.head_hash));
    }
    ports.journal.append(batch).await.expect("appended");
    apply_heads(&ports, vec![(stream(924), head(start + 4))], start + 4).await;
    let versions = |records: Vec<crate::ports::journal::Recorded>| {
        records.iter().map(|recorded| recorded.record.version).collect::<Vec<_>>()
    };
    let all = ports.index.history(stream(924), u64::MAX, 10).await.expect("read");
    assert_eq!(versions(all), [3, 2, 1]);
    let older = ports.index.history(stream(924), start + 4, 1).await.expect("read");
    assert_eq!(versions(older), [2]);
}

async fn what_a_crash_takes_is_below_the_mark(rig: &mut impl Rig) {
    let ports = rig.ports();
    let log = stream(926).log(ports.partitions);
    let mut author = Author::claim(&ports, log).await;
    author.write(&ports, &[stream(926)]).await;
    let position = author.state.head;
    apply_heads(&ports, vec![(stream(926), head(position))], position).await;
    drop(ports);
    rig.crash();
    let ports = rig.ports();
    let kept = read_heads(&ports, &[stream(926)]).await[0].is_some();
    let mark = ports.index.applied_to(log).await.expect("read");
    assert!(kept || mark < position, "a head up to the mark {mark} was lost");
}
