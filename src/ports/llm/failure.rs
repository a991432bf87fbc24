//! Why a call failed, with all that decides whether and when to try again.

use super::{Head, RateLimits, Usage};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// What a timeout waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Waited {
    /// Reaching the provider.
    Connect,
    FirstByte,
    BetweenChunks,
    /// The whole answer: the call's total, or its deadline.
    Total,
}

impl Waited {
    fn words(self) -> &'static str {
        match self {
            Self::Connect => "a connection",
            Self::FirstByte => "the first byte of the answer",
            Self::BetweenChunks => "the next piece of the answer",
            Self::Total => "the whole answer",
        }
    }
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The provider was not reached.
    Connect,
    Timeout(Waited),
    /// The provider wants fewer requests or tokens per time.
    RateLimited,
    /// The account's allowance is used up; waiting does not bring it back.
    Quota,
    /// The provider, not the account, has too much to do.
    Overloaded,
    /// The provider failed by itself.
    Server,
    /// The key is missing, refused, or may not do this.
    Auth,
    /// No such model, or no such address.
    NotFound,
    BadRequest,
    /// The prompt and the answer do not fit the model's window.
    ContextLength,
    /// The provider will not answer this.
    ContentFilter,
    /// The answer is none: it cannot be parsed, or leads elsewhere.
    Garbage,
    /// The answer is larger than is read: the provider did what it was asked, and another try would bring the same.
    TooLarge,
    /// The connection broke before the answer was complete.
    Cut,
}

impl Kind {
    /// As in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout(Waited::Connect) => "timeout_connect",
            Self::Timeout(Waited::FirstByte) => "timeout_first_byte",
            Self::Timeout(Waited::BetweenChunks) => "timeout_between_chunks",
            Self::Timeout(Waited::Total) => "timeout_total",
            Self::RateLimited => "rate_limited",
            Self::Quota => "quota",
            Self::Overloaded => "overloaded",
            Self::Server => "server",
            Self::Auth => "auth",
            Self::NotFound => "not_found",
            Self::BadRequest => "bad_request",
            Self::ContextLength => "context_length",
            Self::ContentFilter => "content_filter",
            Self::Garbage => "garbage",
            Self::TooLarge => "answer_too_large",
            Self::Cut => "cut",
        }
    }

    /// Whether the same request may go well a little later.
    pub fn retryable(self) -> bool {
        match self {
            Self::Connect | Self::RateLimited | Self::Overloaded | Self::Server | Self::Cut => true,
            // It was made, and is charged: so would be the next.
            Self::Garbage | Self::TooLarge => false,
            // What used up the whole time leaves none for another try.
            Self::Timeout(waited) => waited != Waited::Total,
            Self::Quota | Self::Auth | Self::NotFound => false,
            Self::BadRequest | Self::ContextLength | Self::ContentFilter => false,
        }
    }

    /// Whether the provider said no to the request, rather than failing at it.
    pub fn is_refusal(self) -> bool {
        match self {
            Self::RateLimited | Self::Quota | Self::Overloaded | Self::Auth | Self::NotFound => true,
            Self::BadRequest | Self::ContextLength | Self::ContentFilter => true,
            Self::Connect | Self::Timeout(_) | Self::Server | Self::Garbage | Self::TooLarge | Self::Cut => false,
        }
    }
}

/// How far the call had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// The provider knows nothing of it.
    NotSent,
    /// The provider may have it, and may charge for it.
    Sent,
    /// Content of the answer was received: a second try gives a second answer.
    Receiving,
}

/// An error as OpenAI's API tells it. The message may repeat what the provider was sent: it is for the sender, not for
/// logs, and `Debug` leaves it out.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Complaint {
    pub message: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub param: Option<String>,
    pub code: Option<String>,
}

impl Complaint {
    /// `{"error": {"message", "type", "param", "code"}}`.
    pub fn to_json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Body<'a> {
            error: &'a Complaint,
        }
        serde_json::to_vec(&Body { error: self }).unwrap_or_default()
    }
}

impl fmt::Debug for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, kind, param, code } = self;
        write!(f, "Complaint({kind}, {param:?}, {code:?}, {} bytes of message)", message.len())
    }
}

/// Why a call failed.
#[derive(Clone, Debug)]
pub struct Error {
    pub provider: String,
    pub kind: Kind,
    pub progress: Progress,
    /// With status 0 where the provider gave no answer.
    pub head: Head,
    pub complaint: Complaint,
    /// Why, in words of this program; no word of the provider's.
    pub cause: Option<String>,
    /// What was counted before the failure, where the provider had said it.
    pub usage: Option<Usage>,
}

impl Error {
    /// Whether the same request may go well a little later. Where [`Progress::Receiving`], a caller that has passed on
    /// what it received must not.
    pub fn retryable(&self) -> bool {
        self.kind.retryable()
    }

    /// The provider's status, where it gave one.
    pub fn status(&self) -> Option<u16> {
        (self.head.status != 0).then_some(self.head.status)
    }

    /// The status that says the same to a client: the provider's where it is an error, else the kind's.
    pub fn status_for_client(&self) -> u16 {
        match (self.kind, self.head.status) {
            // The client's own key is fine: it is this fleet's that is not.
            (Kind::Auth, _) => 502,
            (_, status @ 400..) => status,
            (Kind::Timeout(_), _) => 504,
            (Kind::RateLimited | Kind::Quota, _) => 429,
            (Kind::Overloaded, _) => 503,
            (Kind::BadRequest | Kind::ContextLength | Kind::ContentFilter, _) => 400,
            (Kind::NotFound, _) => 404,
            (Kind::Connect | Kind::Server | Kind::Garbage | Kind::TooLarge | Kind::Cut, _) => 502,
        }
    }

    pub fn rates(&self) -> &RateLimits {
        &self.head.rates
    }

    pub fn retry_after(&self) -> Option<Duration> {
        self.head.rates.retry_after
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.provider, self.kind.name())?;
        if let Kind::Timeout(waited) = self.kind {
            write!(f, ", waited for {} in vain", waited.words())?;
        }
        if let Some(status) = self.status() {
            write!(f, ", status {status}")?;
        }
        for (what, text) in [("code", &self.complaint.code), ("parameter", &self.complaint.param)] {
            if let Some(text) = text {
                write!(f, ", {what} {text}")?;
            }
        }
        match &self.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
