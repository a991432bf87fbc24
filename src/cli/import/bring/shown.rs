//! What is shown of an import: how far it is, then what became of the entries.

use super::files::Files;
use crate::cli::exit::Exit;
use crate::cli::output;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Entries that a table shows one by one.
const LINES_MAX: usize = 50;
/// Of entries that were cut or passed over it shows these, and says how many more there are.
const ASIDE_MAX: usize = 10;
/// Entries of each class that the JSON output has one by one.
const LISTED_MAX: usize = 10_000;
/// Longest key in a table, in characters.
const KEY_CHARS_MAX: usize = 48;

pub struct Shown {
    files: Arc<Files>,
    bar: ProgressBar,
    /// By [`class`].
    classes: [Vec<Value>; CLASSES],
    not_listed: u64,
    /// What was told so far, for who does not wait for the report.
    entries: u64,
    counted: BTreeMap<String, u64>,
    report: Value,
}

/// Kinds of what is told, in the order in which they are listed.
const CLASSES: usize = 4;
const TROUBLED: usize = 0;
const DIFFERENT: usize = 1;
const PASSED_OVER: usize = 2;

/// What may become of an entry.
const OUTCOMES: [&str; 9] =
    ["created", "changed", "unchanged", "refused", "undecided", "retired", "superseded", "withdrawn", "skipped"];

fn class(told: &Value) -> usize {
    match told["outcome"].as_str().unwrap_or_default() {
        "refused" | "undecided" => TROUBLED,
        "changed" | "retired" => DIFFERENT,
        _ if !cuts(told).is_empty() => DIFFERENT,
        "superseded" | "withdrawn" | "skipped" => PASSED_OVER,
        _ => 3,
    }
}

/// Fields that were cut, with the reasons.
fn cuts(told: &Value) -> &[Value] {
    told["cuts"].as_array().map_or(&[], Vec::as_slice)
}

impl Shown {
    pub fn new(files: Arc<Files>, tells: bool) -> Self {
        // Drawn on standard error, and only on a terminal.
        let bar = if tells { ProgressBar::no_length() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_bar} {msg}") {
            bar.set_style(style);
        }
        Self {
            files,
            bar,
            classes: Default::default(),
            not_listed: 0,
            entries: 0,
            counted: BTreeMap::new(),
            report: Value::Null,
        }
    }

    /// How many, how fast, and how long it will take.
    pub fn progress(&mut self, data: &Value) {
        let number = |name: &str| data[name].as_u64().unwrap_or_default();
        self.entries = number("entries");
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
        for (line_of, file_of) in [("line", "file"), ("instead_line", "instead_file")] {
            if let Some(line) = told[line_of].as_u64() {
                let (file, line) = self.files.place(line);
                told[line_of] = line.into();
                if let Some(file) = file {
                    told[file_of] = file.display().to_string().into();
                }
            }
        }
        *self.counted.entry(output::text(&told["outcome"])).or_default() += 1;
        match self.classes.get_mut(class(&told)).filter(|list| list.len() < LISTED_MAX) {
            Some(list) => list.push(told),
            None => self.not_listed += 1,
        }
    }

    /// What was done when somebody would not wait for the rest: a report that is not complete.
    pub fn interrupted(&mut self, kind: &str, dry_run: bool) {
        let mut report = json!({ "kind": kind, "dry_run": dry_run, "entries": self.entries });
        for outcome in OUTCOMES {
            report[outcome] = self.counted.get(outcome).copied().unwrap_or_default().into();
        }
        let untold =
            ["created", "changed", "refused", "undecided"].map(|name| report[name].as_u64().unwrap_or_default());
        report["unchanged"] = self.entries.saturating_sub(untold.iter().sum()).into();
        report["complete"] = false.into();
        report["ended_because"] =
            "interrupted: what is told here is done, and perhaps a batch more; run the same again \
            to finish it"
                .into();
        report["seconds"] = self.bar.elapsed().as_secs_f64().into();
        self.end(report);
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
        let listed: Vec<_> = self.classes.iter().flatten().collect();
        report["listed"] = json!(listed);
        report["not_listed"] = self.not_listed.into();
        report
    }

    pub fn show(&self) -> std::io::Result<()> {
        let [troubled, different, passed, _] = &self.classes;
        let changed: Vec<_> = different.iter().filter(|told| told["outcome"] == "changed").collect();
        if !changed.is_empty() {
            let mut table = output::table(["CHANGED", "FIELDS"]);
            for told in changed.iter().take(LINES_MAX) {
                table.add_row([name(told), output::text(&told["fields"])]);
            }
            output::line(table)?;
            say_more(changed.len(), LINES_MAX)?;
        }
        reasons(troubled.iter().map(|told| row(told, &told["outcome"], told)), LINES_MAX)?;
        let cut = Value::from("shortened");
        let cuts = different.iter().flat_map(|told| cuts(told).iter().map(|field| row(told, &cut, field)));
        reasons(cuts, ASIDE_MAX)?;
        reasons(passed.iter().map(|told| row(told, &told["outcome"], told)), ASIDE_MAX)?;
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

/// A line of a table of reasons: what is told, and the field and the reason of it.
fn row(told: &Value, outcome: &Value, why: &Value) -> [String; 5] {
    let mut reason = output::text(&why["reason"]);
    if !told["instead_line"].is_null() {
        reason += &format!(" ({})", place(told, "instead_file", "instead_line"));
    }
    [place(told, "file", "line"), output::text(outcome), name(told), output::text(&why["field"]), reason]
}

fn place(told: &Value, file: &str, line: &str) -> String {
    match told[file].as_str() {
        Some(file) => format!("{file}:{}", output::text(&told[line])),
        None => output::text(&told[line]),
    }
}

fn reasons(rows: impl Iterator<Item = [String; 5]>, rows_max: usize) -> std::io::Result<()> {
    let mut table = output::table(["LINE", "OUTCOME", "ENTRY", "FIELD", "REASON"]);
    let mut count = 0;
    for row in rows {
        count += 1;
        if count <= rows_max {
            table.add_row(row);
        }
    }
    if count == 0 {
        return Ok(());
    }
    output::line(table)?;
    say_more(count, rows_max)
}

fn say_more(count: usize, shown: usize) -> std::io::Result<()> {
    match count.saturating_sub(shown) {
        0 => Ok(()),
        more => output::line(format!("and {more} more; --output json has them")),
    }
}
