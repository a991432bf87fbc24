//! Lists that come in pages: follows the cursors and shows one page at a time, however many there are.

use super::Remote;
use super::client::{Connection, Request};
use super::exit::Error;
use super::output::Format;
use super::url::append_query;
use comfy_table::Table;
use serde::Deserialize;
use serde_json::Value;
use std::io::{self, Write};
use uuid::Uuid;

/// Most items of one page; the server takes no more.
pub const PAGE_ITEMS_MAX: u64 = 1_000;

#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Range {
    /// Show at most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "all")]
    limit: u64,
    /// Show all
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Value>,
    #[serde(default)]
    next_cursor: Option<String>,
}

/// What to list, and how to show it.
pub struct Listing<'a> {
    pub remote: &'a Remote,
    /// Path and filters.
    pub target: &'a str,
    pub tenant: Option<Uuid>,
    pub range: Range,
    /// Where an earlier list left off.
    pub cursor: Option<String>,
    pub table: fn(&[Value]) -> Table,
}

/// Shows a list on `out`. JSON is one document, `{"items":[…],"next_cursor":…}`, written as the pages come, so that no
/// more than a page is held; an error at the first page leaves no half document. Returns how many were shown.
pub async fn show(out: &mut impl Write, listing: Listing<'_>) -> Result<u64, Error> {
    let Listing { remote, target, tenant, range, mut cursor, table } = listing;
    let mut connection = Connection::new(remote.url.clone(), remote.timeout());
    let mut left = if range.all { u64::MAX } else { range.limit };
    let mut shown = 0u64;
    let mut first = true;
    loop {
        let mut page_target = target.to_owned();
        append_query(&mut page_target, "limit", &left.min(PAGE_ITEMS_MAX).to_string());
        if let Some(cursor) = &cursor {
            append_query(&mut page_target, "cursor", cursor);
        }
        let page: Page = connection.request(Request::get(page_target, tenant)).await?.json()?;
        // An answer that goes nowhere would be asked for again and again.
        let stuck = page.next_cursor.is_some() && page.next_cursor == cursor;
        cursor = page.next_cursor;
        match remote.output {
            Format::Json => json_items(out, &page.items, first)?,
            Format::Table if page.items.is_empty() => {}
            Format::Table => writeln!(out, "{}", table(&page.items))?,
        }
        first = false;
        shown += page.items.len() as u64;
        left = left.saturating_sub(page.items.len() as u64);
        if cursor.is_none() || left == 0 || stuck {
            break;
        }
    }
    match remote.output {
        Format::Json => writeln!(out, "\n],\"next_cursor\":{}}}", Value::from(cursor))?,
        Format::Table if shown == 0 => writeln!(out, "none")?,
        Format::Table if cursor.is_some() => {
            writeln!(out, "{shown} shown, there are more: raise --limit, or use --all")?
        }
        Format::Table => writeln!(out, "{shown} shown")?,
    }
    Ok(shown)
}

fn json_items(out: &mut impl Write, items: &[Value], first: bool) -> io::Result<()> {
    let mut separator = if first { "{\"items\":[\n" } else { ",\n" };
    if first && items.is_empty() {
        write!(out, "{separator}")?;
    }
    for item in items {
        write!(out, "{separator}{item}")?;
        separator = ",\n";
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{output, stub};
    use axum::response::IntoResponse;
    use parking_lot::Mutex;
    use serde_json::json;
    use std::sync::Arc;

    /// A list of 2,500 in pages, whose cursor is the number of items before: the queries it was asked, what was shown.
    async fn asked(range: Range) -> (Vec<String>, Value) {
        let queries = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&queries);
        let url = stub::serve(move |uri, _, _| {
            let query = uri.query().unwrap().to_owned();
            let number = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.parse::<u64>().ok());
            let (limit, start) = (number("limit=").unwrap(), number("cursor=").unwrap_or(0));
            let end = (start + limit).min(2_500);
            record.lock().push(query);
            let items: Vec<_> = (start..end).map(|id| json!({"id": id})).collect();
            let next = (end < 2_500).then(|| end.to_string());
            axum::Json(json!({"items": items, "next_cursor": next})).into_response()
        })
        .await;
        let remote = Remote { url, tenant: None, timeout: 5.0, output: Format::Json };
        let mut out = Vec::new();
        let target = "/v1/agents?status=active";
        let listing = Listing { remote: &remote, target, tenant: None, range, cursor: None, table: output::rows };
        show(&mut out, listing).await.unwrap();
        let queries = queries.lock().clone();
        (queries, serde_json::from_slice(&out).unwrap())
    }

    #[tokio::test]
    async fn all_pages_are_followed_to_the_end() {
        let (queries, shown) = asked(Range { limit: 50, all: true }).await;
        let expected = ["", "&cursor=1000", "&cursor=2000"].map(|cursor| format!("status=active&limit=1000{cursor}"));
        assert_eq!(queries, expected);
        let ids: Vec<_> = shown["items"].as_array().unwrap().iter().map(|item| item["id"].as_u64().unwrap()).collect();
        assert_eq!(ids, (0..2_500).collect::<Vec<_>>());
        assert_eq!(shown["next_cursor"], Value::Null);
    }

    #[tokio::test]
    async fn no_more_is_asked_for_than_was_wanted() {
        let (queries, shown) = asked(Range { limit: 1_200, all: false }).await;
        assert_eq!(queries, ["status=active&limit=1000", "status=active&limit=200&cursor=1000"]);
        assert_eq!((shown["items"].as_array().unwrap().len(), &shown["next_cursor"]), (1_200, &json!("1200")));
    }
}
