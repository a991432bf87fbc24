//! Reads the topics of a cluster, and takes the steps that [`diff`](super::diff::diff) decided on.
//!
//! Settings are altered by the older call of Kafka's that replaces all of a topic's settings at once (the client has no
//! other): so the present ones are read right before and sent along. Somebody who changes the same topic between these
//! two calls is overruled.

use super::client::{self, Error, Link, words};
use super::diff::{Change, Cluster, Existing, Step};
use super::manifest::Topic;
use super::watch::Watch;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigEntry, ConfigSource, NewPartitions, NewTopic, OwnedResourceSpecifier,
    ResourceSpecifier, TopicReplication, TopicResult,
};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long partitions may be without a known leader while they are counted: topics just made settle in less.
const SETTLING_MAX: Duration = Duration::from_secs(10);
const SETTLING_PAUSE: Duration = Duration::from_millis(200);

/// Reads and changes the topics of a cluster.
pub struct Admin {
    link: Link,
    client: AdminClient<Watch>,
    /// For what the other cannot ask.
    reader: Arc<BaseConsumer<Watch>>,
}

impl Admin {
    /// Opens the link.
    ///
    /// # Errors
    /// As [`Link::check`].
    pub async fn connect(link: &Link) -> Result<Self, Error> {
        let opened = link.clone();
        let (reader, _) = blocking(move || opened.open()).await?;
        let client = link.config().create_with_context(Watch::default())?;
        Ok(Self { link: link.clone(), client, reader: Arc::new(reader) })
    }

    /// The cluster, and those of the named topics that it has.
    ///
    /// # Errors
    /// When the brokers do not answer, or do not allow the question.
    pub async fn read<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<Cluster, Error> {
        let (reader, timeout) = (self.reader.clone(), self.link.request_timeout);
        let metadata = blocking(move || Ok(reader.fetch_metadata(None, timeout)?)).await?;
        let mut topics: BTreeMap<_, _> =
            names.into_iter().filter_map(|name| Some((name.to_owned(), shape(&metadata, name)?))).collect();
        let configs = self.configs(topics.keys().map(String::as_str)).await?;
        for (name, entries) in configs {
            let values = entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?)));
            if let Some(topic) = topics.get_mut(&name) {
                topic.config = values.collect();
            }
        }
        Ok(Cluster { brokers: metadata.brokers().len(), topics })
    }

    /// Takes the steps of each change, and says for each topic that had any how it went. Refused steps and those that
    /// stay are passed over.
    pub async fn apply(&self, changes: &[Change]) -> BTreeMap<String, Result<(), Error>> {
        let mut results = BTreeMap::new();
        let steps = || changes.iter().flat_map(|change| change.steps.iter().map(move |step| (change, step)));
        let new: Vec<_> = steps()
            .filter_map(|(_, step)| if let Step::Create(topic) = step { Some(new_topic(topic)) } else { None })
            .collect();
        if !new.is_empty() {
            note(
                &mut results,
                new.iter().map(|topic| topic.name),
                self.client.create_topics(&new, &self.options()).await,
            );
        }
        let wider: Vec<_> = steps()
            .filter_map(|(change, step)| match step {
                Step::Widen { to, .. } => Some(NewPartitions::new(&change.topic, *to as usize)),
                _ => None,
            })
            .collect();
        if !wider.is_empty() {
            let answer = self.client.create_partitions(&wider, &self.options()).await;
            note(&mut results, wider.iter().map(|topic| topic.topic_name), answer);
        }
        self.settle(&results).await;
        for change in changes {
            let set = change.steps.iter().filter_map(|step| match step {
                Step::Set { name, to, .. } => Some((name.clone(), to.clone())),
                _ => None,
            });
            let set: BTreeMap<_, _> = set.collect();
            // A topic that failed already keeps its first error.
            if !set.is_empty() && !results.get(&change.topic).is_some_and(Result::is_err) {
                results.insert(change.topic.clone(), self.set(&change.topic, set).await);
            }
        }
        results
    }

    /// Messages in each of these topics, as far as offsets tell: high less low watermark. Compaction and transactions
    /// leave gaps that are counted too. A topic with a partition that nobody leads cannot be counted, and is left
    /// out; where leaders are still moving after ten seconds, all are.
    ///
    /// # Errors
    /// When the leaders of the partitions do not answer.
    pub async fn messages(&self, cluster: &Cluster) -> Result<BTreeMap<String, u64>, Error> {
        let (low, high) = (self.offsets(cluster, Offset::Beginning).await?, self.offsets(cluster, Offset::End).await?);
        let counted = low.into_iter().map(|(name, low)| {
            let high = high.get(&name).copied().unwrap_or_default();
            (name, high.saturating_sub(low))
        });
        Ok(counted.collect())
    }

    /// The sum of one end's offsets, for each topic.
    async fn offsets(&self, cluster: &Cluster, end: Offset) -> Result<BTreeMap<String, u64>, Error> {
        let mut list = TopicPartitionList::new();
        for (name, topic) in cluster.topics.iter().filter(|(_, topic)| topic.leaderless == 0) {
            for partition in 0..topic.partitions {
                list.add_partition_offset(name, i32::try_from(partition).unwrap_or(i32::MAX), end)?;
            }
        }
        if list.count() == 0 {
            return Ok(BTreeMap::new());
        }
        let deadline = Instant::now() + SETTLING_MAX.min(self.link.request_timeout);
        let answer = loop {
            let (reader, list, timeout) = (self.reader.clone(), list.clone(), self.link.request_timeout);
            // Kafka's question for offsets by time takes the ends of a partition as times.
            match blocking(move || Ok(reader.offsets_for_times(list, timeout).and_then(checked))).await? {
                Err(error) if is_settling(&error) && Instant::now() < deadline => {
                    tokio::time::sleep(SETTLING_PAUSE).await;
                }
                // Who looks at a sick cluster wants to see the rest of it.
                Err(error) if is_settling(&error) => return Ok(BTreeMap::new()),
                answer => break answer?,
            }
        };
        let mut sums = BTreeMap::<String, u64>::new();
        for element in answer.elements() {
            if let Offset::Offset(offset) = element.offset() {
                *sums.entry(element.topic().to_owned()).or_default() += u64::try_from(offset).unwrap_or_default();
            }
        }
        Ok(sums)
    }

    /// Sets these of a topic's settings, and keeps those that were set before.
    async fn set(&self, topic: &str, set: BTreeMap<String, String>) -> Result<(), Error> {
        let configs = self.configs([topic]).await?;
        let mut all = BTreeMap::new();
        for entry in configs.into_values().flatten().filter(is_own) {
            let value = entry.value.ok_or_else(|| {
                Error::Kafka(format!(
                    "the setting {} cannot be read and would be lost: use kafka-configs.sh",
                    entry.name
                ))
            })?;
            all.insert(entry.name, value);
        }
        all.extend(set);
        let alter = AlterConfig::new(ResourceSpecifier::Topic(topic));
        let alter = all.iter().fold(alter, |alter, (name, value)| alter.set(name, value));
        for answer in self.client.alter_configs([&alter], &self.options()).await? {
            answer.map_err(|(_, code)| Error::Kafka(client::code_words(code)))?;
        }
        Ok(())
    }

    async fn configs<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<BTreeMap<String, Vec<ConfigEntry>>, Error> {
        let resources: Vec<_> = names.into_iter().map(ResourceSpecifier::Topic).collect();
        let mut configs = BTreeMap::new();
        if resources.is_empty() {
            return Ok(configs);
        }
        for answer in self.client.describe_configs(&resources, &self.options()).await? {
            let resource = answer.map_err(|code| Error::Kafka(client::code_words(code)))?;
            if let OwnedResourceSpecifier::Topic(name) = resource.specifier {
                configs.insert(name, resource.entries);
            }
        }
        Ok(configs)
    }

    /// Waits until the topics that were just made or widened are known and led, so that a program started next finds
    /// them: the controller's answer comes before the brokers have heard of it.
    async fn settle(&self, results: &BTreeMap<String, Result<(), Error>>) {
        let deadline = Instant::now() + SETTLING_MAX.min(self.link.request_timeout);
        let made: Vec<_> = results.iter().filter(|(_, result)| result.is_ok()).map(|(name, _)| name.clone()).collect();
        while !made.is_empty() && Instant::now() < deadline {
            let (reader, timeout) = (self.reader.clone(), self.link.request_timeout);
            // Failing to look is no failure to make: whoever reads next is told of it.
            let Ok(metadata) = blocking(move || Ok(reader.fetch_metadata(None, timeout)?)).await else { return };
            let is_led = |name: &String| shape(&metadata, name).is_some_and(|topic| topic.leaderless == 0);
            if made.iter().all(is_led) {
                return;
            }
            tokio::time::sleep(SETTLING_PAUSE).await;
        }
    }

    fn options(&self) -> AdminOptions {
        let timeout = Some(self.link.request_timeout);
        AdminOptions::new().request_timeout(timeout).operation_timeout(timeout)
    }
}

/// Whether somebody set this for the topic itself.
fn is_own(entry: &ConfigEntry) -> bool {
    match entry.source {
        ConfigSource::DynamicTopic => true,
        // Brokers of old do not tell.
        ConfigSource::Unknown => !entry.is_default && !entry.is_read_only,
        _ => false,
    }
}

/// Fails with the first partition that could not be asked.
fn checked(answer: TopicPartitionList) -> KafkaResult<TopicPartitionList> {
    answer.elements().iter().try_for_each(|element| element.error())?;
    Ok(answer)
}

/// Whether a partition was asked at a broker that does not lead it yet, or any more.
fn is_settling(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{LeaderNotAvailable, NotLeaderForPartition, UnknownTopicOrPartition};
    let settling = [LeaderNotAvailable, NotLeaderForPartition, UnknownTopicOrPartition];
    error.rdkafka_error_code().is_some_and(|code| settling.contains(&code))
}

fn shape(metadata: &Metadata, name: &str) -> Option<Existing> {
    let topic = metadata.topics().iter().find(|topic| topic.name() == name && topic.error().is_none())?;
    let partitions = topic.partitions();
    let replicas = partitions.iter().map(|partition| partition.replicas().len()).min().unwrap_or_default();
    let behind = partitions.iter().filter(|partition| partition.isr().len() < partition.replicas().len()).count();
    let leaderless = partitions.iter().filter(|partition| partition.leader() < 0).count();
    Some(Existing {
        partitions: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
        replicas: u16::try_from(replicas).unwrap_or(u16::MAX),
        under_replicated: u32::try_from(behind).unwrap_or(u32::MAX),
        leaderless: u32::try_from(leaderless).unwrap_or(u32::MAX),
        config: BTreeMap::new(),
    })
}

fn new_topic(topic: &Topic) -> NewTopic<'_> {
    let partitions = i32::try_from(topic.partitions).unwrap_or(i32::MAX);
    let new = NewTopic::new(&topic.name, partitions, TopicReplication::Fixed(i32::from(topic.replicas)));
    topic.config.iter().fold(new, |new, (name, value)| new.set(name, value))
}

/// Keeps what the cluster said about each topic, or for all of them what kept it from answering.
fn note<'a>(
    results: &mut BTreeMap<String, Result<(), Error>>,
    names: impl Iterator<Item = &'a str>,
    answer: KafkaResult<Vec<TopicResult>>,
) {
    match answer {
        Ok(answers) => results.extend(answers.into_iter().map(|answer| match answer {
            Ok(topic) => (topic, Ok(())),
            Err((topic, code)) => (topic, Err(Error::Kafka(client::code_words(code)))),
        })),
        Err(error) => results.extend(names.map(|name| (name.to_owned(), Err(Error::Kafka(words(&error)))))),
    }
}

/// The client's questions block a thread each.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::Kafka(format!("the question to Kafka was not finished: {error}"))))
}
