use super::*;
use crate::domain::tenant::standing;

fn tenant(change: impl FnOnce(&mut tenant::State)) -> AnyState {
    let mut state = tenant::State { status: tenant::Status::Active, ..Default::default() };
    change(&mut state);
    AnyState::Tenant(Box::new(state))
}

/// Nothing submitted yet, at a tenant that keeps this much of its prompts.
fn keeping(storage: PromptStorage) -> Request {
    Request::given([]).seeing(standing::stream(TENANT), 3, tenant(|it| it.prompt_storage = storage))
}

/// A request that a node carries out at once, of which it keeps the payload to itself.
fn held_in_memory() -> SubmitRequest {
    SubmitRequest {
        payload: Personal::Absent,
        payload_sha256: Some(payload::sha256(PAYLOAD)),
        payload_bytes: Some(61),
        prompt_tokens_estimated: Some(16),
        priority: Priority::Interactive,
        ..submit()
    }
}

fn request_of(outcome: &crate::domain::spec::Outcome<LlmRequest>) -> &Submission {
    let [Event::RequestSubmitted(event)] = outcome.events() else { panic!("{:?}", outcome.events()) };
    &event.request
}

#[test]
fn a_request_is_submitted_with_what_its_payload_says() {
    let state = Request::given([]).when(submit()).then([submitted()]);
    assert_eq!((state.status, state.submitted_at, state.has_payload), (Status::Submitted, NOW, true));
    assert_eq!(state.request, submission());
}

#[test]
fn a_direct_request_needs_no_coupling_and_the_figures_of_the_caller_count() {
    let direct = SubmitRequest {
        coupling_id: None,
        agent_id: None,
        coupling_version: None,
        prompt_tokens_estimated: Some(9),
        output_tokens_max: Some(10),
        ..submit()
    };
    let outcome = Request::given([]).when(direct);
    let request = request_of(&outcome);
    assert_eq!((request.coupling_id, request.prompt_tokens_estimated, request.output_tokens_max), (None, 9, Some(10)));
}

#[test]
fn a_request_may_name_the_project_that_it_counts_for() {
    let named = |project: &str| SubmitRequest { project: Some(project.into()), ..submit() };
    let outcome = Request::given([]).when(named("archive"));
    assert_eq!(request_of(&outcome).project.as_deref(), Some("archive"));
    Request::given([submitted()]).when(named("archive")).then_refused("already_exists");
    assert_eq!(Request::given([]).when(named(" ")).then_refused("invalid").details["field"], "project");
}

#[test]
fn a_deadline_that_is_not_named_follows_from_the_priority() {
    for (priority, seconds) in [(Priority::Interactive, 600), (Priority::Normal, 3_600), (Priority::Batch, 86_400)] {
        let outcome = Request::given([]).when(SubmitRequest { priority, deadline_at: None, ..submit() });
        assert_eq!(request_of(&outcome).deadline_at, NOW + seconds * SECOND, "{priority:?}");
    }
}

#[test]
fn the_same_request_again_changes_nothing_and_another_is_refused() {
    let histories = [vec![submitted()], vec![submitted(), started(1), completion(1).into()]];
    for history in histories {
        Request::given(history.clone()).when(submit()).then_nothing();
        Request::given(history.clone()).when(SubmitRequest { deadline_at: None, ..submit() }).then_nothing();
        let other = SubmitRequest { payload: PAYLOAD.replace("Hi", "Ho").as_str().into(), ..submit() };
        Request::given(history.clone()).when(other).then_refused("already_exists");
        let other = SubmitRequest { models: vec![small(), large()], ..submit() };
        Request::given(history).when(other).then_refused("already_exists");
    }
    // Also when its deadline is over by now.
    Request::given([overdue()]).when(SubmitRequest { deadline_at: Some(NOW - SECOND), ..submit() }).then_nothing();
}

#[test]
fn a_tenant_that_is_not_open_submits_nothing_and_what_the_system_decided_stands() {
    for (status, code) in [(tenant::Status::Suspended, "tenant_suspended"), (tenant::Status::Closed, "tenant_closed")] {
        let seen = tenant(|it| it.status = status);
        Request::given([]).seeing(standing::stream(TENANT), 3, seen).when(submit()).then_refused(code);
    }
    assert_eq!(as_system(&State::default(), submit()), Ok(Decision::event(submitted())));
    let mut envelope = Envelope::new(Uuid::from_u128(9), stream::<LlmRequest>());
    assert_eq!(LlmRequest::lookups(&State::default(), &submit().into(), &envelope).len(), 1);
    envelope.source = SYSTEM_SOURCE.into();
    assert!(LlmRequest::lookups(&State::default(), &submit().into(), &envelope).is_empty());
}

#[test]
fn a_deadline_that_has_passed_is_refused_and_of_the_systems_request_a_record_is_left() {
    let late = || SubmitRequest { deadline_at: Some(NOW), ..submit() };
    Request::given([]).when(late()).then_refused("deadline_passed");
    let request = Submission { deadline_at: NOW, ..submission() };
    let expected = vec![RequestSubmitted { request }.into(), expired(0, None)];
    assert_eq!(as_system(&State::default(), late()), Ok(Decision::events(expected)));
    let far = SubmitRequest { deadline_at: Some(NOW + (DEADLINE_MS_MAX + 1) * 1_000), ..submit() };
    assert_eq!(Request::given([]).when(far).then_refused("invalid").details["field"], "deadline_at");
}

#[test]
fn prompts_are_kept_as_the_stricter_of_tenant_and_caller_says() {
    use PromptStorage::{Full, Hashed, None};
    for (tenant, caller, kept) in [
        (Full, Full, Full),
        (Full, Hashed, Hashed),
        (Full, None, None),
        (Hashed, Full, Hashed),
        (Hashed, None, None),
        (None, Full, None),
        (None, Hashed, None),
    ] {
        for payload in [PAYLOAD.into(), Personal::Absent] {
            if kept == Full && payload.is_absent() {
                continue;
            }
            let command = SubmitRequest { storage: caller, payload, ..held_in_memory() };
            let outcome = keeping(tenant).when(command);
            let request = request_of(&outcome);
            assert_eq!((request.storage, request.payload_bytes), (kept, 61), "{tenant:?} {caller:?}");
            assert_eq!(request.payload.is_absent(), kept != Full);
            assert_eq!(request.payload_sha256.is_some(), kept != None);
            assert!(!outcome.after().has_payload || kept == Full);
        }
    }
}

#[test]
fn a_prompt_that_is_not_stored_cannot_wait() {
    for priority in [Priority::Normal, Priority::Batch] {
        for storage in [PromptStorage::Hashed, PromptStorage::None] {
            let rejection = keeping(storage).when(SubmitRequest { priority, ..submit() });
            let rejection = rejection.then_refused("prompt_not_stored");
            assert_eq!(rejection.details["prompt_storage"], storage.name());
            assert!(rejection.message.contains("interactive") && rejection.message.contains("SetPromptStorage"));
        }
    }
}

#[test]
fn without_its_payload_a_request_says_its_size_its_estimate_and_its_hash() {
    let field = |storage, command: SubmitRequest| {
        keeping(storage).when(command).then_refused("invalid").details["field"].clone()
    };
    let hashed = PromptStorage::Hashed;
    assert_eq!(field(PromptStorage::Full, held_in_memory()), "payload", "nothing would be stored");
    assert_eq!(field(hashed, SubmitRequest { payload_bytes: None, ..held_in_memory() }), "payload_bytes");
    assert_eq!(field(hashed, SubmitRequest { payload_sha256: None, ..held_in_memory() }), "payload_sha256");
    let no_estimate = SubmitRequest { prompt_tokens_estimated: None, ..held_in_memory() };
    assert_eq!(field(hashed, no_estimate), "prompt_tokens_estimated");
    let unhashed = SubmitRequest { payload_sha256: None, ..held_in_memory() };
    assert_eq!(request_of(&keeping(PromptStorage::None).when(unhashed)).payload_sha256, None);
}

#[test]
fn values_outside_their_fields_are_refused_by_field() {
    let nil = Some(Uuid::nil());
    let other = TenantId(Uuid::from_u128(0xdead));
    let models = |models| SubmitRequest { models, ..submit() };
    let cases = [
        ("coupling_id", SubmitRequest { coupling_id: nil, ..submit() }),
        ("agent_id", SubmitRequest { agent_id: nil, ..submit() }),
        ("coupling_version", SubmitRequest { coupling_version: Some(-1), ..submit() }),
        ("models", models(vec![])),
        ("models", models((0..=MODELS_MAX).map(|n| ModelChoice { model_id: n.to_string(), ..large() }).collect())),
        ("models", models(vec![large(), small(), large()])),
        ("models.provider_id", models(vec![ModelChoice { provider_id: Uuid::nil(), ..large() }])),
        ("models.model_id", models(vec![ModelChoice { model_id: " ".into(), ..large() }])),
        ("models.model_id", models(vec![ModelChoice { model_id: "x".repeat(257), ..large() }])),
        ("models.provider_tenant_id", models(vec![ModelChoice { provider_tenant_id: other.0, ..large() }])),
        ("payload_sha256", SubmitRequest { payload_sha256: Some("AB".repeat(32)), ..submit() }),
        ("payload_sha256", SubmitRequest { payload_sha256: Some(payload::sha256("another")), ..submit() }),
        ("payload_bytes", SubmitRequest { payload_bytes: Some(1), ..submit() }),
        ("payload_bytes", SubmitRequest { payload_bytes: Some(-1), ..submit() }),
        ("prompt_tokens_estimated", SubmitRequest { prompt_tokens_estimated: Some(-1), ..submit() }),
        ("output_tokens_max", SubmitRequest { output_tokens_max: Some(TOKENS_MAX + 1), ..submit() }),
    ];
    for (field, command) in cases {
        let rejection = Request::given([]).when(command.clone()).then_refused("invalid");
        assert_eq!(rejection.details["field"], field, "{command:?}");
    }
}

#[test]
fn a_payload_is_looked_at_lightly() {
    use Operation::{ChatCompletion, Embeddings};
    let field = |operation, text: &str| payload::inspect(operation, text).unwrap_err().details["field"].clone();
    for text in ["", "[]", "[[1]]", "null", "\"secret\"", "{", "{\"messages\":[1]} x", "{}", "{\"messages\":[ ]}"] {
        assert_eq!(field(ChatCompletion, text), "payload", "{text}");
    }
    for text in ["{\"messages\":null}", "{\"messages\":\"secret\"}", "{\"messages\":[1],\"messages\":[2]}"] {
        let rejection = payload::inspect(ChatCompletion, text).unwrap_err();
        assert!(!format!("{rejection:?}").contains("secret"), "{rejection:?}");
    }
    for text in ["{\"messages\":[1]}", "{\"input\":7}", "{\"input\":[]}", "{\"input\":null}"] {
        assert_eq!(field(Embeddings, text), "payload", "{text}");
    }
    for text in ["{\"input\":\"a\"}", "{\"input\":[\"a\"]}", " {\"x\": {\"y\": [1]}, \"input\": [[1, 2]]} "] {
        assert_eq!(payload::inspect(Embeddings, text).unwrap().output_tokens_max, None, "{text}");
    }
    for value in ["0", "-1", "1.5", "\"many\"", "[1]", "100000001", "1e3", "99999999999999999999"] {
        let text = format!("{{\"messages\":[1],\"max_tokens\":{value}}}");
        assert_eq!(field(ChatCompletion, &text), "payload.max_tokens", "{value}");
    }
    let long = format!("{{\"messages\":[\"{}\"]}}", "x".repeat(payload::PAYLOAD_BYTES_MAX));
    assert_eq!(field(ChatCompletion, &long), "payload");
}

#[test]
fn the_estimates_come_from_the_payload() {
    let facts = |text: &str| payload::inspect(Operation::ChatCompletion, text).unwrap();
    let both = facts(r#"{"messages":[1],"max_tokens":5,"max_completion_tokens":7}"#);
    assert_eq!(both.output_tokens_max, Some(7), "the newer name counts");
    assert_eq!(facts(r#"{"messages":[1],"max_tokens":null}"#).output_tokens_max, None);
    let text = r#"{"messages":[1]}"#;
    assert_eq!((facts(text).bytes, facts(text).prompt_tokens_estimated), (16, 4));
    assert_eq!(facts(&format!("{text} ")).prompt_tokens_estimated, 5, "rounded up");
    assert_eq!(payload::sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn a_sealed_payload_is_refused() {
    let sealed = crate::domain::personal::Sealed { key_id: "k".into(), nonce: vec![1], ciphertext: vec![2] };
    let command = SubmitRequest { payload: Personal::Sealed(sealed), ..submit() };
    assert_eq!(Request::given([]).when(command).then_refused("invalid").details["field"], "payload");
}
