//! What a call comes to for its request: it is recorded, and the request completed, tried again, or to be ended.

use super::Shared;
use super::attempt::{CallOf, Next, is_ours};
use super::call::{Called, Came};
use super::record::Told;
use super::reply::{Begun, Ended, Failure, How, Piece};
use super::say;
use super::work::{Request, Work};
use crate::domain::Micros;
use crate::domain::common::{NAME_BYTES_MAX, PromptStorage};
use crate::domain::llm_request::{
    ANSWER_BYTES_MAX, ANSWER_WHOLE_BYTES_MAX, AddAnswerPart, CompleteRequest, EndAttempt, Rejected, Usage, payload,
};
use crate::domain::personal::Personal;
use crate::domain::wire::WireError;
use crate::flow::request::stats::Sample;
use crate::metrics::{self, handles};
use crate::ports::llm::{End, Error, Head, Kind, Progress, Waited};
use bytes::Bytes;
use std::time::Duration;
use tokio::time::Instant;

/// Code of a call that was broken off because its request's deadline passed.
const OUT_OF_TIME: &str = "out_of_time";
/// Headers that name a call at its provider.
const REQUEST_IDS: &[&str] = &["x-request-id", "request-id", "x-amzn-requestid", "apim-request-id"];

impl Shared {
    /// Records what a call came to, and says what is to become of its request.
    pub(super) async fn conclude(&self, work: &mut Work, request: &Request, of: CallOf, called: Called) -> Next {
        self.count(work, &of, &called);
        match called.came {
            Came::Answered { ref body, ref end } => {
                let (body, end) = (body.clone(), end.clone());
                self.complete(work, request, of, called, body, end).await;
                Next::Ended
            }
            Came::Failed(ref error) => {
                let error = error.clone();
                let end = self.end_attempt(&of, &called, &error);
                let told = self.say_end(work, end, &of).await;
                self.after_failure(work, request, &of, &called, &error, &told)
            }
            Came::Left { why, is_sent } => {
                let end = EndAttempt { error: why.code().into(), sent: is_sent, ..ended(&of, &called) };
                drop(self.say_end(work, end, &of).await);
                Next::GiveUp(why)
            }
            Came::NotSent(code) => {
                let end = EndAttempt { error: code.into(), ..ended(&of, &called) };
                let told = self.say_end(work, end, &of).await;
                if is_ours(&told) { Next::Again(None) } else { Next::Leave { is_unknown: work.caller().is_some() } }
            }
        }
    }

    async fn complete(
        &self,
        work: &Work,
        request: &Request,
        of: CallOf,
        called: Called,
        body: Option<Bytes>,
        end: End,
    ) {
        let Called { seen, latency, usage, price, .. } = called;
        let (usage, estimated) = usage.unwrap_or_default();
        let (text, sha256, bytes) = match &body {
            Some(body) => {
                let text = String::from_utf8_lossy(body).into_owned();
                let (sha256, bytes) = (payload::sha256(&text), text.len());
                (Some(text), sha256, bytes)
            }
            None => seen.assembly.finish(),
        };
        let head = seen.head;
        let bare = CompleteRequest {
            attempt: of.started.attempt,
            usage,
            estimated,
            price,
            latency_ms: millis(latency),
            first_byte_ms: seen.first_byte.map(millis),
            finish_reason: end.finish_reason.map(short),
            answer: Personal::Absent,
            answer_sha256: (request.storage != PromptStorage::None).then_some(sha256),
            answer_bytes: i64::try_from(bytes).ok(),
            provider_request_id: request_id(&head),
            answer_parts: 0,
        };
        let is_kept = request.storage == PromptStorage::Full && bytes <= ANSWER_BYTES_MAX;
        let answer = text.filter(|_| is_kept);
        let told = self.say_completion(work, bare, answer, of.started.lease_until).await;
        if let Some(rejection) = told.refusal() {
            tracing::error!(stream = %work.stream(), code = rejection.code, "a completion was refused");
        }
        if request.has_agent {
            let took = Instant::now().saturating_duration_since(work.item.arrived);
            handles().agent_response_time.record(took.as_secs_f64());
        }
        let Some(caller) = work.caller() else { return };
        let begun = Begun { model: of.choice.clone(), attempt: of.started.attempt, head };
        if !seen.is_passed_on && self.pass_on(caller, Piece::Begun(Box::new(begun))).await.is_err() {
            return;
        }
        let cost_pico_usd = price.and_then(|price| usage.cost_pico_usd(&price));
        let ended = Ended {
            how: How::Completed,
            attempts: work.attempts,
            body,
            usage: Some(usage),
            is_usage_estimated: estimated,
            cost_pico_usd,
            is_recorded: told.is_recorded(),
        };
        let _ = self.pass_on(caller, Piece::End(Box::new(ended))).await;
    }

    /// With the answer where it is kept: in one record where it fits, else in parts before it; and where neither is taken,
    /// with its hash and size alone.
    async fn say_completion(
        &self,
        work: &Work,
        bare: CompleteRequest,
        answer: Option<String>,
        lease_until: Micros,
    ) -> Told {
        let mut bare = bare;
        if let Some(answer) = answer {
            match self.say_whole(work, &bare, answer, lease_until).await {
                Ok(told) => return told,
                Err(answer) => bare.answer_parts = self.say_parts(work, &bare, &answer, lease_until).await,
            }
        }
        match say::complete(work.stream(), bare, lease_until) {
            Ok(command) => self.record(work.log, command).await,
            Err(error) => lost(&error),
        }
    }

    /// The completion with its answer in it; gives the answer back where that is too large.
    async fn say_whole(
        &self,
        work: &Work,
        bare: &CompleteRequest,
        answer: String,
        lease_until: Micros,
    ) -> Result<Told, String> {
        if answer.len() > ANSWER_WHOLE_BYTES_MAX {
            return Err(answer);
        }
        let whole = CompleteRequest { answer: Personal::Plain(answer.clone()), ..bare.clone() };
        let said = say::complete(work.stream(), whole, lease_until);
        let Some(command) = said.ok().filter(|command| command.payload.len() <= self.config.command_bytes_max) else {
            return Err(answer);
        };
        let told = self.record(work.log, command).await;
        let is_too_large = told.refusal().is_some_and(|refusal| refusal.code == "too_large");
        if told == Told::TooLarge || is_too_large { Err(answer) } else { Ok(told) }
    }

    /// Records an answer in parts; how many, 0 where one of them was not taken.
    async fn say_parts(&self, work: &Work, bare: &CompleteRequest, answer: &str, lease_until: Micros) -> i64 {
        let (mut part, mut rest) = (0, answer);
        while !rest.is_empty() {
            let (text, behind) = rest.split_at(rest.floor_char_boundary(self.config.part_bytes()));
            (part, rest) = (part + 1, behind);
            let command = AddAnswerPart { attempt: bare.attempt, part, text: text.into() };
            let told = match say::part(work.stream(), command, lease_until) {
                Ok(command) => self.record(work.log, command).await,
                Err(error) => lost(&error),
            };
            if !told.is_recorded() {
                tracing::warn!(stream = %work.stream(), part, bytes = answer.len(), ?told, "an answer is not kept");
                return 0;
            }
        }
        part
    }

    async fn say_end(&self, work: &Work, end: EndAttempt, of: &CallOf) -> Told {
        match say::end(work.stream(), end, of.started.lease_until) {
            Ok(command) => self.record(work.log, command).await,
            Err(error) => lost(&error),
        }
    }

    fn end_attempt(&self, of: &CallOf, called: &Called, error: &Error) -> EndAttempt {
        EndAttempt {
            error: if called.is_cut_short { OUT_OF_TIME } else { error.kind.name() }.into(),
            http_status: error.status().map(i64::from),
            provider_code: error.complaint.code.clone().map(short),
            sent: error.progress >= Progress::Sent,
            received: error.progress == Progress::Receiving || called.seen.is_passed_on,
            retry_after_ms: error.retry_after().map(millis),
            provider_request_id: request_id(&error.head),
            ..ended(of, called)
        }
    }

    /// Whether a failed request is tried again, where and when.
    fn after_failure(
        &self,
        work: &mut Work,
        request: &Request,
        of: &CallOf,
        called: &Called,
        error: &Error,
        told: &Told,
    ) -> Next {
        let failure = failure_of(error);
        work.last = Some(failure.clone());
        work.count_failure(of.index);
        if !is_ours(told) {
            return Next::Leave { is_unknown: work.caller().is_some() };
        }
        let now = Instant::now();
        // Also of an answer that has begun: it is the deadline that ended it, and not its provider.
        if now >= work.item.deadline {
            return Next::Expire;
        }
        if called.seen.is_passed_on {
            // A second try would give a second answer to somebody who has part of the first.
            return Next::Fail(failure);
        }
        if is_for_another(error) {
            let reason = error.kind.name().to_owned();
            work.barred.push(Rejected { model: of.choice.clone(), reason });
        } else if !error.retryable() && error.kind != Kind::Timeout(Waited::Total) {
            return Next::Fail(failure);
        }
        let Some(next) = work.order(&request.models).first().copied() else { return Next::Fail(failure) };
        if work.attempts >= self.config.attempts_max() {
            return Next::Fail(failure);
        }
        let failures = work.failures_of(next);
        if failures == 0 {
            return Next::Again(None);
        }
        let asked = error.retry_after().filter(|_| next == of.index);
        match self.config.backoff.next(failures, asked, self.random(), now, work.item.deadline) {
            Some(at) => Next::Again(Some(at)),
            None => Next::Fail(failure),
        }
    }

    fn count(&self, work: &Work, of: &CallOf, called: &Called) {
        let (outcome, has_failed) = match &called.came {
            Came::Answered { .. } => (&handles().request_calls_answered, false),
            Came::Failed(error) if error.kind == Kind::RateLimited => (&handles().request_calls_limited, true),
            Came::Failed(_) => (&handles().request_calls_failed, true),
            Came::Left { .. } => (&handles().request_calls_dropped, false),
            Came::NotSent(_) => (&handles().request_calls_unsent, false),
        };
        outcome.increment(1);
        if let Some((usage, _)) = &called.usage {
            metrics::call_costed(called.price.and_then(|price| usage.cost_pico_usd(&price)));
        }
        if matches!(called.came, Came::Left { .. } | Came::NotSent(_)) {
            return;
        }
        handles().request_call.record(called.latency.as_secs_f64());
        let Usage { input_tokens, output_tokens, .. } = called.usage.unwrap_or_default().0;
        if !has_failed {
            handles().llm_input_tokens.record(input_tokens as f64);
            handles().llm_output_tokens.record(output_tokens as f64);
        }
        let tokens = |count: i64| count.max(0).unsigned_abs();
        let (input_tokens, output_tokens) = (tokens(input_tokens), tokens(output_tokens));
        let sample = Sample { latency: called.latency, has_failed, input_tokens, output_tokens };
        self.stats.count(&of.choice, sample, Instant::now());
        tracing::debug!(stream = %work.stream(), model = of.choice.model_id, has_failed, "a call ended");
    }
}

/// What is said of every attempt that came to nothing.
fn ended(of: &CallOf, called: &Called) -> EndAttempt {
    let (usage, estimated) = called.usage.map_or((None, false), |(usage, estimated)| (Some(usage), estimated));
    EndAttempt {
        attempt: of.started.attempt,
        received: !called.seen.assembly.is_empty(),
        usage,
        estimated,
        price: called.price.filter(|_| usage.is_some()),
        latency_ms: Some(millis(called.latency)),
        provider_request_id: request_id(&called.seen.head),
        ..EndAttempt::default()
    }
}

/// Whether this failure is the model's or its provider's alone, as far as this request goes: another may do.
fn is_for_another(error: &Error) -> bool {
    match error.kind {
        Kind::Quota | Kind::Auth | Kind::NotFound | Kind::ContextLength => true,
        // It answers, and nobody can use it: another call would be paid for the same.
        Kind::Garbage => true,
        // What its wire cannot say, another's may.
        Kind::BadRequest => error.progress == Progress::NotSent,
        _ => false,
    }
}

fn failure_of(error: &Error) -> Failure {
    Failure {
        complaint: Some(error.complaint.clone()),
        retry_after: error.retry_after(),
        ..Failure::new(error.kind.name(), error.to_string(), error.status_for_client())
    }
}

pub fn lost(error: &WireError) -> Told {
    tracing::error!(%error, "a command of the engine does not fit its schema");
    handles().request_lost_records.increment(1);
    Told::Lost
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// As much of a provider's word as is recorded.
fn short(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(NAME_BYTES_MAX));
    text
}

fn request_id(head: &Head) -> Option<String> {
    let named = |name: &&str| head.headers.iter().find(|(header, _)| header == name);
    REQUEST_IDS.iter().find_map(named).map(|(_, value)| short(value.clone()))
}
