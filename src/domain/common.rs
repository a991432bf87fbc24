//! Value types that several aggregates share, and the checks on them.

use super::decider::Rejection;
use serde::{Deserialize, Serialize};

/// Health as the last transition left it. `unknown` until the first report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    #[default]
    Unknown,
    Active,
    Degraded,
    Offline,
}

names! { Health: Unknown "unknown", Active "active", Degraded "degraded", Offline "offline" }

/// What goes into or comes out of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Modality {
    Text,
    Image,
    Audio,
    Video,
    File,
}

/// What is kept of a tenant's prompts and answers, the most first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptStorage {
    #[default]
    Full,
    /// Their SHA-256 alone.
    Hashed,
    /// Nothing but their sizes.
    None,
}

impl PromptStorage {
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Hashed => "hashed",
            Self::None => "none",
        }
    }
}

/// What an agent asks of the model it is coupled to. Absent means "does not matter".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Requirements {
    /// Most that 1,000 tokens may cost, in micro-dollars, blended 3 input : 1 output.
    pub cost_per_1k_tokens_micro_usd_max: Option<i64>,
    /// Longest acceptable median latency, in milliseconds.
    pub latency_ms_max: Option<i64>,
    /// Least acceptable quality, 0..1.
    pub quality_min: Option<f64>,
    /// Least context window, in tokens.
    pub context_tokens_min: Option<i64>,
    /// Input modalities that the model must take.
    pub modalities: Vec<Modality>,
}

/// Longest name, category, role and the like, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// Longest description, purpose or reason, in bytes.
pub const TEXT_BYTES_MAX: usize = 8 * 1024;
/// Longest instructions, in bytes.
pub const INSTRUCTIONS_BYTES_MAX: usize = 128 * 1024;
/// Most skills, domains, capabilities and the like of one stream.
pub const LABELS_MAX: usize = 256;

/// A name: not blank, without control characters, within [`NAME_BYTES_MAX`].
pub fn check_name(field: &str, value: &str) -> Result<(), Rejection> {
    if value.trim().is_empty() {
        return Err(Rejection::invalid(field, "must not be blank"));
    }
    if value.contains(char::is_control) {
        return Err(Rejection::invalid(field, "must not contain control characters, as line feeds or NUL"));
    }
    check_length(field, value, NAME_BYTES_MAX)
}

/// A text that may be empty.
pub fn check_length(field: &str, value: &str, bytes_max: usize) -> Result<(), Rejection> {
    if value.len() > bytes_max {
        return Err(Rejection::invalid(field, format!("has {} bytes, at most {bytes_max} are allowed", value.len())));
    }
    Ok(())
}

/// A list of names.
pub fn check_labels(field: &str, values: &[String]) -> Result<(), Rejection> {
    if values.len() > LABELS_MAX {
        return Err(Rejection::invalid(
            field,
            format!("has {} entries, at most {LABELS_MAX} are allowed", values.len()),
        ));
    }
    values.iter().try_for_each(|value| check_name(field, value))
}

/// A share: finite and within 0..1.
pub fn check_unit(field: &str, value: Option<f64>) -> Result<(), Rejection> {
    match value {
        Some(value) if !(0.0..=1.0).contains(&value) => Err(Rejection::invalid(field, "must be between 0 and 1")),
        _ => Ok(()),
    }
}

/// An amount or a limit: not negative.
pub fn check_not_negative(field: &str, value: Option<i64>) -> Result<(), Rejection> {
    match value {
        Some(value) if value < 0 => Err(Rejection::invalid(field, "must not be negative")),
        _ => Ok(()),
    }
}

impl Requirements {
    pub fn check(&self) -> Result<(), Rejection> {
        check_not_negative("requirements.cost_per_1k_tokens_micro_usd_max", self.cost_per_1k_tokens_micro_usd_max)?;
        check_not_negative("requirements.latency_ms_max", self.latency_ms_max)?;
        check_not_negative("requirements.context_tokens_min", self.context_tokens_min)?;
        check_unit("requirements.quality_min", self.quality_min)
    }
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_on_one_line_and_hides_nothing() {
        for right in ["a", "Größe: 3 µm", "記事 📚", " a "] {
            assert_eq!(check_name("name", right), Ok(()), "{right}");
        }
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for wrong in ["", " \t", "a\u{0}b", "a\nb", "\u{1b}[31mred", "a\u{85}", &long] {
            assert_eq!(check_name("name", wrong).unwrap_err().code, "invalid", "{wrong:?}");
            assert!(check_labels("skills", &[wrong.to_owned()]).is_err(), "{wrong:?}");
        }
    }
}
