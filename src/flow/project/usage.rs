//! Metering: the events of request logs become usage rows, each event counted once.
//!
//! A row is what one log counts in one window, with the position of the last record that is in it. A batch reads the rows
//! that its events touch, adds what stands above their positions, and puts them back. So it does not matter where a
//! projector begins again: what a row has, it is not given twice.
//!
//! Nothing is left out either. The usage rows of a batch are put *before* the views are applied up to its end, and the
//! mark of the views is what a projector begins at: a batch that a crash cut short, wherever, is read again as a whole;
//! some of its rows then have it already, others not, and each tells by its own position.
//!
//! Rows are folds of one log in position order, whatever the cuts between batches. So a rebuild from the log makes the
//! same rows, and two projectors of one log, as after a takeover, write the same at the same position.
//!
//! A window that is kept no longer is not counted into: its row may be gone, and what was added to nothing would look
//! like the whole.

use super::Error;
use crate::domain::llm_request::State;
use crate::domain::record::RecordKind;
use crate::domain::usage::{Counted, Row, Slot, Window, count, is_counted};
use crate::domain::{Aggregate, AnyEvent, AnyState, LogId, Micros, StreamId};
use crate::flow::derive::event_of;
use crate::ports::journal::Recorded;
use crate::ports::views::ViewRow;
use crate::ports::{Clock, Usage};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use std::sync::Arc;

/// Rows that are kept in memory, so that those of running windows need not be read again.
const HELD_MAX: usize = 4_000;

/// Counts one log. Made anew after a failure: what it holds in memory is then not known to be stored.
pub struct Meter {
    log: LogId,
    usage: Arc<dyn Usage>,
    clock: Arc<dyn Clock>,
    held: HashMap<Slot, Row>,
}

impl Meter {
    pub fn new(log: LogId, usage: Arc<dyn Usage>, clock: Arc<dyn Clock>) -> Self {
        Self { log, usage, clock, held: HashMap::new() }
    }

    /// Counts a batch. `rows` are the view rows after it, of every stream that it has events of.
    ///
    /// # Errors
    /// When a record or a state cannot be read, or the rows not read or put. Some may have been put then; the batch can be
    /// counted again, by a new meter.
    pub async fn count(&mut self, records: &[Recorded], rows: &[ViewRow]) -> Result<(), Error> {
        if self.log.aggregate != Aggregate::LlmRequest {
            return Ok(());
        }
        let counts = counts(self.log, records, rows)?;
        let Some(newest) = counts.last().map(|(it, _)| it.recorded_at) else { return Ok(()) };
        let now = self.clock.now();
        let touched = self.touched(&counts, now);
        let mut changed = self.read(touched.keys()).await?;
        for (slot, counted) in &touched {
            // Every slot that is touched was read.
            let Some(row) = changed.get_mut(slot) else { continue };
            for (position, counted) in counted {
                if *position > row.position {
                    row.totals.add(&counted.totals);
                    row.position = *position;
                }
            }
        }
        self.usage.put(self.log, changed.iter().map(|(slot, row)| (slot.clone(), row.clone())).collect(), now).await?;
        self.hold(changed, newest);
        Ok(())
    }

    /// The slots that these events count in, with what counts there, in position order.
    fn touched<'a>(&self, counts: &'a [(At, Counted)], now: Micros) -> HashMap<Slot, Vec<(u64, &'a Counted)>> {
        let retention = self.usage.retention();
        let mut touched: HashMap<Slot, Vec<_>> = HashMap::new();
        for (at, counted) in counts {
            for window in Window::ALL {
                let start = window.start_of(at.recorded_at);
                if !retention.keeps(window, start, now) {
                    continue;
                }
                for key in &counted.keys {
                    touched.entry(key.slot(window, at.recorded_at)).or_default().push((at.position, counted));
                }
            }
        }
        touched
    }

    /// The rows of these slots as they stand: those in memory, and the others as they are stored.
    async fn read(&mut self, slots: impl Iterator<Item = &Slot>) -> Result<HashMap<Slot, Row>, Error> {
        let (mut rows, mut missing) = (HashMap::new(), Vec::new());
        for slot in slots {
            match self.held.remove_entry(slot) {
                Some((slot, row)) => _ = rows.insert(slot, row),
                None => missing.push(slot.clone()),
            }
        }
        let stored = self.usage.rows(self.log, &missing).await?;
        rows.extend(missing.into_iter().zip(stored.into_iter().map(Option::unwrap_or_default)));
        Ok(rows)
    }

    /// Keeps rows for the next batch; where they are too many, only those of windows that are not over.
    fn hold(&mut self, rows: HashMap<Slot, Row>, newest: Micros) {
        self.held.extend(rows);
        if self.held.len() > HELD_MAX {
            self.held.retain(|slot, _| slot.start.saturating_add(slot.series.window.size()) > newest);
        }
        if self.held.len() > HELD_MAX {
            self.held.clear();
        }
    }
}

/// At which position and when an event was recorded.
struct At {
    position: u64,
    recorded_at: Micros,
}

/// What each event counts for, in position order.
fn counts(log: LogId, records: &[Recorded], rows: &[ViewRow]) -> Result<Vec<(At, Counted)>, Error> {
    let mut blobs: Option<HashMap<StreamId, &ViewRow>> = None;
    let mut states: HashMap<StreamId, State> = HashMap::new();
    let mut counts = Vec::new();
    for recorded in records {
        let record = &recorded.record;
        if record.kind != RecordKind::Event || !is_counted(&record.schema) {
            continue;
        }
        let stream = record.stream();
        let decided = recorded.decided.as_ref().and_then(|decided| decided.event.clone());
        let event = match decided {
            Some(event) => Some(event),
            None => event_of(log, record)?.map(Arc::new),
        };
        let Some(AnyEvent::LlmRequest(event)) = event.as_deref() else { continue };
        let state = match states.entry(stream) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let blobs = blobs.get_or_insert_with(|| rows.iter().map(|row| (row.stream, row)).collect());
                entry.insert(state_of(stream, blobs.get(&stream).copied())?)
            }
        };
        let at = At { position: record.position, recorded_at: record.recorded_at };
        counts.extend(count(&stream, event, state).map(|counted| (at, counted)));
    }
    Ok(counts)
}

fn state_of(stream: StreamId, row: Option<&ViewRow>) -> Result<State, Error> {
    let fault = |cause: String| Error::State { stream, cause };
    let row = row.ok_or_else(|| fault("its events left no row".into()))?;
    let state = AnyState::from_blob(stream.aggregate, &row.data.state).map_err(|error| fault(error.to_string()))?;
    match state {
        AnyState::LlmRequest(state) => Ok(*state),
        other => Err(fault(format!("it is {}, and of no request", other.status()))),
    }
}
