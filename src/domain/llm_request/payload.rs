//! A light look at a payload: enough to refuse what no provider would take, and to estimate what it will use. The payload
//! itself is passed on untouched.

use super::records::Operation;
use super::usage::TOKENS_MAX;
use crate::domain::Rejection;
use crate::domain::common::hex;
use crate::domain::personal::Personal;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// Longest payload, in bytes: with what else its records hold it must fit a message of 1 MiB, which is what the topics
/// take.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024 - 64 * 1024;
/// Bytes of JSON that count as one token, where nobody has counted them: a little too many tokens for most text.
pub const BYTES_PER_TOKEN: i64 = 4;

/// What is known of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Lower-case hex.
    pub sha256: String,
    pub bytes: i64,
    pub prompt_tokens_estimated: i64,
    pub output_tokens_max: Option<i64>,
}

/// Looks at a payload: a JSON object with `messages` or `input`, as the operation wants it, within
/// [`PAYLOAD_BYTES_MAX`]. Its text is never repeated in the message.
///
/// # Errors
/// `invalid`.
pub fn inspect(operation: Operation, text: &str) -> Result<Facts, Rejection> {
    if text.len() > PAYLOAD_BYTES_MAX {
        let why = format!("has {} bytes, at most {PAYLOAD_BYTES_MAX} are allowed", text.len());
        return Err(Rejection::invalid("payload", why));
    }
    // A struct would also be read from a list.
    if !text.trim_start().starts_with('{') {
        return Err(Rejection::invalid("payload", "is no JSON object; send one"));
    }
    let shape: Shape<'_> = serde_json::from_str(text).map_err(|error| {
        let at = format!("line {}, column {}", error.line(), error.column());
        Rejection::invalid("payload", format!("is no JSON object that can be read ({at}); send one, each field once"))
    })?;
    let missing = match operation {
        Operation::ChatCompletion => (!shape.messages.is_some_and(is_filled_list))
            .then_some("has no messages; a chat completion needs \"messages\": [{\"role\": …, \"content\": …}, …]"),
        Operation::Embeddings => (!shape.input.is_some_and(is_input))
            .then_some("has no input; embeddings need \"input\": a text, or a list of texts or tokens"),
    };
    if let Some(why) = missing {
        return Err(Rejection::invalid("payload", why));
    }
    let limit = |field, value: Option<&RawValue>| value.map(|it| output_limit(field, it)).transpose();
    let completion_tokens = limit("payload.max_completion_tokens", shape.max_completion_tokens)?.flatten();
    let tokens = limit("payload.max_tokens", shape.max_tokens)?.flatten();
    let bytes = text.len() as i64;
    Ok(Facts {
        sha256: sha256(text),
        bytes,
        prompt_tokens_estimated: (bytes + BYTES_PER_TOKEN - 1) / BYTES_PER_TOKEN,
        output_tokens_max: completion_tokens.or(tokens),
    })
}

/// The text of a payload that must be there and readable.
///
/// # Errors
/// `invalid`.
pub fn text(payload: &Personal) -> Result<&str, Rejection> {
    match payload {
        Personal::Plain(text) => Ok(text),
        Personal::Absent => Err(Rejection::invalid("payload", "is missing; send the JSON text of the request")),
        Personal::Sealed(_) => Err(Rejection::invalid("payload", "is sealed; a provider needs it in plain text")),
    }
}

/// SHA-256 of a text's bytes, in lower-case hex.
pub fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(borrow, default)]
    messages: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    max_completion_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    max_tokens: Option<&'a RawValue>,
}

fn is_filled_list(value: &RawValue) -> bool {
    value.get().strip_prefix('[').is_some_and(|rest| !rest.trim_start().starts_with(']'))
}

fn is_input(value: &RawValue) -> bool {
    is_filled_list(value) || value.get().starts_with('"')
}

/// How long the answer may be; `null` sets no limit.
fn output_limit(field: &str, value: &RawValue) -> Result<Option<i64>, Rejection> {
    let limit: Option<i64> = serde_json::from_str(value.get()).map_err(|_| not_a_limit(field))?;
    match limit {
        Some(limit) if !(1..=TOKENS_MAX).contains(&limit) => Err(not_a_limit(field)),
        limit => Ok(limit),
    }
}

fn not_a_limit(field: &str) -> Rejection {
    Rejection::invalid(field, format!("must be a whole number from 1 to {TOKENS_MAX}"))
}
