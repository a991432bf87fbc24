//! What opening a damaged folder does: a torn end is cut, lost bytes are named with their place.

use super::checkpoint::Checkpoint;
use super::frame::{self, FrameKind};
use super::store::Store;
use super::tests::{config, ports};
use super::{Config, Embedded, FolderError, Layout, recover, segment};
use crate::domain::LogId;
use crate::ports::conformance::{Author, assert_positions, stream};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

fn log() -> LogId {
    stream(1).log(config().partitions)
}

/// A folder whose log [`log`] has `batches` batches of one record; with a checkpoint, or as a crash leaves it.
async fn folder(batches: u64, closed: bool) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let open = Embedded::open(folder.path(), &config()).unwrap();
    let mut author = Author::claim(&ports(&open), log()).await;
    for _ in 0..batches {
        author.write(&ports(&open), &[stream(1)]).await;
    }
    if closed {
        open.close().unwrap();
    }
    folder
}

/// The log of a folder alone: what is derived is left behind.
fn log_of(folder: &TempDir) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::copy(folder.path().join("FORMAT"), copy.path().join("FORMAT")).unwrap();
    fs::create_dir(copy.path().join("wal")).unwrap();
    for number in segment::list(&folder.path().join("wal")).unwrap() {
        fs::copy(segment_of(folder, number), segment_of(&copy, number)).unwrap();
    }
    copy
}

fn segment_of(folder: &TempDir, number: u32) -> PathBuf {
    segment::path_of(&folder.path().join("wal"), number)
}

/// Where the `Records` frames of a segment begin.
fn batches_of(bytes: &[u8], number: u32) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut offset = segment::HEADER_BYTES as usize;
    while let Ok((frame, length)) = frame::read(&bytes[offset..], number) {
        if frame.kind == FrameKind::Records {
            starts.push(offset);
        }
        offset += length;
    }
    starts
}

/// Opens, and gives the path and the offset of the damage that is said.
fn damage(folder: &TempDir) -> (PathBuf, u64) {
    match Embedded::open(folder.path(), &config()) {
        Err(FolderError::Damaged { path, offset, .. }) => (path, offset),
        Err(error) => panic!("another error: {error}"),
        Ok(_) => panic!("it opened"),
    }
}

#[tokio::test]
async fn a_write_torn_at_any_byte_is_cut_and_everything_before_it_is_there() {
    let whole = folder(3, false).await;
    let bytes = fs::read(segment_of(&whole, 1)).unwrap();
    let last = *batches_of(&bytes, 1).last().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::open(scratch.path(), &config()).unwrap();
    let lengths = last..bytes.len();
    // In a file that grows with each write, and in one that was filled with zeros ahead.
    for (length, filled) in lengths.clone().map(|length| (length, 0)).chain(lengths.map(|length| (length, 1000))) {
        let torn = log_of(&whole);
        let left = [&bytes[..length], &vec![0; filled]].concat();
        fs::write(segment_of(&torn, 1), left).unwrap();
        let layout = Layout::existing(torn.path()).unwrap().unwrap();
        let recovered = recover::recover(&layout, &store).unwrap();
        assert_eq!(recovered.logs.cell(log()).inner.lock().state.head, 2);
        assert_eq!(fs::metadata(segment_of(&torn, 1)).unwrap().len(), last as u64, "{length} bytes were there");
    }
    let torn = log_of(&whole);
    fs::write(segment_of(&torn, 1), &bytes[..bytes.len() - 1]).unwrap();
    let open = Embedded::open(torn.path(), &config()).unwrap();
    assert_positions(&open.journal.read_now(log(), 1, 9).unwrap(), 1..=2);
    let mut author = Author::claim(&ports(&open), log()).await;
    author.write(&ports(&open), &[stream(1)]).await;
    drop(open);
    let open = Embedded::open(torn.path(), &config()).unwrap();
    assert_positions(&open.journal.read_now(log(), 1, 9).unwrap(), 1..=3);
}

#[tokio::test]
async fn zeros_stand_behind_the_last_frame_alone_and_are_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let open = Embedded::open(folder.path(), &config()).unwrap();
    let mut author = Author::claim(&ports(&open), log()).await;
    for _ in 0..300 {
        author.write(&ports(&open), &[stream(1)]).await;
    }
    let frames_end = |folder: &TempDir, number: u32| {
        let bytes = fs::read(segment_of(folder, number)).unwrap();
        let mut offset = segment::HEADER_BYTES as usize;
        while let Ok((_, length)) = frame::read(&bytes[offset..], number) {
            offset += length;
        }
        (offset, bytes.len())
    };
    let numbers = segment::list(&folder.path().join("wal")).unwrap();
    let (last, before) = numbers.split_last().unwrap();
    assert!(before.len() > 1, "the folder has several segments");
    for number in before {
        let (frames, file) = frames_end(&folder, *number);
        assert_eq!(frames, file, "segment {number} is done");
    }
    let (frames, file) = frames_end(&folder, *last);
    assert!(frames < file && file as u64 <= config().segment_bytes_max, "{frames} of {file} bytes");
    // As a crash leaves it.
    let crashed = log_of(&folder);
    let reopened = Embedded::open(crashed.path(), &config()).unwrap();
    assert_positions(&reopened.journal.read_now(log(), 1, 999).unwrap(), 1..=300);
    assert_eq!(frames_end(&crashed, *last), (frames, frames), "a start cuts them off");
    drop(open);
    assert_eq!(frames_end(&folder, *last), (frames, frames), "and so does the end");
}

#[tokio::test]
async fn zeros_before_a_sync_mark_or_in_a_segment_that_is_done_are_damage() {
    let whole = folder(300, false).await;
    for (number, place) in [(1, 0), (2, 0), (1, 3)] {
        let bad = log_of(&whole);
        let mut bytes = fs::read(segment_of(&bad, number)).unwrap();
        let starts = batches_of(&bytes, number);
        let from = starts[if place == 0 { starts.len() - 1 } else { place }];
        let to = if place == 0 { bytes.len() } else { starts[place + 1] };
        bytes[from..to].fill(0);
        fs::write(segment_of(&bad, number), &bytes).unwrap();
        assert_eq!(damage(&bad), (segment_of(&bad, number), from as u64));
    }
}

#[tokio::test]
async fn a_bit_flipped_before_a_sync_mark_is_damage_with_its_place() {
    let whole = folder(3, false).await;
    let bytes = fs::read(segment_of(&whole, 1)).unwrap();
    let starts = batches_of(&bytes, 1);
    // In the length, in the mark, in the body.
    for (start, within) in [(starts[0], 0), (starts[0], 13), (starts[1], 40)] {
        let bad = log_of(&whole);
        let mut flipped = bytes.clone();
        flipped[start + within] ^= 4;
        fs::write(segment_of(&bad, 1), &flipped).unwrap();
        assert_eq!(damage(&bad), (segment_of(&bad, 1), start as u64));
        assert_eq!(fs::read(segment_of(&bad, 1)).unwrap(), flipped, "a damaged file is left as it is");
    }
}

#[tokio::test]
async fn after_a_checkpoint_not_even_the_last_frame_may_be_lost() {
    let whole = folder(3, true).await;
    let path = segment_of(&whole, 1);
    let bytes = fs::read(&path).unwrap();
    let last = *batches_of(&bytes, 1).last().unwrap();
    for length in [16, last, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        assert_eq!(damage(&whole), (path.clone(), length as u64));
    }
    fs::write(&path, &bytes[..7]).unwrap();
    assert_eq!(damage(&whole), (path.clone(), 0));
    fs::write(&path, &bytes).unwrap();
    assert!(Embedded::open(whole.path(), &config()).is_ok());
}

#[tokio::test]
async fn a_missing_segment_is_named() {
    let whole = folder(300, true).await;
    let last = *segment::list(&whole.path().join("wal")).unwrap().last().unwrap();
    assert!(last > 2, "the folder has several segments");
    for (number, closed) in [(1, true), (2, true), (last, true), (1, false), (2, false)] {
        let path = segment_of(&whole, number);
        let away = whole.path().join("wal").join("away");
        fs::rename(&path, &away).unwrap();
        if closed {
            assert_eq!(damage(&whole), (path.clone(), 0));
        } else {
            let copy = log_of(&whole);
            assert_eq!(damage(&copy), (segment_of(&copy, number), 0));
        }
        fs::rename(&away, &path).unwrap();
    }
    let open = Embedded::open(whole.path(), &config()).unwrap();
    assert_positions(&open.journal.read_now(log(), 1, 999).unwrap(), 1..=300);
}

#[tokio::test]
async fn a_folder_that_is_not_ours_to_open_is_refused() {
    let folder = folder(1, true).await;
    let refusal = |config: &Config| Embedded::open(folder.path(), config).err().unwrap();
    let open = Embedded::open(folder.path(), &config()).unwrap();
    assert!(matches!(refusal(&config()), FolderError::Locked(_)));
    drop(open);
    let other = Config { partitions: 5, ..config() };
    assert!(matches!(refusal(&other), FolderError::Partitions { found: 4, asked: 5, .. }));
    fs::write(folder.path().join("FORMAT"), r#"{"format":2,"partitions":4}"#).unwrap();
    assert!(matches!(refusal(&config()), FolderError::Format { found: 2, .. }));
    fs::write(folder.path().join("FORMAT"), r#"{"format":1,"part"#).unwrap();
    assert!(matches!(refusal(&config()), FolderError::Damaged { .. }));
    fs::remove_file(folder.path().join("FORMAT")).unwrap();
    assert!(matches!(refusal(&config()), FolderError::Foreign(_)));
}

#[tokio::test]
async fn a_checkpoint_knows_how_far_the_segments_were_synced() {
    let folder = folder(3, true).await;
    let layout = Layout::existing(folder.path()).unwrap().unwrap();
    let end = Checkpoint::read(&layout).unwrap().end;
    assert_eq!(u64::from(end.offset), fs::metadata(segment_of(&folder, end.segment)).unwrap().len());
}
