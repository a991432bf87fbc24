//! Offsets of partitions, by their place or by a time, asked of the brokers for many partitions at once.

use super::partition::{Events, unavailable};
use super::together::Together;
use crate::ports::topic::Error;
use hashbrown::HashSet;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::Duration;

/// Which offset of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum At {
    /// The lowest that is kept.
    Low,
    /// The one that the next record gets.
    End,
    /// Of the first record that is not older than this many milliseconds since the Unix epoch.
    Millis(i64),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    topic: String,
    partition: i32,
    at: At,
}

/// Asks for offsets.
pub struct Offsets(Together<Question, Option<u64>>);

impl Offsets {
    /// Asks through this consumer, and waits so long at most for each of an answer's requests.
    pub fn new(consumer: Arc<BaseConsumer<Events>>, timeout: Duration) -> Self {
        Self(Together::new(move |questions: &[Question]| answer(&consumer, questions, timeout)))
    }

    /// One offset; `None` where no record is that young.
    ///
    /// # Errors
    /// When no broker answers in time, or none knows one of the partitions that are asked for together.
    pub async fn find(&self, topic: &str, partition: u16, at: At) -> Result<Option<u64>, Error> {
        self.0.ask(Question { topic: topic.to_owned(), partition: partition.into(), at }).await
    }

    /// The lowest offset that is kept, and the one that the next record gets.
    ///
    /// # Errors
    /// As [`Offsets::find`].
    pub async fn bounds(&self, topic: &str, partition: u16) -> Result<(u64, u64), Error> {
        let (low, end) = tokio::try_join!(self.find(topic, partition, At::Low), self.find(topic, partition, At::End))?;
        let low = low.unwrap_or(0);
        Ok((low, end.unwrap_or(low).max(low)))
    }
}

/// A request can hold a partition once, so there are as many as one partition has questions.
fn answer(
    consumer: &BaseConsumer<Events>,
    questions: &[Question],
    timeout: Duration,
) -> Result<Vec<Option<u64>>, Error> {
    let mut answers = vec![None; questions.len()];
    let mut left: Vec<usize> = (0..questions.len()).collect();
    while let Some(topic) = left.first().map(|place| &questions[*place].topic) {
        let mut taken = HashSet::with_capacity(left.len());
        let (now, later): (Vec<_>, Vec<_>) = left.into_iter().partition(|place| {
            let question = &questions[*place];
            taken.insert((&question.topic, question.partition))
        });
        left = later;
        let found = request(consumer, now.iter().map(|place| &questions[*place]), timeout);
        let found = found.map_err(|error| unavailable(topic, &error))?;
        for place in now {
            let question = &questions[place];
            let of = found.find_partition(&question.topic, question.partition);
            of.as_ref().map_or(Ok(()), |of| of.error()).map_err(|error| unavailable(&question.topic, &error))?;
            answers[place] = match of.map(|of| of.offset()) {
                Some(Offset::Offset(offset)) => u64::try_from(offset).ok(),
                _ => None,
            };
        }
    }
    Ok(answers)
}

fn request<'a>(
    consumer: &BaseConsumer<Events>,
    questions: impl Iterator<Item = &'a Question>,
    timeout: Duration,
) -> Result<TopicPartitionList, KafkaError> {
    let mut times = TopicPartitionList::new();
    for Question { topic, partition, at } in questions {
        // On the wire a place is a time below zero.
        let time = match at {
            At::Low => Offset::Beginning,
            At::End => Offset::End,
            At::Millis(millis) => Offset::Offset(*millis),
        };
        times.add_partition_offset(topic, *partition, time)?;
    }
    match consumer.offsets_for_times(times.clone(), timeout) {
        Ok(found) if !found.elements().iter().any(|of| of.error().is_err_and(|error| is_not_known(&error))) => {
            Ok(found)
        }
        Err(error) if !is_not_known(&error) => Err(error),
        // A broker that has just started knows partitions without leaders. The library keeps that for three minutes and
        // does not ask again: it is made to.
        _ => {
            consumer.fetch_metadata(None, timeout)?;
            consumer.offsets_for_times(times, timeout)
        }
    }
}

/// Whether the library knows no leader that it could ask.
fn is_not_known(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(
        code,
        Some(
            Code::UnknownPartition
                | Code::UnknownTopicOrPartition
                | Code::UnknownTopic
                | Code::LeaderNotAvailable
                | Code::NotLeaderForPartition
        )
    )
}
