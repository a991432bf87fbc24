//! What goes to the terminal: tables for people, JSON for programs.

use comfy_table::{Cell, Color, ContentArrangement, Table};
use serde_json::Value;
use std::env;
use std::io::{self, IsTerminal, Write};

/// `--output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Json,
}

/// A line above, one below, a double one under the header, none between rows (the order is that of comfy-table's presets).
const STYLE: &str = "  ── ══      ──    ";
/// Most columns of a list; more do not fit a terminal. JSON has them all.
const COLUMNS_MAX: usize = 8;
/// The columns that come first, where the rows have them.
const FIRST_COLUMNS: [&str; 4] = ["id", "name", "status", "version"];

/// Columns of text where no terminal says how many it has.
const WIDTH: usize = 120;
/// Narrower text cannot be read, whatever the terminal says.
const WIDTH_MIN: usize = 40;

/// Whether standard output takes colours: it is a terminal, and nobody said no (<https://no-color.org>).
pub fn colours() -> bool {
    wants_colours(io::stdout().is_terminal(), env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()))
}

fn wants_colours(terminal: bool, no_color: bool) -> bool {
    terminal && !no_color
}

/// Columns for running text: the terminal's, or 120 where standard output is none.
pub fn width() -> usize {
    Table::new().width().map_or(WIDTH, |width| usize::from(width).max(WIDTH_MIN))
}

/// The text in lines of at most `width` characters, broken between words; a longer word stands alone on its line.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The text, cut to at most `length` characters with an ellipsis at the end where it was longer.
pub fn shorten(text: &str, length: usize) -> String {
    match text.char_indices().nth(length) {
        None => text.to_owned(),
        Some(_) => text.chars().take(length.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// An empty table in the house style, as wide as the terminal and uncoloured where colours are not wanted.
pub fn table<'a>(header: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_preset(STYLE).set_content_arrangement(ContentArrangement::Dynamic);
    if !colours() {
        // Without a terminal to ask, the table would forget how wide it is.
        if let Some(width) = table.width() {
            table.set_width(width);
        }
        table.force_no_tty();
    }
    let header: Vec<&str> = header.into_iter().collect();
    if !header.is_empty() {
        table.set_header(header);
    }
    table
}

/// A cell of a column: a status gets its colour, the rest none.
pub fn cell(column: &str, value: &Value) -> Cell {
    let text = text(value);
    let colour = match (column, text.as_str()) {
        ("status" | "health" | "outcome", "active" | "applied" | "accepted") => Some(Color::Green),
        ("status" | "health" | "outcome", "refused" | "offline" | "dead_lettered" | "closed") => Some(Color::Red),
        ("status" | "health", "suspended" | "degraded" | "maintenance") => Some(Color::Yellow),
        _ => None,
    };
    match colour {
        Some(colour) if colours() => Cell::new(text).fg(colour),
        _ => Cell::new(text),
    }
}

/// A value as one line of text: nothing for null, strings as they are (without control characters, which could drive
/// the terminal), lists of scalars with commas, the rest as JSON.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        Value::Array(items) if items.iter().all(|item| !item.is_array() && !item.is_object()) => {
            items.iter().map(text).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

/// Rows of objects as a table: id, name, status and version first, then what else is scalar in any row.
pub fn rows(items: &[Value]) -> Table {
    let columns = columns(items);
    let mut table = table(columns.iter().map(String::as_str));
    for item in items {
        table.add_row(columns.iter().map(|column| cell(column, item.get(column).unwrap_or(&Value::Null))));
    }
    table
}

fn columns(items: &[Value]) -> Vec<String> {
    let is_scalar = |value: &Value| !value.is_array() && !value.is_object() && !value.is_null();
    let mut columns: Vec<String> = Vec::new();
    for column in FIRST_COLUMNS {
        if items.iter().any(|item| item.get(column).is_some_and(is_scalar)) {
            columns.push(column.to_owned());
        }
    }
    for (key, value) in items.iter().filter_map(Value::as_object).flatten() {
        if columns.len() == COLUMNS_MAX {
            break;
        }
        if is_scalar(value) && !columns.contains(key) {
            columns.push(key.clone());
        }
    }
    columns
}

/// One object as a table of two columns, id, name, status and version first, what is nested as indented JSON.
pub fn fields(object: &Value) -> Table {
    let mut table = table([]);
    let first = FIRST_COLUMNS.iter().filter_map(|key| Some((*key, object.get(key)?)));
    let rest = object.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value));
    for (key, value) in first.chain(rest.filter(|(key, _)| !FIRST_COLUMNS.contains(key))) {
        let nested = text(value).starts_with(['{', '[']) && !value.is_string();
        let shown = match nested.then(|| serde_json::to_string_pretty(value)) {
            Some(Ok(pretty)) => Cell::new(pretty),
            _ => cell(key, value),
        };
        table.add_row([Cell::new(key), shown]);
    }
    table
}

/// Writes one line to standard output.
///
/// # Errors
/// When the other end is gone.
pub fn line(text: impl std::fmt::Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// Writes a JSON document and a line feed to standard output, indented when a person is looking.
///
/// # Errors
/// When the other end is gone.
pub fn json(value: &impl serde::Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if out.is_terminal() {
        serde_json::to_writer_pretty(&mut out, value)?;
    } else {
        serde_json::to_writer(&mut out, value)?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn colours_need_a_terminal_and_no_objection() {
        assert!(wants_colours(true, false));
        assert!(!wants_colours(true, true));
        assert!(!wants_colours(false, false));
    }

    #[test]
    fn text_is_broken_between_words() {
        assert_eq!(wrap("one two  three\nfour", 8), ["one two", "three", "four"]);
        assert_eq!(wrap("a wonderfully b", 5), ["a", "wonderfully", "b"]);
        assert!(wrap(" ", 5).is_empty());
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!(shorten("äöüß", 4), "äöüß");
        assert_eq!(shorten("äöüßx", 4), "äöü…");
    }

    #[test]
    fn a_list_leads_with_its_identity_and_leaves_out_what_is_nested() {
        let items = [
            json!({"category": "ops", "skills": ["a"], "version": 2, "id": "x", "status": "active"}),
            json!({"id": "y", "status": "idle", "version": 1, "project": "p", "requirements": {"a": 1}}),
        ];
        assert_eq!(columns(&items), ["id", "status", "version", "category", "project"]);
        let shown = rows(&items).to_string();
        assert!(shown.contains("ops") && shown.contains("idle"), "{shown}");
    }

    #[test]
    fn text_cannot_drive_the_terminal() {
        assert_eq!(text(&json!("a\u{1b}[2Jb\nc")), "a [2Jb c");
        assert_eq!(text(&json!(["a", 1, null])), "a, 1, ");
        assert_eq!(text(&json!({"a": 1})), r#"{"a":1}"#);
    }

    #[test]
    fn a_resource_shows_every_field() {
        let shown = fields(&json!({"id": "x", "tools": [{"name": "search"}], "empty": null})).to_string();
        assert!(shown.contains("\"name\": \"search\"") && shown.contains("empty"), "{shown}");
    }
}
