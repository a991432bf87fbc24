//! What a call used, as far as that is known: as its provider reported it, or as can be told from what came of it.

use super::call::{Came, Seen};
use super::work::Request;
use crate::domain::llm_request::{Operation, TOKENS_MAX, Usage};
use crate::ports::llm::{self, End, Error, Progress};

/// Statuses of somebody between who did not wait for the answer: it may have been given, and charged.
const TIMEOUTS: [u16; 4] = [408, 504, 522, 524];

/// What a call used: as reported; by what came of it where that was cut off; nothing where it was turned away.
pub fn usage_of(came: &Came, seen: &Seen, request: &Request) -> Option<(Usage, bool)> {
    let estimated = || {
        let input_tokens = request.prompt_tokens;
        let usage = Usage { input_tokens, output_tokens: seen.assembly.tokens_estimated(), ..Usage::default() };
        (usage.clamped(), true)
    };
    match came {
        Came::Answered { end: End { usage: Some(usage), .. }, .. } => Some((usage_in(usage), false)),
        Came::Answered { body: Some(body), .. } => {
            let output_tokens = match request.operation {
                Operation::ChatCompletion => i64::try_from(body.len()).unwrap_or(TOKENS_MAX) / 4,
                Operation::Embeddings => 0,
            };
            let usage = Usage { input_tokens: request.prompt_tokens, output_tokens, ..Usage::default() };
            Some((usage.clamped(), true))
        }
        Came::Answered { body: None, .. } => Some(estimated()),
        Came::Failed(error) => match &error.usage {
            Some(usage) => Some(usage_until(usage_in(usage), seen.assembly.tokens_estimated())),
            None if is_turned_away(error) => Some((Usage::default(), false)),
            None => (!seen.assembly.is_empty()).then(estimated),
        },
        Came::Left { .. } => (!seen.assembly.is_empty()).then(estimated),
        Came::NotSent(_) => None,
    }
}

/// What a provider had reported when its answer was cut off: a count from the beginning of a stream is below what came.
fn usage_until(reported: Usage, output_tokens: i64) -> (Usage, bool) {
    match output_tokens > reported.output_tokens {
        true => (Usage { output_tokens, ..reported }.clamped(), true),
        false => (reported, false),
    }
}

/// Whether the provider said that it charges the call as a batch.
pub fn is_batch(came: &Came) -> bool {
    let usage = match came {
        Came::Answered { end, .. } => &end.usage,
        Came::Failed(error) => &error.usage,
        Came::Left { .. } | Came::NotSent(_) => return false,
    };
    usage.is_some_and(|usage| usage.is_batch)
}

fn usage_in(usage: &llm::Usage) -> Usage {
    let whole = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
    Usage {
        input_tokens: whole(usage.input_tokens),
        output_tokens: whole(usage.output_tokens),
        cached_input_tokens: whole(usage.cached_input_tokens),
        cache_write_tokens: whole(usage.cache_write_tokens),
        reasoning_tokens: whole(usage.reasoning_tokens),
    }
    .clamped()
}

/// Whether the provider turned the request away, or answered with an error of its own, which costs nothing.
fn is_turned_away(error: &Error) -> bool {
    let is_an_error = error.status().is_some_and(|status| status >= 400 && !TIMEOUTS.contains(&status));
    (error.kind.is_refusal() || is_an_error) && error.progress < Progress::Receiving
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::llm::{Head, Kind};

    #[test]
    fn an_error_that_a_provider_answers_with_costs_nothing_and_a_timeout_of_somebody_between_may() {
        let failed = |status, progress| {
            let complaint =
                llm::Complaint { message: "no".into(), kind: "server_error".into(), param: None, code: None };
            let head = Head { status, ..Head::default() };
            let provider = "p".to_owned();
            Error { provider, kind: Kind::Server, progress, head, complaint, cause: None, usage: None }
        };
        for status in [500, 502, 503, 529] {
            assert!(is_turned_away(&failed(status, Progress::Sent)), "{status}");
            assert!(!is_turned_away(&failed(status, Progress::Receiving)), "{status}: in the middle of an answer");
        }
        for status in [0, 200, 408, 504, 524] {
            assert!(!is_turned_away(&failed(status, Progress::Sent)), "{status}");
        }
    }

    #[test]
    fn what_was_reported_before_a_cut_counts_unless_more_had_come_by_then() {
        let reported = Usage { input_tokens: 90, output_tokens: 1, cache_write_tokens: 40, ..Usage::default() };
        let more = Usage { output_tokens: 25, ..reported };
        assert_eq!(usage_until(reported, 25), (more, true), "estimated, with what is known of the prompt");
        assert_eq!(usage_until(reported, 1), (reported, false));
        assert_eq!(usage_until(more, 7), (more, false), "a count is better than an estimate below it");
    }
}
