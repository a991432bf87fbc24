//! What a coupling's commands ask for, what its events record, and what an assessment saw.
//!
//! The field order of every struct is the order of its Avro record: change both or neither.

use super::{Capability, Hold, ModelRef, Objective};
use crate::domain::Rejection;
use crate::domain::common::Requirements;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Most fallbacks of a coupling.
pub const FALLBACKS_MAX: usize = 8;
/// Most candidates that an assessment writes down, best first; the rest is counted.
pub const CANDIDATES_MAX: usize = 16;
/// Most rejected models that an assessment names; the rest is counted, by reason.
pub const REJECTED_EXAMPLES_MAX: usize = 32;
/// Most matches between a skill and a tool that an assessment names.
pub const SKILL_MATCHES_MAX: usize = 16;

/// What was asked for, normalised: capabilities sorted, each once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Request {
    pub agent_id: Uuid,
    pub mcp_server_id: Uuid,
    /// The pinned model; absent where the choice is left to the objective.
    pub model: Option<ModelRef>,
    pub objective: Objective,
    /// The request's own budget, micro-dollars per 1,000 tokens, blended 3 input : 1 output.
    pub cost_per_1k_tokens_micro_usd_max: Option<i64>,
    pub required_capabilities: Vec<Capability>,
}

/// The model in use and what comes after it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Binding {
    pub model: ModelRef,
    /// The provider's name at the time.
    pub provider_name: String,
    /// Where the provider was found: the coupling's own tenant, or the shared catalogue (nil).
    pub provider_tenant_id: Uuid,
    /// Whether the model was named by a command. A pinned coupling has no fallbacks and never moves on its own.
    pub pinned: bool,
    /// At most [`FALLBACKS_MAX`], best first, never the model in use.
    pub fallbacks: Vec<ModelRef>,
    /// 0..1, rounded to 6 decimals.
    pub score: f64,
}

/// One machine-readable cause of a refusal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    pub code: String,
    pub message: String,
    pub details: BTreeMap<String, String>,
}

impl Reason {
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), details: BTreeMap::new() }
    }

    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.details.insert(key.into(), value.to_string());
        self
    }
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Self { code: reason.code, message: reason.message, details: reason.details }
    }
}

/// Which versions of which streams a decision saw. Absent: there was nothing to see.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SeenVersions {
    pub tenant_version: Option<i64>,
    pub agent_version: Option<i64>,
    /// The coupling's own tenant, or the shared catalogue (nil).
    pub mcp_server_tenant_id: Option<Uuid>,
    pub mcp_server_version: Option<i64>,
    /// Of the best candidate's provider.
    pub llm_provider_id: Option<Uuid>,
    pub llm_provider_tenant_id: Option<Uuid>,
    pub llm_provider_version: Option<i64>,
}

/// Why a part of the score cannot be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    NoSkills,
    NoTools,
    NoDomains,
    NoCategory,
    NothingRequired,
    NotMeasured,
    NoBudget,
    NoPrice,
    NoModel,
}

/// One part of the score.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// 0..1, rounded to 6 decimals; absent when unknown.
    pub value: Option<f64>,
    /// The part's weight when all four are known.
    pub weight: f64,
    pub unknown: Option<Unknown>,
}

/// The four parts of the score.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Parts {
    pub skills: Part,
    pub domains: Part,
    pub model: Part,
    pub cost: Part,
}

/// A skill of the agent and the tool that fits it best.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SkillMatch {
    pub skill: String,
    pub tool: String,
    /// 0..1: the part of the skill's words that the tool's name and description contain.
    pub share: f64,
}

/// A model that meets every rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub model: ModelRef,
    pub provider_name: String,
    /// Blended price, (3 x input + output) / 4, micro-dollars per 1,000 tokens.
    pub micro_usd_per_1k_tokens: Option<f64>,
    pub latency_ms_p50: Option<i64>,
    pub quality: Option<f64>,
    pub model_part: Option<f64>,
    pub cost_part: Option<f64>,
    /// The whole score that the coupling has with this model, 0..1.
    pub score: f64,
    /// Whether the latency was measured, or is as declared.
    pub latency_is_measured: bool,
    /// Whether the quality is what users rated, or is as declared.
    pub quality_is_measured: bool,
    /// 0..1, of the calls below; absent where too few calls tell, or too long ago.
    pub error_rate: Option<f64>,
    pub calls: i64,
}

/// The rule that a model breaks: the first one, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unfit {
    MovedAway,
    ProviderDeregistered,
    ProviderNotAllowed,
    ProviderOffline,
    ModelDown,
    Unreliable,
    CapabilityMissing,
    ModalityMissing,
    ContextUnknown,
    ContextTooSmall,
    OverBudget,
    TooSlow,
    QualityTooLow,
}

/// How many models broke one rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RejectedCount {
    pub reason: Unfit,
    pub count: i64,
}

/// A model that broke a rule, with the facts in words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RejectedModel {
    pub model: ModelRef,
    pub reason: Unfit,
    pub detail: String,
}

/// All that one choice of a model saw and weighed. Every model seen is either a candidate or counted as rejected; the
/// size is bounded whatever the catalogue's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    pub seen: SeenVersions,
    /// Least score that the tenant accepts.
    pub threshold: f64,
    pub objective: Objective,
    /// What was asked of the model: the agent's requirements, with the lower of its and the request's budget.
    pub requirements: Requirements,
    pub required_capabilities: Vec<Capability>,
    /// Of the best candidate.
    pub parts: Parts,
    /// Of the best candidate, 0..1; absent when there is none.
    pub score: Option<f64>,
    /// Of the best candidate: what its parts are multiplied by, 1 − error rate; absent where that is not known.
    pub reliability: Option<f64>,
    /// At most [`SKILL_MATCHES_MAX`], best first.
    pub skill_matches: Vec<SkillMatch>,
    pub models_seen: i64,
    pub candidate_count: i64,
    /// At most [`CANDIDATES_MAX`], best first.
    pub candidates: Vec<Candidate>,
    pub rejected: Vec<RejectedCount>,
    /// At most [`REJECTED_EXAMPLES_MAX`], spread over the reasons.
    pub rejected_examples: Vec<RejectedModel>,
}

/// The coupling is active.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CouplingEstablished {
    pub request: Request,
    /// Where the server was found: the coupling's own tenant, or the shared catalogue (nil).
    pub mcp_server_tenant_id: Uuid,
    pub binding: Binding,
    pub assessment: Assessment,
}

/// The request was refused; a new command may try again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CouplingRefused {
    pub request: Request,
    /// All that apply, at least one.
    pub reasons: Vec<Reason>,
    pub assessment: Assessment,
}

/// The coupling's model, or what comes after it, changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CouplingRebound {
    pub model_before: ModelRef,
    pub binding: Binding,
    pub reason: String,
    pub assessment: Assessment,
}

/// A hold was added: the coupling is suspended while it has any.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CouplingSuspended {
    pub hold: Hold,
    pub reason: String,
    /// The search that found no model, where that is the cause.
    pub assessment: Option<Assessment>,
}

/// A hold was lifted; the coupling is active again when it was the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CouplingResumed {
    pub hold: Hold,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CouplingEnded {
    pub reason: String,
}
