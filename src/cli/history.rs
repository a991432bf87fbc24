//! `agentverse history KIND ID`.

use super::exit::{Error, Exit};
use super::get::tenant_of;
use super::pages::{self, Listing};
use super::{Remote, block_on, kind, output};
use crate::domain::Aggregate;
use comfy_table::{Cell, ColumnConstraint, Table};
use serde_json::Value;
use uuid::Uuid;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The kind of resource: agent, mcp-server, llm-provider, coupling, tenant, …; the plural is the same
    #[arg(value_parser = kind::parse)]
    kind: Aggregate,
    id: Uuid,
    #[command(flatten)]
    range: pages::Range,
    /// Go on where an earlier history left off (its `next_cursor`)
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

pub fn run(args: Args) -> Result<Exit, Error> {
    let tenant = tenant_of(&args.remote, args.kind, args.id)?;
    let target = format!("/v1/{}/{}/history", args.kind.plural(), args.id);
    let Args { remote, range, cursor, .. } = args;
    let listing = Listing { remote: &remote, target: &target, tenant: Some(tenant), range, cursor, table: rows };
    block_on(pages::show(&mut std::io::stdout().lock(), listing))?;
    Ok(Exit::Done)
}

const COLUMNS: [&str; 5] = ["version", "recorded_at", "type", "actor", "data"];

/// Most characters of an event's data, and of who caused it; JSON has the whole.
const DATA_CHARS_MAX: usize = 60;
const ACTOR_CHARS_MAX: usize = 32;

/// The command's id is left out: it is as wide as the rest, and JSON has it.
fn rows(items: &[Value]) -> Table {
    let mut table = output::table(COLUMNS);
    // A time broken over lines cannot be read; the other columns give way.
    for column in table.column_iter_mut().take(2) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    for item in items {
        table.add_row(COLUMNS.map(|column| {
            let value = item.get(column).unwrap_or(&Value::Null);
            match column {
                "data" => Cell::new(output::shorten(&gist(value), DATA_CHARS_MAX)),
                "actor" => Cell::new(output::shorten(&output::text(value), ACTOR_CHARS_MAX)),
                _ => output::cell(column, value),
            }
        }));
    }
    table
}

/// `name value, name value` of an event's data: what is plain first, of what is nested the name alone.
pub fn gist(data: &Value) -> String {
    let Some(fields) = data.as_object() else { return output::text(data) };
    let shown = fields.iter().filter(|(_, value)| !value.is_null());
    let (nested, plain): (Vec<_>, Vec<_>) = shown.partition(|(_, value)| output::text(value).starts_with(['{', '[']));
    let plain = plain.into_iter().map(|(name, value)| format!("{name} {}", output::text(value)));
    plain.chain(nested.into_iter().map(|(name, _)| format!("{name} …"))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_history_shows_when_what_and_who() {
        let shown = rows(&[json!({
            "version": 2, "type": "agent.AgentRevised", "command_id": "c", "recorded_at": "2026-01-02T03:04:05Z",
            "actor": "hr-feed", "data": {"profile": {"name": "Ada"}, "revision": 2, "reason": null},
        })])
        .to_string();
        for part in ["2026-01-02T03:04:05Z", "agent.AgentRevised", "hr-feed", "revision 2, profile …"] {
            assert!(shown.contains(part), "{part} is missing in {shown}");
        }
    }

    #[test]
    fn a_history_stays_narrow_whatever_happened() {
        let long = "x".repeat(10_000);
        let shown = rows(&[json!({
            "version": 1_000_000, "type": "mcp_server.McpServerToolsDiscovered", "actor": long,
            "recorded_at": "2026-01-02T03:04:05.123456Z", "data": {"reason": long, "tools": [{"name": long}]},
        })])
        .to_string();
        let widest = shown.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 180, "{widest} columns\n{shown}");
        assert!(shown.contains("xxx…"), "{shown}");
    }
}
