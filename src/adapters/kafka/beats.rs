//! Port `beats` on Kafka: a record without a value per heartbeat, in the partition of its agent's log.
//!
//! What a keeper settled is committed as an offset of a group that has no members: a name under which Kafka keeps a
//! number per partition. Whose turn it is to keep leases, the processors' group says.

use super::command::{FORWARDED, stream_of_key};
use super::headers::Writer;
use super::partition::{Events, Fault, Partition, Raw, reading, refused, unavailable};
use super::produce::Outgoing;
use super::together::Together;
use super::{KafkaTopics, Shared, unacknowledged};
use crate::domain::{Aggregate, LogId, StreamId, TenantId};
use crate::metrics::handles;
use crate::ports::beats::{Beats, Bounds, Page};
use crate::ports::topic::Error;
use async_trait::async_trait;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use uuid::Uuid;

const TENANT: &str = "ce_tenantid";

/// Heartbeats on Kafka.
pub struct KafkaBeats {
    shared: Arc<Shared>,
    topic: String,
    /// By the partition of the log.
    readers: Vec<Mutex<Option<Reader>>>,
    settled: Together<u16, Option<u64>>,
    settle: Together<(u16, u64), ()>,
}

/// A partition that is being read, and where it is.
struct Reader {
    partition: Partition,
    next: u64,
}

impl KafkaBeats {
    /// Over the clients of `topics`.
    ///
    /// # Errors
    /// When the client library refuses the configuration.
    pub fn new(topics: &KafkaTopics) -> Result<Self, Error> {
        let shared = topics.shared.clone();
        let mut client = reading(&shared.config);
        client.set("group.id", format!("{}agentverse.lease-keepers", shared.config.prefix));
        let marks: Arc<BaseConsumer<Events>> = Arc::new(client.create_with_context(Events).map_err(refused)?);
        let readers = (0..shared.config.partitions.of(Aggregate::Agent)).map(|_| Mutex::default()).collect();
        let (topic, timeout) = (shared.names.heartbeats(), shared.config.link.request_timeout);
        let settled = Together::new({
            let (marks, topic) = (marks.clone(), topic.clone());
            move |logs: &[u16]| settled(&marks, &topic, logs, timeout).map_err(|error| unavailable(&topic, &error))
        });
        let settle = Together::new({
            let topic = topic.clone();
            move |places: &[(u16, u64)]| settle(&marks, &topic, places).map_err(|error| unavailable(&topic, &error))
        });
        Ok(Self { topic, readers, settled, settle, shared })
    }

    fn outgoing(&self, agent: StreamId, from: Option<&str>) -> Outgoing {
        let mut headers = Writer::new(2);
        headers.text(TENANT, &agent.tenant.to_string());
        headers.optional(FORWARDED, from);
        let (headers, headers_bytes) = headers.finish();
        Outgoing {
            topic: self.topic.clone(),
            partition: agent.log(self.shared.config.partitions).partition,
            key: agent.id.to_string(),
            value: Vec::new(),
            headers,
            headers_bytes,
            timestamp: None,
        }
    }

    /// The heartbeats among these records. One that came to another partition than its agent's is sent on, once.
    async fn take(&self, log: LogId, records: &[Raw]) -> Result<Vec<StreamId>, Error> {
        let (mut agents, mut astray) = (Vec::with_capacity(records.len()), Vec::new());
        for raw in records {
            let Some(agent) = agent_of(raw) else {
                tracing::debug!(%log, offset = raw.offset, "a record that is no heartbeat: it needs an agent's id as its key and a tenant's as ce_tenantid");
                continue;
            };
            if agent.log(self.shared.config.partitions) == log {
                agents.push(agent);
            } else if raw.headers.get(FORWARDED).is_none() {
                astray.push(self.outgoing(agent, Some(&format!("{}/{}", log.partition, raw.offset))));
            }
        }
        let forwarded = astray.len() as u64;
        self.shared.producer.send(astray).await?;
        handles().receive_forwarded.increment(forwarded);
        Ok(agents)
    }
}

fn agent_of(raw: &Raw) -> Option<StreamId> {
    let id = Uuid::try_parse(stream_of_key(raw)?).ok()?;
    let tenant = Uuid::try_parse(raw.headers.text(TENANT)?).ok()?;
    Some(StreamId::new(TenantId(tenant), Aggregate::Agent, id))
}

/// What the group has committed of these partitions.
fn settled(
    marks: &BaseConsumer<Events>,
    topic: &str,
    logs: &[u16],
    timeout: Duration,
) -> Result<Vec<Option<u64>>, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(logs.len());
    for partition in logs {
        list.add_partition_offset(topic, i32::from(*partition), Offset::Invalid)?;
    }
    let committed = marks.committed_offsets(list, timeout)?;
    let of = |partition: &u16| match committed.find_partition(topic, i32::from(*partition))?.offset() {
        Offset::Offset(offset) => u64::try_from(offset).ok(),
        _ => None,
    };
    Ok(logs.iter().map(of).collect())
}

fn settle(marks: &BaseConsumer<Events>, topic: &str, places: &[(u16, u64)]) -> Result<Vec<()>, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(places.len());
    for (partition, place) in places {
        list.add_partition_offset(topic, i32::from(*partition), Offset::Offset(*place as i64))?;
    }
    marks.commit(&list, CommitMode::Sync)?;
    Ok(vec![(); places.len()])
}

#[async_trait]
impl Beats for KafkaBeats {
    async fn send(&self, agents: Vec<StreamId>) -> Result<(), Error> {
        let outgoing = agents.into_iter().map(|agent| self.outgoing(agent, None)).collect();
        let timeout = self.shared.config.link.request_timeout;
        let sent = tokio::time::timeout(timeout, self.shared.producer.send(outgoing)).await;
        sent.unwrap_or_else(|_| Err(unacknowledged(timeout)))
    }

    async fn read(&self, log: LogId, from: u64, beats_max: usize) -> Result<Page, Error> {
        let mut slot = self.readers[usize::from(log.partition)].lock().await;
        // Left where it is while it waits: a caller that gives up and comes again finds it open.
        let reader = match &mut *slot {
            Some(reader) if reader.next == from => reader,
            stale => {
                *stale = None;
                stale.insert(Reader {
                    partition: self.shared.fetcher.open(&self.topic, log.partition, from)?,
                    next: from,
                })
            }
        };
        let fault = match reader.partition.next(beats_max).await {
            Ok(records) => {
                let next = records.last().map_or(from, |last| last.offset + 1);
                reader.next = next;
                return Ok(Page { agents: self.take(log, &records).await?, next });
            }
            Err(fault) => fault,
        };
        *slot = None;
        if let Fault::Other(cause) = fault {
            return Err(Error::Unavailable(cause));
        }
        let Bounds { low, end } = self.bounds(log).await?;
        // Not kept any more; or the topic was made anew.
        let next = from.clamp(low, end);
        if next == from {
            let cause = format!("{}/{}: offset {from} is not there yet", self.topic, log.partition);
            return Err(Error::Unavailable(cause));
        }
        Ok(Page { agents: Vec::new(), next })
    }

    async fn bounds(&self, log: LogId) -> Result<Bounds, Error> {
        let (low, end) = self.shared.fetcher.bounds(&self.topic, log.partition).await?;
        Ok(Bounds { low, end })
    }

    async fn settled(&self, log: LogId) -> Result<Option<u64>, Error> {
        self.settled.ask(log.partition).await
    }

    async fn settle(&self, log: LogId, place: u64) -> Result<(), Error> {
        self.settle.ask((log.partition, place)).await
    }
}
