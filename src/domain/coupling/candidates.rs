//! The choice of a model: every model of every visible provider is held against the rules, those that pass are scored
//! and ranked, the best is bound and the next ones become its fallbacks.
//!
//! Ranking by objective; whatever the objective does not decide is decided by fit, price, provider and model id, so that
//! the same catalogue always gives the same order:
//!
//! | objective | first key |
//! |-----------|-----------|
//! | cost      | lowest known blended price |
//! | latency   | lowest known median latency, measured where it was, else declared |
//! | quality   | highest known quality: the mean of 5 or more ratings, else declared |
//! | balanced  | fit: the weighted mean of the model and cost parts, 0.5 when both are unknown |
//!
//! A call that fails must be made again, so the reliability (1 − error rate, where it is known) counts in each of them:
//! price and latency are divided by it, quality and fit are multiplied.
//!
//! A model of which the key is unknown comes after those of which it is known. Skills and domains play no part in the
//! order: they are the same for every model, so a better matching agent never gets a worse model.
//!
//! One pass over the catalogue borrows from it; only what the assessment keeps is copied.

use super::records::*;
use super::rules::Rules;
use super::sight::Sight;
use super::{ModelRef, Objective, score};
use crate::domain::StreamId;
use crate::domain::common::Requirements;
use crate::domain::llm_provider::{self, Figures, Model};
use std::cmp::Ordering;
use uuid::Uuid;

/// A provider that the tenant may use.
pub struct Visible<'a> {
    pub stream: StreamId,
    pub version: u64,
    pub state: &'a llm_provider::State,
}

/// What a coupling moves away from: a provider, or one model of it.
#[derive(Clone, Copy)]
pub struct Away<'a> {
    pub provider_id: Uuid,
    pub model_id: Option<&'a str>,
}

impl Away<'_> {
    /// Whether it names this model (or all of its provider's).
    pub fn names(&self, provider_id: Uuid, model: &Model) -> bool {
        self.provider_id == provider_id && self.model_id.is_none_or(|id| id == model.model_id)
    }
}

/// What is asked of the choice.
#[derive(Clone, Copy)]
pub struct Wish<'a> {
    /// The request that the coupling began with.
    pub request: &'a Request,
    /// The one model that will do.
    pub pin: Option<&'a ModelRef>,
    pub away: Option<Away<'a>>,
}

/// What a choice came to.
pub struct Found {
    pub assessment: Assessment,
    /// The model to use; absent exactly when `reasons` is not empty.
    pub binding: Option<Binding>,
    /// Why there is none.
    pub reasons: Vec<Reason>,
}

/// Chooses a model.
pub fn search(sight: &Sight<'_>, wish: Wish<'_>) -> Found {
    let requirements = requirements(sight, wish.request);
    let rules = Rules {
        requirements: &requirements,
        capabilities: &wish.request.required_capabilities,
        allowed_providers: sight.project().and_then(|(_, project)| project.allowed_llm_providers.as_deref()),
        away: wish.away,
        now: sight.now,
    };
    let (parts, skill_matches) = pair_parts(sight);
    let mut ranking = Ranking::new(&parts);
    for provider in sight.providers.iter().filter(|it| wish.pin.is_none_or(|pin| pin.provider_id == it.stream.id)) {
        let bar = rules.bar_provider(provider);
        let wanted = |model: &&Model| wish.pin.is_none_or(|pin| pin.model_id == model.model_id);
        for model in provider.state.models.iter().filter(wanted) {
            match bar.or_else(|| rules.bar_model(provider, model)) {
                Some(reason) => ranking.reject(reason, provider, model),
                None => ranking.accept(&rules, provider, model),
            }
        }
    }
    ranking.sort(wish.request.objective);
    let assessment = ranking.assessment(sight, &rules, wish.request, skill_matches);
    let reasons = reasons(&assessment, wish.pin);
    let binding = ranking.best().filter(|_| reasons.is_empty()).map(|best| Binding {
        model: best.reference(),
        provider_name: best.provider.state.access.name.clone(),
        provider_tenant_id: best.provider.stream.tenant.0,
        pinned: wish.pin.is_some(),
        fallbacks: fallbacks(&assessment),
        score: best.score,
    });
    Found { assessment, binding, reasons }
}

/// The agent's requirements, with the lower of its and the request's budget.
fn requirements(sight: &Sight<'_>, request: &Request) -> Requirements {
    let mut requirements = sight.agent.map(|(_, state)| state.profile.requirements.clone()).unwrap_or_default();
    let budgets = [requirements.cost_per_1k_tokens_micro_usd_max, request.cost_per_1k_tokens_micro_usd_max];
    requirements.cost_per_1k_tokens_micro_usd_max = budgets.into_iter().flatten().min();
    requirements
}

/// The parts that depend on agent and server alone.
fn pair_parts(sight: &Sight<'_>) -> (Parts, Vec<SkillMatch>) {
    let (skills, domains) = sight.agent.map(|(_, it)| (&*it.profile.skills, &*it.profile.domains)).unwrap_or_default();
    let server = sight.server.map(|(.., state)| state);
    let tools = server.filter(|it| it.tools_known).map(|it| &*it.tools).unwrap_or_default();
    let (skills, matches) = score::skills(skills, tools);
    let domains = score::domains(domains, server.map(|it| &*it.listing.category).unwrap_or_default());
    (score::without_model(skills, domains), matches)
}

/// The candidates after the best one that reach the threshold too.
fn fallbacks(assessment: &Assessment) -> Vec<ModelRef> {
    let next = assessment.candidates.iter().skip(1).filter(|it| it.score >= assessment.threshold);
    next.take(FALLBACKS_MAX).map(|it| it.model.clone()).collect()
}

fn reasons(assessment: &Assessment, pin: Option<&ModelRef>) -> Vec<Reason> {
    if let Some(score) = assessment.score {
        // Without the agent or the server there is nothing to score; that they are missing is said elsewhere.
        let pair = assessment.seen.agent_version.is_some() && assessment.seen.mcp_server_version.is_some();
        if score >= assessment.threshold || !pair {
            return Vec::new();
        }
        let why = format!(
            "the score {score} is below the threshold {}; see explain for the parts, give the agent matching skills or \
             domains, or lower the tenant's coupling threshold",
            assessment.threshold
        );
        let reason = Reason::new("score_below_threshold", why);
        return vec![reason.with("score", score).with("threshold", assessment.threshold)];
    }
    let named = |reason: Reason, pin: &ModelRef| {
        vec![reason.with("provider_id", pin.provider_id).with("model_id", &pin.model_id)]
    };
    match (pin, assessment.rejected_examples.first()) {
        (Some(pin), None) => {
            let why = "no provider that this tenant may use offers this model; check provider_id and model_id";
            named(Reason::new("model_not_found", why), pin)
        }
        (Some(pin), Some(rejected)) => {
            let why = format!("the model cannot be used: {}; pin another, or leave the choice open", rejected.detail);
            named(Reason::new("model_not_allowed", why).with("rejected", rejected.reason.name()), pin)
        }
        (None, _) => vec![no_model(assessment)],
    }
}

fn no_model(assessment: &Assessment) -> Reason {
    let seen = assessment.models_seen;
    if seen == 0 {
        let why = "no LLM provider that this tenant may use offers any model; register one and put models into it";
        return Reason::new("no_model", why).with("models_seen", 0);
    }
    let counts: Vec<String> =
        assessment.rejected.iter().map(|it| format!("{} {}", it.count, it.reason.name())).collect();
    let why = format!("none of {seen} models will do ({}); relax what rejects most of them", counts.join(", "));
    let reason = Reason::new("no_model", why).with("models_seen", seen);
    assessment.rejected.iter().fold(reason, |reason, it| reason.with(it.reason.name(), it.count))
}

/// A model that passed, with what it is ranked by.
struct Entry<'a> {
    provider: &'a Visible<'a>,
    model: &'a Model,
    price: Option<f64>,
    figures: Figures,
    /// 1 where it is not known.
    reliability: f64,
    model_part: Part,
    cost_part: Part,
    fit: f64,
    score: f64,
}

impl Entry<'_> {
    fn known_reliability(&self) -> Option<f64> {
        self.figures.error_rate.map(|_| self.reliability)
    }

    fn reference(&self) -> ModelRef {
        ModelRef { provider_id: self.provider.stream.id, model_id: self.model.model_id.clone() }
    }

    fn id(&self) -> (Uuid, &str) {
        (self.provider.stream.id, &self.model.model_id)
    }
}

/// The models of one choice, sorted into those that pass and those that do not.
struct Ranking<'a> {
    parts: &'a Parts,
    entries: Vec<Entry<'a>>,
    candidate_count: usize,
    rejected: [(usize, Vec<(&'a Visible<'a>, &'a Model)>); Unfit::ALL.len()],
}

impl<'a> Ranking<'a> {
    fn new(parts: &'a Parts) -> Self {
        Self { parts, entries: Vec::new(), candidate_count: 0, rejected: Default::default() }
    }

    fn accept(&mut self, rules: &Rules<'_>, provider: &'a Visible<'a>, model: &'a Model) {
        let requirements = rules.requirements;
        let price = score::price(model);
        let figures = provider.state.figures(model, rules.now);
        let reliability = score::reliability(figures.error_rate);
        let model_part = score::model(requirements, figures.latency_ms_p50, figures.quality);
        let cost_part = score::cost(requirements.cost_per_1k_tokens_micro_usd_max, price);
        let fit = score::weakened(score::fit(&model_part, &cost_part), reliability);
        let pair = self.parts;
        let score = score::of([pair.skills.value, pair.domains.value, model_part.value, cost_part.value]);
        let score = score::weakened(score, reliability);
        self.candidate_count += 1;
        self.entries.push(Entry { provider, model, price, figures, reliability, model_part, cost_part, fit, score });
    }

    fn reject(&mut self, reason: Unfit, provider: &'a Visible<'a>, model: &'a Model) {
        let (count, examples) = &mut self.rejected[reason as usize];
        *count += 1;
        if examples.len() < REJECTED_EXAMPLES_MAX {
            examples.push((provider, model));
        }
    }

    /// Leaves the best [`CANDIDATES_MAX`], in order.
    fn sort(&mut self, objective: Objective) {
        if self.entries.len() > CANDIDATES_MAX {
            self.entries.select_nth_unstable_by(CANDIDATES_MAX, |a, b| order(objective, a, b));
            self.entries.truncate(CANDIDATES_MAX);
        }
        self.entries.sort_unstable_by(|a, b| order(objective, a, b));
    }

    fn best(&self) -> Option<&Entry<'a>> {
        self.entries.first()
    }

    fn assessment(
        &self,
        sight: &Sight<'_>,
        rules: &Rules<'_>,
        request: &Request,
        skill_matches: Vec<SkillMatch>,
    ) -> Assessment {
        let mut parts = self.parts.clone();
        if let Some(best) = self.best() {
            (parts.model, parts.cost) = (best.model_part.clone(), best.cost_part.clone());
        }
        let rejected: usize = self.rejected.iter().map(|(count, _)| count).sum();
        let counted = Unfit::ALL.into_iter().zip(&self.rejected).filter(|(_, (count, _))| *count > 0);
        Assessment {
            seen: seen(sight, self.best().map(|best| best.provider)),
            threshold: sight.threshold(),
            objective: request.objective,
            requirements: rules.requirements.clone(),
            required_capabilities: rules.capabilities.to_vec(),
            parts,
            score: self.best().map(|best| best.score),
            reliability: self.best().and_then(Entry::known_reliability),
            skill_matches,
            models_seen: (self.candidate_count + rejected) as i64,
            candidate_count: self.candidate_count as i64,
            candidates: self.entries.iter().map(candidate).collect(),
            rejected: counted.map(|(reason, (count, _))| RejectedCount { reason, count: *count as i64 }).collect(),
            rejected_examples: self.examples(rules),
        }
    }

    /// Taken in turn from every reason, so that a frequent one does not hide a rare one.
    fn examples(&self, rules: &Rules<'_>) -> Vec<RejectedModel> {
        let turns =
            (0..REJECTED_EXAMPLES_MAX).flat_map(|turn| Unfit::ALL.into_iter().map(move |reason| (turn, reason)));
        let mut picked: Vec<_> = turns
            .filter_map(|(turn, reason)| Some((reason, turn, self.rejected[reason as usize].1.get(turn)?)))
            .take(REJECTED_EXAMPLES_MAX)
            .collect();
        picked.sort_unstable_by_key(|(reason, turn, _)| (*reason, *turn));
        let named = picked.into_iter().map(|(reason, _, (provider, model))| RejectedModel {
            model: ModelRef { provider_id: provider.stream.id, model_id: model.model_id.clone() },
            reason,
            detail: rules.detail(reason, provider, model),
        });
        named.collect()
    }
}

fn candidate(entry: &Entry<'_>) -> Candidate {
    Candidate {
        model: entry.reference(),
        provider_name: entry.provider.state.access.name.clone(),
        micro_usd_per_1k_tokens: entry.price,
        latency_ms_p50: entry.figures.latency_ms_p50,
        quality: entry.figures.quality,
        model_part: entry.model_part.value,
        cost_part: entry.cost_part.value,
        score: entry.score,
        latency_is_measured: entry.figures.latency_is_measured,
        quality_is_measured: entry.figures.quality_is_measured,
        error_rate: entry.figures.error_rate,
        calls: entry.figures.calls,
    }
}

fn seen(sight: &Sight<'_>, provider: Option<&Visible<'_>>) -> SeenVersions {
    SeenVersions {
        tenant_version: sight.tenant.map(|(version, _)| version as i64),
        agent_version: sight.agent.map(|(version, _)| version as i64),
        mcp_server_tenant_id: sight.server.map(|(home, ..)| home.0),
        mcp_server_version: sight.server.map(|(_, version, _)| version as i64),
        llm_provider_id: provider.map(|it| it.stream.id),
        llm_provider_tenant_id: provider.map(|it| it.stream.tenant.0),
        llm_provider_version: provider.map(|it| it.version as i64),
    }
}

fn order(objective: Objective, a: &Entry<'_>, b: &Entry<'_>) -> Ordering {
    let price = |entry: &Entry<'_>| entry.price.map(|it| it / entry.reliability);
    let latency = |entry: &Entry<'_>| entry.figures.latency_ms_p50.map(|it| it as f64 / entry.reliability);
    let quality = |entry: &Entry<'_>| entry.figures.quality.map(|it| -it * entry.reliability);
    let by_objective = match objective {
        Objective::Cost => known_first(price(a), price(b)),
        Objective::Latency => known_first(latency(a), latency(b)),
        Objective::Quality => known_first(quality(a), quality(b)),
        Objective::Balanced => Ordering::Equal,
    };
    let by_fit = by_objective.then_with(|| b.fit.total_cmp(&a.fit));
    by_fit.then_with(|| known_first(price(a), price(b))).then_with(|| a.id().cmp(&b.id()))
}

/// Lowest first, the unknown last.
fn known_first(a: Option<f64>, b: Option<f64>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (known, other) => other.is_some().cmp(&known.is_some()),
    }
}
