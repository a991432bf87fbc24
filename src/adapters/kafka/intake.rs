//! Commands in: what is polled of one log's command partition.
//!
//! A processor may consume only part of what it was given and then ask again from lower down, so everything that was
//! given and lies above `from` is kept. Anything else (another owner was here, a claim ended) opens the partition anew.
//!
//! A command on another partition than its stream's is sent on, and given as such, so that `consumed` passes it. Where a
//! crash comes first it is sent on again, and its command id makes the second one a repetition.

use super::Shared;
use super::command::{self, Decoded, FORWARDED, SUBJECT};
use super::letters;
use super::partition::{Fault, Partition, Raw};
use crate::domain::{LogId, StreamId};
use crate::metrics::handles;
use crate::ports::topic::{Aside, Delivery, Error, Loss, Unreadable};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Before an offset that nothing was written to yet is asked for again.
const NOT_YET_PAUSE: Duration = Duration::from_millis(500);
/// How long a look at what was consumed may wait for a record.
const LOOK_MAX: Duration = Duration::from_secs(5);

/// The intake of one log.
#[derive(Default)]
pub struct Intake {
    partition: Option<Partition>,
    /// What was given, or can be, from `first` on.
    window: VecDeque<Delivery>,
    first: u64,
    /// Fetched and not decoded: kept here, so that a caller that gives up loses nothing.
    fetched: VecDeque<Raw>,
    /// The next offset to fetch.
    next: u64,
    /// The offset at which a fetch began that was not `next`; believed once the broker says so twice.
    doubted: Option<u64>,
}

impl Intake {
    pub async fn poll(
        &mut self,
        shared: &Shared,
        log: LogId,
        from: u64,
        records_max: usize,
    ) -> Result<Vec<Delivery>, Error> {
        if self.partition.is_none() || from < self.first || from > self.next {
            self.reset(from);
        }
        while self.window.front().is_some_and(|delivery| delivery.offset < from) {
            self.window.pop_front();
        }
        self.first = from;
        loop {
            while let Some(raw) = self.fetched.front() {
                if self.window.len() >= records_max {
                    break;
                }
                self.window.push_back(delivery(shared, log, raw).await?);
                self.fetched.pop_front();
            }
            if !self.window.is_empty() {
                return Ok(self.window.iter().take(records_max).cloned().collect());
            }
            self.fetch(shared, log, records_max).await?;
        }
    }

    fn reset(&mut self, from: u64) {
        *self = Self { first: from, next: from, doubted: self.doubted, ..Self::default() };
    }

    async fn fetch(&mut self, shared: &Shared, log: LogId, records_max: usize) -> Result<(), Error> {
        let topic = shared.names.commands(log);
        let opened = self.partition.is_none();
        let partition = match &mut self.partition {
            Some(partition) => partition,
            closed => closed.insert(shared.fetcher.open(topic, log.partition, self.next)?),
        };
        let records = match partition.next(records_max).await {
            Ok(records) => records,
            Err(fault) => {
                self.partition = None;
                return match fault {
                    Fault::OutOfRange => self.out_of_range(shared, log).await,
                    Fault::Other(cause) => Err(Error::Unavailable(cause)),
                };
            }
        };
        let first = records.first().map_or(self.next, |raw| raw.offset);
        // What was fetched for an earlier reader of the partition may still be in its queue.
        if opened && first != self.next && self.doubted != Some(first) {
            self.partition = None;
            self.doubted = Some(first);
            return Ok(());
        }
        self.doubted = None;
        for raw in records {
            if raw.offset >= self.next {
                self.next = raw.offset + 1;
                self.fetched.push_back(raw);
            }
        }
        Ok(())
    }

    /// The broker does not have the next offset: it is to come, or it is lost.
    async fn out_of_range(&self, shared: &Shared, log: LogId) -> Result<(), Error> {
        let (low, end) = shared.fetcher.bounds(shared.names.commands(log), log.partition).await?;
        let consumed = if self.next > end {
            // What was handed on may be ahead of what the log has.
            let state = shared.journal.state(log).await.map_err(|error| Error::Unavailable(error.to_string()))?;
            state.consumed
        } else {
            self.next
        };
        if consumed < low || consumed > end {
            // The log's next owner looks at it more closely.
            return Err(Error::Unavailable(Loss { log, consumed, low, end }.to_string()));
        }
        tokio::time::sleep(NOT_YET_PAUSE).await;
        Ok(())
    }

    /// Stream and id of the log's own commands at these offsets, as far as they are there and can be read. Whoever polls
    /// afterwards opens the partition anew.
    pub async fn look_back(
        &mut self,
        shared: &Shared,
        log: LogId,
        offsets: Range<u64>,
    ) -> Result<Vec<(StreamId, Uuid)>, Error> {
        *self = Self::default();
        let mut found = Vec::new();
        if offsets.is_empty() {
            return Ok(found);
        }
        let topic = shared.names.commands(log);
        let mut partition = shared.fetcher.open(topic, log.partition, offsets.start)?;
        let mut next = offsets.start;
        while next < offsets.end {
            let left = usize::try_from(offsets.end - next).unwrap_or(usize::MAX);
            let records = match tokio::time::timeout(LOOK_MAX, partition.next(left)).await {
                Ok(Ok(records)) => records,
                Ok(Err(Fault::Other(cause))) => return Err(Error::Unavailable(cause)),
                // What is not there tells nothing.
                Ok(Err(Fault::OutOfRange)) | Err(_) => break,
            };
            for raw in &records {
                next = next.max(raw.offset + 1);
                if !offsets.contains(&raw.offset) {
                    continue;
                }
                if let Decoded::Command(accepted) = command::decode(raw, log, topic, &shared.framing).await? {
                    let stream = accepted.envelope.stream;
                    if stream.log(shared.config.partitions) == log {
                        found.push((stream, accepted.envelope.command_id));
                    }
                }
            }
        }
        Ok(found)
    }
}

/// What a record is to the processor.
async fn delivery(shared: &Shared, log: LogId, raw: &Raw) -> Result<Delivery, Error> {
    let topic = shared.names.commands(log);
    let cause = match command::decode(raw, log, topic, &shared.framing).await? {
        Decoded::Unreadable(cause) => cause,
        Decoded::Command(accepted) => {
            let stream = accepted.envelope.stream;
            let home = stream.log(shared.config.partitions).partition;
            if home == log.partition {
                let (command, redriven) = (Ok(Arc::new(*accepted)), letters::attempts(raw));
                return Ok(Delivery { offset: raw.offset, command, redriven });
            }
            match raw.headers.text(FORWARDED) {
                None => {
                    let outgoing = command::forwarded(raw, log, topic, stream, home);
                    shared.producer.send(vec![outgoing]).await?;
                    handles().receive_forwarded.increment(1);
                    return Ok(Delivery { offset: raw.offset, command: Err(Aside::SentOn), redriven: 0 });
                }
                Some(place) => {
                    format!("stream {stream} belongs to partition {home}; it was sent on before, from {place}")
                }
            }
        }
    };
    let mut headers = raw.headers.to_texts();
    if raw.headers.get(SUBJECT).is_none()
        && let Some(stream) = command::stream_of_key(raw)
    {
        // A letter keeps no key, and this one names the stream.
        headers.push((SUBJECT.to_owned(), stream.to_owned()));
    }
    let unreadable = Unreadable { bytes: raw.value.clone(), headers, cause };
    let redriven = letters::attempts(raw);
    Ok(Delivery { offset: raw.offset, command: Err(Aside::Unreadable(Box::new(unreadable))), redriven })
}
