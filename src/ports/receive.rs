//! Receiving, for every way in (HTTP, Kafka): the bytes of a command become a [`Submission`], or a [`Problem`] that says
//! what to do.
//!
//! Pure: no clock, no I/O; the generator of ids and the rule of who may do what are parameters. A command comes as a
//! structured CloudEvent in JSON ([`Receiver::structured`]), alone or in a batch, or with its attributes beside its
//! data ([`Receiver::command`]). A batch is read in one pass that borrows from the body (the data of each event is
//! skipped over once and then read straight into its struct); only when that fails is it read again, event by event,
//! so that one bad event does not harm its siblings.

mod attributes;
mod data;
mod structured;
#[cfg(test)]
mod tests;

pub use attributes::Attributes;
pub use data::{Data, Media, media};
pub use structured::{Received, Shape};

use crate::domain::envelope::{DEFAULT_SOURCE, SYSTEM_SOURCE};
use crate::domain::id::{command_id, generated_subject};
use crate::domain::{Aggregate, AnyCommand, Envelope, StreamId, TenantId};
use uuid::Uuid;

/// Longest message of a problem, in bytes: a parser's message can quote the whole of a bad input.
const MESSAGE_BYTES_MAX: usize = 512;

/// A command on its way in.
#[derive(Clone, Debug)]
pub struct Submission {
    pub envelope: Envelope,
    pub command: AnyCommand,
}

/// Why a command was not taken. The names are stable: programs match on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// Broken JSON, or not the shape of a CloudEvent.
    Malformed,
    NotUtf8,
    /// An attribute has a value that it cannot have.
    InvalidAttribute,
    UnknownType,
    /// The data does not fit the command's schema.
    InvalidData,
    /// Avro data by a schema that this program does not know.
    UnknownSchema,
    UnsupportedMediaType,
    BatchTooLarge,
    TenantRequired,
    TenantMismatch,
    ReservedSource,
}

impl Code {
    pub const ALL: &'static [Code] = &[
        Self::Malformed,
        Self::NotUtf8,
        Self::InvalidAttribute,
        Self::UnknownType,
        Self::InvalidData,
        Self::UnknownSchema,
        Self::UnsupportedMediaType,
        Self::BatchTooLarge,
        Self::TenantRequired,
        Self::TenantMismatch,
        Self::ReservedSource,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotUtf8 => "not_utf8",
            Self::InvalidAttribute => "invalid_attribute",
            Self::UnknownType => "unknown_type",
            Self::InvalidData => "invalid_data",
            Self::UnknownSchema => "unknown_schema",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::BatchTooLarge => "batch_too_large",
            Self::TenantRequired => "tenant_required",
            Self::TenantMismatch => "tenant_mismatch",
            Self::ReservedSource => "reserved_source",
        }
    }
}

/// Why something was not taken: a stable code, and a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub code: Code,
    /// At most 512 bytes, and a mark where it was cut.
    pub message: String,
}

impl Problem {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MESSAGE_BYTES_MAX {
            let end = (0..=MESSAGE_BYTES_MAX).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
            message.truncate(end);
            message.push('…');
        }
        Self { code, message }
    }
}

/// A command of a request that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The `id` as it was sent, where that much could be read.
    pub id: Option<String>,
    pub problem: Problem,
}

/// One command of a request.
pub type Item = Result<Submission, Refused>;

/// What a command says of whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub aggregate: Aggregate,
    /// Record name of the command.
    pub command: &'static str,
    /// The event's `tenantid`.
    pub tenant: Option<TenantId>,
    pub subject: Option<Uuid>,
}

/// The rule of whose commands a caller may send.
pub trait Admission {
    /// The tenant that the command belongs to; `None` where it is to be the one that the command itself provisions,
    /// and its id is to be made from the command's.
    fn admit(&self, claim: &Claim) -> Result<Option<TenantId>, Problem>;
}

/// Reads the commands of one request.
pub struct Receiver<'a> {
    pub admission: &'a dyn Admission,
    /// Makes the id of a command that has none (a version 7 UUID).
    pub generate: &'a dyn Fn() -> Uuid,
    /// Stands for the missing `id` of a command; in a batch the command's index, from 0, is added to it.
    pub idempotency_key: Option<&'a str>,
    /// Stands for the missing `traceparent` of a command.
    pub traceparent: Option<&'a str>,
    /// Most commands of a batch.
    pub commands_max: usize,
}

impl Receiver<'_> {
    /// Reads one command whose attributes came beside its data.
    ///
    /// # Errors
    /// When an attribute or the data is not what it must be, or the caller may not send it.
    pub fn command(&self, attributes: Attributes<'_>, data: Data<'_>) -> Item {
        let id = attributes.id.as_deref().map(str::to_owned);
        self.submission(attributes, data, None).map_err(|problem| Refused { id, problem })
    }

    fn submission(
        &self,
        attributes: Attributes<'_>,
        data: Data<'_>,
        index: Option<usize>,
    ) -> Result<Submission, Problem> {
        attributes.check()?;
        let source = attributes.source.as_deref().unwrap_or(DEFAULT_SOURCE);
        if source == SYSTEM_SOURCE {
            let message =
                format!("source {SYSTEM_SOURCE:?} is kept for the system's own commands; name your own source");
            return Err(Problem::new(Code::ReservedSource, message));
        }
        let (aggregate, command) = command_type(attributes.r#type.as_deref())?;
        let subject = attributes.uuid("subject", attributes.subject.as_deref())?;
        let tenant = attributes.uuid("tenantid", attributes.tenantid.as_deref())?.map(TenantId);
        let tenant = self.admission.admit(&Claim { aggregate, command, tenant, subject })?;
        let namespace = tenant.unwrap_or(TenantId::SHARED);
        let command_id = match (attributes.id.as_deref(), self.idempotency_key, index) {
            (Some(id), ..) => command_id(namespace, source, id),
            (None, Some(key), Some(index)) => command_id(namespace, source, &format!("{key}/{index}")),
            (None, Some(key), None) => command_id(namespace, source, key),
            (None, None, _) => (self.generate)(),
        };
        // A tenant's stream is named by the tenant; any other is made from the command, so that a retry meets it again.
        let id = match (subject, tenant) {
            (Some(subject), _) => subject,
            (None, Some(tenant)) if aggregate == Aggregate::Tenant => tenant.0,
            (None, _) => generated_subject(command_id),
        };
        let stream = StreamId::new(tenant.unwrap_or(TenantId(id)), aggregate, id);
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let envelope = Envelope {
            command_id,
            stream,
            source: source.to_owned(),
            actor: owned(attributes.actor.as_deref()),
            correlation: owned(attributes.correlationid.as_deref()),
            causation: owned(attributes.causationid.as_deref()),
            expected_version: attributes.expectedversion,
            hop: 0,
            traceparent: owned(attributes.traceparent.as_deref().or(self.traceparent)),
        };
        let command = data.command(aggregate, command)?;
        Ok(Submission { envelope, command })
    }
}

/// Finds the command that a `type` names, `<aggregate>.<Record>`.
fn command_type(text: Option<&str>) -> Result<(Aggregate, &'static str), Problem> {
    let unknown = |message: String| Problem::new(Code::UnknownType, message);
    let Some(text) = text else {
        return Err(unknown(
            "the attribute \"type\" is missing; name the command, as in \"agent.RegisterAgent\"".into(),
        ));
    };
    let (folder, record) = text.split_once('.').unwrap_or((text, ""));
    let Some(aggregate) = Aggregate::from_name(folder) else {
        let known = Aggregate::ALL.iter().map(|aggregate| aggregate.name()).collect::<Vec<_>>().join(", ");
        return Err(unknown(format!(
            "type {text:?} names no kind of stream; a type is <kind>.<Command>, kinds: {known}"
        )));
    };
    match aggregate.commands().iter().find(|name| **name == record) {
        Some(name) => Ok((aggregate, name)),
        None => {
            let known = aggregate.commands().join(", ");
            Err(unknown(format!("type {text:?} is no command; {folder} takes: {known}")))
        }
    }
}
