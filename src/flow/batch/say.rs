//! The commands of a batch that runs, and their ids.
//!
//! An id is made from what it says. A request's is made from its content too: a successor that finds the request's model
//! elsewhere by then says something else, and its command is refused by the stream that is there already, instead of being
//! taken for a reused id.

use crate::domain::envelope::SYSTEM_SOURCE;
use crate::domain::id::reaction_command_id;
use crate::domain::llm_request::SubmitRequest;
use crate::domain::wire::WireError;
use crate::domain::{AnyCommand, Envelope, Micros, StreamId, llm_batch, llm_request};
use crate::ports::topic::Accepted;
use std::sync::Arc;
use uuid::Uuid;

fn say(batch: &StreamId, to: StreamId, kind: &str, command: AnyCommand) -> Result<Accepted, WireError> {
    let envelope = Envelope {
        source: SYSTEM_SOURCE.into(),
        correlation: Some(batch.id.to_string()),
        ..Envelope::new(reaction_command_id(batch.id, kind, &to), to)
    };
    Accepted::new(envelope, command)
}

/// A request of the batch.
pub fn submit(batch: &StreamId, request: StreamId, command: SubmitRequest) -> Result<Accepted, WireError> {
    let command = llm_request::Command::SubmitRequest(command).into();
    let mut accepted = say(batch, request, "submit", command)?;
    let said = Uuid::new_v5(&batch.id, &accepted.digest.to_be_bytes());
    let command_id = reaction_command_id(said, "submit", &request);
    accepted.envelope = Arc::new(Envelope { command_id, ..(*accepted.envelope).clone() });
    Ok(accepted)
}

pub fn cancel(batch: &StreamId, request: StreamId) -> Result<Arc<Accepted>, WireError> {
    let command = llm_request::CancelRequest { reason: format!("its batch {} was cancelled", batch.id) };
    say(batch, request, "cancel", llm_request::Command::CancelRequest(command).into()).map(Arc::new)
}

/// Of the batch itself. The moment is in the id: what was refused once may be right later.
pub fn own(batch: &StreamId, command: llm_batch::Command, now: Micros) -> Result<Arc<Accepted>, WireError> {
    let command = AnyCommand::from(command);
    let kind = format!("{}/{now}", command.name());
    say(batch, *batch, &kind, command).map(Arc::new)
}
