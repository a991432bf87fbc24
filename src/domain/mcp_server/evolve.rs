//! What a server's events leave.

use super::*;

pub fn evolve(state: &mut State, event: &Event) {
    match event {
        Event::McpServerRegistered(event) => {
            state.status = Status::Registered;
            state.listing = event.listing.clone();
        }
        Event::McpServerRevised(event) => state.listing = event.listing.clone(),
        Event::ToolsDiscovered(event) => {
            state.tools_known = true;
            if state.tools.is_empty() {
                state.tools = event.tools.clone();
                state.tools.sort_by(|a, b| a.name.cmp(&b.name));
            } else {
                event.tools.iter().for_each(|tool| put_tool(&mut state.tools, tool));
            }
        }
        Event::ToolChanged(event) => put_tool(&mut state.tools, &event.tool),
        Event::ToolsRemoved(event) => state.tools.retain(|tool| event.names.binary_search(&tool.name).is_err()),
        Event::McpServerHealthChanged(event) => {
            state.health = event.after;
            state.reason.clone_from(&event.reason);
        }
        Event::McpServerDeregistered(event) => {
            state.status = Status::Deregistered;
            state.reason.clone_from(&event.reason);
        }
    }
}

pub fn is_terminal(state: &State) -> bool {
    state.status == Status::Deregistered
}

/// Keeps the order by name.
fn put_tool(tools: &mut Vec<DigestedTool>, tool: &DigestedTool) {
    match tools.binary_search_by(|known| known.name.cmp(&tool.name)) {
        Ok(index) => tools[index] = tool.clone(),
        Err(index) => tools.insert(index, tool.clone()),
    }
}
