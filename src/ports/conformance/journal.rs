//! The suite of the port `journal`.

use super::{Author, Rig, assert_positions, stream};
use crate::domain::record::CHAIN_START;
use crate::ports::journal::Error;

pub async fn suite(rig: &mut impl Rig) {
    an_untouched_log_is_empty(rig).await;
    a_batch_is_taken_whole_and_read_back(rig).await;
    a_claim_shuts_out_every_earlier_owner(rig).await;
    a_batch_that_follows_on_nothing_is_a_conflict(rig).await;
    an_empty_batch_moves_what_rides_on_it(rig).await;
    what_was_acknowledged_survives(rig).await;
}

async fn an_untouched_log_is_empty(rig: &mut impl Rig) {
    let ports = rig.ports();
    let log = stream(900).log(ports.partitions);
    let state = ports.journal.state(log).await.expect("state");
    assert_eq!((state.epoch, state.head, state.head_hash), (0, 0, CHAIN_START));
    assert!(ports.journal.read(log, 1, 10).await.expect("read").is_empty());
}

async fn a_batch_is_taken_whole_and_read_back(rig: &mut impl Rig) {
    let ports = rig.ports();
    let log = stream(901).log(ports.partitions);
    let mut author = Author::claim(&ports, log).await;
    let streams = [stream(901); 5];
    author.write(&ports, &streams).await;
    author.write(&ports, &streams).await;
    let all = ports.journal.read(log, 1, 100).await.expect("read");
    assert_positions(&all, author.state.head - 9..=author.state.head);
    let some = ports.journal.read(log, author.state.head - 6, 3).await.expect("read");
    assert_positions(&some, author.state.head - 6..=author.state.head - 4);
    assert!(
        ports.journal.read(log, author.state.head + 1, 10).await.expect("read").is_empty(),
        "never beyond the head"
    );
}

async fn a_claim_shuts_out_every_earlier_owner(rig: &mut impl Rig) {
    let ports = rig.ports();
    let log = stream(902).log(ports.partitions);
    let earlier = Author::claim(&ports, log).await;
    let (late, _) = earlier.batch(&[stream(902)]);
    let later = Author::claim(&ports, log).await;
    assert_eq!(later.state.epoch, earlier.state.epoch + 1);
    match ports.journal.append(late).await {
        Err(Error::Fenced { epoch, .. }) => assert_eq!(epoch, later.state.epoch),
        other => panic!("a zombie's batch gave {other:?}"),
    }
    assert_eq!(ports.journal.state(log).await.expect("state").head, later.state.head, "nothing went in");
}

async fn a_batch_that_follows_on_nothing_is_a_conflict(rig: &mut impl Rig) {
    let ports = rig.ports();
    let log = stream(903).log(ports.partitions);
    let mut author = Author::claim(&ports, log).await;
    let (twice, _) = author.batch(&[stream(903)]);
    author.write(&ports, &[stream(903)]).await;
    match ports.journal.append(twice).await {
        Err(Error::Conflict { head, .. }) => assert_eq!(head, author.state.head),
        other => panic!("a batch that is in already gave {other:?}"),
    }
    author.write(&ports, &[stream(903)]).await;
}

async fn an_empty_batch_moves_what_rides_on_it(rig: &mut impl Rig) {
    let ports = rig.ports();
    let log = stream(904).log(ports.partitions);
    let author = Author::claim(&ports, log).await;
    let (mut batch, _) = author.batch(&[]);
    batch.derived_to = author.state.head;
    ports.journal.append(batch).await.expect("an empty append");
    let state = ports.journal.state(log).await.expect("state");
    assert_eq!((state.head, state.derived_to), (author.state.head, author.state.head));
}

async fn what_was_acknowledged_survives(rig: &mut impl Rig) {
    let ports = rig.ports();
    let log = stream(905).log(ports.partitions);
    let mut author = Author::claim(&ports, log).await;
    author.write(&ports, &[stream(905); 3]).await;
    let before = ports.journal.state(log).await.expect("state");
    let read = ports.journal.read(log, 1, 1000).await.expect("read");
    drop(ports);
    rig.crash();
    let ports = rig.ports();
    assert_eq!(ports.journal.state(log).await.expect("state"), before);
    let again = ports.journal.read(log, 1, 1000).await.expect("read");
    assert_positions(&again, 1..=before.head);
    assert_eq!(again.len(), read.len());
    assert_eq!(ports.journal.claim(log).await.expect("claim").epoch, before.epoch + 1);
}
