//! Anchors: how whoever claims a log finds its open streams without reading the log.
//!
//! A stream that is open until some time hangs on an *anchor*: a stream of which nothing is ever recorded, one for each
//! log and hour. Its edges are made and taken away like those to any stream that it depends on, so that they are in the
//! index before anything follows from the event, and come back with every rebuild. Hours, because a whole log's would be
//! one partition that grows for ever, and a minute's would be ten thousand to look at.

use super::{AnyState, LogId, Micros, StreamId, TenantId};
use uuid::Uuid;

/// Microseconds in an hour.
pub const HOUR: Micros = 3_600_000_000;

/// The anchor of the streams of a log that are open until a time within this hour, counted from 1970.
pub fn anchor(log: LogId, hour: i64) -> StreamId {
    let LogId { aggregate, partition } = log;
    let name = format!("open/{}/{partition}/{hour}", aggregate.name());
    StreamId::new(TenantId::SHARED, aggregate, Uuid::new_v5(&Uuid::nil(), name.as_bytes()))
}

/// The hour of a time.
pub fn hour_of(time: Micros) -> i64 {
    time.div_euclid(HOUR)
}

impl AnyState {
    /// All that a stream of this log has edges from in this state: what it depends on, and its anchor while it is open.
    /// Absolute, as `depends_on` is.
    pub fn sources(&self, log: LogId, stream: &StreamId) -> Vec<StreamId> {
        let mut sources = self.depends_on(stream);
        sources.extend(self.open_until().map(|time| anchor(log, hour_of(time))));
        sources
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Aggregate;

    #[test]
    fn anchors_stay_where_they_are() {
        let log = LogId { aggregate: Aggregate::LlmRequest, partition: 7 };
        let found = anchor(log, hour_of(1_790_000_000 * 1_000_000));
        // Changed, it would be looked for where it is not.
        assert_eq!(found.id, Uuid::new_v5(&Uuid::nil(), b"open/llm_request/7/497222"));
        assert_eq!((found.tenant, found.aggregate), (TenantId::SHARED, Aggregate::LlmRequest));
    }

    #[test]
    fn each_log_and_each_hour_has_an_anchor_of_its_own() {
        let logs = [(Aggregate::LlmRequest, 1), (Aggregate::LlmRequest, 11), (Aggregate::Agent, 1)];
        let anchors: std::collections::HashSet<_> = logs
            .into_iter()
            .flat_map(|(aggregate, partition)| (-3..300).map(move |hour| anchor(LogId { aggregate, partition }, hour)))
            .collect();
        assert_eq!(anchors.len(), 3 * 303);
    }

    #[test]
    fn an_hour_begins_with_its_first_microsecond_also_before_1970() {
        let hours = [0, HOUR - 1, HOUR, -1, -HOUR, -HOUR - 1].map(hour_of);
        assert_eq!(hours, [0, 0, 1, -1, -1, -2]);
    }
}
