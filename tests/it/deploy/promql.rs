//! Which metrics an expression asks for, and whether anybody shows them.

use agentverse::metrics::{DECLARED, Kind};
use std::collections::BTreeSet;

/// Metrics that others show: Prometheus itself, and the Kafka exporter.
const FOREIGN: &[&str] = &["up", "ALERTS", "kafka_consumergroup_lag", "kafka_consumergroup_current_offset"];

/// Words of the language that stand where a metric could, and are followed by no bracket.
const WORDS: &[&str] = &["and", "or", "unless", "offset", "bool", "inf", "nan"];
/// Words before a bracket that holds labels.
const GROUPINGS: &[&str] = &["by", "without", "on", "ignoring", "group_left", "group_right"];

/// The series that are shown under a declared name.
fn shown() -> BTreeSet<String> {
    let names = DECLARED.iter().flat_map(|metric| match metric.kind {
        Kind::Counter | Kind::Gauge => vec![metric.name.to_owned()],
        Kind::Histogram => ["bucket", "sum", "count"].map(|part| format!("{}_{part}", metric.name)).to_vec(),
    });
    names.chain(FOREIGN.iter().map(|name| (*name).to_owned())).collect()
}

/// The metrics that an expression asks for and nobody shows.
pub fn unknown_metrics(place: &str, expression: &str) -> Vec<String> {
    let shown = shown();
    let unknown = metrics(expression).into_iter().filter(|name| !shown.contains(name));
    unknown.map(|name| format!("{place}: nothing shows the metric {name}")).collect()
}

/// The metrics of an expression of PromQL, or of Grafana's `label_values(metric{…}, label)`.
pub fn metrics(expression: &str) -> BTreeSet<String> {
    let text = plain(expression);
    let mut found = BTreeSet::new();
    let mut rest = text.as_str();
    while let Some(begin) = rest.find(is_word) {
        let before = rest[..begin].chars().next_back();
        let word = first_word(&rest[begin..]);
        rest = &rest[begin + word.len()..];
        let follows = rest.trim_start().chars().next();
        if GROUPINGS.contains(&word) && follows == Some('(') {
            rest = rest.split_once(')').map_or("", |(_, rest)| rest);
            continue;
        }
        // `sum by (…) (…)`: an operator, whose bracket comes later.
        let is_operator = ["by", "without"].contains(&first_word(rest.trim_start()));
        let is_variable = before == Some('$');
        let is_number = word.starts_with(|char: char| char.is_ascii_digit());
        if !is_operator && !is_variable && !is_number && follows != Some('(') && !WORDS.contains(&word) {
            found.insert(word.to_owned());
        }
    }
    found
}

/// What a text begins with, up to the first character that no word has.
fn first_word(text: &str) -> &str {
    &text[..text.find(|char| !is_word(char)).unwrap_or(text.len())]
}

fn is_word(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_' || char == ':'
}

/// The expression without comments, strings, selectors `{…}`, ranges `[…]`, and the label of `label_values`.
fn plain(expression: &str) -> String {
    let mut out = String::new();
    let mut depth = 0usize;
    let mut quote = None;
    let mut chars = expression.chars();
    while let Some(char) = chars.next() {
        match (quote, char) {
            (Some(_), '\\') => drop(chars.next()),
            (Some(open), _) if char == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(char),
            (None, '{' | '[') => depth += 1,
            (None, '}' | ']') => depth = depth.saturating_sub(1),
            (None, _) if depth == 0 => out.push(char),
            (None, _) => {}
        }
    }
    match out.trim().strip_prefix("label_values(").and_then(|inner| inner.rsplit_once(',')) {
        Some((metric, _)) => metric.to_owned(),
        None => out,
    }
}

#[test]
fn metrics_are_found_whatever_stands_around_them() {
    let cases: &[(&str, &[&str])] = &[
        ("up == 0", &["up"]),
        ("sum by (le, route) (rate(a_bucket{x=\"b_total\", y=~\"$z\"}[5m])) / 1e6", &["a_bucket"]),
        ("avg(a >= 0) < 0.9 * avg((b offset 1h) >= 0)", &["a", "b"]),
        ("a / on (job) group_left (pod) c:rate5m unless absent(d)", &["a", "c:rate5m", "d"]),
        ("label_values(a_total{role=\"x\"}, instance)", &["a_total"]),
        ("increase(a[$__range]) * $price * 86400 / $__range_s", &["a"]),
    ];
    for (expression, wanted) in cases {
        let wanted: BTreeSet<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(metrics(expression), wanted, "{expression}");
    }
}

#[test]
fn a_metric_that_nobody_shows_is_named() {
    for unknown in ["agentverse_append_gone_total", "agentverse_append_batch_seconds", "agentverse_http_requests"] {
        assert_eq!(unknown_metrics("p", &format!("sum(rate({unknown}[5m]))")).len(), 1, "{unknown}");
    }
    for known in ["agentverse_append_batch_seconds_bucket", "agentverse_http_requests_total", "up"] {
        assert_eq!(unknown_metrics("p", &format!("max({known})")), Vec::<String>::new(), "{known}");
    }
}
