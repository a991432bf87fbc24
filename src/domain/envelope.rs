//! What surrounds a command: who sent it, when, and why.

use super::id::{StreamId, TenantId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Microseconds since the Unix epoch, UTC.
pub type Micros = i64;

/// How many reactions may follow from one another before the chain is cut (a loop between aggregates ends here).
pub const HOPS_MAX: u8 = 16;

/// The envelope of a command. Of CloudEvents it carries what changes behaviour; the rest of a producer's attributes
/// stays in the command topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    pub command_id: Uuid,
    pub stream: StreamId,
    /// `ce_source`; the system's own commands carry `agentverse`.
    pub source: String,
    /// Who is answerable for the command, where the producer says so.
    pub actor: Option<String>,
    /// Groups everything that followed from one request; the command's own id when absent.
    pub correlation: Option<String>,
    /// The event (or an outside id) that this command follows from.
    pub causation: Option<String>,
    /// Refuse unless the stream is at this version.
    pub expected_version: Option<u64>,
    /// Reactions between the outside producer's command and this one.
    pub hop: u8,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

impl Envelope {
    pub fn tenant(&self) -> TenantId {
        self.stream.tenant
    }

    /// An envelope with nothing but its identity, from an outside source.
    pub fn new(command_id: Uuid, stream: StreamId) -> Self {
        Self {
            command_id,
            stream,
            source: DEFAULT_SOURCE.into(),
            actor: None,
            correlation: None,
            causation: None,
            expected_version: None,
            hop: 0,
            traceparent: None,
        }
    }
}

/// `source` of a command that names none.
pub const DEFAULT_SOURCE: &str = "unnamed";
/// `source` of the commands that the system gives itself.
pub const SYSTEM_SOURCE: &str = "agentverse";

/// What an event's record says beside its payload: all that `evolve` may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventMeta {
    pub stream: StreamId,
    /// The version that the event makes.
    pub version: u64,
    pub recorded_at: Micros,
    pub event_id: Uuid,
}
