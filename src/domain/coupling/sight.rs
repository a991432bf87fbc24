//! What a decision sees of other streams: the tenant, the agent, the server, the providers.
//!
//! A server or provider may be the tenant's own or the shared catalogue's. Where both have the same id, the tenant's own
//! is the one that is meant.

use super::candidates::Visible;
use super::records::Reason;
use crate::domain::agent::{self, Agent, Lifecycle};
use crate::domain::llm_provider::LlmProvider;
use crate::domain::mcp_server::{self, McpServer};
use crate::domain::tenant::{self, COUPLING_THRESHOLD_DEFAULT, Tenant};
use crate::domain::{Aggregate, Context, Lookup, Micros, StreamId, TenantId, World};
use std::collections::HashSet;
use uuid::Uuid;

/// The heads that bear on one coupling.
pub struct Sight<'a> {
    pub tenant: Option<(u64, &'a tenant::State)>,
    pub agent: Option<(u64, &'a agent::State)>,
    /// With the tenant that it was found in.
    pub server: Option<(TenantId, u64, &'a mcp_server::State)>,
    pub providers: Vec<Visible<'a>>,
    /// When the decision is recorded.
    pub now: Micros,
    agent_id: Uuid,
    server_id: Uuid,
}

/// The tenant's own stream; the shared catalogue has none.
pub fn tenant_stream(tenant: TenantId) -> Option<StreamId> {
    (!tenant.is_shared()).then(|| StreamId::new(tenant, Aggregate::Tenant, tenant.0))
}

/// All that [`Sight::of`] reads.
pub fn lookups(tenant: TenantId, agent_id: Uuid, server_id: Uuid) -> Vec<Lookup> {
    let mut wanted: Vec<Lookup> = tenant_stream(tenant).into_iter().map(Lookup::Stream).collect();
    wanted.push(Lookup::Stream(StreamId::new(tenant, Aggregate::Agent, agent_id)));
    wanted.push(Lookup::Stream(StreamId::new(tenant, Aggregate::McpServer, server_id)));
    if !tenant.is_shared() {
        wanted.push(Lookup::Stream(StreamId::new(TenantId::SHARED, Aggregate::McpServer, server_id)));
    }
    wanted.push(Lookup::Providers(tenant));
    wanted
}

impl<'a> Sight<'a> {
    pub fn of(context: &'a Context<'_>, agent_id: Uuid, server_id: Uuid) -> Self {
        let (world, tenant) = (context.world, context.envelope.tenant());
        let server_in = |home: TenantId| {
            let (version, state) = world.get::<McpServer>(&StreamId::new(home, Aggregate::McpServer, server_id))?;
            (state.status != mcp_server::Status::Absent).then_some((home, version, state))
        };
        let agent = world.get::<Agent>(&StreamId::new(tenant, Aggregate::Agent, agent_id));
        let all = || world.providers::<LlmProvider>(tenant);
        let own: HashSet<Uuid> = all().filter(|(stream, ..)| stream.tenant == tenant).map(|(it, ..)| it.id).collect();
        Self {
            tenant: head_of(world, tenant),
            agent: agent.filter(|(_, state)| state.lifecycle != Lifecycle::Absent),
            server: server_in(tenant).or_else(|| server_in(TenantId::SHARED)),
            providers: all()
                .filter(|(stream, ..)| stream.tenant == tenant || !own.contains(&stream.id))
                .map(|(stream, version, state)| Visible { stream, version, state })
                .collect(),
            now: context.now,
            agent_id,
            server_id,
        }
    }

    /// Least score that the tenant accepts.
    pub fn threshold(&self) -> f64 {
        self.tenant.and_then(|(_, state)| state.coupling_threshold).unwrap_or(COUPLING_THRESHOLD_DEFAULT)
    }

    /// The rules of the agent's project. A project that the tenant does not list has none.
    pub fn project(&self) -> Option<(&'a str, &'a tenant::Project)> {
        let name = self.agent?.1.profile.project.as_deref()?;
        Some((name, self.tenant?.1.projects.get(name)?))
    }

    /// Everything but the model that speaks against the coupling.
    pub fn bars(&self) -> Vec<Reason> {
        let mut reasons: Vec<Reason> = tenant_bar(self.tenant).into_iter().collect();
        match self.agent.map(|(_, state)| state.lifecycle) {
            None => reasons.push(
                Reason::new("agent_not_found", "this tenant has no such agent; register it first, or check agent_id")
                    .with("agent_id", self.agent_id),
            ),
            Some(Lifecycle::Decommissioned) => reasons.push(
                Reason::new("agent_decommissioned", "the agent is decommissioned for good; couple another one")
                    .with("agent_id", self.agent_id),
            ),
            Some(_) => {}
        }
        match self.server.map(|(.., state)| state.status) {
            None => reasons.push(
                Reason::new(
                    "server_not_found",
                    "neither this tenant nor the shared catalogue has such an MCP server; register it, or check mcp_server_id",
                )
                .with("mcp_server_id", self.server_id),
            ),
            Some(mcp_server::Status::Deregistered) => reasons.push(
                Reason::new("server_deregistered", "the MCP server is deregistered for good; couple another one")
                    .with("mcp_server_id", self.server_id),
            ),
            Some(_) => {}
        }
        if let Some((name, project)) = self.project()
            && project.allowed_mcp_servers.as_ref().is_some_and(|allowed| !allowed.contains(&self.server_id))
        {
            reasons.push(
                Reason::new(
                    "server_not_allowed",
                    format!(
                        "project {name} does not allow this MCP server; add it to the project's list, or couple another"
                    ),
                )
                .with("project", name)
                .with("mcp_server_id", self.server_id),
            );
        }
        reasons
    }
}

/// The tenant's head, where it is known.
pub fn head_of(world: &World, tenant: TenantId) -> Option<(u64, &tenant::State)> {
    world.get::<Tenant>(&tenant_stream(tenant)?)
}

/// Why the tenant, as it stands, lets nothing new begin. One that is not known yet does not bar: order across streams is
/// not promised.
pub fn tenant_bar(tenant: Option<(u64, &tenant::State)>) -> Option<Reason> {
    match tenant?.1.status {
        tenant::Status::Suspended => {
            Some(Reason::new("tenant_suspended", "the tenant is suspended; resume it and try again"))
        }
        tenant::Status::Closed => Some(Reason::new("tenant_closed", "the tenant is closed for good")),
        tenant::Status::Absent | tenant::Status::Active => None,
    }
}
