//! The suite of the port `topic`.

use super::{Author, Ports, Rig, assert_positions, command, stream};
use crate::ports::topic::{DeadLetter, Delivery, Error, Lane};
use std::time::Duration;

/// Long enough for anything that comes at all.
const SOON: Duration = Duration::from_secs(10);
/// Short enough to wait for what must not come.
const NOT_SO_SOON: Duration = Duration::from_millis(50);

pub async fn suite(rig: &mut impl Rig) {
    commands_come_in_order_and_survive(rig).await;
    polling_waits_and_can_be_cancelled(rig).await;
    consumed_commands_stay_consumed(rig).await;
    only_outsiders_are_refused(rig).await;
    followers_see_every_published_record(rig).await;
    dead_letters_keep_their_bytes(rig).await;
}

async fn poll(ports: &Ports, number: u128, from: u64) -> Vec<Delivery> {
    let log = stream(number).log(ports.partitions);
    tokio::time::timeout(SOON, ports.topics.poll(log, from, 1000)).await.expect("in time").expect("polled")
}

async fn commands_come_in_order_and_survive(rig: &mut impl Rig) {
    let commands: Vec<_> = (0..20).map(|number| command(stream(910), number)).collect();
    rig.ports().topics.produce(commands.clone(), Lane::Outside).await.expect("produced");
    rig.crash();
    let ports = rig.ports();
    let found = poll(&ports, 910, 0).await;
    assert_eq!(found.iter().map(|delivery| delivery.offset).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
    for (delivery, sent) in found.iter().zip(&commands) {
        let got = delivery.command.as_ref().expect("readable");
        assert_eq!(got.envelope, sent.envelope);
        assert_eq!(got.command, sent.command);
        assert_eq!((&got.payload, got.digest), (&sent.payload, sent.digest));
    }
    assert_eq!(poll(&ports, 910, 15).await.first().map(|delivery| delivery.offset), Some(15));
}

async fn polling_waits_and_can_be_cancelled(rig: &mut impl Rig) {
    let ports = rig.ports();
    let log = stream(911).log(ports.partitions);
    let from = ports.journal.state(log).await.expect("state").consumed;
    let nothing = tokio::time::timeout(NOT_SO_SOON, ports.topics.poll(log, from + 1000, 10)).await;
    assert!(nothing.is_err(), "there is nothing to give yet");
    let waiting = tokio::spawn({
        let ports = ports.clone();
        async move { poll(&ports, 912, 0).await }
    });
    ports.topics.produce(vec![command(stream(912), 1)], Lane::Outside).await.expect("produced");
    assert!(!waiting.await.expect("no panic").is_empty());
}

async fn consumed_commands_stay_consumed(rig: &mut impl Rig) {
    let ports = rig.ports();
    let number = 913;
    let log = stream(number).log(ports.partitions);
    ports
        .topics
        .produce((0..3).map(|step| command(stream(number), 100 + step)).collect(), Lane::Outside)
        .await
        .expect("produced");
    let first = poll(&ports, number, 0).await.first().expect("something").offset;
    let author = Author::claim(&ports, log).await;
    let (mut batch, _) = author.batch(&[stream(number)]);
    batch.consumed = first + 2;
    ports.journal.append(batch).await.expect("appended");
    drop(ports);
    rig.crash();
    let ports = rig.ports();
    assert_eq!(ports.journal.state(log).await.expect("state").consumed, first + 2);
    assert_eq!(poll(&ports, number, first + 2).await.first().map(|delivery| delivery.offset), Some(first + 2));
}

async fn only_outsiders_are_refused(rig: &mut impl Rig) {
    let ports = rig.ports();
    let many = |lane_offset: u128| {
        (0..rig.waiting_max() as u128).map(|step| command(stream(914), lane_offset + step)).collect::<Vec<_>>()
    };
    ports.topics.produce(many(10_000), Lane::System).await.expect("the system's own");
    match ports.topics.produce(many(20_000), Lane::Outside).await {
        Err(Error::Overloaded { retry_after }) => assert!(retry_after > Duration::ZERO),
        other => panic!("expected back-pressure, got {other:?}"),
    }
    ports.topics.produce(many(30_000), Lane::System).await.expect("the system's own is never refused");
}

async fn followers_see_every_published_record(rig: &mut impl Rig) {
    let ports = rig.ports();
    let log = stream(915).log(ports.partitions);
    let mut author = Author::claim(&ports, log).await;
    let start = author.state.head;
    let first = author.write(&ports, &[stream(915); 4]).await;
    let second = author.write(&ports, &[stream(915); 4]).await;
    ports.topics.publish(log, first.clone().into()).await.expect("published");
    ports.topics.publish(log, first.into()).await.expect("published again, as after a crash");
    ports.topics.publish(log, second.into()).await.expect("published");
    let mut after = start;
    let mut found = Vec::new();
    while found.len() < 8 {
        let next =
            tokio::time::timeout(SOON, ports.topics.follow(log, after, 3)).await.expect("in time").expect("followed");
        after = next.last().expect("at least one").record.position;
        found.extend(next);
    }
    assert_positions(&found, start + 1..=start + 8);
    let again =
        tokio::time::timeout(SOON, ports.topics.follow(log, start, 100)).await.expect("in time").expect("followed");
    assert_positions(&again, start + 1..=start + 8);
    let nothing = tokio::time::timeout(NOT_SO_SOON, ports.topics.follow(log, after, 1)).await;
    assert!(nothing.is_err(), "nothing is shown that was not published");
}

async fn dead_letters_keep_their_bytes(rig: &mut impl Rig) {
    let letter = |code: &str| DeadLetter {
        topic: "agentverse.tenant.commands.v1".into(),
        partition: 3,
        offset: 4,
        command_id: None,
        stream: Some(stream(916)),
        code: code.into(),
        cause: "a test".into(),
        buried_at: 5,
        headers: vec![("ce_id".into(), "x".into())],
        bytes: vec![0, 159, 146, 150],
    };
    let ports = rig.ports();
    ports.topics.bury(letter("unreadable")).await.expect("buried");
    ports.topics.bury(letter("id_reused")).await.expect("buried");
    drop(ports);
    rig.crash();
    let found = rig.ports().topics.dead_letters(0, 10).await.expect("read");
    assert_eq!(found, [(0, letter("unreadable")), (1, letter("id_reused"))]);
}
