//! Documents as the domain makes them, not as this side imagines them.

use super::render::{bar, render};
use crate::domain::common::Requirements;
use crate::domain::coupling::*;
use uuid::Uuid;

const WIDTH: usize = 120;

fn part(value: f64, weight: f64) -> Part {
    Part { value: Some(value), weight, unknown: None }
}

fn model(number: u128) -> ModelRef {
    ModelRef {
        provider_id: Uuid::from_u128(number),
        model_id: format!("accounts/fireworks/models/a-rather-long-model-name-{number}"),
    }
}

fn candidate(number: u128, score: f64) -> Candidate {
    Candidate {
        model: model(number),
        provider_name: format!("Provider {number}"),
        micro_usd_per_1k_tokens: Some(1562.5),
        latency_ms_p50: (number > 1).then_some(2_400),
        quality: Some(0.82),
        model_part: Some(0.69),
        cost_part: Some(0.98),
        score,
        latency_is_measured: number > 1,
        error_rate: (number == 1).then_some(0.125),
        ..Candidate::default()
    }
}

fn assessment() -> Assessment {
    let example = |number, detail: &str| RejectedModel {
        model: model(number),
        reason: Unfit::OverBudget,
        detail: detail.to_owned(),
    };
    Assessment {
        threshold: 0.5,
        requirements: Requirements { latency_ms_max: Some(10_000), ..Requirements::default() },
        required_capabilities: vec![Capability::ToolCalling],
        parts: Parts {
            skills: Part { value: None, weight: 0.35, unknown: Some(Unknown::NoTools) },
            domains: part(1.0, 0.25),
            model: part(0.69, 0.2),
            cost: part(0.985417, 0.2),
        },
        score: Some(0.900128),
        skill_matches: vec![SkillMatch { skill: "read logs".into(), tool: "get_logs".into(), share: 0.5 }],
        models_seen: 7,
        candidate_count: 2,
        candidates: vec![candidate(1, 0.900128), candidate(2, 0.4)],
        rejected: vec![RejectedCount { reason: Unfit::OverBudget, count: 5 }],
        rejected_examples: (3..8)
            .map(|number| example(number, "11250 micro-dollars per 1,000 tokens, budget 6000"))
            .collect(),
        ..Assessment::default()
    }
}

fn established() -> State {
    State {
        status: Status::Active,
        binding: Some(Binding {
            model: model(1),
            provider_name: "Provider 1".into(),
            fallbacks: vec![model(2)],
            score: 0.900128,
            ..Binding::default()
        }),
        assessment: Some(assessment()),
        ..State::default()
    }
}

fn refused() -> State {
    let parts = Parts { skills: part(0.1, 0.35), ..Parts::default() };
    let reason = Reason::new("score_below_threshold", "the score is 0.2, the tenant accepts 0.5").with("score", 0.2);
    State {
        status: Status::Refused,
        reasons: vec![reason],
        assessment: Some(Assessment {
            score: Some(0.2),
            parts,
            candidates: vec![],
            candidate_count: 0,
            ..assessment()
        }),
        ..State::default()
    }
}

fn shown(state: &State) -> String {
    render(&serde_json::from_value(explain(state)).unwrap(), WIDTH)
}

/// The words of the first line that starts with these.
fn row(shown: &str, start: &str) -> String {
    let lines = shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.into_iter().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start:?} in\n{shown}"))
}

#[test]
fn an_established_coupling_leads_with_its_summary_and_shows_each_part_with_a_bar() {
    let shown = shown(&established());
    assert!(shown.starts_with("Active. The model is accounts/fireworks/models/"), "{shown}");
    assert_eq!(row(&shown, "0.900 "), "0.900 ██████████████████░░ threshold 0.500, reached");
    assert_eq!(row(&shown, "skills"), "skills - 0.350 0.000 - unknown: the server's tools are not known");
    assert!(row(&shown, "model 0.690").starts_with("model 0.690 ██████████████░░░░░░ 0.200 0.308 0.212"), "{shown}");
    let calculation = "0.384615 x 1 (domains) + 0.307692 x 0.69 (model) + 0.307692 x 0.985417 (cost) = 0.900128";
    assert_eq!(row(&shown, "0.384615"), calculation);
    assert_eq!(row(&shown, "read logs"), "read logs get_logs 0.500 ██████████░░░░░░░░░░");
}

#[test]
fn candidates_and_rejected_models_are_tables() {
    let shown = shown(&established());
    assert!(shown.contains("Candidates: 2 of 7 models"), "{shown}");
    let rows = [row(&shown, "1 Provider 1"), row(&shown, "2 Provider 2")];
    assert!(rows[0].ends_with("1562.5 - 0.82 0.125 0.900 in use"), "{rows:?}");
    assert!(rows[1].ends_with("1562.5 2400 ms* 0.82 - 0.400 fallback 1"), "{rows:?}");
    assert_eq!(row(&shown, "5 over_budget"), "5 over_budget the model's known price is above the budget");
    let ids = (3..8).filter(|number| shown.contains(&Uuid::from_u128(*number).to_string()));
    assert_eq!(ids.count(), 3, "three examples of a reason, their ids unbroken\n{shown}");
    assert_eq!(row(&shown, "required:"), "required: latency ms max 10000");
}

#[test]
fn a_refusal_says_why_and_shows_the_score_that_did_not_reach() {
    let shown = shown(&refused());
    assert!(shown.starts_with("Refused: the score is 0.2, the tenant accepts 0.5 (score_below_threshold)."), "{shown}");
    let reason = "- score_below_threshold: the score is 0.2, the tenant accepts 0.5";
    assert_eq!(row(&shown, "- score"), reason);
    assert!(row(&shown, "0.200 ").ends_with("not reached"), "{shown}");
    assert!(shown.contains("Candidates: none of 7 models"), "{shown}");
}

#[test]
fn a_search_that_failed_stands_beside_the_choice_in_force() {
    let state = State { failed_search: Some(assessment()), holds: vec![Hold::Provider], ..established() };
    let state = State { status: Status::Suspended, ..state };
    let shown = shown(&state);
    assert!(shown.contains("\nChoice of the model by balanced\n"), "{shown}");
    assert!(shown.contains("\nSearch that found no other model: Choice"), "{shown}");
    assert_eq!(row(&shown, "held by"), "held by provider");
}

#[test]
fn no_line_is_too_wide_and_none_is_json() {
    for state in [established(), refused(), State::default()] {
        let shown = shown(&state);
        assert!(!shown.contains("{\"") && !shown.contains("[\""), "{shown}");
        for line in shown.lines() {
            assert!(line.chars().count() <= WIDTH, "{} columns: {line}", line.chars().count());
        }
    }
}

#[test]
fn what_a_server_sends_cannot_drive_the_terminal() {
    let mut state = established();
    state.binding.as_mut().unwrap().provider_name = "P\u{1b}[2J".into();
    assert!(!shown(&state).contains('\u{1b}'));
}

#[test]
fn a_share_out_of_range_breaks_no_bar() {
    for share in [-1.0, 2.0, f64::NAN] {
        assert_eq!(bar(share).chars().count(), 20);
    }
}
