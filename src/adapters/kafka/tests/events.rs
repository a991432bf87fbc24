//! Events, outcomes and dead letters.

use super::{Ground, NOT_SO_SOON, PARTITIONS, SOON, admin, poll};
use crate::adapters::kafka::{KafkaOutcomes, KafkaTopics, OutcomeReader};
use crate::adapters::registry::Framing;
use crate::domain::record::{Record, RecordKind};
use crate::domain::{LogId, Rejection};
use crate::ports::conformance::{Author, Rig, assert_positions, event, stream};
use crate::ports::journal::Recorded;
use crate::ports::outcome::{Outcome, OutcomeKind, Outcomes, Says, Word};
use crate::ports::topic::{Buried, DeadLetter, Delivery, Place, Topics};
use rdkafka::admin::AdminOptions;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::sync::Arc;
use tokio::sync::mpsc;
use uuid::Uuid;

async fn follow(topics: &KafkaTopics, log: LogId, after: u64, records_max: usize) -> Vec<Recorded> {
    tokio::time::timeout(SOON, topics.follow(log, after, records_max)).await.expect("in time").expect("followed")
}

/// Follows until `last` is seen.
async fn follow_to(topics: &KafkaTopics, log: LogId, mut after: u64, last: u64) -> Vec<Recorded> {
    let mut found = Vec::new();
    while after < last {
        let next = follow(topics, log, after, 3).await;
        after = next.last().expect("at least one").record.position;
        found.extend(next);
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_comes_back_as_the_log_has_it() {
    let Some(ground) = Ground::new().await else { return };
    let topics = ground.topics();
    let log = stream(1).log(PARTITIONS);
    let mut record = event(stream(1), 1, 9, 0);
    let mut envelope = (*record.envelope).clone();
    envelope.actor = Some("ada".into());
    envelope.causation = Some(String::new());
    envelope.expected_version = Some(8);
    envelope.hop = 3;
    record = Record { envelope: Arc::new(envelope), index: 2, payload: vec![1, 0, 2], last: false, ..record };
    let recorded = Recorded { record, hash: [7; 32], decided: None };
    topics.publish(log, vec![recorded.clone()].into()).await.unwrap();
    let found = follow(&topics, log, 0, 10).await;
    assert_eq!((&found[0].record, found[0].hash), (&recorded.record, recorded.hash));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_log_is_shown_though_its_topic_tells_nothing() {
    let Some(ground) = Ground::new().await else { return };
    let (ports, topics) = (ground.ports(), ground.topics());
    let log = stream(1).log(PARTITIONS);
    let mut author = Author::claim(&ports, log).await;
    let records = author.write(&ports, &[stream(1); 5]).await;
    topics.publish(log, records[..2].to_vec().into()).await.unwrap();
    // As where the topic was made anew after the others were published.
    assert_positions(&follow_to(&topics, log, 0, 5).await, 1..=5);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_between_two_events_is_read_from_the_log() {
    let Some(ground) = Ground::new().await else { return };
    let (ports, topics) = (ground.ports(), ground.topics());
    let log = stream(1).log(PARTITIONS);
    let mut author = Author::claim(&ports, log).await;
    let records = author.write(&ports, &[stream(1); 9]).await;
    topics.publish(log, records[..2].to_vec().into()).await.unwrap();
    topics.publish(log, records[6..].to_vec().into()).await.unwrap();
    assert_positions(&follow_to(&topics, log, 0, 9).await, 1..=9);
    let nothing = tokio::time::timeout(NOT_SO_SOON, topics.follow(log, 9, 10)).await;
    assert!(nothing.is_err(), "{nothing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_not_published_and_are_no_gap() {
    let Some(ground) = Ground::new().await else { return };
    let topics = ground.topics();
    let log = stream(1).log(PARTITIONS);
    let recorded = |position, kind| {
        let record = Record { kind, ..event(stream(1), position, 1, 0) };
        Recorded { record, hash: [0; 32], decided: None }
    };
    let (event, refusal) = (RecordKind::Event, RecordKind::Refusal);
    topics.publish(log, vec![recorded(1, event), recorded(2, refusal)].into()).await.unwrap();
    topics.publish(log, vec![recorded(3, refusal)].into()).await.unwrap();
    topics.publish(log, vec![recorded(4, refusal), recorded(5, event)].into()).await.unwrap();
    // The log of this test is empty: had anything been read from it, following would fail.
    let found: Vec<_> = follow_to(&topics, log, 0, 5).await.iter().map(|found| found.record.position).collect();
    assert_eq!(found, [1, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_derived_before_is_read_from_the_log_and_what_comes_later_from_the_topic() {
    let Some(ground) = Ground::new().await else { return };
    let (ports, topics) = (ground.ports(), ground.topics());
    let log = stream(1).log(PARTITIONS);
    let mut author = Author::claim(&ports, log).await;
    // Derived, though this topic never had them: as after retention.
    author.write(&ports, &[stream(1); 4]).await;
    author.state.derived_to = 4;
    let later = author.write(&ports, &[stream(1); 2]).await;
    assert_positions(&follow_to(&topics, log, 0, 4).await, 1..=4);
    let nothing = tokio::time::timeout(NOT_SO_SOON, topics.follow(log, 4, 10)).await;
    assert!(nothing.is_err(), "what is not published is not shown: {nothing:?}");
    topics.publish(log, later.into()).await.unwrap();
    assert_positions(&follow_to(&topics, log, 4, 6).await, 5..=6);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_reaches_every_reader_as_it_was_told() {
    let Some(ground) = Ground::new().await else { return };
    let outcomes = KafkaOutcomes::new(&ground.topics());
    let log = stream(1).log(PARTITIONS);
    let reason = Rejection::new("stale", "send it again").with("version", 4);
    let told = Outcome {
        kind: OutcomeKind::Refused,
        version: Some(4),
        reason: Some(reason),
        log,
        position: u64::from(u32::MAX),
    };
    let word = |digest, says| Word { stream: stream(1), command_id: Uuid::from_u128(5), digest, says };
    outcomes.tell(log, vec![word(1, Says::Outcome(told.clone()))]).await.unwrap();
    let (heard, mut inbox) = mpsc::unbounded_channel();
    let framing = Arc::new(Framing::single_object());
    let reader = OutcomeReader::start(&ground.config, framing, move |log, word| {
        let says = word.says.outcome(log);
        heard.send((log, word.stream, word.command_id, word.digest, says)).expect("heard");
    });
    let reader = reader.await.expect("it starts");
    let record = event(stream(1), 6, 2, 0);
    outcomes
        .tell(log, vec![word(u64::MAX, Says::Outcome(told.clone())), word(3, Says::Record(&record))])
        .await
        .unwrap();
    let mut next = async || tokio::time::timeout(SOON, inbox.recv()).await.expect("in time").expect("a word");
    assert_eq!(next().await, (log, stream(1), Uuid::from_u128(5), u64::MAX, told), "and not the one from before");
    assert_eq!(next().await, (log, stream(1), Uuid::from_u128(5), 3, Outcome::of(log, &record)));
    drop(reader);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_of_several_partitions_have_numbers_that_stay() {
    let Some(ground) = Ground::new().await else { return };
    let topics = ground.topics();
    let letter = |number: u64| DeadLetter {
        topic: "agentverse.tenant.commands.v1".into(),
        partition: (number % 3) as u16 + 4,
        offset: number,
        command_id: Some(Uuid::from_u128(number.into())),
        stream: None,
        code: "poisonous".into(),
        cause: "a test".into(),
        buried_at: 1_700_000_000_000_000 + number as i64 * 1000,
        attempts: 1,
        headers: vec![("ce_id".into(), "x".into()), ("ce_id".into(), "y".into())],
        bytes: vec![0, 159],
    };
    assert_eq!(topics.dead_letters(0, 10).await.unwrap(), []);
    for number in 0..7 {
        topics.bury(letter(number)).await.unwrap();
    }
    // Of four partitions the first three are written to in turn: number 3 is nobody's.
    let numbers = [0, 1, 2, 4, 5, 6, 8];
    let expected: Vec<_> =
        numbers.into_iter().zip((0..7).map(|number| Buried { letter: letter(number), redriven: 0 })).collect();
    assert_eq!(topics.dead_letters(0, 10).await.unwrap(), expected);
    assert_eq!(topics.dead_letters(2, 3).await.unwrap(), expected[2..5]);
    assert_eq!(topics.dead_letters(3, 3).await.unwrap(), expected[3..6]);
    assert_eq!(topics.dead_letters(9, 3).await.unwrap(), []);
    let all = [0, 1, 2].map(|partition| (partition, 1));
    delete_before(&ground, &all).await;
    assert_eq!(topics.dead_letters(0, 10).await.unwrap(), expected[3..], "retention took the first of each");
    assert_eq!(topics.dead_letter(5).await.unwrap().as_ref(), Some(&expected[4].1));
    assert_eq!(topics.dead_letter(1).await.unwrap(), None);
}

/// Deletes the dead letters of partitions before these offsets, as retention does.
async fn delete_before(ground: &Ground, offsets: &[(i32, i64)]) {
    let topic = format!("{}agentverse.dead-letters.v1", ground.config.prefix);
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(&topic, *partition, Offset::Offset(*offset)).unwrap();
    }
    admin(&ground.config).delete_records(&list, &AdminOptions::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_named_its_stream_by_its_key_still_does_when_it_is_sent_again() {
    let Some(ground) = Ground::new().await else { return };
    let topics = ground.topics();
    let (log, id) = (stream(1).log(PARTITIONS), stream(1).id.to_string());
    ground.foreign(log.partition, Some(&id), b"{", &[("ce_type", "tenant.ProvisionTenant")]).await;
    let died = poll(&topics, log, 0, 10).await.remove(0);
    let place = Place { log, offset: died.offset, redriven: died.redriven };
    let letter = DeadLetter::of_unreadable(place, died.command.unwrap_err().unreadable().unwrap(), 5);
    topics.bury(letter).await.unwrap();
    let number = topics.dead_letters(0, 10).await.unwrap()[0].0;
    topics.redrive(number, false).await.unwrap();
    topics.redrive(number, true).await.unwrap();
    let again: Vec<_> = poll_to(&topics, log, 3).await.split_off(1);
    let headers: Vec<_> = again
        .into_iter()
        .map(|delivery| (delivery.redriven, delivery.command.unwrap_err().unreadable().unwrap().headers.clone()))
        .collect();
    assert_eq!(headers[0], headers[1], "twice is the same command");
    let (redriven, headers) = &headers[0];
    let header = |name: &str| headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
    assert_eq!((*redriven, header("ce_subject"), header("ce_redriven")), (1, Some(id.as_str()), Some("1")));
    assert!(Uuid::try_parse(header("ce_id").unwrap()).is_ok());
}

/// Polls until there are so many.
async fn poll_to(topics: &KafkaTopics, log: LogId, count: usize) -> Vec<Delivery> {
    let mut found = Vec::new();
    while found.len() < count {
        found.extend(poll(topics, log, found.len() as u64, 10).await);
    }
    found
}
