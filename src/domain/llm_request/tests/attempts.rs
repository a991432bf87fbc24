use super::*;

/// A request with one attempt that is under way.
fn under_way() -> Vec<Event> {
    vec![submitted(), started(1)]
}

/// A request whose first attempt was lost and whose second is under way.
fn taken_over() -> Vec<Event> {
    vec![submitted(), started_until(1, over()), started_over(2)]
}

#[test]
fn an_attempt_is_claimed_with_its_lease() {
    let rejected = vec![Rejected { model: large(), reason: "breaker_open".into() }];
    let command = StartAttempt { model: small(), rejected: rejected.clone(), ..start(1) };
    let event = AttemptStarted {
        attempt: 1,
        worker: "w1".into(),
        model: small(),
        lease_until: NOW + 60 * SECOND,
        tokens_reserved: 80,
        cost_estimated_pico_usd: ESTIMATE,
        rejected,
        previous_lost: false,
    };
    let state = Request::given([submitted()]).when(command).then([event.into()]);
    assert_eq!((state.status, state.open().map(|it| it.attempt)), (Status::Started, Some(1)));
    assert_eq!((state.attempts[0].started_at, state.model()), (NOW, Some(&small())));
    assert!(!state.request.payload.is_absent(), "the worker needs it");
}

#[test]
fn a_request_that_is_not_there_has_no_attempts() {
    let all: [Command; 6] =
        [start(1).into(), cut(1).into(), complete(1).into(), fail().into(), ExpireRequest {}.into(), cancel().into()];
    for command in all {
        Request::given([]).when(command).then_refused("not_found");
    }
}

#[test]
fn a_worker_that_missed_an_attempt_is_refused() {
    for attempt in [0, -1, 1, 3, i64::MAX, i64::MIN] {
        let rejection = Request::given([submitted(), started(1), failed(1)]).when(start(attempt));
        assert_eq!(rejection.then_refused("stale_attempt").details["last"], "1");
    }
    Request::given([submitted(), started(1), failed(1)]).when(start(2)).then([started(2)]);
}

#[test]
fn nothing_is_started_when_the_deadline_has_passed() {
    Request::given([overdue()]).when(start(1)).then_refused("deadline_passed");
    let now = RequestSubmitted { request: Submission { deadline_at: NOW, ..submission() } };
    Request::given([now.into()]).when(start(1)).then_refused("deadline_passed");
    let soon = RequestSubmitted { request: Submission { deadline_at: NOW + 1, ..submission() } };
    Request::given([soon.into()]).when(start(1)).then([started(1)]);
}

#[test]
fn a_second_attempt_waits_for_lease_and_margin_of_the_first() {
    let margin = LEASE_MARGIN_MS * 1_000;
    for lease_until in [NOW + SECOND, NOW, NOW - margin + 1] {
        let rejection = Request::given([submitted(), started_until(1, lease_until)]).when(start(2));
        let rejection = rejection.then_refused("attempt_open");
        assert_eq!(rejection.details["until"], (lease_until + margin).to_string());
        assert_eq!((&*rejection.details["attempt"], &*rejection.details["worker"]), ("1", "w1"));
    }
    let state = Request::given([submitted(), started_until(1, NOW - margin)]).when(start(2)).then([started_over(2)]);
    assert_eq!((state.attempts[0].end, state.lost_attempts), (AttemptEnd::Lost, 1));
    assert_eq!(state.open().map(|it| it.attempt), Some(2));
}

#[test]
fn attempts_are_bounded() {
    let mut history = vec![submitted()];
    for attempt in 1..=ATTEMPTS_MAX {
        history.extend([started(attempt), failed(attempt)]);
    }
    Request::given(history.clone()).when(start(ATTEMPTS_MAX + 1)).then_refused("attempts_exhausted");
    history.truncate(history.len() - 2);
    Request::given(history).when(start(ATTEMPTS_MAX)).then([started(ATTEMPTS_MAX)]);
}

#[test]
fn a_failed_attempt_says_what_it_cost_and_the_next_may_start() {
    let state = Request::given(under_way()).when(cut(1)).then([failed(1)]);
    assert_eq!((state.status, state.open()), (Status::Started, None));
    assert_eq!((state.totals.usage, state.totals.cost_pico_usd), (usage(), COST));
    assert_eq!((state.attempts[0].end, &*state.attempts[0].error), (AttemptEnd::Failed, "stream_cut"));
}

#[test]
fn the_same_report_again_changes_nothing() {
    Request::given([submitted(), started(1), failed(1)]).when(cut(1)).then_nothing();
    Request::given([submitted(), started(1), completion(1).into()]).when(complete(1)).then_nothing();
    Request::given([submitted(), started(1), completion(1).into()]).when(cut(1)).then_nothing();
    for report in [Command::from(complete(1)), cut(1).into()] {
        let history = taken_over().into_iter().chain([extra(1, None)]);
        Request::given(history).when(report).then_nothing();
    }
}

#[test]
fn an_attempt_that_was_never_started_has_no_end() {
    for attempt in [0, 2, -1, i64::MIN, i64::MAX] {
        Request::given(under_way()).when(cut(attempt)).then_refused("unknown_attempt");
        Request::given(under_way()).when(complete(attempt)).then_refused("unknown_attempt");
    }
}

#[test]
fn the_answer_of_the_attempt_under_way_completes_the_request() {
    let state = Request::given(under_way()).when(complete(1)).then([completion(1).into()]);
    assert_eq!((state.status, state.attempts[0].end), (Status::Completed, AttemptEnd::Completed));
    assert_eq!((state.totals.usage, state.totals.cost_pico_usd), (usage(), COST));
    assert!(state.request.payload.is_absent() && state.has_payload, "the history has it");
    // Late, but nobody else has started: the answer is there and paid.
    let late = [overdue(), started_until(1, over() - SECOND)];
    assert_eq!(Request::given(late).when(complete(1)).after().status, Status::Completed);
}

#[test]
fn an_answer_is_no_end_of_an_attempt_that_failed() {
    Request::given([submitted(), started(1), failed(1)]).when(complete(1)).then_refused("attempt_ended");
}

#[test]
fn a_lost_worker_that_comes_back_is_counted_and_its_answer_dropped() {
    let state = Request::given(taken_over()).when(complete(1)).then([extra(1, None)]);
    assert_eq!((state.status, state.extra_calls, state.lost_attempts), (Status::Started, 1, 1));
    assert_eq!((state.totals.cost_pico_usd, state.answer), (COST, None));
    let state = Request::given(taken_over()).when(cut(1)).then([extra(1, Some("stream_cut"))]);
    assert_eq!((state.attempts[0].end, state.extra_calls), (AttemptEnd::Extra, 1));
    // A call that was never made is none.
    let never_sent = EndAttempt { attempt: 1, error: "connect".into(), ..Default::default() };
    Request::given(taken_over()).when(never_sent).then_nothing();
    // One that was made and of which nothing is known is one of unknown cost.
    let unknown = EndAttempt { attempt: 1, error: "timeout".into(), sent: true, ..Default::default() };
    assert_eq!(Request::given(taken_over()).when(unknown).after().totals.calls_of_unknown_cost, 1);
}

#[test]
fn a_call_that_ends_after_the_request_is_an_extra_one() {
    let completed = taken_over().into_iter().chain([completion(2).into()]).collect::<Vec<_>>();
    let cancelled = vec![submitted(), started(1), cancelled(1, Some(1))];
    let expired = vec![overdue(), started_until(1, over()), expired(1, Some(1))];
    let gave_up = vec![submitted(), started_until(1, over()), gave_up(1, Some(1))];
    for (history, status) in [
        (completed, Status::Completed),
        (cancelled, Status::Cancelled),
        (expired, Status::Expired),
        (gave_up, Status::Failed),
    ] {
        let before = Request::given(history.clone()).state().clone();
        let after = Request::given(history.clone()).when(complete(1)).then([extra(1, None)]);
        assert_eq!((after.status, after.extra_calls), (status, 1));
        assert_eq!(after.totals.cost_pico_usd, before.totals.cost_pico_usd + COST);
        assert_eq!(after.answer, before.answer, "an ended request stays as it ended");
        assert!(!LlmRequest::is_terminal(&before));
        assert_eq!(LlmRequest::is_terminal(&after), status != Status::Completed, "an answer can be rated");
    }
}

#[test]
fn an_attempt_that_a_cancellation_stopped_says_so() {
    let history = [submitted(), started(1), cancelled(1, Some(1))];
    let state = Request::given(history).when(cut(1)).then([failed(1)]);
    assert_eq!((state.status, state.totals.cost_pico_usd), (Status::Cancelled, COST));
}

#[test]
fn an_answer_is_kept_as_the_request_says() {
    let with = |storage| {
        let request = Submission { storage, payload: Personal::Absent, ..submission() };
        vec![RequestSubmitted { request }.into(), started(1)]
    };
    let hash = Some(payload::sha256(ANSWER));
    let given = CompleteRequest {
        answer: Personal::Absent,
        answer_sha256: hash.clone(),
        answer_bytes: Some(ANSWER.len() as i64),
        ..complete(1)
    };
    for (storage, expected) in [(PromptStorage::Hashed, hash.clone()), (PromptStorage::None, None)] {
        let event = RequestCompleted { answer: Personal::Absent, answer_sha256: expected, ..completion(1) };
        for command in [complete(1), given.clone()] {
            let state = Request::given(with(storage)).when(command).then([event.clone().into()]);
            assert!(!state.answer.is_some_and(|it| it.is_stored));
        }
    }
    // Too large to be stored: its hash is.
    let event = RequestCompleted { answer: Personal::Absent, answer_sha256: hash, ..completion(1) };
    Request::given(under_way()).when(given.clone()).then([event.into()]);
    let field = |command: CompleteRequest| {
        Request::given(under_way()).when(command).then_refused("invalid").details["field"].clone()
    };
    assert_eq!(field(CompleteRequest { answer_sha256: None, ..given.clone() }), "answer_sha256");
    assert_eq!(field(CompleteRequest { answer_bytes: None, ..given }), "answer_bytes");
    let long = "x".repeat(ANSWER_WHOLE_BYTES_MAX + 1);
    assert_eq!(field(CompleteRequest { answer: long.as_str().into(), ..complete(1) }), "answer");
}

#[test]
fn values_outside_their_fields_are_refused_by_field() {
    let rejected = |reason: &str| vec![Rejected { model: large(), reason: reason.into() }];
    let stranger = ModelChoice { model_id: "other".into(), ..large() };
    let starts = [
        ("worker", StartAttempt { worker: " ".into(), ..start(1) }),
        ("model", StartAttempt { model: stranger, ..start(1) }),
        ("lease_until", StartAttempt { lease_until: NOW, ..start(1) }),
        ("lease_until", StartAttempt { lease_until: NOW + LEASE_MS_MAX * 1_000 + 1, ..start(1) }),
        ("tokens_reserved", StartAttempt { tokens_reserved: -1, ..start(1) }),
        ("cost_estimated_pico_usd", StartAttempt { cost_estimated_pico_usd: COST_PICO_USD_MAX + 1, ..start(1) }),
        ("rejected.reason", StartAttempt { rejected: rejected("Too slow"), ..start(1) }),
        ("rejected", StartAttempt { rejected: vec![rejected("slow").remove(0); MODELS_MAX + 1], ..start(1) }),
    ];
    for (field, command) in starts {
        let rejection = Request::given([submitted()]).when(command.clone()).then_refused("invalid");
        assert_eq!(rejection.details["field"], field, "{command:?}");
    }
    let too_much = Usage { output_tokens: TOKENS_MAX + 1, ..usage() };
    let negative = Price { output_micro_usd_per_million: Some(-1), ..price() };
    let long = Some("x".repeat(257));
    let used = |usage| CompleteRequest { usage, ..complete(1) };
    let reports: [(&str, Command); 14] = [
        ("error", EndAttempt { error: String::new(), ..cut(1) }.into()),
        ("http_status", EndAttempt { http_status: Some(1_000), ..cut(1) }.into()),
        ("provider_code", EndAttempt { provider_code: long.clone(), ..cut(1) }.into()),
        ("retry_after_ms", EndAttempt { retry_after_ms: Some(-1), ..cut(1) }.into()),
        ("usage.output_tokens", EndAttempt { usage: Some(too_much), ..cut(1) }.into()),
        ("latency_ms", EndAttempt { latency_ms: Some(-1), ..cut(1) }.into()),
        ("usage.cached_input_tokens", used(Usage { cached_input_tokens: 1_001, ..usage() }).into()),
        ("usage.cache_write_tokens", used(Usage { cache_write_tokens: 601, ..usage() }).into()),
        ("usage.reasoning_tokens", used(Usage { reasoning_tokens: 201, ..usage() }).into()),
        ("price.output_micro_usd_per_million", CompleteRequest { price: Some(negative), ..complete(1) }.into()),
        ("finish_reason", CompleteRequest { finish_reason: long.clone(), ..complete(1) }.into()),
        ("provider_request_id", CompleteRequest { provider_request_id: long, ..complete(1) }.into()),
        ("answer_sha256", CompleteRequest { answer_sha256: Some("0".into()), ..complete(1) }.into()),
        ("first_byte_ms", CompleteRequest { first_byte_ms: Some(-1), ..complete(1) }.into()),
    ];
    for (field, command) in reports {
        let rejection = Request::given(under_way()).when(command.clone()).then_refused("invalid");
        assert_eq!(rejection.details["field"], field, "{command:?}");
    }
}
