//! The lane: commands from within the process that owns a log, without the way over a topic.
//!
//! Whoever calls a model must know that its attempt is recorded before the first byte leaves, and a caller who waits for
//! an answer must not wait for a broker first. So a claimed log takes commands by a channel too. They are decided,
//! appended and derived as polled ones are, in the same batches; they have no offset, and move `consumed` by nothing.
//!
//! **What is promised.** Nothing, until the answer is there: a command that waits here is in memory alone, and ends with
//! the claim or the process. Its sender has it still, and is told which of the two happened: [`NotTaken::Ended`], nothing
//! of it was recorded, or [`NotTaken::Unknown`], it may be. In both cases sending it again under the same id, by whichever
//! way, does what is not done yet and nothing twice. A sender that goes away takes nothing back.
//!
//! **Panics.** A command that panics in its decision is dead-lettered with its bytes, as a polled one is, and answered so;
//! it can be sent again from there, by the topic. One that ends the process (a stack that overflows) ends its sender too:
//! nothing had been promised to anybody. It is not met again by itself, as one of a topic would be, so no try is noted for
//! it, and none of those that are noted is mixed with it.

use crate::domain::record::RecordKind;
use crate::domain::{LogId, Partitions, Rejection};
use crate::flow::decide::{Answer as Known, Became};
use crate::ports::journal::Recorded;
use crate::ports::outcome::Outcome;
use crate::ports::topic::Accepted;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{mpsc, oneshot};

/// What became of a command, told once it is durable in its log. Its index rows may not be written yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Of the record that the answer rests on: the command's last one, for a repeated command the first outcome's. 0 where
    /// it made none.
    pub position: u64,
    /// The stream's version after it; for one that made no record, as it stands.
    pub version: u64,
    pub outcome: LaneOutcome,
}

/// How a command of the lane ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaneOutcome {
    Applied,
    /// Right, and nothing was left to change.
    Unchanged,
    /// Recorded as refused.
    Refused(Rejection),
    /// The same command was decided before. Its outcome is told by the record at this position.
    Repeated(u64),
    /// Its id is another command's. What it said is kept as a dead letter.
    IdReused,
    /// It could not be decided, which is a fault of this program. It is kept as a dead letter.
    DeadLettered,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// Nothing of it was recorded by this sending, and nothing will be.
    #[error("log {0} is not this process's any more, and the command was not decided; send it by its topic")]
    Ended(LogId),
    /// The claim ended while the command was under way: it may be in the log or among the dead letters, or may still get
    /// there until the log is claimed again.
    #[error("whether log {0} took the command is not known; send it again under the same id, by its topic")]
    Unknown(LogId),
    /// Too many wait. Nothing of it was taken.
    #[error("too many commands wait for log {0}; try again once some of them are answered")]
    Full(LogId),
    /// Its stream lives elsewhere. Nothing of it was taken.
    #[error("the command's stream lives in log {home}, not in {lane}; send it there")]
    OtherLog { lane: LogId, home: LogId },
}

/// Takes commands for one claim of a log. Clones take for the same claim; once it ends, all of them answer
/// [`NotTaken::Ended`].
#[derive(Clone)]
pub struct Lane {
    log: LogId,
    partitions: Partitions,
    sender: mpsc::Sender<Asked>,
}

impl Lane {
    /// A lane where at most `commands_max` wait, and its other end.
    pub(super) fn new(log: LogId, partitions: Partitions, commands_max: usize) -> (Self, mpsc::Receiver<Asked>) {
        let (sender, inbox) = mpsc::channel(commands_max.max(1));
        (Self { log, partitions, sender }, inbox)
    }

    /// The log whose commands it takes.
    pub fn log(&self) -> LogId {
        self.log
    }

    /// Whether the claim ended: nothing more is taken.
    pub fn has_ended(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends a command and waits for what becomes of it; while too many wait, for room first. Commands are decided in the
    /// order in which they found room.
    ///
    /// # Errors
    /// See [`NotTaken`]; never [`NotTaken::Full`].
    pub async fn send(&self, command: Arc<Accepted>) -> Result<Answered, NotTaken> {
        let (asked, answer) = self.asked(command)?;
        // Where nobody takes it any more, it is answered as it is dropped.
        let _ = self.sender.send(asked).await;
        answer.await
    }

    /// Sends a command if there is room for it. It is on its way when this returns, whether the answer is awaited or not.
    ///
    /// # Errors
    /// [`NotTaken::Full`] where too many wait, [`NotTaken::Ended`] and [`NotTaken::OtherLog`].
    pub fn try_send(&self, command: Arc<Accepted>) -> Result<Answer, NotTaken> {
        let (asked, answer) = self.asked(command)?;
        match self.sender.try_send(asked) {
            Ok(()) => Ok(answer),
            Err(mpsc::error::TrySendError::Full(_)) => Err(NotTaken::Full(self.log)),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(NotTaken::Ended(self.log)),
        }
    }

    fn asked(&self, command: Arc<Accepted>) -> Result<(Asked, Answer), NotTaken> {
        let home = command.envelope.stream.log(self.partitions);
        if home != self.log {
            return Err(NotTaken::OtherLog { lane: self.log, home });
        }
        let (sender, answer) = oneshot::channel();
        let asked = Asked { command, log: self.log, sent: false, sender: Some(sender) };
        Ok((asked, Answer { log: self.log, answer }))
    }
}

/// The answer to a command that is on its way.
#[must_use = "the command takes effect without it, but nobody knows"]
#[derive(Debug)]
pub struct Answer {
    log: LogId,
    answer: oneshot::Receiver<Result<Answered, NotTaken>>,
}

impl Future for Answer {
    type Output = Result<Answered, NotTaken>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let unknown = Err(NotTaken::Unknown(self.log));
        Pin::new(&mut self.answer).poll(context).map(|answer| answer.unwrap_or(unknown))
    }
}

/// A command of the lane. Dropped without an answer it says by itself how far it got, so that no way out of a claim,
/// not even a task that is cut off, leaves its sender without one.
pub(super) struct Asked {
    pub command: Arc<Accepted>,
    log: LogId,
    /// Whether something of it may be durable.
    pub sent: bool,
    sender: Option<oneshot::Sender<Result<Answered, NotTaken>>>,
}

impl Asked {
    /// Tells the sender. One that went away is not told.
    pub fn answer(mut self, answered: Answered) {
        if let Some(sender) = self.sender.take() {
            let _ = sender.send(Ok(answered));
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.take() {
            let _ = sender.send(Err(if self.sent { NotTaken::Unknown } else { NotTaken::Ended }(self.log)));
        }
    }
}

/// What the sender of a command is told that became this in a batch of these records.
pub(super) fn answered(log: LogId, became: Became, records: &[Recorded]) -> Answered {
    let (answer, version) = match became {
        Became::Answered(answer, version) => (answer, version),
        Became::Recorded(place) => match records.get(place) {
            Some(recorded) => return told(log, recorded),
            None => (Known::Poisonous, 0),
        },
    };
    let (position, outcome) = match answer {
        Known::First(position) => (position, LaneOutcome::Repeated(position)),
        Known::IdReused => (0, LaneOutcome::IdReused),
        Known::Poisonous => (0, LaneOutcome::DeadLettered),
    };
    Answered { position, version, outcome }
}

fn told(log: LogId, Recorded { record, .. }: &Recorded) -> Answered {
    let unread = || Rejection::new("refused", "the log says why; read the stream's history");
    let outcome = match record.kind {
        RecordKind::Event => LaneOutcome::Applied,
        RecordKind::Unchanged => LaneOutcome::Unchanged,
        RecordKind::Refusal => LaneOutcome::Refused(Outcome::of(log, record).reason.unwrap_or_else(unread)),
    };
    Answered { position: record.position, version: record.version, outcome }
}
