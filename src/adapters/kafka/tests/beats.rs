//! Heartbeats on a real broker.

use super::*;
use crate::domain::{StreamId, TenantId};
use crate::ports::Beats;
use crate::ports::beats::Bounds;
use uuid::Uuid;

/// The first so many agents of a log.
fn agents(log: LogId, count: usize) -> Vec<StreamId> {
    let agent = |number| StreamId::new(TenantId(Uuid::from_u128(7)), Aggregate::Agent, Uuid::from_u128(number));
    (0..).map(agent).filter(|agent| agent.log(PARTITIONS) == log).take(count).collect()
}

fn log(partition: u16) -> LogId {
    LogId { aggregate: Aggregate::Agent, partition }
}

/// Reads until so many heartbeats came. Gives them, and where to read on.
async fn read(beats: &KafkaBeats, log: LogId, mut from: u64, count: usize) -> (Vec<StreamId>, u64) {
    let mut found = Vec::new();
    while found.len() < count {
        let page = tokio::time::timeout(SOON, beats.read(log, from, 100)).await.expect("in time").expect("read");
        assert!(page.next > from, "it goes on");
        from = page.next;
        found.extend(page.agents);
    }
    (found, from)
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_come_to_the_log_of_their_agent_in_order_and_are_settled_for_whoever_comes_after() {
    let Some(ground) = Ground::new().await else { return };
    let beats = ground.beats();
    let [ours, others] = [agents(log(1), 3), agents(log(2), 1)];
    assert_eq!(beats.settled(log(1)).await.unwrap(), None);
    beats.send([&ours[..], &others, &ours[..1]].concat()).await.unwrap();
    assert_eq!(beats.bounds(log(1)).await.unwrap(), Bounds { low: 0, end: 4 });
    let (found, next) = read(&beats, log(1), 0, 4).await;
    assert_eq!((found, next), ([&ours[..], &ours[..1]].concat(), 4));
    assert_eq!(read(&beats, log(2), 0, 1).await.0, others);
    // A caller that gives up while it waits misses nothing.
    tokio::time::timeout(NOT_SO_SOON, beats.read(log(1), 4, 100)).await.expect_err("nothing is there");
    beats.send(ours[2..].to_vec()).await.unwrap();
    assert_eq!(read(&beats, log(1), 4, 1).await, (ours[2..].to_vec(), 5));

    beats.settle(log(1), 3).await.unwrap();
    let next = ground.beats();
    assert_eq!((next.settled(log(1)).await.unwrap(), next.settled(log(2)).await.unwrap()), (Some(3), None));
    beats.settle(log(1), 4).await.unwrap();
    assert_eq!(next.settled(log(1)).await.unwrap(), Some(4));
    drop(beats);
    assert_eq!(read(&next, log(1), 4, 1).await, (ours[2..].to_vec(), 5));
    // What lies beyond the end was never there: it goes on from the end.
    assert_eq!(next.read(log(1), 99, 100).await.unwrap().next, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producers_heartbeat_counts_wherever_it_comes_in_and_what_is_none_is_passed_over() {
    let Some(ground) = Ground::new().await else { return };
    let beats = ground.beats();
    let agent = agents(log(3), 1)[0];
    let (id, tenant) = (agent.id.to_string(), agent.tenant.to_string());
    let topic = ground.heartbeats();
    for (key, headers) in
        [(None, vec![("ce_tenantid", tenant.as_str())]), (Some("no id"), vec![]), (Some(&*id), vec![])]
    {
        ground.foreign_to(topic, 0, key, b"", &headers).await;
    }
    ground.foreign_to(topic, 0, Some(&id), b"", &[("ce_tenantid", &tenant)]).await;
    ground.foreign_to(topic, 0, Some(&id), b"", &[("ce_tenantid", &tenant), ("ce_forwardedfrom", "3/0")]).await;
    let mut from = 0;
    while from < 5 {
        let page = tokio::time::timeout(SOON, beats.read(log(0), from, 100)).await.expect("in time").unwrap();
        assert!(page.agents.is_empty(), "none of these is of this log");
        from = page.next;
    }
    assert_eq!(read(&beats, log(3), 0, 1).await, (vec![agent], 1), "sent on, once");
}
