//! No window of a minute exceeds its limit, whatever workers, clocks, links and losses do.

use super::fleet::{World, most_in_a_window, run};
use super::*;
use proptest::prelude::*;

fn worlds() -> impl Strategy<Value = World> {
    let limits = (
        prop_oneof![1..10u64, 10..700u64, 700..4000u64],
        prop_oneof![Just(None), (5_000..200_000u64).prop_map(Some)],
        1..5_000u64,
    );
    let percents = ((0..30u64, 0..=100u64, 0..=100u64), 0..20u64, 0..40u64, 0..=100u64);
    (limits, 1..10usize, percents, 0..200_000i64, any::<u64>()).prop_map(
        |((requests, tokens, call), workers, percents, hop, seed)| {
            let ((lost_percent, held_percent, overlap_percent), killed_percent, spared_percent, actual_percent_min) =
                percents;
            let limit = Limit { requests_per_minute: Some(requests), tokens_per_minute: tokens, budget: None };
            World {
                seconds: 200,
                // Together they are the slack: what workers' clocks lose in a lease's life is 1 ms here.
                jitter: SLACK - 200_000 - 1_000,
                node_error: 100_000,
                drift_ppm: 500,
                hop,
                lost_percent,
                held_percent,
                overlap_percent,
                killed_percent,
                spared_percent,
                actual_percent_min,
                seed,
                ..World::calm(limit, workers, Amounts::call(call))
            }
        },
    )
}

fn check(world: &World) {
    let arrivals = run(world);
    assert!(!arrivals.is_empty(), "nothing arrived at all");
    let most = most_in_a_window(&arrivals, Dimension::Requests);
    assert!(most <= world.limit.requests_per_minute.expect("set"), "{most} requests in a minute");
    let most = most_in_a_window(&arrivals, Dimension::Tokens);
    assert!(most <= world.limit.tokens_per_minute.unwrap_or(u64::MAX), "{most} tokens in a minute");
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn no_window_of_a_minute_exceeds_its_limit(world in worlds()) {
        check(&world);
    }
}

#[test]
fn a_limit_that_is_set_where_none_was_holds_in_every_window_that_begins_a_lease_and_the_slack_later() {
    let limit = Limit { requests_per_minute: Some(600), ..Limit::default() };
    for seed in 1..=8 {
        let calm = World::calm(limit, 4, Amounts { requests: 1, ..Amounts::ZERO });
        let jitter = SLACK - 1_000;
        let world = World { limited_at: 10, seconds: 200, jitter, hop: 100_000, held_percent: 50, seed, ..calm };
        let arrivals = run(&world);
        assert!(most_in_a_window(&arrivals, Dimension::Requests) > 1200, "there was no limit before");
        let from = T0 + 10 * S + LEASE_LIFE + SLACK;
        let later: Vec<_> = arrivals.into_iter().filter(|(at, _)| *at >= from).collect();
        assert!(later.len() > 500, "{}: nothing came later", later.len());
        let most = most_in_a_window(&later, Dimension::Requests);
        assert!(most <= 600, "{most} in a minute");
    }
}

/// The recount finds it: with more delay than the slack allows for, arrivals do exceed the limit.
#[test]
fn more_jitter_than_the_slack_is_seen_by_the_recount() {
    let limit = Limit { requests_per_minute: Some(3000), ..Limit::default() };
    let world =
        World { jitter: 5_000_000, seconds: 300, ..World::calm(limit, 4, Amounts { requests: 1, ..Amounts::ZERO }) };
    let most = most_in_a_window(&run(&world), Dimension::Requests);
    assert!(most > 3000, "{most}: the recount sees nothing");
}
