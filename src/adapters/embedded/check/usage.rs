//! Usage rows against a fold of their log: a row must be the fold at its own position, and those up to the mark of the
//! views must be there, where they are kept for ever. Others may be gone, by this retention or an earlier one.

use super::{Embedded, Report};
use crate::adapters::embedded::usage::row_key;
use crate::domain::record::{Record, RecordKind};
use crate::domain::usage::{Row, Slot, Window, count, is_counted};
use crate::domain::{Aggregate, AnyEvent, AnyState, LogId};
use crate::ports::Usage;
use std::collections::HashMap;

/// What a log comes to so far.
#[derive(Default)]
pub struct UsageCheck {
    expected: HashMap<Slot, Row>,
}

impl UsageCheck {
    /// Counts a record, and compares the rows that the store holds at exactly this point. `state` is its stream's after it.
    ///
    /// # Errors
    /// In words, when event or row cannot be read.
    pub fn compare(
        &mut self,
        embedded: &Embedded,
        log: LogId,
        record: &Record,
        state: &AnyState,
        report: &mut Report,
    ) -> Result<(), String> {
        if log.aggregate != Aggregate::LlmRequest || record.kind != RecordKind::Event || !is_counted(&record.schema) {
            return Ok(());
        }
        let event = AnyEvent::decode(log.aggregate, &record.schema, record.fingerprint, &record.payload);
        let event = event.map_err(|error| format!("position {}: {error}", record.position))?;
        let (AnyEvent::LlmRequest(event), AnyState::LlmRequest(state)) = (event, state) else { return Ok(()) };
        let stream = record.stream();
        let Some(counted) = count(&stream, &event, state) else { return Ok(()) };
        for window in Window::ALL {
            for key in &counted.keys {
                let slot = key.slot(window, record.recorded_at);
                let stored = embedded.store.usage.get(&row_key(&slot, log)).map_err(|error| error.to_string())?;
                let expected = self.expected.entry(slot.clone()).or_default();
                expected.totals.add(&counted.totals);
                expected.position = record.position;
                if let Some(stored) = stored.filter(|stored| stored.position == record.position) {
                    report.rows_compared += 1;
                    if stored != *expected {
                        let what = name(&slot, log);
                        report.problems.add(format!("{what}: differs from the log at position {}", record.position));
                    }
                }
            }
        }
        Ok(())
    }

    /// What the mark of the views claims must be there.
    pub fn compare_mark(&self, embedded: &Embedded, log: LogId, projected_to: u64, report: &mut Report) {
        let retention = embedded.usage.retention();
        for (slot, expected) in self.expected.iter().filter(|(_, expected)| expected.position <= projected_to) {
            if retention.goes_at(slot.series.window, slot.start).is_some() {
                continue;
            }
            let stored = embedded.store.usage.get(&row_key(slot, log)).ok().flatten();
            if stored.is_none_or(|stored| stored.position != expected.position) {
                let (what, due) = (name(slot, log), expected.position);
                report.problems.add(format!("{what}: missing or old, position {due} is due"));
            }
        }
    }
}

fn name(slot: &Slot, log: LogId) -> String {
    let Slot { series, start } = slot;
    let (dimension, window) = (series.dimension.name(), series.window.name());
    format!("usage of {}/{dimension}/{} in {window} from {start} of {log}", series.tenant, series.key)
}
