//! Dead letters: one topic for the fleet, the original bytes as the value, everything else in headers.
//!
//! Reading is for an operator's page, not for a program that goes on for ever: the whole topic is read, put in order of
//! burial (then partition and offset), and numbered from 0. Numbers are places: they shift once retention has deleted
//! older letters. Beyond [`LETTERS_MAX`] a Kafka client is the tool.

use super::client::words;
use super::headers::Writer;
use super::partition::{Raw, reading, refused, unavailable};
use super::produce::Outgoing;
use super::{Config, Shared};
use crate::domain::envelope::SYSTEM_SOURCE;
use crate::domain::{Aggregate, StreamId};
use crate::ports::topic::{DeadLetter, Error};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Most letters that are read for a page.
const LETTERS_MAX: u64 = 100_000;
/// Goes before the name of each header that the dead record had.
const ORIGINAL: &str = "original.";

/// Writes a letter. Returns once it is acknowledged.
pub async fn bury(shared: &Shared, letter: &DeadLetter) -> Result<(), Error> {
    let id = place(letter);
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
        key: letter.stream.map_or(id, |stream| stream.id.to_string()),
        value: letter.bytes.clone(),
        headers,
        headers_bytes,
        timestamp: Some(letter.buried_at.div_euclid(1000)),
    };
    shared.producer.send(vec![outgoing]).await
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
        headers: originals.collect(),
        bytes: raw.value.clone(),
    })
}

/// The letters from the `from`th on, oldest first.
///
/// # Errors
/// When the brokers do not answer in time, or the topic holds more than [`LETTERS_MAX`].
pub async fn read(shared: &Shared, from: u64, letters_max: usize) -> Result<Vec<(u64, DeadLetter)>, Error> {
    let (config, topic) = (shared.config.clone(), shared.names.dead_letters());
    let wanted = usize::try_from(from).unwrap_or(usize::MAX).saturating_add(letters_max);
    let read = tokio::task::spawn_blocking(move || {
        let deadline = Instant::now() + config.link.request_timeout * 3;
        oldest(&config, &topic, wanted, deadline)
    });
    let letters = read.await.map_err(|error| Error::Unavailable(error.to_string()))??;
    let numbered = letters.into_values().enumerate().map(|(number, letter)| (number as u64, letter));
    Ok(numbered.skip(usize::try_from(from).unwrap_or(usize::MAX)).collect())
}

/// By time of burial in milliseconds, partition and offset.
type Letters = BTreeMap<(i64, i32, u64), DeadLetter>;

/// The first `wanted` letters of all that the topic holds.
fn oldest(config: &Config, topic: &str, wanted: usize, deadline: Instant) -> Result<Letters, Error> {
    let failed = |error: KafkaError| unavailable(topic, &error);
    let consumer: BaseConsumer = reading(config).set("enable.partition.eof", "true").create().map_err(refused)?;
    let (list, left) = whole(&consumer, config, topic).map_err(failed)?;
    if left > LETTERS_MAX {
        return Err(Error::Unavailable(format!(
            "{topic} holds {left} records, more than the {LETTERS_MAX} that are put in order here; read it with a Kafka \
             client"
        )));
    }
    // Each counts once: one that is written to meanwhile comes to its end again.
    let mut ended = BTreeSet::new();
    consumer.assign(&list).map_err(failed)?;
    let mut letters = Letters::new();
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
                if let Some(letter) = letter(&raw) {
                    letters.insert((raw.timestamp, message.partition(), raw.offset), letter);
                }
                if letters.len() > wanted {
                    letters.pop_last();
                }
            }
        }
    }
    Ok(letters)
}

/// Every partition that holds anything, from its beginning, and how many records there are.
fn whole(consumer: &BaseConsumer, config: &Config, topic: &str) -> KafkaResult<(TopicPartitionList, u64)> {
    let timeout = config.link.request_timeout;
    let mut list = TopicPartitionList::new();
    let mut records = 0;
    for partition in 0..i32::from(config.shared_partitions) {
        let (low, high) = consumer.fetch_watermarks(topic, partition, timeout)?;
        if high > low {
            list.add_partition_offset(topic, partition, Offset::Beginning)?;
            records += (high - low) as u64;
        }
    }
    Ok((list, records))
}
