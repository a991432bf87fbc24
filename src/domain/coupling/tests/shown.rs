//! What readers see: the row, its filters, and the answer to "why?".

use super::fixtures::*;
use crate::domain::AnyState;
use crate::domain::common::Health;
use crate::domain::coupling::*;
use serde_json::{Value, json};

fn established() -> State {
    after([scene().established(by(Objective::Cost))])
}

fn refused() -> State {
    let mut scene = scene();
    scene.requirements().quality_min = Some(0.95);
    scene.agent().profile.skills.clear();
    after([scene.spec([]).when(request()).events()[0].clone()])
}

#[test]
fn a_row_shows_the_model_the_score_and_its_parts() {
    let view = Coupling::view(&established());
    assert_eq!(view["agent_id"], json!(AGENT));
    assert_eq!(view["mcp_server_id"], json!(SERVER));
    assert_eq!(view["model"], json!({ "provider_id": OWN, "model_id": "small", "provider": "Own" }));
    assert_eq!(view["fallbacks"][0], json!({ "provider_id": SHARED, "model_id": "medium" }));
    assert_eq!(view["objective"], "cost");
    assert_eq!(view["pinned"], false);
    assert_eq!(view["parts"]["domains"], 1.0);
    assert!(view["score"].as_f64().expect("a number") > 0.8);
    assert_eq!((&view["holds"], &view["reasons"]), (&json!([]), &json!([])));
}

#[test]
fn a_refused_row_shows_its_reasons_and_no_model() {
    let view = Coupling::view(&refused());
    assert_eq!((&view["model"], &view["score"]), (&Value::Null, &Value::Null));
    assert_eq!(view["reasons"][0]["code"], "no_model");
    assert_eq!(view["parts"]["skills"], Value::Null);
}

#[test]
fn every_status_has_its_word() {
    let event = || scene().established(request());
    assert_eq!(Coupling::status(&State::default()), "absent");
    assert_eq!(Coupling::status(&established()), "active");
    assert_eq!(Coupling::status(&refused()), "refused");
    assert_eq!(Coupling::status(&after([event(), suspended(Hold::Manual)])), "suspended");
    assert_eq!(Coupling::status(&after([event(), ended()])), "ended");
}

#[test]
fn every_filter_has_values() {
    let state = after([scene().established(request()), suspended(Hold::Tenant), suspended(Hold::Manual)]);
    let used = &state.binding.as_ref().expect("bound").model;
    let expected: [(&str, Vec<String>); 6] = [
        ("agent_id", vec![AGENT.to_string()]),
        ("mcp_server_id", vec![SERVER.to_string()]),
        ("provider_id", vec![used.provider_id.to_string()]),
        ("model_id", vec![used.model_id.clone()]),
        ("objective", vec!["balanced".into()]),
        ("hold", vec!["manual".into(), "tenant".into()]),
    ];
    assert_eq!(Coupling::FILTERS, expected.clone().map(|(filter, _)| filter));
    for (filter, values) in expected {
        assert_eq!(Coupling::facet(&state, filter), values, "{filter}");
    }
    assert!(Coupling::facet(&refused(), "model_id").is_empty());
    assert!(Coupling::facet(&state, "colour").is_empty());
}

#[test]
fn names_are_the_ones_on_the_wire() {
    for hold in [Hold::Manual, Hold::Tenant, Hold::Provider] {
        assert_eq!(json!(hold), hold.name());
    }
    for objective in [Objective::Cost, Objective::Latency, Objective::Quality, Objective::Balanced] {
        assert_eq!(json!(objective), objective.name());
    }
    let image = [Capability::ToolCalling, Capability::StructuredOutput, Capability::ImageInput];
    for capability in image.into_iter().chain([Capability::AudioInput, Capability::VideoInput, Capability::FileInput]) {
        assert_eq!(json!(capability), capability.name());
    }
}

#[test]
fn an_explanation_adds_up() {
    let explained = explain(&established());
    let parts = explained["score"]["parts"].as_array().expect("parts");
    assert_eq!(parts.len(), 4);
    let sum: f64 = parts.iter().map(|part| part["contribution"].as_f64().expect("known")).sum();
    let score = explained["score"]["value"].as_f64().expect("a number");
    assert!((sum - score).abs() < 5e-6, "{sum} is not {score}");
    let written = explained["score"]["calculation"].as_str().expect("text");
    assert_eq!(
        written,
        "0.35 x 0.9375 (skills) + 0.25 x 1 (domains) + 0.2 x 0.7375 (model) + 0.2 x 0.95 (cost) = 0.915625"
    );
    assert_eq!(
        explained["score"]["skill_matches"][0],
        json!({ "skill": "issue triage", "tool": "triage_issue", "share": 1.0 })
    );
    assert_eq!(explained["seen"]["agent_version"], 4);
}

#[test]
fn an_explanation_tells_who_was_chosen_and_who_was_not() {
    let mut scene = scene();
    scene.requirements().latency_ms_max = Some(1_000);
    let explained = explain(&after([scene.established(by(Objective::Quality))]));
    let summary = explained["summary"].as_str().expect("text");
    assert_eq!(
        summary,
        "Active. The model is medium of Shared: the best of 2 candidates by quality, out of 3 models, with 1 to fall back on. \
         The score is 0.888125, the threshold 0.4."
    );
    let choice = &explained["choice"];
    let roles: Vec<_> = choice["candidates"].as_array().expect("some").iter().map(|it| &it["role"]).collect();
    assert_eq!(roles, [&json!("in use"), &json!("fallback 1")]);
    assert_eq!(choice["rejected"][0]["reason"], "too_slow");
    assert_eq!(choice["rejected"][0]["examples"][0]["detail"], "1500 ms median, at most 1000 wanted");
}

#[test]
fn an_unknown_part_says_why_and_a_refusal_what_to_do() {
    let explained = explain(&refused());
    assert_eq!(explained["status"], "refused");
    let summary = explained["summary"].as_str().expect("text");
    assert!(summary.contains("none of 3 models will do (3 quality_too_low)"), "{summary}");
    let skills = &explained["score"]["parts"][0];
    assert_eq!(skills["unknown"], json!({ "code": "no_skills", "meaning": "the agent lists no skills" }));
    assert_eq!(skills["weight_used"], 0.0);
    assert_eq!(explained["score"]["calculation"], "no model met the rules, so there is no score");
}

#[test]
fn a_matching_skill_that_is_left_out_is_said_so() {
    let mut scene = scene();
    scene.agent().profile.skills = vec!["issue origami".into()];
    let explained = explain(&after([scene.established(request())]));
    let skills = &explained["score"]["parts"][0];
    assert_eq!((&skills["left_out"], &skills["value"]), (&json!(true), &json!(0.375)));
    assert!(!explained["score"]["calculation"].as_str().expect("text").contains("skills"));
}

#[test]
fn a_coupling_without_a_model_shows_the_search_that_failed() {
    let mut scene = scene();
    let event = scene.established(by(Objective::Cost));
    scene.own().health = Health::Offline;
    scene.shared().health = Health::Offline;
    let away =
        RebindCoupling { away_from_provider: Some(OWN), reason: "its provider is down".into(), ..Default::default() };
    let explained = explain(&scene.spec([event]).when(away).after());
    let summary = explained["summary"].as_str().expect("text");
    assert!(summary.starts_with("Suspended by provider: its provider is down. The model is small of Own"), "{summary}");
    let rejected = explained["failed_search"]["rejected"].as_array().expect("some");
    assert_eq!(rejected.iter().map(|it| it["count"].as_i64().expect("a count")).sum::<i64>(), 3);
    assert_eq!(explained["choice"]["candidate_count"], 3, "what the model in use was chosen by is still there");
}

#[test]
fn every_state_survives_the_blob_of_the_index() {
    let states = [
        State::default(),
        established(),
        refused(),
        after([scene().established(pinned(OWN, "large")), suspended(Hold::Provider), suspended(Hold::Manual), ended()]),
    ];
    for state in states {
        assert!(explain(&state)["summary"].as_str().is_some_and(|summary| !summary.is_empty()));
        let state = AnyState::Coupling(Box::new(state));
        let blob = state.to_blob().expect("encodes");
        assert_eq!(AnyState::from_blob(Aggregate::Coupling, &blob).expect("decodes"), state);
    }
}
