//! Open requests: what whoever claims a log of requests finds to do there, without reading the log.
//!
//! Every request that has not ended hangs on the anchor of its log and the hour of its deadline (see [`domain::open`]),
//! so a claim looks at each hour in which a deadline can lie. A deadline is at most [`DEADLINE_MS_MAX`] after the
//! submission, which bounds the hours to come. Those that passed are looked at for [`LOOKBACK`]: requests whose deadline
//! went by while nobody worked are to be expired, and commands that would say so by the topic are kept for seven days, the
//! longest outage that a fleet is made for. An hour more on either side, because the clock of whoever submitted may be
//! another.
//!
//! Most hours are empty, and all are asked for at once, so many at a time; what is found comes in pages, the earliest
//! deadlines first. Memory: the ids of a page per question under way, and one page of heads.
//!
//! [`domain::open`]: crate::domain::open

#[cfg(test)]
mod tests;

use crate::domain::llm_request::DEADLINE_MS_MAX;
use crate::domain::open::{HOUR, anchor, hour_of};
use crate::domain::{LogId, Micros, StreamId};
use crate::ports::Index;
use crate::ports::index::{Error, Head};
use futures::stream::{self, BoxStream, StreamExt as _};
use std::sync::Arc;

/// How long after its deadline a request is still found.
pub const LOOKBACK: Micros = 7 * 24 * HOUR + HOUR;
/// How far ahead deadlines are looked for.
const AHEAD: Micros = DEADLINE_MS_MAX * 1_000 + HOUR;
/// Hours that are asked for at a time.
const ANCHORS_IN_FLIGHT: usize = 32;
/// Requests of one page.
const PAGE: usize = 200;

/// The open requests of a log, page by page.
pub struct Open<'a> {
    log: LogId,
    index: &'a dyn Index,
    /// The anchors in the order of their hours, each with the first page of what hangs on it.
    anchors: BoxStream<'a, Result<(StreamId, Vec<StreamId>), Error>>,
    /// Where an hour goes on that has more than a page.
    rest: Option<(StreamId, StreamId)>,
}

/// The requests of a log that have not ended as the index shows them, as of `now`. What is recorded while they are read
/// may be missing, or shown as it was: whoever watches the log knows better, by the heads' positions.
pub fn open(log: LogId, index: &dyn Index, now: Micros) -> Open<'_> {
    let hours = hour_of(now.saturating_sub(LOOKBACK))..=hour_of(now.saturating_add(AHEAD));
    let anchors = stream::iter(hours).map(move |hour| async move {
        let anchor = anchor(log, hour);
        Ok((anchor, index.edges(anchor, None, PAGE).await?))
    });
    Open { log, index, anchors: anchors.buffered(ANCHORS_IN_FLIGHT).boxed(), rest: None }
}

impl Open<'_> {
    /// The next page, each request with its head; `None` once there is no more. A page may be empty.
    ///
    /// # Errors
    /// When the index does not answer. What was not given is then given by asking anew only.
    pub async fn next(&mut self) -> Result<Option<Vec<(StreamId, Arc<Head>)>>, Error> {
        let (anchor, streams) = match self.rest.take() {
            Some((anchor, after)) => (anchor, self.index.edges(anchor, Some(after), PAGE).await?),
            None => loop {
                match self.anchors.next().await {
                    None => return Ok(None),
                    Some(found) => {
                        let (anchor, streams) = found?;
                        if !streams.is_empty() {
                            break (anchor, streams);
                        }
                    }
                }
            },
        };
        self.rest = streams.last().filter(|_| streams.len() >= PAGE).map(|last| (anchor, *last));
        let heads = self.index.heads(self.log, &streams).await?;
        let mut page = Vec::with_capacity(streams.len());
        for (stream, head) in streams.into_iter().zip(heads) {
            // An edge goes before its head: one that is not there yet is told by whoever watches the log.
            let Some(head) = head else { continue };
            if head.state_of(self.log.aggregate)?.open_until().is_some() {
                page.push((stream, head));
            }
        }
        Ok(Some(page))
    }
}
