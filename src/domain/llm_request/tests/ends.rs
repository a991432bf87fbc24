use super::*;
use crate::domain::common::TEXT_BYTES_MAX;

#[test]
fn a_request_is_given_up_before_or_after_its_attempts() {
    let state = Request::given([submitted()]).when(fail()).then([gave_up(0, None)]);
    assert_eq!((state.status, &*state.error, &*state.reason), (Status::Failed, "no_model", "none answered"));
    assert!(state.request.payload.is_absent() && state.has_payload);
    Request::given([submitted(), started(1), failed(1)]).when(fail()).then([gave_up(1, None)]);
}

#[test]
fn a_request_ends_by_itself_only_when_its_attempt_is_over() {
    Request::given([submitted(), started(1)]).when(fail()).then_refused("attempt_open");
    Request::given([overdue(), started(1)]).when(ExpireRequest {}).then_refused("attempt_open");
    let state = Request::given([submitted(), started_until(1, over())]).when(fail()).then([gave_up(1, Some(1))]);
    assert_eq!((state.lost_attempts, state.attempts[0].end), (1, AttemptEnd::Lost));
    let state = Request::given([overdue(), started_until(1, over())]).when(ExpireRequest {});
    assert_eq!(state.then([expired(1, Some(1))]).lost_attempts, 1);
}

#[test]
fn a_request_expires_at_its_deadline_and_not_before() {
    let by = |deadline_at| RequestSubmitted { request: Submission { deadline_at, ..submission() } }.into();
    Request::given([by(NOW + 1)]).when(ExpireRequest {}).then_refused("deadline_not_reached");
    let state = Request::given([by(NOW)]).when(ExpireRequest {}).then([expired(0, None)]);
    assert_eq!(state.status, Status::Expired);
}

#[test]
fn a_request_is_cancelled_at_any_time_before_its_end() {
    let state = Request::given([submitted()]).when(cancel()).then([cancelled(0, None)]);
    assert_eq!((state.status, &*state.reason), (Status::Cancelled, "changed my mind"));
    assert!(LlmRequest::is_terminal(&state));
    let state = Request::given([submitted(), started(1)]).when(cancel()).then([cancelled(1, Some(1))]);
    assert_eq!((state.attempts[0].end, state.lost_attempts), (AttemptEnd::Open, 0), "it may still be heard of");
}

#[test]
fn an_ended_request_stays_as_it_ended() {
    let ends = [
        (completion(1).into(), "completed"),
        (gave_up(1, None), "failed"),
        (expired(1, None), "expired"),
        (cancelled(1, None), "cancelled"),
    ];
    let late = Submission { deadline_at: NOW - SECOND, ..submission() };
    for (end, status) in ends {
        let history = vec![RequestSubmitted { request: late.clone() }.into(), started_until(1, over()), failed(1), end];
        for (command, own) in [
            (Command::from(fail()), "failed"),
            (ExpireRequest {}.into(), "expired"),
            (cancel().into(), "cancelled"),
            (start(2).into(), "none"),
        ] {
            let outcome = Request::given(history.clone()).when(command);
            if own == status {
                outcome.then_nothing();
            } else {
                assert_eq!(outcome.then_refused("request_ended").details["status"], status);
            }
        }
    }
}

#[test]
fn texts_and_codes_are_bounded() {
    let long = "x".repeat(TEXT_BYTES_MAX + 1);
    let cases: [(&str, Command); 4] = [
        ("error", FailRequest { error: "Not a code".into(), ..fail() }.into()),
        ("error", FailRequest { error: "x".repeat(65), ..fail() }.into()),
        ("message", FailRequest { message: long.clone(), ..fail() }.into()),
        ("reason", CancelRequest { reason: long }.into()),
    ];
    for (field, command) in cases {
        assert_eq!(Request::given([submitted()]).when(command).then_refused("invalid").details["field"], field);
    }
}
