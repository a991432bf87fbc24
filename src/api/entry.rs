//! An entry of a history as it is shown: who, when, why and what.

use super::resources::time;
use crate::domain::record::RecordKind;
use crate::flow::query::{Change, Entry};
use serde_json::{Map, Value, json};

/// The values of the parameter `kind`.
pub const KIND_CHOICES: [&str; 3] = ["event", "refused", "unchanged"];

pub fn kind_name(kind: RecordKind) -> &'static str {
    let [event, refused, unchanged] = KIND_CHOICES;
    match kind {
        RecordKind::Event => event,
        RecordKind::Refusal => refused,
        RecordKind::Unchanged => unchanged,
    }
}

/// The aggregate's name and the record's.
pub fn entry_type(entry: &Entry) -> String {
    let record = &entry.recorded.record;
    let name = match record.kind {
        RecordKind::Event => record.schema.as_str(),
        RecordKind::Refusal => "Refusal",
        RecordKind::Unchanged => "Unchanged",
    };
    format!("{}.{name}", record.envelope.stream.aggregate.name())
}

pub fn render(entry: &Entry) -> Value {
    let record = &entry.recorded.record;
    let envelope = &record.envelope;
    let mut shown = json!({
        "subject": envelope.stream.id,
        "tenant": envelope.stream.tenant,
        "version": record.version,
        "type": entry_type(entry),
        "kind": kind_name(record.kind),
        "command_id": envelope.command_id,
        "event_id": record.event_id(),
        "recorded_at": time(record.recorded_at),
        "source": envelope.source,
        "actor": envelope.actor,
        "correlation": envelope.correlation,
        "causation": envelope.causation,
        "position": record.position,
        "hash": blake3::Hash::from(entry.recorded.hash).to_hex().as_str(),
        "data": entry.data,
    });
    if let Some(changes) = &entry.changes {
        shown["changes"] = changes.iter().map(change).collect();
    }
    shown
}

/// A side that there is not is left out, for null is a value.
fn change(change: &Change) -> Value {
    let sides = [("path", Some(Value::from(change.path.as_str()))), ("before", change.before.clone())];
    let sides = sides.into_iter().chain([("after", change.after.clone())]);
    sides.filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::record::Record;
    use crate::domain::{Aggregate, Envelope, StreamId, TenantId};
    use crate::ports::journal::Recorded;
    use std::sync::Arc;
    use uuid::Uuid;

    #[test]
    fn an_entry_tells_who_when_why_and_what() {
        let stream = StreamId::new(TenantId(Uuid::from_u128(1)), Aggregate::Agent, Uuid::from_u128(2));
        let mut envelope = Envelope::new(Uuid::from_u128(3), stream);
        envelope.actor = Some("ada".into());
        envelope.causation = Some("because".into());
        let record = Record {
            position: 6,
            version: 7,
            previous: 0,
            kind: RecordKind::Event,
            index: 0,
            last: true,
            recorded_at: 1_767_225_600_000_000,
            command_digest: 0,
            envelope: Arc::new(envelope),
            schema: "AgentMaintained".into(),
            fingerprint: 0,
            payload: Vec::new(),
        };
        let event_id = record.event_id();
        let recorded = Recorded { record, hash: [0xab; 32], decided: None };
        let mut expected = json!({
            "subject": stream.id, "tenant": stream.tenant, "version": 7, "type": "agent.AgentMaintained", "kind": "event", "command_id": Uuid::from_u128(3),
            "event_id": event_id, "recorded_at": "2026-01-01T00:00:00.000000Z", "source": "unnamed", "actor": "ada",
            "correlation": null, "causation": "because", "position": 6, "hash": "ab".repeat(32),
            "data": { "reason": "x" },
        });
        let mut entry = Entry { recorded, data: json!({ "reason": "x" }), changes: None };
        assert_eq!(render(&entry), expected);
        let change = |before, after| Change { path: "/reason".into(), before, after };
        entry.changes = Some(vec![change(Some(Value::Null), Some(json!("x"))), change(None, Some(Value::Null))]);
        expected["changes"] =
            json!([{ "path": "/reason", "before": null, "after": "x" }, { "path": "/reason", "after": null }]);
        assert_eq!(render(&entry), expected);
    }
}
