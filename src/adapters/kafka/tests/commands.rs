//! Commands in, as Kafka can bring them.

use super::{Ground, MESSAGE_BYTES_MAX, NOT_SO_SOON, PARTITIONS, SOON, admin, offsets, poll};
use crate::domain::tenant::{self, ProvisionTenant};
use crate::domain::{Envelope, LogId};
use crate::ports::conformance::{command, stream};
use crate::ports::topic::{Accepted, Aside, Error, Held, Lane, Topics};
use rdkafka::admin::AdminOptions;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::sync::Arc;
use uuid::Uuid;

fn log(number: u128) -> LogId {
    stream(number).log(PARTITIONS)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_consumed_in_part_is_given_again() {
    let Some(ground) = Ground::new().await else { return };
    let topics = ground.topics();
    topics.produce((0..10).map(|step| command(stream(1), step)).collect(), Lane::Outside).await.unwrap();
    assert_eq!(offsets(&poll(&topics, log(1), 0, 6).await), [0, 1, 2, 3, 4, 5]);
    assert_eq!(offsets(&poll(&topics, log(1), 2, 3).await), [2, 3, 4], "from memory");
    assert_eq!(offsets(&poll(&topics, log(1), 5, 100).await).first(), Some(&5));
    let rest = offsets(&poll(&topics, log(1), 9, 100).await);
    assert_eq!(rest, [9]);
    for _ in 0..5 {
        assert_eq!(offsets(&poll(&topics, log(1), 0, 4).await), [0, 1, 2, 3], "another claim begins lower down");
        assert_eq!(offsets(&poll(&topics, log(1), 7, 100).await), [7, 8, 9], "and another jumps ahead");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_gives_up_loses_nothing() {
    let Some(ground) = Ground::new().await else { return };
    let topics = ground.topics();
    for round in 0..20u64 {
        let waiting =
            tokio::time::timeout(std::time::Duration::from_millis(round), topics.poll(log(1), round, 10)).await;
        if let Ok(given) = waiting {
            panic!("nothing is there yet: {given:?}");
        }
        topics.produce(vec![command(stream(1), u128::from(round))], Lane::Outside).await.unwrap();
        assert_eq!(offsets(&poll(&topics, log(1), round, 10).await), [round]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_without_id_on_a_wrong_partition_is_sent_on_once_with_the_id_that_it_has() {
    let Some(ground) = Ground::new().await else { return };
    let topics = ground.topics();
    let (home, id) = (log(1), stream(1).id.to_string());
    let wrong = LogId { partition: (home.partition + 1) % PARTITIONS, ..home };
    let headers = [("ce_type", "tenant.ProvisionTenant"), ("ce_source", "script"), ("ce_tenantid", id.as_str())];
    let value = br#"{"name":"Acme","region":"","tier":"onyx"}"#;
    ground.foreign(wrong.partition, Some(&id), value, &headers).await;
    // Nothing to decide where it came; what is behind it is.
    let behind = (2..).find(|number| log(*number) == wrong).unwrap();
    topics.produce(vec![command(stream(behind), 5)], Lane::System).await.unwrap();
    let mut came = poll(&topics, wrong, 0, 10).await;
    if came.len() < 2 {
        came.extend(poll(&topics, wrong, 1, 10).await);
    }
    assert_eq!(offsets(&came), [0, 1]);
    assert!(matches!(came[0].command, Err(Aside::SentOn)) && came[1].command.is_ok(), "{came:?}");
    let found = poll(&topics, home, 0, 10).await;
    let accepted = found[0].command.as_ref().expect("readable");
    assert_eq!((accepted.envelope.stream, accepted.envelope.source.as_str()), (stream(1), "script"));
    // Read again after a crash, it is sent on again, as the same command.
    poll(&topics, wrong, 1, 10).await;
    let mut ground = ground;
    crate::ports::conformance::Rig::crash(&mut ground);
    let topics = ground.topics();
    poll(&topics, wrong, 0, 10).await;
    let again = poll(&topics, home, 1, 10).await;
    assert_eq!(again[0].command.as_ref().expect("readable").envelope, accepted.envelope);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_sent_on_before_is_not_sent_on_again() {
    let Some(ground) = Ground::new().await else { return };
    let topics = ground.topics();
    let (home, id) = (log(1), stream(1).id.to_string());
    let wrong = LogId { partition: (home.partition + 1) % PARTITIONS, ..home };
    let headers = [
        ("ce_type", "tenant.ProvisionTenant"),
        ("ce_tenantid", id.as_str()),
        ("ce_id", "1"),
        ("ce_forwardedfrom", "0/0"),
    ];
    ground.foreign(wrong.partition, Some(&id), br#"{"name":"Acme"}"#, &headers).await;
    let found = poll(&topics, wrong, 0, 10).await;
    let unreadable = found[0].command.as_ref().expect_err("it belongs elsewhere").unreadable().expect("a letter");
    assert!(unreadable.cause.contains("sent on before"), "{}", unreadable.cause);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_keeps_its_bytes_and_headers_and_blocks_nothing() {
    let Some(ground) = Ground::new().await else { return };
    let topics = ground.topics();
    ground.foreign(log(1).partition, None, &[0, 159, 146, 150], &[("ce_type", "tenant.Nonsense"), ("x", "y")]).await;
    topics.produce(vec![command(stream(1), 1)], Lane::Outside).await.unwrap();
    let mut found = poll(&topics, log(1), 0, 10).await;
    if found.len() < 2 {
        found.extend(poll(&topics, log(1), 1, 10).await);
    }
    let unreadable = found[0].command.as_ref().expect_err("no command").unreadable().expect("a letter");
    assert_eq!(unreadable.bytes, [0, 159, 146, 150]);
    assert_eq!(unreadable.headers, [("ce_type", "tenant.Nonsense"), ("x", "y")].map(|(a, b)| (a.into(), b.into())));
    assert!(found[1].command.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_took_is_an_error_that_says_so_and_never_a_skip() {
    let Some(ground) = Ground::new().await else { return };
    let topics = ground.topics();
    topics.produce((0..5).map(|step| command(stream(1), step)).collect(), Lane::Outside).await.unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(ground.commands(), i32::from(log(1).partition), Offset::Offset(3)).unwrap();
    admin(&ground.config).delete_records(&list, &AdminOptions::new()).await.expect("deleted");
    let polled = tokio::time::timeout(SOON, topics.poll(log(1), 1, 10)).await.expect("in time");
    match polled {
        Err(Error::Unavailable(words)) => assert!(words.contains("begins at offset 3"), "{words}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(offsets(&poll(&topics, log(1), 3, 10).await), [3, 4]);
    assert_eq!(
        offsets(&poll(&topics, log(1), 0, 10).await),
        [3, 4],
        "a log that consumed nothing begins at the earliest"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_before_an_offset_is_told_as_far_as_it_is_there() {
    let Some(ground) = Ground::new().await else { return };
    let topics = ground.topics();
    ground.foreign(log(1).partition, None, b"junk", &[]).await;
    let sent: Vec<_> = (0..4).map(|step| command(stream(1), step)).collect();
    topics.produce(sent.clone(), Lane::Outside).await.unwrap();
    let ids = |range: std::ops::Range<usize>| -> Vec<_> {
        sent[range].iter().map(|sent| (sent.envelope.stream, sent.envelope.command_id)).collect()
    };
    let held = |from, records_max| topics.held(log(1), from, records_max);
    assert_eq!(held(4, 2).await.unwrap(), Held { low: 0, end: 5, before: ids(1..3) });
    assert_eq!(held(9, 6).await.unwrap(), Held { low: 0, end: 5, before: ids(2..4) }, "beyond its end");
    assert_eq!(held(2, 8).await.unwrap().before, ids(0..1), "what cannot be read is left out");
    assert_eq!(held(0, 8).await.unwrap().before, []);
    assert_eq!(offsets(&poll(&topics, log(1), 3, 10).await), [3, 4], "whoever polls afterwards gets what he asked for");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(ground.commands(), i32::from(log(1).partition), Offset::Offset(3)).unwrap();
    admin(&ground.config).delete_records(&list, &AdminOptions::new()).await.expect("deleted");
    assert_eq!(held(4, 8).await.unwrap(), Held { low: 3, end: 5, before: ids(2..3) });
    assert_eq!(held(3, 8).await.unwrap().before, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_that_is_not_there_yet_is_waited_for() {
    let Some(ground) = Ground::new().await else { return };
    let topics = ground.topics();
    let waiting = tokio::time::timeout(NOT_SO_SOON, topics.poll(log(1), 2, 10)).await;
    assert!(waiting.is_err(), "{waiting:?}");
    topics.produce((0..3).map(|step| command(stream(1), step)).collect(), Lane::Outside).await.unwrap();
    assert_eq!(offsets(&poll(&topics, log(1), 2, 10).await), [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn producers_at_once_each_keep_their_order() {
    let Some(ground) = Ground::new().await else { return };
    let topics = ground.topics();
    let (producers, calls, each) = (8u128, 5u128, 20u128);
    let tasks: Vec<_> = (0..producers)
        .map(|producer| {
            let topics = topics.clone();
            tokio::spawn(async move {
                for call in 0..calls {
                    let number = |step| producer * 1_000_000 + call * each + step;
                    let commands = (0..each).map(|step| command(stream(1), number(step))).collect();
                    topics.produce(commands, Lane::System).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let total = (producers * calls * each) as u64;
    let (mut next, mut ids) = (0, vec![Vec::new(); producers as usize]);
    while next < total {
        for delivery in poll(&topics, log(1), next, 97).await {
            assert_eq!(delivery.offset, next);
            next += 1;
            let id = delivery.command.as_ref().expect("readable").envelope.command_id.as_u128();
            let number = (id & 0xffff_ffff_ffff) as u64;
            ids[(number / 1_000_000) as usize].push(number % 1_000_000);
        }
    }
    for of_one in ids {
        assert_eq!(of_one, (0..(calls * each) as u64).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_with_a_message_too_large_sends_nothing() {
    let Some(ground) = Ground::new().await else { return };
    let topics = ground.topics();
    let large = ProvisionTenant {
        name: "x".repeat(MESSAGE_BYTES_MAX),
        region: String::new(),
        tier: tenant::Tier::Onyx,
        monthly_budget_micro_usd: None,
        coupling_threshold: None,
    };
    let envelope = Envelope::new(Uuid::from_u128(1), stream(1));
    let large = Arc::new(Accepted::new(envelope, tenant::Command::ProvisionTenant(large).into()).unwrap());
    match topics.produce(vec![command(stream(1), 1), large], Lane::Outside).await {
        Err(Error::TooLarge(words)) => assert!(words.contains("is larger than"), "{words}"),
        other => panic!("{other:?}"),
    }
    topics.produce(vec![command(stream(1), 2)], Lane::Outside).await.unwrap();
    let found = poll(&topics, log(1), 0, 10).await;
    assert_eq!(found[0].command.as_ref().unwrap().envelope, command(stream(1), 2).envelope);
}
