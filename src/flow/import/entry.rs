//! What a reader makes of one entry of a file, and what it reads the entry's fields with.

use super::offer::Part;
use super::wanted::Wanted;
use crate::domain::common::{LABELS_MAX, NAME_BYTES_MAX};
use serde_json::{Map, Value};

/// Longest reason of a refusal, in bytes: a parser's message can quote the whole of a bad input.
const REASON_BYTES_MAX: usize = 512;
/// Longest key that is told of an entry that was refused.
const TOLD_BYTES_MAX: usize = 256;

/// Why an entry is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// As the file names it, or as the command does.
    pub field: Option<String>,
    /// A sentence that says what is wrong.
    pub reason: String,
}

impl Fault {
    pub fn whole(reason: impl Into<String>) -> Self {
        Self { field: None, reason: cut(reason.into(), REASON_BYTES_MAX).0 }
    }

    pub fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::whole(reason) }
    }
}

/// Which entry of one key counts: the one that ranks highest, of equals the later.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Whether its publisher calls it the latest.
    pub is_latest: bool,
    /// When it was published, in microseconds since 1970.
    pub published_at: Option<i64>,
    /// The numbers of its version; what is no number counts nothing. A version with a suffix comes before one without.
    pub version: (Vec<u64>, bool),
}

/// A version as it is compared.
pub fn version(text: &str) -> (Vec<u64>, bool) {
    let (numbers, suffix) = match text.find(['-', '+']) {
        Some(at) if text[at..].starts_with('-') => (&text[..at], true),
        Some(at) => (&text[..at], false),
        None => (text, false),
    };
    (numbers.trim_start_matches('v').split('.').map(|part| part.parse().unwrap_or(0)).collect(), !suffix)
}

/// An entry that can be imported.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub line: u64,
    /// Of the entry as it came.
    pub bytes: usize,
    /// The natural key: what makes the resource's id.
    pub key: String,
    pub rank: Rank,
    pub wanted: Wanted,
    /// Fields that were cut to what they may have here.
    pub shortened: Vec<&'static str>,
    /// What belongs to the same resource and is told of by itself: a provider's models.
    pub parts: Vec<Part>,
}

impl Item {
    /// As how many entries it counts.
    pub fn weight(&self) -> usize {
        1 + self.parts.len()
    }
}

/// An entry that cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub line: u64,
    /// Where that much could be read.
    pub key: Option<String>,
    pub fault: Fault,
}

/// What a reader makes of an entry.
#[derive(Clone, Debug, PartialEq)]
pub enum Read {
    /// Key, rank, what is wanted, and what was cut.
    Wanted { key: String, rank: Rank, wanted: Wanted, shortened: Vec<&'static str> },
    /// Its publisher took it back.
    Withdrawn,
    /// It is nothing that this kind of import is about.
    Skipped,
}

/// The first of these members that is text, for who looks for a refused entry.
pub fn told_key(value: &Value, names: &[&str]) -> Option<String> {
    let value = value.get("server").unwrap_or(value);
    let text = names.iter().find_map(|name| value.get(name)?.as_str());
    text.map(|text| cut(text.to_owned(), TOLD_BYTES_MAX).0)
}

/// The members of an entry. Null is as good as absent; any of several names may be used, the first one that is there.
#[derive(Clone, Copy)]
pub struct Fields<'a>(pub &'a Map<String, Value>);

impl<'a> Fields<'a> {
    /// # Errors
    /// When the value is no object.
    pub fn of(value: &'a Value) -> Result<Self, Fault> {
        value.as_object().map(Self).ok_or_else(|| Fault::whole("the entry is no JSON object"))
    }

    pub fn get(&self, names: &[&'static str]) -> Option<(&'static str, &'a Value)> {
        names.iter().find_map(|name| Some((*name, self.0.get(*name).filter(|value| !value.is_null())?)))
    }

    /// # Errors
    /// When it is there and is no text.
    pub fn text(&self, names: &[&'static str]) -> Result<Option<&'a str>, Fault> {
        let Some((name, value)) = self.get(names) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| Fault::field(name, "must be text"))
    }

    /// A text that is not blank.
    ///
    /// # Errors
    /// When it is not there, or is none.
    pub fn needed(&self, names: &[&'static str]) -> Result<&'a str, Fault> {
        let name = names.first().copied().unwrap_or_default();
        let text =
            self.text(names)?.ok_or_else(|| Fault::field(name, "is missing; the entry has no name without it"))?;
        if text.trim().is_empty() { Err(Fault::field(name, "must not be blank")) } else { Ok(text) }
    }

    /// # Errors
    /// When it is there and is no list.
    pub fn list(&self, names: &[&'static str]) -> Result<Option<&'a [Value]>, Fault> {
        let Some((name, value)) = self.get(names) else { return Ok(None) };
        value.as_array().map(|items| Some(items.as_slice())).ok_or_else(|| Fault::field(name, "must be a list"))
    }

    /// # Errors
    /// When it is there and is no object.
    pub fn object(&self, names: &[&'static str]) -> Result<Option<Fields<'a>>, Fault> {
        let Some((name, value)) = self.get(names) else { return Ok(None) };
        value.as_object().map(|it| Some(Fields(it))).ok_or_else(|| Fault::field(name, "must be an object"))
    }
}

/// What was cut of an entry, so that it is told.
#[derive(Debug, Default)]
pub struct Cutter {
    pub shortened: Vec<&'static str>,
}

impl Cutter {
    fn note(&mut self, field: &'static str) {
        if !self.shortened.contains(&field) {
            self.shortened.push(field);
        }
    }

    /// A text whose end can go.
    pub fn text(&mut self, field: &'static str, text: &str, bytes_max: usize) -> String {
        let (text, is_cut) = cut(text.to_owned(), bytes_max);
        if is_cut {
            self.note(field);
        }
        text
    }

    pub fn name(&mut self, field: &'static str, text: &str) -> String {
        self.text(field, text, NAME_BYTES_MAX)
    }

    /// Labels, each once, blank ones left out; of too many the first.
    pub fn labels<'a>(&mut self, field: &'static str, given: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let mut labels: Vec<String> = Vec::new();
        for label in given.into_iter().filter(|label| !label.trim().is_empty()) {
            if labels.len() == LABELS_MAX {
                self.note(field);
                break;
            }
            let label = self.text(field, label, NAME_BYTES_MAX);
            if !labels.contains(&label) {
                labels.push(label);
            }
        }
        labels
    }

    /// Something else was left out.
    pub fn left_out(&mut self, field: &'static str) {
        self.note(field);
    }
}

/// The text within so many bytes, an ellipsis at its end where it was longer.
fn cut(mut text: String, bytes_max: usize) -> (String, bool) {
    const MARK: &str = "…";
    if text.len() <= bytes_max {
        return (text, false);
    }
    text.truncate(text.floor_char_boundary(bytes_max - MARK.len()));
    text.push_str(MARK);
    (text, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn versions_compare_as_numbers_and_a_release_comes_after_its_candidate() {
        let ordered = ["0.9.0", "0.10.0-rc.1", "0.10.0", "v1.0.0", "1.0.1+build"];
        assert!(ordered.windows(2).all(|pair| version(pair[0]) < version(pair[1])));
        assert_eq!(version("1.0.0+a"), version("1.0.0"));
    }

    #[test]
    fn what_is_too_long_is_cut_at_a_character_and_told_once() {
        let mut cutter = Cutter::default();
        let text = cutter.text("description", &"ü".repeat(100), 21);
        assert!(text.len() <= 21 && text.ends_with('…') && text.starts_with("üüü"), "{text}");
        let many: Vec<String> = (0..300).map(|it| it.to_string()).collect();
        assert_eq!(cutter.labels("tags", many.iter().map(String::as_str)).len(), LABELS_MAX);
        assert_eq!(cutter.labels("tags", ["a", " ", "a", "b"]), ["a", "b"]);
        cutter.text("description", &"x".repeat(30), 20);
        assert_eq!(cutter.shortened, ["description", "tags"]);
    }

    #[test]
    fn null_is_absent_and_a_wrong_type_names_its_field() {
        let value = json!({"a": null, "b": 7, "c": "x", "d": " "});
        let fields = Fields::of(&value).unwrap();
        assert_eq!(fields.text(&["a", "c"]), Ok(Some("x")));
        assert_eq!(fields.text(&["b"]).unwrap_err().field.as_deref(), Some("b"));
        assert_eq!(fields.needed(&["e"]).unwrap_err().field.as_deref(), Some("e"));
        assert!(fields.needed(&["d"]).is_err() && fields.list(&["c"]).is_err() && Fields::of(&json!(1)).is_err());
    }
}
