//! `agentverse discover KIND WORDS`.

use super::client::{self, Request};
use super::exit::{Error, Exit};
use super::list::parse_filter;
use super::output::{self, Format};
use super::url::append_query;
use super::{Remote, block_on, kind};
use crate::domain::Aggregate;
use comfy_table::Table;
use serde_json::Value;

/// Reasons that a line of the table has room for.
const REASONS_SHOWN: usize = 3;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to look for: agents, mcp-servers or agent-templates
    #[arg(value_parser = kind::parse)]
    kind: Aggregate,
    /// What they should be able to do, in any words
    text: Vec<String>,
    /// A skill that they should have, or one below it in the taxonomy; give it again for a further one
    #[arg(long = "skill")]
    skills: Vec<String>,
    /// A tool that servers should offer
    #[arg(long = "tool")]
    tools: Vec<String>,
    /// Only what has this value, as in `--filter category=legal`
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = parse_filter)]
    filters: Vec<(String, String)>,
    /// Show at most this many
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=100))]
    limit: u16,
    #[command(flatten)]
    remote: Remote,
}

pub fn run(args: Args) -> Result<Exit, Error> {
    let tenant = Some(args.remote.tenant()?);
    let target = target(&args);
    let remote = &args.remote;
    let asked = client::request(&remote.url, remote.timeout(), Request::get(target, tenant));
    let found: Value = block_on(async { Ok(asked.await?) })?.json()?;
    match remote.output {
        Format::Json => output::json(&found)?,
        Format::Table => output::line(table(&found))?,
    }
    Ok(Exit::Done)
}

fn target(args: &Args) -> String {
    let mut target = format!("/v1/discover/{}", args.kind.plural());
    append_query(&mut target, "limit", &args.limit.to_string());
    if !args.text.is_empty() {
        append_query(&mut target, "text", &args.text.join(" "));
    }
    let wishes = args.skills.iter().map(|it| ("skill", it)).chain(args.tools.iter().map(|it| ("tool", it)));
    for (name, value) in wishes.chain(args.filters.iter().map(|(key, value)| (key.as_str(), value))) {
        append_query(&mut target, name, value);
    }
    target
}

fn table(found: &Value) -> Table {
    let mut table = output::table(["score", "id", "name", "status", "health", "because of"]);
    for hit in found["items"].as_array().into_iter().flatten() {
        let resource = &hit["resource"];
        let text = |name: &str| resource[name].as_str().unwrap_or_default().to_owned();
        let reasons: Vec<_> = hit["reasons"].as_array().into_iter().flatten().take(REASONS_SHOWN).map(reason).collect();
        let score = format!("{:.1}", hit["score"].as_f64().unwrap_or_default());
        table.add_row([score, text("id"), text("name"), text("status"), text("health"), reasons.join("; ")]);
    }
    table
}

fn reason(reason: &Value) -> String {
    let text = |name: &str| reason[name].as_str().unwrap_or_default();
    let (field, value) = (text("field"), text("value"));
    match text("because") {
        "below" => format!("{field} {value}, below {}", text("skill")),
        "meant" => format!("{field} {value}, as {} in the text", text("skill")),
        "words" => {
            let words: Vec<_> = reason["words"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            format!("{} in {field}", words.join(", "))
        }
        _ => format!("{field} {value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_hit_says_why_it_was_found() {
        let found = json!({ "items": [{
            "score": 9.25,
            "resource": { "id": "1", "name": "Portia", "status": "active", "health": "active" },
            "reasons": [
                { "field": "skill", "value": "contract_review", "because": "below", "skill": "law" },
                { "field": "purpose", "value": "Reads contracts", "because": "words", "words": ["reads", "contracts"] },
            ],
        }] });
        let text = table(&found).to_string();
        for expected in ["9.2", "Portia", "skill contract_review, below law", "reads, contracts in purpose"] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }
}
