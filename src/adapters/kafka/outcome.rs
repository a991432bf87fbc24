//! Port `outcome` on Kafka: one small record per command, and a reader that hands each to this process's callers.

use super::headers::{AVRO, CONTENT_TYPE, Writer};
use super::partition::{Events, Raw, reading, refused, unavailable};
use super::produce::Outgoing;
use super::trouble;
use super::{Config, KafkaTopics, Names, Shared};
use crate::adapters::registry::Framing;
use crate::domain::envelope::SYSTEM_SOURCE;
use crate::domain::schemas::outcome_codec;
use crate::domain::wire::WireError;
use crate::domain::{Aggregate, LogId, Rejection, StreamId, TenantId};
use crate::ports::outcome::{Outcome, OutcomeKind, Outcomes, Says, Word};
use crate::ports::topic::Error;
use async_trait::async_trait;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// Between a failure and the next try.
const PAUSE: Duration = Duration::from_millis(200);

/// As `schemas/outcome/CommandOutcome.avsc` has it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct CommandOutcome {
    command_id: Uuid,
    tenant_id: Uuid,
    aggregate: String,
    stream_id: Uuid,
    digest: i64,
    kind: Kind,
    version: Option<i64>,
    reason: Option<Rejection>,
    log_partition: i32,
    position: i64,
}

/// In the order of the schema's symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Accepted,
    Applied,
    Refused,
    DeadLettered,
}

impl CommandOutcome {
    fn of(log: LogId, word: &Word<'_>) -> Self {
        let outcome = word.says.outcome(log);
        Self {
            command_id: word.command_id,
            tenant_id: word.stream.tenant.0,
            aggregate: word.stream.aggregate.name().to_owned(),
            stream_id: word.stream.id,
            digest: word.digest as i64,
            kind: match outcome.kind {
                OutcomeKind::Accepted => Kind::Accepted,
                OutcomeKind::Applied => Kind::Applied,
                OutcomeKind::Refused => Kind::Refused,
                OutcomeKind::DeadLettered => Kind::DeadLettered,
            },
            version: outcome.version.map(|version| version as i64),
            reason: outcome.reason,
            log_partition: i32::from(log.partition),
            position: outcome.position as i64,
        }
    }

    /// The word, and the log that says it; `None` where this program does not know the kind of stream.
    fn word(self) -> Option<(LogId, Word<'static>)> {
        let aggregate = Aggregate::from_name(&self.aggregate)?;
        let log = LogId { aggregate, partition: u16::try_from(self.log_partition).ok()? };
        let outcome = Outcome {
            kind: match self.kind {
                Kind::Accepted => OutcomeKind::Accepted,
                Kind::Applied => OutcomeKind::Applied,
                Kind::Refused => OutcomeKind::Refused,
                Kind::DeadLettered => OutcomeKind::DeadLettered,
            },
            version: self.version.map(|version| version as u64),
            reason: self.reason,
            log,
            position: self.position as u64,
        };
        let stream = StreamId::new(TenantId(self.tenant_id), aggregate, self.stream_id);
        let says = Says::Outcome(outcome);
        Some((log, Word { stream, command_id: self.command_id, digest: self.digest as u64, says }))
    }
}

/// Tells outcomes on their topic.
pub struct KafkaOutcomes {
    shared: Arc<Shared>,
}

impl KafkaOutcomes {
    /// Sends with the producer that these topics have.
    pub fn new(topics: &KafkaTopics) -> Self {
        Self { shared: topics.shared.clone() }
    }

    fn encode(&self, log: LogId, word: &Word<'_>) -> Result<Outgoing, Error> {
        let failed = |error: String| Error::Unavailable(error);
        let head = self.shared.framing.head(outcome_codec()).map_err(|error| failed(error.to_string()))?;
        let mut value = Vec::with_capacity(192);
        value.extend_from_slice(head.as_slice());
        outcome_codec()
            .write(&CommandOutcome::of(log, word), &mut value)
            .map_err(|error: WireError| failed(error.to_string()))?;
        let mut headers = Writer::new(10);
        headers.text("ce_specversion", "1.0");
        // Told again, it is the same event: of one content of one command there is one outcome.
        let id = Uuid::new_v5(&word.command_id, &word.digest.to_be_bytes());
        headers.text("ce_id", &id.to_string());
        headers.text("ce_source", SYSTEM_SOURCE);
        headers.text("ce_type", "outcome.CommandOutcome");
        headers.text("ce_subject", &word.stream.id.to_string());
        headers.text("ce_tenantid", &word.stream.tenant.to_string());
        headers.text("ce_causationid", &word.command_id.to_string());
        headers.text(CONTENT_TYPE, AVRO);
        // What a shell script wants to know, without reading Avro.
        let outcome = word.says.outcome(log);
        headers.text("ce_outcome", outcome.kind.name());
        headers.optional("ce_code", outcome.reason.as_ref().map(|reason| reason.code.as_str()));
        let (headers, headers_bytes) = headers.finish();
        Ok(Outgoing {
            topic: self.shared.names.outcomes(),
            partition: log.partition % self.shared.config.shared_partitions,
            key: word.command_id.to_string(),
            value,
            headers,
            headers_bytes,
            timestamp: None,
        })
    }
}

#[async_trait]
impl Outcomes for KafkaOutcomes {
    async fn tell(&self, log: LogId, words: Vec<Word<'_>>) -> Result<(), Error> {
        let outgoing = words.iter().map(|word| self.encode(log, word)).collect::<Result<_, _>>()?;
        self.shared.producer.send(outgoing).await
    }
}

/// Hears every outcome of the fleet from now on, as long as it lives.
pub struct OutcomeReader {
    task: JoinHandle<()>,
}

impl OutcomeReader {
    /// Starts at the end of the topic: whoever produces a command after this returns will hear of it. `hear` is called on
    /// the reader's task and must not block.
    ///
    /// # Errors
    /// When the brokers do not answer in time.
    pub async fn start(
        config: &Config,
        framing: Arc<Framing>,
        hear: impl Fn(LogId, Word<'static>) + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let topic = Names::new(&config.prefix).outcomes();
        let consumer: StreamConsumer<Events> = reading(config)
            // What this process waits for is at the end: whatever became of the offset, go on from there.
            .set("auto.offset.reset", "latest")
            .create_with_context(Events)
            .map_err(refused)?;
        let (partitions, timeout) = (i32::from(config.shared_partitions), config.link.request_timeout);
        let assigned = tokio::task::spawn_blocking(move || {
            let mut list = TopicPartitionList::new();
            for partition in 0..partitions {
                let (_, high) = consumer.fetch_watermarks(&topic, partition, timeout)?;
                list.add_partition_offset(&topic, partition, Offset::Offset(high))?;
            }
            consumer.assign(&list)?;
            Ok(consumer)
        });
        let consumer = match assigned.await {
            Ok(Ok(consumer)) => consumer,
            Ok(Err(error)) => return Err(unavailable("the outcomes", &error)),
            Err(error) => return Err(Error::Unavailable(error.to_string())),
        };
        Ok(Self { task: tokio::spawn(listen(consumer, framing, hear)) })
    }
}

impl Drop for OutcomeReader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(consumer: StreamConsumer<Events>, framing: Arc<Framing>, hear: impl Fn(LogId, Word<'static>)) {
    loop {
        let raw = match consumer.recv().await {
            Ok(message) => Raw::of(&message),
            Err(error) => {
                let error: KafkaError = error;
                trouble::report("the reader of outcomes", &error, "");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        match read(&raw, &framing).await {
            Ok(Some((log, word))) => hear(log, word),
            Ok(None) => tracing::debug!(offset = raw.offset, "an outcome of a kind of stream that is not known"),
            Err(cause) => tracing::warn!(offset = raw.offset, cause, "an outcome cannot be read; callers ask again"),
        }
    }
}

async fn read(raw: &Raw, framing: &Framing) -> Result<Option<(LogId, Word<'static>)>, String> {
    let framed = loop {
        match framing.open(&raw.value).await {
            Ok(framed) => break framed,
            Err(error) if error.retryable() => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error.to_string()),
        }
    };
    let outcome: CommandOutcome =
        outcome_codec().read(framed.fingerprint, &framed.payload).map_err(|error| error.to_string())?;
    Ok(outcome.word())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_outcome_comes_back_as_it_was_told() {
        let log = LogId { aggregate: Aggregate::Coupling, partition: 31 };
        let stream = StreamId::new(TenantId(Uuid::from_u128(1)), Aggregate::Coupling, Uuid::from_u128(2));
        let reason = Rejection::new("stale", "send it again").with("version", 4);
        for (kind, version, reason) in [
            (OutcomeKind::Accepted, None, None),
            (OutcomeKind::Applied, Some(1), None),
            (OutcomeKind::Refused, Some(0), Some(reason.clone())),
            (OutcomeKind::DeadLettered, None, Some(Rejection { details: Default::default(), ..reason })),
        ] {
            let outcome = Outcome { kind, version, reason, log, position: 1 << 40 };
            let says = Says::Outcome(outcome.clone());
            let word = Word { stream, command_id: Uuid::from_u128(3), digest: u64::MAX, says };
            let mut bytes = Vec::new();
            outcome_codec().write(&CommandOutcome::of(log, &word), &mut bytes).expect("it fits its schema");
            let read: CommandOutcome = outcome_codec().read(outcome_codec().fingerprint, &bytes).expect("it is read");
            let (from, back) = read.word().expect("a known kind of stream");
            assert_eq!((from, back.stream, back.command_id, back.digest), (log, stream, word.command_id, u64::MAX));
            assert_eq!(back.says.outcome(log), outcome);
        }
    }

    #[test]
    fn its_bytes_stay_as_they_were_released() {
        let outcome = CommandOutcome {
            command_id: Uuid::from_u128(1),
            tenant_id: Uuid::from_u128(2),
            aggregate: "coupling".to_owned(),
            stream_id: Uuid::from_u128(3),
            digest: -4,
            kind: Kind::Refused,
            version: Some(5),
            reason: Some(Rejection::new("stale", "send it again").with("version", 4)),
            log_partition: 31,
            position: 1 << 40,
        };
        crate::domain::golden::check_record("outcome", outcome_codec(), &outcome);
    }
}
