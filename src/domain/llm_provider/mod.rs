//! An LLM provider: its wire, its models with their prices, its limits, how it is.
//!
//! State machine: `(nothing) --RegisterLlmProvider--> registered --DeregisterLlmProvider--> deregistered (final)`;
//! a model is `added`, then `changed` any number of times, then `retired`, and may be added again; health moves beside
//! it (`unknown`, `active`, `degraded`, `offline`).
//!
//! A model has two sets of figures: what its provider declares, and what calls show ([`ModelStatistics`]); they are kept
//! apart, and a choice goes by the second where it is there. A model can be *down* while its provider is not: couplings
//! that use it move to the next, and are not moved back when it is up again; those that had no other come back to it.
//!
//! Invariants: a key is named by its environment variable and never held; an unknown price is absent, not zero
//! (unknown is not free); prices are exact: micro-dollars per million tokens.

mod check;
mod decide;
mod evolve;
mod measured;
mod react;
#[cfg(test)]
mod tests;
mod view;

pub use check::is_key_name;
pub use measured::*;

use super::common::{Health, Modality};
use crate::domain::{Aggregate, Context, Decider, Decision, Envelope, EventMeta, Lookup, Micros, Reaction, Rejection, StreamId, Text, World};
use crate::records;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most models of one provider.
pub const MODELS_MAX: usize = 10_000;
/// Stands for the time until which a provider with a model that is down is open.
pub const OPEN_WITHOUT_END: Micros = 0;
/// Longest `model_id`, in bytes.
pub const MODEL_ID_BYTES_MAX: usize = 256;

/// The aggregate.
pub struct LlmProvider;

records! { pub enum Command in "llm_provider" {
    RegisterLlmProvider, ReviseLlmProvider, PutModels, RetireModels, SetLlmProviderLimits, ReportLlmProviderHealth,
    DeregisterLlmProvider, ReportModelStatistics, ReportModelHealth,
} }

records! {
pub enum Event in "llm_provider" {
    LlmProviderRegistered, LlmProviderRevised, ModelsAdded, ModelChanged, ModelRetired, LlmProviderLimitsSet,
    LlmProviderHealthChanged, LlmProviderDeregistered, ModelStatisticsChanged, ModelHealthChanged,
} }

/// The protocol that the provider's endpoint speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WireProtocol {
    #[default]
    Openai,
    Anthropic,
    Gemini,
    Bedrock,
    AzureOpenai,
}

names! { WireProtocol:
    Openai "openai",
    Anthropic "anthropic",
    Gemini "gemini",
    Bedrock "bedrock",
    AzureOpenai "azure_openai",
}

/// One model as its provider offers it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// As the provider's API names it; may contain `/`.
    pub model_id: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub context_tokens: Option<i64>,
    #[serde(default)]
    pub output_tokens_max: Option<i64>,
    /// Micro-dollars per million input tokens ($3 is 3000000).
    #[serde(default)]
    pub input_micro_usd_per_million: Option<i64>,
    #[serde(default)]
    pub output_micro_usd_per_million: Option<i64>,
    #[serde(default)]
    pub cached_input_micro_usd_per_million: Option<i64>,
    /// Of input that is written to the provider's cache. Absent: as the rest of the input.
    #[serde(default)]
    pub cache_write_micro_usd_per_million: Option<i64>,
    /// Of calls that the provider charges as a batch. Absent: as any other call.
    #[serde(default)]
    pub batch_input_micro_usd_per_million: Option<i64>,
    #[serde(default)]
    pub batch_output_micro_usd_per_million: Option<i64>,
    /// When the prices were taken from their source. It stays while they stay.
    #[serde(default)]
    pub priced_at: Option<Micros>,
    /// Where they were taken from, such as `models.dev`.
    #[serde(default)]
    pub price_source: Option<String>,
    /// A set: kept sorted, each once. Empty when unknown.
    #[serde(default)]
    pub input_modalities: Vec<Modality>,
    #[serde(default)]
    pub output_modalities: Vec<Modality>,
    #[serde(default)]
    pub tool_calling: Option<bool>,
    #[serde(default)]
    pub structured_output: Option<bool>,
    /// Median time to a whole answer, milliseconds.
    #[serde(default)]
    pub latency_ms_p50: Option<i64>,
    /// 0..1, from whatever evaluation the tenant trusts.
    #[serde(default)]
    pub quality: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterLlmProvider {
    pub name: String,
    #[serde(default)]
    pub wire_protocol: WireProtocol,
    /// Base URL; absent where the protocol has a well-known one.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The *name* of the environment variable that holds the key.
    #[serde(default)]
    pub api_key_env: Option<String>,
    /// The models, where they are known at registration. An empty list says nothing about them.
    #[serde(default)]
    pub models: Vec<Model>,
    /// Above 0; absent means unlimited.
    #[serde(default)]
    pub requests_per_minute: Option<i64>,
    #[serde(default)]
    pub tokens_per_minute: Option<i64>,
}

/// Absent fields stay as they are; an empty `endpoint` or `api_key_env` removes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReviseLlmProvider {
    pub name: Option<String>,
    pub wire_protocol: Option<WireProtocol>,
    pub endpoint: Option<String>,
    pub api_key_env: Option<String>,
}

/// Adds the models that are new and changes those that differ; others stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutModels {
    pub models: Vec<Model>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetireModels {
    pub model_ids: Vec<String>,
    #[serde(default)]
    pub reason: String,
}

/// Both limits, each above 0; absent means unlimited.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SetLlmProviderLimits {
    pub requests_per_minute: Option<i64>,
    pub tokens_per_minute: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportLlmProviderHealth {
    pub health: Health,
    #[serde(default)]
    pub reason: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeregisterLlmProvider {
    pub reason: String,
}

/// What registration and revision leave a provider with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Access {
    pub name: String,
    pub wire_protocol: WireProtocol,
    pub endpoint: Option<String>,
    pub api_key_env: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LlmProviderRegistered {
    pub access: Access,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LlmProviderRevised {
    pub access: Access,
}

/// Models that were not there before, sorted by `model_id`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelsAdded {
    pub models: Vec<Model>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelChanged {
    pub before: Model,
    pub after: Model,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelRetired {
    pub model_id: String,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LlmProviderLimitsSet {
    pub requests_per_minute: Option<i64>,
    pub tokens_per_minute: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LlmProviderHealthChanged {
    pub before: Health,
    pub after: Health,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LlmProviderDeregistered {
    pub reason: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    #[default]
    Absent,
    Registered,
    Deregistered,
}

names! { Status: Absent "absent", Registered "registered", Deregistered "deregistered" }

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub status: Status,
    pub health: Health,
    pub access: Access,
    /// Sorted by `model_id`; retired ones are gone from it.
    pub models: Vec<Model>,
    pub requests_per_minute: Option<i64>,
    pub tokens_per_minute: Option<i64>,
    /// Of the last transition of health, or of the deregistration.
    pub reason: String,
    /// What calls show, by `model_id`; of models that are there.
    pub measured: BTreeMap<String, ModelStatistics>,
    /// Of models that are there and were ever down.
    pub conditions: BTreeMap<String, ModelCondition>,
}

impl Decider for LlmProvider {
    const AGGREGATE: Aggregate = Aggregate::LlmProvider;
    type Command = Command;
    type Event = Event;
    type State = State;

    fn lookups(state: &State, command: &Command, envelope: &Envelope) -> Vec<Lookup> {
        decide::lookups(state, command, envelope)
    }

    fn decide(state: &State, command: &Command, context: &Context<'_>) -> Result<Decision<Event>, Rejection> {
        decide::decide(state, command, context)
    }

    fn evolve(state: &mut State, event: &Event, meta: &EventMeta) {
        evolve::evolve(state, event, meta);
    }

    fn is_terminal(state: &State) -> bool {
        evolve::is_terminal(state)
    }

    fn status(state: &State) -> &'static str {
        view::status(state)
    }

    fn depends_on(state: &State, stream: &StreamId) -> Vec<StreamId> {
        react::depends_on(state, stream)
    }

    /// A provider with a model that is down is open without an end: it hangs on the anchor of the first hour there is, so
    /// that whoever can say that the model is up again finds it, also after a restart of everything.
    fn open_until(state: &State) -> Option<Micros> {
        let is_down = |condition: &ModelCondition| condition.health == ModelHealth::Down;
        let is_open = state.status == Status::Registered && state.conditions.values().any(is_down);
        is_open.then_some(OPEN_WITHOUT_END)
    }

    fn react(event: &Event, state: &State, meta: &EventMeta, world: &World) -> Vec<Reaction> {
        react::react(event, state, meta, world)
    }

    fn view(state: &State) -> serde_json::Map<String, serde_json::Value> {
        view::view(state)
    }

    const FILTERS: &'static [&'static str] = view::FILTERS;
    const VERBATIM: &'static [&'static str] = view::VERBATIM;

    fn facet(state: &State, filter: &str) -> Vec<String> {
        view::facet(state, filter)
    }

    fn choices(filter: &str) -> Vec<&'static str> {
        view::choices(filter)
    }

    fn texts(state: &State) -> Vec<Text<'_>> {
        view::texts(state)
    }
}
