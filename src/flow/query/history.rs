//! Histories: the records of one stream, refusals and all.

use super::{CHUNK, Error, LOOKED_AT_MAX, PAGE_BYTES_MAX, Query};
use crate::domain::record::RecordKind;
use crate::domain::{AnyEvent, StreamId};
use crate::ports::journal::Recorded;
use serde_json::Value;
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
}

impl Entry {
    /// A record with its payload.
    ///
    /// # Errors
    /// When this program cannot read the payload.
    pub fn of(recorded: Recorded) -> Result<Self, Error> {
        let record = &recorded.record;
        let stream = record.stream();
        let data = match record.kind {
            RecordKind::Event => match recorded.decided.as_ref().and_then(|decided| decided.event.as_deref()) {
                Some(event) => event.to_json(),
                None => AnyEvent::decode(stream.aggregate, &record.schema, record.fingerprint, &record.payload)
                    .map_err(|error| Error::Damaged { stream, what: "an event", cause: error.to_string() })?
                    .to_json(),
            },
            RecordKind::Refusal => serde_json::to_value(super::refusal(record)?).unwrap_or_default(),
            RecordKind::Unchanged => Value::Null,
        };
        Ok(Self { recorded, data })
    }
}

#[derive(Clone, Debug, Default)]
pub struct HistoryPage {
    pub entries: Vec<Entry>,
    /// Position after which the next page starts; `None` after the last.
    pub next: Option<u64>,
}

impl Query {
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
