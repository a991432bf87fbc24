//! Answers that are too large for one record: given in parts, before the completion that makes an answer of them.

use super::decide::check_running;
use super::payload::PAYLOAD_BYTES_MAX;
use super::*;
use crate::domain::common::PromptStorage;
use crate::domain::personal::Personal;

/// Longest answer that is stored, in bytes: what `llm_answer_bytes_max` is by default.
pub const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Longest answer that is stored in one record.
pub const ANSWER_WHOLE_BYTES_MAX: usize = PAYLOAD_BYTES_MAX;
/// Longest part of an answer.
pub const ANSWER_PART_BYTES_MAX: usize = 256 * 1024;

/// A part of an answer that is too large for one record. Given in their order, before the attempt is completed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AddAnswerPart {
    /// The one under way.
    pub attempt: i64,
    /// From 1; the one that follows those that are there.
    pub part: i64,
    /// At most [`super::ANSWER_PART_BYTES_MAX`], cut between characters.
    pub text: Personal,
}

/// A part of an answer: it counts once its attempt is completed with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerPartAdded {
    pub attempt: i64,
    /// From 1.
    pub part: i64,
    /// Of its text.
    pub bytes: i64,
    pub text: Personal,
}

/// The parts of an answer that are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerParts {
    pub count: i64,
    pub bytes: i64,
}

/// A part counts once its attempt is completed with it, so it needs no lease.
pub fn add(state: &State, command: &AddAnswerPart) -> Result<Decision<Event>, Rejection> {
    check_running(state)?;
    let attempt = attempts::attempt(state, command.attempt)?;
    if attempt.end != AttemptEnd::Open {
        let why = "this attempt has ended; parts belong to the answer of the one that is under way";
        return Err(Rejection::new("attempt_ended", why).with("attempt", command.attempt));
    }
    let storage = state.request.storage;
    if storage != PromptStorage::Full {
        let why = "answers of this request are not stored in full; complete it with the answer's hash and size";
        return Err(Rejection::new("answer_not_stored", why).with("storage", storage.name()));
    }
    let text = check_part(&command.text)?;
    let next = state.parts.count + 1;
    if command.part != next {
        let why = "parts are added in their order, each once; send the one that follows";
        return Err(Rejection::new("part_out_of_order", why).with("next", next));
    }
    let bytes = text.len() as i64;
    if state.parts.bytes + bytes > ANSWER_BYTES_MAX as i64 {
        let why = format!("makes an answer of more than {ANSWER_BYTES_MAX} bytes, which is not stored");
        return Err(Rejection::invalid("text", why));
    }
    let AddAnswerPart { attempt, part, ref text } = *command;
    Ok(Decision::event(Event::AnswerPartAdded(AnswerPartAdded { attempt, part, bytes, text: text.clone() })))
}

/// A part's text.
fn check_part(text: &Personal) -> Result<&str, Rejection> {
    match text {
        Personal::Plain(text) if !text.is_empty() && text.len() <= ANSWER_PART_BYTES_MAX => Ok(text),
        Personal::Plain(text) => {
            let why = format!("has {} bytes; a part has 1 to {ANSWER_PART_BYTES_MAX}", text.len());
            Err(Rejection::invalid("text", why))
        }
        Personal::Sealed(_) | Personal::Absent => {
            Err(Rejection::invalid("text", "is missing or sealed; give it in plain text"))
        }
    }
}

