//! Reading what a log's events partition holds, from its beginning to its end as it is now.

use super::event::position_of;
use super::partition::{Raw, reading, refused, unavailable};
use super::{KafkaTopics, words};
use crate::domain::LogId;
use crate::ports::topic::Error;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::Instant;

impl KafkaTopics {
    /// The positions of all events of a log that its topic holds.
    ///
    /// # Errors
    /// When the brokers do not answer in time.
    pub async fn published(&self, log: LogId) -> Result<HashSet<u64>, Error> {
        let (config, topic) = (self.shared.config.clone(), self.shared.names.events(log).to_owned());
        let scan = tokio::task::spawn_blocking(move || {
            let failed = |error: KafkaError| unavailable(&topic, &error);
            let consumer: BaseConsumer =
                reading(&config).set("enable.partition.eof", "true").create().map_err(refused)?;
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&topic, i32::from(log.partition), Offset::Beginning).map_err(failed)?;
            consumer.assign(&list).map_err(failed)?;
            let (mut positions, mut heard) = (HashSet::new(), Instant::now());
            while heard.elapsed() < config.link.request_timeout {
                match consumer.poll(Duration::from_millis(100)) {
                    None => continue,
                    Some(Err(KafkaError::PartitionEOF(_))) => return Ok(positions),
                    Some(Err(error)) => return Err(Error::Unavailable(format!("{topic}: {}", words(&error)))),
                    Some(Ok(message)) => positions.extend(position_of(&Raw::of(&message))),
                }
                heard = Instant::now();
            }
            Err(Error::Unavailable(format!("{topic} was not read in time; try again")))
        });
        scan.await.map_err(|error| Error::Unavailable(error.to_string()))?
    }
}
