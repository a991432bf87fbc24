//! `agentverse list KIND`.

use super::exit::{Error, Exit};
use super::pages::{self, Listing};
use super::url::append_query;
use super::{Remote, block_on, kind, output};
use crate::domain::Aggregate;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The kind of resource: agents, mcp-servers, llm-providers, couplings, tenants, …; the singular is the same
    #[arg(value_parser = kind::parse)]
    kind: Aggregate,
    /// Only what has this value, as in `--filter status=active`; give it again for a further condition
    #[arg(long = "filter", value_name = "KEY=VALUE", value_parser = parse_filter)]
    filters: Vec<(String, String)>,
    /// As the list was then: a time as in 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    as_of: Option<String>,
    /// Only what has these words in its name, keywords or description, each at least by its beginning; the best first
    #[arg(long = "query", short = 'q', value_name = "WORDS")]
    words: Option<String>,
    /// The order: name, created_at, updated_at, status or any filter, with - before it for the reverse
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    sort: Option<String>,
    /// Only what changed at or after this time, as in 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    updated_since: Option<String>,
    #[command(flatten)]
    range: pages::Range,
    /// Go on where an earlier list left off (its `next_cursor`)
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

pub fn run(args: Args) -> Result<Exit, Error> {
    let tenant = match args.kind {
        Aggregate::Tenant => args.remote.tenant,
        _ => Some(args.remote.tenant()?),
    };
    let mut target = target(args.kind, &args.filters);
    let rest =
        [("as_of", &args.as_of), ("q", &args.words), ("sort", &args.sort), ("updated_since", &args.updated_since)];
    for (name, value) in rest {
        if let Some(value) = value {
            append_query(&mut target, name, value);
        }
    }
    let Args { remote, range, cursor, .. } = args;
    let listing = Listing { remote: &remote, target: &target, tenant, range, cursor, table: output::rows };
    block_on(pages::show(&mut std::io::stdout().lock(), listing))?;
    Ok(Exit::Done)
}

fn target(kind: Aggregate, filters: &[(String, String)]) -> String {
    let mut target = format!("/v1/{}", kind.plural());
    for (key, value) in filters {
        append_query(&mut target, key, value);
    }
    target
}

/// # Errors
/// When it is none.
pub fn parse_filter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a filter is KEY=VALUE, as in status=active".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_become_the_query() {
        let filters: Vec<_> = ["status=active", "skill=a=b c"].iter().map(|text| parse_filter(text).unwrap()).collect();
        assert_eq!(target(Aggregate::Agent, &filters), "/v1/agents?status=active&skill=a%3Db%20c");
    }

    #[test]
    fn a_filter_without_a_key_is_refused() {
        assert!(parse_filter("active").is_err());
        assert!(parse_filter("=active").is_err());
    }
}
