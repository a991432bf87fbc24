//! One command, followed: a span per stage, all with the same ids.
//!
//! Spans are at debug level (`--set log_filter=info,agentverse=debug`) and cost one comparison while nobody listens.
//! They carry ids and nothing else: no payload, no personal field.

use crate::domain::Envelope;
use tracing::Span;

/// The stages that a command passes, in their order.
pub const STAGES: [&str; 5] = ["receive", "decide", "append", "derive", "project"];

/// The span of a command in a stage. Enter it around what is done for this command alone.
pub fn span(stage: &'static str, envelope: &Envelope) -> Span {
    tracing::debug_span!(
        target: "agentverse::command",
        "command",
        stage,
        command = %envelope.command_id,
        stream = %envelope.stream.id,
        aggregate = envelope.stream.aggregate.name(),
        tenant = %envelope.stream.tenant,
        correlation = envelope.correlation.as_deref(),
        causation = envelope.causation.as_deref(),
        traceparent = envelope.traceparent.as_deref(),
    )
}

/// Marks that a command is through a stage.
pub fn passed(stage: &'static str, envelope: &Envelope, position: Option<u64>) {
    if tracing::enabled!(target: "agentverse::command", tracing::Level::DEBUG) {
        span(stage, envelope).in_scope(|| tracing::debug!(target: "agentverse::command", position, "passed"));
    }
}
