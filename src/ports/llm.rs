//! Port: the models. One call to one provider, in the terms of OpenAI's HTTP API whatever the provider speaks.

mod failure;
mod keys;
mod rates;

use crate::domain::llm_provider::WireProtocol;
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

pub use failure::{Complaint, Error, Kind, Progress, Waited};
pub use keys::{Destination, KeyError, Keys, Secret};
pub use rates::{RateLimits, Window};

/// Where a call goes.
#[derive(Clone, Debug)]
pub struct Target {
    /// Names the provider in errors and logs; never sent.
    pub provider: Arc<str>,
    pub protocol: WireProtocol,
    /// The base URL; `None` where the protocol has a well-known one.
    pub endpoint: Option<Arc<str>>,
    /// What [`Keys`] knows the key by; `None` where the provider wants none.
    pub key: Option<Arc<str>>,
    /// As the provider's API names it. It replaces the `model` of the request.
    pub model: Arc<str>,
    /// The model's own bound on tokens of one answer, for the wires that want a bound with every request.
    pub output_tokens_max: Option<i64>,
}

/// What is asked of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    ChatCompletion,
    Embeddings,
}

/// How long which part of a call may take. Reaching the provider has a bound of its own, which is the adapter's.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From sending to the first byte of the answer's body: headers alone say nothing about the model.
    pub first_byte: Duration,
    /// From one byte of the body to the next. A provider's signs of life count.
    pub between_chunks: Duration,
    /// The whole call, a second try with another key included.
    pub total: Duration,
}

/// One call.
#[derive(Clone)]
pub struct Call {
    pub target: Target,
    /// Names the request to the provider, the same for each of its attempts, so that both sides can speak of one request.
    pub request_id: Option<Uuid>,
    pub operation: Operation,
    /// A JSON object as OpenAI's API takes it.
    pub request: Bytes,
    /// Whether the answer comes in chunks. It goes before what the request says.
    pub stream: bool,
    pub timeouts: Timeouts,
    /// Nothing of the call lasts longer, whatever the timeouts say.
    pub deadline: Instant,
}

/// Tokens as the provider counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All of the prompt, what came from or went to a cache included.
    pub input_tokens: u64,
    /// All that was generated, reasoning included.
    pub output_tokens: u64,
    /// The part of the input that was read from the provider's cache.
    pub cached_input_tokens: u64,
    /// The part of the input that was written to the provider's cache.
    pub cache_write_tokens: u64,
    /// The part of the output that was reasoning.
    pub reasoning_tokens: u64,
    /// Whether the provider says that it charges the call as a batch (service tier `batch` or `flex`).
    pub is_batch: bool,
}

impl Usage {
    pub fn total_tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

/// What came with an answer beside its content.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub status: u16,
    /// The provider's headers that matter to a caller, names in lower case: request ids, limits, processing time.
    pub headers: Vec<(String, String)>,
    pub rates: RateLimits,
}

/// An answer in one piece.
#[derive(Clone)]
pub struct Whole {
    pub head: Head,
    /// As OpenAI's API would have given it.
    pub body: Bytes,
    /// What the body says beside its content.
    pub end: End,
}

/// What is known once an answer is complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// `None` where the provider reported none.
    pub usage: Option<Usage>,
    /// OpenAI's word for why the (first) answer ended.
    pub finish_reason: Option<String>,
}

/// A piece of a streamed answer.
#[derive(Clone, PartialEq, Eq)]
pub enum Chunk {
    /// The JSON of one `chat.completion.chunk`, without the framing of server-sent events.
    Data(Bytes),
    /// The answer is complete; nothing follows.
    End(End),
}

/// The rest of a streamed answer. To drop it is to hang up.
#[async_trait]
pub trait Chunks: Send {
    /// The next piece; `None` after the end and after an error. Cancel-safe.
    async fn next(&mut self) -> Option<Result<Chunk, Box<Error>>>;
}

/// An answer in pieces.
pub struct Streamed {
    pub head: Head,
    pub chunks: Box<dyn Chunks>,
}

/// An answer.
pub enum Answer {
    Whole(Whole),
    Streamed(Streamed),
}

/// The providers.
///
/// Contract:
/// - `call` sends one request and gives one answer. It repeats nothing, with one exception: where the provider refuses
///   the key, the key is loaded again and, if it is another one, the request is sent once more. Whether to try again
///   otherwise is the caller's to decide, with what [`Error`] says.
/// - A provider that speaks OpenAI's wire gets the request's bytes as they are, unknown fields and order included; only
///   `model` is replaced, and `stream` and `stream_options` where the call needs it. Its answer's bytes are given as they
///   came. For other wires request and answer are translated, and a parameter that a wire cannot express is refused
///   with [`Kind::BadRequest`] and its name: it is never left out in silence.
/// - A streamed call returns once the first chunk is there, so that a failure before it is a failure of the call, and
///   not one in the middle of an answer. Providers are always asked for usage; the chunk that carries it and nothing
///   else is withheld from a caller whose request did not ask for it. A stream ends with exactly one [`Chunk::End`], or
///   one error: a connection that closes before the model said that it was done is [`Kind::Cut`].
/// - The news of the provider's rate limits comes with every answer and every error that the provider itself gave.
/// - A key goes to the destinations that it is bound to ([`Keys`]) and nowhere else.
/// - No error, log line or `Debug` output of these types holds a key, a prompt or an answer: the text of an error names
///   the provider, the status and the provider's error code. The provider's own words, which may repeat what it was
///   sent, are in [`Error::complaint`] alone, for the one who sent the request, the key cut out.
/// - Everything is bounded, time and bytes: an answer above a bound is [`Kind::TooLarge`].
/// - Dropping the future or the stream closes the connection; what the provider does with the request then is unknown.
#[async_trait]
pub trait Llm: Send + Sync + 'static {
    async fn call(&self, call: Call) -> Result<Answer, Box<Error>>;
}

impl std::fmt::Debug for Whole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Whole")
            .field("head", &self.head)
            .field("body_bytes", &self.body.len())
            .field("end", &self.end)
            .finish()
    }
}

impl std::fmt::Debug for Chunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Data(data) => write!(f, "Data({} bytes)", data.len()),
            Self::End(end) => f.debug_tuple("End").field(end).finish(),
        }
    }
}
