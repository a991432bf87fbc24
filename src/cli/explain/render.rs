//! An explanation as text: the summary, the facts, the reasons of a refusal, the score part by part, the choice.

use super::document::{Choice, Explanation, Part, Rejected, Score};
use crate::cli::output;
use comfy_table::{ColumnConstraint, Table};
use serde_json::{Map, Value};
use std::fmt::Write;

/// Characters of a full bar.
const BAR_WIDTH: usize = 20;
/// Rejected models shown per reason; JSON has all that the server names.
const EXAMPLES_MAX: usize = 3;
const INDENT: &str = "  ";

/// The whole text, in lines of at most `width` columns as far as ids and numbers leave room, without a final line feed.
pub fn render(explanation: &Explanation, width: usize) -> String {
    let mut page = Page { text: String::new(), width: width.saturating_sub(INDENT.len()) };
    page.text = output::wrap(&explanation.summary, width).join("\n") + "\n";
    facts(&mut page, explanation);
    if !explanation.reasons.is_empty() {
        page.title("Reasons of the refusal");
    }
    for reason in &explanation.reasons {
        page.paragraph(&format!("- {}: {}", reason.code, reason.message));
        if !reason.details.is_empty() {
            page.paragraph(&format!("({})", listed(&reason.details)));
        }
    }
    if let Some(score) = &explanation.score {
        scoring(&mut page, score);
    }
    if let Some(found) = &explanation.choice {
        choice(&mut page, "", found);
    }
    if let Some(found) = &explanation.failed_search {
        choice(&mut page, "Search that found no other model: ", found);
    }
    // Nothing that a server sends may drive the terminal.
    page.text.trim_end().chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

struct Page {
    text: String,
    /// Of a line without its indentation.
    width: usize,
}

impl Page {
    fn title(&mut self, title: &str) {
        self.text.push('\n');
        for line in output::wrap(title, self.width) {
            self.text.push_str(&line);
            self.text.push('\n');
        }
    }

    fn line(&mut self, line: &str) {
        // Writing to a String cannot fail.
        _ = writeln!(self.text, "{INDENT}{}", line.trim_end());
    }

    fn paragraph(&mut self, text: &str) {
        for line in output::wrap(text, self.width) {
            self.line(&line);
        }
    }

    /// A table whose columns named by `whole` are never broken over lines: a broken id cannot be copied.
    fn table(&mut self, mut table: Table, whole: &[usize]) {
        table.set_width(u16::try_from(self.width).unwrap_or(u16::MAX));
        for index in whole {
            if let Some(column) = table.column_mut(*index) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        for line in table.lines() {
            self.line(&line);
        }
    }
}

fn facts(page: &mut Page, explanation: &Explanation) {
    let model = explanation.model.as_ref().map(|model| {
        let pinned = if explanation.pinned { ", pinned by command" } else { "" };
        format!("{} of {}{pinned}", model.model_id, model.provider)
    });
    let facts = [
        ("status", explanation.status.clone()),
        ("held by", explanation.holds.join(", ")),
        ("agent", explanation.agent_id.clone()),
        ("MCP server", explanation.mcp_server_id.clone()),
        ("model", model.unwrap_or_default()),
    ];
    page.text.push('\n');
    for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        page.line(&format!("{name:<12}{value}"));
    }
}

fn scoring(page: &mut Page, score: &Score) {
    page.title("Score");
    match score.value {
        Some(value) => {
            let verdict = if value >= score.threshold { "reached" } else { "not reached" };
            page.line(&format!("{value:.3} {}  threshold {:.3}, {verdict}", bar(value), score.threshold));
        }
        None => page.line(&format!("none  threshold {:.3}", score.threshold)),
    }
    let mut table = output::table(["part", "value", "", "weight", "used", "adds", "why"]);
    for part in &score.parts {
        table.add_row([
            part.part.clone(),
            number(part.value),
            part.value.map(bar).unwrap_or_default(),
            format!("{:.3}", part.weight),
            format!("{:.3}", part.weight_used),
            number(part.contribution),
            why(part),
        ]);
    }
    page.table(table, &[0, 1, 2, 3, 4, 5]);
    page.paragraph(&score.calculation);
    page.paragraph(&score.formula);
    if score.skill_matches.is_empty() {
        return;
    }
    page.title("Skills and the tools that fit them best");
    let mut table = output::table(["skill", "tool", "share of the skill's words"]);
    for found in &score.skill_matches {
        table.add_row([found.skill.clone(), found.tool.clone(), format!("{:.3} {}", found.share, bar(found.share))]);
    }
    page.table(table, &[2]);
}

fn why(part: &Part) -> String {
    match &part.unknown {
        Some(unknown) => format!("unknown: {}", unknown.meaning),
        None if part.left_out => "left out: it would lower the score".into(),
        None => part.question.clone(),
    }
}

fn choice(page: &mut Page, prefix: &str, choice: &Choice) {
    page.title(&format!("{prefix}Choice of the model by {}", choice.objective));
    page.paragraph(&choice.ranking);
    let requirements = listed(&choice.requirements);
    if !requirements.is_empty() {
        page.paragraph(&format!("required: {requirements}"));
    }
    if !choice.required_capabilities.is_empty() {
        page.paragraph(&format!("required capabilities: {}", choice.required_capabilities.join(", ")));
    }
    candidates(page, choice);
    rejected(page, &choice.rejected);
}

fn candidates(page: &mut Page, choice: &Choice) {
    let (count, seen) = (choice.candidate_count, choice.models_seen);
    if choice.candidates.is_empty() {
        page.title(&format!("Candidates: none of {seen} models"));
        return;
    }
    let listed = choice.candidates.len();
    let best = if listed as i64 == count { String::new() } else { format!(", the best {listed} shown") };
    page.title(&format!(
        "Candidates: {count} of {seen} models{best}; price in micro-dollars per 1,000 tokens, median latency; * as measured"
    ));
    let mut table =
        output::table(["rank", "provider", "model", "price", "latency", "quality", "errors", "score", "role"]);
    for candidate in &choice.candidates {
        table.add_row([
            candidate.rank.to_string(),
            candidate.provider.clone(),
            candidate.model_id.clone(),
            candidate.micro_usd_per_1k_tokens.map_or_else(|| "-".into(), |price| price.to_string()),
            candidate
                .latency_ms_p50
                .map_or_else(|| "-".into(), |latency| format!("{latency} ms{}", mark(candidate.latency_is_measured))),
            candidate
                .quality
                .map_or_else(|| "-".into(), |quality| format!("{quality}{}", mark(candidate.quality_is_measured))),
            number(candidate.error_rate),
            format!("{:.3}", candidate.score),
            candidate.role.clone().unwrap_or_default(),
        ]);
    }
    page.table(table, &[0, 3, 4, 5, 6, 7, 8]);
}

fn mark(is_measured: bool) -> &'static str {
    if is_measured { "*" } else { "" }
}

fn rejected(page: &mut Page, rejected: &[Rejected]) {
    if rejected.is_empty() {
        return;
    }
    page.title(&format!("Rejected: {} models", rejected.iter().map(|it| it.count).sum::<i64>()));
    let mut table = output::table(["models", "reason", "meaning"]);
    for it in rejected {
        table.add_row([it.count.to_string(), it.reason.clone(), it.meaning.clone()]);
    }
    page.table(table, &[0, 1]);
    if rejected.iter().all(|it| it.examples.is_empty()) {
        return;
    }
    page.title(&format!("Rejected, for example (at most {EXAMPLES_MAX} per reason; --output json has more)"));
    let mut table = output::table(["model", "provider", "why"]);
    for example in rejected.iter().flat_map(|it| it.examples.iter().take(EXAMPLES_MAX)) {
        table.add_row([&example.model_id, &example.provider_id, &example.detail]);
    }
    page.table(table, &[1]);
}

/// `name value, name value`, without what is null or empty.
fn listed(fields: &Map<String, Value>) -> String {
    let shown = fields.iter().map(|(name, value)| (name.replace('_', " "), output::text(value)));
    let shown = shown.filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("{name} {value}"));
    shown.collect::<Vec<_>>().join(", ")
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.3}"))
}

pub(super) fn bar(share: f64) -> String {
    // Out of range or not a number: the cast saturates.
    let full = ((share * BAR_WIDTH as f64).round() as usize).min(BAR_WIDTH);
    format!("{}{}", "█".repeat(full), "░".repeat(BAR_WIDTH - full))
}
