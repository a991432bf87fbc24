//! Reading what events topics hold, from their beginning to their end as it is now.

use super::event::position_of;
use super::partition::{Raw, reading, refused, unavailable};
use super::{Config, KafkaTopics, words};
use crate::domain::{Aggregate, LogId};
use crate::ports::topic::Error;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio::time::Instant;

/// Positions of events by their log.
pub type Published = HashMap<LogId, HashSet<u64>>;

impl KafkaTopics {
    /// The positions of all events of an aggregate that its topic holds.
    ///
    /// # Errors
    /// When the brokers do not answer in time.
    pub async fn published(&self, aggregate: Aggregate) -> Result<Published, Error> {
        let topic = self.shared.names.events(LogId { aggregate, partition: 0 }).to_owned();
        let config = self.shared.config.clone();
        let scan = tokio::task::spawn_blocking(move || scan(&config, aggregate, &topic));
        scan.await.map_err(|error| Error::Unavailable(error.to_string()))?
    }
}

fn scan(config: &Config, aggregate: Aggregate, topic: &str) -> Result<Published, Error> {
    let consumer: BaseConsumer = reading(config).create().map_err(refused)?;
    let failed = |error: KafkaError| unavailable(topic, &error);
    let mut left = assign(&consumer, config, aggregate, topic).map_err(failed)?;
    let (mut published, mut heard) = (Published::new(), Instant::now());
    while !left.is_empty() {
        let message = match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(Error::Unavailable(format!("{topic}: {}", words(&error)))),
            None if heard.elapsed() < config.link.request_timeout => continue,
            None => return Err(Error::Unavailable(format!("{topic} was not read in time; try again"))),
        };
        heard = Instant::now();
        let Ok(partition) = u16::try_from(message.partition()) else { continue };
        let positions = published.entry(LogId { aggregate, partition }).or_default();
        positions.extend(position_of(&Raw::of(&message)));
        if left.get(&partition).is_some_and(|end| message.offset() + 1 >= *end) {
            left.remove(&partition);
        }
    }
    Ok(published)
}

/// Assigns every partition that holds anything. Gives where each ends.
fn assign(
    consumer: &BaseConsumer,
    config: &Config,
    aggregate: Aggregate,
    topic: &str,
) -> KafkaResult<HashMap<u16, i64>> {
    let (mut list, mut ends) = (TopicPartitionList::new(), HashMap::new());
    for partition in 0..config.partitions.of(aggregate) {
        let (low, high) = consumer.fetch_watermarks(topic, i32::from(partition), config.link.request_timeout)?;
        if high > low {
            list.add_partition_offset(topic, i32::from(partition), Offset::Beginning)?;
            ends.insert(partition, high);
        }
    }
    consumer.assign(&list)?;
    Ok(ends)
}
