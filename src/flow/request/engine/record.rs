//! How what the engine has to say gets into the logs: by the lane of a log that this process owns, or, where it is
//! another's by now, by the topics. A command keeps its id on both ways, and has one effect.

use super::Shared;
use crate::domain::{LogId, Rejection};
use crate::flow::request::backoff;
use crate::flow::request::seam::Answered;
use crate::metrics::handles;
use crate::ports::topic::{Accepted, Error, Lane};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Waits between tries of the topics.
const AGAIN: backoff::Config = backoff::Config { first: Duration::from_millis(200), longest: Duration::from_secs(10) };

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Answered(Answered),
    /// It is durable in its topic: whoever owns the log decides it.
    Sent,
    /// It is larger than its topic takes.
    TooLarge,
    /// Neither took it in time.
    Lost,
}

impl Told {
    pub fn refusal(&self) -> Option<&Rejection> {
        match self {
            Self::Answered(answered) => answered.refusal(),
            _ => None,
        }
    }

    /// Whether it is, or will be, in the log.
    pub fn is_recorded(&self) -> bool {
        match self {
            Self::Answered(answered) => answered.refusal().is_none(),
            Self::Sent => true,
            Self::TooLarge | Self::Lost => false,
        }
    }
}

impl Shared {
    /// Records a command of a log, whoever owns that.
    pub async fn record(&self, log: LogId, command: Arc<Accepted>) -> Told {
        let until = Instant::now() + self.config.record_for;
        let mut failures = 0;
        loop {
            let lane = self.board.lock().owned(log).map(|owned| owned.lane.clone());
            if let Some(lane) = lane
                && let Ok(answered) = lane.send(command.clone()).await
            {
                return Told::Answered(answered);
            }
            let error = match self.topics.produce(vec![command.clone()], Lane::System).await {
                Ok(()) => return Told::Sent,
                Err(Error::TooLarge(_)) => return Told::TooLarge,
                Err(error) => error,
            };
            failures += 1;
            let Some(at) = AGAIN.next(failures, None, self.random(), Instant::now(), until) else {
                handles().request_lost_records.increment(1);
                let (stream, kind) = (command.envelope.stream, command.command.name());
                tracing::error!(%stream, kind, %error, "what became of a request could not be recorded: it may be called again");
                return Told::Lost;
            };
            tokio::time::sleep_until(at).await;
        }
    }
}
