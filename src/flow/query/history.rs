//! Histories: the records of one stream, refusals and all, and what each event changed.

mod changes;

pub use changes::Change;
#[cfg(test)]
pub(super) use changes::patched;

use super::as_of::{AsOf, At, event};
use super::{CHUNK, Error, LOOKED_AT_MAX, PAGE_BYTES_MAX, Query, Resource};
use crate::domain::StreamId;
use crate::domain::record::RecordKind;
use crate::ports::journal::Recorded;
use serde_json::{Map, Value};
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    OldestFirst,
    NewestFirst,
}

/// What a history asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    pub stream: StreamId,
    pub order: Order,
    /// Only records of these kinds; empty means all.
    pub kinds: Vec<RecordKind>,
    /// Go on after the record at this position, in the order asked for.
    pub after: Option<u64>,
    /// Most entries of the page, at least 1.
    pub limit: usize,
}

/// One record with its payload as JSON: an event's fields, a refusal's reason, else null.
#[derive(Clone, Debug)]
pub struct Entry {
    pub recorded: Recorded,
    pub data: Value,
    /// What it changed of the resource, where that was asked for; nothing, where it is no event.
    pub changes: Option<Vec<Change>>,
}

impl Entry {
    /// A record with its payload.
    ///
    /// # Errors
    /// When this program cannot read the payload.
    pub fn of(recorded: Recorded) -> Result<Self, Error> {
        let data = match recorded.record.kind {
            RecordKind::Event => event(&recorded)?.map_or(Value::Null, |event| event.to_json()),
            RecordKind::Refusal => serde_json::to_value(super::refusal(&recorded.record)?).unwrap_or_default(),
            RecordKind::Unchanged => Value::Null,
        };
        Ok(Self { recorded, data, changes: None })
    }
}

#[derive(Clone, Debug, Default)]
pub struct HistoryPage {
    pub entries: Vec<Entry>,
    /// Position after which the next page starts; `None` after the last.
    pub next: Option<u64>,
}

/// Where a resource stood after the event that was looked at last: the next event's changes begin there.
pub struct Standing(Resource);

impl Query {
    /// Tells what each of a page's events changed. `standing` is kept from page to page by who reads oldest first, else
    /// `None`: then all before the page's oldest event is folded once.
    ///
    /// # Errors
    /// [`Error::TooFar`] when more lies before the page than one fold may walk over.
    pub async fn tell_changes(&self, entries: &mut [Entry], standing: &mut Option<Standing>) -> Result<(), Error> {
        let mut events: Vec<&mut Entry> = Vec::new();
        for entry in entries {
            entry.changes = Some(Vec::new());
            if entry.recorded.record.kind == RecordKind::Event {
                events.push(entry);
            }
        }
        events.sort_unstable_by_key(|entry| entry.recorded.record.version);
        for entry in events {
            let record = &entry.recorded.record;
            let mut resource = match standing.take() {
                Some(Standing(resource)) if resource.version + 1 == record.version => resource,
                _ => self.before(record.stream(), record.version).await?,
            };
            let before = shown(&resource);
            resource.take(&entry.recorded)?;
            entry.changes = Some(changes::changes(&before, &shown(&resource)));
            *standing = Some(Standing(resource));
        }
        Ok(())
    }

    /// The resource before the event that made a version.
    async fn before(&self, stream: StreamId, version: u64) -> Result<Resource, Error> {
        if version <= 1 {
            return Ok(Resource::nothing(stream));
        }
        match self.get_as_of(stream, At::Version(version - 1)).await? {
            Some(AsOf::Stood(resource)) => Ok(*resource),
            _ => {
                let cause = format!("there is a version {version}, and none before it");
                Err(Error::Damaged { stream, what: "the history", cause })
            }
        }
    }

    /// One page of a stream's history. Empty where nothing is recorded of the stream.
    ///
    /// # Errors
    /// [`Error::TooLong`] when a page of the oldest records lies behind more than [`LOOKED_AT_MAX`] newer ones.
    pub async fn history(&self, ask: &HistoryQuery) -> Result<HistoryPage, Error> {
        let (mut records, mut next) = match ask.order {
            Order::NewestFirst => self.newest_first(ask).await?,
            Order::OldestFirst => self.oldest_first(ask).await?,
        };
        let mut bytes = 0;
        let shown = records.iter().take_while(|recorded| {
            let room = bytes < PAGE_BYTES_MAX;
            bytes += recorded.record.payload.len();
            room
        });
        let shown = shown.count();
        if shown < records.len() {
            records.truncate(shown);
            next = records.back().map(|recorded| recorded.record.position);
        }
        let entries = records.into_iter().map(Entry::of).collect::<Result<_, _>>()?;
        Ok(HistoryPage { entries, next })
    }

    /// The records of a page, and where the next one starts.
    async fn newest_first(&self, ask: &HistoryQuery) -> Result<(VecDeque<Recorded>, Option<u64>), Error> {
        let mut kept = VecDeque::new();
        let mut before = ask.after.unwrap_or(u64::MAX);
        for _ in 0..LOOKED_AT_MAX / CHUNK {
            let chunk = if ask.kinds.is_empty() { (ask.limit - kept.len() + 1).min(CHUNK) } else { CHUNK };
            let read = self.index.history(ask.stream, before, chunk).await?;
            let end = read.len() < chunk;
            for recorded in read {
                before = recorded.record.position;
                if !wanted(&recorded, ask) {
                    continue;
                }
                if kept.len() == ask.limit {
                    let next = position(kept.back());
                    return Ok((kept, next));
                }
                kept.push_back(recorded);
            }
            if end {
                return Ok((kept, None));
            }
        }
        Ok((kept, Some(before)))
    }

    /// The index walks backwards only: keeps the last page of the walk, which is the first of the history.
    async fn oldest_first(&self, ask: &HistoryQuery) -> Result<(VecDeque<Recorded>, Option<u64>), Error> {
        let after = ask.after.unwrap_or(0);
        let mut kept = VecDeque::new();
        let mut more = false;
        let mut before = u64::MAX;
        for _ in 0..LOOKED_AT_MAX / CHUNK {
            let read = self.index.history(ask.stream, before, CHUNK).await?;
            let end = read.len() < CHUNK;
            for recorded in read {
                before = recorded.record.position;
                if before <= after {
                    let next = position(kept.back()).filter(|_| more);
                    return Ok((kept, next));
                }
                if !wanted(&recorded, ask) {
                    continue;
                }
                kept.push_front(recorded);
                if kept.len() > ask.limit {
                    kept.pop_back();
                    more = true;
                }
            }
            if end {
                let next = position(kept.back()).filter(|_| more);
                return Ok((kept, next));
            }
        }
        Err(Error::TooLong)
    }
}

fn position(recorded: Option<&Recorded>) -> Option<u64> {
    recorded.map(|recorded| recorded.record.position)
}

fn wanted(recorded: &Recorded, ask: &HistoryQuery) -> bool {
    ask.kinds.is_empty() || ask.kinds.contains(&recorded.record.kind)
}

/// What readers see of a resource that an event can change; nothing before its first.
fn shown(resource: &Resource) -> Map<String, Value> {
    if resource.version == 0 {
        return Map::new();
    }
    let mut fields = resource.state.view();
    fields.insert("status".to_owned(), Value::from(resource.state.status()));
    fields
}
