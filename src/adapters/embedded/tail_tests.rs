//! The tailing reader beside a live writer.

use super::tests::{config, ports};
use super::{Embedded, Entry, FolderError, Layout, Tail, segment};
use crate::domain::LogId;
use crate::domain::record::{CHAIN_START, Hash, chain};
use crate::ports::Topics;
use crate::ports::conformance::{Author, command, stream};
use crate::ports::topic::{DeadLetter, Lane};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

fn log() -> LogId {
    stream(1).log(config().partitions)
}

fn layout(folder: &TempDir) -> Layout {
    Layout::existing(folder.path()).unwrap().unwrap()
}

fn last_segment(folder: &Path) -> std::path::PathBuf {
    let wal = folder.join("wal");
    segment::path_of(&wal, *segment::list(&wal).unwrap().last().unwrap())
}

/// The chain of one log as the reader gives it, and the commands.
#[derive(Default)]
struct Seen {
    head: u64,
    hash: Hash,
    commands: Vec<u64>,
    letters: usize,
}

impl Seen {
    fn take(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            match entry {
                Entry::Records(run) => {
                    assert_eq!((run.log, run.first_position), (log(), self.head + 1), "gapless, once");
                    for (bytes, hash) in run.records {
                        self.hash = chain(&self.hash, &bytes);
                        assert_eq!(self.hash, hash);
                        self.head += 1;
                    }
                }
                Entry::Command(waiting) => {
                    assert!(waiting.read().is_ok());
                    self.commands.push(waiting.offset);
                }
                Entry::DeadLetter(_) => self.letters += 1,
            }
        }
    }
}

fn letter() -> DeadLetter {
    DeadLetter {
        topic: "t".into(),
        partition: 0,
        offset: 1,
        command_id: None,
        stream: None,
        code: "unreadable".into(),
        cause: "junk".into(),
        buried_at: 1,
        attempts: 0,
        headers: Vec::new(),
        bytes: vec![1],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_beside_a_writer_sees_each_record_once_across_segments() {
    let folder = tempfile::tempdir().unwrap();
    let open = Embedded::open(folder.path(), &config()).unwrap();
    let mut tail = Tail::new(&layout(&folder));
    let ended = Arc::new(AtomicBool::new(false));
    let reader = std::thread::spawn({
        let ended = ended.clone();
        move || {
            let mut seen = Seen { hash: CHAIN_START, ..Seen::default() };
            let mut looks_with_news = 0;
            loop {
                let last = ended.load(Ordering::Acquire);
                let entries = tail.read().unwrap();
                if entries.is_empty() && last {
                    return (tail, seen, looks_with_news);
                }
                looks_with_news += usize::from(!entries.is_empty());
                seen.take(entries);
            }
        }
    });
    let mut author = Author::claim(&ports(&open), log()).await;
    for round in 0..600 {
        author.write(&ports(&open), &[stream(1); 3]).await;
        if round % 10 == 0 {
            open.topics.produce(vec![command(stream(1), round)], Lane::System).await.unwrap();
        }
    }
    open.topics.bury(letter()).await.unwrap();
    ended.store(true, Ordering::Release);
    let (mut tail, mut seen, looks_with_news) = reader.join().unwrap();
    assert!(segment::list(&folder.path().join("wal")).unwrap().len() > 3, "the test crosses segments");
    assert!(looks_with_news > 1, "it read while there was writing");
    // The last group has no mark behind it: it is not trusted while there may be a writer.
    assert!(seen.head <= author.state.head && seen.letters == 0, "{} {}", seen.head, seen.letters);
    assert!(tail.distance().unwrap() > 0);
    drop(open);
    tail.hold(Arc::new(layout(&folder).lock().unwrap())).unwrap();
    seen.take(tail.read().unwrap());
    assert_eq!((seen.head, seen.hash), (author.state.head, author.state.head_hash));
    assert_eq!((seen.commands, seen.letters), ((0..60).collect(), 1));
    assert_eq!(tail.distance().unwrap(), 0);
}

#[tokio::test]
async fn what_no_mark_proves_is_not_given_until_the_next_group_proves_it() {
    let folder = tempfile::tempdir().unwrap();
    let open = Embedded::open(folder.path(), &config()).unwrap();
    let mut tail = Tail::new(&layout(&folder));
    assert!(tail.read().unwrap().is_empty(), "nothing was written");
    let mut author = Author::claim(&ports(&open), log()).await;
    author.write(&ports(&open), &[stream(1)]).await;
    assert!(tail.read().unwrap().is_empty(), "only the claim is proved");
    let left = tail.distance().unwrap();
    assert!(left > 0 && left < 1000, "what is filled ahead is not to be read: {left}");
    author.write(&ports(&open), &[stream(1)]).await;
    let entries = tail.read().unwrap();
    assert!(matches!(&entries[..], [Entry::Records(run)] if run.first_position == 1), "{entries:?}");
    assert!(tail.read().unwrap().is_empty());
}

#[tokio::test]
async fn a_torn_end_is_not_yet_and_damage_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let open = Embedded::open(folder.path(), &config()).unwrap();
    let mut author = Author::claim(&ports(&open), log()).await;
    for _ in 0..3 {
        author.write(&ports(&open), &[stream(1)]).await;
    }
    drop(open);
    let path = last_segment(folder.path());
    let whole = fs::read(&path).unwrap();
    let read = |bytes: &[u8], held: bool| {
        fs::write(&path, bytes).unwrap();
        let mut tail = Tail::new(&layout(&folder));
        if held {
            tail.hold(Arc::new(layout(&folder).lock().unwrap())).unwrap();
        }
        let mut records = 0;
        loop {
            let entries = tail.read()?;
            if entries.is_empty() {
                return Ok::<_, FolderError>(records);
            }
            records += entries.len();
        }
    };
    assert_eq!((read(&whole, false).unwrap(), read(&whole, true).unwrap()), (2, 3));
    let torn = &whole[..whole.len() - 5];
    assert_eq!((read(torn, false).unwrap(), read(torn, true).unwrap()), (1, 2), "as a start would cut it");
    let mut damaged = whole.clone();
    damaged[60] ^= 1;
    for held in [false, true] {
        assert!(matches!(read(&damaged, held), Err(FolderError::Damaged { .. })), "a later mark proves it");
    }
}

#[tokio::test]
async fn a_checkpoint_proves_what_no_frame_does_and_a_lost_end_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let open = Embedded::open(folder.path(), &config()).unwrap();
    let mut author = Author::claim(&ports(&open), log()).await;
    author.write(&ports(&open), &[stream(1)]).await;
    open.close().unwrap();
    let count = |tail: &mut Tail| tail.read().map(|entries| entries.len());
    assert_eq!(count(&mut Tail::new(&layout(&folder))).unwrap(), 1, "nothing follows it, and yet it is proved");
    let path = last_segment(folder.path());
    let whole = fs::read(&path).unwrap();
    for lost in [5, whole.len() - 44] {
        fs::write(&path, &whole[..whole.len() - lost]).unwrap();
        let mut tail = Tail::new(&layout(&folder));
        tail.hold(Arc::new(layout(&folder).lock().unwrap())).unwrap();
        assert!(matches!(count(&mut tail), Err(FolderError::Damaged { .. })), "{lost} bytes were synced and are gone");
    }
}

#[test]
fn who_has_the_folder_open_can_be_told() {
    let folder = tempfile::tempdir().unwrap();
    let open = Embedded::open(folder.path(), &config()).unwrap();
    assert_eq!(layout(&folder).holder(), Some(std::process::id()));
    drop(open);
    assert_eq!(layout(&folder).holder(), None, "an id that was left behind is not believed");
}
