//! The answer to "why?": everything that a coupling's decision saw and weighed, with the formula in words, so that a
//! person can check the score by hand and see what would have to change.

use super::view::{model, status};
use super::*;
use score::round6;
use serde_json::{Value, json};

/// The whole explanation of a coupling, as a JSON object.
///
/// `summary` says it in a sentence or two; `score` holds the formula, the four parts with their weights, what each is
/// worth and why it is unknown, and the sum written out; `choice` the objective, the requirements, the candidates best
/// first and the rejected models by reason; `seen` the versions of the streams that were read; `failed_search` the same
/// for the search that left a coupling without a usable model. Money is micro-dollars per 1,000 tokens, blended
/// 3 input : 1 output. Bounded by the bounds of [`Assessment`].
pub fn explain(state: &State) -> Value {
    let binding = state.binding.as_ref();
    let assessment = state.assessment.as_ref();
    json!({
        "status": status(state),
        "summary": summary(state),
        "agent_id": state.request.agent_id,
        "mcp_server_id": state.request.mcp_server_id,
        "model": binding.map_or(Value::Null, model),
        "pinned": binding.is_some_and(|it| it.pinned),
        "fallbacks": binding.map(|it| it.fallbacks.as_slice()).unwrap_or_default(),
        "holds": state.holds,
        "reason": state.reason,
        "reasons": state.reasons,
        "request": state.request,
        "score": assessment.map_or(Value::Null, scoring),
        "choice": assessment.map_or(Value::Null, |it| choice(it, binding)),
        "seen": assessment.map_or(Value::Null, |it| json!(it.seen)),
        "failed_search": state.failed_search.as_ref().map_or(Value::Null, |it| choice(it, None)),
    })
}

fn summary(state: &State) -> String {
    let because =
        |what: &str| if state.reason.is_empty() { format!("{what}.") } else { format!("{what}: {}.", state.reason) };
    match (state.status, &state.binding) {
        (Status::Absent, _) => "Nothing is recorded of this coupling.".into(),
        (Status::Active, Some(binding)) => format!("Active. {}", in_use(binding, state.assessment.as_ref())),
        (Status::Suspended, Some(binding)) => {
            let holds: Vec<_> = state.holds.iter().map(|hold| hold.name()).collect();
            let held = because(&format!("Suspended by {}", holds.join(" and ")));
            format!("{held} {}", in_use(binding, state.assessment.as_ref()))
        }
        (Status::Refused, _) => {
            let all: Vec<_> =
                state.reasons.iter().map(|reason| format!("{} ({})", reason.message, reason.code)).collect();
            format!("Refused: {}.", all.join("; and "))
        }
        (Status::Ended, _) => because("Ended"),
        (Status::Active | Status::Suspended, None) => "No model is bound.".into(),
    }
}

fn in_use(binding: &Binding, assessment: Option<&Assessment>) -> String {
    let threshold = assessment.map(|it| it.threshold).unwrap_or_default();
    let choice = match assessment {
        _ if binding.pinned => "pinned by command, so it has no fallbacks".to_owned(),
        Some(it) => format!(
            "the best of {} candidates by {}, out of {} models, with {} to fall back on",
            it.candidate_count,
            it.objective.name(),
            it.models_seen,
            binding.fallbacks.len()
        ),
        None => "chosen by objective".to_owned(),
    };
    format!(
        "The model is {} of {}: {choice}. The score is {}, the threshold {threshold}.",
        binding.model.model_id, binding.provider_name, binding.score
    )
}

const PARTS: [(&str, &str, &str); 4] = [
    (
        "skills",
        "Do the agent's skills match the server's tools?",
        "1 - product of (1 - 0.75 x share) over the distinct skills; share: the part of a skill's words found in the name \
         and description of the tool that fits it best",
    ),
    (
        "domains",
        "Is the server's category among the agent's domains?",
        "words in common / words in either, for the best domain; 1 when they are the same",
    ),
    (
        "model",
        "How well does the model keep the required speed and quality?",
        "mean of 1 - latency / (2 x limit) and of the quality, counted from 0.5 at the least acceptable to 1",
    ),
    ("cost", "How far below the budget is its price?", "1 - price / (2 x budget)"),
];

fn scoring(assessment: &Assessment) -> Value {
    let used = assessment.parts.weights_used();
    let parts = assessment.parts.all();
    let rows = PARTS.iter().zip(parts).zip(used).map(|(((name, question, rule), part), used)| {
        json!({
            "part": name,
            "question": question,
            "rule": rule,
            "value": part.value,
            "weight": part.weight,
            "weight_used": round6(used),
            "contribution": part.value.map(|value| round6(used * value)),
            "unknown": part.unknown.map(|why| json!({ "code": why, "meaning": why.meaning() })),
            "left_out": part.value.is_some() && used == 0.0,
        })
    });
    json!({
        "value": assessment.score,
        "threshold": assessment.threshold,
        "formula": score::FORMULA,
        "calculation": calculation(assessment, &parts, used),
        "parts": rows.collect::<Vec<_>>(),
        "reliability": assessment.reliability,
        "skill_matches": assessment.skill_matches,
    })
}

/// The sum written out.
fn calculation(assessment: &Assessment, parts: &[&Part; 4], used: [f64; 4]) -> String {
    let Some(score) = assessment.score else { return "no model met the rules, so there is no score".into() };
    let counted = PARTS.iter().zip(parts).zip(used).filter(|(_, used)| *used > 0.0);
    let terms =
        counted.filter_map(|(((name, ..), part), used)| Some(format!("{} x {} ({name})", round6(used), part.value?)));
    let sum = terms.collect::<Vec<_>>().join(" + ");
    match (sum.is_empty(), assessment.reliability.filter(|it| *it < 1.0)) {
        (true, None) => format!("no part is known, which counts as {score}"),
        (false, None) => format!("{sum} = {score}"),
        (true, Some(reliability)) => {
            format!("no part is known, which counts as {}; x {reliability} (reliability) = {score}", score::ALL_UNKNOWN)
        }
        (false, Some(reliability)) => format!("({sum}) x {reliability} (reliability) = {score}"),
    }
}

fn choice(assessment: &Assessment, binding: Option<&Binding>) -> Value {
    let candidates = assessment.candidates.iter().enumerate().map(|(place, it)| {
        json!({
            "rank": place + 1,
            "role": role(&it.model, binding),
            "provider_id": it.model.provider_id,
            "provider": it.provider_name,
            "model_id": it.model.model_id,
            "micro_usd_per_1k_tokens": it.micro_usd_per_1k_tokens,
            "latency_ms_p50": it.latency_ms_p50,
            "latency_is_measured": it.latency_is_measured,
            "quality": it.quality,
            "quality_is_measured": it.quality_is_measured,
            "error_rate": it.error_rate,
            "calls": it.calls,
            "model_part": it.model_part,
            "cost_part": it.cost_part,
            "score": it.score,
            "reaches_threshold": it.score >= assessment.threshold,
        })
    });
    let rejected = assessment.rejected.iter().map(|it| {
        let examples = assessment.rejected_examples.iter().filter(|example| example.reason == it.reason);
        let examples = examples.map(|example| {
            json!({
                "provider_id": example.model.provider_id,
                "model_id": example.model.model_id,
                "detail": example.detail,
            })
        });
        json!({
            "reason": it.reason,
            "meaning": it.reason.meaning(),
            "count": it.count,
            "examples": examples.collect::<Vec<_>>(),
        })
    });
    json!({
        "objective": assessment.objective,
        "ranking": assessment.objective.ranking(),
        "requirements": assessment.requirements,
        "required_capabilities": assessment.required_capabilities,
        "models_seen": assessment.models_seen,
        "candidate_count": assessment.candidate_count,
        "candidates": candidates.collect::<Vec<_>>(),
        "rejected": rejected.collect::<Vec<_>>(),
    })
}

fn role(model: &ModelRef, binding: Option<&Binding>) -> Value {
    let Some(binding) = binding else { return Value::Null };
    if binding.model == *model {
        return json!("in use");
    }
    let place = binding.fallbacks.iter().position(|fallback| fallback == model);
    place.map_or(Value::Null, |place| json!(format!("fallback {}", place + 1)))
}

impl Objective {
    /// For people.
    fn ranking(self) -> &'static str {
        match self {
            Self::Cost => "lowest known price first (divided by the reliability), then best fit",
            Self::Latency => {
                "lowest known latency first (divided by the reliability), then best fit, then lowest price"
            }
            Self::Quality => {
                "highest known quality first (times the reliability), then best fit, then lowest price"
            }
            Self::Balanced => {
                "best fit first (the weighted mean of the model and cost parts, times the reliability), then lowest price"
            }
        }
    }
}

impl Unknown {
    /// For people.
    fn meaning(self) -> &'static str {
        match self {
            Self::NoSkills => "the agent lists no skills",
            Self::NoTools => "the server's tools are not known",
            Self::NoDomains => "the agent has no domains",
            Self::NoCategory => "the server has no category",
            Self::NothingRequired => "neither speed nor quality is required",
            Self::NotMeasured => "the model's provider says nothing about what is required",
            Self::NoBudget => "neither the agent nor the request sets a budget",
            Self::NoPrice => "the model's price is not known",
            Self::NoModel => "no model met the rules",
        }
    }
}
