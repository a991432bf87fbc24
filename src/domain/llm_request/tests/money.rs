use super::*;
use proptest::prelude::*;

#[test]
fn a_cost_is_exact_to_the_pico_dollar() {
    assert_eq!(usage().cost_pico_usd(&price()), Some(COST));
    assert_eq!(usd(COST), "0.004995000000");
    let one = Usage { input_tokens: 1, ..Default::default() };
    let cheapest = Price { input_micro_usd_per_million: Some(1), ..Default::default() };
    assert_eq!(one.cost_pico_usd(&cheapest), Some(1));
    assert_eq!(usd(1), "0.000000000001");
    assert_eq!(usd(-1_500_000_000_000), "-1.500000000000");
    assert_eq!(usd(i64::MIN), "-9223372.036854775808");
}

#[test]
fn unknown_is_not_free_and_a_cache_without_a_price_costs_as_the_rest() {
    let no_cache_price =
        Price { cached_input_micro_usd_per_million: None, cache_write_micro_usd_per_million: None, ..price() };
    assert_eq!(usage().cost_pico_usd(&no_cache_price), Some((1_000 * 3 + 200 * 15) * 1_000_000));
    assert_eq!(usage().cost_pico_usd(&Price { output_micro_usd_per_million: None, ..price() }), None);
    let no_output = Usage { output_tokens: 0, reasoning_tokens: 0, ..usage() };
    assert!(no_output.cost_pico_usd(&Price { output_micro_usd_per_million: None, ..price() }).is_some());
    assert_eq!(Usage::default().cost_pico_usd(&Price::default()), Some(0));
    let turned_away = EndAttempt {
        attempt: 1,
        error: "rate_limited".into(),
        sent: true,
        usage: Some(Usage::default()),
        ..Default::default()
    };
    let state = Request::given([submitted(), started(1)]).when(turned_away.clone()).after();
    assert_eq!((state.totals.cost_pico_usd, state.totals.calls_of_unknown_cost), (0, 0), "no tokens cost nothing");
    let unheard = EndAttempt { usage: None, ..turned_away };
    let state = Request::given([submitted(), started(1)]).when(unheard).after();
    assert_eq!((state.totals.cost_pico_usd, state.totals.calls_of_unknown_cost), (0, 1));
    let unpriced = CompleteRequest { price: None, ..complete(1) };
    let state = Request::given([submitted(), started(1)]).when(unpriced).after();
    assert_eq!((state.totals.cost_pico_usd, state.totals.calls_of_unknown_cost), (0, 1));
}

#[test]
fn the_dearest_request_there_can_be_is_still_exact() {
    let dearest = Some(PRICE_MICRO_USD_PER_MILLION_MAX);
    let price =
        Price { input_micro_usd_per_million: dearest, output_micro_usd_per_million: dearest, ..Price::default() };
    let usage = Usage { input_tokens: TOKENS_MAX, output_tokens: TOKENS_MAX, ..Default::default() };
    let exact = 2 * i128::from(TOKENS_MAX) * i128::from(PRICE_MICRO_USD_PER_MILLION_MAX);
    assert_eq!(usage.cost_pico_usd(&price).map(i128::from), Some(exact));
    assert!(exact * i128::from(ATTEMPTS_MAX) < i128::from(i64::MAX));
}

#[test]
fn a_batch_costs_what_its_provider_says_and_no_more_than_any_other_call() {
    let batch = Price { batch: false, ..price() }.of_batch(Some(1_500_000), Some(7_500_000));
    assert!(batch.batch);
    // 500 × 1.5 + 400 × 0.3 + 100 × 3.75 + 200 × 7.5 dollars per million tokens.
    assert_eq!(usage().cost_pico_usd(&batch), Some(2_745_000_000));
    let free_of_caches = Price { batch: false, ..price() }.of_batch(Some(200_000), None);
    assert_eq!(free_of_caches.cached_input_micro_usd_per_million, Some(200_000), "no dearer than what is not cached");
    assert_eq!(free_of_caches.output_micro_usd_per_million, price().output_micro_usd_per_million);
    let plain = Price { batch: false, ..price() };
    assert_eq!(plain.of_batch(None, None), plain, "without prices of batches it costs as any other call");
}

fn any_price() -> impl Strategy<Value = Option<i64>> {
    prop::option::of(0..=PRICE_MICRO_USD_PER_MILLION_MAX)
}

fn any_usage() -> impl Strategy<Value = Usage> {
    prop::array::uniform5(0..=TOKENS_MAX).prop_map(|numbers| {
        let [input_tokens, output_tokens, cached_input_tokens, cache_write_tokens, reasoning_tokens] = numbers;
        let usage = Usage { input_tokens, output_tokens, cached_input_tokens, cache_write_tokens, reasoning_tokens };
        usage.clamped()
    })
}

proptest! {
    #[test]
    fn a_cost_is_what_wide_arithmetic_says_and_within_bounds(prices in prop::array::uniform4(any_price()), usage in any_usage()) {
        let [input, output, cached, write] = prices;
        let price = Price {
            input_micro_usd_per_million: input,
            output_micro_usd_per_million: output,
            cached_input_micro_usd_per_million: cached,
            cache_write_micro_usd_per_million: write,
            ..Price::default()
        };
        let plain = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens;
        let parts = [
            (plain, input),
            (usage.cached_input_tokens, cached.or(input)),
            (usage.cache_write_tokens, write.or(input)),
            (usage.output_tokens, output),
        ];
        let paid = parts.into_iter().filter(|(tokens, _)| *tokens > 0);
        let wide = paid.map(|(tokens, price)| Some(i128::from(tokens) * i128::from(price?))).sum::<Option<i128>>();
        prop_assert_eq!(usage.cost_pico_usd(&price).map(i128::from), wide);
        let most = 2 * i128::from(TOKENS_MAX) * i128::from(PRICE_MICRO_USD_PER_MILLION_MAX);
        prop_assert!(wide.unwrap_or(0) <= most);
    }

    #[test]
    fn a_batch_is_never_dearer_where_its_prices_are_not(prices in prop::array::uniform4(0..=PRICE_MICRO_USD_PER_MILLION_MAX), shares in prop::array::uniform2(0_i64..=100), usage in any_usage()) {
        let [input, output, cached, write] = prices;
        let price = Price {
            input_micro_usd_per_million: Some(input),
            output_micro_usd_per_million: Some(output),
            cached_input_micro_usd_per_million: Some(cached),
            cache_write_micro_usd_per_million: Some(write),
            ..Price::default()
        };
        let batch = price.of_batch(Some(input / 100 * shares[0]), Some(output / 100 * shares[1]));
        prop_assert!(usage.cost_pico_usd(&batch) <= usage.cost_pico_usd(&price));
    }

    #[test]
    fn whatever_a_provider_reports_can_be_made_to_fit(numbers in prop::array::uniform5(any::<i64>())) {
        let [input_tokens, output_tokens, cached_input_tokens, cache_write_tokens, reasoning_tokens] = numbers;
        let reported =
            Usage { input_tokens, output_tokens, cached_input_tokens, cache_write_tokens, reasoning_tokens };
        let command = CompleteRequest { usage: reported.clamped(), ..complete(1) };
        let state = Request::given([submitted(), started(1)]).when(command).after();
        prop_assert_eq!(state.status, Status::Completed);
        prop_assert_eq!(reported.clamped().clamped(), reported.clamped());
        // What makes sense stays as it is.
        prop_assert_eq!(usage().clamped(), usage());
    }
}
