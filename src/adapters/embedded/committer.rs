//! The committer: the one thread that writes the segments.
//!
//! It takes everything that waits, checks each compare-and-set against the state that the writes before it leave, writes
//! all frames in one go, syncs once, and only then shows the effects and answers. Between two syncs any number of callers
//! gather: a sync costs 0.1 ms, whoever shares it.

use super::folder::FolderError;
use super::frame::{self, FrameKind};
use super::letters::{self, Redriving};
use super::logs::{LogCell, Logs, Pending, slot};
use super::segment::{Location, Writer};
use super::store::Store;
use crate::domain::LogId;
use crate::metrics::{Stopwatch, handles};
use crate::ports::journal::{self, Batch, LogState};
use crate::ports::topic::{self, Accepted, Buried, DeadLetter};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Most bytes that one sync covers; what waits beyond goes with the next.
const GROUP_BYTES_MAX: usize = 16 << 20;

/// One thing to write.
pub enum Write {
    Commands { commands: Vec<Entry>, done: oneshot::Sender<Result<(), topic::Error>> },
    Append { batch: Box<Batch>, done: oneshot::Sender<Result<(), journal::Error>> },
    Claim { log: LogId, done: oneshot::Sender<Result<LogState, journal::Error>> },
    DeadLetter { letter: Box<DeadLetter>, done: oneshot::Sender<Result<(), topic::Error>> },
    Redrive { redriving: Box<Redriving>, done: oneshot::Sender<Result<(), topic::Error>> },
    Stop,
}

/// An accepted command with its bytes.
pub struct Entry {
    pub log: LogId,
    pub command: Arc<Accepted>,
    pub bytes: Vec<u8>,
}

pub struct Setup {
    pub logs: Arc<Logs>,
    /// Takes the dead letters as they are written.
    pub store: Arc<Store>,
    pub writer: Writer,
    pub segment_bytes_max: u64,
}

/// A running committer.
pub struct Running {
    inbox: Sender<Write>,
    thread: JoinHandle<()>,
}

impl Running {
    pub fn inbox(&self) -> Sender<Write> {
        self.inbox.clone()
    }

    /// Ends the thread once everything sent before is synced.
    pub fn stop(self) {
        if self.inbox.send(Write::Stop).is_ok() && self.thread.join().is_err() {
            tracing::error!("the committer panicked");
        }
    }
}

/// Starts the thread.
pub fn start(setup: Setup) -> Result<Running, FolderError> {
    let (inbox, outbox) = channel();
    // The committer's own view runs ahead of what the ports see, by the group that is not synced yet.
    let ahead = setup.logs.all().map(|(_, cell)| ahead_of(cell)).collect();
    let dead_letters = setup.logs.dead_letters.load(Ordering::Relaxed);
    let committer = Committer { dead_letters, setup, outbox, ahead, buffer: Vec::new(), effects: Vec::new() };
    let thread = std::thread::Builder::new()
        .name("committer".into())
        .spawn(move || committer.run())
        .map_err(FolderError::derived)?;
    Ok(Running { inbox, thread })
}

fn ahead_of(cell: &LogCell) -> Ahead {
    let inner = cell.inner.lock();
    Ahead { state: inner.state.clone(), next_offset: inner.next_offset }
}

struct Ahead {
    state: LogState,
    next_offset: u64,
}

/// What becomes visible once the group is synced.
enum Effect {
    Commands { commands: Vec<(LogId, Pending)>, done: oneshot::Sender<Result<(), topic::Error>> },
    Append { log: LogId, state: LogState, locations: Vec<u64>, done: oneshot::Sender<Result<(), journal::Error>> },
    Claim { log: LogId, state: LogState, done: oneshot::Sender<Result<LogState, journal::Error>> },
    DeadLetter { number: u64, letter: Box<DeadLetter>, done: oneshot::Sender<Result<(), topic::Error>> },
    Redriven { redriving: Box<Redriving>, pending: Pending, done: oneshot::Sender<Result<(), topic::Error>> },
}

struct Committer {
    setup: Setup,
    outbox: Receiver<Write>,
    ahead: Vec<Ahead>,
    buffer: Vec<u8>,
    effects: Vec<Effect>,
    /// Number of the next dead letter.
    dead_letters: u64,
}

impl Committer {
    fn run(mut self) {
        let mut stopping = false;
        while !stopping {
            let Ok(first) = self.outbox.recv() else { break };
            self.make_room();
            stopping = self.stage(first);
            while !stopping && self.buffer.len() < GROUP_BYTES_MAX {
                let Ok(next) = self.outbox.try_recv() else { break };
                stopping = self.stage(next);
            }
            self.commit();
        }
        if let Err(error) = self.setup.writer.trim() {
            tracing::warn!(%error, "the zeros behind the last frame stay; the next start cuts them off");
        }
    }

    /// Opens the next segment when this one is full. A segment may pass the bound by one group.
    fn make_room(&mut self) {
        if u64::from(self.setup.writer.length) < self.setup.segment_bytes_max {
            return;
        }
        if let Err(error) = self.setup.writer.roll() {
            // The old one still takes writes; the next group tries again.
            tracing::error!(%error, "cannot open the next segment");
        }
    }

    fn here(&self) -> Location {
        let offset = self.setup.writer.length + self.buffer.len() as u32;
        Location { segment: self.setup.writer.segment, offset }
    }

    fn frame(&mut self, kind: FrameKind, body: impl FnOnce(&mut Vec<u8>)) {
        let writer = &self.setup.writer;
        frame::write(&mut self.buffer, kind, writer.segment, writer.synced, body);
    }

    /// Puts a write into the group, or answers it at once when its compare-and-set fails.
    fn stage(&mut self, write: Write) -> bool {
        match write {
            Write::Stop => return true,
            Write::Commands { commands, done } => self.stage_commands(commands, done),
            Write::Append { batch, done } => self.stage_append(&batch, done),
            Write::Claim { log, done } => self.stage_claim(log, done),
            Write::DeadLetter { letter, done } => self.stage_letter(letter, done),
            Write::Redrive { redriving, done } => self.stage_redriving(redriving, done),
        }
        false
    }

    fn stage_letter(&mut self, letter: Box<DeadLetter>, done: oneshot::Sender<Result<(), topic::Error>>) {
        let number = self.dead_letters;
        let bytes = match letters::encode(number, &letter) {
            Ok(bytes) => bytes,
            Err(error) => return drop(done.send(Err(topic::Error::Unavailable(error.to_string())))),
        };
        self.dead_letters += 1;
        self.frame(FrameKind::DeadLetter, |body| body.extend_from_slice(&bytes));
        self.effects.push(Effect::DeadLetter { number, letter, done });
    }

    fn stage_redriving(&mut self, redriving: Box<Redriving>, done: oneshot::Sender<Result<(), topic::Error>>) {
        let location = self.here();
        let next = &mut self.ahead[slot(redriving.log, self.setup.logs.partitions())].next_offset;
        let offset = *next;
        *next += 1;
        self.frame(FrameKind::Redriven, |body| redriving.encode(offset, body));
        let pending = redriving.pending(offset, location);
        self.effects.push(Effect::Redriven { redriving, pending, done });
    }

    fn stage_commands(&mut self, commands: Vec<Entry>, done: oneshot::Sender<Result<(), topic::Error>>) {
        let location = self.here();
        let partitions = self.setup.logs.partitions();
        let mut staged = Vec::with_capacity(commands.len());
        let ahead = &mut self.ahead;
        let writer = &self.setup.writer;
        frame::write(&mut self.buffer, FrameKind::Commands, writer.segment, writer.synced, |body| {
            body.extend_from_slice(&(commands.len() as u32).to_le_bytes());
            for entry in commands {
                let next = &mut ahead[slot(entry.log, partitions)].next_offset;
                let offset = *next;
                *next += 1;
                body.push(entry.log.aggregate as u8);
                body.extend_from_slice(&entry.log.partition.to_le_bytes());
                body.extend_from_slice(&offset.to_le_bytes());
                body.extend_from_slice(&(entry.bytes.len() as u32).to_le_bytes());
                body.extend_from_slice(&entry.bytes);
                let bytes = entry.bytes.len();
                staged.push((entry.log, Pending { offset, command: Ok(entry.command), redriven: 0, location, bytes }));
            }
        });
        self.effects.push(Effect::Commands { commands: staged, done });
    }

    fn stage_append(&mut self, batch: &Batch, done: oneshot::Sender<Result<(), journal::Error>>) {
        let log = batch.log;
        let state = &self.ahead[slot(log, self.setup.logs.partitions())].state;
        let refused = if state.epoch != batch.epoch {
            Some(journal::Error::Fenced { log, epoch: state.epoch })
        } else if state.head_hash != batch.previous_hash || state.head + 1 != batch.first_position {
            Some(journal::Error::Conflict { log, head: state.head })
        } else {
            None
        };
        if let Some(error) = refused {
            let _ = done.send(Err(error));
            return;
        }
        let after = LogState {
            epoch: batch.epoch,
            head: state.head + batch.records.len() as u64,
            head_hash: batch.head_hash,
            recorded_at: if batch.records.is_empty() { state.recorded_at } else { batch.recorded_at },
            consumed: batch.consumed.max(state.consumed),
            derived_to: batch.derived_to.max(state.derived_to),
        };
        let start = self.here();
        let mut locations = Vec::with_capacity(batch.records.len());
        self.frame(FrameKind::Records, |body| {
            let frame_start = body.len() - frame::HEADER_BYTES;
            write_batch_head(batch, &after, body);
            for (bytes, hash) in &batch.records {
                let offset = start.offset + (body.len() - frame_start) as u32;
                locations.push(Location { segment: start.segment, offset }.pack());
                body.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
                body.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
                body.extend_from_slice(bytes);
                body.extend_from_slice(hash);
            }
        });
        self.ahead[slot(log, self.setup.logs.partitions())].state = after.clone();
        self.effects.push(Effect::Append { log, state: after, locations, done });
    }

    fn stage_claim(&mut self, log: LogId, done: oneshot::Sender<Result<LogState, journal::Error>>) {
        let state = &mut self.ahead[slot(log, self.setup.logs.partitions())].state;
        state.epoch += 1;
        let state = state.clone();
        self.frame(FrameKind::Claim, |body| {
            body.push(log.aggregate as u8);
            body.extend_from_slice(&log.partition.to_le_bytes());
            body.extend_from_slice(&state.epoch.to_le_bytes());
        });
        self.effects.push(Effect::Claim { log, state, done });
    }

    fn commit(&mut self) {
        let effects = std::mem::take(&mut self.effects);
        if self.buffer.is_empty() {
            return;
        }
        let watch = Stopwatch::start();
        let full = u32::try_from(self.setup.segment_bytes_max).unwrap_or(u32::MAX);
        let result = self.setup.writer.append(&self.buffer, full);
        let bytes = self.buffer.len();
        self.buffer.clear();
        match result {
            Ok(()) => {
                watch.record(&handles().folder_sync);
                handles().folder_syncs.increment(1);
                handles().receive_waiting.set(self.setup.logs.waiting.load(Ordering::Relaxed) as f64);
                handles().folder_written.increment(bytes as u64);
                for effect in effects {
                    self.show(effect);
                }
                // Only now: a checkpoint that reads this end also sees everything before it.
                self.setup.logs.set_end(self.setup.writer.end());
            }
            Err(error) => {
                tracing::error!(%error, "the group was not written; everything in it is refused");
                let logs = self.setup.logs.clone();
                self.ahead = logs.all().map(|(_, cell)| ahead_of(cell)).collect();
                for effect in effects {
                    refuse(effect, &error.to_string());
                }
            }
        }
    }

    fn show(&self, effect: Effect) {
        let logs = &self.setup.logs;
        match effect {
            Effect::Commands { commands, done } => {
                for (log, pending) in commands {
                    arrive(logs.cell(log), pending);
                }
                let _ = done.send(Ok(()));
            }
            Effect::Append { log, state, locations, done } => {
                let consumed = state.consumed;
                logs.appended.fetch_add(locations.len() as u64, Ordering::Relaxed);
                let mut inner = logs.cell(log).inner.lock();
                inner.state = state;
                inner.locations.extend(locations);
                drop(inner);
                logs.consumed(log, consumed);
                let _ = done.send(Ok(()));
            }
            Effect::Claim { log, state, done } => {
                logs.cell(log).inner.lock().state = state.clone();
                let _ = done.send(Ok(state));
            }
            Effect::DeadLetter { number, letter, done } => {
                self.setup.store.dead_letters.put(number.to_be_bytes(), Buried { letter: *letter, redriven: 0 });
                logs.dead_letters.store(number + 1, Ordering::Relaxed);
                let _ = done.send(Ok(()));
            }
            Effect::Redriven { redriving, pending, done } => {
                let Redriving { number, log, buried, .. } = *redriving;
                self.setup.store.dead_letters.put(number.to_be_bytes(), buried);
                arrive(logs.cell(log), pending);
                let _ = done.send(Ok(()));
            }
        }
    }
}

/// Shows a synced command to its log's processor.
fn arrive(cell: &LogCell, pending: Pending) {
    let mut inner = cell.inner.lock();
    inner.next_offset = pending.offset + 1;
    inner.pending.push_back(pending);
    drop(inner);
    cell.arrived.notify_one();
}

fn refuse(effect: Effect, cause: &str) {
    let journal = || journal::Error::Unavailable(cause.to_owned());
    let topic = || topic::Error::Unavailable(cause.to_owned());
    match effect {
        Effect::Commands { done, .. } => drop(done.send(Err(topic()))),
        Effect::Append { done, .. } => drop(done.send(Err(journal()))),
        Effect::Claim { done, .. } => drop(done.send(Err(journal()))),
        Effect::DeadLetter { done, .. } | Effect::Redriven { done, .. } => drop(done.send(Err(topic()))),
    }
}

/// The head of a `Records` frame's body; [`read_batch_head`](super::recover) is its other half.
fn write_batch_head(batch: &Batch, after: &LogState, body: &mut Vec<u8>) {
    body.push(batch.log.aggregate as u8);
    body.extend_from_slice(&batch.log.partition.to_le_bytes());
    for number in [batch.epoch, batch.first_position, after.consumed, after.derived_to] {
        body.extend_from_slice(&number.to_le_bytes());
    }
    body.extend_from_slice(&after.recorded_at.to_le_bytes());
    body.extend_from_slice(&batch.head_hash);
    body.extend_from_slice(&(batch.records.len() as u32).to_le_bytes());
}
