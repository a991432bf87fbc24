//! What a request's commands ask for and what its events record.
//!
//! The field order of every struct is the order of its Avro record: change both or neither. Errors and reasons are codes
//! in text, not enums: what can go wrong with a provider grows, and a schema's symbols cannot.

use super::usage::{Price, Usage};
use crate::domain::Micros;
use crate::domain::common::PromptStorage;
use crate::domain::personal::Personal;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What is asked of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    #[default]
    ChatCompletion,
    Embeddings,
}

names! { Operation: ChatCompletion "chat_completion", Embeddings "embeddings" }

/// How urgent a request is, the most urgent first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Somebody waits for the answer.
    Interactive,
    #[default]
    Normal,
    Batch,
}

names! { Priority: Interactive "interactive", Normal "normal", Batch "batch" }

impl Priority {
    /// The deadline of a request that names none, in milliseconds from its submission.
    pub fn deadline_ms_default(self) -> i64 {
        match self {
            Self::Interactive => 600_000,
            Self::Normal => 3_600_000,
            Self::Batch => 24 * 3_600_000,
        }
    }
}

/// A model of a provider, with where the provider is found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelChoice {
    /// The request's own tenant, or the shared catalogue (nil).
    #[serde(default)]
    pub provider_tenant_id: Uuid,
    pub provider_id: Uuid,
    pub model_id: String,
}

/// What a request is, as its events record it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    /// Absent where a caller named a model itself.
    pub coupling_id: Option<Uuid>,
    pub agent_id: Option<Uuid>,
    /// The version of the coupling that chose the models.
    pub coupling_version: Option<i64>,
    pub operation: Operation,
    /// The choice first, then what to fall back on, in order.
    pub models: Vec<ModelChoice>,
    /// OpenAI-style JSON. Absent unless `storage` is full.
    pub payload: Personal,
    /// Lower-case hex. Absent where `storage` is none.
    pub payload_sha256: Option<String>,
    pub payload_bytes: i64,
    pub priority: Priority,
    pub deadline_at: Micros,
    pub storage: PromptStorage,
    pub prompt_tokens_estimated: i64,
    /// What the payload allows the answer to have; absent where it sets no limit.
    pub output_tokens_max: Option<i64>,
    pub stream: bool,
    /// Whether nobody can ask for its answer but the caller that waits for it.
    pub awaited: bool,
    /// Whose usage it counts as, beside its agent's and its tenant's; absent where the agent has no project.
    pub project: Option<String>,
}

/// Submits a request.
///
/// With the payload, its hash, size and estimates are computed and may be left out. Without it (the node that holds it in
/// memory carries it out) they are needed: `payload_bytes`, `prompt_tokens_estimated`, and `payload_sha256` where the
/// hash is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SubmitRequest {
    pub coupling_id: Option<Uuid>,
    pub agent_id: Option<Uuid>,
    pub coupling_version: Option<i64>,
    pub operation: Operation,
    pub models: Vec<ModelChoice>,
    pub payload: Personal,
    pub payload_sha256: Option<String>,
    pub payload_bytes: Option<i64>,
    pub priority: Priority,
    /// Absent: [`Priority::deadline_ms_default`] from the submission.
    pub deadline_at: Option<Micros>,
    /// How little may be stored; the tenant's setting counts where it is stricter.
    pub storage: PromptStorage,
    pub prompt_tokens_estimated: Option<i64>,
    pub output_tokens_max: Option<i64>,
    pub stream: bool,
    /// Whether nobody can ask for its answer but the caller that waits for it.
    pub awaited: bool,
    pub project: Option<String>,
}

impl From<Submission> for SubmitRequest {
    fn from(it: Submission) -> Self {
        Self {
            coupling_id: it.coupling_id,
            agent_id: it.agent_id,
            coupling_version: it.coupling_version,
            operation: it.operation,
            models: it.models,
            payload: it.payload,
            payload_sha256: it.payload_sha256,
            payload_bytes: Some(it.payload_bytes),
            priority: it.priority,
            deadline_at: Some(it.deadline_at),
            storage: it.storage,
            prompt_tokens_estimated: Some(it.prompt_tokens_estimated),
            output_tokens_max: it.output_tokens_max,
            stream: it.stream,
            awaited: it.awaited,
            project: it.project,
        }
    }
}

/// A model that a worker could not use at the time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rejected {
    pub model: ModelChoice,
    /// A code: `breaker_open`, `bulkhead_full`, `over_budget`, `over_limit`, `no_key`, …
    pub reason: String,
}

/// Claims the next attempt before the call is made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartAttempt {
    /// One more than the last.
    pub attempt: i64,
    pub worker: String,
    /// One of the request's.
    pub model: ModelChoice,
    /// By when the worker has given up, whatever the provider does.
    pub lease_until: Micros,
    #[serde(default)]
    pub tokens_reserved: i64,
    /// What the call may cost, as it was estimated: what counts against a budget where nobody learns what it did cost. 0
    /// where prices are not known.
    #[serde(default)]
    pub cost_estimated_pico_usd: i64,
    #[serde(default)]
    pub rejected: Vec<Rejected>,
}

/// An attempt came to nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndAttempt {
    pub attempt: i64,
    /// A code: `timeout`, `connect`, `rate_limited`, `server_error`, `bad_request`, `stream_cut`, `malformed`, …
    pub error: String,
    pub http_status: Option<i64>,
    /// The provider's own code.
    pub provider_code: Option<String>,
    /// Whether bytes of the request reached the provider: if so, the call may be paid.
    pub sent: bool,
    /// Whether bytes of an answer came back.
    pub received: bool,
    pub retry_after_ms: Option<i64>,
    /// Of a call that costs although it failed, as a stream that was cut; no tokens where the provider turned it away,
    /// which costs nothing. A call that was `sent` and has none counts as one of unknown cost.
    pub usage: Option<Usage>,
    /// Whether the usage was estimated, the provider having reported none.
    pub estimated: bool,
    pub price: Option<Price>,
    pub latency_ms: Option<i64>,
    pub provider_request_id: Option<String>,
}

/// The answer is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompleteRequest {
    pub attempt: i64,
    pub usage: Usage,
    pub estimated: bool,
    /// Absent when the price is not known, which is not free.
    pub price: Option<Price>,
    pub latency_ms: i64,
    pub first_byte_ms: Option<i64>,
    pub finish_reason: Option<String>,
    /// OpenAI-style JSON. Stored, hashed or dropped by the request's storage. Leave it out, and give its hash and size
    /// instead, where it is not stored, was given in parts, or is more than the journal takes of one command (refused as
    /// `too_large`, and then not recorded at all).
    pub answer: Personal,
    pub answer_sha256: Option<String>,
    pub answer_bytes: Option<i64>,
    pub provider_request_id: Option<String>,
    /// How many parts the answer was given in before; 0 where it was not.
    pub answer_parts: i64,
}

/// The worker of an attempt is gone for certain: its lease need not be waited out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoseAttempt {
    pub attempt: i64,
}

/// No attempt will be made any more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FailRequest {
    /// A code, as in [`EndAttempt`].
    pub error: String,
    /// For people; never the prompt.
    pub message: String,
}

/// The deadline has passed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExpireRequest {}

/// Nobody wants the answer any more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CancelRequest {
    pub reason: String,
}

/// Says how good the answer was. A rater (the command's actor, or nobody in particular) has one rating: the last one
/// replaces those before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateAnswer {
    /// 0 (useless) to 1 (perfect); counted in millionths.
    pub score: f64,
    /// In the rater's words. Kept where the request's storage is full.
    #[serde(default)]
    pub comment: Personal,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestSubmitted {
    pub request: Submission,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptStarted {
    pub attempt: i64,
    pub worker: String,
    pub model: ModelChoice,
    pub lease_until: Micros,
    pub tokens_reserved: i64,
    /// What counts against a budget where nobody learns what the call did cost.
    pub cost_estimated_pico_usd: i64,
    pub rejected: Vec<Rejected>,
    /// The attempt before it is lost with this: its call may have been made, so this one may be the second that is paid.
    pub previous_lost: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptFailed {
    pub attempt: i64,
    pub error: String,
    pub http_status: Option<i64>,
    pub provider_code: Option<String>,
    pub sent: bool,
    pub received: bool,
    pub retry_after_ms: Option<i64>,
    pub usage: Option<Usage>,
    pub estimated: bool,
    pub price: Option<Price>,
    /// Absent where usage or price is not known.
    pub cost_pico_usd: Option<i64>,
    pub latency_ms: Option<i64>,
    pub provider_request_id: Option<String>,
}

/// Its worker is gone: the call was made or not, and nobody knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptLost {
    pub attempt: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestCompleted {
    pub attempt: i64,
    pub model: ModelChoice,
    pub usage: Usage,
    pub estimated: bool,
    pub price: Option<Price>,
    pub cost_pico_usd: Option<i64>,
    pub latency_ms: i64,
    pub first_byte_ms: Option<i64>,
    pub finish_reason: Option<String>,
    /// Absent unless the request's storage is full, and where it is in parts.
    pub answer: Personal,
    /// Absent where it is none.
    pub answer_sha256: Option<String>,
    pub answer_bytes: i64,
    pub provider_request_id: Option<String>,
    /// How many `AnswerPartAdded` of this attempt are the answer, joined in their order; 0 where it is here, or not kept.
    pub answer_parts: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestFailed {
    pub error: String,
    pub message: String,
    /// How many were made.
    pub attempts: i64,
    /// The attempt that was lost.
    pub open_attempt: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestExpired {
    pub attempts: i64,
    /// The attempt that was lost.
    pub open_attempt: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestCancelled {
    pub reason: String,
    pub attempts: i64,
    /// The attempt under way, of which the call may still be paid.
    pub open_attempt: Option<i64>,
}

/// A call that counts for the cost and not as the request's: reported after the end, or by a lost attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExtraCallRecorded {
    pub attempt: i64,
    pub model: ModelChoice,
    /// Why it failed; absent when it succeeded and its answer was dropped.
    pub error: Option<String>,
    pub usage: Option<Usage>,
    pub estimated: bool,
    pub price: Option<Price>,
    pub cost_pico_usd: Option<i64>,
    pub latency_ms: Option<i64>,
    pub provider_request_id: Option<String>,
}

/// What a rater thinks of the answer now, and what it thought before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerRated {
    /// Who answered.
    pub model: ModelChoice,
    /// The command's actor; absent where it named none.
    pub rater: Option<String>,
    /// The rating that this one replaces.
    pub before_millionths: Option<i64>,
    pub after_millionths: i64,
    /// Absent unless the request's storage is full.
    pub comment: Personal,
}
