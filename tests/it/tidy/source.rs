//! Just enough of Rust's syntax to read the tree: text without comments and literals, test code, functions.

use std::path::{Path, PathBuf};

/// One file of the tree.
pub struct File {
    /// From the root, with `/`.
    pub path: String,
    pub text: String,
}

/// Every text file below `folder`, sorted. What is not UTF-8 is no text and is left out.
pub fn files(root: &Path, folder: &str) -> Vec<File> {
    let mut found = Vec::new();
    let mut left: Vec<PathBuf> = vec![root.join(folder)];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let path = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            found.push(File { path, text });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The text with comments and the insides of string and character literals blanked; lines stay where they are.
pub fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match literal_end(bytes, at) {
            Some(end) => end.min(bytes.len()),
            None => {
                at += 1;
                continue;
            }
        };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(out).unwrap()
}

/// Where the comment or literal ends that begins at `at`; `None` where none does.
fn literal_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let word_before = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match rest {
        [b'/', b'/', ..] => Some(at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())),
        [b'/', b'*', ..] => {
            let mut depth = 0;
            let mut end = at;
            loop {
                match bytes.get(end..end + 2) {
                    Some(b"/*") => (depth, end) = (depth + 1, end + 2),
                    Some(b"*/") => (depth, end) = (depth - 1, end + 2),
                    Some(_) => end += 1,
                    None => return Some(bytes.len()),
                }
                if depth == 0 {
                    return Some(end);
                }
            }
        }
        [b'"', ..] => Some(quoted_end(bytes, at + 1, b'"')),
        [b'r', b'"' | b'#', ..] | [b'b', b'r', ..] if !word_before => raw_end(bytes, at),
        // A lifetime has no closing quote within reach; a character literal has.
        [b'\'', b'\\', ..] => Some(quoted_end(bytes, at + 1, b'\'')),
        [b'\'', ..] => {
            let width = std::str::from_utf8(&rest[1..]).ok()?.chars().next()?.len_utf8();
            (rest.get(1 + width) == Some(&b'\'')).then_some(at + width + 2)
        }
        _ => None,
    }
}

fn quoted_end(bytes: &[u8], mut at: usize, quote: u8) -> usize {
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// The end of `r#"…"#`, or `None` where this is a raw identifier or another word.
fn raw_end(bytes: &[u8], at: usize) -> Option<usize> {
    let begin = at + if bytes[at] == b'b' { 2 } else { 1 };
    let hashes = bytes[begin..].iter().take_while(|byte| **byte == b'#').count();
    if bytes.get(begin + hashes) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = begin + hashes + 1;
    let length = bytes[body..].windows(close.len()).position(|window| window == close)?;
    Some(body + length + close.len())
}

/// Blanks what is compiled for tests only: items under `#[cfg(test)]`. `code` has no comments or literals any more.
pub fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.to_owned();
    while let Some(begin) = out.find(MARK) {
        let end = item_end(&out, begin + MARK.len());
        let blank: String = out[begin..end].chars().map(|char| if char == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(begin..end, &blank);
    }
    out
}

/// Names of the modules that a file declares for tests only (`#[cfg(test)] mod tests;`).
pub fn test_modules(code: &str) -> Vec<String> {
    code.split("#[cfg(test)]")
        .skip(1)
        .filter_map(|rest| {
            let (item, _) = rest.split_once([';', '{'])?;
            let rest = &rest[item.len()..];
            let name = item.trim().strip_prefix("pub ").unwrap_or(item.trim()).strip_prefix("mod ")?;
            rest.starts_with(';').then(|| name.trim().to_owned())
        })
        .collect()
}

/// The end of the item that begins at `from`: its `;`, or its closing brace.
fn item_end(code: &str, from: usize) -> usize {
    match code[from..].find([';', '{']) {
        Some(at) if code.as_bytes()[from + at] == b';' => from + at + 1,
        Some(at) => block_end(code, from + at),
        None => code.len(),
    }
}

/// The end of the block whose brace opens at `open`.
pub fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// The words of a text with their places: letters, digits and underscores.
pub fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_word = |char: char| char.is_alphanumeric() || char == '_';
    let mut at = 0;
    std::iter::from_fn(move || {
        let begin = at + code[at..].find(is_word)?;
        let end = code[begin..].find(|char| !is_word(char)).map_or(code.len(), |length| begin + length);
        at = end;
        Some((begin, &code[begin..end]))
    })
}

#[test]
fn comments_and_literals_are_blanked_and_code_is_not() {
    let source = concat!(
        "fn a<'a>(x: &'a str) { // flow\n  let s = \"flow \\\" {\"; let c = '{'; let d = '\\'';\n",
        "  /* flow /* flow */ } */ let r = r#\"flow\"{\"#; let b = br\"flow\"; let r#type = 'é'; }\n"
    );
    let code = code(source);
    assert!(!code.contains("flow"), "{code}");
    assert!(code.contains("fn a<'a>(x: &'a str) {") && code.contains("let r#type"), "{code}");
    assert_eq!((code.matches('{').count(), code.matches('}').count()), (1, 1), "{code}");
    assert_eq!(code.lines().count(), source.lines().count());
}

#[test]
fn test_code_is_found_and_what_follows_it_is_kept() {
    let source = "#[cfg(test)]\nmod spec;\nfn a() {}\n#[cfg(test)]\nmod tests { fn b() { { } } }\nfn c() {}\n";
    let left = without_tests(source);
    assert!(left.contains("fn a()") && left.contains("fn c()") && !left.contains("fn b") && !left.contains("spec"));
    assert_eq!(test_modules(source), ["spec"]);
}
