//! What a request's values must be.

use super::records::{EndAttempt, ModelChoice, SubmitRequest};
use super::usage::{COST_PICO_USD_MAX, PRICE_MICRO_USD_PER_MILLION_MAX, Price, TOKENS_MAX, Usage};
use super::{ANSWER_WHOLE_BYTES_MAX, CompleteRequest, LEASE_MS_MAX, MODELS_MAX, StartAttempt};
use crate::domain::common::{NAME_BYTES_MAX, check_length, check_name, check_not_negative};
use crate::domain::llm_provider::MODEL_ID_BYTES_MAX;
use crate::domain::personal::Personal;
use crate::domain::{Micros, Rejection, TenantId};
use uuid::Uuid;

/// Longest code of an error or a reason, in bytes.
const CODE_BYTES_MAX: usize = 64;
/// Longest duration, in milliseconds: no call outlives its lease by much.
const DURATION_MS_MAX: i64 = 10 * LEASE_MS_MAX;

pub fn check_id(field: &str, id: Option<Uuid>) -> Result<(), Rejection> {
    match id {
        Some(id) if id.is_nil() => Err(Rejection::invalid(field, "must not be the nil UUID")),
        _ => Ok(()),
    }
}

/// An amount within bounds.
pub fn check_within(field: &str, value: Option<i64>, most: i64) -> Result<(), Rejection> {
    match value {
        Some(value) if !(0..=most).contains(&value) => {
            Err(Rejection::invalid(field, format!("must be between 0 and {most}")))
        }
        _ => Ok(()),
    }
}

/// A code for programs: lower-case letters, digits and underscores, a letter first.
pub fn check_code(field: &str, code: &str) -> Result<(), Rejection> {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let is_code = code.starts_with(|char: char| char.is_ascii_lowercase()) && code.bytes().all(inside);
    if !is_code || code.len() > CODE_BYTES_MAX {
        let why = format!("must be a code such as rate_limited: a-z, 0-9 and _, at most {CODE_BYTES_MAX} bytes");
        return Err(Rejection::invalid(field, why));
    }
    Ok(())
}

pub fn check_sha256(field: &str, sha256: Option<&str>) -> Result<(), Rejection> {
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match sha256 {
        Some(text) if text.len() != 64 || !is_hex(text) => {
            Err(Rejection::invalid(field, "must be 64 lower-case hexadecimal digits"))
        }
        _ => Ok(()),
    }
}

/// One to [`MODELS_MAX`] models, each once, of providers that the tenant can see.
pub fn check_models(models: &[ModelChoice], tenant: TenantId) -> Result<(), Rejection> {
    if models.is_empty() || models.len() > MODELS_MAX {
        let why = format!("has {} entries; give 1 to {MODELS_MAX}, the choice first", models.len());
        return Err(Rejection::invalid("models", why));
    }
    for (place, model) in models.iter().enumerate() {
        check_model(model)?;
        let home = TenantId(model.provider_tenant_id);
        if home != tenant && !home.is_shared() {
            let why = "must be the request's own tenant or nil, the shared catalogue";
            return Err(Rejection::invalid("models.provider_tenant_id", why));
        }
        if models[..place].contains(model) {
            return Err(
                Rejection::invalid("models", "names a model twice; give each once").with("model_id", &model.model_id)
            );
        }
    }
    Ok(())
}

fn check_model(model: &ModelChoice) -> Result<(), Rejection> {
    check_id("models.provider_id", Some(model.provider_id))?;
    if model.model_id.trim().is_empty() {
        return Err(Rejection::invalid("models.model_id", "must not be blank"));
    }
    check_length("models.model_id", &model.model_id, MODEL_ID_BYTES_MAX)
}

/// All of a submission but its models, its payload and its deadline.
pub fn check_submission(command: &SubmitRequest) -> Result<(), Rejection> {
    check_id("coupling_id", command.coupling_id)?;
    check_id("agent_id", command.agent_id)?;
    check_not_negative("coupling_version", command.coupling_version)?;
    check_sha256("payload_sha256", command.payload_sha256.as_deref())?;
    check_within("payload_bytes", command.payload_bytes, super::payload::PAYLOAD_BYTES_MAX as i64)?;
    command.project.as_deref().map_or(Ok(()), |project| check_name("project", project))?;
    check_within("prompt_tokens_estimated", command.prompt_tokens_estimated, TOKENS_MAX)?;
    check_within("output_tokens_max", command.output_tokens_max, TOKENS_MAX)
}

pub fn check_start(command: &StartAttempt, models: &[ModelChoice], now: Micros) -> Result<(), Rejection> {
    check_name("worker", &command.worker)?;
    if !models.contains(&command.model) {
        return Err(Rejection::invalid("model", "is none of the request's models; take one of them"));
    }
    let longest = now.saturating_add(LEASE_MS_MAX * 1_000);
    if command.lease_until <= now || command.lease_until > longest {
        let why = format!("must be after now ({now}) and at most {LEASE_MS_MAX} ms from it, in microseconds");
        return Err(Rejection::invalid("lease_until", why));
    }
    // Estimates of both ways.
    check_within("tokens_reserved", Some(command.tokens_reserved), 2 * TOKENS_MAX)?;
    check_within("cost_estimated_pico_usd", Some(command.cost_estimated_pico_usd), COST_PICO_USD_MAX)?;
    if command.rejected.len() > MODELS_MAX {
        let why = format!("has {} entries, at most {MODELS_MAX} are allowed", command.rejected.len());
        return Err(Rejection::invalid("rejected", why));
    }
    command.rejected.iter().try_for_each(|rejected| {
        check_model(&rejected.model)?;
        check_code("rejected.reason", &rejected.reason)
    })
}

pub fn check_end(command: &EndAttempt) -> Result<(), Rejection> {
    check_code("error", &command.error)?;
    check_within("http_status", command.http_status, 999)?;
    check_text("provider_code", command.provider_code.as_deref())?;
    // A provider may ask for days; what is asked for is recorded, and the deadline bounds what is waited.
    check_not_negative("retry_after_ms", command.retry_after_ms)?;
    check_call(command.usage.as_ref(), command.price.as_ref())?;
    check_within("latency_ms", command.latency_ms, DURATION_MS_MAX)?;
    check_text("provider_request_id", command.provider_request_id.as_deref())
}

pub fn check_completion(command: &CompleteRequest) -> Result<(), Rejection> {
    check_call(Some(&command.usage), command.price.as_ref())?;
    check_within("latency_ms", Some(command.latency_ms), DURATION_MS_MAX)?;
    check_within("first_byte_ms", command.first_byte_ms, DURATION_MS_MAX)?;
    check_text("finish_reason", command.finish_reason.as_deref())?;
    check_text("provider_request_id", command.provider_request_id.as_deref())?;
    check_sha256("answer_sha256", command.answer_sha256.as_deref())?;
    check_not_negative("answer_bytes", command.answer_bytes)?;
    check_not_negative("answer_parts", Some(command.answer_parts))?;
    match &command.answer {
        Personal::Sealed(_) => Err(Rejection::invalid("answer", "is sealed; give it in plain text or leave it out")),
        Personal::Plain(text) if text.len() > ANSWER_WHOLE_BYTES_MAX => {
            let why = format!(
                "has {} bytes, at most {ANSWER_WHOLE_BYTES_MAX} are stored at once; give it in parts before, and here \
                 answer_parts, answer_sha256 and answer_bytes",
                text.len()
            );
            Err(Rejection::invalid("answer", why))
        }
        Personal::Plain(_) if command.answer_parts != 0 => {
            Err(Rejection::invalid("answer_parts", "must be 0 beside an answer: it is given in one piece or in parts"))
        }
        Personal::Plain(_) | Personal::Absent => Ok(()),
    }
}

fn check_text(field: &str, text: Option<&str>) -> Result<(), Rejection> {
    text.map_or(Ok(()), |text| check_length(field, text, NAME_BYTES_MAX))
}

/// The bounds within which a cost is exact.
fn check_call(usage: Option<&Usage>, price: Option<&Price>) -> Result<(), Rejection> {
    if let Some(usage) = usage {
        check_within("usage.input_tokens", Some(usage.input_tokens), TOKENS_MAX)?;
        check_within("usage.output_tokens", Some(usage.output_tokens), TOKENS_MAX)?;
        check_within("usage.cached_input_tokens", Some(usage.cached_input_tokens), usage.input_tokens)?;
        let left = usage.input_tokens - usage.cached_input_tokens;
        check_within("usage.cache_write_tokens", Some(usage.cache_write_tokens), left)?;
        check_within("usage.reasoning_tokens", Some(usage.reasoning_tokens), usage.output_tokens)?;
    }
    let Some(price) = price else { return Ok(()) };
    for (field, value) in [
        ("price.input_micro_usd_per_million", price.input_micro_usd_per_million),
        ("price.output_micro_usd_per_million", price.output_micro_usd_per_million),
        ("price.cached_input_micro_usd_per_million", price.cached_input_micro_usd_per_million),
        ("price.cache_write_micro_usd_per_million", price.cache_write_micro_usd_per_million),
    ] {
        check_within(field, value, PRICE_MICRO_USD_PER_MILLION_MAX)?;
    }
    check_not_negative("price.llm_provider_version", price.llm_provider_version)
}
