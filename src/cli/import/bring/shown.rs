//! What is shown of an import: how far it is, then what became of the entries.

use super::files::Files;
use crate::cli::exit::Exit;
use crate::cli::output;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::sync::Arc;

/// Entries that a table shows one by one.
const LINES_MAX: usize = 50;
/// Entries that the JSON output has one by one.
const LISTED_MAX: usize = 10_000;
/// Longest key in a table, in characters.
const KEY_CHARS_MAX: usize = 48;

pub struct Shown {
    files: Arc<Files>,
    bar: ProgressBar,
    /// Those that were refused, or are undecided, and all others.
    troubled: Vec<Value>,
    others: Vec<Value>,
    not_listed: u64,
    report: Value,
}

impl Shown {
    pub fn new(files: Arc<Files>, tells: bool) -> Self {
        // Drawn on standard error, and only on a terminal.
        let bar = if tells { ProgressBar::no_length() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_bar} {msg}") {
            bar.set_style(style);
        }
        Self { files, bar, troubled: Vec::new(), others: Vec::new(), not_listed: 0, report: Value::Null }
    }

    /// How many, how fast, and how long it will take.
    pub fn progress(&mut self, data: &Value) {
        let number = |name: &str| data[name].as_u64().unwrap_or_default();
        let rate = data["entries_per_second"].as_f64().unwrap_or_default();
        let seconds = self.bar.elapsed().as_secs_f64();
        let mut left = data["seconds_left"].as_f64();
        if let Some(total) = data["entries_total"].as_u64() {
            self.bar.set_length(total);
            self.bar.set_position(number("entries"));
        } else if let Some(total) = self.files.bytes_total.filter(|total| *total > 0) {
            let read = number("bytes").min(total);
            self.bar.set_length(total);
            self.bar.set_position(read);
            // How many entries there are nobody knows: the bytes tell.
            left = (read > 0).then(|| seconds * (total - read) as f64 / read as f64);
        }
        let left = left.map(|left| format!(", {left:.0} s left")).unwrap_or_default();
        self.bar.set_message(format!("{} entries, {rate:.0}/s{left}", HumanCount(number("entries"))));
    }

    pub fn entry(&mut self, mut told: Value) {
        if let Some(line) = told["line"].as_u64() {
            let (file, line) = self.files.place(line);
            told["line"] = line.into();
            if let Some(file) = file {
                told["file"] = file.display().to_string().into();
            }
        }
        let list = if told["reason"].is_null() { &mut self.others } else { &mut self.troubled };
        if list.len() < LISTED_MAX {
            list.push(told);
        } else {
            self.not_listed += 1;
        }
    }

    pub fn end(&mut self, report: Value) {
        self.bar.finish_and_clear();
        self.report = report;
    }

    fn count(&self, name: &str) -> u64 {
        self.report[name].as_u64().unwrap_or_default()
    }

    /// The report, with what became of the entries one by one, the troubled ones first.
    pub fn to_json(&self) -> Value {
        let mut report = self.report.clone();
        let listed: Vec<_> = self.troubled.iter().chain(&self.others).collect();
        report["listed"] = json!(listed);
        report["not_listed"] = self.not_listed.into();
        report
    }

    pub fn show(&self) -> std::io::Result<()> {
        let changed: Vec<_> = self.others.iter().filter(|told| told["outcome"] == "changed").collect();
        if !changed.is_empty() {
            let mut table = output::table(["CHANGED", "FIELDS"]);
            for told in changed.iter().take(LINES_MAX) {
                table.add_row([name(told), output::text(&told["fields"])]);
            }
            output::line(table)?;
            say_more(changed.len())?;
        }
        if !self.troubled.is_empty() {
            let mut table = output::table(["LINE", "OUTCOME", "ENTRY", "FIELD", "REASON"]);
            for told in self.troubled.iter().take(LINES_MAX) {
                let place = match told["file"].as_str() {
                    Some(file) => format!("{file}:{}", output::text(&told["line"])),
                    None => output::text(&told["line"]),
                };
                let text = |field: &str| output::text(&told[field]);
                table.add_row([place, text("outcome"), name(told), text("field"), text("reason")]);
            }
            output::line(table)?;
            say_more(self.troubled.len())?;
        }
        output::line(self.summary())
    }

    fn summary(&self) -> String {
        let would = if self.report["dry_run"] == true { "It would be" } else { "Entries" };
        let always = ["created", "changed", "unchanged", "refused"].map(|name| (name, true));
        let others =
            ["undecided", "retired", "superseded", "withdrawn", "skipped", "shortened"].map(|name| (name, false));
        let counts = always.iter().chain(&others).filter(|(name, always)| *always || self.count(name) > 0);
        let counts: Vec<_> = counts.map(|(name, _)| format!("{} {name}", self.count(name))).collect();
        let seconds = self.report["seconds"].as_f64().unwrap_or_default();
        let mut said = format!("{would}: {} ({seconds:.1} s)", counts.join(", "));
        for why in ["retire_skipped", "ended_because"] {
            if let Some(why) = self.report[why].as_str() {
                said += &format!("\n{why}");
            }
        }
        said
    }

    /// The worst that happened.
    pub fn exit(&self) -> Exit {
        if self.report["complete"] != true {
            Exit::Unreachable
        } else if self.count("refused") > 0 || self.report["retire_skipped"].is_string() {
            Exit::Refused
        } else if self.count("undecided") > 0 {
            Exit::Undecided
        } else {
            Exit::Done
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn name(told: &Value) -> String {
    let text = if told["key"].is_string() { &told["key"] } else { &told["name"] };
    output::shorten(&output::text(text), KEY_CHARS_MAX)
}

fn say_more(count: usize) -> std::io::Result<()> {
    match count.saturating_sub(LINES_MAX) {
        0 => Ok(()),
        more => output::line(format!("and {more} more; --output json has them")),
    }
}
