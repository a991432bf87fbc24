//! Port: usage, the totals of what requests to LLMs came to and cost.

use crate::domain::usage::{Dimension, Retention, Row, Series, Slot, Totals, Window};
use crate::domain::{LogId, Micros, TenantId};
use async_trait::async_trait;
use std::ops::Range;
use std::sync::Arc;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a usage row cannot be read: {0}; usage can be rebuilt from the log")]
    Damaged(String),
    #[error("usage is not available: {0}")]
    Unavailable(String),
}

/// The totals, a row for each slot and source log.
///
/// Contract:
/// - A row is absolute: what its log counts in that slot up to `position`. Only that log's projector writes it, and rows
///   of one slot and log are written in the order of their positions; of two writers, as after a takeover, the one with
///   the higher position stays, and at the same position both write the same.
/// - `rows` gives the newest row that was put, whoever reads: a projector adds to it only what stands above its position.
/// - Once `put` returns, every reader sees the rows. They may be lost in a crash, but then the mark of the views,
///   [`Views::applied_to`](super::Views::applied_to), is below them or was written after them: rows that were put before
///   the views were applied up to a position are durable where that mark has reached it.
/// - A slot whose time is over ([`Retention`]) may be gone. Nobody puts into one, or reads one.
/// - `windows` adds the source logs up; it gives the windows that have any row, in order.
/// - `keys` gives, in the order of their bytes, those after `after` that have a row with such a start; it may give others
///   that have one nearby, so that a page can hold keys of which `windows` gives nothing.
#[async_trait]
pub trait Usage: Send + Sync + 'static {
    /// How long windows are kept. The same for all who read and write.
    fn retention(&self) -> &Retention;

    /// The rows of one source log, in the order of the slots.
    async fn rows(&self, log: LogId, slots: &[Slot]) -> Result<Vec<Option<Row>>, Error>;

    async fn put(&self, log: LogId, rows: Vec<(Slot, Row)>, now: Micros) -> Result<(), Error>;

    /// The windows of a series that start within `starts`.
    async fn windows(&self, series: &Series, starts: Range<Micros>) -> Result<Vec<(Micros, Totals)>, Error>;

    async fn keys(&self, ask: &Keys<'_>) -> Result<Vec<Arc<str>>, Error>;
}

/// Which keys are asked for.
#[derive(Clone, Debug)]
pub struct Keys<'a> {
    pub tenant: TenantId,
    pub dimension: Dimension,
    pub window: Window,
    pub starts: Range<Micros>,
    pub after: Option<&'a str>,
    /// At least 1.
    pub keys_max: usize,
}

/// Adds up rows that come in the order of their starts.
pub fn summed(rows: impl IntoIterator<Item = (Micros, Totals)>) -> Vec<(Micros, Totals)> {
    let mut sums: Vec<(Micros, Totals)> = Vec::new();
    for (start, totals) in rows {
        match sums.last_mut() {
            Some((last, sum)) if *last == start => sum.add(&totals),
            _ => sums.push((start, totals)),
        }
    }
    sums
}
