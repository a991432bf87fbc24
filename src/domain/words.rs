//! Words: what a search takes a text apart into.
//!
//! A word is a run of letters and digits, in lower case. Names are written together in many ways, so an indexed text is
//! found by its parts too (`createIssue`: create, issue, createissue), and every ideograph is a word of its own, for
//! nothing stands between them.

/// Longest word, in bytes; a longer one is cut there, wherever it is met.
pub const WORD_BYTES_MAX: usize = 64;
/// Letters from which on a discovery takes a word for the beginning of longer ones too.
pub const BEGINNING_LETTERS_MIN: usize = 3;

/// Whether a word is long enough for that.
pub fn may_begin(word: &str) -> bool {
    word.chars().take(BEGINNING_LETTERS_MIN).count() == BEGINNING_LETTERS_MIN
}

/// The words of a text that is searched for.
pub fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    each(text, |word| words.push(lower(word)));
    words
}

/// The words that a text is found by: [`words`], and the parts of those that are written together.
pub fn indexed(text: &str, mut take: impl FnMut(String)) {
    each(text, |word| {
        let mut parts = parts(word);
        if parts.len() > 1 {
            parts.drain(..).for_each(|part| take(lower(part)));
        }
        take(lower(word));
    });
}

fn each<'a>(text: &'a str, mut take: impl FnMut(&'a str)) {
    let mut start = None;
    for (at, letter) in text.char_indices() {
        if letter.is_alphanumeric() && !is_ideograph(letter) {
            start.get_or_insert(at);
            continue;
        }
        if let Some(start) = start.take() {
            take(&text[start..at]);
        }
        if is_ideograph(letter) {
            take(&text[at..at + letter.len_utf8()]);
        }
    }
    if let Some(start) = start {
        take(&text[start..]);
    }
}

/// Han, Hiragana and Katakana: scripts that put no space between words.
fn is_ideograph(letter: char) -> bool {
    matches!(letter, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{20000}'..='\u{323af}')
}

/// Cut where a capital follows a small letter, and before the last capital of several: `HTTPServer` is HTTP and Server.
fn parts(word: &str) -> Vec<&str> {
    let letters: Vec<(usize, char)> = word.char_indices().collect();
    let mut cuts = vec![0];
    for at in 1..letters.len() {
        let (before, here, after) = (letters[at - 1].1, letters[at].1, letters.get(at + 1).map(|it| it.1));
        let begins = here.is_uppercase() && (!before.is_uppercase() || after.is_some_and(char::is_lowercase));
        if begins {
            cuts.push(letters[at].0);
        }
    }
    cuts.push(word.len());
    cuts.windows(2).map(|cut| &word[cut[0]..cut[1]]).collect()
}

fn lower(word: &str) -> String {
    let mut lower = word.to_lowercase();
    if lower.len() > WORD_BYTES_MAX {
        let end = (0..=WORD_BYTES_MAX).rev().find(|end| lower.is_char_boundary(*end)).unwrap_or(0);
        lower.truncate(end);
    }
    lower
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn indexed_words(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        indexed(text, |word| words.push(word));
        words
    }

    #[test]
    fn texts_come_apart_at_whatever_is_no_letter_and_no_digit() {
        let table: [(&str, &[&str]); 6] = [
            ("Reads e-mail, 3x a day.", &["reads", "e", "mail", "3x", "a", "day"]),
            ("io.github.acme/create_issue", &["io", "github", "acme", "create", "issue"]),
            ("Straße ÜBER", &["straße", "über"]),
            ("数据库 db", &["数", "据", "库", "db"]),
            ("", &[]),
            (" -- ", &[]),
        ];
        for (text, expected) in table {
            assert_eq!(words(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_written_together_is_found_by_its_parts_and_whole() {
        assert_eq!(indexed_words("createIssue"), ["create", "issue", "createissue"]);
        assert_eq!(indexed_words("HTTPServer"), ["http", "server", "httpserver"]);
        assert_eq!(indexed_words("GitHub API"), ["git", "hub", "github", "api"]);
        assert_eq!(indexed_words("plain text"), ["plain", "text"]);
    }

    proptest! {
        #[test]
        fn every_word_of_a_text_finds_it_and_none_is_longer_than_the_bound(text in "\\PC{0,200}") {
            let indexed = indexed_words(&text);
            for word in words(&text) {
                prop_assert!(indexed.contains(&word));
                prop_assert!(word.len() <= WORD_BYTES_MAX && !word.is_empty());
            }
        }
    }
}
