//! The hard rules: which fact about a model, or the lack of it, keeps it from being a candidate.

use super::fixtures::*;
use crate::domain::common::{Health, Modality};
use crate::domain::coupling::*;
use crate::domain::llm_provider::{self, Model};

/// The rule that a lone model breaks, with its fact in words; `None` when it is a candidate.
fn broken(scene: &mut Scene, request: RequestCoupling, model: Model) -> Option<(Unfit, String)> {
    scene.own().models = vec![model];
    scene.shared().models.clear();
    let assessment = scene.assessed(request);
    assert_eq!(assessment.models_seen, 1);
    let example = assessment.rejected_examples.into_iter().next();
    assert_eq!(example.is_none(), assessment.candidate_count == 1);
    example.map(|it| (it.reason, it.detail))
}

fn rule(scene: &mut Scene, model: Model) -> Option<Unfit> {
    broken(scene, request(), model).map(|(reason, _)| reason)
}

#[test]
fn price_latency_and_quality_reject_when_known_to_be_beyond_the_limit() {
    let mut scene = scene();
    assert_eq!(rule(&mut scene, model("at every limit", 1_000, 2_000, 0.5)), None);
    assert_eq!(rule(&mut scene, model("dear", 1_001, 2_000, 0.5)), Some(Unfit::OverBudget));
    assert_eq!(rule(&mut scene, model("slow", 1_000, 2_001, 0.5)), Some(Unfit::TooSlow));
    assert_eq!(rule(&mut scene, model("dull", 1_000, 2_000, 0.499)), Some(Unfit::QualityTooLow));
}

#[test]
fn unknown_price_latency_and_quality_are_let_pass() {
    let unknown = Model {
        input_micro_usd_per_million: None,
        latency_ms_p50: None,
        quality: None,
        ..model("new", 9_999_999, 0, 0.0)
    };
    assert_eq!(rule(&mut scene(), unknown), None);
}

#[test]
fn a_price_is_compared_without_rounding() {
    let exact = Model { output_micro_usd_per_million: Some(1_000_001), ..model("a hair dearer", 1_000, 1, 1.0) };
    let (reason, detail) = broken(&mut scene(), request(), exact).expect("rejected");
    assert_eq!(reason, Unfit::OverBudget);
    assert_eq!(detail, "1000.00025 micro-dollars per 1,000 tokens, budget 1000");
}

#[test]
fn the_context_must_be_known_and_large_enough_where_one_is_required() {
    let mut scene = scene();
    let of = |context_tokens| Model { context_tokens, ..model("m", 1, 1, 1.0) };
    assert_eq!(rule(&mut scene, of(None)), None);
    scene.requirements().context_tokens_min = Some(128_000);
    assert_eq!(rule(&mut scene, of(Some(128_000))), None);
    assert_eq!(rule(&mut scene, of(Some(127_999))), Some(Unfit::ContextTooSmall));
    assert_eq!(rule(&mut scene, of(None)), Some(Unfit::ContextUnknown));
}

#[test]
fn a_capability_must_be_known() {
    let mut scene = scene();
    let ask = |capability| RequestCoupling { required_capabilities: vec![capability], ..request() };
    let calls = |tool_calling| Model { tool_calling, ..model("m", 1, 1, 1.0) };
    for (known, expected) in
        [(Some(true), None), (Some(false), Some(Unfit::CapabilityMissing)), (None, Some(Unfit::CapabilityMissing))]
    {
        let found = broken(&mut scene, ask(Capability::ToolCalling), calls(known));
        assert_eq!(found.map(|(reason, _)| reason), expected, "{known:?}");
    }
    let structured = Model { structured_output: Some(true), ..calls(None) };
    assert_eq!(broken(&mut scene, ask(Capability::StructuredOutput), structured), None);
    for (capability, modality) in [
        (Capability::ImageInput, Modality::Image),
        (Capability::AudioInput, Modality::Audio),
        (Capability::VideoInput, Modality::Video),
        (Capability::FileInput, Modality::File),
    ] {
        let takes = Model { input_modalities: vec![modality], ..model("m", 1, 1, 1.0) };
        assert_eq!(broken(&mut scene, ask(capability), takes), None);
        let (reason, detail) = broken(&mut scene, ask(capability), model("m", 1, 1, 1.0)).expect("rejected");
        assert_eq!(reason, Unfit::CapabilityMissing);
        assert_eq!(detail, format!("not known to have: {}", capability.name()));
    }
}

#[test]
fn a_modality_must_be_listed_but_text_goes_without_saying() {
    let mut scene = scene();
    let of = |input_modalities| Model { input_modalities, ..model("m", 1, 1, 1.0) };
    scene.requirements().modalities = vec![Modality::Text];
    assert_eq!(rule(&mut scene, of(vec![])), None);
    assert_eq!(rule(&mut scene, of(vec![Modality::Audio])), Some(Unfit::ModalityMissing));
    scene.requirements().modalities = vec![Modality::Text, Modality::Image];
    assert_eq!(rule(&mut scene, of(vec![])), Some(Unfit::ModalityMissing));
    assert_eq!(rule(&mut scene, of(vec![Modality::Image, Modality::Text])), None);
}

#[test]
fn a_provider_must_be_registered_and_not_offline() {
    let mut scene = scene();
    scene.own().health = Health::Offline;
    assert_eq!(rule(&mut scene, model("m", 1, 1, 1.0)), Some(Unfit::ProviderOffline));
    for health in [Health::Unknown, Health::Active, Health::Degraded] {
        scene.own().health = health;
        assert_eq!(rule(&mut scene, model("m", 1, 1, 1.0)), None, "{health:?}");
    }
    scene.own().status = llm_provider::Status::Deregistered;
    assert_eq!(rule(&mut scene, model("m", 1, 1, 1.0)), Some(Unfit::ProviderDeregistered));
}

#[test]
fn a_model_is_counted_under_the_first_rule_that_it_breaks() {
    let mut scene = scene();
    scene.own().health = Health::Offline;
    let hopeless = Model { tool_calling: None, ..model("m", 9_999, 9_999, 0.0) };
    let ask = RequestCoupling { required_capabilities: vec![Capability::ToolCalling], ..request() };
    assert_eq!(broken(&mut scene, ask, hopeless).map(|(reason, _)| reason), Some(Unfit::ProviderOffline));
}
