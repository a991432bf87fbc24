//! `agentverse history KIND ID`.

use super::exit::{Error, Exit};
use super::get::tenant_of;
use super::pages::{self, Listing};
use super::{Remote, block_on, kind, output};
use crate::domain::Aggregate;
use comfy_table::Table;
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

/// The command's id is left out: it is as wide as the rest, and JSON has it.
fn rows(items: &[Value]) -> Table {
    let mut table = output::table(COLUMNS);
    for item in items {
        table.add_row(COLUMNS.map(|column| output::cell(column, item.get(column).unwrap_or(&Value::Null))));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_history_shows_when_what_and_who() {
        let shown = rows(&[json!({
            "version": 2, "type": "agent.AgentRevised", "command_id": "c", "recorded_at": "2026-01-02T03:04:05Z",
            "actor": "hr-feed", "data": {"revision": 2},
        })])
        .to_string();
        for part in ["2026-01-02T03:04:05Z", "agent.AgentRevised", "hr-feed", r#"{"revision":2}"#] {
            assert!(shown.contains(part), "{part} is missing in {shown}");
        }
    }
}
