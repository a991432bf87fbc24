//! A document that is read whole: its entries, each with its line, those that cannot be read among them.

use super::Kind;
use super::entry::{Fault, Item, Read, Refused, told_key, unreadable};
use super::form;
use super::offer::Gathering;
use super::passed;
use super::places::Selected;
use super::read::agents::Mapping;
use super::read::{litellm, models_dev, oasf};
use super::report::Told;
use super::scan::{Found, Lines, Values, members};
use serde_json::Value;
use std::collections::HashMap;

/// Members that may tell who a refused entry is.
const TELLING: [&str; 4] = ["name", "packageName", "id", "path"];
/// Members of a list's notes that say that there is another page.
const FURTHER: [&str; 3] = ["nextCursor", "next_cursor", "next"];

/// Most providers of a list that are named to who asked for another.
const NAMED_MAX: usize = 40;

#[derive(Debug, Default, PartialEq)]
pub struct Document {
    /// In the order of the file, of one key one.
    pub entries: Vec<Result<Item, Refused>>,
    /// What was read and is not imported: superseded, withdrawn or skipped, in the order in which that was known.
    pub passed: Vec<Told>,
    /// Whether the last list says that it goes on elsewhere.
    pub has_more: bool,
}

impl Document {
    /// How many entries there are, each model of a provider counted.
    pub fn entries_total(&self) -> u64 {
        let weights = self.entries.iter().map(|entry| entry.as_ref().map_or(1, Item::weight));
        weights.sum::<usize>() as u64
    }

    /// Leaves these providers of a list, and what could not be read of them.
    ///
    /// # Errors
    /// A sentence, when the list has no such provider: it names those that it has.
    pub fn select(&mut self, providers: &[Selected]) -> Result<(), String> {
        if providers.is_empty() {
            return Ok(());
        }
        let known: Vec<&str> = self.entries.iter().flatten().map(|item| item.key.as_str()).collect();
        if let Some(unknown) = providers.iter().find(|selected| !known.contains(&selected.in_file.as_str())) {
            let (named, more) = known.split_at(known.len().min(NAMED_MAX));
            let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
            let named = named.join(", ");
            return Err(format!("the list has no provider {:?}; its providers: {named}{more}", unknown.in_file));
        }
        let is_selected = |key: &str| {
            let provider = |it: &Selected| {
                key.strip_prefix(&it.in_file).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            providers.iter().any(provider)
        };
        let why = "it is of a provider that was not asked for";
        for entry in std::mem::take(&mut self.entries) {
            match entry {
                Ok(item) if !is_selected(&item.key) => self.passed.extend(passed::skipped_whole(item, why)),
                Err(Refused { line, key: Some(key), .. }) if !is_selected(&key) => {
                    self.passed.push(passed::skipped(line, Some(key), why));
                }
                entry => self.entries.push(entry),
            }
        }
        Ok(())
    }

    /// Leaves of each key the entry that counts.
    fn keep(&mut self, counting: &HashMap<String, usize>) {
        let counts = |place: usize, entry: &Result<Item, Refused>| match entry {
            Ok(item) => counting.get(&item.key).copied().filter(|counts| *counts != place),
            Err(_) => None,
        };
        let instead: Vec<_> = self.entries.iter().enumerate().map(|(place, entry)| counts(place, entry)).collect();
        for (entry, instead) in self.entries.iter().zip(&instead) {
            let instead = instead.and_then(|place| self.entries.get(place)?.as_ref().ok());
            if let (Ok(item), Some(instead)) = (entry, instead) {
                self.passed.push(passed::superseded(item, instead));
            }
        }
        let mut instead = instead.into_iter();
        self.entries.retain(|_| instead.next().flatten().is_none());
    }

    /// How many of what was passed over.
    #[cfg(test)]
    pub fn count(&self, fate: super::Fate) -> usize {
        self.passed.iter().filter(|told| told.outcome == fate).count()
    }

    /// Reads the entries of a body: a list, an object that has the list, entries alone one after the other, or several of
    /// these.
    pub fn read(kind: Kind, bytes: &[u8]) -> Self {
        let (counts, spoilt) = (HashMap::new(), HashMap::new());
        let lines = Lines::new(bytes);
        let (gathering, parents) = (kind.source_of_offers().map(Gathering::new), oasf::Parents::default());
        let mut reading = Reading { kind, lines, document: Self::default(), counts, spoilt, gathering, parents };
        for found in Values::of_body(bytes) {
            reading.text(bytes, &found);
        }
        reading.finish();
        let Reading { mut document, counts: counting, spoilt, .. } = reading;
        document.keep(&counting);
        for entry in &mut document.entries {
            // Going back to an earlier version on the word of a later one that nobody can read would be worse than to wait.
            let doubt = entry.as_ref().ok().filter(|item| !item.rank.is_latest);
            let Some((item, line)) = doubt.and_then(|item| Some((item, spoilt.get(&item.key)?))) else { continue };
            let why =
                format!("a version of it, on line {line}, could not be read; which of the two counts is not known");
            *entry = Err(Refused { line: item.line, key: Some(item.key.clone()), fault: Fault::whole(why) });
        }
        document
    }
}

struct Reading<'a> {
    kind: Kind,
    lines: Lines<'a>,
    document: Document,
    /// By key: the place of the entry that counts.
    counts: HashMap<String, usize>,
    /// By key: the line of a version that could not be read.
    spoilt: HashMap<String, u64>,
    /// Of a list of models: its providers so far.
    gathering: Option<Gathering>,
    /// Of a taxonomy: what is above what.
    parents: oasf::Parents,
}

impl Reading<'_> {
    /// One JSON text of the body.
    fn text(&mut self, bytes: &[u8], found: &Found<'_>) {
        if let Some(gathering) = &mut self.gathering {
            if let Some(fault) = form::other_document(self.kind, bytes, found) {
                return self.refuse(found.at, fault);
            }
            return match (found.bytes.first(), self.kind) {
                (Some(b'{'), Kind::LiteLlm) => litellm::read(bytes, found, gathering),
                (Some(b'{'), _) => models_dev::read(bytes, found, gathering),
                _ => self.refuse(found.at, Fault::whole("the document is no JSON object of providers or models")),
            };
        }
        match found.bytes.first() {
            Some(b'[') => self.list(bytes, found.at),
            Some(b'{') => {
                let members = members(bytes, found.at);
                let named = |names: &[&str]| {
                    let is_named = |raw: &[u8]| names.iter().any(|name| raw == format!("\"{name}\"").as_bytes());
                    members.iter().find(|(name, _)| is_named(name)).map(|(_, value)| *value)
                };
                match named(self.kind.lists()).filter(|list| list.bytes.starts_with(b"[")) {
                    Some(list) => {
                        if let Some(fault) = form::other_entry(self.kind, bytes, found) {
                            return self.refuse(found.at, fault);
                        }
                        self.list(bytes, list.at);
                        if !found.is_whole && list.is_whole {
                            self.refuse(found.at + found.bytes.len(), Fault::whole("the document is cut off here"));
                        }
                        self.skip(bytes, named(&["domains"]), "it is a domain, and only skills are imported");
                        self.skip(bytes, named(&["modules"]), "it is a module, and only skills are imported");
                        self.document.has_more = has_more(found.bytes, named(&["metadata"]).as_ref());
                    }
                    None => self.entry(found),
                }
            }
            _ => self.entry(found),
        }
    }

    /// Notes what a taxonomy lists beside its skills.
    fn skip(&mut self, bytes: &[u8], list: Option<Found<'_>>, why: &str) {
        let Some(list) = list.filter(|list| self.kind == Kind::OasfSkills && list.bytes.starts_with(b"[")) else {
            return;
        };
        let mut lines = Lines::new(bytes);
        let skipped = Values::of_list(bytes, list.at).map(|found| {
            let key = serde_json::from_slice(found.bytes).ok().and_then(|value| told_key(&value, &TELLING));
            passed::skipped(lines.of(found.at), key, why)
        });
        self.document.passed.extend(skipped);
    }

    /// What is known only once all was read.
    fn finish(&mut self) {
        for entry in self.gathering.take().into_iter().flat_map(Gathering::finish) {
            match entry {
                Ok(item) => self.add(item),
                refused => self.document.entries.push(refused),
            }
        }
        self.parents.complete(&mut self.document.entries);
    }

    fn list(&mut self, bytes: &[u8], at: usize) {
        let mut values = Values::of_list(bytes, at);
        let mut end = at;
        for found in values.by_ref() {
            end = found.at + found.bytes.len();
            self.entry(&found);
        }
        if !values.is_closed() {
            self.refuse(end, Fault::whole("the list has no end: the file is cut off, or a bracket is missing before"));
        }
    }

    fn entry(&mut self, found: &Found<'_>) {
        let line = self.lines.of(found.at);
        let (key, read) = match serde_json::from_slice::<Value>(found.bytes) {
            Ok(value) => {
                if self.kind == Kind::OasfSkills {
                    self.parents.note(&value);
                }
                (told_key(&value, &TELLING), self.kind.read(&value, &Mapping::default()))
            }
            Err(error) if !found.is_whole => {
                (None, Err(Fault::whole(format!("the entry is cut off: {}", unreadable(&error)))))
            }
            Err(error) => {
                (None, Err(Fault::whole(format!("the entry is no JSON that can be read: {}", unreadable(&error)))))
            }
        };
        match read {
            Ok(Read::Withdrawn) => self.document.passed.push(passed::withdrawn(line, key)),
            Ok(Read::Skipped(why)) => self.document.passed.push(passed::skipped(line, key, why)),
            Ok(Read::Wanted { key, rank, wanted, cuts }) => {
                let bytes = found.bytes.len();
                let item = Item { line, bytes, key, rank, wanted, cuts, parts: Vec::new() };
                self.add(item);
            }
            Err(fault) => {
                self.spoilt.extend(key.clone().filter(|_| self.kind == Kind::McpRegistry).map(|key| (key, line)));
                self.document.entries.push(Err(Refused { line, key, fault }));
            }
        }
    }

    fn add(&mut self, item: Item) {
        let place = self.document.entries.len();
        match self.counts.get_mut(&item.key) {
            None => {
                self.counts.insert(item.key.clone(), place);
            }
            Some(before) => {
                let is_higher =
                    |known: &Result<Item, Refused>| known.as_ref().is_ok_and(|known| known.rank > item.rank);
                if !self.document.entries.get(*before).is_some_and(is_higher) {
                    *before = place;
                }
            }
        }
        self.document.entries.push(Ok(item));
    }

    fn refuse(&mut self, at: usize, fault: Fault) {
        let line = self.lines.of(at);
        self.document.entries.push(Err(Refused { line, key: None, fault }));
    }
}

/// Whether a list's object names a next page.
fn has_more(whole: &[u8], metadata: Option<&Found<'_>>) -> bool {
    let names_one = |text: &[u8]| {
        let value: Option<serde_json::Map<String, Value>> = serde_json::from_slice(text).ok();
        let next = value.and_then(|value| FURTHER.iter().find_map(|name| value.get(*name).cloned()));
        next.is_some_and(|next| !next.is_null() && next != "")
    };
    match metadata {
        Some(metadata) => names_one(metadata.bytes),
        // Without notes of its own the object itself may say it, beside its list.
        None => members(whole, 0).iter().any(|(name, value)| {
            FURTHER.iter().any(|it| *name == format!("\"{it}\"").as_bytes())
                && !matches!(value.bytes, b"null" | b"\"\"")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::import::Fate;

    fn told(kind: Kind, text: &str) -> Vec<(u64, String)> {
        let document = Document::read(kind, text.as_bytes());
        let told = document.entries.iter().map(|entry| match entry {
            Ok(item) => (item.line, item.key.clone()),
            Err(refused) => (refused.line, format!("! {}", refused.fault.field.as_deref().unwrap_or("-"))),
        });
        told.collect()
    }

    fn key(line: u64, key: &str) -> (u64, String) {
        (line, key.to_owned())
    }

    #[test]
    fn a_list_an_object_with_one_and_entries_alone_are_read_with_their_lines() {
        let kind = Kind::McpServers;
        assert_eq!(told(kind, "[{\"packageName\":\"a\"},\n\n {\"packageName\":\n\"b\"}]"), [key(1, "a"), key(3, "b")]);
        assert_eq!(told(kind, "{\"servers\":\n[{\"packageName\":\"a\"}], \"metadata\":{}}"), [key(2, "a")]);
        assert_eq!(told(kind, "{\"packageName\":\"a\"}\n{\"packageName\":\"b\"}\n"), [key(1, "a"), key(2, "b")]);
        assert_eq!(
            told(kind, "\u{1e}{\"packageName\":\"a\"\n\u{1e}{\"packageName\":\"b\"}"),
            [key(1, "! -"), key(2, "b")]
        );
        assert_eq!(told(kind, ""), []);
    }

    #[test]
    fn one_bad_entry_is_refused_alone_with_its_line_and_its_field() {
        let text = "[\n{\"packageName\":\"a\"},\n{\"packageName\": nope},\n{\"packageName\":\"c\", \"name\": 7},\n{\"packageName\":\"d\"}, \"x\"\n]";
        let expected = [key(2, "a"), key(3, "! -"), key(4, "! name"), key(5, "d"), key(5, "! -")];
        assert_eq!(told(Kind::McpServers, text), expected);
        let document = Document::read(Kind::McpServers, text.as_bytes());
        assert_eq!(document.entries[2].as_ref().unwrap_err().key.as_deref(), Some("c"));
    }

    #[test]
    fn a_file_that_is_cut_off_says_so_and_keeps_what_came_before() {
        assert_eq!(
            told(Kind::McpServers, "[{\"packageName\":\"a\"},\n{\"packageName\":"),
            [key(1, "a"), key(2, "! -"), key(2, "! -")]
        );
        let object = "{\"servers\":[{\"packageName\":\"a\"}],\n\"metadata\":";
        assert_eq!(told(Kind::McpServers, object), [key(1, "a"), key(2, "! -")]);
    }

    #[test]
    fn of_several_versions_one_counts() {
        let entry = |version: &str, note: &str| {
            format!("{{\"server\":{{\"name\":\"s\",\"version\":\"{version}\"}},\"_meta\":{{\"r\":{{{note}}}}}}}")
        };
        for (entries, line) in [
            ([entry("3.0.0", ""), entry("1.0.0", "\"isLatest\":true"), entry("2.0.0", "\"isLatest\":false")], 2),
            (
                [
                    entry("1.0.0", "\"publishedAt\":\"2025-02-01T00:00:00Z\""),
                    entry("2.0.0", "\"publishedAt\":\"2025-01-01T00:00:00Z\""),
                    entry("1.5.0", ""),
                ],
                1,
            ),
            ([entry("1.9.0", ""), entry("1.10.0-rc.1", ""), entry("1.10.0", "")], 3),
            ([entry("1.0.0", ""), entry("1.0.0", ""), entry("0.1.0", "")], 2),
        ] {
            let document = Document::read(Kind::McpRegistry, entries.join("\n").as_bytes());
            let lines: Vec<_> = document.entries.iter().map(|entry| entry.as_ref().unwrap().line).collect();
            assert_eq!((lines, document.count(Fate::Superseded)), (vec![line], 2), "{entries:?}");
            let told: Vec<_> = document.passed.iter().map(|told| (told.key.as_deref(), told.instead_line)).collect();
            assert_eq!(told, [(Some("s"), Some(line)); 2], "each names the entry that counts");
        }
    }

    #[test]
    fn a_version_that_cannot_be_read_is_not_taken_for_none() {
        let latest = |flag: &str, description: &str| {
            format!(
                "{{\"server\":{{\"name\":\"s\",\"version\":\"1\",\"description\":{description}}},\"_meta\":{{\"r\":{{\"isLatest\":{flag}}}}}}}"
            )
        };
        let text = [latest("true", "7"), latest("false", "\"old\"")].join("\n");
        assert_eq!(told(Kind::McpRegistry, &text), [key(1, "! description"), key(2, "! -")]);
        let text = [latest("false", "7"), latest("true", "\"new\"")].join("\n");
        assert_eq!(told(Kind::McpRegistry, &text), [key(1, "! description"), key(2, "s")]);
    }

    #[test]
    fn a_list_that_goes_on_elsewhere_is_known() {
        let more = |text: &str| Document::read(Kind::McpRegistry, text.as_bytes()).has_more;
        assert!(more("{\"servers\":[],\"metadata\":{\"nextCursor\":\"x\"}}"));
        assert!(!more(
            "{\"servers\":[],\"metadata\":{\"nextCursor\":\"x\"}}{\"servers\":[],\"metadata\":{\"count\":1}}"
        ));
        assert!(!more("{\"servers\":[],\"metadata\":{\"next_cursor\":null}}") && !more("[]"));
        assert!(more("{\"servers\":[],\"next\":\"/v0/servers?cursor=x\"}"));
    }
}
