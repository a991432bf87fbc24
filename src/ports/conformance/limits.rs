//! The limits: exact over several processes, each operation once.
//!
//! The arithmetic has tests of its own beside the domain. Here is what a store must do about it, in a store's own time:
//! nothing waits for a minute, and nothing must be done within a time. Where a step is about something that ends by
//! itself, it is done again with another key if the store's time shows that it took too long.

use crate::domain::limit::{
    Amounts, Ask, Budget, Closed, Correction, Dimension, Grant, LEASE_GRACE, LEASE_LIFE, Limit, LimitKey, News,
    Outcome, Period, Reserved, Returned, SLACK, SLOT, Setting, Spent, Standing, WINDOW, Why,
};
use crate::domain::{Aggregate, Micros, StreamId, TenantId};
use crate::ports::Limits;
use crate::ports::limits::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// For what takes milliseconds, on a machine that has more to do.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

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

/// What an operation comes to, asked again for as long as the store cannot do it or does not know: under its number it
/// happens once.
pub async fn repeated<T, F>(operation: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let until = Instant::now() + PATIENCE;
    loop {
        match operation().await {
            Err(Error::Unavailable(_) | Error::Unknown { .. }) if Instant::now() < until => {
                tokio::time::sleep(POLL).await;
            }
            answer => return answer,
        }
    }
}

async fn reserve(limits: &Arc<dyn Limits>, key: &LimitKey, ask: &Ask) -> Reserved {
    repeated(|| limits.reserve(key, ask)).await.expect("an answer")
}

async fn granted(limits: &Arc<dyn Limits>, key: &LimitKey, ask: &Ask) -> Grant {
    match reserve(limits, key, ask).await.outcome {
        Outcome::Granted(grant) => grant,
        other => panic!("not granted: {other:?}"),
    }
}

/// Asks under ever new numbers, from this one on.
async fn granted_at_last(limits: &Arc<dyn Limits>, key: &LimitKey, mut ask: Ask) -> Grant {
    let until = Instant::now() + PATIENCE;
    loop {
        match reserve(limits, key, &ask).await.outcome {
            Outcome::Granted(grant) => return grant,
            Outcome::Wait { .. } if Instant::now() < until => tokio::time::sleep(POLL).await,
            other => panic!("never granted: {other:?}"),
        }
        ask.op += 1;
    }
}

async fn give_back(limits: &Arc<dyn Limits>, key: &LimitKey, holder: u64, op: u64, returned: &Returned) {
    repeated(|| limits.give_back(key, holder, op, returned)).await.expect("given back");
}

async fn set(limits: &Arc<dyn Limits>, key: &LimitKey, setting: &Setting) -> bool {
    repeated(|| limits.set(key, setting)).await.expect("set")
}

async fn throttle(limits: &Arc<dyn Limits>, key: &LimitKey, news: &News) {
    repeated(|| limits.throttle(key, news)).await.expect("told");
}

async fn standing(limits: &Arc<dyn Limits>, key: &LimitKey) -> Standing {
    repeated(|| limits.state(key)).await.expect("read").expect("set")
}

async fn used(limits: &Arc<dyn Limits>, key: &LimitKey) -> (u64, u64) {
    let there = standing(limits, key).await;
    (there.requests.map_or(0, |usage| usage.used), there.tokens.map_or(0, |usage| usage.used))
}

/// Whether a lease of then can still be closed, and its operation be repeated.
async fn in_time(limits: &Arc<dyn Limits>, key: &LimitKey, granted_at: Micros) -> bool {
    standing(limits, key).await.at < granted_at + LEASE_LIFE + LEASE_GRACE
}

async fn a_key_that_nobody_set_has_no_limit_to_reserve_of(limits: &Arc<dyn Limits>) {
    let key = tenant(1);
    assert!(repeated(|| limits.state(&key)).await.expect("read").is_none());
    let call = ask(1, 1, Amounts::call(1));
    let asked = repeated(|| limits.reserve(&key, &call)).await;
    assert!(matches!(&asked, Err(Error::Unset { key: unset }) if *unset == key), "{asked:?}");
    let news = News::default();
    assert!(matches!(repeated(|| limits.throttle(&key, &news)).await, Err(Error::Unset { .. })));
}

async fn a_lease_is_granted_counted_and_given_back(one: &Arc<dyn Limits>, other: &Arc<dyn Limits>) {
    for number in 200.. {
        let key = model(number, "a/model:latest");
        set(one, &key, &per_minute(1, 600, 2000)).await;
        let reserved = reserve(one, &key, &ask(1, 1, Amounts::call(2000))).await;
        let Outcome::Granted(grant) = reserved.outcome else { panic!("not granted: {reserved:?}") };
        assert_eq!((grant.amounts, grant.lease), (Amounts::call(2000), 1));
        assert_eq!((grant.expires_at - reserved.at, reserved.active), (LEASE_LIFE, 1));
        assert_eq!(used(other, &key).await, (1, 2000));
        // All of the minute's tokens are out: the other process waits for them, and its request is not booked either.
        let waiting = reserve(other, &key, &ask(2, 1, Amounts::call(2000))).await;
        let Outcome::Wait { until, why } = waiting.outcome else { panic!("granted: {waiting:?}") };
        assert!(until > waiting.at && until <= grant.expires_at + WINDOW + SLACK + SLOT, "{}", until - waiting.at);
        assert_eq!(why, Why::Limit(Dimension::Tokens));
        let unused = Amounts { requests: 0, tokens: 1500, micro_usd: 0 };
        let closed = vec![Closed { lease: grant.lease, unused, released_by: reserved.at }];
        let refund = Amounts { tokens: 400, ..Amounts::ZERO };
        let corrections = vec![Correction { released_by: reserved.at, refund, debt: Amounts::ZERO }];
        give_back(one, &key, 1, 2, &Returned { closed, corrections }).await;
        let left = used(other, &key).await;
        if !in_time(one, &key, reserved.at).await {
            continue;
        }
        assert_eq!(left, (1, 100));
        granted_at_last(other, &key, ask(2, 2, Amounts::call(1900))).await;
        let large = reserve(other, &key, &ask(2, 1000, Amounts::call(2001))).await.outcome;
        return assert_eq!(large, Outcome::TooLarge { dimension: Dimension::Tokens, limit: 2000 });
    }
}

async fn an_operation_that_is_repeated_happens_once(one: &Arc<dyn Limits>, other: &Arc<dyn Limits>) {
    for number in 300.. {
        let key = model(number, "m");
        set(one, &key, &per_minute(1, 6000, 100_000)).await;
        let first = reserve(one, &key, &ask(1, 5, Amounts::call(10))).await;
        let second = reserve(other, &key, &ask(1, 5, Amounts::call(10))).await;
        if !in_time(one, &key, first.at).await {
            continue;
        }
        assert!(matches!(first.outcome, Outcome::Granted(_)), "{first:?}");
        assert_eq!(first.outcome, second.outcome);
        assert_eq!(used(one, &key).await, (1, 10));
        let debt = Amounts { tokens: 90, ..Amounts::ZERO };
        let corrections = vec![Correction { released_by: 0, refund: Amounts::ZERO, debt }];
        let returned = Returned { closed: vec![], corrections };
        for _ in 0..3 {
            give_back(one, &key, 1, 6, &returned).await;
        }
        return assert_eq!(used(one, &key).await, (1, 100));
    }
}

async fn an_older_setting_never_overwrites_a_newer(one: &Arc<dyn Limits>, other: &Arc<dyn Limits>) {
    let key = model(4, "m");
    let limit = |there: Standing| (there.version, there.limit.requests_per_minute);
    set(one, &key, &per_minute(3, 100, 1000)).await;
    assert_eq!(limit(standing(other, &key).await), (3, Some(100)));
    assert!(!set(other, &key, &per_minute(2, 9, 9)).await);
    assert!(!set(other, &key, &per_minute(3, 100, 1000)).await);
    assert_eq!(limit(standing(other, &key).await), (3, Some(100)));
    assert!(set(other, &key, &per_minute(3, 50, 1000)).await);
    assert_eq!(limit(standing(one, &key).await), (3, Some(50)));
    set(other, &key, &per_minute(4, 9, 9)).await;
    assert_eq!(limit(standing(one, &key).await), (4, Some(9)));
}

async fn news_of_one_worker_hold_for_all(one: &Arc<dyn Limits>, other: &Arc<dyn Limits>) {
    const PAUSE: Micros = 1_000_000;
    for number in 500.. {
        let key = model(number, "m");
        set(one, &key, &per_minute(1, 6000, 100_000)).await;
        let before = standing(one, &key).await.at;
        let news = News { pause: Some(PAUSE), requests_per_minute: Some(60), tokens_per_minute: None };
        throttle(one, &key, &news).await;
        let waiting = reserve(other, &key, &ask(2, 1, Amounts::call(1))).await;
        if waiting.at >= before + PAUSE {
            continue;
        }
        let Outcome::Wait { until, why } = waiting.outcome else { panic!("granted: {waiting:?}") };
        assert!(until > waiting.at && until - waiting.at <= PAUSE, "{}", until - waiting.at);
        assert_eq!(why, Why::Paused);
        granted_at_last(other, &key, ask(2, 2, Amounts::call(1))).await;
        let there = standing(one, &key).await;
        assert!(there.at >= before + PAUSE, "the pause was not kept");
        assert_eq!(there.requests.map(|usage| usage.limit), Some(60), "the lower limit counts");
        return assert_eq!(there.paused_until, None);
    }
}

async fn keys_have_accounts_of_their_own(limits: &Arc<dyn Limits>) {
    let keys = [tenant(6), tenant(7), model(6, "a"), model(6, "b"), model(7, "a")];
    for (place, key) in keys.iter().enumerate() {
        set(limits, key, &per_minute(1, 6000, 60_000)).await;
        granted(limits, key, &ask(1, 1, Amounts::call(100 + place as u64))).await;
    }
    for (place, key) in keys.iter().enumerate() {
        assert_eq!(used(limits, key).await, (1, 100 + place as u64), "{key}");
    }
}

async fn what_is_unlimited_is_granted_as_it_is_wanted(limits: &Arc<dyn Limits>) {
    let key = tenant(8);
    set(limits, &key, &Setting { version: 1, ..Setting::default() }).await;
    let wanted = Amounts { requests: 1_000_000, tokens: u64::MAX, micro_usd: u64::MAX };
    assert_eq!(granted(limits, &key, &ask(1, 1, wanted)).await.amounts, wanted);
}

async fn what_was_spent_elsewhere_is_spent(limits: &Arc<dyn Limits>) {
    let key = tenant(9);
    set(limits, &key, &dollars(1_000_000)).await;
    // The store's time is asked for: the month must be its own.
    let at = standing(limits, &key).await.at;
    let spent = Some(Spent { at, micro_usd: 600_000 });
    assert!(!set(limits, &key, &Setting { spent, ..dollars(1_000_000) }).await, "the limit is the same");
    let there = standing(limits, &key).await.budget.expect("a budget");
    assert_eq!((there.spent, there.reserved), (600_000, 0));
    let half = Amounts { micro_usd: 500_000, ..Amounts::ZERO };
    assert!(matches!(
        reserve(limits, &key, &ask(1, 2, half)).await.outcome,
        Outcome::Wait { why: Why::Limit(Dimension::MicroUsd), .. }
    ));
}

/// Each caller reserves three cents at a time, spends what it likes of them, and goes on until nothing is left.
async fn sixty_four_callers_spend_a_dollar_and_no_more(one: &Arc<dyn Limits>, other: &Arc<dyn Limits>) {
    const CALL: u64 = 30_000;
    let key = tenant(10);
    set(one, &key, &dollars(1_000_000)).await;
    let callers = (0..64u64).map(|caller| {
        let (limits, key) = (if caller % 2 == 0 { one.clone() } else { other.clone() }, key.clone());
        tokio::spawn(async move {
            let (mut spent, mut op) = (0, 0);
            loop {
                op += 1;
                let call = Amounts { micro_usd: CALL, ..Amounts::ZERO };
                let reserved = reserve(&limits, &key, &ask(caller + 1, op, call)).await;
                match reserved.outcome {
                    Outcome::Granted(grant) => {
                        let cost = CALL - (caller * 37 + op * 1009) % 10_000;
                        spent += cost;
                        let unused = Amounts { micro_usd: CALL - cost, ..Amounts::ZERO };
                        op += 1;
                        let closed = vec![Closed { lease: grant.lease, unused, released_by: reserved.at }];
                        give_back(&limits, &key, caller + 1, op, &Returned { closed, corrections: vec![] }).await;
                    }
                    // Until leases end: somebody's part may come back.
                    Outcome::Wait { until, .. } if until - reserved.at <= LEASE_LIFE => {
                        tokio::time::sleep(POLL).await;
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
    let there = standing(one, &key).await.budget.expect("a budget");
    let booked = there.spent + there.reserved;
    assert!(booked > 1_000_000 - CALL, "{booked}: the last cents that a call fits into are used");
    assert!(booked <= 1_000_000 && booked >= spent, "{booked} booked, {spent} spent");
    // A lease that was given back too late is booked as a whole.
    assert!(booked - spent <= there.unaccounted + there.reserved, "{booked} booked, {spent} spent, {there:?}");
}
