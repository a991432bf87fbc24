//! Words that are longer than one that was asked for and begin with it: `contracts` for `contract`.
//!
//! A discovery counts them half, where they are few: a beginning that very many words share says nothing, and costs much.

use crate::domain::words;
use std::collections::BTreeSet;
use tantivy::schema::Field;
use tantivy::{Searcher, Term};

/// Different words that may begin so, in one field.
const WORDS_MAX: usize = 32;
/// Rows that may have them, each word counted for itself.
const ROWS_MAX: u64 = 200_000;

/// All of them in a field; none where there are too many.
///
/// # Errors
/// When the index cannot be read.
pub fn longer(searcher: &Searcher, field: Field, word: &str) -> tantivy::Result<Vec<Term>> {
    if !words::may_begin(word) {
        return Ok(Vec::new());
    }
    // No letter is as great as this one.
    let end = format!("{word}\u{10ffff}");
    let (mut found, mut rows) = (BTreeSet::new(), 0);
    for segment in searcher.segment_readers() {
        let index = segment.inverted_index(field)?;
        let mut terms = index.terms().range().gt(word.as_bytes()).lt(end.as_bytes()).into_stream()?;
        while terms.advance() {
            found.insert(terms.key().to_vec());
            rows += u64::from(terms.value().doc_freq);
            if found.len() > WORDS_MAX || rows > ROWS_MAX {
                return Ok(Vec::new());
            }
        }
    }
    let term = |key: Vec<u8>| Some(Term::from_field_text(field, std::str::from_utf8(&key).ok()?));
    Ok(found.into_iter().filter_map(term).collect())
}
