//! The limits on a real server, and by several processes at a time.

use super::{rig, wait_for};
use crate::adapters::scylla::{ScyllaLimits, Store};
use crate::domain::TenantId;
use crate::domain::limit::{Amounts, Ask, Limit, LimitKey, Outcome, Returned, Setting};
use crate::ports::Limits;
use crate::ports::conformance;
use crate::ports::conformance::limits::repeated;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// As another process has them.
async fn open(config: &super::Config) -> Arc<dyn Limits> {
    let store = Arc::new(Store::connect(config).await.expect("connected"));
    Arc::new(ScyllaLimits::open(store).await.expect("open"))
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_conform_over_two_sessions() {
    let Some(rig) = rig(None).await else { return };
    let (one, other) = (open(&rig.config).await, open(&rig.config).await);
    conformance::limits::suite(&one, &other).await;
}

/// For ten seconds, and until each got something: how much they get follows from the store's time alone, how fast from the
/// machine.
#[tokio::test(flavor = "multi_thread")]
async fn workers_that_fight_over_a_row_get_no_more_than_there_is() {
    let Some(rig) = rig(None).await else { return };
    let key = LimitKey::Tenant(TenantId(Uuid::from_u128(77)));
    let first = open(&rig.config).await;
    let limit = Limit { requests_per_minute: Some(6000), ..Limit::default() };
    let setting = Setting { version: 1, limit, spent: None };
    repeated(|| first.set(&key, &setting)).await.expect("set");
    let began = repeated(|| first.state(&key)).await.expect("read").expect("set").at;
    let until = Instant::now() + Duration::from_secs(10);
    let fights = (1..=8u64).map(|holder| {
        let (key, limits) = (key.clone(), wait_for(open(&rig.config)));
        tokio::spawn(async move {
            let (mut got, mut op) = (0, 0);
            while Instant::now() < until || got == 0 {
                op += 1;
                let (needed, wanted) = (Amounts::call(0), Amounts { requests: 1000, ..Amounts::ZERO });
                let ask = Ask { holder, op, needed, wanted, returned: Returned::default() };
                match repeated(|| limits.reserve(&key, &ask)).await.expect("an answer").outcome {
                    Outcome::Granted(grant) => got += grant.amounts.requests,
                    _ => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
            got
        })
    });
    let mut got = 0;
    for fight in fights.collect::<Vec<_>>() {
        got += fight.await.expect("no panic");
    }
    let there = repeated(|| first.state(&key)).await.expect("read").expect("set");
    assert_eq!(there.requests.expect("limited").used, got, "every grant is booked once");
    // A hundred a second, and a burst.
    let most = 120 + (there.at - began).unsigned_abs() / 10_000;
    eprintln!("{got} of {most} at most");
    assert!(got <= most, "{got} of {most}");
}
