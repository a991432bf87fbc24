//! Entries that are read and not imported: each is told of with the reason.

use super::entry::{Cut, Item};
use super::report::{Fate, Told};
use super::wanted::Wanted;

/// An entry whose publisher took it back.
pub fn withdrawn(line: u64, key: Option<String>) -> Told {
    let why = "its publisher took it back: its status is deleted";
    Told { line: Some(line), key, reason: Some(why.to_owned()), ..Told::of(Fate::Withdrawn) }
}

/// An entry that is nothing of what is imported, or was not asked for.
pub fn skipped(line: u64, key: Option<String>, why: &str) -> Told {
    Told { line: Some(line), key, reason: Some(why.to_owned()), ..Told::of(Fate::Skipped) }
}

/// The same of an entry with all its parts.
pub fn skipped_whole(item: Item, why: &str) -> impl Iterator<Item = Told> {
    let own = (item.line, item.key, item.wanted.name().to_owned());
    let parts = item.parts.into_iter().map(|part| (part.line, part.key, part.name));
    std::iter::once(own)
        .chain(parts)
        .map(move |(line, key, name)| Told { name: Some(name), ..skipped(line, Some(key), why) })
}

/// An entry of a key of which another counts.
pub fn superseded(item: &Item, counts: &Item) -> Told {
    let (own, other) = (&item.rank, &counts.rank);
    let why = match () {
        () if own.is_latest != other.is_latest => "its publisher calls that one the latest",
        () if own.published_at.is_none() && other.published_at.is_some() => "only that one says when it was published",
        () if own.published_at != other.published_at => "that one was published later",
        () if own.version != other.version => "that one has the higher version",
        () => "that one comes later, and nothing else ranks one above the other",
    };
    let apart = match (&item.wanted, &counts.wanted) {
        (Wanted::Agent(own), Wanted::Agent(other)) if own.place != other.place => {
            let [own, other] = [own, other].map(|agent| agent.place.as_deref().unwrap_or("no place"));
            format!("; this one is at {own}, that one at {other}: if they are two agents, give one another name")
        }
        _ => String::new(),
    };
    Told {
        line: Some(item.line),
        key: Some(item.key.clone()),
        name: Some(item.wanted.name().to_owned()),
        instead_line: Some(counts.line),
        reason: Some(format!("another entry of the same key counts: {why}{apart}")),
        ..Told::of(Fate::Superseded)
    }
}

/// The fields that were cut, by their names.
pub fn fields(cuts: &[Cut]) -> Vec<&'static str> {
    cuts.iter().map(|cut| cut.field).collect()
}
