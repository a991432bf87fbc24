//! The suite of the port `views`.

use super::{Ports, Rig};
use crate::domain::{Aggregate, StreamId, TenantId};
use crate::ports::views::{RowData, ViewRow};
use uuid::Uuid;

pub async fn suite(rig: &mut impl Rig) {
    rows_are_replaced_and_found(rig).await;
    lists_page_in_the_order_of_ids(rig).await;
    what_a_crash_takes_is_below_the_mark(rig).await;
}

fn row(tenant: u128, aggregate: Aggregate, id: u128, version: u64) -> ViewRow {
    let stream = StreamId::new(TenantId(Uuid::from_u128(tenant)), aggregate, Uuid::from_u128(id));
    let data = RowData { version, created_at: 1, updated_at: version as i64, state: vec![id as u8; 4].into() };
    ViewRow { stream, data }
}

async fn apply(ports: &Ports, rows: Vec<ViewRow>, through: u64) {
    let log = rows[0].stream.log(ports.partitions);
    ports.views.apply(log, rows, through).await.expect("applied");
}

async fn rows_are_replaced_and_found(rig: &mut impl Rig) {
    let ports = rig.ports();
    let first = row(1, Aggregate::Agent, 1, 1);
    assert_eq!(ports.views.get(first.stream).await.expect("read"), None);
    apply(&ports, vec![first.clone()], 1).await;
    assert_eq!(ports.views.get(first.stream).await.expect("read"), Some(first.clone()));
    let second = row(1, Aggregate::Agent, 1, 2);
    apply(&ports, vec![second.clone()], 2).await;
    apply(&ports, vec![first], 1).await;
    apply(&ports, vec![second.clone()], 2).await;
    assert_eq!(ports.views.get(second.stream).await.expect("read"), Some(second), "applied again, the same");
}

async fn lists_page_in_the_order_of_ids(rig: &mut impl Rig) {
    let ports = rig.ports();
    for id in [5, 3, 1, 4, 2] {
        apply(&ports, vec![row(2, Aggregate::Agent, id, 1)], 1).await;
        apply(&ports, vec![row(3, Aggregate::Agent, id, 1)], 1).await;
    }
    apply(&ports, vec![row(2, Aggregate::McpServer, 9, 1)], 1).await;
    apply(&ports, vec![row(3, Aggregate::Tenant, 3, 1)], 1).await;
    let tenant = TenantId(Uuid::from_u128(2));
    let ids = |rows: Vec<ViewRow>| rows.iter().map(|row| row.stream.id.as_u128()).collect::<Vec<_>>();
    let first = ports.views.list(tenant, Aggregate::Agent, None, 2).await.expect("read");
    assert_eq!(ids(first), [1, 2]);
    let rest = ports.views.list(tenant, Aggregate::Agent, Some(Uuid::from_u128(2)), 10).await.expect("read");
    assert_eq!(ids(rest), [3, 4, 5], "no other tenant's and no other aggregate's");
    let after = Some((tenant, Uuid::from_u128(4)));
    let across = ports.views.list_all(Aggregate::Agent, after, 3).await.expect("read");
    assert_eq!(ids(across), [5, 1, 2], "on into the next tenant");
}

async fn what_a_crash_takes_is_below_the_mark(rig: &mut impl Rig) {
    let ports = rig.ports();
    let row = row(4, Aggregate::Agent, 77, 1);
    let log = row.stream.log(ports.partitions);
    apply(&ports, vec![row.clone()], 1_000_000).await;
    drop(ports);
    rig.crash();
    let ports = rig.ports();
    let kept = ports.views.get(row.stream).await.expect("read").is_some();
    let mark = ports.views.applied_to(log).await.expect("read");
    assert!(kept || mark < 1_000_000, "a row up to the mark {mark} was lost");
}
