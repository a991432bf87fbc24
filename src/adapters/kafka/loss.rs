//! Commands that a log has not consumed and its topic does not hold any more.

use super::KafkaTopics;
use crate::domain::LogId;
use crate::ports::topic::Error;
use serde::Serialize;
use std::fmt::{self, Display};

/// What a topic holds of a log's commands, where that does not reach what the log consumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    pub topic: String,
    pub partition: u16,
    /// The next offset that the log would consume.
    pub consumed: u64,
    /// The lowest offset that the partition holds, and where the log goes on once the loss is accepted. What of it the
    /// log has decided before is known by its ids, and has no second effect.
    pub low: u64,
    /// The offset that the partition's next record gets.
    pub end: u64,
}

impl Loss {
    /// `None` where the topic has what the log consumes next, or will have it. A log that consumed nothing yet begins
    /// with whatever there is.
    pub(super) fn between(topic: &str, partition: u16, consumed: u64, (low, end): (u64, u64)) -> Option<Self> {
        let lost = consumed > 0 && (consumed < low || consumed > end);
        lost.then(|| Self { topic: topic.to_owned(), partition, consumed, low, end })
    }
}

impl Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, consumed, low, end } = self;
        if consumed < low {
            let lost = low - consumed;
            write!(
                f,
                "{topic} partition {partition} begins at offset {low}, and its log has consumed up to {consumed} only: \
                 {lost} commands between were deleted"
            )?;
        } else {
            write!(
                f,
                "{topic} partition {partition} ends at offset {end}, and its log has consumed up to {consumed}: the topic \
                 was made anew, or lost acknowledged commands"
            )?;
        }
        f.write_str("; restore them, or go on without with `agentverse topics accept-loss`")
    }
}

impl KafkaTopics {
    /// What is lost to a log that has consumed its topic up to offset `consumed`.
    ///
    /// # Errors
    /// When the brokers do not answer, or do not know the topic.
    pub async fn loss(&self, log: LogId, consumed: u64) -> Result<Option<Loss>, Error> {
        self.shared.checked(log)?;
        let topic = self.shared.names.commands(log);
        let bounds = self.shared.fetcher.bounds(topic, log.partition).await?;
        Ok(Loss::between(topic, log.partition, consumed, bounds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_outside_the_topic_is_lost() {
        for (consumed, expected) in [
            (0, None),
            (4, Some("2 commands between were deleted")),
            (6, None),
            (9, None),
            (10, None),
            (11, Some("up to 11: the topic was made anew")),
        ] {
            let loss = Loss::between("t", 3, consumed, (6, 10)).map(|loss| loss.to_string());
            assert_eq!(loss.is_some(), expected.is_some(), "{consumed}: {loss:?}");
            assert!(loss.zip(expected).is_none_or(|(loss, part)| loss.contains(part) && loss.contains("accept-loss")));
        }
    }
}
