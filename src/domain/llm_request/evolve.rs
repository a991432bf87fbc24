//! What a request's events leave. Whatever their order, nothing here fails.

use super::*;
use crate::domain::personal::Personal;

pub fn evolve(state: &mut State, event: &Event, meta: &EventMeta) {
    match event {
        Event::RequestSubmitted(event) => {
            state.status = Status::Submitted;
            state.has_payload = !event.request.payload.is_absent();
            state.request = event.request.clone();
            state.submitted_at = meta.recorded_at;
        }
        Event::AttemptStarted(event) => {
            if event.previous_lost {
                lose(state, event.attempt.saturating_sub(1));
            }
            state.status = Status::Started;
            state.parts = AnswerParts::default();
            state.attempts.push(Attempt {
                attempt: event.attempt,
                worker: event.worker.clone(),
                model: event.model.clone(),
                started_at: meta.recorded_at,
                lease_until: event.lease_until,
                tokens_reserved: event.tokens_reserved,
                cost_estimated_pico_usd: event.cost_estimated_pico_usd,
                end: AttemptEnd::Open,
                error: String::new(),
            });
        }
        Event::AttemptFailed(event) => {
            conclude(state, event.attempt, AttemptEnd::Failed, &event.error);
            let may_be_paid = event.sent || event.usage.is_some();
            let cost = Cost { of: event.attempt, pico_usd: event.cost_pico_usd, may_be_paid };
            count(state, event.usage.as_ref(), event.estimated, cost);
        }
        Event::AttemptLost(event) => lose(state, event.attempt),
        Event::RequestCompleted(event) => complete(state, event),
        Event::RequestFailed(event) => {
            end(state, Status::Failed);
            event.open_attempt.into_iter().for_each(|attempt| lose(state, attempt));
            state.error.clone_from(&event.error);
            state.reason.clone_from(&event.message);
        }
        Event::RequestExpired(event) => {
            end(state, Status::Expired);
            event.open_attempt.into_iter().for_each(|attempt| lose(state, attempt));
        }
        Event::RequestCancelled(event) => {
            end(state, Status::Cancelled);
            state.reason.clone_from(&event.reason);
        }
        Event::AnswerRated(event) => rating::put(state, event),
        Event::AnswerPartAdded(event) => {
            state.parts.count = event.part;
            state.parts.bytes += event.bytes;
        }
        Event::ExtraCallRecorded(event) => {
            if state.attempt(event.attempt).is_some_and(|attempt| attempt.end == AttemptEnd::Lost) {
                find(state, event.attempt);
            }
            conclude(state, event.attempt, AttemptEnd::Extra, event.error.as_deref().unwrap_or_default());
            state.extra_calls += 1;
            let cost = Cost { of: event.attempt, pico_usd: event.cost_pico_usd, may_be_paid: true };
            count(state, event.usage.as_ref(), event.estimated, cost);
        }
    }
}

/// Ended without an answer, and every call is accounted for: only then can no command change anything. An answer can be
/// rated at any time.
pub fn is_terminal(state: &State) -> bool {
    let is_open = |attempt: &Attempt| matches!(attempt.end, AttemptEnd::Open | AttemptEnd::Lost);
    let is_over = matches!(state.status, Status::Failed | Status::Expired | Status::Cancelled);
    is_over && !state.attempts.iter().any(is_open)
}

fn complete(state: &mut State, event: &RequestCompleted) {
    end(state, Status::Completed);
    conclude(state, event.attempt, AttemptEnd::Completed, "");
    let cost = Cost { of: event.attempt, pico_usd: event.cost_pico_usd, may_be_paid: true };
    count(state, Some(&event.usage), event.estimated, cost);
    state.answer = Some(AnswerFacts {
        is_stored: !event.answer.is_absent() || event.answer_parts > 0,
        sha256: event.answer_sha256.clone(),
        bytes: event.answer_bytes,
        finish_reason: event.finish_reason.clone(),
        latency_ms: event.latency_ms,
        first_byte_ms: event.first_byte_ms,
    });
}

fn end(state: &mut State, status: Status) {
    state.status = status;
    state.request.payload = Personal::Absent;
}

fn attempt_mut(state: &mut State, number: i64) -> Option<&mut Attempt> {
    state.attempts.get_mut(usize::try_from(number.checked_sub(1)?).ok()?)
}

fn conclude(state: &mut State, number: i64, end: AttemptEnd, error: &str) {
    if let Some(attempt) = attempt_mut(state, number) {
        attempt.end = end;
        error.clone_into(&mut attempt.error);
    }
}

/// Its call may have been made: until it is heard of it is one of unknown cost.
fn lose(state: &mut State, number: i64) {
    conclude(state, number, AttemptEnd::Lost, "lost");
    state.lost_attempts += 1;
    count(state, None, false, Cost { of: number, pico_usd: None, may_be_paid: true });
}

/// A lost attempt is heard of: what it cost is counted anew.
fn find(state: &mut State, number: i64) {
    let estimate = state.attempt(number).map_or(0, |attempt| attempt.cost_estimated_pico_usd);
    state.totals.calls_of_unknown_cost -= 1;
    state.totals.unknown_cost_pico_usd -= estimate;
}

/// What is known of the cost of an attempt's call.
struct Cost {
    of: i64,
    pico_usd: Option<i64>,
    may_be_paid: bool,
}

fn count(state: &mut State, usage: Option<&Usage>, estimated: bool, cost: Cost) {
    let estimate = state.attempt(cost.of).map_or(0, |attempt| attempt.cost_estimated_pico_usd);
    let totals = &mut state.totals;
    if let Some(usage) = usage {
        totals.usage.add(usage);
        totals.is_usage_estimated |= estimated;
    }
    match cost.pico_usd {
        Some(pico_usd) => totals.cost_pico_usd = totals.cost_pico_usd.saturating_add(pico_usd),
        None if cost.may_be_paid => {
            totals.calls_of_unknown_cost += 1;
            totals.unknown_cost_pico_usd = totals.unknown_cost_pico_usd.saturating_add(estimate);
        }
        None => {}
    }
}
