//! Dead letters: one topic for the fleet, the original bytes as the value, everything else in headers.
//!
//! A letter's number is its place: `offset × partitions + partition`. It stays while the letter does; partitions fill
//! independently, so the order of numbers is the order of burial within a partition only. That a letter was sent again
//! says a record behind it in its partition, with its key and without a value: the topic is only ever appended to, and
//! readers put the two together.
//!
//! Reading is for an operator's page, not for a program that goes on for ever: the topic is read from the page's first
//! number to its end, where the newest mark may be. Beyond [`LETTERS_MAX`] a Kafka client is the tool.

use super::client::words;
use super::command::FORWARDED;
use super::headers::{CONTENT_TYPE, Writer};
use super::partition::{Events, Raw, reading, refused, unavailable};
use super::produce::Outgoing;
use super::{Config, Shared};
use crate::domain::envelope::SYSTEM_SOURCE;
use crate::domain::{Aggregate, StreamId};
use crate::ports::letter::REDRIVEN;
use crate::ports::receive::{Media, media};
use crate::ports::topic::{Buried, DeadLetter, Error, RedriveError, Redriven};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Most letters that are read for a page.
const LETTERS_MAX: u64 = 100_000;
/// Goes before the name of each header that the dead record had.
const ORIGINAL: &str = "original.";
/// How often the dead record had been sent again.
const ATTEMPTS: &str = "ce_attempts";
/// Of a mark: the letter that was sent again, as `topic/partition/offset` of the letter itself.
const LETTER: &str = "ce_letter";

/// Writes a letter. Returns once it is acknowledged.
pub async fn bury(shared: &Shared, letter: &DeadLetter) -> Result<(), Error> {
    // Commands that came by no topic share a place.
    let id = format!("{}/{}", place(letter), letter.command_id.unwrap_or_default());
    let mut headers = Writer::new(16 + letter.headers.len());
    headers.text("ce_specversion", "1.0");
    headers.text("ce_id", &Uuid::new_v5(&Uuid::NAMESPACE_OID, id.as_bytes()).to_string());
    headers.text("ce_source", SYSTEM_SOURCE);
    headers.text("ce_type", "agentverse.DeadLetter");
    if let Ok(time) = jiff::Timestamp::from_microsecond(letter.buried_at) {
        headers.text("ce_time", &time.to_string());
    }
    headers.text("ce_code", &letter.code);
    headers.text("ce_cause", &letter.cause);
    headers.text("ce_topic", &letter.topic);
    headers.text("ce_partition", &letter.partition.to_string());
    headers.text("ce_offset", &letter.offset.to_string());
    headers.text("ce_buriedat", &letter.buried_at.to_string());
    headers.text(ATTEMPTS, &letter.attempts.to_string());
    headers.optional("ce_commandid", letter.command_id.map(|id| id.to_string()).as_deref());
    if let Some(stream) = letter.stream {
        headers.text("ce_tenantid", &stream.tenant.to_string());
        headers.text("ce_aggregate", stream.aggregate.name());
        headers.text("ce_subject", &stream.id.to_string());
    }
    for (name, value) in &letter.headers {
        headers.text(&format!("{ORIGINAL}{name}"), value);
    }
    let (headers, headers_bytes) = headers.finish();
    let outgoing = Outgoing {
        topic: shared.names.dead_letters(),
        partition: letter.partition % shared.config.shared_partitions,
        key: key(letter),
        value: letter.bytes.clone(),
        headers,
        headers_bytes,
        timestamp: Some(letter.buried_at.div_euclid(1000)),
    };
    shared.producer.send(vec![outgoing]).await
}

/// How often a record was sent again after it had died.
pub fn attempts(raw: &Raw) -> u32 {
    raw.headers.text(REDRIVEN).and_then(|times| times.parse().ok()).unwrap_or(0)
}

fn key(letter: &DeadLetter) -> String {
    letter.stream.map_or_else(|| place(letter), |stream| stream.id.to_string())
}

fn place(letter: &DeadLetter) -> String {
    format!("{}/{}/{}", letter.topic, letter.partition, letter.offset)
}

/// Reads a letter back; `None` for what this program did not write.
fn letter(raw: &Raw) -> Option<DeadLetter> {
    let text = |name: &str| raw.headers.text(name);
    let uuid = |name: &str| text(name).and_then(|text| Uuid::try_parse(text).ok());
    let stream = text("ce_aggregate")
        .and_then(Aggregate::from_name)
        .zip(uuid("ce_tenantid"))
        .zip(uuid("ce_subject"))
        .map(|((aggregate, tenant), id)| StreamId::new(crate::domain::TenantId(tenant), aggregate, id));
    let originals = raw.headers.iter().filter_map(|(name, value)| {
        Some((name.strip_prefix(ORIGINAL)?.to_owned(), String::from_utf8_lossy(value).into_owned()))
    });
    Some(DeadLetter {
        topic: text("ce_topic")?.to_owned(),
        partition: text("ce_partition")?.parse().ok()?,
        offset: text("ce_offset")?.parse().ok()?,
        command_id: uuid("ce_commandid"),
        stream,
        code: text("ce_code")?.to_owned(),
        cause: text("ce_cause")?.to_owned(),
        buried_at: text("ce_buriedat")?.parse().ok()?,
        // Letters of earlier programs have none.
        attempts: text(ATTEMPTS).and_then(|times| times.parse().ok()).unwrap_or(0),
        headers: originals.collect(),
        bytes: raw.value.clone(),
    })
}

/// The letters from number `from` on, in the order of their numbers.
///
/// # Errors
/// When the brokers do not answer in time, or the topic holds more than [`LETTERS_MAX`].
pub async fn read(shared: &Shared, from: u64, letters_max: usize) -> Result<Vec<(u64, Buried)>, Error> {
    let partitions = shared.config.shared_partitions;
    let starts = (0..partitions).map(|partition| {
        let below = u64::from(partition);
        (partition, from.saturating_sub(below).div_ceil(u64::from(partitions)))
    });
    Ok(scan(shared, starts.collect(), letters_max).await?.into_iter().collect())
}

/// The letter with this number.
///
/// # Errors
/// As [`read`].
pub async fn one(shared: &Shared, number: u64) -> Result<Option<Buried>, Error> {
    let partitions = u64::from(shared.config.shared_partitions);
    let start = ((number % partitions) as u16, number / partitions);
    Ok(scan(shared, vec![start], 1).await?.remove(&number))
}

/// Sends a letter again, and marks it. First the record, then the mark: what a crash leaves unmarked is sent twice at
/// the worst, and decided once.
pub async fn redrive(shared: &Shared, number: u64, forced: bool) -> Result<Redriven, RedriveError> {
    let buried = one(shared, number).await?.ok_or(RedriveError::Unknown(number))?;
    let redriven = buried.redrive(number, forced)?;
    if shared.checked(redriven.log).is_err() {
        let why = "it came by a partition that this fleet does not have; send the command anew";
        return Err(RedriveError::Refused { number, why });
    }
    shared.producer.send(vec![again(shared, &redriven, &buried.letter)]).await?;
    shared.producer.send(vec![mark(shared, number, &buried)]).await?;
    Ok(redriven)
}

/// The dead record, once more.
fn again(shared: &Shared, redriven: &Redriven, letter: &DeadLetter) -> Outgoing {
    let mut headers = Writer::new(letter.headers.len() + 2);
    // It is counted anew, and may be sent on to its partition once more.
    let kept = letter.headers.iter().filter(|(name, _)| ![REDRIVEN, FORWARDED].contains(&name.as_str()));
    kept.for_each(|(name, value)| headers.text(name, value));
    let structured = letter.header(CONTENT_TYPE).map(media) == Some(Media::CloudEvent);
    if letter.header("ce_id").is_none() && !structured {
        // A record without an id gets one from its place, and this one has another: twice must be the same command.
        headers.text("ce_id", &Uuid::new_v5(&Uuid::NAMESPACE_OID, place(letter).as_bytes()).to_string());
    }
    headers.text(REDRIVEN, &redriven.attempts.to_string());
    let (headers, headers_bytes) = headers.finish();
    Outgoing {
        topic: shared.names.commands(redriven.log).to_owned(),
        partition: redriven.log.partition,
        key: letter.header("ce_subject").map_or_else(|| key(letter), str::to_owned),
        value: letter.bytes.clone(),
        headers,
        headers_bytes,
        timestamp: None,
    }
}

/// What says that a letter was sent again.
fn mark(shared: &Shared, number: u64, buried: &Buried) -> Outgoing {
    let partitions = u64::from(shared.config.shared_partitions);
    let (topic, partition) = (shared.names.dead_letters(), (number % partitions) as u16);
    let letter = format!("{topic}/{partition}/{}", number / partitions);
    let id = format!("{letter}/{}", buried.redriven + 1);
    let mut headers = Writer::new(5);
    headers.text("ce_specversion", "1.0");
    headers.text("ce_id", &Uuid::new_v5(&Uuid::NAMESPACE_OID, id.as_bytes()).to_string());
    headers.text("ce_source", SYSTEM_SOURCE);
    headers.text("ce_type", "agentverse.DeadLetterRedriven");
    headers.text(LETTER, &letter);
    let (headers, headers_bytes) = headers.finish();
    let key = key(&buried.letter);
    Outgoing { topic, partition, key, value: Vec::new(), headers, headers_bytes, timestamp: None }
}

/// The offset of the letter that a mark names.
fn marked(raw: &Raw) -> Option<u64> {
    raw.headers.text(LETTER)?.rsplit('/').next()?.parse().ok()
}

/// The first letters at or after these places, by number.
type Letters = BTreeMap<u64, Buried>;

async fn scan(shared: &Shared, starts: Vec<(u16, u64)>, letters_max: usize) -> Result<Letters, Error> {
    let (config, topic) = (shared.config.clone(), shared.names.dead_letters());
    let scan = tokio::task::spawn_blocking(move || {
        let deadline = Instant::now() + config.link.request_timeout * 3;
        first(&config, &topic, &starts, letters_max, deadline)
    });
    scan.await.map_err(|error| Error::Unavailable(error.to_string()))?
}

fn first(
    config: &Config,
    topic: &str,
    starts: &[(u16, u64)],
    letters_max: usize,
    deadline: Instant,
) -> Result<Letters, Error> {
    let failed = |error: KafkaError| unavailable(topic, &error);
    let mut client = reading(config);
    client.set("enable.partition.eof", "true");
    let consumer: BaseConsumer<Events> = client.create_with_context(Events).map_err(refused)?;
    let (list, left) = ahead(&consumer, config, topic, starts).map_err(failed)?;
    if left > LETTERS_MAX {
        return Err(Error::Unavailable(format!(
            "{topic} holds {left} records from there on, more than the {LETTERS_MAX} that are read here; read it with a \
             Kafka client"
        )));
    }
    // Each counts once: one that is written to meanwhile comes to its end again.
    let mut ended = BTreeSet::new();
    consumer.assign(&list).map_err(failed)?;
    let (mut letters, mut marks) = (Letters::new(), HashMap::<u64, u32>::new());
    while ended.len() < list.count() {
        if Instant::now() > deadline {
            return Err(Error::Unavailable(format!("{topic} was not read in time; try again")));
        }
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ended.insert(partition);
            }
            Some(Err(error)) => return Err(Error::Unavailable(format!("{topic}: {}", words(&error)))),
            Some(Ok(message)) => {
                let raw = Raw::of(&message);
                let number =
                    |offset: u64| offset * u64::from(config.shared_partitions) + message.partition().max(0) as u64;
                if let Some(offset) = marked(&raw) {
                    *marks.entry(number(offset)).or_default() += 1;
                } else if let Some(letter) = letter(&raw) {
                    letters.insert(number(raw.offset), Buried { letter, redriven: 0 });
                }
                if letters.len() > letters_max {
                    letters.pop_last();
                }
            }
        }
    }
    for (number, buried) in &mut letters {
        buried.redriven = marks.get(number).copied().unwrap_or(0);
    }
    Ok(letters)
}

/// The partitions that hold anything at or after these places, and how many records that is.
fn ahead(
    consumer: &BaseConsumer<Events>,
    config: &Config,
    topic: &str,
    starts: &[(u16, u64)],
) -> KafkaResult<(TopicPartitionList, u64)> {
    let mut list = TopicPartitionList::new();
    let mut records = 0;
    for (partition, start) in starts {
        let partition = i32::from(*partition);
        let (low, high) = consumer.fetch_watermarks(topic, partition, config.link.request_timeout)?;
        let start = i64::try_from(*start).unwrap_or(i64::MAX);
        let (from, offset) = if start <= low { (low, Offset::Beginning) } else { (start, Offset::Offset(start)) };
        if high > from {
            list.add_partition_offset(topic, partition, offset)?;
            records += (high - from) as u64;
        }
    }
    Ok((list, records))
}
