//! Traces over records that are held in memory: what belongs to one, and what stands where.

use super::tree::DEPTH_MAX;
use super::*;
use crate::domain::envelope::SYSTEM_SOURCE;
use crate::domain::id::event_id;
use crate::domain::record::CHAIN_START;
use crate::domain::{Rejection, StreamId};
use crate::flow::query::stores::{Stores, query};
use std::collections::BTreeMap;

const A: TenantId = TenantId(Uuid::from_u128(0xa));
const B: TenantId = TenantId(Uuid::from_u128(0xb));

fn agent(tenant: TenantId) -> StreamId {
    StreamId::new(tenant, Aggregate::Agent, Uuid::from_u128(1))
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// A command as the log has it.
struct Sent {
    number: u128,
    stream: StreamId,
    correlation: Option<String>,
    causation: Option<String>,
    source: &'static str,
    /// Events that it made; 0 of a refused one.
    events: u16,
}

fn sent(number: u128, correlation: Option<&str>, causation: Option<Uuid>) -> Sent {
    let (correlation, causation) = (correlation.map(str::to_owned), causation.map(|cause| cause.to_string()));
    Sent { number, stream: agent(A), correlation, causation, source: "a test", events: 1 }
}

/// The log of these commands: one position after the other, a microsecond each.
fn log_of(commands: Vec<Sent>) -> Stores {
    let mut records = Vec::new();
    let mut versions: BTreeMap<StreamId, u64> = BTreeMap::new();
    for command in commands {
        let version = versions.entry(command.stream).or_default();
        let envelope = Arc::new(Envelope {
            correlation: command.correlation,
            causation: command.causation,
            source: command.source.into(),
            ..Envelope::new(id(command.number), command.stream)
        });
        for index in 0..command.events.max(1) {
            let is_event = command.events > 0;
            *version += u64::from(is_event);
            let position = records.len() as u64 + 1;
            let record = Record {
                position,
                version: *version,
                previous: 0,
                kind: if is_event { RecordKind::Event } else { RecordKind::Refusal },
                index,
                last: index + 1 >= command.events,
                recorded_at: position as i64,
                command_digest: 0,
                envelope: envelope.clone(),
                schema: if is_event { "AgentIdled".into() } else { String::new() },
                fingerprint: 0,
                payload: serde_json::to_vec(&Rejection::new("no", "not now")).unwrap(),
            };
            records.push(Recorded { record, hash: CHAIN_START, decided: None });
        }
    }
    Stores { records, ..Stores::default() }
}

fn ask(correlation: &str, command: u128) -> TraceQuery {
    TraceQuery { tenant: A, correlation: correlation.into(), command_id: id(command) }
}

async fn traced(query: &Query, ask: &TraceQuery) -> Trace {
    match query.trace(ask).await.unwrap() {
        TraceFound::Trace(trace) => trace,
        other => panic!("{other:?}"),
    }
}

/// Each command with its depth, from the roots down. Checks that each has one place.
fn outline(trace: &Trace) -> Vec<(usize, u128)> {
    let mut lines = Vec::new();
    let mut waiting: Vec<_> = trace.roots.iter().rev().map(|root| (1, *root)).collect();
    while let Some((depth, place)) = waiting.pop() {
        let command = &trace.commands[place];
        lines.push((depth, command.envelope.command_id.as_u128()));
        let below = command.events.iter().flat_map(|event| &event.commands).chain(&command.commands);
        waiting.extend(below.copied().collect::<Vec<_>>().into_iter().rev().map(|below| (depth + 1, below)));
    }
    let mut places: Vec<_> = lines.iter().map(|(_, number)| *number).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!((places.len(), lines.len()), (trace.commands.len(), trace.commands.len()), "one place each: {lines:?}");
    lines
}

#[tokio::test]
async fn commands_stand_under_the_event_that_caused_them_and_another_tenants_nowhere() {
    let root = id(1).to_string();
    let mut other = sent(4, Some(&root), Some(event_id(id(1), 0)));
    other.stream = agent(B);
    let mut refused = sent(5, Some(&root), Some(id(3)));
    refused.events = 0;
    // Twenty events before its last, so that one read does not bring them all.
    let mut long = sent(1, None, None);
    long.events = 21;
    let query = query(log_of(vec![
        sent(9, Some("other"), None),
        long,
        sent(2, Some(&root), Some(event_id(id(1), 20))),
        sent(3, Some(&root), Some(event_id(id(2), 0))),
        other,
        refused,
    ]));
    for text in [root.clone(), "hire".into()] {
        let trace = traced(&query, &ask(&text, 1)).await;
        assert_eq!(outline(&trace), [(1, 1), (2, 2), (3, 3), (4, 5)]);
        assert!(!trace.is_truncated);
        let [first, ..] = &trace.commands[..] else { panic!("{trace:?}") };
        assert_eq!(first.events.iter().map(|event| event.version).collect::<Vec<_>>(), (2..=22).collect::<Vec<_>>());
        assert_eq!(first.events[20].commands, [1]);
        assert_eq!(trace.commands[3].refusal.as_ref().map(|refusal| &*refusal.code), Some("no"));
        assert_eq!(trace.commands[2].commands, [3], "a command was named as the cause, and no event");
    }
    let own = traced(&query, &TraceQuery { tenant: B, ..ask(&root, 1) }).await;
    assert_eq!(outline(&own), [(1, 4)], "each tenant sees its part, with the cause that is not in it");
    assert_eq!(own.commands[0].envelope.causation, Some(event_id(id(1), 0).to_string()));
}

#[tokio::test]
async fn what_is_not_there_and_what_is_elsewhere_is_told_apart() {
    let query = query(log_of(vec![sent(1, Some("hire"), None)]));
    assert!(matches!(query.trace(&ask("fire", 7)).await.unwrap(), TraceFound::Nothing));
    let found = query.trace(&ask(&id(1).to_string(), 1)).await.unwrap();
    assert!(matches!(&found, TraceFound::Elsewhere(other) if other == "hire"), "{found:?}");
    let theirs = TraceQuery { tenant: B, ..ask("hire", 1) };
    assert!(matches!(query.trace(&theirs).await.unwrap(), TraceFound::Nothing));
    assert_eq!(outline(&traced(&query, &ask("hire", 1)).await), [(1, 1)], "found by both, shown once");
}

#[tokio::test]
async fn causes_that_go_in_circles_make_a_tree_all_the_same() {
    let of = |number| Some(event_id(id(number), 0));
    // 1 → 3 → 2 → 1, which 4 follows from; 5 its own cause; 6 and 7 each other's.
    let links = [(1, 2), (2, 3), (3, 1), (4, 2), (5, 5), (6, 7), (7, 6)];
    let commands = links.map(|(number, cause)| sent(number, Some("c"), of(cause)));
    let trace = traced(&query(log_of(commands.into())), &ask("c", 100)).await;
    assert_eq!(outline(&trace), [(1, 1), (2, 3), (3, 2), (4, 4), (1, 5), (1, 6), (2, 7)]);
}

#[tokio::test]
async fn a_chain_that_is_too_deep_goes_on_as_a_root_of_its_own() {
    let length = 5_000;
    let chain = (1..=length).map(|number| sent(number, Some("c"), (number > 1).then(|| event_id(id(number - 1), 0))));
    let trace = traced(&query(log_of(chain.collect())), &ask("c", 100_000)).await;
    let expected: Vec<_> = (1..=length).map(|number| ((number as usize - 1) % DEPTH_MAX + 1, number)).collect();
    assert_eq!(outline(&trace), expected);
    assert_eq!(trace.commands[DEPTH_MAX].envelope.causation, Some(event_id(id(DEPTH_MAX as u128), 0).to_string()));
}

#[tokio::test]
async fn of_many_commands_the_earliest_are_shown_and_that_there_are_more() {
    let many = || log_of((1..=50).map(|number| sent(number, Some("c"), None)).collect());
    for (traced_max, is_truncated) in [(49, true), (50, false), (51, false)] {
        let query = query(many()).tracing_at_most(traced_max);
        let trace = traced(&query, &ask("c", 100)).await;
        assert_eq!((trace.commands.len(), trace.is_truncated), (traced_max.min(50), is_truncated));
        assert_eq!(trace.commands[0].envelope.command_id, id(1));
    }
}

#[tokio::test]
async fn what_carries_a_request_out_stands_under_its_beginning() {
    let request = StreamId::new(A, Aggregate::LlmRequest, id(0x42));
    let submission = Sent { stream: request, ..sent(1, None, None) };
    let carried_out =
        |number, source| Sent { stream: request, source, ..sent(number, Some(&request.id.to_string()), None) };
    let commands =
        vec![submission, carried_out(2, SYSTEM_SOURCE), carried_out(3, SYSTEM_SOURCE), carried_out(4, "other")];
    let query = query(log_of(commands));
    let trace = traced(&query, &ask("submit", 1)).await;
    assert_eq!(outline(&trace), [(1, 1), (2, 2), (2, 3), (1, 4)]);
    assert_eq!(trace.commands[0].events[0].commands, [1, 2]);
}
