//! The difference between what an entry wants and what is there, as the deciders themselves see it.
//!
//! The commands that an entry would need are decided here on the state that the views show, each on what the ones before
//! it leave. What a rule refuses is known before anything is sent, with the field and the reason; what changes nothing is
//! not sent; and which fields changed is read from the two states, so that no list of fields can fall behind.

use super::entry::Fault;
use super::models;
use super::report::Fate;
use super::wanted::Wanted;
use crate::domain::{AnyCommand, AnyState, Context, Envelope, EventMeta, Rejection, Seen, StreamId, World};
use crate::flow::query::Resource;
use std::sync::Arc;
use uuid::Uuid;

/// Members of a view that follow from others, or say how the resource does.
const DERIVED: [&str; 6] = ["revision", "tools_known", "reason", "health", "template", "parent"];

/// A command, and the version that its stream must have for it.
pub type Step = (AnyCommand, u64);

#[derive(Clone, Debug, PartialEq)]
pub enum Diff {
    Unchanged,
    /// It was not there.
    Created(Vec<Step>),
    /// The commands, and the fields that they change.
    Changed(Vec<Step>, Vec<String>),
    Refused(Fault),
}

/// What is to be done about an entry, and what then becomes of it and of its parts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// Its own, then its parts' in their order.
    pub fates: Vec<Planned>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    pub fate: Fate,
    /// Of a change.
    pub fields: Vec<String>,
    /// Of a refusal.
    pub fault: Option<Fault>,
    /// Of the steps, how many must be applied for it.
    pub after: usize,
}

impl Planned {
    pub fn unchanged() -> Self {
        Self { fate: Fate::Unchanged, fields: Vec::new(), fault: None, after: 0 }
    }

    pub fn refused(fault: Fault) -> Self {
        Self { fate: Fate::Refused, fault: Some(fault), ..Self::unchanged() }
    }
}

/// Plans an entry of any kind.
pub fn plan(wanted: &Wanted, stream: StreamId, known: Option<&Resource>, world: &World) -> Plan {
    if let Wanted::Provider(provider) = wanted {
        let absent = Default::default();
        let (version, state) = match known.map(|known| (known.version, &known.state)) {
            Some((version, AnyState::LlmProvider(state))) => (version, &**state),
            _ => (0, &absent),
        };
        return models::plan(provider, stream, version, state, world);
    }
    let (steps, planned) = match diff(wanted, stream, known, world) {
        Diff::Unchanged => (Vec::new(), Planned::unchanged()),
        Diff::Refused(fault) => (Vec::new(), Planned::refused(fault)),
        Diff::Created(steps) => (steps, Planned { fate: Fate::Created, ..Planned::unchanged() }),
        Diff::Changed(steps, fields) => (steps, Planned { fate: Fate::Changed, fields, ..Planned::unchanged() }),
    };
    let after = steps.len();
    Plan { steps, fates: vec![Planned { after, ..planned }] }
}

/// What a decision of the tenant's may look at: the tenant itself.
pub fn world(tenant: Option<Resource>) -> World {
    let mut world = World::default();
    if let Some(tenant) = tenant {
        world.insert(tenant.stream, Seen { version: tenant.version, state: Arc::new(tenant.state) });
    }
    world
}

/// Holds what is wanted against what is there.
pub fn diff(wanted: &Wanted, stream: StreamId, known: Option<&Resource>, world: &World) -> Diff {
    let initial = AnyState::initial(stream.aggregate);
    let (found_at, before) = known.map_or((0, &initial), |known| (known.version, &known.state));
    let commands = match wanted.commands(before) {
        Ok(commands) => commands,
        Err(fault) => return Diff::Refused(fault),
    };
    let mut after = before.clone();
    let mut version = found_at;
    let mut effective = Vec::with_capacity(commands.len());
    for command in commands {
        match step(&mut after, &command, stream, version, world) {
            Ok(0) => {}
            Ok(events) => {
                effective.push((command, version));
                version += events;
            }
            Err(rejection) => return Diff::Refused(refused(&rejection)),
        }
    }
    if effective.is_empty() {
        Diff::Unchanged
    } else if found_at == 0 {
        Diff::Created(effective)
    } else {
        Diff::Changed(effective, changed_fields(before, &after))
    }
}

/// Decides a command and takes its events in; gives how many there were.
///
/// # Errors
/// When a rule refuses it.
pub fn step(
    state: &mut AnyState,
    command: &AnyCommand,
    stream: StreamId,
    version: u64,
    world: &World,
) -> Result<u64, Rejection> {
    let envelope = Envelope::new(Uuid::nil(), stream);
    // None of these deciders looks at the time.
    let context = Context { now: 0, envelope: &envelope, version, world };
    let decision = state.decide(command, &context)?;
    if let Some(rejection) = decision.refusal {
        return Err(rejection);
    }
    let meta = EventMeta { stream, version, recorded_at: 0, event_id: Uuid::nil() };
    decision.events.iter().for_each(|event| state.evolve(event, &meta));
    Ok(decision.events.len() as u64)
}

/// A rule's refusal, by the field that it names.
pub fn refused(rejection: &Rejection) -> Fault {
    let field = rejection.details.get("field").cloned();
    let message = rejection.message.as_str();
    let bare = field.as_deref().and_then(|field| message.strip_prefix(field)?.strip_prefix(": "));
    let reason = Fault::whole(bare.unwrap_or(message));
    Fault { field, ..reason }
}

fn changed_fields(before: &AnyState, after: &AnyState) -> Vec<String> {
    let (left, right) = (before.view(), after.view());
    let mut fields: Vec<String> = right
        .iter()
        .filter(|(name, value)| left.get(*name) != Some(*value) && !DERIVED.contains(&name.as_str()))
        .map(|(name, _)| name.clone())
        .collect();
    if before.status() != after.status() {
        fields.push("status".into());
    }
    if fields.is_empty() {
        // That a server has no tools was not known before.
        fields.push("tools".into());
    }
    fields.sort();
    fields
}
