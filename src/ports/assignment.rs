//! Port: the assignment, which process is to own which log, and how often that ended a process.
//!
//! It only says whose turn it is; what keeps two owners apart is the claim on the log.

use crate::domain::LogId;
use async_trait::async_trait;

/// The assignment of logs to processes.
///
/// Contract:
/// - `confirm` answers, from what the one who assigns says *now*, whether the log is this process's; a process that was
///   paused learns here that its turn is over. It answers `false` where nobody can be asked.
/// - `consumed` says how far a log's commands are consumed. It is for those who watch the lag: nothing rests on it, and
///   it does no I/O.
/// - `note` says that so many tries that began with the command at this offset have ended with their process, should
///   this one end now. It is durable when it returns, or was not possible, which is logged: the next try then counts
///   less, and a command that kills takes one more process.
/// - `tried` gives what was noted last for the log, if it was noted at exactly this offset; else 0. What is consumed, and
///   a clean stop of the process, may make it 0 too. An adapter may note nothing in a process whose predecessor stopped
///   cleanly: the first end of a process is then not counted.
#[async_trait]
pub trait Assignment: Send + Sync + 'static {
    async fn confirm(&self, log: LogId) -> bool;

    fn consumed(&self, log: LogId, offset: u64);

    async fn tried(&self, log: LogId, offset: u64) -> u32;

    async fn note(&self, log: LogId, offset: u64, tries: u32);
}
