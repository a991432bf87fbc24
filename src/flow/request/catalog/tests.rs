//! The catalogue over an index that the tests fill.

use super::*;
use crate::domain::limit::Dimension;

fn model(price: Option<i64>, own_max: Option<i64>) -> Model {
    let provider = StreamId::new(TenantId::SHARED, Aggregate::LlmProvider, uuid::Uuid::from_u128(1));
    let target = Target {
        provider: "p".into(),
        protocol: llm_provider::WireProtocol::Openai,
        endpoint: None,
        key: None,
        model: "a/b".into(),
        output_tokens_max: own_max,
    };
    let price = Price { input_micro_usd_per_million: price, output_micro_usd_per_million: price, ..Price::default() };
    Model { provider, target, price, batch_prices: (None, None) }
}

#[test]
fn an_estimate_is_the_prompt_and_the_longest_answer_that_both_allow() {
    let chat = Operation::ChatCompletion;
    let tokens = |own, asked| model(None, own).estimate(chat, 100, asked).tokens;
    assert_eq!(tokens(Some(500), Some(1_000_000_000)), 600);
    assert_eq!(tokens(Some(500), Some(50)), 150);
    assert_eq!(tokens(Some(500), None), 600);
    assert_eq!(tokens(None, None), 100 + OUTPUT_TOKENS);
    assert_eq!(tokens(None, Some(i64::MAX)), 100 + TOKENS_MAX);
    assert_eq!(model(None, None).estimate(Operation::Embeddings, 100, Some(7)).tokens, 100);
}

#[test]
fn money_is_rounded_up_and_a_price_that_is_not_known_reserves_none() {
    let chat = Operation::ChatCompletion;
    assert_eq!(model(Some(1), None).estimate(chat, 1, Some(1)).micro_usd, 1);
    assert_eq!(model(Some(3_000_000), None).estimate(chat, 1000, Some(1000)).micro_usd, 6_000);
    let unknown = model(None, None).estimate(chat, 1000, Some(1000));
    assert_eq!((unknown.micro_usd, unknown.is_priced), (0, false));
    let priced = |price, operation| {
        let price = Price { output_micro_usd_per_million: None, ..model(price, None).price };
        Model { price, ..model(None, None) }.estimate(operation, 1000, Some(1000)).is_priced
    };
    assert!(!priced(Some(1), chat), "what it writes is charged as well");
    assert!(priced(Some(0), Operation::Embeddings), "it writes nothing, and free is a price");
}

#[test]
fn a_call_falls_under_its_provider_its_model_and_its_tenant() {
    let wants = model(None, None).wants(TenantId::SHARED, Estimate { tokens: 7, micro_usd: 9, is_priced: true });
    let of = |dimension| wants.each_ref().map(|(_, amounts)| amounts.of(dimension));
    assert_eq!(of(Dimension::Requests), [1, 1, 1]);
    assert_eq!(of(Dimension::Tokens), [7, 7, 0]);
    assert_eq!(of(Dimension::MicroUsd), [0, 0, 9]);
}

#[test]
fn a_call_that_was_charged_as_a_batch_has_the_prices_of_batches_where_there_are_any() {
    let usage = Usage { input_tokens: 10, output_tokens: 10, ..Usage::default() };
    let cost = |model: &Model, is_batch| usage.cost_pico_usd(&model.price_of(is_batch));
    let without = model(Some(4), None);
    assert_eq!((cost(&without, false), cost(&without, true)), (Some(80), Some(80)));
    let with = Model { batch_prices: (Some(2), Some(1)), ..without };
    assert_eq!((cost(&with, false), cost(&with, true)), (Some(80), Some(30)));
    assert_eq!((with.price_of(false).batch, with.price_of(true).batch), (false, true));
}
