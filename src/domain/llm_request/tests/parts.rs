//! Answers that are too large for one record.

use super::*;

const FIRST: &str = "{\"choices\":";
const SECOND: &str = "[]}";

fn part(part: i64, text: &str) -> AddAnswerPart {
    AddAnswerPart { attempt: 1, part, text: text.into() }
}

fn added(attempt: i64, part: i64, text: &str) -> Event {
    AnswerPartAdded { attempt, part, bytes: text.len() as i64, text: text.into() }.into()
}

fn stored() -> Vec<Event> {
    let request = Submission { storage: PromptStorage::Full, ..submission() };
    vec![RequestSubmitted { request }.into(), started(1)]
}

/// With both parts.
fn in_parts() -> Vec<Event> {
    stored().into_iter().chain([added(1, 1, FIRST), added(1, 2, SECOND)]).collect()
}

fn done(answer_parts: i64, bytes: usize) -> CompleteRequest {
    CompleteRequest {
        answer: Personal::Absent,
        answer_sha256: Some(payload::sha256(ANSWER)),
        answer_bytes: Some(bytes as i64),
        answer_parts,
        ..complete(1)
    }
}

#[test]
fn an_answer_in_parts_is_stored_once_its_attempt_is_completed_with_all_of_them() {
    assert_eq!([FIRST, SECOND].concat(), ANSWER);
    Request::given(stored()).when(part(1, FIRST)).then([added(1, 1, FIRST)]);
    let state = Request::given(in_parts()).state().clone();
    assert!(state.answer.is_none() && state.is_running());
    let whole = RequestCompleted { answer: Personal::Absent, answer_parts: 2, ..completion(1) };
    let state = Request::given(in_parts()).when(done(2, ANSWER.len())).then([whole.into()]);
    assert!(state.answer.is_some_and(|it| it.is_stored));
}

#[test]
fn a_completion_whose_parts_are_not_there_counts_without_its_answer() {
    for (history, answer_parts, bytes) in
        [(stored(), 2, ANSWER.len()), (in_parts(), 3, ANSWER.len()), (in_parts(), 2, ANSWER.len() + 1), (in_parts(), 0, 14)]
    {
        let bare = RequestCompleted { answer: Personal::Absent, answer_bytes: bytes as i64, ..completion(1) };
        let state = Request::given(history).when(done(answer_parts, bytes)).then([bare.into()]);
        assert!(!state.answer.is_some_and(|it| it.is_stored));
    }
}

#[test]
fn parts_are_of_the_attempt_under_way() {
    let next = stored().into_iter().chain([added(1, 1, FIRST), failed(1), started(2)]);
    let history: Vec<_> = next.collect();
    let refused = Request::given(history.clone()).when(part(2, SECOND)).then_refused("attempt_ended");
    assert_eq!(refused.details["attempt"], "1");
    let own = AddAnswerPart { attempt: 2, ..part(1, FIRST) };
    Request::given(history).when(own).then([added(2, 1, FIRST)]);
    Request::given(stored()).when(AddAnswerPart { attempt: 2, ..part(1, FIRST) }).then_refused("unknown_attempt");
    let ended = stored().into_iter().chain([cancelled(1, Some(1))]).collect::<Vec<_>>();
    Request::given(ended).when(part(1, FIRST)).then_refused("request_ended");
}

#[test]
fn parts_come_in_their_order_within_bounds_and_only_where_answers_are_kept() {
    for number in [0, 1, 3] {
        let history = stored().into_iter().chain([added(1, 1, FIRST)]).collect::<Vec<_>>();
        let refused = Request::given(history).when(part(number, SECOND)).then_refused("part_out_of_order");
        assert_eq!(refused.details["next"], "2");
    }
    let long = "x".repeat(ANSWER_PART_BYTES_MAX + 1);
    for text in ["", &long] {
        assert_eq!(Request::given(stored()).when(part(1, text)).then_refused("invalid").details["field"], "text");
    }
    let full = AnswerPartAdded { attempt: 1, part: 1, bytes: ANSWER_BYTES_MAX as i64, text: Personal::Absent };
    let history = stored().into_iter().chain([full.into()]).collect::<Vec<_>>();
    assert_eq!(Request::given(history).when(part(2, "x")).then_refused("invalid").details["field"], "text");
    for storage in [PromptStorage::Hashed, PromptStorage::None] {
        let request = Submission { storage, payload: Personal::Absent, ..submission() };
        let history = vec![RequestSubmitted { request }.into(), started(1)];
        Request::given(history).when(part(1, FIRST)).then_refused("answer_not_stored");
    }
    let both = CompleteRequest { answer_parts: 1, ..complete(1) };
    assert_eq!(Request::given(in_parts()).when(both).then_refused("invalid").details["field"], "answer_parts");
}

#[test]
fn an_estimated_usage_is_said_of_whatever_became_of_the_request() {
    let shown = |history: Vec<Event>| LlmRequest::view(Request::given(history).state())["usage_estimated"].clone();
    assert_eq!(shown(stored()), false);
    // Its call was cut, and nobody counted.
    let gone = stored().into_iter().chain([failed(1), gave_up(1, None)]).collect();
    assert_eq!(shown(gone), true);
    assert_eq!(shown(stored().into_iter().chain([completion(1).into()]).collect()), false);
}
