//! What a line of a batch becomes: a request's command, or the error that is told of it.

use super::runner::Shared;
use super::say;
use super::split::AROUND;
use super::tally::End;
use super::task::Trouble;
use crate::domain::common::PromptStorage;
use crate::domain::llm_batch::{RequestError, line, request_stream};
use crate::domain::llm_request::{Operation, Priority, SubmitRequest, prompt_not_stored};
use crate::domain::{Micros, Rejection, StreamId};
use crate::flow::request::resolve::{Asked, Refused, Shape};
use crate::ports::topic::Accepted;
use std::sync::Arc;

/// Longest message of an error, in bytes.
const MESSAGE_BYTES_MAX: usize = 1_024;

/// What all requests of a batch have in common.
pub struct Maker<'a> {
    pub shared: &'a Shared,
    pub batch: StreamId,
    pub operation: Operation,
    pub expires_at: Micros,
}

impl Maker<'_> {
    /// The request that a line stands for, or why it stands for none.
    pub async fn request(&self, number: i64, text: &str) -> Result<Made, Trouble> {
        let failed = |rejection: Rejection| Ok(Made::Known(Some(End::Failed(Some(error(number, rejection))))));
        let read = line::read(text, number).map_err(|problem| Rejection::new(&problem.code, problem.message));
        let asked = match read.and_then(|line| self.asked(number, line.body)) {
            Ok(asked) => asked,
            Err(rejection) => return failed(rejection),
        };
        let mut submission = match self.shared.resolver.submission(asked).await {
            Ok(submission) => submission,
            Err(Refused::Index(error)) => return Err(error.into()),
            Err(Refused::Rejected(rejection)) => return failed(rejection),
            Err(Refused::UnknownModel(message)) => return failed(Rejection::new("model_not_found", message)),
        };
        if submission.storage != PromptStorage::Full {
            return failed(prompt_not_stored(submission.storage));
        }
        submission.deadline_at = self.expires_at;
        let request = request_stream(&self.batch, number);
        let command = say::submit(&self.batch, request, SubmitRequest::from(submission))?;
        if command.payload.len() + AROUND > self.shared.config.command_bytes_max {
            return failed(too_large());
        }
        Ok(Made::New(Arc::new(command)))
    }

    fn asked(&self, number: i64, body: &str) -> Result<Asked, Rejection> {
        let shape: Shape<'_> = serde_json::from_str(body)
            .map_err(|_| Rejection::invalid("body", "must be a JSON object with a text \"model\", each field once"))?;
        if shape.stream == Some(true) {
            return Err(Rejection::invalid("body.stream", "must not be true: a batch's answers come whole"));
        }
        Ok(Asked {
            tenant: self.batch.tenant,
            request_id: request_stream(&self.batch, number).id,
            operation: self.operation,
            model: shape.model.into_owned(),
            payload: body.to_owned(),
            priority: Priority::Batch,
            deadline_ms: None,
            stream: false,
            awaited: false,
        })
    }
}

/// A request of a page, once its line was looked at.
pub enum Made {
    /// It is on record: ended, or under way. Or it was never made.
    Known(Option<End>),
    New(Arc<Accepted>),
}

impl Made {
    pub fn command(&self) -> Option<Arc<Accepted>> {
        match self {
            Self::New(command) => Some(command.clone()),
            Self::Known(_) => None,
        }
    }
}

pub fn too_large() -> Rejection {
    Rejection::new("too_large", "the request is larger than the fleet's journal takes; make it smaller")
}

pub fn error(request: i64, rejection: Rejection) -> RequestError {
    let mut message = rejection.message;
    message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
    RequestError { request, code: rejection.code, message }
}
