use super::*;
use crate::domain::common::{LABELS_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX};
use crate::domain::spec::{NOW, Spec, TENANT, meta, stream};
use crate::domain::tenant::{self, Tenant};
use crate::domain::wire::Wire;
use crate::domain::{AnyState, StreamId, TenantId, coupling, golden};
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;
use uuid::Uuid;

mod commands;
mod discovery;

type Server = Spec<McpServer>;

fn listing() -> Listing {
    Listing {
        name: "GitHub".into(),
        category: "devops".into(),
        description: "Issues and pull requests".into(),
        transport: Transport::Sse,
        endpoint: Some("https://mcp.example.com/sse".into()),
        package: Some("npm:@example/github".into()),
        capabilities: vec!["tools".into(), "resources".into()],
    }
}

fn tool(name: &str, schema: &str) -> Tool {
    Tool { name: name.into(), description: format!("does {name}"), input_schema: schema.into() }
}

fn digested(name: &str, schema: &str) -> DigestedTool {
    digest::digested(&tool(name, schema))
}

fn register(listing: Listing, tools: Vec<Tool>) -> Command {
    let Listing { name, category, description, transport, endpoint, package, capabilities } = listing;
    Command::RegisterMcpServer(RegisterMcpServer {
        name,
        category,
        description,
        transport,
        endpoint,
        package,
        capabilities,
        tools,
    })
}

fn discover(tools: Vec<Tool>) -> Command {
    Command::DiscoverTools(DiscoverTools { tools })
}

fn revise(change: impl FnOnce(&mut ReviseMcpServer)) -> Command {
    let mut command = ReviseMcpServer::default();
    change(&mut command);
    Command::ReviseMcpServer(command)
}

fn report(health: Health) -> Command {
    Command::ReportMcpServerHealth(ReportMcpServerHealth { health, reason: "probe".into() })
}

fn deregister() -> Command {
    Command::DeregisterMcpServer(DeregisterMcpServer { reason: "moved".into() })
}

fn registered() -> Event {
    Event::McpServerRegistered(McpServerRegistered { listing: listing() })
}

fn discovered(tools: Vec<DigestedTool>) -> Event {
    Event::ToolsDiscovered(ToolsDiscovered { tools })
}

fn changed(tool: DigestedTool, before: &DigestedTool) -> Event {
    Event::ToolChanged(ToolChanged { tool, digest_before: before.digest.clone() })
}

fn removed(names: &[&str]) -> Event {
    Event::ToolsRemoved(ToolsRemoved { names: names.iter().map(|name| (*name).into()).collect() })
}

fn health(before: Health, after: Health) -> Event {
    Event::McpServerHealthChanged(McpServerHealthChanged { before, after, reason: "probe".into() })
}

fn deregistered() -> Event {
    Event::McpServerDeregistered(McpServerDeregistered { reason: "moved".into() })
}

/// One of each command, each of which changes something where it is allowed.
fn one_of_each() -> Vec<Command> {
    vec![
        register(listing(), vec![tool("search", "{}")]),
        revise(|command| command.name = Some("GitHub 2".into())),
        discover(vec![tool("search", "{}")]),
        report(Health::Active),
        deregister(),
    ]
}

#[test]
fn the_view_shows_the_server_and_its_filters_find_it() {
    let server = Server::given([
        registered(),
        discovered(vec![digested("a", r#"{"type": "object"}"#), digested("b", ""), digested("c", "not JSON")]),
        health(Health::Unknown, Health::Degraded),
    ]);
    let state = server.state();
    let digests: Vec<_> = state.tools.iter().map(|tool| tool.digest.clone()).collect();
    assert_eq!(
        serde_json::Value::from(McpServer::view(state)),
        json!({
            "name": "GitHub", "category": "devops", "description": "Issues and pull requests", "transport": "sse",
            "endpoint": "https://mcp.example.com/sse", "package": "npm:@example/github",
            "capabilities": ["tools", "resources"], "health": "degraded", "tools_known": true, "reason": "probe",
            "tools": [
                {"name": "a", "description": "does a", "input_schema": {"type": "object"}, "digest": digests[0]},
                {"name": "b", "description": "does b", "input_schema": null, "digest": digests[1]},
                {"name": "c", "description": "does c", "input_schema": "not JSON", "digest": digests[2]},
            ],
        })
    );
    let facets: BTreeMap<_, _> =
        McpServer::FILTERS.iter().map(|filter| (*filter, McpServer::facet(state, filter))).collect();
    let expected = BTreeMap::from([
        ("name", vec!["GitHub".to_owned()]),
        ("category", vec!["devops".into()]),
        ("transport", vec!["sse".into()]),
        ("health", vec!["degraded".into()]),
        ("capability", vec!["tools".into(), "resources".into()]),
        ("tool", vec!["a".into(), "b".into(), "c".into()]),
    ]);
    assert_eq!(facets, expected);
    assert!(McpServer::facet(state, "colour").is_empty());
}

#[test]
fn the_status_is_one_word_and_deregistered_is_final() {
    let seen = |events: Vec<Event>| {
        let server = Server::given(events);
        (McpServer::status(server.state()), McpServer::is_terminal(server.state()))
    };
    assert_eq!(seen(vec![]), ("absent", false));
    assert_eq!(seen(vec![registered()]), ("registered", false));
    assert_eq!(seen(vec![registered(), deregistered()]), ("deregistered", true));
}

#[test]
fn a_server_that_is_gone_ends_what_is_coupled_to_it_and_nothing_else_has_consequences() {
    let meta = meta(stream::<McpServer>(), 2);
    let react = |event: &Event| McpServer::react(event, &State::default(), &meta, &World::default());
    let end = |reason: &str| {
        vec![Reaction::FanOut {
            name: "end_with_server",
            from: stream::<McpServer>(),
            to: Aggregate::Coupling,
            command: coupling::Command::EndCoupling(coupling::EndCoupling { reason: reason.into() }).into(),
        }]
    };
    assert_eq!(react(&deregistered()), end("the MCP server was deregistered: moved"));
    let silent = Event::McpServerDeregistered(McpServerDeregistered { reason: String::new() });
    assert_eq!(react(&silent), end("the MCP server was deregistered"));
    for event in [
        registered(),
        Event::McpServerRevised(McpServerRevised { listing: listing() }),
        discovered(vec![digested("a", "{}")]),
        changed(digested("a", "[]"), &digested("a", "{}")),
        removed(&["a"]),
        health(Health::Active, Health::Offline),
    ] {
        assert_eq!(react(&event), vec![], "{event:?}");
    }
}

#[test]
fn a_state_survives_its_blob() {
    let server = Server::given([registered(), discovered(vec![digested("a", "{}")]), deregistered()]);
    let state = AnyState::McpServer(Box::new(server.state().clone()));
    assert_eq!(AnyState::from_blob(Aggregate::McpServer, &state.to_blob().unwrap()).unwrap(), state);
}

#[test]
fn a_command_may_leave_out_what_has_a_default() {
    let command = Command::from_json("RegisterMcpServer", br#"{"name":"x"}"#).unwrap();
    let plain = RegisterMcpServer { name: "x".into(), ..RegisterMcpServer::default() };
    assert_eq!(command, Command::RegisterMcpServer(plain));
    for name in ["ReviseMcpServer", "DeregisterMcpServer"] {
        assert_eq!(Command::from_json(name, b"{}").unwrap().name(), name);
    }
    let tools = br#"{"tools":[{"name":"t","input_schema":{"type":"object"}}]}"#;
    let plain = Tool { name: "t".into(), description: String::new(), input_schema: r#"{"type":"object"}"#.into() };
    assert_eq!(Command::from_json("DiscoverTools", tools).unwrap(), discover(vec![plain]));
    assert!(
        Command::from_json("RegisterMcpServer", br#"{"name":"x","colour":1}"#).is_err(),
        "unknown fields are refused"
    );
}

#[test]
fn commands_keep_their_bytes() {
    let revision = ReviseMcpServer {
        name: Some("GitHub".into()),
        category: Some("devops".into()),
        description: Some("Issues".into()),
        transport: Some(Transport::StreamableHttp),
        endpoint: Some("https://mcp.example.com".into()),
        package: Some("npm:@example/github".into()),
        capabilities: Some(vec!["tools".into()]),
    };
    golden::check(
        "mcp_server",
        vec![
            register(listing(), vec![tool("search", r#"{"type":"object"}"#)]),
            Command::ReviseMcpServer(revision),
            discover(vec![tool("search", r#"{"type":"object"}"#), tool("fetch", "")]),
            report(Health::Offline),
            deregister(),
        ],
    );
}

#[test]
fn events_keep_their_bytes() {
    let (before, after) = (digested("search", "{}"), digested("search", r#"{"type":"object"}"#));
    golden::check(
        "mcp_server",
        vec![
            registered(),
            Event::McpServerRevised(McpServerRevised { listing: Listing { transport: Transport::Stdio, ..listing() } }),
            discovered(vec![digested("fetch", r#"{"type":"object"}"#), digested("search", "")]),
            changed(after, &before),
            removed(&["fetch", "search"]),
            health(Health::Degraded, Health::Offline),
            deregistered(),
        ],
    );
}
