//! `agentverse count KIND`.

use super::client::{self, Request};
use super::exit::{Error, Exit};
use super::list::parse_filter;
use super::output::{self, Format};
use super::url::append_query;
use super::{Remote, block_on, kind};
use crate::domain::Aggregate;
use comfy_table::{Cell, CellAlignment, Table};
use serde_json::Value;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The kind of resource: agents, mcp-servers, couplings, tenants, …
    #[arg(value_parser = kind::parse)]
    kind: Aggregate,
    /// Count by the values of this filter, as in `--by category`
    #[arg(long, value_name = "FILTER")]
    by: Option<String>,
    /// Only what has this value, as in `--filter status=active`; give it again for a further condition
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = parse_filter)]
    filters: Vec<(String, String)>,
    /// Only what has these words
    #[arg(long = "query", short = 'q', value_name = "WORDS")]
    words: Option<String>,
    /// Most values that are listed
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    groups: u16,
    #[command(flatten)]
    remote: Remote,
}

pub fn run(args: Args) -> Result<Exit, Error> {
    let tenant = match args.kind {
        Aggregate::Tenant => args.remote.tenant,
        _ => Some(args.remote.tenant()?),
    };
    let target = target(&args);
    let remote = &args.remote;
    let asked = client::request(&remote.url, remote.timeout(), Request::get(target, tenant));
    let counted: Value = block_on(async { Ok(asked.await?) })?.json()?;
    match remote.output {
        Format::Json => output::json(&counted)?,
        Format::Table => output::line(shown(&counted))?,
    }
    Ok(Exit::Done)
}

fn target(args: &Args) -> String {
    let mut target = format!("/v1/{}/count", args.kind.plural());
    if let Some(by) = &args.by {
        append_query(&mut target, "group_by", by);
        append_query(&mut target, "groups", &args.groups.to_string());
    }
    if let Some(words) = &args.words {
        append_query(&mut target, "q", words);
    }
    for (key, value) in &args.filters {
        append_query(&mut target, key, value);
    }
    target
}

fn shown(counted: &Value) -> String {
    let Some(by) = counted["group_by"].as_str() else { return counted["count"].to_string() };
    let mut table: Table = output::table([by, "count"]);
    let mut add = |value: &str, count: &Value| {
        table.add_row([Cell::new(value), Cell::new(count).set_alignment(CellAlignment::Right)]);
    };
    for group in counted["groups"].as_array().into_iter().flatten() {
        add(group["value"].as_str().unwrap_or_default(), &group["count"]);
    }
    if counted["without_value"] != 0 {
        add("(none)", &counted["without_value"]);
    }
    let further = match counted["further_values"].as_u64() {
        Some(0) | None => String::new(),
        Some(further) => format!("\nand {further} further values; see --groups"),
    };
    format!("{table}\n{} in all{further}", counted["count"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn groups_are_a_table_and_a_bare_count_a_number() {
        let counted = json!({
            "count": 7, "group_by": "category", "groups": [{ "value": "legal", "count": 4 }], "without_value": 3,
            "further_values": 2,
        });
        let text = shown(&counted);
        for expected in ["category", "legal", "(none)", "7 in all", "and 2 further values"] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        assert_eq!(shown(&json!({ "count": 7 })), "7");
    }
}
