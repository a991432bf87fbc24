//! What a model must meet before it is scored at all.
//!
//! A fact that breaks a requirement rejects the model. What is *not known* rejects it where the coupling could not work
//! without it (a capability, a modality other than text, the context window), and is let pass where the score can say
//! so (price, latency, quality). Latency and quality are what was measured, where anything was; see `Figures`.

use super::candidates::{Away, Visible};
use super::records::Unfit;
use super::{Capability, score};
use crate::domain::Micros;
use crate::domain::checks::because;
use crate::domain::common::{Health, Modality, Requirements};
use crate::domain::llm_provider::{ERROR_RATE_MAX, Model, Status};
use uuid::Uuid;

/// The rules of one choice.
pub struct Rules<'a> {
    /// The agent's, with the lower of its and the request's budget.
    pub requirements: &'a Requirements,
    pub capabilities: &'a [Capability],
    /// The project's list; `None` allows all.
    pub allowed_providers: Option<&'a [Uuid]>,
    pub away: Option<Away<'a>>,
    /// When the decision is recorded: what was measured too long ago does not count.
    pub now: Micros,
}

impl Rules<'_> {
    /// The first rule that the provider breaks for all of its models.
    pub fn bar_provider(&self, provider: &Visible<'_>) -> Option<Unfit> {
        let id = provider.stream.id;
        if self.away.is_some_and(|away| away.provider_id == id && away.model_id.is_none()) {
            Some(Unfit::MovedAway)
        } else if provider.state.status != Status::Registered {
            Some(Unfit::ProviderDeregistered)
        } else if self.allowed_providers.is_some_and(|allowed| !allowed.contains(&id)) {
            Some(Unfit::ProviderNotAllowed)
        } else if provider.state.health == Health::Offline {
            Some(Unfit::ProviderOffline)
        } else {
            None
        }
    }

    /// The first rule that a model of an allowed provider breaks.
    pub fn bar_model(&self, provider: &Visible<'_>, model: &Model) -> Option<Unfit> {
        let needs = self.requirements;
        if self.away.is_some_and(|away| away.names(provider.stream.id, model)) {
            return Some(Unfit::MovedAway);
        }
        if provider.state.is_down(&model.model_id) {
            return Some(Unfit::ModelDown);
        }
        let figures = provider.state.figures(model, self.now);
        if figures.error_rate.is_some_and(|rate| rate > ERROR_RATE_MAX) {
            return Some(Unfit::Unreliable);
        }
        if !self.capabilities.iter().all(|capability| can(model, *capability)) {
            return Some(Unfit::CapabilityMissing);
        }
        if !needs.modalities.iter().all(|modality| takes(model, *modality)) {
            return Some(Unfit::ModalityMissing);
        }
        match (needs.context_tokens_min, model.context_tokens) {
            (Some(least), None) if least > 0 => return Some(Unfit::ContextUnknown),
            (Some(least), Some(is)) if is < least => return Some(Unfit::ContextTooSmall),
            _ => {}
        }
        if exceeds(score::price(model), needs.cost_per_1k_tokens_micro_usd_max.map(|most| most as f64)) {
            return Some(Unfit::OverBudget);
        }
        if exceeds(figures.latency_ms_p50, needs.latency_ms_max) {
            return Some(Unfit::TooSlow);
        }
        exceeds(needs.quality_min, figures.quality).then_some(Unfit::QualityTooLow)
    }

    /// The facts behind a rejection, in words.
    pub fn detail(&self, reason: Unfit, provider: &Visible<'_>, model: &Model) -> String {
        let needs = self.requirements;
        let figures = provider.state.figures(model, self.now);
        match reason {
            Unfit::MovedAway => "the coupling is moving away from it".into(),
            Unfit::ProviderDeregistered => "the provider is deregistered".into(),
            Unfit::ProviderNotAllowed => "the provider is not on the project's list".into(),
            Unfit::ProviderOffline => format!("{} is offline", provider.state.access.name),
            Unfit::ModelDown => {
                let reason = provider.state.conditions.get(&model.model_id).map(|it| it.reason.as_str());
                because("calls to it have failed for a while", reason.unwrap_or_default())
            }
            Unfit::Unreliable => format!(
                "{} of its last {} calls failed, at most {ERROR_RATE_MAX} may",
                score::round6(figures.error_rate.unwrap_or_default()),
                figures.calls
            ),
            Unfit::CapabilityMissing => {
                let missing = self.capabilities.iter().filter(|capability| !can(model, **capability));
                format!("not known to have: {}", missing.map(|it| it.name()).collect::<Vec<_>>().join(", "))
            }
            Unfit::ModalityMissing => {
                let missing = needs.modalities.iter().filter(|modality| !takes(model, **modality));
                let names = missing.map(|it| format!("{it:?}").to_lowercase());
                format!("not known to take: {}", names.collect::<Vec<_>>().join(", "))
            }
            Unfit::ContextUnknown => {
                format!("context unknown, {} tokens needed", needs.context_tokens_min.unwrap_or_default())
            }
            Unfit::ContextTooSmall => format!(
                "{} tokens of context, {} needed",
                model.context_tokens.unwrap_or_default(),
                needs.context_tokens_min.unwrap_or_default()
            ),
            Unfit::OverBudget => format!(
                "{} micro-dollars per 1,000 tokens, budget {}",
                score::round6(score::price(model).unwrap_or_default()),
                needs.cost_per_1k_tokens_micro_usd_max.unwrap_or_default()
            ),
            Unfit::TooSlow => format!(
                "{} ms median{}, at most {} wanted",
                figures.latency_ms_p50.unwrap_or_default(),
                if figures.latency_is_measured { " measured" } else { "" },
                needs.latency_ms_max.unwrap_or_default()
            ),
            Unfit::QualityTooLow => format!(
                "quality {}{}, at least {} wanted",
                figures.quality.unwrap_or_default(),
                if figures.quality_is_measured { " as rated" } else { "" },
                needs.quality_min.unwrap_or_default()
            ),
        }
    }
}

/// Both known, and the first above the second.
fn exceeds<T: PartialOrd>(value: Option<T>, limit: Option<T>) -> bool {
    matches!((value, limit), (Some(value), Some(limit)) if value > limit)
}

/// Known to be able to.
fn can(model: &Model, capability: Capability) -> bool {
    match capability {
        Capability::ToolCalling => model.tool_calling == Some(true),
        Capability::StructuredOutput => model.structured_output == Some(true),
        Capability::ImageInput => takes(model, Modality::Image),
        Capability::AudioInput => takes(model, Modality::Audio),
        Capability::VideoInput => takes(model, Modality::Video),
        Capability::FileInput => takes(model, Modality::File),
    }
}

/// A model that lists no input modalities takes text: every language model does.
fn takes(model: &Model, modality: Modality) -> bool {
    model.input_modalities.contains(&modality) || (modality == Modality::Text && model.input_modalities.is_empty())
}

impl Unfit {
    /// In the order in which the rules are tried.
    pub const ALL: [Unfit; 13] = [
        Self::MovedAway,
        Self::ProviderDeregistered,
        Self::ProviderNotAllowed,
        Self::ProviderOffline,
        Self::ModelDown,
        Self::Unreliable,
        Self::CapabilityMissing,
        Self::ModalityMissing,
        Self::ContextUnknown,
        Self::ContextTooSmall,
        Self::OverBudget,
        Self::TooSlow,
        Self::QualityTooLow,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::MovedAway => "moved_away",
            Self::ProviderDeregistered => "provider_deregistered",
            Self::ProviderNotAllowed => "provider_not_allowed",
            Self::ProviderOffline => "provider_offline",
            Self::ModelDown => "model_down",
            Self::Unreliable => "unreliable",
            Self::CapabilityMissing => "capability_missing",
            Self::ModalityMissing => "modality_missing",
            Self::ContextUnknown => "context_unknown",
            Self::ContextTooSmall => "context_too_small",
            Self::OverBudget => "over_budget",
            Self::TooSlow => "too_slow",
            Self::QualityTooLow => "quality_too_low",
        }
    }

    /// For people.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::MovedAway => "the coupling is moving away from this model or provider",
            Self::ProviderDeregistered => "the provider is no longer registered",
            Self::ProviderNotAllowed => "the agent's project does not allow the provider",
            Self::ProviderOffline => "the provider is offline",
            Self::ModelDown => "calls to the model have failed for a while",
            Self::Unreliable => "too many of the model's last calls failed",
            Self::CapabilityMissing => "the model is not known to have a required capability",
            Self::ModalityMissing => "the model is not known to take a required kind of input",
            Self::ContextUnknown => "a context size is required and the model's is not known",
            Self::ContextTooSmall => "the model's context is smaller than required",
            Self::OverBudget => "the model's known price is above the budget",
            Self::TooSlow => "the model's known latency is above the limit",
            Self::QualityTooLow => "the model's known quality is below the least acceptable",
        }
    }
}
