//! What a file changes: each of its models held against what the node has.
//!
//! Of a model that is there, prices are taken, and facts that were not known; nothing that is known is overwritten but a
//! price. What the file does not say stays as it is. The date of the prices changes only with a price.

use super::offer::{Offer, Prices};
use crate::domain::Micros;
use crate::domain::llm_provider::{MODEL_ID_BYTES_MAX, Model};
use serde::Serialize;

/// Where prices come from, and when they were taken from there.
#[derive(Clone, Debug)]
pub struct Origin {
    pub source: String,
    pub priced_at: Micros,
}

/// What becomes of a model.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Created(Box<Model>),
    /// The model as it will be, and the fields that differ.
    Changed(Box<Model>, Vec<Difference>),
    Unchanged,
    Refused(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub field: &'static str,
    pub before: Option<String>,
    pub after: Option<String>,
}

/// Holds an offer against the model that is there.
pub fn change(model_id: &str, offer: &Offer, known: Option<&Model>, origin: &Origin) -> Change {
    if model_id.trim().is_empty() || model_id.len() > MODEL_ID_BYTES_MAX {
        return Change::Refused(format!("its id must have 1 to {MODEL_ID_BYTES_MAX} bytes"));
    }
    let before = known.cloned().unwrap_or_else(|| Model { model_id: model_id.to_owned(), ..Model::default() });
    let mut after = before.clone();
    add_facts(&mut after, offer);
    let has_new_prices = put_prices(&mut after, &offer.prices);
    let is_undated = after.priced_at.is_none() && offer.prices != Prices::default();
    if has_new_prices || is_undated {
        after.priced_at = Some(origin.priced_at);
        after.price_source = Some(origin.source.clone());
    }
    match known {
        None => Change::Created(Box::new(after)),
        Some(_) if after == before => Change::Unchanged,
        Some(_) => {
            let differences = differences(&before, &after);
            Change::Changed(Box::new(after), differences)
        }
    }
}

fn add_facts(model: &mut Model, offer: &Offer) {
    if model.name.is_empty() {
        model.name.clone_from(&offer.name);
    }
    model.context_tokens = model.context_tokens.or(offer.context_tokens);
    model.output_tokens_max = model.output_tokens_max.or(offer.output_tokens_max);
    model.tool_calling = model.tool_calling.or(offer.tool_calling);
    model.structured_output = model.structured_output.or(offer.structured_output);
    if model.input_modalities.is_empty() {
        model.input_modalities.clone_from(&offer.input_modalities);
    }
    if model.output_modalities.is_empty() {
        model.output_modalities.clone_from(&offer.output_modalities);
    }
}

/// Whether any price became another.
fn put_prices(model: &mut Model, prices: &Prices) -> bool {
    let fields = [
        (&mut model.input_micro_usd_per_million, prices.input),
        (&mut model.output_micro_usd_per_million, prices.output),
        (&mut model.cached_input_micro_usd_per_million, prices.cached_input),
        (&mut model.cache_write_micro_usd_per_million, prices.cache_write),
        (&mut model.batch_input_micro_usd_per_million, prices.batch_input),
        (&mut model.batch_output_micro_usd_per_million, prices.batch_output),
    ];
    let mut is_new = false;
    for (field, price) in fields {
        is_new |= price.is_some() && *field != price;
        *field = price.or(*field);
    }
    is_new
}

/// The fields that an import may change, as text.
fn fields(model: &Model) -> [(&'static str, Option<String>); 15] {
    let number = |number: Option<i64>| number.map(|it| it.to_string());
    let flag = |flag: Option<bool>| flag.map(|it| it.to_string());
    let set = |set: &[crate::domain::common::Modality]| (!set.is_empty()).then(|| format!("{set:?}").to_lowercase());
    [
        ("input_micro_usd_per_million", number(model.input_micro_usd_per_million)),
        ("output_micro_usd_per_million", number(model.output_micro_usd_per_million)),
        ("cached_input_micro_usd_per_million", number(model.cached_input_micro_usd_per_million)),
        ("cache_write_micro_usd_per_million", number(model.cache_write_micro_usd_per_million)),
        ("batch_input_micro_usd_per_million", number(model.batch_input_micro_usd_per_million)),
        ("batch_output_micro_usd_per_million", number(model.batch_output_micro_usd_per_million)),
        ("priced_at", number(model.priced_at)),
        ("price_source", model.price_source.clone()),
        ("name", Some(model.name.clone()).filter(|name| !name.is_empty())),
        ("context_tokens", number(model.context_tokens)),
        ("output_tokens_max", number(model.output_tokens_max)),
        ("input_modalities", set(&model.input_modalities)),
        ("output_modalities", set(&model.output_modalities)),
        ("tool_calling", flag(model.tool_calling)),
        ("structured_output", flag(model.structured_output)),
    ]
}

fn differences(before: &Model, after: &Model) -> Vec<Difference> {
    let pairs = fields(before).into_iter().zip(fields(after));
    pairs
        .filter(|((_, before), (_, after))| before != after)
        .map(|((field, before), (_, after))| Difference { field, before, after })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn origin(priced_at: Micros) -> Origin {
        Origin { source: "models.dev".into(), priced_at }
    }

    fn offer(input: Option<i64>, output: Option<i64>) -> Offer {
        let prices = Prices { input, output, ..Prices::default() };
        Offer { name: "M".into(), context_tokens: Some(1_000), prices, ..Offer::default() }
    }

    fn after(change: Change) -> Model {
        match change {
            Change::Created(model) | Change::Changed(model, _) => *model,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_new_model_has_what_the_file_says_and_an_unknown_price_has_no_date() {
        let created = after(change("m", &offer(Some(3), Some(9)), None, &origin(7)));
        assert_eq!((created.priced_at, created.price_source.as_deref()), (Some(7), Some("models.dev")));
        assert_eq!((created.context_tokens, created.quality), (Some(1_000), None), "nothing is made up");
        let unpriced = after(change("m", &offer(None, None), None, &origin(7)));
        assert_eq!((unpriced.input_micro_usd_per_million, unpriced.priced_at), (None, None));
        assert!(matches!(change(" ", &offer(None, None), None, &origin(7)), Change::Refused(_)));
    }

    #[test]
    fn only_prices_and_what_was_not_known_change_and_the_difference_is_told() {
        let known = Model {
            model_id: "m".into(),
            name: "Mine".into(),
            context_tokens: Some(500),
            input_micro_usd_per_million: Some(4),
            batch_input_micro_usd_per_million: Some(2),
            quality: Some(0.5),
            ..Model::default()
        };
        let Change::Changed(model, differences) = change("m", &offer(Some(3), Some(9)), Some(&known), &origin(7))
        else {
            panic!("it changes");
        };
        assert_eq!((model.name.as_str(), model.context_tokens, model.quality), ("Mine", Some(500), Some(0.5)));
        assert_eq!(model.batch_input_micro_usd_per_million, Some(2), "the file says nothing of it");
        let fields: Vec<_> = differences.iter().map(|it| it.field).collect();
        assert_eq!(
            fields,
            ["input_micro_usd_per_million", "output_micro_usd_per_million", "priced_at", "price_source"]
        );
        assert_eq!((differences[0].before.as_deref(), differences[0].after.as_deref()), (Some("4"), Some("3")));
    }

    proptest! {
        #[test]
        fn importing_again_changes_nothing_whatever_the_day(
            prices in prop::array::uniform6(prop::option::of(0_i64..5)),
            known in prop::option::of(prop::array::uniform6(prop::option::of(0_i64..5))),
        ) {
            let of = |[input, output, cached_input, cache_write, batch_input, batch_output]: [Option<i64>; 6]| Prices {
                input, output, cached_input, cache_write, batch_input, batch_output,
            };
            let offer = Offer { prices: of(prices), ..offer(None, None) };
            let before = known.map(|known| {
                let mut model = Model { model_id: "m".into(), ..Model::default() };
                put_prices(&mut model, &of(known));
                model
            });
            let first = match change("m", &offer, before.as_ref(), &origin(7)) {
                Change::Created(model) | Change::Changed(model, _) => *model,
                Change::Unchanged => before.expect("a model"),
                Change::Refused(why) => panic!("{why}"),
            };
            prop_assert_eq!(change("m", &offer, Some(&first), &origin(8)), Change::Unchanged);
        }
    }
}
