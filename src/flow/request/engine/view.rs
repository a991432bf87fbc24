//! How the engine does: a snapshot for views, and the gauges.

use super::{Engine, Shared};
use crate::domain::llm_request::ModelChoice;
use crate::flow::request::breaker::{Heard, State};
use crate::flow::request::queue::CLASSES;
use crate::flow::request::stats::ModelStats;
use crate::metrics::handles;
use std::time::Duration;
use tokio::time::Instant;

/// The engine at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub owned_logs: usize,
    /// Requests that wait, by class: interactive, normal, batch.
    pub waiting: [usize; CLASSES],
    /// How long the oldest of each class waits.
    pub oldest: [Duration; CLASSES],
    /// Requests that stay on their logs for want of room.
    pub spilled: usize,
    /// Requests that are carried out, those that wait for their limits included.
    pub running: usize,
    /// Models that were called within the last minute.
    pub models: Vec<ModelStats>,
    /// Breakers that are not closed.
    pub breakers: Vec<BreakerView>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct BreakerView {
    pub model: ModelChoice,
    /// `open` or `half_open`.
    pub state: &'static str,
    /// When a call goes through again, where it is open.
    pub opens_in: Option<Duration>,
}

impl Engine {
    /// What the breakers of all models heard that this process called, as far as they are remembered.
    pub fn heard(&self) -> Vec<(ModelChoice, Heard)> {
        self.0.breakers.heard()
    }

    pub fn snapshot(&self) -> Snapshot {
        let now = Instant::now();
        let view = |(model, state): (ModelChoice, State)| {
            let opens_in = match state {
                State::Open { until } => Some(until.saturating_duration_since(now)),
                State::Closed | State::HalfOpen => None,
            };
            BreakerView { model, state: state.name(), opens_in }
        };
        let breakers = self.0.breakers.open(now).into_iter().map(view).collect();
        let models = self.0.stats.snapshot(now);
        let board = self.0.board.lock();
        Snapshot {
            owned_logs: board.owned_logs().len(),
            waiting: board.depths(),
            oldest: board.oldest(now),
            spilled: board.spill.len(),
            running: board.running(),
            models,
            breakers,
        }
    }
}

impl Shared {
    /// Shows how it stands in the gauges.
    pub(super) fn show(&self) {
        let (waiting, spilled) = {
            let board = self.board.lock();
            (board.depths(), board.spill.len())
        };
        let handles = handles();
        let gauges =
            [&handles.request_waiting_interactive, &handles.request_waiting_normal, &handles.request_waiting_batch];
        gauges.iter().zip(waiting).for_each(|(gauge, waiting)| gauge.set(waiting as f64));
        handles.request_spilled.set(spilled as f64);
        handles.request_open_breakers.set(self.breakers.open(Instant::now()).len() as f64);
    }
}
