//! The limiter against a store that takes its time and fails, on a clock that the tests move.

mod load;
mod store;

use super::*;
use crate::domain::limit::{Budget, LEASE_LIFE, Limit, Period, WINDOW};
use crate::domain::{Aggregate, StreamId, TenantId};
use line::LOOKED_MAX;
use store::Store;
use uuid::Uuid;

fn tenant(number: u128) -> LimitKey {
    LimitKey::Tenant(TenantId(Uuid::from_u128(number)))
}

fn model(name: &str) -> LimitKey {
    let id = Uuid::from_u128(7);
    LimitKey::Model { provider: StreamId::new(TenantId(id), Aggregate::LlmProvider, id), model: name.into() }
}

fn per_minute(requests: u64, tokens: u64) -> Limit {
    Limit { requests_per_minute: Some(requests), tokens_per_minute: Some(tokens), budget: None }
}

fn dollars(micro_usd: u64) -> Limit {
    Limit { budget: Some(Budget { micro_usd, period: Period::Month }), ..Limit::default() }
}

fn money(micro_usd: u64) -> Amounts {
    Amounts { requests: 1, tokens: 0, micro_usd }
}

/// A limiter at work on a store, and what stops it.
fn limiter(store: &Arc<Store>, holder: u64) -> (Limiter, CancellationToken) {
    let limiter = Limiter::new(store.clone(), 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(holder));
    let stop = CancellationToken::new();
    let (worker, token) = (limiter.clone(), stop.clone());
    tokio::spawn(async move { worker.run(token).await });
    (limiter, stop)
}

fn within(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn a_permit_takes_of_all_its_limits_and_settles_to_what_the_call_came_to() {
    let store = Store::new(&[(model("a"), per_minute(600, 100_000)), (tenant(1), dollars(1_000_000))]);
    let (limiter, _stop) = limiter(&store, 1);
    let estimate = Amounts { requests: 1, tokens: 2000, micro_usd: 0 };
    let wants = [(model("a"), estimate), (tenant(1), money(5000))];
    let mut permit = limiter.acquire(&wants, within(1)).await.expect("a permit");
    assert!(permit.send());
    pass(Duration::from_secs(30)).await;
    permit.settle(Amounts { requests: 1, tokens: 700, micro_usd: 6000 });
    pass(Duration::from_secs(1)).await;
    assert_eq!(store.used(&model("a")), (1, 700));
    assert_eq!(store.spent(&tenant(1)), 6000);
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_is_dropped_counts_as_estimated_and_one_that_is_cancelled_not_at_all() {
    let store = Store::new(&[(model("a"), per_minute(6000, 100_000))]);
    let (limiter, _stop) = limiter(&store, 1);
    let wants = [(model("a"), Amounts::call(100))];
    drop(limiter.acquire(&wants, within(1)).await.expect("a permit"));
    let mut sent = limiter.acquire(&wants, within(1)).await.expect("a permit");
    assert!(sent.send());
    drop(sent);
    limiter.acquire(&wants, within(1)).await.expect("a permit").cancel();
    let mut sent = limiter.acquire(&wants, within(1)).await.expect("a permit");
    assert!(sent.send());
    sent.cancel();
    pass(Duration::from_secs(5)).await;
    assert_eq!(store.used(&model("a")), (3, 300));
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_without_a_limit_is_not_refunded_to_one() {
    let store = Store::new(&[(tenant(1), Limit::default())]);
    let (limiter, _stop) = limiter(&store, 1);
    let wants = [(tenant(1), money(500_000))];
    let mut free = limiter.acquire(&wants, within(1)).await.expect("a permit");
    assert!(free.send());
    pass(Duration::from_secs(5)).await;
    store.set(&tenant(1), dollars(1_000_000));
    let mut bound = limiter.acquire(&wants, within(1)).await.expect("a permit");
    assert!(bound.send());
    pass(Duration::from_secs(5)).await;
    free.settle(money(1));
    pass(Duration::from_secs(1)).await;
    assert_eq!(store.spent(&tenant(1)), 500_000);
    bound.settle(money(400_000));
    pass(Duration::from_secs(1)).await;
    assert_eq!(store.spent(&tenant(1)), 400_000);
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_void_once_its_lease_is_over() {
    let store = Store::new(&[(model("a"), per_minute(600, 100_000))]);
    let (limiter, _stop) = limiter(&store, 1);
    let mut permit = limiter.acquire(&[(model("a"), Amounts::call(100))], within(1)).await.expect("a permit");
    let left = permit.send_by() - Instant::now();
    assert!(left < Duration::from_micros(LEASE_LIFE as u64), "counted from when it was asked for: {left:?}");
    tokio::time::sleep_until(permit.send_by()).await;
    assert!(!permit.send());
    pass(Duration::from_secs(1)).await;
    assert_eq!(store.used(&model("a")), (0, 0), "nothing was sent, and nothing is counted");
    permit.settle(Amounts::call(5_000));
    pass(Duration::from_secs(1)).await;
    assert_eq!(store.used(&model("a")), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_one_limit_holds_nothing_of_another() {
    let store =
        Store::new(&[(model("a"), per_minute(60, 1000)), (tenant(1), dollars(10)), (tenant(2), dollars(100_000))]);
    let (limiter, _stop) = limiter(&store, 1);
    let poor = [(model("a"), Amounts::call(10)), (tenant(1), money(11))];
    let refused = limiter.acquire(&poor, within(5)).await.expect_err("no money");
    assert_eq!(refused, Refused::TooLarge { key: tenant(1), dimension: Dimension::MicroUsd, limit: 10 });
    // The first ten are spent, the next wait for another month: told at once, and not at the deadline.
    let spender = [(model("a"), Amounts::call(10)), (tenant(1), money(10))];
    limiter.acquire(&spender, within(5)).await.expect("a permit").settle(money(10));
    pass(Duration::from_secs(1)).await;
    let before = Instant::now();
    let refused = limiter.acquire(&spender, within(60)).await.expect_err("no money");
    assert!(
        matches!(&refused, Refused::Later { key, at, .. } if *key == tenant(1) && *at > within(3600)),
        "{refused:?}"
    );
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
    pass(Duration::from_secs(60)).await;
    assert_eq!(store.used(&model("a")).0, 0, "what was leased for it went back");
    // Nor does it stand in the way of those behind it.
    let waits = tokio::spawn({
        let (limiter, spender) = (limiter.clone(), spender.clone());
        async move { limiter.acquire(&spender, Instant::now() + Duration::from_secs(40 * 86_400)).await }
    });
    pass(Duration::from_secs(1)).await;
    let rich = [(model("a"), Amounts::call(10)), (tenant(2), money(10))];
    let permit = limiter.acquire(&rich, within(1)).await;
    assert!(permit.is_ok(), "{permit:?}");
    waits.abort();
}

#[tokio::test(start_paused = true)]
async fn a_large_call_is_not_passed_by_small_ones() {
    let store = Store::new(&[(model("a"), per_minute(6000, 60_000))]);
    let (limiter, _stop) = limiter(&store, 1);
    let small = |limiter: Limiter| async move {
        loop {
            if let Ok(mut permit) = limiter.acquire(&[(model("a"), Amounts::call(100))], within(600)).await {
                assert!(permit.send());
            }
        }
    };
    let greedy: Vec<_> = (0..20).map(|_| tokio::spawn(small(limiter.clone()))).collect();
    pass(Duration::from_secs(120)).await;
    let before = Instant::now();
    let large = limiter.acquire(&[(model("a"), Amounts::call(10_000))], within(120)).await;
    assert!(large.is_ok(), "{large:?}");
    // A thousand tokens flow back each second.
    assert!(before.elapsed() < Duration::from_secs(15), "{:?}", before.elapsed());
    greedy.iter().for_each(|task| task.abort());
}

#[tokio::test(start_paused = true)]
async fn thousands_wait_in_order_and_a_look_at_them_ends_after_some_hundred() {
    let store = Store::new(&[(model("a"), per_minute(600, 60_000)), (tenant(1), dollars(1_000_000_000))]);
    let (limiter, _stop) = limiter(&store, 1);
    let served = Arc::new(Mutex::new(Vec::new()));
    let callers = (0..5000).map(|number| {
        let (limiter, served) = (limiter.clone(), served.clone());
        tokio::spawn(async move {
            let wants = [(model("a"), Amounts::call(10)), (tenant(1), money(1))];
            if let Ok(mut permit) = limiter.acquire(&wants, within(600)).await {
                assert!(permit.send());
                served.lock().push(number);
            }
        })
    });
    let callers = callers.collect::<Vec<_>>();
    for _ in 0..20 {
        pass(Duration::from_secs(5)).await;
        let looked = limiter.0.state.lock().pass(&[model("a"), tenant(1)], limiter.0.holder, Instant::now());
        assert!(looked.left <= 2 * LOOKED_MAX, "{} were looked at", looked.left);
        limiter.0.carry_out(looked);
    }
    let served = served.lock().clone();
    // Ten a second for 100 s.
    assert!((950..=1050).contains(&served.len()), "{} were served", served.len());
    assert_eq!(served, (0..served.len()).collect::<Vec<_>>(), "in the order in which they came");
    callers.iter().for_each(|caller| caller.abort());
    pass(Duration::from_secs(120)).await;
    assert!(limiter.0.state.lock().desks.is_empty(), "nobody is left in a queue");
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_leaves_nothing_behind() {
    let store = Store::new(&[(model("a"), per_minute(60, 60_000))]);
    let (limiter, _stop) = limiter(&store, 1);
    let wants = [(model("a"), Amounts::call(10))];
    for after_ms in 0..100 {
        let acquired = tokio::time::timeout(Duration::from_millis(after_ms), limiter.acquire(&wants, within(10))).await;
        if let Ok(Ok(permit)) = acquired {
            permit.cancel();
        }
    }
    pass(Duration::from_secs(10)).await;
    assert_eq!(store.used(&model("a")), (0, 0));
    assert!(limiter.0.state.lock().line.is_empty());
    pass(Duration::from_secs(120)).await;
    assert!(limiter.0.state.lock().desks.is_empty(), "keys that nobody uses are cleared");
    assert!(limiter.0.state.lock().desk(&model("a"), Instant::now()).op > 0, "no number is used twice");
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_is_told() {
    let store = Store::new(&[(model("a"), per_minute(60, 1000))]);
    let (limiter, _stop) = limiter(&store, 1);
    let unset = limiter.acquire(&[(model("b"), Amounts::call(1))], within(5)).await;
    assert_eq!(unset.expect_err("unset"), Refused::Unset { key: model("b") });
    let large = limiter.acquire(&[(model("a"), Amounts::call(1001))], within(5)).await;
    let too_large = Refused::TooLarge { key: model("a"), dimension: Dimension::Tokens, limit: 1000 };
    assert_eq!(large.expect_err("too large"), too_large);
    // Both may change.
    store.set(&model("b"), per_minute(60, 1000));
    store.set(&model("a"), per_minute(60, 10_000));
    pass(Duration::from_secs(1)).await;
    assert!(limiter.acquire(&[(model("b"), Amounts::call(1))], within(5)).await.is_ok());
    assert!(limiter.acquire(&[(model("a"), Amounts::call(1001))], within(5)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_says_to_wait_is_not_called_until_then() {
    let store = Store::new(&[(model("a"), per_minute(6000, 600_000))]);
    let (limiter, _stop) = limiter(&store, 1);
    let (other, _other_stop) = self::limiter(&store, 2);
    let wants = [(model("a"), Amounts::call(1))];
    for _ in 0..20 {
        limiter.acquire(&wants, within(1)).await.expect("a permit").settle(Amounts::call(1));
    }
    let news = News { pause: Some(30_000_000), ..News::default() };
    limiter.throttle(&model("a"), &news).await.expect("told");
    let told = Instant::now();
    for limiter in [&limiter, &other] {
        let refused = limiter.acquire(&wants, within(1)).await.expect_err("paused");
        assert!(matches!(refused, Refused::Later { why: Some(Why::Paused), .. }), "{refused:?}");
    }
    for limiter in [limiter, other] {
        drop(limiter.acquire(&wants, within(60)).await.expect("a permit"));
        assert!(told.elapsed() >= Duration::from_millis(29_900), "{:?}", told.elapsed());
        assert!(told.elapsed() < Duration::from_secs(34), "{:?}", told.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn leases_are_sized_to_demand_and_the_store_is_asked_once_for_many_calls() {
    let store = Store::new(&[(model("a"), per_minute(60_000, 60_000_000))]);
    let (limiter, _stop) = limiter(&store, 1);
    let wants = [(model("a"), Amounts::call(100))];
    let call = |limiter: Limiter| async move {
        for _ in 0..200 {
            let mut permit = limiter.acquire(&wants, within(60)).await.expect("a permit");
            assert!(permit.send());
            pass(Duration::from_millis(100)).await;
            permit.settle(Amounts::call(100));
        }
    };
    let before = Instant::now();
    let callers: Vec<_> = (0..50).map(|_| tokio::spawn(call.clone()(limiter.clone()))).collect();
    for caller in callers {
        caller.await.expect("no panic");
    }
    let (calls, seconds) = (50 * 200, before.elapsed().as_secs_f64());
    let changes = store.changes();
    eprintln!("{calls} calls in {seconds:.1} s, {changes} changes of the account");
    assert!(changes * 20 < calls, "{changes} changes for {calls} calls");
    assert!(seconds < 25.0, "500 calls a second are half of the limit, and took {seconds} s");
    pass(Duration::from_secs(2)).await;
    assert_eq!(store.leased(&model("a")), Amounts::ZERO, "what is not used goes back");
    assert_eq!(store.used(&model("a")), (10_000, 1_000_000));
}

#[tokio::test(start_paused = true)]
async fn at_the_end_everything_goes_back() {
    let store = Store::new(&[(model("a"), per_minute(60_000, 60_000_000))]);
    let (limiter, stop) = limiter(&store, 1);
    let mut permit = limiter.acquire(&[(model("a"), Amounts::call(100))], within(1)).await.expect("a permit");
    assert!(permit.send());
    drop(permit);
    let worker = limiter.clone();
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(1), worker.run(stop)).await.expect("it ends");
    pass(Duration::from_millis(100)).await;
    assert_eq!((store.leased(&model("a")), store.used(&model("a"))), (Amounts::ZERO, (1, 100)));
}
