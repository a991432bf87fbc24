//! Words out of names and texts, so that `create_issue`, `createIssue` and "Creates issues" can meet.

/// Words that say nothing about a skill.
const STOP_WORDS: &[&str] = &[
    "a", "an", "and", "any", "as", "at", "by", "for", "from", "in", "into", "of", "on", "or", "the", "to", "via",
    "with",
];

/// Calls `each` with every word of a text: runs of letters and digits, lower-cased, a plural ending dropped, stop words
/// left out. With `inner`, the parts of a word in mixed case follow the word itself (`createIssue`, then `create` and
/// `issue`), so that `GitHub` is still found as `github`.
pub fn each_word(text: &str, inner: bool, mut each: impl FnMut(&str)) {
    let mut word = String::new();
    for run in text.split(|c: char| !c.is_alphanumeric()).filter(|run| !run.is_empty()) {
        give(run, &mut word, &mut each);
        if !inner {
            continue;
        }
        let mut start = 0;
        let mut after_lower = false;
        for (at, c) in run.char_indices() {
            if c.is_uppercase() && after_lower {
                give(&run[start..at], &mut word, &mut each);
                start = at;
            }
            after_lower = c.is_lowercase();
        }
        if start > 0 {
            give(&run[start..], &mut word, &mut each);
        }
    }
}

/// The distinct words of a label, sorted.
pub fn label_words(label: &str) -> Vec<String> {
    let mut words = Vec::new();
    each_word(label, false, |word| words.push(word.to_owned()));
    words.sort_unstable();
    words.dedup();
    words
}

fn give(run: &str, word: &mut String, each: &mut impl FnMut(&str)) {
    word.clear();
    word.extend(run.chars().flat_map(char::to_lowercase));
    if STOP_WORDS.contains(&word.as_str()) {
        return;
    }
    // Three letters and fewer are names of their own (`aws`, `dns`, `ios`).
    if word.len() > 3 {
        if word.ends_with("ies") {
            word.truncate(word.len() - 3);
            word.push('y');
        } else if word.ends_with('s') && !word.ends_with("ss") {
            word.pop();
        }
    }
    each(word);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str, inner: bool) -> Vec<String> {
        let mut words = Vec::new();
        each_word(text, inner, |word| words.push(word.to_owned()));
        words
    }

    #[test]
    fn names_in_any_style_give_the_same_words() {
        for name in ["create_issue", "create-issue", "Create Issues", "CREATE.ISSUE", "create/the/issue"] {
            assert_eq!(words(name, false), ["create", "issue"], "{name}");
        }
        assert_eq!(words("createIssue", true), ["createissue", "create", "issue"]);
        assert_eq!(words("GitHub", true), ["github", "git", "hub"], "the whole word comes first");
    }

    #[test]
    fn plurals_meet_their_singular_and_short_names_stay() {
        assert_eq!(words("queries tickets access aws", false), ["query", "ticket", "access", "aws"]);
    }

    #[test]
    fn text_without_words_gives_none_and_other_scripts_are_kept() {
        assert!(words("-- / the of", true).is_empty());
        assert_eq!(words("Überweisung 決済", true), ["überweisung", "決済"]);
    }

    #[test]
    fn a_label_is_a_set_of_words() {
        assert_eq!(label_words("SQL queries, sql query"), ["query", "sql"]);
    }
}
