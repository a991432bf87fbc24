//! OpenAI's HTTP API over couplings, agents and models: chat completions, embeddings, the list of models, files of
//! requests and their batches; and beside it what users say of answers.
//!
//! Unmodified clients of OpenAI work with it: bodies go through untouched but for `model`, answers and chunks come back as
//! the provider gave them, errors have OpenAI's form. A client that can set no header names its tenant as its API key.
//!
//! The node that takes a request carries it out: it draws an id until that falls into a log that it owns, and records the
//! request there before the call. A request with an `Idempotency-Key` has the id that the key makes; where its log is
//! another node's it goes by the topic, and where it was carried out before, its answer is told again.

mod answer;
pub mod batches;
mod complete;
mod fault;
mod feedback;
pub mod files;
mod form;
mod ids;
mod models;
mod nobody;
mod replay;
mod shown;
#[cfg(test)]
mod tests;
mod upload;
mod wrong;

pub use complete::post;
pub(super) use fault::Fault;
pub use feedback::post as rate;
pub use ids::AnswerIds;
pub use models::{list, retrieve};

use crate::domain::Partitions;
use crate::flow::request::engine::Engine;
use crate::flow::request::resolve::Resolver;
use crate::ports::Index;
use std::sync::Arc;

/// What carries requests out, on a node that does.
pub struct Completions {
    pub engine: Engine,
    pub resolver: Resolver,
    /// Where the files of batches are read.
    pub index: Arc<dyn Index>,
    pub partitions: Partitions,
    /// Which request an answer's own id stands for.
    pub answers: Arc<AnswerIds>,
    /// Most bytes of records that one command may make.
    pub command_bytes_max: usize,
}
