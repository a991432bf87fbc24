//! What a manifest asks for: tenants and their agents, one after the other, made as they are looked at.
//!
//! Ten thousand tenants of two thousand agents are twenty million agents; what is held of them is the manifest. Everything
//! an expansion gives is a function of the manifest alone, so that a second one arrives at the same ids:
//!
//! - a tenant is `uuid5(URL namespace, "agentverse:tenant:" ‖ name)`, unless the manifest gives its id;
//! - an agent is `uuid5(tenant, "agent/provision/" ‖ group ‖ "/" ‖ n)`: its name may change, its group and number are it.

use super::pattern::{Pattern, Scope};
use crate::domain::agent::{RegisterAgent, RiskTier};
use crate::domain::common::PromptStorage;
use crate::domain::tenant::{Project, Tier};
use crate::domain::{Aggregate, StreamId, TenantId};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// A manifest that was found to be right.
#[derive(Debug)]
pub struct Blueprint {
    /// What it calls itself; may be empty.
    pub name: String,
    /// Of its text, in hexadecimal.
    pub digest: String,
    pub sets: Vec<TenantSet>,
}

/// A tenant, or a generator of them.
#[derive(Debug)]
pub struct TenantSet {
    /// Where it stands in the manifest.
    pub line: u64,
    pub name: Pattern,
    pub id: Option<Uuid>,
    /// The number of the first.
    pub start: u64,
    pub count: u64,
    /// Taken in turn; none where none was said.
    pub regions: Vec<String>,
    pub tier: Option<Tier>,
    pub monthly_budget_micro_usd: Option<i64>,
    pub coupling_threshold: Option<f64>,
    pub prompt_storage: Option<PromptStorage>,
    pub projects: Arc<BTreeMap<String, Project>>,
    pub groups: Arc<Vec<Group>>,
}

/// Agents that are alike.
#[derive(Debug)]
pub struct Group {
    pub line: u64,
    pub key: String,
    pub count: u64,
    pub name: Pattern,
    pub owner: Option<Pattern>,
    pub parameters: BTreeMap<String, Pattern>,
    pub is_activated: bool,
    /// Absent where none was said.
    pub risk_tier: Option<RiskTier>,
    /// The registration without what has placeholders.
    pub base: RegisterAgent,
}

/// A tenant as it is to be; what is absent stays as it is.
#[derive(Clone, Debug)]
pub struct TenantWanted<'a> {
    pub id: Uuid,
    pub name: String,
    /// Its number within the generator.
    pub number: u64,
    pub region: Option<&'a str>,
    pub set: &'a TenantSet,
}

/// An agent as it is to be.
#[derive(Clone, Copy, Debug)]
pub struct AgentWanted<'a> {
    pub tenant: &'a TenantWanted<'a>,
    pub group: &'a Group,
    /// From 1 on.
    pub number: u64,
}

impl Blueprint {
    pub fn tenants(&self) -> impl Iterator<Item = TenantWanted<'_>> {
        self.sets.iter().flat_map(TenantSet::tenants)
    }

    pub fn tenants_total(&self) -> u64 {
        self.sets.iter().map(|set| set.count).sum()
    }

    pub fn agents_total(&self) -> u64 {
        self.sets.iter().map(|set| set.count.saturating_mul(set.agents_each())).fold(0, u64::saturating_add)
    }
}

impl TenantSet {
    pub fn tenants(&self) -> impl Iterator<Item = TenantWanted<'_>> {
        (0..self.count).map(|at| self.tenant(at))
    }

    /// The one that stands at this place, from 0 on.
    pub fn tenant(&self, at: u64) -> TenantWanted<'_> {
        let number = self.start + at;
        let turn = usize::try_from(at).unwrap_or_default().checked_rem(self.regions.len());
        let region = turn.map(|turn| self.regions[turn].as_str());
        let name = self.name.render(&Scope { n: number, region: region.unwrap_or_default(), ..Scope::default() });
        let id = self.id.unwrap_or_else(|| tenant_id(&name));
        TenantWanted { id, name, number, region, set: self }
    }

    pub fn agents_each(&self) -> u64 {
        self.groups.iter().map(|group| group.count).fold(0, u64::saturating_add)
    }
}

impl<'a> TenantWanted<'a> {
    pub fn stream(&self) -> StreamId {
        StreamId::new(TenantId(self.id), Aggregate::Tenant, self.id)
    }

    /// Its agents, group by group.
    pub fn agents(&'a self) -> impl Iterator<Item = AgentWanted<'a>> {
        self.set
            .groups
            .iter()
            .flat_map(move |group| (1..=group.count).map(move |number| AgentWanted { tenant: self, group, number }))
    }
}

impl AgentWanted<'_> {
    pub fn stream(&self) -> StreamId {
        let id = agent_id(self.tenant.id, &self.group.key, self.number);
        StreamId::new(TenantId(self.tenant.id), Aggregate::Agent, id)
    }

    pub fn name(&self) -> String {
        self.group.name.render(&self.scope())
    }

    /// All that is said of it.
    pub fn registration(&self) -> RegisterAgent {
        let scope = self.scope();
        let mut command = self.group.base.clone();
        command.name = self.group.name.render(&scope);
        if let Some(owner) = &self.group.owner {
            command.owner = owner.render(&scope).as_str().into();
        }
        let values = self.group.parameters.iter().map(|(name, value)| (name.clone(), value.render(&scope)));
        command.template_parameters = values.collect();
        command
    }

    fn scope(&self) -> Scope<'_> {
        Scope {
            n: self.number,
            group: &self.group.key,
            project: self.group.base.project.as_deref().unwrap_or_default(),
            region: self.tenant.region.unwrap_or_default(),
            tenant: &self.tenant.name,
            tenant_n: self.tenant.number,
        }
    }
}

/// The tenant of a name.
pub fn tenant_id(name: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("agentverse:tenant:{name}").as_bytes())
}

/// The agent of a number within a group of a tenant.
pub fn agent_id(tenant: Uuid, group: &str, number: u64) -> Uuid {
    Uuid::new_v5(&tenant, format!("agent/provision/{group}/{number}").as_bytes())
}
