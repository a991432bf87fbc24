//! Each command in each state, and what it refuses.

use super::*;

#[test]
fn of_a_server_that_is_not_there_only_registration_is_taken() {
    Server::given([])
        .when(register(listing(), vec![tool("b", "{}"), tool("a", "{ }")]))
        .then([registered(), discovered(vec![digested("a", "{}"), digested("b", "{}")])]);
    Server::given([]).when(register(listing(), vec![])).then([registered()]);
    for command in one_of_each().into_iter().skip(1) {
        Server::given([]).when(command).then_refused("not_found");
    }
}

#[test]
fn a_registered_server_is_not_registered_again_unless_it_is_the_same() {
    let tools = || [registered(), discovered(vec![digested("a", "{}"), digested("b", "{}")])];
    Server::given(tools()).when(register(listing(), vec![])).then_nothing();
    Server::given(tools()).when(register(listing(), vec![tool("b", "{}"), tool("a", "{ }")])).then_nothing();
    Server::given(tools()).when(register(listing(), vec![tool("a", "{}")])).then_refused("already_exists");
    let other = Listing { category: "security".into(), ..listing() };
    Server::given(tools()).when(register(other, vec![])).then_refused("already_exists");
}

#[test]
fn a_revision_changes_what_it_names_and_nothing_else() {
    let expect = |change: fn(&mut ReviseMcpServer), after: Listing| {
        let event = Event::McpServerRevised(McpServerRevised { listing: after.clone() });
        let state =
            Server::given([registered(), discovered(vec![digested("a", "{}")])]).when(revise(change)).then([event]);
        assert_eq!(state.listing, after);
        assert_eq!(state.tools, vec![digested("a", "{}")]);
    };
    expect(|c| c.name = Some("G".into()), Listing { name: "G".into(), ..listing() });
    expect(|c| c.category = Some(String::new()), Listing { category: String::new(), ..listing() });
    expect(|c| c.description = Some("D".into()), Listing { description: "D".into(), ..listing() });
    expect(|c| c.transport = Some(Transport::Stdio), Listing { transport: Transport::Stdio, ..listing() });
    expect(|c| c.endpoint = Some("http://a".into()), Listing { endpoint: Some("http://a".into()), ..listing() });
    expect(|c| c.endpoint = Some(String::new()), Listing { endpoint: None, ..listing() });
    expect(|c| c.package = Some(String::new()), Listing { package: None, ..listing() });
    expect(|c| c.capabilities = Some(vec![]), Listing { capabilities: vec![], ..listing() });

    Server::given([registered()]).when(revise(|_| ())).then_nothing();
    Server::given([registered()]).when(revise(|c| c.name = Some("GitHub".into()))).then_nothing();
}

#[test]
fn health_moves_by_transitions_only() {
    let every = [Health::Unknown, Health::Active, Health::Degraded, Health::Offline];
    for before in every {
        for after in every {
            let mut given = vec![registered()];
            given.extend((before != Health::Unknown).then(|| health(Health::Unknown, before)));
            let outcome = Server::given(given).when(report(after));
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
fn a_server_is_deregistered_once_and_for_ever() {
    let state =
        Server::given([registered(), discovered(vec![digested("a", "{}")])]).when(deregister()).then([deregistered()]);
    assert_eq!((state.status, state.reason.as_str()), (Status::Deregistered, "moved"));
    let gone = || Server::given([registered(), deregistered()]);
    gone().when(deregister()).then_nothing();
    let other = DeregisterMcpServer { reason: "another reason".into() };
    gone().when(Command::DeregisterMcpServer(other)).then_nothing();
    for command in one_of_each() {
        if !matches!(command, Command::DeregisterMcpServer(_)) {
            let rejection = gone().when(command).then_refused("illegal_transition");
            assert_eq!(rejection.details["from"], "deregistered");
        }
    }
}

#[test]
fn a_server_needs_neither_endpoint_nor_package() {
    let bare = Listing { name: "bare".into(), ..Listing::default() };
    let event = Event::McpServerRegistered(McpServerRegistered { listing: bare.clone() });
    Server::given([]).when(register(bare.clone(), vec![])).then([event.clone()]);
    let empty = Listing { endpoint: Some(String::new()), package: Some(String::new()), ..bare };
    Server::given([]).when(register(empty, vec![])).then([event]);
}

#[test]
fn what_a_listing_must_not_say_is_refused_at_registration_and_revision() {
    let refused = |field: &str, change: fn(&mut Listing)| {
        let mut wrong = listing();
        change(&mut wrong);
        let rejection = Server::given([]).when(register(wrong.clone(), vec![])).then_refused("invalid");
        assert_eq!(rejection.details["field"], field);
        let command = revise(|command| {
            command.name = Some(wrong.name);
            command.category = Some(wrong.category);
            command.description = Some(wrong.description);
            command.endpoint = wrong.endpoint;
            command.package = wrong.package;
            command.capabilities = Some(wrong.capabilities);
        });
        let rejection = Server::given([registered()]).when(command).then_refused("invalid");
        assert_eq!(rejection.details["field"], field);
    };
    refused("name", |listing| listing.name = " ".into());
    refused("name", |listing| listing.name = "x".repeat(NAME_BYTES_MAX + 1));
    refused("category", |listing| listing.category = "x".repeat(NAME_BYTES_MAX + 1));
    refused("description", |listing| listing.description = "x".repeat(TEXT_BYTES_MAX + 1));
    refused("endpoint", |listing| listing.endpoint = Some("mcp.example.com".into()));
    refused("package", |listing| listing.package = Some("x".repeat(NAME_BYTES_MAX + 1)));
    refused("capabilities", |listing| listing.capabilities = vec!["x".into(); LABELS_MAX + 1]);
    refused("capabilities", |listing| listing.capabilities = vec![String::new()]);
}

#[test]
fn a_reason_has_its_bound() {
    let reason = "x".repeat(TEXT_BYTES_MAX + 1);
    let health = ReportMcpServerHealth { health: Health::Active, reason: reason.clone() };
    for command in
        [Command::ReportMcpServerHealth(health), Command::DeregisterMcpServer(DeregisterMcpServer { reason })]
    {
        Server::given([registered()]).when(command).then_refused("invalid");
    }
}

/// A head of the tenant, as the index would show it.
fn tenant_that_is(status: tenant::Status) -> AnyState {
    AnyState::Tenant(Box::new(tenant::State { status, ..tenant::State::default() }))
}

#[test]
fn a_suspended_or_closed_tenant_stops_all_but_health_reports_and_deregistration() {
    let tenant = StreamId::new(TENANT, Tenant::AGGREGATE, TENANT.0);
    for (status, code) in [
        (tenant::Status::Suspended, Some("tenant_suspended")),
        (tenant::Status::Closed, Some("tenant_closed")),
        (tenant::Status::Active, None),
    ] {
        for command in one_of_each() {
            let given = if matches!(command, Command::RegisterMcpServer(_)) { vec![] } else { vec![registered()] };
            let free = matches!(command, Command::ReportMcpServerHealth(_) | Command::DeregisterMcpServer(_));
            let outcome = Server::given(given).seeing(tenant, 1, tenant_that_is(status)).when(command);
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
        let stream = StreamId::new(tenant, McpServer::AGGREGATE, Uuid::from_u128(5));
        let envelope = Envelope::new(Uuid::from_u128(NOW as u128), stream);
        let lookups = one_of_each().into_iter().map(move |c| McpServer::lookups(&State::default(), &c, &envelope));
        lookups.collect::<Vec<_>>()
    };
    let tenant = vec![Lookup::Stream(StreamId::new(TENANT, Tenant::AGGREGATE, TENANT.0))];
    assert_eq!(looked_up(TENANT), [tenant.clone(), tenant.clone(), tenant, vec![], vec![]]);
    assert_eq!(looked_up(TenantId::SHARED), vec![vec![]; 5]);
    let shared = StreamId::new(TenantId::SHARED, McpServer::AGGREGATE, Uuid::from_u128(5));
    Server::given_stream(shared, []).when(register(listing(), vec![])).then([registered()]);
}
