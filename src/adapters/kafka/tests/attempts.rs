//! The count of tries beside a committed offset.

use super::{Ground, PARTITIONS, SOON};
use crate::adapters::kafka::{Membership, Turns};
use crate::domain::{Aggregate, LogId};
use crate::ports::Assignment;
use crate::ports::conformance::stream;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

struct Nothing;

impl Turns for Nothing {
    fn gained(&self, _: &[LogId]) {}
    fn lost(&self, _: &[LogId]) {}
}

/// A member that has all partitions of the tenants' commands.
async fn member(ground: &Ground) -> Arc<Membership> {
    let topics = vec![(ground.commands().to_owned(), Aggregate::Tenant)];
    let group = format!("{}agentverse.processors", ground.config.prefix);
    let membership = Membership::join(&ground.config.link, &group, topics, Arc::new(Nothing)).expect("joined");
    let deadline = Instant::now() + SOON * 2;
    while membership.mine().len() < usize::from(PARTITIONS) {
        assert!(Instant::now() < deadline, "the group gave nothing");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    membership
}

async fn leave(membership: Arc<Membership>) {
    tokio::task::spawn_blocking(move || membership.leave()).await.expect("left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_learns_how_many_tries_ended_at_exactly_this_offset() {
    let Some(ground) = Ground::new().await else { return };
    let log = stream(1).log(PARTITIONS);
    let first = member(&ground).await;
    assert_eq!(first.tried(log, 7).await, 0);
    first.note(log, 7, 2).await;
    assert_eq!(first.tried(log, 7).await, 2);
    leave(first).await;
    let second = member(&ground).await;
    assert!(second.confirm(log).await, "a confirmation comes before the first try, and keeps the count");
    assert_eq!((second.tried(log, 8).await, second.tried(log, 7).await), (0, 2));
    second.consumed(log, 8);
    assert_eq!(second.tried(log, 7).await, 0, "what was appended counts no more");
    leave(second).await;
    let third = member(&ground).await;
    assert_eq!((third.tried(log, 7).await, third.tried(log, 8).await), (0, 0));
    leave(third).await;
}
