//! What a batch came to, counted.

use crate::flow::decide::Decisions;
use crate::metrics::handles;

/// Counts a batch that is in the log, and the commands that came again.
pub fn count(decisions: &Decisions, repeated: usize) {
    use crate::domain::record::RecordKind;
    let metrics = handles();
    let (mut applied, mut unchanged, mut refused) = (0, 0, 0);
    for recorded in decisions.records.iter().filter(|recorded| recorded.record.last) {
        match recorded.record.kind {
            RecordKind::Event => applied += 1,
            RecordKind::Unchanged => unchanged += 1,
            RecordKind::Refusal => refused += 1,
        }
    }
    metrics.decide_applied.increment(applied);
    metrics.decide_unchanged.increment(unchanged);
    metrics.decide_refused.increment(refused);
    metrics.decide_repeated.increment(repeated as u64);
    metrics.append_records.increment(decisions.records.len() as u64);
    metrics.append_batch.record(decisions.records.len() as f64);
}
