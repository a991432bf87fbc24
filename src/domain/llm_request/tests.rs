//! A small world for the tests: one request with two models, its attempts, and one sample of every record.

use super::*;
use crate::domain::common::PromptStorage;
use crate::domain::envelope::SYSTEM_SOURCE;
use crate::domain::personal::Personal;
use crate::domain::spec::{NOW, Spec, TENANT, stream};
use crate::domain::wire::Wire;
use crate::domain::{AnyState, TenantId, golden, tenant};
use uuid::Uuid;

mod attempts;
mod ends;
mod money;
mod parts;
mod property;
mod rating;
mod shown;
mod submission;

type Request = Spec<LlmRequest>;

const SECOND: Micros = 1_000_000;
const COUPLING: Uuid = Uuid::from_u128(0xc1);
const AGENT: Uuid = Uuid::from_u128(0xa1);
const PAYLOAD: &str = r#"{"messages":[{"role":"user","content":"Hi"}],"max_tokens":64}"#;
const ANSWER: &str = r#"{"choices":[]}"#;

fn large() -> ModelChoice {
    ModelChoice { provider_tenant_id: TENANT.0, provider_id: Uuid::from_u128(0x11), model_id: "vendor/large".into() }
}

fn small() -> ModelChoice {
    ModelChoice { provider_tenant_id: Uuid::nil(), provider_id: Uuid::from_u128(0x22), model_id: "small".into() }
}

/// As the coupling would have it submitted, with a deadline ten minutes from now.
fn submit() -> SubmitRequest {
    SubmitRequest {
        coupling_id: Some(COUPLING),
        agent_id: Some(AGENT),
        coupling_version: Some(7),
        models: vec![large(), small()],
        payload: PAYLOAD.into(),
        deadline_at: Some(NOW + 600 * SECOND),
        ..Default::default()
    }
}

/// What [`submit`] comes to.
fn submission() -> Submission {
    Submission {
        coupling_id: Some(COUPLING),
        agent_id: Some(AGENT),
        coupling_version: Some(7),
        operation: Operation::ChatCompletion,
        models: vec![large(), small()],
        payload: PAYLOAD.into(),
        payload_sha256: Some(payload::sha256(PAYLOAD)),
        payload_bytes: PAYLOAD.len() as i64,
        priority: Priority::Normal,
        deadline_at: NOW + 600 * SECOND,
        storage: PromptStorage::Full,
        prompt_tokens_estimated: (PAYLOAD.len() as i64 + 3) / 4,
        output_tokens_max: Some(64),
        stream: false,
        awaited: false,
        project: None,
    }
}

fn submitted() -> Event {
    RequestSubmitted { request: submission() }.into()
}

/// A request whose deadline was a second ago.
fn overdue() -> Event {
    RequestSubmitted { request: Submission { deadline_at: NOW - SECOND, ..submission() } }.into()
}

/// What a call may cost.
const ESTIMATE: i64 = 12_000_000_000;

/// A claim of the next attempt, with a lease of a minute.
fn start(attempt: i64) -> StartAttempt {
    StartAttempt {
        attempt,
        worker: "w1".into(),
        model: large(),
        lease_until: NOW + 60 * SECOND,
        tokens_reserved: 80,
        cost_estimated_pico_usd: ESTIMATE,
        rejected: Vec::new(),
    }
}

fn started(attempt: i64) -> Event {
    started_until(attempt, NOW + 60 * SECOND)
}

fn started_until(attempt: i64, lease_until: Micros) -> Event {
    claimed(attempt, lease_until, false)
}

/// Started after the one before it was lost.
fn started_over(attempt: i64) -> Event {
    claimed(attempt, NOW + 60 * SECOND, true)
}

fn claimed(attempt: i64, lease_until: Micros, previous_lost: bool) -> Event {
    let StartAttempt { worker, model, tokens_reserved, cost_estimated_pico_usd, rejected, .. } = start(attempt);
    AttemptStarted {
        attempt,
        worker,
        model,
        lease_until,
        tokens_reserved,
        cost_estimated_pico_usd,
        rejected,
        previous_lost,
    }
    .into()
}

/// The end of a lease that is over with its margin, by now.
fn over() -> Micros {
    NOW - LEASE_MARGIN_MS * 1_000
}

fn price() -> Price {
    Price {
        input_micro_usd_per_million: Some(3_000_000),
        output_micro_usd_per_million: Some(15_000_000),
        cached_input_micro_usd_per_million: Some(300_000),
        cache_write_micro_usd_per_million: Some(3_750_000),
        llm_provider_version: Some(4),
        batch: true,
    }
}

fn usage() -> Usage {
    Usage {
        input_tokens: 1_000,
        output_tokens: 200,
        cached_input_tokens: 400,
        cache_write_tokens: 100,
        reasoning_tokens: 50,
    }
}

/// 500 × 3 + 400 × 0.3 + 100 × 3.75 + 200 × 15 dollars per million tokens: $0.004995.
const COST: i64 = 4_995_000_000;

fn complete(attempt: i64) -> CompleteRequest {
    CompleteRequest {
        attempt,
        usage: usage(),
        estimated: false,
        price: Some(price()),
        latency_ms: 1_200,
        first_byte_ms: Some(300),
        finish_reason: Some("stop".into()),
        answer: ANSWER.into(),
        answer_sha256: None,
        answer_bytes: None,
        provider_request_id: Some("req_1".into()),
        answer_parts: 0,
    }
}

fn completion(attempt: i64) -> RequestCompleted {
    RequestCompleted {
        attempt,
        model: large(),
        usage: usage(),
        estimated: false,
        price: Some(price()),
        cost_pico_usd: Some(COST),
        latency_ms: 1_200,
        first_byte_ms: Some(300),
        finish_reason: Some("stop".into()),
        answer: ANSWER.into(),
        answer_sha256: Some(payload::sha256(ANSWER)),
        answer_bytes: ANSWER.len() as i64,
        provider_request_id: Some("req_1".into()),
        answer_parts: 0,
    }
}

/// A call that was cut after it had cost something.
fn cut(attempt: i64) -> EndAttempt {
    EndAttempt {
        attempt,
        error: "stream_cut".into(),
        http_status: Some(200),
        provider_code: Some("overloaded".into()),
        sent: true,
        received: true,
        retry_after_ms: Some(2_000),
        usage: Some(usage()),
        estimated: true,
        price: Some(price()),
        latency_ms: Some(900),
        provider_request_id: Some("req_1".into()),
    }
}

fn failed(attempt: i64) -> Event {
    let it = cut(attempt);
    let failure = AttemptFailed {
        attempt,
        error: it.error,
        http_status: it.http_status,
        provider_code: it.provider_code,
        sent: it.sent,
        received: it.received,
        retry_after_ms: it.retry_after_ms,
        usage: it.usage,
        estimated: it.estimated,
        price: it.price,
        cost_pico_usd: Some(COST),
        latency_ms: it.latency_ms,
        provider_request_id: it.provider_request_id,
    };
    failure.into()
}

/// The call of [`complete`] or [`cut`], when it came too late.
fn extra(attempt: i64, error: Option<&str>) -> Event {
    let call = ExtraCallRecorded {
        attempt,
        model: large(),
        error: error.map(str::to_owned),
        usage: Some(usage()),
        estimated: error.is_some(),
        price: Some(price()),
        cost_pico_usd: Some(COST),
        latency_ms: Some(if error.is_some() { 900 } else { 1_200 }),
        provider_request_id: Some("req_1".into()),
    };
    call.into()
}

fn gave_up(attempts: i64, open_attempt: Option<i64>) -> Event {
    RequestFailed { error: "no_model".into(), message: "none answered".into(), attempts, open_attempt }.into()
}

fn expired(attempts: i64, open_attempt: Option<i64>) -> Event {
    RequestExpired { attempts, open_attempt }.into()
}

fn cancelled(attempts: i64, open_attempt: Option<i64>) -> Event {
    RequestCancelled { reason: "changed my mind".into(), attempts, open_attempt }.into()
}

fn fail() -> FailRequest {
    FailRequest { error: "no_model".into(), message: "none answered".into() }
}

fn cancel() -> CancelRequest {
    CancelRequest { reason: "changed my mind".into() }
}

/// Decides as the system's own follow-up command, seeing nothing.
fn as_system(state: &State, command: impl Into<Command>) -> Result<Decision<Event>, Rejection> {
    let mut envelope = Envelope::new(Uuid::from_u128(9), stream::<LlmRequest>());
    envelope.source = SYSTEM_SOURCE.into();
    let context = Context { now: NOW, envelope: &envelope, version: 0, world: &World::default() };
    LlmRequest::decide(state, &command.into(), &context)
}

macro_rules! into_sets {
    ($($set:ident: $($record:ident)+;)+) => {
        $($(impl From<$record> for $set {
            fn from(record: $record) -> Self {
                $set::$record(record)
            }
        })+)+
    };
}
into_sets! {
    Command: SubmitRequest StartAttempt EndAttempt CompleteRequest FailRequest ExpireRequest CancelRequest
        RateAnswer AddAnswerPart LoseAttempt;
    Event: RequestSubmitted AttemptStarted AttemptFailed RequestCompleted RequestFailed RequestExpired RequestCancelled
        ExtraCallRecorded AnswerRated AnswerPartAdded AttemptLost;
}

/// One of each command with a value in every field, each of which changes something where it is allowed.
fn commands() -> Vec<Command> {
    let bytes = PAYLOAD.len() as i64;
    let submit = SubmitRequest {
        operation: Operation::Embeddings,
        payload_sha256: Some(payload::sha256(PAYLOAD)),
        payload_bytes: Some(bytes),
        priority: Priority::Interactive,
        storage: PromptStorage::Hashed,
        prompt_tokens_estimated: Some(17),
        output_tokens_max: Some(64),
        stream: true,
        awaited: true,
        project: Some("archive".into()),
        models: vec![large()],
        ..submit()
    };
    let rejected = vec![Rejected { model: large(), reason: "breaker_open".into() }];
    let complete = CompleteRequest {
        estimated: true,
        answer_sha256: Some(payload::sha256(ANSWER)),
        answer_bytes: Some(ANSWER.len() as i64),
        answer_parts: 1,
        ..complete(1)
    };
    vec![
        submit.into(),
        StartAttempt { rejected, ..start(1) }.into(),
        cut(1).into(),
        complete.into(),
        fail().into(),
        ExpireRequest {}.into(),
        cancel().into(),
        RateAnswer { score: 0.75, comment: "to the point".into() }.into(),
        AddAnswerPart { attempt: 1, part: 1, text: ANSWER.into() }.into(),
        LoseAttempt { attempt: 1 }.into(),
    ]
}

/// One of each event with a value in every field.
fn events() -> Vec<Event> {
    let request = Submission {
        operation: Operation::Embeddings,
        models: vec![large()],
        priority: Priority::Batch,
        storage: PromptStorage::None,
        stream: true,
        awaited: true,
        project: Some("archive".into()),
        ..submission()
    };
    let started = AttemptStarted {
        attempt: 2,
        worker: "w1".into(),
        model: large(),
        lease_until: NOW,
        tokens_reserved: 80,
        cost_estimated_pico_usd: ESTIMATE,
        rejected: vec![Rejected { model: large(), reason: "bulkhead_full".into() }],
        previous_lost: true,
    };
    vec![
        RequestSubmitted { request }.into(),
        started.into(),
        failed(1),
        RequestCompleted { estimated: true, answer_parts: 1, ..completion(2) }.into(),
        gave_up(2, Some(2)),
        expired(2, Some(2)),
        cancelled(2, Some(2)),
        extra(1, Some("timeout")),
        AnswerRated {
            model: large(),
            rater: Some("ada".into()),
            before_millionths: Some(250_000),
            after_millionths: 750_000,
            comment: "to the point".into(),
        }
        .into(),
        AnswerPartAdded { attempt: 2, part: 1, bytes: ANSWER.len() as i64, text: ANSWER.into() }.into(),
        AttemptLost { attempt: 1 }.into(),
    ]
}

#[test]
fn the_bytes_of_every_record_stay_as_they_are() {
    golden::assert_full(&commands());
    golden::assert_full(&events());
    golden::check("llm_request", commands());
    golden::check("llm_request", events());
}
