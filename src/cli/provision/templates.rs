//! Whether the templates that a manifest names are there, and take the values it gives: known before anything is sent, it
//! is one sentence; found out by the node, it would be a refusal for each agent.

use super::blueprint::{AgentWanted, Blueprint, Group, TenantSet};
use super::differ;
use super::node::Node;
use crate::cli::exit::{Error, Exit};
use crate::domain::agent::Command;
use crate::domain::agent_template::{Definition, State, Status, stream_for};
use crate::domain::{Aggregate, AnyState, Seen, StreamId, TenantId, World};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use uuid::Uuid;

/// Groups that are told at once.
const FAULTS_MAX: usize = 20;

/// Holds each group's first agent against its template, the shared one before its first tenant's own.
///
/// # Errors
/// With every group that the node would refuse; or when the node cannot be asked.
pub async fn check(node: &Node, blueprint: &Blueprint) -> Result<(), Error> {
    let mut shared: HashMap<&str, Option<Definition>> = HashMap::new();
    // Groups that several tenants share are looked at once.
    let mut looked_at = HashSet::new();
    let mut faults = Vec::new();
    for set in &blueprint.sets {
        for group in set.groups.iter().filter(|group| group.count > 0) {
            let Some(template) = group.base.template.as_deref() else { continue };
            if !looked_at.insert(std::ptr::from_ref(group)) {
                continue;
            }
            if !shared.contains_key(template) {
                let found = node.template(TenantId::SHARED, template).await?;
                shared.insert(template, found);
            }
            let of_catalogue = shared.get(template).and_then(Option::as_ref);
            if rehearsed(set, group, template, TenantId::SHARED, of_catalogue).is_ok() {
                continue;
            }
            let tenant = TenantId(set.tenant(0).id);
            let own = node.template(tenant, template).await?;
            let (owner, found) = if own.is_some() { (tenant, own.as_ref()) } else { (TenantId::SHARED, of_catalogue) };
            if let Err(why) = rehearsed(set, group, template, owner, found) {
                faults.push(format!("line {}: group {:?}, template {template:?}: {why}", group.line, group.key));
            }
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    let more = faults.len().saturating_sub(FAULTS_MAX);
    let mut message = format!(
        "the node would refuse agents of this manifest, and nothing was sent:\n{}",
        faults.into_iter().take(FAULTS_MAX).collect::<Vec<_>>().join("\n")
    );
    if more > 0 {
        message += &format!("\nand {more} more");
    }
    Err(Error::Failed { message, exit: Exit::Refused })
}

/// Decides the registration of a group's first agent as the node would.
fn rehearsed(
    set: &TenantSet,
    group: &Group,
    template: &str,
    owner: TenantId,
    found: Option<&Definition>,
) -> Result<(), String> {
    let mut world = World::default();
    if let Some(definition) = found {
        let state = State { status: Status::Active, definition: definition.clone(), reason: String::new() };
        let state = Arc::new(AnyState::AgentTemplate(Box::new(state)));
        world.insert(stream(owner, template), Seen { version: 1, state });
    }
    let tenant = set.tenant(0);
    let agent = AgentWanted { tenant: &tenant, group, number: 1 };
    let command = Command::RegisterAgent(agent.registration());
    differ::rehearse(agent.stream(), [command.into()], &world).map_err(|rejection| rejection.message)
}

/// Where an owner's template of this name, or of this UUID, is.
pub fn stream(owner: TenantId, template: &str) -> StreamId {
    match Uuid::parse_str(template) {
        Ok(id) => StreamId::new(owner, Aggregate::AgentTemplate, id),
        Err(_) => stream_for(owner, template),
    }
}
