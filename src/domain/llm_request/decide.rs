//! What a request's commands lead to: which of them is right when, and how a request ends.

use super::check::check_code;
use super::submit::{is_decided, submit};
use super::*;
use crate::domain::checks::tenant_lookup;
use crate::domain::common::{TEXT_BYTES_MAX, check_length};

/// Only what begins something asks the tenant: a call that was made is recorded, whatever became of the tenant.
pub fn lookups(command: &Command, envelope: &Envelope) -> Vec<Lookup> {
    match command {
        Command::SubmitRequest(_) if !is_decided(envelope) => tenant_lookup(envelope.tenant()),
        _ => Vec::new(),
    }
}

pub fn decide(state: &State, command: &Command, context: &Context<'_>) -> Result<Decision<Event>, Rejection> {
    let now = context.now;
    match command {
        Command::SubmitRequest(command) => submit(state, command, context),
        _ if state.status == Status::Absent => Err(Rejection::not_found("LLM request")),
        Command::StartAttempt(command) => attempts::start(state, command, now),
        Command::EndAttempt(command) => attempts::end(state, command),
        Command::AddAnswerPart(command) => parts::add(state, command),
        Command::CompleteRequest(command) => attempts::complete(state, command),
        Command::LoseAttempt(command) => attempts::lose(state, command),
        Command::FailRequest(command) => fail(state, command, now),
        Command::ExpireRequest(_) => expire(state, now),
        Command::CancelRequest(command) => cancel(state, command),
        Command::RateAnswer(command) => rating::rate(state, command, context.envelope.actor.as_deref()),
    }
}

/// The request must not have ended.
pub fn check_running(state: &State) -> Result<(), Rejection> {
    if state.is_running() {
        return Ok(());
    }
    let status = view::status(state);
    let why = format!("the request is {status}, which is final; submit another one");
    Err(Rejection::new("request_ended", why).with("status", status))
}

/// The attempt that is lost by now, if any.
///
/// # Errors
/// `attempt_open` while the last one is within its lease and margin.
pub fn lost_attempt(state: &State, now: Micros) -> Result<Option<i64>, Rejection> {
    let Some(open) = state.open() else { return Ok(None) };
    let until = open.lease_until.saturating_add(LEASE_MARGIN_MS * 1_000);
    if now < until {
        let why = "an attempt is under way within its lease; wait for its end, or until its lease and margin are over";
        return Err(Rejection::new("attempt_open", why)
            .with("attempt", open.attempt)
            .with("worker", &open.worker)
            .with("until", until));
    }
    Ok(Some(open.attempt))
}

fn attempts_made(state: &State) -> i64 {
    state.attempts.len() as i64
}

fn fail(state: &State, command: &FailRequest, now: Micros) -> Result<Decision<Event>, Rejection> {
    check_code("error", &command.error)?;
    check_length("message", &command.message, TEXT_BYTES_MAX)?;
    if state.status == Status::Failed {
        return Ok(Decision::unchanged());
    }
    check_running(state)?;
    let open_attempt = lost_attempt(state, now)?;
    Ok(Decision::event(Event::RequestFailed(RequestFailed {
        error: command.error.clone(),
        message: command.message.clone(),
        attempts: attempts_made(state),
        open_attempt,
    })))
}

fn expire(state: &State, now: Micros) -> Result<Decision<Event>, Rejection> {
    if state.status == Status::Expired {
        return Ok(Decision::unchanged());
    }
    check_running(state)?;
    let deadline_at = state.request.deadline_at;
    if now < deadline_at {
        let why = "the deadline has not passed yet; wait for it, or cancel the request";
        return Err(Rejection::new("deadline_not_reached", why).with("deadline_at", deadline_at).with("now", now));
    }
    let open_attempt = lost_attempt(state, now)?;
    Ok(Decision::event(Event::RequestExpired(RequestExpired { attempts: attempts_made(state), open_attempt })))
}

/// Right at any time before the end: the call of an attempt under way is given up, or recorded when it comes back.
fn cancel(state: &State, command: &CancelRequest) -> Result<Decision<Event>, Rejection> {
    check_length("reason", &command.reason, TEXT_BYTES_MAX)?;
    if state.status == Status::Cancelled {
        return Ok(Decision::unchanged());
    }
    check_running(state)?;
    Ok(Decision::event(Event::RequestCancelled(RequestCancelled {
        reason: command.reason.clone(),
        attempts: attempts_made(state),
        open_attempt: state.open().map(|open| open.attempt),
    })))
}
