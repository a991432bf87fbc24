//! The requests of a file, page by page, one part in memory.

use super::survey::{self, PartAt};
use crate::domain::StreamId;
use crate::domain::llm_batch::line;
use crate::ports::Index;
use crate::ports::index::Error;
use std::sync::Arc;

/// Reads a file's requests by their numbers.
pub struct Lines {
    index: Arc<dyn Index>,
    batch: StreamId,
    parts: Vec<PartAt>,
    /// The part that was read last, by its place among the parts.
    held: Option<(usize, Vec<String>)>,
}

impl Lines {
    pub fn new(index: Arc<dyn Index>, batch: StreamId, parts: Vec<PartAt>) -> Self {
        Self { index, batch, parts, held: None }
    }

    /// The requests from number `first` on, at most `count` of them, and of one part; none after the last.
    ///
    /// # Errors
    /// When the index does not answer.
    pub async fn page(&mut self, first: i64, count: usize) -> Result<Vec<(i64, String)>, Error> {
        // Parts of blank lines alone begin where the next one does.
        let place = self.parts.partition_point(|part| part.first_request + part.requests <= first);
        let Some(part) = self.parts.get(place).copied() else { return Ok(Vec::new()) };
        if self.held.as_ref().is_none_or(|(held, _)| *held != place) {
            let text = survey::part(&*self.index, self.batch, part.position).await?;
            self.held = Some((place, line::requests(&text).map(str::to_owned).collect()));
        }
        let lines = self.held.iter().flat_map(|(_, lines)| lines.iter());
        let skipped = usize::try_from(first - part.first_request).unwrap_or(0);
        Ok((first..).zip(lines.skip(skipped).take(count).cloned()).collect())
    }
}
