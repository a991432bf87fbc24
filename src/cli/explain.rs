//! `agentverse explain COUPLING`: what the decision saw, readably.
//!
//! The document is shown by its shape, so that a field that a newer server adds appears without a newer client: `parts`
//! as bars, `candidates` and `rejected` as tables, `reasons` as sentences, everything else as `name: value`.

use super::client::{self, Request};
use super::exit::{Error, Exit};
use super::output::{self, Format};
use super::{Remote, block_on};
use serde_json::{Map, Value};
use std::fmt::Write;
use uuid::Uuid;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The coupling's id
    coupling: Uuid,
    #[command(flatten)]
    remote: Remote,
}

pub fn run(args: Args) -> Result<Exit, Error> {
    let tenant = args.remote.tenant()?;
    let target = format!("/v1/couplings/{}/explain", args.coupling);
    let answer = block_on(async {
        Ok(client::request(&args.remote.url, args.remote.timeout(), Request::get(target, Some(tenant))).await?)
    })?;
    let explanation: Value = answer.json()?;
    match args.remote.output {
        Format::Json => output::json(&explanation)?,
        Format::Table => output::line(render(&explanation).trim_end())?,
    }
    Ok(Exit::Done)
}

/// Characters of a full bar.
const BAR_WIDTH: usize = 20;

/// Fields with a section of their own, and its title.
const SECTIONS: [(&str, &str); 5] = [
    ("reasons", "Reasons"),
    ("parts", "Parts of the score"),
    ("candidates", "Candidates, best first"),
    ("fallbacks", "Fallbacks, in order"),
    ("rejected", "Rejected"),
];

fn render(explanation: &Value) -> String {
    let Some(fields) = explanation.as_object() else { return explanation.to_string() };
    let mut out = String::new();
    for (name, value) in fields {
        if !SECTIONS.iter().any(|(section, _)| section == name) && !value.is_null() {
            field(&mut out, name, value);
        }
    }
    for (name, title) in SECTIONS {
        let Some(value) = fields.get(name).filter(|value| !is_empty(value)) else { continue };
        let body = match name {
            "parts" => parts(value),
            "reasons" => sentences(value),
            _ => table(value),
        };
        section(&mut out, title, &body);
    }
    out
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

// Writing to a String cannot fail, here and below.

fn section(out: &mut String, title: &str, body: &str) {
    _ = writeln!(out, "\n{title}");
    for line in body.lines() {
        _ = writeln!(out, "  {line}");
    }
}

fn field(out: &mut String, name: &str, value: &Value) {
    let label = name.replace('_', " ");
    match (name, value.as_f64()) {
        ("score" | "threshold", Some(share)) => _ = writeln!(out, "{label:<16} {share:.3}  {}", bar(share)),
        _ => _ = writeln!(out, "{label:<16} {}", inline(value)),
    }
}

/// A small object on one line: `name value, name value`.
fn inline(value: &Value) -> String {
    match value.as_object() {
        Some(fields) => {
            let shown = fields.iter().filter(|(_, value)| !value.is_null());
            shown
                .map(|(name, value)| format!("{} {}", name.replace('_', " "), inline(value)))
                .collect::<Vec<_>>()
                .join(", ")
        }
        None => output::text(value),
    }
}

fn bar(share: f64) -> String {
    // Out of range or not a number: the cast saturates.
    let full = ((share * BAR_WIDTH as f64).round() as usize).min(BAR_WIDTH);
    format!("{}{}", "█".repeat(full), "░".repeat(BAR_WIDTH - full))
}

/// Either a list of objects that name themselves, or an object from name to value.
fn parts(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Array(items) => {
            for item in items {
                let name = item.get("name").or_else(|| item.get("part")).map(output::text).unwrap_or_default();
                part(&mut out, &name, item);
            }
        }
        Value::Object(fields) => fields.iter().for_each(|(name, item)| part(&mut out, name, item)),
        other => out.push_str(&output::text(other)),
    }
    out
}

fn part(out: &mut String, name: &str, item: &Value) {
    let (share, fields) = match item {
        Value::Object(fields) => {
            (fields.get("value").or_else(|| fields.get("score")).and_then(Value::as_f64), Some(fields))
        }
        other => (other.as_f64(), None),
    };
    let name = name.replace('_', " ");
    match share {
        Some(share) => _ = write!(out, "{name:<24} {share:.3}  {}", bar(share)),
        None => _ = write!(out, "{name:<24}     -  {:<BAR_WIDTH$}", "unknown, left out"),
    }
    _ = writeln!(out, "{}", fields.map(notes).unwrap_or_default());
}

/// What a part says beside its name and value: its weight, why.
fn notes(fields: &Map<String, Value>) -> String {
    let said = ["name", "part", "value", "score"];
    let notes = fields.iter().filter(|(name, value)| !said.contains(&name.as_str()) && !is_empty(value));
    notes.fold(String::new(), |mut out, (name, value)| {
        match value.as_f64() {
            Some(number) => _ = write!(out, "  {} {number:.2}", name.replace('_', " ")),
            None => _ = write!(out, "  {}", inline(value)),
        }
        out
    })
}

/// Each reason as its message, with its code where it has one.
fn sentences(value: &Value) -> String {
    let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    items.iter().fold(String::new(), |mut out, item| {
        match (item.get("code"), item.get("message")) {
            (Some(code), Some(message)) => {
                _ = writeln!(out, "- {} ({})", output::text(message), output::text(code));
            }
            _ => _ = writeln!(out, "- {}", inline(item)),
        }
        out
    })
}

/// Objects as rows, their nested fields on one line; anything else line by line.
fn table(value: &Value) -> String {
    let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    if !items.iter().all(Value::is_object) {
        return sentences(value);
    }
    let rows: Vec<Value> = items
        .iter()
        .filter_map(Value::as_object)
        .map(|fields| fields.iter().map(|(name, value)| (name.clone(), flat(value))).collect::<Map<_, _>>().into())
        .collect();
    output::rows(&rows).to_string()
}

fn flat(value: &Value) -> Value {
    match value {
        Value::Object(_) => inline(value).into(),
        Value::Array(items) => items.iter().map(inline).collect::<Vec<_>>().join("; ").into(),
        Value::Number(number) if number.is_f64() => format!("{:.3}", number.as_f64().unwrap_or_default()).into(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_established_coupling_shows_score_parts_candidates_and_rejections() {
        let shown = render(&json!({
            "id": "c1", "status": "active", "score": 0.75, "threshold": 0.4, "note": null,
            "model": {"provider_id": "p1", "model_id": "large"},
            "parts": [
                {"name": "skills_tools", "value": 0.5, "weight": 0.4, "reason": "2 of 4 skills have a tool"},
                {"name": "domain_category", "value": null, "weight": 0.2},
            ],
            "candidates": [{"model": {"model_id": "large"}, "score": 0.75}],
            "rejected": [{"model_id": "small", "reasons": [{"code": "context_too_small"}]}],
            "fallbacks": [],
        }));
        for part in [
            "0.750  ███████████████░░░░░",
            "model            model id large, provider id p1",
            "skills tools             0.500  ██████████░░░░░░░░░░  2 of 4 skills have a tool  weight 0.40",
            "domain category              -  unknown, left out",
            "Candidates, best first",
            "code context_too_small",
        ] {
            assert!(shown.contains(part), "{part:?} is missing in\n{shown}");
        }
        assert!(!shown.contains("Fallbacks") && !shown.contains("note"), "{shown}");
    }

    #[test]
    fn a_refused_coupling_says_why() {
        let shown = render(&json!({
            "status": "refused",
            "reasons": [{"code": "below_threshold", "message": "0.2 is less than 0.4"}, "plain"],
            "parts": {"cost": 0.2, "skills": {"score": 1.0}},
        }));
        assert!(shown.contains("- 0.2 is less than 0.4 (below_threshold)\n  - plain"), "{shown}");
        assert!(shown.contains("cost                     0.200  ████░"), "{shown}");
        assert!(shown.contains("skills                   1.000  ████████████████████\n"), "{shown}");
    }

    #[test]
    fn a_share_out_of_range_breaks_no_bar() {
        for share in [-1.0, 2.0, f64::NAN] {
            assert_eq!(bar(share).chars().count(), BAR_WIDTH);
        }
    }
}
