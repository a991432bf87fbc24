//! What an interactive caller hands in, and what it gets.

use crate::domain::Rejection;
use crate::domain::llm_request::{ModelChoice, Usage};
use crate::ports::llm::{Complaint, Head};
use crate::ports::topic::Accepted;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A request whose caller waits for the answer.
#[derive(Clone, Debug)]
pub struct Submit {
    /// A `SubmitRequest` to a stream whose log this process owns. It becomes durable with the first attempt.
    pub command: Arc<Accepted>,
    /// What is asked of the model, whatever the command keeps of it.
    pub payload: Bytes,
}

/// Why a request was not taken. Nothing is recorded of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSubmitted {
    #[error("too many requests are waiting; try again in {} s", retry_after.as_secs())]
    Full { retry_after: Duration },
    #[error("this process does not own the log of this request; send it to one that does, or try again")]
    NotOwned,
    #[error("the command is no SubmitRequest of an LLM request that names a model; send one")]
    NoRequest,
    #[error("this request is being carried out already; wait for it")]
    Repeated,
    #[error("this process is stopping; send the request to another one")]
    Stopping,
}

/// A piece of an answer.
#[derive(Clone, Debug)]
pub enum Piece {
    /// The model answers. Of an answer in one piece it comes right before the end.
    Begun(Box<Begun>),
    /// The JSON of one chunk, as it came.
    Chunk(Bytes),
    /// Nothing follows.
    End(Box<Ended>),
}

#[derive(Clone, Debug)]
pub struct Begun {
    pub model: ModelChoice,
    pub attempt: i64,
    /// What the provider said beside the content.
    pub head: Head,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub struct Ended {
    pub how: How,
    /// How many attempts were made.
    pub attempts: i64,
    /// The answer, where it is in one piece.
    pub body: Option<Bytes>,
    /// Of the last call.
    pub usage: Option<Usage>,
    pub is_usage_estimated: bool,
    /// Exact, in pico-dollars; `None` where usage or price is not known.
    pub cost_pico_usd: Option<i64>,
    /// Whether the log, or at least its topic, has what is told here.
    pub is_recorded: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    Completed,
    Failed(Failure),
    /// The log refused the request.
    Refused(Rejection),
    /// The deadline passed; with what the last attempt came to, where one failed.
    Expired(Option<Box<Failure>>),
    /// Somebody cancelled it, or ended it otherwise.
    Ended,
    /// The log went to another process before a call was made. It is not known whether it has the request where
    /// `is_unknown`; repeated under its own id it is carried out at most once more.
    NotTaken {
        is_unknown: bool,
    },
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// As in the events: `rate_limited`, `breaker_open`, `prompt_gone`, …
    pub code: String,
    /// For people; it holds neither prompt nor answer.
    pub message: String,
    /// The HTTP status that says the same.
    pub status: u16,
    /// The provider's own words, for whoever sent the request.
    pub complaint: Option<Complaint>,
    pub retry_after: Option<Duration>,
}

impl Failure {
    pub(super) fn new(code: &str, message: impl Into<String>, status: u16) -> Self {
        Self { code: code.into(), message: message.into(), status, complaint: None, retry_after: None }
    }
}

/// An answer as it comes in. To drop it is to hang up: the call is dropped too, and recorded with what it cost.
pub struct Reply {
    pub(super) pieces: mpsc::Receiver<Piece>,
    pub(super) _leaving: Leaving,
}

impl Reply {
    /// The next piece; `None` after the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<Piece> {
        self.pieces.recv().await
    }
}

/// Tells the engine that its caller has gone.
pub(super) struct Leaving(pub Option<Box<dyn FnOnce() + Send + Sync>>);

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(leave) = self.0.take() {
            leave();
        }
    }
}
