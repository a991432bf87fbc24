//! Port: the assignment, which process is to own which log.
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
#[async_trait]
pub trait Assignment: Send + Sync + 'static {
    async fn confirm(&self, log: LogId) -> bool;

    fn consumed(&self, log: LogId, offset: u64);
}
