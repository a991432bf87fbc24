//! Opening a folder: what the checkpoint says, and what the segments say beyond it.

use super::checkpoint::Checkpoint;
use super::command;
use super::folder::{FolderError, Layout, sync_directory};
use super::frame::{self, Frame, FrameError, FrameKind};
use super::letters;
use super::logs::{LogInner, Logs, Pending, count, slot};
use super::segment::{self, HEADER_BYTES, Location, Writer, path_of};
use super::store::{Store, slots};
use crate::domain::record::{CHAIN_START, Cursor, RecordError};
use crate::domain::{Aggregate, LogId};
use crate::ports::journal::LogState;
use crate::ports::topic::Buried;
use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// What opening a folder gives.
pub struct Recovered {
    pub logs: Logs,
    pub writer: Writer,
    /// Per slot, how far the derived store holds the index and the views.
    pub indexed_to: Vec<u64>,
    pub projected_to: Vec<u64>,
}

/// Reads the checkpoint and every segment from the place that it names on.
///
/// # Errors
/// For damage; a torn end of the last segment is cut off instead, and said.
pub fn recover(layout: &Layout, store: &Store) -> Result<Recovered, FolderError> {
    let wal = layout.wal();
    fs::create_dir_all(&wal).map_err(|cause| FolderError::io(&wal, cause))?;
    sync_directory(layout.root())?;
    let checkpoint = Checkpoint::read(layout)?;
    let mut scan = Scan::from_checkpoint(layout.partitions, &checkpoint);
    let segments = segment::list(&wal)?;
    none_missing(&wal, &segments, checkpoint.end)?;
    let from = checkpoint.scan_from;
    let mut writer = None;
    for (step, number) in segments.iter().enumerate() {
        if *number < from.segment {
            continue;
        }
        let last = step + 1 == segments.len();
        let start = if *number == from.segment { u64::from(from.offset).max(HEADER_BYTES) } else { HEADER_BYTES };
        let end = scan.segment(layout, store, *number, start, last)?;
        if last {
            writer = Some(match end {
                Some(end) => Writer::resume(&wal, *number, end)?,
                None => remake(layout, *number)?,
            });
        }
    }
    let writer = match writer {
        Some(writer) => writer,
        None => Writer::create(&wal, 1)?,
    };
    Ok(scan.finish(layout.partitions, writer))
}

/// Segments are numbered from 1 on and none is ever removed: one that is not there was lost.
fn none_missing(wal: &Path, segments: &[u32], end: Location) -> Result<(), FolderError> {
    let missing = (1..).zip(segments).find_map(|(due, there)| (due != *there).then_some(due));
    let after = segments.last().map_or(1, |last| last + 1);
    match missing.or((after <= end.segment).then_some(after)) {
        Some(number) => {
            let (path, cause) = (path_of(wal, number), "the segment is missing".to_owned());
            Err(FolderError::Damaged { path, offset: 0, cause })
        }
        None => Ok(()),
    }
}

/// A segment whose own header was torn holds nothing: it is made anew.
fn remake(layout: &Layout, number: u32) -> Result<Writer, FolderError> {
    let path = path_of(&layout.wal(), number);
    tracing::warn!(path = %path.display(), "the last segment was not finished when the process ended; made anew");
    fs::remove_file(&path).map_err(|cause| FolderError::io(&path, cause))?;
    Writer::create(&layout.wal(), number)
}

/// The state of all logs while segments are read.
struct Scan {
    partitions: u16,
    inners: Vec<LogInner>,
    dead_letters: u64,
    indexed_to: Vec<u64>,
    projected_to: Vec<u64>,
    /// Up to here the checkpoint knows that segments were synced.
    end: Location,
}

impl Scan {
    fn from_checkpoint(partitions: u16, checkpoint: &Checkpoint) -> Self {
        let mut scan = Self {
            partitions,
            inners: Vec::with_capacity(count(partitions)),
            dead_letters: checkpoint.dead_letters,
            indexed_to: Vec::new(),
            projected_to: Vec::new(),
            end: checkpoint.end,
        };
        for (slot, _) in slots(partitions) {
            let log = checkpoint.logs.get(slot).cloned().unwrap_or_default();
            scan.indexed_to.push(log.indexed_to);
            scan.projected_to.push(log.projected_to);
            scan.inners.push(LogInner {
                state: LogState {
                    epoch: log.epoch,
                    head: log.located,
                    head_hash: log.head_hash.unwrap_or(CHAIN_START),
                    recorded_at: log.recorded_at,
                    consumed: log.consumed,
                    derived_to: log.derived_to,
                },
                next_offset: log.next_offset,
                pending: VecDeque::new(),
                locations: Vec::new(),
                located: log.located,
                published_to: 0,
                recent: VecDeque::new(),
            });
        }
        scan
    }

    /// Reads one segment. Gives where its last whole frame ends, or `None` when not even its header is whole.
    fn segment(
        &mut self,
        layout: &Layout,
        store: &Store,
        number: u32,
        start: u64,
        last: bool,
    ) -> Result<Option<u32>, FolderError> {
        let path = path_of(&layout.wal(), number);
        let bytes = fs::read(&path).map_err(|cause| FolderError::io(&path, cause))?;
        let damaged =
            |offset: u64, cause: &str| FolderError::Damaged { path: path.clone(), offset, cause: cause.to_owned() };
        let mut synced = if number == self.end.segment { self.end.offset as usize } else { 0 };
        if !bytes.starts_with(&segment::header(number)) {
            let torn = last && synced == 0 && bytes.len() <= HEADER_BYTES as usize;
            return if torn { Ok(None) } else { Err(damaged(0, "the segment's header is not its own")) };
        }
        if bytes.len() < synced {
            return Err(damaged(bytes.len() as u64, "the file ends early"));
        }
        let mut offset = start as usize;
        while offset < bytes.len() {
            match frame::read(&bytes[offset..], number) {
                Ok((frame, length)) => {
                    synced = synced.max(frame.synced as usize);
                    let location = Location { segment: number, offset: offset as u32 };
                    self.frame(store, frame, location).map_err(|error| damaged(offset as u64, &error.to_string()))?;
                    offset += length;
                }
                Err(error) => {
                    let cause = match error {
                        FrameError::Short => "a frame ends early",
                        FrameError::Bad(cause) => cause,
                    };
                    if last && offset >= synced && segment::is_filling(&bytes[offset..]) {
                        break;
                    }
                    if !last || offset < synced || frame::synced_beyond(&bytes, 0, offset, number) {
                        return Err(damaged(offset as u64, cause));
                    }
                    let cut = bytes.len() - offset;
                    tracing::warn!(path = %path.display(), offset, cut, cause, "cut a torn write off the last segment");
                    break;
                }
            }
        }
        Ok(Some(offset as u32))
    }

    fn frame(&mut self, store: &Store, frame: Frame<'_>, location: Location) -> Result<(), RecordError> {
        match frame.kind {
            FrameKind::Commands => self.commands(frame.body, location),
            FrameKind::Records => self.records(frame.body, location),
            FrameKind::Claim => {
                let mut body = Cursor(frame.body);
                let log = read_log(&mut body)?;
                let epoch = body.u64("epoch")?;
                let state = &mut self.inner(log)?.state;
                state.epoch = state.epoch.max(epoch);
                Ok(())
            }
            FrameKind::DeadLetter => {
                let (number, letter) = letters::decode(frame.body)?;
                store.dead_letters.put(number.to_be_bytes(), Buried { letter, redriven: 0 });
                self.dead_letters = self.dead_letters.max(number + 1);
                Ok(())
            }
            FrameKind::Redriven => self.redriven(store, frame.body, location),
        }
    }

    /// A letter that was sent again: its mark, and the command.
    fn redriven(&mut self, store: &Store, body: &[u8], location: Location) -> Result<(), RecordError> {
        let mut body = Cursor(body);
        let mark = letters::read_mark(&mut body)?;
        let log = read_log(&mut body)?;
        let offset = body.u64("offset")?;
        let missing = || RecordError::Unknown("number: there is no such dead letter");
        let letter = store.dead_letters.get(&mark.number.to_be_bytes()).map_err(|_| missing())?.ok_or_else(missing)?;
        store.dead_letters.put(mark.number.to_be_bytes(), Buried { redriven: mark.redriven, ..letter });
        let inner = self.inner(log)?;
        inner.next_offset = inner.next_offset.max(offset + 1);
        if offset >= inner.state.consumed {
            inner.pending.push_back(letters::pending(body.0, offset, mark.attempts, location));
        }
        Ok(())
    }

    fn inner(&mut self, log: LogId) -> Result<&mut LogInner, RecordError> {
        self.inners.get_mut(slot(log, self.partitions)).ok_or(RecordError::Unknown("log"))
    }

    fn commands(&mut self, body: &[u8], location: Location) -> Result<(), RecordError> {
        let mut body = Cursor(body);
        let commands = u32::from_le_bytes(body.array("count")?);
        for _ in 0..commands {
            let log = read_log(&mut body)?;
            let offset = body.u64("offset")?;
            let length = u32::from_le_bytes(body.array("length")?) as usize;
            let bytes = body.take(length, "command")?;
            let inner = self.inner(log)?;
            inner.next_offset = inner.next_offset.max(offset + 1);
            if offset >= inner.state.consumed {
                let command = command::decode(bytes).map(Arc::new);
                inner.pending.push_back(Pending { offset, command, redriven: 0, location, bytes: length });
            }
        }
        Ok(())
    }

    fn records(&mut self, whole: &[u8], location: Location) -> Result<(), RecordError> {
        let mut body = Cursor(whole);
        let batch = read_batch_head(&mut body)?;
        let inner = self.inner(batch.log)?;
        for step in 0..u64::from(batch.records) {
            let offset = location.offset as usize + frame::HEADER_BYTES + (whole.len() - body.0.len());
            let length = u32::from_le_bytes(body.array("length")?) as usize;
            body.take(4 + length + 32, "record")?;
            let position = batch.first_position + step;
            if position == inner.state.head + 1 {
                inner.state.head = position;
                inner.locations.push(Location { segment: location.segment, offset: offset as u32 }.pack());
            } else if position > inner.state.head {
                return Err(RecordError::Unknown("position: the log has a gap"));
            }
        }
        let last = batch.first_position + u64::from(batch.records) - 1;
        let state = &mut inner.state;
        if last == state.head {
            state.head_hash = batch.head_hash;
            state.recorded_at = state.recorded_at.max(batch.recorded_at);
        }
        state.epoch = state.epoch.max(batch.epoch);
        state.consumed = state.consumed.max(batch.consumed);
        state.derived_to = state.derived_to.max(batch.derived_to);
        while inner.pending.front().is_some_and(|pending| pending.offset < inner.state.consumed) {
            inner.pending.pop_front();
        }
        Ok(())
    }

    fn finish(mut self, partitions: u16, writer: Writer) -> Recovered {
        for inner in &mut self.inners {
            // What was published before is in the log; a follower reads it there.
            inner.published_to = inner.state.derived_to.min(inner.state.head);
        }
        Recovered {
            logs: Logs::new(partitions, self.inners, writer.end(), self.dead_letters),
            writer,
            indexed_to: self.indexed_to,
            projected_to: self.projected_to,
        }
    }
}

/// The head of a batch as the committer wrote it.
pub struct BatchHead {
    pub log: LogId,
    pub epoch: u64,
    pub first_position: u64,
    pub consumed: u64,
    pub derived_to: u64,
    pub recorded_at: i64,
    pub head_hash: [u8; 32],
    pub records: u32,
}

/// Reads the head of a `Records` frame's body.
pub fn read_batch_head(body: &mut Cursor<'_>) -> Result<BatchHead, RecordError> {
    Ok(BatchHead {
        log: read_log(body)?,
        epoch: body.u64("epoch")?,
        first_position: body.u64("first position")?,
        consumed: body.u64("consumed")?,
        derived_to: body.u64("derived_to")?,
        recorded_at: body.u64("recorded_at")? as i64,
        head_hash: body.array("head hash")?,
        records: u32::from_le_bytes(body.array("count")?),
    })
}

/// Reads the name of a log.
pub fn read_log(body: &mut Cursor<'_>) -> Result<LogId, RecordError> {
    let [aggregate] = body.array("aggregate")?;
    let aggregate = Aggregate::from_code(aggregate).ok_or(RecordError::Unknown("aggregate"))?;
    Ok(LogId { aggregate, partition: u16::from_le_bytes(body.array("partition")?) })
}
