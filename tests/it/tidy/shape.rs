//! How long files and functions may be, what the domain may touch, which words stay out.

use super::source::{block_end, code, test_modules, without_tests, words};
use std::collections::BTreeSet;

/// Longest file, in lines.
pub const FILE_LINES_MAX: usize = 400;
/// Longest function, in lines, without the arms of flat matches.
pub const FUNCTION_LINES_MAX: usize = 70;

/// What may be longer, one by one, each as `path` or `path::function`. This list only shrinks.
pub const EXCEPTIONS: &[&str] = &[];

/// Files and functions that are too long and no exceptions; and exceptions that are none any more (`used` collects those
/// that are).
pub fn lengths(path: &str, text: &str, exceptions: &[&'static str], used: &mut BTreeSet<&'static str>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault =
        |name: String, lines: usize, lines_max: usize| match exceptions.iter().find(|exception| **exception == name) {
            Some(exception) => {
                used.insert(exception);
            }
            None => faults.push(format!("{name}: {lines} lines, {lines_max} at most")),
        };
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        fault(path.to_owned(), lines, FILE_LINES_MAX);
    }
    let code = without_macros(&code(text));
    let mut before = "";
    for (at, word) in words(&code) {
        if before == "fn"
            && let Some(open) = code[at..].find([';', '{'])
            && code.as_bytes()[at + open] == b'{'
        {
            let body = &code[at + open..block_end(&code, at + open)];
            let lines = body.lines().filter(|line| !is_flat_arm(line)).count();
            if lines > FUNCTION_LINES_MAX {
                fault(format!("{path}::{word}"), lines, FUNCTION_LINES_MAX);
            }
        }
        before = word;
    }
    faults
}

/// An arm of a match that fits its line: such a match is a table, and tables may be long.
fn is_flat_arm(line: &str) -> bool {
    let line = line.trim();
    let balanced = |open, close| line.matches(open).count() == line.matches(close).count();
    line.contains("=>") && line.ends_with(',') && balanced('{', '}') && balanced('(', ')')
}

/// Blanks the bodies of `macro_rules!`: they are patterns, not functions.
fn without_macros(code: &str) -> String {
    let mut out = code.to_owned();
    let mut from = 0;
    while let Some(at) = out[from..].find("macro_rules!").map(|at| from + at) {
        let Some(open) = out[at..].find('{').map(|open| at + open) else { break };
        let end = block_end(&out, open);
        let blank: String = out[open..end].chars().map(|char| if char == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(open..end, &blank);
        from = end;
    }
    out
}

/// What would make a decision depend on anything but its arguments.
const IMPURE: &[&str] = &[
    "tokio",
    "futures",
    "std::fs",
    "std::time",
    "std::net",
    "std::io",
    "std::env",
    "std::thread",
    "std::process",
    "tracing",
    "metrics",
    "rand",
    "fastrand",
    "jiff",
    "parking_lot",
    "async fn",
    "async move",
    ".await",
    "SystemTime",
    "Instant",
    "new_v4",
    "now_v7",
    "println!",
    "eprintln!",
    "RandomState",
    "static mut",
    "thread_local!",
];

/// What a file of the domain touches beside its arguments. Test code may.
pub fn impurities(path: &str, text: &str) -> Vec<String> {
    let code = without_tests(&code(text));
    let inside = |char: char| char.is_alphanumeric() || char == '_';
    IMPURE
        .iter()
        .filter(|impure| {
            code.match_indices(**impure).any(|(at, _)| {
                let whole_before = !impure.starts_with(inside) || !code[..at].ends_with(inside);
                let whole_after = !impure.ends_with(inside) || !code[at + impure.len()..].starts_with(inside);
                whole_before && whole_after
            })
        })
        .map(|impure| format!("{path}: the domain is pure, it must not touch {impure:?}"))
        .collect()
}

/// Whether a file is one of its folder's test modules, as the folder's `mod.rs` declares them.
pub fn is_test_module(path: &str, folder_mod: &str) -> bool {
    let name = path.rsplit('/').next().and_then(|name| name.strip_suffix(".rs")).unwrap_or(path);
    test_modules(&code(folder_mod)).iter().any(|module| module == name)
}

/// Words of the place where this was written, and marks of unfinished work. In halves, so that this file passes too.
const WORDS: &[(&str, &str)] = &[
    ("/wo", "rk/"),
    ("/ro", "ot/"),
    ("FIX", "ME"),
    ("TO", "DO"),
    ("XX", "X:"),
    ("to", "do!("),
    ("unimpl", "emented!("),
    ("for n", "ow,"),
    ("for n", "ow."),
    ("BRI", "EF.md"),
    ("DES", "IGN.md"),
    ("issue ", "#"),
    ("sub", "agent"),
    ("the br", "ief "),
    ("claude ", "code"),
];

/// Such words in a text, whatever their case where they are words of speech.
pub fn stray_words(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (first, second) in WORDS {
            let word = format!("{first}{second}");
            if line.contains(&word) {
                faults.push(format!("{path}:{}: says {word:?}", number + 1));
            }
        }
    }
    faults
}

#[test]
fn a_long_file_and_a_long_function_are_found() {
    let mut used = BTreeSet::new();
    let long_file = "// line\n".repeat(FILE_LINES_MAX + 1);
    let long_function = format!("fn long() {{\n{}}}\n", "    let _ = \"{\";\n".repeat(FUNCTION_LINES_MAX));
    assert_eq!(lengths("src/a.rs", &long_file, &[], &mut used).len(), 1);
    assert_eq!(lengths("src/a.rs", &long_function, &[], &mut used).len(), 1);
    assert!(lengths("src/a.rs", &long_function, &["src/a.rs::long"], &mut used).is_empty());
    assert_eq!(used.into_iter().collect::<Vec<_>>(), ["src/a.rs::long"]);
}

#[test]
fn flat_matches_and_macros_may_be_long() {
    let mut used = BTreeSet::new();
    let flat = format!("fn flat() {{ match 1 {{\n{}}} }}\n", "        1 => f(2),\n".repeat(200));
    let nested = format!("fn nested() {{ match 1 {{\n{}}} }}\n", "  1 => {\n  }\n".repeat(40));
    let in_macro = format!("macro_rules! m {{ () => {{ fn f() {{\n{}}} }} }}\nfn g() {{}}\n", "f();\n".repeat(100));
    assert!(lengths("src/a.rs", &flat, &[], &mut used).is_empty());
    assert!(lengths("src/a.rs", &in_macro, &[], &mut used).is_empty());
    assert_eq!(lengths("src/a.rs", &nested, &[], &mut used).len(), 1);
}

#[test]
fn an_impure_domain_is_found() {
    for text in [
        "use tokio::sync::mpsc;",
        "fn f() { std::fs::read(\"x\"); }",
        "async fn f() {}",
        "fn f() -> Uuid { Uuid::new_v4() }",
        "use std::time::Duration;",
        "fn f() { tracing::info!(\"x\") }",
        "#[cfg(test)]\nmod tests {}\nfn f() { rand::random() }",
    ] {
        assert!(!impurities("src/domain/a.rs", text).is_empty(), "{text}");
    }
    for text in
        ["// tokio", "fn operand(strand: u8) {}", "#[cfg(test)]\nmod tests { use std::fs; }", "struct Instantly;"]
    {
        assert!(impurities("src/domain/a.rs", text).is_empty(), "{text}");
    }
    assert!(is_test_module("src/domain/agent/tests.rs", "#[cfg(test)]\nmod tests;\nmod view;"));
    assert!(!is_test_module("src/domain/agent/view.rs", "#[cfg(test)]\nmod tests;\nmod view;"));
}

#[test]
fn stray_words_are_found() {
    for (first, second) in WORDS {
        assert_eq!(stray_words("README.md", &format!("as {first}{second}x")).len(), 1, "{first}{second}");
    }
    assert!(stray_words("README.md", "an issue, a session, a home, work to be done").is_empty());
}
