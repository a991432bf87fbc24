//! Ratings: how good an answer was, in the words and numbers of whoever asked.
//!
//! A score is kept in whole millionths, so that sums over any number of ratings are exact whatever their order. A comment
//! may repeat the prompt, so it is kept only where prompts are.

use super::{AnswerRated, AttemptEnd, Event, RateAnswer, State, Status, view};
use crate::domain::common::{PromptStorage, TEXT_BYTES_MAX, check_length, check_unit};
use crate::domain::personal::Personal;
use crate::domain::{Decision, Rejection};
use serde::{Deserialize, Serialize};

/// Most raters of one answer.
pub const RATERS_MAX: usize = 32;
/// A score of 1.
pub const MILLION: i64 = 1_000_000;

/// The rating of one rater.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rating {
    /// Absent: whoever named nobody.
    pub rater: Option<String>,
    pub score_millionths: i64,
}

pub fn rate(state: &State, command: &RateAnswer, actor: Option<&str>) -> Result<Decision<Event>, Rejection> {
    check_unit("score", Some(command.score))?;
    let comment = comment(state, &command.comment)?;
    let answered = state.attempts.iter().rfind(|attempt| attempt.end == AttemptEnd::Completed);
    let Some(answered) = answered.filter(|_| state.status == Status::Completed) else {
        let status = view::status(state);
        let why = format!("the request is {status}, so there is no answer to rate; rate completed requests only");
        return Err(Rejection::new("not_completed", why).with("status", status));
    };
    let before = state.ratings.iter().find(|rating| rating.rater.as_deref() == actor);
    let before_millionths = before.map(|rating| rating.score_millionths);
    let after_millionths = (command.score * MILLION as f64).round() as i64;
    if before_millionths == Some(after_millionths) && comment.is_absent() {
        return Ok(Decision::unchanged());
    }
    if before.is_none() && state.ratings.len() >= RATERS_MAX {
        let why = format!("{RATERS_MAX} raters have rated this answer, which is the most; one of them can rate it anew");
        return Err(Rejection::new("too_many_ratings", why));
    }
    Ok(Decision::event(Event::AnswerRated(AnswerRated {
        model: answered.model.clone(),
        rater: actor.map(str::to_owned),
        before_millionths,
        after_millionths,
        comment,
    })))
}

/// As much of a comment as is kept.
fn comment(state: &State, comment: &Personal) -> Result<Personal, Rejection> {
    match comment {
        Personal::Sealed(_) => Err(Rejection::invalid("comment", "is sealed; give it in plain text or leave it out")),
        Personal::Plain(text) => {
            check_length("comment", text, TEXT_BYTES_MAX)?;
            let is_kept = state.request.storage == PromptStorage::Full && !text.trim().is_empty();
            Ok(if is_kept { comment.clone() } else { Personal::Absent })
        }
        Personal::Absent => Ok(Personal::Absent),
    }
}

pub fn put(state: &mut State, event: &AnswerRated) {
    let score_millionths = event.after_millionths;
    match state.ratings.iter_mut().find(|rating| rating.rater == event.rater) {
        Some(rating) => rating.score_millionths = score_millionths,
        None => state.ratings.push(Rating { rater: event.rater.clone(), score_millionths }),
    }
}

/// The mean of the ratings, 0..1; absent where there is none.
pub fn mean(ratings: &[Rating]) -> Option<f64> {
    let sum: i64 = ratings.iter().map(|rating| rating.score_millionths).sum();
    (!ratings.is_empty()).then(|| sum as f64 / (MILLION as f64 * ratings.len() as f64))
}
