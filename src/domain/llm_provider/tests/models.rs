//! Models put, changed and retired.

use super::*;

#[test]
fn new_models_are_added_at_once_and_each_changed_one_is_an_event_of_its_own() {
    let state =
        Provider::given(with_models()).when(put(vec![dearer("b"), model("d"), dearer("a"), model("c")])).then([
            added(vec![model("c"), model("d")]),
            changed(model("a"), dearer("a")),
            changed(model("b"), dearer("b")),
        ]);
    assert_eq!(state.models, vec![dearer("a"), dearer("b"), model("c"), model("d")]);
    Provider::given(with_models()).when(put(vec![model("b")])).then_nothing();
    Provider::given(with_models()).when(put(vec![])).then_nothing();
}

#[test]
fn an_unknown_price_is_not_a_price_of_zero() {
    let unknown = Model { input_micro_usd_per_million: None, ..model("a") };
    let free = Model { input_micro_usd_per_million: Some(0), ..model("a") };
    Provider::given([registered(), added(vec![unknown.clone()])])
        .when(put(vec![free.clone()]))
        .then([changed(unknown, free)]);
}

#[test]
fn modalities_are_sets() {
    use Modality::{Audio, Image, Text};
    let given =
        Model { input_modalities: vec![Image, Text, Image], output_modalities: vec![Audio, Text], ..model("a") };
    let kept = Model { input_modalities: vec![Text, Image], output_modalities: vec![Text, Audio], ..model("a") };
    Provider::given([registered()]).when(put(vec![given.clone()])).then([added(vec![kept.clone()])]);
    Provider::given([registered(), added(vec![kept])]).when(put(vec![given])).then_nothing();
}

#[test]
fn a_retired_model_is_gone_and_may_be_added_again() {
    let state = Provider::given(with_models()).when(retire(&["b", "a", "b"])).then([retired("a"), retired("b")]);
    assert!(state.models.is_empty());
    let again = [registered(), added(vec![model("a")]), retired("a")];
    Provider::given(again).when(put(vec![dearer("a")])).then([added(vec![dearer("a")])]);
    Provider::given(with_models()).when(retire(&[])).then_nothing();
}

#[test]
fn one_unknown_model_keeps_all_from_being_retired() {
    let rejection = Provider::given(with_models()).when(retire(&["a", "y", "x"])).then_refused("model_unknown");
    assert_eq!(rejection.details["model_ids"], "x, y");
    let once = Provider::given([registered(), added(vec![model("a")]), retired("a")]);
    once.when(retire(&["a"])).then_refused("model_unknown");
}

#[test]
fn a_refusal_names_a_bounded_number_of_bounded_ids() {
    let ids: Vec<String> = (0..50).map(|n| format!("{n:02}{}", "ü".repeat(MODEL_ID_BYTES_MAX))).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let rejection = Provider::given(with_models()).when(retire(&ids)).then_refused("model_unknown");
    assert!(rejection.details["model_ids"].ends_with("… and 30 more"), "{}", rejection.message);
    assert!(rejection.message.len() < 20 * (MODEL_ID_BYTES_MAX + 10) + 200);
}

#[test]
fn models_that_cannot_be_are_refused_whole() {
    let wrong = |change: fn(&mut Model)| {
        let mut wrong = model("z");
        change(&mut wrong);
        vec![model("a"), wrong]
    };
    for (models, field) in [
        (wrong(|m| m.model_id = "a".into()), "models.model_id"),
        (wrong(|m| m.model_id = " ".into()), "models.model_id"),
        (wrong(|m| m.model_id = "x".repeat(MODEL_ID_BYTES_MAX + 1)), "models.model_id"),
        (wrong(|m| m.name = "x".repeat(NAME_BYTES_MAX + 1)), "models.name"),
        (wrong(|m| m.context_tokens = Some(-1)), "models.context_tokens"),
        (wrong(|m| m.output_tokens_max = Some(-1)), "models.output_tokens_max"),
        (wrong(|m| m.input_micro_usd_per_million = Some(-1)), "models.input_micro_usd_per_million"),
        (wrong(|m| m.output_micro_usd_per_million = Some(-1)), "models.output_micro_usd_per_million"),
        (wrong(|m| m.cached_input_micro_usd_per_million = Some(-1)), "models.cached_input_micro_usd_per_million"),
        (wrong(|m| m.cache_write_micro_usd_per_million = Some(-1)), "models.cache_write_micro_usd_per_million"),
        (wrong(|m| m.batch_input_micro_usd_per_million = Some(-1)), "models.batch_input_micro_usd_per_million"),
        (wrong(|m| m.batch_output_micro_usd_per_million = Some(-1)), "models.batch_output_micro_usd_per_million"),
        (wrong(|m| m.priced_at = Some(-1)), "models.priced_at"),
        (wrong(|m| m.price_source = Some(" ".into())), "models.price_source"),
        (wrong(|m| m.latency_ms_p50 = Some(-1)), "models.latency_ms_p50"),
        (wrong(|m| m.quality = Some(1.01)), "models.quality"),
        (wrong(|m| m.quality = Some(-0.01)), "models.quality"),
        (wrong(|m| m.quality = Some(f64::NAN)), "models.quality"),
    ] {
        let rejection = Provider::given([registered()]).when(put(models.clone())).then_refused("invalid");
        assert_eq!(rejection.details["field"], field);
        let rejection = Provider::given([]).when(register(access(), models, [None, None])).then_refused("invalid");
        assert_eq!(rejection.details["field"], field);
    }
}

#[test]
fn the_edges_of_what_is_allowed_are_allowed() {
    let longest = Model { model_id: "x".repeat(MODEL_ID_BYTES_MAX), quality: Some(1.0), ..model("") };
    let least = Model {
        context_tokens: Some(0),
        input_micro_usd_per_million: Some(0),
        latency_ms_p50: Some(0),
        quality: Some(0.0),
        ..model("y")
    };
    Provider::given([registered()]).when(put(vec![least.clone(), longest.clone()])).then([added(vec![longest, least])]);
}

#[test]
fn a_provider_has_a_bounded_number_of_models() {
    let bare = |n: usize| Model { model_id: n.to_string(), ..Model::default() };
    let most: Vec<_> = (0..MODELS_MAX).map(bare).collect();
    let full = || Provider::given([registered(), added(most.clone())]);
    assert_eq!(full().state().models.len(), MODELS_MAX);
    full().when(put(vec![bare(MODELS_MAX)])).then_refused("invalid");
    let changed = Model { name: "renamed".into(), ..bare(7) };
    assert_eq!(full().when(put(vec![changed])).events().len(), 1, "a full provider may still change");
    let too_many = (0..=MODELS_MAX).map(bare).collect();
    Provider::given([registered()]).when(put(too_many)).then_refused("invalid");
}

/// Lists over few ids and few values, so that two of them often meet.
fn models() -> impl Strategy<Value = Vec<Model>> {
    let price = prop::sample::select(vec![None, Some(0), Some(5)]);
    let quality = prop::sample::select(vec![None, Some(0.5)]);
    let modalities = prop::collection::vec(prop::sample::select(vec![Modality::Text, Modality::Image]), 0..4);
    prop::collection::btree_map("[a-f]", (price, quality, modalities), 0..6)
        .prop_map(|models| {
            let bare = |(model_id, (price, quality, modalities))| Model {
                model_id,
                input_micro_usd_per_million: price,
                quality,
                input_modalities: modalities,
                ..Model::default()
            };
            models.into_iter().map(bare).collect::<Vec<_>>()
        })
        .prop_shuffle()
}

/// As the state keeps it: modalities sorted, each once.
fn kept(model: &Model) -> (String, Model) {
    let input_modalities = model.input_modalities.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    (model.model_id.clone(), Model { input_modalities, ..model.clone() })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_a_put_the_provider_has_the_old_models_under_the_new_and_repeating_it_changes_nothing(
        first in models(),
        second in models(),
    ) {
        let mut events = vec![registered()];
        let mut expected = BTreeMap::new();
        for models in [first, second] {
            let outcome = Provider::given(events.clone()).when(put(models.clone()));
            events.extend_from_slice(outcome.events());
            expected.extend(models.iter().map(kept));
            let state = outcome.after();
            prop_assert_eq!(&state.models, &expected.values().cloned().collect::<Vec<_>>());
            Provider::given(events.clone()).when(put(models)).then_nothing();
        }
    }
}
