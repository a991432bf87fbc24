//! Any story of commands: what is told as of any moment, and of what each event changed, is what a straight fold tells.

use super::*;
use crate::domain::record::{CHAIN_START, Record};
use crate::domain::{Aggregate, AnyCommand, Context, Envelope, TenantId, World};
use crate::flow::query::history::patched;
use crate::flow::query::stores::{Stores, query};
use crate::flow::query::{Entry, Filter, HistoryQuery, ListQuery, Order, Reach};
use crate::ports::views::{RowData, ViewRow};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use uuid::Uuid;

const A: TenantId = TenantId(Uuid::from_u128(0xa));
const B: TenantId = TenantId(Uuid::from_u128(0xb));

fn streams() -> [StreamId; 5] {
    let agent = |tenant, id| StreamId::new(tenant, Aggregate::Agent, Uuid::from_u128(id));
    let server = StreamId::new(A, Aggregate::McpServer, Uuid::from_u128(5));
    [agent(A, 1), agent(A, 2), agent(A, 3), agent(B, 4), server]
}

/// Which stream, what to do, and how long after the step before.
type Step = (usize, u8, Micros);

fn steps(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Step>> {
    // The first stream has most of it: more than is held at once.
    let which = prop_oneof![4 => Just(0_usize), 3 => 1..5_usize];
    prop::collection::vec((which, any::<u8>(), 0..3_i64), length)
}

fn command(stream: &StreamId, what: u8, position: u64) -> AnyCommand {
    let health = ["active", "degraded", "offline"][usize::from(what / 8) % 3];
    let tool = |number: u8| json!({"name": format!("tool {number}"), "description": format!("{}", position % 3)});
    let tools: Vec<_> = (0..5).filter(|bit| what >> bit & 4 == 4).map(tool).collect();
    let (name, data) = match (stream.aggregate, what % 8) {
        (Aggregate::McpServer, 0) => {
            ("RegisterMcpServer", json!({"name": "library", "endpoint": "https://library.example/"}))
        }
        (Aggregate::McpServer, 1) => ("ReviseMcpServer", json!({"name": format!("library {position}")})),
        (Aggregate::McpServer, 2) => ("ReportMcpServerHealth", json!({"health": health})),
        (Aggregate::McpServer, _) => ("DiscoverTools", json!({ "tools": tools })),
        (_, 0 | 1) => ("RegisterAgent", json!({"name": "ada", "category": "research"})),
        (_, 2) => ("ReviseAgent", json!({"name": format!("ada {position}"), "owner": "lab"})),
        (_, 3) => ("ReviseAgent", json!({"skills": ["read", format!("skill {position}")]})),
        (_, 4) => ("ActivateAgent", json!({})),
        (_, 5) => ("IdleAgent", json!({})),
        (_, 6) => ("MaintainAgent", json!({"reason": format!("reason {position}")})),
        _ => ("ReportAgentHealth", json!({"health": health, "reason": "heard"})),
    };
    AnyCommand::from_json(stream.aggregate, name, data.to_string().as_bytes()).unwrap()
}

/// A stream after one of its events.
#[derive(Clone)]
struct Snapshot {
    position: u64,
    resource: Resource,
}

struct Story {
    records: Vec<Recorded>,
    snapshots: Vec<Snapshot>,
}

/// Decides each command on the state before it, and records what comes of it: events, refusals, and what changed nothing.
fn story(steps: &[Step]) -> Story {
    let mut states = streams().map(Resource::nothing);
    let mut story = Story { records: Vec::new(), snapshots: Vec::new() };
    let mut recorded_at = 1_000;
    for (which, what, pause) in steps {
        recorded_at += pause;
        let resource = &mut states[*which];
        let stream = resource.stream;
        let next = story.records.len() as u64 + 1;
        let envelope = Arc::new(Envelope::new(Uuid::from_u128(u128::from(next)), stream));
        let world = World::default();
        let context = Context { now: recorded_at, envelope: &envelope, version: resource.version, world: &world };
        let decided = resource.state.decide(&command(&stream, *what, next), &context);
        let record = |kind, position, version| Record {
            position,
            version,
            previous: 0,
            kind,
            index: 0,
            last: true,
            recorded_at,
            command_digest: 0,
            envelope: envelope.clone(),
            schema: String::new(),
            fingerprint: 0,
            payload: Vec::new(),
        };
        let mut records = match &decided {
            Err(_) => vec![record(RecordKind::Refusal, next, resource.version)],
            Ok(decision) if decision.events.is_empty() => vec![record(RecordKind::Unchanged, next, resource.version)],
            Ok(_) => Vec::new(),
        };
        if let Err(rejection) = &decided {
            records[0].payload = serde_json::to_vec(rejection).unwrap();
        }
        for event in decided.into_iter().flat_map(|decision| decision.events) {
            let position = next + records.len() as u64;
            let mut record = record(RecordKind::Event, position, resource.version + 1);
            record.schema = event.name().to_owned();
            record.fingerprint = stream.aggregate.codec(event.name()).unwrap().fingerprint;
            event.encode(&mut record.payload).unwrap();
            resource.state.evolve(&event, &record.meta());
            resource.version += 1;
            resource.updated_at = recorded_at;
            if resource.version == 1 {
                resource.created_at = recorded_at;
            }
            story.snapshots.push(Snapshot { position, resource: resource.clone() });
            records.push(record);
        }
        let recorded = |record| Recorded { record, hash: CHAIN_START, decided: None };
        story.records.extend(records.into_iter().map(recorded));
    }
    story
}

impl Story {
    /// The read side, where the views show what is recorded up to a position.
    fn query(&self, shown_to: usize) -> Query {
        let shown = self.snapshots.iter().filter(|it| it.position <= shown_to as u64);
        let row = |it: &Snapshot| {
            let Resource { stream, version, created_at, updated_at, ref state } = it.resource;
            let data = RowData { version, created_at, updated_at, state: state.to_blob().unwrap().into() };
            ((stream.tenant, stream.id), ViewRow { stream, data })
        };
        let rows = shown.map(row).collect();
        query(Stores { rows, records: self.records.clone(), ..Stores::default() })
    }

    fn of(&self, stream: StreamId) -> Vec<&Resource> {
        self.snapshots.iter().map(|it| &it.resource).filter(|resource| resource.stream == stream).collect()
    }

    fn expected(&self, stream: StreamId, at: At) -> Option<AsOf> {
        let own = self.of(stream);
        let began_at = own.first()?.updated_at;
        let then = own.iter().rfind(|it| match at {
            At::Time(time) => it.updated_at <= time,
            At::Version(version) => it.version <= version,
        });
        Some(match (then, at) {
            (None, _) => AsOf::NotYet { began_at },
            (Some(then), At::Version(asked)) if then.version < asked => AsOf::NoVersion { newest: then.version },
            (Some(then), _) => AsOf::Stood(Box::new((*then).clone())),
        })
    }

    /// Moments all over a stream's life, and beyond its ends.
    fn moments(&self, stream: StreamId) -> Vec<At> {
        let own = self.of(stream);
        let stride = own.len() / 5 + 1;
        let versions = (1..=own.len() as u64 + 1).step_by(stride).chain([own.len() as u64]).filter(|it| *it > 0);
        let times = own.iter().step_by(stride).chain(own.last()).flat_map(|it| [it.updated_at - 1, it.updated_at]);
        versions.map(At::Version).chain(times.chain([Micros::MAX]).map(At::Time)).collect()
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn list(tenants: Vec<TenantId>, limit: usize) -> ListQuery {
    let reach = Reach::Tenants(tenants);
    ListQuery {
        aggregate: Aggregate::Agent,
        reach,
        ids: None,
        filters: Vec::new(),
        updated_since: None,
        after: None,
        limit,
    }
}

async fn walk(query: &Query, mut ask: ListQuery, at: Micros) -> Vec<Resource> {
    let mut items = Vec::new();
    loop {
        let page = query.list_as_of(&ask, at).await.unwrap();
        assert!(page.items.len() <= ask.limit);
        items.extend(page.items);
        ask.after = page.next;
        if ask.after.is_none() {
            return items;
        }
    }
}

fn shown(resource: &Resource) -> Map<String, Value> {
    let mut fields = resource.state.view();
    fields.insert("status".to_owned(), resource.state.status().into());
    fields
}

/// Every page of a history with its changes, oldest first.
async fn told(query: &Query, stream: StreamId, order: Order, limit: usize) -> Vec<Entry> {
    let mut ask = HistoryQuery { stream, order, kinds: Vec::new(), after: None, limit };
    let (mut entries, mut standing) = (Vec::new(), None);
    loop {
        let mut page = query.history(&ask).await.unwrap();
        query.tell_changes(&mut page.entries, &mut standing).await.unwrap();
        if order == Order::NewestFirst {
            standing = None;
        }
        entries.extend(page.entries);
        ask.after = page.next;
        if ask.after.is_none() {
            entries.sort_by_key(|entry| entry.recorded.record.position);
            return entries;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_resource_at_any_moment_is_what_a_straight_fold_makes(steps in steps(1..260), shown_to in 0..260_usize) {
        let story = story(&steps);
        for query in [story.query(shown_to), story.query(usize::MAX)] {
            for stream in streams() {
                for at in story.moments(stream) {
                    let found = block_on(query.get_as_of(stream, at)).unwrap();
                    prop_assert_eq!(found, story.expected(stream, at), "{} {:?}", stream, at);
                }
            }
        }
    }

    #[test]
    fn a_list_at_any_time_shows_what_there_was_as_it_was(steps in steps(1..120), filter in "active|idle|provisioning") {
        let story = story(&steps);
        let query = story.query(usize::MAX);
        let last = story.records.last().map_or(0, |it| it.record.recorded_at);
        for at in (999..=last).step_by(17).chain([last]) {
            let stood = |stream: &StreamId| match story.expected(*stream, At::Time(at)) {
                Some(AsOf::Stood(resource)) => Some(*resource),
                _ => None,
            };
            let all: Vec<Resource> = streams()[..4].iter().filter_map(stood).collect();
            for limit in [1, 3, 100] {
                prop_assert_eq!(block_on(walk(&query, list(vec![A, B], limit), at)), all.clone());
            }
            let own: Vec<Resource> = all.iter().filter(|it| it.stream.tenant == A).cloned().collect();
            prop_assert_eq!(block_on(walk(&query, list(vec![A], 2), at)), own.clone());
            let ids = Some(streams().map(|stream| stream.id).to_vec());
            prop_assert_eq!(block_on(walk(&query, ListQuery { ids, ..list(vec![A], 9) }, at)), own.clone());
            let filters = vec![Filter { name: "status".into(), values: vec![filter.clone()] }];
            let passing: Vec<Resource> = own.into_iter().filter(|it| it.state.status() == filter).collect();
            prop_assert_eq!(block_on(walk(&query, ListQuery { filters, ..list(vec![A], 1) }, at)), passing);
        }
    }

    #[test]
    fn changes_lead_from_nothing_to_every_version(steps in steps(1..200), limit in 1..90_usize) {
        let story = story(&steps);
        let query = story.query(usize::MAX);
        for stream in streams() {
            for order in [Order::OldestFirst, Order::NewestFirst] {
                let entries = block_on(told(&query, stream, order, limit));
                prop_assert_eq!(entries.len(), story.records.iter().filter(|it| it.record.stream() == stream).count());
                let mut fields = Map::new();
                let mut versions = story.of(stream).into_iter();
                for entry in entries {
                    let changes = entry.changes.unwrap();
                    if entry.recorded.record.kind == RecordKind::Event {
                        fields = patched(&fields, &changes);
                        prop_assert_eq!(&fields, &shown(versions.next().unwrap()));
                    } else {
                        prop_assert_eq!(changes, []);
                    }
                }
                prop_assert_eq!(versions.next(), None);
            }
        }
    }
}

/// One agent that goes to and fro for so many commands, one a microsecond.
fn long(commands: usize) -> Story {
    let to_and_fro = (0..commands).map(|number| (0, [4, 5][number % 2], 1));
    story(&[(0, 0, 0)].into_iter().chain(to_and_fro).collect::<Vec<_>>())
}

#[tokio::test]
async fn what_lies_too_far_back_is_an_error_and_what_a_row_shows_is_not_walked_to() {
    let story = long(1_000);
    let stream = streams()[0];
    let query = story.query(usize::MAX).folding_at_most(500);
    let error = query.get_as_of(stream, At::Version(1)).await.unwrap_err();
    assert!(matches!(error, Error::TooFar { records_max: 500, .. }), "{error}");
    let listed = query.list_as_of(&list(vec![A], 10), 1_500).await;
    assert!(matches!(listed, Err(Error::TooFar { .. })), "{listed:?}");
    for at in [At::Version(1_001), At::Version(1_002), At::Time(2_000), At::Time(Micros::MAX)] {
        assert_eq!(query.get_as_of(stream, at).await.unwrap(), story.expected(stream, at), "{at:?}");
    }
    assert_eq!(query.list_as_of(&list(vec![A], 10), 2_000).await.unwrap().items.len(), 1);
    let behind = story.query(900).folding_at_most(500);
    let at = At::Version(1_000);
    assert_eq!(behind.get_as_of(stream, at).await.unwrap(), story.expected(stream, at), "from the row on");
}

#[tokio::test]
async fn a_history_with_a_hole_is_damage_and_no_answer() {
    let mut story = long(20);
    story.records.remove(9);
    let error = story.query(0).get_as_of(streams()[0], At::Version(15)).await.unwrap_err();
    assert!(error.to_string().contains("version 11 follows version 9"), "{error}");
}

/// The same life for agents of these numbers.
fn alike(story: &mut Story, numbers: std::ops::Range<u128>) {
    let stream = |number| StreamId { id: Uuid::from_u128(number), ..streams()[0] };
    let (records, snapshots) = (std::mem::take(&mut story.records), std::mem::take(&mut story.snapshots));
    for number in numbers {
        story.records.extend(records.iter().cloned().map(|mut recorded| {
            let command_id = recorded.record.envelope.command_id;
            recorded.record.envelope = Arc::new(Envelope::new(command_id, stream(number)));
            recorded
        }));
        let newest = snapshots.last().unwrap().clone();
        story.snapshots.push(Snapshot { resource: Resource { stream: stream(number), ..newest.resource }, ..newest });
    }
}

#[tokio::test]
async fn a_page_as_of_a_time_ends_after_so_many_records() {
    let mut story = long(2_600);
    alike(&mut story, 1..11);
    let query = story.query(usize::MAX);
    let mut ask = list(vec![A], 100);
    let mut pages = Vec::new();
    loop {
        let page = query.list_as_of(&ask, 1_010).await.unwrap();
        assert!(page.items.iter().all(|it| it.version == 11), "{:?}", page.items);
        pages.push(page.items.len());
        ask.after = page.next;
        if ask.after.is_none() {
            break;
        }
    }
    assert_eq!(pages, [8, 2], "those that are folded together, and the rest");
}
