//! The limits: exact over several processes, each operation once.
//!
//! The arithmetic has tests of its own beside the domain. Here is what a store must do about it, in a store's own time:
//! nothing waits for a minute.

use crate::domain::limit::{
    Amounts, Ask, Budget, Closed, Correction, Dimension, Grant, LEASE_LIFE, Limit, LimitKey, News, Outcome, Period,
    Returned, Setting, Spent, Why,
};
use crate::domain::{Aggregate, StreamId, TenantId};
use crate::ports::Limits;
use crate::ports::limits::Error;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The suite, on two that share their accounts: as two processes have them.
pub async fn suite(one: &Arc<dyn Limits>, other: &Arc<dyn Limits>) {
    a_key_that_nobody_set_has_no_limit_to_reserve_of(one).await;
    a_lease_is_granted_counted_and_given_back(one, other).await;
    an_operation_that_is_repeated_happens_once(one, other).await;
    an_older_setting_never_overwrites_a_newer(one, other).await;
    news_of_one_worker_hold_for_all(one, other).await;
    keys_have_accounts_of_their_own(one).await;
    what_is_unlimited_is_granted_as_it_is_wanted(one).await;
    what_was_spent_elsewhere_is_spent(one).await;
    sixty_four_callers_spend_a_dollar_and_no_more(one, other).await;
}

fn tenant(number: u128) -> LimitKey {
    LimitKey::Tenant(TenantId(Uuid::from_u128(0x3000_0000_0000_4000_8000_0000_0000_0000 + number)))
}

fn model(number: u128, model: &str) -> LimitKey {
    let id = Uuid::from_u128(0x4000_0000_0000_4000_8000_0000_0000_0000 + number);
    LimitKey::Model { provider: StreamId::new(TenantId(id), Aggregate::LlmProvider, id), model: model.into() }
}

fn per_minute(version: u64, requests: u64, tokens: u64) -> Setting {
    let limit = Limit { requests_per_minute: Some(requests), tokens_per_minute: Some(tokens), budget: None };
    Setting { version, limit, spent: None }
}

fn dollars(micro_usd: u64) -> Setting {
    let limit = Limit { budget: Some(Budget { micro_usd, period: Period::Month }), ..Limit::default() };
    Setting { version: 1, limit, spent: None }
}

fn ask(holder: u64, op: u64, needed: Amounts) -> Ask {
    Ask { holder, op, needed, wanted: needed, returned: Returned::default() }
}

async fn reserve(limits: &Arc<dyn Limits>, key: &LimitKey, ask: &Ask) -> Outcome {
    limits.reserve(key, ask).await.expect("an answer").outcome
}

async fn granted(limits: &Arc<dyn Limits>, key: &LimitKey, ask: &Ask) -> Grant {
    match reserve(limits, key, ask).await {
        Outcome::Granted(grant) => grant,
        other => panic!("not granted: {other:?}"),
    }
}

async fn used(limits: &Arc<dyn Limits>, key: &LimitKey) -> (u64, u64) {
    let there = limits.state(key).await.expect("read").expect("set");
    (there.requests.map_or(0, |usage| usage.used), there.tokens.map_or(0, |usage| usage.used))
}

async fn a_key_that_nobody_set_has_no_limit_to_reserve_of(limits: &Arc<dyn Limits>) {
    let key = tenant(1);
    assert!(limits.state(&key).await.expect("read").is_none());
    let asked = limits.reserve(&key, &ask(1, 1, Amounts::call(1))).await;
    assert!(matches!(&asked, Err(Error::Unset { key: unset }) if *unset == key), "{asked:?}");
    assert!(matches!(limits.throttle(&key, &News::default()).await, Err(Error::Unset { .. })));
}

async fn a_lease_is_granted_counted_and_given_back(one: &Arc<dyn Limits>, other: &Arc<dyn Limits>) {
    let key = model(2, "a/model:latest");
    assert!(one.set(&key, &per_minute(1, 600, 100_000)).await.expect("set"));
    let reserved = one.reserve(&key, &ask(1, 1, Amounts::call(2000))).await.expect("an answer");
    let Outcome::Granted(grant) = reserved.outcome else { panic!("not granted: {reserved:?}") };
    assert_eq!((grant.amounts, grant.lease), (Amounts::call(2000), 1));
    assert_eq!((grant.expires_at - reserved.at, reserved.active), (LEASE_LIFE, 1));
    assert_eq!(used(other, &key).await, (1, 2000));
    // All of the burst is out: the other process waits for tokens, and its request is not booked either.
    let waiting = other.reserve(&key, &ask(2, 1, Amounts::call(2000))).await.expect("an answer");
    let Outcome::Wait { until, why } = waiting.outcome else { panic!("granted: {waiting:?}") };
    assert!(until > waiting.at && until - waiting.at <= 1_200_000, "{}", until - waiting.at);
    assert_eq!(why, Why::Limit(Dimension::Tokens));
    let unused = Amounts { requests: 0, tokens: 1500, micro_usd: 0 };
    let closed = vec![Closed { lease: grant.lease, unused, released_by: reserved.at }];
    let refund = Amounts { tokens: 400, ..Amounts::ZERO };
    let corrections = vec![Correction { released_by: reserved.at, refund, debt: Amounts::ZERO }];
    one.give_back(&key, 1, 2, &Returned { closed, corrections }).await.expect("given back");
    assert_eq!(used(other, &key).await, (1, 100));
    granted(other, &key, &ask(2, 2, Amounts::call(1900))).await;
    let large = reserve(other, &key, &ask(2, 3, Amounts::call(100_001))).await;
    assert_eq!(large, Outcome::TooLarge { dimension: Dimension::Tokens, limit: 100_000 });
}

async fn an_operation_that_is_repeated_happens_once(one: &Arc<dyn Limits>, other: &Arc<dyn Limits>) {
    let key = model(3, "m");
    one.set(&key, &per_minute(1, 6000, 100_000)).await.expect("set");
    let first = granted(one, &key, &ask(1, 5, Amounts::call(10))).await;
    let second = granted(other, &key, &ask(1, 5, Amounts::call(10))).await;
    assert_eq!(first, second);
    assert_eq!(used(one, &key).await, (1, 10));
    let debt = Amounts { tokens: 90, ..Amounts::ZERO };
    let corrections = vec![Correction { released_by: 0, refund: Amounts::ZERO, debt }];
    let returned = Returned { closed: vec![], corrections };
    for _ in 0..3 {
        one.give_back(&key, 1, 6, &returned).await.expect("given back");
    }
    assert_eq!(used(one, &key).await, (1, 100));
}

async fn an_older_setting_never_overwrites_a_newer(one: &Arc<dyn Limits>, other: &Arc<dyn Limits>) {
    let key = model(4, "m");
    assert!(one.set(&key, &per_minute(3, 100, 1000)).await.expect("set"));
    assert!(!other.set(&key, &per_minute(2, 9, 9)).await.expect("set"));
    assert!(!other.set(&key, &per_minute(3, 9, 9)).await.expect("set"));
    let limit = |there: crate::domain::limit::Standing| (there.version, there.limit.requests_per_minute);
    assert_eq!(other.state(&key).await.expect("read").map(limit), Some((3, Some(100))));
    assert!(other.set(&key, &per_minute(4, 9, 9)).await.expect("set"));
    assert_eq!(one.state(&key).await.expect("read").map(limit), Some((4, Some(9))));
}

async fn news_of_one_worker_hold_for_all(one: &Arc<dyn Limits>, other: &Arc<dyn Limits>) {
    let key = model(5, "m");
    one.set(&key, &per_minute(1, 6000, 100_000)).await.expect("set");
    let news = News { pause: Some(300_000), requests_per_minute: Some(60), tokens_per_minute: None };
    one.throttle(&key, &news).await.expect("told");
    let waiting = other.reserve(&key, &ask(2, 1, Amounts::call(1))).await.expect("an answer");
    let Outcome::Wait { until, why } = waiting.outcome else { panic!("granted: {waiting:?}") };
    assert!(until > waiting.at && until - waiting.at <= 300_000, "{}", until - waiting.at);
    assert_eq!(why, Why::Paused);
    let mut op = 1;
    while !matches!(reserve(other, &key, &ask(2, op, Amounts::call(1))).await, Outcome::Granted(_)) {
        op += 1;
        assert!(op < 1000, "the pause never ends");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let there = one.state(&key).await.expect("read").expect("set");
    assert_eq!(there.requests.map(|usage| usage.limit), Some(60), "the lower limit counts");
    assert_eq!(there.paused_until, None);
}

async fn keys_have_accounts_of_their_own(limits: &Arc<dyn Limits>) {
    let keys = [tenant(6), tenant(7), model(6, "a"), model(6, "b"), model(7, "a")];
    for (place, key) in keys.iter().enumerate() {
        limits.set(key, &per_minute(1, 6000, 60_000)).await.expect("set");
        granted(limits, key, &ask(1, 1, Amounts::call(100 + place as u64))).await;
    }
    for (place, key) in keys.iter().enumerate() {
        assert_eq!(used(limits, key).await, (1, 100 + place as u64), "{key}");
    }
}

async fn what_is_unlimited_is_granted_as_it_is_wanted(limits: &Arc<dyn Limits>) {
    let key = tenant(8);
    limits.set(&key, &Setting { version: 1, ..Setting::default() }).await.expect("set");
    let wanted = Amounts { requests: 1_000_000, tokens: u64::MAX, micro_usd: u64::MAX };
    assert_eq!(granted(limits, &key, &ask(1, 1, wanted)).await.amounts, wanted);
}

async fn what_was_spent_elsewhere_is_spent(limits: &Arc<dyn Limits>) {
    let key = tenant(9);
    limits.set(&key, &dollars(1_000_000)).await.expect("set");
    // The store's time is asked for: the month must be its own.
    let at = limits.state(&key).await.expect("read").expect("set").at;
    let spent = Some(Spent { at, micro_usd: 600_000 });
    assert!(!limits.set(&key, &Setting { spent, ..dollars(1_000_000) }).await.expect("set"), "the limit is the same");
    let there = limits.state(&key).await.expect("read").expect("set").budget.expect("a budget");
    assert_eq!((there.spent, there.reserved), (600_000, 0));
    let half = Amounts { micro_usd: 500_000, ..Amounts::ZERO };
    assert!(matches!(
        reserve(limits, &key, &ask(1, 2, half)).await,
        Outcome::Wait { why: Why::Limit(Dimension::MicroUsd), .. }
    ));
}

/// Each caller reserves three cents at a time, spends what it likes of them, and goes on until nothing is left.
async fn sixty_four_callers_spend_a_dollar_and_no_more(one: &Arc<dyn Limits>, other: &Arc<dyn Limits>) {
    const CALL: u64 = 30_000;
    let key = tenant(10);
    one.set(&key, &dollars(1_000_000)).await.expect("set");
    let callers = (0..64u64).map(|caller| {
        let (limits, key) = (if caller % 2 == 0 { one.clone() } else { other.clone() }, key.clone());
        tokio::spawn(async move {
            let (mut spent, mut op) = (0, 0);
            loop {
                op += 1;
                let call = Amounts { micro_usd: CALL, ..Amounts::ZERO };
                let reserved = match limits.reserve(&key, &ask(caller + 1, op, call)).await {
                    Ok(reserved) => reserved,
                    // Nobody knows whether it was granted: then nothing is spent of it.
                    Err(error) if error.may_have_happened() => continue,
                    Err(error) => panic!("{error}"),
                };
                match reserved.outcome {
                    Outcome::Granted(grant) => {
                        let cost = CALL - (caller * 37 + op * 1009) % 10_000;
                        spent += cost;
                        let unused = Amounts { micro_usd: CALL - cost, ..Amounts::ZERO };
                        op += 1;
                        let closed = vec![Closed { lease: grant.lease, unused, released_by: reserved.at }];
                        let _ = limits.give_back(&key, caller + 1, op, &Returned { closed, corrections: vec![] }).await;
                    }
                    // Until leases end: somebody's part may come back.
                    Outcome::Wait { until, .. } if until - reserved.at <= LEASE_LIFE => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    Outcome::Wait { .. } => return spent,
                    Outcome::TooLarge { .. } => panic!("a call is no dollar"),
                }
            }
        })
    });
    let mut spent = 0;
    for caller in callers.collect::<Vec<_>>() {
        spent += caller.await.expect("no panic");
    }
    assert!(spent <= 1_000_000, "{spent} of a dollar");
    assert!(spent > 1_000_000 - CALL, "{spent}: the last cents that a call fits into are used");
    let there = one.state(&key).await.expect("read").expect("set").budget.expect("a budget");
    assert!(there.spent >= spent && there.spent <= 1_000_000, "{} booked, {spent} spent", there.spent);
}
