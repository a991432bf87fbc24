//! What a run measured.

use super::sampler::Seen;
use super::sender::Tally;
use super::stats::Percentiles;
use crate::cli::output;
use comfy_table::{Cell, CellAlignment};
use serde::Serialize;
use std::collections::BTreeMap;

/// The JSON output, one object.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub target: String,
    /// Repeats the run, with `--seed`, on a fresh system.
    pub seed: u64,
    pub tenants: u64,
    pub streams: u64,
    pub connections: u64,
    /// Commands per request.
    pub batch: u64,
    /// Length of each command's `data`.
    pub payload_bytes: usize,
    /// Commands per second that were meant to go; `null`: as many as were accepted.
    pub rate: Option<f64>,
    /// Accepted.
    pub commands: u64,
    pub registered: u64,
    pub revised: u64,
    /// From the first command sent until the last was accepted.
    pub accepted_seconds: f64,
    /// From the first command sent until the last was queryable.
    pub queryable_seconds: f64,
    /// `commands` over `queryable_seconds`.
    pub commands_per_second: f64,
    /// `commands` over `accepted_seconds`.
    pub accepted_per_second: f64,
    /// Per request: from when it was meant to go until its answer.
    pub accepted_ms: Percentiles,
    /// Per sampled command: from its acceptance until both views show it on a fresh connection.
    pub queryable_ms: Percentiles,
    /// Commands checked to be queryable, those at the end of the run included.
    pub checked: u64,
    /// Checked commands that never became so.
    pub not_queryable: u64,
    /// Requests sent again, by cause; `http_503` is back-pressure.
    pub retries: BTreeMap<String, u64>,
    /// What failed for good, by kind: commands, requests that were given up, and reads of the checks.
    pub errors: BTreeMap<String, u64>,
    /// The first text of each kind of error.
    pub error_examples: BTreeMap<String, String>,
}

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    pub target: String,
    pub plan: super::plan::Plan,
    pub payload_bytes: usize,
    pub rate: Option<f64>,
}

impl Report {
    pub fn new(asked: Asked, tally: Tally, seen: Seen, commands: u64) -> Self {
        let first = tally.first_sent.map(tokio::time::Instant::into_std);
        let until = |last: Option<std::time::Instant>| match (first, last) {
            (Some(first), Some(last)) => last.saturating_duration_since(first).as_secs_f64(),
            _ => 0.0,
        };
        let last_accepted = tally.last_accepted.map(tokio::time::Instant::into_std);
        let accepted_seconds = until(last_accepted);
        let queryable_seconds = until(seen.last.max(last_accepted));
        let per_second = |seconds: f64| if seconds > 0.0 { commands as f64 / seconds } else { 0.0 };
        let mut errors = tally.errors;
        for (kind, count) in seen.errors {
            *errors.entry(kind).or_default() += count;
        }
        Self {
            target: asked.target,
            seed: asked.plan.seed,
            tenants: asked.plan.tenants,
            streams: asked.plan.streams,
            connections: asked.plan.connections,
            batch: asked.plan.batch,
            payload_bytes: asked.payload_bytes,
            rate: asked.rate,
            commands,
            registered: tally.registered,
            revised: tally.revised,
            accepted_seconds,
            queryable_seconds,
            commands_per_second: per_second(queryable_seconds),
            accepted_per_second: per_second(accepted_seconds),
            accepted_ms: tally.accepted.percentiles(),
            queryable_ms: seen.queryable.percentiles(),
            checked: seen.seen + seen.not_seen,
            not_queryable: seen.not_seen,
            retries: tally.retries,
            errors,
            error_examples: tally.examples,
        }
    }

    /// Everything that was sent was accepted and became queryable.
    pub fn is_clean(&self) -> bool {
        self.errors.is_empty() && self.not_queryable == 0
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut latencies = output::table(["milliseconds", "p50", "p90", "p99", "p99.9", "max", "count"]);
        for (name, values) in [("accepted", &self.accepted_ms), ("queryable", &self.queryable_ms)] {
            let numbers = [values.p50, values.p90, values.p99, values.p99_9, values.max].map(|ms| format!("{ms:.2}"));
            let cells = numbers.into_iter().chain([values.count.to_string()]);
            let cells = cells.map(|text| Cell::new(text).set_alignment(CellAlignment::Right));
            latencies.add_row(std::iter::once(Cell::new(name)).chain(cells));
        }
        let mut text = format!(
            "{} commands ({} registered, {} revised) over {} streams of {} tenants, {} per request on {} connections\n\
             {:.0} commands/s until the last was queryable ({:.2} s), {:.0}/s until it was accepted ({:.2} s)\n\
             {latencies}\n{} checked to be queryable, {} of them were not\n",
            self.commands,
            self.registered,
            self.revised,
            self.streams,
            self.tenants,
            self.batch,
            self.connections,
            self.commands_per_second,
            self.queryable_seconds,
            self.accepted_per_second,
            self.accepted_seconds,
            self.checked,
            self.not_queryable,
        );
        for (kind, count) in &self.retries {
            text.push_str(&format!("repeated {count} requests: {kind}\n"));
        }
        for (kind, count) in &self.errors {
            let example = self.error_examples.get(kind).map(String::as_str).unwrap_or_default();
            text.push_str(&format!("error {kind}: {count} {example}\n"));
        }
        text.push_str(&format!("seed {}", self.seed));
        text
    }
}
