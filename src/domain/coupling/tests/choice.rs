//! Which model is chosen, in which order the others follow, and that what is written down stays bounded.

use super::fixtures::*;
use crate::domain::coupling::*;
use crate::domain::llm_provider::Model;
use crate::domain::spec::TENANT;
use crate::domain::{TenantId, llm_provider};
use proptest::prelude::*;

fn chosen(scene: &Scene, objective: Objective) -> Vec<String> {
    let Event::CouplingEstablished(event) = scene.established(by(objective)) else { unreachable!() };
    let all = [event.binding.model].into_iter().chain(event.binding.fallbacks);
    all.map(|model| model.model_id).collect()
}

#[test]
fn each_objective_ranks_by_its_own_key() {
    let mut scene = scene();
    scene.own().models = vec![
        model("cheap", 50, 1_900, 0.6),
        model("fast", 700, 100, 0.6),
        model("round", 200, 500, 0.8),
        model("smart", 900, 1_800, 0.95),
    ];
    scene.shared().models.clear();
    assert_eq!(chosen(&scene, Objective::Cost), ["cheap", "round", "fast", "smart"]);
    assert_eq!(chosen(&scene, Objective::Latency), ["fast", "round", "smart", "cheap"]);
    assert_eq!(
        chosen(&scene, Objective::Quality),
        ["smart", "round", "cheap", "fast"],
        "equal quality: the better fit"
    );
    assert_eq!(chosen(&scene, Objective::Balanced)[0], "round");
}

#[test]
fn an_unknown_key_comes_after_every_known_one() {
    let mut scene = scene();
    let priceless = Model { input_micro_usd_per_million: None, ..model("priceless", 1, 100, 0.99) };
    let untimed = Model { latency_ms_p50: None, ..model("untimed", 100, 0, 0.7) };
    let unrated = Model { quality: None, ..model("unrated", 100, 900, 0.0) };
    scene.own().models = vec![model("known", 900, 1_900, 0.55), priceless, unrated, untimed];
    scene.shared().models.clear();
    assert_eq!(chosen(&scene, Objective::Cost).last().expect("some"), "priceless");
    assert_eq!(chosen(&scene, Objective::Latency).last().expect("some"), "untimed");
    assert_eq!(chosen(&scene, Objective::Quality).last().expect("some"), "unrated");
}

#[test]
fn equals_are_told_apart_by_provider_and_model_id() {
    let mut scene = scene();
    scene.own().models = vec![model("b", 200, 900, 0.75), model("a", 200, 900, 0.75)];
    scene.shared().models = vec![model("0", 200, 900, 0.75)];
    for objective in [Objective::Cost, Objective::Latency, Objective::Quality, Objective::Balanced] {
        assert_eq!(chosen(&scene, objective), ["a", "b", "0"], "{objective:?}: provider 11 before 22");
    }
}

#[test]
fn a_provider_of_the_tenant_hides_one_of_the_catalogue_with_the_same_id() {
    let mut scene = scene();
    scene.providers.push((TenantId::SHARED, OWN, provider("Impostor", vec![model("tiny", 1, 1, 1.0)])));
    let assessment = scene.assessed(request());
    assert_eq!(assessment.models_seen, 3);
    assert!(assessment.candidates.iter().all(|candidate| candidate.model.model_id != "tiny"));
}

#[test]
fn a_fallback_below_the_threshold_is_left_out() {
    let mut scene = scene();
    let fits = scene.assessed(request()).candidates;
    scene.tenant().coupling_threshold = Some(fits[1].score);
    let Event::CouplingEstablished(event) = scene.established(request()) else { unreachable!() };
    assert_eq!(event.binding.fallbacks, [fits[1].model.clone()]);
    assert_eq!(event.assessment.candidates.len(), 3, "and is still written down");
}

#[test]
fn what_is_written_down_is_bounded_whatever_the_catalogue() {
    let mut scene = scene();
    let fine = (0..3_000).map(|n| model(&format!("fine-{n:04}"), n % 900, 500 + n, 0.6));
    scene.own().models = fine.collect();
    let dear = (0..3_000).map(|n| model(&format!("dear-{n:04}"), 1_001 + n, 500, 0.6));
    let blind = Model { context_tokens: None, ..model("blind", 1, 1, 1.0) };
    scene.shared().models = dear.chain([blind]).collect();
    scene.requirements().context_tokens_min = Some(1_000);
    scene.agent().profile.skills = (0..200).map(|n| format!("skill{n:03}")).collect();
    let tools = (0..200).map(|n| tool(&format!("tool_{n:03}"), &format!("does skill{n:03}")));
    scene.server().tools = tools.collect();

    let Event::CouplingEstablished(event) = scene.established(request()) else { unreachable!() };
    let seen = &event.assessment;
    assert_eq!(event.binding.fallbacks.len(), FALLBACKS_MAX);
    assert_eq!(seen.candidates.len(), CANDIDATES_MAX);
    assert_eq!(seen.rejected_examples.len(), REJECTED_EXAMPLES_MAX);
    assert_eq!(seen.skill_matches.len(), SKILL_MATCHES_MAX);
    let rejected: i64 = seen.rejected.iter().map(|it| it.count).sum();
    assert_eq!((seen.models_seen, seen.candidate_count + rejected), (6_001, 6_001));
    let reasons: Vec<_> = seen.rejected_examples.iter().map(|it| it.reason).collect();
    assert!(reasons.contains(&Unfit::ContextUnknown), "one among thousands is still named");

    let mut bytes = Vec::new();
    crate::domain::wire::Wire::encode(&Event::CouplingEstablished(event), &mut bytes).expect("encodes");
    assert!(bytes.len() < 8 * 1024, "{} bytes", bytes.len());
}

#[test]
fn rules_are_numbered_in_the_order_in_which_they_are_tried() {
    for (place, reason) in Unfit::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, place);
        assert_eq!(serde_json::to_value(reason).expect("a name"), reason.name());
    }
}

fn any_model() -> impl Strategy<Value = Model> {
    let facts = (prop::option::of(0i64..2_000), prop::option::of(0i64..3_000), prop::option::of(0.0f64..=1.0));
    (0u32..400, facts, prop::bool::weighted(0.8)).prop_map(|(id, (price, latency, quality), calls)| Model {
        input_micro_usd_per_million: price.map(|it| it * 1_000),
        latency_ms_p50: latency,
        quality,
        tool_calling: calls.then_some(true),
        ..model(&format!("m{id:03}"), 300, 0, 0.0)
    })
}

fn any_objective() -> impl Strategy<Value = Objective> {
    prop::sample::select(vec![Objective::Cost, Objective::Latency, Objective::Quality, Objective::Balanced])
}

proptest! {
    /// The catalogue's order, which providers own, plays no part: the same models give the same decision.
    #[test]
    fn the_order_of_the_catalogue_is_irrelevant(
        mut models in prop::collection::vec(any_model(), 0..120),
        objective in any_objective(),
        seed in any::<u64>(),
    ) {
        models.sort_by(|a, b| a.model_id.cmp(&b.model_id));
        models.dedup_by(|a, b| a.model_id == b.model_id);
        let mut scene = scene();
        scene.own().models = models.clone();
        let request = RequestCoupling { required_capabilities: vec![Capability::ToolCalling], ..by(objective) };
        let ordered = scene.assessed(request.clone());

        let turn = seed as usize % models.len().max(1);
        models.rotate_left(turn);
        models.reverse();
        scene.own().models = models;
        scene.providers.reverse();
        let shuffled = scene.assessed(request);
        prop_assert_eq!(&shuffled.candidates, &ordered.candidates);
        prop_assert_eq!(shuffled.score, ordered.score);
        prop_assert_eq!(shuffled.rejected, ordered.rejected);
    }

    /// Whatever the catalogue: the model in use is never among the fallbacks, every candidate meets the rules, and the
    /// binding is the first candidate.
    #[test]
    fn a_binding_is_the_best_candidate_and_never_its_own_fallback(
        models in prop::collection::vec(any_model(), 1..40),
        objective in any_objective(),
    ) {
        let mut scene = scene();
        let mut models = models;
        models.sort_by(|a, b| a.model_id.cmp(&b.model_id));
        models.dedup_by(|a, b| a.model_id == b.model_id);
        scene.providers = vec![(TENANT, OWN, llm_provider::State { models, ..provider("Own", vec![]) })];
        if let [Event::CouplingEstablished(event)] = scene.spec([]).when(by(objective)).events() {
            let binding = &event.binding;
            prop_assert_eq!(&binding.model, &event.assessment.candidates[0].model);
            prop_assert!(!binding.fallbacks.contains(&binding.model));
            prop_assert!(binding.fallbacks.len() <= FALLBACKS_MAX);
            for candidate in &event.assessment.candidates {
                prop_assert!(candidate.micro_usd_per_1k_tokens.is_none_or(|price| price <= 1_000.0));
                prop_assert!(candidate.latency_ms_p50.is_none_or(|latency| latency <= 2_000));
                prop_assert!(candidate.quality.is_none_or(|quality| quality >= 0.5));
            }
        }
    }

    /// A model that gets cheaper is never ranked lower by cost, nor scored lower by anything.
    #[test]
    fn cheaper_never_costs(price in 1i64..1_000, less in 0i64..1_000, objective in any_objective()) {
        let mut scene = scene();
        scene.own().models = vec![model("it", price, 900, 0.7)];
        let before = scene.assessed(by(objective));
        scene.own().models = vec![model("it", (price - less).max(0), 900, 0.7)];
        let after = scene.assessed(by(objective));
        let of = |assessment: &Assessment| {
            let place = assessment.candidates.iter().position(|it| it.model.model_id == "it").expect("a candidate");
            (place, assessment.candidates[place].score)
        };
        prop_assert!(of(&after).0 <= of(&before).0);
        prop_assert!(of(&after).1 >= of(&before).1);
    }
}
