//! What an error says, with all that caused it.

use std::error::Error;

/// An error with its causes, each that the text before does not hold already.
pub(in crate::adapters) fn words(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
