//! Pages, histories and outcomes over stores that are held in memory.

use super::*;
use crate::domain::common::Health;
use crate::domain::record::{CHAIN_START, Record};
use crate::domain::{Aggregate, Envelope, agent};
use crate::flow::query::stores::{Stores, query};
use crate::ports::journal::Recorded;
use crate::ports::topic::{Buried, DeadLetter, RedriveError};
use crate::ports::views::RowData;

const A: TenantId = TenantId(Uuid::from_u128(0xa));
const B: TenantId = TenantId(Uuid::from_u128(0xb));

fn agent_of(tenant: TenantId, id: u128) -> StreamId {
    StreamId::new(tenant, Aggregate::Agent, Uuid::from_u128(id))
}

fn row(stream: StreamId, health: Health) -> ((TenantId, Uuid), ViewRow) {
    let state = AnyState::Agent(Box::new(agent::State { health, ..agent::State::default() }));
    let state = Arc::from(state.to_blob().unwrap());
    let data = RowData { version: 1, created_at: 2, updated_at: 3, state };
    ((stream.tenant, stream.id), ViewRow { stream, data })
}

fn ask(reach: Reach) -> ListQuery {
    ListQuery {
        aggregate: Aggregate::Agent,
        reach,
        ids: None,
        filters: Vec::new(),
        updated_since: None,
        after: None,
        limit: 2,
    }
}

/// Reads page after page; gives the ids of each.
async fn pages(query: &Query, mut ask: ListQuery) -> Vec<Vec<u128>> {
    let mut pages = Vec::new();
    loop {
        let page = query.list(&ask).await.unwrap();
        pages.push(page.items.iter().map(|item| item.stream.id.as_u128()).collect());
        ask.after = page.next;
        if ask.after.is_none() {
            return pages;
        }
    }
}

#[tokio::test]
async fn pages_follow_one_another_across_tenants_and_show_no_others() {
    let agents = [(A, 1), (A, 2), (A, 3), (B, 4), (TenantId::SHARED, 5)];
    let rows = agents.iter().map(|(tenant, id)| row(agent_of(*tenant, *id), Health::Active)).collect();
    let query = query(Stores { rows, ..Stores::default() });
    let own_then_shared = ask(Reach::Tenants(vec![A, TenantId::SHARED]));
    assert_eq!(pages(&query, own_then_shared.clone()).await, [vec![1, 2], vec![3, 5]]);
    assert_eq!(pages(&query, ListQuery { limit: 3, ..own_then_shared }).await, [vec![1, 2, 3], vec![5]]);
    assert_eq!(pages(&query, ask(Reach::Tenants(vec![B]))).await, [vec![4]]);
    assert_eq!(pages(&query, ask(Reach::All)).await, [vec![5, 1], vec![2, 3], vec![4]]);
    let named = [1, 4, 9].map(Uuid::from_u128).to_vec();
    assert_eq!(pages(&query, ListQuery { ids: Some(named), ..ask(Reach::Tenants(vec![A])) }).await, [vec![1]]);
}

#[tokio::test]
async fn filters_keep_what_has_any_of_their_values_and_a_scan_is_bounded() {
    let healthy = |id: u128| if id.is_multiple_of(15_000) { Health::Offline } else { Health::Active };
    let rows = (1..=45_000).map(|id| row(agent_of(A, id), healthy(id))).collect();
    let query = query(Stores { rows, ..Stores::default() });
    let filter = |values: &[&str]| Filter {
        name: "health".into(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    let ask = ListQuery { filters: vec![filter(&["offline", "degraded"])], ..ask(Reach::Tenants(vec![A])) };
    assert_eq!(pages(&query, ask.clone()).await, [vec![15_000], vec![30_000], vec![45_000]]);
    let both = ListQuery { filters: vec![filter(&["offline"]), filter(&["active"])], ..ask };
    assert_eq!(pages(&query, both).await, vec![Vec::<u128>::new(); 3]);
}

fn recorded(position: u64, kind: RecordKind, stream: StreamId, payload: &[u8]) -> Recorded {
    let event = kind == RecordKind::Event;
    let record = Record {
        position,
        version: 1,
        previous: 0,
        kind,
        index: 0,
        last: true,
        recorded_at: 0,
        command_digest: 0,
        envelope: Arc::new(Envelope::new(Uuid::from_u128(1000 + u128::from(position)), stream)),
        schema: if event { "AgentIdled".into() } else { String::new() },
        fingerprint: if event { Aggregate::Agent.codec("AgentIdled").unwrap().fingerprint } else { 0 },
        payload: payload.to_vec(),
    };
    Recorded { record, hash: CHAIN_START, decided: None }
}

const REFUSAL: &[u8] = br#"{"code":"no","message":"never","details":{}}"#;

fn story() -> Query {
    let (ours, theirs) = (agent_of(A, 1), agent_of(B, 2));
    let records = vec![
        recorded(1, RecordKind::Event, ours, b""),
        recorded(2, RecordKind::Refusal, ours, REFUSAL),
        recorded(3, RecordKind::Event, theirs, b""),
        recorded(4, RecordKind::Unchanged, ours, b""),
        recorded(5, RecordKind::Event, ours, b""),
    ];
    query(Stores { records, ..Stores::default() })
}

async fn positions(query: &Query, order: Order, kinds: Vec<RecordKind>) -> Vec<Vec<u64>> {
    let mut ask = HistoryQuery { stream: agent_of(A, 1), order, kinds, after: None, limit: 2 };
    let mut pages = Vec::new();
    loop {
        let page = query.history(&ask).await.unwrap();
        pages.push(page.entries.iter().map(|entry| entry.recorded.record.position).collect());
        ask.after = page.next;
        if ask.after.is_none() {
            return pages;
        }
    }
}

#[tokio::test]
async fn a_history_reads_both_ways_page_by_page() {
    let query = story();
    assert_eq!(positions(&query, Order::OldestFirst, vec![]).await, [vec![1, 2], vec![4, 5]]);
    assert_eq!(positions(&query, Order::NewestFirst, vec![]).await, [vec![5, 4], vec![2, 1]]);
    assert_eq!(positions(&query, Order::OldestFirst, vec![RecordKind::Event]).await, [vec![1, 5]]);
    assert_eq!(positions(&query, Order::NewestFirst, vec![RecordKind::Refusal]).await, [vec![2]]);
    let ask = HistoryQuery { stream: agent_of(A, 1), order: Order::OldestFirst, kinds: vec![], after: None, limit: 9 };
    let data: Vec<_> = query.history(&ask).await.unwrap().entries.into_iter().map(|entry| entry.data).collect();
    let refusal = serde_json::from_slice::<serde_json::Value>(REFUSAL).unwrap();
    assert_eq!(data, [serde_json::json!({}), refusal, serde_json::Value::Null, serde_json::json!({})]);
}

#[tokio::test]
async fn an_outcome_is_read_from_its_record_and_by_its_tenant_alone() {
    let query = story();
    let outcome = async |tenant, position: u128| query.outcome(tenant, Uuid::from_u128(1000 + position)).await.unwrap();
    let (stream, applied) = outcome(A, 1).await.unwrap();
    assert_eq!(stream, agent_of(A, 1));
    assert_eq!((applied.kind, applied.version, applied.reason), (OutcomeKind::Applied, Some(1), None));
    let (_, refused) = outcome(A, 2).await.unwrap();
    assert_eq!((refused.kind, refused.version), (OutcomeKind::Refused, Some(1)));
    assert_eq!(refused.reason, Some(Rejection::new("no", "never")));
    let (_, unchanged) = outcome(A, 4).await.unwrap();
    assert_eq!((unchanged.kind, unchanged.version), (OutcomeKind::Applied, Some(1)));
    assert_eq!(outcome(A, 3).await, None);
    assert_eq!(outcome(A, 9).await, None);
}

#[tokio::test]
async fn dead_letters_are_shown_to_their_tenant_and_tell_the_outcome() {
    let letters = letters();
    let query = query(Stores { letters, ..Stores::default() });
    let first = query.dead_letters(A, 0, 1).await.unwrap();
    assert_eq!((first.letters[0].0, first.next), (0, Some(3)));
    let second = query.dead_letters(A, 3, 1).await.unwrap();
    assert_eq!((second.letters[0].0, second.next), (3, None));
    let unreadable = query.dead_letters(TenantId::SHARED, 0, 9).await.unwrap();
    assert_eq!(unreadable.letters.len(), 1);
    let (stream, outcome) = query.outcome(A, Uuid::from_u128(4)).await.unwrap().unwrap();
    assert_eq!((stream, outcome.kind, outcome.version), (agent_of(A, 2), OutcomeKind::DeadLettered, None));
    assert_eq!(query.outcome(A, Uuid::from_u128(3)).await.unwrap(), None);
}

fn letters() -> Vec<Buried> {
    let letter = |stream: Option<StreamId>, id: u128| {
        let letter = DeadLetter {
            topic: "agentverse.agent.commands.v1".into(),
            partition: 0,
            offset: 0,
            command_id: stream.map(|_| Uuid::from_u128(id)),
            stream,
            code: "poisonous".into(),
            cause: "it kills".into(),
            buried_at: 0,
            attempts: 0,
            headers: Vec::new(),
            bytes: vec![0xc3, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        };
        Buried { letter, redriven: 0 }
    };
    vec![
        letter(Some(agent_of(A, 1)), 1),
        letter(None, 2),
        letter(Some(agent_of(B, 1)), 3),
        letter(Some(agent_of(A, 2)), 4),
    ]
}

#[tokio::test]
async fn a_letter_is_shown_and_sent_again_for_its_own_tenant_alone() {
    let query = query(Stores { letters: letters(), ..Stores::default() });
    assert!(query.dead_letter(A, 0).await.unwrap().is_some());
    assert_eq!(query.redrive(A, 0, false).await.unwrap().attempts, 1);
    for (tenant, number) in [(B, 0), (A, 1), (A, 2), (A, 9)] {
        assert!(query.dead_letter(tenant, number).await.unwrap().is_none());
        let refused = query.redrive(tenant, number, true).await.unwrap_err();
        assert!(matches!(refused, RedriveError::Unknown(_)), "{refused}");
    }
    assert!(query.dead_letter(TenantId::SHARED, 1).await.unwrap().is_some(), "what is nobody's is the keeper's");
}

#[tokio::test]
async fn a_command_that_was_sent_again_has_no_outcome_until_it_has_one() {
    let mut again = letters();
    again[0].redriven = 1;
    let died_twice = Buried { redriven: 0, ..again[0].clone() };
    let outcome = async |letters| {
        let query = query(Stores { letters, ..Stores::default() });
        query.outcome(A, Uuid::from_u128(1)).await.unwrap().map(|(_, outcome)| outcome.kind)
    };
    assert_eq!(outcome(again.clone()).await, None);
    again.push(died_twice);
    assert_eq!(outcome(again).await, Some(OutcomeKind::DeadLettered));
}
