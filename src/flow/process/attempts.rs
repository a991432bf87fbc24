//! Commands that end the process: abort, a stack that overflows, memory that runs out. A panic is caught where it is
//! decided; these are not, and the command would be met again by the next process, and the next.
//!
//! So the first batch after a claim is a *try*, noted durably before anything of it is decided and taken back if it fails
//! while the process lives. What remains noted ended with its process. From the third try on commands are taken one at a
//! time, until the batch that may hold the killer is behind; a command before which three tries were noted is
//! dead-lettered instead of decided. While one is tried alone no other log of the process begins a noted try: an end of
//! the process must not be counted against a bystander.

use super::Processor;
use crate::domain::LogId;
use crate::ports::Assignment;
use crate::ports::topic::Delivery;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Tries that ended with their process before commands are taken alone, and before one of them is dead-lettered.
const TRIES_BEFORE_ALONE: u32 = 2;
const TRIES_MAX: u32 = 3;

/// What dies is the process, with all its logs: hence one for the process. Shared by the tries of many commands, held
/// alone by those of a single one.
static TRIES: RwLock<()> = RwLock::const_new(());

/// The tries of a claim.
pub(super) struct Attempts {
    /// Whether nothing was appended since the claim.
    first: bool,
    /// Commands that are still taken one at a time.
    alone: usize,
    noted: Option<Noted>,
}

#[derive(Clone, Copy)]
struct Noted {
    offset: u64,
    /// What was noted before this try.
    before: u32,
}

/// How a batch is to be taken.
#[derive(Default)]
pub(super) struct Try {
    /// Why its only command is not to be decided.
    pub condemned: Option<String>,
    _turn: Option<Turn>,
}

/// Held until the try is over.
#[expect(dead_code, reason = "what is inside is held, not read")]
enum Turn {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

impl Attempts {
    pub fn new() -> Self {
        Self { first: true, alone: 0, noted: None }
    }

    /// Most commands of the next batch.
    pub fn records_max(&self, records_max: usize) -> usize {
        if self.alone > 0 { 1 } else { records_max }
    }

    /// Whether an end of the process is held against what is decided now.
    pub fn are_noted(&self) -> bool {
        self.noted.is_some() || self.alone > 0
    }

    /// A batch was appended: nobody died of it.
    pub fn passed(&mut self) {
        self.first = false;
        self.noted = None;
        self.alone = self.alone.saturating_sub(1);
    }

    /// The claim ends and the process lives: its try does not count.
    pub async fn take_back(&mut self, log: LogId, assignment: &dyn Assignment) {
        if let Some(Noted { offset, before }) = self.noted.take() {
            assignment.note(log, offset, before).await;
        }
    }
}

impl Processor<'_> {
    /// Notes that a try of these commands begins, where tries are noted. Leaves one of them where it is to be alone.
    pub(super) async fn begin(&mut self, deliveries: &mut Vec<Delivery>) -> Try {
        if !self.attempts.first && self.attempts.alone == 0 {
            return Try::default();
        }
        let (log, offset, assignment) = (self.log, self.state.consumed, &*self.parts.assignment);
        let before = assignment.tried(log, offset).await;
        if before >= TRIES_BEFORE_ALONE && self.attempts.alone == 0 {
            tracing::warn!(%log, offset, tries = before, "processes ended at these commands; they are taken one by one");
            self.attempts.alone = self.parts.limits.batch_records_max;
        }
        let turn = if self.attempts.alone > 0 {
            deliveries.truncate(1);
            Turn::Alone(TRIES.write().await)
        } else {
            Turn::Shared(TRIES.read().await)
        };
        let condemned = (before >= TRIES_MAX).then(|| format!("it ended the process that decided it {before} times"));
        if condemned.is_none() {
            self.attempts.noted = Some(Noted { offset, before });
            assignment.note(log, offset, before + 1).await;
        }
        Try { condemned, _turn: Some(turn) }
    }
}
