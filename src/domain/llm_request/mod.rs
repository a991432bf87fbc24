//! One request to an LLM: what is asked, which models may answer, every attempt, what it came to and what it cost.
//!
//! State machine:
//!
//! ```text
//! (nothing) --SubmitRequest--> submitted --StartAttempt--> started --CompleteRequest--> completed (ended)
//!                              started --EndAttempt--> started --StartAttempt--> started   (the next attempt)
//!                              started --AddAnswerPart--> started       (of an answer that is large)
//!                              started --LoseAttempt--> started         (its worker is gone for certain)
//!                              submitted | started --FailRequest | ExpireRequest | CancelRequest-->
//!                                                                        failed | expired | cancelled (ended)
//!                              completed --RateAnswer--> completed        (by each rater one rating, the last)
//! ```
//!
//! Invariants: attempts are numbered 1, 2, 3 …, and at most one of them is open within its lease; a request ends once,
//! and an ended one stays as it ended; a call is counted once, whatever is reported of it again; the totals are the sums
//! over all calls: failed, completed and extra ones.
//!
//! **Paid twice.** An attempt that is still open when its lease and [`LEASE_MARGIN_MS`] have run out is *lost*, and so is
//! one whose worker is gone for certain (embedded: the folder's lock says so): the call was made or was not, and nobody
//! knows. The next attempt may then pay for a second call. That is bounded by [`ATTEMPTS_MAX`], seen in the events
//! (`AttemptLost`, `previous_lost`, `open_attempt`) and counted (`lost_attempts`). When the lost
//! worker comes back, its call is an `ExtraCallRecorded`: usage and cost count, the answer is dropped.
//!
//! **What is kept.** With `storage` full the payload is in `RequestSubmitted` and the answer in `RequestCompleted`, or,
//! where it is too large for one record, in the `AnswerPartAdded` of its attempt before it; with hashed only their SHA-256 is, with none not even that, and then only the node that holds the payload in memory can
//! carry the request out: such a request is interactive. The state drops the payload when the request ends and never
//! holds the answer: heads are read whole, and the history has both.
//!
//! **Costs are exact.** Prices are micro-dollars per million tokens, so price times tokens is pico-dollars (1e-12) without
//! rounding. With at most [`TOKENS_MAX`] tokens in and as many out at [`PRICE_MICRO_USD_PER_MILLION_MAX`], a call costs at
//! most 4e17 of them ($400,000), and [`ATTEMPTS_MAX`] calls 6.4e18, which an `i64` (9.2e18) holds. The cost is computed
//! where it is decided, from usage and price; no command names one, so the two cannot differ.

mod attempts;
mod check;
mod decide;
mod evolve;
mod parts;
pub mod payload;
mod rating;
mod records;
mod submit;
#[cfg(test)]
mod tests;
mod usage;
mod view;

pub use parts::{
    ANSWER_BYTES_MAX, ANSWER_PART_BYTES_MAX, ANSWER_WHOLE_BYTES_MAX, AddAnswerPart, AnswerPartAdded, AnswerParts,
};
pub use rating::{MILLION, RATERS_MAX, Rating};
pub use records::*;
pub use submit::prompt_not_stored;
pub use usage::{COST_PICO_USD_MAX, PRICE_MICRO_USD_PER_MILLION_MAX, Price, TOKENS_MAX, Usage, usd, usd_of_many};

use crate::domain::{
    Aggregate, Context, Decider, Decision, Envelope, EventMeta, Lookup, Micros, Reaction, Rejection, StreamId, World,
};
use crate::records;
use serde::{Deserialize, Serialize};

/// Most attempts of one request: what bounds the calls that it can pay for. A choice and its fallbacks are 9 at most.
pub const ATTEMPTS_MAX: i64 = 16;
/// How long after a lease's end its attempt still counts as open, in milliseconds: the worker gives up by its own
/// monotonic clock, and `now` is the clock of whoever decides, so this covers what two synchronised clocks may differ by.
pub const LEASE_MARGIN_MS: i64 = 5_000;
/// Longest lease, in milliseconds: a request whose worker died waits this long at most.
pub const LEASE_MS_MAX: i64 = 3_600_000;
/// Farthest deadline, in milliseconds from the submission.
pub const DEADLINE_MS_MAX: i64 = 7 * 24 * 3_600_000;
/// Most models of a request: a choice and a coupling's fallbacks.
pub const MODELS_MAX: usize = 9;

/// The aggregate.
pub struct LlmRequest;

records! { pub enum Command in "llm_request" {
    SubmitRequest, StartAttempt, EndAttempt, CompleteRequest, FailRequest, ExpireRequest, CancelRequest,
    RateAnswer, AddAnswerPart, LoseAttempt,
} }

records! { pub enum Event in "llm_request" {
    RequestSubmitted, AttemptStarted, AttemptFailed, RequestCompleted, RequestFailed, RequestExpired, RequestCancelled,
    ExtraCallRecorded, AnswerRated, AnswerPartAdded, AttemptLost,
} }

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    #[default]
    Absent,
    Submitted,
    Started,
    Completed,
    Failed,
    Expired,
    Cancelled,
}

names! { Status:
    Absent "absent",
    Submitted "submitted",
    Started "started",
    Completed "completed",
    Failed "failed",
    Expired "expired",
    Cancelled "cancelled",
}

/// How an attempt stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttemptEnd {
    /// Under way, as far as is known. Only the last attempt can be.
    #[default]
    Open,
    Failed,
    Completed,
    /// Nothing was heard of it within its lease; its call may have been made.
    Lost,
    /// Its call was reported when it could not count as the request's any more.
    Extra,
}

/// One attempt, as the state keeps it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// From 1.
    pub attempt: i64,
    pub worker: String,
    pub model: ModelChoice,
    pub started_at: Micros,
    pub lease_until: Micros,
    pub tokens_reserved: i64,
    pub cost_estimated_pico_usd: i64,
    pub end: AttemptEnd,
    /// Why it failed.
    pub error: String,
}

/// Sums over all calls of a request that were reported.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    pub usage: Usage,
    pub cost_pico_usd: i64,
    /// Calls that were or may have been paid and of which the cost is not known, those of lost attempts with them.
    pub calls_of_unknown_cost: i64,
    /// What those were estimated to cost.
    pub unknown_cost_pico_usd: i64,
    /// Whether the usage of one of them was estimated, its provider having reported none.
    pub is_usage_estimated: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub status: Status,
    /// As submitted. Its payload is dropped when the request ends.
    pub request: Submission,
    pub submitted_at: Micros,
    /// In their order: attempt n is at n - 1.
    pub attempts: Vec<Attempt>,
    /// Attempts that were declared lost, also those that were heard of afterwards.
    pub lost_attempts: i64,
    /// Calls that were reported too late to count as the request's.
    pub extra_calls: i64,
    pub totals: Totals,
    /// Whether the history has the payload.
    pub has_payload: bool,
    /// Of the last attempt's answer, where it is given in parts.
    pub parts: AnswerParts,
    /// Of the completion.
    pub answer: Option<AnswerFacts>,
    /// Code of the failure that ended the request.
    pub error: String,
    /// What a failure or a cancellation said.
    pub reason: String,
    /// One of each rater, in the order in which they first rated.
    pub ratings: Vec<Rating>,
}

/// What is known of an answer without having it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AnswerFacts {
    /// Whether the history has the answer.
    pub is_stored: bool,
    pub sha256: Option<String>,
    pub bytes: i64,
    pub finish_reason: Option<String>,
    pub latency_ms: i64,
    pub first_byte_ms: Option<i64>,
}

impl State {
    /// Submitted and not ended.
    pub fn is_running(&self) -> bool {
        matches!(self.status, Status::Submitted | Status::Started)
    }

    /// The attempt that is under way, as far as is known.
    pub fn open(&self) -> Option<&Attempt> {
        self.attempts.last().filter(|attempt| attempt.end == AttemptEnd::Open)
    }

    /// An attempt by its number.
    pub fn attempt(&self, number: i64) -> Option<&Attempt> {
        self.attempts.get(usize::try_from(number.checked_sub(1)?).ok()?)
    }

    /// The model of the last attempt; before the first one, the first choice.
    pub fn model(&self) -> Option<&ModelChoice> {
        self.attempts.last().map(|attempt| &attempt.model).or_else(|| self.request.models.first())
    }
}

impl Decider for LlmRequest {
    const AGGREGATE: Aggregate = Aggregate::LlmRequest;
    type Command = Command;
    type Event = Event;
    type State = State;

    fn lookups(_state: &State, command: &Command, envelope: &Envelope) -> Vec<Lookup> {
        decide::lookups(command, envelope)
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
        view::depends_on(state, stream)
    }

    /// A request that is running is open until its deadline: whoever claims its log carries it out, or expires it.
    fn open_until(state: &State) -> Option<Micros> {
        state.is_running().then_some(state.request.deadline_at)
    }

    /// The workers watch the events; nothing else follows from them.
    fn may_react(_event: &Event) -> bool {
        false
    }

    fn react(_event: &Event, _state: &State, _meta: &EventMeta, _world: &World) -> Vec<Reaction> {
        Vec::new()
    }

    fn view(state: &State) -> serde_json::Map<String, serde_json::Value> {
        view::view(state)
    }

    const SEARCHED: bool = false;
    const FILTERS: &'static [&'static str] = view::FILTERS;
    const VERBATIM: &'static [&'static str] = view::VERBATIM;

    fn facet(state: &State, filter: &str) -> Vec<String> {
        view::facet(state, filter)
    }

    fn choices(filter: &str) -> Vec<&'static str> {
        view::choices(filter)
    }
}
