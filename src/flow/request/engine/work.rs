//! A request on its way through the engine: what is kept of it while it waits, and what it comes to when it is its turn.

use super::reply::{Failure, Piece, Submit};
use crate::domain::common::PromptStorage;
pub use crate::domain::llm_request::State;
use crate::domain::llm_request::{self, ModelChoice, Operation, Rejected, Submission, SubmitRequest};
use crate::domain::{Aggregate, AnyCommand, AnyState, LogId, Micros, StreamId};
use crate::flow::request::bulkhead::Group;
use crate::flow::request::queue::{Gate, Item};
use crate::ports::index::{Error, Head};
use bytes::Bytes;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// One request, while it waits and while it is carried out.
pub struct Work {
    pub log: LogId,
    /// The claim under which it may be carried out.
    pub generation: u64,
    pub item: Item,
    /// By the wall clock, as the request says it.
    pub deadline_at: Micros,
    pub group: Group,
    pub source: Source,
    /// Attempts that are known to be in the log.
    pub attempts: i64,
    /// Failures of its models, in their order.
    pub failures: Vec<u32>,
    /// Models that are not tried any more.
    pub barred: Vec<Rejected>,
    /// Why the last attempt failed.
    pub last: Option<Failure>,
    /// When it comes again, of one whose end was refused and will be right later.
    pub comes_at: Option<Instant>,
    pub stop: Arc<Stop>,
}

/// A request as it is handed on: a pointer, since it is large.
pub type Boxed = Box<Work>;

/// Where the request is.
pub enum Source {
    /// In its log; the head is held where there is room, or read again.
    Log { head: Option<Arc<Head>>, position: u64 },
    /// With a caller who waits.
    Caller(Box<Caller>),
}

pub struct Caller {
    pub submit: Submit,
    pub request: Arc<Request>,
    pub pieces: mpsc::Sender<Piece>,
    /// Whether the log has it.
    pub is_submitted: bool,
}

/// What is asked.
#[derive(Debug)]
pub struct Request {
    pub operation: Operation,
    pub models: Vec<ModelChoice>,
    pub has_agent: bool,
    pub payload: Option<Bytes>,
    pub deadline_at: Micros,
    pub storage: PromptStorage,
    pub prompt_tokens: i64,
    pub output_tokens_max: Option<i64>,
    pub stream: bool,
}

impl Request {
    /// As its log has it. Nobody reads pieces of it.
    pub fn of(submission: &Submission) -> Self {
        Self {
            operation: submission.operation,
            models: submission.models.clone(),
            has_agent: submission.agent_id.is_some(),
            payload: submission.payload.text().map(|text| Bytes::copy_from_slice(text.as_bytes())),
            deadline_at: submission.deadline_at,
            storage: submission.storage,
            prompt_tokens: submission.prompt_tokens_estimated,
            output_tokens_max: submission.output_tokens_max,
            stream: false,
        }
    }

    /// As a caller hands it in. `storage` is the tenant's setting.
    pub fn submitted(command: &SubmitRequest, payload: Bytes, now: Micros, storage: PromptStorage) -> Self {
        let text = std::str::from_utf8(&payload).ok();
        let facts = text.and_then(|text| llm_request::payload::inspect(command.operation, text).ok());
        let estimated = facts.as_ref().map_or(0, |facts| facts.prompt_tokens_estimated);
        let deadline_ms = command.priority.deadline_ms_default();
        Self {
            operation: command.operation,
            models: command.models.clone(),
            has_agent: command.agent_id.is_some(),
            deadline_at: command.deadline_at.unwrap_or_else(|| now.saturating_add(deadline_ms * 1_000)),
            storage: command.storage.max(storage),
            prompt_tokens: command.prompt_tokens_estimated.unwrap_or(estimated),
            output_tokens_max: command.output_tokens_max.or(facts.and_then(|facts| facts.output_tokens_max)),
            stream: command.stream,
            payload: Some(payload),
        }
    }

    /// Tokens that it is taken to use while nobody knows which model answers.
    pub fn tokens(&self) -> u64 {
        let output = self.output_tokens_max.unwrap_or(OUTPUT_TOKENS);
        self.prompt_tokens.saturating_add(output).max(0).unsigned_abs()
    }
}

/// Tokens that an answer of unknown bound counts for in the queue.
const OUTPUT_TOKENS: i64 = 1_024;

/// The command of a submission, where it is one.
pub fn submission(submit: &Submit) -> Option<&SubmitRequest> {
    let AnyCommand::LlmRequest(command) = &*submit.command.command else { return None };
    match &**command {
        llm_request::Command::SubmitRequest(command) if !command.models.is_empty() => Some(command),
        _ => None,
    }
}

/// The state of a request's head.
///
/// # Errors
/// When it cannot be read.
pub fn state_of(head: &Head) -> Result<State, Error> {
    match head.state_of(Aggregate::LlmRequest)? {
        AnyState::LlmRequest(state) => Ok(*state),
        _ => Err(Error::Damaged("the head of an LLM request holds another kind of state".into())),
    }
}

/// Where a request waits: by the model that it wants first, and the bulkhead that it falls under. Two that meet by chance
/// share a gate, which costs them time alone.
pub fn gate_of(models: &[ModelChoice], group: Group) -> Gate {
    let mut hasher = DefaultHasher::new();
    models.first().hash(&mut hasher);
    group.hash(&mut hasher);
    hasher.finish()
}

impl Work {
    pub fn new(log: LogId, generation: u64, item: Item, deadline_at: Micros, group: Group, source: Source) -> Self {
        Self {
            log,
            generation,
            item,
            deadline_at,
            group,
            source,
            attempts: 0,
            failures: Vec::new(),
            barred: Vec::new(),
            last: None,
            comes_at: None,
            stop: Arc::default(),
        }
    }

    pub fn stream(&self) -> StreamId {
        self.item.stream
    }

    pub fn caller(&self) -> Option<&Caller> {
        match &self.source {
            Source::Caller(caller) => Some(caller),
            Source::Log { .. } => None,
        }
    }

    /// Whether a log has it.
    pub fn is_in_log(&self) -> bool {
        self.caller().is_none_or(|caller| caller.is_submitted)
    }

    /// The models that may be tried, in the order of it: those that failed less first.
    pub fn order(&self, models: &[ModelChoice]) -> Vec<usize> {
        let is_barred = |model: &ModelChoice| self.barred.iter().any(|barred| barred.model == *model);
        let mut order: Vec<_> = (0..models.len()).filter(|index| !is_barred(&models[*index])).collect();
        order.sort_by_key(|index| self.failures_of(*index));
        order
    }

    pub fn failures_of(&self, index: usize) -> u32 {
        self.failures.get(index).copied().unwrap_or(0)
    }

    pub fn count_failure(&mut self, index: usize) {
        self.failures.resize(self.failures.len().max(index + 1), 0);
        self.failures[index] += 1;
    }

    /// Bytes of the head that it holds.
    pub fn held_bytes(&self) -> usize {
        match &self.source {
            Source::Log { head: Some(head), .. } => head.state.len(),
            _ => 0,
        }
    }
}

/// Why somebody who carries out a request must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The request ended otherwise.
    Ended,
    CallerGone,
    /// The caller takes nothing of what it is sent.
    ReaderStalled,
    /// The process stops.
    Stopping,
}

impl Why {
    pub fn code(self) -> &'static str {
        match self {
            Self::Ended => "cancelled",
            Self::CallerGone => "caller_gone",
            Self::ReaderStalled => "reader_stalled",
            Self::Stopping => "worker_stopped",
        }
    }
}

/// Tells whoever carries out a request to stop; the first reason counts.
#[derive(Debug, Default)]
pub struct Stop {
    token: CancellationToken,
    why: OnceLock<Why>,
}

impl Stop {
    pub fn tell(&self, why: Why) {
        let _ = self.why.set(why);
        self.token.cancel();
    }

    pub async fn told(&self) -> Why {
        self.token.cancelled().await;
        self.why.get().copied().unwrap_or(Why::Ended)
    }

    pub fn is_told(&self) -> Option<Why> {
        self.token.is_cancelled().then(|| self.why.get().copied().unwrap_or(Why::Ended))
    }
}

/// A moment of the wall clock, by the monotonic one.
pub fn instant(at: Micros, wall: Micros, now: Instant) -> Instant {
    let left = std::time::Duration::from_micros(at.saturating_sub(wall).max(0).unsigned_abs());
    now.checked_add(left.min(FAR)).unwrap_or(now)
}

/// Beyond any deadline.
const FAR: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3600);
