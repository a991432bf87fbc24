//! What a reader makes of one entry of a file, and what it reads the entry's fields with.

use super::offer::Part;
use super::wanted::Wanted;
use crate::domain::common::{LABELS_MAX, NAME_BYTES_MAX};
use serde::Serialize;
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

/// What is wrong with the JSON of an entry, and where in it: the line that is told beside it is that of its beginning.
pub fn unreadable(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    let said = error.to_string();
    let what = said.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&said);
    match line {
        0 => what.to_owned(),
        1 => format!("{what}, at its column {column}"),
        _ => format!("{what}, at column {column} of its line {line}"),
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

/// A field of which not all is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cut {
    pub field: &'static str,
    /// A sentence that says what was cut or left out, and why.
    pub reason: String,
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
    pub cuts: Vec<Cut>,
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
    Wanted { key: String, rank: Rank, wanted: Wanted, cuts: Vec<Cut> },
    /// Its publisher took it back.
    Withdrawn,
    /// It is nothing that this kind of import is about, for this reason.
    Skipped(&'static str),
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
    /// Of each field once.
    pub cuts: Vec<Cut>,
}

impl Cutter {
    /// Something was left out, for this reason.
    pub fn left_out(&mut self, field: &'static str, reason: impl Into<String>) {
        if !self.cuts.iter().any(|cut| cut.field == field) {
            self.cuts.push(Cut { field, reason: cut(reason.into(), REASON_BYTES_MAX).0 });
        }
    }

    /// A text whose end can go.
    pub fn text(&mut self, field: &'static str, text: &str, bytes_max: usize) -> String {
        let (kept, is_cut) = cut(text.to_owned(), bytes_max);
        if is_cut {
            self.left_out(field, format!("has {} bytes, of which {bytes_max} are kept", text.len()));
        }
        kept
    }

    /// A name: on one line, within what a name may have.
    pub fn name(&mut self, field: &'static str, text: &str) -> String {
        if !text.contains(char::is_control) {
            return self.text(field, text, NAME_BYTES_MAX);
        }
        self.left_out(field, "has control characters; blanks are kept in their places");
        let plain = text.replace(char::is_control, " ");
        self.text(field, plain.trim(), NAME_BYTES_MAX)
    }

    /// Labels, each once, blank ones left out; of too many the first.
    pub fn labels<'a>(&mut self, field: &'static str, given: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let mut labels: Vec<String> = Vec::new();
        for label in given.into_iter().filter(|label| !label.trim().is_empty()) {
            if labels.len() == LABELS_MAX {
                self.left_out(field, format!("has more than {LABELS_MAX} entries; the first are kept"));
                break;
            }
            let label = self.name(field, label);
            if !label.is_empty() && !labels.contains(&label) {
                labels.push(label);
            }
        }
        labels
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
        let told: Vec<_> = cutter.cuts.iter().map(|cut| (cut.field, cut.reason.as_str())).collect();
        let kept = "has more than 256 entries; the first are kept";
        assert_eq!(told, [("description", "has 200 bytes, of which 21 are kept"), ("tags", kept)]);
    }

    #[test]
    fn what_is_wrong_with_json_is_told_by_the_place_in_the_entry() {
        let told = |text: &str| unreadable(&serde_json::from_str::<Value>(text).unwrap_err());
        assert_eq!(told("{\"a\": nope}"), "expected ident, at its column 8");
        assert_eq!(told("{\n\"a\": 1,\n}"), "trailing comma, at column 1 of its line 3");
    }

    #[test]
    fn control_characters_become_blanks_in_names_and_not_in_texts() {
        let mut cutter = Cutter::default();
        assert_eq!((cutter.name("name", "a\u{0}b\n"), cutter.text("text", "a\nb", 9)), ("a b".into(), "a\nb".into()));
        assert_eq!(cutter.labels("tags", ["\u{7}", "x\ty", "x y"]), ["x y"]);
        let told: Vec<_> = cutter.cuts.iter().map(|cut| (cut.field, cut.reason.as_str())).collect();
        let why = "has control characters; blanks are kept in their places";
        assert_eq!(told, [("name", why), ("tags", why)]);
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
