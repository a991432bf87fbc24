//! One attempt after the other: how each begins, and what each may come to.

use super::check::{check_completion, check_end, check_start};
use super::decide::{check_running, lost_attempt};
use super::submit::deadline_passed;
use super::*;
use crate::domain::common::PromptStorage;
use crate::domain::personal::Personal;

pub fn start(state: &State, command: &StartAttempt, now: Micros) -> Result<Decision<Event>, Rejection> {
    check_running(state)?;
    let last = state.attempts.len() as i64;
    if command.attempt != last + 1 {
        let why = "another worker was faster, or this one has not seen the last attempt; read the request again";
        return Err(Rejection::new("stale_attempt", why).with("last", last).with("attempt", command.attempt));
    }
    if now >= state.request.deadline_at {
        return Err(deadline_passed(state.request.deadline_at, now));
    }
    if last >= ATTEMPTS_MAX {
        let why = format!("{ATTEMPTS_MAX} attempts were made, which is the most; fail the request");
        return Err(Rejection::new("attempts_exhausted", why).with("attempts", last));
    }
    let previous_lost = lost_attempt(state, now)?.is_some();
    check_start(command, &state.request.models, now)?;
    Ok(Decision::event(Event::AttemptStarted(AttemptStarted {
        attempt: command.attempt,
        worker: command.worker.clone(),
        model: command.model.clone(),
        lease_until: command.lease_until,
        tokens_reserved: command.tokens_reserved,
        cost_estimated_pico_usd: command.cost_estimated_pico_usd,
        rejected: command.rejected.clone(),
        previous_lost,
    })))
}

pub fn attempt(state: &State, number: i64) -> Result<&Attempt, Rejection> {
    state.attempt(number).ok_or_else(|| {
        let why = "this attempt was never started; start it before its call, and name it as it was started";
        Rejection::new("unknown_attempt", why).with("attempt", number).with("last", state.attempts.len())
    })
}

/// An attempt that failed says so also after a cancellation, which may be why it failed. One that is lost already can
/// only add what it cost.
pub fn end(state: &State, command: &EndAttempt) -> Result<Decision<Event>, Rejection> {
    let attempt = attempt(state, command.attempt)?;
    check_end(command)?;
    let cost_pico_usd = cost(command.usage.as_ref(), command.price.as_ref());
    let event = match attempt.end {
        AttemptEnd::Failed | AttemptEnd::Completed | AttemptEnd::Extra => return Ok(Decision::unchanged()),
        // It never became a call.
        AttemptEnd::Lost if !command.sent && command.usage.is_none() => return Ok(Decision::unchanged()),
        AttemptEnd::Open => Event::AttemptFailed(AttemptFailed {
            attempt: command.attempt,
            error: command.error.clone(),
            http_status: command.http_status,
            provider_code: command.provider_code.clone(),
            sent: command.sent,
            received: command.received,
            retry_after_ms: command.retry_after_ms,
            usage: command.usage,
            estimated: command.estimated,
            price: command.price,
            cost_pico_usd,
            latency_ms: command.latency_ms,
            provider_request_id: command.provider_request_id.clone(),
        }),
        AttemptEnd::Lost => Event::ExtraCallRecorded(ExtraCallRecorded {
            attempt: command.attempt,
            model: attempt.model.clone(),
            error: Some(command.error.clone()),
            usage: command.usage,
            estimated: command.estimated,
            price: command.price,
            cost_pico_usd,
            latency_ms: command.latency_ms,
            provider_request_id: command.provider_request_id.clone(),
        }),
    };
    Ok(Decision::event(event))
}

/// Whoever says this is the only worker there is; the decision cannot look at that.
pub fn lose(state: &State, command: &LoseAttempt) -> Result<Decision<Event>, Rejection> {
    let AttemptEnd::Open = attempt(state, command.attempt)?.end else { return Ok(Decision::unchanged()) };
    Ok(Decision::event(Event::AttemptLost(AttemptLost { attempt: command.attempt })))
}

/// The answer counts while the request runs and its attempt is the one under way, also where that took longer than its
/// lease or the deadline: it is there, and it is paid.
pub fn complete(state: &State, command: &CompleteRequest) -> Result<Decision<Event>, Rejection> {
    let attempt = attempt(state, command.attempt)?;
    check_completion(command)?;
    let cost_pico_usd = cost(Some(&command.usage), command.price.as_ref());
    let event = match attempt.end {
        AttemptEnd::Completed | AttemptEnd::Extra => return Ok(Decision::unchanged()),
        AttemptEnd::Failed => {
            let why = "this attempt was reported as failed; an answer belongs to an attempt that is under way";
            return Err(Rejection::new("attempt_ended", why).with("attempt", command.attempt));
        }
        AttemptEnd::Open if state.is_running() => {
            let (answer, answer_sha256, answer_bytes) = answer(command, state.request.storage)?;
            // A completion is never refused for its parts: the answer was paid for, whether it is kept or not.
            let parts = AnswerParts { count: command.answer_parts, bytes: answer_bytes };
            let answer_parts = if answer.is_absent() && state.parts == parts { parts.count } else { 0 };
            Event::RequestCompleted(RequestCompleted {
                attempt: command.attempt,
                model: attempt.model.clone(),
                usage: command.usage,
                estimated: command.estimated,
                price: command.price,
                cost_pico_usd,
                latency_ms: command.latency_ms,
                first_byte_ms: command.first_byte_ms,
                finish_reason: command.finish_reason.clone(),
                answer,
                answer_sha256,
                answer_bytes,
                provider_request_id: command.provider_request_id.clone(),
                answer_parts,
            })
        }
        AttemptEnd::Open | AttemptEnd::Lost => Event::ExtraCallRecorded(ExtraCallRecorded {
            attempt: command.attempt,
            model: attempt.model.clone(),
            error: None,
            usage: Some(command.usage),
            estimated: command.estimated,
            price: command.price,
            cost_pico_usd,
            latency_ms: Some(command.latency_ms),
            provider_request_id: command.provider_request_id.clone(),
        }),
    };
    Ok(Decision::event(event))
}

/// No tokens cost nothing, whatever the price.
fn cost(usage: Option<&Usage>, price: Option<&Price>) -> Option<i64> {
    usage?.cost_pico_usd(&price.copied().unwrap_or_default())
}

/// As much of the answer as the storage lets be: its text, its hash, its size.
fn answer(command: &CompleteRequest, storage: PromptStorage) -> Result<(Personal, Option<String>, i64), Rejection> {
    let text = command.answer.text();
    let missing = |field| Rejection::invalid(field, "is missing; an answer that is left out needs its hash and size");
    let bytes = text.map(|text| text.len() as i64).or(command.answer_bytes).ok_or_else(|| missing("answer_bytes"))?;
    if storage == PromptStorage::None {
        return Ok((Personal::Absent, None, bytes));
    }
    let sha256 = text.map(payload::sha256).or_else(|| command.answer_sha256.clone());
    let sha256 = Some(sha256.ok_or_else(|| missing("answer_sha256"))?);
    Ok(match storage {
        PromptStorage::Full => (command.answer.clone(), sha256, bytes),
        PromptStorage::Hashed | PromptStorage::None => (Personal::Absent, sha256, bytes),
    })
}
