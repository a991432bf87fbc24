//! What waits in the queue, and the queue's bounds.

use super::line::Place;
use crate::domain::StreamId;
use crate::domain::llm_request::Priority;
use std::time::Duration;
use tokio::time::Instant;

/// How many classes there are.
pub const CLASSES: usize = 3;
/// Tokens that a request counts for beside its own.
const REQUEST_TOKENS: u64 = 200;
/// Names a gate.
pub type Gate = u64;

/// The place of a class in the arrays here.
pub fn class_of(priority: Priority) -> usize {
    match priority {
        Priority::Interactive => 0,
        Priority::Normal => 1,
        Priority::Batch => 2,
    }
}

/// Bounds and shares, by class: interactive, normal, batch.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Most requests that wait.
    pub waiting_max: [usize; CLASSES],
    /// After waiting so long the oldest of a class has aged.
    pub aged_after: [Duration; CLASSES],
    /// Of so many turns an aged class gets at least one.
    pub share: [u32; CLASSES],
}

impl Default for Config {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            waiting_max: [10_000, 100_000, 100_000],
            aged_after: [Duration::ZERO, seconds(2), seconds(30)],
            share: [1, 4, 16],
        }
    }
}

/// A request that waits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Item {
    pub stream: StreamId,
    pub priority: Priority,
    pub gate: Gate,
    /// Tokens that it may use, both ways.
    pub tokens: u64,
    /// A request that comes again keeps it, and with it its place.
    pub arrived: Instant,
    pub deadline: Instant,
    /// Whether a log has it, so that it can be displaced.
    pub is_durable: bool,
}

impl Item {
    pub(super) fn place(&self) -> Place {
        (self.arrived, self.stream)
    }

    pub(super) fn cost(&self) -> u64 {
        self.tokens.saturating_add(REQUEST_TOKENS)
    }
}

/// What became of one that came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pushed {
    In,
    /// It is in, and this one had to go.
    Displaced(Item),
    /// There is no room. There may be in so long, by how fast the queue drains.
    Full {
        retry_after: Duration,
    },
}
