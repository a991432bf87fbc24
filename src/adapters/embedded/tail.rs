//! Reading a folder that another process has open, without its lock: what `agentverse migrate` copies from.
//!
//! Nothing is trusted before it is known to be on disk. A writer may take back what it wrote and could not sync, so a
//! reader's own sync proves nothing; the marks in the frames and in the checkpoint do, and so does a next segment, which is
//! made only once the one before is whole. What stands behind the last mark is "not yet". It becomes readable with the writer's next group,
//! or once the reader [holds](Tail::hold) the lock and there is no writer: then the end is judged as a start judges it.
//!
//! Memory: one piece of a segment, grown only where a single group of frames is larger.

use super::checkpoint::Checkpoint;
use super::folder::{FolderError, Layout, Lock};
use super::frame::{self, Frame, FrameError, FrameKind};
use super::letters;
use super::recover::{read_batch_head, read_log};
use super::segment::{self, HEADER_BYTES, Location, path_of};
use crate::domain::LogId;
use crate::domain::record::{Cursor, Hash, RecordError};
use crate::ports::topic::{Accepted, DeadLetter, Unreadable};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Read at once.
const PIECE_BYTES: usize = 4 << 20;
/// Read at once where the end of the frames is looked for.
const ZEROS_BYTES: u64 = 64 << 10;

/// What stands in a folder, in the order in which it was written. Claims are left out.
#[derive(Debug)]
pub enum Entry {
    Records(Run),
    Command(Waiting),
    DeadLetter(Box<DeadLetter>),
}

/// One batch of one log.
#[derive(Debug)]
pub struct Run {
    pub log: LogId,
    pub first_position: u64,
    /// Canonical bytes and hash, in position order. May be empty.
    pub records: Vec<(Vec<u8>, Hash)>,
    pub recorded_at: i64,
    pub consumed: u64,
    pub derived_to: u64,
}

/// A command as it was accepted.
#[derive(Debug)]
pub struct Waiting {
    pub log: LogId,
    pub offset: u64,
    pub bytes: Vec<u8>,
}

impl Waiting {
    /// The command, or its bytes and why they are none.
    pub fn read(&self) -> Result<Accepted, Box<Unreadable>> {
        super::command::decode(&self.bytes)
    }
}

/// A reader's place in a folder.
pub struct Tail {
    layout: Layout,
    wal: PathBuf,
    segment: u32,
    /// Where the next frame begins; everything before was given.
    offset: u64,
    /// The highest mark of this segment that was seen.
    synced: u64,
    /// Set while no other process can write.
    lock: Option<Arc<Lock>>,
}

/// What one look at a segment found.
enum Look {
    Entries(Vec<Entry>),
    /// The segment is read to its end, and there is a next.
    Next,
    /// There is more, and nothing in what was read.
    Again,
    NotYet,
}

impl Tail {
    /// Begins at the beginning of a folder.
    pub fn new(layout: &Layout) -> Self {
        let (layout, wal) = (layout.clone(), layout.wal());
        Self { layout, wal, segment: 1, offset: HEADER_BYTES, synced: 0, lock: None }
    }

    /// Tells the reader that nobody writes any more: from here on the end of the last segment is the end, once it is
    /// synced here. The lock is kept for as long as the reader lives.
    ///
    /// # Errors
    /// When the last segment cannot be synced.
    pub fn hold(&mut self, lock: Arc<Lock>) -> Result<(), FolderError> {
        if let Some(number) = segments(&self.wal)?.last() {
            let path = path_of(&self.wal, *number);
            File::open(&path).and_then(|file| file.sync_all()).map_err(|cause| FolderError::io(&path, cause))?;
        }
        self.lock = Some(lock);
        Ok(())
    }

    /// Whether nobody else can write.
    pub fn is_held(&self) -> bool {
        self.lock.is_some()
    }

    /// What comes next and is known to be durable; nothing where that is nothing yet. Blocks on the disk.
    ///
    /// # Errors
    /// For damage before a mark, with its place, and where the disk cannot be read.
    pub fn read(&mut self) -> Result<Vec<Entry>, FolderError> {
        loop {
            match self.look()? {
                Look::Entries(entries) => return Ok(entries),
                Look::NotYet => return Ok(Vec::new()),
                Look::Again => {}
                Look::Next => (self.segment, self.offset, self.synced) = (self.segment + 1, HEADER_BYTES, 0),
            }
        }
    }

    /// Bytes of the folder that were not given, readable now or not.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn distance(&self) -> Result<u64, FolderError> {
        let ahead = segments(&self.wal)?.into_iter().filter(|number| *number >= self.segment);
        let bytes: u64 = ahead.map(|number| written(&path_of(&self.wal, number))).sum();
        Ok(bytes.saturating_sub(self.offset - HEADER_BYTES))
    }

    /// Bytes of all segments together.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn size(&self) -> Result<u64, FolderError> {
        Ok(segments(&self.wal)?.into_iter().map(|number| written(&path_of(&self.wal, number))).sum())
    }

    fn look(&mut self) -> Result<Look, FolderError> {
        // In this order: what the checkpoint says is there when the segments are looked at, and a segment is never written
        // again once its successor is there.
        let checkpoint = self.checkpointed();
        let next = path_of(&self.wal, self.segment + 1);
        let whole = next.exists();
        if !whole && checkpoint.segment > self.segment {
            return Err(damage(&next, 0, "the segment is missing"));
        }
        let checkpoint = if checkpoint.segment == self.segment { checkpoint.offset } else { 0 };
        let path = path_of(&self.wal, self.segment);
        let Some(file) = self.open(&path, whole)? else { return Ok(Look::NotYet) };
        let mut wanted = PIECE_BYTES;
        loop {
            let bytes = read_at(&file, self.offset, wanted).map_err(|cause| FolderError::io(&path, cause))?;
            let at_end = bytes.len() < wanted;
            let mut parsed = self.parse(&bytes);
            parsed.synced = parsed.synced.max(checkpoint.into());
            let trusted = |end: usize| whole || self.is_held() || self.offset + end as u64 <= parsed.synced;
            let count = parsed.frames.iter().take_while(|(_, end)| trusted(*end)).count();
            if let Some((_, end)) = count.checked_sub(1).and_then(|last| parsed.frames.get(last)) {
                let entries = self.entries(&path, &parsed.frames[..count])?;
                (self.offset, self.synced) = (self.offset + *end as u64, parsed.synced);
                // A frame may say nothing that is wanted here: a claim.
                return if entries.is_empty() { Ok(Look::Again) } else { Ok(Look::Entries(entries)) };
            }
            if at_end {
                return if whole && bytes.is_empty() {
                    Ok(Look::Next)
                } else {
                    self.end(&path, &bytes, &parsed, whole)
                };
            }
            // A group that is larger than the piece, or a frame that is: its mark or its end comes later.
            wanted *= 2;
        }
    }

    /// Bytes at the end of a file that give nothing: not yet, torn, or damaged.
    fn end(&self, path: &Path, bytes: &[u8], parsed: &Parsed<'_>, whole: bool) -> Result<Look, FolderError> {
        let from = parsed.frames.last().map_or(0, |(_, end)| *end);
        let place = self.offset + from as u64;
        if whole || place < parsed.synced || frame::synced_beyond(bytes, self.offset, from, self.segment) {
            return Err(damage(path, place, parsed.fault.unwrap_or("the file ends early")));
        }
        // Nothing, or a torn write: a start would cut it off.
        Ok(Look::NotYet)
    }

    /// How far the checkpoint knows the segments to be synced. One that cannot be read proves nothing.
    fn checkpointed(&self) -> Location {
        let end = Checkpoint::read(&self.layout).map(|checkpoint| checkpoint.end);
        end.unwrap_or(Location { segment: 0, offset: 0 })
    }

    /// The segment's file, once its header is whole.
    fn open(&self, path: &Path, whole: bool) -> Result<Option<File>, FolderError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let later = segments(&self.wal)?.last().is_some_and(|last| *last > self.segment);
                return if later { Err(damage(path, 0, "the segment is missing")) } else { Ok(None) };
            }
            Err(cause) => return Err(FolderError::io(path, cause)),
        };
        let header = read_at(&file, 0, HEADER_BYTES as usize).map_err(|cause| FolderError::io(path, cause))?;
        if header == segment::header(self.segment) {
            return Ok(Some(file));
        }
        let begun = !whole && self.offset == HEADER_BYTES && size(path) <= HEADER_BYTES;
        if begun { Ok(None) } else { Err(damage(path, 0, "the segment's header is not its own")) }
    }

    fn parse<'a>(&self, bytes: &'a [u8]) -> Parsed<'a> {
        let mut parsed = Parsed { frames: Vec::new(), synced: self.synced, fault: None };
        let mut at = 0;
        while at < bytes.len() {
            match frame::read(&bytes[at..], self.segment) {
                Ok((frame, length)) => {
                    at += length;
                    parsed.synced = parsed.synced.max(u64::from(frame.synced));
                    parsed.frames.push((frame, at));
                }
                Err(error) => {
                    parsed.fault = Some(match error {
                        FrameError::Short => "a frame ends early",
                        FrameError::Bad(cause) => cause,
                    });
                    break;
                }
            }
        }
        parsed
    }

    fn entries(&self, path: &Path, frames: &[(Frame<'_>, usize)]) -> Result<Vec<Entry>, FolderError> {
        let mut entries = Vec::with_capacity(frames.len());
        let mut offset = self.offset;
        for (frame, end) in frames {
            read(frame, &mut entries).map_err(|error| damage(path, offset, &error.to_string()))?;
            offset = self.offset + *end as u64;
        }
        Ok(entries)
    }
}

/// The frames at the beginning of a piece, each with where it ends, and why the next is none.
struct Parsed<'a> {
    frames: Vec<(Frame<'a>, usize)>,
    synced: u64,
    fault: Option<&'static str>,
}

fn read(frame: &Frame<'_>, entries: &mut Vec<Entry>) -> Result<(), RecordError> {
    let mut body = Cursor(frame.body);
    match frame.kind {
        FrameKind::Claim => {}
        FrameKind::Commands => {
            for _ in 0..u32::from_le_bytes(body.array("count")?) {
                let log = read_log(&mut body)?;
                let offset = body.u64("offset")?;
                let length = u32::from_le_bytes(body.array("length")?) as usize;
                let bytes = body.take(length, "command")?.to_vec();
                entries.push(Entry::Command(Waiting { log, offset, bytes }));
            }
        }
        FrameKind::Records => {
            let head = read_batch_head(&mut body)?;
            let mut records = Vec::new();
            for _ in 0..head.records {
                let length = u32::from_le_bytes(body.array("length")?) as usize;
                // The frame's checksum covers what the record's own does.
                body.take(4, "checksum")?;
                records.push((body.take(length, "record")?.to_vec(), body.array("hash")?));
            }
            entries.push(Entry::Records(Run {
                log: head.log,
                first_position: head.first_position,
                records,
                recorded_at: head.recorded_at,
                consumed: head.consumed,
                derived_to: head.derived_to,
            }));
        }
        FrameKind::DeadLetter => {
            body.u64("number")?;
            let letter = serde_json::from_slice(body.0).map_err(|_| RecordError::Unknown("dead letter"))?;
            entries.push(Entry::DeadLetter(Box::new(letter)));
        }
        FrameKind::Redriven => {
            letters::read_mark(&mut body)?;
            let log = read_log(&mut body)?;
            let offset = body.u64("offset")?;
            entries.push(Entry::Command(Waiting { log, offset, bytes: body.0.to_vec() }));
        }
    }
    Ok(())
}

/// The segments that are there; none in a folder where nothing was written.
fn segments(wal: &Path) -> Result<Vec<u32>, FolderError> {
    if wal.exists() { segment::list(wal) } else { Ok(Vec::new()) }
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Bytes of a segment's frames: without its header, and without the zeros that a writer filled it with ahead. What cannot
/// be read counts as nothing.
fn written(path: &Path) -> u64 {
    let mut end = size(path);
    let Ok(file) = File::open(path) else { return 0 };
    while end > HEADER_BYTES {
        let begin = end.saturating_sub(ZEROS_BYTES).max(HEADER_BYTES);
        let Ok(bytes) = read_at(&file, begin, (end - begin) as usize) else { return 0 };
        if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
            return begin + last as u64 + 1 - HEADER_BYTES;
        }
        end = begin;
    }
    0
}

fn read_at(file: &File, offset: u64, wanted: usize) -> std::io::Result<Vec<u8>> {
    let left = file.metadata()?.len().saturating_sub(offset);
    let mut bytes = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(wanted)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], offset + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn damage(path: &Path, offset: u64, cause: &str) -> FolderError {
    FolderError::Damaged { path: path.to_owned(), offset, cause: cause.to_owned() }
}
