//! The formula's values by example, and its promises by property.

use super::fixtures::tool;
use crate::domain::common::Requirements;
use crate::domain::coupling::score::{self, cost, domains, model, of, price, skills};
use crate::domain::coupling::{Part, Unknown};
use crate::domain::llm_provider::Model;
use crate::domain::mcp_server::DigestedTool;
use proptest::prelude::*;

fn labels(all: &[&str]) -> Vec<String> {
    all.iter().map(|label| (*label).to_owned()).collect()
}

fn github() -> Vec<DigestedTool> {
    vec![
        tool("create_issue", "Creates an issue in a GitHub repository"),
        tool("searchCode", "Finds code"),
        tool("run-query", "Runs SQL queries"),
    ]
}

#[test]
fn the_weights_add_up_to_one() {
    assert_eq!(score::WEIGHT_SKILLS + score::WEIGHT_DOMAINS + score::WEIGHT_MODEL + score::WEIGHT_COST, 1.0);
}

#[test]
fn each_matching_skill_is_worth_three_quarters_of_what_is_missing() {
    let value = |all: &[&str]| skills(&labels(all), &github()).0.value;
    assert_eq!(value(&["juggling"]), Some(0.0));
    assert_eq!(value(&["github"]), Some(0.75));
    assert_eq!(value(&["github", "SQL query"]), Some(0.9375));
    assert_eq!(value(&["github", "SQL query", "code search"]), Some(0.984375));
    assert_eq!(value(&["issue triage"]), Some(0.375), "half of its words");
    assert_eq!(value(&["github", "GitHub", "the github"]), Some(0.75), "the same skill in other words counts once");
}

#[test]
fn a_match_names_the_tool_that_fits_best() {
    let (_, matches) = skills(&labels(&["sql query", "issue triage", "juggling"]), &github());
    let found: Vec<_> = matches.iter().map(|it| (it.skill.as_str(), it.tool.as_str(), it.share)).collect();
    assert_eq!(found, [("sql query", "run-query", 1.0), ("issue triage", "create_issue", 0.5)]);
}

#[test]
fn words_of_two_tools_do_not_make_one_match() {
    let (part, _) = skills(&labels(&["code issue"]), &github());
    assert_eq!(part.value, Some(0.375));
}

#[test]
fn parts_are_unknown_for_a_reason() {
    assert_eq!(skills(&[], &github()).0.unknown, Some(Unknown::NoSkills));
    assert_eq!(skills(&labels(&["x"]), &[]).0.unknown, Some(Unknown::NoTools));
    assert_eq!(domains(&[], "data").unknown, Some(Unknown::NoDomains));
    assert_eq!(domains(&labels(&["data"]), " ").unknown, Some(Unknown::NoCategory));
    let any = Requirements::default();
    let fast = Requirements { latency_ms_max: Some(10), ..any.clone() };
    assert_eq!(model(&any, None, None).unknown, Some(Unknown::NothingRequired));
    assert_eq!(model(&fast, None, None).unknown, Some(Unknown::NotMeasured));
    assert_eq!(cost(None, Some(1.0)).unknown, Some(Unknown::NoBudget));
    assert_eq!(cost(Some(1), None).unknown, Some(Unknown::NoPrice));
}

#[test]
fn a_domain_is_held_against_the_category_word_by_word() {
    let value = |all: &[&str], category: &str| domains(&labels(all), category).value;
    assert_eq!(value(&["Developer Tools"], "developer tools"), Some(1.0));
    assert_eq!(value(&["developer-tool"], "Developer Tools"), Some(1.0));
    assert_eq!(value(&["data engineering"], "data"), Some(0.5));
    assert_eq!(value(&["cooking", "data"], "data"), Some(1.0), "the best one counts");
    assert_eq!(value(&["cooking"], "data"), Some(0.0));
    assert_eq!(value(&["&"], "&"), Some(1.0), "the same even without a word in it");
    assert_eq!(value(&["!"], "&"), Some(0.0));
}

#[test]
fn a_model_at_its_limits_is_just_acceptable() {
    let needs = Requirements { latency_ms_max: Some(1_000), quality_min: Some(0.8), ..Default::default() };
    let value = |latency, quality| {
        model(&needs, latency, quality).value.expect("known")
    };
    assert_eq!(value(Some(1_000), Some(0.8)), 0.5);
    assert_eq!(value(Some(0), Some(1.0)), 1.0);
    assert_eq!(value(Some(500), None), 0.75);
    assert_eq!(value(None, Some(0.9)), 0.75);
    assert_eq!(value(Some(500), Some(0.8)), 0.625);
    assert_eq!(cost(Some(1_000), Some(1_000.0)).value, Some(0.5));
    assert_eq!(cost(Some(1_000), Some(0.0)).value, Some(1.0));
    assert_eq!(cost(Some(0), Some(0.0)).value, Some(1.0), "free fits every budget");
    assert_eq!(cost(Some(0), Some(0.1)).value, Some(0.0));
}

#[test]
fn a_price_is_blended_three_to_one_and_known_only_when_both_are() {
    let of = |input, output| {
        let (input_micro_usd_per_million, output_micro_usd_per_million) = (input, output);
        price(&Model { input_micro_usd_per_million, output_micro_usd_per_million, ..Default::default() })
    };
    assert_eq!(of(Some(3_000_000), Some(15_000_000)), Some(6_000.0), "$3 in, $15 out: $6 per million");
    assert_eq!(of(Some(3_000_000), None), None);
    assert_eq!(of(None, Some(0)), None);
    assert_eq!(of(Some(0), Some(0)), Some(0.0));
    assert!(of(Some(i64::MAX), Some(i64::MAX)).expect("known").is_finite());
}

#[test]
fn what_is_unknown_leaves_the_formula() {
    assert_eq!(of([None; 4]), 0.5);
    assert_eq!(of([None, Some(1.0), None, None]), 1.0);
    assert_eq!(of([Some(0.0), Some(1.0), None, None]), 0.416667, "0.25 / 0.6");
    assert_eq!(of([Some(0.9375), Some(1.0), Some(0.7625), Some(0.8)]), 0.890625);
}

#[test]
fn a_match_that_would_lower_the_score_is_left_out() {
    assert_eq!(of([Some(0.3), Some(1.0), None, None]), 1.0, "as without skills, and not 0.591667");
    assert_eq!(of([Some(0.3), None, None, None]), 0.5);
    assert_eq!(of([Some(0.6), Some(0.0), None, None]), 0.35, "one that raises it counts");
}

fn label() -> impl Strategy<Value = String> {
    let words = ["issue", "code", "SQL", "query", "search", "GitHub", "triage", "the", "data", "ship", "queries"];
    prop::collection::vec(prop::sample::select(words.to_vec()), 1..4).prop_map(|words| words.join(" "))
}

fn tools() -> impl Strategy<Value = Vec<DigestedTool>> {
    prop::collection::vec((label(), label()), 1..6)
        .prop_map(|all| all.iter().map(|(name, description)| tool(&name.replace(' ', "_"), description)).collect())
}

fn part() -> impl Strategy<Value = Option<f64>> {
    prop::option::of((0u32..=1_000_000).prop_map(|millionths| f64::from(millionths) / 1e6))
}

fn whole(skills: &Part, rest: [Option<f64>; 3]) -> f64 {
    of([skills.value, rest[0], rest[1], rest[2]])
}

fn is_share(value: f64) -> bool {
    (0.0..=1.0).contains(&value) && (value * 1e6 - (value * 1e6).round()).abs() < 1e-6
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_score_is_a_share_of_one_with_six_decimals(a in part(), b in part(), c in part(), d in part()) {
        let score = of([a, b, c, d]);
        prop_assert!(is_share(score), "{score}");
        prop_assert_eq!(score, of([a, b, c, d]));
    }

    #[test]
    fn every_part_is_a_share_of_one(
        all in prop::collection::vec(label(), 0..6), tools in tools(), category in label(),
        latency in 0i64..5_000, limit in 0i64..5_000, quality in 0.0f64..=1.0, least in 0.0f64..=1.0,
        budget in 0i64..5_000, price in 0.0f64..10_000.0,
    ) {
        let needs = Requirements { latency_ms_max: Some(limit), quality_min: Some(least), ..Default::default() };
        let parts = [
            skills(&all, &tools).0,
            domains(&all, &category),
            model(&needs, Some(latency), Some(quality)),
            cost(Some(budget), Some(price)),
        ];
        for part in parts {
            prop_assert!(part.value.is_none_or(is_share), "{part:?}");
            prop_assert_eq!(part.value.is_none(), part.unknown.is_some());
        }
    }

    /// Adding any skill never lowers the part; adding one that matches never lowers the score, whatever the other
    /// parts are, and even where no skill was there before.
    #[test]
    fn a_matching_skill_never_lowers_the_score(
        mut all in prop::collection::vec(label(), 0..6), more in label(), tools in tools(),
        b in part(), c in part(), d in part(),
    ) {
        let (before, _) = skills(&all, &tools);
        let (alone, _) = skills(std::slice::from_ref(&more), &tools);
        all.push(more);
        let (after, _) = skills(&all, &tools);
        prop_assert!(before.value.is_none_or(|before| after.value >= Some(before)));
        if alone.value > Some(0.0) {
            prop_assert!(whole(&after, [b, c, d]) >= whole(&before, [b, c, d]));
        }
    }

    #[test]
    fn cheaper_faster_and_better_never_lower_the_score(
        a in part(), b in part(), x in 0i64..3_000, y in 0i64..3_000, limit in 0i64..2_000, p in 0.0f64..=1.0, q in 0.0f64..=1.0,
        least in 0.0f64..=1.0,
    ) {
        let (low, high) = (x.min(y), x.max(y));
        let dear = of([a, b, None, cost(Some(limit), Some(high as f64)).value]);
        prop_assert!(of([a, b, None, cost(Some(limit), Some(low as f64)).value]) >= dear);

        let needs = Requirements { latency_ms_max: Some(limit), quality_min: Some(least), ..Default::default() };
        let value = |latency, quality| {
            model(&needs, Some(latency), Some(quality)).value
        };
        prop_assert!(value(low, p.max(q)) >= value(high, p.min(q)));
    }

    #[test]
    fn the_order_of_skills_tools_and_domains_is_irrelevant(
        (all, shuffled) in prop::collection::vec(label(), 1..8).prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        (tools, mixed) in tools().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        category in label(),
    ) {
        prop_assert_eq!(skills(&all, &tools), skills(&shuffled, &mixed));
        prop_assert_eq!(domains(&all, &category), domains(&shuffled, &category));
    }

    /// What explains a score must add up to it.
    #[test]
    fn the_weights_used_give_the_score(a in part(), b in part(), c in part(), d in part()) {
        let part = |value, weight| Part { value, weight, unknown: None };
        let parts = crate::domain::coupling::Parts {
            skills: part(a, 0.35), domains: part(b, 0.25), model: part(c, 0.20), cost: part(d, 0.20),
        };
        let used = parts.weights_used();
        let total: f64 = used.iter().sum();
        if total == 0.0 {
            prop_assert_eq!(of([a, b, c, d]), 0.5);
        } else {
            prop_assert!((total - 1.0).abs() < 1e-9);
            let sum: f64 = used.iter().zip([a, b, c, d]).map(|(weight, value)| weight * value.unwrap_or(0.0)).sum();
            prop_assert!((sum - of([a, b, c, d])).abs() <= 5.1e-7);
        }
    }
}
