//! Examples of one account; many workers against the clock are in the modules below.

mod books;
mod fleet;
mod load;
mod money;
mod window;

use super::*;
use proptest::test_runner::Config;

/// So many cases, where the environment asks for no other number.
fn cases(cases: u32) -> Config {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    Config { failure_persistence: None, cases: asked.unwrap_or(cases), ..Config::default() }
}

/// A figure for whoever runs the tests with `--nocapture`.
fn note(figure: &str) {
    eprintln!("{figure}");
}

/// A second.
const S: Micros = 1_000_000;
/// Some time in 2024.
const T0: Micros = 1_706_800_000 * S;

fn per_minute(requests: u64) -> Setting {
    let limit = Limit { requests_per_minute: Some(requests), ..Limit::default() };
    Setting { version: 1, limit, spent: None }
}

fn model(requests: u64, tokens: u64) -> Account {
    let limit = Limit { requests_per_minute: Some(requests), tokens_per_minute: Some(tokens), budget: None };
    Account::new(&Setting { version: 1, limit, spent: None })
}

fn purse(micro_usd: u64) -> Account {
    let limit = Limit { budget: Some(Budget { micro_usd, period: Period::Month }), ..Limit::default() };
    Account::new(&Setting { version: 1, limit, spent: None })
}

fn dollars(micro_usd: u64) -> Amounts {
    Amounts { micro_usd, ..Amounts::ZERO }
}

fn ask(holder: u64, op: u64, needed: Amounts) -> Ask {
    Ask { holder, op, needed, wanted: needed, returned: Returned::default() }
}

fn granted(reserved: Reserved) -> Grant {
    match reserved.outcome {
        Outcome::Granted(grant) => grant,
        other => panic!("not granted: {other:?}"),
    }
}

fn waits(reserved: Reserved) -> (Micros, Why) {
    match reserved.outcome {
        Outcome::Wait { until, why } => (until, why),
        other => panic!("no wait: {other:?}"),
    }
}

fn closed(grant: &Grant, unused: Amounts, released_by: Micros) -> Returned {
    Returned { closed: vec![Closed { lease: grant.lease, unused, released_by }], corrections: vec![] }
}

#[test]
fn tiers_have_the_requests_per_minute_that_were_promised() {
    use crate::domain::tenant::Tier;
    let tiers = [Tier::Diamond, Tier::Emerald, Tier::Sapphire, Tier::Opal, Tier::Onyx];
    assert_eq!(tiers.map(|tier| Tiers::default().requests_per_minute(tier)), [10_000, 5_000, 2_000, 1_000, 500]);
}

#[test]
fn a_call_gets_its_request_and_its_tokens_at_once_or_neither() {
    let mut account = model(600, 100_000);
    assert_eq!(granted(account.reserve(T0, &ask(1, 1, Amounts::call(1000)))).amounts, Amounts::call(1000));
    // Of the 2,000 tokens of the burst 1,000 are left. A larger call waits until 1,167 are, at 1,667 a second.
    let (until, why) = waits(account.reserve(T0, &ask(1, 2, Amounts::call(2000))));
    assert_eq!((until - T0, why), (100_000, Why::Limit(Dimension::Tokens)));
    assert_eq!(account.used(Dimension::Requests), 1, "no request was booked without its tokens");
    granted(account.reserve(until, &ask(1, 3, Amounts::call(2000))));
}

#[test]
fn more_than_a_limit_ever_allows_is_told_at_once() {
    let mut account = model(600, 100_000);
    let reserved = account.reserve(T0, &ask(1, 1, Amounts::call(100_001)));
    assert_eq!(reserved.outcome, Outcome::TooLarge { dimension: Dimension::Tokens, limit: 100_000 });
    granted(account.reserve(T0, &ask(1, 2, Amounts::call(100_000))));
}

#[test]
fn an_operation_that_is_repeated_is_granted_once() {
    let mut account = Account::new(&per_minute(600));
    let first = granted(account.reserve(T0, &ask(1, 7, Amounts::call(0))));
    let again = granted(account.reserve(T0 + S, &ask(1, 7, Amounts::call(0))));
    assert_eq!((first, account.used(Dimension::Requests)), (again, 1));
    let back = closed(&first, Amounts::call(0), T0);
    account.give_back(T0, 1, 8, &back);
    account.give_back(T0, 1, 8, &back);
    assert_eq!(account.used(Dimension::Requests), 0);
    assert!(
        matches!(account.reserve(T0 + S, &ask(1, 7, Amounts::call(0))).outcome, Outcome::Wait { .. }),
        "it is over"
    );
}

#[test]
fn what_a_lease_did_not_use_is_there_again_and_mints_nothing() {
    let mut account = Account::new(&per_minute(6000));
    let mut wanting = ask(1, 1, Amounts::call(0));
    wanting.wanted.requests = 1000;
    let grant = granted(account.reserve(T0, &wanting));
    assert_eq!(grant.amounts.requests, 50, "half a second of allowance");
    let mut twice = closed(&grant, Amounts { requests: 40, ..Amounts::ZERO }, T0);
    twice.closed.push(twice.closed[0]);
    account.give_back(T0, 1, 2, &twice);
    assert_eq!(account.used(Dimension::Requests), 10);
    // More than was granted cannot come back.
    let grant = granted(account.reserve(T0, &ask(1, 3, Amounts { requests: 5, ..Amounts::ZERO })));
    account.give_back(T0, 1, 4, &closed(&grant, Amounts { requests: 1_000_000, ..Amounts::ZERO }, T0));
    assert_eq!(account.used(Dimension::Requests), 10);
    let greedy = Ask { wanted: Amounts { requests: 6000, ..Amounts::ZERO }, ..ask(9, 1, Amounts::ZERO) };
    let mut burst = 0;
    for op in 1..100 {
        match account.reserve(T0, &Ask { holder: 100 + op, ..greedy.clone() }).outcome {
            Outcome::Granted(grant) => burst += grant.amounts.requests,
            _ => break,
        }
    }
    // A lease of less than five is not worth its while.
    assert!((106..=110).contains(&burst), "{burst}: the burst of 2 %, less the ten that were used");
}

#[test]
fn a_refund_is_credited_and_a_debt_is_waited_for() {
    let mut account = model(600, 100_000);
    let grant = granted(account.reserve(T0, &ask(1, 1, Amounts::call(60_000))));
    let mut returned = closed(&grant, Amounts::ZERO, T0 + S);
    let refund = Amounts { tokens: 50_000, ..Amounts::ZERO };
    returned.corrections.push(Correction { released_by: T0 + S, refund, debt: Amounts::ZERO });
    account.give_back(T0 + 2 * S, 1, 2, &returned);
    assert_eq!(account.used(Dimension::Tokens), 10_000);
    let debt = Amounts { tokens: 95_000, ..Amounts::ZERO };
    let returned =
        Returned { closed: vec![], corrections: vec![Correction { released_by: T0, debt, ..Default::default() }] };
    account.give_back(T0 + 10 * S, 1, 3, &returned);
    assert_eq!(account.used(Dimension::Tokens), 105_000, "what was used was used");
    let (until, _) = waits(account.reserve(T0 + 10 * S, &ask(1, 4, Amounts::call(1))));
    assert!(until >= T0 + 61 * S, "only the first call leaves makes room: {}", until - T0);
    granted(account.reserve(until, &ask(1, 5, Amounts::call(1))));
}

#[test]
fn a_refund_of_what_left_the_window_gives_nothing() {
    let mut account = model(600, 100_000);
    let grant = granted(account.reserve(T0, &ask(1, 1, Amounts::call(50_000))));
    account.give_back(T0, 1, 2, &closed(&grant, Amounts::ZERO, T0));
    granted(account.reserve(T0 + 50 * S, &ask(1, 3, Amounts::call(30_000))));
    let refund = Amounts { tokens: 50_000, ..Amounts::ZERO };
    let late = Correction { released_by: T0, refund, debt: Amounts::ZERO };
    account.give_back(T0 + 70 * S, 1, 4, &Returned { closed: vec![], corrections: vec![late] });
    assert_eq!(account.used(Dimension::Tokens), 30_000);
}

#[test]
fn an_older_limit_never_overwrites_a_newer() {
    let mut account = Account::new(&Setting { version: 5, ..per_minute(600) });
    assert!(!account.set(&Setting { version: 4, ..per_minute(60_000) }));
    assert!(!account.set(&Setting { version: 5, ..per_minute(600) }));
    assert_eq!(account.standing(T0).limit.requests_per_minute, Some(600));
    // What the version's owner gives may change without it.
    assert!(account.set(&Setting { version: 5, ..per_minute(60_000) }));
    assert_eq!(account.standing(T0).limit.requests_per_minute, Some(60_000));
    assert!(account.set(&Setting { version: 6, ..per_minute(10) }));
    for op in 1..=10 {
        granted(account.reserve(T0 + op * 6 * S, &ask(1, op as u64, Amounts::call(0))));
    }
    waits(account.reserve(T0 + 61 * S, &ask(1, 11, Amounts::call(0))));
}

#[test]
fn news_of_a_provider_pause_and_lower_until_the_limit_is_set_anew() {
    let mut account = Account::new(&per_minute(600));
    account.throttle(T0, &News { pause: Some(20 * S), requests_per_minute: Some(60), tokens_per_minute: None });
    account.throttle(T0, &News { pause: Some(5 * S), requests_per_minute: None, tokens_per_minute: None });
    let (until, why) = waits(account.reserve(T0 + S, &ask(1, 1, Amounts::call(0))));
    assert_eq!((until, why), (T0 + 20 * S, Why::Paused), "a shorter pause ends none");
    granted(account.reserve(until, &ask(1, 2, Amounts::call(0))));
    waits(account.reserve(until, &ask(1, 3, Amounts::call(0))));
    assert_eq!(account.standing(until).requests, Some(Usage { limit: 60, used: 1 }));
    account.set(&Setting { version: 2, ..per_minute(6000) });
    let later = until + 2 * S;
    granted(account.reserve(later, &ask(1, 4, Amounts { requests: 100, ..Amounts::ZERO })));
    account.throttle(T0, &News { pause: Some(i64::MAX), ..News::default() });
    assert_eq!(account.standing(later).paused_until, Some(later + PAUSE_MAX), "an hour is the longest");
}

#[test]
fn time_never_runs_backwards() {
    let mut account = Account::new(&per_minute(5));
    granted(account.reserve(T0, &ask(1, 1, Amounts::call(0))));
    let early = account.reserve(T0 - 3600 * S, &ask(1, 2, Amounts::call(0)));
    assert_eq!((early.at, waits(early).0), (T0, T0 + 11_500_000));
}

#[test]
fn what_nobody_limits_is_granted_and_not_booked() {
    let mut account = Account::new(&Setting::default());
    account.take_changed();
    let grant = granted(account.reserve(T0, &ask(1, 1, Amounts { requests: 1, tokens: u64::MAX, micro_usd: 5 })));
    assert_eq!(grant.amounts, Amounts { requests: 1, tokens: u64::MAX, micro_usd: 5 });
    assert!(!account.take_changed(), "nothing is written");
    // And nothing of it is mistaken for something that was booked, once there is a limit.
    account.set(&per_minute(10));
    granted(account.reserve(T0, &ask(2, 1, Amounts::call(0))));
    account.give_back(T0 + S, 1, 2, &closed(&grant, Amounts { requests: 1, ..Amounts::ZERO }, T0));
    assert_eq!(account.used(Dimension::Requests), 1);
}

#[test]
fn a_budget_stops_hard_and_is_whole_again_in_the_next_month() {
    let mut account = purse(1_000_000);
    let first = account.reserve(T0, &ask(1, 1, dollars(790_000)));
    assert_eq!(first.mark, Some(Mark::Within));
    let second = account.reserve(T0, &ask(1, 2, dollars(100_000)));
    assert_eq!(second.mark, Some(Mark::Alert));
    let returned = closed(&granted(first), Amounts::ZERO, T0);
    account.give_back(T0, 1, 3, &returned);
    // While a lease is open, part of it may come back.
    let (until, why) = waits(account.reserve(T0, &ask(2, 1, dollars(200_000))));
    assert_eq!((until, why), (granted(second).expires_at, Why::Limit(Dimension::MicroUsd)));
    account.give_back(T0, 1, 4, &closed(&granted(second), dollars(50_000), T0));
    let (until, _) = waits(account.reserve(T0, &ask(2, 2, dollars(200_000))));
    assert_eq!(until, Period::Month.end_of(T0));
    let last = account.reserve(T0, &ask(2, 3, dollars(160_000)));
    assert_eq!(last.mark, Some(Mark::Exhausted));
    assert_eq!(account.reserve(until, &ask(2, 4, dollars(250_000))).mark, Some(Mark::Within));
}

#[test]
fn what_a_lost_worker_held_of_a_budget_is_spent_and_shown_apart() {
    let mut account = purse(1_000_000);
    granted(account.reserve(T0, &ask(1, 1, dollars(30_000))));
    let there = account.standing(T0 + 6 * S).budget.expect("a budget");
    assert_eq!((there.spent, there.reserved, there.unaccounted), (30_000, 0, 30_000));
    assert_eq!((there.mark, there.period_ends), (Mark::Within, Period::Month.end_of(T0)));
}

#[test]
fn what_is_known_to_be_spent_raises_and_never_lowers() {
    let mut account = purse(1_000_000);
    let setting = |at, micro_usd| Setting {
        version: 1,
        limit: Limit { budget: Some(Budget { micro_usd: 1_000_000, period: Period::Month }), ..Limit::default() },
        spent: Some(Spent { at, micro_usd }),
    };
    account.set(&setting(T0, 900_000));
    account.set(&setting(T0, 100_000));
    account.set(&setting(Period::Month.start_of(T0) - 1, 950_000));
    assert_eq!(account.standing(T0).budget.map(|budget| budget.spent), Some(900_000));
    waits(account.reserve(T0, &ask(1, 1, dollars(100_001))));
}

#[test]
fn who_needs_much_is_not_kept_waiting_for_ever_by_those_who_need_little() {
    let mut account = Account::new(&Setting {
        limit: Limit { tokens_per_minute: Some(60_000), ..Limit::default() },
        ..per_minute(1)
    });
    let tokens = |tokens| Amounts { tokens, ..Amounts::ZERO };
    let small = |holder, op| Ask { wanted: tokens(60_000), ..ask(holder, op, tokens(100)) };
    let (mut now, mut op, mut since) = (T0, 0, None);
    while now < T0 + 200 * S {
        now += S / 20;
        op += 1;
        account.reserve(now, &small(1 + op % 3, op));
        if now > T0 + 100 * S && op % 10 == 0 {
            since.get_or_insert(now);
            if let Outcome::Granted(_) = account.reserve(now, &ask(9, op, tokens(15_000))).outcome {
                break;
            }
        }
    }
    let waited = now - since.expect("it asked");
    assert!(waited < 20 * S, "15,000 tokens are there after 15 s, and it waited {waited} µs");
    // It is over with what it was for, or with time: who claims and goes away keeps nothing.
    now += 30 * S;
    account.reserve(now, &ask(9, op + 10, tokens(59_000)));
    now += CLAIM_LIFE + S;
    granted(account.reserve(now, &small(1, op + 10)));
}

#[test]
fn an_account_survives_its_bytes_and_they_are_few() {
    let mut account = model(10_000, 2_000_000);
    for op in 1..700 {
        let now = T0 + op as i64 * S / 10;
        let asked = Ask {
            wanted: Amounts { requests: 40, tokens: 8000, micro_usd: 0 },
            ..ask(op % 64, op, Amounts::call(200))
        };
        if let Outcome::Granted(grant) = account.reserve(now, &asked).outcome {
            account.give_back(now, op % 64, op + 1, &closed(&grant, Amounts::ZERO, now));
        }
    }
    let bytes = postcard::to_stdvec(&account).expect("bytes");
    account.take_changed();
    assert_eq!(postcard::from_bytes::<Account>(&bytes).expect("an account"), account);
    assert!(bytes.len() < 8 << 10, "{} bytes", bytes.len());
}
