//! The compatibility score of an agent, an MCP server and a model: this text is its specification.
//!
//! ```text
//! score = reliability × Σ weight × part / Σ weight        over the parts that are known; 0.5 for their mean when none is
//! reliability = 1 − error rate of the model's last calls; 1 when it is not known
//! ```
//!
//! | part    | weight | value, 0..1 | unknown when |
//! |---------|--------|-------------|--------------|
//! | skills  | 0.35 | 1 − Π (1 − 0.75 × share) over the agent's distinct skills; *share*: the part of the skill's words that the name and description of the best-fitting tool contain | the agent lists no skills, or the server no tools |
//! | domains | 0.25 | the best of the agent's domains against the server's category: words in common / words in either; 1 when they are the same | the agent has no domains, or the server no category |
//! | model   | 0.20 | mean of what is required and known. Speed: 1 − latency / (2 × limit). Quality: 0.5 at the least acceptable, rising to 1 at 1 | neither is required, or the model says neither |
//! | cost    | 0.20 | 1 − price / (2 × budget) | there is no budget, or no known price |
//!
//! So one skill that matches in full gives 0.75, two 0.9375, three 0.984375; and a model exactly at its limit of latency,
//! quality or price gives 0.5, which is "just acceptable" (one beyond the limit is not scored but rejected, see `rules`).
//!
//! Speed and quality are those that calls and users' ratings show, where they show any, else as declared. The reliability
//! is known from 20 calls on; it multiplies the whole, so a model of which nothing is known is not put behind one that is
//! known to work, and no other part can make up for calls that come to nothing. An error rate above 0.5 is not scored but
//! rejected.
//!
//! *Words* are runs of letters and digits, lower-cased, a plural ending dropped, stop words left out. The *price* is
//! blended 3 input : 1 output, `(3 × input + output) / 4`, in micro-dollars per 1,000 tokens; it is known when both are.
//!
//! **A matching skill never lowers the score.** More matches raise the part; and where at least one skill matches but
//! the part would still pull the score below what it is without the part (an agent that lists no skills would score
//! higher), the part leaves the formula. What an agent can do with a server's tools is never held against it.
//!
//! Parts and score are rounded to 6 decimals, the score from the rounded parts, so that anyone can check it by hand.
//! The order of skills, domains, tools and models is irrelevant.

use super::records::{Part, Parts, SKILL_MATCHES_MAX, SkillMatch, Unknown};
use super::words::{each_word, label_words};
use crate::domain::common::Requirements;
use crate::domain::llm_provider::Model;
use crate::domain::mcp_server::DigestedTool;
use std::collections::{BTreeMap, HashMap};

/// Weights when all four parts are known; they add up to 1.
pub const WEIGHT_SKILLS: f64 = 0.35;
pub const WEIGHT_DOMAINS: f64 = 0.25;
pub const WEIGHT_MODEL: f64 = 0.20;
pub const WEIGHT_COST: f64 = 0.20;
/// What one skill that matches in full is worth.
pub const SKILL_WORTH: f64 = 0.75;
/// The score when no part is known.
pub const ALL_UNKNOWN: f64 = 0.5;

/// The words of the formula, for people.
pub const FORMULA: &str = "score = sum of weight x part / sum of weights, over the parts that are known; 0.5 when none \
    is; times the reliability of the model, 1 - error rate, where that is known. A skills part with a match in it is left \
    out where it would lower the score.";

/// To 6 decimals.
pub fn round6(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

impl Part {
    fn known(weight: f64, value: f64) -> Self {
        Self { value: Some(round6(value)), weight, unknown: None }
    }

    fn unknown(weight: f64, why: Unknown) -> Self {
        Self { value: None, weight, unknown: Some(why) }
    }
}

/// The skills part, and its best matches (at most [`SKILL_MATCHES_MAX`], best first, then by skill).
pub fn skills(skills: &[String], tools: &[DigestedTool]) -> (Part, Vec<SkillMatch>) {
    if skills.is_empty() {
        return (Part::unknown(WEIGHT_SKILLS, Unknown::NoSkills), Vec::new());
    }
    if tools.is_empty() {
        return (Part::unknown(WEIGHT_SKILLS, Unknown::NoTools), Vec::new());
    }
    let mut matches = best_matches(skills, tools);
    // Multiplied in sorted order: floating point must not let the order of the input show.
    matches.sort_by(|a, b| b.share.total_cmp(&a.share).then_with(|| a.skill.cmp(&b.skill)));
    let missed: f64 = matches.iter().map(|found| 1.0 - SKILL_WORTH * found.share).product();
    matches.truncate(SKILL_MATCHES_MAX);
    for found in &mut matches {
        found.share = round6(found.share);
    }
    (Part::known(WEIGHT_SKILLS, 1.0 - missed), matches)
}

/// For every distinct skill that some tool matches: the best tool (the first by name of equals) and its share. Linear in
/// the tools' text, plus tools × words of skills.
fn best_matches(skills: &[String], tools: &[DigestedTool]) -> Vec<SkillMatch> {
    let mut distinct: BTreeMap<Vec<String>, &str> = BTreeMap::new();
    for skill in skills {
        let words = label_words(skill);
        if !words.is_empty() {
            let name = distinct.entry(words).or_insert(skill);
            *name = (*name).min(skill.as_str());
        }
    }
    let mut ids: HashMap<&str, usize> = HashMap::new();
    for word in distinct.keys().flatten() {
        let next = ids.len();
        ids.entry(word).or_insert(next);
    }
    let wanted: Vec<(&str, Vec<usize>)> =
        distinct.iter().map(|(words, name)| (*name, words.iter().map(|word| ids[word.as_str()]).collect())).collect();
    let mut best: Vec<(f64, &str)> = vec![(0.0, ""); wanted.len()];
    let mut said = vec![false; ids.len()];
    for tool in tools {
        said.fill(false);
        for text in [&tool.name, &tool.description] {
            each_word(text, true, |word| {
                if let Some(id) = ids.get(word) {
                    said[*id] = true;
                }
            });
        }
        for ((_, words), best) in wanted.iter().zip(&mut best) {
            let share = words.iter().filter(|id| said[**id]).count() as f64 / words.len() as f64;
            if share > best.0 || (share > 0.0 && share == best.0 && tool.name.as_str() < best.1) {
                *best = (share, &tool.name);
            }
        }
    }
    let found = wanted.iter().zip(best).filter(|(_, (share, _))| *share > 0.0);
    found.map(|((skill, _), (share, tool))| SkillMatch { skill: (*skill).into(), tool: tool.into(), share }).collect()
}

/// The domains part.
pub fn domains(domains: &[String], category: &str) -> Part {
    if domains.is_empty() {
        return Part::unknown(WEIGHT_DOMAINS, Unknown::NoDomains);
    }
    let category = category.trim();
    if category.is_empty() {
        return Part::unknown(WEIGHT_DOMAINS, Unknown::NoCategory);
    }
    let words = label_words(category);
    let best = domains.iter().map(|domain| overlap(domain, category, &words)).fold(0.0, f64::max);
    Part::known(WEIGHT_DOMAINS, best)
}

fn overlap(domain: &str, category: &str, category_words: &[String]) -> f64 {
    if domain.trim().to_lowercase() == category.to_lowercase() {
        return 1.0;
    }
    let words = label_words(domain);
    let both = words.iter().filter(|word| category_words.binary_search(word).is_ok()).count();
    if both == 0 { 0.0 } else { both as f64 / (words.len() + category_words.len() - both) as f64 }
}

/// The model part: how far the model stays within the required latency and above the required quality.
pub fn model(requirements: &Requirements, latency_ms_p50: Option<i64>, quality: Option<f64>) -> Part {
    if requirements.latency_ms_max.is_none() && requirements.quality_min.is_none() {
        return Part::unknown(WEIGHT_MODEL, Unknown::NothingRequired);
    }
    let speed =
        requirements.latency_ms_max.zip(latency_ms_p50).map(|(most, is)| headroom(is as f64, most as f64));
    let quality = requirements.quality_min.zip(quality).map(|(least, is)| surplus(is, least));
    match (speed, quality) {
        (Some(speed), Some(quality)) => Part::known(WEIGHT_MODEL, f64::midpoint(speed, quality)),
        (Some(one), None) | (None, Some(one)) => Part::known(WEIGHT_MODEL, one),
        (None, None) => Part::unknown(WEIGHT_MODEL, Unknown::NotMeasured),
    }
}

/// The cost part. `budget` and `price`: micro-dollars per 1,000 tokens.
pub fn cost(budget: Option<i64>, price: Option<f64>) -> Part {
    let Some(budget) = budget else { return Part::unknown(WEIGHT_COST, Unknown::NoBudget) };
    let Some(price) = price else { return Part::unknown(WEIGHT_COST, Unknown::NoPrice) };
    Part::known(WEIGHT_COST, headroom(price, budget as f64))
}

/// Blended price of a model, micro-dollars per 1,000 tokens: three tokens in for one out. Unknown is not free.
pub fn price(model: &Model) -> Option<f64> {
    let (input, output) = model.input_micro_usd_per_million.zip(model.output_micro_usd_per_million)?;
    Some((3.0 * input as f64 + output as f64) / 4.0 / 1000.0)
}

/// 1 at nothing, 0.5 at the limit, 0 from twice the limit on.
fn headroom(value: f64, limit: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    if limit <= 0.0 {
        return 0.0;
    }
    (1.0 - value / (2.0 * limit)).max(0.0)
}

/// 0.5 at the least acceptable, 1 at 1, 0 at 0.
fn surplus(value: f64, least: f64) -> f64 {
    if value >= 1.0 {
        1.0
    } else if value >= least {
        0.5 + 0.5 * (value - least) / (1.0 - least)
    } else {
        0.5 * value / least
    }
}

/// What a model's error rate leaves of its score: 0..1, 1 where it is not known.
pub fn reliability(error_rate: Option<f64>) -> f64 {
    round6(1.0 - error_rate.unwrap_or_default())
}

/// A score, or a fit, of a model of this reliability.
pub fn weakened(score: f64, reliability: f64) -> f64 {
    round6(score * reliability)
}

/// The parts with nothing known of the model yet.
pub fn without_model(skills: Part, domains: Part) -> Parts {
    let model = Part::unknown(WEIGHT_MODEL, Unknown::NoModel);
    Parts { skills, domains, model, cost: Part::unknown(WEIGHT_COST, Unknown::NoModel) }
}

/// The score of four parts in the order skills, domains, model, cost: 0..1.
pub fn of(values: [Option<f64>; 4]) -> f64 {
    total(&[
        (WEIGHT_SKILLS, values[0]),
        (WEIGHT_DOMAINS, values[1]),
        (WEIGHT_MODEL, values[2]),
        (WEIGHT_COST, values[3]),
    ])
}

fn total(parts: &[(f64, Option<f64>); 4]) -> f64 {
    let with = mean(parts);
    if matches!(parts[0].1, Some(skills) if skills > 0.0) { with.max(mean(&parts[1..])) } else { with }
}

impl Parts {
    /// In the order of the formula.
    pub fn all(&self) -> [&Part; 4] {
        [&self.skills, &self.domains, &self.model, &self.cost]
    }

    /// The weights as they count after renormalisation, in the order of the formula: 0 for a part that is unknown or
    /// left out; they add up to 1, or to 0 when no part counts. They follow the recorded weights, so that an old
    /// event is explained by the formula of its time.
    pub fn weights_used(&self) -> [f64; 4] {
        let mut parts = self.all().map(|part| (part.weight, part.value));
        if total(&parts) > mean(&parts) {
            parts[0].1 = None;
        }
        let sum: f64 = parts.iter().filter(|(_, value)| value.is_some()).map(|(weight, _)| weight).sum();
        parts.map(|(weight, value)| if value.is_some() { weight / sum } else { 0.0 })
    }
}

/// How well the model and its price fit, skills and domains aside: what `balanced` ranks by.
pub fn fit(model: &Part, cost: &Part) -> f64 {
    mean(&[(model.weight, model.value), (cost.weight, cost.value)])
}

fn mean(parts: &[(f64, Option<f64>)]) -> f64 {
    let known = || parts.iter().filter_map(|(weight, value)| Some((*weight, (*value)?)));
    let total: f64 = known().map(|(weight, _)| weight).sum();
    if total > 0.0 { round6(known().map(|(weight, value)| weight * value).sum::<f64>() / total) } else { ALL_UNKNOWN }
}
