//! Each command in each state, and what it refuses; models have a file of their own.

use super::*;

#[test]
fn of_a_provider_that_is_not_there_only_registration_is_taken() {
    Provider::given([]).when(register(access(), vec![], [None, None])).then([registered()]);
    Provider::given([]).when(register(access(), vec![model("b"), model("a")], [Some(60), None])).then([
        registered(),
        added(vec![model("a"), model("b")]),
        limited(Some(60), None),
    ]);
    let state = Provider::given([])
        .when(register(access(), vec![], [None, Some(9)]))
        .then([registered(), limited(None, Some(9))]);
    assert_eq!((state.requests_per_minute, state.tokens_per_minute), (None, Some(9)));
    for command in one_of_each().into_iter().skip(1) {
        Provider::given([]).when(command).then_refused("not_found");
    }
}

#[test]
fn a_registered_provider_is_not_registered_again_unless_it_is_the_same() {
    let given = || {
        let mut events = with_models();
        events.push(limited(Some(60), None));
        Provider::given(events)
    };
    given().when(register(access(), vec![], [None, None])).then_nothing();
    given().when(register(access(), vec![model("b"), model("a")], [Some(60), None])).then_nothing();
    for other in [
        register(Access { name: "Other".into(), ..access() }, vec![], [None, None]),
        register(access(), vec![model("a")], [None, None]),
        register(access(), vec![model("a"), dearer("b")], [None, None]),
        register(access(), vec![], [Some(61), None]),
        register(access(), vec![], [Some(60), Some(1)]),
    ] {
        given().when(other).then_refused("already_exists");
    }
}

#[test]
fn a_revision_changes_what_it_names_and_nothing_else() {
    let expect = |change: fn(&mut ReviseLlmProvider), after: Access| {
        let event = Event::LlmProviderRevised(LlmProviderRevised { access: after.clone() });
        let state = Provider::given(with_models()).when(revise(change)).then([event]);
        assert_eq!(state.access, after);
        assert_eq!(state.models, vec![model("a"), model("b")]);
    };
    expect(|c| c.name = Some("N".into()), Access { name: "N".into(), ..access() });
    let anthropic = Access { wire_protocol: WireProtocol::Anthropic, ..access() };
    expect(|c| c.wire_protocol = Some(WireProtocol::Anthropic), anthropic);
    expect(|c| c.endpoint = Some("http://a".into()), Access { endpoint: Some("http://a".into()), ..access() });
    expect(|c| c.endpoint = Some(String::new()), Access { endpoint: None, ..access() });
    expect(|c| c.api_key_env = Some("K2".into()), Access { api_key_env: Some("K2".into()), ..access() });
    expect(|c| c.api_key_env = Some(String::new()), Access { api_key_env: None, ..access() });

    Provider::given([registered()]).when(revise(|_| ())).then_nothing();
    Provider::given([registered()]).when(revise(|c| c.name = Some("Example AI".into()))).then_nothing();
}

#[test]
fn limits_are_set_whole() {
    let state = Provider::given([registered()]).when(limit(Some(60), Some(9))).then([limited(Some(60), Some(9))]);
    assert_eq!((state.requests_per_minute, state.tokens_per_minute), (Some(60), Some(9)));
    let given = || Provider::given([registered(), limited(Some(60), Some(9))]);
    given().when(limit(Some(60), Some(9))).then_nothing();
    given().when(limit(Some(60), None)).then([limited(Some(60), None)]);
    given().when(limit(None, None)).then([limited(None, None)]);
    Provider::given([registered()]).when(limit(None, None)).then_nothing();
}

#[test]
fn a_limit_is_above_zero() {
    for wrong in [0, -1, i64::MIN] {
        for (limits, field) in
            [([Some(wrong), None], "requests_per_minute"), ([Some(1), Some(wrong)], "tokens_per_minute")]
        {
            let rejection = Provider::given([]).when(register(access(), vec![], limits)).then_refused("invalid");
            assert_eq!(rejection.details["field"], field);
            let rejection = Provider::given([registered()]).when(limit(limits[0], limits[1])).then_refused("invalid");
            assert_eq!(rejection.details["field"], field);
        }
    }
}

#[test]
fn health_moves_by_transitions_only() {
    let every = [Health::Unknown, Health::Active, Health::Degraded, Health::Offline];
    for before in every {
        for after in every {
            let mut given = vec![registered()];
            given.extend((before != Health::Unknown).then(|| health(Health::Unknown, before)));
            let outcome = Provider::given(given).when(report(after));
            if before == after {
                outcome.then_nothing();
            } else {
                let state = outcome.then([health(before, after)]);
                assert_eq!((state.health, state.reason.as_str()), (after, "probe"));
            }
        }
    }
}

#[test]
fn a_provider_is_deregistered_once_and_for_ever() {
    let state = Provider::given(with_models()).when(deregister()).then([deregistered()]);
    assert_eq!((state.status, state.reason.as_str()), (Status::Deregistered, "contract ended"));
    let gone = || Provider::given([registered(), added(vec![model("a")]), deregistered()]);
    gone().when(deregister()).then_nothing();
    for command in one_of_each() {
        if !matches!(command, Command::DeregisterLlmProvider(_)) {
            let rejection = gone().when(command).then_refused("illegal_transition");
            assert_eq!(rejection.details["from"], "deregistered");
        }
    }
}

#[test]
fn how_a_provider_must_not_be_reached_is_refused_at_registration_and_revision() {
    let refused = |field: &str, change: fn(&mut Access)| {
        let mut wrong = access();
        change(&mut wrong);
        let rejection = Provider::given([]).when(register(wrong.clone(), vec![], [None, None])).then_refused("invalid");
        assert_eq!(rejection.details["field"], field);
        let command = revise(|command| {
            command.name = Some(wrong.name);
            command.endpoint = wrong.endpoint;
            command.api_key_env = wrong.api_key_env;
        });
        let rejection = Provider::given([registered()]).when(command).then_refused("invalid");
        assert_eq!(rejection.details["field"], field);
        rejection
    };
    refused("name", |access| access.name = "\t".into());
    refused("name", |access| access.name = "x".repeat(NAME_BYTES_MAX + 1));
    refused("endpoint", |access| access.endpoint = Some("llm.example.com".into()));
    let rejection = refused("api_key_env", |access| access.api_key_env = Some("sk-live-42".into()));
    assert!(rejection.message.contains("NAME of the environment variable"), "{}", rejection.message);
    assert!(!format!("{rejection:?}").contains("sk-live-42"), "a key is never repeated");
}

#[test]
fn an_empty_endpoint_or_key_name_is_none() {
    let bare = Access { endpoint: None, api_key_env: None, ..access() };
    let empty = Access { endpoint: Some(String::new()), api_key_env: Some(String::new()), ..access() };
    let event = Event::LlmProviderRegistered(LlmProviderRegistered { access: bare });
    Provider::given([]).when(register(empty, vec![], [None, None])).then([event]);
}

#[test]
fn a_reason_has_its_bound() {
    let reason = "x".repeat(TEXT_BYTES_MAX + 1);
    let health = ReportLlmProviderHealth { health: Health::Active, reason: reason.clone() };
    for command in [
        Command::RetireModels(RetireModels { model_ids: vec!["a".into()], reason: reason.clone() }),
        Command::ReportLlmProviderHealth(health),
        Command::DeregisterLlmProvider(DeregisterLlmProvider { reason }),
    ] {
        Provider::given(with_models()).when(command).then_refused("invalid");
    }
}

/// A head of the tenant, as the index would show it.
fn tenant_that_is(status: tenant::Status) -> AnyState {
    AnyState::Tenant(Box::new(tenant::State { status, ..tenant::State::default() }))
}

#[test]
fn a_suspended_or_closed_tenant_stops_all_but_reports_and_deregistration() {
    let tenant = StreamId::new(TENANT, Tenant::AGGREGATE, TENANT.0);
    for (status, code) in [
        (tenant::Status::Suspended, Some("tenant_suspended")),
        (tenant::Status::Closed, Some("tenant_closed")),
        (tenant::Status::Active, None),
    ] {
        for command in one_of_each() {
            let given = if matches!(command, Command::RegisterLlmProvider(_)) { vec![] } else { with_models() };
            let free = matches!(
                command,
                Command::ReportLlmProviderHealth(_)
                    | Command::DeregisterLlmProvider(_)
                    | Command::ReportModelStatistics(_)
                    | Command::ReportModelHealth(_)
            );
            let outcome = Provider::given(given).seeing(tenant, 1, tenant_that_is(status)).when(command);
            match code.filter(|_| !free) {
                Some(code) => {
                    outcome.then_refused(code);
                }
                None => assert!(!outcome.events().is_empty()),
            }
        }
    }
}

#[test]
fn a_command_that_asks_for_the_tenant_looks_it_up_and_the_shared_catalogue_has_none() {
    let looked_up = |tenant: TenantId| {
        let stream = StreamId::new(tenant, LlmProvider::AGGREGATE, Uuid::from_u128(5));
        let envelope = Envelope::new(Uuid::from_u128(NOW as u128), stream);
        let lookups = one_of_each().into_iter().map(move |c| LlmProvider::lookups(&State::default(), &c, &envelope));
        lookups.collect::<Vec<_>>()
    };
    let tenant = vec![Lookup::Stream(StreamId::new(TENANT, Tenant::AGGREGATE, TENANT.0))];
    let asked = vec![tenant; 5];
    assert_eq!(looked_up(TENANT), [asked, vec![vec![]; 4]].concat());
    assert_eq!(looked_up(TenantId::SHARED), vec![vec![]; 9]);
    let shared = StreamId::new(TenantId::SHARED, LlmProvider::AGGREGATE, Uuid::from_u128(5));
    Provider::given_stream(shared, []).when(register(access(), vec![], [None, None])).then([registered()]);
}
