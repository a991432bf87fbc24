//! `agentverse history KIND ID`.

use super::exit::{Error, Exit};
use super::get::tenant_of;
use super::pages::{self, Listing};
use super::url::append_query;
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
    /// Show what each event changed, field by field
    #[arg(long)]
    diff: bool,
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
    let mut target = format!("/v1/{}/{}/history", args.kind.plural(), args.id);
    if args.diff {
        append_query(&mut target, "diff", "true");
    }
    let table = if args.diff { changed_rows } else { rows };
    let Args { remote, range, cursor, .. } = args;
    let listing = Listing { remote: &remote, target: &target, tenant: Some(tenant), range, cursor, table };
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

const CHANGED_COLUMNS: [&str; 5] = ["version", "recorded_at", "type", "actor", "changes"];

/// Most changes of an event, and most characters of a side of one; JSON has the whole.
const CHANGES_MAX: usize = 20;
const SIDE_CHARS_MAX: usize = 40;

/// As [`rows`], with what each event changed in place of what it says.
fn changed_rows(items: &[Value]) -> Table {
    let mut table = output::table(CHANGED_COLUMNS);
    for column in table.column_iter_mut().take(2) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    for item in items {
        table.add_row(CHANGED_COLUMNS.map(|column| {
            let value = item.get(column).unwrap_or(&Value::Null);
            match column {
                "changes" => Cell::new(changes(value)),
                "actor" => Cell::new(output::shorten(&output::text(value), ACTOR_CHARS_MAX)),
                _ => output::cell(column, value),
            }
        }));
    }
    table
}

/// A line for each change. What only came, or went, without a value is left out: a first event gives every field one.
fn changes(changes: &Value) -> String {
    let all = changes.as_array().map_or(&[][..], Vec::as_slice);
    let mut lines: Vec<String> = all.iter().filter_map(changed).collect();
    let more = lines.len().saturating_sub(CHANGES_MAX);
    lines.truncate(CHANGES_MAX);
    if more > 0 {
        lines.push(format!("… and {more} more"));
    }
    lines.join("\n")
}

/// `profile.name: "a" → "b"`, `+ name: "a"` of what came, `- name: "a"` of what went.
fn changed(change: &Value) -> Option<String> {
    let path = change.get("path")?.as_str()?.trim_start_matches('/').replace('/', ".");
    let name = output::text(&Value::from(path.replace("~1", "/").replace("~0", "~")));
    match (change.get("before"), change.get("after")) {
        (Some(before), Some(after)) => Some(format!("{name}: {} → {}", side(before), side(after))),
        (None, Some(value)) if !is_empty(value) => Some(format!("+ {name}: {}", side(value))),
        (Some(value), None) if !is_empty(value) => Some(format!("- {name}: {}", side(value))),
        _ => None,
    }
}

/// In quotes where it is text, so that an empty one is seen.
fn side(value: &Value) -> String {
    let text = match value {
        Value::String(text) => format!("{:?}", output::text(&Value::from(text.as_str()))),
        other => other.to_string(),
    };
    output::shorten(&text, SIDE_CHARS_MAX)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        _ => false,
    }
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
    fn changes_are_told_field_by_field() {
        let item = json!({"version": 2, "type": "agent.AgentRevised", "changes": [
            {"path": "/name", "before": "a", "after": "b\u{1b}"}, {"path": "/limits/x~1y", "before": 1, "after": null},
            {"path": "/tools/1", "after": {"name": "search"}}, {"path": "/reason", "after": ""},
            {"path": "/owner", "before": "ada"},
        ]});
        let expected =
            [r#"name: "a" → "b ""#, "limits.x/y: 1 → null", r#"+ tools.1: {"name":"search"}"#, r#"- owner: "ada""#];
        assert_eq!(changes(&item["changes"]), expected.join("\n"));
        assert!(changed_rows(&[item]).to_string().contains(r#"name: "a" → "b ""#));
        let many: Vec<_> = (0..50).map(|n| json!({"path": "/n", "before": n, "after": "x".repeat(500)})).collect();
        let shown = changes(&json!(many));
        assert_eq!(shown.lines().count(), CHANGES_MAX + 1);
        assert!(shown.ends_with("… and 30 more") && shown.lines().all(|line| line.chars().count() < 60), "{shown}");
        assert_eq!(changes(&json!([])), "");
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
