use super::*;
use crate::domain::AnyEvent;
use serde_json::json;
use std::collections::BTreeMap;

#[test]
fn the_view_shows_everything_but_what_was_asked_and_answered() {
    let history = [submitted(), started(1), failed(1), started(2), completion(2).into()];
    let spec = Request::given(history);
    let model = json!({"provider_tenant_id": TENANT.0, "provider_id": large().provider_id, "model_id": "vendor/large"});
    let other = json!({"provider_tenant_id": Uuid::nil(), "provider_id": small().provider_id, "model_id": "small"});
    let attempt = |number: i64, end: &str, error: &str| {
        json!({
            "attempt": number, "worker": "w1", "model": model, "started_at": NOW, "lease_until": NOW + 60 * SECOND,
            "tokens_reserved": 80, "cost_usd_estimated": "0.012000000000", "end": end, "error": error,
        })
    };
    let view = serde_json::Value::from(LlmRequest::view(spec.state()));
    assert_eq!(
        view,
        json!({
            "coupling_id": COUPLING, "agent_id": AGENT, "coupling_version": 7, "project": null, "operation": "chat_completion",
            "models": [model, other], "model": model, "priority": "normal", "deadline_at": NOW + 600 * SECOND,
            "storage": "full", "stream": false, "prompt_tokens_estimated": 16, "output_tokens_max": 64,
            "has_payload": true, "payload_sha256": payload::sha256(PAYLOAD), "payload_bytes": PAYLOAD.len(),
            "has_answer": true, "answer_sha256": payload::sha256(ANSWER), "answer_bytes": ANSWER.len(),
            "finish_reason": "stop", "latency_ms": 1_200, "first_byte_ms": 300,
            "attempts": [attempt(1, "failed", "stream_cut"), attempt(2, "completed", "")],
            "lost_attempts": 0, "extra_calls": 0, "usage_estimated": true,
            "usage": {
                "input_tokens": 2_000, "output_tokens": 400, "cached_input_tokens": 800, "cache_write_tokens": 200,
                "reasoning_tokens": 100,
            },
            "cost_usd": "0.009990000000", "calls_of_unknown_cost": 0, "unknown_cost_usd_estimated": "0.000000000000",
            "error": "", "reason": "",
            "ratings": 0, "rating": null,
        })
    );
    let text = view.to_string();
    assert!(!text.contains("Hi") && !text.contains("choices"), "neither payload nor answer: {text}");
}

#[test]
fn every_filter_has_its_values() {
    let used = StartAttempt { model: small(), ..start(1) };
    let request = Submission { project: Some("archive".into()), ..submission() };
    let state = Request::given([RequestSubmitted { request }.into()]).when(used).after();
    let facets: BTreeMap<_, _> =
        LlmRequest::FILTERS.iter().map(|filter| (*filter, LlmRequest::facet(&state, filter))).collect();
    let expected = BTreeMap::from([
        ("coupling_id", vec![COUPLING.to_string()]),
        ("agent_id", vec![AGENT.to_string()]),
        ("project", vec!["archive".to_owned()]),
        ("provider_id", vec![small().provider_id.to_string()]),
        ("model_id", vec!["small".to_owned()]),
        ("priority", vec!["normal".into()]),
    ]);
    assert_eq!(facets, expected);
    let before = Request::given([submitted()]);
    assert_eq!(LlmRequest::facet(before.state(), "model_id"), ["vendor/large"], "the first choice");
    assert!(LlmRequest::facet(before.state(), "colour").is_empty());
    for filter in LlmRequest::FILTERS.iter().filter(|filter| **filter != "priority") {
        assert!(LlmRequest::facet(&State::default(), filter).is_empty(), "{filter}");
    }
}

#[test]
fn the_status_is_one_word_and_names_are_as_on_the_wire() {
    let seen = |events: Vec<Event>| LlmRequest::status(Request::given(events).state());
    assert_eq!(seen(vec![]), "absent");
    assert_eq!(seen(vec![submitted()]), "submitted");
    assert_eq!(seen(vec![submitted(), started(1)]), "started");
    assert_eq!(seen(vec![submitted(), started(1), failed(1)]), "started");
    for operation in [Operation::ChatCompletion, Operation::Embeddings] {
        assert_eq!(serde_json::to_value(operation).unwrap(), operation.name());
    }
    for priority in [Priority::Interactive, Priority::Normal, Priority::Batch] {
        assert_eq!(serde_json::to_value(priority).unwrap(), priority.name());
    }
}

#[test]
fn a_running_request_hangs_on_its_coupling_and_its_agent() {
    let depends_on =
        |events: Vec<Event>| LlmRequest::depends_on(Request::given(events).state(), &stream::<LlmRequest>());
    let coupling = StreamId::new(TENANT, Aggregate::Coupling, COUPLING);
    let agent = StreamId::new(TENANT, Aggregate::Agent, AGENT);
    assert_eq!(depends_on(vec![submitted()]), [coupling, agent]);
    assert_eq!(depends_on(vec![submitted(), started(1), failed(1)]), [coupling, agent]);
    assert!(depends_on(vec![submitted(), started(1), completion(1).into()]).is_empty());
    assert!(depends_on(vec![submitted(), started(1), cancelled(1, Some(1))]).is_empty());
    assert!(depends_on(vec![]).is_empty());
    let direct = Submission { coupling_id: None, agent_id: None, ..submission() };
    assert!(depends_on(vec![RequestSubmitted { request: direct }.into()]).is_empty());
}

#[test]
fn nothing_follows_from_its_events_elsewhere() {
    for event in events() {
        assert!(!AnyEvent::LlmRequest(Box::new(event)).may_react());
    }
}

#[test]
fn a_command_may_leave_out_what_has_a_default() {
    let lease = r#"{"attempt":1,"worker":"w","model":{"provider_id":"00000000-0000-0000-0000-000000000011",
        "model_id":"m"},"lease_until":1}"#;
    for name in Command::NAMES {
        let json = match *name {
            "StartAttempt" => lease,
            "RateAnswer" => r#"{"score":0.5}"#,
            _ => "{}",
        };
        assert_eq!(Command::from_json(name, json.as_bytes()).unwrap().name(), *name);
        assert!(Command::from_json(name, br#"{"colour":"red"}"#).is_err(), "{name}: a misspelt field is an error");
    }
}

#[test]
fn a_state_survives_its_blob() {
    let state =
        Request::given([submitted(), started_until(1, over()), started_over(2), extra(1, None)]).state().clone();
    let state = AnyState::LlmRequest(Box::new(state));
    assert_eq!(AnyState::from_blob(Aggregate::LlmRequest, &state.to_blob().unwrap()).unwrap(), state);
}
