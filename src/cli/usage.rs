//! `agentverse usage`.

use super::exit::{Error, Exit};
use super::pages::{self, Listing};
use super::url::append_query;
use super::{Remote, block_on, output};
use crate::domain::usage::{Dimension, Window};
use comfy_table::{Cell, CellAlignment, Table};
use serde_json::Value;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// By what to add up
    #[arg(long, value_parser = names(Dimension::ALL.map(Dimension::name)))]
    by: String,
    /// Only this one: an id, a project's name, or PROVIDER/MODEL
    #[arg(long)]
    key: Option<String>,
    /// The size of a window
    #[arg(long, default_value = "1h", value_parser = names(Window::ALL.map(Window::name)))]
    window: String,
    /// Windows from this time on, as in 2026-01-31T12:00:00Z; without it the last 60 before the end
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Windows that begin before this time; without it until now
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    #[command(flatten)]
    range: pages::Range,
    /// Go on where an earlier list left off (its `next_cursor`)
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

fn names<const N: usize>(names: [&'static str; N]) -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(names)
}

pub fn run(args: Args) -> Result<Exit, Error> {
    let tenant = Some(args.remote.tenant()?);
    let target = target(&args);
    let Args { remote, range, cursor, .. } = args;
    let listing = Listing { remote: &remote, target: &target, tenant, range, cursor, table: rows };
    block_on(pages::show(&mut std::io::stdout().lock(), listing))?;
    Ok(Exit::Done)
}

fn target(args: &Args) -> String {
    let mut target = "/v1/usage".to_owned();
    append_query(&mut target, "by", &args.by);
    append_query(&mut target, "window", &args.window);
    for (name, value) in [("key", &args.key), ("from", &args.from), ("to", &args.to)] {
        if let Some(value) = value {
            append_query(&mut target, name, value);
        }
    }
    target
}

/// Header, and the fields that it adds up.
const COLUMNS: [(&str, &[&str]); 9] = [
    ("key", &["key"]),
    ("start", &["start"]),
    ("done", &["requests_completed"]),
    ("not done", &["requests_failed", "requests_expired", "requests_cancelled"]),
    ("tokens in", &["input_tokens"]),
    ("tokens out", &["output_tokens"]),
    ("USD", &["cost_usd"]),
    ("p50 ms", &["latency_ms_p50"]),
    ("p95 ms", &["latency_ms_p95"]),
];

/// What fits a terminal; JSON has every field.
fn rows(items: &[Value]) -> Table {
    let mut table = output::table(COLUMNS.map(|(header, _)| header));
    for item in items {
        table.add_row(COLUMNS.map(|(header, fields)| {
            let text = match fields {
                [field] => output::text(item.get(field).unwrap_or(&Value::Null)),
                _ => fields.iter().filter_map(|field| item.get(field)?.as_u64()).sum::<u64>().to_string(),
            };
            match header {
                "key" => Cell::new(text),
                // Whole windows: what is below a minute is nothing.
                "start" => Cell::new(text.replace(":00.000000Z", "Z")),
                _ => Cell::new(text).set_alignment(CellAlignment::Right),
            }
        }));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;
    use serde_json::json;

    fn args(words: &[&str]) -> Option<Args> {
        let cli = Cli::try_parse_from(["agentverse", "usage"].iter().chain(words)).ok()?;
        match cli.command {
            Command::Usage(args) => Some(args),
            _ => None,
        }
    }

    #[test]
    fn options_become_the_query() {
        let args = args(&["--by", "model", "--key", "5/large x", "--window", "1d", "--to", "2026-01-01T00:00:00Z"]);
        let expected = "/v1/usage?by=model&window=1d&key=5%2Flarge%20x&to=2026-01-01T00%3A00%3A00Z";
        assert_eq!(target(&args.unwrap()), expected);
    }

    #[test]
    fn what_there_is_not_is_refused() {
        assert!(args(&["--by", "colour"]).is_none());
        assert!(args(&["--by", "agent", "--window", "2h"]).is_none());
        assert!(args(&[]).is_none(), "it must say by what");
        assert_eq!(args(&["--by", "agent"]).unwrap().window, "1h");
    }

    #[test]
    fn a_table_shows_money_exactly_and_what_came_to_nothing_together() {
        let item = json!({
            "by": "project", "key": "atlas", "window": "1h", "start": "2026-01-01T05:00:00.000000Z",
            "requests_completed": 3, "requests_failed": 1, "requests_expired": 2, "requests_cancelled": 4,
            "input_tokens": 10, "output_tokens": 2, "cost_usd": "0.000000000001", "latency_ms_p50": null,
        });
        let shown = rows(&[item]).to_string();
        for part in ["atlas", "2026-01-01T05:00Z", "0.000000000001", " 7 "] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
}
