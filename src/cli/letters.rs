//! `agentverse dead-letters list|show|redrive`.

use super::client::{ClientError, Connection, Request};
use super::exit::{Error, Exit};
use super::output::{self, Format};
use super::pages::{self, Listing};
use super::url::append_query;
use super::{Remote, block_on};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use comfy_table::Table;
use serde_json::{Value, json};
use std::fmt::Write as _;
use uuid::Uuid;

const TARGET: &str = "/v1/dead-letters";
/// Most bytes of a value that a table shows; JSON has the whole.
const SHOWN_BYTES_MAX: usize = 4096;
/// Bytes of a line in hexadecimal.
const HEX_BYTES: usize = 32;
/// Most letters of a page while all are gone through: each may be as large as a command.
const PAGE_LETTERS: &str = "100";

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List them, in the order of their numbers; what nobody could read is listed with `--tenant shared`
    List {
        #[command(flatten)]
        range: pages::Range,
        /// Go on where an earlier list left off (its `next_cursor`)
        #[arg(long)]
        cursor: Option<String>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show one, with its headers and its value as JSON, text or hexadecimal
    Show {
        number: u64,
        #[command(flatten)]
        remote: Remote,
    },
    /// Send some again, as they stand
    Redrive(Redrive),
}

#[derive(Debug, clap::Args)]
struct Redrive {
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "NUMBER")]
    numbers: Vec<u64>,
    /// Every one that was not sent again yet and can be
    #[arg(long)]
    all: bool,
    /// Of all, only those with this code, as `poisonous`
    #[arg(long, requires = "all")]
    code: Option<String>,
    /// Even those that were sent again before
    #[arg(long, conflicts_with = "all")]
    force: bool,
    #[command(flatten)]
    remote: Remote,
}

pub fn run(args: Args) -> Result<Exit, Error> {
    match args.action {
        Action::List { range, cursor, remote } => {
            let tenant = remote.tenant.ok_or_else(|| {
                let message = "name the tenant with --tenant UUID or AGENTVERSE_TENANT; what came by Kafka and could not be \
                               read belongs to none and is listed with --tenant shared";
                Error::Usage(message.into())
            })?;
            let tenant = Some(tenant);
            let listing = Listing { remote: &remote, target: TARGET, tenant, range, cursor, table: rows };
            let shown = block_on(pages::show(&mut std::io::stdout().lock(), listing))?;
            if shown == 0 && tenant != Some(Uuid::nil()) && remote.output == Format::Table {
                eprintln!("What came by Kafka and could not be read belongs to no tenant: add --tenant shared.");
            }
            Ok(Exit::Done)
        }
        Action::Show { number, remote } => show(number, &remote),
        Action::Redrive(redrive) => block_on(redrive_all(redrive)),
    }
}

fn show(number: u64, remote: &Remote) -> Result<Exit, Error> {
    let request = Request::get(format!("{TARGET}/{number}"), Some(remote.tenant()?));
    let answer = block_on(async { Ok(super::client::request(&remote.url, remote.timeout(), request).await?) })?;
    let mut letter: Value = answer.json()?;
    if remote.output == Format::Table {
        let bytes = letter["bytes_base64"].as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
        if let Some(fields) = letter.as_object_mut() {
            fields.remove("bytes_base64");
        }
        output::line(output::fields(&letter))?;
        output::line(value(&bytes))?;
    } else {
        output::json(&letter)?;
    }
    Ok(Exit::Done)
}

const COLUMNS: [&str; 7] = ["number", "buried_at", "code", "topic", "partition", "attempts", "redriven"];

fn rows(items: &[Value]) -> Table {
    let mut table = output::table(COLUMNS.into_iter().chain(["cause"]));
    for item in items {
        let cause = output::shorten(&output::text(&item["cause"]), 80);
        let cells = COLUMNS.map(|column| output::cell(column, &item[column]));
        table.add_row(cells.into_iter().chain([comfy_table::Cell::new(cause)]));
    }
    table
}

/// A value as a person can read it: JSON indented, text as it is, anything else in hexadecimal.
fn value(bytes: &[u8]) -> String {
    let (kind, shown) = match (serde_json::from_slice::<Value>(bytes), std::str::from_utf8(bytes)) {
        (Ok(json), _) => ("JSON", serde_json::to_string_pretty(&json).unwrap_or_default()),
        (_, Ok(text)) if !text.contains(|c: char| c.is_control() && !c.is_whitespace()) => ("text", text.to_owned()),
        _ => ("hexadecimal", hexadecimal(&bytes[..bytes.len().min(SHOWN_BYTES_MAX)])),
    };
    let cut = if bytes.len() > SHOWN_BYTES_MAX { ", the beginning; --output json has the whole" } else { "" };
    format!("value, {} bytes as {kind}{cut}:\n{}", bytes.len(), output::shorten(&shown, SHOWN_BYTES_MAX * 3))
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 4);
    for line in bytes.chunks(HEX_BYTES) {
        for byte in line {
            // Writing to a String cannot fail.
            let _ = write!(out, "{byte:02x} ");
        }
        let seen = line.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' });
        out.extend(std::iter::repeat_n(' ', (HEX_BYTES - line.len()) * 3 + 1));
        out.extend(seen);
        out.push('\n');
    }
    out.trim_end().to_owned()
}

/// What became of one letter.
#[derive(Debug)]
enum Sent {
    Again(Value),
    /// The server refused, and why.
    Refused(u64, String),
}

async fn redrive_all(args: Redrive) -> Result<Exit, Error> {
    let Redrive { numbers, all, code, force, remote } = args;
    let tenant = remote.tenant()?;
    let mut connection = Connection::new(remote.url.clone(), remote.timeout());
    let numbers = if all { waiting(&mut connection, tenant, code.as_deref()).await? } else { numbers };
    let (mut sent, mut refused) = (Vec::new(), Vec::new());
    for number in numbers {
        match send_again(&mut connection, tenant, number, force).await? {
            Sent::Again(answer) => {
                if remote.output == Format::Table {
                    output::line(format!("{number} was sent again, attempt {}", answer["attempts"]))?;
                }
                sent.push(answer);
            }
            Sent::Refused(number, why) => {
                if remote.output == Format::Table {
                    eprintln!("{number} was not: {why}");
                }
                refused.push(json!({ "number": number, "reason": why }));
            }
        }
    }
    let exit = if refused.is_empty() { Exit::Done } else { Exit::Refused };
    match remote.output {
        Format::Json => output::json(&json!({ "redriven": sent, "refused": refused }))?,
        Format::Table => output::line(format!("{} sent again, {} refused", sent.len(), refused.len()))?,
    }
    Ok(exit)
}

/// The numbers of the letters that were not sent again yet.
async fn waiting(connection: &mut Connection, tenant: Uuid, code: Option<&str>) -> Result<Vec<u64>, Error> {
    let mut numbers = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut target = TARGET.to_owned();
        append_query(&mut target, "limit", PAGE_LETTERS);
        if let Some(cursor) = &cursor {
            append_query(&mut target, "cursor", cursor);
        }
        let page: Value = connection.request(Request::get(target, Some(tenant))).await?.json()?;
        let letters = page["items"].as_array().into_iter().flatten();
        let wanted = letters.filter(|letter| code.is_none_or(|code| letter["code"] == code) && letter["redriven"] == 0);
        numbers.extend(wanted.filter_map(|letter| letter["number"].as_u64()));
        let next = page["next_cursor"].as_str().map(str::to_owned);
        // A cursor that leads nowhere would be followed for ever.
        if next.is_none() || next == cursor {
            return Ok(numbers);
        }
        cursor = next;
    }
}

async fn send_again(connection: &mut Connection, tenant: Uuid, number: u64, force: bool) -> Result<Sent, Error> {
    let force = if force { "?force=true" } else { "" };
    let target = format!("{TARGET}/{number}/redrive{force}");
    let request = Request::post(target, Some(tenant), "application/json", Bytes::new());
    match connection.request(request).await {
        Ok(answer) => Ok(Sent::Again(answer.json()?)),
        Err(ClientError::Problem(problem)) if problem.status == 409 => Ok(Sent::Refused(number, problem.detail)),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::stub;
    use axum::http::StatusCode;
    use axum::response::IntoResponse;
    use parking_lot::Mutex;
    use std::sync::Arc;

    #[test]
    fn a_value_is_shown_as_what_it_is() {
        assert_eq!(value(br#"{"a":1}"#), "value, 7 bytes as JSON:\n{\n  \"a\": 1\n}");
        assert_eq!(value("grüß\ndich".as_bytes()), "value, 11 bytes as text:\ngrüß\ndich");
        let shown = value(&[0xc3, 1, b'A']);
        assert!(shown.starts_with("value, 3 bytes as hexadecimal:\nc3 01 41 ") && shown.ends_with(" ..A"), "{shown}");
        assert!(value(b"\x1b[2J").contains("1b 5b 32 4a"), "text cannot drive the terminal");
        let long = value(&vec![7; 5_000_000]);
        assert!(long.contains("5000000 bytes") && long.contains("the beginning") && long.len() < 40_000);
    }

    /// Redrives against a server with five letters, of which 2 is unfit and 3 was sent again; gives what was posted.
    async fn redriven(all: bool, code: Option<&str>, numbers: &[u64], force: bool) -> (Vec<String>, Exit) {
        let posted = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&posted);
        let url = stub::serve(move |uri, _, _| {
            let path = uri.path_and_query().unwrap().to_string();
            let Some(rest) = path.strip_prefix("/v1/dead-letters/") else {
                let second = path.contains("cursor=");
                let letter = |number: u64, code: &str| json!({"number": number, "code": code, "redriven": u64::from(number == 3)});
                let items = if second { vec![letter(3, "poisonous"), letter(4, "poisonous")] } else { vec![letter(1, "poisonous"), letter(2, "id_reused")] };
                let next = (!second).then_some("more");
                return axum::Json(json!({"items": items, "next_cursor": next})).into_response();
            };
            record.lock().push(rest.to_owned());
            if rest.starts_with("2/") {
                return (StatusCode::CONFLICT, r#"{"detail":"its id is another's"}"#).into_response();
            }
            (StatusCode::ACCEPTED, axum::Json(json!({"number": 1, "attempts": 1}))).into_response()
        })
        .await;
        let remote = Remote { url, tenant: Some(Uuid::nil()), timeout: 5.0, output: Format::Json };
        let args = Redrive { numbers: numbers.to_vec(), all, code: code.map(str::to_owned), force, remote };
        let exit = redrive_all(args).await.unwrap();
        let posted = posted.lock().clone();
        (posted, exit)
    }

    #[tokio::test]
    async fn all_means_those_that_were_not_sent_again_yet() {
        let (posted, exit) = redriven(true, None, &[], false).await;
        assert_eq!(
            (posted, exit),
            (["1/redrive", "2/redrive", "4/redrive"].map(str::to_owned).to_vec(), Exit::Refused)
        );
        let (posted, exit) = redriven(true, Some("poisonous"), &[], false).await;
        assert_eq!((posted, exit), (["1/redrive", "4/redrive"].map(str::to_owned).to_vec(), Exit::Done));
    }

    #[tokio::test]
    async fn the_ones_that_are_named_are_sent_and_one_refusal_stops_none_behind_it() {
        let (posted, exit) = redriven(false, None, &[2, 3], true).await;
        let expected = ["2/redrive?force=true", "3/redrive?force=true"].map(str::to_owned).to_vec();
        assert_eq!((posted, exit), (expected, Exit::Refused));
    }
}
