//! What a server's commands lead to.

use super::*;
use crate::domain::checks::{check_endpoint, check_tenant, some_text, tenant_lookup};
use crate::domain::common::{NAME_BYTES_MAX, TEXT_BYTES_MAX, check_labels, check_length, check_name};
use std::collections::BTreeMap;

pub fn lookups(_state: &State, command: &Command, envelope: &Envelope) -> Vec<Lookup> {
    if asks_the_tenant(command) { tenant_lookup(envelope.tenant()) } else { Vec::new() }
}

/// Taking a server out and reporting how it is are right even when the tenant is suspended or closed.
fn asks_the_tenant(command: &Command) -> bool {
    match command {
        Command::RegisterMcpServer(_) | Command::ReviseMcpServer(_) | Command::DiscoverTools(_) => true,
        Command::ReportMcpServerHealth(_) | Command::DeregisterMcpServer(_) => false,
    }
}

pub fn decide(state: &State, command: &Command, context: &Context<'_>) -> Result<Decision<Event>, Rejection> {
    if asks_the_tenant(command) {
        check_tenant(context)?;
    }
    match command {
        Command::RegisterMcpServer(command) => register(state, command),
        Command::ReviseMcpServer(command) => revise(state, command),
        Command::DiscoverTools(command) => discover(state, command),
        Command::ReportMcpServerHealth(command) => report_health(state, command),
        Command::DeregisterMcpServer(command) => deregister(state, command),
    }
}

/// An identical registration changes nothing; one that lists no tools says nothing about them.
fn register(state: &State, command: &RegisterMcpServer) -> Result<Decision<Event>, Rejection> {
    if state.status == Status::Deregistered {
        return Err(final_state("registered"));
    }
    let listing = Listing {
        name: command.name.clone(),
        category: command.category.clone(),
        description: command.description.clone(),
        transport: command.transport,
        endpoint: some_text(command.endpoint.as_deref()),
        package: some_text(command.package.as_deref()),
        capabilities: command.capabilities.clone(),
    };
    check_listing(&listing)?;
    let tools = digested_by_name(&command.tools)?;
    if state.status == Status::Registered {
        let same = listing == state.listing && (tools.is_empty() || tools.values().eq(&state.tools));
        return if same { Ok(Decision::unchanged()) } else { Err(Rejection::already_exists("MCP server")) };
    }
    let mut events = vec![Event::McpServerRegistered(McpServerRegistered { listing })];
    if !tools.is_empty() {
        events.push(Event::ToolsDiscovered(ToolsDiscovered { tools: tools.into_values().collect() }));
    }
    Ok(Decision::events(events))
}

fn revise(state: &State, command: &ReviseMcpServer) -> Result<Decision<Event>, Rejection> {
    check_registered(state, "revised")?;
    let before = &state.listing;
    let text = |given: &Option<String>, before: &str| given.as_deref().unwrap_or(before).to_owned();
    let optional = |given: &Option<String>, before: &Option<String>| match given {
        Some(given) => some_text(Some(given)),
        None => before.clone(),
    };
    let listing = Listing {
        name: text(&command.name, &before.name),
        category: text(&command.category, &before.category),
        description: text(&command.description, &before.description),
        transport: command.transport.unwrap_or(before.transport),
        endpoint: optional(&command.endpoint, &before.endpoint),
        package: optional(&command.package, &before.package),
        capabilities: command.capabilities.as_ref().unwrap_or(&before.capabilities).clone(),
    };
    if listing == *before {
        return Ok(Decision::unchanged());
    }
    check_listing(&listing)?;
    Ok(Decision::event(Event::McpServerRevised(McpServerRevised { listing })))
}

/// Compares the whole list with the one before: what is new, each that changed, what is gone, in this order.
fn discover(state: &State, command: &DiscoverTools) -> Result<Decision<Event>, Rejection> {
    check_registered(state, "with other tools")?;
    let now = digested_by_name(&command.tools)?;
    let gone: Vec<String> =
        state.tools.iter().filter(|tool| !now.contains_key(&tool.name)).map(|tool| tool.name.clone()).collect();
    let mut added = Vec::new();
    let mut changed = Vec::new();
    for (name, tool) in now {
        match find_tool(state, &name) {
            None => added.push(tool),
            Some(before) if before.digest != tool.digest => {
                changed.push(Event::ToolChanged(ToolChanged { tool, digest_before: before.digest.clone() }));
            }
            Some(_) => {}
        }
    }
    let mut events = Vec::new();
    if !added.is_empty() || !state.tools_known {
        events.push(Event::ToolsDiscovered(ToolsDiscovered { tools: added }));
    }
    events.append(&mut changed);
    if !gone.is_empty() {
        events.push(Event::ToolsRemoved(ToolsRemoved { names: gone }));
    }
    Ok(Decision::events(events))
}

fn report_health(state: &State, command: &ReportMcpServerHealth) -> Result<Decision<Event>, Rejection> {
    check_registered(state, command.health.name())?;
    check_length("reason", &command.reason, TEXT_BYTES_MAX)?;
    if command.health == state.health {
        return Ok(Decision::unchanged());
    }
    let (before, after) = (state.health, command.health);
    Ok(Decision::event(Event::McpServerHealthChanged(McpServerHealthChanged {
        before,
        after,
        reason: command.reason.clone(),
    })))
}

fn deregister(state: &State, command: &DeregisterMcpServer) -> Result<Decision<Event>, Rejection> {
    if state.status == Status::Deregistered {
        return Ok(Decision::unchanged());
    }
    check_registered(state, "deregistered")?;
    check_length("reason", &command.reason, TEXT_BYTES_MAX)?;
    Ok(Decision::event(Event::McpServerDeregistered(McpServerDeregistered { reason: command.reason.clone() })))
}

fn check_registered(state: &State, to: &str) -> Result<(), Rejection> {
    match state.status {
        Status::Absent => Err(Rejection::not_found("MCP server")),
        Status::Registered => Ok(()),
        Status::Deregistered => Err(final_state(to)),
    }
}

fn final_state(to: &str) -> Rejection {
    Rejection::illegal_transition("deregistered", to, &[])
}

fn check_listing(listing: &Listing) -> Result<(), Rejection> {
    check_name("name", &listing.name)?;
    check_length("category", &listing.category, NAME_BYTES_MAX)?;
    check_length("description", &listing.description, TEXT_BYTES_MAX)?;
    check_endpoint("endpoint", listing.endpoint.as_deref())?;
    check_length("package", listing.package.as_deref().unwrap_or_default(), NAME_BYTES_MAX)?;
    check_labels("capabilities", &listing.capabilities)
}

/// The tools with their digests, sorted by name; checked one by one.
fn digested_by_name(tools: &[Tool]) -> Result<BTreeMap<String, DigestedTool>, Rejection> {
    if tools.len() > TOOLS_MAX {
        return Err(Rejection::invalid(
            "tools",
            format!("has {} entries, at most {TOOLS_MAX} are allowed", tools.len()),
        ));
    }
    let mut by_name = BTreeMap::new();
    for tool in tools {
        check_name("tools.name", &tool.name)?;
        check_length("tools.description", &tool.description, TOOL_DESCRIPTION_BYTES_MAX)
            .and_then(|()| check_length("tools.input_schema", &tool.input_schema, SCHEMA_BYTES_MAX))
            .map_err(|rejection| rejection.with("tool", &tool.name))?;
        let digested = digest::digested(tool);
        // Canonical numbers can be longer than what was given (1e20).
        check_length("tools.input_schema", &digested.input_schema, SCHEMA_BYTES_MAX)
            .map_err(|rejection| rejection.with("tool", &tool.name))?;
        if by_name.insert(tool.name.clone(), digested).is_some() {
            return Err(Rejection::invalid("tools.name", "two tools have the same name; give each once")
                .with("tool", &tool.name));
        }
    }
    Ok(by_name)
}

fn find_tool<'a>(state: &'a State, name: &str) -> Option<&'a DigestedTool> {
    let index = state.tools.binary_search_by(|tool| tool.name.as_str().cmp(name)).ok()?;
    state.tools.get(index)
}
