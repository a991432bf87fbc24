//! The suite of the port `topic`.

use super::{Author, Ports, Rig, assert_positions, command, stream};
use crate::ports::letter::POISONOUS;
use crate::ports::topic::{Buried, DeadLetter, Delivery, Error, Lane, Place, RedriveError};
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
    dead_letters_keep_their_bytes_and_their_numbers(rig).await;
    dead_letters_are_sent_again(rig).await;
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

fn letter(code: &str) -> DeadLetter {
    DeadLetter {
        topic: "agentverse.tenant.commands.v1".into(),
        partition: 3,
        offset: 4,
        command_id: None,
        stream: Some(stream(916)),
        code: code.into(),
        cause: "a test".into(),
        buried_at: 5,
        attempts: 2,
        headers: vec![("ce_id".into(), "x".into())],
        bytes: vec![0, 159, 146, 150],
    }
}

async fn dead_letters_keep_their_bytes_and_their_numbers(rig: &mut impl Rig) {
    let ports = rig.ports();
    let letters = ["unreadable", "id_reused", "poisonous"].map(letter);
    for letter in letters.clone() {
        ports.topics.bury(letter).await.expect("buried");
    }
    let before = ports.topics.dead_letters(0, 10).await.expect("read");
    drop(ports);
    rig.crash();
    let topics = rig.ports().topics;
    let found = topics.dead_letters(0, 10).await.expect("read");
    assert_eq!(found, before, "a letter keeps its number");
    assert!(found.is_sorted_by(|(one, _), (next, _)| one < next), "{found:?}");
    let expected = letters.map(|letter| Buried { letter, redriven: 0 });
    assert_eq!(found.iter().map(|(_, buried)| buried).collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
    let (second, last) = (found[1].0, found[2].0);
    assert_eq!(topics.dead_letters(second, 1).await.expect("read"), found[1..2], "a page begins at a number");
    assert_eq!(topics.dead_letters(second + 1, 10).await.expect("read"), found[2..], "or at the one after it");
    assert_eq!(topics.dead_letters(last + 1, 10).await.expect("read"), []);
    assert_eq!(topics.dead_letter(second).await.expect("read"), Some(expected[1].clone()));
    assert_eq!(topics.dead_letter(last + 1_000).await.expect("read"), None);
}

/// Buries a letter and gives the number that it got, the one that was not there before.
async fn bury(ports: &Ports, letter: DeadLetter) -> u64 {
    let numbers = async || {
        let letters = ports.topics.dead_letters(0, 100).await.expect("read");
        letters.into_iter().map(|(number, _)| number).collect::<Vec<_>>()
    };
    let before = numbers().await;
    ports.topics.bury(letter).await.expect("buried");
    let after = numbers().await;
    *after.iter().find(|number| !before.contains(number)).expect("a new one")
}

async fn dead_letters_are_sent_again(rig: &mut impl Rig) {
    let ports = rig.ports();
    let (number, log) = (917, stream(917).log(ports.partitions));
    let sent = command(stream(number), 917);
    ports.topics.produce(vec![sent.clone()], Lane::System).await.expect("produced");
    let first = poll(&ports, number, 0).await.last().expect("one").clone();
    assert_eq!(first.redriven, 0);
    let place = Place { log, offset: first.offset, redriven: 0 };
    let poisonous = bury(&ports, DeadLetter::of(place, &sent, POISONOUS, "it kills", 6)).await;
    let junk = DeadLetter { partition: log.partition, stream: None, ..letter("unreadable") };
    let unreadable = bury(&ports, junk.clone()).await;
    let topics = ports.topics.clone();
    let redriven = topics.redrive(poisonous, false).await.expect("sent again");
    assert_eq!((redriven.number, redriven.log, redriven.attempts), (poisonous, log, 1));
    assert_eq!(topics.redrive(unreadable, false).await.expect("sent again").attempts, junk.attempts + 1);
    let again = topics.redrive(poisonous, false).await;
    assert!(matches!(again, Err(RedriveError::Again { redriven: 1, .. })), "{again:?}");
    topics.redrive(poisonous, true).await.expect("forced");
    for letter in [letter("id_reused"), DeadLetter { bytes: Vec::new(), ..junk.clone() }] {
        let unfit = bury(&ports, letter).await;
        let refused = topics.redrive(unfit, true).await;
        assert!(matches!(refused, Err(RedriveError::Refused { .. })), "{refused:?}");
    }
    let unknown = topics.redrive(unreadable + 100_000, true).await;
    assert!(matches!(unknown, Err(RedriveError::Unknown(_))), "{unknown:?}");
    drop((ports, topics));
    rig.crash();
    let ports = rig.ports();
    let marks = async |number| ports.topics.dead_letter(number).await.expect("read").expect("kept").redriven;
    assert_eq!((marks(poisonous).await, marks(unreadable).await), (2, 1), "what was sent again is remembered");
    let mut found = Vec::new();
    while found.len() < 3 {
        found.extend(poll(&ports, number, first.offset + 1 + found.len() as u64).await);
    }
    let [once, unread, twice] = &found[..] else { panic!("three were sent again: {found:?}") };
    for delivery in [once, twice] {
        let command = delivery.command.as_ref().expect("readable");
        assert_eq!((&command.envelope, &command.command), (&sent.envelope, &sent.command));
        assert_eq!((command.digest, delivery.redriven), (sent.digest, 1));
    }
    let bytes = &unread.command.as_ref().expect_err("unreadable").unreadable().expect("unreadable").bytes;
    assert_eq!((bytes, unread.redriven), (&junk.bytes, 3));
}
