//! Which way dependencies point.

use super::source::{code, words};

/// Each room, and the rooms that it may use.
const ROOMS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("metrics", &[]),
    ("ports", &["domain", "metrics"]),
    ("flow", &["ports", "domain", "metrics"]),
    ("adapters", &["ports", "domain", "metrics"]),
    ("api", &["flow", "ports", "domain", "metrics"]),
    ("runtime", &["api", "flow", "adapters", "ports", "domain", "metrics"]),
    ("cli", &["runtime", "api", "flow", "adapters", "ports", "domain", "metrics"]),
    ("main", &["cli"]),
    // The map of the crate: it declares the rooms and uses none.
    ("lib", &[]),
];

/// The room of a file below `src/`.
fn room(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside.split(['/', '.']).next().unwrap_or(inside)
}

/// How many modules deep a file's own module is: 1 for `src/flow/mod.rs` and `src/metrics.rs`.
fn depth(path: &str) -> usize {
    let parts = path.strip_prefix("src/").unwrap_or(path).split('/').count();
    if path.ends_with("/mod.rs") { parts - 1 } else { parts }
}

/// The rooms that a file names: after `crate::`, `agentverse::`, or `super::` up to the root.
fn named(path: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let bytes = code.as_bytes();
    let follows = |at: usize, word: &str| bytes.get(at + word.len()..at + word.len() + 2) == Some(b"::");
    let mut found = Vec::new();
    let mut supers = 0;
    let mut expected_at = None;
    for (at, word) in words(&code) {
        if expected_at != Some(at) {
            supers = 0;
        }
        let to_root = match word {
            "crate" | "agentverse" => follows(at, word),
            "super" => {
                supers += 1;
                expected_at = Some(at + word.len() + 2);
                follows(at, word) && supers == depth(path)
            }
            _ => false,
        };
        if to_root {
            found.extend(path_heads(&code[at + word.len() + 2..]));
        }
    }
    found
}

/// What a path, or each path of a `{…}` group, begins with.
fn path_heads(rest: &str) -> Vec<String> {
    let Some(group) = rest.strip_prefix('{') else {
        return words(rest).next().map(|(_, word)| word.to_owned()).into_iter().collect();
    };
    let mut heads = Vec::new();
    let mut depth = 0;
    let mut head = String::new();
    for char in group.chars() {
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(std::mem::take(&mut head)),
            _ if depth == 0 => head.push(char),
            _ => {}
        }
    }
    heads.push(head);
    heads.iter().filter_map(|head| words(head).next().map(|(_, word)| word.to_owned())).collect()
}

/// The wrong arrows of one file.
pub fn faults(path: &str, text: &str) -> Vec<String> {
    let own = room(path);
    let Some((_, allowed)) = ROOMS.iter().find(|(room, _)| *room == own) else {
        return vec![format!("{path}: src/{own} is no room; the rooms are named in tests/it/tidy/arrows.rs")];
    };
    let mut named = named(path, text);
    named.retain(|name| ROOMS.iter().any(|(room, _)| room == name) && name != own);
    named.sort();
    named.dedup();
    let mut faults: Vec<_> = named
        .iter()
        .filter(|name| !allowed.contains(&name.as_str()))
        .map(|name| format!("{path}: {own} must not use {name}"))
        .collect();
    let both = ["flow", "adapters"].iter().all(|room| named.iter().any(|name| name == room));
    if both && own != "runtime" {
        faults.push(format!("{path}: only runtime sees flow and adapters together"));
    }
    faults
}

#[test]
fn a_wrong_arrow_is_found_however_it_is_written() {
    for (path, text) in [
        ("src/domain/agent/mod.rs", "use crate::ports::Clock;"),
        ("src/domain/agent/mod.rs", "use crate::{domain::Micros, flow::{receive, decide}};"),
        ("src/domain/agent/mod.rs", "fn f() { crate::metrics::handles(); }"),
        ("src/domain/agent/mod.rs", "use super::super::ports::Clock;"),
        ("src/flow/append.rs", "use crate::adapters::embedded::Folder;"),
        ("src/flow/append.rs", "use super::super::adapters::embedded::Folder;"),
        ("src/flow/mod.rs", "use super::api;"),
        ("src/ports/mod.rs", "pub use crate::flow::Gateway;"),
        ("src/api/mod.rs", "use crate::runtime::settings::Settings;"),
        ("src/adapters/embedded/mod.rs", "use crate::flow::Gateway;"),
        ("src/cli/dev.rs", "use crate::flow::Gateway;\nuse crate::adapters::embedded;"),
        ("src/main.rs", "use agentverse::runtime;"),
        ("src/metrics.rs", "use crate::domain::Micros;"),
        ("src/util/mod.rs", ""),
    ] {
        assert!(!faults(path, text).is_empty(), "{path}: {text}");
    }
}

#[test]
fn a_right_arrow_is_not() {
    for (path, text) in [
        ("src/domain/agent/mod.rs", "use super::common::Health; use crate::records; // crate::flow"),
        ("src/flow/append.rs", "use super::receive; use crate::ports::Journal; use crate::metrics::handles;"),
        ("src/flow/append.rs", "use crate::{domain::{Micros, ports}, flow::decide};"),
        ("src/runtime/wiring.rs", "use crate::{adapters::embedded, api, flow::Gateway};"),
        ("src/cli/dev.rs", "use crate::runtime::settings::Settings;"),
        ("src/main.rs", "fn main() { agentverse::cli::main() }"),
        ("src/lib.rs", "pub mod flow;"),
    ] {
        assert_eq!(faults(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}
