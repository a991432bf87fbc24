//! A limit that binds is used to 98 % over any five minutes, and to 90 % while workers come and go.

use super::fleet::{World, least_in_five_minutes, most_in_a_window, run};
use super::*;

const REQUEST: Amounts = Amounts { requests: 1, tokens: 0, micro_usd: 0 };

fn requests(limit: u64) -> Limit {
    Limit { requests_per_minute: Some(limit), ..Limit::default() }
}

/// Checks bound and use; gives the use in thousandths.
fn check(world: &World, dimension: Dimension, least_percent: u64) -> u64 {
    let limit = match dimension {
        Dimension::Requests => world.limit.requests_per_minute.expect("set"),
        _ => world.limit.tokens_per_minute.expect("set"),
    };
    let arrivals = run(world);
    let most = most_in_a_window(&arrivals, dimension);
    assert!(most <= limit, "{most} in a minute, and {limit} is the limit");
    let least = least_in_five_minutes(world, &arrivals, dimension);
    // Less one call: five minutes need not begin with one.
    let wanted = (5 * limit * least_percent / 100).saturating_sub(world.call.of(dimension));
    let thousandths = least * 1000 / (5 * limit);
    assert!(least >= wanted, "{least} of {} in five minutes: {thousandths} thousandths; {world:?}", 5 * limit);
    thousandths
}

#[test]
fn a_limit_that_binds_is_used_to_98_percent_over_any_five_minutes() {
    for limit in [5, 60, 600, 10_000] {
        for workers in [1, 3, 32] {
            let used = check(&World::calm(requests(limit), workers, REQUEST), Dimension::Requests, 98);
            note(&format!("{limit} requests a minute, {workers} workers: {used} thousandths"));
        }
    }
}

#[test]
fn tokens_of_large_calls_are_used_to_98_percent() {
    let limit = Limit { requests_per_minute: Some(600), tokens_per_minute: Some(100_000), budget: None };
    for (call, workers) in [(300, 3), (4000, 1), (4000, 8), (25_000, 4)] {
        let used = check(&World::calm(limit, workers, Amounts::call(call)), Dimension::Tokens, 98);
        note(&format!("calls of {call} tokens, {workers} workers: {used} thousandths"));
    }
}

#[test]
fn estimates_that_were_too_high_are_used_for_other_calls() {
    let limit = Limit { requests_per_minute: Some(10_000), tokens_per_minute: Some(100_000), budget: None };
    for (call, workers) in [(1000, 1), (1000, 6), (4000, 6)] {
        let world = World { actual_percent_min: 5, ..World::calm(limit, workers, Amounts::call(call)) };
        let used = check(&world, Dimension::Tokens, 95);
        note(&format!("calls of 5 to 100 % of {call} tokens, {workers} workers: {used} thousandths"));
    }
}

#[test]
fn while_workers_come_and_go_a_limit_is_used_to_90_percent() {
    for (limit, workers) in [(500, 4), (2000, 4), (10_000, 16)] {
        // A worker takes a lease or two a second, so somebody dies every few seconds.
        let world = World {
            killed_percent: 5,
            spared_percent: 10,
            lost_percent: 2,
            ..World::calm(requests(limit), workers, REQUEST)
        };
        let used = check(&world, Dimension::Requests, 90);
        note(&format!("{limit} requests a minute, {workers} workers that die: {used} thousandths"));
    }
}
