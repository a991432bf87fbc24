//! What the engine is given to go by.

use crate::domain::llm_request::{ANSWER_PART_BYTES_MAX, ATTEMPTS_MAX};
use crate::flow::request::{backoff, breaker, bulkhead, queue};
use crate::ports::llm::Timeouts;
use std::time::Duration;

/// What the record of a part has around its text, in bytes, and some room.
const PART_AROUND: usize = 2_048;

/// Bounds and times of the engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Names this process in the events.
    pub worker: String,
    /// Whether there is no other worker: attempts of others are of processes that are gone.
    pub is_alone: bool,
    pub queue: queue::Config,
    pub breaker: breaker::Config,
    pub bulkhead: bulkhead::Config,
    pub backoff: backoff::Config,
    /// How long calls may take. The total bounds the lease, too.
    pub timeouts: Timeouts,
    /// Most requests that are carried out at a time, those that wait behind a gate included.
    pub running_max: usize,
    /// Most requests that wait behind one gate. Fewer do where the gate lets through fewer in a second.
    pub gate_waiting_max: usize,
    /// Most attempts of one request; above [`ATTEMPTS_MAX`] it counts as that.
    pub attempts_max: i64,
    /// Most ids of requests that stay on their logs; those beyond are found by reading the log again.
    pub left_max: usize,
    /// How long a model, a provider or a tenant is remembered as it was read.
    pub catalog_kept_for: Duration,
    /// How long one look at the limits waits before the request gives up its place.
    pub patience: Duration,
    /// A limit that gives nothing for so long sends a request to its next model, where it has one.
    pub fallback_after: Duration,
    /// Pieces of a stream that wait for whoever reads it.
    pub chunks_max: usize,
    /// A reader that takes nothing for so long is taken for gone.
    pub reader_stall_max: Duration,
    /// For how long the record of a call is tried to be written when neither its log nor the topics take it.
    pub record_for: Duration,
    /// How long calls under way may go on when the engine stops.
    pub stop_for: Duration,
    /// Most bytes of one command. An answer that makes it larger is recorded in parts.
    pub command_bytes_max: usize,
    /// Most bytes of prompts that are held for requests that wait; those of others are read again.
    pub held_bytes_max: usize,
}

impl Config {
    /// The usual bounds, under the name of this worker.
    pub fn new(worker: &str) -> Self {
        let seconds = Duration::from_secs;
        Self {
            worker: worker.into(),
            is_alone: false,
            queue: queue::Config::default(),
            breaker: breaker::Config::default(),
            bulkhead: bulkhead::Config::default(),
            backoff: backoff::Config::default(),
            timeouts: Timeouts { first_byte: seconds(120), between_chunks: seconds(60), total: seconds(600) },
            running_max: 4_096,
            gate_waiting_max: 64,
            attempts_max: ATTEMPTS_MAX,
            left_max: 200_000,
            catalog_kept_for: seconds(5),
            patience: seconds(2),
            fallback_after: seconds(5),
            chunks_max: 256,
            reader_stall_max: seconds(30),
            record_for: seconds(600),
            stop_for: seconds(20),
            command_bytes_max: 512 * 1024,
            held_bytes_max: 256 * 1024 * 1024,
        }
    }

    /// Most bytes of a part of an answer.
    pub(super) fn part_bytes(&self) -> usize {
        self.command_bytes_max.saturating_sub(PART_AROUND).clamp(PART_AROUND, ANSWER_PART_BYTES_MAX)
    }

    pub(super) fn attempts_max(&self) -> i64 {
        self.attempts_max.clamp(1, ATTEMPTS_MAX)
    }
}
