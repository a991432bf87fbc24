//! The commands that the engine gives, and their ids.
//!
//! An id is made from what it says: the same command again is the same command, and has one effect. Where what it says
//! depends on the moment (a lease, an expiry) the moment is in the id: a command that was refused may be right later, and
//! must not find its old refusal. The ids are in the namespace that no outside producer can write.

use super::reply::Failure;
use super::work::Why;
use crate::domain::envelope::SYSTEM_SOURCE;
use crate::domain::id::reaction_command_id;
use crate::domain::llm_request::{
    AddAnswerPart, CancelRequest, Command, CompleteRequest, EndAttempt, ExpireRequest, FailRequest, LoseAttempt,
    StartAttempt,
};
use crate::domain::wire::WireError;
use crate::domain::{Envelope, Micros, StreamId};
use crate::ports::topic::Accepted;
use std::sync::Arc;

/// Longest message of a failure, in bytes.
const MESSAGE_BYTES_MAX: usize = 2048;

fn say(stream: StreamId, kind: &str, command: Command) -> Result<Arc<Accepted>, WireError> {
    let envelope = Envelope {
        source: SYSTEM_SOURCE.into(),
        correlation: Some(stream.id.to_string()),
        ..Envelope::new(reaction_command_id(stream.id, kind, &stream), stream)
    };
    Accepted::new(envelope, command.into()).map(Arc::new)
}

pub fn start(stream: StreamId, start: StartAttempt) -> Result<Arc<Accepted>, WireError> {
    let kind = format!("start/{}/{}/{}", start.attempt, start.worker, start.lease_until);
    say(stream, &kind, Command::StartAttempt(start))
}

pub fn end(stream: StreamId, end: EndAttempt, lease_until: Micros) -> Result<Arc<Accepted>, WireError> {
    let kind = format!("end/{}/{lease_until}", end.attempt);
    say(stream, &kind, Command::EndAttempt(end))
}

pub fn lose(stream: StreamId, attempt: i64) -> Result<Arc<Accepted>, WireError> {
    say(stream, &format!("lose/{attempt}"), Command::LoseAttempt(LoseAttempt { attempt }))
}

pub fn part(stream: StreamId, part: AddAnswerPart, lease_until: Micros) -> Result<Arc<Accepted>, WireError> {
    let kind = format!("part/{}/{lease_until}/{}", part.attempt, part.part);
    say(stream, &kind, Command::AddAnswerPart(part))
}

/// With its answer, or without: the second is said where the first was refused.
pub fn complete(stream: StreamId, done: CompleteRequest, lease_until: Micros) -> Result<Arc<Accepted>, WireError> {
    let what = if done.answer.is_absent() { "bare" } else { "whole" };
    let kind = format!("complete/{}/{lease_until}/{what}", done.attempt);
    say(stream, &kind, Command::CompleteRequest(done))
}

pub fn fail(stream: StreamId, failure: &Failure, now: Micros) -> Result<Arc<Accepted>, WireError> {
    let mut message = failure.message.clone();
    message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
    let command = FailRequest { error: failure.code.clone(), message };
    say(stream, &format!("fail/{now}"), Command::FailRequest(command))
}

pub fn expire(stream: StreamId, now: Micros) -> Result<Arc<Accepted>, WireError> {
    say(stream, &format!("expire/{now}"), Command::ExpireRequest(ExpireRequest {}))
}

pub fn cancel(stream: StreamId, why: Why) -> Result<Arc<Accepted>, WireError> {
    let reason = match why {
        Why::CallerGone => "the caller hung up",
        Why::ReaderStalled => "the caller read nothing any more",
        Why::Ended | Why::Stopping => "the process that carried it out stopped",
    };
    say(stream, "cancel", Command::CancelRequest(CancelRequest { reason: reason.into() }))
}

/// Of a request that only its caller could hear the answer of, who waited at a process that is gone.
pub fn abandon(stream: StreamId) -> Result<Arc<Accepted>, WireError> {
    let reason = "the process that its caller waited at is gone, and nobody else can ask for the answer";
    say(stream, "cancel", Command::CancelRequest(CancelRequest { reason: reason.into() }))
}
