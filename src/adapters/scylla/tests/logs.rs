//! Logs that several processes want, and that run over their segments' ends.

use super::{SEGMENT_RECORDS, rig};
use crate::domain::record::Hash;
use crate::domain::{LogId, StreamId};
use crate::ports::Journal;
use crate::ports::conformance::{Author, Rig, assert_positions, stream};
use crate::ports::journal::{Error, LogState};
use std::sync::Arc;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(120);

/// One writer's part of a fight.
#[derive(Default)]
struct Won {
    /// Position and hash of the last record of each batch that was acknowledged.
    acknowledged: Vec<(u64, Hash)>,
    fenced: usize,
}

/// Claims and appends until the log has so many records. Whoever loses claims back at once.
async fn fight(journal: Arc<dyn Journal>, stream: StreamId, log: LogId, head_min: u64, salt: usize) -> Won {
    let mut won = Won::default();
    let mut author: Option<Author> = None;
    for round in 0.. {
        let Some(mut mine) = author.take() else {
            match journal.claim(log).await {
                Ok(state) => author = Some(Author { log, state }),
                Err(error) => assert!(error.retryable(), "a claim gave {error}"),
            }
            continue;
        };
        if mine.state.head >= head_min {
            break;
        }
        // One to six records: less and more than what is left of a segment.
        let (batch, _) = mine.batch(&vec![stream; 1 + (round * 5 + salt) % 6]);
        let (records, hash, epoch) = (batch.records.len() as u64, batch.head_hash, batch.epoch);
        match journal.append(batch).await {
            Ok(()) => {
                mine.state = LogState { head: mine.state.head + records, head_hash: hash, ..mine.state };
                won.acknowledged.push((mine.state.head, hash));
                author = Some(mine);
            }
            Err(Error::Fenced { epoch: theirs, .. }) => {
                assert!(theirs > epoch, "fenced by an older claim");
                won.fenced += 1;
            }
            Err(error) => assert!(error.retryable(), "an append gave {error}"),
        }
    }
    won
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_many_fight_over_stays_one_chain_and_keeps_what_was_acknowledged() {
    let Some(rig) = rig(Some(SEGMENT_RECORDS)).await else { return };
    let (one, other) = (rig.ports(), rig.connect().await);
    let (stream, log) = (stream(950), stream(950).log(one.partitions));
    let fights = (0..6).map(|salt| {
        let journal = if salt % 2 == 0 { &one.journal } else { &other.journal };
        tokio::spawn(fight(journal.clone(), stream, log, 200, salt))
    });
    let fights: Vec<_> = fights.collect();
    let mut won = Won::default();
    for fight in fights {
        let theirs = tokio::time::timeout(DEADLINE, fight).await.expect("in time").expect("no panic");
        won.acknowledged.extend(theirs.acknowledged);
        won.fenced += theirs.fenced;
    }
    let state = one.journal.state(log).await.expect("state");
    let all = other.journal.read(log, 1, 10_000).await.expect("read");
    assert_positions(&all, 1..=state.head);
    assert_eq!(all.last().map(|last| last.hash), Some(state.head_hash));
    for (position, hash) in &won.acknowledged {
        assert_eq!(all[*position as usize - 1].hash, *hash, "an acknowledged batch at {position}");
    }
    assert!(won.fenced > 0, "nobody ever lost: this was no fight");
    eprintln!("{} batches acknowledged, {} fenced, {} claims", won.acknowledged.len(), won.fenced, state.epoch);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_run_over_segment_ends_and_every_position_is_read_from() {
    let Some(rig) = rig(Some(SEGMENT_RECORDS)).await else { return };
    let (ports, other) = (rig.ports(), rig.connect().await);
    let (stream, log) = (stream(951), stream(951).log(ports.partitions));
    let mut author = Author::claim(&ports, log).await;
    // Exactly to an end; over one by one; a whole segment over; one at a time.
    let sizes = [7, 5, 3, 6, 1, 7, 7, 2, 7, 1, 1, 1, 1, 1, 1, 4];
    for (round, size) in sizes.into_iter().enumerate() {
        author.write(&ports, &vec![stream; size]).await;
        if round % 3 == 2 {
            // Also where the last segment is closed: another process finds its end and opens the next.
            let taker = if round % 2 == 0 { &ports } else { &other };
            let state = taker.journal.claim(log).await.expect("claimed");
            assert_eq!((state.head, state.head_hash), (author.state.head, author.state.head_hash));
            author.state = ports.journal.claim(log).await.expect("claimed back");
        }
    }
    let head = author.state.head;
    assert_eq!(head, sizes.iter().sum::<usize>() as u64);
    assert_eq!(other.journal.state(log).await.expect("state").head, head);
    for from in 1..=head {
        for records_max in [1, 2, 6, 7, 8, 15, 1000] {
            let read = other.journal.read(log, from, records_max).await.expect("read");
            assert_positions(&read, from..=head.min(from + records_max as u64 - 1));
        }
    }
    assert!(other.journal.read(log, head + 1, 10).await.expect("read").is_empty());
    assert!(other.journal.read(log, head + 100, 10).await.expect("read").is_empty());
}
